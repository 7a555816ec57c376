//! What others say, made fit to be shown: the one place where text of a peer is bounded and escaped.
//!
//! `engine::text` is the public part of it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Deref;

/// Text of a peer. It is bounded and escaped when it is made, so that it cannot be shown otherwise: not
/// in an error, not in a log, not on a terminal.
///
/// It is one line. A control character, a format character (bidirectional ones, zero-width ones, tags)
/// or a line separator in it is written as an escape, as [`escaped`] does; what is longer than its bound
/// ends in `…`.
///
/// ```
/// use dp_core::engine::text::PeerText;
///
/// let text = PeerText::new("\u{1b}[2Jgone\r\n\u{202e}");
/// assert_eq!(text, "\\u{1b}[2Jgone\\r\\n\\u{202e}");
/// assert!(PeerText::new("x".repeat(1 << 20)).len() <= PeerText::LONGEST);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PeerText(Box<str>);

impl PeerText {
    /// The longest one, in bytes, unless it is made with a bound of its own.
    pub const LONGEST: usize = 4 << 10;

    /// Bounds and escapes `text`.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::within(text, Self::LONGEST)
    }

    /// The same, of at most `longest` bytes.
    pub fn within(text: impl AsRef<str>, longest: usize) -> Self {
        let mut shown = String::new();
        let mut bounded = Bounded { to: &mut shown, left: longest };
        // A `String` takes everything; an error says that the bound is reached.
        let _ = write_escaped(&mut bounded, text.as_ref(), false);
        Self(shown.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a value says of itself with `Display`, in at most so many bytes. Nothing longer is ever held.
pub(crate) fn display_within(value: impl fmt::Display, longest: usize) -> PeerText {
    /// Escapes what is written to it.
    struct Escaping<'a>(Bounded<'a>);
    impl fmt::Write for Escaping<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            write_escaped(&mut self.0, text, false)
        }
    }
    let mut shown = String::new();
    let _ = write!(Escaping(Bounded { to: &mut shown, left: longest }), "{value}");
    PeerText(shown.into())
}

/// Takes text up to a bound, and ends it with `…` there.
struct Bounded<'a> {
    to: &'a mut String,
    left: usize,
}

impl Bounded<'_> {
    const CUT: char = '…';
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left {
            self.left -= text.len();
            self.to.push_str(text);
            return Ok(());
        }
        let longest = self.to.len() + self.left;
        let room = |end: usize| end + Self::CUT.len_utf8() <= longest;
        let ends = text.char_indices().map(|(at, _)| self.to.len() + at);
        match ends.take_while(|end| room(*end)).last() {
            Some(end) => self.to.push_str(&text[..end - self.to.len()]),
            // The mark takes the place of what is there.
            None => while !room(self.to.len()) && self.to.pop().is_some() {},
        }
        if room(self.to.len()) {
            self.to.push(Self::CUT);
        }
        self.left = 0;
        Err(fmt::Error)
    }
}

/// Whether a character can be shown as it is: it is no control character (C0, C1), no format character
/// (category Cf) and no line or paragraph separator. Tabs and line ends are control characters.
pub fn is_plain(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\0'..='\u{9f}' | '\u{2028}' | '\u{2029}' => false,
        c => !is_format(c),
    }
}

/// The format characters: all of category Cf in UnicodeData.txt of Unicode 17.0.
const FORMAT: [(u32, u32); 21] = [
    (0x00ad, 0x00ad),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x180e, 0x180e),
    (0x200b, 0x200f),
    (0x202a, 0x202e),
    (0x2060, 0x2064),
    (0x2066, 0x206f),
    (0xfeff, 0xfeff),
    (0xfff9, 0xfffb),
    (0x110bd, 0x110bd),
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0001, 0xe0001),
    (0xe0020, 0xe007f),
];

fn is_format(c: char) -> bool {
    let c = u32::from(c);
    let at = FORMAT.partition_point(|(_, last)| *last < c);
    FORMAT.get(at).is_some_and(|(first, _)| *first <= c)
}

