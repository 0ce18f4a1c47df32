//! Compares patterns exactly: is every text that one pattern allows also allowed by others?
//!
//! Every pattern of a grant (glob, path, regular expression, list of arguments) is a regular
//! language, so the answer is exact: a search through the product of the automata finds the
//! shortest text that one automaton accepts and the others do not. That text is the witness. If the
//! product is too large, the answer is unknown, which counts as not contained.

use super::ArgumentPattern;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The largest automaton of one pattern, in bytes. `\w{30}` with all of Unicode is larger, and no
/// reviewer could judge it.
const MAX_AUTOMATON: usize = 4 << 20;
/// How many states of a product are searched at most. The largest bundled runbook needs 60.
const MAX_STATES: usize = 50_000;

/// A pattern that cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pattern is too complex to be compared")]
pub struct TooComplex;

type Dfa = dense::DFA<Vec<u32>>;

/// A set of texts, or of lists of texts.
#[derive(Debug, Clone)]
pub struct Language {
    /// One automaton for each text of a list. A language of single texts has exactly one.
    parts: Vec<Arc<Dfa>>,
    /// The automaton of further texts, any number of which may follow.
    repeat: Option<Arc<Dfa>>,
}

/// The state of one language during a search: the part and the state of its automaton. `None` if no
/// text of the language begins like this.
type AutomatonState = Option<(usize, StateID)>;

impl Language {
    /// The texts that a regular expression matches from start to end.
    ///
    /// # Errors
    /// [`TooComplex`] if the text is no regular expression, or its automaton would be too big.
    pub fn regex(expression: &str) -> Result<Self, TooComplex> {
        Ok(Self { parts: vec![automaton(expression)?], repeat: None })
    }

    /// The lists of arguments that a list of patterns matches.
    ///
    /// # Errors
    /// [`TooComplex`] if the automaton of one of the patterns would be too big.
    pub fn arguments(patterns: &[ArgumentPattern]) -> Result<Self, TooComplex> {
        let (fixed_patterns, repeat) = match patterns.split_last() {
            Some((ArgumentPattern::Repeat(repeated), fixed_patterns)) => {
                (fixed_patterns, Some(automaton(&expression_of(repeated))?))
            }
            Some(_) | None => (patterns, None),
        };
        let parts = fixed_patterns
            .iter()
            .map(|pattern| automaton(&expression_of(pattern)))
            .collect::<Result<_, _>>()?;
        Ok(Self { parts, repeat })
    }

    fn part(&self, index: usize) -> Option<&Dfa> {
        self.parts.get(index).or(self.repeat.as_ref()).map(|dfa| &**dfa)
    }

    fn start_state(&self, index: usize) -> AutomatonState {
        let dfa = self.part(index)?;
        let state = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some((index.min(self.parts.len()), state))
    }

    fn step(&self, state: AutomatonState, byte: u8) -> AutomatonState {
        let (index, state) = state?;
        let dfa = self.part(index)?;
        let next = dfa.next_state(state, byte);
        (!dfa.is_dead_state(next) && !dfa.is_quit_state(next)).then_some((index, next))
    }

    /// Whether the text so far is complete.
    fn accepts(&self, state: AutomatonState) -> bool {
        let Some((index, state)) = state else { return false };
        self.part(index).is_some_and(|dfa| dfa.is_match_state(dfa.next_eoi_state(state)))
    }
}

/// A regular expression for one argument.
fn expression_of(pattern: &ArgumentPattern) -> String {
    match pattern {
        ArgumentPattern::Literal(text) => regex::escape(text),
        ArgumentPattern::OneOf(texts) if texts.is_empty() => "[^\\s\\S]".to_owned(),
        ArgumentPattern::OneOf(texts) => {
            texts.iter().map(|text| regex::escape(text)).collect::<Vec<_>>().join("|")
        }
        ArgumentPattern::Regex(regex) => regex.as_str().to_owned(),
        ArgumentPattern::Repeat(inner) => expression_of(inner),
    }
}

/// The largest size of the cache of automata, in bytes. A review compares the same few patterns
/// many times.
const MAX_CACHE_BYTES: usize = 64 << 20;

/// A cache of automata, and their size. It saves time and does not change any result.
#[derive(Debug, Default)]
struct AutomatonCache {
    automata: HashMap<String, Result<Arc<Dfa>, TooComplex>>,
    bytes: usize,
}

