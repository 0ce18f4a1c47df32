//! Compares patterns exactly: is every text that one pattern allows also allowed by others?
//!
//! Every pattern of a grant (globs, paths, regular expressions, lists of arguments) is a regular
//! language, so the question has an exact answer: walk the product of the automata and look for a
//! text that the one accepts and none of the others does. The shortest such text is the witness.
//! A product that is too large is unknown, and unknown counts as not contained.

use super::ArgumentPattern;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The largest automaton of one pattern, in bytes. `\w{30}` with all of Unicode is larger, and
/// nobody reviews that.
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
    /// One for each text of a list; a language of single texts has exactly one.
    parts: Vec<Arc<Dfa>>,
    /// What may follow the parts, any number of times.
    repeat: Option<Arc<Dfa>>,
}

/// Where a walk through one language is. `None` is nowhere: nothing that begins like this is in it.
type AutomatonState = Option<(usize, StateID)>;

impl Language {
    /// The texts that a regular expression matches from start to end.
    ///
    /// # Errors
    /// [`TooComplex`] if the text is no regular expression, or its automaton would be too big.
    pub fn regex(expression: &str) -> Result<Self, TooComplex> {
        Ok(Self { parts: vec![automaton(expression)?], repeat: None })
    }

    /// The lists of arguments that a list of patterns lets through.
    ///
    /// # Errors
    /// [`TooComplex`] if the automaton of one of the patterns would be too big.
    pub fn arguments(patterns: &[ArgumentPattern]) -> Result<Self, TooComplex> {
        let (fixed, repeat) = match patterns.split_last() {
            Some((ArgumentPattern::Repeat(repeated), fixed)) => {
                (fixed, Some(automaton(&expression_of(repeated))?))
            }
            Some(_) | None => (patterns, None),
        };
        let parts = fixed
            .iter()
            .map(|pattern| automaton(&expression_of(pattern)))
            .collect::<Result<_, _>>()?;
        Ok(Self { parts, repeat })
    }

    fn part(&self, index: usize) -> Option<&Dfa> {
        self.parts.get(index).or(self.repeat.as_ref()).map(|dfa| &**dfa)
    }

    fn enter(&self, index: usize) -> AutomatonState {
        let dfa = self.part(index)?;
        let state = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        Some((index.min(self.parts.len()), state))
    }

    fn step(&self, place: AutomatonState, byte: u8) -> AutomatonState {
        let (index, state) = place?;
        let dfa = self.part(index)?;
        let next = dfa.next_state(state, byte);
        (!dfa.is_dead_state(next) && !dfa.is_quit_state(next)).then_some((index, next))
    }

