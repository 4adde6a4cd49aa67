//! When a timer fires: cron expressions of every kind racks accept (`convox-yml.md` §13).
//!
//! Five fields are minute, hour, day of month, month and day of week; a sixth is the year. `?`
//! stands for `*` in a day field, days and months may be named, and the day fields know the `L`,
//! `W` and `#` of AWS. Days of the week are counted from 1, a Sunday, where the expression is one
//! of AWS (six fields, or a `?`), and from 0 elsewhere. All times are UTC, to the minute.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan as _};

/// Days after which a schedule that has not fired never will: the Gregorian calendar begins anew
/// every 400 years, and no field looks further than the weekday of a leap day.
const HORIZON: usize = 41 * 366;

/// A field's name, smallest and largest number, and names for numbers.
struct Field {
    smallest: u16,
    largest: u16,
    names: &'static [&'static str],
    /// The number of the first name.
    first: u16,
}

const MONTHS: &[&str] = &[
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const MINUTE: Field = Field::numbers(0, 59);
const HOUR: Field = Field::numbers(0, 23);
const DAY: Field = Field::numbers(1, 31);
const MONTH: Field = Field {
    names: MONTHS,
    first: 1,
    ..Field::numbers(1, 12)
};
/// Sunday is 0 or 7.
const WEEKDAY: Field = Field {
    names: WEEKDAYS,
    ..Field::numbers(0, 7)
};
/// Sunday is 1.
const WEEKDAY_OF_AWS: Field = Field {
    names: WEEKDAYS,
    first: 1,
    ..Field::numbers(1, 7)
};
const YEAR: Field = Field::numbers(1970, 2199);

/// Numbers from one to another, each so and so far from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    from: u16,
    to: u16,
    step: u16,
}

impl Range {
    /// A range whose end is before its beginning goes round.
    fn has(&self, number: u16, field: &Field) -> bool {
        let ahead = if self.from <= self.to {
            (self.from..=self.to)
                .contains(&number)
                .then(|| number - self.from)
        } else if number >= self.from {
            Some(number - self.from)
        } else {
            let round = field.largest - field.smallest + 1;
            (number <= self.to).then(|| number + round - self.from)
        };
        ahead.is_some_and(|ahead| ahead.is_multiple_of(self.step))
    }
}

impl Field {
    const fn numbers(smallest: u16, largest: u16) -> Self {
        Self {
            smallest,
            largest,
            names: &[],
            first: 0,
        }
    }

    fn ranges(&self, text: &str) -> Option<Vec<Range>> {
        text.split(',').map(|part| self.range(part)).collect()
    }

    fn range(&self, part: &str) -> Option<Range> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None if range == "*" => (self.smallest, self.largest),
            None => {
                let from = self.value(range)?;
                // A step without an end goes on to the last.
                (from, if step.is_some() { self.largest } else { from })
            }
        };
        let step = step.unwrap_or(1);
        Some(Range { from, to, step })
    }

    fn value(&self, text: &str) -> Option<u16> {
        if let Some(number) = number(text) {
            return (self.smallest..=self.largest)
                .contains(&number)
                .then_some(number);
        }
        let mut names = (self.first..).zip(self.names);
        names
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(number, _)| number)
    }
}

fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Some days of a month.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DayRule {
    Range(Range),
    /// The last of the month.
    Last,
    /// The last from Monday to Friday.
    LastWorkday,
    /// The one from Monday to Friday that is nearest to a day, within its month.
    Workday(u16),
}

/// Some days of the week; days are counted from 0, a Sunday.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WeekdayRule {
    /// As written, by the field of the dialect.
    Range(Range),
    /// The last such day of the month.
    Last(u16),
    /// The nth such day of the month.
    Nth(u16, u16),
}

/// When a timer fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    minutes: Vec<Range>,
    hours: Vec<Range>,
    /// Nothing for every day.
    days: Option<Vec<DayRule>>,
    months: Vec<Range>,
    /// Nothing for every day.
    weekdays: Option<Vec<WeekdayRule>>,
    years: Vec<Range>,
    /// Days of the week as AWS counts them.
    aws: bool,
}

/// A text is no cron expression of five or six fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid schedule expression: {0}")]
pub struct InvalidSchedule(String);

