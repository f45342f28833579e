//! A database in a newer format stays unchanged until the restore unit has rolled back its agent.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use slipway_agent::clock;
use slipway_agent::selfupdate::restore::{Armed, FORMAT, RestoreDir};
use slipway_agent::storage::slots::Slots;
use slipway_agent::storage::store::Store;
use slipway_machine::record::{Installed, Plan, Record, Source, State, Watch};
use slipway_protocol::{ComponentName, Platform};
use slipway_testkit::tuf::Repository;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The unit of the new agent has failed; stopped and started, it runs.
const SYSTEMCTL: &str = r#"#!/bin/sh
state="$(dirname "$0")/unit"
case "$1" in
stop) echo inactive > "$state" ;;
start) echo active > "$state" ;;
show) echo "LoadState=loaded"; echo "ActiveState=$(cat "$state")"; echo "SubState=running"; echo "Result=success"; echo "MainPID=1" ;;
esac
"#;

struct Device {
    dir: tempfile::TempDir,
}

impl Device {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.path("state")
    }

    fn run(&self, args: &[&str]) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        Command::new(env!("CARGO_BIN_EXE_slipway-agent")).args(args).env("PATH", path).output().unwrap()
    }

    fn agent(&self, verb: &str) -> Output {
        self.run(&[verb, "--config", self.path("agent.toml").to_str().unwrap()])
    }
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A device whose agent is v1.0.0, while v2.0.0 is being watched.
fn device() -> (Device, Installed, Installed) {
    let device = Device { dir: tempfile::tempdir().unwrap() };
    fs::create_dir(device.path("bin")).unwrap();
    program(&device.path("bin/systemctl"), SYSTEMCTL);
    program(&device.path("bin/journalctl"), "#!/bin/sh\n");
    fs::write(device.path("bin/unit"), "failed").unwrap();
    let mut repository = Repository::bare("2090-01-01T00:00:00Z".parse().unwrap());
    repository.publish();
    repository.write_to(device.dir.path()).unwrap();
    let config = format!(
        "[node]\nname = \"edge-1\"\nfleet = \"factory\"\nstate = {:?}\nsocket = {:?}\n[repository]\nroot = {:?}\n\
         [[component]]\nname = \"slipway-agent\"\nchannel = \"stable\"\nrun.unit = \"slipway-agent.service\"\n",
        device.state(),
        device.path("agent.sock"),
        device.path("metadata/1.root.json")
    );
    fs::write(device.path("agent.toml"), config).unwrap();

    let slots = Slots::new(&device.state());
    let component: ComponentName = "slipway-agent".parse().unwrap();
    let release = |version: &str| {
        program(&device.path(version), version);
        slots.adopt(&component, &device.path(version), version.parse().unwrap()).unwrap()
    };
    let (old, new) = (release("v1.0.0"), release("v2.0.0"));
    let plan = Plan {
        version: new.version.clone(),
        platform: Platform::current(),
        artifact: new.artifact,
        size: 6,
        slot: new.slot.clone(),
        source: Source::Network,
        floor: None,
    };
    let deadline = clock::now().moment.after(300);
    let watch = Watch { deadline, starts: 0, process: None, healthy_since: None, failures: 0, unhealthy: None };
    let record = Record {
        state: State::Probation { plan, payload: new.payload, watch },
        committed: Some(old.clone()),
        ..Record::new(component.clone())
    };
    let (mut store, healed) = Store::open(&device.state(), &slots).unwrap();
    assert!(healed.is_empty(), "{healed:?}");
    store.commit(&record, vec![]).unwrap();
    drop(store);
    slots.point(&component, &new.slot).unwrap();
    (device, old, new)
}

fn database(device: &Device) -> sled::Db {
    let config = sled::Config::new().path(device.state().join("state")).mode(sled::Mode::LowSpace).segment_size(64 * 1024);
    config.open().unwrap()
}

/// What is in the database, by key.
fn contents(device: &Device) -> Vec<(Vec<u8>, Vec<u8>)> {
    database(device).iter().map(|entry| entry.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_newer_agents_database_is_refused_unchanged_until_that_agent_is_rolled_back() {
    let (device, old, new) = device();
    // What the new agent made of it.
    let db = database(&device);
    let mut meta: serde_json::Value = serde_json::from_slice(&db.get("meta").unwrap().unwrap()).unwrap();
    meta["format"] = 2.into();
    meta["surprise"] = true.into();
    db.insert("meta", serde_json::to_vec(&meta).unwrap()).unwrap();
    db.flush().unwrap();
    drop(db);
    let before = contents(&device);
    // More often than a database may kill its agent before it is set aside.
    for verb in ["status", "run", "status", "run", "history"] {
        let output = device.agent(verb);
        assert_eq!(output.status.code(), Some(3), "{verb}: {}", said(&output));
        let said = said(&output);
        assert!(said.contains("SLW-A-STATE-NEWER") && said.contains("database: format 2"), "{verb}: {said}");
    }
    assert!(!device.state().join("state.damaged-1").exists());
    assert_eq!(contents(&device), before);

    // The restore unit's work needs no database.
    let armed = Armed {
        format: FORMAT,
        component: "slipway-agent".parse().unwrap(),
        testing: new.slot.clone(),
        block: (new.artifact, new.version.clone()),
        back: old.clone(),
        within: 300,
        deadline: clock::now().moment.after(300),
        boots: 0,
    };
    RestoreDir::new(&device.state()).arm(&Slots::new(&device.state()), &armed).unwrap();
    let output = device.run(&["restore", "--state", device.state().to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("; restored "), "{}", said(&output));
    let link = |device: &Device| fs::read_link(device.state().join("current/slipway-agent")).unwrap();
    assert_eq!(link(&device).file_name().unwrap().to_str(), Some(old.slot.as_str()));

    // The agent that is back begins a database of its own, from the witness, and keeps the other one.
    let output = device.run(&["status", "--json", "--config", device.path("agent.toml").to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("SLW-A-STORE-DAMAGED"), "{}", said(&output));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let component = &status["components"][0];
    assert_eq!((component["state"].as_str(), component["committed"]["version"].as_str()), (Some("rolling-back"), Some("v1.0.0")));
    assert!(device.state().join("state.damaged-1").exists());
}
