//! The heads of the floor's requests and answers.

use std::io::{Read, Result, Write};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Replace a file with the bytes that follow.
    Write = 1,
    /// The same, synced to the disk.
    WriteSynced = 2,
    /// Send a file.
    Read = 3,
    /// Write `length` files into a new folder; each follows as a record.
    WriteMany = 4,
    /// Send all files of a folder, each as a record, and an empty record.
    Pack = 5,
    /// Send names and sizes in a folder, each as a record without content, and an empty record.
    List = 6,
    /// Start `true` and wait for it.
    Run = 7,
    /// Remove a folder with all it holds.
    Remove = 8,
}

impl Verb {
    const ALL: [Self; 8] = [
        Self::Write,
        Self::WriteSynced,
        Self::Read,
        Self::WriteMany,
        Self::Pack,
        Self::List,
        Self::Run,
        Self::Remove,
    ];
}

/// The head of a request: 128 bytes.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// What is asked for.
    pub(crate) verb: Verb,
    /// Of which file or folder.
    pub(crate) path: String,
    /// How many bytes, or records, follow.
    pub(crate) length: u64,
    /// The digest that they must have.
    pub(crate) sha256: Option<[u8; 32]>,
}

const SIZE: usize = 128;
const PATH: usize = 48;

impl Head {
    /// A request without more than its path.
    pub(crate) fn of(verb: Verb, path: &str) -> Self {
        Self { verb, path: path.to_owned(), length: 0, sha256: None }
    }

    /// It on the wire. Paths are ours and short.
    pub(crate) fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0] = self.verb as u8;
        bytes[1] = u8::from(self.sha256.is_some());
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..PATH].copy_from_slice(&self.sha256.unwrap_or_default());
        bytes[PATH..PATH + self.path.len()].copy_from_slice(self.path.as_bytes());
        bytes
    }

    /// Reads one; `None` at the end of the stream.
    pub(crate) fn read(stream: &mut impl Read) -> Result<Option<Self>> {
        let mut bytes = [0; SIZE];
        match stream.read_exact(&mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let verb = Verb::ALL.into_iter().find(|verb| *verb as u8 == bytes[0]);
        let Some(verb) = verb else { return Err(std::io::Error::other("there is no such verb")) };
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[8..16]);
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[16..PATH]);
        let path = bytes[PATH..].split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Some(Self {
            verb,
            path: String::from_utf8_lossy(path).into_owned(),
            length: u64::from_le_bytes(length),
            sha256: (bytes[1] == 1).then_some(digest),
        }))
    }
}

/// A file among many: its name and its size, before its bytes. One without a name is the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The name.
    pub(crate) name: String,
    /// The size.
    pub(crate) size: u64,
}

impl Record {
    /// Writes it.
    pub(crate) fn write(stream: &mut impl Write, name: &[u8], size: u64) -> Result<()> {
        let mut head = [0; 16];
        head[..8].copy_from_slice(&(name.len() as u64).to_le_bytes());
        head[8..].copy_from_slice(&size.to_le_bytes());
        stream.write_all(&head)?;
        stream.write_all(name)
    }

    /// Reads the next; `None` is the end of them.
    pub(crate) fn read(stream: &mut impl Read) -> Result<Option<Self>> {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let (mut length, mut size) = ([0; 8], [0; 8]);
        length.copy_from_slice(&head[..8]);
        size.copy_from_slice(&head[8..]);
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(None);
        }
        if length > 255 {
            return Err(std::io::Error::other("no name is that long"));
        }
        let mut name = vec![0; length];
        stream.read_exact(&mut name)?;
        let name = String::from_utf8_lossy(&name).into_owned();
        Ok(Some(Self { name, size: u64::from_le_bytes(size) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_records_are_read_as_they_were_written() {
        for verb in Verb::ALL {
            let head = Head { verb, path: "a/b".to_owned(), length: 7, sha256: Some([3; 32]) };
            let read = Head::read(&mut &head.to_bytes()[..]).expect("a head").expect("not the end");
            assert_eq!((read.verb, read.path, read.length), (verb, head.path, 7));
            assert_eq!(read.sha256, Some([3; 32]));
        }
        let mut stream = Vec::new();
        Record::write(&mut stream, b"name", 9).expect("written");
        Record::write(&mut stream, b"", 0).expect("written");
        let mut stream = &stream[..];
        let record = Record { name: "name".to_owned(), size: 9 };
        assert_eq!(Record::read(&mut stream).expect("a record"), Some(record));
        assert_eq!(Record::read(&mut stream).expect("the end"), None);
    }
}
