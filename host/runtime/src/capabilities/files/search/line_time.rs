//! The time at the beginning of a line of a log.

use jiff::civil;
use jiff::tz::Offset;
use regex::bytes::{Captures, Regex};
use std::sync::LazyLock;

/// How many bytes of a line are searched for its time.
const TIME_WITHIN: usize = 64;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time of RFC 3339 or ISO 8601, also with a space in the middle and without a zone.
static ISO: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(?-u)(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[Tt ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))? ?(?P<zone>[Zz]|[+-]\d\d:?\d\d)?",
    )
});

/// A time of the common log format of web servers.
static COMMON: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r"(?-u)(?P<day>\d\d)/(?P<month>[A-Z][a-z]{2})/(?P<year>\d{4}):(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d) (?P<zone>[+-]\d{4})",
    )
});

fn expression(text: &str) -> Regex {
    Regex::new(text).expect("the expressions of this file are valid")
}

/// The time of a line in milliseconds since 1970; `None` if there is none. A time without a zone is
/// `zone_minutes` east of UTC.
pub(super) fn line_time(line: &[u8], zone_minutes: i32) -> Option<i64> {
    let beginning = &line[..line.len().min(TIME_WITHIN)];
    let (captures, month) = if let Some(captures) = ISO.captures(beginning) {
        let month = number(&captures, "month")?;
        (captures, month)
    } else {
        let captures = COMMON.captures(beginning)?;
        let name = captures.name("month")?.as_bytes();
        let index = MONTHS.iter().position(|month| month.as_bytes() == name)?;
        (captures, i16::try_from(index).ok()? + 1)
    };
    let of = |name: &str| i8::try_from(number(&captures, name)?).ok();
    let (day, hour, minute) = (of("day")?, of("hour")?, of("minute")?);
    // A leap second counts as the second before it.
    let second = of("second")?.min(59);
    let year = number(&captures, "year")?;
    let time =
        civil::DateTime::new(year, i8::try_from(month).ok()?, day, hour, minute, second, 0).ok()?;
    let zone_seconds = match captures.name("zone") {
        Some(zone) => zone_seconds(zone.as_bytes())?,
        None => zone_minutes.checked_mul(60)?,
    };
    let timestamp = Offset::from_seconds(zone_seconds).ok()?.to_timestamp(time).ok()?;
    let fraction = captures.name("fraction").map_or(0, |digits| milliseconds(digits.as_bytes()));
    Some(timestamp.as_millisecond() + fraction)
}

fn number(captures: &Captures<'_>, name: &str) -> Option<i16> {
    std::str::from_utf8(captures.name(name)?.as_bytes()).ok()?.parse().ok()
}

/// The milliseconds of the digits after the point of a second.
fn milliseconds(digits: &[u8]) -> i64 {
    let digit = |index: usize| digits.get(index).map_or(0, |digit| i64::from(*digit - b'0'));
    digit(0) * 100 + digit(1) * 10 + digit(2)
}

/// The seconds east of UTC of `Z`, `+02:00` or `-0500`.
fn zone_seconds(zone: &[u8]) -> Option<i32> {
    let (sign, digits) = match zone.split_first()? {
        (b'+', digits) => (1, digits),
        (b'-', digits) => (-1, digits),
        (_, _) => return Some(0),
    };
    let digits: Vec<i32> =
        digits.iter().filter(|byte| **byte != b':').map(|byte| i32::from(byte - b'0')).collect();
    let [hour_tens, hours, minute_tens, minutes] = digits.as_slice() else { return None };
    Some(sign * ((hour_tens * 10 + hours) * 60 + minute_tens * 10 + minutes) * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_read_in_the_forms_that_logs_use() {
        let time = 1_795_388_400_000; // 2026-11-22T23:00:00Z
        for (line, zone, expected) in [
            ("2026-11-22T23:00:00Z started", 0, Some(time)),
            ("2026-11-22T23:00:00.25Z started", 0, Some(time + 250)),
            ("2026-11-23 00:00:00,001 +0100 started", 0, Some(time + 1)),
            ("2026-11-23T00:00:00+01:00 started", 600, Some(time)),
            ("2026-11-23 01:00:00 started", 120, Some(time)),
            ("[2026-11-22 23:00:00] started", 0, Some(time)),
            ("10.0.0.1 - - [22/Nov/2026:18:00:00 -0500] \"GET /\" 200", 0, Some(time)),
            ("2026-11-22 22:59:60 leap", 0, Some(time - 1000)),
            ("2026-13-22 22:59:60 no month", 0, None),
            ("2026-02-30 22:59:60 no day", 0, None),
            ("22/Nix/2026:18:00:00 -0500", 0, None),
            ("    at Main.java", 0, None),
            ("", 0, None),
        ] {
            assert_eq!(line_time(line.as_bytes(), zone), expected, "{line}");
        }
        let late = format!("{}2026-11-22T23:00:00Z", " ".repeat(60));
        assert_eq!(line_time(late.as_bytes(), 0), None, "not at the beginning");
    }
}
