//! Where a launcher has put this process: its rank, how many there are, and where the first one is.
//!
//! | launcher | rank | size |
//! | --- | --- | --- |
//! | set by hand, for one over ssh | `DP_RANK` | `DP_SIZE` |
//! | Open MPI | `OMPI_COMM_WORLD_RANK` | `OMPI_COMM_WORLD_SIZE` |
//! | Slurm, a task of an array | `SLURM_ARRAY_TASK_ID` | `SLURM_ARRAY_TASK_COUNT` |
//! | Slurm, `srun` | `SLURM_PROCID` | `SLURM_NTASKS` |
//! | PMI (MPICH, Intel MPI) | `PMI_RANK` | `PMI_SIZE` |
//! | PMIx | `PMIX_RANK` | |
//! | Kubernetes, an indexed job | `JOB_COMPLETION_INDEX` | |
//!
//! The rank of a process that was started alone, of a size of 1, is in no id: the launcher leaves it in the
//! environment of a shell, and everything that is started there has it.
//!
//! The first that has a rank counts: within a job of Slurm, Open MPI sets its own beside that, and an
//! array has a `SLURM_PROCID` of 0 in every task. A batch script of Slurm has that too, but is no task:
//! only what `srun` starts has a `SLURM_STEP_ID`.

use thiserror::Error;

/// Looks up a variable of the environment.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a launcher says of this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Its number among those that were started together, mostly from 0.
    pub rank: Option<u64>,
    /// How many were started together.
    pub size: Option<u64>,
}

/// Why what the environment says cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// A variable has something else than a number.
    #[error("the environment variable {variable} is `{value}`: a whole number is needed")]
    NoNumber {
        /// The variable.
        variable: String,
        /// What is in it.
        value: String,
    },
    /// Nothing says how many processes were started together.
    #[error(
        "no launcher says how many workers there are: give the number, or set DP_SIZE (looked at: \
         DP_SIZE, OMPI_COMM_WORLD_SIZE, SLURM_ARRAY_TASK_COUNT, SLURM_NTASKS, PMI_SIZE)"
    )]
    NoSize,
    /// Nothing says where the server is.
    #[error(
        "no launcher says where the server is: give its address, or set DP_SERVER (looked at: \
         DP_SERVER, SLURM_STEP_NODELIST, SLURM_JOB_NODELIST, and for Kubernetes DP_SERVICE with \
         JOB_COMPLETION_INDEX and HOSTNAME)"
    )]
    NoServer,
}

/// The variables of each launcher, in the order in which they count: rank, size, and one without which
/// they mean something else.
const LAUNCHERS: [(&str, &str, Option<&str>); 7] = [
    ("DP_RANK", "DP_SIZE", None),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", None),
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", None),
    ("SLURM_PROCID", "SLURM_NTASKS", Some("SLURM_STEP_ID")),
    ("PMI_RANK", "PMI_SIZE", None),
    ("PMIX_RANK", "", None),
    ("JOB_COMPLETION_INDEX", "", None),
];

impl Place {
    /// What the environment of this process says.
    ///
    /// # Errors
    /// [`PlaceError::NoNumber`] when a variable that counts has no number in it.
    pub fn of_environment() -> Result<Self, PlaceError> {
        Self::found(&environment)
    }

    fn found(lookup: Lookup<'_>) -> Result<Self, PlaceError> {
        let by_hand = number(lookup, "DP_SIZE")?;
        for (rank, size, only_with) in LAUNCHERS {
            if only_with.is_some_and(|variable| lookup(variable).is_none()) {
                continue;
            }
            if let Some(rank) = number(lookup, rank)? {
                let size = if size.is_empty() { None } else { number(lookup, size)? };
                return Ok(Self { rank: Some(rank), size: by_hand.or(size) });
            }
        }
        Ok(Self { rank: None, size: by_hand })
    }

    /// The rank, where it tells this process from others: one that was started alone has one, too, and so
    /// has everything that is started from its shell.
    pub fn telling_rank(&self) -> Option<u64> {
        self.rank.filter(|_| self.size != Some(1))
    }

    /// `name` with the rank behind it, `lab-3`, or alone where there is none that tells this process from
    /// others.
    pub fn id(&self, name: &str) -> String {
        self.telling_rank().map_or_else(|| name.to_owned(), |rank| format!("{name}-{rank}"))
    }
}

