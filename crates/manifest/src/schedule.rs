//! Whether a timer's schedule can be a cron expression of any kind racks accept.
//!
//! Five fields are minute, hour, day of month, month and day of week; a sixth is the year. `?`
//! stands for `*` in a day field, days and months may be named, and the day fields know the `L`,
//! `W` and `#` of AWS. Only the form is judged here; when it fires is the scheduler's business.

/// A field's name, smallest and largest number, and names for numbers.
struct Field {
    smallest: u32,
    largest: u32,
    names: &'static [&'static str],
    day: bool,
}

const MONTHS: &[&str] = &[
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 6] = [
    Field::numbers(0, 59),
    Field::numbers(0, 23),
    Field {
        smallest: 1,
        largest: 31,
        names: &[],
        day: true,
    },
    Field {
        smallest: 1,
        largest: 12,
        names: MONTHS,
        day: false,
    },
    // Sunday is 0 or 7 in cron and 1 on AWS.
    Field {
        smallest: 0,
        largest: 7,
        names: WEEKDAYS,
        day: true,
    },
    Field::numbers(1970, 2199),
];

impl Field {
    const fn numbers(smallest: u32, largest: u32) -> Self {
        Self {
            smallest,
            largest,
            names: &[],
            day: false,
        }
    }

    fn accepts(&self, text: &str) -> bool {
        text.split(',').all(|part| self.accepts_part(part))
    }

    fn accepts_part(&self, part: &str) -> bool {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let step = step.is_none_or(|step| number(step).is_some_and(|step| step > 0));
        step && match range.split_once('-') {
            Some((from, to)) => self.is_value(from) && self.is_value(to),
            None => range == "*" || self.is_value(range) || self.is_special_day(range),
        }
    }

    fn is_special_day(&self, text: &str) -> bool {
        if !self.day {
            return false;
        }
        if matches!(text, "?" | "L" | "LW") {
            return true;
        }
        if let Some((day, nth)) = text.split_once('#') {
            return self.is_value(day) && number(nth).is_some_and(|nth| (1..=5).contains(&nth));
        }
        text.strip_suffix(['L', 'W'])
            .is_some_and(|day| self.is_value(day))
    }

    fn is_value(&self, text: &str) -> bool {
        match number(text) {
            Some(number) => (self.smallest..=self.largest).contains(&number),
            None => self
                .names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(text)),
        }
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Whether a text is a cron expression of five or six fields.
pub(crate) fn is_valid(text: &str) -> bool {
    let fields: Vec<_> = text.split_whitespace().collect();
    matches!(fields.len(), 5 | 6)
        && fields
            .iter()
            .zip(&FIELDS)
            .all(|(text, field)| field.accepts(text))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn accepts_the_dialects_of_racks() {
        for schedule in [
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
            assert!(is_valid(schedule), "{schedule}");
        }
    }

    #[test]
    fn refuses_what_never_fires() {
        for schedule in [
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
        ] {
            assert!(!is_valid(schedule), "{schedule}");
        }
    }
}
