//! `devbox start`, `stop`, `rm`.

use std::process::ExitCode;

use devbox_client::{Client, ClientError};
use devbox_types::{BoxId, Coded as _, ErrorCode};

use super::{connect, for_each};
use crate::cli::{RmArgs, StartArgs, StopArgs};

pub(super) async fn start(args: StartArgs) -> anyhow::Result<ExitCode> {
    let client = connect(&args.connection)?;
    for_each("start", &args.references, async |reference| {
        client.start(&id_of(&client, reference).await?).await.map(drop)
    })
    .await
}

pub(super) async fn stop(args: StopArgs) -> anyhow::Result<ExitCode> {
    let client = connect(&args.connection)?;
    for_each("stop", &args.references, async |reference| {
        client.stop(&id_of(&client, reference).await?).await.map(drop)
    })
    .await
}

pub(super) async fn rm(args: RmArgs) -> anyhow::Result<ExitCode> {
    let client = connect(&args.connection)?;
    let remove = async |reference: &str| match delete(&client, reference).await {
        Err(error) if args.force && error.code() == ErrorCode::DevboxNotFound => Ok(()),
        outcome => outcome,
    };
    for_each("delete", &args.references, remove).await
}

async fn delete(client: &Client, reference: &str) -> Result<(), ClientError> {
    client.delete(&id_of(client, reference).await?).await
}

async fn id_of(client: &Client, reference: &str) -> Result<BoxId, ClientError> {
    Ok(client.get(reference).await?.id)
}
