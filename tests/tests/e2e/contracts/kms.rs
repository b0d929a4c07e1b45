//! What KMS promises about keys and their states, and STS about callers.
//!
//! The references are the pages of the AWS KMS API Reference that are named like the operations, and "Key states of AWS
//! KMS keys" in its Developer Guide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{
    DataKeySpec, GrantOperation, KeyMetadata, KeySpec, KeyState, KeyUsageType, MacAlgorithmSpec, Tag,
};
use dormouse_model::{Clock, WallClock};
use dormouse_simulate::aws::{AwsDouble, AwsDoubleOptions};
use dormouse_simulate::organisation::{AccountSummary, Organisation, OrganisationOptions};
use dormouse_tests::aws;
use dormouse_tests::ministack::{ACCOUNT, MiniStack};

use super::{code_of, fresh, held_by};

held_by!(Place: double, ministack; [
    a_new_key_is_enabled_and_described,
    a_key_goes_by_its_id_its_arn_and_its_aliases,
    what_does_not_exist_is_not_found,
    a_disabled_key_serves_nobody,
    a_key_whose_deletion_is_scheduled_serves_nobody,
    a_cancelled_deletion_leaves_the_key_disabled,
    a_state_allows_what_it_allows,
    aliases_are_made_moved_and_taken_away,
    tags_are_set_replaced_and_taken_away,
    a_ciphertext_opens_with_its_context_alone,
    a_ciphertext_names_its_key,
    data_keys_come_open_and_closed,
    a_ciphertext_moves_to_another_key,
    a_mac_is_of_its_message,
    rotation_is_off_until_enabled,
    grants_are_made_listed_and_revoked,
    a_policy_can_be_read_and_put,
    all_keys_are_listed,
    an_assumed_role_is_who_calls,
    accounts_do_not_see_each_others_keys,
]);

const DAY: i64 = 86_400;

/// Somewhere that has KMS and STS.
struct Place {
    endpoint: String,
    kms: Client,
    /// The account of a caller of whom nothing is known.
    account: String,
    /// A role in another account that such a caller may assume.
    role: String,
    /// Ours, or else …
    _double: Option<AwsDouble>,
    ministack: Option<Arc<MiniStack>>,
}

impl Place {
    async fn double() -> Self {
        let options = OrganisationOptions { accounts: 3, keys: 5, ..OrganisationOptions::default() };
        let organisation = Organisation::new(options);
        let active = |account: &AccountSummary| account.state == "ACTIVE";
        let member = organisation.accounts().into_iter().skip(1).find(active).unwrap().id;
        let account = organisation.management_account().to_string();
        let options = AwsDoubleOptions { unlimited: true, ..AwsDoubleOptions::default() };
        let double = AwsDouble::start(organisation, options).await.unwrap();
        Self {
            kms: aws::kms(double.endpoint(), aws::anybody()),
            endpoint: double.endpoint().to_owned(),
            account,
            role: format!("arn:aws:iam::{member}:role/dormouse-read"),
            _double: Some(double),
            ministack: None,
        }
    }

    async fn ministack() -> Self {
        let ministack = MiniStack::shared().await;
        let endpoint = ministack.endpoint();
        Self {
            kms: aws::kms(&endpoint, aws::anybody()),
            endpoint,
            account: ACCOUNT.to_owned(),
            role: "arn:aws:iam::444455556666:role/dormouse-read".to_owned(),
            _double: None,
            ministack: Some(ministack),
        }
    }

    fn is_ministack(&self) -> bool {
        self.ministack.is_some()
    }

    fn sts(&self) -> aws_sdk_sts::Client {
        aws::sts(&self.endpoint, aws::anybody())
    }

    /// A new key, by its ARN.
    async fn key(&self) -> String {
        arn_of(&self.kms.create_key().send().await.unwrap().key_metadata.unwrap())
    }

    async fn describe(&self, key: &str) -> KeyMetadata {
        self.kms.describe_key().key_id(key).send().await.unwrap().key_metadata.unwrap()
    }

    async fn state(&self, key: &str) -> KeyState {
        self.describe(key).await.key_state.unwrap()
    }

