//! Computes what a step may do, from what its plugin declares and what the runbook binds: the
//! intersection of the two, or a refusal.

mod effective;
mod refusal;

#[cfg(test)]
pub(crate) use effective::source_grant;
pub use effective::{ConditionalVerb, EffectiveGrants, Grant};
pub use refusal::{Refusal, RefusalRule};

use crate::capability::{Capability, Verb};
use crate::manifest::{self, KnownInput, Manifest, Need};
use crate::targets::{SecretOrigin, Target, Targets, goes_through};
use runbook_document::{Source, Span, Spanned};
use std::sync::Arc;

/// One line such as `bind.db = "orders"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The name of the slot, and its position in the file.
    pub slot: Spanned<String>,
    /// The name of the target, and its position in the file.
    pub target: Spanned<String>,
}

/// The place in a runbook where a plugin is used: the call to judge, and its position for messages.
#[derive(Debug, Clone)]
pub struct GrantSite<'a> {
    /// The id of the step.
    pub step: &'a str,
    /// The operation that is used, as `plugin:operation`.
    pub uses: &'a str,
    /// The name of the operation, without its plugin.
    pub operation: &'a str,
    /// The file that the use is written in.
    pub source: &'a Arc<Source>,
    /// The place of `uses` in that file.
    pub span: &'a Span,
    /// The input, as far as it is known: it decides which verbs are granted.
    pub input: KnownInput<'a>,
}

/// Judges the bindings of one step. All refusals are returned at once.
///
/// # Errors
/// Every [`Refusal`]: an operation, slot or target that does not exist, a slot that is needed and
/// not bound, a target of another kind, or one that grants more than is declared or less than is
/// needed.
pub fn grant(
    site: &GrantSite<'_>,
    manifest: &Manifest,
    bindings: &[Binding],
    targets: &Targets,
) -> Result<EffectiveGrants, Vec<Refusal>> {
    let check = BindingCheck { site, manifest, targets };
    let operation = check.operation().map_err(|refusal| vec![refusal])?;
    let mut effective = EffectiveGrants::none();
    let mut refusals = Vec::new();
    for binding in
        bindings.iter().filter(|binding| !operation.slots.contains_key(&binding.slot.value))
    {
        refusals.push(check.unknown_slot_refusal(operation, binding));
    }
    for (slot, needed) in &operation.slots {
        match bindings.iter().find(|binding| binding.slot.value == *slot) {
            Some(binding) => {
                let verb_needs: Vec<_> =
                    needed.iter().map(|verb| (*verb, check.need(operation, slot, *verb))).collect();
                match check.grant_slot(slot, &verb_needs, binding) {
                    Ok(grant) => {
                        effective.add_conditional_verbs(operation, &grant, &verb_needs);
                        effective.insert(grant, targets);
                    }
                    Err(refusal) => refusals.push(refusal),
                }
            }
            None if operation.optional.contains(slot) => {}
            None => refusals.push(check.unbound_slot_refusal(slot, needed)),
        }
    }
    if refusals.is_empty() { Ok(effective) } else { Err(refusals) }
}

struct BindingCheck<'a> {
    site: &'a GrantSite<'a>,
    manifest: &'a Manifest,
    targets: &'a Targets,
}

