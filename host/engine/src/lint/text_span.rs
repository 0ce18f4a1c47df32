//! Positions of findings about a part of a text.

use runbook_document::{Source, Span};
use std::sync::Arc;

/// The position of a text in a file.
#[derive(Clone)]
pub(super) struct TextSpan<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) span: Span,
}

/// The position of a path within a text, if the text contains it literally; otherwise the whole
/// text.
pub(super) fn span_of_path(place: &TextSpan<'_>, path: &[String]) -> Span {
    let Some(text) = place.source.text().get(place.span.clone()) else { return place.span.clone() };
    let plain = path.join(".");
    let is_end =
        |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
    let dashed = match path {
        [steps, id, rest @ ..] if steps == "steps" => {
            [&[steps.clone(), id.replace('_', "-")], rest].concat().join(".")
        }
        _ => plain.clone(),
    };
    let found = [plain, dashed].into_iter().find_map(|name| {
        let mut places = text.match_indices(name.as_str()).map(|(at, _)| at);
        places.find(|at| is_end(&text[at + name.len()..])).map(|at| (at, name.len()))
    });
    found.map_or_else(
        || place.span.clone(),
        |(at, length)| place.span.start + at..place.span.start + at + length,
    )
}

/// The position of the first two parts of a path within a text, if the text contains them
/// literally; otherwise the whole text.
pub(super) fn span_of_name(place: &TextSpan<'_>, parts: &[&str]) -> Span {
    let Some(text) = place.source.text().get(place.span.clone()) else { return place.span.clone() };
    let plain = parts.iter().take(2).copied().collect::<Vec<_>>().join(".");
    let dashed = plain.replace('_', "-");
    let found = [plain.as_str(), dashed.as_str()]
        .into_iter()
        .find_map(|name| text.find(name).map(|at| (at, name.len())));
    found.map_or_else(
        || place.span.clone(),
        |(at, length)| place.span.start + at..place.span.start + at + length,
    )
}
