//! Texts that go to a peer, or come from one, are cut where they are long; the cut is marked.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// The longest message of a failure, in bytes.
pub(crate) const MAX_MESSAGE: usize = 8 << 10;
/// The longest text of one of its causes.
pub(crate) const MAX_CAUSE: usize = 2 << 10;
/// The maximum number of causes that a failure has.
pub(crate) const MAX_CAUSES: usize = 32;
/// A peer that sends more causes than this breaks the protocol: they would only be thrown away.
pub(crate) const MAX_CAUSES_SENT: usize = 256;
/// The longest name of a method, or of a worker's type; and the longest signature.
pub(crate) const MAX_NAME: usize = 256;
pub(crate) const MAX_SIGNATURE: usize = 4 << 10;
/// The maximum number of a worker's methods, and of its server's functions.
pub(crate) const MAX_METHODS: usize = 4_096;
/// The longest id, address or reason that comes from a peer.
pub(crate) const MAX_REASON: usize = 2 << 10;

/// Cuts `text` to at most `max` bytes, of which the last say how much was left out.
pub(crate) fn cut(text: &mut String, max: usize) {
    if text.len() <= max {
        return;
    }
    // As long as it can be: the number has no more digits than that of all bytes.
    let mark = |left_out: usize| format!("… ({left_out} bytes left out)");
    let mut end = max.saturating_sub(mark(text.len()).len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mark = mark(text.len() - end);
    text.truncate(end);
    text.push_str(&mark);
    text.shrink_to_fit();
}

/// Cuts each of the texts of a failure's causes; those that are too many become one that counts them.
pub(crate) fn cut_causes(causes: &mut Vec<String>) {
    let count = causes.len();
    if count > MAX_CAUSES {
        causes.truncate(MAX_CAUSES - 1);
        causes.push(left_out(count - causes.len()));
        causes.shrink_to_fit();
    }
    causes.iter_mut().for_each(|text| cut(text, MAX_CAUSE));
}

fn left_out(causes: usize) -> String {
    format!("… ({causes} causes left out)")
}

/// A failure's message as it comes from a peer.
pub(crate) fn message<'de, D: Deserializer<'de>>(decoder: D) -> Result<String, D::Error> {
    text(decoder, MAX_MESSAGE)
}

/// The name of a method, or of a worker's type, as it comes from a peer.
pub(crate) fn name<'de, D: Deserializer<'de>>(decoder: D) -> Result<String, D::Error> {
    text(decoder, MAX_NAME)
}

/// A method's signature as it comes from a peer.
pub(crate) fn signature<'de, D: Deserializer<'de>>(decoder: D) -> Result<String, D::Error> {
    text(decoder, MAX_SIGNATURE)
}

/// A list of methods as it comes from a peer: one that is too long is refused at its length.
pub(crate) fn methods<'de, D, T>(decoder: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Methods<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Methods<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_METHODS} methods")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut methods = Vec::new();
            let expected = all.size_hint().unwrap_or_default();
            while expected <= MAX_METHODS
                && let Some(method) = all.next_element()?
            {
                methods.push(method);
                if methods.len() > MAX_METHODS {
                    break;
                }
            }
            match methods.len().max(expected) {
                0..=MAX_METHODS => Ok(methods),
                count => Err(A::Error::custom(format!(
                    "{count} methods, where there may be {MAX_METHODS}"
                ))),
            }
        }
    }

    decoder.deserialize_seq(Methods(PhantomData))
}

/// A reason, an id or an address as it comes from a peer.
pub(crate) fn reason<'de, D: Deserializer<'de>>(decoder: D) -> Result<String, D::Error> {
    text(decoder, MAX_REASON)
}

fn text<'de, D: Deserializer<'de>>(decoder: D, max: usize) -> Result<String, D::Error> {
    let mut text = String::deserialize(decoder)?;
    cut(&mut text, max);
    Ok(text)
}

/// The texts of a failure's causes as they come from a peer: no more are ever in memory than are kept.
pub(crate) fn causes<'de, D: Deserializer<'de>>(decoder: D) -> Result<Vec<String>, D::Error> {
    struct Causes;

    impl<'de> Visitor<'de> for Causes {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_CAUSES_SENT} causes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Self::Value, A::Error> {
            let (mut causes, mut count) = (Vec::new(), 0);
            while let Some(mut text) = texts.next_element::<String>()? {
                count += 1;
                if count > MAX_CAUSES_SENT {
                    return Err(A::Error::custom(format!(
                        "a failure of more than {MAX_CAUSES_SENT} causes"
                    )));
                }
                if count <= MAX_CAUSES {
                    cut(&mut text, MAX_CAUSE);
                    causes.push(text);
                }
            }
            if count > MAX_CAUSES {
                causes.truncate(MAX_CAUSES - 1);
                causes.push(left_out(count - causes.len()));
            }
            Ok(causes)
        }
    }

    decoder.deserialize_seq(Causes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_how_much_was_left_out() {
        let cut = |text: &str, max| {
            let mut text = text.to_owned();
            super::cut(&mut text, max);
            text
        };
        assert_eq!(cut("short", 5), "short");
        let long = "é".repeat(100);
        let short = cut(&long, 60);
        assert!(short.len() <= 60, "{short}");
        let kept = short.chars().filter(|c| *c == 'é').count();
        assert_eq!(short, format!("{}… ({} bytes left out)", "é".repeat(kept), 200 - 2 * kept));
    }

    #[test]
    fn causes_that_are_too_many_are_counted() {
        let mut causes: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        cut_causes(&mut causes);
        assert_eq!(causes.len(), MAX_CAUSES);
        assert_eq!(causes[MAX_CAUSES - 2..], ["30", "… (69 causes left out)"]);
    }
}
