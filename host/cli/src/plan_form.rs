//! The output of `runbook plan --format json`: the plan for programs, such as pipelines that check
//! it.

use crate::commands::dry_run;
use crate::prepared::PreparedRunbook;
use runbook_engine::model::{OnBreach, OutsidePolicy, section_noun};
use runbook_engine::{
    DryRunResult, DryRunScope, DryStep, Json, Plan, PlannedItems, PlannedStep, PlannedUndo,
};
use serde::Serialize;
use std::path::Path;

/// The version of this form.
const FORMAT: u32 = 1;

/// What a runbook would do.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub struct PlanForm {
    /// The version of this form.
    #[schemars(extend("const" = 1))]
    format: u32,
    /// The file, as it was named or found.
    file: String,
    /// `name` of the runbook.
    name: String,
    /// `title` of the runbook.
    title: String,
    /// `--env`, if one was given.
    environment: Option<String>,
    /// Parameters as typed JSON.
    params: serde_json::Map<String, Json>,
    /// `sha256:…` over the texts of the runbook.
    digest: String,
    /// Whose plugins were called by the dry run: those of `steps`, or of `nobody` (`--offline`).
    #[schemars(extend("enum" = ["steps", "nobody"]))]
    asked: &'static str,
    /// The locks that the run takes.
    locks: Vec<String>,
    /// When it may run; `null` if at any time.
    window: Option<WindowForm>,
    /// The guards: probes that are repeated while steps run.
    guards: Vec<GuardForm>,
    /// Its steps, in file order.
    steps: Vec<StepForm>,
    /// The result of the dry run for each call: of guards, steps, and items of a `for_each`.
    calls: Vec<CallForm>,
    /// What each call may do, to what, and where that is granted.
    authority: Vec<GrantForm>,
    /// The secrets that calls use.
    secrets: Vec<SecretForm>,
    /// How many calls may change something.
    changing_call_count: usize,
}

/// A maintenance window.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct WindowForm {
    /// In words.
    when: String,
    /// Whether it is open now.
    is_open: bool,
    /// What happens outside of it.
    outside: &'static str,
}

/// A guard.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct GuardForm {
    /// Its id.
    id: String,
    /// `plugin:operation`.
    uses: String,
    /// The time between two observations, in milliseconds.
    every_ms: u64,
    /// How many breaches in a row lead to `on_breach`.
    in_a_row: u32,
    /// What happens on a breach.
    on_breach: &'static str,
}

/// A step as it is written.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct StepForm {
    /// Its id.
    id: String,
    /// `preflight`, `step`, `verify` or `finally`.
    section: &'static str,
    /// The title for people.
    title: String,
    /// `plugin:operation`, or what it does instead.
    uses: String,
    /// Steps that must end before.
    needs: Vec<String>,
    /// The step that uses the nested file in which this step is written.
    nested_in: Option<String>,
    /// The list of its `for_each`.
    for_each: Option<String>,
    /// How many people must approve it; 0 if nobody is asked.
    approvals: u32,
    /// How it is undone.
    undo: UndoForm,
}

/// How a step is undone.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum UndoForm {
    /// It changes nothing.
    NotNeeded,
    /// By the plugin.
    Auto,
    /// By the operation that the runbook names.
    Explicit,
    /// Not at all.
    Irreversible {
        /// Why that is acceptable.
        reason: String,
    },
}

/// A call of the run, with the result of its dry run.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct CallForm {
    /// The step, or `STEP[KEY]` for an item.
    id: String,
    /// Its input. A template whose value is not known yet is not filled in.
    input: Json,
    /// The input of its undo, if that is another operation.
    undo_input: Option<Json>,
    /// Why it could not be undone. It would then not begin.
    undo_problem: Option<String>,
    /// The result of the dry run: `would-change`, `no-change`, `nested-file` (its steps follow),
    /// `skipped` (its `when` is false), `at-run-time` (known only then), `not-asked` (its plugin
    /// was not called), `probed` (a probe ran), `failed`, or `denied` (not allowed in the run).
    #[schemars(extend("enum" = ["would-change", "no-change", "nested-file", "skipped", "at-run-time", "not-asked", "probed", "failed", "denied"]))]
    result: &'static str,
    /// The result in words, as people are shown it, one text for each line.
    texts: Vec<String>,
    /// What it would change.
    effects: Vec<EffectForm>,
}

