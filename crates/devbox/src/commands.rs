//! One file a command: what was typed becomes calls, answers become text.

mod boxes;
mod create;
mod exec;
mod keys;
mod metadata;
mod show;
mod single_file;
pub(crate) mod stdin;
mod version;

use std::process::ExitCode;

use anyhow::Context as _;
use devbox_client::{Client, ClientError};
use tokio::runtime::Runtime;

use crate::archive;
use crate::cli::{Command, ConnectionArgs, KeyCommand};
use crate::copy;
use crate::failure;
use crate::settings::{self, ProcessEnvironment};

pub(crate) use version::version;

/// What a shell makes of a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 128 + 2;

/// Runs a command that speaks to a server.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(dispatch(command));
    // Whoever still reads standard input in the background is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Two threads: one for the connection, one for files and terminals here.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the threads of this program")
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(args) => create::create(args).await?,
        Command::Ls(args) => show::ls(args).await?,
        Command::Inspect(args) => show::inspect(args).await?,
        Command::Templates(args) => show::templates(args).await?,
        Command::Start(args) => return boxes::start(args).await,
        Command::Stop(args) => return boxes::stop(args).await,
        Command::Rm(args) => return boxes::rm(args).await,
        Command::Exec(args) => return exec::exec(args).await,
        Command::Cp(args) => return copy::cp(args).await,
        Command::Cat(args) => single_file::cat(args).await?,
        Command::Put(args) => single_file::put(args).await?,
        Command::Truncate(args) => single_file::truncate(args).await?,
        Command::Meta(args) => metadata::meta(args).await?,
        Command::Pack(args) => return archive::pack(args).await,
        Command::Unpack(args) => return archive::unpack(args).await,
        Command::Key(args) => match args.command {
            KeyCommand::Create(args) => keys::create(args).await?,
            KeyCommand::Ls(args) => keys::ls(args).await?,
            KeyCommand::Rm(args) => return keys::rm(args).await,
        },
        Command::Serve(_) | Command::Version(_) | Command::Openapi => {
            unreachable!("main runs these without a server")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The client that the settings ask for.
pub(crate) fn connect(args: &ConnectionArgs) -> anyhow::Result<Client> {
    Ok(Client::connect(settings::client(args, &ProcessEnvironment)?)?)
}

/// Does the same to each of many, tells each failure as it comes, and exits with the code of the first.
async fn for_each(
    verb: &str,
    subjects: &[String],
    action: impl AsyncFn(&str) -> Result<(), ClientError>,
) -> anyhow::Result<ExitCode> {
    let mut outcome = ExitCode::SUCCESS;
    for subject in subjects {
        if let Err(error) = action(subject).await {
            let code = failure::tell(&anyhow::Error::from(error).context(format!("cannot {verb} {subject}")));
            if outcome == ExitCode::SUCCESS {
                outcome = code;
            }
        }
    }
    Ok(outcome)
}
