//! Texts that Kinesis gives out and wants back: sequence numbers, shard iterators, tokens of lists.
//!
//! A client may compare sequence numbers and nothing else, so everything here carries a check by which a text that was
//! made up or tampered with is told from one that was given out. Sequence numbers have 56 digits, as Kinesis' own have:
//! one that keeps them in 128 bits must fail here and not in production.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A place in a shard: the number of a record, from 1; 0 is where the shard starts.
pub(super) type Position = u64;

const SEQUENCE_DIGITS: usize = 56;

/// The number of what is at `position` in a shard. Greater positions have greater numbers, and so have later shards.
pub(super) fn sequence_number(stream: u32, shard: u32, position: Position) -> String {
    let check = mixed(&[u64::from(stream), u64::from(shard), position]);
    format!("49{stream:010}{shard:010}{position:016}{:018}", check % 1_000_000_000_000_000_000)
}

/// Stream, shard and position of a sequence number that was given out.
pub(super) fn parse_sequence_number(text: &str) -> Option<(u32, u32, Position)> {
    if text.len() != SEQUENCE_DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let stream = text[2..12].parse().ok()?;
    let shard = text[12..22].parse().ok()?;
    let position = text[22..38].parse().ok()?;
    (sequence_number(stream, shard, position) == text).then_some((stream, shard, position))
}

/// What a shard iterator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardIterator {
    pub(super) stream: u32,
    pub(super) shard: u32,
    /// The record that comes next.
    pub(super) position: Position,
    /// When it was given out, in milliseconds.
    pub(super) given: i64,
    /// How often all iterators had been made to expire by then.
    pub(super) generation: u32,
}

/// What the token of a `ListShards` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListToken {
    pub(super) stream: u32,
    /// The last shard that was listed.
    pub(super) after: u32,
    /// When it was given out, in milliseconds.
    pub(super) given: i64,
    /// The filter of the first request, see [`super::stream::Filter`].
    pub(super) filter: (u32, i64),
}

const ITERATOR_KIND: u64 = 1;
const LIST_KIND: u64 = 2;

impl ShardIterator {
    pub(super) fn text(self) -> String {
        let Self { stream, shard, position, given, generation } = self;
        sealed([
            ITERATOR_KIND,
            u64::from(stream) << 32 | u64::from(shard),
            position,
            given.cast_unsigned(),
            u64::from(generation),
        ])
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let [ITERATOR_KIND, place, position, given, generation] = unsealed(text)? else {
            return None;
        };
        let (stream, shard) = halves(place)?;
        Some(Self {
            stream,
            shard,
            position,
            given: given.cast_signed(),
            generation: generation.try_into().ok()?,
        })
    }
}

impl ListToken {
    pub(super) fn text(self) -> String {
        let Self { stream, after, given, filter: (filter, argument) } = self;
        sealed([
            LIST_KIND << 32 | u64::from(filter),
            u64::from(stream) << 32 | u64::from(after),
            given.cast_unsigned(),
            argument.cast_unsigned(),
            0,
        ])
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let [kind, place, given, argument, 0] = unsealed(text)? else {
            return None;
        };
        let (kind, filter) = halves(kind)?;
        let (stream, after) = halves(place)?;
        let filter = (filter, argument.cast_signed());
        (u64::from(kind) == LIST_KIND).then_some(Self { stream, after, given: given.cast_signed(), filter })
    }
}

fn halves(word: u64) -> Option<(u32, u32)> {
    Some((u32::try_from(word >> 32).ok()?, u32::try_from(word & u64::from(u32::MAX)).ok()?))
}

/// Words and their check as a text.
fn sealed(words: [u64; 5]) -> String {
    let mut bytes = Vec::with_capacity(48);
    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
    bytes.extend_from_slice(&mixed(&words).to_be_bytes());
    STANDARD.encode(bytes)
}

fn unsealed(text: &str) -> Option<[u64; 5]> {
    let bytes: [u8; 48] = STANDARD.decode(text).ok()?.try_into().ok()?;
    let mut words = [0; 5];
    let (chunks, _) = bytes.as_chunks::<8>();
    words.iter_mut().zip(chunks).for_each(|(word, chunk)| *word = u64::from_be_bytes(*chunk));
    (chunks.last() == Some(&mixed(&words).to_be_bytes())).then_some(words)
}

/// A number that no one guesses by accident.
fn mixed(words: &[u64]) -> u64 {
    let mut hash = 0x0064_6f72_6d6f_7573;
    for word in words {
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_come_back_and_grow() {
        let number = sequence_number(3, 7, 1 << 40);
        assert_eq!(number.len(), SEQUENCE_DIGITS);
        assert_eq!(parse_sequence_number(&number), Some((3, 7, 1 << 40)));
        assert!(sequence_number(3, 7, 9) < sequence_number(3, 7, 10));
        assert!(sequence_number(3, 7, u64::MAX >> 16) < sequence_number(3, 8, 0));
        for made_up in ["", "0", "49", &"4".repeat(SEQUENCE_DIGITS), &number.replacen('7', "6", 1), "ä"] {
            assert_eq!(parse_sequence_number(made_up), None, "{made_up}");
        }
    }

    #[test]
    fn iterators_and_tokens_come_back_and_are_not_taken_for_each_other() {
        let iterator = ShardIterator { stream: 1, shard: 2, position: 3, given: -4, generation: 5 };
        assert_eq!(ShardIterator::parse(&iterator.text()), Some(iterator));
        let token = ListToken { stream: 1, after: 2, given: 3, filter: (4, -5) };
        assert_eq!(ListToken::parse(&token.text()), Some(token));
        assert_eq!(ShardIterator::parse(&token.text()), None);
        assert_eq!(ListToken::parse(&iterator.text()), None);
        assert_eq!(ShardIterator::parse(&iterator.text().replacen('A', "B", 1)), None);
        assert_eq!(ShardIterator::parse("nonsense"), None);
    }
}
