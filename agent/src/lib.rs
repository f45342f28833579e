//! The device's agent: learns of a release, proves its build, installs it, watches it, and rolls back.
//!
//! [`slipway_machine`] decides; this crate carries it out.
//!
//! | to | look in |
//! |---|---|
//! | decide what happens next | [`slipway_machine`], on its [`record`](slipway_machine::record) |
//! | hand what happens to it and its orders on | [`driver`] |
//! | carry an order out | [`effects`], which uses all below |
//! | prove who released and who built | [`trust`] |
//! | get bytes, from a server or an offline bundle | [`fetch`], [`tls`] |
//! | keep something through a power cut | [`storage`] |
//! | run and watch a component | [`process`] |
//! | talk: to the broker, to people on the device | [`mqtt`], [`control`], [`status`], [`cli`] |
//! | update the agent itself, and put it back | [`selfupdate`] |
//! | know the time; read settings; write for people; log | [`clock`], [`duration`], [`config`], [`text`], [`logging`] |

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
mod crashpoint;
pub mod driver;
pub mod duration;
pub mod effects;
pub mod fetch;
pub mod logging;
pub mod mqtt;
pub mod process;
pub mod selfupdate;
pub mod status;
pub mod storage;
pub mod text;
pub mod tls;
pub mod trust;

/// Every refusal of this crate, table by table; `docs/CODES.md` lists them.
pub const REFUSALS: &[&[slipway_protocol::Refusal]] = &[
    config::REFUSALS,
    control::REFUSALS,
    driver::messages::REFUSALS,
    effects::REFUSALS,
    fetch::checks::REFUSALS,
    mqtt::settings::REFUSALS,
    process::health::REFUSALS,
    process::supervisor::REFUSALS,
    selfupdate::activate::REFUSALS,
    selfupdate::restore::REFUSALS,
    status::REFUSALS,
    storage::durable::REFUSALS,
    storage::slots::REFUSALS,
    storage::snapshot::REFUSALS,
    storage::store::REFUSALS,
    storage::store::rebuild::REFUSALS,
    storage::unpack::REFUSALS,
    storage::witness::REFUSALS,
    tls::REFUSALS,
    trust::REFUSALS,
    trust::sigstore::REFUSALS,
];
