//! The heads of the floor's requests and answers.

use std::io::{Read, Result};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Replace a file with the bytes that follow.
    Write,
    /// Send a file.
    Read,
}

/// The head of a request: 64 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// What is asked for.
    pub(crate) verb: Verb,
    /// Which file, as a number: names cost nothing worth measuring.
    pub(crate) file: u8,
    /// How many bytes follow.
    pub(crate) length: u64,
    /// The digest that they must have.
    pub(crate) sha256: Option<[u8; 32]>,
}

impl Head {
    const SIZE: usize = 64;

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0] = u8::from(self.verb == Verb::Write);
        bytes[1] = self.file;
        bytes[2] = u8::from(self.sha256.is_some());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.sha256.unwrap_or_default());
        bytes
    }

    /// Reads one; `None` at the end of the stream.
    pub(crate) fn read(stream: &mut impl Read) -> Result<Option<Self>> {
        let mut bytes = [0; Self::SIZE];
        match stream.read_exact(&mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[8..16]);
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[16..48]);
        Ok(Some(Self {
            verb: if bytes[0] == 1 { Verb::Write } else { Verb::Read },
            file: bytes[1],
            length: u64::from_le_bytes(length),
            sha256: (bytes[2] == 1).then_some(digest),
        }))
    }
}