/// How many workers a server has to expect: as many processes as its launcher has started, without the
/// server where that is one of them.
///
/// # Errors
/// [`PlaceError`] when nothing says so.
pub fn expected_workers() -> Result<u64, PlaceError> {
    expected(&environment)
}

fn expected(lookup: Lookup<'_>) -> Result<u64, PlaceError> {
    let place = Place::found(lookup)?;
    match (place.rank, place.size) {
        (Some(_), Some(size)) => Ok(size.saturating_sub(1)),
        (None, Some(size)) => Ok(size),
        // In a batch script the tasks are those that `srun` will start.
        (None, None) => number(lookup, "SLURM_NTASKS")?.ok_or(PlaceError::NoSize),
        (Some(_), None) => Err(PlaceError::NoSize),
    }
}

/// Where the server is, by what a launcher says: `DP_SERVER`, else the first host of the Slurm job, else
/// the first pod of an indexed job of Kubernetes, by its headless service, whose name is in `DP_SERVICE`.
/// Launchers say no port: the host's is `port` if that is given, else the default.
///
/// # Errors
/// [`PlaceError::NoServer`] when nothing says so.
pub fn server_address(port: Option<&str>) -> Result<String, PlaceError> {
    server(&environment, port)
}

/// Whether an address is to be asked of the launcher, `auto` or `auto:PORT`, and the port.
pub fn is_auto(address: &str) -> Option<Option<&str>> {
    match address.strip_prefix("auto")? {
        "" => Some(None),
        rest => rest.strip_prefix(':').map(Some),
    }
}

