//! `[window]`: when a runbook may run, by the local time of a time zone.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use std::fmt;

/// The seconds of a day without a change of the clock.
pub(crate) const SECONDS_PER_DAY: u32 = 24 * 60 * 60;

/// When a runbook may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// The allowed times, at least one. The window is open while any of them is.
    pub allow: Vec<AllowedTime>,
    /// What happens to a run outside the window.
    pub outside: OutsidePolicy,
}

/// What happens outside a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutsidePolicy {
    /// The run goes on, and ends with warnings if it succeeds.
    Warn,
    /// The run ends before its first effect.
    #[default]
    Refuse,
}

impl OutsidePolicy {
    /// All values with their names.
    pub const ALL: &[(Self, &str)] = &[(Self::Warn, "warn"), (Self::Refuse, "refuse")];
}

/// One entry of `allow`.
///
/// A time is inside the window if the local time in `zone` is at least `from` and less than `to` on
/// one of `days`. If daylight saving time repeats an hour, both are inside; if it skips an hour,
/// that hour never comes.
#[derive(Debug, Clone, PartialEq)]
pub struct AllowedTime {
    /// The days on which it opens.
    pub days: Days,
    /// When it opens, in seconds since midnight.
    pub from: u32,
    /// When it closes, in seconds since midnight, up to 86,400. If it is not greater than `from`,
    /// it closes on the next day.
    pub to: u32,
    /// The time zone of `from` and `to`.
    pub zone: TimeZone,
    /// Its IANA name, as written.
    pub zone_name: String,
}

/// A set of days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// All seven days of the week.
    pub const ALL: Self = Self(0b111_1111);
    /// No day at all.
    pub const NONE: Self = Self(0);
    /// Their names, Monday first.
    pub const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

    /// These days and one more, counted from Monday as 0.
    #[must_use]
    pub fn with(self, day: usize) -> Self {
        Self(self.0 | (1 << (day % 7)))
    }

    /// Whether a day is among them.
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

impl Window {
    /// Whether the window is open at this time.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.allow.iter().any(|allowed| allowed.is_open(at))
    }

    /// When the window next opens after this time; `None` if it does not open within the next eight
    /// days.
    pub fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.allow.iter().filter_map(|allowed| allowed.opens_after(at)).min()
    }
}

impl AllowedTime {
    fn is_open(&self, at: Timestamp) -> bool {
        let wall = at.to_zoned(self.zone.clone());
        let (seconds, today) = (seconds_of_day(&wall), wall.weekday());
        if self.from < self.to {
            return self.days.contains(today) && (self.from..self.to).contains(&seconds);
        }
        let opened_today = self.days.contains(today) && seconds >= self.from;
        let opened_yesterday = self.days.contains(today.previous()) && seconds < self.to;
        opened_today || opened_yesterday
    }

    fn opens_after(&self, at: Timestamp) -> Option<Timestamp> {
        let today = at.to_zoned(self.zone.clone()).date();
        let openings =
            (0..=8_i64).filter_map(|days| self.opening_on(today.checked_add(days.days()).ok()?));
        openings.filter(|opening| *opening > at).min()
    }

    /// When it opens on a day. If daylight saving time skips `from`, it opens as much later as the
    /// clock skips, as RFC 5545 says.
    fn opening_on(&self, date: Date) -> Option<Timestamp> {
        if !self.days.contains(date.weekday()) {
            return None;
        }
        let wall = date.at(0, 0, 0, 0).checked_add(i64::from(self.from).seconds()).ok()?;
        let opening = wall.to_zoned(self.zone.clone()).ok()?.timestamp();
        self.is_open(opening).then_some(opening)
    }
}

fn seconds_of_day(wall: &Zoned) -> u32 {
    let part = |value: i8| u32::try_from(value).unwrap_or(0);
    part(wall.hour()) * 3600 + part(wall.minute()) * 60 + part(wall.second())
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, allowed) in self.allow.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{allowed}")?;
        }
        Ok(())
    }
}

