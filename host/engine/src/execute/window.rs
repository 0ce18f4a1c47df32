//! The clock against the window of the runbook.

use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{LifecycleEvent, WindowVerdict};
use crate::journal::Journal;
use crate::model::OutsidePolicy;
use crate::operate::Operate;

/// Whether a closed window stops a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutsideWindow {
    /// As the runbook says.
    #[default]
    AsWritten,
    /// It does not: the operator runs the runbook anyway, and the journal says so.
    Override,
}

/// Whether effects may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Open,
    Closed,
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Looks at the clock, and writes down what it says unless it says what it said before.
    pub(super) async fn check_window(&mut self) -> Result<Entry, RunError> {
        let Some(verdict) = self.window_verdict() else { return Ok(Entry::Open) };
        if self.state().window.as_ref() != Some(&verdict) {
            self.record(LifecycleEvent::WindowChecked { verdict }).await?;
        }
        Ok(if self.state().is_outside_window() { Entry::Closed } else { Entry::Open })
    }

    fn window_verdict(&self) -> Option<WindowVerdict> {
        let (window, now) = (self.plan.window.as_ref()?, self.clock.now());
        if window.is_open(now) {
            return Some(WindowVerdict::Open);
        }
        let opens = window.opens_after(now);
        Some(match (window.outside, self.options.outside_window) {
            (OutsidePolicy::Warn, _) => WindowVerdict::Warned { opens },
            (OutsidePolicy::Refuse, OutsideWindow::Override) => {
                WindowVerdict::Overridden { by: self.options.operator.clone(), opens }
            }
            (OutsidePolicy::Refuse, OutsideWindow::AsWritten) => WindowVerdict::Refused { opens },
        })
    }
}
