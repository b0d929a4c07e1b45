//! Which operations a key of a type has, and which of them KMS remembers.

use dormouse_model::OperationTable;

use crate::Nature;

/// What keys there are, as far as their operations differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Symmetric,
    AsymmetricEncryption,
    Signing,
    Mac,
    Agreement,
    /// Not described yet, or of a type that came after this was written: may have any operation.
    Any,
}

impl Class {
    pub(super) const ALL: [Self; 6] =
        [Self::Symmetric, Self::AsymmetricEncryption, Self::Signing, Self::Mac, Self::Agreement, Self::Any];

    /// The class of a key that KMS described.
    pub(super) fn of(nature: Option<&Nature>) -> Self {
        let Some(nature) = nature else { return Self::Any };
        match (&*nature.usage, &*nature.spec) {
            ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT") => Self::Symmetric,
            ("ENCRYPT_DECRYPT", spec) if spec.starts_with("RSA_") || spec == "SM2" => {
                Self::AsymmetricEncryption
            }
            ("SIGN_VERIFY", _) => Self::Signing,
            ("GENERATE_VERIFY_MAC", _) => Self::Mac,
            ("KEY_AGREEMENT", _) => Self::Agreement,
            _ => Self::Any,
        }
    }

    /// Whether a key of this class has an operation of the usual table.
    fn has(self, operation: &str) -> bool {
        let has: &[&str] = match self {
            Self::Any => return true,
            Self::Symmetric => &[
                "Decrypt",
                "Encrypt",
                "GenerateDataKey",
                "GenerateDataKeyPair",
                "GenerateDataKeyPairWithoutPlaintext",
                "GenerateDataKeyWithoutPlaintext",
                "ReEncrypt",
            ],
            Self::AsymmetricEncryption => &["Decrypt", "Encrypt", "GetPublicKey", "ReEncrypt"],
            Self::Signing => &["GetPublicKey", "Sign", "Verify"],
            Self::Mac => &["GenerateMac", "VerifyMac"],
            Self::Agreement => &["DeriveSharedSecret", "GetPublicKey"],
        };
        has.contains(&operation)
    }
}

/// The in-use operations of a class.
#[derive(Clone, Debug, Default)]
pub(super) struct OfClass {
    /// Those that KMS remembers itself.
    pub(super) tracked: Vec<Box<str>>,
    /// Those that it does not: `GetPublicKey`, and what the configuration adds.
    pub(super) untracked: Vec<Box<str>>,
}

/// The in-use operations of every class.
#[derive(Clone, Debug)]
pub(super) struct Operations([OfClass; Class::ALL.len()]);

impl Operations {
    pub(super) fn of(table: &OperationTable) -> Self {
        let usual = OperationTable::default();
        let usual = usual.in_use_names();
        Self(Class::ALL.map(|class| {
            let mut of_class = OfClass::default();
            for name in table.in_use_names() {
                // Which keys have an operation that only the configuration knows, nobody says.
                let is_usual = usual.contains(&name);
                if is_usual && !class.has(name) {
                    continue;
                }
                let is_tracked = is_usual && name != "GetPublicKey";
                let list = if is_tracked { &mut of_class.tracked } else { &mut of_class.untracked };
                list.push(name.into());
            }
            of_class
        }))
    }

    pub(super) fn of_class(&self, class: Class) -> &OfClass {
        &self.0[class as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[Box<str>]) -> Vec<&str> {
        list.iter().map(|name| &**name).collect()
    }

    #[test]
    fn each_type_of_key_has_its_operations_and_kms_remembers_all_but_one() {
        let operations = Operations::of(&OperationTable::default());
        for class in Class::ALL {
            let of_class = operations.of_class(class);
            let has_public_half = !matches!(class, Class::Symmetric | Class::Mac);
            let expected: &[&str] = if has_public_half { &["GetPublicKey"] } else { &[] };
            assert_eq!(names(&of_class.untracked), expected, "{class:?}");
        }
        assert_eq!(names(&operations.of_class(Class::Mac).tracked), ["GenerateMac", "VerifyMac"]);
        assert_eq!(operations.of_class(Class::Any).tracked.len(), 14);
    }

    #[test]
    fn overrides_take_operations_away_and_add_them_to_every_type() {
        let mut table = OperationTable::default();
        table.override_in_use("GetPublicKey", false).unwrap();
        table.override_in_use("Transmogrify", true).unwrap();
        let operations = Operations::of(&table);
        for class in Class::ALL {
            assert_eq!(names(&operations.of_class(class).untracked), ["Transmogrify"], "{class:?}");
        }
    }
}
