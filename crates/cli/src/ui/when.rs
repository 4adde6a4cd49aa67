//! Relative times and durations in the words of the original client.

use jiff::Timestamp;

const MINUTE: i128 = 60;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;
const WEEK: i128 = 7 * DAY;
const MONTH: i128 = 30 * DAY;
const YEAR: i128 = 12 * MONTH;

/// How far a time is from now, such as `2 days ago`; blank for no time.
pub(crate) fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else {
        return String::new();
    };
    let nanoseconds = now.as_nanosecond() - time.as_nanosecond();
    let suffix = if nanoseconds >= 0 { "ago" } else { "from now" };
    let distance = nanoseconds.abs();
    let below = |seconds: i128| distance < seconds * 1_000_000_000;
    let count = |unit: i128| distance / 1_000_000_000 / unit;
    let text = if below(1) {
        return "now".to_owned();
    } else if below(2) {
        "1 second".to_owned()
    } else if below(MINUTE) {
        format!("{} seconds", count(1))
    } else if below(2 * MINUTE) {
        "1 minute".to_owned()
    } else if below(HOUR) {
        format!("{} minutes", count(MINUTE))
    } else if below(2 * HOUR) {
        "1 hour".to_owned()
    } else if below(DAY) {
        format!("{} hours", count(HOUR))
    } else if below(2 * DAY) {
        "1 day".to_owned()
    } else if below(WEEK) {
        format!("{} days", count(DAY))
    } else if below(2 * WEEK) {
        "1 week".to_owned()
    } else if below(MONTH) {
        format!("{} weeks", count(WEEK))
    } else if below(2 * MONTH) {
        "1 month".to_owned()
    } else if below(YEAR) {
        format!("{} months", count(MONTH))
    } else if below(YEAR + YEAR / 2) {
        "1 year".to_owned()
    } else if below(2 * YEAR) {
        "2 years".to_owned()
    } else if below(37 * YEAR) {
        format!("{} years", count(YEAR))
    } else {
        "a long while".to_owned()
    };
    format!("{text} {suffix}")
}

/// How long something took, such as `2m0s`; blank until it has ended.
pub(crate) fn elapsed(started: Option<Timestamp>, ended: Option<Timestamp>) -> String {
    let (Some(started), Some(ended)) = (started, ended) else {
        return String::new();
    };
    let seconds = ((ended.as_nanosecond() - started.as_nanosecond()) / 1_000_000_000).max(0);
    if seconds < MINUTE {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / MINUTE, seconds % MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_the_words_of_the_original() {
        let now: Timestamp = "2026-04-18T10:15:14Z".parse().expect("a time");
        let cases = [
            (0, "now"),
            (1, "1 second ago"),
            (2, "2 seconds ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (119, "1 minute ago"),
            (120, "2 minutes ago"),
            (3599, "59 minutes ago"),
            (3600, "1 hour ago"),
            (7200, "2 hours ago"),
            (86_399, "23 hours ago"),
            (86_400, "1 day ago"),
            (2 * 86_400, "2 days ago"),
            (7 * 86_400, "1 week ago"),
            (14 * 86_400, "2 weeks ago"),
            (30 * 86_400, "1 month ago"),
            (60 * 86_400, "2 months ago"),
            (360 * 86_400, "1 year ago"),
            (540 * 86_400, "2 years ago"),
            (719 * 86_400, "2 years ago"),
            (720 * 86_400, "2 years ago"),
            (3 * 360 * 86_400, "3 years ago"),
            (37 * 360 * 86_400, "a long while ago"),
            (-90, "1 minute from now"),
        ];
        for (seconds, text) in cases {
            let time = Timestamp::from_second(now.as_second() - seconds).expect("in range");
            assert_eq!(ago(Some(time), now), text, "{seconds}");
        }
        assert_eq!(ago(None, now), "");
        let half: Timestamp = "2026-04-18T10:15:12.5Z".parse().expect("a time");
        assert_eq!(ago(Some(half), now), "1 second ago", "fractions count");
    }

    #[test]
    fn minutes_are_not_folded_into_hours() {
        let at = |second| Timestamp::from_second(second).ok();
        assert_eq!(elapsed(at(0), at(15)), "15s");
        assert_eq!(elapsed(at(0), at(120)), "2m0s");
        assert_eq!(elapsed(at(0), at(5477)), "91m17s");
        assert_eq!(elapsed(at(0), None), "");
    }
}
