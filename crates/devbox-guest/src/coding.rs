//! Content codings (RFC 9110 section 8.4.1): contents that travel compressed.
//!
//! Both directions stream: what is in memory is a chunk, what the codec itself needs, and nothing that grows with the content.
//! A decoded content that is not to its end what its coding says is an error, never a shorter content.
//!
//! | module | subject |
//! |---|---|
//! | `gzip`, `zstd` | the codecs, step by step |
//! | `stream` | a body that passes through one |

mod gzip;
mod stream;
mod zstd;

#[cfg(test)]
mod tests;

use std::io;

use devbox_types::Digests;

use crate::body::Body;

/// How a content is compressed on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentCoding {
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878), with windows of at most [`ContentCoding::MAX_ZSTD_WINDOW`] bytes.
    Zstd,
}

impl ContentCoding {
    /// All of them, the one that is the better bargain first.
    pub const ALL: [Self; 2] = [Self::Zstd, Self::Gzip];
    /// The largest zstd window that is decoded: what RFC 8878 (section 3.1.1.1.2) asks a decoder to support, and RFC 9659 asks
    /// an encoder on the web not to exceed.
    pub const MAX_ZSTD_WINDOW: u64 = 1 << zstd::MAX_WINDOW_LOG;

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of this name, in whatever case; `x-gzip` is an old name of gzip (RFC 9110 section 8.4.1.3).
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        let is_named = |coding: &Self| name.eq_ignore_ascii_case(coding.as_str());
        match Self::ALL.into_iter().find(is_named) {
            None if name.eq_ignore_ascii_case("x-gzip") => Some(Self::Gzip),
            found => found,
        }
    }

    /// The content that a coded one stands for; its length is not known. `sent` are digests of the coded bytes: a content that
    /// lacks them ends in an error, as does one that is not of this coding to its very end.
    #[must_use]
    pub fn decode(self, coded: Body, sent: Digests) -> Body {
        let codec: io::Result<Box<dyn Codec>> = match self {
            Self::Gzip => Ok(Box::new(gzip::Decoder::new())),
            Self::Zstd => zstd::Decoder::new().map(|decoder| Box::new(decoder) as Box<dyn Codec>),
        };
        stream::pass(coded, codec, stream::Task::Decode { coding: self, sent })
    }

    /// The same content under this coding; its length is not known.
    #[must_use]
    pub fn encode(self, content: Body) -> Body {
        let codec: io::Result<Box<dyn Codec>> = match self {
            Self::Gzip => Ok(Box::new(gzip::Encoder::new())),
            Self::Zstd => zstd::Encoder::new().map(|encoder| Box::new(encoder) as Box<dyn Codec>),
        };
        stream::pass(content, codec, stream::Task::Encode)
    }
}

/// One direction of a coding, step by step.
trait Codec: Send {
    /// Takes some of `input`, which is not empty, and says how much; appends what came of it to `output`, at most some hundred
    /// KiB at a time, so that a small input cannot become a large output at once.
    fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize>;

    /// Ends the content; fails if it is not at its end.
    fn end(&mut self, output: &mut Vec<u8>) -> io::Result<()>;
}
