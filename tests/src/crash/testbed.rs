//! The setup of a sweep: releases of a component, and a prepared device that runs the first of them.
//!
//! The component is a shell script in the place of edgecore (v1.13.0 to v1.23.1). Like it, it refuses a configuration of another format,
//! and a new release rewrites the one it finds. Unlike it, it starts at once, listens to no port, and its data are lines of text.

use super::device::CrashDevice;
use super::scenario::{OLD, Scenario, Setting};
use anyhow::{Context as _, Result, ensure};
use slipway_operator::ChannelChange;
use slipway_protocol::ChannelName;
use slipway_sim::Factory;
use slipway_sim::factory::{edgecore_name, now};
use slipway_testkit::edgecore::{Dials, Release};
use slipway_testkit::{programs, wait};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Incompressible bytes of each release: several reads and writes on its way.
const PAD: u64 = 100 * 1024;
/// How long the first installation may take on a loaded machine.
const PREPARED: Duration = Duration::from_secs(60);

/// Releases, their server and a prepared device.
#[derive(Debug)]
pub struct Testbed {
    /// What devices know of it.
    pub setting: Setting,
    factory: Factory,
    dir: TempDir,
}

/// What a release's program becomes when one byte of it is changed: one that leaves a mark beside its data.
pub const DORMANT: &str = "#: > \"$2.changed\"";

/// The component: `program CONFIG DATA`. Like edgecore it refuses a configuration of a format that it does not know, and a new
/// release rewrites the one it finds: a program that runs on the other's configuration shows.
#[must_use]
pub fn script(accepts: &str, then: &str) -> String {
    format!(
        "#!/bin/sh\n# Stands in for edgecore.\n{DORMANT}\ngrep -q '^format: [{accepts}]$' \"$1\" || {{ echo \"unknown format in $1\" >&2; exit 3; }}\n{then}\nwhile :; do sleep 1000; done\nexit\n"
    )
}

/// What a new release does first.
pub const REWRITE: &str = "printf 'format: 2\\n' > \"$1\"; echo \"new\" >> \"$2\"";

impl Testbed {
    /// Makes releases and a device on which the first of them is committed. Everything is below `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("slipway-").tempdir_in(dir)?;
        let host = dir.path().join("program.sh");
        std::fs::write(&host, "")?;
        let factory = Factory::new(&host)?;
        let mut programs = BTreeMap::new();
        for (version, text) in [
            (OLD, script("1", "echo old >> \"$2\"")),
            (Scenario::Commit.new_version(), script("12", REWRITE)),
            (Scenario::RollBack.new_version(), script("12", &format!("{REWRITE}; sleep 0.3; exit 2"))),
        ] {
            std::fs::write(&host, text)?;
            let release = factory.release(&Dials { pad: PAD, ..Dials::healthy(version) })?;
            let archive = release.archives.first().context("an archive")?;
            programs.insert(archive.edgecore_sha256.clone(), version.to_owned());
        }
        // A copy: whoever builds it anew meanwhile must not change what is being tested.
        let agent = dir.path().join("slipway-agent");
        std::fs::copy(programs::program("slipway-agent", "slipway-agent")?, &agent)?;
        let (url, root) = (factory.server.url(), String::from_utf8(factory.root()?)?);
        let testbed = Self { setting: Setting { url, agent: agent.canonicalize()?, root, programs }, factory, dir };
        for scenario in Scenario::ALL {
            testbed.point(scenario, OLD)?;
        }
        testbed.prepare()?;
        for scenario in Scenario::ALL {
            testbed.point(scenario, scenario.new_version())?;
        }
        Ok(testbed)
    }

    /// The operator and his web server.
    #[must_use]
    pub const fn factory(&self) -> &Factory {
        &self.factory
    }

    /// One more release, whose program is this script with so many bytes behind it.
    pub fn release(&mut self, version: &str, program: &str, pad: u64) -> Result<Release> {
        std::fs::write(self.dir.path().join("program.sh"), program)?;
        let release = self.factory.release(&Dials { pad, ..Dials::healthy(version) })?;
        let archive = release.archives.first().context("an archive")?;
        self.setting.programs.insert(archive.edgecore_sha256.clone(), version.to_owned());
        Ok(release)
    }

    fn point(&self, scenario: Scenario, version: &str) -> Result<()> {
        self.offer(scenario.name(), version)
    }

    /// Points a channel at a release.
    pub fn offer(&self, channel: &str, version: &str) -> Result<()> {
        let channel: ChannelName = channel.parse().map_err(anyhow::Error::msg)?;
        let release = Some(version.parse().map_err(anyhow::Error::msg)?);
        self.factory.repo()?.channel(
            &edgecore_name(),
            &channel,
            &ChannelChange { release, ..ChannelChange::default() },
            now(),
        )?;
        Ok(())
    }

    fn prepare(&self) -> Result<()> {
        let mut device = CrashDevice::at(&self.dir.path().join("prepared"), Scenario::Commit, &self.setting)?;
        device.start()?;
        let committed = wait::try_until("the first release is committed", PREPARED, || device.settled(OLD));
        committed.with_context(|| device.log())?;
        device.stop()?;
        device.end_component();
        // Without it the copy could be told from a device that was switched off.
        std::fs::remove_file(device.dir().join("agent.log"))?;
        ensure!(device.state().join("witness").is_file(), "a prepared device has a witness");
        Ok(())
    }

    /// A copy of the prepared device in `dir`, whose agent does not run yet.
    pub fn device(&self, dir: &Path, scenario: Scenario) -> Result<CrashDevice> {
        copy(&self.dir.path().join("prepared"), dir)?;
        let device = CrashDevice::at(dir, scenario, &self.setting)?;
        if scenario == Scenario::Repair {
            poison(&device.state().join("slots/edgecore").join(device.link()?).join("bin/edgecore"))?;
        }
        Ok(device)
    }

    /// A folder for whatever a point needs.
    #[must_use]
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Changes the one byte of a program that makes it leave a mark. A file of its own, as an update of a file by others would make it.
pub fn poison(program: &Path) -> Result<()> {
    let mut bytes = std::fs::read(program)?;
    let dormant = DORMANT.as_bytes();
    let at = bytes.windows(dormant.len()).position(|window| window == dormant).context("a program that can be changed so")?;
    bytes[at] = b' ';
    let new = program.with_extension("new");
    std::fs::write(&new, bytes)?;
    std::fs::set_permissions(&new, std::fs::metadata(program)?.permissions())?;
    Ok(std::fs::rename(new, program)?)
}

/// Copies a folder with its links and permissions.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
