//! Standard input, for a console.

use std::io::{self, Read};
use std::thread;

use tokio::io::{AsyncRead, AsyncWriteExt, duplex};
use tokio::runtime::Builder;

const BUFFER: usize = 8 * 1024;

/// Standard input as a console's input. Unlike `tokio::io::stdin`, a read that is under way does not
/// keep the program from ending, as after `/quit` typed at a terminal.
///
/// A thread reads it from now on; call this once.
pub fn stdin() -> impl AsyncRead + Send + Unpin + 'static {
    let (mut writer, reader) = duplex(BUFFER);
    thread::spawn(move || {
        // Of its own, so that the thread depends on nobody's being there still.
        let runtime = match Builder::new_current_thread().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!("cannot read standard input: {error}"),
        };
        let mut input = io::stdin().lock();
        let mut buffer = [0; BUFFER];
        loop {
            match input.read(&mut buffer) {
                // Dropping the writer is the end of the input.
                Ok(0) => return,
                Ok(length) => {
                    if runtime.block_on(writer.write_all(&buffer[..length])).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The end as well: what came before still counts.
                Err(error) => return tracing::error!("cannot read standard input: {error}"),
            }
        }
    });
    reader
}
