//! Decides whether another attempt follows a failed one, and after which delay. Pure.

use crate::digest;
use crate::event::AfterAttempt;
use crate::model::{OnFailure, Retry};
use crate::plan::{PlannedStep, RetrySafety};
use runbook_contract::{ErrorClass, Kind, RunId};
use std::time::Duration;

/// Whether a failed attempt may have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptEffect {
    /// It had none: it failed before any effect.
    None,
    /// It may have had an effect.
    Possible,
}

/// The facts about a failed attempt that decide what follows.
pub(crate) struct Failure {
    pub class: ErrorClass,
    pub effect: AttemptEffect,
    /// Failures in a row, this one included.
    pub failures: u32,
    /// The time since the first attempt began.
    pub elapsed: Duration,
}

/// What follows a failed attempt: another attempt, or the end of the step.
pub(crate) fn after_failure(step: &PlannedStep, run: RunId, failure: &Failure) -> AfterAttempt {
    let end = match step.on_failure {
        OnFailure::Continue => AfterAttempt::Continue,
        OnFailure::Undo | OnFailure::Stop => AfterAttempt::Final,
    };
    let retry = &step.retry;
    if failure.failures >= retry.attempts
        || !retry.on.contains(&failure.class)
        || failure.class == ErrorClass::Cancelled
    {
        return end;
    }
    // A write that may have happened is repeated only if that does no harm.
    let may_have_happened =
        step.facts.kind == Kind::Step && failure.effect == AttemptEffect::Possible;
    if may_have_happened && step.idempotent == RetrySafety::No {
        return end;
    }
    let delay = delay(retry, failure.failures, jitter_seed(run, step, failure.failures));
    if step.total_timeout.is_some_and(|total| failure.elapsed + delay >= total) {
        return end;
    }
    AfterAttempt::Retry { delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) }
}

/// The delay after `failures` failures in a row. `seed`, from 0 to 1, is the random part of the
/// jitter.
pub(crate) fn delay(retry: &Retry, failures: u32, seed: f64) -> Duration {
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = retry.delay.as_secs_f64() * retry.backoff.powi(exponent);
    let capped = seconds.min(retry.max_delay.as_secs_f64());
    let jittered = capped * (1.0 + retry.jitter * (2.0 * seed - 1.0));
    Duration::try_from_secs_f64(jittered.max(0.0)).unwrap_or(retry.max_delay)
}

/// A pseudo-random number from 0 to 1, computed from the run, the step and the attempt: a replay
/// gets the same one, and two runs do not retry at the same time.
fn jitter_seed(run: RunId, step: &PlannedStep, failures: u32) -> f64 {
    let digest = digest::json_digest(&serde_json::json!([run, step.id, failures]));
    let bits =
        u32::from_str_radix(&digest["sha256:".len()..][..8], 16).expect("a digest is hexadecimal");
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(jitter: f64) -> Retry {
        Retry {
            attempts: 9,
            delay: Duration::from_secs(5),
            max_delay: Duration::from_mins(1),
            jitter,
            ..Retry::default()
        }
    }

    #[test]
    fn delays_grow_and_are_capped() {
        let seconds: Vec<u64> =
            (1..=6).map(|failures| delay(&retry(0.0), failures, 0.5).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn jitter_changes_a_delay_by_at_most_its_part() {
        assert_eq!(delay(&retry(0.2), 1, 0.0), Duration::from_secs(4));
        assert_eq!(delay(&retry(0.2), 1, 1.0), Duration::from_secs(6));
    }

    #[test]
    fn a_huge_number_of_failures_does_not_overflow() {
        assert_eq!(delay(&retry(0.0), u32::MAX, 0.5), Duration::from_mins(1));
    }
}