impl AutomatonCache {
    /// Adds an automaton. If the cache would become too large, it is emptied first.
    fn insert(&mut self, expression: &str, built: Result<Arc<Dfa>, TooComplex>) {
        let size = expression.len() + built.as_ref().map_or(0, |dfa| dfa.memory_usage());
        if self.bytes + size > MAX_CACHE_BYTES {
            *self = Self::default();
        }
        if size <= MAX_CACHE_BYTES && self.automata.insert(expression.to_owned(), built).is_none() {
            self.bytes += size;
        }
    }
}

/// The automaton of an expression, from the cache or built now.
fn automaton(expression: &str) -> Result<Arc<Dfa>, TooComplex> {
    static CACHE: LazyLock<Mutex<AutomatonCache>> = LazyLock::new(Mutex::default);
    if let Some(cached) =
        CACHE.lock().unwrap_or_else(PoisonError::into_inner).automata.get(expression)
    {
        return cached.clone();
    }
    let built = build(expression).map(Arc::new);
    CACHE.lock().unwrap_or_else(PoisonError::into_inner).insert(expression, built.clone());
    built
}

fn build(expression: &str) -> Result<Dfa, TooComplex> {
    let config = dense::Config::new()
        .accelerate(false)
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(MAX_AUTOMATON))
        .determinize_size_limit(Some(2 * MAX_AUTOMATON));
    dense::Builder::new()
        .configure(config)
        .build(&format!(r"\A(?:{expression})\z"))
        .map_err(|_| TooComplex)
}

/// The shortest text that `base` and all of `within` accept, and none of `minus`. `None` if there
/// is none.
///
/// # Errors
/// [`TooComplex`] if more states than `MAX_STATES` would have to be looked at.
pub fn difference(
    base: &Language,
    required: &[&Language],
    excluded: &[&Language],
) -> Result<Option<String>, TooComplex> {
    let mut search = TextSearch {
        languages: Vec::new(),
        accepting: 1 + required.len(),
        predecessors: HashMap::new(),
        queue: VecDeque::new(),
    };
    search.languages.push(base);
    search.languages.extend(required);
    search.languages.extend(excluded);
    search.run()
}

/// The shortest list of arguments that `base` accepts and none of `minus`.
///
/// # Errors
/// [`TooComplex`] if more states than `MAX_STATES` would have to be looked at.
pub fn argument_difference(
    base: &Language,
    excluded: &[&Language],
) -> Result<Option<Vec<String>>, TooComplex> {
    // Each argument ends with NUL, which no argument has.
    let found = ListSearch { base, excluded, predecessors: HashMap::new(), queue: VecDeque::new() }
        .run()?;
    Ok(found.map(|text| text.split_terminator('\0').map(str::to_owned).collect()))
}

/// All bytes except NUL, the most readable first, so that examples are readable.
fn bytes_by_preference() -> impl Iterator<Item = u8> {
    let readable = b"abcdefghijklmnopqrstuvwxyz0123456789-_./=:";
    readable.iter().copied().chain((1..=u8::MAX).filter(|byte| !readable.contains(byte)))
}

/// The state and the byte that led to each state; `None` for the first state.
type Predecessors<K> = HashMap<K, Option<(K, u8)>>;

/// The text that leads from the first state to `end`.
fn text_at<K: Clone + Eq + std::hash::Hash>(predecessors: &Predecessors<K>, end: &K) -> String {
    let mut bytes = Vec::new();
    let mut state = end;
    while let Some(Some((previous, byte))) = predecessors.get(state) {
        bytes.push(*byte);
        state = previous;
    }
    bytes.reverse();
    String::from_utf8_lossy(&bytes).into_owned()
}

struct TextSearch<'a> {
    languages: Vec<&'a Language>,
    /// How many of the languages, from the first, must accept the text. The others must not.
    accepting: usize,
    predecessors: Predecessors<Vec<AutomatonState>>,
    queue: VecDeque<Vec<AutomatonState>>,
}

