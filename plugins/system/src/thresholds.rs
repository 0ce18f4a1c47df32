//! Two limits of a number: beyond the first it is a warning, beyond the second a failure.

use runbook_sdk::prelude::*;

/// Limits that a number may reach and not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Thresholds {
    warn: f64,
    crit: f64,
}

impl Thresholds {
    /// Limits by the names of their keys.
    ///
    /// # Errors
    /// `invalid` if the limit of a failure is below that of a warning, so that nothing would ever be
    /// a warning.
    pub(crate) fn new(
        (warn_key, warn): (&str, f64),
        (crit_key, crit): (&str, f64),
    ) -> Result<Self> {
        if crit < warn {
            let message =
                format!("`{crit_key}` is less than `{warn_key}`, so nothing would be a warning");
            return Err(Fault::invalid("system.limits", message));
        }
        Ok(Self { warn, crit })
    }

    pub(crate) fn outcome(self, value: f64) -> Outcome {
        if value > self.crit {
            Outcome::Fail
        } else if value > self.warn {
            Outcome::Warn
        } else {
            Outcome::Pass
        }
    }

    /// The number with both limits, for monitoring.
    pub(crate) fn measurement(self, label: &str, value: f64, unit: &str) -> Measurement {
        measurement(label, value, unit).warn(self.warn).crit(self.crit)
    }
}

/// The worse of two outcomes.
pub(crate) fn worse(one: Outcome, other: Outcome) -> Outcome {
    let rank = |outcome: Outcome| match outcome {
        Outcome::Pass => 0,
        Outcome::Warn => 1,
        Outcome::Unknown => 2,
        Outcome::Fail => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// The part of a whole in percent, with one decimal; 0 of an empty whole.
#[expect(clippy::cast_precision_loss, reason = "one decimal of a percent is exact enough")]
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { one_decimal(part as f64 / whole as f64 * 100.0) }
}

pub(crate) fn one_decimal(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_itself_is_allowed_and_the_second_is_not_below_the_first() {
        let limits = Thresholds::new(("warn", 80.0), ("crit", 90.0)).expect("good limits");
        for (value, outcome) in [
            (80.0, Outcome::Pass),
            (80.1, Outcome::Warn),
            (90.0, Outcome::Warn),
            (90.1, Outcome::Fail),
        ] {
            assert_eq!(limits.outcome(value), outcome, "{value}");
        }
        let turned = Thresholds::new(("warn", 90.0), ("crit", 80.0)).expect_err("turned round");
        assert!(turned.message.contains("`crit` is less than `warn`"), "{}", turned.message);
    }
}
