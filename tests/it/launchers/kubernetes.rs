//! The manifest for Kubernetes: checked against its schema, and its command run as the pods would.

use dp_tests::Program;

use super::{Lab, free_port, greeted, have};

const PODS: usize = 5;

#[test]
fn the_manifest_is_what_kubernetes_understands() {
    if !have(&["kubernetes-validate"]) {
        return;
    }
    let lab = Lab::new("kubernetes");
    let mut check = lab.start("kubernetes-validate --strict job.yaml", &[]);
    assert!(check.wait().success(), "{}", check.all_errors());
    // It finds mistakes.
    let wrong = lab.read("job.yaml").replace("clusterIP: None", "clusterIP: [None]");
    lab.write("wrong.yaml", &wrong);
    assert!(!lab.start("kubernetes-validate --strict wrong.yaml", &[]).wait().success());
}

/// The lines of the block that begins behind `begin`, without their indentation.
fn block(manifest: &str, begin: &str) -> String {
    let mut lines = manifest.lines().skip_while(|line| line.trim() != begin).skip(1);
    let first = lines.next().unwrap();
    let indentation = first.len() - first.trim_start().len();
    let rest = lines.take_while(|line| line.len() - line.trim_start().len() >= indentation);
    let block: Vec<&str> =
        std::iter::once(first).chain(rest).map(|line| &line[indentation..]).collect();
    block.join("\n")
}

/// The variables whose values stand in the manifest.
fn variables(manifest: &str) -> Vec<(String, String)> {
    let value = |line: &str, key: &str| {
        line.trim().strip_prefix(key).map(|value| value.trim().trim_matches('"').to_owned())
    };
    let lines: Vec<&str> = manifest.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| Some((value(pair[0], "- name:")?, value(pair[1], "value:")?)))
        .collect()
}

#[test]
fn its_pods_find_each_other_run_once_and_end_well() {
    let lab = Lab::new("kubernetes");
    let manifest = lab.read("job.yaml");
    let command = block(&manifest, "- |");
    let address = format!("127.0.0.1:{}", free_port());
    let variables = variables(&manifest);
    assert!(variables.iter().any(|(name, _)| name == "DP_SERVICE"), "{variables:?}");
    let pod = |index: usize| -> Program {
        let (index, host) = (index.to_string(), format!("greeter-{index}"));
        let mut env: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        env.extend([("JOB_COMPLETION_INDEX", &*index), ("HOSTNAME", &*host)]);
        // No name service of the cluster's is here, and every pod has its own ports there.
        env.extend([("DP_BIND", &*address), ("DP_SERVER", &*address)]);
        env.extend([("DP_TOKEN", "open sesame, please"), ("DP_TESTS_RUN", "greet")]);
        let command = command.replace('\'', "'\\''");
        lab.start(&format!("sh -c '{command}'"), &env)
    };
    // The server is the last to come.
    let mut pods: Vec<Program> = (0..PODS).rev().map(pod).collect();
    for pod in &mut pods {
        assert!(pod.wait().success(), "{}", pod.all_errors());
    }
    let lines = pods.last_mut().unwrap().rest();
    assert_eq!(greeted(&lines), ["subject-1", "subject-2", "subject-3", "subject-4"]);
}
