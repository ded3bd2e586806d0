//! The client of the floor.

use std::io::{BufRead as _, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use bytes::Bytes;

use crate::content::Check;
use crate::floor::BUFFER;
use crate::floor::head::{Head, Record, Verb};
use crate::process::{OwnProcess, wait_for_socket};
use crate::result::{Role, SubjectFacts};
use crate::row::Row;
use crate::subject::{Listing, Move, Packed, Subject};
use crate::tree::Tree;

/// A connection to the floor, and the processes behind it.
pub(crate) struct Floor {
    facts: SubjectFacts,
    requests: Box<dyn Write>,
    answers: BufReader<Box<dyn Read>>,
    _processes: Vec<OwnProcess>,
}

fn facts(name: &str, hops: usize, file_system: &str) -> SubjectFacts {
    SubjectFacts {
        name: name.to_owned(),
        role: Role::Floor,
        hops,
        file_system: file_system.to_owned(),
        publishing: "unnamed file, link, rename".to_owned(),
    }
}

impl Floor {
    /// One hop: client, unix socket, engine.
    pub(crate) fn one_hop(sockets: &Path, folder: &Path, file_system: &str) -> Result<Self> {
        let socket = sockets.join("floor-1");
        let engine = start_engine(&socket, folder)?;
        let stream = UnixStream::connect(&socket)?;
        let answers: Box<dyn Read> = Box::new(stream.try_clone()?);
        Ok(Self {
            facts: facts("floor, one hop", 1, file_system),
            requests: Box::new(stream),
            answers: BufReader::with_capacity(BUFFER, answers),
            _processes: vec![engine],
        })
    }

    /// Two hops: client, TCP, relay, unix socket, engine.
    pub(crate) fn two_hops(sockets: &Path, folder: &Path, file_system: &str) -> Result<Self> {
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
            facts: facts("floor, two hops", 2, file_system),
            requests: Box::new(stream),
            answers: BufReader::with_capacity(BUFFER, answers),
            _processes: vec![engine, relay],
        })
    }

    fn send_head(&mut self, head: &Head, small: &[u8]) -> Result<()> {
        let head = head.to_bytes();
        let mut message = Vec::with_capacity(head.len() + small.len());
        message.extend_from_slice(&head);
        message.extend_from_slice(small);
        self.requests.write_all(&message)?;
        Ok(())
    }

    fn answer_length(&mut self) -> Result<u64> {
        let mut length = [0; 8];
        self.answers.read_exact(&mut length).context("the floor answers nothing")?;
        Ok(u64::from_le_bytes(length))
    }

    fn put(&mut self, verb: Verb, file: &str, content: &[u8]) -> Result<()> {
        self.send_head(&Head { length: content.len() as u64, ..Head::of(verb, file) }, content)?;
        self.answer_length()?;
        Ok(())
    }
}

fn start_engine(socket: &Path, folder: &Path) -> Result<OwnProcess> {
    let mut engine = Command::new(std::env::current_exe()?);
    engine.arg("floor-engine").arg(socket).arg(folder).stdin(Stdio::null());
    let engine = OwnProcess(engine.spawn().context("start the floor")?);
    wait_for_socket(socket)?;
    Ok(engine)
}

impl Subject for Floor {
    fn facts(&self) -> &SubjectFacts {
        &self.facts
    }

    fn can(&self, row: Row) -> bool {
        row.floor() == Some(row)
    }

    fn write(&mut self, file: &str, content: Bytes) -> Result<()> {
        self.put(Verb::Write, file, &content)
    }

    fn write_synced(&mut self, file: &str, content: Bytes) -> Result<()> {
        self.put(Verb::WriteSynced, file, &content)
    }

    fn read(&mut self, file: &str) -> Result<Bytes> {
        self.send_head(&Head::of(Verb::Read, file), &[])?;
        let mut content = vec![0; usize::try_from(self.answer_length()?)?];
        self.answers.read_exact(&mut content)?;
        Ok(Bytes::from(content))
    }

    fn upload(&mut self, file: &str, what: Move) -> Result<()> {
        let (length, sha256) = (what.content.length, what.digest);
        self.send_head(&Head { length, sha256, ..Head::of(Verb::Write, file) }, &[])?;
        for chunk in what.content.chunks() {
            for part in chunk.chunks(BUFFER) {
                self.requests.write_all(part)?;
            }
        }
        self.answer_length()?;
        Ok(())
    }

    fn download(&mut self, file: &str, what: Move) -> Result<()> {
        self.send_head(&Head::of(Verb::Read, file), &[])?;
        let length = self.answer_length()?;
        let mut check = Check::new(what.content, what.digest);
        check.read_from(&mut (&mut self.answers).take(length))?;
        check.finish()
    }

    fn write_many(&mut self, folder: &str, tree: &Tree) -> Result<()> {
        self.send_head(&Head { length: tree.files as u64, ..Head::of(Verb::WriteMany, folder) }, &[])?;
        let mut requests = BufWriter::with_capacity(BUFFER, &mut self.requests);
        for (name, content) in tree.iter() {
            Record::write(&mut requests, name.as_bytes(), content.len() as u64)?;
            requests.write_all(&content)?;
        }
        requests.flush()?;
        drop(requests);
        self.answer_length()?;
        Ok(())
    }

    fn pack(&mut self, folder: &str) -> Result<Packed> {
        self.send_head(&Head::of(Verb::Pack, folder), &[])?;
        let mut files = Vec::new();
        while let Some(Record { name, size }) = Record::read(&mut self.answers)? {
            let mut content = vec![0; usize::try_from(size)?];
            self.answers.read_exact(&mut content)?;
            files.push((name, content));
        }
        Ok(Packed::Files(files))
    }

    fn list(&mut self, folder: &str, _row: Row) -> Result<Listing> {
        self.send_head(&Head::of(Verb::List, folder), &[])?;
        let mut listing = Listing::new();
        while let Some(Record { name, size }) = Record::read(&mut self.answers)? {
            listing.insert(name, size);
        }
        Ok(listing)
    }

    fn run(&mut self) -> Result<()> {
        self.put(Verb::Run, "", &[])
    }

    fn remove(&mut self, folder: &str) -> Result<()> {
        self.put(Verb::Remove, folder, &[])
    }
}
