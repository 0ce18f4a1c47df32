//! Tests hostile operations of a real plugin that uses the SDK.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_authority::EffectiveGrants;
use runbook_authority::gate::{ApprovedEffect, shown_arguments, shown_statement};
use runbook_contract::{Call, DriftPolicy, ErrorClass, Phase, Proposal, Response};
use runbook_runtime::{
    Allocation, AuditEvent, AuditRecord, AuditSink, AuditWriteError, BoxFuture, CallLimits,
    CallOutcome, Launcher, LinkedOperation, Permit, PreparedComponent, Runtime, RuntimeConfig,
    SecretFacts, SecretFetchError, SecretSource, Services, inspect, verify,
};
use runbook_secrets::Secret;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use support::{effective_grants, request, rogue, runtime};

/// Compiled once for all tests.
fn prepared() -> &'static PreparedComponent {
    static PREPARED: OnceLock<PreparedComponent> = OnceLock::new();
    PREPARED.get_or_init(|| support::prepare(&runtime(), rogue()))
}

async fn call(
    operation: &str,
    granted: EffectiveGrants,
    input: serde_json::Value,
    timeout: Duration,
) -> CallOutcome {
    let linked = LinkedOperation::new(
        prepared(),
        operation,
        granted,
        CallLimits::default(),
        Services::none(),
    )
    .unwrap();
    let request = Call { input, timeout, ..request(Phase::Check) };
    linked.call(request, Permit::default(), std::future::pending()).await
}

async fn call_ungranted(operation: &str) -> CallOutcome {
    call(operation, EffectiveGrants::none(), serde_json::json!({}), Duration::from_mins(5)).await
}

fn granted(operation: &str, targets: &str, slot: &str, base: &Path) -> EffectiveGrants {
    effective_grants(prepared().manifest(), operation, targets, &[(slot, "it")], base)
}

#[tokio::test]
async fn a_plugin_of_the_sdk_answers() {
    let Response::Report(report) = call_ungranted("noop").await.result.unwrap() else {
        panic!("a probe reports")
    };
    assert_eq!(report.output, serde_json::json!({ "text": "now" }));
}

#[tokio::test]
async fn the_text_of_a_panic_reaches_the_operator() {
    let outcome = call_ungranted("panic").await;
    assert_eq!(outcome.result.unwrap_err().code, "trap.panic");
    let logs: Vec<_> = outcome.logs.iter().map(|line| line.message.as_str()).collect();
    assert!(logs.iter().any(|line| line.contains("the reason of the panic")), "{logs:?}");
}

#[tokio::test]
async fn each_exceeded_limit_has_its_own_fault_code() {
    for (operation, class, code) in [
        ("allocate", ErrorClass::Limit, "limit.memory"),
        ("knock", ErrorClass::Limit, "limit.host-calls"),
    ] {
        let fault = call_ungranted(operation).await.result.unwrap_err();
        assert_eq!((fault.class, fault.code.as_str()), (class, code), "{operation}: {fault}");
    }
    // A Rust guest keeps its stack in its memory; below the stack an access is out of bounds.
    let fault = call_ungranted("recurse").await.result.unwrap_err();
    assert_eq!(fault.class, ErrorClass::Trap, "{fault}");
    let spin_response =
        call("spin", EffectiveGrants::none(), serde_json::json!({}), Duration::from_millis(200))
            .await;
    assert_eq!(spin_response.result.unwrap_err().class, ErrorClass::Timeout);
    let shout_response = call_ungranted("shout").await;
    assert!(shout_response.result.is_ok());
    assert_eq!(shout_response.logs.len(), 201);
    assert_eq!(shout_response.logs[200].message, "… 19800 more lines were dropped");
}

#[tokio::test]
async fn endless_denials_do_not_fill_the_memory() {
    let outcome = call_ungranted("knock").await;
    assert_eq!(outcome.denials.len(), 100);
    assert_eq!(outcome.host_calls.len(), 1);
    assert_eq!(outcome.host_calls[0].denied, 100_000);
}