    async fn disable(&self, key: &str) -> Result<(), String> {
        code_of(self.kms.disable_key().key_id(key).send().await)
    }

    async fn enable(&self, key: &str) -> Result<(), String> {
        code_of(self.kms.enable_key().key_id(key).send().await)
    }

    async fn schedule_deletion(&self, key: &str, days: i32) -> Result<(), String> {
        let schedule = self.kms.schedule_key_deletion().key_id(key).pending_window_in_days(days);
        code_of(schedule.send().await)
    }

    async fn cancel_deletion(&self, key: &str) -> Result<(), String> {
        code_of(self.kms.cancel_key_deletion().key_id(key).send().await)
    }

    async fn encrypt(&self, key: &str, context: &[(&str, &str)]) -> Blob {
        let encrypt = self.kms.encrypt().key_id(key).plaintext(secret());
        let answer = encrypt.set_encryption_context(map(context)).send().await.unwrap();
        answer.ciphertext_blob.unwrap()
    }

    /// The plaintext or the error's code.
    async fn decrypt(&self, ciphertext: &Blob, context: &[(&str, &str)]) -> Result<Blob, String> {
        let decrypt = self.kms.decrypt().ciphertext_blob(ciphertext.clone());
        let answer = decrypt.set_encryption_context(map(context)).send().await;
        match answer {
            Ok(answer) => Ok(answer.plaintext.unwrap()),
            Err(error) => Err(code_of::<(), _, _>(Err(error)).unwrap_err()),
        }
    }

    /// What every use of the key is refused with; none of them may be let through.
    async fn refusals_of_use(&self, key: &str, ciphertext: &Blob) -> BTreeSet<String> {
        let encrypt = self.kms.encrypt().key_id(key).plaintext(secret()).send().await;
        let decrypt = self.kms.decrypt().ciphertext_blob(ciphertext.clone()).send().await;
        let generate = self.kms.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256).send().await;
        let hidden = self.kms.generate_data_key_without_plaintext().key_id(key);
        let hidden = hidden.key_spec(DataKeySpec::Aes256).send().await;
        let mut refusals = vec![code_of(encrypt), code_of(decrypt), code_of(generate), code_of(hidden)];
        if !self.is_ministack() {
            // MiniStack has no ReEncrypt.
            let other = self.key().await;
            let from = self.kms.re_encrypt().ciphertext_blob(ciphertext.clone()).destination_key_id(&other);
            let to = self.kms.re_encrypt().ciphertext_blob(self.encrypt(&other, &[]).await);
            let to = to.destination_key_id(key);
            refusals.extend([code_of(from.send().await), code_of(to.send().await)]);
        }
        refusals.into_iter().map(Result::unwrap_err).collect()
    }

    /// The aliases of a key and what they point at.
    async fn aliases(&self, key: &str) -> BTreeMap<String, String> {
        let listed = self.kms.list_aliases().key_id(key).send().await.unwrap();
        assert!(!listed.truncated);
        let aliases = listed.aliases.unwrap().into_iter();
        aliases.map(|alias| (alias.alias_name.unwrap(), alias.target_key_id.unwrap())).collect()
    }

    async fn tags(&self, key: &str) -> BTreeMap<String, String> {
        let listed = self.kms.list_resource_tags().key_id(key).send().await.unwrap();
        listed.tags.unwrap().into_iter().map(|tag| (tag.tag_key, tag.tag_value)).collect()
    }
}

fn arn_of(key: &KeyMetadata) -> String {
    key.arn().unwrap().to_owned()
}

fn id_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap()
}

fn secret() -> Blob {
    Blob::new(b"hazelnuts under the old oak \x00\xff".as_slice())
}

fn map(pairs: &[(&str, &str)]) -> Option<std::collections::HashMap<String, String>> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    (pairs.len() > 0).then(|| pairs.collect())
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().tag_key(key).tag_value(value).build().unwrap()
}

fn codes(codes: &[&str]) -> BTreeSet<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

