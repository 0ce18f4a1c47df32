//! Checks the window of the runbook against the clock.

use super::{RunError, Runner};
use crate::clock::Clock;
use crate::event::{LifecycleEvent, WindowVerdict};
use crate::journal::Journal;
use crate::model::OutsidePolicy;
use crate::operate::Operate;

/// Whether a closed window stops a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutsideWindow {
    /// As `outside` of the runbook says.
    #[default]
    AsWritten,
    /// The run goes on, because the operator has overridden the window. The journal records that.
    Override,
}

/// Whether effects may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowState {
    Open,
    Closed,
}

impl<O: Operate, J: Journal, C: Clock> Runner<'_, O, J, C> {
    /// Compares the clock with the window, and records the verdict if it is another than before.
    pub(super) async fn check_window(&mut self) -> Result<WindowState, RunError> {
        let Some(verdict) = self.window_verdict() else { return Ok(WindowState::Open) };
        if self.state().window.as_ref() != Some(&verdict) {
            self.record(LifecycleEvent::WindowChecked { verdict }).await?;
        }
        Ok(if self.state().is_outside_window() { WindowState::Closed } else { WindowState::Open })
    }

    fn window_verdict(&self) -> Option<WindowVerdict> {
        let (window, now) = (self.plan.window.as_ref()?, self.clock.now());
        if window.is_open(now) {
            return Some(WindowVerdict::Open);
        }
        let opens_at = window.opens_after(now);
        Some(match (window.outside, self.options.outside_window) {
            (OutsidePolicy::Warn, _) => WindowVerdict::Warned { opens_at },
            (OutsidePolicy::Refuse, OutsideWindow::Override) => {
                WindowVerdict::Overridden { by: self.options.operator.clone(), opens_at }
            }
            (OutsidePolicy::Refuse, OutsideWindow::AsWritten) => {
                WindowVerdict::Refused { opens_at }
            }
        })
    }
}
