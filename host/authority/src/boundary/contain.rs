//! Decides whether a grant is within the boundary, and finds one concrete call beyond it if it is
//! not. The decision is exact.
//!
//! A grant is a box: the values that it allows in one dimension do not depend on the other
//! dimensions. A rule is a box, too. Removing a rule from a box leaves at most one smaller box for
//! each dimension. So removing all rules, one after the other, leaves either nothing, or a box with
//! a call that no rule covers.

use super::{Boundary, BoundaryRule};
use crate::capability::Capability;
use crate::grant::{EffectiveGrants, Grant};
use crate::pattern::{StatementClass, TooComplex};
use crate::scope::{AccessScope, CallValue, ConcreteCall, Dimension, Remainder, Values};
use crate::targets::PathView;
use std::collections::BTreeMap;

/// The most boxes that are searched for one grant. Twenty rules that each cover a part of a
/// grant need a few hundred.
const MAX_BOXES: usize = 20_000;

/// A grant that reaches beyond the boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundaryViolation {
    /// A call that the grant allows and no rule covers; `None` if the comparison was too complex,
    /// which counts as exceeded.
    pub witness: Option<ConcreteCall>,
    /// The rule that comes nearest.
    pub nearest_rule: Option<NearestRule>,
}

/// The rule that comes nearest to covering a call.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestRule {
    /// `file:line` of the rule.
    pub location: String,
    /// The dimensions in which the rule does not cover the call, each with what the rule covers.
    pub exceeded_dimensions: Vec<(Dimension, String)>,
}

/// A call that the grant allows and none of the rules covers.
pub(crate) fn uncovered_call(
    scope: &AccessScope,
    rules: &[&BoundaryRule],
) -> Result<Option<ConcreteCall>, TooComplex> {
    let rules: Vec<&BoundaryRule> =
        rules.iter().copied().filter(|rule| rule.may_cover(scope)).collect();
    let remainders = scope
        .values
        .iter()
        .map(|(dimension, values)| (*dimension, Remainder::new(*dimension, values)))
        .collect();
    Search { capability: scope.capability, boxes: 0 }
        .uncovered_call(&RemainingBox { remainders }, &rules)
}

impl Boundary {
    /// Judges the scope of one grant.
    ///
    /// # Errors
    /// [`BoundaryViolation`] if some call that the grant allows is covered by no rule, or if the
    /// comparison is too complex.
    pub fn check(&self, scope: &AccessScope) -> Result<(), BoundaryViolation> {
        match uncovered_call(scope, &self.rules.iter().collect::<Vec<_>>()) {
            Ok(None) => Ok(()),
            Ok(Some(call)) => Err(BoundaryViolation {
                nearest_rule: self.nearest_rule(&call),
                witness: Some(call),
            }),
            Err(TooComplex) => Err(BoundaryViolation { witness: None, nearest_rule: None }),
        }
    }

    /// Judges what one slot is granted, and what a program can do by the connection that its target
    /// gives it: any statement, as the user of that connection. Either a rule for the program names
    /// the connection, or the rules for databases must cover any statement. A token server must be
    /// covered as any server is.
    ///
    /// # Errors
    /// [`BoundaryViolation`] if some call that the grant allows, or that the connection makes
    /// possible, is covered by no rule, or if the comparison is too complex.
    pub fn check_grant(
        &self,
        plugin: &str,
        grant: &Grant,
        grants: &EffectiveGrants,
    ) -> Result<(), BoundaryViolation> {
        let scope = AccessScope::of(plugin, grant, grants, PathView::OnThisHost);
        self.check(&scope)?;
        if let Some(tokens) = AccessScope::of_tokens(plugin, grant, grants) {
            self.check(&tokens)?;
        }
        let Some(connection) = AccessScope::of_connection(plugin, grant, grants) else {
            return Ok(());
        };
        let connection_rules: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.values.contains_key(&Dimension::Connections))
            .collect();
        match uncovered_call(&scope, &connection_rules) {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(TooComplex) => self.check(&connection),
        }
    }

    /// Whether one concrete call is covered by some rule.
    pub fn permits(&self, call: &ConcreteCall) -> bool {
        self.rules.iter().any(|rule| {
            rule.capability == call.capability && rule.exceeded_dimensions(call).is_empty()
        })
    }

    fn nearest_rule(&self, call: &ConcreteCall) -> Option<NearestRule> {
        let same_capability = self.rules.iter().filter(|rule| rule.capability == call.capability);
        let (rule, exceeded) = same_capability
            .map(|rule| (rule, rule.exceeded_dimensions(call)))
            .min_by_key(|(_, exceeded)| exceeded.len())?;
        let covered_values =
            |dimension: &Dimension| rule.values[dimension].words(dimension.row().shape).join(", ");
        let exceeded_dimensions =
            exceeded.into_iter().map(|dimension| (dimension, covered_values(&dimension))).collect();
        Some(NearestRule { location: self.source.place(&rule.span), exceeded_dimensions })
    }
}