#[tokio::test]
async fn a_slot_that_is_not_bound_is_denied_by_name_to_the_operator_only() {
    let outcome = call(
        "get",
        EffectiveGrants::none(),
        serde_json::json!({ "path": "/x" }),
        Duration::from_secs(5),
    )
    .await;
    let fault = outcome.result.unwrap_err();
    assert_eq!((fault.class, fault.message.as_str()), (ErrorClass::Denied, "not granted"));
    assert_eq!(
        outcome.denials[0].to_string(),
        "`http.get` on slot `api` is not granted: the slot is not bound in this step (rule \
         `unbound`)"
    );
}

#[tokio::test]
async fn a_call_outside_of_the_grant_is_denied_with_the_line_to_change() {
    let targets = "[targets.it]\nhttp = \"http://127.0.0.1:9\"\npaths = [\"/health\"]\n";
    let granted = granted("get", targets, "api", Path::new("/"));
    let outcome =
        call("get", granted, serde_json::json!({ "path": "/admin" }), Duration::from_secs(5)).await;
    assert_eq!(outcome.result.unwrap_err().class, ErrorClass::Denied);
    let denial = &outcome.denials[0];
    assert_eq!((denial.rule.name(), denial.location.as_str()), ("path", "runbook.toml:1"));
}

#[tokio::test]
async fn a_file_outside_of_the_directory_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("inside"), "inside").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
    for (path, good) in
        [("inside", true), ("../../etc/passwd", false), ("/etc/passwd", false), ("link", false)]
    {
        let granted = granted("read", "[targets.it]\nfiles = \".\"\n", "directory", folder.path());
        let outcome =
            call("read", granted, serde_json::json!({ "path": path }), Duration::from_secs(5))
                .await;
        match outcome.result {
            Ok(Response::Report(report)) => {
                assert!(good && report.output["text"] == "inside", "{path}");
            }
            Ok(other) => panic!("{other:?}"),
            Err(fault) => assert!(!good && fault.class == ErrorClass::Denied, "{path}: {fault}"),
        }
    }
}

#[tokio::test]
async fn a_host_call_that_hangs_is_cut_off_at_the_deadline_of_the_step() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let targets = format!("[targets.it]\nhttp = \"http://{}\"\n", listener.local_addr().unwrap());
    let granted = granted("get", &targets, "api", Path::new("/"));
    let started = Instant::now();
    let outcome =
        call("get", granted, serde_json::json!({ "path": "/" }), Duration::from_millis(300)).await;
    assert_eq!(outcome.result.unwrap_err().class, ErrorClass::Timeout);
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(outcome.host_calls[0].allowed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_hostile_calls_at_once_leave_the_host_as_it_was() {
    let calls = ["panic", "allocate", "recurse", "spin", "shout", "noop"].iter().cycle().take(60);
    let running: Vec<_> = calls
        .map(|&operation| {
            tokio::spawn(async move {
                // Only `spin` should reach its timeout; the others share the machine with it, so
                // they get more time.
                let limit = Duration::from_secs(if operation == "spin" { 4 } else { 300 });
                let outcome =
                    call(operation, EffectiveGrants::none(), serde_json::json!({}), limit).await;
                (operation, outcome.result.is_ok())
            })
        })
        .collect();
    for call in running {
        let (operation, answered) = call.await.unwrap();
        assert_eq!(answered, matches!(operation, "noop" | "shout"), "{operation}");
    }
    assert!(call_ungranted("noop").await.result.is_ok());
}

#[test]
fn the_imports_of_a_plugin_are_listed_function_by_function() {
    let verified = verify(inspect(rogue()).unwrap()).unwrap();
    let imports: Vec<_> = verified
        .imports()
        .iter()
        .filter_map(|import| Some(format!("{} {}", import.interface, import.function.as_ref()?)))
        .collect();
    assert_eq!(
        imports,
        [
            "runbook:base/clock@1.0.0 now-ms",
            "runbook:base/log@1.0.0 write",
            "runbook:files/reader@1.0.0 read",
            "runbook:files/writer@1.0.0 write",
            "runbook:http/reader@1.0.0 get",
            "runbook:process/runner@1.0.0 run",
            "runbook:secrets/reveal@1.0.0 reveal",
            "runbook:sql/writer@1.0.0 execute",
            "runbook:sql/writer@1.0.0 transaction",
        ]
    );
    assert!(verified.unused_verbs().is_empty());
}

/// A store with one secret.
struct Store;

impl SecretSource for Store {
    fn fetch<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Secret, SecretFetchError>> {
        assert_eq!(name, "token");
        Box::pin(async { Ok(Secret::from("s3cr3t-t0ken")) })
    }

    fn describe<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<SecretFacts, SecretFetchError>> {
        let reason = "this store knows values only".to_owned();
        let attempt = runbook_runtime::FetchAttempt::Failed;
        Box::pin(async move { Err(SecretFetchError { name: name.to_owned(), reason, attempt }) })
    }
}

#[tokio::test]
async fn a_revealed_secret_is_scrubbed_from_everything_that_leaves_the_call() {
    for path in ["answer", "fault"] {
        let granted = effective_grants(
            prepared().manifest(),
            "tell",
            "[targets.it]\nsecret = \"token\"\n",
            &[("key", "it")],
            Path::new("/"),
        );
        let services = Services { secrets: Arc::new(Store), ..Services::none() };
        let linked =
            LinkedOperation::new(prepared(), "tell", granted, CallLimits::default(), services)
                .unwrap();
        let request = Call { input: serde_json::json!({ "path": path }), ..request(Phase::Check) };
        let outcome = linked.call(request, Permit::default(), std::future::pending()).await;
        let all = format!("{outcome:?}");
        assert!(
            !all.contains("s3cr3t") && all.matches("it is [secret token]").count() >= 2,
            "{all}"
        );
    }
}

#[tokio::test]
async fn every_gate_decision_is_audited() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let audit: AuditSink = Arc::new(move |record: &AuditRecord<'_>| {
        if let AuditEvent::Judged { slot, verb, operation, decision, .. } = record.event {
            let allowed = matches!(decision, runbook_authority::GateDecision::Allow);
            sink.lock().unwrap().push(format!(
                "{} {slot} {} {operation} {allowed}",
                record.call.step,
                verb.full_name()
            ));
        }
        Ok(())
    });
    let services = Services { audit: Some(audit), ..Services::none() };
    let linked = LinkedOperation::new(
        prepared(),
        "get",
        EffectiveGrants::none(),
        CallLimits::default(),
        services,
    )
    .unwrap();
    let request = Call { input: serde_json::json!({ "path": "/" }), ..request(Phase::Check) };
    assert!(linked.call(request, Permit::default(), std::future::pending()).await.result.is_err());
    assert_eq!(*seen.lock().unwrap(), ["step api http.get GET / false"]);
}

