//! The server dies by SIGKILL in the middle of a transfer, and its boxes with it; the next one finds all or nothing in them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use devbox_testkit::LiveServer;

use crate::operations::{multipart_body, tar_of};
use crate::wire::{Message, Response, parse};

/// Longer than one chunk on any of the ways.
const LENGTH: usize = 300_000;

/// When the server is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After this part of the request, in thousandths of its bytes.
    Sent(usize),
    /// At the first byte of the answer.
    Answered,
}

const MOMENTS: [Moment; 6] = [
    Moment::Sent(0),
    Moment::Sent(10),
    Moment::Sent(500),
    Moment::Sent(999),
    Moment::Sent(1000),
    Moment::Answered,
];

/// A live server with one box, by raw HTTP.
struct Scene {
    server: LiveServer,
    id: String,
}

impl Scene {
    fn start() -> Result<Self> {
        let mut scene = Self { server: LiveServer::start()?, id: String::new() };
        let json = [("Content-Type", "application/json")];
        let made = scene.call("POST /v1/devboxes", &json, b"{}")?;
        let id = made.text.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
        id.with_context(|| format!("no box: {}", made.text))?.clone_into(&mut scene.id);
        Ok(scene)
    }

    fn message(&self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let key = format!("Bearer {}", self.server.key());
        let request = request.replacen("BOX", &format!("/v1/devboxes/{}", self.id), 1);
        Message::new(&request, &[headers, &[("Authorization", &key)]].concat(), body).bytes
    }

    fn call(&self, request: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
        let mut stream = self.connect()?;
        stream.write_all(&self.message(request, headers, body))?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer, request.starts_with("HEAD ")).with_context(|| format!("{request}: no answer"))
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.server.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }

    /// Sends a request, kills the server at that moment, starts it again and the box with it. Whether success was told.
    fn kill_during(&mut self, message: &[u8], moment: Moment) -> Result<bool> {
        let mut stream = self.connect()?;
        let mut first = [0; 12];
        match moment {
            Moment::Sent(part) => stream.write_all(&message[..message.len() * part / 1000])?,
            Moment::Answered => {
                stream.write_all(message)?;
                stream.read_exact(&mut first)?;
            }
        }
        self.server.kill()?;
        self.server.launch()?;
        let found = self.call("GET BOX", &[], b"")?;
        ensure!(found.status == 200, "the box is lost: {}", found.text);
        let started = self.call("POST BOX/start", &[], b"")?;
        ensure!(started.status == 200, "the box does not start: {}", started.text);
        Ok(first.starts_with(b"HTTP/1.1 2"))
    }

    fn read(&self, path: &str) -> Result<Option<String>> {
        let found = self.call(&format!("GET BOX/files{path}"), &[], b"")?;
        let body = found.text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        Ok(body.filter(|_| found.status == 200))
    }

    /// What processes in the box see, reserved names included.
    fn names(&self) -> Result<String> {
        let listed = self.server.devbox(&["exec", &self.id, "--", "find", "/workspace"]).output()?;
        ensure!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let mut names: Vec<String> = String::from_utf8(listed.stdout)?.lines().map(str::to_owned).collect();
        names.sort();
        Ok(names.join(" "))
    }
}

/// Promises 1 and 2, through the whole path: who starts the server again finds the old files or the new ones, the box, and room
/// for the next transfer.
#[test]
fn a_server_killed_in_mid_transfer_leaves_all_or_nothing() -> Result<()> {
    let mut scene = Scene::start()?;
    let new = "n".repeat(LENGTH);
    let files = [("workspace/a", &new[..]), ("workspace/b", &new[..])];
    let old_names = "/workspace /workspace/a";
    let kinds: [(&str, String, Vec<u8>, &str); 3] = [
        ("PUT BOX/files/workspace/a", "text/plain".to_owned(), new.clone().into_bytes(), old_names),
        (
            "POST BOX/files",
            "multipart/form-data; boundary=limit".to_owned(),
            multipart_body(&files).into_bytes(),
            "/workspace /workspace/a /workspace/b",
        ),
        (
            "PUT BOX/archive/workspace",
            "application/x-tar".to_owned(),
            tar_of(&[("a", new.as_bytes()), ("b", new.as_bytes())]),
            "/workspace /workspace/a /workspace/b",
        ),
    ];
    for (request, kind, body, new_names) in kinds {
        for moment in MOMENTS {
            let what = format!("{request}, killed at {moment:?}");
            let _ = scene.call("DELETE BOX/files/workspace/b", &[], b"")?;
            ensure!(scene.call("PUT BOX/files/workspace/a", &[], b"old")?.status < 300, "{what}: no way in");
            let message = scene.message(request, &[("Content-Type", &kind)], &body);
            let told = scene.kill_during(&message, moment).with_context(|| what.clone())?;
            let names = scene.names()?;
            let a = scene.read("/workspace/a")?.with_context(|| what.clone())?;
            let is_new = a == new && names == new_names;
            let is_old = a == "old" && names == old_names;
            ensure!(is_old || is_new, "{what}: {} bytes in a; {names}", a.len());
            ensure!(is_new || !told, "{what}: success was told, and the files are old");
            let was_whole = matches!(moment, Moment::Answered | Moment::Sent(1000));
            ensure!(is_old || was_whole, "{what}: a part of the request took effect");
        }
    }
    Ok(())
}

/// Promise 5, through the whole path: an upload goes on after the server was killed in the middle of a piece.
#[test]
fn an_upload_goes_on_after_the_server_was_killed() -> Result<()> {
    let mut scene = Scene::start()?;
    let content = "u".repeat(LENGTH);
    let tus = ("Tus-Resumable", "1.0.0");
    for moment in MOMENTS {
        let length = LENGTH.to_string();
        let headers = [tus, ("Upload-Length", &length[..]), ("Upload-Metadata", "path L3dvcmtzcGFjZS91cA==")];
        let begun = scene.call("POST BOX/uploads", &headers, b"")?;
        let place = begun.header("location").with_context(|| begun.text.clone())?.to_owned();
        let piece = ("Content-Type", "application/offset+octet-stream");
        let message = scene.message(
            &format!("PATCH BOX/{place}"),
            &[tus, piece, ("Upload-Offset", "0")],
            content.as_bytes(),
        );
        let told = scene.kill_during(&message, moment)?;
        let found = scene.call(&format!("HEAD BOX/{place}"), &[tus], b"")?;
        let offset: usize = found.header("upload-offset").with_context(|| found.text.clone())?.parse()?;
        ensure!(offset == LENGTH || !told, "{moment:?}: success was told, and {offset} bytes are there");
        let at = offset.to_string();
        let rest = &content.as_bytes()[offset..];
        let done = scene.call(&format!("PATCH BOX/{place}"), &[tus, piece, ("Upload-Offset", &at)], rest)?;
        ensure!(done.status == 204, "{moment:?}: {}", done.text);
        ensure!(scene.read("/workspace/up")? == Some(content.clone()), "{moment:?}: another content");
        ensure!(scene.names()? == "/workspace /workspace/up", "{moment:?}: {}", scene.names()?);
        ensure!(scene.call("DELETE BOX/files/workspace/up", &[], b"")?.status < 300);
    }
    Ok(())
}