impl BindingCheck<'_> {
    fn operation(&self) -> Result<&manifest::Operation, Refusal> {
        self.manifest.operations.get(self.site.operation).ok_or_else(|| {
            let known: Vec<_> = self.manifest.operations.keys().map(String::as_str).collect();
            let help = runbook_document::nearest(self.site.operation, known.iter().copied())
                .map_or_else(
                    || format!("it has: {}", known.join(", ")),
                    // As the runbook names the plugin: a file by its path.
                    |near| {
                        let reference = self
                            .site
                            .uses
                            .rsplit_once(':')
                            .map_or(self.site.uses, |(reference, _)| reference);
                        format!("did you mean `{reference}:{near}`?")
                    },
                );
            let message = format!(
                "plugin `{}` has no operation `{}`",
                self.manifest.name, self.site.operation
            );
            self.refusal(RefusalRule::UnknownOperation, message, self.site.span, help)
        })
    }

    fn unknown_slot_refusal(&self, operation: &manifest::Operation, binding: &Binding) -> Refusal {
        let known: Vec<_> = operation.slots.keys().map(String::as_str).collect();
        let help = match (
            runbook_document::nearest(&binding.slot.value, known.iter().copied()),
            known.is_empty(),
        ) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => "remove the binding: the operation uses no slot".to_owned(),
            (None, false) => format!("its slots: {}", known.join(", ")),
        };
        let message = format!("`{}` has no slot `{}`", self.site.uses, binding.slot.value);
        self.refusal(RefusalRule::UnknownSlot, message, &binding.slot.span, help)
    }

    /// Whether the input needs a verb; `None` if the verb has no condition.
    fn need(&self, operation: &manifest::Operation, slot: &str, verb: Verb) -> Option<Need> {
        operation
            .conditions(slot, verb)
            .map(|condition| condition.need(&self.site.input))
            .reduce(|need, next| need.or(|| next))
    }

    fn unbound_slot_refusal(&self, slot: &str, needed: &[Verb]) -> Refusal {
        let capability =
            self.manifest.slots.get(slot).map_or(Capability::Http, |slot| slot.capability);
        let fitting_targets: Vec<_> = self
            .targets
            .iter()
            .filter(|target| target.capability() == capability)
            .map(|target| target.name.as_str())
            .collect();
        let help = match fitting_targets.as_slice() {
            [] => format!(
                "add a target with `{capability} = …` and `bind.{slot} = \"its-name\"` to step \
                 `{}`",
                self.site.step
            ),
            [first, ..] => format!("add `bind.{slot} = \"{first}\"` to step `{}`", self.site.step),
        };
        let message = format!(
            "slot `{slot}` of `{}` is not bound; it needs {}",
            self.site.uses,
            manifest::verb_list(needed)
        );
        self.refusal(RefusalRule::Unbound, message, self.site.span, help)
    }

    /// The refusal of a slot that is bound to a gateway.
    fn gateway_refusal(&self, slot: &str, binding: &Binding, gateway: &str) -> Refusal {
        let message = format!(
            "slot `{slot}` of `{}` is bound to `{gateway}`, a gateway: connections go through it, and \
             no slot is bound to it",
            self.site.uses
        );
        let help = format!(
            "bind the slot to the target that it needs, and write `via = \"{gateway}\"` there"
        );
        self.refusal(RefusalRule::WrongKind, message, &binding.target.span, help)
    }

    /// The refusal of a lookup on a target that is reached through a gateway.
    fn lookup_refusal(&self, slot: &str, binding: &Binding, gateway: &str) -> Refusal {
        let message = format!(
            "`{}` needs `lookup` on slot `{slot}`, but target `{}` is reached through `{gateway}`, \
             and a lookup does not go through a gateway",
            self.site.uses, binding.target.value
        );
        let help = "bind the slot to a `net` target without `via`".to_owned();
        self.refusal(RefusalRule::Narrower, message, &binding.target.span, help)
    }

    /// What one slot is granted by its binding.
    fn grant_slot(
        &self,
        slot: &str,
        verb_needs: &[(Verb, Option<Need>)],
        binding: &Binding,
    ) -> Result<Grant, Refusal> {
        let Some(target) = self.targets.get(&binding.target.value) else {
            if let Some(gateway) = self.targets.gateway(&binding.target.value) {
                return Err(self.gateway_refusal(slot, binding, &gateway.name));
            }
            let known: Vec<_> = self.targets.names().collect();
            let help = runbook_document::nearest(&binding.target.value, known.iter().copied())
                .map_or_else(
                    || format!("add `[targets.{}]`", binding.target.value),
                    |near| format!("did you mean `{near}`?"),
                );
            let message = format!(
                "slot `{slot}` of `{}` is bound to `{}`, which is not a target",
                self.site.uses, binding.target.value
            );
            return Err(self.refusal(
                RefusalRule::UnknownTarget,
                message,
                &binding.target.span,
                help,
            ));
        };
        let declared_slot = self
            .manifest
            .slots
            .get(slot)
            .expect("operations only use declared slots: checked when the manifest was read");
        if target.capability() != declared_slot.capability {
            let message = format!(
                "slot `{slot}` of `{}` needs a `{}` target, but `{}` is a `{}` target",
                self.site.uses,
                declared_slot.capability,
                target.name,
                target.capability()
            );
            let help = format!("bind it to a `{}` target", declared_slot.capability);
            return Err(self.refusal(RefusalRule::WrongKind, message, &binding.target.span, help));
        }
        let is_granted = |need: &Option<Need>| need.as_ref().is_none_or(Need::is_granted);
        let granted_verbs: Vec<_> =
            verb_needs.iter().filter(|(_, need)| is_granted(need)).collect();
        if let Some(via) = &target.via
            && granted_verbs.iter().any(|(verb, _)| !goes_through(*verb))
        {
            return Err(self.lookup_refusal(slot, binding, &via.gateway.value));
        }
        if let Some(listed) = &target.verbs {
            self.check_listed_verbs(slot, &granted_verbs, declared_slot, target, &listed.value)?;
        }
        if granted_verbs.iter().any(|(verb, _)| *verb == Verb::SecretsRotate) {
            self.check_rotated_source(slot, target, binding)?;
        }
        Ok(Grant {
            slot: slot.to_owned(),
            capability: declared_slot.capability,
            verbs: granted_verbs.into_iter().map(|(verb, _)| *verb).collect(),
            target: Arc::clone(target),
        })
    }

    /// Refuses the rotation of a secret whose source the host cannot write.
    fn check_rotated_source(
        &self,
        slot: &str,
        target: &Target,
        binding: &Binding,
    ) -> Result<(), Refusal> {
        let secret = target.secret().map(|secret| secret.secret.as_str()).unwrap_or_default();
        let source = match target.secret_origins.get(secret) {
            Some(SecretOrigin::Age(_)) | None => return Ok(()),
            Some(SecretOrigin::Sops(_)) => "a file of sops",
            Some(SecretOrigin::Credential(_)) => "a credential of systemd",
            Some(SecretOrigin::Variable(_)) => "a variable of the environment",
            Some(SecretOrigin::Program(_)) => "what a program prints",
            Some(SecretOrigin::Vault(_)) => "a value of Vault",
        };
        let message = format!(
            "`{}` needs `rotate` on slot `{slot}`, but secret `{secret}` is {source}, which the \
             host cannot write",
            self.site.uses
        );
        let help = "keep the secret in an age store (`source = \"age:FILE#NAME\"`), or rotate it \
                    where it is kept";
        let span = &binding.target.span;
        Err(self.refusal(RefusalRule::Narrower, message, span, help.to_owned()))
    }

    /// Refuses a target whose `verbs` list more than the plugin declares, or less than the
    /// operation needs.
    fn check_listed_verbs(
        &self,
        slot: &str,
        needed: &[&(Verb, Option<Need>)],
        declared_slot: &manifest::Slot,
        target: &Target,
        listed: &[Verb],
    ) -> Result<(), Refusal> {
        let refusal = |rule, message, help| Refusal {
            rule,
            message,
            source: Arc::clone(&target.source),
            span: target.span.clone(),
            help,
        };
        let missing: Vec<_> = needed.iter().filter(|(verb, _)| !listed.contains(verb)).collect();
        if !missing.is_empty() {
            // All missing verbs are reported together, so that one correction is enough.
            let template = missing.iter().find_map(|(_, need)| match need {
                Some(Need::Unknown { at }) => Some(at.as_str()),
                Some(Need::Met { .. } | Need::No) | None => None,
            });
            let verb_phrase = if template.is_some() { "may need" } else { "needs" };
            let reason_clause = template.map_or_else(String::new, |at| match at {
                "" => ", because its input is a template".to_owned(),
                at => format!(", because `{at}` of its input is a template"),
            });
            let missing: Vec<Verb> = missing.iter().map(|(verb, _)| *verb).collect();
            let missing_list = manifest::verb_list(&missing);
            let message = format!(
                "`{}` {verb_phrase} {missing_list} on slot `{slot}`{reason_clause}, but target `{}` grants only {}",
                self.site.uses,
                target.name,
                manifest::verb_list(listed)
            );
            let help = if target.files().is_some() {
                format!("set `access = \"write\"` in `[targets.{}]`, if that is right", target.name)
            } else if target.process().is_some() && missing == [Verb::ProcessInspect] {
                format!(
                    "set `read_only = true` in `[targets.{}]`: the program is then run where it \
                     can change nothing",
                    target.name
                )
            } else if target.system().is_some() {
                format!(
                    "add {missing_list} to `system` of `[targets.{}]`, if that is right",
                    target.name
                )
            } else {
                format!(
                    "add {missing_list} to the verbs of `[targets.{}]`, if that is right",
                    target.name
                )
            };
            return Err(refusal(RefusalRule::Narrower, message, help));
        }
        let undeclared = if target.files().is_some() {
            // `access = "write"` grants several verbs at once, so it is too wide only if the plugin
            // declares no verb that changes anything.
            let changes = |verbs: &[Verb]| {
                verbs.iter().any(|verb| verb.effect() == crate::VerbEffect::Change)
            };
            (changes(listed) && !changes(&declared_slot.verbs)).then_some(Verb::FilesWrite)
        } else {
            listed.iter().find(|verb| !declared_slot.verbs.contains(verb)).copied()
        };
        let Some(extra_verb) = undeclared else { return Ok(()) };
        let message = format!(
            "target `{}` grants `{extra_verb}`, but slot `{slot}` of plugin `{}` declares only {}",
            target.name,
            self.manifest.name,
            manifest::verb_list(&declared_slot.verbs)
        );
        let help = if target.files().is_some() {
            format!(
                "bind slot `{slot}` of step `{}` to a target without `access = \"write\"`",
                self.site.step
            )
        } else {
            let list = if target.system().is_some() { "`system`" } else { "the verbs" };
            format!(
                "remove `{extra_verb}` from {list} of `[targets.{}]`, or bind another target",
                target.name
            )
        };
        Err(refusal(RefusalRule::Wider, message, help))
    }

    fn refusal(&self, rule: RefusalRule, message: String, span: &Span, help: String) -> Refusal {
        Refusal { rule, message, source: Arc::clone(self.site.source), span: span.clone(), help }
    }
}

#[cfg(test)]
mod tests;
