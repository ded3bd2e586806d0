//! Clients that go away after every byte of what they send: nothing is written, nothing is left.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use devbox_testkit::BareAgent;

use crate::chance::Chance;
use crate::operations::{OPERATIONS, options, prepare};
use crate::tree::{Tree, check_state};
use crate::wire::{call, parse};

/// How long the agent may take to notice that a client is gone.
const PATIENCE: Duration = Duration::from_secs(20);
const TUS: (&str, &str) = ("Tus-Resumable", "1.0.0");

/// How a client goes away.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// Closes the line.
    Closing,
    /// Says that nothing more comes, and listens.
    HalfClosing,
}

/// Promises 1 and 2: a client that is gone before its request is whole has changed nothing.
#[test]
fn a_client_gone_after_any_byte_leaves_nothing() -> Result<()> {
    let chance = Chance::new("clients gone");
    for operation in OPERATIONS {
        let folder = prepare()?;
        let old = Tree::of(folder.path())?;
        let agent = BareAgent::serve(folder.path(), &options())?;
        let request = (operation.request)(&agent).bytes;
        let mut cuts = chance.some(request.len(), 400);
        // The last bytes are those that decide.
        cuts.extend(request.len().saturating_sub(40)..request.len());
        for (number, cut) in cuts.into_iter().enumerate() {
            let leaving = if number % 2 == 0 { Leaving::Closing } else { Leaving::HalfClosing };
            let success = send_part(&agent, &request[..cut], leaving)?;
            ensure!(!success, "{}: success after {cut} of {} bytes", operation.name, request.len());
        }
        settles(&old, folder.path(), 0).with_context(|| operation.name)?;
        // And whoever stays is served.
        let answer = operation.run(&agent);
        ensure!(answer.is_success(), "{}: {answer:?}", operation.name);
        ensure!(Tree::of(folder.path())? != old, "{} changed nothing", operation.name);
    }
    Ok(())
}

/// Promise 5: what came of a piece that broke off is kept, at whichever byte it did.
#[test]
fn an_upload_goes_on_from_the_byte_at_which_the_line_broke() -> Result<()> {
    let chance = Chance::new("pieces that break off");
    let content: Vec<u8> = (0..30_000_u32).map(|index| u8::try_from(index % 251).unwrap_or(0)).collect();
    let folder = prepare()?;
    let old = Tree::of(folder.path())?;
    let agent = BareAgent::serve(folder.path(), &options())?;
    let length = content.len().to_string();
    let headers = [TUS, ("Upload-Length", &length), ("Upload-Metadata", "path L2ZpbGU=")];
    let begun = call(&agent, "POST /v1/uploads", &headers, b"").given();
    let place = format!("/v1/{}", begun.header("location").context("a location")?);
    let mut offset = 0;
    let mut breaks = 0;
    while offset < content.len() {
        let rest = &content[offset..];
        let head = format!(
            "PATCH {place} HTTP/1.1\r\nHost: agent\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: {}\r\n\r\n",
            rest.len()
        );
        let cut = chance.below(400).min(rest.len() - 1);
        let sent = [head.as_bytes(), &rest[..cut]].concat();
        send_part(&agent, &sent, Leaving::Closing)?;
        breaks += 1;
        let found = call(&agent, &format!("HEAD {place}"), &[TUS], b"").given();
        let now: usize = found.header("upload-offset").context("an offset")?.parse()?;
        ensure!((offset..=offset + cut).contains(&now), "{offset} and {cut} sent: {now}");
        ensure!(Tree::of(folder.path())?.without_reserved() == old, "it shows before it is whole");
        if breaks == 150 {
            // Who goes on in the end has the right bytes before him.
            let text = now.to_string();
            let headers =
                [TUS, ("Upload-Offset", &text), ("Content-Type", "application/offset+octet-stream")];
            let done = call(&agent, &format!("PATCH {place}"), &headers, &content[now..]).given();
            ensure!(done.status == 204, "{}", done.text);
            break;
        }
        offset = now;
    }
    ensure!(std::fs::read(folder.path().join("file"))? == content, "the content is another");
    check_state(folder.path(), 1)
}

/// Sends the beginning of a request and goes away; whether success was told.
fn send_part(agent: &BareAgent, part: &[u8], leaving: Leaving) -> Result<bool> {
    let mut stream = agent.connect()?;
    // An answer may come, and the line be closed, before all is sent.
    let _ = stream.write_all(part);
    match leaving {
        Leaving::Closing => Ok(false),
        Leaving::HalfClosing => {
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            Ok(parse(&answer, false).is_some_and(|response| response.status < 300))
        }
    }
}

/// Waits until the agent has noticed that everybody is gone, and has taken back what it had begun.
fn settles(old: &Tree, root: &Path, notes: usize) -> Result<()> {
    let start = Instant::now();
    loop {
        let tree = Tree::of(root);
        let settled = tree.as_ref().is_ok_and(|tree| tree == old) && check_state(root, notes).is_ok();
        if settled {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let tree = tree?;
            ensure!(tree == *old, "it does not become the old:\n{}", tree.differences(old));
            return check_state(root, notes);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
