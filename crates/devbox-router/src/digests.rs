//! What a request says of digests: those of the bytes that it brings, and those that it wants to be told.

use devbox_guest::wire::{self, digest};
use devbox_types::{DigestAlgorithm, Digests, Problem};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::call::header_text;

/// The digests that a request or a part of a batch announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Announced {
    /// Of the bytes as they are sent, under a content coding if there is one.
    pub(crate) sent: Digests,
    /// Of the bytes as they are to be stored.
    pub(crate) stored: Digests,
}

impl Announced {
    /// Reads `Repr-Digest`, `Content-Digest` and `Content-MD5`, and `Devbox-Content-Digest`. What a request brings is whole, so
    /// that the first two are of the same bytes.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let md5 = header_text(headers, &wire::CONTENT_MD5)?.map(digest::from_content_md5).transpose();
        let md5 = md5.map_err(|error| Problem::of(&error))?;
        let names = [&wire::REPR_DIGEST, &wire::CONTENT_DIGEST];
        let sent = match digest::from_headers(names.into_iter().flat_map(|name| texts(headers, name))) {
            // The rest is not known, and need not be.
            Err(digest::DigestError::UnknownAlgorithms) if md5.is_some() => Digests::default(),
            sent => sent.map_err(|error| Problem::of(&error))?,
        };
        let sent = sent
            .join(&md5.unwrap_or_default())
            .map_err(|error| Problem::of(&digest::DigestError::from(error)))?;
        let stored = digest::from_headers(texts(headers, &wire::STORED_DIGEST));
        Ok(Self { sent, stored: stored.map_err(|error| Problem::of(&error))? })
    }

    /// All of them, of bytes that are stored as they are sent.
    pub(crate) fn uncoded(self) -> Result<Digests, Problem> {
        self.sent.join(&self.stored).map_err(|error| Problem::of(&digest::DigestError::from(error)))
    }
}

/// The digests of bytes that are stored as they are sent.
pub(crate) fn announced_digests(headers: &HeaderMap) -> Result<Digests, Problem> {
    Announced::of(headers)?.uncoded()
}

/// What a request wants to be told of the file that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// By which algorithm, if it wants anything that can be had.
    pub(crate) algorithm: Option<DigestAlgorithm>,
    /// Whether it wants a digest of the answer's own bytes too.
    of_content: bool,
}

impl Wish {
    /// Reads `Want-Repr-Digest` and `Want-Content-Digest`. One file is read for one digest: the former decides by which
    /// algorithm if they differ.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let preferred = |name| digest::preferred(texts(headers, name)).map_err(|error| Problem::of(&error));
        let (whole, content) = (preferred(&wire::WANT_REPR_DIGEST)?, preferred(&wire::WANT_CONTENT_DIGEST)?);
        Ok(Self { algorithm: whole.or(content), of_content: content.is_some() })
    }

    /// Writes what there is: of the file, of the representation if that is the file, of the content if that is both.
    pub(crate) fn grant(self, digests: &Digests, form: Form, headers: &mut HeaderMap) -> Result<(), Problem> {
        if digests.is_empty() {
            return Ok(());
        }
        let text = crate::files::value(digest::to_header(digests))?;
        let mut put = |name: HeaderName| headers.insert(name, HeaderValue::clone(&text));
        put(wire::STORED_DIGEST);
        if form != Form::Coded {
            put(wire::REPR_DIGEST);
        }
        if form == Form::Whole && self.of_content {
            put(wire::CONTENT_DIGEST);
        }
        Ok(())
    }
}

/// What the content of an answer is of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The file itself.
    Whole,
    /// A range of it, or nothing because the head alone was asked for.
    Less,
    /// The file under a content coding.
    Coded,
}

/// All values of a header; what is no text is no digest either.
fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or(""))
}
