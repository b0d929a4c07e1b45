//! What a running Dormouse tells over HTTP: the API for programs, metrics for Prometheus, health for whoever starts it.
//!
//! Why a crate of its own: everything behind this door is asked by strangers. So the rules of safety are here, apart
//! from the answers: a token or loopback, bounds on connections, headers, bodies, requests and time, and answers that
//! never hold a lock while somebody reads slowly.
//!
//! What it promises: an answer never blocks the tasks that take events in; paging shows every key of an answer exactly
//! once however much is written meanwhile; every error is `application/problem+json` with a stable `code`; a caller
//! learns of an internal error that there was one, the log learns its cause. Its ceilings: one process, HTTP/1.1 without
//! TLS (put a proxy before it), answers of at most 1,000 keys a page.
//!
//! * [`Server`]: binds, accepts, drains
//! * [`Instance`]: what it shows; [`ServerOptions`]: how
//! * [`api`]: one file a route; `metrics`: `/metrics` and `/metrics/keys`
//! * `auth`, `origin`, `limits`: who is let in, and how much they may ask for
//! * `places`: who has to go when there are too many connections
//! * `listings`: answers kept so that they can be cut into pages
//! * `history`: how history is read when somebody asks for it
//! * `problem`: every error there is

pub mod api;
mod auth;
mod blocking;
mod connection;
mod history;
mod instance;
mod limits;
mod listings;
mod metrics;
mod options;
mod origin;
mod places;
mod problem;
mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use auth::{Token, TokenError};
pub use history::{NotStarted, Pace, ReadHistory};
pub use instance::{Instance, Lifecycle, SourceFailure, SourceState, SourceStates, SourceStats, Stage};
pub use options::{Limits, ServerError, ServerOptions};
pub use problem::ProblemDocument;
pub use server::Server;
