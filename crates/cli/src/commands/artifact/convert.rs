//! `convox artifact convert`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::Path;

use artifact::{Contents, Format, Limits};

use super::{Counted, blocking, name, open, required_environment, scratch};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::output::{Output, is_closed};
use crate::ui::{Progress, Ui};

/// Gzip level: layers compress nearly as well as at the default level, three times as fast.
const LEVEL: u32 = 1;
/// Size of the pieces files are read and written in.
const PIECE: usize = 256 << 10;

/// Writes an archive in another format: whole, or not at all.
pub(super) async fn run(
    context: &Context,
    file: &Path,
    format: Format,
    output: Option<&Path>,
    limits: Limits,
) -> Outcome {
    let output = output.filter(|output| *output != Path::new("-"));
    if output.is_none() && (context.ui.stdout_is_terminal() || is_closed()) {
        return Err(Error::failed(
            "pipe this command into a file or specify --output",
        ));
    }
    let ui = context.ui.for_id(output.is_none());
    let progress = match output {
        // Everything is proved before the first byte.
        None => convert(&ui, file, format, limits, ui.data_writer()).await?,
        Some(path) => {
            let (out, output) = Output::create(path)?;
            let converting = convert(&ui, file, format, limits, out);
            output.complete(converting).await?
        }
    };
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn convert(
    ui: &Ui,
    file: &Path,
    format: Format,
    limits: Limits,
    out: impl Write + Send + 'static,
) -> Result<Progress, Error> {
    let input = Input::receive(ui, file, &limits).await?;
    let progress = ui.start(format!("Converting to {format}"))?;
    input.convert(ui, format, limits, out).await?;
    Ok(progress)
}

/// A verified archive that can be read again.
struct Input {
    name: String,
    file: File,
    length: u64,
    contents: Contents,
}

impl Input {
    /// Verifies an archive; what cannot be read twice is kept in a temporary file.
    async fn receive(ui: &Ui, path: &Path, limits: &Limits) -> Result<Self, Error> {
        let (source, length) = open(path)?;
        let again = length.map(|_| File::open(path)).transpose();
        let again = again.map_err(Error::io(format!("can not read {}", path.display())))?;
        let source = Counted {
            source,
            bar: ui.bar("verifying", length),
        };
        let (name, limits) = (name(path), limits.clone());
        blocking(move || {
            let (file, contents) = if let Some(file) = again {
                (file, artifact::verify(source, &limits))
            } else {
                let mut file = scratch()?;
                let copied = Copied {
                    source,
                    copy: BufWriter::with_capacity(PIECE, &mut file),
                };
                let contents = verify_copied(copied, &limits);
                (file, contents)
            };
            let contents = contents.map_err(Error::archive(name.clone()))?;
            Ok(Self {
                name,
                file,
                length: contents.size,
                contents,
            })
        })
        .await
    }

    /// Writes the archive in another format.
    async fn convert(
        mut self,
        ui: &Ui,
        format: Format,
        limits: Limits,
        out: impl Write + Send + 'static,
    ) -> Result<(), Error> {
        let bar = ui.bar("converting", Some(self.length));
        blocking(move || {
            let required = required_environment(&self.contents);
            let archive = Error::archive(self.name);
            self.file
                .rewind()
                .map_err(Error::io("can not read the archive again"))?;
            let again = Counted {
                source: BufReader::with_capacity(PIECE, self.file),
                bar,
            };
            let mut spool = scratch()?;
            let prepared = artifact::prepare_conversion(
                &self.contents,
                again,
                format,
                &required,
                &mut spool,
                &limits,
            )
            .map_err(archive)?;
            let out = BufWriter::with_capacity(PIECE, out);
            prepared.write(&mut spool, out, LEVEL).map_err(written)?;
            Ok(())
        })
        .await
    }
}

/// What went wrong with the output; a reader that went away is no error worth words.
fn written(error: artifact::ArtifactError) -> Error {
    match error {
        artifact::ArtifactError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Error::OutputClosed
        }
        artifact::ArtifactError::Write(error) => Error::io("can not write output")(error),
        error => Error::failed(error.to_string()),
    }
}

/// Copies what is read into a file.
struct Copied<R, W> {
    source: R,
    copy: W,
}

impl<R: Read, W: Write> Read for Copied<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.copy.write_all(&buffer[..count])?;
        Ok(count)
    }
}

fn verify_copied(
    mut copied: Copied<impl Read, impl Write>,
    limits: &Limits,
) -> Result<Contents, artifact::ArtifactError> {
    let contents = artifact::verify(&mut copied, limits)?;
    copied
        .copy
        .flush()
        .map_err(artifact::ArtifactError::Write)?;
    Ok(contents)
}
