//! What the options of all dp programs have in common: how they are read from the environment, and the
//! numbers that they take.
//!
//! A struct of options has `#[command(mut_args = dp_core::args::option)]`, so that it holds for every
//! program that flattens it, too.

use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command, Error};

use crate::limits::{LONGEST_TIME, MAX_COUNT, MAX_MESSAGE, MIB, SHORTEST_TIME};

/// What the variables of dp begin with.
const PREFIX: &str = "DP_";
/// The names of values that are numbers.
const NUMBERS: [&str; 7] = ["N", "SECONDS", "HZ", "MIB", "UID", "RATE", "PERCENT"];

/// Makes an option as all of dp's are: an empty variable counts as one that is not set, and a negative
/// number is a value that is refused, not another option.
pub fn option(arg: Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    let number = names.iter().any(|name| NUMBERS.contains(&name.as_str()));
    let arg = if number { arg.allow_negative_numbers(true) } else { arg };
    let variable = arg.get_env().and_then(OsStr::to_str).map(str::to_owned);
    let Some(variable) = variable else { return arg };
    let value = std::env::var_os(&variable);
    let empty = value.is_some_and(|value| value.to_string_lossy().trim().is_empty());
    if !variable.starts_with(PREFIX) || !empty {
        return arg;
    }
    // clap has looked already. The help still says which variable it is.
    let shown = |help: String| format!("{help} [env: {variable}=]");
    let (short, long) = (arg.get_help().map(ToString::to_string), arg.get_long_help());
    let long = long.map(|help| shown(help.to_string()));
    let arg = match short {
        Some(help) => arg.help(shown(help)),
        None => arg,
    };
    let arg = match long {
        Some(help) => arg.long_help(help),
        None => arg,
    };
    arg.env(None::<&'static str>)
}

/// A parser whose errors name the environment variable where that is what the value is from.
#[derive(Debug, Clone)]
pub struct Named<P> {
    parser: P,
    /// The variable that the default is from.
    default: Option<&'static str>,
}

/// `parser`, whose errors name the environment variable where that is what the value is from.
pub fn named<P: TypedValueParser>(parser: P) -> Named<P> {
    Named { parser, default: None }
}

impl<P> Named<P> {
    /// Names `variable` where the value is the default: the default is read from it.
    pub fn default_from(mut self, variable: &'static str) -> Self {
        self.default = Some(variable);
        self
    }
}

impl<P: TypedValueParser> TypedValueParser for Named<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<P::Value, Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<P::Value, Error> {
        self.parser.parse_ref_(command, arg, value, source).map_err(|error| {
            let variable = match source {
                ValueSource::EnvVariable => arg.and_then(Arg::get_env).and_then(OsStr::to_str),
                ValueSource::DefaultValue => self.default,
                _ => None,
            };
            let culprit = match variable {
                Some(variable) => Some(format!("the environment variable {variable}")),
                None => arg.map(ToString::to_string),
            };
            let mut error = match error.kind() {
                // clap does not say whose value it is.
                ErrorKind::InvalidUtf8 => {
                    let mut error = Error::new(ErrorKind::ValueValidation).with_cmd(command);
                    let shown = ContextValue::String(value.to_string_lossy().into_owned());
                    error.insert(ContextKind::InvalidValue, shown);
                    error
                }
                _ => error,
            };
            if let Some(culprit) = culprit {
                error.insert(ContextKind::InvalidArg, ContextValue::String(culprit));
            }
            error
        })
    }

    fn possible_values(
        &self,
    ) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        self.parser.possible_values()
    }
}

/// Yes or no: `true`, `yes`, `on`, `1`, or the opposites.
pub fn switch() -> impl TypedValueParser<Value = bool> {
    named(BoolishValueParser::new())
}

/// Any text.
pub fn text() -> impl TypedValueParser<Value = String> {
    named(clap::builder::StringValueParser::new())
}

/// What `parse` makes of a text.
pub fn parsed<T, F>(parse: F) -> Named<F>
where
    F: Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    named(parse)
}

/// A number of something that there has to be one of: from 1 to 4294967295.
pub fn count() -> impl TypedValueParser<Value = usize> {
    count_up_to(MAX_COUNT)
}

/// A number from 1 to `most`.
pub fn count_up_to(most: usize) -> Named<impl TypedValueParser<Value = usize>> {
    parsed(move |text: &str| {
        let number = text.trim().parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("a whole number above 0 is needed, from 1 to {most}"))
    })
}

/// A number that may be zero: from 0 to 4294967295.
pub fn count_or_none() -> impl TypedValueParser<Value = usize> {
    parsed(|text: &str| {
        let number = text.trim().parse().ok().filter(|number| *number <= MAX_COUNT);
        number.ok_or_else(|| format!("a whole number from 0 to {MAX_COUNT} is needed"))
    })
}

/// The number of a user.
pub fn user() -> impl TypedValueParser<Value = u32> {
    named(clap::value_parser!(u32))
}

/// A time in seconds.
pub fn seconds() -> impl TypedValueParser<Value = Duration> {
    parsed(|text: &str| {
        let seconds = text.trim().parse::<f64>().ok();
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        time.filter(|time| (SHORTEST_TIME..=LONGEST_TIME).contains(time)).ok_or_else(|| {
            format!(
                "a time is a number of seconds above 0, such as 2.5: from {} to {}",
                SHORTEST_TIME.as_secs_f64(),
                LONGEST_TIME.as_secs()
            )
        })
    })
}

/// The size of a message in MiB, as bytes.
pub fn message_size() -> impl TypedValueParser<Value = usize> {
    mebibytes(MAX_MESSAGE / MIB)
}

/// A size in MiB, as bytes: up to 1 TiB.
pub fn size() -> impl TypedValueParser<Value = usize> {
    mebibytes(1 << 20)
}

fn mebibytes(most: usize) -> impl TypedValueParser<Value = usize> {
    parsed(move |text: &str| {
        let size = text.trim().parse::<usize>().ok().filter(|size| (1..=most).contains(size));
        size.and_then(|size| size.checked_mul(MIB)).ok_or_else(|| {
            format!("a size is a whole number of MiB above 0, such as 256: from 1 to {most}")
        })
    })
}

/// Calls per second.
pub fn frequency() -> impl TypedValueParser<Value = f64> {
    parsed(|text: &str| {
        let hz = text.trim().parse::<f64>().map_err(|_| f64::NAN);
        hz.and_then(|hz| crate::fleet::check_frequency(hz).map(|()| hz).map_err(|_| hz)).map_err(
            |_| {
                let range = crate::fleet::FREQUENCIES;
                format!(
                    "calls per second are a number above 0, such as 2.5: from {} to {}",
                    range.start(),
                    range.end()
                )
            },
        )
    })
}
