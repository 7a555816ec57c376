//! What a person at the console calls by hand.

use crate::common::{Greeter, Toolbox, Typist, client, server, soon};
use dp_client::ClientError;
use dp_server::{OutputFormat, Server};
use serde_json::{Value, json};

/// A console, with as many workers there: `w/1`, `w/2` and so on.
async fn console_of(workers: usize) -> Typist {
    let server = server::<Toolbox>(workers).await;
    client(&server, "w", workers);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist
}

#[tokio::test]
async fn methods_are_listed_with_signature_and_docs() {
    let mut typist = Typist::at(server::<Toolbox>(1).await);
    typist.types("/methods\n").await;
    let (lines, _) = typist.leaves().await;
    assert_eq!(lines[0], "hello(name: &str, times: u8) -> Vec<String>\tSays hello.");
    assert_eq!(lines[1], "is_first() -> bool");
    assert!(lines[2].ends_with("\tFails on the second worker."), "{lines:?}");
    assert_eq!(lines.len(), 5);
}

#[tokio::test]
async fn outcomes_are_folded_one_line_for_each_that_differs() {
    let mut typist = console_of(4).await;
    typist.types("/call hello \"Ada  L\" 2\n").await;
    typist.expects(&["w/[1-4] → [\"hello Ada  L\",\"hello Ada  L\"]"]).await;
    typist.types("/call is_first\n").await;
    typist.expects(&["w/1 → true", "w/[2-4] → false"]).await;
    typist.types("/call delicate\n").await;
    typist.expects(&["w/[1,3-4] → 7", "error: w/2 failed: disk full"]).await;
    typist.types("/call linger 1\n").await;
    typist.expects(&["w/[1-4] → null"]).await;
}

#[tokio::test]
async fn one_worker_can_be_called() {
    let mut typist = console_of(3).await;
    typist.types("/call @w/3 hello \"you\" 1\n/call @w/2 delicate\n").await;
    typist.expects(&["w/3 → [\"hello you\"]", "error: w/2 failed: disk full"]).await;
}

#[tokio::test]
async fn a_mistake_is_one_line_with_the_signature() {
    let mut typist = console_of(1).await;
    let signature = "; the method is hello(name: &str, times: u8) -> Vec<String>";
    for (line, part, end) in [
        ("/call", "/call takes a method", ""),
        ("/call @w", "/call takes a method", ""),
        ("/call helo \"Ada\" 1", "there is no method `helo`: did you mean hello(name: ", "?"),
        ("/call teleport", "there is no method `teleport`: `/methods` lists", ""),
        ("/call hello", "argument 1 (`name`) is missing", signature),
        ("/call hello \"Ada\"", "argument 2 (`times`) is missing", signature),
        ("/call hello \"Ada\" 1 2", "3 arguments were given, and it takes 2", signature),
        ("/call hello \"Ada\" 256", "256", signature),
        ("/call hello 1 1", "argument 1 (`name`) does not fit: ", signature),
        ("/call hello Ada 1", "text stands in double quotes", signature),
        ("/call hello \"Ada", "argument 1 is no JSON", signature),
        ("/call @w9 hello \"Ada\" 1", "there is no worker `w9`: `/workers` lists", ""),
        ("/call @ hello \"Ada\" 1", "there is no worker ``", ""),
        ("/kick", "/kick takes the id of one worker", ""),
        ("/kick w9", "there is no worker `w9`", ""),
        ("/cancel", "nothing is under way", ""),
        ("/cancel it", "takes no argument", ""),
    ] {
        typist.types(format!("{line}\n")).await;
        let error = typist.reads().await.unwrap();
        assert!(error.starts_with("error: ") && error.contains(part), "{line}: {error}");
        assert!(error.ends_with(end), "{line}: {error}");
    }
    let (rest, _) = typist.leaves().await;
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn calling_where_nobody_is_there_is_an_error() {
    let mut typist = Typist::at(server::<Toolbox>(1).await);
    typist.types("/call linger 1\n").await;
    typist.expects(&["error: nobody is there to be called"]).await;
}

#[tokio::test]
async fn a_call_that_is_cancelled_prints_what_has_come() {
    let mut typist = console_of(3).await;
    typist.types("/call uneven\n").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    typist.types("/cancel\n").await;
    typist.expects(&["w/1 → null", "error: cancelled"]).await;
    // The workers are told, and soon free.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    typist.types("/workers\n").await;
    for _ in 0..3 {
        let line = typist.reads().await.unwrap();
        assert!(line.ends_with("\tidle"), "{line}");
    }
}

#[tokio::test]
async fn a_cancel_is_heard_behind_lines_that_wait() {
    let mut typist = console_of(1).await;
    typist.types("/call linger 60000\n/freq\n\n/freq 2\n/freq\n/cancel\n/freq 1\n").await;
    typist.expects(&["error: cancelled", "1", "2"]).await;
    typist.types("/call linger 60000\n\n  \n/cancel\n/freq\n").await;
    typist.expects(&["error: cancelled", "1"]).await;
    typist.types("/cancel\n").await;
    typist.expects(&["error: nothing is under way that could be cancelled"]).await;
}

#[tokio::test]
async fn a_kicked_client_is_gone_and_does_not_come_back() {
    let server = server::<Greeter>(3).await;
    let address = server.local_addr().to_string();
    // It would come back, had it not been told.
    let kicked = dp_client::Client::<Greeter>::builder().server(address).id("c1").workers(2);
    let kicked = tokio::spawn(kicked.run());
    let _other = client(&server, "c2", 1);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist.types("/kick c1/2\n/workers\n").await;
    typist.expects(&["worker departed", "worker departed"]).await;
    assert!(typist.reads().await.unwrap().starts_with("c2\t"));
    let outcome = soon("the end of the client", kicked).await.unwrap();
    let Err(error @ ClientError::Refused { .. }) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("console"), "{error}");
    typist.types("/kick c2\n/workers\n").await;
    typist.expects(&["worker departed"]).await;
    assert_eq!(typist.leaves().await.0, Vec::<String>::new());
}

#[tokio::test]
async fn in_json_there_is_an_object_for_each_worker_and_method() {
    let server = Server::<Toolbox>::builder().bind("127.0.0.1:0").output(OutputFormat::Json);
    let server = server.start().await.unwrap();
    let _client = client(&server, "w", 2);
    soon("ready", server.ready()).await.unwrap();
    let mut typist = Typist::at(server);
    typist.types("/call delicate\n/methods\n").await;
    let (lines, _) = typist.leaves().await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (first, second) = (&lines[3]["outcome"], &lines[4]["outcome"]);
    assert_eq!((&first["worker"], &first["value"]), (&json!("w/1"), &json!(7)));
    assert_eq!(second["error"], "failed: disk full");
    assert!(second["seconds"].is_number() && second.get("value").is_none());
    let method = json!({
        "name": "hello",
        "signature": "hello(name: &str, times: u8) -> Vec<String>",
        "docs": "Says hello.",
    });
    assert_eq!(lines[5]["method"], method);
}
