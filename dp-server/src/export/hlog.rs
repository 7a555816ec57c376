//! The histograms of a report in the log format of HdrHistogram, version 1.3, which its tools read:
//! one interval, the run, with a tagged histogram for each metric. Values are microseconds.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dp_core::Metric;
use dp_core::engine::text::is_plain;

use crate::report::Report;

/// What encoded histograms of version 2 begin with, and compressed ones.
const ENCODED: u32 = 0x1c84_9313;
const COMPRESSED: u32 = 0x1c84_9314;
/// Significant digits, and the lowest value: those of [`Metric`].
const DIGITS: u32 = 3;
const LOWEST: u64 = 1;
/// The range ends here, or at the longest duration where that is longer: readers take memory for it.
const HIGHEST: u64 = 3_600_000_000;
/// So many bits of a value say which bucket it is in.
const BITS: u32 = 11;

pub(super) fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let start = report.started();
    writeln!(out, "#[Histogram log format version 1.3]")?;
    writeln!(
        out,
        "#[StartTime: {} (seconds since epoch), {start}]",
        seconds(start.as_millisecond())
    )?;
    writeln!(out, "#[Values are microseconds, Interval_Max is in milliseconds]")?;
    writeln!(
        out,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )?;
    for metric in report.metrics() {
        let max = metric.max().as_secs_f64() * 1_000.0;
        let length = report.elapsed().as_secs_f64();
        writeln!(out, "Tag={},0.000,{length:.3},{max:.3},{}", tag(metric.name()), encoded(metric))?;
    }
    Ok(())
}

fn seconds(milliseconds: i64) -> String {
    format!("{:.3}", milliseconds as f64 / 1_000.0)
}

/// A tag ends at a comma, and a line at its end.
fn tag(name: &str) -> String {
    let fits = |c: char| !(c == ',' || c.is_whitespace() || !is_plain(c));
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// The histogram as the log has it: counts as variable-length numbers, zlib, base64.
///
/// By hand, since what the hdrhistogram crate has for it takes seven more crates with it; the tests
/// read it back with that.
fn encoded(metric: &Metric) -> String {
    let (mut counts, mut next) = (Vec::new(), 0);
    for (value, count) in metric.buckets() {
        let at = index(micros(value));
        if at > next {
            // A run of zeros is a negative number.
            number(&mut counts, next - at);
        }
        number(&mut counts, i64::try_from(count).unwrap_or(i64::MAX));
        next = at + 1;
    }
    let mut bytes = Vec::new();
    bytes.extend(ENCODED.to_be_bytes());
    bytes.extend(length(&counts).to_be_bytes());
    bytes.extend(0_u32.to_be_bytes()); // values are not shifted
    bytes.extend(DIGITS.to_be_bytes());
    bytes.extend(LOWEST.to_be_bytes());
    bytes.extend(micros(metric.max()).max(HIGHEST).to_be_bytes());
    bytes.extend(1_f64.to_be_bytes()); // nor scaled
    bytes.extend(counts);
    let squeezed = miniz_oxide::deflate::compress_to_vec_zlib(&bytes, 6);
    let mut whole = Vec::from(COMPRESSED.to_be_bytes());
    whole.extend(length(&squeezed).to_be_bytes());
    whole.extend(squeezed);
    STANDARD.encode(whole)
}

/// There are some ten thousand counts at the most, of nine bytes at the most.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The number of the bucket that a value is in, from 0.
fn index(value: u64) -> i64 {
    let bits = u64::BITS - value.leading_zeros();
    let coarser = bits.saturating_sub(BITS);
    // Above the first, each power of two has half as many buckets as there are values of so many bits.
    (u64::from(coarser) << (BITS - 1)).wrapping_add(value >> coarser).cast_signed()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A number with its sign in the lowest bit, seven bits to a byte, lowest first; a ninth byte has
/// eight.
fn number(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    for _ in 0..8 {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
    bytes.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry, Tag};

    use super::*;
    use crate::report::example;

    #[test]
    fn the_tools_of_the_format_read_every_bucket() {
        let (mut bytes, report) = (Vec::new(), example());
        write(&mut bytes, &report).unwrap();
        let entries: Vec<_> = IntervalLogIterator::new(&bytes).map(Result::unwrap).collect();
        let [LogEntry::StartTime(start), LogEntry::Interval(fetch), LogEntry::Interval(rare)] =
            &entries[..]
        else {
            panic!("{entries:?}")
        };
        assert_eq!(start.as_secs(), 1);
        assert_eq!(fetch.tag(), Tag::new("fetch"));
        let read = |entry: &str| -> Vec<(Duration, u64)> {
            let raw = STANDARD.decode(entry).unwrap();
            let read: Histogram<u64> =
                Deserializer::new().deserialize(&mut raw.as_slice()).unwrap();
            let buckets = read.iter_recorded();
            buckets
                .map(|b| (Duration::from_micros(b.value_iterated_to()), b.count_at_value()))
                .collect()
        };
        let of = |at: usize| report.metrics()[at].buckets().collect::<Vec<_>>();
        assert_eq!(read(fetch.encoded_histogram()), of(0));
        assert_eq!(read(rare.encoded_histogram()), of(1));
        assert_eq!(report.metrics()[0].count(), 1_000);
    }

    #[test]
    fn a_tag_has_neither_commas_nor_blanks() {
        assert_eq!(tag("GET /a,b\nc"), "GET_/a_b_c");
    }
}
