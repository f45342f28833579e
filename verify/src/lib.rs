//! Decides whether bytes may be trusted. Pure: bytes in, verdict out; no I/O, no async, no randomness, no clock of its own.
//!
//! | module | what it decides |
//! |---|---|
//! | [`authorize`] | whether a release may be installed here: the only maker of an [`Authorized`] release |
//! | [`policy`] | what provenance must say, as the operator wrote it |
//! | [`verify`] | whether a Sigstore bundle proves who signed what, and when |
//! | [`provenance`] | whether proven provenance says what the policy asks |
//! | [`root`] | whether a Sigstore trusted root is fit to be trusted by |
//! | [`tuf`] | who may release: the operator's TUF repository |
//! | [`checklist`] | where each check of the specifications is made |
//! | [`error`] | the table of checks: every refusal with its code and advice |
//!
//! The official Sigstore and TUF libraries do the work; a strict gate before them (`bundle`, `certificate`, `timestamp`, `log`) refuses what
//! they let through, and checks the log's proof and checkpoint itself.
#![deny(clippy::as_conversions)]

mod bundle;
mod certificate;
mod log;
mod pattern;
mod report;
mod slsa;
mod statement;
mod timestamp;

pub mod authorize;
pub mod checklist;
pub mod error;
pub mod policy;
pub mod provenance;
pub mod provider;
pub mod root;
pub mod tuf;
pub mod verify;

pub use authorize::{Authorized, Release, authorize};
pub use bundle::LogRule;
pub use error::Check;
pub use policy::Policy;
pub use provenance::{Provenance, Subject, verify_provenance};
pub use root::SigstoreRoot;
pub use slipway_protocol::Refusal;
pub use verify::{Artifact, Evidence, PublicKey, Signer, verify_bundle};
