//! What AWS's services promise, asked of every double in the same words through the official SDK.
//!
//! A double that is wrong makes every test wrong that stands on it. So each clause here is put to ours and to a witness
//! by somebody else, and says what AWS's documentation says. Where the witness is known to do otherwise, the clause says
//! so: what it does is asserted as well, so that a newer witness that does better is noticed.

mod kinesis;
mod kms;
mod s3;
mod sqs;

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// Makes a test of each clause, a function that takes a place, for each place.
macro_rules! held_by {
    ($place:ident: $($name:ident),+; $clauses:tt) => {
        $(held_by!(@ $place $name $clauses);)+
    };
    (@ $place:ident $name:ident [$($clause:ident),+ $(,)?]) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $clause() {
                    super::$clause(&super::$place::$name().await).await;
                }
            )+
        }
    };
}
use held_by;

/// A name that nothing else has in the place.
fn fresh(kind: &str) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    format!("{kind}-{}", MADE.fetch_add(1, Ordering::Relaxed))
}

/// The code of the error that a service answers with, if it does.
fn code_of<T, E, R>(result: Result<T, SdkError<E, R>>) -> Result<(), String>
where
    SdkError<E, R>: ProvideErrorMetadata,
{
    result.map(|_| ()).map_err(|error| error.code().unwrap_or("an answer without a code").to_owned())
}
