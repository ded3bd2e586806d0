//! Digests of contents: the algorithms that are known, their values, and how they are made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A way to make a digest, by its name in the registry of RFC 9530.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// MD5, which finds accidents and no attackers; old tools have nothing else.
    Md5,
}

impl DigestAlgorithm {
    /// All of them, the one that a caller without a preference gets first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::Md5];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
            Self::Md5 => "md5",
        }
    }

    /// The algorithm of this name, if it is known.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// Which algorithms are meant; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Algorithms {
    sha256: bool,
    sha512: bool,
    md5: bool,
}

impl Algorithms {
    /// SHA-256 alone.
    pub const SHA_256: Self = Self { sha256: true, sha512: false, md5: false };

    /// Whether no algorithm is meant.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether this one is.
    #[must_use]
    pub fn contains(self, algorithm: DigestAlgorithm) -> bool {
        match algorithm {
            DigestAlgorithm::Sha256 => self.sha256,
            DigestAlgorithm::Sha512 => self.sha512,
            DigestAlgorithm::Md5 => self.md5,
        }
    }

    /// These, and `algorithm`.
    #[must_use]
    pub fn with(mut self, algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Sha256 => self.sha256 = true,
            DigestAlgorithm::Sha512 => self.sha512 = true,
            DigestAlgorithm::Md5 => self.md5 = true,
        }
        self
    }

    /// Those that are in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        other.iter().fold(self, Self::with)
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = DigestAlgorithm> {
        DigestAlgorithm::ALL.into_iter().filter(move |algorithm| self.contains(*algorithm))
    }
}

/// Digests of one content, at most one of each algorithm; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Texts", into = "Texts")]
pub struct Digests {
    /// Its SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// Its SHA-512.
    pub sha512: Option<[u8; 64]>,
    /// Its MD5.
    pub md5: Option<[u8; 16]>,
}

/// Why a digest cannot join others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestsError {
    /// It is not as long as digests of its algorithm are.
    #[error("this is no {} digest: its length is another", .0.as_str())]
    WrongLength(DigestAlgorithm),
    /// Another of the same algorithm is given.
    #[error("two different {} digests are given", .0.as_str())]
    Contradiction(DigestAlgorithm),
}

impl Digests {
    /// A SHA-256 alone.
    #[must_use]
    pub fn of_sha256(digest: [u8; 32]) -> Self {
        Self { sha256: Some(digest), ..Self::default() }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The one of an algorithm.
    #[must_use]
    pub fn get(&self, algorithm: DigestAlgorithm) -> Option<&[u8]> {
        match algorithm {
            DigestAlgorithm::Sha256 => self.sha256.as_ref().map(<[u8; 32]>::as_slice),
            DigestAlgorithm::Sha512 => self.sha512.as_ref().map(<[u8; 64]>::as_slice),
            DigestAlgorithm::Md5 => self.md5.as_ref().map(<[u8; 16]>::as_slice),
        }
    }

    /// Of which algorithms there are some.
    #[must_use]
    pub fn algorithms(&self) -> Algorithms {
        Algorithms { sha256: self.sha256.is_some(), sha512: self.sha512.is_some(), md5: self.md5.is_some() }
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = (DigestAlgorithm, &[u8])> {
        DigestAlgorithm::ALL.into_iter().filter_map(|algorithm| Some((algorithm, self.get(algorithm)?)))
    }

    /// Adds one that was read from outside.
    ///
    /// # Errors
    /// [`DigestsError`]: nothing is added then.
    pub fn add(&mut self, algorithm: DigestAlgorithm, bytes: &[u8]) -> Result<(), DigestsError> {
        fn put<const N: usize>(place: &mut Option<[u8; N]>, bytes: &[u8]) -> Option<bool> {
            let given = bytes.try_into().ok()?;
            let agrees = place.is_none_or(|earlier| earlier == given);
            if agrees {
                *place = Some(given);
            }
            Some(agrees)
        }
        let added = match algorithm {
            DigestAlgorithm::Sha256 => put(&mut self.sha256, bytes),
            DigestAlgorithm::Sha512 => put(&mut self.sha512, bytes),
            DigestAlgorithm::Md5 => put(&mut self.md5, bytes),
        };
        match added {
            Some(true) => Ok(()),
            Some(false) => Err(DigestsError::Contradiction(algorithm)),
            None => Err(DigestsError::WrongLength(algorithm)),
        }
    }

    /// Adds those of another set for the same content.
    ///
    /// # Errors
    /// [`DigestsError::Contradiction`].
    pub fn join(mut self, other: &Self) -> Result<Self, DigestsError> {
        other.iter().try_for_each(|(algorithm, bytes)| self.add(algorithm, bytes))?;
        Ok(self)
    }

    /// Whether a content of which `found` was computed has all of these digests.
    #[must_use]
    pub fn are_met_by(&self, found: &Self) -> bool {
        self.iter().all(|(algorithm, bytes)| found.get(algorithm) == Some(bytes))
    }
}

/// The form in JSON: each in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    #[serde(rename = "sha-256", default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(rename = "sha-512", default, skip_serializing_if = "Option::is_none")]
    sha512: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
}

impl From<Digests> for Texts {
    fn from(digests: Digests) -> Self {
        let text = |algorithm| digests.get(algorithm).map(|bytes| BASE64.encode(bytes));
        Self {
            sha256: text(DigestAlgorithm::Sha256),
            sha512: text(DigestAlgorithm::Sha512),
            md5: text(DigestAlgorithm::Md5),
        }
    }
}

impl TryFrom<Texts> for Digests {
    type Error = DigestsError;

