//! Reports of runs, as files.

use crate::common::{Measuring, Typist, client, soon};
use dp_server::{ReportFile, Server, StartError};
use serde_json::Value;

#[tokio::test]
async fn every_run_is_written_to_the_files_that_were_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let server = Server::<Measuring>::builder()
        .bind("127.0.0.1:0")
        .workers(2)
        .report(ReportFile::new(path("run.json")).unwrap())
        .report(ReportFile::new(path("run.html")).unwrap())
        .start()
        .await
        .unwrap();
    let _client = client(&server, "c", 2);
    soon("ready", server.ready()).await.unwrap();
    let report = soon("a run", server.run()).await.unwrap();
    assert_eq!(report.unwritten(), <[String; 0]>::default());
    let json: Value = serde_json::from_slice(&std::fs::read(path("run.json")).unwrap()).unwrap();
    assert_eq!((&json["run"], &json["ok"]), (&"Measuring".into(), &true.into()));
    assert_eq!(json["metrics"][1]["count"], 1000);
    let page = std::fs::read_to_string(path("run.html")).unwrap();
    assert!(page.contains("c/[1-2]") && page.contains("<svg "), "{page}");
}

#[tokio::test]
async fn a_server_does_not_start_where_its_reports_could_not_be_written() {
    let file = ReportFile::new("/nowhere/at/all/run.json").unwrap();
    let error = Server::<Measuring>::builder().bind("127.0.0.1:0").report(file).start().await;
    assert!(matches!(error, Err(StartError::Report(_))), "{error:?}");
}

#[tokio::test]
async fn the_console_saves_the_last_run_and_says_why_it_cannot() {
    let directory = tempfile::tempdir().unwrap();
    let server = crate::common::server::<Measuring>(1).await;
    let _client = client(&server, "c", 1);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist.types("/save run.html\n").await;
    typist.expects(&["error: there is no report yet: `/run` makes one"]).await;
    typist.types("/run\n").await;
    typist.until("ok").await;
    let path = directory.path().join("the run.csv");
    typist.types(format!("/save {}\n", path.display())).await;
    typist.expects(&[&format!("saved {}", path.display())]).await;
    assert!(std::fs::read_to_string(path).unwrap().contains("\r\nmetric,fetch,count,500,\r\n"));
    typist.types("/save run.xlsx\n/save /nowhere/run.csv\n").await;
    let unknown = "error: the extension of `run.xlsx` stands for no format of a report: use one \
                   of .json, .csv, .html, .hlog";
    let nowhere = "error: cannot save a report to `/nowhere/run.csv`: there is no such directory";
    typist.expects(&[unknown, nowhere]).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_an_error_before_the_end_of_a_run_that_is_ok() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full.csv");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let file = ReportFile::new(&path).unwrap();
    let builder = Server::<Measuring>::builder().bind("127.0.0.1:0").workers(1).report(file);
    let server = builder.start().await.unwrap();
    let _client = client(&server, "c", 1);
    let mut typist = Typist::at(server);
    typist.until("ready to run").await;
    typist.types("/run\n").await;
    let lines = typist.until("ok").await;
    let error = format!(
        "error: cannot save the report to `{}`: No space left on device (os error 28)",
        path.display()
    );
    assert_eq!(lines.last(), Some(&error));
}
