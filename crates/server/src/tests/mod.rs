//! Through a real connection, against a real pipeline over a store in a temporary folder.

mod accounts;
mod backfill;
mod crowds;
mod errors;
mod filters;
mod health;
mod hostile;
mod house;
mod metrics;
mod openapi;
mod paging;
mod quarantine;
mod safety;
