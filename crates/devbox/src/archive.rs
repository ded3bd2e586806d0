//! `devbox pack` and `devbox unpack`.
//!
//! | module | subject |
//! |---|---|
//! | [`format`] | which format an archive has, by its name or its first bytes |
//! | [`target`] | where a packed archive goes: whole, or not at all |
//! | [`source`] | where an archive to unpack comes from |

mod error;
mod format;
mod source;
mod target;

use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use devbox_client::ClientError;
use devbox_guest::Body;
use devbox_types::WirePath;
use devbox_types::archive::{ArchiveFormat, ArchiveRequest, UnpackRequest};
use futures_util::TryStreamExt as _;

use crate::cli::{PackArgs, UnpackArgs};
use crate::commands::{INTERRUPTED, connect};
use crate::copy::Progress;

pub(crate) use error::ArchiveCommandError;
use source::Source;
use target::Target;

/// Runs `devbox pack`.
pub(crate) async fn pack(args: PackArgs) -> anyhow::Result<ExitCode> {
    let format = match args.format {
        Some(format) => format,
        None if target::is_standard_output(&args.output) => ArchiveFormat::Tar,
        None => format::of_name(&args.output)?,
    };
    let places = args.sources.into_iter().map(|source| source.in_box()).collect::<Result<Vec<_>, _>>()?;
    let reference = places.first().map(|place| place.reference.clone()).unwrap_or_default();
    if let Some(other) = places.iter().find(|place| place.reference != reference) {
        return Err(
            ArchiveCommandError::SeveralBoxes { first: reference, other: other.reference.clone() }.into()
        );
    }
    let mut target = Target::open(&args.output)?;
    let sandbox =
        connect(&args.connection)?.sandbox(&reference).await?.as_user(args.user.unwrap_or_default());
    let paths = places.iter().map(|place| Ok(WirePath(sandbox.resolve(&place.path)?)));
    let request = ArchiveRequest {
        paths: paths.collect::<Result<_, ClientError>>()?,
        format,
        include: args.include,
        exclude: args.exclude,
        gitignore: args.gitignore,
    };
    let progress = Progress::new(args.quiet);
    let outcome = unless_interrupted(async {
        let mut body = sandbox.pack(request).await?;
        while let Some(chunk) = body.try_next().await.map_err(ClientError::from)? {
            target.write(&chunk)?;
            progress.advance(chunk.len());
        }
        target.publish()
    });
    let outcome = outcome.await;
    progress.finish();
    outcome
}

/// Runs `devbox unpack`.
pub(crate) async fn unpack(args: UnpackArgs) -> anyhow::Result<ExitCode> {
    let place = args.directory.in_box()?;
    let source = Source::open(&args.archive).await?;
    let format = match args.format {
        Some(format) => format,
        None => format::of_content(source.beginning(), &args.archive)?,
    };
    let sandbox = connect(&args.connection)?.sandbox(&place.reference).await?;
    let sandbox = sandbox.as_user(args.user.unwrap_or_default());
    let request = UnpackRequest {
        directory: sandbox.resolve(&place.path)?,
        format,
        strip: args.strip,
        make_parents: args.parents,
    };
    let progress = Progress::new(args.quiet);
    let counted = progress.clone();
    let count = move |chunk: &Bytes| counted.advance(chunk.len());
    let outcome = unless_interrupted(async {
        let report = match source {
            Source::Input(input) => {
                let body = Body::from_stream(input.chunks().inspect_ok(count), None);
                sandbox.unpack(request, body).await
            }
            // A file is read again if the line breaks.
            Source::File(file) => {
                let restarted = progress.clone();
                let open = || {
                    restarted.restart();
                    let (chunks, length) = file.chunks();
                    length.into_iter().for_each(|length| restarted.measure(length));
                    Body::from_stream(chunks.inspect_ok(count.clone()), length)
                };
                sandbox.unpack_of(request, open).await
            }
        };
        report.map(drop).map_err(anyhow::Error::from)
    });
    let outcome = outcome.await;
    progress.finish();
    outcome
}

/// Does the work, or with Ctrl-C drops it: the box then takes back what it has staged, and here nothing is left.
async fn unless_interrupted(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    tokio::select! {
        outcome = work => outcome.map(|()| ExitCode::SUCCESS),
        pressed = tokio::signal::ctrl_c() => {
            pressed.context("watch for Ctrl-C")?;
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}