/// Whether a rule that mentions the dimension covers only calls that have it. For example, a rule
/// about files does not cover servers.
fn is_required(capability: Capability, dimension: Dimension, values: &Values) -> bool {
    let names_none = *values == Values::exact::<String>([]);
    // A rule that names sockets covers no connection over a network; the default names none.
    let names_sockets = matches!(capability, Capability::Http | Capability::Docker)
        && dimension == Dimension::Sockets
        && !names_none;
    // A rule that names no host covers engines that are reached by a socket.
    if capability == Capability::Docker && dimension == Dimension::Hosts && names_none {
        return false;
    }
    // A rule for servers and names also covers a lookup, which has no host.
    let is_elsewhere = capability == Capability::Net;
    let is_place = !is_elsewhere
        && matches!(
            dimension,
            Dimension::Files
                | Dimension::Hosts
                | Dimension::Ports
                | Dimension::Users
                | Dimension::Databases
        );
    is_place || names_sockets
}

impl BoundaryRule {
    fn may_cover(&self, scope: &AccessScope) -> bool {
        self.capability == scope.capability
            && self.values.iter().all(|(dimension, values)| {
                !is_required(self.capability, *dimension, values)
                    || scope.values.contains_key(dimension)
            })
    }

    /// The dimensions in which the rule does not cover a call.
    fn exceeded_dimensions(&self, call: &ConcreteCall) -> Vec<Dimension> {
        let is_outside = |dimension: Dimension, values: &Values| match call.values.get(&dimension) {
            None => is_required(self.capability, dimension, values),
            Some(value) => !values.contains(value),
        };
        self.values
            .iter()
            .filter(|(dimension, values)| is_outside(**dimension, values))
            .map(|(dimension, _)| *dimension)
            .collect()
    }
}

/// The part of a grant that no rule has covered so far.
#[derive(Clone)]
struct RemainingBox<'a> {
    remainders: BTreeMap<Dimension, Remainder<'a>>,
}

struct Search {
    capability: Capability,
    boxes: usize,
}

impl Search {
    /// A call in the box that none of the rules covers. The box must not be empty.
    fn uncovered_call<'a>(
        &mut self,
        remaining: &RemainingBox<'a>,
        rules: &[&'a BoundaryRule],
    ) -> Result<Option<ConcreteCall>, TooComplex> {
        self.boxes += 1;
        if self.boxes > MAX_BOXES {
            return Err(TooComplex);
        }
        let Some((rule, other_rules)) = rules.split_first() else {
            return self.call(remaining).map(Some);
        };
        for (dimension, covered) in &rule.values {
            let Some(rest) = remaining.remainders.get(dimension) else { continue };
            let smaller_remainder = rest.exclude(covered);
            if smaller_remainder.witness()?.is_none() {
                continue;
            }
            let mut smaller_box = remaining.clone();
            smaller_box.remainders.insert(*dimension, smaller_remainder);
            if let Some(call) = self.uncovered_call(&smaller_box, other_rules)? {
                return Ok(Some(call));
            }
        }
        Ok(None)
    }

    fn call(&self, remaining: &RemainingBox<'_>) -> Result<ConcreteCall, TooComplex> {
        let mut values = BTreeMap::new();
        for (dimension, rest) in &remaining.remainders {
            values.insert(
                *dimension,
                rest.witness()?.unwrap_or_else(|| CallValue::Text(String::new())),
            );
        }
        // For a query, the witness is a SELECT if one remains: the database prevents a query from
        // changing anything, so another statement would be a poor example.
        let is_query = values.get(&Dimension::Verbs) == Some(&CallValue::Text("query".to_owned()));
        let select = StatementClass::Select.name();
        if is_query
            && remaining
                .remainders
                .get(&Dimension::Statements)
                .is_some_and(|rest| rest.contains_text(select))
        {
            values.insert(Dimension::Statements, CallValue::Text(select.to_owned()));
        }
        Ok(ConcreteCall { capability: self.capability, values })
    }
}
