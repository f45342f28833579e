//! The TUF refresh against a repository that can be made to say anything. One test for one lesson; its name is the lesson.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod advisories;
mod delegations;
mod device;
mod expired;
mod freshness;
mod lifetimes;
mod manifests;
mod measured;
mod rollback;
mod roots;
mod signatures;
mod sigstore;
mod simulation;
mod workflow;
