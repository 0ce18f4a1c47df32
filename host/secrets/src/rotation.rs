//! The rotation of a secret: its store keeps the old and the new value until the new one was
//! verified, so that a crash at any point leaves one that logs in.

use crate::secret::Secret;
use std::fmt;

/// A value that is kept beside the value of a secret.
#[derive(Clone)]
pub(crate) struct KeptValue {
    pub(crate) value: Secret,
    /// The run and the step that keep it.
    pub(crate) by: String,
}

/// The values that a secret has beside its own.
#[derive(Clone, Default)]
pub(crate) struct Rotation {
    /// A value that was not verified yet. The role may have it.
    pub(crate) pending: Option<KeptValue>,
    /// The value before the last rotation, for its undo.
    pub(crate) previous: Option<KeptValue>,
}

/// The end of the name of a step whose rotation is undone.
const RESTORED: &str = ", restored";

impl KeptValue {
    pub(crate) fn new(value: Secret, by: impl Into<String>) -> Self {
        Self { value, by: by.into() }
    }

    fn text_len(&self) -> usize {
        self.value.len() + self.by.len()
    }
}

impl Rotation {
    fn kept(&self) -> impl Iterator<Item = &KeptValue> {
        self.pending.iter().chain(&self.previous)
    }

    pub(crate) fn text_len(&self) -> usize {
        self.kept().map(KeptValue::text_len).sum()
    }
}

/// A rotation, or the undo of one, that is half done: the store has a value that was not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRotation {
    /// The run.
    pub run: String,
    /// The step of the run.
    pub step: String,
    /// Whether a value is being set or put back.
    pub direction: RotationDirection,
}

/// Which value a rotation sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationDirection {
    /// A new value.
    Forward,
    /// The value before the rotation by the same step.
    Back,
}

impl PendingRotation {
    fn of(by: &str) -> Self {
        let (by, direction) = match by.strip_suffix(RESTORED) {
            Some(by) => (by, RotationDirection::Back),
            None => (by, RotationDirection::Forward),
        };
        let (run, step) = by.split_once(' ').unwrap_or((by, ""));
        Self { run: run.to_owned(), step: step.to_owned(), direction }
    }
}

impl fmt::Display for PendingRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, step, direction } = self;
        // As the other messages name a run.
        let run = run.get(..13).unwrap_or(run);
        let (what, command) = match direction {
            RotationDirection::Forward => ("its rotation", "resume"),
            RotationDirection::Back => ("the undo of its rotation", "undo"),
        };
        write!(
            f,
            "{what} by step `{step}` of run {run} is half done; `runbook {command} {run}` finishes \
             it"
        )?;
        match direction {
            RotationDirection::Forward => f.write_str(", or its next rotation does"),
            RotationDirection::Back => Ok(()),
        }
    }
}

/// All values that the store has for a secret.
pub struct KeptValues {
    /// The value of the secret.
    pub current: Secret,
    /// Whether the step that asks has made it.
    pub maker: ValueMaker,
    /// The other values, the one that is most likely in use first.
    pub others: Vec<Secret>,
}

/// Who made a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueMaker {
    /// The step that asks.
    ThisStep,
    /// Another step, or a person.
    Another,
}

/// What is to be done for a rotation.
pub enum RotationStart {
    /// The role is to get `target` as its password, which is pending from now on. `current` is the
    /// value until then.
    Change {
        /// The value of the secret now.
        current: Secret,
        /// The value that is to be verified.
        target: Secret,
        /// Since when it is pending.
        target_age: TargetAge,
    },
    /// A rotation was begun and not completed: the role is to have `current` again.
    Keep {
        /// The value of the secret now.
        current: Secret,
        /// The value that the role may have got.
        abandoned: Secret,
    },
    /// It was done before, by the same step.
    Done,
}

/// Since when the value of a rotation is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetAge {
    /// From now on, so that no server has it.
    New,
    /// Since an earlier attempt, so that the role may have it.
    Earlier,
}

/// How a rotation ends.
#[derive(Clone)]
pub enum RotationEnd {
    /// This value was verified, and is the value from now on; the old one is kept beside it.
    Complete(Secret),
    /// The current value is in use for certain, and this one is forgotten.
    Abandon(Secret),
}

/// What the end of a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationResult {
    /// The verified value is the value of the secret.
    Completed,
    /// The current value stays.
    Abandoned,
    /// The secret was set since the rotation began. The verified value, which the role has, is kept
    /// as pending.
    KeptPending,
}

/// Why a secret cannot be rotated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// The store has no such secret.
    #[error("the store has no secret `{name}`; make it with `runbook secret set`")]
    Missing {
        /// The name that was asked for.
        name: String,
    },
    /// The value is no text.
    #[error("the value is not text, so it is no password that can be rotated")]
    NotText,
    /// The value before is not known, or another rotation came after.
    #[error(
        "it was rotated or set again since, so the value before is no longer kept, and nothing was \
         changed; undo the later rotation first, or rotate it again"
    )]
    Superseded,
    /// Another run has begun and not completed one.
    #[error("{0}")]
    HalfDone(PendingRotation),
    /// None is under way.
    #[error("no rotation of it is under way")]
    NotBegun,
}

