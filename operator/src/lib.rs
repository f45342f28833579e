//! The operator's side: keys, a TUF repository that any static web server can serve, releases, channels, notices, offline bundles.
//!
//! | module | what it does |
//! |---|---|
//! | [`repo`] | the repository's folder: create, open, publish atomically, refresh |
//! | [`release`] | adds a release: artifacts, provenance, signed manifest |
//! | [`channel`] | points a channel at a release |
//! | [`bundle`] | packs one release and everything that proves it into one file |
//! | [`status`] | what expires when, and whose keys are here |
//! | [`mqtt`] | rings the doorbell, and listens to reports |
//! | [`keys`], [`metadata`] | P-256 keys; TUF's files, and how they are signed |
//! | [`error`] | every refusal of this crate |
//!
//! Time is always an argument: only `main.rs` reads a clock.

pub mod bundle;
pub mod channel;
pub mod error;
mod files;
pub mod keys;
pub mod metadata;
pub mod mqtt;
pub mod release;
pub mod repo;
pub mod status;

pub use channel::ChannelChange;
pub use release::{ArtifactOptions, ReleaseOptions};
pub use repo::{InitOptions, Lifetimes, Repo};
