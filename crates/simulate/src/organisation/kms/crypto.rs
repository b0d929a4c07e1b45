//! Operations that use keys.
//!
//! Nothing is encrypted: a ciphertext is its key, its context and its plaintext in a text that can be read back. That is
//! what a client can tell from the outside, as long as it does not look.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::log::{Call, Done, Refused};
use super::super::state::State;
use super::{Refusal, refuse, required};
use crate::records::catalogue::KeyClass;

const PREFIX: &str = "DMCT1";

/// A ciphertext, as a blob on the wire.
pub(crate) fn seal(arn: &str, context: &Value, plaintext: &str) -> String {
    let context = if context.is_null() { json!({}) } else { context.clone() };
    STANDARD.encode(format!("{PREFIX}{}", json!({ "k": arn, "c": context, "p": plaintext })))
}

/// What a ciphertext holds: key, context and plaintext.
fn open(blob: &str) -> Option<(String, Value, String)> {
    let bytes = STANDARD.decode(blob).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?.strip_prefix(PREFIX)?;
    let sealed: Value = serde_json::from_str(text).ok()?;
    Some((sealed["k"].as_str()?.to_owned(), sealed["c"].clone(), sealed["p"].as_str()?.to_owned()))
}

fn random_blob(random: &mut fastrand::Rng, length: usize) -> String {
    let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
    STANDARD.encode(bytes)
}

