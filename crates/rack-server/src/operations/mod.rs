//! Long work as durable step lists: build, import, promote, delete; and the
//! supervision of what they have started.
//!
//! An [`Operation`] is a row in the database with a payload and the index of the
//! step begun last. [`execute`] records a step before it takes it; when a step
//! fails, it and all before it are undone in reverse. Steps and undos are
//! idempotent, so a server that was killed anywhere takes up the row again
//! ([`recover`]) and brings it to a terminal state. Nothing here knows HTTP.

pub mod access;
pub mod admission;
pub mod arrival;
pub mod build;
pub mod build_log;
pub mod clock;
pub mod context;
pub mod copy;
pub mod delete;
pub mod door;
pub mod error;
pub mod event;
pub mod export;
pub mod failpoint;
pub mod file;
pub mod fleet;
pub mod health;
pub mod history;
pub mod image_import;
pub mod import;
pub mod index;
mod launch;
pub mod layers;
pub mod metric;
pub mod newborn;
pub mod pipe;
pub mod plan;
pub mod promote;
pub mod rack_resource;
pub mod reception;
pub mod recover;
pub mod registry;
pub mod remove_build;
pub mod resource;
pub mod rollout;
pub mod run;
pub mod source;
pub mod spool;
pub mod supervise;
pub mod timer;
pub mod webhook;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use context::Context;
pub use error::{Failure, Result};

use crate::store::{OperationRow, Outcome};

/// Pause before undos that have failed are tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A long operation: its data and what each of its steps does and undoes.
#[async_trait]
pub trait Operation: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Word in the database.
    const KIND: &'static str;
    /// Steps in order; `KIND.step` is the name of a failpoint.
    const STEPS: &'static [&'static str];
    /// After a restart: take the remaining steps (true) or undo those taken.
    const RESUMES: bool;
    /// Whether undos that fail are tried again until they succeed, in the background:
    /// only where they concern nothing but what the operation itself has made.
    const KEEPS_UNDOING: bool = false;

    /// How long what a dead server had begun with this step may still take effect: the
    /// undos are repeated until then.
    fn lingers(_context: &Context, _step: &'static str) -> Duration {
        Duration::ZERO
    }

    /// App it changes; empty for what concerns the rack.
    fn app(&self) -> &str;

    /// Takes a step; must succeed when it was taken already.
    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()>;

    /// Undoes a step; must succeed when it was taken in part or undone already.
    async fn undo(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()>;

    /// Brings what others see to its terminal state, after the last step or the last undo.
    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()>;
}

/// Runs a new operation to its end.
pub async fn execute<O: Operation>(context: &Arc<Context>, id: String, operation: O) -> Result<O> {
    carry_on(context, id, operation, 0, None).await
}

/// Runs an operation from the step a dead server had begun last.
pub(crate) async fn take_up<O: Operation>(context: &Arc<Context>, row: OperationRow) -> Result<O> {
    let operation: O = serde_json::from_str(&row.payload).map_err(|error| {
        Failure::internal(format!("unreadable {} operation: {error}", row.kind))
    })?;
    let interrupted = match row.outcome {
        Outcome::Unwinding => Some(Failure::Interrupted(row.reason.clone())),
        _ if O::RESUMES => None,
        _ => Some(Failure::Interrupted(
            "the server was stopped while it was under way".into(),
        )),
    };
    carry_on(context, row.id, operation, row.step, interrupted).await
}

