//! The end of a call, in words for the operator. A plugin learns of a denial only that it was
//! denied, and of a target only the name of its slot; whoever runs the program is told which call,
//! which target, and the line that decides.

use crate::missing_things;
use runbook_authority::gate::Denial;
use runbook_authority::grant::Effective;
use runbook_contract::{ErrorClass, Fault, Response};

/// What a plugin is told about everything that is denied.
const NOT_GRANTED: &str = "not granted";

/// The fault of a call, with what the host knows of it.
pub fn fault(fault: Fault, denials: &[Denial], effective: &Effective) -> Fault {
    let message = match (fault.class, denials.last()) {
        (_, Some(_)) if fault.message.contains(NOT_GRANTED) => {
            ReportedDenials::new(denials).in_full(&fault.message)
        }
        (ErrorClass::Denied, Some(denial)) => format!("{}: {denial}", fault.message),
        (ErrorClass::NotFound, _) => match missing_things::of(effective).first() {
            Some(missing) => format!("{}: {missing}", fault.message),
            None => return fault,
        },
        _ => return fault,
    };
    Fault { message, ..fault }
}

/// A response, in whose texts a plugin handed on that it was denied something.
pub fn response(response: Response, denials: &[Denial]) -> Response {
    if denials.is_empty() {
        return response;
    }
    let mut told = ReportedDenials::new(denials);
    match response {
        Response::Report(mut report) => {
            report.summary = told.in_full(&report.summary);
            Response::Report(report)
        }
        Response::Cases(mut cases) => {
            for case in &mut cases {
                case.detail = told.in_full(&case.detail);
            }
            Response::Cases(cases)
        }
        other @ (Response::Proposal(_) | Response::Observation(_) | Response::Completion(_)) => {
            other
        }
    }
}

/// Denials in the order in which a plugin was told of them; the last one stands for all that were
/// not kept.
struct ReportedDenials<'a> {
    denials: &'a [Denial],
    next: usize,
}

impl<'a> ReportedDenials<'a> {
    fn new(denials: &'a [Denial]) -> Self {
        Self { denials, next: 0 }
    }

    fn in_full(&mut self, text: &str) -> String {
        let Some((before, after)) = text.split_once(NOT_GRANTED) else { return text.to_owned() };
        let Some(denial) = self.denials.get(self.next).or(self.denials.last()) else {
            return text.to_owned();
        };
        self.next += 1;
        format!("{before}{denial}{after}")
    }
}
