//! Byte progress for uploads and downloads, on standard error only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that disappears when it is dropped.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(visible: bool, doing: &str, total: Option<u64>) -> Self {
        let target = if visible {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let template = if total.is_some() {
            "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}"
        } else {
            "{msg} {bytes} {bytes_per_sec}"
        };
        let style = ProgressStyle::with_template(template)
            .expect("the templates are well-formed")
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(total, target).with_style(style);
        bar.set_message(doing.to_owned());
        Self(bar)
    }

    /// Counts bytes.
    pub(crate) fn advance(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    /// A second handle, for the stream that is counted.
    pub(crate) fn counter(&self) -> impl Fn(usize) + Send + Sync + 'static {
        let bar = self.0.clone();
        move |bytes| bar.inc(bytes as u64)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
