//! The server itself: keys, audit, metrics, exposure.

use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use devbox_client::{Client, ClientConfig, CreateRequest, Sandbox};
use devbox_testkit::{LiveServer, ServerOptions};
use devbox_tests::bed::{Bed, shell};
use devbox_tests::http::{self, Answer};
use serde_json::Value;

fn get(bed: &Bed, target: &str) -> Result<Answer> {
    let authorization = format!("Bearer {}", bed.server.key());
    http::send(bed.server.address(), &format!("GET {target}"), &[("Authorization", &authorization)], b"")
}

#[tokio::test]
async fn the_first_key_is_private_and_stored_hashed() -> Result<()> {
    let mut bed = Bed::start()?;
    let file = bed.server.data_dir().join("first.key");
    let metadata = std::fs::metadata(&file)?;
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let key = bed.server.key().to_owned();
    let shown = bed.server.log().matches(&key).count();
    assert_eq!(shown, 1, "it is printed once");
    bed.server.stop()?;
    for entry in std::fs::read_dir(bed.server.data_dir())?.flatten() {
        if entry.path() != file && entry.file_type()?.is_file() {
            let content = std::fs::read(entry.path())?;
            let secret = key.as_bytes();
            ensure!(
                !content.windows(secret.len()).any(|part| part == secret),
                "{:?} has the key",
                entry.path()
            );
        }
    }
    bed.restart()?;
    assert_eq!(bed.server.key(), key, "a second start makes no second first key");
    assert_eq!(bed.server.log().matches(&key).count(), 1, "it is printed once");
    Ok(())
}

#[tokio::test]
async fn every_operation_leaves_a_record_and_no_content() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", "some content").await?;
    sandbox.read("file").await?;
    sandbox.upload_files([("a", "12345"), ("b", "12345")]).await?;
    let _ = sandbox.read("missing").await;
    shell(&sandbox, "echo hidden-argument; exit 3").await?;
    let answer = get(&bed, &format!("/v1/audit?box={}&limit=100", sandbox.id()))?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let page = answer.json()?;
    let records = page["records"].as_array().context("no records")?;
    let find = |operation: &str, failed: bool| {
        let mut found = records.iter().filter(|record| record["operation"] == operation);
        found.find(|record| record["error"].is_null() != failed)
    };
    let write = find("file.write", false).context("no record of the write")?;
    assert_eq!((&write["path"], &write["bytes"]), (&Value::from("/workspace/file"), &Value::from(12)));
    let batch = find("file.write_many", false).context("no record of the batch")?;
    assert_eq!((&batch["entries"], &batch["bytes"]), (&Value::from(2), &Value::from(10)));
    assert_eq!(find("file.read", false).context("no record of the read")?["bytes"], 12);
    assert_eq!(find("file.read", true).context("no record of the failed read")?["error"], "not_found");
    assert_eq!(find("process.run", false).context("no record of the program")?["exit_code"], 3);
    ensure!(find("box.create", false).is_some(), "no record of the box");
    let text = page.to_string();
    ensure!(!text.contains("hidden-argument") && !text.contains("some content"), "the audit tells too much");
    ensure!(!text.contains(bed.server.key()), "the audit has the key");
    Ok(())
}

#[tokio::test]
async fn health_metrics_and_the_document_are_served() -> Result<()> {
    let bed = Bed::start()?;
    let sandbox = bed.sandbox().await?;
    sandbox.write("file", vec![1; 100_000]).await?;
    for target in ["/healthz", "/readyz"] {
        assert_eq!(http::send(bed.server.address(), &format!("GET {target}"), &[], b"")?.status, 200);
    }
    let metrics = get(&bed, "/metrics")?;
    assert_eq!(metrics.status, 200, "{}", metrics.text);
    ensure!(metrics.text.contains("# EOF") && metrics.text.contains("devbox_"), "{}", metrics.text);
    ensure!(!metrics.text.contains(sandbox.id().as_str()), "a label for each box would grow without end");
    let served = get(&bed, "/openapi.json")?.json()?;
    let checked_in = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/openapi.json"))?;
    ensure!(
        served == serde_json::from_slice::<Value>(&checked_in)?,
        "another document: run `cargo xtask gen`"
    );
    Ok(())
}

#[test]
fn plaintext_is_not_served_to_other_machines_unasked() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let mut serve = std::process::Command::new(devbox_testkit::server::binary());
    serve.args(["serve", "--listen", "0.0.0.0:0", "--data-dir"]).arg(folder.path().join("data"));
    let output = serve.stdin(Stdio::null()).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it served");
    ensure!(complaint.contains("error: ") && complaint.contains("hint: "), "{complaint}");
    ensure!(complaint.contains("--tls-cert") && complaint.contains("--allow-plaintext"), "{complaint}");
    Ok(())
}

#[tokio::test]
async fn a_server_speaks_tls() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let options = ServerOptions::default().with_tls(&text(&certificate), &text(&key));
    let server = LiveServer::start_with(options)?;
    ensure!(server.url().starts_with("https://"), "{}", server.url());
    let mut config = ClientConfig::new(server.url(), Some(server.key().to_owned()));
    let stranger = Client::connect(config.clone())?;
    ensure!(stranger.create(&CreateRequest::default()).await.is_err(), "an unknown certificate was trusted");
    config.ca_file = Some(certificate);
    let sandbox: Sandbox = Client::connect(config)?.create_sandbox(&CreateRequest::default()).await?;
    sandbox.write("file", vec![7; 1_000_000]).await?;
    assert_eq!(sandbox.read("file").await?, vec![7; 1_000_000]);
    Ok(())
}
