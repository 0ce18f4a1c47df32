//! The order of steps: which step needs which, and the cycles among them.

use runbook_contract::StepId;
use std::collections::BTreeMap;

/// Steps by number in file order, with the numbers of the steps that each one needs.
#[derive(Debug, Clone)]
pub struct Graph {
    needs: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of steps in file order; a step without `needs` needs the step before it. Names
    /// that do not exist are left out.
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

    /// What a step needs directly.
    pub fn needs(&self, step: usize) -> &[usize] {
        &self.needs[step]
    }

    /// For every step, the steps that must be done before it.
    pub fn ancestry(&self) -> Ancestry {
        let n = self.needs.len();
        let words = n.div_ceil(64);
        let mut before = vec![0_u64; n * words];
        for step in self.in_order() {
            for need in &self.needs[step] {
                let (own, needed) = (step * words, need * words);
                for word in 0..words {
                    before[own + word] |= before[needed + word];
                }
                before[own + need / 64] |= 1 << (need % 64);
            }
        }
        Ancestry { words, before }
    }

    /// Every step after all that it needs. Only of a graph without cycles.
    fn in_order(&self) -> Vec<usize> {
        let mut missing: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut dependents = vec![Vec::new(); self.needs.len()];
        for (step, needs) in self.needs.iter().enumerate() {
            needs.iter().for_each(|need| dependents[*need].push(step));
        }
        let mut order: Vec<usize> = (0..missing.len()).filter(|step| missing[*step] == 0).collect();
        let mut next = 0;
        while let Some(step) = order.get(next).copied() {
            next += 1;
            for dependent in &dependents[step] {
                missing[*dependent] -= 1;
                if missing[*dependent] == 0 {
                    order.push(*dependent);
                }
            }
        }
        order
    }

    /// One cycle, each step needing the next and the last one the first; `None` if there is none.
    pub fn cycle(&self) -> Option<Vec<usize>> {
        let mut marks = vec![Mark::New; self.needs.len()];
        (0..self.needs.len()).find_map(|start| self.circle_from(start, &mut marks))
    }

    /// A depth-first walk with its own stack, so that ten thousand steps in a line do not exhaust
    /// the thread's.
    fn circle_from(&self, start: usize, marks: &mut [Mark]) -> Option<Vec<usize>> {
        let mut path: Vec<(usize, usize)> = Vec::new();
        if marks[start] == Mark::New {
            marks[start] = Mark::OnPath;
            path.push((start, 0));
        }
        while let Some((step, next)) = path.last_mut() {
            let Some(&need) = self.needs[*step].get(*next) else {
                marks[*step] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[need] {
                Mark::Done => {}
                Mark::New => {
                    marks[need] = Mark::OnPath;
                    path.push((need, 0));
                }
                Mark::OnPath => {
                    let from = path
                        .iter()
                        .position(|(step, _)| *step == need)
                        .expect("a marked step is on the path");
                    return Some(path[from..].iter().map(|(step, _)| *step).collect());
                }
            }
        }
        None
    }
}

/// For every step, the steps that must be done before it: a bit for each pair, so 12 MiB for ten
/// thousand steps.
#[derive(Debug, Clone)]
pub struct Ancestry {
    words: usize,
    before: Vec<u64>,
}

impl Ancestry {
    /// Whether `first` must be done before `step`.
    pub fn is_before(&self, first: usize, step: usize) -> bool {
        self.before[step * self.words + first / 64] & (1 << (first % 64)) != 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Done,
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
    fn a_step_needs_the_one_before_it_unless_it_says_otherwise() {
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
    fn a_circle_is_shown_in_order() {
        let graph = graph(&[("a", Some(&["c"])), ("b", None), ("c", None)]);
        assert_eq!(graph.cycle(), Some(vec![0, 2, 1]));
        let selfish = self::graph(&[("a", Some(&["a"]))]);
        assert_eq!(selfish.cycle(), Some(vec![0]));
    }
}
