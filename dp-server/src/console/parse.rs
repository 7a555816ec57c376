//! What a line of input asks for.

use std::fmt;

use thiserror::Error;

use super::input::CANCEL;

/// The command that has an end of its own: `ok`, or `failed`.
pub(crate) const RUN: &str = "/run";

/// A command, ready to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Run,
    Reset,
    /// Sets it, or without a value asks for it. The value is finite and above 0.
    Frequency(Option<f64>),
    Workers,
    Methods,
    Call(Call),
    Results,
    Cancel,
    /// To a file of this name.
    Save(String),
    /// A worker's id, or a client's.
    Kick(String),
    Help,
    Quit,
}

/// What `/call` is to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// One worker only.
    pub(crate) worker: Option<String>,
    pub(crate) method: String,
    /// JSON values, not looked at yet.
    pub(crate) arguments: String,
}

impl Command {
    /// Whether it only asks for something, or sets it, so that it is carried out at once also while
    /// another one is under way.
    pub(crate) fn takes_no_time(&self) -> bool {
        match self {
            Self::Frequency(_) | Self::Workers | Self::Methods | Self::Kick(_) | Self::Help => true,
            Self::Run
            | Self::Reset
            | Self::Call(_)
            | Self::Results
            | Self::Cancel
            | Self::Save(_)
            | Self::Quit => false,
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Run => RUN,
            Self::Reset => "/reset",
            Self::Frequency(_) => "/freq",
            Self::Workers => "/workers",
            Self::Methods => "/methods",
            Self::Call(_) => "/call",
            Self::Results => "/results",
            Self::Cancel => CANCEL,
            Self::Save(_) => "/save",
            Self::Kick(_) => "/kick",
            Self::Help => "/help",
            Self::Quit => "/quit",
        }
    }
}

/// What is known of a command: the one list behind `/help`, errors and suggestions.
#[derive(Debug)]
pub(crate) struct CommandInfo {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static str,
    pub(crate) about: &'static str,
    parse: fn(&CommandInfo, &str) -> Result<Command, ParseError>,
}

pub(crate) const COMMANDS: &[CommandInfo] = &[
    CommandInfo {
        name: RUN,
        arguments: "",
        about: "runs, then prints the results, then `ok`; `failed` after errors",
        parse: |info, rest| info.alone(rest, Command::Run),
    },
    CommandInfo {
        name: "/results",
        arguments: "",
        about: "prints what is recorded so far, without a run",
        parse: |info, rest| info.alone(rest, Command::Results),
    },
    CommandInfo {
        name: "/reset",
        arguments: "",
        about: "flushes the recorded results of every worker",
        parse: |info, rest| info.alone(rest, Command::Reset),
    },
    CommandInfo {
        name: "/freq",
        arguments: "[HZ]",
        about: "sets the frequency, in calls per second; without an argument prints it; at once, also during a run",
        parse: |_, rest| frequency(rest),
    },
    CommandInfo {
        name: "/workers",
        arguments: "",
        about: "lists who is connected: id, address, version, what each is running and for how long; at once, also during a run",
        parse: |info, rest| info.alone(rest, Command::Workers),
    },
    CommandInfo {
        name: "/methods",
        arguments: "",
        about: "lists the remote methods with their signatures and what they do; at once, also during a run",
        parse: |info, rest| info.alone(rest, Command::Methods),
    },
    CommandInfo {
        name: "/call",
        arguments: "[@ID] METHOD [JSON ..]",
        about: "calls a method of every worker, or of worker ID; arguments are JSON, with blanks between",
        parse: |_, rest| call(rest),
    },
    CommandInfo {
        name: "/save",
        arguments: "FILE",
        about: "writes the report of the last run to FILE: .json, .csv, .html or .hlog",
        parse: |_, rest| save(rest),
    },
    CommandInfo {
        name: CANCEL,
        arguments: "",
        about: "written while a command is under way: cancels it, and prints what there is; again: waits no longer",
        parse: |info, rest| info.alone(rest, Command::Cancel),
    },
    CommandInfo {
        name: "/kick",
        arguments: "ID",
        about: "disconnects the client of worker ID, with all its workers; at once, also during a run",
        parse: |_, rest| kick(rest),
    },
    CommandInfo {
        name: "/help",
        arguments: "",
        about: "prints this list; at once, also during a run",
        parse: |info, rest| info.alone(rest, Command::Help),
    },
    CommandInfo {
        name: "/quit",
        arguments: "",
        about: "tells the clients to quit, then quits; after the command under way",
        parse: |info, rest| info.alone(rest, Command::Quit),
    },
];

impl CommandInfo {
    /// How to write it: name and arguments.
    pub(crate) fn usage(&self) -> String {
        format!("{} {}", self.name, self.arguments).trim_end().to_owned()
    }