    /// Whether what was read so far is a whole text.
    fn is_whole(&self, place: AutomatonState) -> bool {
        let Some((index, state)) = place else { return false };
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

/// The size of the cache of automata, in bytes: a review compares the same few patterns again and
/// again.
const MAX_KEPT: usize = 64 << 20;

/// Automata that were built before, and their size. What is kept changes no answer, only how long
/// it takes.
#[derive(Debug, Default)]
struct AutomatonCache {
    automata: HashMap<String, Result<Arc<Dfa>, TooComplex>>,
    bytes: usize,
}

impl AutomatonCache {
    /// Keeps one more. If all would be too much, those before it go.
    fn keep(&mut self, expression: &str, built: Result<Arc<Dfa>, TooComplex>) {
        let size = expression.len() + built.as_ref().map_or(0, |dfa| dfa.memory_usage());
        if self.bytes + size > MAX_KEPT {
            *self = Self::default();
        }
        if size <= MAX_KEPT && self.automata.insert(expression.to_owned(), built).is_none() {
            self.bytes += size;
        }
    }
}

/// The automaton of an expression, built or kept from before.
fn automaton(expression: &str) -> Result<Arc<Dfa>, TooComplex> {
    static KEPT: LazyLock<Mutex<AutomatonCache>> = LazyLock::new(Mutex::default);
    if let Some(known) =
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).automata.get(expression)
    {
        return known.clone();
    }
    let built = build(expression).map(Arc::new);
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).keep(expression, built.clone());
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

/// The shortest text that `base` and all of `also` let through, and none of `minus`. `None` if
/// there is none.
///
/// # Errors
/// [`TooComplex`] if more states than `MAX_STATES` would have to be looked at.
pub fn difference(
    base: &Language,
    also: &[&Language],
    minus: &[&Language],
) -> Result<Option<String>, TooComplex> {
    let mut walk = Walk {
        languages: Vec::new(),
        wanted: 1 + also.len(),
        seen: HashMap::new(),
        queue: VecDeque::new(),
    };
    walk.languages.push(base);
    walk.languages.extend(also);
    walk.languages.extend(minus);
    walk.run()
}

/// The shortest list of arguments that `base` lets through and none of `minus`.
///
/// # Errors
/// [`TooComplex`] if more states than `MAX_STATES` would have to be looked at.
pub fn argument_difference(
    base: &Language,
    minus: &[&Language],
) -> Result<Option<Vec<String>>, TooComplex> {
    // Each argument ends with NUL, which no argument has.
    let found = ListWalk { base, minus, seen: HashMap::new(), queue: VecDeque::new() }.run()?;
    Ok(found.map(|text| text.split_terminator('\0').map(str::to_owned).collect()))
}

/// Bytes in the order in which a person would like to see them in an example.
fn bytes() -> impl Iterator<Item = u8> {
    let liked = b"abcdefghijklmnopqrstuvwxyz0123456789-_./=:";
    liked.iter().copied().chain((1..=u8::MAX).filter(|byte| !liked.contains(byte)))
}

/// Where a state was come from, and by which byte.
type Trail<K> = HashMap<K, Option<(K, u8)>>;

fn text_to<K: Clone + Eq + std::hash::Hash>(trail: &Trail<K>, end: &K) -> String {
    let mut bytes = Vec::new();
    let mut at = end;
    while let Some(Some((before, byte))) = trail.get(at) {
        bytes.push(*byte);
        at = before;
    }
    bytes.reverse();
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Walk<'a> {
    languages: Vec<&'a Language>,
    /// How many of them, from the first, must accept; the others must not.
    wanted: usize,
    seen: Trail<Vec<AutomatonState>>,
    queue: VecDeque<Vec<AutomatonState>>,
}

impl Walk<'_> {
    fn run(mut self) -> Result<Option<String>, TooComplex> {
        let first: Vec<AutomatonState> =
            self.languages.iter().map(|language| language.enter(0)).collect();
        self.seen.insert(first.clone(), None);
        self.queue.push_back(first);
        while let Some(places) = self.queue.pop_front() {
            if self.is_found(&places) {
                return Ok(Some(text_to(&self.seen, &places)));
            }
            for byte in bytes() {
                self.follow(&places, byte)?;
            }
        }
        Ok(None)
    }

    fn is_found(&self, places: &[AutomatonState]) -> bool {
        let mut whole =
            self.languages.iter().zip(places).map(|(language, place)| language.is_whole(*place));
        whole.by_ref().take(self.wanted).all(|whole| whole) && !whole.any(|whole| whole)
    }

    fn follow(&mut self, places: &[AutomatonState], byte: u8) -> Result<(), TooComplex> {
        let next: Vec<AutomatonState> = self
            .languages
            .iter()
            .zip(places)
            .map(|(language, place)| language.step(*place, byte))
            .collect();
        if next[..self.wanted].iter().any(Option::is_none) || self.seen.contains_key(&next) {
            return Ok(());
        }
        if self.seen.len() >= MAX_STATES {
            return Err(TooComplex);
        }
        self.seen.insert(next.clone(), Some((places.to_vec(), byte)));
        self.queue.push_back(next);
        Ok(())
    }
}

/// In one language: inside an argument, or between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ListPlace {
    Nowhere,
    /// This many arguments (at most one more than there are parts) were read.
    Between(usize),
    Inside(usize, StateID),
}

struct ListWalk<'a> {
    base: &'a Language,
    minus: &'a [&'a Language],
    seen: Trail<Vec<ListPlace>>,
    queue: VecDeque<Vec<ListPlace>>,
}

