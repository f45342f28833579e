//! A fleet on one machine: an operator's repository, a release server, a private Sigstore, real agent processes.
//!
//! | module | what it is |
//! |---|---|
//! | [`factory`] | the operator's side: keys, repository, releases of edgecore's stand-in, a server with faults |
//! | [`device`] | a node: its folder, its configuration, its agent as a process, what it says |
//! | [`broker`] | a broker inside this process, for machines that have none |
//!
//! The demo is this crate's program; the end-to-end tests use the same pieces with a real mosquitto.

pub mod broker;
pub mod device;
pub mod factory;

pub use device::{AgentProgram, Device, DeviceOptions};
pub use factory::Factory;
