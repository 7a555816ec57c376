//! Whether what is written is read as what it was.

use std::any::type_name;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use super::known::Known;
use super::read::Source;
use super::shape::{Event, Leaf, Replay, variants};
use super::write::{Notes, Target};
use super::{CodecError, ENCODE, LARGE_LIMIT, Rest, Take};
use crate::error::caught;

/// Whether every value is read back and written again.
static ROUND_TRIPS: AtomicBool = AtomicBool::new(false);

/// From now on every value of this process is read back where it was written, written again, and
/// compared: what a worker's own tests are for.
pub(crate) fn check_round_trips() {
    ROUND_TRIPS.store(true, Ordering::Relaxed);
}

/// Appends a value that is read as a `D`.
pub(super) fn encode<S, D>(value: &S, buffer: &mut Vec<u8>) -> Result<(), CodecError>
where
    S: Serialize + ?Sized,
    D: Serialize + DeserializeOwned,
{
    let start = buffer.len();
    let mut target = Target::new(buffer, Notes::Shapes(Known::default()));
    caught(|| target.write(value))
        .map_err(|text| format!("its `Serialize` panicked: {text}"))?
        .map_err(|fault| fault.0)?;
    let notes = target.notes;
    let whole = ROUND_TRIPS.load(Ordering::Relaxed);
    if let Notes::Shapes(known) = notes
        && (known.has_new() || whole)
    {
        // A panic of the user's `Deserialize` is the reader's, who tells the caller.
        let checked = caught(|| check::<S, D>(value, &buffer[start..], whole));
        if checked.unwrap_or(Ok(false)).map_err(|fault| fault.0)? {
            known.remember();
        }
    }
    Ok(())
}

/// Reads what was written, beside its shape, and writes what was read. Whether it need not be looked
/// at again.
///
/// A `Deserialize` may refuse a value, and may read one kind of thing that another wrote: that is the
/// user's affair, unless another value comes out.
fn check<S, D>(value: &S, bytes: &[u8], whole: bool) -> Result<bool, Fault>
where
    S: Serialize + ?Sized,
    D: Serialize + DeserializeOwned,
{
    let (again, events) = traced(value)?;
    let take = Take::new(Rest(bytes), ENCODE.with_limit::<LARGE_LIMIT>(), ());
    let mut source = Source::new(take, Some(Replay::new(events.clone())));
    let read = source.read::<D>();
    let left = source.left();
    let Some(replay) = source.replay else { return Ok(false) };
    if let Some(fault) = replay.fault {
        return Err(Fault(fault));
    }
    let wrong = || match replay.suspect {
        Some((variant, name)) => Fault::variant(variant, name),
        None => Fault::another(type_name::<D>()),
    };
    let read = match read {
        Ok(read) if left == 0 => read,
        Ok(_) => return Err(wrong()),
        Err(_) if replay.unsure || replay.suspect.is_some() => return Err(wrong()),
        Err(_) => return Ok(false),
    };
    let (round, events_of_read) = traced(&read)?;
    // What is written differently each time, such as the time that is left, tells nothing.
    let steady = again == bytes;
    if steady && variants(&events) != variants(&events_of_read) {
        return Err(wrong());
    }
    let sure = replay.is_sure();
    if steady && (whole || !sure) && !alike(bytes, &round, &events) {
        return Err(wrong());
    }
    Ok(sure)
}

fn traced<T: Serialize + ?Sized>(value: &T) -> Result<(Vec<u8>, Vec<Event>), Fault> {
    let mut bytes = Vec::new();
    let mut target = Target::new(&mut bytes, Notes::Trace(Vec::new()));
    target.write(value)?;
    let events = match target.notes {
        Notes::Trace(events) => events,
        Notes::Shapes(_) => Vec::new(),
    };
    Ok((bytes, events))
}

/// Whether two encodings are of one value: the entries of a map, or a set, come in any order.
fn alike(one: &[u8], other: &[u8], events: &[Event]) -> bool {
    let many = |event: &Event| matches!(event, Event::Items(Leaf::Map | Leaf::Seq, 2..));
    one == other || (events.iter().any(many) && counts(one) == counts(other))
}

fn counts(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    counts
}