/// A change that a step would make.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct EffectForm {
    /// Capability and verb, such as `docker.stop`.
    verb: String,
    /// What would be changed, in the words of the plugin, such as `container orders-api`.
    target: String,
    /// In one line.
    summary: String,
}

/// One slot of one call.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct GrantForm {
    /// The call: a step, or `STEP/undo`.
    call: String,
    /// The name of the slot.
    slot: String,
    /// What may be done, such as `sql.query`.
    verbs: Vec<String>,
    /// The target's name in the runbook.
    target: String,
    /// The target in words, such as its URL.
    target_description: String,
    /// The file and line that grants it.
    granted_at: String,
}

/// A secret that is used.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct SecretForm {
    /// Its name; its value is never known here.
    name: String,
    /// Where it is kept.
    source: String,
    /// The calls that use it.
    used_by: Vec<String>,
}

impl PlanForm {
    /// The JSON form of a plan, with the findings of its dry run.
    pub fn of(
        file: &Path,
        prepared: &PreparedRunbook,
        plan: &Plan,
        found: &[DryStep],
        dry_run_scope: DryRunScope,
    ) -> Self {
        Self {
            format: FORMAT,
            file: file.display().to_string(),
            name: plan.name.clone(),
            title: plan.title.clone(),
            environment: prepared.environment.clone(),
            params: plan.params.clone(),
            digest: plan.digest.clone(),
            asked: match dry_run_scope {
                DryRunScope::NoPlugins => "nobody",
                DryRunScope::Steps | DryRunScope::ProbesAndSteps => "steps",
            },
            locks: plan.locks.exclusive.clone(),
            window: window(plan),
            guards: guards(plan),
            steps: plan.steps.iter().map(|step| StepForm::of(step)).collect(),
            calls: found.iter().map(CallForm::of).collect(),
            authority: authority(prepared),
            secrets: secrets(prepared),
            changing_call_count: prepared.sites.values().filter(|site| site.may_change()).count(),
        }
    }

    /// The plan as one JSON object.
    pub fn json(&self) -> Json {
        serde_json::to_value(self).expect("its keys are strings")
    }
}

fn window(plan: &Plan) -> Option<WindowForm> {
    let window = plan.window.as_ref()?;
    let outside = OutsidePolicy::ALL.iter().find(|(value, _)| *value == window.outside);
    Some(WindowForm {
        when: window.to_string(),
        is_open: window.is_open(jiff::Timestamp::now()),
        outside: outside.map_or("", |(_, name)| *name),
    })
}

fn guards(plan: &Plan) -> Vec<GuardForm> {
    let form = |guard: &runbook_engine::PlannedGuard| GuardForm {
        id: guard.id().to_string(),
        uses: guard.probe.uses.clone(),
        every_ms: u64::try_from(guard.every.as_millis()).unwrap_or(u64::MAX),
        in_a_row: guard.in_a_row,
        on_breach: OnBreach::ALL
            .iter()
            .find(|(value, _)| *value == guard.on_breach)
            .map_or("", |(_, name)| *name),
    };
    plan.guards.iter().map(form).collect()
}

