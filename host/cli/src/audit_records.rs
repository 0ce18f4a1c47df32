//! The records of the audit log that a run writes: the names of their kinds and members, in the
//! order in which they are written.

use serde::Serialize;

/// What is known of a run when its part of the audit log is opened.
#[derive(Debug, Serialize)]
pub struct RunOpened<'a> {
    /// Why plugins are called: the name of a purpose.
    pub purpose: &'static str,
    /// The file, as the operator named it.
    pub runbook: &'a str,
    /// The file by which a review counts: absolute, with links resolved.
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

/// What is known of a person who does something to a run from outside, when their part of the audit
/// log is opened.
#[derive(Debug, Serialize)]
pub struct LogOpened<'a> {
    /// The name of the purpose for which it is opened.
    pub purpose: &'static str,
    /// The name of the person who does it.
    pub operator: &'a str,
    /// The version of this program.
    pub version: &'static str,
}

/// A record of a run.
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
        /// The secrets that the target itself puts in.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        target_secrets: &'a [&'a str],
        /// The gate's decision.
        #[serde(flatten)]
        decision: Judgement<'a>,
    },
    /// A person takes a lock from a run.
    LockTaken {
        /// The name of the lock, as `[locks]` has it.
        lock: &'a str,
        /// The fencing token of the run that holds it.
        token: u64,
        /// The name of the person who takes it.
        by: &'a str,
        /// Why they take it, in their words.
        reason: &'a str,
    },
    /// A host function has come back.
    Returned {
        /// The id of the step that called.
        step: &'a str,
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// The slot that the plugin named.
        slot: &'a str,
        /// The verb with its capability, such as `http.get`.
        function: String,
        /// Bytes of data that went out or came in.
        bytes: u64,
        /// How long the host function took, in microseconds.
        duration_us: u128,
    },
}

/// The gate's decision about a call.
#[derive(Debug, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Judgement<'a> {
    /// The host call is let through.
    Allow,
    /// The host call is denied.
    Deny {
        /// The name of the rule.
        rule: &'static str,
        /// The key of the target that the rule reads; empty if none.
        key: &'static str,
        /// The name of the target; empty if the slot is bound to none.
        target: &'a str,
        /// Where the target stands, as `file:line`.
        place: &'a str,
    },
}

/// The members of a record, without the braces of the object: the log adds its own before and
/// after.
pub fn members(record: &impl Serialize) -> String {
    let mut text = serde_json::to_string(record).expect("a record has string keys only");
    text.pop();
    text.remove(0);
    text
}

#[cfg(test)]
mod tests {
    use super::{AuditLogRecord, Judgement, RunOpened, members};

    /// Programs read these lines: a member that is renamed, moved or left out breaks them.
    #[test]
    fn each_kind_of_record_is_written_exactly_so() {
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
            members(&opened),
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
            members(&called),
            r#""kind":"called","step":"s","attempt":1,"phase":"execute","plugin":"p","digest":"d""#
        );
        let ended = AuditLogRecord::Ended { step: "s", attempt: 1, ended: "ok", duration_us: 7 };
        assert_eq!(
            members(&ended),
            r#""kind":"ended","step":"s","attempt":1,"ended":"ok","duration_us":7"#
        );
        let taken = AuditLogRecord::LockTaken { lock: "db", token: 3, by: "ada", reason: "r" };
        assert_eq!(
            members(&taken),
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
            members(&returned),
            r#""kind":"returned","step":"s","attempt":1,"slot":"api","function":"http.get","bytes":5,"duration_us":7"#
        );
    }

    #[test]
    fn a_judgement_is_written_exactly_so() {
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
        let before = r#""kind":"judged","step":"s","attempt":1,"plugin":"p","digest":"d","slot":"api","function":"http.get","operation":"GET /""#;
        assert_eq!(
            members(&judged(&[], Judgement::Allow)),
            format!(r#"{before},"decision":"allow""#)
        );
        let denied = Judgement::Deny { rule: "path", key: "paths", target: "t", place: "r.toml:3" };
        assert_eq!(
            members(&judged(&["token"], denied)),
            format!(
                r#"{before},"secrets":["token"],"decision":"deny","rule":"path","key":"paths","target":"t","place":"r.toml:3""#
            )
        );
    }
}