async fn a_new_key_is_enabled_and_described(place: &Place) {
    let make = place.kms.create_key().description("nuts").tags(tag("team", "burrow"));
    let made = make.send().await.unwrap().key_metadata.unwrap();
    let arn = arn_of(&made);
    assert!(arn.starts_with(&format!("arn:aws:kms:eu-west-1:{}:key/", place.account)), "{arn}");
    for key in [&made, &place.describe(&arn).await] {
        assert_eq!(key.key_id(), id_of(&arn));
        assert_eq!(key.arn(), Some(&*arn));
        assert!(key.enabled);
        assert_eq!(key.key_state(), Some(&KeyState::Enabled));
        assert_eq!(key.description(), Some("nuts"));
        assert_eq!(key.key_manager().unwrap().as_str(), "CUSTOMER");
        assert_eq!(key.origin().unwrap().as_str(), "AWS_KMS");
        assert_eq!(key.key_usage(), Some(&KeyUsageType::EncryptDecrypt));
        assert_eq!(key.key_spec(), Some(&KeySpec::SymmetricDefault));
        assert_eq!(key.multi_region(), Some(false));
        assert_eq!(key.deletion_date(), None);
        let age = WallClock.now().as_second() - key.creation_date().unwrap().secs();
        assert!((-1..60).contains(&age), "{age} s old");
        if place.is_ministack() {
            // MiniStack does not tell the account. KeyMetadata: AWSAccountId.
            assert_eq!(key.aws_account_id(), None);
        } else {
            assert_eq!(key.aws_account_id(), Some(&*place.account));
        }
    }
    assert_eq!(place.tags(&arn).await, BTreeMap::from([("team".to_owned(), "burrow".to_owned())]));
}

async fn a_key_goes_by_its_id_its_arn_and_its_aliases(place: &Place) {
    let arn = place.key().await;
    let alias = fresh("alias/named");
    place.kms.create_alias().alias_name(&alias).target_key_id(id_of(&arn)).send().await.unwrap();
    let alias_arn = arn.replace(&format!("key/{}", id_of(&arn)), &alias);
    for name in [id_of(&arn), &arn, &alias, &alias_arn] {
        assert_eq!(arn_of(&place.describe(name).await), arn, "{name}");
        let encrypted = place.kms.encrypt().key_id(name).plaintext(secret()).send().await.unwrap();
        assert_eq!(encrypted.key_id(), Some(&*arn), "the key's ARN, whatever it was called");
    }
}

async fn what_does_not_exist_is_not_found(place: &Place) {
    let missing = "12345678-90ab-cdef-1234-567890abcdef";
    let arn = format!("arn:aws:kms:eu-west-1:{}:key/{missing}", place.account);
    for key in [missing, &arn, "alias/no-such-alias"] {
        let kms = &place.kms;
        let describe = kms.describe_key().key_id(key).send().await.unwrap_err().into_service_error();
        assert!(describe.is_not_found_exception(), "{key}: {describe:?}");
        let encrypt = kms.encrypt().key_id(key).plaintext(secret()).send().await.unwrap_err();
        assert!(encrypt.into_service_error().is_not_found_exception(), "{key}");
    }
    let kms = &place.kms;
    let refusals = [
        place.disable(missing).await,
        place.schedule_deletion(missing, 7).await,
        code_of(kms.list_resource_tags().key_id(missing).send().await),
        code_of(kms.list_grants().key_id(missing).send().await),
        code_of(kms.get_key_policy().key_id(missing).send().await),
        code_of(kms.get_key_rotation_status().key_id(missing).send().await),
        code_of(kms.create_alias().alias_name("alias/x").target_key_id(missing).send().await),
        code_of(kms.delete_alias().alias_name("alias/no-such-alias").send().await),
    ];
    let refusals: BTreeSet<String> = refusals.into_iter().map(Result::unwrap_err).collect();
    assert_eq!(refusals, codes(&["NotFoundException"]));
    let aliases = code_of(kms.list_aliases().key_id(missing).send().await);
    if place.is_ministack() {
        // MiniStack has no aliases of a key that is not there. ListAliases: NotFoundException.
        assert_eq!(aliases, Ok(()));
    } else {
        assert_eq!(aliases.unwrap_err(), "NotFoundException");
    }
}

