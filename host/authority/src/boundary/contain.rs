//! Whether a grant is inside the boundary: exactly, with one concrete call that would slip through
//! if it is not.
//!
//! A grant is a box (what it allows in one dimension does not depend on the others), and so is a
//! rule. What a rule leaves of a box is at most one smaller box for each dimension, so taking the
//! rules away one by one either leaves nothing, or a box with a call in it that no rule covers.

use super::{Boundary, BoundaryRule};
use crate::capability::Capability;
use crate::grant::{Effective, Grant};
use crate::pattern::{StatementClass, TooComplex};
use crate::scope::{AccessScope, CallValue, ConcreteCall, Dimension, Remainder, Values};
use crate::targets::PathView;
use std::collections::BTreeMap;

/// How many boxes are searched for one grant at most. Twenty rules that each cover a part of a
/// grant need a few hundred.
const MAX_BOXES: usize = 20_000;

/// A grant that reaches beyond the boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct Exceeded {
    /// A call that the grant allows and no rule covers; `None` if the comparison was too complex,
    /// which counts as exceeded.
    pub witness: Option<ConcreteCall>,
    /// The rule that comes nearest.
    pub nearest: Option<NearestRule>,
}

/// The rule that comes nearest to covering a call.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestRule {
    /// `file:line` of the rule.
    pub place: String,
    /// Where the call leaves it: the dimension, and what the rule covers there.
    pub leaves: Vec<(Dimension, String)>,
}

/// A call that the grant lets through and none of the rules covers.
pub(crate) fn uncovered(
    scope: &AccessScope,
    rules: &[&BoundaryRule],
) -> Result<Option<ConcreteCall>, TooComplex> {
    let rules: Vec<&BoundaryRule> =
        rules.iter().copied().filter(|rule| rule.may_cover(scope)).collect();
    let whole = scope
        .values
        .iter()
        .map(|(dimension, values)| (*dimension, Remainder::new(*dimension, values)))
        .collect();
    Search { capability: scope.capability, boxes: 0 }.uncovered(&Cut { rests: whole }, &rules)
}

impl Boundary {
    /// Judges one grant.
    ///
    /// # Errors
    /// [`Exceeded`] if some call that the grant allows is covered by no rule, or if the comparison
    /// is too complex.
    pub fn check(&self, scope: &AccessScope) -> Result<(), Exceeded> {
        match uncovered(scope, &self.rules.iter().collect::<Vec<_>>()) {
            Ok(None) => Ok(()),
            Ok(Some(call)) => Err(Exceeded { nearest: self.nearest(&call), witness: Some(call) }),
            Err(TooComplex) => Err(Exceeded { witness: None, nearest: None }),
        }
    }

    /// Judges what one slot is granted, and what a program can do by the connection that it is
    /// given: any statement, as the user of that target. Either a rule for the program names the
    /// connection, or the rules for databases cover all of that. A token server must be covered as
    /// any server is.
    ///
    /// # Errors
    /// [`Exceeded`] if some call that the grant allows, or that the connection makes possible, is
    /// covered by no rule, or if the comparison is too complex.
    pub fn check_grant(
        &self,
        plugin: &str,
        grant: &Grant,
        effective: &Effective,
    ) -> Result<(), Exceeded> {
        let scope = AccessScope::of(plugin, grant, effective, PathView::Opened);
        self.check(&scope)?;
        if let Some(tokens) = AccessScope::of_tokens(plugin, grant, effective) {
            self.check(&tokens)?;
        }
        let Some(lent) = AccessScope::of_connection(plugin, grant, effective) else {
            return Ok(());
        };
        let naming: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.values.contains_key(&Dimension::Connections))
            .collect();
        match uncovered(&scope, &naming) {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(TooComplex) => self.check(&lent),
        }
    }

    /// Whether one concrete call is covered by some rule.
    pub fn permits(&self, call: &ConcreteCall) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.capability == call.capability && rule.leaves(call).is_empty())
    }

    fn nearest(&self, call: &ConcreteCall) -> Option<NearestRule> {
        let same = self.rules.iter().filter(|rule| rule.capability == call.capability);
        let (rule, leaves) =
            same.map(|rule| (rule, rule.leaves(call))).min_by_key(|(_, leaves)| leaves.len())?;
        let covered =
            |dimension: &Dimension| rule.values[dimension].words(dimension.row().shape).join(", ");
        let leaves = leaves.into_iter().map(|dimension| (dimension, covered(&dimension))).collect();
        Some(NearestRule { place: self.source.place(&rule.span), leaves })
    }
}

