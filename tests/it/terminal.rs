//! The console on a terminal: a real one, which `script` makes.

use dp_tests::{Client, Program};

use crate::{CLIENT, SERVER};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_U: &str = "\x15";

/// A server on a terminal. Its logs come there, too.
struct Terminal {
    program: Program,
    state: tempfile::TempDir,
}

impl Terminal {
    fn open(args: &str, env: &[(&str, &str)]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let home = state.path().to_str().unwrap();
        let mut all = vec![("XDG_STATE_HOME", home), ("TERM", "xterm"), ("NO_COLOR", "1")];
        all.extend(env);
        let command = format!("'{SERVER}' --bind 127.0.0.1:0 {args}");
        let args = ["--quiet", "--flush", "--return", "--command", &command, "/dev/null"];
        Self { program: Program::start("script".as_ref(), &args, &all), state }
    }

    /// What comes up to a line with `text`, and that.
    fn until(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.program.line());
            if lines.last().unwrap().contains(text) {
                return lines;
            }
        }
    }

    /// With `workers`, as one client of the id `c`.
    fn with_client(env: &[(&str, &str)], workers: usize) -> (Self, Client) {
        let mut terminal = Self::open(&format!("--workers {workers}"), env);
        let lines = terminal.until("listening on ");
        let address = lines.last().unwrap().split("listening on ").nth(1).unwrap().trim();
        let client = Client::start(CLIENT, address, "c", workers);
        terminal.until("ready to run");
        (terminal, client)
    }

    fn history(&self) -> String {
        let path = self.state.path().join("dp/subject-server.history");
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

#[test]
fn a_run_shows_how_far_it_is_and_a_typed_cancel_ends_it_at_once() {
    let (mut terminal, client) = Terminal::with_client(&[("DP_TESTS_RUN", "endless")], 3);
    terminal.program.type_text("/run\r");
    let line = terminal.until("workers done").pop().unwrap();
    assert!(line.contains("s | 0 of 3 workers done | 3 in endless | slowest c/"), "{line:?}");
    // Half a line is on the screen when the next progress is, and is there again below it.
    terminal.program.type_text("/canc");
    let line = loop {
        let line = terminal.until("workers done").pop().unwrap();
        if line.contains("subject> /canc") {
            break line;
        }
    };
    assert!(line.contains("\x1b[1A\x1b[2K"), "the old progress is erased: {line:?}");
    terminal.program.type_text("el\r");
    let lines = terminal.until("failed");
    assert_eq!(lines.iter().filter(|line| line.trim_end().ends_with("\tbegan")).count(), 3);
    assert!(lines.iter().any(|line| line.contains("error: cancelled")), "{lines:?}");
    terminal.program.type_text("/quit\r");
    assert!(terminal.program.wait().success());
    client.ends_well();
}

#[test]
fn many_workers_are_folded_and_the_items_of_a_map_are_counted() {
    let (mut terminal, client) = Terminal::with_client(&[("DP_TESTS_RUN", "map")], 30);
    terminal.program.type_text("/workers\r");
    let line = terminal.until("idle").pop().unwrap();
    assert!(line.trim_end().ends_with("c/[1-30]  30  0.1.0  idle"), "{line:?}");
    terminal.program.type_text("/run\r");
    let line = terminal.until(" of 60 items, about ").pop().unwrap();
    assert!(line.contains(" s left | "), "{line:?}");
    terminal.until("ok");
    terminal.program.type_text(CTRL_D);
    assert!(terminal.program.wait().success());
    client.ends_well();
}

#[test]
fn an_interrupt_cancels_and_at_the_idle_prompt_asks_before_a_second_one_quits() {
    let (mut terminal, client) = Terminal::with_client(&[("DP_TESTS_RUN", "endless")], 2);
    terminal.program.type_text("/run\r");
    terminal.until("workers done");
    terminal.program.type_text(CTRL_C);
    terminal.until("error: cancelled");
    terminal.until("failed");
    terminal.program.type_text(CTRL_C);
    let line = terminal.until("press Ctrl-C again").pop().unwrap();
    assert!(
        line.contains("within 3 s, or type /quit, to end the server and its 2 workers"),
        "{line:?}"
    );
    // A command makes the question void.
    terminal.program.type_text("/freq 3.25\r/freq\r");
    terminal.until("3.25");
    while !terminal.program.line().trim_end().ends_with("3.25") {}
    terminal.program.type_text(CTRL_C);
    terminal.until("press Ctrl-C again");
    terminal.program.type_text(CTRL_C);
    assert!(terminal.program.wait().success());
    client.ends_well();
}

#[test]
fn what_a_launched_client_says_comes_above_the_line_that_is_typed() {
    let talk = "while sleep 0.02; do echo hear me; done";
    let mut terminal = Terminal::open(&format!("--launch '{talk}'").replace('\'', "\""), &[]);
    terminal.until("while: hear me");
    terminal.program.type_text("/fr");
    // It is taken off the screen, and is there again behind what was said.
    let line = terminal.until("subject> /fr").pop().unwrap();
    assert!(line.contains("\r\x1b[J") && line.trim_end().ends_with("while: hear me"), "{line:?}");
    terminal.program.type_text("eq\r");
    while !terminal.program.line().trim_end().ends_with('1') {}
    terminal.program.type_text("/quit\r");
    assert!(terminal.program.wait().success());
}

#[test]
fn names_are_completed_and_the_end_of_input_quits() {
    let (mut terminal, client) = Terminal::with_client(&[], 2);
    // Everything at once, as it is pasted.
    terminal.program.type_text("/call @c/2 gre\t\"Ada\"\r/free\x7f\x7f\tq 2.5\r");
    terminal.until("c/2 → \"c/2: hello Ada\"");
    terminal.program.type_text("/wor\t\r");
    let lines = terminal.until("c/2  127.0.0.1:");
    assert!(lines.last().unwrap().trim_end().ends_with("  0.1.0  idle"), "{lines:?}");
    terminal.program.type_text(CTRL_U);
    terminal.program.type_text(CTRL_D);
    assert!(terminal.program.wait().success());
    client.ends_well();
}

#[test]
fn history_goes_from_session_to_session_without_what_could_be_secret() {
    let mut terminal = Terminal::open("--workers 0", &[]);
    terminal.until("ready to run");
    terminal.program.type_text("/freq 7\r/call greet \"hunter2\"\rhunter2\r /freq 8\r/quit\r");
    assert!(terminal.program.wait().success());
    assert_eq!(terminal.history(), "/freq 7\n/call greet\n/quit\n");

    let home = terminal.state.path().to_str().unwrap().to_owned();
    let mut again = Terminal::open("--workers 0", &[("XDG_STATE_HOME", &home)]);
    again.until("ready to run");
    // Three lines up, and asked for by hand.
    again.program.type_text("\x1b[A\x1b[A\x1b[A\r/freq\r");
    let line = again.until("7").pop().unwrap();
    assert!(line.contains("7"), "{line:?}");
    again.program.type_text(CTRL_D);
    assert!(again.program.wait().success());
}

#[test]
fn history_can_be_turned_off() {
    let mut terminal = Terminal::open("--workers 0 --no-history", &[]);
    terminal.until("ready to run");
    terminal.program.type_text("/freq 7\r/quit\r");
    assert!(terminal.program.wait().success());
    assert_eq!(terminal.history(), "");
}

#[test]
fn colors_are_for_those_who_have_not_said_no() {
    for (no_color, colored) in [("1", false), ("", true)] {
        let mut terminal = Terminal::open("--workers 0", &[("NO_COLOR", no_color)]);
        terminal.until("ready to run");
        terminal.program.type_text("/nonsense\r");
        let line = terminal.until("error: ").pop().unwrap();
        assert_eq!(line.contains("\x1b[31merror: "), colored, "{line:?}");
        terminal.program.type_text(CTRL_D);
        assert!(terminal.program.wait().success());
    }
}

#[test]
fn the_terminal_is_given_back_as_it_was_also_after_a_signal() {
    let state = tempfile::tempdir().unwrap();
    let home = state.path().to_str().unwrap();
    let command = format!("'{SERVER}' --bind 127.0.0.1:0 & pid=$!; wait $pid; stty -a");
    // In the foreground the server is killed by someone else.
    let command =
        command.replace("&", "< /dev/tty &").replace("; wait", "; sleep 1; kill $pid; wait");
    let args = ["--quiet", "--flush", "--command", &command, "/dev/null"];
    let env = [("XDG_STATE_HOME", home), ("TERM", "xterm")];
    let mut program = Program::start("script".as_ref(), &args, &env);
    loop {
        let line = program.line();
        if line.contains("icanon") {
            assert!(!line.contains("-icanon"), "{line:?}");
            break;
        }
    }
    assert!(program.wait().success());
}
