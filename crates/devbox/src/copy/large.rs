//! Files that go in pieces, either way: the same command, given again, goes on where it was cut off.

use std::ops::ControlFlow;

use devbox_client::{ClientError, LargeOptions, Sandbox, TransferProgress};
use devbox_types::BoxPath;
use devbox_types::file::WriteRequest;

use super::CopyError;
use super::local_source::{LocalFile, OpenFile};
use super::local_target::{Folder, Name};
use super::progress::Progress;

/// Which files go in pieces, and how.
#[derive(Debug, Clone)]
pub(super) struct Large {
    from_bytes: u64,
    options: LargeOptions,
}

impl Large {
    pub(super) fn new(from_bytes: u64, piece_bytes: u64) -> Self {
        Self { from_bytes, options: LargeOptions { piece_bytes, ..LargeOptions::default() } }
    }

    /// Whether a file of this size is one.
    pub(super) fn is(&self, size_bytes: u64) -> bool {
        size_bytes >= self.from_bytes
    }

    pub(super) async fn upload(
        &self,
        sandbox: &Sandbox,
        file: &LocalFile,
        opened: OpenFile,
        progress: &Progress,
    ) -> Result<(), CopyError> {
        let request = WriteRequest {
            mode: Some(opened.mode),
            modified: Some(opened.modified),
            make_parents: true,
            nofollow: file.in_tree,
            ..WriteRequest::to(file.target.clone())
        };
        let mut tell = teller(progress);
        progress.set_resumable(true);
        sandbox.upload_opened_file(opened.file, &file.source, request, &self.options, &mut tell).await?;
        progress.set_resumable(false);
        progress.file_done();
        Ok(())
    }

    pub(super) async fn download(
        &self,
        sandbox: &Sandbox,
        path: &BoxPath,
        folder: &Folder,
        name: &Name,
        progress: &Progress,
    ) -> Result<(), CopyError> {
        let mut tell = teller(progress);
        let mut absolute = vec![b'/'];
        absolute.extend_from_slice(path.as_bytes());
        progress.set_resumable(true);
        let downloaded =
            sandbox.download_large_file(absolute, &folder.path_of(name), &self.options, &mut tell).await;
        match downloaded {
            // The path that it was given is one of /proc, and says nothing to a person.
            Err(ClientError::Local { source, .. }) => {
                Err(CopyError::Unwritable { path: folder.shown_path_of(name), source })
            }
            Err(error) => Err(error.into()),
            Ok(_) => {
                progress.file_done();
                Ok(())
            }
        }
    }
}

/// Turns how far a transfer is into steps.
fn teller(progress: &Progress) -> impl FnMut(TransferProgress) -> ControlFlow<()> + Send + use<> {
    let (progress, mut told) = (progress.clone(), 0);
    move |now| {
        progress.shift(told, now.sent_bytes);
        told = now.sent_bytes;
        ControlFlow::Continue(())
    }
}
