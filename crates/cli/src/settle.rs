//! Waiting until an app has settled, showing what the rack says meanwhile.
//!
//! Our own server answers when the app has settled. Real racks are polled by the
//! rules of the original client: every five seconds, two agreeing answers.

use std::time::Duration;

use jiff::Timestamp;
use rack_api::client::ClientError;
use rack_api::{App, app, log, resource};
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::racks::Rack;
use crate::ui::Progress;

/// How long an app may take to settle.
const LIMIT: Duration = Duration::from_secs(35 * 60);
/// How long one request to our own server may wait.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How often real racks are asked.
const POLL: Duration = Duration::from_secs(5);
/// How long a closed log stream rests before it is opened again.
const REOPEN: Duration = Duration::from_secs(1);
/// How far back the log is read, so that its first lines are not missed.
const BACKLOG: Duration = Duration::from_secs(5);

/// What a rollback that is seen on the way means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rollback {
    /// The change has failed.
    Fails,
    /// It was asked for.
    Wanted,
}

/// Waits until the app is settled.
pub(crate) async fn quietly(rack: &Rack, app: &str) -> Result<App, Error> {
    wait(rack, app, Rollback::Fails).await
}

/// Waits until whatever changes the app has ended, well or not.
pub(crate) async fn finished(rack: &Rack, app: &str) -> Result<App, Error> {
    let now = rack.client.app_get(app).await?;
    if now.status == app::status::RUNNING {
        return Ok(now);
    }
    wait(rack, app, Rollback::Wanted).await
}

async fn wait(rack: &Rack, app: &str, rollback: Rollback) -> Result<App, Error> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (state, waited) = rack.client.app_get_settled(app, REQUEST_LIMIT).await?;
        if !waited {
            return poll(rack, app, rollback, deadline).await;
        }
        if state.status == app::status::RUNNING {
            return Ok(state);
        }
        if Instant::now() > deadline {
            return Err(Error::failed("timeout"));
        }
    }
}

/// The rules for real racks, which answer at once.
async fn poll(rack: &Rack, app: &str, rollback: Rollback, deadline: Instant) -> Result<App, Error> {
    let (mut running, mut failed, mut rolled_back) = (0, 0, false);
    loop {
        sleep(POLL).await;
        match rack.client.app_get(app).await {
            Ok(state) => {
                rolled_back |= rollback == Rollback::Fails && state.status == app::status::ROLLBACK;
                failed = if rolled_back { failed + 1 } else { 0 };
                running = if state.status == app::status::RUNNING {
                    running + 1
                } else {
                    0
                };
                if failed >= 2 {
                    return Err(Error::failed("rollback"));
                }
                if running >= 2 && !rolled_back {
                    return Ok(state);
                }
            }
            Err(error) => {
                running = 0;
                failed += 1;
                if failed >= 2 {
                    return Err(error.into());
                }
            }
        }
        if Instant::now() > deadline {
            return Err(Error::failed("timeout"));
        }
    }
}

