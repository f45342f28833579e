//! What agents left behind, as they wrote it, under today's agent. A folder below `tests/golden/` is never changed: a generation that
//! writes something new gets a folder of its own, by `tests/compat --keep`.
//!
//! Each value was seen to matter: with a member renamed in a type, or without the default of a newer member, the test fails.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use slipway_agent::config::Config;
use slipway_agent::selfupdate::restore::RestoreDir;
use slipway_agent::storage::slots::Slots;
use slipway_agent::storage::store::Store;
use slipway_agent::storage::witness::{Phase, Witness};
use slipway_agent::trust::{Trust, TrustFloors};
use slipway_machine::record::{Plan, Source, State};
use slipway_protocol::{Channel, ComponentName, Event, Notice, Platform, Report, Version};
use slipway_verify::Policy;
use std::fs;
use std::path::{Path, PathBuf};

/// A generation, and what it wrote that the first one did not.
struct Golden {
    name: &'static str,
    /// Reports have `boot`.
    boot: bool,
}

const ALL: [Golden; 2] = [Golden { name: "formats-1", boot: false }, Golden { name: "2026-12", boot: true }];

impl Golden {
    fn path(&self, file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(self.name).join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.path(file)).unwrap_or_else(|error| panic!("{}: {error}", self.path(file).display()))
    }

    /// The only file in a folder, or the one whose name ends like this.
    fn find(&self, folder: &str, end: &str) -> PathBuf {
        let files = fs::read_dir(self.path(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_string_lossy().ends_with(end)).max().unwrap_or_else(|| panic!("{folder}/*{end}"))
    }

    /// The state directory, to be changed.
    fn state(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        copy(&self.path("state"), dir.path());
        dir
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, name) = (entry.unwrap().path(), to.to_owned());
        let name = name.join(entry.file_name().unwrap());
        if entry.is_dir() { copy(&entry, &name) } else { fs::copy(&entry, name).map(drop).unwrap() }
    }
}

