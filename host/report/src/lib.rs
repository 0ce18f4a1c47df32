//! Events and outcomes rendered for people and machines.
//!
//! Everything here is a pure function of the events of a run: the live view, `runbook show` after a
//! crash and the report of a finished run fold the same events and therefore say the same.

#![warn(clippy::missing_errors_doc)]

pub mod access_report;
pub mod checks;
mod difference;
mod event_lines;
mod events;
mod format;
mod html;
mod html_page;
mod journal_option;
mod json;
mod junit;
mod markdown;
mod phrases;
mod single_line;
mod summary;
mod table;
mod text;
mod timeline;
pub mod trace;
mod wrap;

pub use event_lines::{Line, Tone, record_lines};
pub use events::{event_line, event_schema};
pub use format::{FORMATS, Format, render};
pub use journal_option::with_journal_option;
pub use json::schema as report_schema;
pub use phrases::{pluralize, short_run_id};
pub use single_line::{push_line, value_text};
pub use summary::{
    CancelRequest, EarlierRun, ExecutionStatus, LaterRun, RunProgress, RunVerdict, StepStatus,
    StepSummary, Summary, UnsentNotification,
};
pub use table::table;
pub use text::{closing_text, outcome_text};
pub use timeline::{Activity, SpanEnd, Timeline, TimelineSpan};
pub use wrap::{truncate_to_width, wrap_to_width};
