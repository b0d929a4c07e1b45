//! The hash of a file's text, taken while the text is read.
//!
//! A trail's digest files list the SHA-256 of every log file, unpacked. Whoever reads the log file anyway has it for the
//! price of the hash: with the instructions that processors have for it, a fraction of what decoding costs.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Passes an input on, and hashes it if that was asked for.
pub(super) struct Hashing<R> {
    input: R,
    hash: Option<Sha256>,
}

impl<R> Hashing<R> {
    pub(super) fn new(input: R, is_wanted: bool) -> Self {
        Self { input, hash: is_wanted.then(Sha256::new) }
    }

    /// The hash of all that was read.
    pub(super) fn finish(self) -> Option<[u8; 32]> {
        self.hash.map(|hash| hash.finalize().into())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(out)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&out[..length]);
        }
        Ok(length)
    }
}