impl ListWalk<'_> {
    fn languages(&self) -> impl Iterator<Item = &Language> {
        std::iter::once(self.base).chain(self.minus.iter().copied())
    }

    fn run(mut self) -> Result<Option<String>, TooComplex> {
        let first: Vec<ListPlace> = self.languages().map(|_| ListPlace::Between(0)).collect();
        self.seen.insert(first.clone(), None);
        self.queue.push_back(first);
        while let Some(places) = self.queue.pop_front() {
            if self.is_found(&places) {
                return Ok(Some(text_to(&self.seen, &places)));
            }
            for byte in bytes().chain([0]) {
                self.follow(&places, byte)?;
            }
        }
        Ok(None)
    }

    fn is_found(&self, places: &[ListPlace]) -> bool {
        let mut whole = self.languages().zip(places).map(|(language, place)| match place {
            ListPlace::Between(count) => *count >= language.parts.len(),
            ListPlace::Nowhere | ListPlace::Inside(..) => false,
        });
        whole.next() == Some(true) && !whole.any(|whole| whole)
    }

    fn follow(&mut self, places: &[ListPlace], byte: u8) -> Result<(), TooComplex> {
        let next: Vec<ListPlace> = self
            .languages()
            .zip(places)
            .map(|(language, place)| step(language, *place, byte))
            .collect();
        if next[0] == ListPlace::Nowhere || self.seen.contains_key(&next) {
            return Ok(());
        }
        if self.seen.len() >= MAX_STATES {
            return Err(TooComplex);
        }
        self.seen.insert(next.clone(), Some((places.to_vec(), byte)));
        self.queue.push_back(next);
        Ok(())
    }
}

fn step(language: &Language, place: ListPlace, byte: u8) -> ListPlace {
    let inside = match place {
        ListPlace::Nowhere => None,
        ListPlace::Between(count) => language.enter(count),
        ListPlace::Inside(index, state) => Some((index, state)),
    };
    if byte != 0 {
        return language
            .step(inside, byte)
            .map_or(ListPlace::Nowhere, |(index, state)| ListPlace::Inside(index, state));
    }
    match inside {
        // More arguments than parts are all alike, so they are counted as one.
        Some((index, _)) if language.is_whole(inside) => {
            ListPlace::Between((index + 1).min(language.parts.len()))
        }
        Some(_) | None => ListPlace::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_difference(base: &str, minus: &[&str]) -> Option<String> {
        let base = Language::regex(base).expect("small");
        let minus: Vec<Language> =
            minus.iter().map(|text| Language::regex(text).expect("small")).collect();
        difference(&base, &[], &minus.iter().collect::<Vec<_>>()).expect("small")
    }

    #[test]
    fn the_shortest_text_that_slips_through_is_the_witness() {
        assert_eq!(text_difference("/orders/[^/]*", &["/orders/(?s:.)*"]), None);
        assert_eq!(text_difference("/orders/.*", &["/orders/[^/]*"]).as_deref(), Some("/orders//"));
        assert_eq!(text_difference("a|b|c", &["a", "c"]).as_deref(), Some("b"));
        assert_eq!(text_difference("a|b|c", &["a|b", "c"]), None);
        assert_eq!(text_difference("[а-я]+", &["[a-z]+"]).as_deref(), Some("а"));
    }

    #[test]
    fn a_pattern_that_cannot_be_walked_is_unknown() {
        assert_eq!(Language::regex(r"\w{400}").err(), Some(TooComplex));
        assert_eq!(Language::regex(r"\bx").err(), Some(TooComplex));
    }

    #[test]
    fn what_is_kept_of_patterns_has_an_end() {
        let mut kept = AutomatonCache::default();
        let large = Arc::new(build(r"\pL{6}").expect("small enough"));
        let mut emptied = 0;
        let needed = 3 * MAX_KEPT / large.memory_usage();
        for number in 0..needed {
            let before = kept.automata.len();
            // One that is kept already is not counted again.
            for _ in 0..2 {
                kept.keep(&number.to_string(), Ok(Arc::clone(&large)));
            }
            emptied += usize::from(kept.automata.len() <= before);
            assert!(kept.bytes <= MAX_KEPT && kept.automata.contains_key(&number.to_string()));
            let sizes = kept.automata.keys().map(|key| key.len() + large.memory_usage());
            assert_eq!(kept.bytes, sizes.sum::<usize>());
        }
        assert!(emptied >= 2, "{emptied} of {needed}");
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

    fn list_difference(base: &[&str], minus: &[&[&str]]) -> Option<Vec<String>> {
        let base = Language::arguments(&patterns(base)).expect("small");
        let minus: Vec<Language> = minus
            .iter()
            .map(|texts| Language::arguments(&patterns(texts)).expect("small"))
            .collect();
        argument_difference(&base, &minus.iter().collect::<Vec<_>>()).expect("small")
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