/// `text` on one line, with every character that is not [plain](is_plain) written as an escape:
/// `\n`, `\t`, `\u{1b}`, `\u{202e}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, false)
}

/// The same, with tabs as they are.
pub fn escaped_but_tabs(text: &str) -> Cow<'_, str> {
    escape(text, true)
}

fn escape(text: &str, tabs: bool) -> Cow<'_, str> {
    if text.chars().all(|c| is_plain(c) || (tabs && c == '\t')) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    // A `String` takes everything.
    let _ = write_escaped(&mut line, text, tabs);
    Cow::Owned(line)
}

/// Writes `text` as [`escaped`] does, or with its tabs as they are.
pub(crate) fn write_escaped(out: &mut impl fmt::Write, text: &str, tabs: bool) -> fmt::Result {
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        if is_plain(c) || (tabs && c == '\t') {
            continue;
        }
        out.write_str(&text[plain..at])?;
        escape_char(out, c)?;
        plain = at + c.len_utf8();
    }
    out.write_str(&text[plain..])
}

/// Writes the escape of one character.
fn escape_char(out: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        '\0' => out.write_str("\\0"),
        '\t' => out.write_str("\\t"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        c => write!(out, "\\u{{{:x}}}", u32::from(c)),
    }
}

impl Deref for PeerText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for PeerText {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PeerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl From<&str> for PeerText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for PeerText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<PeerText> for String {
    fn from(text: PeerText) -> Self {
        text.0.into()
    }
}

impl PartialEq<str> for PeerText {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for PeerText {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl PartialEq<String> for PeerText {
    fn eq(&self, other: &String) -> bool {
        *self.0 == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stranger may send: colours, a title, another line, C1, bidirectional and invisible ones.
    const HOSTILE: &str =
        "\u{1b}[31m\u{1b}]0;x\u{7}\r\n\u{9b}2J\u{202e}\u{2066}\u{200b}\u{e0041}\u{2028}";

    #[test]
    fn nothing_that_spoils_a_terminal_or_a_line_is_left() {
        let shown = PeerText::new(HOSTILE);
        assert!(shown.chars().all(is_plain), "{shown}");
        assert!(shown.contains("\\u{1b}]0;x\\u{7}\\r\\n\\u{9b}2J\\u{202e}\\u{2066}\\u{200b}"));
        assert!(shown.ends_with("\\u{e0041}\\u{2028}"));
        assert_eq!(PeerText::new(&shown), shown, "escaped twice");
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in ["", "plain", "höst 語 é e\u{301} 👍🏽 a\u{a0}b\u{3000}c \\ \" '", "<&>"]
        {
            assert!(matches!(escaped(text), Cow::Borrowed(_)), "{text}");
            assert_eq!(PeerText::new(text), text);
        }
        assert_eq!(escaped_but_tabs("a\tb\n"), "a\tb\\n");
        assert_eq!(escaped("a\tb"), "a\\tb");
    }

    #[test]
    fn a_long_text_is_cut_at_its_bound_between_two_characters() {
        for longest in 3..40 {
            for text in
                ["ü".repeat(50), HOSTILE.repeat(50), format!("{HOSTILE}{}", "語".repeat(50))]
            {
                let shown = PeerText::within(&text, longest);
                assert!(shown.len() <= longest && shown.ends_with('…'), "{shown} in {longest}");
                assert!(shown.chars().all(is_plain));
            }
        }
        assert_eq!(PeerText::within("abc", 3), "abc");
        assert_eq!(PeerText::within("abcd", 3), "…");
        assert_eq!(PeerText::within("abcd", 0), "");
        assert_eq!(display_within(format_args!("{}{}", "a\n", "b".repeat(9)), 8), "a\\nbb…");
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(FORMAT.iter().all(|(first, last)| first <= last));
        assert!(FORMAT.windows(2).all(|two| two[0].1 < two[1].0));
        assert!(FORMAT.iter().flat_map(|(a, b)| [a, b]).all(|c| {
            let c = char::from_u32(*c).unwrap();
            !is_plain(c)
        }));
        assert!(is_plain('\u{2065}') && is_plain('\u{13440}') && is_plain('\u{e0100}'));
    }
}
