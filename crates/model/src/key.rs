//! The name of a KMS key, small enough to be copied everywhere.
//!
//! A key ARN is about 75 bytes of text of which most is the same for every key. [`KeyArn`] holds what differs in 24
//! bytes: the sixteen bytes of the id's UUID, and one word with account, Region, partition and the id's form. The text
//! comes back exactly. Ids of another form than KMS's own (documentation uses some) are kept in a bounded table.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names::Names;
use crate::{AccountId, ParseAccountError, ParseRegionError, Region};

/// One KMS key in one Region. Equal if and only if the ARN texts are equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyArn {
    id: [u8; 16],
    /// From the lowest bit: account (40 bits), Region (16), partition (4), form of the id (2).
    rest: u64,
}

/// Why a text is no key ARN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// Not `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`.
    #[error("a key ARN looks like arn:aws:kms:REGION:ACCOUNT:key/ID")]
    NotAKeyArn,
    /// The partition is not `aws` or `aws-…`, or too many different ones were seen.
    #[error("the partition of a key ARN is aws or aws-…")]
    Partition,
    /// The Region is none.
    #[error(transparent)]
    Region(#[from] ParseRegionError),
    /// The account is none.
    #[error(transparent)]
    Account(#[from] ParseAccountError),
    /// The id has characters that no key id has, or is empty or too long.
    #[error("a key id is a UUID or mrk- and 32 hexadecimal digits")]
    Id,
    /// More than 65,535 different ids of a form KMS does not use were seen.
    #[error("too many key ids of a form that KMS does not use were seen")]
    TooManyIds,
}

const UUID: u64 = 0;
const MULTI_REGION: u64 = 1;
const IRREGULAR: u64 = 2;

const REGION_SHIFT: u32 = 40;
const PARTITION_SHIFT: u32 = 56;
const FORM_SHIFT: u32 = 60;

const PARTITIONS_KNOWN: &[&str] =
    &["aws", "aws-cn", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-us-gov"];

static PARTITIONS: LazyLock<Names> = LazyLock::new(|| Names::new(PARTITIONS_KNOWN, 16));
static IRREGULAR_IDS: LazyLock<Names> = LazyLock::new(|| Names::new(&[], u16::MAX));

impl KeyArn {
    /// The key with this id (a UUID or `mrk-…`) in this account and Region, in the partition that the Region is in.
    pub fn from_parts(region: Region, account: AccountId, id: &str) -> Result<Self, ParseKeyError> {
        Self::assemble(partition_of(region), region, account, id)
    }

    fn assemble(
        partition: &str,
        region: Region,
        account: AccountId,
        id: &str,
    ) -> Result<Self, ParseKeyError> {
        let (form, id) = encode_id(id)?;
        Ok(Self { id, rest: Self::place(partition, region, account)? | form << FORM_SHIFT })
    }

    /// The word `rest` but for the id's form.
    fn place(partition: &str, region: Region, account: AccountId) -> Result<u64, ParseKeyError> {
        let known = partition == "aws" || PARTITIONS_KNOWN.contains(&partition);
        let plausible = partition.len() <= 32
            && partition.strip_prefix("aws-").is_some_and(|tail| {
                tail.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !tail.is_empty()
            });
        if !known && !plausible {
            return Err(ParseKeyError::Partition);
        }
        let partition = PARTITIONS.number(partition).ok_or(ParseKeyError::Partition)?;
        Ok(account.number() | u64::from(region.0) << REGION_SHIFT | u64::from(partition) << PARTITION_SHIFT)
    }

    /// The key that this text names, if a key of this name may have been seen: for names that somebody asks about.
    /// Unlike parsing it takes up no room in the tables of names. Errors are those of parsing.
    pub fn known(text: &str) -> Result<Option<Self>, ParseKeyError> {
        let (partition, region, account, id) = split(text)?;
        let form = id_form(id)?;
        let account: AccountId = account.parse()?;
        let is_regular = !matches!(form, IdForm::Irregular);
        let is_known = PARTITIONS.known(partition).is_some()
            && Region::known(region).is_some()
            && (is_regular || IRREGULAR_IDS.known(id).is_some());
        if is_known {
            return Self::assemble(partition, region.parse()?, account, id).map(Some);
        }
        Ok(None)
    }

    /// The AWS partition, `aws` for most.
    pub fn partition(self) -> &'static str {
        PARTITIONS.name(self.bits(PARTITION_SHIFT, 0xf))
    }

    /// The Region the key lives in.
    pub fn region(self) -> Region {
        Region(self.bits(REGION_SHIFT, 0xffff))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the masks have at most sixteen bits")]
    fn bits(self, shift: u32, mask: u16) -> u16 {
        (self.rest >> shift) as u16 & mask
    }

    /// The account that owns the key.
    pub fn account(self) -> AccountId {
        AccountId::from_low_bits(self.rest)
    }

    /// Whether this is one of several keys with the same `mrk-` id.
    pub fn is_multi_region(self) -> bool {
        self.form() == MULTI_REGION || (self.form() == IRREGULAR && self.irregular_id().starts_with("mrk-"))
    }

    /// The id: what stands behind `key/`.
    pub fn id(self) -> String {
        let mut text = String::with_capacity(36);
        // Writing to a String cannot fail.
        let _ = self.write_id(&mut text);
        text
    }

    /// Bytes that are the same in every process, for identities that outlive this one.
    pub fn stable_bytes(self) -> ([u8; 16], u64, &'static str, &'static str, &'static str) {
        let (id, irregular) =
            if self.form() == IRREGULAR { ([0; 16], self.irregular_id()) } else { (self.id, "") };
        let account_and_form = self.account().number() | self.form() << FORM_SHIFT;
        (id, account_and_form, self.region().name(), self.partition(), irregular)
    }

    fn form(self) -> u64 {
        self.rest >> FORM_SHIFT
    }

    fn irregular_id(self) -> &'static str {
        IRREGULAR_IDS.name(u16::from_be_bytes([self.id[0], self.id[1]]))
    }

    fn write_id(self, out: &mut impl fmt::Write) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        if self.form() == IRREGULAR {
            return out.write_str(self.irregular_id());
        }
        let mut text = [0u8; 36];
        let mut end = 0;
        let mut push = |byte: u8| {
            text[end] = byte;
            end += 1;
        };
        if self.form() == MULTI_REGION {
            b"mrk-".iter().copied().for_each(&mut push);
        }
        for (place, byte) in self.id.iter().enumerate() {
            if self.form() == UUID && matches!(place, 4 | 6 | 8 | 10) {
                push(b'-');
            }
            push(HEX[usize::from(byte >> 4)]);
            push(HEX[usize::from(byte & 0xf)]);
        }
        out.write_str(std::str::from_utf8(&text[..end]).map_err(|_| fmt::Error)?)
    }
}

