//! What the end-to-end scenarios share: the freshly built programs, a broker, a factory with one device.

use anyhow::Result;
use slipway_sim::{AgentProgram, Device, DeviceOptions, Factory};
use slipway_world::broker::{Access, Mosquitto};
use slipway_world::programs;
use std::time::Duration;

/// Long enough for a loaded machine; every wait ends as soon as its condition holds.
pub const LONG: Duration = Duration::from_secs(60);

/// The agent's own program, freshly built.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn agent() -> AgentProgram {
    let exe = programs::program("slipway-agent", "slipway-agent").expect("slipway-agent builds");
    AgentProgram { exe, first: Vec::new() }
}

/// A factory whose releases are edgecore's stand-in.
///
/// # Panics
/// When the stand-in cannot be built.
pub fn factory() -> Result<Factory> {
    Factory::new(&programs::edgecore_standin().expect("the stand-in builds"))
}

/// A mosquitto that anybody on this machine may use.
pub fn mosquitto() -> Result<Mosquitto> {
    Mosquitto::start(Access::Plain)
}

/// A device of this factory that hears the broker. Its agent runs.
pub fn device(factory: &Factory, broker: Option<&str>, change: impl FnOnce(&mut DeviceOptions)) -> Result<Device> {
    let mut options = DeviceOptions::named("edge-1");
    options.repository = Some(format!("{}/", factory.server.url()));
    options.broker = broker.map(ToOwned::to_owned);
    change(&mut options);
    let mut device = Device::new(&agent(), &factory.root()?, options)?;
    device.start()?;
    Ok(device)
}
