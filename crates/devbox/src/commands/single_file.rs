//! `devbox cat` and `devbox put`.

use devbox_client::{ClientError, Sandbox};
use devbox_guest::{Body, BodyError};
use devbox_types::ActingUser;
use devbox_types::file::WriteRequest;
use futures_util::TryStreamExt as _;

use super::{connect, stdin};
use crate::cli::{CatArgs, ConnectionArgs, PutArgs};
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
    let request = WriteRequest {
        mode: args.mode,
        make_parents: true,
        ..WriteRequest::to(sandbox.resolve(&place.path)?)
    };
    let input = stdin::chunks().map_err(|error| BodyError::Interrupted { source: Some(error) });
    sandbox.write_with(request, Body::from_stream(input, None)).await?;
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
