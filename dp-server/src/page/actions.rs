//! What can be done at the page.

use std::time::Duration;

use dp_core::{DistributedWorker, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::chain;
use crate::fold::fold;
use crate::run::{self, Runner};
use crate::runs::Origin;

#[derive(Deserialize)]
struct Frequency {
    hz: f64,
}

#[derive(Deserialize)]
struct Call {
    /// One worker only.
    worker: Option<String>,
    method: String,
    #[serde(default)]
    arguments: Vec<Value>,
    /// In seconds.
    timeout: Option<f64>,
}

#[derive(Deserialize)]
struct Kick {
    worker: String,
}

/// Does it, and gives what came of it; `None` where there is no such action.
pub(super) async fn act<W: DistributedWorker>(
    runner: &Runner<W>,
    path: &str,
    body: &[u8],
) -> Option<Result<Value, String>> {
    Some(match path {
        "/api/run" => run(runner).await,
        "/api/cancel" => match runner.turns.cancel() {
            true => Ok(json!({})),
            false => Err("no run is under way that could be cancelled".to_owned()),
        },
        "/api/reset" => reset(runner).await,
        "/api/frequency" => frequency(runner, body),
        "/api/call" => call(runner, body).await,
        "/api/kick" => kick(runner, body),
        _ => return None,
    })
}

/// Begins a run, which goes on by itself; or says why it could not begin.
async fn run<W: DistributedWorker>(runner: &Runner<W>) -> Result<Value, String> {
    let mut runs = runner.runs.watch();
    let before = runs.borrow_and_update().begun;
    let runner = runner.clone();
    let run = async move { run::execute(&runner, Origin::Page).await.err() };
    let mut run = tokio::spawn(async move {
        let ended = tokio::spawn(run).await;
        // The page may look no longer.
        ended.map_err(|error| {
            let failed = format!("the run failed, which is a bug in dp: {error}");
            tracing::error!("{failed}");
            failed
        })
    });
    tokio::select! {
        biased;
        ended = &mut run => match ended {
            Ok(Ok(Some(error))) => Err(chain::message(&error)),
            Ok(Err(failed)) => Err(failed),
            Ok(Ok(None)) | Err(_) => Ok(json!({})),
        },
        _ = runs.wait_for(|state| state.begun > before) => Ok(json!({})),
    }
}

async fn reset<W: DistributedWorker>(runner: &Runner<W>) -> Result<Value, String> {
    // No run begins meanwhile.
    let Some(_turn) = runner.turns.take() else {
        return Err("a run is under way: what it records is not to be flushed".to_owned());
    };
    let within = runner.settings.gather_timeout;
    match tokio::time::timeout(within, runner.fleet.master().reset_results()).await {
        Ok(Ok(())) => Ok(json!({})),
        Ok(Err(error)) => Err(chain::message(&error)),
        Err(_) => Err(format!("not everybody answered within {within:?}")),
    }
}

fn frequency<W: DistributedWorker>(runner: &Runner<W>, body: &[u8]) -> Result<Value, String> {
    let Frequency { hz } = read(body)?;
    runner.fleet.set_frequency(hz).map_err(|error| chain::message(&error))?;
    Ok(json!({ "hz": hz }))
}

async fn call<W: DistributedWorker>(runner: &Runner<W>, body: &[u8]) -> Result<Value, String> {
    let Call { worker, method, arguments, timeout } = read(body)?;
    let mut group = runner.fleet.master();
    if let Some(id) = &worker {
        group = group.select(|worker| worker.id().as_str() == id);
    }
    if group.is_empty() {
        return Err(match worker {
            Some(id) => format!("there is no worker {id}"),
            None => "nobody is there to be called".to_owned(),
        });
    }
    let mut broadcast = group.call_json(&method, arguments).map_err(|error| error.to_string())?;
    let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if let Some(timeout) = timeout {
        broadcast = broadcast.timeout(timeout);
    }
    // Where the browser goes away, this is dropped, and the call is cancelled on the workers.
    let outcomes = broadcast.outcomes().await;
    let text = |outcome: &Outcome<Value>| match &outcome.result {
        Ok(value) => (true, value.to_string()),
        Err(error) => (false, error.to_string()),
    };
    let folded = fold(outcomes.iter().map(|outcome| (outcome.worker.id(), text(outcome))));
    let folded: Vec<Value> = folded
        .into_iter()
        .map(|(workers, (ok, value))| json!({"workers": workers, "ok": ok, "value": value}))
        .collect();
    Ok(json!({ "outcomes": folded }))
}

fn kick<W: DistributedWorker>(runner: &Runner<W>, body: &[u8]) -> Result<Value, String> {
    let Kick { worker } = read(body)?;
    let master = runner.fleet.master();
    let found = master.workers().iter().find(|known| known.info().id().as_str() == worker);
    let client = found.and_then(|found| runner.fleet.kick(found.info().id()));
    client
        .map(|client| json!({ "client": client }))
        .ok_or_else(|| format!("there is no worker {worker}"))
}

fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the request does not fit: {error}"))
}
