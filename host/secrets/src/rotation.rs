//! The rotation of a secret: its store keeps the old and the new value until the new one was
//! verified, so that a crash at any point leaves one that logs in.

use crate::secret::Secret;

/// The second value of a secret, with what it is.
#[derive(Clone)]
pub(crate) struct Rotation {
    other: Secret,
    state: State,
    /// The run and the step.
    by: String,
}

/// What the second value of a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The new value, which was not verified yet.
    Pending,
    /// The value before.
    Done,
}

/// The end of a name of a step whose rotation was undone.
const RESTORED: &str = ", restored";

impl Rotation {
    pub(crate) fn new(other: Secret, state: State, by: String) -> Self {
        Self { other, state, by }
    }

    /// The key and the value as they are written.
    pub(crate) fn written(&self) -> (&'static str, &str) {
        let key = match self.state {
            State::Pending => "pending",
            State::Done => "previous",
        };
        (key, self.other.expose_text().unwrap_or_default())
    }

    pub(crate) fn by(&self) -> &str {
        &self.by
    }

    pub(crate) fn text_len(&self) -> usize {
        self.other.len() + self.by.len()
    }
}

/// What is to be done for a rotation.
pub enum RotationStart {
    /// The role is to get `target` as its password. `current` is the value until then.
    Change {
        /// The value of the secret now.
        current: Secret,
        /// The value that is to be verified.
        target: Secret,
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

/// How a rotation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationEnd {
    /// The new value was verified, and is the value from now on; the old one is kept beside it.
    Complete,
    /// The current value was verified, and the new one is forgotten.
    Abandon,
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
    #[error("it was rotated or set again since, so the value before is not known any more")]
    Superseded,
    /// None is under way.
    #[error("no rotation of it is under way")]
    NotBegun,
}

pub(crate) fn begin(
    current: &Secret,
    rotation: &mut Option<Rotation>,
    by: &str,
    new: Secret,
) -> Result<RotationStart, RotationError> {
    if current.expose_text().is_none() {
        return Err(RotationError::NotText);
    }
    let target = match rotation.take() {
        Some(done) if done.state == State::Done && done.by == by => {
            *rotation = Some(done);
            return Ok(RotationStart::Done);
        }
        // The role may have this value already.
        Some(pending) if pending.state == State::Pending => pending.other,
        Some(_) | None => new,
    };
    *rotation = Some(Rotation::new(target.clone(), State::Pending, by.to_owned()));
    Ok(RotationStart::Change { current: current.clone(), target })
}

pub(crate) fn begin_restore(
    current: &Secret,
    rotation: &mut Option<Rotation>,
    by: &str,
) -> Result<RotationStart, RotationError> {
    let restored = format!("{by}{RESTORED}");
    let Some(found) = rotation else { return Err(RotationError::Superseded) };
    let change = |target: &Secret| RotationStart::Change {
        current: current.clone(),
        target: target.clone(),
    };
    match found.state {
        State::Pending if found.by == restored => Ok(change(&found.other)),
        State::Pending => {
            Ok(RotationStart::Keep { current: current.clone(), abandoned: found.other.clone() })
        }
        State::Done if found.by == restored => Ok(RotationStart::Done),
        State::Done if found.by == by => {
            found.state = State::Pending;
            found.by = restored;
            Ok(change(&found.other))
        }
        State::Done => Err(RotationError::Superseded),
    }
}

/// Ends a rotation. Returns whether the value is another one now.
pub(crate) fn end(
    current: &mut Secret,
    rotation: &mut Option<Rotation>,
    end: RotationEnd,
) -> Result<bool, RotationError> {
    let Some(found) = rotation.as_mut().filter(|found| found.state == State::Pending) else {
        return Err(RotationError::NotBegun);
    };
    match end {
        RotationEnd::Complete => {
            std::mem::swap(current, &mut found.other);
            found.state = State::Done;
            Ok(true)
        }
        RotationEnd::Abandon => {
            *rotation = None;
            Ok(false)
        }
    }
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

    fn texts(start: RotationStart) -> (String, String) {
        let text = |secret: &Secret| secret.expose_text().unwrap().to_owned();
        match start {
            RotationStart::Change { current, target } => (text(&current), text(&target)),
            RotationStart::Keep { current, abandoned } => {
                (text(&current), format!("without {}", text(&abandoned)))
            }
            RotationStart::Done => ("done".to_owned(), String::new()),
        }
    }

    fn value(store: &Store) -> String {
        store.get("db").unwrap().expose_text().unwrap().to_owned()
    }

    fn pair(a: &str, b: &str) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    #[test]
    fn both_values_are_kept_until_the_new_one_is_verified_and_a_repeated_step_continues() {
        let mut store = store();
        let begin = |store: &mut Store, new: &str| {
            texts(store.begin_rotation("db", "run step", Secret::from(new)).unwrap())
        };
        assert_eq!(begin(&mut store, "new"), pair("old", "new"));
        let mut store = reread(&store);
        assert_eq!(value(&store), "old");
        // After a crash, the value that the role may have is continued with.
        assert_eq!(begin(&mut store, "other"), pair("old", "new"));
        store.end_rotation("db", RotationEnd::Complete, NOW).unwrap();
        let mut store = reread(&store);
        assert_eq!(value(&store), "new");
        assert_eq!(begin(&mut store, "other"), pair("done", ""), "the same step does it once");
        assert_eq!(
            texts(store.begin_rotation("db", "run later", Secret::from("third")).unwrap()),
            pair("new", "third")
        );
        store.end_rotation("db", RotationEnd::Abandon, NOW).unwrap();
        assert_eq!(value(&reread(&store)), "new");
    }

    #[test]
    fn an_undo_puts_the_old_value_back_unless_another_rotation_came_after() {
        let mut store = store();
        store.begin_rotation("db", "run step", Secret::from("new")).unwrap();
        // Undone before it was complete: the role keeps the current value.
        let undone = texts(store.begin_restore("db", "run step").unwrap());
        assert_eq!(undone, pair("old", "without new"));
        store.end_rotation("db", RotationEnd::Complete, NOW).unwrap();
        let mut store = reread(&store);
        assert_eq!(texts(store.begin_restore("db", "run step").unwrap()), pair("new", "old"));
        let mut store = reread(&store);
        assert_eq!(texts(store.begin_restore("db", "run step").unwrap()), pair("new", "old"));
        store.end_rotation("db", RotationEnd::Complete, NOW).unwrap();
        assert_eq!(value(&store), "old");
        assert_eq!(texts(store.begin_restore("db", "run step").unwrap()), pair("done", ""));
        let superseded = store.begin_restore("db", "another step").err();
        assert_eq!(superseded, Some(RotationError::Superseded));
        store.set("db", Secret::from("by hand"), NOW, None).unwrap();
        assert_eq!(store.begin_restore("db", "run step").err(), Some(RotationError::Superseded));
        let end = store.end_rotation("db", RotationEnd::Complete, NOW);
        assert_eq!(end, Err(RotationError::NotBegun));
    }
}