    fn alone(&self, rest: &str, command: Command) -> Result<Command, ParseError> {
        if rest.is_empty() {
            Ok(command)
        } else {
            Err(ParseError::Arguments { name: self.name, rest: Quoted::new(rest) })
        }
    }
}

/// Why a line is no command, and what to write instead.
#[derive(Debug, PartialEq, Error)]
pub(crate) enum ParseError {
    #[error("{text} is not a command: {hint}")]
    NotACommand { text: Quoted, hint: Hint },
    #[error("there is no command {text}: {hint}")]
    Unknown { text: Quoted, hint: Hint },
    #[error("{name} takes no argument, but got {rest}")]
    Arguments { name: &'static str, rest: Quoted },
    #[error(
        "/call takes a method, as in `/call greet \"Ada\"` or `/call @ID greet \"Ada\"`; \
             `/methods` lists them"
    )]
    NoMethod,
    #[error("/save takes a file, as in `/save run.html`: .json, .csv, .html or .hlog")]
    NoFile,
    #[error("/kick takes the id of one worker; `/workers` lists them")]
    OneWorker,
    #[error("/freq takes calls per second, a number above 0 such as `/freq 2.5`, but got {text}")]
    Frequency { text: Quoted },
}

/// Reads one line; `None` where it is empty.
pub(crate) fn parse(line: &str) -> Result<Option<Command>, ParseError> {
    let line = line.trim_end();
    if line.is_empty() {
        return Ok(None);
    }
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if !name.starts_with('/') {
        let first = line.split_whitespace().next().unwrap_or_default();
        let first = first.trim_start_matches('/');
        let hint = Hint::new(&format!("/{first}"), "commands start with `/`");
        return Err(ParseError::NotACommand { text: Quoted::new(line), hint });
    }
    match COMMANDS.iter().find(|info| info.name == name) {
        Some(info) => (info.parse)(info, rest.trim()).map(Some),
        None => {
            let hint = Hint::new(name, "");
            Err(ParseError::Unknown { text: Quoted::new(name), hint })
        }
    }
}

/// The names of all commands, and whether nothing comes behind them.
pub(crate) fn command_names() -> impl Iterator<Item = (&'static str, bool)> {
    COMMANDS.iter().map(|info| (info.name, info.arguments.is_empty()))
}

/// Whether nothing is read behind this line.
pub(crate) fn ends_the_console(line: &str) -> bool {
    parse(line) == Ok(Some(Command::Quit))
}

/// A command without the arguments of the call that it makes; `None` where it is none.
pub(crate) fn without_arguments(line: &str) -> Option<String> {
    match parse(line).ok().flatten()? {
        Command::Call(call) => {
            let worker = call.worker.map(|worker| format!("@{worker} ")).unwrap_or_default();
            Some(format!("/call {worker}{}", call.method))
        }
        _ => Some(line.to_owned()),
    }
}

fn frequency(rest: &str) -> Result<Command, ParseError> {
    if rest.is_empty() {
        return Ok(Command::Frequency(None));
    }
    match rest.parse::<f64>() {
        Ok(hz) if hz.is_finite() && hz > 0.0 => Ok(Command::Frequency(Some(hz))),
        _ => Err(ParseError::Frequency { text: Quoted::new(rest) }),
    }
}

fn call(rest: &str) -> Result<Command, ParseError> {
    let word = |text: &str| {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        (word.to_owned(), rest.trim_start().to_owned())
    };
    let (first, behind) = word(rest);
    let (worker, (method, arguments)) = match first.strip_prefix('@') {
        Some(worker) => (Some(worker.to_owned()), word(&behind)),
        None => (None, (first, behind)),
    };
    if method.is_empty() {
        return Err(ParseError::NoMethod);
    }
    Ok(Command::Call(Call { worker, method, arguments }))
}

fn save(rest: &str) -> Result<Command, ParseError> {
    match rest {
        "" => Err(ParseError::NoFile),
        file => Ok(Command::Save(file.to_owned())),
    }
}

fn kick(rest: &str) -> Result<Command, ParseError> {
    if rest.is_empty() || rest.contains(char::is_whitespace) {
        return Err(ParseError::OneWorker);
    }
    Ok(Command::Kick(rest.to_owned()))
}

/// The remedy: the command that was probably meant, or the list of all.
#[derive(Debug, PartialEq)]
pub(crate) struct Hint {
    rule: &'static str,
    meant: Option<&'static str>,
}

impl Hint {
    fn new(name: &str, rule: &'static str) -> Self {
        // Longer words are no typos of ours, and comparing them takes long.
        let near = name.len() <= 16;
        let name = name.to_lowercase();
        let meant = COMMANDS
            .iter()
            .filter(|_| near)
            .map(|info| (strsim::damerau_levenshtein(&name, info.name), info.name))
            .filter(|(distance, known)| *distance <= known.len() / 3)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known);
        Self { rule, meant }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.meant, self.rule) {
            (Some(meant), _) => write!(f, "did you mean `{meant}`?"),
            (None, "") => write!(f, "`/help` lists those that there are"),
            (None, rule) => write!(f, "{rule}; `/help` lists them"),
        }
    }
}

