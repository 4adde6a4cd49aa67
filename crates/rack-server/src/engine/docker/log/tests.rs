//! Reading from an engine that loses its place.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// What an engine does wrong while it follows.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Goes on so many entries further on.
    PassesOver(usize),
    /// Gives so many entries again.
    Again(usize),
    /// Says no more for a while, then ends.
    Stops(Duration),
    /// Ends, as if the process had.
    Ends,
}

/// A log and an engine that follows it badly, each time until a fault has happened.
#[derive(Debug)]
struct Fake {
    log: Vec<Entry>,
    /// Entries that are gone.
    dropped: usize,
    /// How late entries come.
    lag: SignedDuration,
    /// There is nothing yet behind the entry given last.
    grows: bool,
    faults: Mutex<Vec<(usize, Fault)>>,
    /// The entry given last.
    at: Mutex<usize>,
    /// Lines asked for, and whether it was to follow.
    asked: Mutex<Vec<(u64, bool)>>,
}

struct Script {
    fake: Arc<Fake>,
    next: usize,
    end: usize,
    fault: Option<(usize, Fault)>,
}

impl Source for Arc<Fake> {
    type Body = Script;

    async fn open(&self, tail: u64, follow: bool) -> Result<Script> {
        self.asked.lock().expect("unpoisoned").push((tail, follow));
        let tail = usize::try_from(tail).unwrap_or(usize::MAX);
        let end = if self.grows && !follow {
            *self.at.lock().expect("unpoisoned") + 1
        } else {
            self.log.len()
        };
        let next = end.saturating_sub(tail).max(self.dropped);
        let fault = if follow {
            self.faults.lock().expect("unpoisoned").pop()
        } else {
            None
        };
        // Counted from where it starts to follow.
        let fault = fault.map(|(after, fault)| (next + after, fault));
        Ok(Script {
            fake: Arc::clone(self),
            next,
            end,
            fault,
        })
    }

    fn now(&self) -> Timestamp {
        self.log[*self.at.lock().expect("unpoisoned")].time + self.lag
    }
}

impl Body for Script {
    async fn read(&mut self, to: &mut VecDeque<Entry>) -> Result<bool> {
        if let Some((at, fault)) = self.fault
            && self.next >= at
        {
            match fault {
                Fault::PassesOver(entries) => self.next += entries,
                Fault::Again(entries) => {
                    self.next = self.next.saturating_sub(entries);
                    // Not in the middle of a line.
                    while let Some(before) = self.next.checked_sub(1)
                        && self.fake.log[before].line.len() >= PIECE
                    {
                        self.next = before;
                    }
                }
                Fault::Stops(pause) => {
                    tokio::time::sleep(pause).await;
                    return Ok(false);
                }
                Fault::Ends => return Ok(false),
            }
            self.fault = None;
        }
        if self.next >= self.end {
            return Ok(false);
        }
        to.push_back(self.fake.log[self.next].clone());
        let mut at = self.fake.at.lock().expect("unpoisoned");
        *at = self.next.max(*at);
        self.next += 1;
        Ok(true)
    }
}

fn at(nanoseconds: i64) -> Timestamp {
    let start = Timestamp::from_second(1_790_000_000).expect("a time");
    start + SignedDuration::from_nanos(nanoseconds)
}