impl FromStr for Schedule {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        read(text).ok_or_else(|| InvalidSchedule(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Schedule> {
    let fields: Vec<_> = text.split_whitespace().collect();
    let (fields, year) = match fields.split_at_checked(5)? {
        (fields, []) => (fields, None),
        (fields, [year]) => (fields, Some(*year)),
        _ => return None,
    };
    let [minute, hour, day, month, weekday] = *fields else {
        return None;
    };
    let aws = year.is_some() || day == "?" || weekday == "?";
    let field = weekday_field(aws);
    // Counted from 0, whatever the dialect.
    let plain = |text: &str| {
        let number = field.value(text)?;
        Some(if aws { number - 1 } else { number % 7 })
    };
    let days = |part: &str| {
        Some(match part {
            "L" => DayRule::Last,
            "LW" => DayRule::LastWorkday,
            _ => match part.strip_suffix('W') {
                Some(day) => DayRule::Workday(DAY.value(day)?),
                None => DayRule::Range(DAY.range(part)?),
            },
        })
    };
    let weekdays = |part: &str| {
        if let Some((day, nth)) = part.split_once('#') {
            let nth = number(nth).filter(|nth| (1..=5).contains(nth))?;
            return Some(WeekdayRule::Nth(plain(day)?, nth));
        }
        if part == "L" {
            // The last day of a week.
            return Some(WeekdayRule::Range(field.range("SAT")?));
        }
        if let Some(day) = part.strip_suffix('L') {
            return Some(WeekdayRule::Last(plain(day)?));
        }
        field.range(part).map(WeekdayRule::Range)
    };
    Some(Schedule {
        minutes: MINUTE.ranges(minute)?,
        hours: HOUR.ranges(hour)?,
        days: restricted(day, days)?,
        months: MONTH.ranges(month)?,
        weekdays: restricted(weekday, weekdays)?,
        years: YEAR.ranges(year.unwrap_or("*"))?,
        aws,
    })
}

fn weekday_field(aws: bool) -> &'static Field {
    if aws { &WEEKDAY_OF_AWS } else { &WEEKDAY }
}

/// The rules of a day field; the inner nothing is every day, the outer one a mistake.
#[expect(clippy::option_option, reason = "a mistake is not every day")]
fn restricted<T>(text: &str, rule: impl Fn(&str) -> Option<T>) -> Option<Option<Vec<T>>> {
    match text {
        "*" | "?" => Some(None),
        _ => text.split(',').map(rule).collect::<Option<_>>().map(Some),
    }
}

impl Schedule {
    /// Whether it fires in the minute that a time is in.
    pub fn fires_at(&self, time: Timestamp) -> bool {
        let at = Offset::UTC.to_datetime(time);
        self.has_date(at.date()) && self.has_time(at.hour(), at.minute())
    }

    /// The first minute after a time in which it fires; nothing if there is none.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let now = Offset::UTC.to_datetime(time);
        let mut day = now.date();
        for _ in 0..HORIZON {
            if self.has_date(day) {
                let later = |hour: i8, minute: i8| {
                    day > now.date() || (hour, minute) > (now.hour(), now.minute())
                };
                let mut minutes =
                    (0..24).flat_map(|hour| (0..60).map(move |minute| (hour, minute)));
                let first = minutes
                    .find(|(hour, minute)| later(*hour, *minute) && self.has_time(*hour, *minute));
                if let Some((hour, minute)) = first {
                    let at: DateTime = day.at(hour, minute, 0, 0);
                    return Offset::UTC.to_timestamp(at).ok();
                }
            }
            day = day.checked_add(1.day()).ok()?;
        }
        None
    }

    fn has_time(&self, hour: i8, minute: i8) -> bool {
        has(&self.hours, hour.unsigned_abs().into(), &HOUR)
            && has(&self.minutes, minute.unsigned_abs().into(), &MINUTE)
    }

    fn has_date(&self, date: Date) -> bool {
        let in_month = has(&self.months, date.month().unsigned_abs().into(), &MONTH)
            && has(&self.years, date.year().unsigned_abs(), &YEAR);
        let day = |rules: &Vec<DayRule>| rules.iter().any(|rule| rule.has(date));
        let weekday = |rules: &Vec<WeekdayRule>| rules.iter().any(|rule| rule.has(date, self.aws));
        in_month
            && match (&self.days, &self.weekdays) {
                (None, None) => true,
                (Some(days), None) => day(days),
                (None, Some(weekdays)) => weekday(weekdays),
                // Either will do, as cron has always had it.
                (Some(days), Some(weekdays)) => day(days) || weekday(weekdays),
            }
    }
}

fn has(ranges: &[Range], number: u16, field: &Field) -> bool {
    ranges.iter().any(|range| range.has(number, field))
}

fn is_workday(date: Date) -> bool {
    !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday)
}

