//! The histograms of a report in the log format of HdrHistogram, version 1.3, which its tools read:
//! one interval, the run, with a tagged histogram for each metric. Values are microseconds.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dp_core::Metric;
use dp_core::engine::text::is_plain;
use hdrhistogram::Histogram;

use crate::report::Report;

/// What encoded histograms of version 2 begin with, and compressed ones.
const ENCODED: u32 = 0x1c84_9313;
const COMPRESSED: u32 = 0x1c84_9314;
/// Significant digits, and the range: those of [`Metric`].
const DIGITS: u8 = 3;
const LOWEST: u64 = 1;
const HIGHEST: u64 = 3_600_000_000;

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
    let mut counts = Vec::new();
    let mut zeros: i64 = 0;
    for bucket in histogram(metric).iter_all() {
        match i64::try_from(bucket.count_at_value()).unwrap_or(i64::MAX) {
            0 => zeros += 1,
            count => {
                if zeros > 0 {
                    // A run of zeros is a negative number.
                    number(&mut counts, -std::mem::take(&mut zeros));
                }
                number(&mut counts, count);
            }
        }
    }
    let mut bytes = Vec::new();
    bytes.extend(ENCODED.to_be_bytes());
    bytes.extend(length(&counts).to_be_bytes());
    bytes.extend(0_u32.to_be_bytes()); // values are not shifted
    bytes.extend(u32::from(DIGITS).to_be_bytes());
    bytes.extend(LOWEST.to_be_bytes());
    bytes.extend(HIGHEST.to_be_bytes());
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

/// The metric's histogram, with the same buckets.
fn histogram(metric: &Metric) -> Histogram<u64> {
    // The bounds and the number of digits are ones that the crate accepts.
    let histogram = Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS);
    let mut histogram = histogram.expect("the bounds are valid");
    for (value, count) in metric.buckets() {
        let micros = u64::try_from(value.as_micros()).unwrap_or(HIGHEST);
        histogram.saturating_record_n(micros, count);
    }
    histogram
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
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry, Tag};

    use super::*;
    use crate::report::example;

    #[test]
    fn the_tools_of_the_format_read_every_bucket() {
        let (mut bytes, report) = (Vec::new(), example());
        write(&mut bytes, &report).unwrap();
        let entries: Vec<_> = IntervalLogIterator::new(&bytes).map(Result::unwrap).collect();
        let [LogEntry::StartTime(start), LogEntry::Interval(fetch), LogEntry::Interval(_)] =
            &entries[..]
        else {
            panic!("{entries:?}")
        };
        assert_eq!(start.as_secs(), 1);
        assert_eq!(fetch.tag(), Tag::new("fetch"));
        let raw = STANDARD.decode(fetch.encoded_histogram()).unwrap();
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut raw.as_slice()).unwrap();
        assert_eq!(read, histogram(&report.metrics()[0]));
        assert_eq!(read.len(), 1_000);
    }

    #[test]
    fn a_tag_has_neither_commas_nor_blanks() {
        assert_eq!(tag("GET /a,b\nc"), "GET_/a_b_c");
    }
}
