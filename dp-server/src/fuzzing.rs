//! What holds for whatever is typed at the console: the fuzz target in tests/fuzz calls this, and so do
//! this crate's own tests.

use crate::console::parse::{COMMANDS, Command, parse};

/// A line is a command that there is, nothing, or a mistake that is told on one short line.
///
/// # Panics
/// When that does not hold.
pub fn console(line: &str) {
    let blank = line.trim_end().is_empty();
    match parse(line) {
        Ok(None) => assert!(blank, "ignored: {line:?}"),
        Ok(Some(command)) => {
            let name = line.split_whitespace().next();
            assert!(COMMANDS.iter().any(|known| Some(known.name) == name), "{command:?}: {line:?}");
            look_at(&command);
        }
        Err(error) => {
            assert!(!blank);
            let text = error.to_string();
            let chars = text.chars().count();
            assert!(
                chars < 512 && !text.contains(char::is_control),
                "not one short line: {text:?}"
            );
        }
    }
}

fn look_at(command: &Command) {
    match command {
        Command::Frequency(Some(hz)) => assert!(hz.is_finite() && *hz > 0.0),
        Command::Kick(id) => assert!(!id.is_empty() && !id.contains(char::is_whitespace)),
        Command::Call(call) => {
            assert!(!call.method.is_empty() && !call.method.contains(char::is_whitespace));
            if let Err(mistake) = crate::console::arguments(&call.arguments) {
                assert!(!mistake.contains(char::is_control), "not one line: {mistake:?}");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_line_is_a_command_or_a_mistake(line in any::<String>()) {
            console(&line);
        }

        /// Most lines fail at their first character; these are commands, nearly.
        #[test]
        fn any_argument_too(
            name in "/?(run|reset|freq|call|kick|workers|quit|c[a-z]{0,4})",
            rest in "[ \t]{0,3}(@[a-z0-9/]{0,4})?[ \t]?([a-z]{0,5}|[0-9eE.+-]{0,6}|[\\[\\]{}\":, a-z0-9]{0,20})",
            tail in any::<String>(),
        ) {
            console(&format!("{name}{rest}"));
            console(&format!("{name}{rest} {tail}"));
        }
    }

    #[test]
    fn whatever_fuzzing_has_come_across_holds_still() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/console");
        // A published crate comes without it.
        let Ok(files) = std::fs::read_dir(corpus) else { return };
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            console(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }
}
