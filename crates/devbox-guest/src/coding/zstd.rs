//! Zstandard, by the reference implementation.

use std::io;

use zstd::stream::raw::{self, CParameter, DParameter, Operation as _, OutBuffer};

use super::Codec;

/// 8 MiB.
pub(super) const MAX_WINDOW_LOG: u32 = 23;
/// How much is compressed in one step.
const STEP: usize = 64 << 10;
/// What one call may write: a block, so that a call always gets on.
const BUFFER: usize = 128 << 10;

/// Decodes one frame after the other.
pub(super) struct Decoder {
    decoder: raw::Decoder<'static>,
    buffer: Vec<u8>,
    /// Whether the last frame that began has ended.
    is_whole: bool,
}

impl Decoder {
    pub(super) fn new() -> io::Result<Self> {
        let mut decoder = raw::Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
        Ok(Self { decoder, buffer: vec![0; BUFFER], is_whole: false })
    }
}

impl Codec for Decoder {
    fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let status = self.decoder.run_on_buffers(&input[taken..], &mut self.buffer)?;
            taken += status.bytes_read;
            output.extend_from_slice(&self.buffer[..status.bytes_written]);
            self.is_whole = status.remaining == 0;
            // All was taken and the buffer is full: the rest of a block, which is shorter than the buffer, may wait inside.
            let may_hold_more = taken == input.len() && status.bytes_written == BUFFER && !self.is_whole;
            if !may_hold_more {
                return Ok(taken);
            }
        }
    }

    fn end(&mut self, _output: &mut Vec<u8>) -> io::Result<()> {
        if self.is_whole {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle"))
        }
    }
}

pub(super) struct Encoder {
    encoder: raw::Encoder<'static>,
    buffer: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> io::Result<Self> {
        let mut encoder = raw::Encoder::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self { encoder, buffer: vec![0; BUFFER] })
    }
}

impl Codec for Encoder {
    fn take(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let step = &input[..input.len().min(STEP)];
        let status = self.encoder.run_on_buffers(step, &mut self.buffer)?;
        output.extend_from_slice(&self.buffer[..status.bytes_written]);
        Ok(status.bytes_read)
    }

    fn end(&mut self, output: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let mut buffer = OutBuffer::around(&mut self.buffer[..]);
            let left = self.encoder.finish(&mut buffer, true)?;
            output.extend_from_slice(buffer.as_slice());
            if left == 0 {
                return Ok(());
            }
        }
    }
}
