//! Sizes as text for people. Outputs, which programs read, have the exact number of bytes instead.

use std::fmt;

/// A number of bytes as people read it, in the largest binary unit with at most one decimal:
/// `129.5 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: &[(&str, u64)] =
    &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            UNITS.iter().copied().find(|(_, factor)| self.0 >= *factor).unwrap_or(("B", 1));
        let (bytes, factor) = (u128::from(self.0), u128::from(factor));
        let tenths = (bytes * 10 + factor / 2) / factor;
        match tenths % 10 {
            0 => write!(f, "{} {unit}", tenths / 10),
            tenth => write!(f, "{}.{tenth} {unit}", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn a_size_is_in_its_largest_unit_with_one_decimal_at_most() {
        let cases = [
            (0, "0 B"),
            (302, "302 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (1_536, "1.5 KiB"),
            (135_787_615, "129.5 MiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "16777216 TiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
