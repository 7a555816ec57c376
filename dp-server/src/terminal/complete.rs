//! What the tab key completes: commands, methods, and ids of workers.

use std::borrow::Cow;

use dp_core::DistributedWorker;
use dp_core::engine::Fleet;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::colors_wanted;
use super::edited::Edited;
use crate::console::command_names;

/// More than a person would read: of ids that fit, so many are listed.
const LISTED: usize = 200;

pub(super) struct Completer<W: DistributedWorker> {
    fleet: Fleet<W>,
    methods: Vec<&'static str>,
    colors: bool,
    edited: Edited,
}

impl<W: DistributedWorker> Completer<W> {
    pub(super) fn new(fleet: Fleet<W>, edited: Edited) -> Self {
        let methods = W::contract().methods.iter().map(|method| method.name).collect();
        Self { fleet, methods, colors: colors_wanted(), edited }
    }
}

/// What a line is to go on with, up to the cursor: where the word begins that is completed, and what
/// it may become. `ids` are asked for only where they are wanted.
fn candidates(
    line: &str,
    methods: &[&str],
    ids: impl FnOnce() -> Vec<String>,
) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (before, word) = line.split_at(start);
    let before: Vec<&str> = before.split_whitespace().collect();
    let with_blank = |name: &str| format!("{name} ");
    let all: Vec<String> = match before[..] {
        [] => command_names()
            .map(|(name, alone)| match alone {
                true => name.to_owned(),
                false => with_blank(name),
            })
            .collect(),
        ["/kick"] => ids(),
        ["/call"] if word.starts_with('@') => ids().iter().map(|id| format!("@{id} ")).collect(),
        ["/call"] => methods.iter().map(|name| with_blank(name)).collect(),
        ["/call", worker] if worker.starts_with('@') => {
            methods.iter().map(|name| with_blank(name)).collect()
        }
        _ => Vec::new(),
    };
    (start, all.into_iter().filter(|name| name.starts_with(word)).take(LISTED).collect())
}

impl<W: DistributedWorker> rustyline::completion::Completer for Completer<W> {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let ids =
            || self.fleet.status().iter().map(|status| status.info.id().to_string()).collect();
        let line = line.get(..position).unwrap_or(line);
        let completed = candidates(line, &self.methods, ids);
        if completed.1.len() > 1 {
            // They are listed.
            self.edited.moved();
        }
        Ok(completed)
    }
}

impl<W: DistributedWorker> Highlighter for Completer<W> {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _default: bool,
    ) -> Cow<'b, str> {
        let painted = match self.colors {
            true => Cow::Owned(format!("\x1b[1;36m{prompt}\x1b[0m")),
            false => Cow::Borrowed(prompt),
        };
        self.edited.prompt(prompt, &painted);
        painted
    }

    fn highlight<'l>(&self, line: &'l str, position: usize) -> Cow<'l, str> {
        self.edited.line(line, position);
        Cow::Borrowed(line)
    }

    /// Every change is to be told of, and every movement.
    fn highlight_char(&self, _line: &str, _position: usize, _kind: CmdKind) -> bool {
        true
    }
}

impl<W: DistributedWorker> Hinter for Completer<W> {
    type Hint = String;
}

impl<W: DistributedWorker> Validator for Completer<W> {}
impl<W: DistributedWorker> Helper for Completer<W> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> (usize, Vec<String>) {
        candidates(line, &["greet", "greeted", "linger"], || {
            vec!["w1".to_owned(), "w10".to_owned(), "x2".to_owned()]
        })
    }

    #[test]
    fn commands_methods_and_ids_are_completed_where_they_belong() {
        assert_eq!(completed("/r"), (0, vec!["/run".into(), "/results".into(), "/reset".into()]));
        assert_eq!(completed("/cal").1, ["/call "]);
        assert_eq!(completed("/call gr"), (6, vec!["greet ".into(), "greeted ".into()]));
        assert_eq!(completed("/call @w1").1, ["@w1 ", "@w10 "]);
        assert_eq!(completed("/call @w1 li"), (10, vec!["linger ".into()]));
        assert_eq!(completed("/kick x").1, ["x2"]);
        assert!(completed("/call greet w").1.is_empty());
        assert!(completed("/freq ").1.is_empty());
    }
}
