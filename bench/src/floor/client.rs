//! The client of the floor.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

use crate::content::{Check, Content};
use crate::floor::BUFFER;
use crate::floor::head::{Head, Verb};
use crate::subject::Subject;

/// A connection to the floor, and the processes behind it.
pub(crate) struct Floor {
    name: &'static str,
    hops: usize,
    requests: Box<dyn Write>,
    answers: BufReader<Box<dyn Read>>,
    _processes: Vec<OwnProcess>,
}

/// A process of ours that ends with its owner.
#[derive(Debug)]
pub(crate) struct OwnProcess(pub(crate) Child);

impl Drop for OwnProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Floor {
    /// One hop: client, unix socket, engine.
    pub(crate) fn one_hop(sockets: &Path, folder: &Path) -> Result<Self> {
        let socket = sockets.join("floor-1");
        let engine = start_engine(&socket, folder)?;
        let stream = UnixStream::connect(&socket)?;
        let answers: Box<dyn Read> = Box::new(stream.try_clone()?);
        Ok(Self {
            name: "floor, one hop",
            hops: 1,
            requests: Box::new(stream),
            answers: BufReader::with_capacity(BUFFER, answers),
            _processes: vec![engine],
        })
    }

    /// Two hops: client, TCP, relay, unix socket, engine.
    pub(crate) fn two_hops(sockets: &Path, folder: &Path) -> Result<Self> {
        let socket = sockets.join("floor-2");
        let engine = start_engine(&socket, folder)?;
        let mut relay = Command::new(std::env::current_exe()?);
        relay.arg("floor-relay").arg(&socket).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut relay = OwnProcess(relay.spawn().context("start the relay")?);
        let mut address = String::new();
        let output = relay.0.stdout.take().context("the output was piped")?;
        BufReader::new(output).read_line(&mut address)?;
        let stream = TcpStream::connect(address.trim()).context("connect to the relay")?;
        stream.set_nodelay(true)?;
        let answers: Box<dyn Read> = Box::new(stream.try_clone()?);
        Ok(Self {
            name: "floor, two hops",
            hops: 2,
            requests: Box::new(stream),
            answers: BufReader::with_capacity(BUFFER, answers),
            _processes: vec![engine, relay],
        })
    }

    fn send_head(&mut self, head: Head, small: &[u8]) -> Result<()> {
        let mut message = Vec::with_capacity(64 + small.len());
        message.extend_from_slice(&head.to_bytes());
        message.extend_from_slice(small);
        self.requests.write_all(&message)?;
        Ok(())
    }

    fn answer_length(&mut self) -> Result<u64> {
        let mut length = [0; 8];
        self.answers.read_exact(&mut length).context("the floor answers nothing")?;
        Ok(u64::from_le_bytes(length))
    }
}

fn start_engine(socket: &Path, folder: &Path) -> Result<OwnProcess> {
    let mut engine = Command::new(std::env::current_exe()?);
    engine.arg("floor-engine").arg(socket).arg(folder).stdin(Stdio::null());
    let engine = OwnProcess(engine.spawn().context("start the floor")?);
    wait_for_socket(socket)?;
    Ok(engine)
}

/// Waits until somebody listens on a unix socket.
pub(crate) fn wait_for_socket(socket: &Path) -> Result<()> {
    let start = Instant::now();
    while UnixStream::connect(socket).is_err() {
        ensure!(start.elapsed() < Duration::from_secs(20), "nobody listens on {}", socket.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The floor has numbers for names: the last byte of ours.
fn number(file: &str) -> u8 {
    file.bytes().last().unwrap_or_default()
}

impl Subject for Floor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hops(&self) -> usize {
        self.hops
    }

    fn stores(&self) -> bool {
        true
    }

    fn write(&mut self, file: &str, content: Bytes) -> Result<()> {
        let length = content.len() as u64;
        self.send_head(Head { verb: Verb::Write, file: number(file), length, sha256: None }, &content)?;
        self.answer_length()?;
        Ok(())
    }

    fn read(&mut self, file: &str) -> Result<Bytes> {
        self.send_head(Head { verb: Verb::Read, file: number(file), length: 0, sha256: None }, &[])?;
        let mut content = vec![0; usize::try_from(self.answer_length()?)?];
        self.answers.read_exact(&mut content)?;
        Ok(Bytes::from(content))
    }

    fn upload(&mut self, file: &str, content: Content, digest: Option<[u8; 32]>) -> Result<()> {
        let head = Head { verb: Verb::Write, file: number(file), length: content.length, sha256: digest };
        self.send_head(head, &[])?;
        for chunk in content.chunks() {
            for part in chunk.chunks(BUFFER) {
                self.requests.write_all(part)?;
            }
        }
        self.answer_length()?;
        Ok(())
    }

    fn download(&mut self, file: &str, content: Content, digest: Option<[u8; 32]>) -> Result<()> {
        self.send_head(Head { verb: Verb::Read, file: number(file), length: 0, sha256: None }, &[])?;
        let mut left = self.answer_length()?;
        let mut check = Check::new(content, digest);
        let mut buffer = vec![0; BUFFER];
        while left > 0 {
            let size = BUFFER.min(usize::try_from(left)?);
            let read = self.answers.read(&mut buffer[..size])?;
            ensure!(read > 0, "the content ended early");
            check.take(&buffer[..read])?;
            left -= read as u64;
        }
        check.finish()
    }
}