/// Waits until the app is gone.
pub(crate) async fn until_deleted(rack: &Rack, app: &str) -> Result<(), Error> {
    let mut pace = Pace::of(rack);
    loop {
        match rack.client.app_get(app).await {
            Ok(_) => {}
            Err(ClientError::Api { message, .. })
                if message.contains("no such app") || message.contains("app not found") =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        pace.rest().await?;
    }
}

/// Waits until a resource of the rack accepts connections: our server soon, real
/// racks by the rules of the original client.
pub(crate) async fn resource(rack: &Rack, name: &str) -> Result<(), Error> {
    let mut pace = Pace::of(rack);
    let mut running = 0;
    loop {
        let found = rack.client.rack_resource_get(name).await?;
        running = if found.status == resource::status::RUNNING {
            running + 1
        } else {
            0
        };
        if running >= pace.agreeing {
            return Ok(());
        }
        pace.rest().await?;
    }
}

/// Waits until a resource of the rack is gone.
pub(crate) async fn until_resource_deleted(rack: &Rack, name: &str) -> Result<(), Error> {
    let mut pace = Pace::of(rack);
    loop {
        match rack.client.rack_resource_get(name).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(ClientError::Api { message, .. })
                if message.contains("no such resource") || message.contains("does not exist") =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        pace.rest().await?;
    }
}

/// Waits until the rack itself is running.
pub(crate) async fn system(rack: &Rack) -> Result<(), Error> {
    let mut pace = Pace::of(rack);
    let mut running = 0;
    loop {
        let system = rack.client.system_get().await?;
        running = if system.status == app::status::RUNNING {
            running + 1
        } else {
            0
        };
        if running >= pace.agreeing || (running > 0 && rack.client.is_twinrack()) {
            return Ok(());
        }
        pace.rest().await?;
    }
}

/// How often a rack is asked, and how long.
struct Pace {
    deadline: Instant,
    pause: Duration,
    /// Answers in a row that must agree.
    agreeing: u32,
}

impl Pace {
    fn of(rack: &Rack) -> Self {
        let (pause, agreeing) = if rack.client.is_twinrack() {
            (Duration::from_millis(20), 1)
        } else {
            (POLL, 2)
        };
        Self {
            deadline: Instant::now() + LIMIT,
            pause,
            agreeing,
        }
    }

    async fn rest(&mut self) -> Result<(), Error> {
        if Instant::now() > self.deadline {
            return Err(Error::failed("timeout"));
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(POLL);
        Ok(())
    }
}

/// A change that is about to be asked for: what the log says from here on is its.
pub(crate) struct Change {
    since: Timestamp,
    lines: SystemLines,
}

impl Change {
    /// Takes the time. On a local rack lines of the same second that are there
    /// already are told from new ones.
    pub(crate) async fn begin(rack: &Rack, app: &str) -> Self {
        let since = Timestamp::now();
        let mut lines = SystemLines::new(since);
        if rack.local
            && let Ok(log) = whole_log(rack, app, since).await
        {
            // Picked, and not printed.
            drop(lines.pick(&log));
        }
        Self { since, lines }
    }
}

/// Waits until the app is settled and prints the system lines of its log since
/// the change was begun.
pub(crate) async fn with_logs(
    rack: &Rack,
    app: &str,
    change: Change,
    rollback: Rollback,
    progress: &mut Progress,
) -> Result<App, Error> {
    progress.break_line()?;
    let Change { since, mut lines } = change;
    let settled = {
        let wait = wait(rack, app, rollback);
        let follow = follow(rack, app, &mut lines, progress);
        tokio::pin!(wait, follow);
        tokio::select! {
            settled = &mut wait => settled,
            // Only output that can not be written ends the log early.
            broken = &mut follow => return Err(broken),
        }
    };
    // Lines written just before the end may still be on their way.
    if rack.client.is_twinrack()
        && let Ok(bytes) = whole_log(rack, app, since).await
    {
        lines.begin();
        progress.log(&lines.pick(&bytes))?;
    }
    settled
}

/// Follows the log for as long as it is polled; a stream that ends is opened again.
async fn follow(rack: &Rack, app: &str, lines: &mut SystemLines, progress: &mut Progress) -> Error {
    let options = log::Options {
        prefix: true,
        since: Some(BACKLOG),
        ..log::Options::default()
    };
    loop {
        // A log that can not be read is no reason to give the wait up.
        if let Ok(mut stream) = rack.client.app_logs(app, &options).await {
            lines.begin();
            while let Ok(Some(bytes)) = stream.next().await {
                if let Err(error) = progress.log(&lines.pick(&bytes)) {
                    return error;
                }
            }
        }
        sleep(REOPEN).await;
    }
}

async fn whole_log(rack: &Rack, app: &str, since: Timestamp) -> Result<Vec<u8>, ClientError> {
    let age = Timestamp::now().duration_since(since).unsigned_abs() + BACKLOG;
    let options = log::Options {
        prefix: true,
        follow: false,
        since: Some(age),
        ..log::Options::default()
    };
    let mut stream = rack.client.app_logs(app, &options).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Picks the lines of the system out of a log, each once.
struct SystemLines {
    /// Prefixes have whole seconds.
    since: i64,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    picked: usize,
    /// Lines of the present stream that have been picked before.
    repeated: usize,
}

impl SystemLines {
    fn new(since: Timestamp) -> Self {
        Self {
            since: since.as_second(),
            partial: Vec::new(),
            picked: 0,
            repeated: 0,
        }
    }

    /// A stream begins, with the lines that are known already.
    fn begin(&mut self) {
        self.partial.clear();
        self.repeated = self.picked;
    }

    /// The new lines that are complete with these bytes.
    fn pick(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.partial.extend_from_slice(bytes);
        let mut picked = Vec::new();
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return picked;
        };
        let complete: Vec<_> = self.partial.drain(..=end).collect();
        for line in complete.split_inclusive(|byte| *byte == b'\n') {
            if !self.wants(line) {
                continue;
            }
            if self.repeated > 0 {
                self.repeated -= 1;
            } else {
                self.picked += 1;
                picked.extend_from_slice(line);
            }
        }
        picked
    }

    /// Whether a line is the system's and not older than the change.
    fn wants(&self, line: &[u8]) -> bool {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let time = words
            .next()
            .and_then(|word| std::str::from_utf8(word).ok()?.parse::<Timestamp>().ok());
        time.is_some_and(|time| time.as_second() >= self.since)
            && words
                .next()
                .is_some_and(|stream| stream.starts_with(b"system/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines() -> SystemLines {
        SystemLines::new("2026-04-18T10:15:14.7Z".parse().expect("a time"))
    }

    #[test]
    fn only_new_lines_of_the_system_are_wanted() {
        for (line, wanted) in [
            ("2026-04-18T10:15:14Z system/docker/web started\n", true),
            ("2026-04-18T10:15:13Z system/docker/web started\n", false),
            (
                "2026-04-18T10:15:15Z service/web/0123456789ab GET /\n",
                false,
            ),
            ("system/docker/web\n", false),
            ("\n", false),
        ] {
            assert_eq!(lines().wants(line.as_bytes()), wanted, "{line}");
        }
    }

    #[test]
    fn a_line_is_picked_once_however_often_the_log_is_read() {
        let one = b"2026-04-18T10:15:15Z system/docker/web one\n";
        let two = b"2026-04-18T10:15:15Z system/docker/web two\n";
        let mut lines = lines();
        assert_eq!(lines.pick(one), one);
        lines.begin();
        assert_eq!(lines.pick(&[&one[..], &two[..]].concat()), two);
        lines.begin();
        assert_eq!(lines.pick(&[&one[..], &two[..]].concat()), b"");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            words in prop::collection::vec("(2026-04-18T10:15:1[0-9]Z |)(system|service)/[a-z]{1,3} [a-z ]{0,9}", 0..12),
            piece in 1..40_usize,
        ) {
            let log = words.iter().flat_map(|word| [word.as_bytes(), b"\n"].concat()).collect::<Vec<_>>();
            let whole = lines().pick(&log);
            let mut in_pieces = lines();
            let joined: Vec<u8> = log.chunks(piece).flat_map(|piece| in_pieces.pick(piece)).collect();
            prop_assert_eq!(joined, whole);
        }
    }
}
