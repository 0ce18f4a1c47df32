//! Adds what the host knows to the faults and responses of plugins. A plugin learns only that a
//! call was denied, and only the name of a slot. The operator must see which call was denied, on
//! which target, and by which line.

use crate::missing_paths;
use runbook_authority::gate::Denial;
use runbook_authority::grant::EffectiveGrants;
use runbook_contract::{ErrorClass, Fault, Response};

/// The message that a plugin gets for every denied call.
const NOT_GRANTED: &str = "not granted";

/// Adds the denials, or what is missing on this machine, to the message of a fault.
pub fn fault(fault: Fault, denials: &[Denial], grants: &EffectiveGrants) -> Fault {
    let message = match (fault.class, denials.last()) {
        (_, Some(_)) if fault.message.contains(NOT_GRANTED) => {
            ReportedDenials::new(denials).insert_next(&fault.message)
        }
        (ErrorClass::Denied, Some(denial)) => format!("{}: {denial}", fault.message),
        (ErrorClass::NotFound, _) => match missing_paths::of(grants).first() {
            Some(missing) => format!("{}: {missing}", fault.message),
            None => return fault,
        },
        _ => return fault,
    };
    Fault { message, ..fault }
}

/// Adds the denials to the texts of a response that mention them.
pub fn response(response: Response, denials: &[Denial]) -> Response {
    if denials.is_empty() {
        return response;
    }
    let mut reported_denials = ReportedDenials::new(denials);
    match response {
        Response::Report(mut report) => {
            report.summary = reported_denials.insert_next(&report.summary);
            Response::Report(report)
        }
        Response::Cases(mut cases) => {
            for case in &mut cases {
                case.detail = reported_denials.insert_next(&case.detail);
            }
            Response::Cases(cases)
        }
        other @ (Response::Proposal(_) | Response::Observation(_) | Response::Completion(_)) => {
            other
        }
    }
}

/// Denials in the order in which the plugin got them. The last one is used again for all that were
/// not kept.
struct ReportedDenials<'a> {
    denials: &'a [Denial],
    next: usize,
}

impl<'a> ReportedDenials<'a> {
    fn new(denials: &'a [Denial]) -> Self {
        Self { denials, next: 0 }
    }

    /// The text with the next denial in place of [`NOT_GRANTED`].
    fn insert_next(&mut self, text: &str) -> String {
        let Some((before, after)) = text.split_once(NOT_GRANTED) else { return text.to_owned() };
        let Some(denial) = self.denials.get(self.next).or(self.denials.last()) else {
            return text.to_owned();
        };
        self.next += 1;
        format!("{before}{denial}{after}")
    }
}
