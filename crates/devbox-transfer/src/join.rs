//! Joining complete parts: whether they may become a file, and how long it will be.

use devbox_types::upload::{UploadRequest, UploadRole};
use devbox_types::{Timestamp, UploadId};

use crate::error::TransferError;
use crate::record::{Phase, Record};

/// A part as it lies there.
#[derive(Debug, Clone, Copy)]
pub struct FoundPart<'r> {
    /// What is remembered of it.
    pub record: &'r Record,
    /// How many bytes are stored.
    pub stored: u64,
}

/// What is to be done with parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joining {
    /// They make a file of so many bytes.
    Join {
        /// How many.
        length: u64,
    },
    /// All of them went into this upload: it may be the answer to a request whose first answer was lost.
    JoinedBefore {
        /// Which.
        id: UploadId,
    },
}

impl Joining {
    /// Decides it for parts in the order in which they are to be joined; one may be named more than once.
    ///
    /// # Errors
    /// [`TransferError::PartCount`], [`TransferError::NotAPart`], [`TransferError::Expired`], [`TransferError::PartIncomplete`],
    /// [`TransferError::Spent`] if some of them, or all in different files, were joined already,
    /// [`TransferError::PartsTooLong`].
    pub fn of(parts: &[FoundPart<'_>], now: Timestamp) -> Result<Self, TransferError> {
        let Some(first) = parts.first().filter(|_| parts.len() <= UploadRequest::MAX_PARTS) else {
            return Err(TransferError::PartCount { given: parts.len() });
        };
        for FoundPart { record, .. } in parts {
            if record.role != UploadRole::Part {
                return Err(TransferError::NotAPart { id: record.id.clone() });
            }
            if now >= record.expires {
                return Err(TransferError::Expired { at: record.expires });
            }
        }
        if let Some(id) = &first.record.joined_into
            && parts.iter().all(|part| part.record.joined_into.as_ref() == Some(id))
        {
            return Ok(Self::JoinedBefore { id: id.clone() });
        }
        let mut length: u64 = 0;
        for FoundPart { record, stored } in parts {
            if record.joined_into.is_some() {
                return Err(TransferError::Spent { id: record.id.clone() });
            }
            let (received, expected) = (record.counted(*stored), record.length());
            if record.phase != Phase::Done || received != expected {
                return Err(TransferError::PartIncomplete { id: record.id.clone(), received, expected });
            }
            length = length.checked_add(expected).ok_or(TransferError::PartsTooLong)?;
        }
        Ok(Self::Join { length })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::tests::record;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn part(length: u64) -> Record {
        let (unverified_from, joined_into) = (None, None);
        Record { unverified_from, joined_into, role: UploadRole::Part, phase: Phase::Done, ..record(length) }
    }

    fn joining(parts: &[(&Record, u64)]) -> Result<Joining, TransferError> {
        let parts: Vec<_> =
            parts.iter().map(|(record, stored)| FoundPart { record, stored: *stored }).collect();
        Joining::of(&parts, NOW)
    }

    #[test]
    fn complete_parts_are_joined_in_order_and_as_often_as_named() {
        let (one, other) = (part(3), part(5));
        let joined = joining(&[(&one, 3), (&other, 5), (&one, 3)]);
        assert_eq!(joined, Ok(Joining::Join { length: 11 }));
        assert_eq!(joining(&[]), Err(TransferError::PartCount { given: 0 }));
        let many = vec![(&one, 3); UploadRequest::MAX_PARTS + 1];
        assert_eq!(joining(&many), Err(TransferError::PartCount { given: many.len() }));
        let (half, id) = (part(u64::MAX / 2 + 1), one.id.clone());
        let stored = half.length();
        assert_eq!(joining(&[(&half, stored), (&half, stored)]), Err(TransferError::PartsTooLong));
        let file = Record { role: UploadRole::File, ..part(3) };
        assert_eq!(joining(&[(&file, 3)]), Err(TransferError::NotAPart { id: id.clone() }));
        let late = Record { expires: NOW, ..part(3) };
        assert_eq!(joining(&[(&late, 3)]), Err(TransferError::Expired { at: NOW }));
    }

    #[test]
    fn a_part_that_lacks_bytes_is_not_joined() {
        let id = part(3).id;
        for (record, stored, received) in [
            (part(3), 2, 2),
            (Record { phase: Phase::Open, ..part(3) }, 3, 3),
            (Record { unverified_from: Some(1), ..part(3) }, 3, 1),
        ] {
            let refused = Err(TransferError::PartIncomplete { id: id.clone(), received, expected: 3 });
            assert_eq!(joining(&[(&record, stored)]), refused);
        }
    }

    #[test]
    fn parts_that_went_into_one_file_together_say_which() {
        let (one, other) = (UploadId::from_random([8; 10]), UploadId::from_random([9; 10]));
        let spent = |into: &UploadId| Record { joined_into: Some(into.clone()), ..part(3) };
        let (a, b, c) = (spent(&one), spent(&one), spent(&other));
        assert_eq!(joining(&[(&a, 0), (&b, 0)]), Ok(Joining::JoinedBefore { id: one }));
        let refused = Err(TransferError::Spent { id: a.id.clone() });
        assert_eq!(joining(&[(&a, 0), (&c, 0)]), refused);
        assert_eq!(joining(&[(&a, 0), (&part(3), 3)]), refused);
    }

    proptest! {
        /// A naive model: the length is the sum, or somebody is named who stands in the way.
        #[test]
        fn the_length_is_the_sum_of_what_is_complete(
            parts in proptest::collection::vec((0_u64..1000, 0_u64..4), 1..40),
        ) {
            let records: Vec<(Record, u64)> =
                parts.iter().map(|(length, lacks)| (part(*length), length.saturating_sub(*lacks))).collect();
            let found: Vec<_> = records.iter().map(|(record, stored)| (record, *stored)).collect();
            let complete = records.iter().all(|(record, stored)| record.length() == *stored);
            match joining(&found) {
                Ok(Joining::Join { length }) => {
                    prop_assert!(complete);
                    prop_assert_eq!(length, parts.iter().map(|(length, _)| length).sum::<u64>());
                }
                Err(TransferError::PartIncomplete { received, expected, .. }) => {
                    prop_assert!(!complete && received < expected);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