async fn a_disabled_key_serves_nobody(place: &Place) {
    let key = place.key().await;
    let ciphertext = place.encrypt(&key, &[]).await;
    place.disable(&key).await.unwrap();
    let described = place.describe(&key).await;
    assert_eq!((described.enabled, described.key_state), (false, Some(KeyState::Disabled)));
    assert_eq!(place.refusals_of_use(&key, &ciphertext).await, codes(&["DisabledException"]));
    let encrypt = place.kms.encrypt().key_id(&key).plaintext(secret()).send().await.unwrap_err();
    assert!(encrypt.into_service_error().is_disabled_exception());

    place.enable(&key).await.unwrap();
    assert_eq!(place.state(&key).await, KeyState::Enabled);
    assert_eq!(place.decrypt(&ciphertext, &[]).await.unwrap(), secret());
}

async fn a_key_whose_deletion_is_scheduled_serves_nobody(place: &Place) {
    let key = place.key().await;
    let ciphertext = place.encrypt(&key, &[]).await;
    for days in [6, 31] {
        assert_eq!(place.schedule_deletion(&key, days).await.unwrap_err(), "ValidationException", "{days}");
    }
    let schedule = place.kms.schedule_key_deletion().key_id(&key).pending_window_in_days(7);
    let scheduled = schedule.send().await.unwrap();
    assert_eq!(scheduled.key_id(), Some(&*key));
    assert_eq!(scheduled.key_state(), Some(&KeyState::PendingDeletion));
    let described = place.describe(&key).await;
    assert_eq!((described.enabled, described.key_state()), (false, Some(&KeyState::PendingDeletion)));
    for date in [scheduled.deletion_date(), described.deletion_date()] {
        let ahead = date.unwrap().secs() - WallClock.now().as_second();
        // KMS may take up to a day more.
        assert!((7 * DAY - 60..=8 * DAY).contains(&ahead), "{ahead} s ahead");
    }
    assert_eq!(place.refusals_of_use(&key, &ciphertext).await, codes(&["KMSInvalidStateException"]));
    let encrypt = place.kms.encrypt().key_id(&key).plaintext(secret()).send().await.unwrap_err();
    assert!(encrypt.into_service_error().is_kms_invalid_state_exception());

    let longest = place.key().await;
    let scheduled = place.kms.schedule_key_deletion().key_id(&longest).send().await.unwrap();
    let ahead = scheduled.deletion_date().unwrap().secs() - WallClock.now().as_second();
    assert!((30 * DAY - 60..=31 * DAY).contains(&ahead), "thirty days, unless said otherwise: {ahead} s");
}

async fn a_cancelled_deletion_leaves_the_key_disabled(place: &Place) {
    let key = place.key().await;
    let ciphertext = place.encrypt(&key, &[]).await;
    place.schedule_deletion(&key, 7).await.unwrap();
    let cancelled = place.kms.cancel_key_deletion().key_id(&key).send().await.unwrap();
    assert_eq!(cancelled.key_id(), Some(&*key));
    let described = place.describe(&key).await;
    assert_eq!((described.enabled, described.key_state()), (false, Some(&KeyState::Disabled)));
    assert_eq!(described.deletion_date(), None);
    assert_eq!(place.refusals_of_use(&key, &ciphertext).await, codes(&["DisabledException"]));
    place.enable(&key).await.unwrap();
    assert_eq!(place.decrypt(&ciphertext, &[]).await.unwrap(), secret());
}

async fn a_state_allows_what_it_allows(place: &Place) {
    let pending = place.key().await;
    place.schedule_deletion(&pending, 7).await.unwrap();
    let kms = &place.kms;
    let disabled = place.key().await;
    place.disable(&disabled).await.unwrap();
    let answers = [
        place.schedule_deletion(&pending, 8).await,
        code_of(kms.tag_resource().key_id(&pending).tags(tag("a", "b")).send().await),
        code_of(kms.enable_key_rotation().key_id(&pending).send().await),
        place.cancel_deletion(&disabled).await,
        place.enable(&pending).await,
        place.disable(&pending).await,
        code_of(kms.enable_key_rotation().key_id(&disabled).send().await),
    ];
    if place.is_ministack() {
        // MiniStack asks for the state before uses and grants alone. "Key states": these fail.
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    } else {
        let (invalid, disabled) = ("KMSInvalidStateException", "DisabledException");
        let expected = [invalid, invalid, invalid, invalid, invalid, invalid, disabled];
        let answers = answers.map(Result::unwrap_err);
        assert_eq!(answers, expected);
        assert_eq!(place.state(&pending).await, KeyState::PendingDeletion);
    }
}

