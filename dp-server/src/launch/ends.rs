//! How the processes that were launched have ended.

use rustix::process::{Pid, test_kill_process_group};

use dp_core::fold_ids;

/// How one of them has ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) name: String,
    pub(super) group: Pid,
    /// Its status, in words.
    pub(super) said: String,
    /// With status 0.
    pub(super) well: bool,
}

/// All of these, in one line, those together that ended alike.
pub(super) fn words(ends: &[End]) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for end in ends {
        match groups.iter_mut().find(|(said, _)| *said == end.said) {
            Some((_, names)) => names.push(&end.name),
            None => groups.push((&end.said, vec![&end.name])),
        }
    }
    let words = groups.into_iter().map(|(said, mut names)| {
        names.sort_unstable();
        format!("{} with {said}", fold_ids(names))
    });
    words.collect::<Vec<_>>().join("; ")
}

/// Whether a process of this group lives, as one does that the launched one has started and not waited
/// for. One that has ended counts as long as its parent has taken no note of that, so the system's list
/// is asked where there is one.
pub(super) fn lives(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return test_kill_process_group(group).is_ok();
    };
    let group = group.as_raw_nonzero().to_string();
    processes.flatten().any(|process| {
        let is_process =
            process.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        is_process
            && std::fs::read_to_string(process.path().join("stat"))
                .is_ok_and(|stat| is_alive_in(&stat, &group))
    })
}

/// `stat` is that of a process, see proc_pid_stat(5): `PID (NAME) STATE PARENT GROUP ..`.
fn is_alive_in(stat: &str, group: &str) -> bool {
    // A name may have parentheses and blanks in it.
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = behind_name.split_whitespace();
    let state = fields.next();
    state.is_some_and(|state| !matches!(state, "Z" | "X")) && fields.nth(1) == Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_ended_alike_are_named_together() {
        let end = |name: &str, said: &str| End {
            name: name.to_owned(),
            group: Pid::INIT,
            said: said.to_owned(),
            well: false,
        };
        let ends =
            [end("c-2", "exit status 1"), end("c-1", "signal 9"), end("c-0", "exit status 1")];
        assert_eq!(words(&ends), "c-[0,2] with exit status 1; c-1 with signal 9");
        assert_eq!(words(&ends[1..2]), "c-1 with signal 9");
    }

    #[test]
    fn a_process_is_of_its_group_until_it_has_ended() {
        assert!(is_alive_in("7 (a) b) S 1 42 42 0 -1", "42"));
        assert!(!is_alive_in("7 (a) b) Z 1 42 42 0 -1", "42"));
        assert!(!is_alive_in("42 (a) S 1 7 42 0 -1", "42"));
        assert!(!is_alive_in("", "42"));
    }

    #[test]
    fn this_process_lives() {
        assert!(lives(rustix::process::getpgrp()));
    }
}
