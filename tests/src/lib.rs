//! Helpers of the end-to-end scenarios: the built programs, a broker, a factory with one device.

pub mod clock;
pub mod crash;
pub mod disk;
pub mod faults;
pub mod machine;

use anyhow::{Context as _, Result};
use slipway_operator::mqtt::{Audience, Broker, notify};
use slipway_protocol::Notice;
use slipway_sim::{AgentProgram, Device, DeviceOptions, Factory};
use slipway_testkit::edgecore::Dials;
use slipway_testkit::programs;
use std::process::{Command, Output};
use std::time::Duration;

/// Long enough for a loaded machine; every wait ends as soon as its condition holds.
pub const LONG: Duration = Duration::from_secs(120);

/// The agent's own program, freshly built.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn agent() -> AgentProgram {
    let exe = programs::program("slipway-agent", "slipway-agent").expect("slipway-agent builds");
    AgentProgram { exe, first: Vec::new() }
}

/// Runs the operator's tool; its output if it succeeded.
pub fn slipway(args: &[&str]) -> Result<Output> {
    let exe = programs::program("slipway", "slipway")?;
    Command::new(&exe).args(args).output().with_context(|| format!("cannot run {}", exe.display()))
}

/// Runs the operator's tool, which must succeed.
pub fn slipway_ok(args: &[&str]) -> Result<String> {
    let output = slipway(args)?;
    anyhow::ensure!(output.status.success(), "slipway {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A factory whose releases are edgecore's stand-in.
pub fn factory() -> Result<Factory> {
    Factory::new(&programs::edgecore_standin()?)
}

/// A device of this factory whose agent does not run yet.
pub fn device_off(factory: &Factory, broker: Option<&str>, change: impl FnOnce(&mut DeviceOptions)) -> Result<Device> {
    let mut options = DeviceOptions::named("edge-1");
    options.repository = Some(format!("{}/", factory.server.url()));
    options.broker = broker.map(ToOwned::to_owned);
    change(&mut options);
    Device::new(&agent(), &factory.root()?, options)
}

/// A device of this factory. Its agent runs and answers.
pub fn device(factory: &Factory, broker: Option<&str>, change: impl FnOnce(&mut DeviceOptions)) -> Result<Device> {
    let mut device = device_off(factory, broker, change)?;
    device.start()?;
    device.wait("answers", LONG, Device::answers)?;
    Ok(device)
}

/// Rings the fleet's doorbell through a plain broker, for edgecore.
pub fn trigger(broker: &str, version: Option<&str>) -> Result<()> {
    trigger_check_for("edgecore", broker, version)
}

/// The same for any component.
pub fn trigger_check_for(component: &str, broker: &str, version: Option<&str>) -> Result<()> {
    let notice = Notice {
        v: 1,
        component: Some(component.parse().map_err(anyhow::Error::msg)?),
        version: version.map(str::parse).transpose().map_err(anyhow::Error::msg)?,
        ..Notice::default()
    };
    let broker = Broker { url: broker.to_owned(), ca: None, cert: None, key: None };
    let fleet = Audience::Fleet("factory".parse().map_err(anyhow::Error::msg)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(notify(&broker, &fleet, &notice))?;
    Ok(())
}

/// Ships a release and has the device take it up, to the end. A device that was asked a moment ago puts its own look off: asked before,
/// it does not come between the release and the answer that is looked at.
pub fn attempt(factory: &Factory, device: &Device, dials: &Dials) -> Result<Output> {
    device.run("check", &[])?;
    factory.ship(dials)?;
    device.run("check", &[])
}

/// A required health check that is well once `file` is there: until then a release on probation is not committed, however long a test takes
/// to look at it.
#[must_use]
pub fn gate(file: &str) -> String {
    format!("[[component.health.check]]\nname = \"gate\"\ncommand = [\"/usr/bin/test\", \"-e\", {file:?}]\ntimeout = \"30s\"\n")
}

/// What a command printed to stderr.
#[must_use]
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
