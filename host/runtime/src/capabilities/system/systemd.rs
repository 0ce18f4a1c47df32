//! Units of systemd, over its interface on D-Bus (org.freedesktop.systemd1(5)).

use super::failure::BusError;
use crate::bindings::runbook::system::types::{ExitKind, Unit, UnitExit, UnitRow};
use crate::fault::Fault;
use crate::host::Commit;
use crate::net::unix_socket;
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use zbus::connection::{AuthMechanism, Builder};
use zbus::message::Type;
use zbus::names::UniqueName;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

const SERVICE: &str = "org.freedesktop.systemd1";
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How many signals wait to be read: systemd sends one for each job of the machine.
const MAX_SIGNALS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// A job of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Start,
    Stop,
    Restart,
    Reload,
}

impl Job {
    fn method(self) -> &'static str {
        match self {
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
            Self::Restart => "RestartUnit",
            Self::Reload => "ReloadUnit",
        }
    }
}

/// The manager of the units of this machine.
pub(super) struct Manager {
    connection: Connection,
    bus: String,
}

impl Manager {
    /// Connects to the bus at a socket. No variable of the environment leads elsewhere.
    pub(super) async fn connect(path: &Path) -> Result<Self, BusError> {
        let bus = path.display().to_string();
        let away = |reason: String| BusError::Away { bus: bus.clone(), reason };
        let stream =
            unix_socket::connect_to(path).await.map_err(|error| away(error.to_string()))?;
        let stream = stream.into_std().map_err(|error| away(error.to_string()))?;
        let connection = Builder::unix_stream(stream)
            .auth_mechanism(AuthMechanism::External)
            .build()
            .await
            .map_err(|error| away(error.to_string()))?;
        Ok(Self { connection, bus })
    }

    /// One unit, with what systemd knows of it. A unit without a file is `not-found`.
    pub(super) async fn unit(&self, name: &str) -> Result<Unit, BusError> {
        let reply = self.call(MANAGER_PATH, MANAGER, "LoadUnit", &name).await?;
        let path: OwnedObjectPath = self.body(&reply)?;
        let unit = self.properties(path.as_str(), "org.freedesktop.systemd1.Unit").await?;
        let is_service = name.ends_with(".service") && unit.text("LoadState") == "loaded";
        let service = if is_service {
            self.properties(path.as_str(), "org.freedesktop.systemd1.Service").await?
        } else {
            Properties::default()
        };
        Ok(described(&unit, &service))
    }

    /// All units that are loaded.
    pub(super) async fn units(&self) -> Result<Vec<UnitRow>, BusError> {
        /// A unit as `ListUnits` writes it: name, description, load, active and sub state,
        /// followed unit, object, job id, job type, object of the job.
        type Listed = (
            String,
            String,
            String,
            String,
            String,
            String,
            OwnedObjectPath,
            u32,
            String,
            OwnedObjectPath,
        );
        let reply = self.call(MANAGER_PATH, MANAGER, "ListUnits", &()).await?;
        let listed: Vec<Listed> = self.body(&reply)?;
        let row = |(name, description, load, active, sub, ..): Listed| UnitRow {
            name,
            description,
            load,
            active,
            sub,
        };
        Ok(listed.into_iter().map(row).collect())
    }

    /// Asks for a job and waits for its end. From the request on, `commit` says that there may be an
    /// effect.
    pub(super) async fn run(&self, job: Job, unit: &str, commit: &Commit) -> Result<(), Fault> {
        let fault = BusError::into_fault;
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SERVICE)
            .interface(MANAGER)
            .member("JobRemoved")
            .path(MANAGER_PATH)
            .build()
            .map_err(|error| fault(self.error(error)))?;
        let mut ended = MessageStream::for_match_rule(rule, &self.connection, Some(MAX_SIGNALS))
            .await
            .map_err(|error| fault(self.error(error)))?;
        // Without it, systemd sends no signal about jobs.
        let subscribed = self.call(MANAGER_PATH, MANAGER, "Subscribe", &()).await.map_err(fault)?;
        // Every user of the machine may send this connection a signal that looks like one of
        // systemd. The bus writes the true sender into each message, as the unique name of its
        // connection.
        let manager = subscribed.header().sender().map(UniqueName::to_owned);
        commit.mark_sent()?;
        let reply = self.call(MANAGER_PATH, MANAGER, job.method(), &(unit, "replace")).await;
        let reply = reply.map_err(|error| change_fault(error, commit))?;
        let asked: OwnedObjectPath = self.body(&reply).map_err(|error| fault(error.in_doubt()))?;
        while let Some(message) = ended.next().await {
            let Ok(message) = message else { break };
            if let Some(result) = result_of(&message, &asked, manager.as_ref()) {
                return job_result(unit, &result);
            }
        }
        let reason = "the bus was cut before the job ended".to_owned();
        Err(fault(BusError::Broken { bus: self.bus.clone(), reason }.in_doubt()))
    }

    async fn properties(&self, path: &str, interface: &str) -> Result<Properties, BusError> {
        let reply =
            self.call(path, "org.freedesktop.DBus.Properties", "GetAll", &interface).await?;
        self.body(&reply).map(Properties)
    }

    pub(super) async fn call<B: serde::Serialize + zbus::DynamicType>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, BusError> {
        self.connection
            .call_method(Some(SERVICE), path, Some(interface), method, body)
            .await
            .map_err(|error| self.error(error))
    }

    pub(super) fn body<T: serde::de::DeserializeOwned + zbus::Type>(
        &self,
        message: &Message,
    ) -> Result<T, BusError> {
        message.body().deserialize().map_err(|error| self.error(error))
    }

    fn error(&self, error: zbus::Error) -> BusError {
        BusError::of(&self.bus, error)
    }
}

