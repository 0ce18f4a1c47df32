//! Ranges in the syntax of monitoring plugins: `10`, `10:`, `~:10`, `10:20`, `@10:20`.

/// A range of good numbers; after `@`, a range of bad ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    start: f64,
    end: f64,
    bad_side: BadSide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BadSide {
    Outside,
    Inside,
}

impl Range {
    /// Parses a range; `None` if the text is not a range, or its start is greater than its end.
    pub fn parse(text: &str) -> Option<Self> {
        let (bad_side, text) = match text.trim().strip_prefix('@') {
            Some(rest) => (BadSide::Inside, rest),
            None => (BadSide::Outside, text.trim()),
        };
        let (start, end) = match text.split_once(':') {
            Some(("~", end)) => (f64::NEG_INFINITY, Self::end(end)?),
            Some((start, end)) => (number(start)?, Self::end(end)?),
            None => (0.0, number(text)?),
        };
        (start <= end).then_some(Self { start, end, bad_side })
    }

    fn end(text: &str) -> Option<f64> {
        if text.is_empty() { Some(f64::INFINITY) } else { number(text) }
    }

    /// Whether the number is a problem.
    pub fn is_breached_by(&self, value: f64) -> bool {
        // NaN is never inside a range.
        let inside = (self.start..=self.end).contains(&value);
        match self.bad_side {
            BadSide::Outside => !inside,
            BadSide::Inside => inside,
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_plugin_guidelines() {
        let cases = [
            ("10", 10.0, false),
            ("10", 10.1, true),
            ("10", -0.1, true),
            ("10:", 9.9, true),
            ("10:", 1e9, false),
            ("~:10", -1e9, false),
            ("~:10", 11.0, true),
            ("10:20", 15.0, false),
            ("10:20", 21.0, true),
            ("@10:20", 10.0, true),
            ("@10:20", 9.0, false),
        ];
        for (text, value, breached) in cases {
            let range = Range::parse(text).expect("the range is well formed");
            assert_eq!(range.is_breached_by(value), breached, "{value} against {text}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_range_is_refused() {
        for text in ["", "a", "20:10", ":", "1:2:3", "@", "inf", "nan"] {
            assert_eq!(Range::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn nan_breaches_every_range() {
        assert!(Range::parse("10").expect("well formed").is_breached_by(f64::NAN));
    }
}