fn server(lookup: Lookup<'_>, port: Option<&str>) -> Result<String, PlaceError> {
    if let Some(server) = lookup("DP_SERVER").filter(|server| is_auto(server).is_none()) {
        return Ok(server);
    }
    let host = host(lookup)?;
    Ok(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

fn host(lookup: Lookup<'_>) -> Result<String, PlaceError> {
    let nodes = lookup("SLURM_STEP_NODELIST").or_else(|| lookup("SLURM_JOB_NODELIST"));
    if let Some(first) = nodes.as_deref().and_then(first_host) {
        return Ok(first);
    }
    let pod = || {
        let (service, index) = (lookup("DP_SERVICE")?, lookup("JOB_COMPLETION_INDEX")?);
        // A pod's own name is that of the job and its index.
        let host = lookup("HOSTNAME")?;
        let job = host.strip_suffix(index.as_str())?;
        Some(format!("{job}0.{service}"))
    };
    pod().ok_or(PlaceError::NoServer)
}

/// The first host of a list as Slurm writes it: `n1`, `n[1-4,7],m3`, `n[01-10]-ib`.
fn first_host(list: &str) -> Option<String> {
    let end_of_first = list.find([',', '[']).unwrap_or(list.len());
    let (prefix, rest) = list.split_at(end_of_first);
    let Some(inner) = rest.strip_prefix('[') else {
        return (!prefix.is_empty()).then(|| prefix.to_owned());
    };
    let (numbers, behind) = inner.split_once(']')?;
    let first = numbers.split([',', '-']).next()?;
    let suffix = behind.split(',').next().unwrap_or_default();
    // Lists in several dimensions, `n[1-2]r[1-2]`, have another list in the rest.
    let suffix = if suffix.contains('[') { first_host(suffix)? } else { suffix.to_owned() };
    Some(format!("{prefix}{first}{suffix}"))
}

fn number(lookup: Lookup<'_>, variable: &str) -> Result<Option<u64>, PlaceError> {
    let Some(value) = lookup(variable) else { return Ok(None) };
    match value.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(PlaceError::NoNumber { variable: variable.to_owned(), value }),
    }
}

fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(variables: &[(&str, &str)], look: impl FnOnce(Lookup<'_>) -> T) -> T {
        look(&|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn place(variables: &[(&str, &str)]) -> (Option<u64>, Option<u64>) {
        with(variables, |lookup| {
            let place = Place::found(lookup).unwrap();
            (place.rank, place.size)
        })
    }

    const MPI: [(&str, &str); 2] = [("OMPI_COMM_WORLD_RANK", "3"), ("OMPI_COMM_WORLD_SIZE", "8")];
    const SRUN: [(&str, &str); 3] =
        [("SLURM_PROCID", "2"), ("SLURM_NTASKS", "4"), ("SLURM_STEP_ID", "0")];
    const ARRAY: [(&str, &str); 3] =
        [("SLURM_ARRAY_TASK_ID", "5"), ("SLURM_ARRAY_TASK_COUNT", "9"), ("SLURM_PROCID", "0")];

    #[test]
    fn each_launcher_says_rank_and_size() {
        assert_eq!(place(&[]), (None, None));
        assert_eq!(place(&MPI), (Some(3), Some(8)));
        assert_eq!(place(&SRUN), (Some(2), Some(4)));
        assert_eq!(place(&ARRAY), (Some(5), Some(9)));
        assert_eq!(place(&[("PMI_RANK", "1"), ("PMI_SIZE", "2")]), (Some(1), Some(2)));
        assert_eq!(place(&[("PMIX_RANK", "1")]), (Some(1), None));
        assert_eq!(place(&[("JOB_COMPLETION_INDEX", "7")]), (Some(7), None));
    }

    #[test]
    fn what_is_set_by_hand_wins_and_mpi_wins_within_slurm() {
        let both = [&SRUN[..], &MPI[..]].concat();
        assert_eq!(place(&both), (Some(3), Some(8)));
        let by_hand = [&both[..], &[("DP_RANK", "1"), ("DP_SIZE", "2")]].concat();
        assert_eq!(place(&by_hand), (Some(1), Some(2)));
        assert_eq!(place(&[("JOB_COMPLETION_INDEX", "7"), ("DP_SIZE", "9")]), (Some(7), Some(9)));
    }

    #[test]
    fn a_batch_script_is_no_task() {
        let script = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")];
        assert_eq!(place(&script), (None, None));
        assert_eq!(with(&script, expected), Ok(4));
        // One of the tasks is the server itself.
        assert_eq!(with(&SRUN, expected), Ok(3));
        assert_eq!(with(&[], expected), Err(PlaceError::NoSize));
    }

    #[test]
    fn what_is_no_number_is_named() {
        let error = with(&[("DP_RANK", "third")], Place::found).unwrap_err().to_string();
        assert!(error.contains("DP_RANK") && error.contains("`third`"), "{error}");
    }

    #[test]
    fn the_server_is_where_the_launcher_says() {
        let slurm = [("SLURM_JOB_NODELIST", "n[03-10],m1")];
        let server = |lookup: Lookup<'_>| server(lookup, None);
        assert_eq!(with(&slurm, server).unwrap(), "n03");
        assert_eq!(with(&slurm, |lookup| super::server(lookup, Some("9000"))).unwrap(), "n03:9000");
        let by_hand = [&slurm[..], &[("DP_SERVER", "lab:9000")]].concat();
        assert_eq!(with(&by_hand, server).unwrap(), "lab:9000");
        let pod =
            [("DP_SERVICE", "search"), ("JOB_COMPLETION_INDEX", "12"), ("HOSTNAME", "job-12")];
        assert_eq!(with(&pod, server).unwrap(), "job-0.search");
        for auto in ["auto", "auto:9000"] {
            assert_eq!(with(&[("DP_SERVER", auto)], server), Err(PlaceError::NoServer));
        }
        assert_eq!(is_auto("auto:9000"), Some(Some("9000")));
        assert_eq!((is_auto("auto"), is_auto("automat:1")), (Some(None), None));
    }

    #[test]
    fn the_first_of_a_list_of_hosts_is_found() {
        for (list, first) in [
            ("n1", "n1"),
            ("n1,n2", "n1"),
            ("n[1-4,7],m3", "n1"),
            ("n[7]", "n7"),
            ("n[01-10]-ib,x", "n01-ib"),
            ("r[1-2]n[3-4]", "r1n3"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(first), "{list}");
        }
        assert_eq!(first_host(""), None);
        assert_eq!(first_host("n[1"), None);
    }

    #[test]
    fn an_id_has_the_rank_behind_its_name() {
        assert_eq!(Place { rank: Some(3), size: None }.id("lab"), "lab-3");
        assert_eq!(Place::default().id("lab"), "lab");
    }

    #[test]
    fn the_rank_of_one_that_was_started_alone_is_no_name() {
        let alone = Place { rank: Some(0), size: Some(1) };
        assert_eq!((alone.telling_rank(), alone.id("lab")), (None, "lab".to_owned()));
        assert_eq!(Place { rank: Some(0), size: Some(2) }.telling_rank(), Some(0));
    }
}
