//! gzip, by flate2.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::{GzEncoder, MultiGzDecoder};

use super::Codec;

/// How much is compressed in one step.
const STEP: usize = 64 << 10;

/// Decodes one member after the other, as gunzip does.
pub(super) struct Decoder(MultiGzDecoder<Vec<u8>>);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(MultiGzDecoder::new(Vec::new()))
    }
}

impl Codec for Decoder {
    fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        // One call fills the decoder's own buffer, of 32 KiB, at most once.
        let taken = self.0.write(input)?;
        output.append(self.0.get_mut());
        Ok(taken)
    }

    fn end(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        self.0.try_finish()?;
        output.append(self.0.get_mut());
        Ok(())
    }
}

pub(super) struct Encoder(GzEncoder<Vec<u8>>);

impl Encoder {
    /// At the fastest level: a slower one gains a few percent, and costs several times as much.
    pub(super) fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }
}

impl Codec for Encoder {
    fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let step = &input[..input.len().min(STEP)];
        self.0.write_all(step)?;
        output.append(self.0.get_mut());
        Ok(step.len())
    }

    fn end(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        self.0.try_finish()?;
        output.append(self.0.get_mut());
        Ok(())
    }
}
