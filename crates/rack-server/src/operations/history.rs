//! Measurements over time, in memory: an hour as it was measured, a day in pieces of
//! five minutes. Nothing here knows what is measured.
//!
//! Every series is bounded, and so is their number: there is one per measured thing
//! of what runs, and what has not been measured for a day is forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::summary::Summary;

/// Measurements kept one by one: an hour at one in ten seconds.
const FINE: usize = 360;
/// Seconds of a piece of what is older.
const PIECE: i64 = 300;
/// Pieces kept: a day.
const PIECES: usize = 288;
/// Seconds after which a series that gets nothing new is forgotten.
const MEMORY: i64 = 24 * 60 * 60;

/// A measurement, or what many at once come to.
#[derive(Debug, Clone)]
enum Measured {
    One(f64),
    Many(Box<Summary>),
}

impl Measured {
    fn add_to(&self, summary: &mut Summary) {
        match self {
            Self::One(value) => summary.add(*value),
            Self::Many(many) => summary.merge(many),
        }
    }
}

/// One thing measured over time. What is in `coarse` is not in `fine`.
#[derive(Debug, Default)]
struct Series {
    fine: VecDeque<(i64, Measured)>,
    coarse: VecDeque<(i64, Summary)>,
}

impl Series {
    fn push(&mut self, at: i64, measured: Measured) {
        self.fine.push_back((at, measured));
        while self.fine.len() > FINE {
            let Some((at, old)) = self.fine.pop_front() else {
                return;
            };
            let piece = at - at.rem_euclid(PIECE);
            if self.coarse.back().is_none_or(|(last, _)| *last != piece) {
                self.coarse.push_back((piece, Summary::default()));
            }
            if let Some((_, summary)) = self.coarse.back_mut() {
                old.add_to(summary);
            }
        }
        while self.coarse.len() > PIECES {
            self.coarse.pop_front();
        }
    }

    fn last(&self) -> Option<i64> {
        self.fine.back().map(|(at, _)| *at)
    }

    fn over(&self, window: &Window) -> BTreeMap<i64, Summary> {
        let mut found: BTreeMap<i64, Summary> = BTreeMap::new();
        for (at, summary) in &self.coarse {
            if let Some(start) = window.period_of(*at) {
                found.entry(start).or_default().merge(summary);
            }
        }
        for (at, measured) in &self.fine {
            if let Some(start) = window.period_of(*at) {
                measured.add_to(found.entry(start).or_default());
            }
        }
        found
    }
}

/// Which time to look at, in seconds of 1970, and in what pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First second.
    pub start: i64,
    /// First second no longer looked at.
    pub end: i64,
    /// Seconds of a piece; at least one.
    pub period: i64,
}

impl Window {
    /// Start of the piece a second belongs to.
    fn period_of(&self, at: i64) -> Option<i64> {
        (self.start..self.end)
            .contains(&at)
            .then(|| at - (at - self.start).rem_euclid(self.period.max(1)))
    }
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The rack as a whole.
    Rack,
    /// An app.
    App(String),
    /// A service of an app.
    Service(String, String),
}

impl Scope {
    fn is_of(&self, app: &str) -> bool {
        match self {
            Self::Rack => false,
            Self::App(name) | Self::Service(name, _) => name == app,
        }
    }
}

/// A named measurement: a value, or the summary of many.
#[derive(Debug, Clone)]
pub enum Reading {
    /// One value.
    Value(f64),
    /// Many at once.
    Summary(Summary),
}

