//! The operator's side: keys, a TUF repository, releases, channels, notices, offline bundles.
//!
//! | module | what it does |
//! |---|---|
//! | [`repo`] | the repository's folder: create, open, change, refresh |
//! | [`role`] | the six roles, and how long each is believed |
//! | [`staged`] | a change that waits for signatures, and the file in which it is carried |
//! | [`ceremony`] | keys come and go: add, revoke, rotate, renew |
//! | [`summary`] | what a signature is for, in words |
//! | [`release`] | adds a release: artifacts, provenance, signed manifest |
//! | [`retire`] | takes releases out of the index, and publishes them again |
//! | [`overlap`] | changes a repository of formats-1, and serves both kinds of agents for a time |
//! | [`limits`] | how near the repository is to what devices take |
//! | [`channel`] | points a channel at a release |
//! | [`mirror`] | follows Sigstore's TUF repository, and takes its trusted root over |
//! | [`bundle`] | packs one release and everything that proves it into one file |
//! | [`status`] | what expires when, who signed what, what waits for whom |
//! | [`mqtt`] | sends notices and receives reports |
//! | [`keys`], [`keyring`] | P-256 and Ed25519 keys, encrypted at rest; those that are at hand |
//! | [`public_key`], [`quorum`] | public keys; who must sign a role |
//! | [`kubeedge`] | what the names of KubeEdge's archives say |
//! | [`metadata`] | TUF's files, and how they are signed |
//! | `index`, `releases` | the tree that says which manifests there are; which those are |
//! | `prune` | removes what no device can need any more |
//! | `state`, `authority`, `change`, `publish`, `files` | what is published; who signs; how a change gets its signatures; how it gets out without tearing |
//! | [`error`] | every refusal of this crate |
//!
//! Time is always an argument: only `main.rs` reads a clock.

mod authority;
pub mod bundle;
pub mod ceremony;
mod change;
pub mod channel;
pub mod error;
mod files;
mod http;
pub mod image;
mod index;
pub mod keyring;
pub mod keys;
pub mod kubeedge;
pub mod limits;
pub mod metadata;
pub mod mirror;
pub mod mqtt;
pub mod overlap;
pub mod provenance;
mod prune;
pub mod public_key;
mod publish;
pub mod quorum;
pub mod rekor;
pub mod release;
mod releases;
pub mod repo;
pub mod retire;
pub mod role;
pub mod staged;
mod state;
pub mod status;
pub mod summary;

pub use authority::RoleOptions;
pub use channel::ChannelChange;
pub use release::{ArtifactOptions, ReleaseOptions};
pub use repo::{InitOptions, Outcome, Repo};
pub use role::{Lifetimes, Role};

/// Every refusal of this crate; `docs/CODES.md` lists them.
pub const REFUSALS: &[&[slipway_protocol::Refusal]] = &[error::REFUSALS];
