//! The order of steps: which step needs which, and the cycles among them.

use runbook_contract::StepId;
use std::collections::BTreeMap;

/// The dependencies of steps. Steps are numbered in file order.
#[derive(Debug, Clone)]
pub struct Graph {
    /// For each step, the numbers of the steps that it needs.
    needs: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of these steps in file order. A step without `needs` needs the step before it. Ids
    /// in `needs` that do not exist are ignored.
    pub fn new(steps: &[(StepId, Option<Vec<StepId>>)]) -> Self {
        let numbers: BTreeMap<&StepId, usize> =
            steps.iter().enumerate().map(|(number, (id, _))| (id, number)).collect();
        let needs = steps.iter().enumerate().map(|(number, (_, needs))| match needs {
            Some(needs) => needs.iter().filter_map(|need| numbers.get(need).copied()).collect(),
            None => number.checked_sub(1).into_iter().collect(),
        });
        Self { needs: needs.collect() }
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.needs.len()
    }

    /// The steps that a step needs directly.
    pub fn needs(&self, step: usize) -> &[usize] {
        &self.needs[step]
    }

    /// For every step, the steps that must be done before it.
    pub fn ancestry(&self) -> Ancestry {
        let n = self.needs.len();
        let words = n.div_ceil(64);
        let mut ancestors = vec![0_u64; n * words];
        for step in self.topological_order() {
            for need in &self.needs[step] {
                let (own_row, needed_row) = (step * words, need * words);
                for word in 0..words {
                    ancestors[own_row + word] |= ancestors[needed_row + word];
                }
                ancestors[own_row + need / 64] |= 1 << (need % 64);
            }
        }
        Ancestry { words, ancestors }
    }

    /// All steps in an order in which each step comes after the steps that it needs. The graph must
    /// have no cycle.
    fn topological_order(&self) -> Vec<usize> {
        let mut unmet_needs: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut dependents = vec![Vec::new(); self.needs.len()];
        for (step, needs) in self.needs.iter().enumerate() {
            needs.iter().for_each(|need| dependents[*need].push(step));
        }
        let mut order: Vec<usize> =
            (0..unmet_needs.len()).filter(|step| unmet_needs[*step] == 0).collect();
        let mut next = 0;
        while let Some(step) = order.get(next).copied() {
            next += 1;
            for dependent in &dependents[step] {
                unmet_needs[*dependent] -= 1;
                if unmet_needs[*dependent] == 0 {
                    order.push(*dependent);
                }
            }
        }
        order
    }

    /// One cycle, each step needing the next and the last one the first; `None` if there is none.
    pub fn cycle(&self) -> Option<Vec<usize>> {
        let mut visit_states = vec![VisitState::Unvisited; self.needs.len()];
        (0..self.needs.len()).find_map(|start| self.cycle_from(start, &mut visit_states))
    }

    /// A depth-first walk with its own stack, so that ten thousand steps in a line do not exhaust
    /// the thread's.
    fn cycle_from(&self, start: usize, visit_states: &mut [VisitState]) -> Option<Vec<usize>> {
        let mut path: Vec<(usize, usize)> = Vec::new();
        if visit_states[start] == VisitState::Unvisited {
            visit_states[start] = VisitState::OnPath;
            path.push((start, 0));
        }
        while let Some((step, next)) = path.last_mut() {
            let Some(&need) = self.needs[*step].get(*next) else {
                visit_states[*step] = VisitState::Visited;
                path.pop();
                continue;
            };
            *next += 1;
            match visit_states[need] {
                VisitState::Visited => {}
                VisitState::Unvisited => {
                    visit_states[need] = VisitState::OnPath;
                    path.push((need, 0));
                }
                VisitState::OnPath => {
                    let cycle_start = path
                        .iter()
                        .position(|(step, _)| *step == need)
                        .expect("a marked step is on the path");
                    return Some(path[cycle_start..].iter().map(|(step, _)| *step).collect());
                }
            }
        }
        None
    }
}

/// For every step, the steps that must be done before it: one bit for each pair of steps, so 12 MiB
/// for ten thousand steps.
#[derive(Debug, Clone)]
pub struct Ancestry {
    /// The number of 64-bit words for each step.
    words: usize,
    /// For each step, one bit for each step that must be done before it.
    ancestors: Vec<u64>,
}

impl Ancestry {
    /// Whether `first` must be done before `step`.
    pub fn is_before(&self, first: usize, step: usize) -> bool {
        self.ancestors[step * self.words + first / 64] & (1 << (first % 64)) != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VisitState {
    Unvisited,
    OnPath,
    Visited,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(steps: &[(&str, Option<&[&str]>)]) -> Graph {
        let steps: Vec<_> = steps
            .iter()
            .map(|(id, needs)| {
                (
                    StepId::from(*id),
                    needs.map(|needs| needs.iter().map(|need| StepId::from(*need)).collect()),
                )
            })
            .collect();
        Graph::new(&steps)
    }

    #[test]
    fn a_step_without_needs_needs_the_step_before_it() {
        let graph = graph(&[("a", None), ("b", None), ("c", Some(&[])), ("d", Some(&["a", "c"]))]);
        assert_eq!(graph.needs(1), [0]);
        assert!(graph.needs(2).is_empty());
        let ancestry = graph.ancestry();
        let before =
            |step| (0..4).filter(|first| ancestry.is_before(*first, step)).collect::<Vec<_>>();
        assert_eq!((before(0), before(1), before(3)), (vec![], vec![0], vec![0, 2]));
        assert_eq!(graph.cycle(), None);
    }

    #[test]
    fn a_cycle_is_shown_in_order() {
        let graph = graph(&[("a", Some(&["c"])), ("b", None), ("c", None)]);
        assert_eq!(graph.cycle(), Some(vec![0, 2, 1]));
        let self_dependent = self::graph(&[("a", Some(&["a"]))]);
        assert_eq!(self_dependent.cycle(), Some(vec![0]));
    }
}