/// The measurements of one rack.
#[derive(Debug, Default)]
pub struct History {
    series: Mutex<BTreeMap<(Scope, &'static str), Series>>,
}

impl History {
    fn series(&self) -> MutexGuard<'_, BTreeMap<(Scope, &'static str), Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records what was measured at one time. Whatever makes the readings sees the
    /// world as it is between two calls of [`Self::forget_app`], not during one.
    pub fn record(&self, at: i64, readings: impl FnOnce() -> Vec<(Scope, &'static str, Reading)>) {
        let mut series = self.series();
        for (scope, name, reading) in readings() {
            let measured = match reading {
                Reading::Value(value) => Measured::One(value),
                Reading::Summary(summary) => Measured::Many(Box::new(summary)),
            };
            series.entry((scope, name)).or_default().push(at, measured);
        }
        series.retain(|_, series| series.last().is_some_and(|last| at - last < MEMORY));
    }

    /// Names of what was measured of a scope, with the pieces that have measurements.
    pub fn over(
        &self,
        scope: &Scope,
        window: &Window,
    ) -> Vec<(&'static str, BTreeMap<i64, Summary>)> {
        self.series()
            .iter()
            .filter(|((of, _), _)| of == scope)
            .map(|((_, name), series)| (*name, series.over(window)))
            .collect()
    }

    /// The last value of a series, with its time.
    pub fn latest(&self, scope: &Scope, name: &'static str) -> Option<(i64, f64)> {
        let series = self.series();
        let (at, measured) = series.get(&(scope.clone(), name))?.fine.back()?;
        Some((
            *at,
            match measured {
                Measured::One(value) => *value,
                Measured::Many(many) => many.average(),
            },
        ))
    }

    /// Forgets an app that was deleted.
    pub fn forget_app(&self, app: &str) {
        self.series().retain(|(scope, _), _| !scope.is_of(app));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn old_measurements_move_into_pieces_and_then_go() {
        let mut series = Series::default();
        let day = FINE as i64 * 10 + PIECES as i64 * PIECE;
        for at in (0..3 * day).step_by(10) {
            series.push(at, Measured::One(1.0));
        }
        assert_eq!((series.fine.len(), series.coarse.len()), (FINE, PIECES));
        let window = Window {
            start: 0,
            end: 3 * day,
            period: 3600,
        };
        let kept: u64 = series
            .over(&window)
            .values()
            .map(|summary| summary.count)
            .sum();
        let most = FINE as u64 + PIECES as u64 * PIECE as u64 / 10;
        assert!(
            kept <= most && kept > most - PIECE as u64 / 10,
            "{kept} of {most}"
        );
        let (first, _) = series.coarse[0];
        assert!(first >= 3 * day - day - PIECE, "no older than a day");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let history = History::default();
        let app = |name: &str| Scope::App(name.to_owned());
        let reading = |name: &str| (app(name), "x", Reading::Value(1.0));
        history.record(0, || vec![reading("a"), reading("b")]);
        let web = Scope::Service("a".into(), "web".into());
        history.record(10, || vec![(web, "x", Reading::Value(2.0))]);
        assert_eq!(history.latest(&app("a"), "x"), Some((0, 1.0)));
        history.forget_app("a");
        assert_eq!(history.latest(&app("a"), "x"), None);
        assert_eq!(
            history.latest(&Scope::Service("a".into(), "web".into()), "x"),
            None
        );
        assert!(history.latest(&app("b"), "x").is_some());
        history.record(MEMORY, Vec::new);
        assert_eq!(history.latest(&app("b"), "x"), None);
    }

    proptest! {
        #[test]
        fn every_measurement_is_in_one_piece(
            start in -1000_i64..1000, length in 1_i64..5000, period in 1_i64..400,
            times in proptest::collection::btree_set(-2000_i64..8000, 0..500),
        ) {
            let mut series = Series::default();
            for at in &times {
                series.push(*at, Measured::One(1.0));
            }
            let window = Window { start, end: start + length, period };
            let over = series.over(&window);
            for at in over.keys() {
                prop_assert!((at - start) % period == 0 && window.period_of(*at) == Some(*at));
            }
            if times.len() <= FINE {
                let inside = times.iter().filter(|at| (start..start + length).contains(at)).count() as u64;
                prop_assert_eq!(over.values().map(|summary| summary.count).sum::<u64>(), inside);
            }
        }
    }
}
