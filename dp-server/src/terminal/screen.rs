//! The thread that alone writes to the terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use dp_core::engine::text::escaped;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::edited::Edited;
use super::mode;
use crate::console::{cut, width};

/// How much may wait to be shown, in bytes; the console waits then.
const BUFFER: usize = 64 * 1024;

/// How many log lines, and changes of the progress line, may wait to be shown. Beyond that logs are
/// left out, and counted: nobody should wait for a terminal in order to log.
const WAITING: usize = 1024;

/// Erases the row above, and goes there.
const ERASE: &str = "\x1b[1A\x1b[2K";

/// How long the end of the console waits for what is still to be shown.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Whether the terminal has been taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Where logs go while there is a terminal.
static LOGS: Mutex<Option<Screen>> = Mutex::new(None);

/// What the terminal shows.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    sender: Sender<Show>,
    left_out: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Show {
    /// Lines, with their ends.
    Log(String),
    Progress(Option<String>),
}

impl Screen {
    /// Shows this on a line of its own above the line that is typed, in place of what it was before;
    /// `None` for nothing. Where there is more to show than the terminal takes, it is left out.
    pub(crate) fn progress(&self, line: Option<String>) {
        let _ = self.sender.try_send(Show::Progress(line));
    }

    fn log(&self, text: String) -> Result<(), String> {
        use tokio::sync::mpsc::error::TrySendError;
        match self.sender.try_send(Show::Log(text)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(TrySendError::Closed(Show::Log(text))) => Err(text),
            Err(TrySendError::Closed(_)) => Ok(()),
        }
    }
}

/// Standard error; while there is a terminal with a line that is typed, that terminal.
pub(crate) fn log_writer() -> impl Write {
    LogWriter
}

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let screen = logs().clone();
        let Some(screen) = screen else { return io::stderr().write(bytes) };
        if let Err(text) = screen.log(String::from_utf8_lossy(bytes).into_owned()) {
            io::stderr().write_all(text.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn logs() -> MutexGuard<'static, Option<Screen>> {
    LOGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread, which ends when what it gives for output has been dropped and shown.
pub(super) fn start(edited: Edited) -> io::Result<(Screen, DuplexStream, Showing)> {
    let (output, lines) = duplex(BUFFER);
    let (sender, receiver) = channel(WAITING);
    let left_out = Arc::new(AtomicUsize::new(0));
    let screen = Screen { sender, left_out: left_out.clone() };
    TAKEN.store(true, Ordering::Relaxed);
    if io::stderr().is_terminal() {
        *logs() = Some(screen.clone());
    }
    let painter = Painter { output: unbuffered()?, edited, progress: None, shown: 0 };
    let (done, showing) = mpsc::channel();
    thread::Builder::new().name("dp-screen".to_owned()).spawn(move || {
        if let Ok(runtime) = Builder::new_current_thread().build() {
            runtime.block_on(show(painter, lines, receiver, &left_out));
        }
        let _ = done.send(());
    })?;
    Ok((screen, output, Showing(showing)))
}

/// The thread, to wait for its end.
#[derive(Debug)]
pub(crate) struct Showing(mpsc::Receiver<()>);

impl Showing {
    /// Waits until everything has been shown. A terminal that takes nothing, as after Ctrl-S, is not
    /// waited for.
    pub(super) fn ended(&self) {
        let _ = self.0.recv_timeout(LAST_WORDS);
    }
}

/// Standard output without a buffer: what is written at once is shown at once.
#[cfg(unix)]
fn unbuffered() -> io::Result<impl Write + Send> {
    use std::os::fd::AsFd as _;
    Ok(std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

#[cfg(not(unix))]
fn unbuffered() -> io::Result<impl Write + Send> {
    Ok(io::stdout())
}

async fn show(
    mut painter: Painter<impl Write>,
    mut lines: DuplexStream,
    mut receiver: Receiver<Show>,
    left_out: &AtomicUsize,
) {
    let mut bytes = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(show) = receiver.recv() => match show {
                Show::Log(text) => painter.print(text),
                Show::Progress(line) => painter.progress(line),
            },
            read = lines.read_buf(&mut bytes) => {
                let ended = !matches!(read, Ok(1..));
                // The console writes whole lines, which may come in parts.
                let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                let whole: Vec<u8> = bytes.drain(..if ended { bytes.len() } else { whole }).collect();
                painter.print(String::from_utf8_lossy(&whole).into_owned());
                if ended {
                    break;
                }
            }
        }
        let left_out = left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            painter.print(format!("{left_out} log lines were left out\n"));
        }
    }
    painter.progress(None);
    while let Ok(show) = receiver.try_recv() {
        if let Show::Log(text) = show {
            painter.print(text);
        }
    }
}

/// Says things above the line that is typed.
struct Painter<O> {
    output: O,
    edited: Edited,
    progress: Option<String>,
    /// How wide the progress line is that is on the screen; 0 where there is none.
    shown: usize,
}

impl<O: Write> Painter<O> {
    fn print(&mut self, text: String) {
        if !text.is_empty() {
            self.paint(&text);
        }
    }

    fn progress(&mut self, line: Option<String>) {
        if line.is_some() || self.progress.is_some() {
            self.progress = line;
            self.paint("");
        }
    }

    fn paint(&mut self, text: &str) {
        self.paint_in(text, super::columns());
    }

    fn paint_in(&mut self, text: &str, columns: usize) {
        let around = self.edited.around(columns);
        let mut all = around.before;
        if !around.moved {
            // A terminal that was made narrower has broken the line into several.
            (0..self.shown.div_ceil(columns)).for_each(|_| all.push_str(ERASE));
        }
        all.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            all.push('\n');
        }
        self.shown = 0;
        if let Some(progress) = &self.progress {
            // A line that wraps could not be erased as one.
            let progress = escaped(progress);
            let line = cut(&progress, columns.saturating_sub(1));
            self.shown = width(line).max(1);
            all.push_str(line);
            all.push('\n');
        }
        all.push_str(&around.behind);
        let _ = self.output.write_all(all.as_bytes()).and_then(|()| self.output.flush());
    }
}

/// Gives the terminal back as it was, if it was taken.
pub(crate) fn restore() {
    *logs() = None;
    if TAKEN.swap(false, Ordering::Relaxed) && mode::restore() {
        // The prompt that nobody will answer.
        let mut output = io::stdout();
        let _ = output.write_all(b"\r\x1b[K").and_then(|()| output.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progress_line_is_cut_by_its_width_and_erased_as_a_whole_where_the_terminal_became_narrower()
     {
        let edited = Edited::default();
        let mut painter = Painter { output: Vec::new(), edited, progress: None, shown: 0 };
        painter.progress = Some("語".repeat(20));
        painter.paint_in("", 24);
        assert_eq!(
            String::from_utf8(std::mem::take(&mut painter.output)).unwrap(),
            "語語語語語語語語語語語\n"
        );
        // Its 22 columns are three rows of 10.
        painter.progress = None;
        painter.paint_in("", 10);
        assert_eq!(
            String::from_utf8(std::mem::take(&mut painter.output)).unwrap(),
            ERASE.repeat(3)
        );
        painter.paint_in("x\n", 10);
        assert_eq!(painter.output, b"x\n");
    }
}
