//! `devbox key create`, `ls`, `rm`.

use std::process::ExitCode;

use anyhow::Context as _;
use devbox_types::devbox::{ApiKey, CreateKeyRequest, KeyRole};

use super::{connect, for_each};
use crate::cli::{KeyCreateArgs, KeyLsArgs, KeyRmArgs, Role};
use crate::output::{self, harmless};

pub(super) async fn create(args: KeyCreateArgs) -> anyhow::Result<()> {
    let client = connect(&args.connection)?;
    let role = match args.role {
        Role::Member => KeyRole::Member,
        Role::Admin => KeyRole::Admin,
    };
    let key = client.create_key(&CreateKeyRequest { project: args.project, role, name: args.name }).await?;
    if args.json {
        return output::json(&key);
    }
    let secret =
        key.secret.context("the server made a key but did not say it; delete it with `devbox key rm`")?;
    output::line(&secret)
}

pub(super) async fn ls(args: KeyLsArgs) -> anyhow::Result<()> {
    let client = connect(&args.connection)?;
    let keys = client.list_keys().await?;
    if args.json {
        return output::json(&keys);
    }
    output::table(["ID", "PROJECT", "ROLE", "NAME", "CREATED"], &keys.iter().map(row).collect::<Vec<_>>())
}

pub(super) async fn rm(args: KeyRmArgs) -> anyhow::Result<ExitCode> {
    let client = connect(&args.connection)?;
    for_each("delete key", &args.ids, async |id| client.delete_key(id).await).await
}

fn row(key: &ApiKey) -> [String; 5] {
    let role = match key.role {
        KeyRole::Admin => "admin",
        KeyRole::Member => "member",
    };
    let name = key.name.as_deref().unwrap_or("-");
    [harmless(&key.id), harmless(&key.project), role.to_owned(), harmless(name), key.created.to_string()]
}
