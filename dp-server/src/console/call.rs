//! `/call`.

use std::borrow::Cow;

use dp_core::{Broadcast, DistributedWorker, Method, Outcome};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::output::Line;
use super::parse::{Call, Quoted};
use super::watch::{Cancelling, Waited};
use super::{Console, ConsoleError};
use crate::server::Server;

impl<W, I, O> Console<'_, W, I, O>
where
    W: DistributedWorker,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    pub(super) async fn call(&mut self, call: &Call) -> Result<(), ConsoleError> {
        let broadcast = match prepare(self.server, call) {
            Ok(broadcast) => broadcast,
            Err(mistake) => {
                self.print(Line::Error(&mistake));
                return Ok(());
            }
        };
        let mut outcomes: Vec<Outcome<Value>> = Vec::new();
        let gather = async {
            let mut stream = broadcast.stream();
            while let Some(outcome) = stream.next().await {
                outcomes.push(outcome);
            }
        };
        let waited = self.meanwhile(gather, Cancelling::Drops).await?;
        outcomes.sort_by_key(|outcome| outcome.worker.index());
        self.printer.outcomes(&outcomes);
        if !matches!(waited, Waited::Done(())) {
            self.say_if_left(&waited);
            self.say_what_goes_on().await?;
        }
        Ok(())
    }
}

/// The call, or what is wrong with it.
fn prepare<W: DistributedWorker>(
    server: &Server<W>,
    call: &Call,
) -> Result<Broadcast<Value>, String> {
    let methods = W::contract().methods;
    let Some(method) = methods.iter().find(|method| method.name == call.method) else {
        return Err(no_such_method(&methods, &call.method));
    };
    let arguments = arguments(&call.arguments)
        .map_err(|mistake| format!("{mistake}; the method is {}", method.signature))?;
    let mut group = server.master();
    if let Some(id) = &call.worker {
        group = group.select(|worker| worker.id().as_str() == id);
    }
    let broadcast = group.call_json(&call.method, arguments).map_err(|error| error.to_string())?;
    match &call.worker {
        _ if !group.is_empty() => Ok(broadcast),
        None => Err("nobody is there to be called".to_owned()),
        Some(id) => {
            let id = Quoted::new(id);
            Err(format!("there is no worker {id}: `/workers` lists those that there are"))
        }
    }
}

fn no_such_method(methods: &[Method], name: &str) -> String {
    let near = |method: &&Method| {
        // Longer words are no typos of ours, and comparing them takes long.
        name.len() <= 64 && strsim::damerau_levenshtein(name, method.name) <= name.len() / 3
    };
    let hint = match methods.iter().find(near) {
        Some(method) => format!("did you mean {}?", method.signature),
        None => "`/methods` lists those that there are".to_owned(),
    };
    format!("there is no method {}: {hint}", Quoted::new(name))
}

/// The integers that JSON values can't hold put into quotes, as arguments of 128 bits take them.
fn quoted_integers(text: &str) -> Cow<'_, str> {
    const HELD: usize = 18;
    if text.len() <= HELD {
        return text.into();
    }
    let mut quoted = String::new();
    let (mut in_text, mut rest) = (false, text);
    while let Some(c) = rest.chars().next() {
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let count = match in_text {
            true => 0,
            false => digits.bytes().take_while(u8::is_ascii_digit).count(),
        };
        let length = rest.len() - digits.len() + count;
        let taken = match c {
            '"' => {
                in_text = !in_text;
                1
            }
            '\\' if in_text => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '-' | '0'..='9' if count > 0 => {
                let (number, behind) = rest.split_at(length);
                let float = behind.starts_with(['.', 'e', 'E', '+', '-']);
                let held = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
                if float {
                    // With what stands behind the point, or is the exponent.
                    let more = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
                    behind.find(|c| !more(c)).map_or(rest.len(), |end| length + end)
                } else if count > HELD && !held {
                    quoted.push_str(&format!("\"{number}\""));
                    rest = behind;
                    continue;
                } else {
                    length
                }
            }
            c => c.len_utf8(),
        };
        quoted.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    quoted.into()
}

/// JSON values with white space between them.
pub(crate) fn arguments(text: &str) -> Result<Vec<Value>, String> {
    let text = &*quoted_integers(text);
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let rest = text.get(stream.byte_offset()..).unwrap_or_default().trim_start();
        match stream.next() {
            None => return Ok(values),
            Some(Ok(value)) => values.push(value),
            Some(Err(error)) => {
                let hint = match rest.starts_with(char::is_alphabetic) {
                    true => " (text stands in double quotes)",
                    false => "",
                };
                let (number, rest) = (values.len() + 1, Quoted::new(rest));
                return Err(format!("argument {number} is no JSON, {error}: {rest}{hint}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_json_values_with_blanks_between() {
        let all = arguments(r#" "Ada  L" 2.5	[1, 2] {"a b": null} true "#).unwrap();
        assert_eq!(
            all,
            [json!("Ada  L"), json!(2.5), json!([1, 2]), json!({"a b": null}), json!(true)]
        );
        assert_eq!(arguments("").unwrap(), Vec::<Value>::new());
    }

    #[test]
    fn an_integer_of_128_bits_keeps_every_digit() {
        let most = u128::MAX.to_string();
        let text =
            format!("{most} [-{most},{}, 1] \"{most}\\\" {most}\" -1.5e20 {}1.5", u64::MAX, most);
        let expected = [
            json!(most),
            json!([format!("-{most}"), u64::MAX, 1]),
            json!(format!("{most}\" {most}")),
            json!(-1.5e20),
            json!(format!("{most}1.5").parse::<f64>().unwrap()),
        ];
        assert_eq!(arguments(&text).unwrap(), expected);
        assert!(arguments("123456789012345678901abc \"ü\\").is_err());
    }

    #[test]
    fn what_is_no_json_is_named_with_a_hint() {
        let text = arguments("1 Ada").unwrap_err();
        assert!(text.starts_with("argument 2 is no JSON, expected value"), "{text}");
        assert!(text.ends_with("`Ada` (text stands in double quotes)"), "{text}");
        let open = arguments(r#""Ada"#).unwrap_err();
        assert!(open.contains("EOF while parsing a string"), "{open}");
        assert!(arguments(&"[".repeat(60_000)).unwrap_err().len() < 200);
    }
}
