//! Stand-ins and helpers that tests, demo and simulator share. Nothing here ships or may be trusted.
//!
//! Each stand-in names the program that it imitates, and how it differs.
//!
//! | module | what it is | start with |
//! |---|---|---|
//! | [`sigstore`] | a private Sigstore that signs anything, at any time, as anybody | [`sigstore::PrivateSigstore`], [`sigstore::Attestation`] |
//! | [`edgecore`] | KubeEdge releases with a stand-in for edgecore inside | [`edgecore::Release`], [`edgecore::Dials`], [`edgecore::tarball`] |
//! | [`server`] | a release server with faults, over HTTP or HTTPS | [`server::ReleaseServer`], [`server::Fault`] |
//! | [`rekor`] | the private Sigstore's log, asked over HTTP | [`rekor::RekorServer`] |
//! | [`registry`] | image registries, real and faulty, and what cosign puts into them | [`registry::Repository`] |
//! | [`tuf`] | a TUF repository that can be made to say anything | [`tuf::Repository`] |
//! | [`broker`] | a real mosquitto: plain, TLS, mutual TLS | [`broker::Mosquitto`] |
//! | [`tls`] | a certificate authority for broker, server and clients | [`tls::Authority`] |
//! | [`programs`] | finds the programs of this workspace, freshly built | [`programs::program`] |
//! | [`mod@vectors`] | finds the public test vectors, where there are any | [`vectors::vectors`] |
//! | [`mod@address`] | addresses that no other test takes | [`fn@address`] |
//! | [`mod@wait`] | polls a condition until a deadline, so that no test sleeps | [`wait::until`] |
//!
//! Keys of the private Sigstore are hashes of public names. Files and processes go when their handle is dropped; processes are
//! ended by their own id. Everything listens on loopback only.

pub mod address;
pub mod broker;
pub mod edgecore;
mod http;
pub mod programs;
pub mod registry;
pub mod rekor;
pub mod server;
pub mod sigstore;
pub mod tls;
pub mod tuf;
pub mod vectors;
pub mod wait;

pub use address::address;