pub(crate) fn begin(
    current: &Secret,
    rotation: &mut Rotation,
    by: &str,
    new: Secret,
) -> Result<RotationStart, RotationError> {
    if current.expose_text().is_none() {
        return Err(RotationError::NotText);
    }
    let (target, target_age) = match rotation.pending.take() {
        // The value that an undo puts back is an old one, which no rotation may make the new one.
        Some(kept) if kept.by.ends_with(RESTORED) => {
            let pending = PendingRotation::of(&kept.by);
            rotation.pending = Some(kept);
            return Err(RotationError::HalfDone(pending));
        }
        // The role may have this value already.
        Some(kept) => (kept.value, TargetAge::Earlier),
        None if rotation.previous.as_ref().is_some_and(|kept| kept.by == by) => {
            return Ok(RotationStart::Done);
        }
        None => (new, TargetAge::New),
    };
    rotation.pending = Some(KeptValue::new(target.clone(), by));
    Ok(RotationStart::Change { current: current.clone(), target, target_age })
}

pub(crate) fn begin_restore(
    current: &Secret,
    rotation: &mut Rotation,
    by: &str,
) -> Result<RotationStart, RotationError> {
    let restored = format!("{by}{RESTORED}");
    let change = |target: &Secret, target_age| RotationStart::Change {
        current: current.clone(),
        target: target.clone(),
        target_age,
    };
    match (&rotation.pending, &rotation.previous) {
        (Some(kept), _) if kept.by == restored => Ok(change(&kept.value, TargetAge::Earlier)),
        (Some(kept), _) if kept.by == by => {
            Ok(RotationStart::Keep { current: current.clone(), abandoned: kept.value.clone() })
        }
        (Some(kept), _) => Err(RotationError::HalfDone(PendingRotation::of(&kept.by))),
        (None, Some(kept)) if kept.by == restored => Ok(RotationStart::Done),
        (None, Some(kept)) if kept.by == by => {
            let start = change(&kept.value, TargetAge::New);
            rotation.pending = Some(KeptValue::new(kept.value.clone(), restored));
            Ok(start)
        }
        (None, Some(_) | None) => Err(RotationError::Superseded),
    }
}

/// Ends the rotation or the restoration that `by` has begun.
pub(crate) fn end(
    current: &mut Secret,
    rotation: &mut Rotation,
    by: &str,
    end: RotationEnd,
) -> Result<RotationResult, RotationError> {
    let is_own = |kept: &KeptValue| kept.by.strip_suffix(RESTORED).unwrap_or(&kept.by) == by;
    let same = |kept: &KeptValue, value: &Secret| kept.value.expose() == value.expose();
    match (end, rotation.pending.take()) {
        (RotationEnd::Complete(verified), Some(kept))
            if is_own(&kept) && same(&kept, &verified) =>
        {
            let old = std::mem::replace(current, kept.value);
            rotation.previous = Some(KeptValue::new(old, kept.by));
            Ok(RotationResult::Completed)
        }
        (RotationEnd::Abandon(value), Some(kept)) if is_own(&kept) && same(&kept, &value) => {
            Ok(RotationResult::Abandoned)
        }
        // The role has it, so it is not lost.
        (RotationEnd::Complete(verified), None) => {
            rotation.pending = Some(KeptValue::new(verified, by));
            Ok(RotationResult::KeptPending)
        }
        (RotationEnd::Complete(_) | RotationEnd::Abandon(_), pending) => {
            rotation.pending = pending;
            Err(RotationError::NotBegun)
        }
    }
}

/// What is known of a secret by the step `by`.
pub(crate) fn kept_values(current: &Secret, rotation: &Rotation, by: &str) -> KeptValues {
    let is_own = rotation.previous.as_ref().is_some_and(|kept| kept.by == by);
    KeptValues {
        current: current.clone(),
        maker: if is_own { ValueMaker::ThisStep } else { ValueMaker::Another },
        others: rotation.kept().map(|kept| kept.value.clone()).collect(),
    }
}