fn edgecore() -> ComponentName {
    "edgecore".parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

#[test]
fn the_state_of_every_generation_is_taken_over() {
    for golden in ALL {
        let dir = golden.state();
        let slots = Slots::new(dir.path());
        let remembered = Witness::peek(&dir.path().join("witness")).unwrap().unwrap();
        let it = &remembered.components[&edgecore()];
        assert_eq!((it.phase, &it.floor), (Phase::Resting, &Some(version("v1.22.0"))), "{}", golden.name);
        assert!(it.blocked.as_ref().is_some_and(|(_, blocked)| *blocked == version("v1.23.0")), "{}", golden.name);

        let (store, healed) = Store::open(dir.path(), &slots).unwrap();
        assert!(healed.is_empty(), "{}: {healed:?}", golden.name);
        let record = store.record(&edgecore()).unwrap();
        assert_eq!((&record.state, &record.floor), (&State::Idle, &Some(version("v1.22.0"))), "{}", golden.name);
        let blocked = &record.blocked[0];
        assert_eq!((blocked.version.as_str(), record.blocked.len()), ("v1.23.0", 1), "{}", golden.name);
        assert_eq!(blocked.reason.code, "SLW-A-DIED", "{}", golden.name);
        let last = record.last.unwrap();
        assert_eq!((last.event, last.version), (Event::RolledBack, Some(version("v1.23.0"))), "{}", golden.name);
        let committed = record.committed.unwrap();
        assert_eq!((committed.version.as_str(), committed.adopted), ("v1.22.0", false), "{}", golden.name);
        let slot = slots.read(&edgecore(), &committed.slot).unwrap();
        assert_eq!((slot.installed(), slot.platform), (committed, Platform::LinuxAmd64), "{}", golden.name);
        let agent = store.record(&"slipway-agent".parse().unwrap()).unwrap();
        assert!(agent.committed.is_some_and(|committed| committed.adopted), "{}", golden.name);

        // Every report, in the outbox and in history, as it was written.
        let outbox = store.outbox(0, 1000);
        assert_eq!((outbox.len(), store.history(None, 1000).len()), (store.waiting(), store.waiting()), "{}", golden.name);
        assert!(outbox.windows(2).all(|pair| pair[0].seq < pair[1].seq) && outbox.len() > 15, "{}", golden.name);
        assert!(outbox.iter().all(|report| report.boot.is_some() == golden.boot), "{}", golden.name);
        let events = [Event::Committed, Event::RollingBack, Event::RolledBack];
        let count = |event| outbox.iter().filter(|report| report.event == event).count();
        assert_eq!(events.map(|event| count(event) > 0), [true; 3], "{}: {outbox:?}", golden.name);
        // What a download cost today is remembered for a day from then.
        let then = outbox[0].time;
        assert!(store.account(&blocked.artifact, then).spent > 1000, "{}", golden.name);
    }
}

#[test]
fn the_files_around_an_update_of_every_generation_are_read() {
    for golden in ALL {
        let dir = golden.state();
        fs::create_dir(dir.path().join("restore")).unwrap();
        fs::copy(golden.path("armed"), dir.path().join("restore/armed")).unwrap();
        let armed = RestoreDir::new(dir.path()).armed().unwrap().unwrap();
        assert_eq!((armed.component.as_str(), armed.format, armed.boots), ("slipway-agent", 1, 0), "{}", golden.name);
        assert_eq!((armed.back.version.as_str(), armed.block.1.as_str()), ("v0.0.1", "v0.9.0"), "{}", golden.name);
    }
}

#[test]
fn trust_of_every_generation_still_holds() {
    for golden in ALL {
        let dir = golden.state();
        let memory = Witness::peek(&dir.path().join("witness")).unwrap().unwrap().tuf;
        let memory: TrustFloors = serde_json::from_value(memory).unwrap();
        assert_eq!((memory.operator.root, memory.operator.targets.len()), (1, 3), "{}", golden.name);
        let slots = Slots::new(dir.path());
        let text = format!(
            "[node]\nname = \"edge-1\"\nfleet = \"factory\"\nstate = {:?}\n[repository]\nroot = {:?}\n\
             [[component]]\nname = \"edgecore\"\nchannel = \"stable\"\nrun.command = [\"{{current}}/bin/edgecore\"]\n",
            dir.path(),
            golden.path("repository/metadata/1.root.json"),
        );
        let config = Config::parse(&text).unwrap();
        let trust = Trust::open(&config, "edge-1".parse().unwrap(), slots.clone()).unwrap();
        let slot = slots.list(&edgecore()).unwrap().pop().unwrap();
        let slot = slots.read(&edgecore(), &slot).unwrap();
        let plan = Plan {
            version: slot.version.clone(),
            platform: slot.platform,
            artifact: slot.artifact,
            size: slot.artifact_size,
            slot: slot.slot(),
            source: Source::Network,
            floor: None,
        };
        // Metadata, manifest, policy, Sigstore's root and evidence, all from the disk: the release is authorized again.
        let (release, _) = trust.authorize(&edgecore(), &plan, &memory).unwrap_or_else(|why| panic!("{}: {why}", golden.name));
        assert_eq!((release.manifest.v, &release.manifest.min_agent), (1, &None), "{}", golden.name);
        assert_eq!(release.artifact.member.as_deref(), Some("kubeedge-v1.22.0-linux-amd64/edge/edgecore"), "{}", golden.name);
    }
}

#[test]
fn what_every_generation_publishes_is_read() {
    for golden in ALL {
        let mut releases = Vec::new();
        for file in fs::read_dir(golden.path("repository/targets/channels/edgecore")).unwrap() {
            let channel = Channel::parse(&fs::read(file.unwrap().path()).unwrap()).unwrap();
            assert_eq!((channel.v, channel.channel.as_str(), channel.halted), (1, "stable", false), "{}", golden.name);
            assert_eq!(channel.floor, Some(version("v1.21.0")), "{}", golden.name);
            assert!(channel.more.is_empty() && channel.waves.is_empty(), "{}", golden.name);
            releases.push(channel.release.to_string());
        }
        releases.sort();
        assert_eq!(releases, ["v1.22.0", "v1.23.0"], "{}", golden.name);

        let policy = fs::read(golden.find("repository/targets/policies", ".edgecore.toml")).unwrap();
        let policy = Policy::read_signed("policies/edgecore.toml", &policy).unwrap();
        assert_eq!(policy.title(), "edgecore, preset kubeedge", "{}", golden.name);

        let notice = Notice::parse(&golden.read("notice.json")).unwrap();
        assert_eq!((notice.v, notice.component, notice.version), (1, Some(edgecore()), Some(version("v1.23.0"))));
        assert!(notice.channel.is_some() && notice.timestamp_version.is_some(), "{}", golden.name);

        let reports = String::from_utf8(golden.read("reports.jsonl")).unwrap();
        let reports: Vec<Report> = reports.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = reports.iter().find(|report| report.event == Event::RolledBack).unwrap();
        assert_eq!((last.v, last.node.as_str(), last.fleet.as_str()), (1, "edge-1", "factory"), "{}", golden.name);
        assert_eq!((last.component.as_str(), last.state.as_str()), ("edgecore", "idle"), "{}", golden.name);
        assert_eq!((&last.to, last.refusal.as_ref().unwrap().code.as_ref()), (&Some(version("v1.23.0")), "SLW-A-DIED"));
        assert_eq!((last.boot.is_some(), &last.signature), (golden.boot, &None), "{}", golden.name);
    }
}
