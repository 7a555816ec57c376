//! Somebody between a client and a server, whom both take for the other by TLS, passes on what they
//! prove.

use std::path::Path;

use tokio::io::{copy_bidirectional, duplex};

use super::{ClientGate, ClientTls, ServerGate, ServerTls, Token};

/// A certificate for `localhost`, its own CA, and its key.
fn certificate(dir: &Path, name: &str) -> ServerTls {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap();
    let (cert_file, key_file) = (dir.join(name), dir.join(format!("{name}.key")));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    ServerTls::read(&cert_file, &key_file, None).unwrap()
}

fn trusting(dir: &Path, name: &str) -> Option<ClientTls> {
    Some(ClientTls::read(&dir.join(name), None, None).unwrap())
}

#[tokio::test]
async fn a_token_that_is_passed_on_from_one_tls_connection_to_another_is_refused() {
    let name = format!("dp-core-relay-{}", std::process::id());
    let dir = &std::env::temp_dir().join(name);
    std::fs::create_dir_all(dir).unwrap();
    let (server, thief) = (certificate(dir, "server"), certificate(dir, "thief"));
    let token = Some(Token::new("open sesame, please").unwrap());
    let server = ServerGate { tls: Some(server), token: token.clone() };

    // Without anybody between, they let each other in.
    let (mut ours, mut theirs) = (duplex(1 << 14), duplex(1 << 14));
    let client = ClientGate { tls: trusting(dir, "server"), token: token.clone() };
    let (admitted, passed) =
        tokio::join!(server.admit(&mut ours.0), client.pass(&mut ours.1, "localhost"));
    assert!(admitted.is_ok() && passed.is_ok());
    drop((admitted, passed));

    // The client takes the thief for the server: it has a certificate that the client trusts.
    let (mut to_server, mut from_thief) = duplex(1 << 14);
    let client = ClientGate { tls: trusting(dir, "thief"), token };
    let relaying = async {
        let of_client = ServerGate { tls: Some(thief), token: None };
        let of_server = ClientGate { tls: trusting(dir, "server"), token: None };
        let (client, server) = tokio::join!(
            of_client.admit(&mut theirs.0),
            of_server.pass(&mut from_thief, "localhost")
        );
        let (mut client, mut server) = (client.unwrap().0, server.unwrap());
        let _ = copy_bidirectional(&mut client, &mut server).await;
    };
    let both = async {
        let admitting = async {
            let error = server.admit(&mut to_server).await.unwrap_err().to_string();
            drop(to_server);
            error
        };
        let passing = async {
            let error = client.pass(&mut theirs.1, "localhost").await.unwrap_err().to_string();
            drop(theirs.1);
            error
        };
        tokio::join!(admitting, passing)
    };
    let ((admitted, passed), ()) = tokio::join!(both, relaying);
    let _ = std::fs::remove_dir_all(dir);
    assert_eq!(admitted, "the client has another token");
    assert!(passed.contains("another token"), "{passed}");
}
