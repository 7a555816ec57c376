//! Slurm, with four nodes that are all this machine.

use std::fmt::Write as _;
use std::path::Path;

use dp_tests::Program;

use super::{Lab, free_port, greeted, have, until};

/// A cluster. Its daemons end with it.
struct Cluster {
    lab: Lab,
    daemons: Vec<Program>,
    config: String,
}

impl Cluster {
    const NODES: usize = 4;

    fn new() -> Option<Self> {
        if !have(&["slurmctld", "slurmd", "srun", "sbatch", "openssl", "unshare"]) {
            return None;
        }
        let lab = Lab::new("slurm");
        let dir = lab.dir.path().display();
        let mut config = format!(
            "ClusterName=test\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort={}\n\
             AuthType=auth/none\nCredType=cred/none\nSlurmUser=root\nSlurmdUser=root\n\
             StateSaveLocation={dir}/state\nSlurmdSpoolDir={dir}/spool/%n\n\
             SlurmctldPidFile={dir}/slurmctld.pid\nSlurmdPidFile={dir}/slurmd-%n.pid\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             SelectType=select/linear\nSwitchType=switch/none\nMpiDefault=none\n\
             SchedulerParameters=sched_interval=1,batch_sched_delay=0\n\
             PartitionName=main Nodes=ALL Default=YES State=UP\n",
            free_port(),
        );
        let mut hosts = "127.0.0.1 localhost".to_owned();
        for node in 1..=Self::NODES {
            std::fs::create_dir_all(lab.dir.path().join(format!("spool/n{node}"))).unwrap();
            let port = free_port();
            writeln!(
                config,
                "NodeName=n{node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=1"
            )
            .unwrap();
            write!(hosts, " n{node}").unwrap();
        }
        // Nodes know each other's names; this machine does not, and is not to learn them.
        let own_hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let hosts = lab.write("etc-hosts", &format!("{hosts}\n{own_hosts}"));
        let config = lab.write("slurm.conf", &config);
        let mut cluster = Self { lab, daemons: Vec::new(), config };
        if !cluster.start("true", &[]).wait().success() || !cluster.knows(&hosts, "n1") {
            let line = "skipped: Slurm's nodes need root, and a mount namespace";
            assert!(std::env::var_os("DP_TESTS_REQUIRE").is_none(), "{line}");
            eprintln!("{line}");
            return None;
        }
        cluster.boot(&hosts);
        Some(cluster)
    }

    fn start(&self, command: &str, env: &[(&str, &str)]) -> Program {
        let env =
            [&[("SLURM_CONF", self.config.as_str()), ("DP_TESTS_RUN", "greet")], env].concat();
        self.lab.start(command, &env)
    }

    /// A command that has `hosts` for /etc/hosts.
    fn among(hosts: &str, command: &str) -> String {
        format!(
            "unshare --mount --propagation private \
             sh -c 'mount --bind \"{hosts}\" /etc/hosts && exec {command}'"
        )
    }

    fn knows(&self, hosts: &str, node: &str) -> bool {
        self.start(&Self::among(hosts, &format!("getent hosts {node}")), &[]).wait().success()
    }

    fn boot(&mut self, hosts: &str) {
        self.daemons.push(self.start("slurmctld -D", &[]));
        for node in 1..=Self::NODES {
            let command = Self::among(hosts, &format!("slurmd -D -N n{node}"));
            self.daemons.push(self.start(&command, &[]));
        }
        until("four idle nodes", || {
            let mut idle = self.start("sinfo --noheader --format '%D %T'", &[]);
            idle.wait().success() && idle.rest().join("") == format!("{} idle", Self::NODES)
        });
    }

    fn all_said(&mut self) -> String {
        let said: Vec<String> = self.daemons.iter_mut().map(Program::all_errors).collect();
        said.join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whatever a test that failed has left; without a panic, which another one may be under way for.
        let end = "timeout 10 sh -c 'scancel --user root; until [ -z \"$(squeue --noheader)\" ]; \
                   do sleep 0.1; done'";
        self.start(end, &[]).wait();
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

// One test: a cluster takes seconds to boot.
#[test]
fn slurm_runs_a_job_an_array_and_srun() {
    let Some(mut cluster) = Cluster::new() else { return };

    // Server and clients in one job.
    let mut job = cluster.start("sbatch --wait --output job.out job.sbatch", &[]);
    let status = job.wait();
    let output = cluster.lab.read("job.out");
    assert!(status.success(), "{}\n{output}\n{}", job.all_errors(), cluster.all_said());
    assert_eq!(greeted(&lines(&output)), ["subject-1", "subject-2", "subject-3"], "{output}");
    assert!(output.lines().any(|line| line == "ok"), "{output}");
    assert!(Path::new(&cluster.lab.file("run.json")).exists());

    // A failed run is a failed job.
    let mut job =
        cluster.start("sbatch --wait --output failed.out job.sbatch", &[("DP_TESTS_RUN", "fail")]);
    assert!(!job.wait().success(), "{}", cluster.lab.read("failed.out"));

    // An array of clients, and srun, for a server on this machine.
    for (command, ids) in [
        (
            "sbatch --wait --array=0-3 --output array.out array.sbatch",
            ["subject-0", "subject-1", "subject-2", "subject-3"],
        ),
        ("srun --ntasks 4 greeter-client --id srun", ["srun-0", "srun-1", "srun-2", "srun-3"]),
    ] {
        let command =
            format!("greeter-server --bind 127.0.0.1:0 --workers 4 --once --launch '{command}'");
        let mut server = cluster.start(&command, &[]);
        let status = server.wait();
        assert!(status.success(), "{}\n{}", server.all_errors(), cluster.all_said());
        assert_eq!(greeted(&server.rest()), ids);
    }
}
