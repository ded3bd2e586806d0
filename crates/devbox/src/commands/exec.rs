//! `devbox exec`.

use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use devbox_client::{Command, Sandbox};
use devbox_guest::contract::{EventStream, InputStream};
use devbox_types::process::{ExitStatus, ProcessEvent, ProcessInput};
use devbox_types::{ErrorCode, Problem};
use futures_util::stream::{self, StreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::{connect, stdin};
use crate::cli::ExecArgs;
use crate::output::OutputError;

const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;

/// Signals that wait to be sent; a person who types Ctrl-C faster than this loses none that matters.
const SIGNALS: usize = 8;

pub(super) async fn exec(args: ExecArgs) -> anyhow::Result<ExitCode> {
    let client = connect(&args.connection)?;
    let sandbox = client.sandbox(&args.reference).await?.as_user(args.user.clone().unwrap_or_default());
    let (signals, received) = mpsc::channel(SIGNALS);
    let passes_input = args.interactive || !(args.no_stdin || std::io::stdin().is_terminal());
    let timeout = args.timeout;
    // Until the program runs, signals do to us what they do to any program.
    let events = start(&sandbox, args, input(passes_input, received)).await?;
    let status = tokio::select! {
        status = print(events) => status?,
        given_up = forward_signals(signals) => return given_up,
    };
    if let (true, Some(timeout)) = (status.timed_out, timeout) {
        eprintln!("devbox: the program was killed when its {timeout:?} were up");
    }
    Ok(ExitCode::from(u8::try_from(status.shell_code() & 0xff).unwrap_or(1)))
}

async fn start(sandbox: &Sandbox, args: ExecArgs, input: InputStream) -> anyhow::Result<EventStream> {
    let mut command = Command::new(args.argv);
    for (name, value) in args.env {
        command = command.with_env(name, value);
    }
    if let Some(workdir) = args.workdir {
        command = command.with_cwd(workdir.as_bytes());
    }
    if let Some(timeout) = args.timeout {
        command = command.with_timeout(timeout);
    }
    Ok(sandbox.spawn(command, input).await?)
}

/// What goes to the program: standard input and its end, and signals for as long as it runs.
fn input(passes_input: bool, signals: mpsc::Receiver<u8>) -> InputStream {
    let typed = if passes_input {
        // Input that cannot be read any more has ended, as far as the program is concerned.
        let chunks = stdin::chunks().take_while(|chunk| std::future::ready(chunk.is_ok()));
        chunks.filter_map(async |chunk| chunk.ok().map(ProcessInput::Stdin)).boxed()
    } else {
        stream::empty().boxed()
    };
    let typed = typed.chain(stream::iter([ProcessInput::EndOfStdin]));
    let signals = stream::unfold(signals, |mut signals| async move {
        Some((ProcessInput::Signal(signals.recv().await?), signals))
    });
    stream::select(typed, signals).boxed()
}

/// Passes signals on for as long as it is polled. Ctrl-C interrupts the program; a second one kills it; a third ends this
/// command without waiting for the box to say so.
async fn forward_signals(sender: mpsc::Sender<u8>) -> anyhow::Result<ExitCode> {
    let mut interrupts = signal(SignalKind::interrupt()).context("watch for Ctrl-C")?;
    let mut terminations = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut hang_ups = signal(SignalKind::hangup()).context("watch for SIGHUP")?;
    let mut interruptions = 0_u8;
    loop {
        let number = tokio::select! {
            _ = interrupts.recv() => {
                interruptions += 1;
                match interruptions {
                    1 => SIGINT,
                    2 => SIGKILL,
                    _ => return Ok(ExitCode::from(128 + SIGINT)),
                }
            }
            _ = terminations.recv() => SIGTERM,
            _ = hang_ups.recv() => SIGHUP,
        };
        // With a full queue the far side is stuck; then only a third Ctrl-C helps, and it must still be seen.
        let _ = sender.try_send(number);
    }
}

/// Prints what the program says, as it comes, until it ends.
async fn print(mut events: EventStream) -> anyhow::Result<ExitStatus> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Some(event) = events.next().await {
        match event.map_err(devbox_client::ClientError::from)? {
            ProcessEvent::Started { .. } => {}
            ProcessEvent::Stdout(bytes) => write(&mut stdout, bytes).await?,
            ProcessEvent::Stderr(bytes) => write(&mut stderr, bytes).await?,
            ProcessEvent::Exited(status) => return Ok(status),
        }
    }
    Err(Problem::new(ErrorCode::Interrupted, "the stream of output ended before the program did").into())
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: Bytes) -> Result<(), OutputError> {
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}