#[tokio::test]
async fn a_call_is_not_made_if_its_audit_record_cannot_be_written() {
    let audit: AuditSink =
        Arc::new(|_| Err(AuditWriteError { reason: "the disk is full".to_owned() }));
    let services = Services { audit: Some(audit), ..Services::none() };
    let linked = LinkedOperation::new(
        prepared(),
        "get",
        EffectiveGrants::none(),
        CallLimits::default(),
        services,
    )
    .unwrap();
    let request = Call { input: serde_json::json!({ "path": "/" }), ..request(Phase::Check) };
    let outcome = linked.call(request, Permit::default(), std::future::pending()).await;
    assert!(format!("{:?}", outcome.result).contains("audit.unavailable"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_places_in_the_pool_wait_for_their_turn() {
    let allocation = Allocation::Pooling { instances: NonZeroU32::new(2).unwrap() };
    let runtime =
        Runtime::new(RuntimeConfig { allocation, ..RuntimeConfig::with_cache(None) }).unwrap();
    let prepared = support::prepare(&runtime, rogue());
    let linked = LinkedOperation::new(
        &prepared,
        "noop",
        EffectiveGrants::none(),
        CallLimits::default(),
        Services::none(),
    )
    .unwrap();
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let linked = linked.clone();
            tokio::spawn(async move {
                linked
                    .call(request(Phase::Check), Permit::default(), std::future::pending())
                    .await
                    .result
            })
        })
        .collect();
    for call in calls {
        let result = call.await.unwrap();
        assert!(result.is_ok(), "{result:?}");
    }
}

/// One action of the rogue plugin: a verb, its object, and its arguments.
type RogueAction<'a> = (&'a str, &'a str, &'a [&'a str]);

/// Lets the rogue plugin run these actions in a folder, in a step whose approved effects are
/// `approved`. Returns the result of each action, and the denials.
async fn run_actions(
    folder: &Path,
    approved: &[ApprovedEffect],
    actions: &[RogueAction<'_>],
) -> (Vec<String>, Vec<String>) {
    let targets = "[targets.db]\nsql = \"sqlite:it.db\"\n[targets.out]\nfiles = \".\"\n\
                   access = \"write\"\n[targets.program]\nprocess = \"/bin/echo\"\n\
                   arguments = [{ repeat = { regex = \".*\" } }]\n";
    let bound = [("db", "db"), ("out", "out"), ("program", "program")];
    let granted = effective_grants(prepared().manifest(), "depart", targets, &bound, folder);
    let launcher = Launcher { program: runbook_tests::launcher(), arguments: Vec::new() };
    let services = Services { launcher: Some(launcher), ..Services::none() };
    let linked =
        LinkedOperation::new(prepared(), "depart", granted, CallLimits::default(), services)
            .unwrap();
    let proposal =
        Proposal { effects: Vec::new(), summary: String::new(), before: serde_json::Value::Null };
    let input = serde_json::json!({ "actions": actions });
    let call = Call { input, ..request(Phase::Apply { proposal, drift: DriftPolicy::Deny }) };
    let outcome = linked
        .call(
            call,
            Permit { lease_check: None, approved_effects: Some(approved.to_vec()) },
            std::future::pending(),
        )
        .await;
    let Ok(Response::Completion(completion)) = &outcome.result else {
        panic!("{:?}", outcome.result)
    };
    let results = completion.output["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|results| results.as_str().unwrap().to_owned())
        .collect();
    (results, outcome.denials.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn a_plugin_that_departs_from_what_was_approved_is_stopped_before_the_effect() {
    const INSERT: &str = "insert into t values (1)";
    let approved = |verb: &str, target: &str, summary: String| ApprovedEffect {
        verb: verb.into(),
        target: target.into(),
        summary,
    };
    let program = |words: &[&str]| {
        shown_arguments(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    };
    let effects = [
        approved("sql.execute", "database", shown_statement(INSERT)),
        approved("files.write", "good", "in words".to_owned()),
        approved("process.run", "program", program(&["one"])),
    ];
    let table: &[(&str, &[RogueAction<'_>], &str)] = &[
        (
            "nothing",
            &[
                ("sql.execute", INSERT, &[]),
                ("files.write", "good", &[]),
                ("process.run", "", &["one"]),
            ],
            "",
        ),
        (
            "the verb",
            &[("sql.transaction", "", &[INSERT])],
            "`sql.transaction` is beyond what was approved",
        ),
        (
            "the statement",
            &[("sql.execute", "insert into t values (2)", &[])],
            "of `insert into t values (2)` is beyond",
        ),
        (
            "the object",
            &[("files.write", "bad", &[])],
            "`files.write` on `bad` is beyond what was approved",
        ),
        (
            "an argument",
            &[("process.run", "", &["two"])],
            "`process.run` of `[\"two\"]` is beyond what was approved",
        ),
        (
            "the count of arguments",
            &[("process.run", "", &["one", "two"])],
            "is beyond what was approved",
        ),
        (
            "the count",
            &[("sql.execute", INSERT, &[]), ("sql.execute", INSERT, &[])],
            "was done already as often as it was approved",
        ),
    ];
    for (difference, actions, expected_message) in table {
        let folder = tempfile::tempdir().unwrap();
        let database = rusqlite::Connection::open(folder.path().join("it.db")).unwrap();
        database.execute_batch("create table t (a)").unwrap();
        let (results, denials) = run_actions(folder.path(), &effects, actions).await;
        let rows: isize =
            database.query_row("select count(*) from t", [], |row| row.get(0)).unwrap();
        let files = ["good", "bad"].map(|name| folder.path().join(name).exists());
        if expected_message.is_empty() {
            assert_eq!(
                (results.as_slice(), rows, files),
                (&["done"; 3].map(str::to_owned)[..], 1, [true, false]),
                "{denials:?}"
            );
            continue;
        }
        let (last, before) = results.split_last().unwrap();
        assert!(
            last == "denied" && before.iter().all(|results| results == "done"),
            "{difference}: {results:?}"
        );
        assert!(
            denials.len() == 1 && denials[0].contains(expected_message),
            "{difference}: {denials:?}"
        );
        assert_eq!((rows, files), (before.len().cast_signed(), [false; 2]), "{difference}");
    }
}
