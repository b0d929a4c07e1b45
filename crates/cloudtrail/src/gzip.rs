//! The only decompressor of the house.
//!
//! A few kilobytes of gzip can unpack to gigabytes, so nothing is ever unpacked without a bound: [`inflate`] takes a
//! bound in bytes for a message that is held whole, [`GzipReader`] streams and stops at a ratio that no log reaches.
//! Both read all members of a gzip, as tools that append to one write them, and forgive zeros behind the last.

use std::fmt;
use std::io::{self, BufRead, Read};

#[expect(
    clippy::disallowed_types,
    reason = "this module is the bounded reader that everything else has to use"
)]
type Member<R> = flate2::bufread::GzDecoder<R>;

/// What a gzip begins with.
pub const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a gzip could not be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// It ends too early.
    #[error("the gzip is truncated")]
    Truncated,
    /// It is damaged; what the decompressor says.
    #[error("the gzip is corrupt: {0}")]
    Corrupt(String),
    /// Something else stands behind its end.
    #[error("there is something behind the end of the gzip")]
    Trailing,
    /// It unpacks to more than this many bytes.
    #[error("the gzip unpacks to more than {0} bytes")]
    TooLarge(usize),
    /// It unpacks to far more than logs do.
    #[error("looks like a gzip bomb")]
    Bomb,
}

impl GzipError {
    /// A code that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated => "gzip_truncated",
            Self::Corrupt(_) => "gzip_corrupt",
            Self::Trailing => "gzip_trailing",
            Self::TooLarge(_) => "gzip_too_large",
            Self::Bomb => "gzip_bomb",
        }
    }

    /// The error that a [`GzipReader`] returned; `None` if its input failed.
    pub fn from_io(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().cloned()
    }
}

/// Whether these bytes are the beginning of a gzip.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Unpacks a gzip that is held whole, to at most so many bytes.
pub fn inflate(packed: &[u8], bound: usize) -> Result<Vec<u8>, GzipError> {
    // Logs pack to a tenth or less; never more room than the bound, whatever the input.
    let mut unpacked = Vec::with_capacity(packed.len().saturating_mul(8).min(bound));
    let limit = u64::try_from(bound).unwrap_or(u64::MAX).saturating_add(1);
    let mut reader = GzipReader::new(packed, Ratio::NONE).take(limit);
    match reader.read_to_end(&mut unpacked) {
        Ok(_) if unpacked.len() > bound => Err(GzipError::TooLarge(bound)),
        Ok(_) => Ok(unpacked),
        Err(error) => {
            Err(GzipError::from_io(&error).unwrap_or_else(|| GzipError::Corrupt(error.to_string())))
        }
    }
}

/// Beyond which ratio a gzip is taken for a bomb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// As long as no more bytes than this came out, any ratio will do.
    pub free: u64,
    /// Bytes out for each byte in.
    pub most: u64,
}

impl Ratio {
    /// No bound: the caller counts.
    const NONE: Self = Self { free: u64::MAX, most: u64::MAX };
}

/// Unpacks a gzip as a stream. Its errors are [`GzipError`]s within [`io::Error`]s, or the input's own.
pub struct GzipReader<R> {
    state: State<R>,
    ratio: Ratio,
    unpacked: u64,
}

enum State<R> {
    Member(Box<Member<Counted<R>>>),
    Done { packed: u64 },
}

impl<R: BufRead> GzipReader<R> {
    /// A reader of what `input` unpacks to.
    pub fn new(input: R, ratio: Ratio) -> Self {
        let counted = Counted { input, taken: 0, failed: false };
        Self { state: State::Member(Box::new(Member::new(counted))), ratio, unpacked: 0 }
    }

    /// How many packed bytes were taken so far.
    pub fn packed(&self) -> u64 {
        match &self.state {
            State::Member(member) => member.get_ref().taken,
            State::Done { packed } => *packed,
        }
    }

    fn is_bomb(&self) -> bool {
        self.unpacked > self.ratio.free && self.unpacked / self.ratio.most > self.packed()
    }

