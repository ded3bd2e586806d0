//! Other people's servers, by address and kind, in the same rows of the same run.
//!
//! They run already, and are spoken to directly over TCP: no server of ours, no key, no audit between.
//!
//! | module | whose |
//! |---|---|
//! | `envd` | the daemon of E2B's boxes |
//! | `daytona` | the toolbox of Daytona's boxes |
//! | `devbox_sdk` | the server in the pods of Sealos's devbox-sdk |
//! | `put_get` | anything that takes plain `PUT` and `GET`: nginx with `dav_methods`, a WebDAV server |
//! | `tus` | a tus 1.0 server |
//! | `dialect` | what the first four have in common |
//! | `multipart` | form data |

mod daytona;
mod devbox_sdk;
mod dialect;
mod envd;
mod multipart;
mod put_get;
#[cfg(test)]
mod tests;
mod tus;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use hyper::Uri;

use crate::ground::Ground;
use crate::http::{Address, Http};
use crate::machine::file_system;
use crate::measure::Participant;
use crate::result::{Role, SubjectFacts};
use dialect::Peer;

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Envd,
    Daytona,
    DevboxSdk,
    PutGet,
    Tus,
}

/// A server: what it speaks, where it listens, where it stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerAddress {
    kind: Kind,
    /// What it is called in tables.
    name: String,
    host: String,
    /// What its paths begin with; no slash at the end.
    base: String,
    folder: Option<PathBuf>,
}

impl FromStr for PeerAddress {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, rest) = text.split_once('=').context("a peer is KIND[:NAME]=URL[,DIR]")?;
        let (kind, name) = kind.split_once(':').unwrap_or((kind, kind));
        ensure!(!name.is_empty(), "a peer's name is not empty");
        let kind = Kind::from_str(kind, false).map_err(|complaint| anyhow::anyhow!("{kind}: {complaint}"))?;
        let (url, folder) = match rest.split_once(',') {
            Some((url, folder)) => (url, Some(PathBuf::from(folder))),
            None => (rest, None),
        };
        ensure!(
            folder.as_ref().is_none_or(|folder| folder.is_absolute()),
            "the folder of a peer is absolute"
        );
        let url: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        ensure!(url.scheme_str() == Some("http"), "a peer is spoken to by http://");
        let authority = url.authority().context("the URL names no host")?;
        ensure!(!authority.as_str().contains('@'), "a token is given in the environment, not in the URL");
        if url.query().is_some() {
            bail!("the URL of a peer has no query");
        }
        let port = authority.port_u16().unwrap_or(80);
        let host = format!("{}:{port}", authority.host());
        let base = url.path().trim_end_matches('/').to_owned();
        Ok(Self { kind, name: name.to_owned(), host, base, folder })
    }
}

/// The variable with the token that peers want, if they want one.
const TOKEN: &str = "DEVBOX_BENCH_PEER_TOKEN";

/// Takes part in a run.
pub(crate) fn subject(address: &PeerAddress, ground: &Ground) -> Result<Participant> {
    let own = ground.folder.join(format!("peer-{}", address.name));
    let folder = match (address.kind, &address.folder) {
        (Kind::Envd | Kind::Daytona | Kind::DevboxSdk, None) => {
            std::fs::create_dir(&own).with_context(|| format!("make {}", own.display()))?;
            Some(own)
        }
        (_, folder) => folder.clone(),
    };
    let on = match &folder {
        Some(folder) if folder.starts_with(&ground.folder) => ground.file_system.clone(),
        Some(folder) => file_system(folder)?,
        None => "not told".to_owned(),
    };
    connect(address, folder.as_deref(), &on, std::env::var(TOKEN).ok())
}

fn connect(
    address: &PeerAddress,
    folder: Option<&Path>,
    on: &str,
    token: Option<String>,
) -> Result<Participant> {
    let PeerAddress { kind, name, host, base, .. } = address.clone();
    let facts = |publishing: &str| SubjectFacts {
        name: name.clone(),
        role: Role::Peer,
        hops: 1,
        file_system: on.to_owned(),
        publishing: publishing.to_owned(),
    };
    let folder = || -> Result<String> {
        let folder = folder.context("this kind of peer needs a folder")?;
        Ok(folder.to_str().context("the folder's name is not text")?.to_owned())
    };
    let http = Http::to(Address::Tcp(host))?;
    Ok(match kind {
        Kind::Envd => {
            let dialect = envd::Envd { base, folder: folder()? };
            Participant::new(Peer::new(facts("in place; a batch file by file"), http, token, dialect))
        }
        Kind::Daytona => {
            let dialect = daytona::Daytona { base, folder: folder()? };
            Participant::new(Peer::new(facts("in place; a batch file by file"), http, token, dialect))
        }
        Kind::DevboxSdk => {
            let dialect = devbox_sdk::DevboxSdk { base, folder: folder()? };
            Participant::new(Peer::new(facts("in place; a batch file by file"), http, token, dialect))
        }
        Kind::PutGet => {
            let dialect = put_get::PutGet { base };
            Participant::new(Peer::new(
                facts("as the server does it; a batch is many PUTs"),
                http,
                token,
                dialect,
            ))
        }
        Kind::Tus => {
            Participant::new(tus::Tus::new(facts("upload under an id, in place"), http, token, base))
        }
    })
}