async fn aliases_are_made_moved_and_taken_away(place: &Place) {
    let (one, other) = (place.key().await, place.key().await);
    let (alias, second) = (fresh("alias/moved"), fresh("alias/team/second"));
    let make = |alias: &str| place.kms.create_alias().alias_name(alias).target_key_id(&one);
    make(&alias).send().await.unwrap();
    make(&second).send().await.unwrap();
    assert_eq!(code_of(make(&alias).send().await).unwrap_err(), "AlreadyExistsException");
    let both = [&alias, &second].map(|alias| (alias.clone(), id_of(&one).to_owned()));
    assert_eq!(place.aliases(&one).await, BTreeMap::from(both));
    assert!(place.aliases(&other).await.is_empty());

    place.kms.update_alias().alias_name(&alias).target_key_id(&other).send().await.unwrap();
    let moved = BTreeMap::from([(alias.clone(), id_of(&other).to_owned())]);
    assert_eq!(place.aliases(&other).await, moved);
    assert_eq!(place.aliases(&one).await.len(), 1);
    assert_eq!(arn_of(&place.describe(&alias).await), other);

    place.kms.delete_alias().alias_name(&alias).send().await.unwrap();
    assert!(place.aliases(&other).await.is_empty());
    let gone = code_of(place.kms.describe_key().key_id(&alias).send().await);
    assert_eq!(gone.unwrap_err(), "NotFoundException");
    let update = place.kms.update_alias().alias_name(&alias).target_key_id(&one);
    assert_eq!(code_of(update.send().await).unwrap_err(), "NotFoundException");
    assert_eq!(place.state(&other).await, KeyState::Enabled, "a key outlives its alias");
}