pub(crate) fn pending(rotation: &Rotation) -> Option<PendingRotation> {
    rotation.pending.as_ref().map(|kept| PendingRotation::of(&kept.by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identities, Prompt, Recipients};
    use crate::{Store, keygen};
    use jiff::Timestamp;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// The store after it was written and read again, as after a crash.
    fn reread(store: &Store) -> Store {
        let key = keygen(NOW);
        let recipients = Recipients::parse(key.recipient(), "r").unwrap();
        let mut identities = Identities::default();
        identities.add(key.text().as_bytes(), "k").unwrap();
        let file = store.encrypt(&recipients).unwrap();
        Store::open(&file, "s", &identities, &Prompt::none()).unwrap()
    }

    fn store() -> Store {
        let mut store = Store::default();
        store.set("db", Secret::from("old"), NOW, None).unwrap();
        store
    }

    fn text(secret: &Secret) -> String {
        secret.expose_text().unwrap().to_owned()
    }

    fn texts(start: RotationStart) -> (String, String) {
        match start {
            RotationStart::Change { current, target, .. } => (text(&current), text(&target)),
            RotationStart::Keep { current, abandoned } => {
                (text(&current), format!("without {}", text(&abandoned)))
            }
            RotationStart::Done => ("done".to_owned(), String::new()),
        }
    }

    fn value(store: &Store) -> String {
        text(&store.get("db").unwrap())
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    fn begin(store: &mut Store, by: &str, new: &str) -> (String, String) {
        texts(store.begin_rotation("db", by, Secret::from(new)).unwrap())
    }

    fn complete(store: &mut Store, by: &str, value: &str) -> RotationResult {
        let end = RotationEnd::Complete(Secret::from(value));
        store.end_rotation("db", by, end, NOW).unwrap()
    }

    #[test]
    fn both_values_are_kept_until_the_new_one_is_verified_and_a_repeated_step_continues() {
        let mut store = store();
        assert_eq!(begin(&mut store, "run step", "new"), pair("old", "new"));
        let mut store = reread(&store);
        assert_eq!(value(&store), "old");
        // After a crash, the value that the role may have is continued with.
        assert_eq!(begin(&mut store, "run step", "other"), pair("old", "new"));
        assert_eq!(complete(&mut store, "run step", "new"), RotationResult::Completed);
        let mut store = reread(&store);
        assert_eq!(value(&store), "new");
        let again = begin(&mut store, "run step", "other");
        assert_eq!(again, pair("done", ""), "the same step does it once");
        // A rotation that is given up leaves the undo of the one before as it was.
        assert_eq!(begin(&mut store, "run later", "third"), pair("new", "third"));
        let abandon = RotationEnd::Abandon(Secret::from("third"));
        store.end_rotation("db", "run later", abandon, NOW).unwrap();
        let mut store = reread(&store);
        assert_eq!(value(&store), "new");
        assert_eq!(texts(store.begin_restore("db", "run step").unwrap()), pair("new", "old"));
    }

    #[test]
    fn an_undo_puts_the_old_value_back_unless_another_rotation_came_after() {
        let mut store = store();
        begin(&mut store, "run step", "new");
        // Undone before it was complete: the role keeps the current value.
        let undone = texts(store.begin_restore("db", "run step").unwrap());
        assert_eq!(undone, pair("old", "without new"));
        complete(&mut store, "run step", "new");
        let mut store = reread(&store);
        assert_eq!(texts(store.begin_restore("db", "run step").unwrap()), pair("new", "old"));
        let mut store = reread(&store);
        assert_eq!(texts(store.begin_restore("db", "run step").unwrap()), pair("new", "old"));
        // No rotation makes the value that is being put back the new one.
        let half_done = store.begin_rotation("db", "run later", Secret::from("third")).err();
        let shown = half_done.map(|error| error.to_string()).unwrap_or_default();
        assert!(shown.contains("`runbook undo run` finishes it"), "{shown}");
        complete(&mut store, "run step", "old");
        assert_eq!(value(&store), "old");
        assert_eq!(texts(store.begin_restore("db", "run step").unwrap()), pair("done", ""));
        let superseded = store.begin_restore("db", "another step").err();
        assert_eq!(superseded, Some(RotationError::Superseded));
        store.set("db", Secret::from("by hand"), NOW, None).unwrap();
        assert_eq!(store.begin_restore("db", "run step").err(), Some(RotationError::Superseded));
    }

    #[test]
    fn a_run_ends_only_its_own_rotation_and_no_verified_value_is_dropped() {
        let mut store = store();
        begin(&mut store, "a step", "of a");
        // Neither another run, nor the same run with another value.
        for (by, value) in [("b step", "of a"), ("a step", "of b"), ("b step", "of b")] {
            for end in [RotationEnd::Complete, RotationEnd::Abandon] {
                let ended = store.end_rotation("db", by, end(Secret::from(value)), NOW);
                assert_eq!(ended, Err(RotationError::NotBegun), "{by} {value}");
            }
        }
        // The undo of another run neither drops nor takes it over.
        let error = store.begin_restore("db", "b step").err().map(|error| error.to_string());
        let shown = error.unwrap_or_default();
        assert!(shown.contains("step `step` of run a is half done"), "{shown}");
        assert!(shown.contains("`runbook resume a` finishes it"), "{shown}");
        assert_eq!(store.pending_rotation("db").map(|pending| pending.run).as_deref(), Some("a"));
        // A person sets the secret while the run verifies its value.
        store.set("db", Secret::from("by hand"), NOW, None).unwrap();
        assert_eq!(complete(&mut store, "a step", "of a"), RotationResult::KeptPending);
        let store = reread(&store);
        let kept = store.kept_values("db", "a step").unwrap();
        let others: Vec<_> = kept.others.iter().map(text).collect();
        assert_eq!((text(&kept.current), others), ("by hand".to_owned(), vec!["of a".to_owned()]));
    }
}
