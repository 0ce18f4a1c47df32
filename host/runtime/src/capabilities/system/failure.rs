//! Why systemd gave no answer, or refused, and the fault that the caller gets.

use crate::fault::{Fault, FaultClass};
use zbus::DBusError as _;

/// Why a call over the bus failed.
#[derive(Debug)]
pub(super) enum BusError {
    /// There is no connection to the bus.
    Away { bus: String, reason: String },
    /// The connection broke, or what came cannot be read.
    Broken { bus: String, reason: String },
    /// The same, after a request that changes something was sent.
    InDoubt { bus: String, reason: String },
    /// systemd, or the bus, refused the call: the name of its error and its text.
    Refused { name: String, text: String },
    /// The unit has no `[Install]` section.
    NotEnablable { unit: String },
}

impl BusError {
    pub(super) fn of(bus: &str, error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                Self::Refused { name: name.to_string(), text: text.unwrap_or_default() }
            }
            zbus::Error::FDO(error) => Self::Refused {
                name: error.name().to_string(),
                text: error.description().unwrap_or_default().to_owned(),
            },
            other => Self::Broken { bus: bus.to_owned(), reason: other.to_string() },
        }
    }

    /// The same error, after a request that changes something was sent.
    pub(super) fn in_doubt(self) -> Self {
        match self {
            Self::Away { bus, reason } | Self::Broken { bus, reason } => {
                Self::InDoubt { bus, reason }
            }
            Self::InDoubt { .. } | Self::Refused { .. } | Self::NotEnablable { .. } => self,
        }
    }

    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::Away { bus, reason } => Fault::new(
                FaultClass::Transient,
                "system.bus-away",
                format!(
                    "the bus at `{bus}` does not answer: {reason}; set `bus` in the target if \
                         it is elsewhere"
                ),
            ),
            Self::Broken { bus, reason } => Fault::new(
                FaultClass::Transient,
                "system.bus-broken",
                format!("the connection to the bus at `{bus}` broke: {reason}"),
            ),
            Self::InDoubt { bus, reason } => Fault::new(
                FaultClass::Unknown,
                "system.in-doubt",
                format!(
                    "systemd was asked, and the connection to the bus at `{bus}` broke: {reason}"
                ),
            ),
            Self::NotEnablable { unit } => Fault::new(
                FaultClass::Conflict,
                "system.not-enablable",
                format!(
                    "{unit} has no [Install] section, so it can be neither enabled nor disabled"
                ),
            ),
            Self::Refused { name, text } => refused(&name, &text),
        }
    }
}

/// The fault for an error of systemd, by its name.
fn refused(name: &str, text: &str) -> Fault {
    let short = name.rsplit('.').next().unwrap_or(name);
    let (class, code) = match short {
        "NoSuchUnit" | "LoadFailed" | "FileNotFound" => (FaultClass::NotFound, "system.no-unit"),
        "AccessDenied" | "InteractiveAuthorizationRequired" | "AuthFailed" => {
            (FaultClass::Invalid, "system.user")
        }
        "UnitMasked"
        | "OnlyByDependency"
        | "JobTypeNotApplicable"
        | "NoIsolation"
        | "TransactionIsDestructive"
        | "TransactionJobsConflicting"
        | "ShuttingDown" => (FaultClass::Conflict, "system.refused"),
        "NoReply" | "Timeout" | "TimedOut" | "ServiceUnknown" | "NameHasNoOwner"
        | "Disconnected" => (FaultClass::Transient, "system.bus-away"),
        _ => (FaultClass::Invalid, "system.refused"),
    };
    let hint = match code {
        "system.user" => "; the user of this program may not do it",
        _ => "",
    };
    Fault::new(class, code, format!("systemd refused: {text} ({short}){hint}"))
}