impl TextSearch<'_> {
    fn run(mut self) -> Result<Option<String>, TooComplex> {
        let first: Vec<AutomatonState> =
            self.languages.iter().map(|language| language.start_state(0)).collect();
        self.predecessors.insert(first.clone(), None);
        self.queue.push_back(first);
        while let Some(states) = self.queue.pop_front() {
            if self.is_found(&states) {
                return Ok(Some(text_at(&self.predecessors, &states)));
            }
            for byte in bytes_by_preference() {
                self.visit_successor(&states, byte)?;
            }
        }
        Ok(None)
    }

    fn is_found(&self, states: &[AutomatonState]) -> bool {
        let mut accepts_text =
            self.languages.iter().zip(states).map(|(language, state)| language.accepts(*state));
        accepts_text.by_ref().take(self.accepting).all(|accepts_text| accepts_text)
            && !accepts_text.any(|accepts_text| accepts_text)
    }

    fn visit_successor(&mut self, states: &[AutomatonState], byte: u8) -> Result<(), TooComplex> {
        let next: Vec<AutomatonState> = self
            .languages
            .iter()
            .zip(states)
            .map(|(language, state)| language.step(*state, byte))
            .collect();
        if next[..self.accepting].iter().any(Option::is_none)
            || self.predecessors.contains_key(&next)
        {
            return Ok(());
        }
        if self.predecessors.len() >= MAX_STATES {
            return Err(TooComplex);
        }
        self.predecessors.insert(next.clone(), Some((states.to_vec(), byte)));
        self.queue.push_back(next);
        Ok(())
    }
}

/// The state of one language of argument lists during a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ListState {
    /// No list of the language begins like this.
    Nowhere,
    /// Between two arguments. This many arguments (at most one more than there are parts) were
    /// read.
    Between(usize),
    /// Inside an argument: its part and the state of its automaton.
    Inside(usize, StateID),
}

struct ListSearch<'a> {
    base: &'a Language,
    excluded: &'a [&'a Language],
    predecessors: Predecessors<Vec<ListState>>,
    queue: VecDeque<Vec<ListState>>,
}

impl ListSearch<'_> {
    fn languages(&self) -> impl Iterator<Item = &Language> {
        std::iter::once(self.base).chain(self.excluded.iter().copied())
    }

    fn run(mut self) -> Result<Option<String>, TooComplex> {
        let first: Vec<ListState> = self.languages().map(|_| ListState::Between(0)).collect();
        self.predecessors.insert(first.clone(), None);
        self.queue.push_back(first);
        while let Some(states) = self.queue.pop_front() {
            if self.is_found(&states) {
                return Ok(Some(text_at(&self.predecessors, &states)));
            }
            for byte in bytes_by_preference().chain([0]) {
                self.visit_successor(&states, byte)?;
            }
        }
        Ok(None)
    }

    fn is_found(&self, states: &[ListState]) -> bool {
        let mut accepts_text = self.languages().zip(states).map(|(language, state)| match state {
            ListState::Between(count) => *count >= language.parts.len(),
            ListState::Nowhere | ListState::Inside(..) => false,
        });
        accepts_text.next() == Some(true) && !accepts_text.any(|accepts_text| accepts_text)
    }

    fn visit_successor(&mut self, states: &[ListState], byte: u8) -> Result<(), TooComplex> {
        let next: Vec<ListState> = self
            .languages()
            .zip(states)
            .map(|(language, state)| step(language, *state, byte))
            .collect();
        if next[0] == ListState::Nowhere || self.predecessors.contains_key(&next) {
            return Ok(());
        }
        if self.predecessors.len() >= MAX_STATES {
            return Err(TooComplex);
        }
        self.predecessors.insert(next.clone(), Some((states.to_vec(), byte)));
        self.queue.push_back(next);
        Ok(())
    }
}