impl Region {
    /// The partition that the Region is in, by AWS's naming of Regions: `aws` for most.
    pub fn partition(self) -> &'static str {
        partition_of(self)
    }
}

/// The partition a Region is in, by AWS's naming of Regions.
fn partition_of(region: Region) -> &'static str {
    let name = region.name();
    match name.split('-').take(2).collect::<Vec<_>>().as_slice() {
        ["cn", _] => "aws-cn",
        ["eusc", _] => "aws-eusc",
        [_, "gov"] => "aws-us-gov",
        [_, "iso"] => "aws-iso",
        [_, "isob"] => "aws-iso-b",
        [_, "isoe"] => "aws-iso-e",
        [_, "isof"] => "aws-iso-f",
        _ => "aws",
    }
}

/// What an id looks like.
enum IdForm {
    Uuid([u8; 16]),
    MultiRegion([u8; 16]),
    Irregular,
}

fn id_form(id: &str) -> Result<IdForm, ParseKeyError> {
    let bytes = id.as_bytes();
    if bytes.len() == 36 {
        if let Some(digits) = bytes.strip_prefix(b"mrk-") {
            if let Some(id) = decode_hex(digits, false) {
                return Ok(IdForm::MultiRegion(id));
            }
        } else if let Some(id) = decode_hex(bytes, true) {
            return Ok(IdForm::Uuid(id));
        }
    }
    let plausible = (1..=128).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if plausible { Ok(IdForm::Irregular) } else { Err(ParseKeyError::Id) }
}

