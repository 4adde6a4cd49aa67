//! Files on their way into a process: a tar in a file without a name, so that memory
//! stays constant and the upload has a length.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use rack_api::client::Upload;
use tokio_util::io::ReaderStream;

use crate::error::Error;
use crate::racks::Rack;

/// Bytes carried at once.
const PIECE: usize = 64 * 1024;
/// What is kept in the temporary directory.
pub(crate) const KEPT: &str = "the copy";

/// A tar in the making.
pub(crate) struct Parcel {
    tar: tar::Builder<File>,
    count: usize,
}

impl Parcel {
    /// An empty one.
    pub(crate) fn new() -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(Error::keeping(KEPT))?;
        Ok(Self {
            tar: tar::Builder::new(file),
            count: 0,
        })
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a file, a link, or a directory without its content, under a name. What is
    /// nothing on another machine, as sockets are, is left out.
    pub(crate) fn add(&mut self, path: &Path, name: &Path, found: &Metadata) -> Result<(), Error> {
        let broken = || format!("can not read {}", path.display());
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(found, tar::HeaderMode::Complete);
        header.set_uid(0);
        header.set_gid(0);
        let added = if found.is_dir() {
            self.tar.append_data(&mut header, name, io::empty())
        } else if found.is_symlink() {
            let target = fs::read_link(path).map_err(Error::io(broken()))?;
            self.tar.append_link(&mut header, name, target)
        } else if found.is_file() {
            let file = File::open(path).map_err(Error::io(broken()))?;
            // The header is written first, so exactly as many bytes have to follow.
            let mut file = file.take(found.len());
            let added = self.tar.append_data(&mut header, name, &mut file);
            added.and_then(|()| match file.limit() {
                0 => Ok(()),
                _ => Err(io::Error::other("it has changed meanwhile")),
            })
        } else {
            return Ok(());
        };
        self.count += 1;
        added.map_err(Error::io(broken()))
    }

    /// Adds an entry of another tar under a name; what a link leads to goes with it.
    pub(crate) fn pass_on(
        &mut self,
        entry: &mut tar::Entry<'_, impl io::Read>,
        name: &Path,
        link: Option<&Path>,
    ) -> io::Result<()> {
        let mut header = entry.header().clone();
        self.count += 1;
        match link {
            Some(link) => self.tar.append_link(&mut header, name, link),
            None => self.tar.append_data(&mut header, name, entry),
        }
    }

    /// The whole tar, at its beginning.
    pub(crate) fn finish(self) -> Result<File, Error> {
        let mut file = self.tar.into_inner().map_err(Error::keeping(KEPT))?;
        file.rewind().map_err(Error::keeping(KEPT))?;
        Ok(file)
    }
}

/// Has a process unpack a tar at its root.
pub(crate) async fn send(rack: &Rack, app: &str, pid: &str, tar: File) -> Result<(), Error> {
    let length = tar.metadata().map_err(Error::keeping(KEPT))?.len();
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(tar), PIECE);
    let body = Upload::from_stream(stream).with_length(length);
    Ok(rack.client.files_upload(app, pid, body).await?)
}
