//! Decides whether bytes may be trusted. Pure: bytes in, verdict out; no I/O, no async, no randomness, no clock of its own.
//!
//! | module | what it decides |
//! |---|---|
//! | [`authorize`] | whether a release may be installed here: the only maker of an [`Authorized`] release |
//! | [`policy`] | what provenance must say, as the operator wrote it |
//! | [`sigstore`] | whether a Sigstore bundle proves who signed what, and when |
//! | [`provenance`] | whether proven provenance says what the policy asks |
//! | [`root`] | whether a Sigstore trusted root is fit to be trusted by |
//! | [`tuf`] | who may release: the operator's TUF repository |
//! | [`report`] | nothing: questions and reports of `verify` |
//! | `evidence` | nothing: what is signed, by whom, and what that proves, for all others |
//! | [`envelope`] | nothing: the files that a log entry may be about |
//! | [`checklist`] | where each check of the specifications is made |
//! | [`error`] | the table of checks: every refusal with its code and advice |
//!
//! A bundle goes through these, in this order, and each has its own refusals:
//!
//! | module | what it decides |
//! |---|---|
//! | `bundle` | shape, sizes, and what evidence must be there |
//! | `certificate` | whether the certificate is one for signing code |
//! | `timestamp`, `log`, `checkpoint` | when the signature was there, and that it is logged |
//! | `path`, `authority` | whether a trusted authority issued the certificate, in force at every signed time |
//! | `sct` | whether the certificate was logged |
//! | `signature`, `key`, `rsa` | whether the artifact is what was signed; whether a signature is one key's |
//! | `body` | whether the log's entry is about this signature |
//!
//! They are composed from the Sigstore project's own parts (types, trust root, Merkle proofs, TUF), webpki and RustCrypto; the project's
//! verifier reads the system clock, so it is a peer in the tests instead.
#![deny(clippy::as_conversions)]

mod authority;
mod body;
mod bundle;
mod certificate;
mod checkpoint;
mod evidence;
mod key;
mod log;
mod path;
mod pattern;
mod rsa;
mod sct;
mod signature;
mod slsa;
mod statement;
mod timestamp;

pub mod authorize;
pub mod checklist;
pub mod envelope;
pub mod error;
pub mod policy;
pub mod provenance;
pub mod provider;
pub mod report;
pub mod root;
pub mod sigstore;
pub mod tuf;

pub use authorize::{Authorized, Release, agent_is_new_enough, authorize, unreadable};
pub use bundle::LogRule;
pub use error::Check;
pub use evidence::{Artifact, Evidence, Signer, Subject};
pub use key::PublicKey;
pub use policy::Policy;
pub use provenance::{Provenance, verify_provenance};
pub use root::SigstoreRoot;
pub use sigstore::verify_bundle;
pub use slipway_protocol::Refusal;

/// Every refusal of this crate, table by table; `docs/CODES.md` lists them.
pub const REFUSALS: &[&[Refusal]] = &[error::REFUSALS, tuf::checks::REFUSALS];