async fn tags_are_set_replaced_and_taken_away(place: &Place) {
    let key = place.key().await;
    assert!(place.tags(&key).await.is_empty());
    let set = |name: &str, value: &str| place.kms.tag_resource().key_id(&key).tags(tag(name, value)).send();
    set("team", "burrow").await.unwrap();
    set("stage", "").await.unwrap();
    set("team", "nest").await.unwrap();
    let expected = [("team", "nest"), ("stage", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(place.tags(&key).await, BTreeMap::from(expected));
    let untag = place.kms.untag_resource().key_id(&key).tag_keys("team").tag_keys("never set");
    untag.send().await.unwrap();
    assert_eq!(place.tags(&key).await, BTreeMap::from([("stage".to_owned(), String::new())]));
}

async fn a_ciphertext_opens_with_its_context_alone(place: &Place) {
    let key = place.key().await;
    let context = [("tree", "oak"), ("wood", "north")];
    let reordered = [("wood", "north"), ("tree", "oak")];
    let ciphertext = place.encrypt(&key, &context).await;
    assert_eq!(place.decrypt(&ciphertext, &reordered).await.unwrap(), secret());
    let wrong: [&[(&str, &str)]; 4] = [
        &[],
        &[("tree", "oak")],
        &[("tree", "Oak"), ("wood", "north")],
        &[("tree", "north"), ("wood", "oak")],
    ];
    for context in wrong {
        let refused = place.decrypt(&ciphertext, context).await;
        assert_eq!(refused.unwrap_err(), "InvalidCiphertextException", "{context:?}");
    }
    let bare = place.encrypt(&key, &[]).await;
    assert_eq!(place.decrypt(&bare, &[]).await.unwrap(), secret());
    assert_eq!(place.decrypt(&bare, &context).await.unwrap_err(), "InvalidCiphertextException");
}

async fn a_ciphertext_names_its_key(place: &Place) {
    let (key, other) = (place.key().await, place.key().await);
    let ciphertext = place.encrypt(&key, &[]).await;
    let decrypt = place.kms.decrypt().ciphertext_blob(ciphertext);
    let answer = decrypt.clone().send().await.unwrap();
    assert_eq!((answer.key_id(), answer.plaintext()), (Some(&*key), Some(&secret())));
    let named = decrypt.clone().key_id(id_of(&key)).send().await.unwrap();
    assert_eq!((named.key_id(), named.plaintext()), (Some(&*key), Some(&secret())));
    let wrong = decrypt.key_id(&other).send().await;
    if place.is_ministack() {
        // MiniStack opens it with the wrong key, to nonsense. Decrypt: IncorrectKeyException.
        assert_ne!(wrong.unwrap().plaintext(), Some(&secret()));
    } else {
        assert_eq!(code_of(wrong).unwrap_err(), "IncorrectKeyException");
    }
    let nonsense = Blob::new(b"no ciphertext".as_slice());
    assert_eq!(place.decrypt(&nonsense, &[]).await.unwrap_err(), "InvalidCiphertextException");
}

async fn data_keys_come_open_and_closed(place: &Place) {
    let key = place.key().await;
    let generate = place.kms.generate_data_key().key_id(&key).encryption_context("tree", "oak");
    let by_size = [
        (generate.clone().key_spec(DataKeySpec::Aes256), 32),
        (generate.clone().key_spec(DataKeySpec::Aes128), 16),
        (generate.number_of_bytes(77), 77),
    ];
    for (generate, size) in by_size {
        let answer = generate.send().await.unwrap();
        assert_eq!(answer.key_id(), Some(&*key));
        let plaintext = answer.plaintext.unwrap();
        assert_eq!(plaintext.as_ref().len(), size);
        let ciphertext = answer.ciphertext_blob.unwrap();
        assert_eq!(place.decrypt(&ciphertext, &[("tree", "oak")]).await.unwrap(), plaintext);
        assert_eq!(place.decrypt(&ciphertext, &[]).await.unwrap_err(), "InvalidCiphertextException");
    }
    let hidden = place.kms.generate_data_key_without_plaintext().key_id(&key);
    let hidden = hidden.key_spec(DataKeySpec::Aes256).send().await.unwrap();
    assert_eq!(hidden.key_id(), Some(&*key));
    let opened = place.decrypt(&hidden.ciphertext_blob.unwrap(), &[]).await.unwrap();
    assert_eq!(opened.as_ref().len(), 32);
}

async fn a_ciphertext_moves_to_another_key(place: &Place) {
    let (source, destination) = (place.key().await, place.key().await);
    let ciphertext = place.encrypt(&source, &[("tree", "oak")]).await;
    let re_encrypt = place.kms.re_encrypt().ciphertext_blob(ciphertext).destination_key_id(&destination);
    let re_encrypt = re_encrypt.destination_encryption_context("tree", "elm");
    let moved = re_encrypt.clone().source_encryption_context("tree", "oak").send().await;
    if place.is_ministack() {
        // MiniStack has no ReEncrypt.
        assert_eq!(code_of(moved).unwrap_err(), "InvalidAction");
        return;
    }
    let moved = moved.unwrap();
    assert_eq!(moved.source_key_id(), Some(&*source));
    assert_eq!(moved.key_id(), Some(&*destination));
    let moved = moved.ciphertext_blob.unwrap();
    place.disable(&source).await.unwrap();
    assert_eq!(place.decrypt(&moved, &[("tree", "elm")]).await.unwrap(), secret());
    assert_eq!(place.decrypt(&moved, &[("tree", "oak")]).await.unwrap_err(), "InvalidCiphertextException");
    place.enable(&source).await.unwrap();
    let wrong = re_encrypt.source_encryption_context("tree", "ash").send().await;
    assert_eq!(code_of(wrong).unwrap_err(), "InvalidCiphertextException");
}

async fn a_mac_is_of_its_message(place: &Place) {
    let make = place.kms.create_key().key_spec(KeySpec::Hmac256).key_usage(KeyUsageType::GenerateVerifyMac);
    let key = arn_of(&make.send().await.unwrap().key_metadata.unwrap());
    let algorithm = MacAlgorithmSpec::HmacSha256;
    let generate = place.kms.generate_mac().key_id(&key).message(secret()).mac_algorithm(algorithm.clone());
    let generated = generate.send().await.unwrap();
    assert_eq!(generated.key_id(), Some(&*key));
    let verify = place.kms.verify_mac().key_id(&key).mac_algorithm(algorithm).mac(generated.mac.unwrap());
    let verified = verify.clone().message(secret()).send().await.unwrap();
    assert!(verified.mac_valid);
    let other = verify.message(Blob::new(b"another".as_slice())).send().await;
    assert_eq!(code_of(other).unwrap_err(), "KMSInvalidMacException");
    let encrypt = place.kms.encrypt().key_id(&key).plaintext(secret()).send().await;
    assert_eq!(code_of(encrypt).unwrap_err(), "InvalidKeyUsageException");
}

async fn rotation_is_off_until_enabled(place: &Place) {
    let key = place.key().await;
    let status = async || place.kms.get_key_rotation_status().key_id(&key).send().await.unwrap();
    assert!(!status().await.key_rotation_enabled);
    place.kms.enable_key_rotation().key_id(&key).send().await.unwrap();
    let enabled = status().await;
    assert_eq!((enabled.key_rotation_enabled, enabled.rotation_period_in_days), (true, Some(365)));
    place.kms.enable_key_rotation().key_id(&key).rotation_period_in_days(180).send().await.unwrap();
    assert_eq!(status().await.rotation_period_in_days, Some(180));
    place.kms.disable_key_rotation().key_id(&key).send().await.unwrap();
    assert!(!status().await.key_rotation_enabled);
}

async fn grants_are_made_listed_and_revoked(place: &Place) {
    let key = place.key().await;
    let grantee = format!("arn:aws:iam::{}:role/forager", place.account);
    let make = place.kms.create_grant().key_id(&key).grantee_principal(&grantee);
    let make = make.operations(GrantOperation::Decrypt).operations(GrantOperation::DescribeKey);
    let mut ids = BTreeSet::new();
    for name in ["first", "second", "third"] {
        ids.insert(make.clone().name(name).send().await.unwrap().grant_id.unwrap());
    }
    let (mut listed, mut marker) = (BTreeSet::new(), None);
    for page in 1.. {
        let list = place.kms.list_grants().key_id(&key).limit(2).set_marker(marker);
        let answer = list.send().await.unwrap();
        for grant in answer.grants() {
            assert_eq!((grant.key_id(), grant.grantee_principal()), (Some(&*key), Some(&*grantee)));
            assert_eq!(grant.operations(), [GrantOperation::Decrypt, GrantOperation::DescribeKey]);
            listed.insert(grant.grant_id().unwrap().to_owned());
        }
        assert_eq!((answer.truncated, answer.next_marker.is_some()), (page < 2, page < 2));
        marker = answer.next_marker;
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(listed, ids);
    let first = ids.pop_first().unwrap();
    let revoke = place.kms.revoke_grant().key_id(&key).grant_id(&first);
    revoke.clone().send().await.unwrap();
    let left = place.kms.list_grants().key_id(&key).send().await.unwrap();
    let left: BTreeSet<String> =
        left.grants().iter().map(|grant| grant.grant_id().unwrap().to_owned()).collect();
    assert_eq!(left, ids);
    assert_eq!(code_of(revoke.send().await).unwrap_err(), "NotFoundException");
}

async fn a_policy_can_be_read_and_put(place: &Place) {
    let key = place.key().await;
    let get = async || place.kms.get_key_policy().key_id(&key).send().await.unwrap().policy.unwrap();
    let default: serde_json::Value = serde_json::from_str(&get().await).unwrap();
    let root = format!("arn:aws:iam::{}:root", place.account);
    assert_eq!(default["Statement"][0]["Principal"]["AWS"], root);
    let policy = default.to_string().replace("kms:*", "kms:Describe*");
    place.kms.put_key_policy().key_id(&key).policy(&policy).send().await.unwrap();
    let put: serde_json::Value = serde_json::from_str(&get().await).unwrap();
    assert_eq!(put["Statement"][0]["Action"], "kms:Describe*");
    let names = place.kms.list_key_policies().key_id(&key).send().await.unwrap();
    assert_eq!(names.policy_names(), ["default"]);
}

async fn all_keys_are_listed(place: &Place) {
    let made = BTreeSet::from([place.key().await, place.key().await, place.key().await]);
    if place.is_ministack() {
        // MiniStack cuts a list and offers no way on. ListKeys: NextMarker is there when Truncated is true.
        let cut = place.kms.list_keys().limit(1).send().await.unwrap();
        assert_eq!((cut.keys().len(), cut.truncated, cut.next_marker), (1, true, None));
        let whole = place.kms.list_keys().send().await.unwrap();
        let listed: BTreeSet<String> =
            whole.keys().iter().map(|key| key.key_arn().unwrap().to_owned()).collect();
        assert!(listed.is_superset(&made) && !whole.truncated);
        return;
    }
    let (mut listed, mut marker) = (Vec::new(), None);
    loop {
        let answer = place.kms.list_keys().limit(2).set_marker(marker).send().await.unwrap();
        assert!(answer.keys().len() <= 2);
        for key in answer.keys() {
            assert_eq!(key.key_id(), key.key_arn().map(id_of));
            listed.push(key.key_arn().unwrap().to_owned());
        }
        assert_eq!(answer.truncated, answer.next_marker.is_some());
        marker = answer.next_marker;
        if marker.is_none() {
            break;
        }
    }
    let distinct: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(distinct.len(), listed.len(), "some key came twice");
    assert!(distinct.is_superset(&made));
}

async fn an_assumed_role_is_who_calls(place: &Place) {
    let before = place.sts().get_caller_identity().send().await.unwrap();
    assert_eq!(before.account(), Some(&*place.account));
    let assume = place.sts().assume_role().role_arn(&place.role).role_session_name("night-watch");
    let assumed = assume.send().await.unwrap();
    let (account, name) = role_parts(&place.role);
    let arn = format!("arn:aws:sts::{account}:assumed-role/{name}/night-watch");
    assert_eq!(assumed.assumed_role_user().unwrap().arn(), arn);
    assert!(assumed.assumed_role_user().unwrap().assumed_role_id().ends_with(":night-watch"));
    let credentials = assumed.credentials().unwrap();
    let lasts = credentials.expiration().secs() - WallClock.now().as_second();
    assert!((3_540..=3_601).contains(&lasts), "an hour, unless said otherwise: {lasts} s");

    let sts = aws::sts(&place.endpoint, aws::assumed(credentials));
    let after = sts.get_caller_identity().send().await.unwrap();
    assert_eq!((after.arn(), after.account()), (Some(&*arn), Some(account)));
    assert!(after.user_id().unwrap().ends_with(":night-watch"), "{after:?}");
}

async fn accounts_do_not_see_each_others_keys(place: &Place) {
    let assume = place.sts().assume_role().role_arn(&place.role).role_session_name("night-watch");
    let assumed = assume.send().await.unwrap();
    let there = aws::kms(&place.endpoint, aws::assumed(assumed.credentials().unwrap()));
    let (account, _) = role_parts(&place.role);
    let made = there.create_key().send().await.unwrap().key_metadata.unwrap();
    assert!(arn_of(&made).contains(&format!(":{account}:key/")), "{made:?}");
    there.describe_key().key_id(made.key_id()).send().await.unwrap();
    let here = place.kms.describe_key().key_id(made.key_id()).send().await;
    assert_eq!(code_of(here).unwrap_err(), "NotFoundException");
    let ours = place.key().await;
    let listed = there.list_keys().send().await.unwrap();
    assert!(listed.keys().iter().all(|key| key.key_arn() != Some(&ours)), "{listed:?}");
}

/// The account and the name in a role's ARN.
fn role_parts(role: &str) -> (&str, &str) {
    (role.split(':').nth(4).unwrap(), role.rsplit('/').next().unwrap())
}