fn step(language: &Language, state: ListState, byte: u8) -> ListState {
    let inside = match state {
        ListState::Nowhere => None,
        ListState::Between(count) => language.start_state(count),
        ListState::Inside(index, state) => Some((index, state)),
    };
    if byte != 0 {
        return language
            .step(inside, byte)
            .map_or(ListState::Nowhere, |(index, state)| ListState::Inside(index, state));
    }
    match inside {
        // The count stops at the number of parts: further arguments make no difference.
        Some((index, _)) if language.accepts(inside) => {
            ListState::Between((index + 1).min(language.parts.len()))
        }
        Some(_) | None => ListState::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_difference(base: &str, excluded: &[&str]) -> Option<String> {
        let base = Language::regex(base).expect("small");
        let excluded: Vec<Language> =
            excluded.iter().map(|text| Language::regex(text).expect("small")).collect();
        difference(&base, &[], &excluded.iter().collect::<Vec<_>>()).expect("small")
    }

    #[test]
    fn the_shortest_text_that_is_not_covered_is_the_witness() {
        assert_eq!(text_difference("/orders/[^/]*", &["/orders/(?s:.)*"]), None);
        assert_eq!(text_difference("/orders/.*", &["/orders/[^/]*"]).as_deref(), Some("/orders//"));
        assert_eq!(text_difference("a|b|c", &["a", "c"]).as_deref(), Some("b"));
        assert_eq!(text_difference("a|b|c", &["a|b", "c"]), None);
        assert_eq!(text_difference("[а-я]+", &["[a-z]+"]).as_deref(), Some("а"));
    }

    #[test]
    fn a_pattern_that_is_too_complex_cannot_be_compared() {
        assert_eq!(Language::regex(r"\w{400}").err(), Some(TooComplex));
        assert_eq!(Language::regex(r"\bx").err(), Some(TooComplex));
    }

    #[test]
    fn the_cache_of_automata_stays_below_its_limit() {
        let mut cache = AutomatonCache::default();
        let large_dfa = Arc::new(build(r"\pL{6}").expect("small enough"));
        let mut times_emptied = 0;
        let insert_count = 3 * MAX_CACHE_BYTES / large_dfa.memory_usage();
        for number in 0..insert_count {
            let count_before = cache.automata.len();
            // An automaton that is in the cache already is not counted again.
            for _ in 0..2 {
                cache.insert(&number.to_string(), Ok(Arc::clone(&large_dfa)));
            }
            times_emptied += usize::from(cache.automata.len() <= count_before);
            assert!(
                cache.bytes <= MAX_CACHE_BYTES && cache.automata.contains_key(&number.to_string())
            );
            let sizes = cache.automata.keys().map(|key| key.len() + large_dfa.memory_usage());
            assert_eq!(cache.bytes, sizes.sum::<usize>());
        }
        assert!(times_emptied >= 2, "{times_emptied} of {insert_count}");
    }

    fn patterns(texts: &[&str]) -> Vec<ArgumentPattern> {
        texts
            .iter()
            .map(|text| match text.strip_prefix('*') {
                Some(repeated) => ArgumentPattern::Repeat(Box::new(
                    ArgumentPattern::regex(repeated).expect("small"),
                )),
                None => ArgumentPattern::regex(text).expect("small"),
            })
            .collect()
    }

    fn list_difference(base: &[&str], excluded: &[&[&str]]) -> Option<Vec<String>> {
        let base = Language::arguments(&patterns(base)).expect("small");
        let excluded: Vec<Language> = excluded
            .iter()
            .map(|texts| Language::arguments(&patterns(texts)).expect("small"))
            .collect();
        argument_difference(&base, &excluded.iter().collect::<Vec<_>>()).expect("small")
    }

    #[test]
    fn lists_of_arguments_are_compared_position_by_position_and_in_length() {
        assert_eq!(list_difference(&["-a", "x|y"], &[&["-a", "[a-z]"]]), None);
        assert_eq!(list_difference(&["-a", "x|y"], &[&["-a", "x"], &["-a", "y"]]), None);
        assert_eq!(
            list_difference(&["-a", "x|y"], &[&["-a", "x"]]),
            Some(vec!["-a".to_owned(), "y".to_owned()])
        );
        assert_eq!(list_difference(&["-a"], &[&["-a", "*x"]]), None);
        assert_eq!(
            list_difference(&["-a", "*x"], &[&["-a"]]),
            Some(vec!["-a".to_owned(), "x".to_owned()])
        );
        assert_eq!(
            list_difference(&["-a", "*x|y"], &[&["-a", "*x"]]),
            Some(vec!["-a".to_owned(), "y".to_owned()])
        );
        assert_eq!(list_difference(&[], &[&["*x"]]), None);
        assert_eq!(list_difference(&["*x"], &[&["x"], &[], &["x", "x", "*x"]]), None);
        // No argument has a NUL, so two arguments are never taken for one.
        assert_eq!(
            list_difference(&["a", "b"], &[&["a.b"]]),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
    }
}
