//! BuildKit's status as plain text, as `docker build --progress plain` shows it.
//!
//! Every line carries the number of its step, so steps that run side by side stay
//! readable. What a step prints is passed on byte for byte.

use std::collections::HashMap;
use std::io::Write as _;

use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus};

/// A step's unfinished line is given out at this size.
const LINE_LIMIT: usize = 64 * 1024;

/// Renders the status messages of one build.
#[derive(Debug, Default)]
pub(super) struct Progress {
    steps: HashMap<String, Step>,
    count: usize,
}

#[derive(Debug, Default)]
struct Step {
    number: usize,
    started: f64,
    ended: bool,
    /// Bytes of a line without its end, and when it began.
    unfinished: Vec<u8>,
    since: f64,
    /// Parts of the step already reported as done.
    reported: Vec<String>,
}

impl Progress {
    /// Renders one message.
    pub(super) fn render(&mut self, status: &StatusResponse) -> Vec<u8> {
        let mut out = Vec::new();
        for vertex in &status.vertexes {
            self.announce(vertex, &mut out);
        }
        for log in &status.logs {
            self.log(log, &mut out);
        }
        for part in &status.statuses {
            self.part(part, &mut out);
        }
        for warning in &status.warnings {
            if let Some(step) = self.steps.get(&warning.vertex) {
                line(
                    &mut out,
                    &format!(
                        "#{} WARN: {}",
                        step.number,
                        String::from_utf8_lossy(&warning.short)
                    ),
                );
            }
        }
        for vertex in &status.vertexes {
            self.conclude(vertex, &mut out);
        }
        out
    }

    fn announce(&mut self, vertex: &Vertex, out: &mut Vec<u8>) {
        let Some(started) = vertex
            .started
            .as_ref()
            .map(|time| seconds(time.seconds, time.nanos))
        else {
            return;
        };
        if let Some(step) = self.steps.get_mut(&vertex.digest) {
            // A step may be taken up again, for instance to unpack what it resolved.
            if started > step.started {
                step.started = started;
                step.ended = false;
            }
            return;
        }
        self.count += 1;
        let step = Step {
            number: self.count,
            started,
            ..Step::default()
        };
        line(out, &format!("#{} {}", step.number, vertex.name));
        self.steps.insert(vertex.digest.clone(), step);
    }

    fn log(&mut self, log: &VertexLog, out: &mut Vec<u8>) {
        let Some(step) = self.steps.get_mut(&log.vertex) else {
            return;
        };
        let at = log
            .timestamp
            .as_ref()
            .map_or(step.started, |time| seconds(time.seconds, time.nanos));
        for piece in log.msg.split_inclusive(|byte| *byte == b'\n') {
            if step.unfinished.is_empty() {
                step.since = (at - step.started).max(0.0);
            }
            step.unfinished.extend_from_slice(piece);
            if piece.ends_with(b"\n") || step.unfinished.len() >= LINE_LIMIT {
                step.flush(out);
            }
        }
    }

    fn part(&mut self, part: &VertexStatus, out: &mut Vec<u8>) {
        let Some(step) = self.steps.get_mut(&part.vertex) else {
            return;
        };
        let Some(completed) = &part.completed else {
            return;
        };
        if step.reported.contains(&part.id) {
            return;
        }
        step.reported.push(part.id.clone());
        let amount = match (part.current, part.total) {
            (_, total) if total > 0 => format!(" {} / {}", size(part.current), size(total)),
            (current, _) if current > 0 => format!(" {}", size(current)),
            _ => String::new(),
        };
        let took = part.started.as_ref().map_or(0.0, |started| {
            seconds(completed.seconds, completed.nanos) - seconds(started.seconds, started.nanos)
        });
        let took = if took >= 0.05 {
            format!(" {took:.1}s")
        } else {
            String::new()
        };
        line(
            out,
            &format!("#{} {}{amount}{took} done", step.number, part.id),
        );
    }

    fn conclude(&mut self, vertex: &Vertex, out: &mut Vec<u8>) {
        let Some(completed) = &vertex.completed else {
            return;
        };
        let Some(step) = self.steps.get_mut(&vertex.digest) else {
            return;
        };
        if std::mem::replace(&mut step.ended, true) {
            return;
        }
        step.flush(out);
        let number = step.number;
        if !vertex.error.is_empty() {
            line(out, &format!("#{number} ERROR: {}", failure(&vertex.error)));
        } else if vertex.cached {
            line(out, &format!("#{number} CACHED"));
        } else {
            let took = (seconds(completed.seconds, completed.nanos) - step.started).max(0.0);
            line(out, &format!("#{number} DONE {took:.1}s"));
        }
    }
}

impl Step {
    fn flush(&mut self, out: &mut Vec<u8>) {
        if self.unfinished.is_empty() {
            return;
        }
        write!(out, "#{} {:.3} ", self.number, self.since).expect("writing to memory");
        out.append(&mut self.unfinished);
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(super::error::one_line(text).as_bytes());
    out.push(b'\n');
}

fn seconds(seconds: i64, nanos: i32) -> f64 {
    seconds as f64 + f64::from(nanos) / 1e9
}

fn size(bytes: i64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "kB", "MB"] {
        if amount < 1000.0 {
            return if unit == "B" {
                format!("{bytes}B")
            } else {
                format!("{amount:.2}{unit}")
            };
        }
        amount /= 1000.0;
    }
    format!("{amount:.2}GB")
}

