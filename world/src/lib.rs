//! The fake world that tests, demo and simulator share. Nothing here ships, and nothing here may be trusted by anything that does.
//!
//! | module | what it fakes | start with |
//! |---|---|---|
//! | [`sigstore`] | a private Sigstore that signs anything, at any time, as anybody | [`sigstore::PrivateSigstore`], [`sigstore::Attestation`] |
//! | [`edgecore`] | KubeEdge releases with a stand-in for edgecore inside | [`edgecore::tarball`], [`edgecore::payload`], [`edgecore::Dials`] |
//! | [`mod@wait`] | nothing: polls a condition until a deadline, so that no test sleeps | [`wait::until`] |

pub mod edgecore;
pub mod sigstore;
pub mod wait;
