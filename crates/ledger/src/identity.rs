//! What makes two observations the same one.

use dormouse_model::{KeyArn, Kind, Observation};
use xxhash_rust::xxh3::Xxh3;

/// A 128-bit digest that is the same in every process: two observations with the same one are the same observation.
///
/// Event ids are chosen by AWS, so nobody can aim for a collision; by chance one is not to be expected before 10^19 ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    high: u64,
    low: u64,
}

impl Identity {
    /// The identity of an observation: its shared id, else its event id; its key; its kind.
    pub fn of(observation: &Observation<'_>) -> Self {
        let mut digest = Xxh3::new();
        digest.update(observation.identity_text().as_bytes());
        add_key_and_kind(&mut digest, observation.key, observation.kind);
        Self::from_digest(&digest)
    }

    /// The identity of a record: the id and exactly the keys and kinds it speaks of, in any order. The same as the
    /// observation's if there is only one; `None` if there is none.
    pub fn of_record(observations: &[Observation<'_>]) -> Option<Self> {
        let (first, rest) = observations.split_first()?;
        if rest.is_empty() {
            return Some(Self::of(first));
        }
        let mut parts: Vec<Self> = observations.iter().map(Self::of).collect();
        parts.sort_unstable();
        let mut digest = Xxh3::new();
        for part in parts {
            digest.update(&part.to_bytes());
        }
        Some(Self::from_digest(&digest))
    }

    /// Sixteen bytes that [`Identity::from_bytes`] turns back.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_be_bytes()
    }

    /// The identity with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_number(u128::from_be_bytes(bytes))
    }

    fn from_digest(digest: &Xxh3) -> Self {
        Self::from_number(digest.digest128())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
    fn from_number(number: u128) -> Self {
        Self { high: (number >> 64) as u64, low: number as u64 }
    }
}

fn add_key_and_kind(digest: &mut Xxh3, key: KeyArn, kind: Kind) {
    let (id, account_and_form, region, partition, irregular) = key.stable_bytes();
    // A zero byte ends each text, so that no two different lists of texts run together to the same bytes.
    digest.update(&[0, kind.number()]);
    digest.update(&id);
    digest.update(&account_and_form.to_be_bytes());
    for text in [region, partition, irregular] {
        digest.update(text.as_bytes());
        digest.update(&[0]);
    }
}
