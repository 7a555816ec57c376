//! The thread that reads keys.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dp_core::DistributedWorker;
use rustyline::error::ReadlineError;
use rustyline::history::{History, MemHistory};
use rustyline::{ColorMode, Config, Editor};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Builder;

use super::complete::Completer;
use super::edited::Edited;
use super::history::{KEPT, Store};
use crate::console::{Signal, SignalSender, ends_the_console};

const BUFFER: usize = 8 * 1024;

/// How long the console waits for the first prompt at the most.
const FIRST_PROMPT: Duration = Duration::from_secs(1);

/// Starts the thread, which gives the lines.
pub(super) fn start<W: DistributedWorker>(
    completer: Completer<W>,
    history: Option<Store>,
    edited: Edited,
    signals: SignalSender,
) -> io::Result<DuplexStream> {
    let (opened, hear) = mpsc::channel();
    let (shown, see) = mpsc::channel();
    let (writer, reader) = duplex(BUFFER);
    thread::Builder::new().name("dp-editor".to_owned()).spawn(move || {
        // Made where it is used: it need not be `Send`.
        match open(completer, history.as_ref()) {
            Ok(editor) => {
                edited.when_shown(shown);
                let _ = opened.send(Ok(()));
                read(editor, history, writer, &signals, &edited);
            }
            Err(error) => _ = opened.send(Err(io::Error::other(error))),
        }
    })?;
    hear.recv().map_err(io::Error::other)??;
    // What is typed to a terminal whose mode is about to change may get lost: nobody should be told
    // before that the console is there.
    let _ = see.recv_timeout(FIRST_PROMPT);
    Ok(reader)
}

type Typed<W> = Editor<Completer<W>, MemHistory>;

fn open<W: DistributedWorker>(
    completer: Completer<W>,
    history: Option<&Store>,
) -> rustyline::Result<Typed<W>> {
    let config = Config::builder()
        .max_history_size(KEPT)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .auto_add_history(true)
        // The prompt's color is ours to choose; without colors it would not say what it shows either.
        .color_mode(ColorMode::Forced)
        // Pasted lines are commands, one after another.
        .bracketed_paste(false)
        .build();
    let remembered = MemHistory::with_config(&config);
    let mut editor = Editor::with_history(config, remembered)?;
    editor.set_helper(Some(completer));
    for line in history.map(Store::load).unwrap_or_default() {
        editor.history_mut().add_owned(line)?;
    }
    Ok(editor)
}

/// Reads lines until the input ends, or `/quit`.
fn read<W: DistributedWorker>(
    mut editor: Typed<W>,
    mut history: Option<Store>,
    mut writer: DuplexStream,
    signals: &SignalSender,
    edited: &Edited,
) {
    // Of its own, so that the thread depends on nobody's being there still.
    let runtime = match Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!("cannot read the terminal: {error}"),
    };
    let worker = W::contract().worker;
    let name = worker.split('<').next().unwrap_or_default().to_lowercase();
    let prompt = format!("{name}> ");
    loop {
        let read = editor.readline(&prompt);
        edited.ended();
        match read {
            Ok(line) => {
                // As in shells: what begins with a blank is not remembered.
                let secret = line.starts_with(' ');
                let line = line.trim();
                if let Some(history) = history.as_mut().filter(|_| !secret) {
                    history.add(line);
                }
                let sent = runtime.block_on(writer.write_all(format!("{line}\n").as_bytes()));
                // No prompt is wanted behind the last line.
                if sent.is_err() || ends_the_console(line) {
                    return;
                }
            }
            Err(ReadlineError::Interrupted) => _ = signals.send(Signal::Interrupt),
            // Dropping the writer is the end of the input.
            Err(ReadlineError::Eof) => return,
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return tracing::error!("cannot read the terminal: {error}"),
        }
    }
}
