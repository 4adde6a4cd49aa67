//! Removing one build: its images, its log, its releases.
//!
//! `images` → `files` → `records`. Nothing is undone: the record goes last, so that a
//! removal that could not be finished can be asked for again.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Operation;
use super::build::log_path;
use super::context::Context;
use super::error::{Failure, Result};

/// A removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoveBuild {
    /// App.
    pub app: String,
    /// Build.
    pub id: String,
}

#[async_trait]
impl Operation for RemoveBuild {
    const KIND: &'static str = "remove-build";
    const STEPS: &'static [&'static str] = &["images", "files", "records"];
    const RESUMES: bool = true;

    fn app(&self) -> &str {
        &self.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        match step {
            "images" => {
                for image in context.store.images(&self.id).await?.into_values() {
                    context.engine.untag(&image.reference).await?;
                }
                Ok(())
            }
            "files" => match tokio::fs::remove_file(log_path(context, &self.app, &self.id)).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Failure::io("the build's log")(error))
                }
                _ => Ok(()),
            },
            _ => Ok(context.store.delete_build(&self.app, &self.id).await?),
        }
    }

    async fn undo(&mut self, _context: &Arc<Context>, _step: &'static str) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self, _context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        if let Some(failure) = failure {
            tracing::error!(app = self.app, build = self.id, %failure, "could not remove a build");
        }
        Ok(())
    }
}