/// Dimensions that must be present for the rule to apply: a rule about files does not concern
/// servers.
fn must_be_there(capability: Capability, dimension: Dimension) -> bool {
    // A rule for servers and names is about a lookup too, which has no host.
    let is_elsewhere = capability == Capability::Net;
    !is_elsewhere
        && matches!(
            dimension,
            Dimension::Files
                | Dimension::Hosts
                | Dimension::Ports
                | Dimension::Users
                | Dimension::Databases
        )
}

impl BoundaryRule {
    fn may_cover(&self, scope: &AccessScope) -> bool {
        self.capability == scope.capability
            && self.values.keys().all(|dimension| {
                !must_be_there(self.capability, *dimension) || scope.values.contains_key(dimension)
            })
    }

    /// The dimensions in which a call is outside of the rule.
    fn leaves(&self, call: &ConcreteCall) -> Vec<Dimension> {
        let is_outside = |dimension: Dimension, values: &Values| match call.values.get(&dimension) {
            None => must_be_there(self.capability, dimension),
            Some(value) => !values.has(value),
        };
        self.values
            .iter()
            .filter(|(dimension, values)| is_outside(**dimension, values))
            .map(|(dimension, _)| *dimension)
            .collect()
    }
}

/// A box with pieces taken away.
#[derive(Clone)]
struct Cut<'a> {
    rests: BTreeMap<Dimension, Remainder<'a>>,
}

struct Search {
    capability: Capability,
    boxes: usize,
}

impl Search {
    /// A call in the box that none of the rules covers. The box is not empty.
    fn uncovered<'a>(
        &mut self,
        cut: &Cut<'a>,
        rules: &[&'a BoundaryRule],
    ) -> Result<Option<ConcreteCall>, TooComplex> {
        self.boxes += 1;
        if self.boxes > MAX_BOXES {
            return Err(TooComplex);
        }
        let Some((rule, others)) = rules.split_first() else { return self.call(cut).map(Some) };
        for (dimension, covered) in &rule.values {
            let Some(rest) = cut.rests.get(dimension) else { continue };
            let smaller = rest.without(covered);
            if smaller.witness()?.is_none() {
                continue;
            }
            let mut piece = cut.clone();
            piece.rests.insert(*dimension, smaller);
            if let Some(call) = self.uncovered(&piece, others)? {
                return Ok(Some(call));
            }
        }
        Ok(None)
    }

    fn call(&self, cut: &Cut<'_>) -> Result<ConcreteCall, TooComplex> {
        let mut values = BTreeMap::new();
        for (dimension, rest) in &cut.rests {
            values.insert(
                *dimension,
                rest.witness()?.unwrap_or_else(|| CallValue::Text(String::new())),
            );
        }
        // Of the calls that are left, one that the verb is for: the database lets a query change
        // nothing.
        let is_query = values.get(&Dimension::Verbs) == Some(&CallValue::Text("query".to_owned()));
        let select = StatementClass::Select.name();
        if is_query
            && cut.rests.get(&Dimension::Statements).is_some_and(|rest| rest.has_left(select))
        {
            values.insert(Dimension::Statements, CallValue::Text(select.to_owned()));
        }
        Ok(ConcreteCall { capability: self.capability, values })
    }
}
