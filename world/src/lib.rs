//! The fake world that tests, demo and simulator share. Nothing here ships, and nothing here may be trusted by anything that does.
//!
//! | module | what it fakes | start with |
//! |---|---|---|
//! | [`sigstore`] | a private Sigstore that signs anything, at any time, as anybody | [`sigstore::PrivateSigstore`], [`sigstore::Attestation`] |

pub mod sigstore;
