//! Open MPI's mpirun.

use super::{Lab, free_port, greeted, have};

/// As root, and with more processes than processors.
const HERE: [(&str, &str); 4] = [
    ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
    ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("DP_TESTS_RUN", "greet"),
];

#[test]
fn mpirun_starts_the_clients_of_a_server() {
    if !have(&["mpirun"]) {
        return;
    }
    let lab = Lab::new("mpirun");
    let mut server = lab.start("./run.sh 4", &[&HERE[..], &[("DP_BIND", "127.0.0.1:0")]].concat());
    assert!(server.wait().success(), "{}", server.all_errors());
    let lines = server.rest();
    assert_eq!(greeted(&lines), ["subject-0", "subject-1", "subject-2", "subject-3"]);
    assert_eq!(lines.last().map(String::as_str), Some("ok"));
    let errors = server.all_errors();
    // What they say comes with who has started them, and they end by themselves.
    assert!(errors.contains("mpirun: ") && !errors.contains("has not ended"), "{errors}");
}

#[test]
fn mpirun_starts_the_server_as_the_first_of_them() {
    if !have(&["mpirun", "openssl"]) {
        return;
    }
    let lab = Lab::new("mpirun");
    let address = format!("127.0.0.1:{}", free_port());
    let env = [("DP_BIND", address.as_str()), ("DP_SERVER", address.as_str())];
    let mut all = lab.start("./together.sh 3", &[&HERE[..], &env].concat());
    assert!(all.wait().success(), "{}", all.all_errors());
    let lines = all.rest();
    assert_eq!(greeted(&lines), ["subject-1", "subject-2", "subject-3"]);
    assert!(lines.iter().any(|line| line == "ok"), "{lines:?}");
}
