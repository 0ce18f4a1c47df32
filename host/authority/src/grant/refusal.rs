//! Why a binding is refused.

use runbook_document::{Source, Span};
use std::sync::Arc;

/// The rule that a binding breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalRule {
    /// The plugin has no such operation.
    UnknownOperation,
    /// The operation has no such slot.
    UnknownSlot,
    /// A slot that the operation needs is not bound.
    Unbound,
    /// There is no target of that name.
    UnknownTarget,
    /// The target has another capability than the slot.
    WrongKind,
    /// The target grants more than the plugin declares.
    Wider,
    /// The target grants less than the operation needs.
    Narrower,
}

const RULES: &[(RefusalRule, &str, &str)] = &[
    (RefusalRule::UnknownOperation, "E0110", "unknown-operation"),
    (RefusalRule::UnknownSlot, "E0111", "unknown-slot"),
    (RefusalRule::Unbound, "E0112", "unbound-slot"),
    (RefusalRule::UnknownTarget, "E0113", "unknown-target"),
    (RefusalRule::WrongKind, "E0114", "wrong-kind"),
    (RefusalRule::Wider, "E0115", "grant-wider-than-declared"),
    (RefusalRule::Narrower, "E0116", "grant-narrower-than-needed"),
];

impl RefusalRule {
    /// Whether the rule compares a slot with its target. The other rules look only at the plugin.
    pub fn concerns_target(self) -> bool {
        match self {
            Self::UnknownTarget | Self::WrongKind | Self::Wider | Self::Narrower => true,
            Self::UnknownOperation | Self::UnknownSlot | Self::Unbound => false,
        }
    }

    /// The stable code of the error, such as `E0112`.
    pub fn code(self) -> &'static str {
        RULES.iter().find(|(rule, ..)| *rule == self).map_or("", |(_, code, _)| *code)
    }

    /// The name of the rule, such as `unbound-slot`.
    pub fn name(self) -> &'static str {
        RULES.iter().find(|(rule, ..)| *rule == self).map_or("", |(.., name)| *name)
    }
}

/// A binding that is refused before anything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that refuses the binding.
    pub rule: RefusalRule,
    /// What is wrong, with the names of the plugin and the slot.
    pub message: String,
    /// The file with the line to change.
    pub source: Arc<Source>,
    /// The place in that file.
    pub span: Span,
    /// What to write there, as an imperative.
    pub help: String,
}

impl From<Refusal> for runbook_document::Diagnostic {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.rule.code(), &refusal.source, refusal.span, refusal.message)
            .label(refusal.rule.name())
            .help(refusal.help)
    }
}