impl State {
    pub(super) fn encrypt(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place =
            self.usable_key(call, required(call, "KeyId")?, &[KeyClass::Symmetric, KeyClass::Asymmetric])?;
        let plaintext = required(call, "Plaintext")?;
        let key = &self.keys[place];
        let answer = json!({
            "CiphertextBlob": seal(&key.arn_text, &call.request["EncryptionContext"], plaintext),
            "KeyId": &*key.arn_text,
            "EncryptionAlgorithm": algorithm(call, key.class),
        });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    pub(super) fn decrypt(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let (place, plaintext) = self.unseal(call, "KeyId", "EncryptionContext")?;
        let key = &self.keys[place];
        let answer = json!({
            "Plaintext": plaintext,
            "KeyId": &*key.arn_text,
            "EncryptionAlgorithm": algorithm(call, key.class),
        });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    /// The key and the plaintext of the request's ciphertext.
    fn unseal(
        &self,
        call: &Call<'_>,
        key_field: &str,
        context_field: &str,
    ) -> Result<(usize, String), Refused> {
        let invalid = || Refused::from(refuse("InvalidCiphertextException", String::new()));
        let blob = required(call, "CiphertextBlob")?;
        let named = call.request[key_field].as_str();
        let Some((arn, context, plaintext)) = open(blob) else {
            // A key that is out of use refuses before it looks at what it is to decrypt.
            if let Some(name) = named {
                self.usable_key(call, name, &[KeyClass::Symmetric, KeyClass::Asymmetric])?;
            }
            return Err(invalid());
        };
        let mut place = self.usable_key(
            call,
            &self.in_this_region(call, &arn),
            &[KeyClass::Symmetric, KeyClass::Asymmetric],
        )?;
        if let Some(name) = named {
            let asked = self.usable_key(call, name, &[KeyClass::Symmetric, KeyClass::Asymmetric])?;
            if asked != place {
                let refusal = refuse(
                    "IncorrectKeyException",
                    "The key ID in the request does not identify a CMK that can perform this operation.",
                );
                return Err(refusal.about([asked]));
            }
            place = asked;
        }
        let given = &call.request[context_field];
        let same = if given.is_null() { context == json!({}) } else { *given == context };
        if !same {
            return Err(Refused { keys: vec![place], ..invalid() });
        }
        Ok((place, plaintext))
    }

    /// A multi-Region key's ciphertext is decrypted by its sibling in the Region of the call.
    fn in_this_region(&self, call: &Call<'_>, arn: &str) -> String {
        let sibling =
            arn.parse().ok().filter(|key: &dormouse_model::KeyArn| key.is_multi_region()).and_then(|key| {
                dormouse_model::KeyArn::from_parts(call.caller.region, key.account(), &key.id()).ok()
            });
        sibling
            .filter(|key| self.place_of(*key).is_some())
            .map_or_else(|| arn.to_owned(), |key| key.to_string())
    }

    pub(super) fn re_encrypt(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let (source, plaintext) = self.unseal(call, "SourceKeyId", "SourceEncryptionContext")?;
        let wanted = &[KeyClass::Symmetric, KeyClass::Asymmetric];
        let destination = self.usable_key(call, required(call, "DestinationKeyId")?, wanted)?;
        let (from, to) = (&self.keys[source], &self.keys[destination]);
        let answer = json!({
            "CiphertextBlob": seal(&to.arn_text, &call.request["DestinationEncryptionContext"], &plaintext),
            "SourceKeyId": &*from.arn_text,
            "KeyId": &*to.arn_text,
            "SourceEncryptionAlgorithm": algorithm(call, from.class),
            "DestinationEncryptionAlgorithm": algorithm(call, to.class),
        });
        let keys = if source == destination { vec![source] } else { vec![source, destination] };
        Ok(Done { answer, keys, alias: None })
    }

    pub(super) fn generate_data_key(
        &self,
        call: &Call<'_>,
        random: &mut fastrand::Rng,
        shows_plaintext: bool,
    ) -> Result<Done, Refused> {
        let place = self.usable_key(call, required(call, "KeyId")?, &[KeyClass::Symmetric])?;
        let length = match (call.request["KeySpec"].as_str(), call.request["NumberOfBytes"].as_u64()) {
            (Some("AES_256"), None) => 32,
            (Some("AES_128"), None) => 16,
            (None, Some(bytes @ 1..=1_024)) => usize::try_from(bytes).unwrap_or(32),
            _ => {
                let refusal =
                    refuse("ValidationException", "Please specify either number of bytes or key spec.");
                return Err(refusal.about([place]));
            }
        };
        let plaintext = random_blob(random, length);
        let arn = &*self.keys[place].arn_text;
        let mut answer = json!({
            "CiphertextBlob": seal(arn, &call.request["EncryptionContext"], &plaintext),
            "KeyId": arn,
        });
        if shows_plaintext {
            answer["Plaintext"] = plaintext.into();
        }
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    pub(super) fn get_public_key(&self, call: &Call<'_>) -> Result<Done, Refused> {
        const PAIRS: &[KeyClass] =
            &[KeyClass::Asymmetric, KeyClass::Signing, KeyClass::Agreement, KeyClass::Encapsulation];
        let place = self.usable_key(call, required(call, "KeyId")?, PAIRS).map_err(|mut refused| {
            if refused.failure.code == "InvalidKeyUsageException" {
                let arn = refused.keys.first().map_or("", |&place| &*self.keys[place].arn_text);
                refused.failure = refuse(
                    "UnsupportedOperationException",
                    format!("{arn} is a symmetric key. It has no public key."),
                )
                .0;
            }
            refused
        })?;
        let key = &self.keys[place];
        let (spec, usage) = key.class.spec_and_usage();
        let mut answer = json!({
            "KeyId": &*key.arn_text,
            "PublicKey": STANDARD.encode(format!("public {}", key.arn_text)),
            "CustomerMasterKeySpec": spec,
            "KeySpec": spec,
            "KeyUsage": usage,
        });
        if let Some((name, algorithms)) = super::algorithms(key.class) {
            answer[name] = algorithms.into();
        }
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    pub(super) fn sign(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.usable_key(call, required(call, "KeyId")?, &[KeyClass::Signing])?;
        let answer = json!({
            "KeyId": &*self.keys[place].arn_text,
            "Signature": self.mark(place, required(call, "Message")?),
            "SigningAlgorithm": call.request["SigningAlgorithm"],
        });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    pub(super) fn verify(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.usable_key(call, required(call, "KeyId")?, &[KeyClass::Signing])?;
        if required(call, "Signature")? != self.mark(place, required(call, "Message")?) {
            return Err(refuse("KMSInvalidSignatureException", String::new()).about([place]));
        }
        let answer = json!({
            "KeyId": &*self.keys[place].arn_text,
            "SignatureValid": true,
            "SigningAlgorithm": call.request["SigningAlgorithm"],
        });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    pub(super) fn generate_mac(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.usable_key(call, required(call, "KeyId")?, &[KeyClass::Mac])?;
        let answer = json!({
            "KeyId": &*self.keys[place].arn_text,
            "Mac": self.mark(place, required(call, "Message")?),
            "MacAlgorithm": call.request["MacAlgorithm"],
        });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    pub(super) fn verify_mac(&self, call: &Call<'_>) -> Result<Done, Refused> {
        let place = self.usable_key(call, required(call, "KeyId")?, &[KeyClass::Mac])?;
        if required(call, "Mac")? != self.mark(place, required(call, "Message")?) {
            return Err(refuse("KMSInvalidMacException", String::new()).about([place]));
        }
        let answer = json!({
            "KeyId": &*self.keys[place].arn_text,
            "MacValid": true,
            "MacAlgorithm": call.request["MacAlgorithm"],
        });
        Ok(Done { answer, keys: vec![place], alias: None })
    }

    /// The signature or code of a message: the same for the same key and message.
    pub(crate) fn mark(&self, place: usize, message: &str) -> String {
        let digest = md5::compute(format!("{} {message}", self.keys[place].arn_text));
        STANDARD.encode(digest.0)
    }
}

fn algorithm(call: &Call<'_>, class: KeyClass) -> Value {
    let asked = &call.request["EncryptionAlgorithm"];
    match class {
        _ if asked.is_string() => asked.clone(),
        KeyClass::Asymmetric => "RSAES_OAEP_SHA_256".into(),
        _ => "SYMMETRIC_DEFAULT".into(),
    }
}

impl From<Refusal> for Refused {
    fn from(Refusal(failure): Refusal) -> Self {
        Self { failure, keys: Vec::new() }
    }
}
