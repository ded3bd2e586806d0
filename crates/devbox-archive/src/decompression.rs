//! What a tar goes through on its way in.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use devbox_types::archive::ArchiveFormat;
use flate2::bufread::MultiGzDecoder;

use crate::error::ArchiveError;

/// How much an archive may hold for each byte of it, once it holds more than 256 MiB. Text shrinks to a tenth, logs to a
/// fiftieth; only bombs, and images full of zeros, shrink more than this.
pub const MAX_RATIO: u64 = 200;
const RATIO_COUNTS_FROM: u64 = 256 << 20;

/// The largest window of a Zstandard stream, as a power of two: 8 MiB, which is what `zstd -19` uses. It bounds memory.
const MAX_WINDOW: u32 = 23;

/// Refuses what has grown beyond all reason.
pub(crate) fn check_ratio(packed: u64, plain: u64) -> Result<(), ArchiveError> {
    match plain > RATIO_COUNTS_FROM && plain / MAX_RATIO > packed {
        true => Err(ArchiveError::Bomb { ratio: MAX_RATIO }),
        false => Ok(()),
    }
}

/// A stream that is decompressed, or is not.
pub(crate) struct Decoder<R: Read> {
    stage: Stage<BufReader<Counted<R>>>,
    packed: Rc<Cell<u64>>,
    plain: u64,
}

enum Stage<R: io::BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(format: ArchiveFormat, input: R) -> io::Result<Self> {
        let packed = Rc::new(Cell::new(0));
        let input = BufReader::with_capacity(64 << 10, Counted { input, count: Rc::clone(&packed) });
        let stage = match format {
            ArchiveFormat::Zip | ArchiveFormat::Tar => Stage::Plain(input),
            ArchiveFormat::TarGz => Stage::Gzip(Box::new(MultiGzDecoder::new(input))),
            ArchiveFormat::TarZst => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(MAX_WINDOW)?;
                Stage::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { stage, packed, plain: 0 })
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match &mut self.stage {
            Stage::Plain(input) => input.read(buffer),
            Stage::Gzip(decoder) => decoder.read(buffer),
            Stage::Zstd(decoder) => decoder.read(buffer),
        }?;
        self.plain = self.plain.saturating_add(length as u64);
        check_ratio(self.packed.get(), self.plain).map_err(io::Error::other)?;
        Ok(length)
    }
}

impl<R: Read> fmt::Debug for Decoder<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Decoder").field("plain", &self.plain).finish_non_exhaustive()
    }
}

struct Counted<R> {
    input: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.count.set(self.count.get().saturating_add(length as u64));
        Ok(length)
    }
}