    fn try_from(texts: Texts) -> Result<Self, DigestsError> {
        let given = [
            (DigestAlgorithm::Sha256, texts.sha256),
            (DigestAlgorithm::Sha512, texts.sha512),
            (DigestAlgorithm::Md5, texts.md5),
        ];
        let mut digests = Self::default();
        for (algorithm, text) in given.into_iter().filter_map(|(algorithm, text)| Some((algorithm, text?))) {
            let bytes = BASE64.decode(text).map_err(|_| DigestsError::WrongLength(algorithm))?;
            digests.add(algorithm, &bytes)?;
        }
        Ok(digests)
    }
}

/// Makes digests of a content, as its bytes come.
#[derive(Debug, Clone, Default)]
pub struct DigestHasher {
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
    md5: Option<Md5>,
}

impl DigestHasher {
    /// Begins with no bytes.
    #[must_use]
    pub fn new(algorithms: Algorithms) -> Self {
        Self {
            sha256: algorithms.sha256.then(Sha256::new),
            sha512: algorithms.sha512.then(Sha512::new),
            md5: algorithms.md5.then(Md5::new),
        }
    }

    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.sha256 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.sha512 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.md5 {
            hasher.update(bytes);
        }
    }

    /// The digests of all that came.
    #[must_use]
    pub fn finish(self) -> Digests {
        Digests {
            sha256: self.sha256.map(|hasher| hasher.finalize().into()),
            sha512: self.sha512.map(|hasher| hasher.finalize().into()),
            md5: self.md5.map(|hasher| hasher.finalize().into()),
        }
    }

    /// The digests of a content that is in memory.
    #[must_use]
    pub fn digest(algorithms: Algorithms, content: &[u8]) -> Digests {
        let mut hasher = Self::new(algorithms);
        hasher.update(content);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Algorithms {
        DigestAlgorithm::ALL.into_iter().fold(Algorithms::default(), Algorithms::with)
    }

    #[test]
    fn each_digest_is_the_one_of_its_algorithm() {
        let digests = DigestHasher::digest(all(), b"abc");
        let texts = [
            (DigestAlgorithm::Sha256, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
            (
                DigestAlgorithm::Sha512,
                "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==",
            ),
            (DigestAlgorithm::Md5, "kAFQmDzST7DWlj99KOF/cg=="),
        ];
        for (algorithm, expected) in texts {
            assert_eq!(digests.get(algorithm).map(|bytes| BASE64.encode(bytes)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn digests_are_read_back_from_json() {
        for algorithms in [Algorithms::default(), Algorithms::SHA_256, all()] {
            let digests = DigestHasher::digest(algorithms, b"abc");
            let json = serde_json::to_string(&digests).expect("json");
            assert_eq!(serde_json::from_str::<Digests>(&json).expect("digests"), digests);
        }
        for wrong in [r#"{"sha-256":"AAAA"}"#, r#"{"md5":"?"}"#, r#"{"crc32":"AAAA"}"#] {
            assert!(serde_json::from_str::<Digests>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn contents_meet_their_own_digests_only() {
        let (right, wrong) = (DigestHasher::digest(all(), b"right"), DigestHasher::digest(all(), b"wrong"));
        for algorithm in DigestAlgorithm::ALL {
            let announced = DigestHasher::digest(Algorithms::default().with(algorithm), b"right");
            assert!(announced.are_met_by(&right) && !announced.are_met_by(&wrong), "{algorithm:?}");
            assert!(!announced.are_met_by(&Digests::default()), "what was not computed is not met");
            assert_eq!(announced.join(&wrong), Err(DigestsError::Contradiction(algorithm)));
            assert_eq!(announced.join(&right), Ok(right));
        }
        let mut digests = Digests::default();
        let short = digests.add(DigestAlgorithm::Sha512, &[0; 32]);
        assert_eq!(short, Err(DigestsError::WrongLength(DigestAlgorithm::Sha512)));
        assert!(digests.is_empty());
    }
}
