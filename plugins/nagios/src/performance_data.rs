//! Performance data: `'label'=value[UOM];[warn];[crit];[min];[max]`, separated by spaces.

use runbook_sdk::prelude::*;

/// One number of the performance data.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Metric {
    /// Its name, without quotes.
    pub(crate) label: String,
    /// The number, in `unit`; absent if the plugin could not determine it (`U`).
    pub(crate) value: Option<f64>,
    /// The unit as it was printed, such as `s`, `ms`, `%`, `B`, `MB`, `c`; empty without one.
    pub(crate) unit: String,
    /// The range outside which it warns, in Nagios syntax.
    pub(crate) warn: Option<String>,
    /// The range outside which it is critical, in Nagios syntax.
    pub(crate) crit: Option<String>,
    /// The least value that there can be.
    pub(crate) min: Option<f64>,
    /// The greatest value that there can be.
    pub(crate) max: Option<f64>,
}

impl Metric {
    /// The number with its limits, if there is one.
    pub(crate) fn measurement(&self) -> Option<Measurement> {
        let without_limits = measurement(&self.label, self.value?, &self.unit);
        Some(Measurement { warn: self.warn.clone(), crit: self.crit.clone(), ..without_limits })
    }
}

/// The metrics of a line, and the parts that are not metrics.
pub(crate) fn read(line: &str) -> (Vec<Metric>, Vec<String>) {
    let (mut metrics, mut unreadable) = (Vec::new(), Vec::new());
    for part in split_unquoted(line) {
        match metric(part) {
            Some(metric) => metrics.push(metric),
            None => unreadable.push(part.to_owned()),
        }
    }
    (metrics, unreadable)
}

/// The parts between spaces that are not within single quotes.
fn split_unquoted(line: &str) -> Vec<&str> {
    let mut is_quoted = false;
    line.split(|c: char| {
        is_quoted ^= c == '\'';
        c.is_whitespace() && !is_quoted
    })
    .filter(|part| !part.is_empty())
    .collect()
}

fn metric(part: &str) -> Option<Metric> {
    let (label, rest) = label_and_rest(part)?;
    let mut fields = rest.split(';');
    let (value, unit) = value_and_unit(fields.next()?)?;
    let mut next_field = || fields.next().filter(|field| !field.is_empty()).map(str::to_owned);
    let (warn, crit) = (next_field(), next_field());
    let (min, max) = (next_field(), next_field());
    if fields.next().is_some_and(|rest| !rest.is_empty()) {
        return None;
    }
    let is_number_or_absent =
        |text: &Option<String>| text.as_deref().is_none_or(|text| number(text).is_some());
    let are_ranges = [&warn, &crit].into_iter().flatten().all(|text| is_range(text));
    if !are_ranges || !is_number_or_absent(&min) || !is_number_or_absent(&max) {
        return None;
    }
    Some(Metric {
        label,
        value,
        unit: unit.to_owned(),
        warn,
        crit,
        min: min.as_deref().and_then(number),
        max: max.as_deref().and_then(number),
    })
}

/// A label is quoted if it has a space, a quote or `=` in it; two quotes within it are one.
fn label_and_rest(part: &str) -> Option<(String, &str)> {
    let (label, rest) = match part.strip_prefix('\'') {
        Some(quoted) => {
            let end = closing_quote(quoted)?;
            (quoted[..end].replace("''", "'"), quoted[end + 1..].strip_prefix('=')?)
        }
        None => {
            let (label, rest) = part.split_once('=')?;
            (label.to_owned(), rest)
        }
    };
    (!label.is_empty()).then_some((label, rest))
}

fn closing_quote(quoted: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + quoted[from..].find('\'')?;
        if !quoted[at + 1..].starts_with('\'') {
            return Some(at);
        }
        from = at + 2;
    }
}