async fn carry_on<O: Operation>(
    context: &Arc<Context>,
    id: String,
    mut operation: O,
    from: usize,
    interrupted: Option<Failure>,
) -> Result<O> {
    let mut reached = from;
    let mut failure = interrupted;
    // Its own steps have ended when they fail; those of a dead server may not have.
    let lingers = match (&failure, O::STEPS.get(from)) {
        (Some(_), Some(step)) => O::lingers(context, step),
        _ => Duration::ZERO,
    };
    if failure.is_none() {
        for (index, step) in O::STEPS.iter().enumerate().skip(from) {
            reached = index;
            let begun = save(context, &id, &operation, Outcome::Running, index, "").await;
            if let Err(reason) = begun {
                // What will not be resumed must not be left half done, whatever became
                // of the disk.
                if O::RESUMES {
                    return Err(reason);
                }
                failure = Some(reason);
                break;
            }
            let taken = async {
                context.settings.failpoints.hit(O::KIND, step)?;
                operation.step(context, step).await?;
                context.settings.failpoints.hit_after(O::KIND, step)
            };
            if let Err(reason) = taken.await {
                failure = Some(reason);
                break;
            }
        }
    }
    let Some(failure) = failure else {
        operation.finish(context, None).await?;
        save(context, &id, &operation, Outcome::Done, reached, "").await?;
        return Ok(operation);
    };
    if matches!(failure, Failure::Shutdown) {
        // The row stays open: the next server takes it up.
        return Err(failure);
    }
    let reason = failure.to_string();
    let unwinding = Outcome::Unwinding;
    let begun = save(context, &id, &operation, unwinding, reached, &reason).await;
    if let Err(error) = begun {
        if O::RESUMES {
            return Err(error);
        }
        tracing::error!(operation = O::KIND, %error, "could not record that steps are undone");
    }
    let mut left = Vec::new();
    for step in O::STEPS[..=reached].iter().rev() {
        if let Err(error) = operation.undo(context, step).await {
            // An undo that fails must not keep the others from being tried.
            tracing::error!(operation = O::KIND, step, %error, "could not undo a step");
            left.push(*step);
        }
    }
    operation.finish(context, Some(&failure)).await?;
    let mut undo = Undo {
        left,
        repeated: Vec::new(),
        until: Instant::now() + lingers,
    };
    if !lingers.is_zero() {
        undo.repeated = O::STEPS[..=reached].iter().rev().copied().collect();
    }
    if (O::KEEPS_UNDOING && !undo.left.is_empty()) || !undo.repeated.is_empty() {
        undo_later(context, id, operation, undo, (reached, reason));
    } else {
        save(context, &id, &operation, Outcome::Failed, reached, &reason).await?;
    }
    Err(failure)
}

/// What is left to undo of an operation that has ended.
struct Undo {
    /// Steps whose undo has failed.
    left: Vec<&'static str>,
    /// Steps that may still take effect: undone again and again.
    repeated: Vec<&'static str>,
    /// Until then.
    until: Instant,
}

/// Goes on with undos that have failed, most likely because the engine was away, and
/// with those of steps that linger. The row stays open meanwhile, so a later server
/// knows of them too.
fn undo_later<O: Operation>(
    context: &Arc<Context>,
    id: String,
    mut operation: O,
    mut undo: Undo,
    (reached, reason): (usize, String),
) {
    let context = Arc::clone(context);
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = context.shutdown.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Asked before the last undo, so that it comes after the end of the time.
            let lingers = Instant::now() < undo.until;
            let due = if undo.repeated.is_empty() {
                &undo.left
            } else {
                &undo.repeated
            };
            let mut again = Vec::new();
            for step in due {
                if let Err(error) = operation.undo(&context, step).await {
                    tracing::debug!(operation = O::KIND, step, %error, "still could not undo a step");
                    again.push(*step);
                }
            }
            undo.left = again;
            if !lingers {
                undo.repeated.clear();
                if undo.left.is_empty() {
                    break;
                }
            }
        }
        let ended = save(&context, &id, &operation, Outcome::Failed, reached, &reason);
        if let Err(error) = ended.await {
            tracing::error!(operation = O::KIND, %error, "could not record the end of an operation");
        }
    });
}

/// Records where an operation stands; before its first step, so that it is not
/// forgotten once it was promised.
pub async fn save<O: Operation>(
    context: &Context,
    id: &str,
    operation: &O,
    outcome: Outcome,
    step: usize,
    reason: &str,
) -> Result<()> {
    let row = OperationRow {
        id: id.to_owned(),
        app: operation.app().to_owned(),
        kind: O::KIND.to_owned(),
        outcome,
        step,
        payload: serde_json::to_string(operation).expect("plain data serialises"),
        reason: reason.to_owned(),
    };
    Ok(context.store.save_operation(row, context.now()).await?)
}
