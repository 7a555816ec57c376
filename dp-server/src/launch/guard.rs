//! Ends what was launched where this process was killed, and can end nothing itself any more.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::Pid;

/// It waits at a pipe that only this process holds open. When that ends, however this process has ended,
/// it tells the groups that it knows to end, and 5 s later makes those that are still there.
///
/// A launcher gets the signal, too, and hands it on to what it has started elsewhere.
const SCRIPT: &str = "\
trap '' HUP INT QUIT TERM
groups=
while read -r word group; do
    case $word in
    group) groups=\"$groups $group\" ;;
    over) exit 0 ;;
    esac
done
for group in $groups; do kill -s TERM -- \"-$group\"; done
for second in 1 2 3 4 5; do
    left=
    for group in $groups; do kill -s 0 -- \"-$group\" && left=\"$left $group\"; done
    groups=$left
    [ \"$groups\" ] || exit 0
    sleep 1
done
for group in $groups; do kill -s KILL -- \"-$group\"; done
";

/// The process that waits. Dropped, it does what it is there for.
#[derive(Debug)]
pub(super) struct Guard {
    process: Child,
    /// Taken only where the guard is dropped.
    pipe: Option<ChildStdin>,
}

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT])
            .env_remove("DP_TOKEN")
            // What ends this process and its group is not meant for it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// From now on it ends this group, too.
    pub(super) fn watch(&mut self, group: Pid) -> io::Result<()> {
        self.say(&format!("group {}\n", group.as_raw_nonzero()))
    }

    /// Everything has ended: there is nothing to do any more.
    pub(super) fn over(mut self) {
        let _ = self.say("over\n");
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.pipe.as_mut().map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        // It may have some seconds to wait, and nobody waits for it.
        if let Ok(id) = i32::try_from(self.process.id())
            && let Some(id) = Pid::from_raw(id)
        {
            let waiting = move || {
                let options = rustix::process::WaitOptions::empty();
                let _ = rustix::process::waitpid(Some(id), options);
            };
            let _ = super::processes::spawn(waiting);
        }
    }
}