/// Part of the input as an error quotes it: escaped, and not longer than a line should be.
#[derive(Debug, PartialEq)]
pub(crate) struct Quoted(String);

impl Quoted {
    const LONGEST: usize = 40;

    pub(crate) fn new(text: &str) -> Self {
        let mut chars = text.chars();
        let mut shown: String =
            chars.by_ref().take(Self::LONGEST).flat_map(char::escape_debug).collect();
        if chars.next().is_some() {
            shown.push('…');
        }
        Self(shown)
    }

    pub(crate) fn into_inner(self) -> String {
        self.0
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        parse(line).unwrap_err().to_string()
    }

    #[test]
    fn every_command_is_understood() {
        for (line, command) in [
            ("/run", Command::Run),
            ("/reset", Command::Reset),
            ("/freq", Command::Frequency(None)),
            ("/freq 2.5", Command::Frequency(Some(2.5))),
            ("/freq\t 1e3 ", Command::Frequency(Some(1000.0))),
            ("/workers", Command::Workers),
            ("/results", Command::Results),
            ("/methods", Command::Methods),
            ("/cancel", Command::Cancel),
            ("/save my run.html", Command::Save("my run.html".to_owned())),
            ("/kick w1", Command::Kick("w1".to_owned())),
            ("/help", Command::Help),
            ("/quit  ", Command::Quit),
        ] {
            assert!(line.starts_with(command.name()), "{line:?}");
            assert_eq!(parse(line), Ok(Some(command)), "{line:?}");
        }
    }

    #[test]
    fn a_call_is_a_worker_perhaps_a_method_and_the_rest() {
        for (line, worker, method, arguments) in [
            ("/call greet", None, "greet", ""),
            ("/call  greet  \"Ada  L\" 2 ", None, "greet", "\"Ada  L\" 2"),
            ("/call @c1/2 greet\t[1, 2]", Some("c1/2"), "greet", "[1, 2]"),
            ("/call @ greet", Some(""), "greet", ""),
        ] {
            let (worker, method) = (worker.map(str::to_owned), method.to_owned());
            let call = Call { worker, method, arguments: arguments.to_owned() };
            assert_eq!(parse(line), Ok(Some(Command::Call(call))), "{line:?}");
        }
        for line in ["/call", "/call @w1", "/call @"] {
            assert_eq!(parse(line), Err(ParseError::NoMethod), "{line:?}");
        }
        assert_eq!(parse("/save"), Err(ParseError::NoFile));
        assert_eq!(parse("/kick"), Err(ParseError::OneWorker));
        assert_eq!(parse("/kick w1 w2"), Err(ParseError::OneWorker));
    }

    #[test]
    fn an_empty_line_asks_for_nothing() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse("  \t "), Ok(None));
    }

    #[test]
    fn a_typo_gets_a_suggestion() {
        assert_eq!(error("/rnu"), "there is no command `/rnu`: did you mean `/run`?");
        assert_eq!(error("/QUIT"), "there is no command `/QUIT`: did you mean `/quit`?");
        assert_eq!(error("/worker"), "there is no command `/worker`: did you mean `/workers`?");
        assert_eq!(
            error("/teleport"),
            "there is no command `/teleport`: `/help` lists those that there are"
        );
        assert_eq!(error("/"), "there is no command `/`: `/help` lists those that there are");
    }

    #[test]
    fn text_that_is_no_command_gets_a_remedy() {
        assert_eq!(error("run"), "`run` is not a command: did you mean `/run`?");
        assert_eq!(error(" /run"), "` /run` is not a command: did you mean `/run`?");
        assert_eq!(
            error("hello there"),
            "`hello there` is not a command: commands start with `/`; `/help` lists them"
        );
    }

    #[test]
    fn arguments_where_there_are_none_are_an_error() {
        assert_eq!(error("/run fast"), "/run takes no argument, but got `fast`");
        assert_eq!(error("/quit /run"), "/quit takes no argument, but got `/run`");
    }

    #[test]
    fn a_frequency_is_a_finite_number_above_0() {
        for bad in ["0", "-1", "nan", "inf", "1e999", "fast", "1 2", "-0.0"] {
            assert!(error(&format!("/freq {bad}")).ends_with(&format!("but got `{bad}`")), "{bad}");
        }
    }

    #[test]
    fn what_is_quoted_stays_on_one_short_line() {
        let long = error(&"\u{1b}[2J".repeat(10_000));
        assert!(long.len() < 200 && !long.contains('\u{1b}'), "{long}");
    }
}
