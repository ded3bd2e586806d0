//! What tells one request from another, where both come with the same key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use devbox_types::WriteCondition;
use devbox_types::file::WriteRequest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A digest of a request, or of a part of it. Kept with outcomes, so what goes into it may not change between versions:
/// a repeat across an update would then be taken for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of some texts, each told apart from the next.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut printer = Fingerprinter::default();
        parts.iter().for_each(|part| printer.part(part));
        printer.finish()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        BASE64.encode(fingerprint.0)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let bytes = BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("a fingerprint is 32 bytes in base64")
    }
}

/// Takes the fingerprint of a request as it comes.
#[derive(Debug, Clone, Default)]
pub struct Fingerprinter {
    hasher: Sha256,
    /// How many bytes of content came since the last file began.
    content: u64,
}

impl Fingerprinter {
    /// A file begins: where it goes, over what, and with which mode and time.
    pub fn begin(&mut self, request: &WriteRequest) {
        self.part(request.path.as_bytes());
        self.part(&condition(&request.condition));
        self.part(format!("{:?}", request.mode).as_bytes());
        let modified = request.modified.map(|time| time.parts());
        self.part(format!("{modified:?}").as_bytes());
    }

    /// Bytes of the file that was begun, or of what is one whole; in which pieces they come makes no difference.
    pub fn content(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.content = self.content.saturating_add(length(chunk));
    }

    /// The file that was begun is whole.
    pub fn end(&mut self) {
        self.hasher.update(std::mem::take(&mut self.content).to_le_bytes());
    }

    /// The fingerprint.
    #[must_use]
    pub fn finish(mut self) -> Fingerprint {
        self.end();
        Fingerprint(self.hasher.finalize().into())
    }

    fn part(&mut self, part: &[u8]) {
        self.hasher.update(length(part).to_le_bytes());
        self.hasher.update(part);
    }
}

/// A condition as its header has it.
fn condition(condition: &WriteCondition) -> Vec<u8> {
    let tags = match condition {
        WriteCondition::None => return Vec::new(),
        WriteCondition::Absent => return b"If-None-Match: *".to_vec(),
        WriteCondition::Present => "*".to_owned(),
        WriteCondition::Matches(tags) => tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    format!("If-Match: {tags}").into_bytes()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use devbox_types::{BoxPath, Etag, Timestamp};

    use super::*;

    fn of_files(files: &[(&str, &[&str])]) -> Fingerprint {
        let mut printer = Fingerprinter::default();
        for (path, chunks) in files {
            printer.begin(&WriteRequest::to(BoxPath::parse(path.as_bytes()).expect("a path")));
            chunks.iter().for_each(|chunk| printer.content(chunk.as_bytes()));
            printer.end();
        }
        printer.finish()
    }

    #[test]
    fn pieces_make_no_difference_and_everything_else_does() {
        let one = of_files(&[("/a", &["content"])]);
        assert_eq!(one, of_files(&[("/a", &["con", "", "tent"])]));
        for other in [
            of_files(&[]),
            of_files(&[("/a", &["conten"])]),
            of_files(&[("/b", &["content"])]),
            of_files(&[("/a", &["content"]), ("/b", &[])]),
        ] {
            assert_ne!(one, other);
        }
        assert_ne!(Fingerprint::of(&[b"ab", b"c"]), Fingerprint::of(&[b"a", b"bc"]));
    }

    #[test]
    fn what_is_asked_of_a_file_makes_a_difference() {
        let plain = || WriteRequest::to(BoxPath::parse(b"/a").expect("a path"));
        let tag = |inode| WriteCondition::Matches(vec![Etag::of_version(inode, 2, 3, false)]);
        let requests = [
            plain(),
            WriteRequest { mode: Some(0o600), ..plain() },
            WriteRequest { modified: Some(Timestamp::EPOCH), ..plain() },
            WriteRequest { condition: WriteCondition::Absent, ..plain() },
            WriteRequest { condition: WriteCondition::Present, ..plain() },
            WriteRequest { condition: tag(1), ..plain() },
            WriteRequest { condition: tag(2), ..plain() },
        ];
        let fingerprints: HashSet<Fingerprint> = requests
            .iter()
            .map(|request| {
                let mut printer = Fingerprinter::default();
                printer.begin(request);
                printer.finish()
            })
            .collect();
        assert_eq!(fingerprints.len(), requests.len());
    }

    #[test]
    fn a_fingerprint_survives_json() {
        let one = Fingerprint::of(&[b"x"]);
        let json = serde_json::to_string(&one).expect("json");
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).expect("a fingerprint"), one);
        assert!(serde_json::from_str::<Fingerprint>("\"AAAA\"").is_err());
    }
}
