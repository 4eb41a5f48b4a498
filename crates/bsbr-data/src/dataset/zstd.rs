//! Decompression of zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The size limit of a frame's window, which is held in memory: the default of `zstd`.
const WINDOW: u64 = 1 << 27;

/// The frames of a file, in sequence, as `zstd` and `cat` write them.
pub(super) struct ZstdReader {
    source: BufReader<File>,
    frame: FrameDecoder,
    /// Whether a frame has begun.
    within: bool,
}

impl ZstdReader {
    pub(super) fn new(file: File) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(WINDOW);
        Self {
            source: BufReader::new(file),
            frame,
            within: false,
        }
    }

    /// Starts the next frame, after skippable ones; false if there is none.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.source) {
                Ok(()) => {
                    self.within = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut passed = self.source.by_ref().take(u64::from(length));
                    if io::copy(&mut passed, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    /// Ends a frame that has been read completely.
    fn end(&mut self) -> io::Result<()> {
        self.within = false;
        match self.frame.get_checksum_from_data() {
            Some(said) if self.frame.get_calculated_checksum() != Some(said) => {
                Err(io::Error::other("the checksum of a zstd frame differs"))
            }
            _ => Ok(()),
        }
    }
}

impl Read for ZstdReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if !self.within && !self.begin()? {
                break;
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let some = BlockDecodingStrategy::UptoBytes(buffer.len());
                let decoded = self.frame.decode_blocks(&mut self.source, some);
                decoded.map_err(io::Error::other)?;
            }
            match self.frame.read(buffer)? {
                0 => self.end()?,
                read => return Ok(read),
            }
        }
        Ok(0)
    }
}
