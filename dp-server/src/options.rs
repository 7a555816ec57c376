//! Tests of what all options have in common.

use std::process::Command as Process;

use clap::{Arg, Command};

use crate::args::ServerArgs;

const README: &str = include_str!("../../README.md");
const BUILDER: &str = include_str!("builder.rs");
/// Says to this program which test it is a part of.
const PART: &str = "DP_OPTIONS_TEST_PART";

fn command() -> Command {
    <ServerArgs as clap::Args>::augment_args(Command::new("server"))
}

fn from_environment(arg: &Arg) -> Option<String> {
    arg.get_env().map(|name| name.to_string_lossy().into_owned())
}

/// Runs the test of this name again, in a process with `variables`.
fn again(test: &str, variables: &[(String, &str)]) {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args([&format!("options::{test}"), "--exact"]).env(PART, test);
    process.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = process.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn error(arguments: &[&str]) -> String {
    let arguments = [&["server"], arguments].concat();
    command().try_get_matches_from(arguments).unwrap_err().to_string()
}

#[test]
fn an_empty_variable_counts_as_none_for_every_option() {
    let test = "an_empty_variable_counts_as_none_for_every_option";
    if std::env::var_os(PART).is_none() {
        let variables = command().get_arguments().filter_map(from_environment).collect::<Vec<_>>();
        assert!(variables.len() > 25, "{variables:?}");
        for empty in ["", " "] {
            let variables: Vec<_> = variables.iter().map(|name| (name.clone(), empty)).collect();
            again(test, &variables);
        }
        return;
    }
    let matches = command().try_get_matches_from(["server"]).unwrap();
    let given = |id: &str| matches.value_source(id) == Some(clap::parser::ValueSource::EnvVariable);
    let ids = command();
    let ids: Vec<_> = ids.get_arguments().map(|arg| arg.get_id().to_string()).collect();
    assert!(!ids.iter().any(|id| given(id)), "{ids:?}");
    assert!(command().render_long_help().to_string().contains("DP_FREQUENCY"));
}

#[test]
fn a_bad_value_is_named_by_its_variable() {
    let bad = [("DP_WORKERS", "many"), ("DP_OUTPUT", "xml"), ("DP_ONCE", "maybe")];
    match std::env::var("DP_OPTIONS_TEST_VARIABLE") {
        Err(_) => {
            for (variable, value) in bad {
                let variables = [
                    (variable.to_owned(), value),
                    ("DP_OPTIONS_TEST_VARIABLE".to_owned(), variable),
                ];
                again("a_bad_value_is_named_by_its_variable", &variables);
            }
        }
        Ok(variable) => {
            let error = error(&[]);
            assert!(error.contains(&format!("the environment variable {variable}")), "{error}");
            assert!(!error.contains("--workers") && !error.contains("--output"), "{error}");
        }
    }
    let error = error(&["--workers", "many"]);
    assert!(error.contains("--workers") && !error.contains("environment"), "{error}");
}

#[test]
fn readme_help_environment_and_builder_know_the_same_options() {
    // What has no method, or one of another name.
    let none = ["once", "no-history", "verbose", "launch-clients"];
    let renamed = [
        ("results", "results_file"),
        ("tls-cert", "tls"),
        ("tls-key", "tls"),
        ("max-queued", "max_queued_bytes"),
        ("max-kept", "max_kept_bytes"),
        ("max-kept-per-client", "max_kept_bytes_per_client"),
    ];
    let help = command().render_long_help().to_string();
    for arg in command().get_arguments().filter(|arg| arg.get_long() != Some("help")) {
        let Some(long) = arg.get_long() else { continue };
        assert!(help.contains(&format!("--{long}")), "--{long} is not in --help");
        assert!(README.contains(&format!("--{long}")) || long == "verbose", "README: --{long}");
        if long == "verbose" {
            continue;
        }
        let variable = from_environment(arg).unwrap_or_default();
        assert_eq!(variable, format!("DP_{}", long.to_uppercase().replace('-', "_")));
        if !arg.is_hide_short_help_set() {
            assert!(README.contains(&variable), "README: {variable}");
        }
        let nats = ["engine", "job"].contains(&long) || long.starts_with("nats-");
        if none.contains(&long) || nats {
            continue;
        }
        let other = renamed.iter().find(|(option, _)| *option == long).map(|(_, method)| *method);
        let method = other.map_or_else(|| long.replace('-', "_"), str::to_owned);
        assert!(BUILDER.contains(&format!("pub fn {method}(mut self")), "builder: {method}");
    }
}