impl DayRule {
    fn has(&self, date: Date) -> bool {
        let day = |date: Date| u16::from(date.day().unsigned_abs());
        let last = date.last_of_month();
        match self {
            Self::Range(range) => range.has(day(date), &DAY),
            Self::Last => date == last,
            Self::LastWorkday => {
                let days = last.series((-1).days());
                days.take(3).find(|day| is_workday(*day)) == Some(date)
            }
            Self::Workday(wanted) => {
                if !is_workday(date) || day(last) < *wanted {
                    return false;
                }
                let distance = day(date).abs_diff(*wanted);
                // The day itself, or Friday for Saturday and Monday for Sunday; at the edges of
                // the month the other way, as the month is not left.
                let wanted = i16::try_from(*wanted).expect("a day") - i16::from(date.day());
                let at = date.saturating_add(i32::from(wanted).days());
                match at.weekday() {
                    Weekday::Saturday if day(at) == 1 => distance == 2 && date > at,
                    Weekday::Saturday => distance == 1 && date < at,
                    Weekday::Sunday if at == last => distance == 2 && date < at,
                    Weekday::Sunday => distance == 1 && date > at,
                    _ => distance == 0,
                }
            }
        }
    }
}

impl WeekdayRule {
    fn has(&self, date: Date, aws: bool) -> bool {
        let from_sunday = u16::from(date.weekday().to_sunday_zero_offset().unsigned_abs());
        let day = u16::from(date.day().unsigned_abs());
        match self {
            Self::Range(range) if aws => range.has(from_sunday + 1, &WEEKDAY_OF_AWS),
            Self::Range(range) => {
                range.has(from_sunday, &WEEKDAY) || (from_sunday == 0 && range.has(7, &WEEKDAY))
            }
            Self::Last(wanted) => {
                let days = u16::from(date.days_in_month().unsigned_abs());
                from_sunday == *wanted && day + 7 > days
            }
            Self::Nth(wanted, nth) => from_sunday == *wanted && day.div_ceil(7) == *nth,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(text: &str) -> Schedule {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The next times after one, without seconds.
    fn next(text: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = schedule(text);
        let mut time: Timestamp = format!("{after}Z").parse().expect("a time");
        let mut times = Vec::new();
        for _ in 0..count {
            let Some(next) = schedule.next_after(time) else {
                times.push("never".to_owned());
                break;
            };
            assert!(schedule.fires_at(next), "{text} at {next}");
            let text = next.to_string();
            times.push(text.strip_suffix(":00Z").expect("whole minutes").to_owned());
            time = next;
        }
        times
    }

    #[test]
    fn accepts_the_dialects_of_racks() {
        for text in [
            "* * * * *",
            "*/1 * * * ?",
            "0 3 * * ? *",
            "0  3 * * ? *",
            "0 10 ? * MON-FRI *",
            "5,35 8-18/2 * jan,JUL 1",
            "0 0 L * ?",
            "0 0 15W * ?",
            "0 0 ? * 6#3 2030-2035",
            "0 0 ? * 5L",
            "0 0 * * 0",
            "0 0 * * 7",
        ] {
            schedule(text);
        }
    }

    #[test]
    fn refuses_what_never_fires() {
        for text in [
            "",
            "bad",
            "* * * *",
            "* * * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "? * * * *",
            "*/0 * * * *",
            "1- * * * *",
            "-1 * * * *",
            "* * * * FOO",
            "+1 * * * *",
            "@daily",
            "rate(5 minutes)",
            "0 0 ? * 1#6",
            "0 0 ? * 0 *",
            "0 0 5L * ?",
            "0 0 ? * 15W",
            "0 0 1,? * *",
        ] {
            let error = text.parse::<Schedule>().expect_err(text);
            assert_eq!(
                error.to_string(),
                format!("invalid schedule expression: {text}")
            );
        }
    }

    #[test]
    fn minutes_and_hours() {
        let from = "2026-11-23T10:07:30";
        assert_eq!(
            next("* * * * *", from, 2),
            ["2026-11-23T10:08", "2026-11-23T10:09"]
        );
        assert_eq!(
            next("*/20 * * * *", from, 3),
            ["2026-11-23T10:20", "2026-11-23T10:40", "2026-11-23T11:00"]
        );
        assert_eq!(next("7 10 * * *", from, 1), ["2026-11-24T10:07"]);
        assert_eq!(
            next("50/5 3 * * ?", from, 3)[1..],
            ["2026-11-24T03:55", "2026-11-25T03:50"]
        );
        assert_eq!(
            next("0 22-2/2 * * *", from, 4),
            [
                "2026-11-23T22:00",
                "2026-11-24T00:00",
                "2026-11-24T02:00",
                "2026-11-24T22:00"
            ]
        );
    }

    #[test]
    fn days_of_the_week_by_dialect() {
        // The 23rd is a Monday.
        let from = "2026-11-22T12:00:00";
        assert_eq!(next("0 0 * * 1", from, 1), ["2026-11-23T00:00"]);
        assert_eq!(next("0 0 ? * 2", from, 1), ["2026-11-23T00:00"]);
        assert_eq!(next("0 0 ? * 2 *", from, 1), ["2026-11-23T00:00"]);
        for sunday in [
            "0 0 * * 0",
            "0 0 * * 7",
            "0 0 * * SUN",
            "0 0 ? * 1",
            "0 0 ? * sun *",
        ] {
            assert_eq!(next(sunday, from, 1), ["2026-11-29T00:00"], "{sunday}");
        }
        assert_eq!(
            next("0 0 ? * FRI-MON", from, 4),
            [
                "2026-11-23T00:00",
                "2026-11-27T00:00",
                "2026-11-28T00:00",
                "2026-11-29T00:00"
            ]
        );
        assert_eq!(next("0 0 ? * L", from, 1), ["2026-11-28T00:00"]);
        assert_eq!(
            next("0 0 ? * 6L", from, 2),
            ["2026-11-27T00:00", "2026-12-25T00:00"]
        );
        assert_eq!(next("0 0 ? * 2#2", from, 1), ["2026-12-14T00:00"]);
    }

    #[test]
    fn days_of_the_month() {
        let from = "2026-01-15T00:00:00";
        assert_eq!(
            next("0 0 L * ?", from, 3),
            ["2026-01-31T00:00", "2026-02-28T00:00", "2026-03-31T00:00"]
        );
        // The last of January is a Saturday, that of February too.
        assert_eq!(
            next("0 0 LW * ?", from, 2),
            ["2026-01-30T00:00", "2026-02-27T00:00"]
        );
        // The 1st of August is a Saturday, the 15th too; the 31st of May is a Sunday.
        assert_eq!(next("0 0 1W 8 ?", from, 1), ["2026-08-03T00:00"]);
        assert_eq!(next("0 0 15W 8 ?", from, 1), ["2026-08-14T00:00"]);
        assert_eq!(next("0 0 31W 5 ?", from, 1), ["2026-05-29T00:00"]);
        assert_eq!(next("0 0 16W 8 ?", from, 1), ["2026-08-17T00:00"]);
        assert_eq!(
            next("0 0 31W * ?", from, 3)[1..],
            ["2026-03-31T00:00", "2026-05-29T00:00"]
        );
        assert_eq!(
            next("0 0 29 2 *", from, 2),
            ["2028-02-29T00:00", "2032-02-29T00:00"]
        );
        assert_eq!(next("0 0 30 2 *", from, 1), ["never"]);
        assert_eq!(next("0 0 1 1 ? 2020", from, 1), ["never"]);
        // A day of the month or one of the week.
        assert_eq!(
            next("0 0 17 * MON", from, 3),
            ["2026-01-17T00:00", "2026-01-19T00:00", "2026-01-26T00:00"]
        );
    }

    fn field(low: u16, high: u16) -> impl Strategy<Value = String> {
        let value = low..=high;
        prop_oneof![
            Just("*".to_owned()),
            value.clone().prop_map(|value| value.to_string()),
            (value.clone(), value.clone()).prop_map(|(from, to)| format!("{from}-{to}")),
            (1u16..=high).prop_map(|step| format!("*/{step}")),
            (value.clone(), 1u16..=high).prop_map(|(from, step)| format!("{from}/{step}")),
            proptest::collection::vec(value, 1..4).prop_map(|list| {
                let list: Vec<_> = list.iter().map(ToString::to_string).collect();
                list.join(",")
            }),
        ]
    }

    proptest! {
        /// The search finds the very first minute that fires.
        #[test]
        fn nothing_is_missed(
            minute in field(0, 59),
            hour in field(0, 23),
            day in field(1, 31),
            weekday in field(0, 7),
            start in 0i64..4_000_000_000,
        ) {
            let schedule = schedule(&format!("{minute} {hour} {day} * {weekday}"));
            let start = Timestamp::from_second(start).expect("a time");
            let found = schedule.next_after(start);
            let mut at = start;
            for _ in 0..3 * 24 * 60 {
                at += 1.minute();
                if schedule.fires_at(at) {
                    break;
                }
            }
            if schedule.fires_at(at) {
                let floor = at.as_second().div_euclid(60) * 60;
                prop_assert_eq!(found.map(Timestamp::as_second), Some(floor));
            } else {
                prop_assert!(found.is_none_or(|found| found > at));
            }
        }

        /// Whatever is written, nothing breaks.
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9A-Z*?,/# LW-]{0,40}") {
            if let Ok(schedule) = text.parse::<Schedule>() {
                schedule.next_after(Timestamp::UNIX_EPOCH);
            }
        }
    }
}
