//! Removing an app with everything that is its own, and nothing else.
//!
//! `processes` → `images` → `files` → `records`. Nothing is undone: a delete
//! that was begun is finished, by a later server if need be.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::error::{Failure, Result};
use super::{Operation, event, fleet};

/// A delete.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delete {
    /// App.
    pub app: String,
}

#[async_trait]
impl Operation for Delete {
    const KIND: &'static str = "delete";
    const STEPS: &'static [&'static str] = &["processes", "images", "files", "records"];
    const RESUMES: bool = true;

    fn app(&self) -> &str {
        &self.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        match step {
            "processes" => {
                // Ended builds have taken their images' tags back.
                context.builds.end_app(&self.app).await;
                for member in context.fleet.all_of_app(&self.app) {
                    member
                        .retiring
                        .store(true, std::sync::atomic::Ordering::SeqCst);
                    member.done.cancel();
                    context.fleet.remove(&member.id);
                }
                fleet::withdraw_others(context, &self.app, &[]);
                context.history.forget_app(&self.app);
                // Containers first, then the volumes they hold.
                Ok(context
                    .engine
                    .remove_labelled(&context.app_labels(&self.app))
                    .await?)
            }
            "images" => {
                for reference in context.store.image_references(&self.app).await? {
                    context.engine.untag(&reference).await?;
                }
                Ok(())
            }
            "files" => {
                context
                    .logs
                    .remove(&self.app)
                    .map_err(Failure::io("the app's log"))?;
                match tokio::fs::remove_dir_all(context.dir.join("objects").join(&self.app)).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(Failure::io("the app's objects")(error))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(context.store.delete_app(&self.app).await?),
        }
    }

    async fn undo(&mut self, _context: &Arc<Context>, _step: &'static str) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        event::tell(context, "app:delete", &[("name", &self.app)], failure).await;
        if let Some(failure) = failure {
            // The app stays `deleting`; asking again takes it up where it stopped.
            tracing::error!(app = self.app, %failure, "could not delete an app");
        }
        context.changed.send_modify(|count| *count += 1);
        Ok(())
    }
}
