//! What makes two observations the same one.

use dormouse_model::Observation;
use xxhash_rust::xxh3::xxh3_128;

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
        let mut text = Gathered::default();
        text.push(observation.identity_text().as_bytes());
        let (id, account_and_form, region, partition, irregular) = observation.key.stable_bytes();
        // A zero byte ends each text, so that no two different lists of texts run together to the same bytes.
        text.push(&[0, observation.kind.number()]);
        text.push(&id);
        text.push(&account_and_form.to_be_bytes());
        for name in [region, partition, irregular] {
            text.push(name.as_bytes());
            text.push(&[0]);
        }
        text.digest()
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
        let mut text = Gathered::default();
        for part in parts {
            text.push(&part.to_bytes());
        }
        Some(text.digest())
    }

    /// Sixteen bytes that [`Identity::from_bytes`] turns back.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.high) << 64 | u128::from(self.low)).to_be_bytes()
    }

    /// The identity with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_number(u128::from_be_bytes(bytes))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the number")]
    fn from_number(number: u128) -> Self {
        Self { high: (number >> 64) as u64, low: number as u64 }
    }
}

/// Bytes to be digested at once, without the large state that digesting piece by piece needs; on the stack unless many.
struct Gathered {
    few: [u8; 256],
    length: usize,
    many: Vec<u8>,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { few: [0; 256], length: 0, many: Vec::new() }
    }
}

impl Gathered {
    fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.few.get_mut(self.length..end).filter(|_| self.many.is_empty()) {
            place.copy_from_slice(bytes);
        } else {
            if self.many.is_empty() {
                self.many.extend_from_slice(&self.few[..self.length]);
            }
            self.many.extend_from_slice(bytes);
        }
        self.length = end;
    }

    fn digest(&self) -> Identity {
        let bytes = if self.many.is_empty() { &self.few[..self.length] } else { &*self.many };
        Identity::from_number(xxh3_128(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_bytes_digest_like_one_text() {
        let pieces: Vec<Vec<u8>> = (0..40u8).map(|piece| vec![piece; 13]).collect();
        let mut gathered = Gathered::default();
        pieces.iter().for_each(|piece| gathered.push(piece));
        assert_eq!(gathered.digest(), Identity::from_number(xxh3_128(&pieces.concat())));
    }
}
