//! `[window]`

use super::names;
use crate::model::{AllowedTime, Days, OutsidePolicy, SECONDS_PER_DAY, Window};
use jiff::tz::TimeZone;
use runbook_document::{Reader, Spanned, nearest};

/// Reads `[window]`; `None` if there is none.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Window> {
    reader.section("window", "`[window]`", |reader| {
        let allow = reader.read_each("allow", "the window", read_allowed);
        if reader.table().get("allow").is_none() {
            reader.required::<Vec<runbook_document::Table>>("allow");
        } else if allow.is_empty() && !reader.diagnostics().has_errors() {
            let span = reader.table().span.clone();
            let help = "write \
                 `allow = [{ days = \"sun\", from = \"02:00\", to = \"06:00\", zone = \"UTC\" }]`";
            reader.error_with_help(
                "E0226",
                span,
                "`[window]` allows no time, so it never opens",
                "never open",
                help,
            );
        }
        let outside = names::choice(reader, "outside", OutsidePolicy::ALL)
            .map(|outside| outside.value)
            .unwrap_or_default();
        Window { allow, outside }
    })
}

fn read_allowed(reader: &mut Reader<'_>) -> Option<AllowedTime> {
    let days = reader.optional::<String>("days");
    let from = reader.required::<String>("from");
    let to = reader.required::<String>("to");
    let zone = reader.required::<String>("zone");
    let days = days.map_or(Some(Days::ALL), |days| read_days(reader, &days));
    let from = from.and_then(|from| read_clock(reader, &from, "from"));
    let to = to.and_then(|to| read_clock(reader, &to, "to"));
    let zone = zone.and_then(|zone| read_zone(reader, zone));
    let (days, from, to, (zone, zone_name)) = (days?, from?, to?, zone?);
    if from.value == to.value || from.value == SECONDS_PER_DAY {
        let help = "for a whole day write `from = \"00:00\"`, `to = \"24:00\"`";
        reader.error_with_help(
            "E0226",
            from.span,
            "a window that closes when it opens is never open",
            "never open",
            help,
        );
        return None;
    }
    Some(AllowedTime { days, from: from.value, to: to.value, zone, zone_name })
}

/// Reads days such as `sun`, `mon-fri` or `sat,sun`.
fn read_days(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<Days> {
    let mut days = Days::NONE;
    for part in text.value.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (read_day(reader, text, first)?, read_day(reader, text, last)?);
        // `sat-mon` goes over the end of the week.
        let last = if last < first { last + 7 } else { last };
        days = (first..=last).fold(days, Days::with);
    }
    Some(days)
}

fn read_day(reader: &mut Reader<'_>, text: &Spanned<String>, word: &str) -> Option<usize> {
    let found = Days::NAMES.iter().position(|name| *name == word.trim());
    if found.is_none() {
        let message = format!("`{word}` in `days` is not a day");
        let help = format!(
            "use {}, a range such as `mon-fri`, or several with commas",
            Days::NAMES.join(", ")
        );
        reader.error_with_help("E0226", text.span.clone(), message, "not a day", help);
    }
    found
}

/// `02:00` or `02:00:30`; `24:00` is the end of the day.
fn read_clock(reader: &mut Reader<'_>, text: &Spanned<String>, key: &str) -> Option<Spanned<u32>> {
    let seconds = parse_clock(&text.value);
    if seconds.is_none() {
        let message =
            format!("`{key}` must be a time of day such as `02:00`, not `{}`", text.value);
        reader.error("E0226", text.span.clone(), message, "not a time of day");
    }
    seconds.map(|value| Spanned { value, span: text.span.clone() })
}

fn parse_clock(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split(':').collect();
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse().ok())?
    };
    let (hours, minutes, seconds): (u32, u32, u32) = match parts.as_slice() {
        [hours, minutes] => (two_digits(hours)?, two_digits(minutes)?, 0),
        [hours, minutes, seconds] => {
            (two_digits(hours)?, two_digits(minutes)?, two_digits(seconds)?)
        }
        _ => return None,
    };
    let total = hours * 3600 + minutes * 60 + seconds;
    (minutes < 60 && seconds < 60 && total <= SECONDS_PER_DAY).then_some(total)
}

fn read_zone(reader: &mut Reader<'_>, zone: Spanned<String>) -> Option<(TimeZone, String)> {
    if let Ok(found) = TimeZone::get(&zone.value) {
        return Some((found, zone.value));
    }
    let message = format!("`{}` is not a time zone of the IANA database", zone.value);
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let help = match nearest(&zone.value, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write it as in `Europe/Berlin` or `UTC`".to_owned(),
    };
    reader.error_with_help("E0226", zone.span, message, "not a time zone", help);
    None
}

#[cfg(test)]
mod tests {
    use super::parse_clock;

    #[test]
    fn times_of_day_have_two_digits_each() {
        assert_eq!(parse_clock("02:00"), Some(7200));
        assert_eq!(parse_clock("24:00"), Some(86_400));
        assert_eq!(parse_clock("23:59:59"), Some(86_399));
        for wrong in ["2:00", "24:01", "02:60", "02", "02:00:60", "+2:00", "02:00:00:00", ""] {
            assert_eq!(parse_clock(wrong), None, "{wrong:?}");
        }
    }
}
