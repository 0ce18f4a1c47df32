//! The JSON form of the records of the audit log. Programs read them: names and order of members
//! stay as they are.

use serde::Serialize;

/// The first record of a run's part of the audit log.
#[derive(Debug, Serialize)]
pub struct RunOpened<'a> {
    /// Why plugins are called: the name of a purpose.
    pub purpose: &'static str,
    /// The file, as the operator named it.
    pub runbook: &'a str,
    /// The file by which a review finds the run: absolute, with links resolved.
    pub path: &'a str,
    /// The environment that `--env` chose, if any.
    pub environment: Option<&'a str>,
    /// The prefix that each step id has in the run but not in the file.
    pub prefix: &'a str,
    /// The `name` of the runbook.
    pub name: &'a str,
    /// The name of the person who started it.
    pub operator: &'a str,
    /// The version of this program.
    pub version: &'static str,
}

/// The first record of a part of the audit log in which an operator acts on a run from outside.
#[derive(Debug, Serialize)]
pub struct InterventionOpened<'a> {
    /// The name of the purpose.
    pub purpose: &'static str,
    /// The name of the operator.
    pub operator: &'a str,
    /// The version of this program.
    pub version: &'static str,
}

/// A record of what happened in a run.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AuditLogRecord<'a> {
    /// A plugin is called.
    Called {
        /// The id of the step that calls.
        step: &'a str,
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// The phase of the call, such as `plan` or `apply`.
        phase: &'static str,
        /// The name of the plugin.
        plugin: &'a str,
        /// The digest of the plugin's component, `sha256:…`.
        digest: &'a str,
    },
    /// The call has ended.
    Ended {
        /// The id of the step that called.
        step: &'a str,
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// `ok`, or the code of the fault.
        ended: &'a str,
        /// How long the call took, in microseconds.
        duration_us: u128,
    },
    /// The gate has judged a host call.
    Judged {
        /// The id of the step that calls.
        step: &'a str,
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// The name of the plugin.
        plugin: &'a str,
        /// The digest of the plugin's component, `sha256:…`.
        digest: &'a str,
        /// The slot that the plugin named.
        slot: &'a str,
        /// The verb with its capability, such as `http.get`.
        function: String,
        /// The call in one line, with every known secret removed.
        operation: &'a str,
        /// The `secrets` slots whose values the host would insert into the call.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        secrets: &'a [&'a str],
        /// The secrets that the target itself adds to the call.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        target_secrets: &'a [&'a str],
        /// The gate's decision.
        #[serde(flatten)]
        decision: LoggedDecision<'a>,
    },
    /// An operator takes a lock from a run.
    LockTaken {
        /// The name of the lock, as `[locks]` has it.
        lock: &'a str,
        /// The fencing token of the run that holds it.
        token: u64,
        /// The name of the operator who takes it.
        by: &'a str,
        /// The reason that the operator gave.
        reason: &'a str,
    },
    /// A host function has returned.
    Returned {
        /// The id of the step that called.
        step: &'a str,
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// The slot that the plugin named.
        slot: &'a str,
        /// The verb with its capability, such as `http.get`.
        function: String,
        /// Bytes of data that were sent or received.
        bytes: u64,
        /// How long the host function took, in microseconds.
        duration_us: u128,
    },
}

/// The gate's decision about a call.
#[derive(Debug, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum LoggedDecision<'a> {
    /// The host call is allowed.
    Allow,
    /// The host call is denied.
    Deny {
        /// The name of the rule.
        rule: &'static str,
        /// The key of the target that the rule reads; empty if none.
        key: &'static str,
        /// The name of the target; empty if the slot is bound to none.
        target: &'a str,
        /// Where the target is defined, as `file:line`.
        place: &'a str,
    },
}

/// The members of a record as JSON, without the braces of the object, because the log adds members
/// of its own before and after.
pub fn json_members(record: &impl Serialize) -> String {
    let mut text = serde_json::to_string(record).expect("a record has string keys only");
    text.pop();
    text.remove(0);
    text
}

#[cfg(test)]
mod tests {
    use super::{AuditLogRecord, LoggedDecision, RunOpened, json_members};

    /// Programs read these lines: renaming, moving or omitting a member breaks them.
    #[test]
    fn each_kind_of_record_has_exactly_these_members() {
        let opened = RunOpened {
            purpose: "preview",
            runbook: "r.toml",
            path: "/r.toml",
            environment: None,
            prefix: "",
            name: "n",
            operator: "ada \"a\"",
            version: "1.0.0",
        };
        assert_eq!(
            json_members(&opened),
            r#""purpose":"preview","runbook":"r.toml","path":"/r.toml","environment":null,"prefix":"","name":"n","operator":"ada \"a\"","version":"1.0.0""#
        );
        let called = AuditLogRecord::Called {
            step: "s",
            attempt: 1,
            phase: "execute",
            plugin: "p",
            digest: "d",
        };
        assert_eq!(
            json_members(&called),
            r#""kind":"called","step":"s","attempt":1,"phase":"execute","plugin":"p","digest":"d""#
        );
        let ended = AuditLogRecord::Ended { step: "s", attempt: 1, ended: "ok", duration_us: 7 };
        assert_eq!(
            json_members(&ended),
            r#""kind":"ended","step":"s","attempt":1,"ended":"ok","duration_us":7"#
        );
        let taken = AuditLogRecord::LockTaken { lock: "db", token: 3, by: "ada", reason: "r" };
        assert_eq!(
            json_members(&taken),
            r#""kind":"lock-taken","lock":"db","token":3,"by":"ada","reason":"r""#
        );
        let returned = AuditLogRecord::Returned {
            step: "s",
            attempt: 1,
            slot: "api",
            function: "http.get".to_owned(),
            bytes: 5,
            duration_us: 7,
        };
        assert_eq!(
            json_members(&returned),
            r#""kind":"returned","step":"s","attempt":1,"slot":"api","function":"http.get","bytes":5,"duration_us":7"#
        );
    }

    #[test]
    fn a_judged_record_has_exactly_these_members() {
        let judged = |secrets, decision| AuditLogRecord::Judged {
            step: "s",
            attempt: 1,
            plugin: "p",
            digest: "d",
            slot: "api",
            function: "http.get".to_owned(),
            operation: "GET /",
            secrets,
            target_secrets: &[],
            decision,
        };
        let common_members = r#""kind":"judged","step":"s","attempt":1,"plugin":"p","digest":"d","slot":"api","function":"http.get","operation":"GET /""#;
        assert_eq!(
            json_members(&judged(&[], LoggedDecision::Allow)),
            format!(r#"{common_members},"decision":"allow""#)
        );
        let denied =
            LoggedDecision::Deny { rule: "path", key: "paths", target: "t", place: "r.toml:3" };
        assert_eq!(
            json_members(&judged(&["token"], denied)),
            format!(
                r#"{common_members},"secrets":["token"],"decision":"deny","rule":"path","key":"paths","target":"t","place":"r.toml:3""#
            )
        );
    }
}
