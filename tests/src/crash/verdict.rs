//! What must hold after a crash: before the agent runs again, and when the update is over.

use super::device::CrashDevice;
use super::scenario::{OLD, Scenario, Setting};
use anyhow::{Context as _, Result, bail, ensure};
use slipway_agent::storage::slots::Slots;
use slipway_agent::storage::store::Store;
use slipway_agent::storage::witness::{Witness, WitnessData};
use slipway_machine::record::{Installed, Record, SlotName, State};
use slipway_protocol::ComponentName;
use slipway_sim::factory::edgecore_name;

/// What is on the disk right after a crash: whatever was interrupted, nothing is torn.
pub fn nothing_is_torn(setting: &Setting, device: &CrashDevice) -> Result<()> {
    let (component, slots) = (edgecore_name(), Slots::new(&device.state()));
    let link = device.link()?;
    // There the current slot is what has to be repaired.
    if device.scenario() != Scenario::Repair {
        for slot in slots.list(&component)? {
            verify_installed(setting, &slots, &component, &slot)?;
        }
        // A slot that is current is there, or the component could not start at boot.
        verify_installed(setting, &slots, &component, &slot_name(&link)?)?;
    }
    ensure!(!marked(device), "a program ran that nobody had proven");
    ensure!(names(&link, OLD) || names(&link, device.scenario().new_version()), "current names {link}");
    match device.running().as_slice() {
        [] => {}
        [slot] if names(slot, OLD) || names(slot, device.scenario().new_version()) => {}
        several => bail!("these run: {}", several.join(", ")),
    }
    memory(device).map(|_| ())
}

/// What the agent must have come to when the update is over. Ends the agent.
pub fn all_agree(setting: &Setting, device: &mut CrashDevice) -> Result<()> {
    let scenario = device.scenario();
    device.stop()?;
    nothing_is_torn(setting, device)?;
    let running = device.running();
    let [running] = running.as_slice() else { bail!("these run: {}", running.join(", ")) };
    let (component, slots) = (edgecore_name(), Slots::new(&device.state()));
    let link = device.link()?;
    let memory = memory(device)?;
    let record = record(device, &slots)?;

    // The timer may just have had it look again.
    ensure!(matches!(record.state, State::Idle | State::Checking { .. }), "the record says {:?}", record.state);
    let committed = record.committed.as_ref().context("nothing is committed")?;
    ensure!(committed.version.as_str() == scenario.ends_at(), "committed is {}", committed.version);
    ensure!(*running == link, "{running} runs, current names {link}");
    ensure!(link == committed.slot.as_str(), "current names {link}, the record {}", committed.slot);
    let remembered = memory.components.get(&component).context("the witness does not know the component")?;
    let witnessed = remembered.committed.as_ref().map(Installed::from);
    ensure!(witnessed.as_ref() == Some(committed), "the witness says {witnessed:?}, the record {committed:?}");
    ensure!(remembered.floor == record.floor, "floors: witness {:?}, record {:?}", remembered.floor, record.floor);
    ensure!(record.floor.as_ref() == Some(&committed.version), "the floor is {:?}", record.floor);

    let config = std::fs::read_to_string(device.dir().join("edgecore.yaml"))?;
    let data = std::fs::read_to_string(device.dir().join("data"))?;
    match scenario {
        Scenario::Commit => {
            ensure!(config == "format: 2\n", "the new release runs on the configuration {config:?}");
            let previous = record.previous.as_ref().context("the release before is not kept")?;
            ensure!(previous.version.as_str() == OLD, "the release before is {}", previous.version);
            verify_installed(setting, &slots, &component, &previous.slot)?;
            ensure!(record.blocked.is_empty(), "a good release is condemned: {:?}", record.blocked);
        }
        Scenario::Repair => {
            ensure!(config == "format: 1\n", "the repaired release is left with the configuration {config:?}");
            ensure!(record.damage.is_none(), "it is still damaged: {:?}", record.damage);
            ensure!(record.blocked.is_empty(), "what was damaged is condemned: {:?}", record.blocked);
            verify_installed(setting, &slots, &component, &committed.slot)?;
        }
        Scenario::RollBack => {
            ensure!(config == "format: 1\n", "the old release is left with the configuration {config:?}");
            ensure!(!data.contains("new"), "the old release is left with the new one's data: {data:?}");
            let blocked = |blocked: &[_]| blocked.len() == 1;
            ensure!(blocked(&record.blocked), "condemned: {:?}", record.blocked);
            let witnessed = remembered.blocked.as_ref().map(|(_, version)| version.as_str());
            ensure!(witnessed == Some(scenario.new_version()), "the witness says condemned: {witnessed:?}");
        }
    }
    Ok(())
}

/// Whether a changed or foreign program ever ran here.
#[must_use]
pub fn marked(device: &CrashDevice) -> bool {
    device.dir().join("data.changed").exists()
}

/// An interruption is no damage: what the agent finds after it needs no healing.
pub fn nothing_was_healed(device: &CrashDevice) -> Result<()> {
    match device.log().lines().find(|line| line.contains("state was damaged; repaired")) {
        Some(line) => bail!("{line}"),
        None => Ok(()),
    }
}

/// The record as the agent would find it at its next start, which must need no healing.
fn record(device: &CrashDevice, slots: &Slots) -> Result<Record> {
    let (store, healed) = Store::open(&device.state(), slots)?;
    ensure!(healed.is_empty(), "the state had to be healed: {}", healed[0]);
    ensure!(store.degraded().is_none(), "the store is degraded: {:?}", store.degraded());
    store.record(&edgecore_name()).context("no record")
}

fn memory(device: &CrashDevice) -> Result<WitnessData> {
    let (_, memory) = Witness::open(&device.state().join("witness"))?;
    memory.context("the witness was gone")
}

/// A slot that appears under its name is whole, and holds the program of the version that it says.
///
/// # Errors
/// It is not, and why.
pub fn verify_installed(setting: &Setting, slots: &Slots, component: &ComponentName, slot: &SlotName) -> Result<()> {
    let record = slots.read(component, slot)?;
    slots.check_payload(component, slot, &record.payload)?;
    let version = setting.programs.get(&record.payload.to_string()).map(String::as_str);
    ensure!(version == Some(record.version.as_str()), "slot {slot} says {}, its program is of {version:?}", record.version);
    ensure!(!slots.evidence(component, slot)?.is_empty() && !slots.manifest(component, slot)?.is_empty(), "{slot} has no proof");
    Ok(())
}

fn names(slot: &str, version: &str) -> bool {
    slot.strip_prefix(version).is_some_and(|rest| rest.starts_with('-'))
}

fn slot_name(text: &str) -> Result<SlotName> {
    SlotName::try_from(text.to_owned()).map_err(anyhow::Error::msg)
}