impl StepForm {
    fn of(step: &PlannedStep) -> Self {
        let for_each = step.for_each.as_ref().map(|for_each| match &for_each.items {
            PlannedItems::Expression(text) => text.trim().to_owned(),
            PlannedItems::Literal(items) => items.to_string(),
        });
        Self {
            id: step.id.to_string(),
            section: section_noun(step.section),
            title: step.title.clone(),
            uses: step.uses.clone(),
            needs: step.needs.iter().map(ToString::to_string).collect(),
            nested_in: step.group.as_ref().map(ToString::to_string),
            for_each,
            approvals: step.approval.as_ref().map_or(0, |approval| approval.quorum),
            undo: match &step.undo {
                PlannedUndo::NotNeeded => UndoForm::NotNeeded,
                PlannedUndo::Auto => UndoForm::Auto,
                PlannedUndo::Explicit { .. } => UndoForm::Explicit,
                PlannedUndo::Irreversible { reason } => {
                    UndoForm::Irreversible { reason: reason.clone() }
                }
            },
        }
    }
}

impl CallForm {
    fn of(step: &DryStep) -> Self {
        let (undo_input, undo_problem) = match &step.undo {
            Some(Ok(input)) => (Some(input.clone()), None),
            Some(Err(reason)) => (None, Some(reason.clone())),
            None => (None, None),
        };
        let texts = dry_run::rows(step).into_iter().filter_map(|mut row| row.pop());
        Self {
            id: step.id.to_string(),
            input: step.input.clone(),
            undo_input,
            undo_problem,
            result: result_name(&step.result),
            texts: texts.filter(|text| !text.is_empty()).collect(),
            effects: effects(&step.result),
        }
    }
}

fn result_name(result: &DryRunResult) -> &'static str {
    match result {
        DryRunResult::Probed { .. } => "probed",
        DryRunResult::Proposed(proposal) if proposal.effects.is_empty() => "no-change",
        DryRunResult::Proposed(_) => "would-change",
        DryRunResult::NestedFile { .. } => "nested-file",
        DryRunResult::Skipped => "skipped",
        DryRunResult::AtRunTime { .. } => "at-run-time",
        DryRunResult::NotAsked => "not-asked",
        DryRunResult::Failed(_) => "failed",
        DryRunResult::Denied(_) => "denied",
    }
}

fn effects(result: &DryRunResult) -> Vec<EffectForm> {
    match result {
        DryRunResult::Proposed(proposal) => proposal
            .effects
            .iter()
            .map(|effect| EffectForm {
                verb: effect.verb.clone(),
                target: effect.target.clone(),
                summary: effect.summary.clone(),
            })
            .collect(),
        DryRunResult::Probed { .. }
        | DryRunResult::NestedFile { .. }
        | DryRunResult::Skipped
        | DryRunResult::AtRunTime { .. }
        | DryRunResult::NotAsked
        | DryRunResult::Failed(_)
        | DryRunResult::Denied(_) => Vec::new(),
    }
}

fn authority(prepared: &PreparedRunbook) -> Vec<GrantForm> {
    prepared
        .calls()
        .flat_map(|(id, site)| {
            let form = move |grant: &runbook_authority::Grant| GrantForm {
                call: id.to_string(),
                slot: grant.slot.clone(),
                verbs: grant.verbs.iter().map(|verb| verb.full_name()).collect(),
                target: grant.target.name.clone(),
                target_description: grant.target.describe(),
                granted_at: grant.target.location(),
            };
            site.grants.reviewed().map(form)
        })
        .collect()
}

fn secrets(prepared: &PreparedRunbook) -> Vec<SecretForm> {
    let users = prepared.users_of_secrets();
    let form = |secret: &runbook_engine::model::SecretEntry| {
        let used_by = users.get(secret.name.name.as_str())?.clone();
        let (name, source) = (secret.name.name.clone(), secret.source_uri.value.clone());
        Some(SecretForm { name, source, used_by })
    };
    prepared.runbook.secrets.iter().filter_map(form).collect()
}

/// The schema of [`PlanForm`].
pub fn schema() -> Json {
    let mut schema = schemars::schema_for!(PlanForm).to_value();
    schema["title"] = "runbook plan, JSON form 1".into();
    schema["description"] = "What `runbook plan --format json` writes.".into();
    schema
}
