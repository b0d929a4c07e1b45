//! The JSON shapes that the crate knows.
//!
//! Each is a struct that borrows from the input and names only what is needed: what it does not name is skipped
//! unseen. In all of them `null` means absent, a name that appears twice means its last value, and a value of the
//! wrong type fails the struct, which [`Outline`] then tells apart from text that is no JSON.

mod lists;
mod object;
mod outline;
mod rare;
mod record;
mod wrappers;

pub(crate) use lists::Some64;
pub(crate) use outline::{ListKind, Members, Outline, first_name, leading_list, leading_records, text_of};
pub(crate) use rare::{AdvancedSelector, Named, PipeCall, PipeRequest, S3Detail, S3Record, Selector};
pub(crate) use record::{KMS, Record, Request, UserIdentity};
pub(crate) use wrappers::{Bridge, LogEvent, Notification};
