//! Mistakes that only show in the block as a whole.

use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Attribute, Ident, ImplItem};

use crate::errors::Errors;
use crate::model::{Function, Run, RunKind, Schedule, Worker};

/// The functions of the generated broadcaster itself. A second one of the same name cannot be.
///
/// Every other name is free: a generated method hides that of the group, which is still reached as
/// `master.group().map(..)`.
const RESERVED: &[&str] = &["in_process", "in_process_with"];

/// Finds what is wrong with the block as a whole, takes it out of the model, and decides what
/// `/run` does with the rest.
pub(crate) fn check(worker: &mut Worker, errors: &mut Errors) {
    reserved(worker, errors);
    duplicates(worker, errors);
    state(worker, errors);
    worker.runs = runs(&worker.remotes, &worker.schedules);
}

fn reserved(worker: &mut Worker, errors: &mut Errors) {
    let mut allowed = |name: &Ident| {
        let plain = name.unraw().to_string();
        if !RESERVED.contains(&plain.as_str()) {
            return true;
        }
        let message = format!("`{plain}` is a name that the generated types need");
        let help = format!(
            "give the method another name: `MasterWorker::{plain}` makes workers without a network"
        );
        errors.at(name, &message, &help);
        false
    };
    worker.remotes.retain(|remote| allowed(&remote.name));
    worker.schedules.retain(|schedule| allowed(&schedule.item.sig.ident));
}

fn duplicates(worker: &mut Worker, errors: &mut Errors) {
    let mut seen: Vec<(Ident, Vec<String>)> = Vec::new();
    let mut doubles: Vec<Ident> = Vec::new();
    let mut first = |name: &Ident, cfgs: &[Attribute], errors: &mut Errors| {
        let cfgs: Vec<String> = cfgs.iter().map(|cfg| cfg.to_token_stream().to_string()).collect();
        // Two methods that never exist at the same time may share a name.
        let clash = |(other, others): &(Ident, Vec<String>)| {
            other.unraw() == name.unraw()
                && (cfgs.is_empty() || others.is_empty() || cfgs == *others)
        };
        let clash = seen.iter().any(clash);
        seen.push((name.clone(), cfgs));
        if clash {
            let message = format!("`{name}` is the name of another method");
            let help = "each `#[remote]`, `#[schedule]` and `#[on_server]` needs a name of its own";
            errors.at(name, &message, help);
            doubles.push(name.clone());
        }
        !clash
    };
    worker.remotes.retain(|one| first(&one.name, &one.carried.cfgs, errors));
    worker.server_functions.retain(|one| first(&one.name, &one.carried.cfgs, errors));
    worker.schedules.retain(|one| first(&one.item.sig.ident, &one.carried.cfgs, errors));
    for name in doubles {
        remove_double(&mut worker.local.items, &name);
    }
}

/// Takes the second method called `name` out of the block, lest the compiler complains as well.
fn remove_double(items: &mut Vec<ImplItem>, name: &Ident) {
    let named = |item: &ImplItem| matches!(item, ImplItem::Fn(item) if item.sig.ident == *name);
    if items.iter().filter(|item| named(item)).count() > 1
        && let Some(last) = items.iter().rposition(named)
    {
        items.remove(last);
    }
}

fn state(worker: &mut Worker, errors: &mut Errors) {
    if worker.server.is_some() {
        return;
    }
    for function in &mut worker.server_functions {
        errors.at(
            &function.name,
            "an `#[on_server]` function needs to know the type of the server's state",
            "write `#[distributed_worker(server = State)]` on the block",
        );
        function.faulty = true;
    }
}

fn runs(remotes: &[Function], schedules: &[Schedule]) -> Vec<Run> {
    let schedules =
        schedules.iter().filter(|schedule| schedule.item.sig.ident == "run" && !schedule.faulty);
    let schedules = schedules.map(|schedule| Run {
        cfgs: schedule.carried.cfgs.clone(),
        name: schedule.item.sig.ident.clone(),
        kind: match schedule.takes_arguments {
            true => RunKind::TakesArguments { signature: schedule.signature.clone() },
            false => RunKind::Schedule { is_async: schedule.is_async, fallible: schedule.fallible },
        },
    });
    let remotes = remotes.iter().filter(|remote| remote.name == "run" && !remote.faulty);
    let remotes = remotes.map(|remote| Run {
        cfgs: remote.carried.cfgs.clone(),
        name: remote.name.clone(),
        kind: match remote.arguments.is_empty() {
            true => RunKind::Broadcast,
            false => RunKind::TakesArguments { signature: remote.signature.clone() },
        },
    });
    schedules.chain(remotes).collect()
}