/// The value with its unit. `U` is a value that the plugin could not determine.
fn value_and_unit(text: &str) -> Option<(Option<f64>, &str)> {
    if text == "U" {
        return Some((None, ""));
    }
    let is_number_character = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.');
    let mut end = text.find(|c: char| !is_number_character(c)).unwrap_or(text.len());
    // `1.5e-05`, as some programs print small numbers. `e` alone begins a unit.
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let digits = exponent.trim_start_matches(['-', '+']);
        let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if length > 0 {
            end = text.len() - digits.len() + length;
        }
    }
    let value = number(&text[..end])?;
    let unit = &text[end..];
    let is_unit = unit.chars().all(|c| c.is_alphabetic() || matches!(c, '%' | '/' | '°' | 'µ'));
    is_unit.then_some((Some(value), unit))
}

/// Parses a decimal number. `1,234` is refused, because the comma may separate thousands or
/// decimals.
fn number(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    value.is_finite().then_some(value)
}

/// `10`, `10:`, `~:10`, `10:20`, `@10:20`.
fn is_range(text: &str) -> bool {
    let range = text.strip_prefix('@').unwrap_or(text);
    match range.split_once(':') {
        None => number(range).is_some(),
        Some((from, to)) => {
            (from == "~" || number(from).is_some()) && (to.is_empty() || number(to).is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric_without_limits(label: &str, value: f64, unit: &str) -> Metric {
        Metric {
            label: label.to_owned(),
            value: Some(value),
            unit: unit.to_owned(),
            warn: None,
            crit: None,
            min: None,
            max: None,
        }
    }

    fn single_metric(text: &str) -> Metric {
        let (metrics, unreadable) = read(text);
        assert_eq!(unreadable, Vec::<String>::new(), "{text}");
        let [metric] = &metrics[..] else { panic!("{text}: {metrics:?}") };
        metric.clone()
    }

    #[test]
    fn values_have_the_units_that_were_printed() {
        for (text, value, unit) in [
            ("a=1", 1.0, ""),
            ("a=-0.5s", -0.5, "s"),
            ("a=12ms", 12.0, "ms"),
            ("a=12us", 12.0, "us"),
            ("a=99.9%", 99.9, "%"),
            ("a=0B", 0.0, "B"),
            ("a=68MB", 68.0, "MB"),
            ("a=7c", 7.0, "c"),
            ("a=1.5e-05s", 1.5e-5, "s"),
            ("a=1E3", 1000.0, ""),
            ("a=.25", 0.25, ""),
        ] {
            assert_eq!(single_metric(text), metric_without_limits("a", value, unit), "{text}");
        }
        assert_eq!(single_metric("a=U").value, None);
        assert!(single_metric("a=U").measurement().is_none());
    }

    #[test]
    fn a_quoted_label_may_have_spaces_quotes_and_equals_signs() {
        assert_eq!(single_metric("'C:\\ used'=1").label, "C:\\ used");
        assert_eq!(single_metric("'it''s'=1").label, "it's");
        assert_eq!(single_metric("'a=b'=1").label, "a=b");
        assert_eq!(read("'a b'=1 'c d'=2;;5").0.len(), 2);
    }

    #[test]
    fn limits_are_kept_as_they_are_and_each_may_be_left_out() {
        let metric = single_metric("load1=0.5;~:5;@10:20;0;100");
        assert_eq!((metric.warn.as_deref(), metric.crit.as_deref()), (Some("~:5"), Some("@10:20")));
        assert_eq!((metric.min, metric.max), (Some(0.0), Some(100.0)));
        let metric = single_metric("a=1;;10:");
        assert_eq!((metric.warn, metric.crit.as_deref()), (None, Some("10:")));
        assert_eq!(single_metric("a=1;;;;"), metric_without_limits("a", 1.0, ""));
        assert_eq!(single_metric("a=1;"), metric_without_limits("a", 1.0, ""));
    }

    #[test]
    fn an_unreadable_part_is_listed_and_hides_no_metric() {
        for part in [
            "a",
            "a=",
            "=1",
            "a=b",
            "'a'1",
            "'a=1",
            "a=1;x",
            "a=1;1:2:3",
            "a=1;;;x",
            "a=1;;;;1;2",
            "a=nan",
            "a=inf",
            "a=1,5s",
            "a=1,234",
            "a=1e999",
            "a=1--2",
        ] {
            let (metrics, unreadable) = read(&format!("x=1 {part}"));
            assert_eq!((metrics.len(), unreadable.len()), (1, 1), "{part}: {metrics:?}");
        }
    }
}
