//! Kinesis records that hold several, as the Kinesis Producer Library writes them.
//!
//! Behind a magic number stands a protobuf message with the user records, and behind that its MD5. The outer message is
//! cut, not parsed, so that nothing is allocated for it: two bytes of it could ask for a struct otherwise. Each user
//! record is a message of its own, and a broken one costs itself. Nobody is told by the checksum who wrote an aggregate:
//! it only tells damage.

use prost::Message;

/// What an aggregated record begins with.
pub(crate) const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
/// Bytes of the checksum at its end.
const CHECKSUM: usize = 16;
/// The outer message's field that holds a user record.
const USER_RECORD: usize = 3;
/// The only wire type among the outer message's fields: a length, and so many bytes.
const DELIMITED: usize = 2;

/// Why an aggregated record, or a user record in it, could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// There is no room for a checksum.
    #[error("the aggregated Kinesis record is truncated")]
    Truncated,
    /// The checksum is another one.
    #[error("the aggregated Kinesis record's checksum is wrong")]
    Checksum,
    /// The checksum is right, and yet it cannot be taken apart; what is wrong.
    #[error("the aggregated Kinesis record is malformed: {0}")]
    Malformed(String),
    /// It is within another one.
    #[error("an aggregated Kinesis record within another one")]
    Nested,
}

impl AggregateError {
    /// A code that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated => "aggregate_truncated",
            Self::Checksum => "aggregate_checksum",
            Self::Malformed(_) => "aggregate_malformed",
            Self::Nested => "aggregate_nested",
        }
    }

    fn malformed(error: &prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// What is needed of a user record. Its partition key is the producer's business.
#[derive(Message)]
struct UserRecord {
    #[prost(bytes = "vec", optional, tag = "3")]
    data: Option<Vec<u8>>,
}

/// The user records of an aggregated record whose checksum is right, in their order.
#[derive(Debug)]
pub(crate) struct UserRecords<'a> {
    rest: &'a [u8],
}

impl<'a> UserRecords<'a> {
    /// The user records of a text that begins with the magic number.
    pub(crate) fn of(aggregate: &'a [u8]) -> Result<Self, AggregateError> {
        let body = aggregate.strip_prefix(&MAGIC).unwrap_or(aggregate);
        let (message, checksum) = body.split_last_chunk::<CHECKSUM>().ok_or(AggregateError::Truncated)?;
        if md5::compute(message).0 != *checksum {
            return Err(AggregateError::Checksum);
        }
        Ok(Self { rest: message })
    }

    /// The next field of the outer message: its number and its bytes.
    fn field(&mut self) -> Result<(usize, &'a [u8]), AggregateError> {
        let mut number = || {
            prost::decode_length_delimiter(&mut self.rest).map_err(|error| AggregateError::malformed(&error))
        };
        let (key, length) = (number()?, number()?);
        if key % 8 != DELIMITED {
            return Err(AggregateError::Malformed("a field of an odd type".to_owned()));
        }
        let cut_off = || AggregateError::Malformed("a field breaks off".to_owned());
        let (field, rest) = self.rest.split_at_checked(length).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok((key / 8, field))
    }
}

impl Iterator for UserRecords<'_> {
    type Item = Result<Vec<u8>, AggregateError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.field() {
                Ok((USER_RECORD, record)) => {
                    let record =
                        UserRecord::decode(record).map_err(|error| AggregateError::malformed(&error));
                    let without_data = || AggregateError::Malformed("a user record without data".to_owned());
                    return Some(record.and_then(|record| record.data.ok_or_else(without_data)));
                }
                Ok(_) => {}
                Err(error) => {
                    // Where the next field begins is not known any more.
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The whole of what the library writes.
    #[derive(Message)]
    struct Aggregate {
        #[prost(string, repeated, tag = "1")]
        partition_keys: Vec<String>,
        #[prost(message, repeated, tag = "3")]
        records: Vec<Full>,
    }

    #[derive(Message)]
    struct Full {
        #[prost(uint64, required, tag = "1")]
        partition_key: u64,
        #[prost(bytes = "vec", required, tag = "3")]
        data: Vec<u8>,
    }

    /// A message with the magic number before it and its checksum behind.
    pub(crate) fn sealed(message: &[u8]) -> Vec<u8> {
        [&MAGIC[..], message, &md5::compute(message).0].concat()
    }

    /// An aggregated record of these user records.
    pub(crate) fn aggregate<T: AsRef<[u8]>>(records: &[T]) -> Vec<u8> {
        let full = |data: &T| Full { partition_key: 0, data: data.as_ref().to_vec() };
        let records = records.iter().map(full).collect();
        sealed(&Aggregate { partition_keys: vec!["a".to_owned()], records }.encode_to_vec())
    }

    fn read(aggregate: &[u8]) -> Result<Vec<Result<Vec<u8>, AggregateError>>, AggregateError> {
        UserRecords::of(aggregate).map(Iterator::collect)
    }

    #[test]
    fn user_records_come_out_in_their_order() {
        let records = [&b"one"[..], b"", b"three"];
        let found: Vec<_> = read(&aggregate(&records)).unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(found, records);
    }

    #[test]
    fn damage_shows_in_the_checksum() {
        let good = aggregate(&["one", "two"]);
        for place in MAGIC.len()..good.len() {
            let mut damaged = good.clone();
            damaged[place] ^= 0x10;
            assert_eq!(read(&damaged).unwrap_err(), AggregateError::Checksum, "{place}");
        }
        for length in MAGIC.len()..good.len() {
            let error = read(&good[..length]).unwrap_err();
            let expected = if length < MAGIC.len() + CHECKSUM {
                AggregateError::Truncated
            } else {
                AggregateError::Checksum
            };
            assert_eq!(error, expected, "{length}");
        }
    }

    #[test]
    fn what_is_broken_under_a_good_checksum_costs_itself_or_what_follows() {
        let one = [0x1a, 0x07, 0x08, 0x00, 0x1a, 0x03, b'o', b'n', b'e'];
        for (message, good, bad) in [
            (vec![0x1a, 0x02, 0x08, 0x00], 0, 1),
            (vec![0x1a, 0x01, 0xff], 0, 1),
            ([&[0x1a, 0x01, 0xff][..], &one].concat(), 1, 1),
            ([&one[..], &[0x1a, 0x7f]].concat(), 1, 1),
            ([&one[..], &[0xff; 11]].concat(), 1, 1),
            ([&one[..], &[0x08, 0x01]].concat(), 1, 1),
            ([&[0x2a, 0x01, 0x00][..], &one].concat(), 1, 0),
            (vec![], 0, 0),
        ] {
            let found = read(&sealed(&message)).unwrap();
            let (whole, broken): (Vec<_>, Vec<_>) = found.iter().partition(|record| record.is_ok());
            assert_eq!((whole.len(), broken.len()), (good, bad), "{message:x?}");
        }
    }
}
