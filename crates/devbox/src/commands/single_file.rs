//! `devbox cat`, `devbox put` and `devbox truncate`.

use devbox_client::{ClientError, Sandbox};
use devbox_guest::{Body, BodyError};
use devbox_types::ActingUser;
use devbox_types::file::WriteRequest;
use devbox_types::patch::{PatchPlace, PatchRequest};
use futures_util::TryStreamExt as _;

use super::{connect, stdin};
use crate::cli::{CatArgs, ConnectionArgs, PutArgs, TruncateArgs};
use crate::output;
use crate::reference::{BoxPlace, Location};

pub(super) async fn cat(args: CatArgs) -> anyhow::Result<()> {
    let (sandbox, place) = open(args.file, args.user, &args.connection).await?;
    let mut body = sandbox.open(&place.path).await?.body;
    while let Some(chunk) = body.try_next().await.map_err(ClientError::from)? {
        output::bytes(&chunk)?;
    }
    Ok(())
}

pub(super) async fn put(args: PutArgs) -> anyhow::Result<()> {
    let (sandbox, place) = open(args.file, args.user, &args.connection).await?;
    let path = sandbox.resolve(&place.path)?;
    let input = stdin::chunks().map_err(|error| BodyError::Interrupted { source: Some(error) });
    let body = Body::from_stream(input, None);
    let place = match (args.append, args.offset) {
        (true, _) => PatchPlace::End,
        (false, Some(offset)) => PatchPlace::Offset(offset),
        (false, None) => {
            let request = WriteRequest {
                mode: args.mode,
                make_parents: true,
                in_place: args.in_place,
                ..WriteRequest::to(path)
            };
            sandbox.write_with(request, body).await?;
            return Ok(());
        }
    };
    let patch = PatchRequest { create: args.append, atomic: args.atomic, ..PatchRequest::at(path, place) };
    sandbox.patch_with(patch, body).await?;
    Ok(())
}

pub(super) async fn truncate(args: TruncateArgs) -> anyhow::Result<()> {
    let (sandbox, place) = open(args.file, args.user, &args.connection).await?;
    sandbox.truncate(&place.path, args.size).await?;
    Ok(())
}

async fn open(
    file: Location,
    user: Option<ActingUser>,
    connection: &ConnectionArgs,
) -> anyhow::Result<(Sandbox, BoxPlace)> {
    let place = file.in_box()?;
    let sandbox = connect(connection)?.sandbox(&place.reference).await?;
    Ok((sandbox.as_user(user.unwrap_or_default()), place))
}
