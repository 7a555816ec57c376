//! The units for systemd: verified by it, and their commands run as it would.

use super::{Lab, free_port, greeted, have};

const UNITS: [&str; 3] =
    ["greeter-server.service", "greeter-server.socket", "greeter-client.service"];

#[test]
fn the_units_are_what_systemd_understands() {
    if !have(&["systemd-analyze"]) {
        return;
    }
    let lab = Lab::new("systemd");
    let verify = || {
        let mut verify = lab.start(&format!("systemd-analyze verify {}", UNITS.join(" ")), &[]);
        // It does not mind what it only warns of.
        verify.wait().success() && verify.all_errors().is_empty()
    };
    for unit in UNITS {
        // The programs are not installed on this machine.
        let installed = lab.read(unit).replace("/usr/local/bin", &lab.file("bin"));
        lab.write(unit, &installed);
    }
    assert!(verify());
    lab.write(UNITS[2], &lab.read(UNITS[2]).replace("Restart=", "Restarts="));
    assert!(!verify());
}

/// What a service runs, with what stands for folders in it.
fn command(lab: &Lab, unit: &str) -> String {
    let unit = lab.read(unit);
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let here = lab.dir.path().display().to_string();
    line.replace("/usr/local/bin/", "").replace("%d", &here).replace("%S", &here)
}

#[test]
fn the_services_do_together_what_is_written_into_the_pipe() {
    let lab = Lab::new("systemd");
    lab.write("token", "open sesame, please\n");
    std::fs::create_dir(lab.file("greeter")).unwrap();
    let pipe = lab.file("console");
    assert!(lab.start(&format!("mkfifo '{pipe}'"), &[]).wait().success());
    let address = format!("127.0.0.1:{}", free_port());
    let env = [("DP_TESTS_RUN", "greet"), ("DP_ID", "lab1")];
    // As systemd opens it: it has no end.
    let server = command(&lab, UNITS[0]).replace("0.0.0.0", &address);
    let mut server = lab.start(&format!("{server} <>'{pipe}'"), &env);
    let client = command(&lab, UNITS[2]).replace("master.example", &address);
    let mut client = lab.start(&client, &env);
    server.lines_until("ready to run");
    assert!(lab.start(&format!("sh -c 'echo /run >\"{pipe}\"'"), &[]).wait().success());
    let lines = server.lines_until("ok");
    assert_eq!(greeted(&lines), ["lab1/1", "lab1/2", "lab1/3", "lab1/4"]);
    // That writer is gone, and the server is still there.
    assert!(lab.start(&format!("sh -c 'echo /quit >\"{pipe}\"'"), &[]).wait().success());
    assert!(server.wait().success() && client.wait().success());
    assert_eq!(lab.read("greeter/results.jsonl").lines().count(), 8);
}
