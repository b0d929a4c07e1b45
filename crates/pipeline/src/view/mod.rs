//! What is known, for everybody who only reads: in the words that every surface uses.
//!
//! Two ways lead to the same documents. [`LiveView`] asks the running pipeline: the ledger in memory says which keys
//! there are, and the texts come from what the tables lack and, behind that, from the tables. [`StoreView`] reads a store
//! that another process may be writing, or nobody: the tables, and the journal's tail on top.

mod accounts;
mod coverage;
mod documents;
mod history;
mod live;
mod stored;

pub use accounts::{
    AccountDocument, AccountsDocument, CoveredDocument, DaysDocument, HistoryDocument, ReceivedDocument,
    RegionDocument, SourceReceivedDocument,
};
pub use coverage::CoverageDocument;
pub use documents::{
    DayDocument, KeyDetails, KeysPage, PrincipalDocument, QuarantineDocument, RecordsDocument, StatusDocument,
};
pub use live::LiveView;
pub use stored::{StoreView, read_store};