fn entry(stream: u8, nanoseconds: i64, text: &str) -> Entry {
    Entry {
        stream,
        time: at(nanoseconds),
        line: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn fake(log: Vec<Entry>, faults: &[(usize, Fault)]) -> Fake {
    Fake {
        log,
        dropped: 0,
        lag: SignedDuration::from_secs(3),
        grows: false,
        faults: Mutex::new(faults.iter().rev().copied().collect()),
        at: Mutex::default(),
        asked: Mutex::default(),
    }
}

async fn read(fake: &Arc<Fake>, after: Option<LogPlace>) -> Vec<LogChunk> {
    let mut reading = Reading::open(Arc::clone(fake), after, true)
        .await
        .expect("opened");
    let mut chunks = Vec::new();
    let whole = async {
        while let Some(chunk) = reading.next().await.expect("read") {
            chunks.push(chunk);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), whole)
        .await
        .expect("an end");
    chunks
}

fn lines(chunks: &[LogChunk]) -> Vec<Bytes> {
    chunks.iter().map(|chunk| chunk.line.clone()).collect()
}

fn all(log: &[Entry]) -> Vec<Bytes> {
    log.iter().map(|entry| entry.line.clone()).collect()
}

/// Lines that come in bursts, with pauses in between.
fn bursts(count: usize) -> Vec<Entry> {
    let line = |number: usize| {
        let pauses = i64::try_from(number / 100).expect("few") * 50_000_000;
        let time = pauses + i64::try_from(number).expect("few") * 1000;
        entry(1, time, &format!("line {number}"))
    };
    (0..count).map(line).collect()
}

#[tokio::test]
async fn whatever_an_engine_does_while_it_follows_each_line_comes_once() {
    for fault in [
        Fault::PassesOver(1),
        Fault::PassesOver(700),
        Fault::Again(1),
        Fault::Again(250),
        Fault::Ends,
    ] {
        let log = bursts(1000);
        let fake = Arc::new(fake(log.clone(), &[(100, fault), (30, fault)]));
        assert_eq!(lines(&read(&fake, None).await), all(&log), "{fault:?}");
    }
}

#[tokio::test]
async fn an_engine_that_says_no_more_is_not_waited_for() {
    let log = bursts(100);
    let stops = Fault::Stops(Duration::from_secs(3600));
    let fake = Arc::new(fake(log.clone(), &[(50, stops)]));
    assert_eq!(lines(&read(&fake, None).await), all(&log));
    assert!(fake.asked.lock().expect("unpoisoned").contains(&(1, false)));
}

#[tokio::test]
async fn an_engine_that_is_in_time_is_believed_once_it_has_begun() {
    let log = bursts(5000);
    let mut fake = fake(log.clone(), &[]);
    fake.lag = SignedDuration::from_millis(1);
    fake.grows = true;
    let fake = Arc::new(fake);
    assert_eq!(lines(&read(&fake, None).await), all(&log));
    // Each pause of the first second is looked at, the thirty later ones are not; in the
    // end the log is read once more.
    let asked = fake.asked.lock().expect("unpoisoned");
    assert_eq!(asked[0], (ALL, true));
    assert_eq!(asked[1..], [(64, false); 21]);
}

#[tokio::test]
async fn nothing_is_asked_for_without_need() {
    let log = bursts(100);
    let fake = Arc::new(fake(log.clone(), &[]));
    assert_eq!(lines(&read(&fake, None).await), all(&log));
    // Followed to its end, and the end read once more.
    let asked = fake.asked.lock().expect("unpoisoned").clone();
    assert_eq!(asked, [(ALL, true), (64, false)]);
}

#[tokio::test]
async fn lines_that_are_gone_are_told_once() {
    let log = bursts(500);
    let places: Vec<_> = read(&Arc::new(fake(log.clone(), &[])), None)
        .await
        .into_iter()
        .map(|chunk| chunk.place)
        .collect();
    for (after, dropped, gap) in [(10, 300, true), (298, 300, true), (299, 299, false)] {
        let mut fake = fake(log.clone(), &[]);
        fake.dropped = dropped;
        let chunks = read(&Arc::new(fake), Some(places[after])).await;
        assert_eq!(lines(&chunks), all(&log[300..]));
        let gaps: Vec<_> = chunks.iter().map(|chunk| chunk.gap).collect();
        assert_eq!(gaps[0], gap, "after {after} of {dropped}");
        assert!(gaps[1..].iter().all(|gap| !gap));
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_nothing() {
    let mut log = bursts(300);
    for (number, entry) in log.iter_mut().enumerate().skip(150) {
        let number = i64::try_from(number).expect("few");
        entry.time = at(-3_600_000_000_000 + number);
    }
    let fake = Arc::new(fake(log.clone(), &[]));
    let chunks = read(&fake, None).await;
    assert_eq!(lines(&chunks), all(&log));
    for (number, chunk) in chunks.iter().enumerate() {
        let later = read(&fake, Some(chunk.place)).await;
        assert_eq!(later, chunks[number + 1..]);
    }
}

/// Logs as engines keep them: two streams, each with its times in order but behind each
/// other by a little, and pieces of long lines that share a time.
fn logs() -> impl Strategy<Value = Vec<Entry>> {
    let step = prop_oneof![
        6 => Just(1_000),
        2 => Just(0),
        1 => Just(25_000_000),
        1 => Just(400_000_000),
    ];
    proptest::collection::vec((step, any::<bool>(), 0..3_000_i64), 1..250).prop_map(|steps| {
        let mut clock = 0;
        let mut last = [i64::MIN; 2];
        let mut at = [0; 2];
        let mut log: Vec<Entry> = Vec::new();
        for (number, (step, errors, behind)) in steps.into_iter().enumerate() {
            clock += step;
            let stream = usize::from(errors);
            // Only pieces of one line share a time, and times of two streams differ.
            let time = match step {
                0 if last[stream] > i64::MIN => last[stream],
                _ => (clock - behind).max(last[stream] + 1) / 2 * 2 + 2 + i64::from(errors),
            };
            if time == last[stream] {
                let begun: &mut Entry = &mut log[at[stream]];
                begun.line = Bytes::from(format!("{:0>PIECE$}", begun.line.len()));
            }
            (last[stream], at[stream]) = (time, log.len());
            log.push(entry(u8::from(errors) + 1, time, &format!("{number}")));
        }
        log
    })
}

fn faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    let fault = prop_oneof![
        (1..200_usize).prop_map(Fault::Again),
        Just(Fault::Stops(Duration::from_millis(20))),
        Just(Fault::Ends),
    ];
    proptest::collection::vec((0..100_usize, fault), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn from_any_place_on_exactly_the_later_lines_come(log in logs(), faults in faults(), from in any::<prop::sample::Index>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let chunks = read(&Arc::new(fake(log.clone(), &faults)), None).await;
            prop_assert_eq!(lines(&chunks), all(&log));
            let from = from.index(chunks.len());
            let later = read(&Arc::new(fake(log.clone(), &faults)), Some(chunks[from].place)).await;
            prop_assert_eq!(&later[..], &chunks[from + 1..]);
            Ok(())
        })?;
    }
}
