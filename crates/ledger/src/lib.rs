//! dormouse-ledger
