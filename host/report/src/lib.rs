//! Events and outcomes rendered for people and machines.
//!
//! Everything here is a pure function of the events of a run: the live view, `runbook show` after a crash and the report of a
//! finished run fold the same events and therefore say the same.

pub mod checks;
mod difference;
mod events;
mod fit;
mod format;
mod html;
mod json;
mod junit;
pub mod ledger;
mod line;
mod markdown;
mod page;
mod printed;
mod prometheus;
mod summary;
mod table;
mod text;
mod timeline;
pub mod trace;

pub use events::{event_line, event_schema};
pub use fit::{cut, fit};
pub use format::{FORMATS, Format, render};
pub use json::schema as report_schema;
pub use line::{Line, Tone, counted, lines, short};
pub use printed::{push_line, value_text};
pub use summary::{Execution, Standing, StepState, StepSummary, Summary, cause_text};
pub use table::table;
pub use text::{closing, plan_table};
pub use timeline::{Activity, Span, SpanEnd, Timeline};
