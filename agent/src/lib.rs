//! The device: hears of a release, proves its build, stages it, activates it, watches it, and goes back when anything is wrong.
//!
//! [`slipway_machine`] decides, everything else obeys.
//!
//! | to | look in |
//! |---|---|
//! | decide what happens next | [`slipway_machine`], on its [`record`](slipway_machine::record) |
//! | hand what happens to it and its orders on | [`driver`] |
//! | carry an order out | [`edges`], which uses all below |
//! | prove who released and who built | [`trust`] |
//! | get bytes, and take a file out of them | [`fetch`], [`unpack`], [`tls`] |
//! | keep something through a power cut | [`store`], [`witness`], [`slots`], [`snapshot`], [`durable`], under the names of [`layout`] |
//! | run and watch a component | [`supervisor`], [`health`] |
//! | talk: to the broker, to people on the device | [`mqtt`], [`control`], [`status`], [`cli`] |
//! | update the agent itself, and put it back | [`selfupdate`], [`restore`] |
//! | know the time; read settings; write for people | [`clock`], [`duration`], [`config`], [`text`] |

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
mod crashpoint;
pub mod driver;
pub mod durable;
pub mod duration;
pub mod edges;
pub mod fetch;
pub mod health;
pub mod layout;
pub mod mqtt;
pub mod restore;
pub mod selfupdate;
pub mod slots;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod text;
pub mod tls;
pub mod trust;
pub mod unpack;
pub mod witness;