/// The form of an id and its sixteen bytes.
fn encode_id(id: &str) -> Result<(u64, [u8; 16]), ParseKeyError> {
    match id_form(id)? {
        IdForm::Uuid(id) => return Ok((UUID, id)),
        IdForm::MultiRegion(id) => return Ok((MULTI_REGION, id)),
        IdForm::Irregular => {}
    }
    let number = IRREGULAR_IDS.number(id).ok_or(ParseKeyError::TooManyIds)?;
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    Ok((IRREGULAR, id))
}

/// Sixteen bytes from 32 lower-case hexadecimal digits, with dashes where a UUID has them or with none.
pub(crate) fn decode_hex(text: &[u8], dashes: bool) -> Option<[u8; 16]> {
    fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        }
    }
    let mut id = [0; 16];
    let mut at = 0;
    for (place, out) in id.iter_mut().enumerate() {
        if dashes && matches!(place, 4 | 6 | 8 | 10) {
            if *text.get(at)? != b'-' {
                return None;
            }
            at += 1;
        }
        *out = digit(*text.get(at)?)? << 4 | digit(*text.get(at + 1)?)?;
        at += 2;
    }
    (at == text.len()).then_some(id)
}

/// Partition, Region, account and id.
fn split(text: &str) -> Result<(&str, &str, &str, &str), ParseKeyError> {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next().ok_or(ParseKeyError::NotAKeyArn);
    let (arn, partition, service) = (next()?, next()?, next()?);
    let (region, account) = (next()?, next()?);
    let id = next()?.strip_prefix("key/").ok_or(ParseKeyError::NotAKeyArn)?;
    if arn != "arn" || service != "kms" {
        return Err(ParseKeyError::NotAKeyArn);
    }
    Ok((partition, region, account, id))
}

impl FromStr for KeyArn {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (partition, region, account, id) = split(text)?;
        Self::assemble(partition, region.parse()?, account.parse()?, id)
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:{}:kms:{}:{}:key/", self.partition(), self.region().name(), self.account())?;
        self.write_id(f)
    }
}

/// In the order of the ARN texts.
impl Ord for KeyArn {
    fn cmp(&self, other: &Self) -> Ordering {
        let place = |key: &Self| (key.partition(), key.region(), key.account().number());
        let ((partition, region, account), (other_partition, other_region, other_account)) =
            (place(self), place(other));
        // Region by Region: a name that begins another is followed by a colon, which stands behind all digits.
        let by_region = || {
            let text = |region: Region| region.name().bytes().chain([b':']);
            if region == other_region { Ordering::Equal } else { text(region).cmp(text(other_region)) }
        };
        partition
            .bytes()
            .chain([b':'])
            .cmp(other_partition.bytes().chain([b':']))
            .then_with(by_region)
            .then_with(|| account.cmp(&other_account))
            .then_with(|| self.compare_ids(*other))
    }
}

impl PartialOrd for KeyArn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl KeyArn {
    fn compare_ids(self, other: Self) -> Ordering {
        match (self.form(), other.form()) {
            // Within a form the bytes are in the order of the text; "mrk-" stands behind all hexadecimal digits.
            (IRREGULAR, _) | (_, IRREGULAR) => self.id().cmp(&other.id()),
            (form, other_form) => form.cmp(&other_form).then_with(|| self.id.cmp(&other.id)),
        }
    }
}