/// Puts a build failure into the words of the newest engines, on one line.
pub(super) fn failure(text: &str) -> String {
    let mut text = super::error::one_line(text);
    loop {
        let rest = [
            "failed to solve: ",
            "failed to solve with frontend dockerfile.v0: ",
            "failed to build LLB: ",
        ]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .or_else(|| {
            text.strip_prefix("rpc error: code = ")?
                .split_once(" desc = ")
                .map(|(_, rest)| rest)
        });
        match rest {
            Some(rest) => text = rest.to_string(),
            None => break,
        }
    }
    let old = text
        .strip_prefix("executor failed running [")
        .and_then(|rest| rest.rsplit_once("]: "));
    match old {
        Some((command, reason)) => {
            format!("process \"{command}\" did not complete successfully: {reason}")
        }
        None => classic(&text).unwrap_or(text),
    }
}

/// Whether a builder failed because the image it had made was removed at that moment, as
/// happens when somebody else removes the last name of one with the very same content.
pub(super) fn lost_the_image(text: &str) -> bool {
    let text = failure(text);
    let missing = ["no such file or directory", "does not exist", "not found"];
    // What a command of the build says of itself is no such thing.
    !text.starts_with("process \"")
        && (text.contains("failed to get digest")
            || text.contains("failed to read metadata")
            || (text.contains("failed to export image")
                && missing.iter().any(|words| text.contains(words))))
}

/// The classic builder's way to say that a command failed.
fn classic(text: &str) -> Option<String> {
    let (command, status) = text
        .strip_prefix("The command '")?
        .rsplit_once("' returned a non-zero code: ")?;
    Some(format!(
        "process \"{command}\" did not complete successfully: exit code: {status}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(name: &str, started: Option<i64>, completed: Option<i64>) -> Vertex {
        let time = |seconds: Option<i64>| {
            // The timestamp type is not named by bollard; it is whatever the field takes.
            let mut time = VertexLog::default().timestamp;
            if let Some(seconds) = seconds {
                time.get_or_insert_default().seconds = seconds;
            }
            time
        };
        Vertex {
            digest: name.into(),
            name: name.into(),
            started: time(started),
            completed: time(completed),
            ..Vertex::default()
        }
    }

    fn log(name: &str, at: i64, text: &[u8]) -> VertexLog {
        VertexLog {
            vertex: name.into(),
            timestamp: vertex(name, Some(at), None).started,
            stream: 1,
            msg: text.to_vec(),
        }
    }

    fn rendered(progress: &mut Progress, vertexes: Vec<Vertex>, logs: Vec<VertexLog>) -> String {
        let status = StatusResponse {
            vertexes,
            logs,
            ..StatusResponse::default()
        };
        String::from_utf8(progress.render(&status)).expect("text")
    }

    #[test]
    fn steps_are_announced_printed_and_concluded_once() {
        let mut progress = Progress::default();
        let waiting = vertex("[2/2] RUN make", None, None);
        assert_eq!(rendered(&mut progress, vec![waiting], vec![]), "");
        let running = vertex("[2/2] RUN make", Some(10), None);
        let text = rendered(
            &mut progress,
            vec![running],
            vec![log("[2/2] RUN make", 11, b"one\ntw")],
        );
        assert_eq!(text, "#1 [2/2] RUN make\n#1 1.000 one\n");
        let done = vertex("[2/2] RUN make", Some(10), Some(13));
        let text = rendered(
            &mut progress,
            vec![done.clone()],
            vec![log("[2/2] RUN make", 12, b"o")],
        );
        assert_eq!(text, "#1 1.000 two\n#1 DONE 3.0s\n");
        assert_eq!(rendered(&mut progress, vec![done], vec![]), "");
    }

    #[test]
    fn cached_and_failed_steps_say_so() {
        let mut progress = Progress::default();
        let cached = Vertex {
            cached: true,
            ..vertex("a", Some(1), Some(1))
        };
        let failed = Vertex {
            error: "executor failed running [/bin/sh -c exit 3]: exit code: 3".into(),
            ..vertex("b", Some(1), Some(2))
        };
        assert_eq!(
            rendered(&mut progress, vec![cached, failed], vec![]),
            "#1 a\n#2 b\n#1 CACHED\n\
             #2 ERROR: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3\n"
        );
    }

    #[test]
    fn failures_lose_their_wrapping() {
        assert_eq!(
            failure(
                "failed to solve with frontend dockerfile.v0: rpc error: code = Unknown desc = boom\nnow"
            ),
            "boom now"
        );
        assert_eq!(
            failure("The command '/bin/sh -c exit 3' returned a non-zero code: 3"),
            "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3"
        );
    }

    #[test]
    fn lost_images_are_told_from_other_failures() {
        for lost in [
            "failed to get digest sha256:0123: open /var/lib/docker/image/overlay2/imagedb/content/sha256/0123: no such file or directory",
            "rpc error: code = Unknown desc = failed to export image: failed to read metadata: open 0123: no such file or directory",
            "failed to export image: failed to create image: failed to get digest sha256:0123",
            "failed to export image: layer does not exist",
        ] {
            assert!(lost_the_image(lost), "{lost}");
        }
        for other in [
            "executor failed running [/bin/sh -c echo failed to get digest sha256:0123]: exit code: 1",
            "The command '/bin/sh -c echo failed to get digest' returned a non-zero code: 1",
            "failed to compute cache key: \"/nothing\" not found: not found",
            "failed to export image: no space left on device",
        ] {
            assert!(!lost_the_image(other), "{other}");
        }
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(
            (size(32), size(1_500), size(2_340_000_000)),
            ("32B".into(), "1.50kB".into(), "2.34GB".into())
        );
    }
}
