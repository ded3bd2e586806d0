//! Two requests for one place of an upload.

use std::thread;

use anyhow::{Context as _, Result, ensure};
use devbox_tests::{Bed, http};

const SIZE: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn attack_concurrent_pieces_at_one_offset() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    let authorization = format!("Bearer {}", bed.server.key());
    let base = format!("/v1/devboxes/{}", sandbox.id());
    let common = [("Authorization", authorization.as_str()), ("Tus-Resumable", "1.0.0")];
    for round in 0..8_u8 {
        // "/workspace/race" in base64.
        let metadata = "path L3dvcmtzcGFjZS9yYWNl";
        let length = SIZE.to_string();
        let creation = [&common[..], &[("Upload-Length", &length), ("Upload-Metadata", metadata)]].concat();
        let begun = http::send(bed.server.address(), &format!("POST {base}/uploads"), &creation, b"")?;
        let location = begun.header("location").context("no location")?.to_owned();
        let send = |byte: u8| {
            let piece = [("Upload-Offset", "0"), ("Content-Type", "application/offset+octet-stream")];
            let headers = [&common[..], &piece].concat();
            http::send(bed.server.address(), &format!("PATCH {base}/{location}"), &headers, &vec![byte; SIZE])
        };
        let (one, other) = (2 * round, 2 * round + 1);
        let (first, second) = thread::scope(|scope| {
            let first = scope.spawn(|| send(one));
            let second = scope.spawn(|| send(other));
            (first.join(), second.join())
        });
        let answers = [first, second].map(|answer| answer.expect("a thread").map(|answer| answer.status));
        let [first, second] = answers;
        let (first, second) = (first?, second?);
        ensure!([first, second].iter().filter(|status| **status == 204).count() == 1, "{first} {second}");
        ensure!([first, second].contains(&409), "{first} {second}");
        let found = sandbox.read("/workspace/race").await?;
        let winner = if first == 204 { one } else { other };
        ensure!(found.len() == SIZE && found.iter().all(|byte| *byte == winner), "the pieces are mixed");
        let replayed = send(winner)?;
        ensure!(replayed.status == 409, "a replayed piece: {}", replayed.text);
    }
    Ok(())
}
