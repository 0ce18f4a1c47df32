//! The record of a call and its result.

use crate::{Call, CallReturn, Fault};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of the format that [`CallRecord`] is written in.
pub const FORMAT: u32 = 1;

/// A call and its result: enough to give the same answer again without the plugin.
///
/// Inputs and outputs may be confidential: a record needs the same protection as the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// The call that was made.
    pub call: Call,
    /// The return of the call, or the fault with which it ended.
    pub result: Result<CallReturn, Fault>,
}

/// Why a record could not be read.
#[derive(Debug)]
pub enum RecordError {
    /// It is written in a format that this version does not know.
    Format {
        /// The format that it names.
        found: u32,
    },
    /// The text is no record of a call.
    Json(serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct FormatHeader {
    format: u32,
}

#[derive(Serialize)]
struct CallRecordToWrite<'a> {
    format: u32,
    call: &'a Call,
    #[serde(flatten)]
    result: ResultRef<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum ResultRef<'a> {
    Return(&'a CallReturn),
    Fault(&'a Fault),
}

#[derive(Deserialize)]
struct CallRecordToRead {
    call: Call,
    #[serde(rename = "return")]
    returned: Option<CallReturn>,
    fault: Option<Fault>,
}

impl CallRecord {
    /// The record as one line of JSON, without a line break.
    ///
    /// # Errors
    /// [`serde_json::Error`] if a value cannot be written as JSON, which none of these types holds.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        let result = match &self.result {
            Ok(returned) => ResultRef::Return(returned),
            Err(fault) => ResultRef::Fault(fault),
        };
        serde_json::to_string(&CallRecordToWrite { format: FORMAT, call: &self.call, result })
    }

    /// Reads what [`to_line`](Self::to_line) wrote.
    ///
    /// # Errors
    /// [`RecordError::Format`] for the format of another version, [`RecordError::Json`] for a text
    /// that is no record, or that has both a return and a fault, or neither.
    pub fn from_line(line: &str) -> Result<Self, RecordError> {
        let head: FormatHeader = serde_json::from_str(line).map_err(RecordError::Json)?;
        if head.format != FORMAT {
            return Err(RecordError::Format { found: head.format });
        }
        let read: CallRecordToRead = serde_json::from_str(line).map_err(RecordError::Json)?;
        let result = match (read.returned, read.fault) {
            (Some(returned), None) => Ok(returned),
            (None, Some(fault)) => Err(fault),
            (Some(_), Some(_)) | (None, None) => {
                let message = "a record has a `return` or a `fault`, one of both";
                return Err(RecordError::Json(serde::de::Error::custom(message)));
            }
        };
        Ok(Self { call: read.call, result })
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { found } => {
                write!(f, "a record of format {found}; this version reads format {FORMAT}")
            }
            Self::Json(error) => write!(f, "not a record of a call: {error}"),
        }
    }
}

impl std::error::Error for RecordError {}
