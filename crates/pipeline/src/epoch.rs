//! The bytes of an epoch: a header, then the observations one after the other.
//!
//! Observations are encoded once, when their message is decoded, and copied as they are; reading borrows from the
//! bytes. What the id window decided stands in the header, one byte an observation, so that reading an epoch again after
//! a crash repeats exactly what was done with it the first time.

use dormouse_ledger::{CellShift, Copies, Counting, Identity, PipeChange, Remembered, Seen, Tally};
use dormouse_model::{AccountId, Answer, Checkpoint, EventTime, KeyArn, Observation, Place, SourceMark};
use serde::{Deserialize, Serialize};

/// The format of epochs; a change of any encoded type needs a new number, and a reader for the old one.
const FORMAT: u8 = 4;

/// Everything in an epoch but the observations.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Header<'a> {
    /// What became of the records.
    pub tally: Tally,
    /// Observations from before this time could not be counted when the epoch was sealed.
    pub floor: EventTime,
    /// Accounts that had not been received before.
    pub received: Vec<AccountId>,
    /// Identities of records with several observations, by which their duplicates are known.
    pub records: Vec<([u8; 16], EventTime)>,
    /// Calls that were not understood, but are no errors.
    #[serde(borrow)]
    pub unknowns: Vec<Unknown<'a>>,
    /// How far sources have come, by the source's name.
    pub checkpoints: Vec<(&'a str, Checkpoint)>,
    /// What sources said of their completeness.
    pub marks: Vec<(&'a str, SourceMark)>,
    /// What arrived through which source from which place.
    pub seen: Vec<(&'a str, Place, Seen)>,
    /// `ListKeys` calls that came back: through which source, from which place, the request's id, the event's time.
    pub returned: Vec<(&'a str, Place, [u8; 16], EventTime)>,
    /// In-use operations of which successful calls arrived.
    pub passed: Vec<Passed<'a>>,
    /// Changes of what delivers events.
    pub pipe: Vec<(Place, PipeChange)>,
    /// Cells whose history was read. The evidence is among the observations.
    pub cells: Vec<CellShift>,
    /// What AWS said when it was asked.
    pub answers: Vec<Answer>,
    /// Which of them, by their places and in order, tell of a last use that may be among what was not understood then.
    pub unread_uses: Vec<u32>,
    /// For each observation, in order, what was decided about it.
    pub decisions: &'a [u8],
}

/// Successful calls of an in-use operation that arrived from a place through a source.
#[derive(Debug, Serialize, Deserialize)]
pub struct Passed<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Where they were logged.
    pub place: Place,
    /// The operation.
    pub operation: &'a str,
    /// When the first was.
    pub first: EventTime,
    /// When the last was.
    pub last: EventTime,
}

/// A call that was not understood, but is no error.
#[derive(Debug, Serialize, Deserialize)]
pub enum Unknown<'a> {
    /// An operation that the table does not name.
    Operation {
        /// Its name.
        name: &'a str,
        /// When.
        at: EventTime,
        /// It may have used a key.
        holds_back: bool,
        /// The source through which it came.
        source: &'a str,
        /// Where it was logged, if the record says.
        place: Option<Place>,
        /// The keys that it names.
        keys: Vec<KeyArn>,
    },
    /// A name that is no key.
    Unresolved {
        /// The account in which it would be resolved.
        account: Option<AccountId>,
        /// The Region in which it would be resolved.
        region: Option<&'a str>,
        /// The alias or id.
        name: &'a str,
        /// When.
        at: EventTime,
    },
}

/// The bytes are no epoch: the journal is damaged or of another version.
#[derive(Debug, thiserror::Error)]
#[error("the journal holds an epoch that cannot be read: {0}")]
pub struct EpochError(String);

impl From<postcard::Error> for EpochError {
    fn from(error: postcard::Error) -> Self {
        Self(error.to_string())
    }
}

/// Appends an observation to encoded ones.
pub fn encode_observation(observation: &Observation<'_>, out: Vec<u8>) -> Result<Vec<u8>, EpochError> {
    Ok(postcard::to_extend(observation, out)?)
}

/// Puts an epoch together from its header and its encoded observations.
pub fn encode(header: &Header<'_>, observations: &[&[u8]]) -> Result<Vec<u8>, EpochError> {
    let size: usize = observations.iter().map(|bytes| bytes.len()).sum();
    let mut body = Vec::with_capacity(size + header.decisions.len() + 1_024);
    body.push(FORMAT);
    let mut body = postcard::to_extend(header, body)?;
    for bytes in observations {
        body.extend_from_slice(bytes);
    }
    Ok(body)
}

/// The header and the bytes of the observations.
pub fn decode(body: &[u8]) -> Result<(Header<'_>, Observations<'_>), EpochError> {
    let body = match body.split_first() {
        Some((&FORMAT, body)) => body,
        Some((&(1..FORMAT), _)) => {
            let what = "it was written by an older build, which did not stop in order; start that build once more and \
                        stop it, then start this one";
            return Err(EpochError(what.into()));
        }
        _ => return Err(EpochError("unknown format".into())),
    };
    let (header, rest): (Header<'_>, _) = postcard::take_from_bytes(body)?;
    let decisions = header.decisions;
    Ok((header, Observations { decisions, rest }))
}

/// What was decided about an observation: what its count does, and in which copies its id was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What its count does.
    pub counting: Counting,
    /// The copies in which its id was entered.
    pub entered: Copies,
}

impl Decided {
    /// One byte that [`Decided::from_byte`] turns back.
    pub fn to_byte(self) -> u8 {
        self.counting.number() | self.entered.number() << 4
    }

    fn from_byte(byte: u8) -> Result<Self, EpochError> {
        let counting = Counting::from_number(byte & 0xf);
        let counting = counting.ok_or_else(|| EpochError(format!("unknown decision {byte}")))?;
        Ok(Self { counting, entered: Copies::from_number(byte >> 4) })
    }
}

/// The observations of an epoch, in order, with what was decided about them.
pub struct Observations<'a> {
    decisions: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Iterator for Observations<'a> {
    type Item = Result<(Observation<'a>, Decided), EpochError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&byte, decisions) = self.decisions.split_first()?;
        self.decisions = decisions;
        Some(self.read(byte))
    }
}

impl<'a> Observations<'a> {
    fn read(&mut self, byte: u8) -> Result<(Observation<'a>, Decided), EpochError> {
        let decided = Decided::from_byte(byte)?;
        let (observation, rest) = postcard::take_from_bytes(self.rest)?;
        self.rest = rest;
        Ok((observation, decided))
    }
}

/// The id that has to be remembered of an observation, if any has.
pub fn remembered(observation: &Observation<'_>, decided: Decided) -> Option<Remembered> {
    let is_entered = decided.entered != Copies::NONE;
    is_entered.then(|| (Identity::of(observation), observation.time, decided.entered))
}
