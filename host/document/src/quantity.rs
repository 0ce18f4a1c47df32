//! Durations and sizes, which always carry their unit.

use std::time::Duration;

const DURATION_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A number of bytes; in TOML a string with a unit, such as `"10MiB"`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl std::fmt::Display for ByteSize {
    /// The largest binary unit with at most one decimal: `1.5 MiB`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (unit, factor) =
            [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
                .into_iter()
                .find(|(_, factor)| self.0 >= *factor)
                .unwrap_or(("B", 1));
        let tenths = u128::from(self.0) * 10 / u128::from(factor);
        if tenths.is_multiple_of(10) {
            write!(f, "{} {unit}", tenths / 10)
        } else {
            write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

/// Reads a duration such as `250ms`, `5m` or `1h30m`. A number without a unit is not a duration.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total_ms: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let factor = unit_factor(unit.trim(), DURATION_UNITS)?;
        total_ms = total_ms.checked_add(scale(number, factor)?)?;
        rest = next;
    }
    Some(Duration::from_millis(total_ms))
}

/// Reads a size such as `512B`, `10MiB` or `1.5GB`. A number without a unit is not a size.
pub fn parse_byte_size(text: &str) -> Option<ByteSize> {
    let (number, unit) = split_number(text.trim())?;
    scale(number, unit_factor(unit.trim(), SIZE_UNITS)?).map(ByteSize)
}

/// A duration for people: `350 ms`, `4.2 s`, `3 m 05 s`, `2 h 10 m`.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} m {:02} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {:02} m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// Splits `1.5GB` into `1.5` and `GB`.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn unit_factor(unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
}

/// `number` (digits with at most one point) times `factor`, exact for whole numbers.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9)?;
    let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(factor)?.checked_add(fraction.checked_mul(factor)? / 10_u64.pow(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("5m"), Some(Duration::from_mins(5)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        for wrong in ["", "5", "m", "5 fortnights", "-5s", "99999999999999999999s", "1..5s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_byte_size("10MiB"), Some(ByteSize(10 << 20)));
        assert_eq!(parse_byte_size("1.5GB"), Some(ByteSize(1_500_000_000)));
        for wrong in ["", "10", "10mb", "MiB", "99999999999999TiB"] {
            assert_eq!(parse_byte_size(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn quantities_are_shown_with_their_unit() {
        assert_eq!(ByteSize(512).to_string(), "512 B");
        assert_eq!(ByteSize(1536).to_string(), "1.5 KiB");
        assert_eq!(format_duration(Duration::from_millis(350)), "350 ms");
        assert_eq!(format_duration(Duration::from_millis(4_260)), "4.2 s");
        assert_eq!(format_duration(Duration::from_secs(185)), "3 m 05 s");
    }
}