    /// Goes on behind the end of a member. Says whether there is another one.
    fn next_member(&mut self) -> io::Result<bool> {
        let done = State::Done { packed: self.packed() };
        let State::Member(member) = std::mem::replace(&mut self.state, done) else {
            return Ok(false);
        };
        let mut input = member.into_inner();
        let ended = input.skip_zeros();
        self.state = State::Done { packed: input.taken };
        match ended? {
            None => Ok(false),
            Some(byte) if byte == MAGIC[0] => {
                self.state = State::Member(Box::new(Member::new(input)));
                Ok(true)
            }
            Some(_) => Err(io::Error::other(GzipError::Trailing)),
        }
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let State::Member(member) = &mut self.state else {
                return Ok(0);
            };
            match member.read(out) {
                Ok(0) => {
                    if !self.next_member()? {
                        return Ok(0);
                    }
                }
                Ok(length) => {
                    self.unpacked += u64::try_from(length).unwrap_or(0);
                    if self.is_bomb() {
                        self.state = State::Done { packed: self.packed() };
                        return Err(io::Error::other(GzipError::Bomb));
                    }
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted || member.get_ref().failed => {
                    return Err(error);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::other(GzipError::Truncated));
                }
                Err(error) => return Err(io::Error::other(GzipError::Corrupt(error.to_string()))),
            }
        }
    }
}

impl<R> fmt::Debug for GzipReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GzipReader")
            .field("ratio", &self.ratio)
            .field("unpacked", &self.unpacked)
            .finish_non_exhaustive()
    }
}

/// Counts the bytes taken from an input, and remembers whether an error is the input's own.
struct Counted<R> {
    input: R,
    taken: u64,
    failed: bool,
}

impl<R: BufRead> Counted<R> {
    /// Skips zeros, which padded archives end in. The next byte, or `None` at the end.
    fn skip_zeros(&mut self) -> io::Result<Option<u8>> {
        loop {
            let available = match self.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if available.is_empty() {
                return Ok(None);
            }
            let zeros = available.iter().take_while(|&&byte| byte == 0).count();
            if let Some(&byte) = available.get(zeros) {
                self.consume(zeros);
                return Ok(Some(byte));
            }
            self.consume(zeros);
        }
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(out.len());
        out[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let available = self.input.fill_buf();
        self.failed = available.is_err();
        available
    }

    fn consume(&mut self, length: usize) {
        self.taken += u64::try_from(length).unwrap_or(0);
        self.input.consume(length);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    /// A gzip of these bytes.
    pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_read_to_the_last_and_zeros_behind_it_forgiven() {
        let packed = [pack(b"one"), pack(b""), pack(b"two"), vec![0; 100]].concat();
        assert_eq!(inflate(&packed, 6).unwrap(), b"onetwo");
        let trailing = [pack(b"one"), b"two".to_vec()].concat();
        assert_eq!(inflate(&trailing, 100), Err(GzipError::Trailing));
    }

    #[test]
    fn nothing_is_unpacked_beyond_the_bound() {
        assert_eq!(inflate(&pack(&[b'a'; 1000]), 999), Err(GzipError::TooLarge(999)));
        assert_eq!(inflate(&pack(&[b'a'; 1000]), 1000).unwrap().len(), 1000);
    }

    #[test]
    fn damage_is_named() {
        let packed = pack(b"some text that is long enough to be cut");
        assert_eq!(inflate(&packed[..packed.len() - 9], 100), Err(GzipError::Truncated));
        assert_eq!(inflate(&packed[..3], 100), Err(GzipError::Truncated));
        let mut wrong_checksum = packed.clone();
        let checksum = packed.len() - 6;
        wrong_checksum[checksum] ^= 1;
        assert!(matches!(inflate(&wrong_checksum, 100), Err(GzipError::Corrupt(_))));
    }

    #[test]
    fn a_bomb_is_told_by_its_ratio() {
        let packed = pack(&vec![0; 4 << 20]);
        let mut reader = GzipReader::new(&*packed, Ratio { free: 1 << 20, most: 250 });
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert_eq!(GzipError::from_io(&error), Some(GzipError::Bomb));
        assert!(reader.unpacked < 2 << 20);
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0, "and nothing comes behind it");
    }
}