impl fmt::Display for AllowedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |seconds: u32| format!("{:02}:{:02}", seconds / 3600, seconds / 60 % 60);
        write!(f, "{} {} to {} {}", self.days, clock(self.from), clock(self.to), self.zone_name)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("every day");
        }
        let names: Vec<&str> = Self::NAMES
            .iter()
            .enumerate()
            .filter(|(day, _)| self.0 & (1 << day) != 0)
            .map(|(_, name)| *name)
            .collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[usize], from: u32, to: u32, zone: &str) -> Window {
        let days = days.iter().fold(Days::NONE, |days, day| days.with(*day));
        let zone_name = zone.to_owned();
        let zone = TimeZone::get(zone).expect("the zone is known");
        Window {
            allow: vec![AllowedTime { days, from, to, zone, zone_name }],
            outside: OutsidePolicy::Refuse,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    const HOUR: u32 = 3600;

    #[test]
    fn a_window_is_open_from_its_first_second_up_to_its_last() {
        let sunday = window(&[6], 2 * HOUR, 6 * HOUR, "UTC");
        assert!(!sunday.is_open(at("2026-11-22T01:59:59Z")));
        assert!(sunday.is_open(at("2026-11-22T02:00:00Z")));
        assert!(sunday.is_open(at("2026-11-22T05:59:59Z")));
        assert!(!sunday.is_open(at("2026-11-22T06:00:00Z")));
        assert!(!sunday.is_open(at("2026-11-23T03:00:00Z")), "a Monday");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
        let saturday = window(&[5], 22 * HOUR, 2 * HOUR, "UTC");
        assert!(saturday.is_open(at("2026-11-21T23:00:00Z")));
        assert!(saturday.is_open(at("2026-11-22T01:00:00Z")));
        assert!(!saturday.is_open(at("2026-11-21T01:00:00Z")), "Friday's night");
        assert!(!saturday.is_open(at("2026-11-22T22:30:00Z")), "a Sunday");
    }

    #[test]
    fn a_window_follows_the_daylight_saving_time_of_its_zone() {
        let night = window(&[6], 2 * HOUR, 4 * HOUR, "Europe/Berlin");
        assert!(night.is_open(at("2026-11-22T01:30:00Z")), "02:30 in winter");
        assert!(!night.is_open(at("2026-11-22T03:30:00Z")));
        assert!(night.is_open(at("2026-07-05T00:30:00Z")), "02:30 in summer");
        assert!(!night.is_open(at("2026-07-05T02:30:00Z")), "04:30 in summer");
    }

    #[test]
    fn an_hour_that_daylight_saving_time_repeats_is_inside_twice() {
        // On 2026-10-25 clocks in Berlin go from 03:00 back to 02:00 at 01:00 UTC.
        let night = window(&[6], 2 * HOUR, 2 * HOUR + 1800, "Europe/Berlin");
        assert!(night.is_open(at("2026-10-25T00:15:00Z")));
        assert!(!night.is_open(at("2026-10-25T00:45:00Z")));
        assert!(night.is_open(at("2026-10-25T01:15:00Z")));
        assert!(!night.is_open(at("2026-10-25T01:45:00Z")));
    }

    #[test]
    fn a_window_in_an_hour_that_daylight_saving_time_skips_does_not_open() {
        // On 2026-03-29 clocks in Berlin go from 02:00 to 03:00 at 01:00 UTC.
        let night = window(&[6], 2 * HOUR, 3 * HOUR, "Europe/Berlin");
        assert!(!night.is_open(at("2026-03-29T00:59:59Z")));
        assert!(!night.is_open(at("2026-03-29T01:00:00Z")));
        assert_eq!(
            night.opens_after(at("2026-03-28T12:00:00Z")),
            Some(at("2026-04-05T00:00:00Z")),
            "a week later"
        );
    }

    #[test]
    fn the_next_opening_is_found() {
        let sunday = window(&[6], 2 * HOUR, 6 * HOUR, "America/New_York");
        assert_eq!(
            sunday.opens_after(at("2026-11-21T12:00:00Z")),
            Some(at("2026-11-22T07:00:00Z"))
        );
        assert_eq!(
            sunday.opens_after(at("2026-11-22T07:00:00Z")),
            Some(at("2026-11-29T07:00:00Z"))
        );
    }

    #[test]
    fn a_whole_day_is_open_in_its_last_millisecond() {
        let every_day = window(&[0, 1, 2, 3, 4, 5, 6], 0, SECONDS_PER_DAY, "UTC");
        assert!(every_day.is_open(at("2026-11-22T23:59:59.999Z")));
        assert_eq!(every_day.to_string(), "every day 00:00 to 24:00 UTC");
    }
}