/// The fault for an error of the request that changes something. If systemd has refused the
/// request, it has no effect; if there was no answer, nobody knows.
pub(super) fn change_fault(error: BusError, commit: &Commit) -> Fault {
    match error {
        BusError::Refused { .. } => {
            commit.mark_rolled_back();
            error.into_fault()
        }
        BusError::Away { .. }
        | BusError::Broken { .. }
        | BusError::InDoubt { .. }
        | BusError::NotEnablable { .. } => error.in_doubt().into_fault(),
    }
}

/// The result of a job, if the message is systemd's signal that this job has ended.
fn result_of(
    message: &Message,
    job: &OwnedObjectPath,
    manager: Option<&UniqueName<'_>>,
) -> Option<String> {
    let header = message.header();
    let is_signal_of_manager = header.message_type() == Type::Signal
        && header.sender() == manager
        && header.path().is_some_and(|path| path.as_str() == MANAGER_PATH)
        && header.interface().is_some_and(|interface| interface.as_str() == MANAGER)
        && header.member().is_some_and(|member| member.as_str() == "JobRemoved");
    if !is_signal_of_manager {
        return None;
    }
    let body = message.body();
    let (_, ended, _, result) =
        body.deserialize::<(u32, OwnedObjectPath, String, String)>().ok()?;
    (ended == *job).then_some(result)
}

/// What the end of a job says of its unit.
fn job_result(unit: &str, result: &str) -> Result<(), Fault> {
    use crate::fault::FaultClass;
    let fault = |class, message: String| Err(Fault::new(class, "system.job", message));
    match result {
        "done" => Ok(()),
        "timeout" => {
            fault(FaultClass::Timeout, format!("{unit}: the job took longer than the unit allows"))
        }
        "canceled" => {
            fault(FaultClass::Conflict, format!("{unit}: the job was canceled by another one"))
        }
        "skipped" | "invalid" | "assert" | "unsupported" | "once" | "collected" => {
            fault(FaultClass::Conflict, format!("{unit}: the job does not apply to its state"))
        }
        other => fault(FaultClass::Assertion, format!("{unit}: the job ended with `{other}`")),
    }
}

/// The properties of an object.
#[derive(Default)]
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn text(&self, name: &str) -> String {
        self.get::<&str>(name).unwrap_or_default().to_owned()
    }

    fn get<'v, T: TryFrom<&'v OwnedVariant>>(&'v self, name: &str) -> Option<T> {
        self.0.get(name).and_then(|value| T::try_from(value).ok())
    }
}

fn described(unit: &Properties, service: &Properties) -> Unit {
    // Timestamps are microseconds since 1970.
    let millis = |properties: &Properties, name| properties.get::<u64>(name).unwrap_or(0) / 1000;
    let last_exit = match service.get::<i32>("ExecMainCode") {
        Some(1) => Some(ExitKind::Exited),
        Some(2) => Some(ExitKind::Killed),
        Some(3) => Some(ExitKind::Dumped),
        Some(_) | None => None,
    };
    Unit {
        name: unit.text("Id"),
        description: unit.text("Description"),
        load: unit.text("LoadState"),
        active: unit.text("ActiveState"),
        sub: unit.text("SubState"),
        file_state: unit.text("UnitFileState"),
        since_ms: millis(unit, "StateChangeTimestamp"),
        pid: service.get::<u32>("MainPID").filter(|pid| *pid != 0),
        restarts: service.get::<u32>("NRestarts").unwrap_or(0),
        outcome: service.text("Result"),
        last_exit: last_exit.map(|kind| UnitExit {
            kind,
            status: service.get::<i32>("ExecMainStatus").unwrap_or(0),
            at_ms: millis(service, "ExecMainExitTimestamp"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "/org/freedesktop/systemd1/job/42";

    /// The end of job 42 with the result `done`, as a connection of the bus may send it.
    fn signal(sender: Option<&str>, path: &str, interface: &str, member: &str) -> Message {
        let mut signal = Message::signal(path, interface, member);
        if let Some(sender) = sender {
            signal = signal.sender(sender);
        }
        let job = OwnedObjectPath::try_from(JOB).expect("a path");
        signal.build(&(42_u32, job, "app.service", "done")).expect("a message")
    }

    /// Every user of the machine may send any of these to the connection of the host.
    #[test]
    fn only_systemd_is_believed_that_a_job_has_ended() {
        let job = OwnedObjectPath::try_from(JOB).expect("a path");
        let other_job =
            OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/4").expect("a path");
        let systemd = UniqueName::try_from(":1.3").expect("a name");
        let true_one = signal(Some(":1.3"), MANAGER_PATH, MANAGER, "JobRemoved");
        assert_eq!(result_of(&true_one, &job, Some(&systemd)), Some("done".to_owned()));
        assert_eq!(result_of(&true_one, &other_job, Some(&systemd)), None);
        for forged in [
            signal(Some(":1.4"), MANAGER_PATH, MANAGER, "JobRemoved"),
            signal(Some(":1.33"), MANAGER_PATH, MANAGER, "JobRemoved"),
            signal(None, MANAGER_PATH, MANAGER, "JobRemoved"),
            signal(Some(":1.3"), "/org/freedesktop", MANAGER, "JobRemoved"),
            signal(Some(":1.3"), MANAGER_PATH, "org.freedesktop.Other", "JobRemoved"),
            signal(Some(":1.3"), MANAGER_PATH, MANAGER, "JobNew"),
        ] {
            assert_eq!(result_of(&forged, &job, Some(&systemd)), None, "{forged:?}");
        }
    }
}