impl fmt::Debug for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text for people; for machines the sixteen bytes of a regular id and the names that the number in `rest`
/// stand for, because those numbers mean nothing in another process.
impl Serialize for KeyArn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.stable_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for KeyArn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            return text.parse().map_err(de::Error::custom);
        }
        let (id, account_and_form, region, partition, irregular) =
            <([u8; 16], u64, &str, &str, &str)>::deserialize(deserializer)?;
        let form = account_and_form >> FORM_SHIFT;
        let account = AccountId::from_number(account_and_form & ((1 << FORM_SHIFT) - 1))
            .ok_or_else(|| de::Error::custom(ParseAccountError))?;
        let region: Region = region.parse().map_err(de::Error::custom)?;
        if form == IRREGULAR {
            return Self::assemble(partition, region, account, irregular).map_err(de::Error::custom);
        }
        let place = Self::place(partition, region, account).map_err(de::Error::custom)?;
        Ok(Self { id, rest: place | form << FORM_SHIFT })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_small() {
        assert!(size_of::<KeyArn>() <= 32);
    }

    #[test]
    fn keys_are_in_the_order_of_their_texts() {
        let ids =
            ["1234abcd-12ab-34cd-56ef-1234567890ab", "ffffabcd-12ab-34cd-56ef-1234567890ab", "odd", "a-odd"];
        let mut texts = Vec::new();
        for id in ids.iter().copied().chain(["mrk-1234abcd12ab34cd56ef1234567890ab"]) {
            for place in ["us-east-1:111122223333", "us-east-12:111122223333", "eu-west-1:444455556666"] {
                for partition in ["aws", "aws-cn"] {
                    texts.push(format!("arn:{partition}:kms:{place}:key/{id}"));
                }
            }
        }
        let mut keys: Vec<KeyArn> = texts.iter().map(|text| text.parse().unwrap()).collect();
        keys.sort();
        texts.sort();
        assert_eq!(keys.iter().map(ToString::to_string).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn asking_about_a_name_takes_up_no_room() {
        let text = "arn:aws:kms:eu-west-1:111122223333:key/never-seen";
        assert_eq!(KeyArn::known(text), Ok(None));
        let key: KeyArn = text.parse().unwrap();
        assert_eq!(KeyArn::known(text), Ok(Some(key)));
        assert_eq!(
            KeyArn::known("arn:aws:kms:eu-west-1:111122223333:alias/a"),
            Err(ParseKeyError::NotAKeyArn)
        );
    }

    #[test]
    fn what_is_no_key_arn_is_refused() {
        for text in [
            "",
            "arn:aws:kms:eu-west-1:111122223333:alias/app",
            "arn:aws:s3:::bucket",
            "arn:aws:kms:eu-west-1:AWS Internal:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:key/a b",
            "arn:gcp:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
        ] {
            assert!(text.parse::<KeyArn>().is_err(), "{text}");
        }
    }

    #[test]
    fn parts_make_the_arn_of_the_regions_partition() {
        let account = "111122223333".parse().unwrap();
        for (region, partition) in [
            ("eu-west-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-isob-east-1", "aws-iso-b"),
        ] {
            let key =
                KeyArn::from_parts(region.parse().unwrap(), account, "1234abcd-12ab-34cd-56ef-1234567890ab")
                    .unwrap();
            assert_eq!(
                key.to_string(),
                format!("arn:{partition}:kms:{region}:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab")
            );
        }
    }

    fn arn() -> impl Strategy<Value = String> {
        let partition = prop_oneof!["aws", "aws-cn", "aws-us-gov", "aws-iso-b", "aws-eusc", "aws-new"];
        let region = prop_oneof!["eu-west-1", "us-gov-west-1", "zz-north-[0-9]"];
        let id = prop_oneof![
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "mrk-[0-9a-f]{32}",
            "[0-9A-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-EXAMPLE[0-9]{5}",
        ];
        (partition, region, "[0-9]{12}", id).prop_map(|(p, r, a, i)| format!("arn:{p}:kms:{r}:{a}:key/{i}"))
    }

    proptest! {
        #[test]
        fn text_round_trips(text in arn()) {
            let key: KeyArn = text.parse().unwrap();
            prop_assert_eq!(key.to_string(), text.clone());
            prop_assert_eq!(format!("arn:{}:kms:{}:{}:key/{}", key.partition(), key.region(), key.account(), key.id()), text);
        }

        #[test]
        fn no_text_panics(text in "(arn:aws:kms:)?[a-z0-9:/-]{0,60}") {
            if let Ok(key) = text.parse::<KeyArn>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
