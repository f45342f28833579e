//! Random histories of a repository, stolen keys and a device.
//!
//! The test keeps its own account of what was ever properly published.
//!
//! What must hold after every step:
//! - nothing is used that the operator did not sign;
//! - no version goes back, except where new keys for timestamp or snapshot say so;
//! - when the thieves are gone, the disk is whole and the clock is right, one refresh makes everything good again.

use crate::device::{Device, time};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use slipway_testkit::tuf::{Key, Repository as Sim};
use slipway_verify::tuf::{Repository, Rules, Slot};
use std::collections::BTreeSet;

const TARGET: &str = "channels/edgecore/stable.json";

#[derive(Clone, Debug)]
enum Action {
    /// A new release on the channel, everything signed anew.
    Publish,
    /// New keys for one role, by a new root; old keys are revoked.
    Rotate(usize),
    /// Several roots at once, each rotating the root keys: what a device that slept finds.
    Sleep(u8),
    /// The device refreshes from the honest repository.
    Refresh,
    /// From what the server had some time ago.
    Replay(usize),
    /// From what the server had some time ago, with the newest timestamp, snapshot or targets in it.
    Mix(usize, usize),
    /// From a server on which this file answers with an error.
    Freeze(usize),
    /// From a thief who has the timestamp and snapshot keys and signs enormous versions.
    FastForward,
    /// From a thief without keys who signs one role with his own.
    Forge(usize),
    /// A file on disk is damaged, or all are gone.
    Damage(usize),
    /// Days pass.
    Pass(u16),
    /// One refresh with a clock that is far ahead, or far behind what is known.
    Clock(bool),
    /// The power goes in the middle of a refresh.
    Cut(usize),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Publish),
        2 => (0_usize..6).prop_map(Action::Rotate),
        1 => (1_u8..6).prop_map(Action::Sleep),
        5 => Just(Action::Refresh),
        3 => any::<usize>().prop_map(Action::Replay),
        2 => (any::<usize>(), 0_usize..3).prop_map(|(at, what)| Action::Mix(at, what)),
        2 => any::<usize>().prop_map(Action::Freeze),
        1 => Just(Action::FastForward),
        2 => (0_usize..6).prop_map(Action::Forge),
        2 => any::<usize>().prop_map(Action::Damage),
        2 => (1_u16..400).prop_map(Action::Pass),
        2 => any::<bool>().prop_map(Action::Clock),
        2 => any::<usize>().prop_map(Action::Cut),
    ]
}

const ROLES: [&str; 6] = ["root", "timestamp", "snapshot", "targets", "releases", "channels"];

struct Simulation {
    now: Timestamp,
    operator: Sim,
    /// What the server had, after each publication.
    past: Vec<Sim>,
    device: Device,
    /// All that was ever properly on the channel.
    signed: BTreeSet<Vec<u8>>,
    /// A thief's enormous versions were believed: only new keys help.
    poisoned: bool,
    releases: u32,
}

impl Simulation {
    fn new() -> Self {
        let now = time("2026-11-22T12:00:00Z");
        let mut operator = Sim::new(now + SignedDuration::from_hours(24 * 400));
        operator.publish();
        let device = Device::born(&operator);
        let mut life = Self { now, past: Vec::new(), device, signed: BTreeSet::new(), poisoned: false, releases: 0, operator };
        life.publish();
        life
    }

    /// As for the operator's repository, but that all roles live for 400 days.
    fn rules(&self) -> Rules {
        Rules { max_lifetimes: None, ..Rules::operator(self.now, false) }
    }

    /// Everything lives for 400 days from now on.
    fn publish(&mut self) {
        self.releases += 1;
        let expires = self.now + SignedDuration::from_hours(24 * 400);
        let bytes = format!("channel {}", self.releases).into_bytes();
        self.signed.insert(bytes.clone());
        let operator = &mut self.operator;
        operator.put("channels", TARGET, &bytes);
        for header in [&mut operator.timestamp, &mut operator.snapshot, &mut operator.root] {
            header.expires = expires;
        }
        operator.targets.header.expires = expires;
        operator.delegated.values_mut().for_each(|role| role.header.expires = expires);
        operator.publish();
        self.past.push(operator.clone());
    }

    fn rotate(&mut self, role: &str) {
        let old = self.operator.rotate(role);
        self.operator.root.expires = self.now + SignedDuration::from_hours(24 * 400);
        if role == "root" {
            self.operator.publish_root_with(&old.signers);
        } else {
            self.operator.publish_root();
        }
        self.publish();
    }

    /// Versions as the device must never go below them again.
    fn versions(&self) -> (u64, u64, u64, Option<u64>) {
        let floors = &self.device.floors;
        (floors.root, floors.timestamp, floors.snapshot, floors.targets.get("channels").copied())
    }

    fn refresh_from(&mut self, server: &Sim, rules: Rules) {
        let (old_root, old_timestamp, old_snapshot, old_channels) = self.versions();
        let result = self.device.refresh_by(server, rules);
        if let Ok(repository) = &result {
            self.used(repository, server);
        }
        let (root, timestamp, snapshot, channels) = self.versions();
        assert!(root >= old_root, "the root went back");
        if root == old_root {
            assert!(timestamp >= old_timestamp && snapshot >= old_snapshot && channels >= old_channels, "a version went back");
        }
    }

    /// What a refresh ended in is only ever what the operator signed.
    fn used(&self, repository: &Repository, server: &Sim) {
        let info = repository.lookup(TARGET).unwrap();
        let bytes = server.blobs.get(&info.fetch_path).or_else(|| self.operator.blobs.get(&info.fetch_path)).unwrap().clone();
        let target = repository.authenticate(TARGET, bytes).unwrap();
        assert!(self.signed.contains(target.bytes()), "not of the operator");
        assert_eq!(target.role(), "channels");
    }

    fn step(&mut self, action: &Action) {
        let rules = self.rules();
        match action {
            Action::Publish => self.publish(),
            Action::Rotate(role) => self.rotate(ROLES[*role]),
            Action::Sleep(roots) => (0..*roots).for_each(|_| self.rotate("root")),
            Action::Refresh => self.refresh_from(&self.operator.clone(), rules),
            Action::Replay(at) => {
                let server = self.past[at % self.past.len()].clone();
                self.refresh_from(&server, rules);
            }
            Action::Mix(at, what) => {
                let mut server = self.past[at % self.past.len()].clone();
                let newest = &self.operator;
                let name = match what {
                    0 => "timestamp.json".to_owned(),
                    1 => format!("{}.snapshot.json", newest.snapshot.version),
                    _ => format!("{}.targets.json", newest.targets.header.version),
                };
                server.files.insert(name.clone(), newest.files[&name].clone());
                self.refresh_from(&server, rules);
            }
            Action::Freeze(which) => {
                let mut server = self.operator.clone();
                let names: Vec<String> = server.files.keys().cloned().collect();
                server.failing.insert(names[which % names.len()].clone(), "connection reset".to_owned());
                // Also what it had stored when the power went, before the floors knew.
                let known = self.device.newest_root();
                server.failing.insert(format!("{}.root.json", known + 1), "HTTP 500".to_owned());
                self.refresh_from(&server, rules);
                assert_eq!(self.device.floors.root, known, "an unknown root is not passed over");
            }
            Action::FastForward => {
                let mut server = self.operator.clone();
                (server.timestamp.version, server.snapshot.version) = (4_000_000_000, 4_000_000_000);
                server.publish_snapshot();
                server.publish_timestamp();
                self.refresh_from(&server, rules);
                self.poisoned |= self.device.floors.timestamp > 4_000_000_000;
            }
            Action::Forge(role) => {
                let mut server = self.operator.clone();
                let role = ROLES[*role];
                server.keys.get_mut(role).unwrap().signers = vec![Key::new()];
                if role == "root" {
                    server.publish_root();
                }
                server.put("channels", TARGET, b"by a thief");
                server.publish();
                let before = self.device.floors.clone();
                self.refresh_from(&server, rules);
                if role == "root" {
                    assert!(self.device.floors.root <= self.operator.root.version, "a forged root was believed");
                }
                assert!(self.device.floors.timestamp <= before.timestamp.max(server.timestamp.version));
            }
            Action::Damage(which) => {
                let slots = [Slot::Root, Slot::Timestamp, Slot::Snapshot, Slot::Targets, Slot::Delegated("channels".to_owned())];
                match slots.get(which % 7) {
                    Some(slot) => {
                        let mut bytes = self.device.stored.get(slot).to_vec();
                        if let Some(byte) = bytes.get_mut(which % 97) {
                            *byte ^= 0x20;
                        }
                        self.device.stored.put(slot, bytes);
                    }
                    None => self.device.stored = Default::default(),
                }
            }
            Action::Pass(days) => self.now += SignedDuration::from_hours(24 * i64::from(*days)),
            // The time that is given is never earlier than what is known, so a clock that is behind changes nothing.
            Action::Clock(ahead) => {
                let rules = if *ahead { Rules { now: time("2100-01-01T00:00:00Z"), ..rules } } else { rules };
                let before = self.device.floors.clone();
                self.refresh_from(&self.operator.clone(), rules);
                assert!(!ahead || self.device.floors.timestamp == before.timestamp || self.device.floors.root > before.root);
            }
            Action::Cut(files) => {
                self.device.cut_after = Some(1 + files % 8);
                self.refresh_from(&self.operator.clone(), rules);
                self.device.cut_after = None;
            }
        }
    }

    /// The thieves are gone and the operator did what is to be done: one refresh, whatever happened before.
    fn recovers(&mut self) {
        if self.poisoned {
            self.rotate("timestamp");
        }
        self.operator.root.expires = self.now + SignedDuration::from_hours(24 * 400);
        self.operator.publish_root();
        self.publish();
        let server = self.operator.clone();
        let repository = self.device.refresh_by(&server, self.rules()).unwrap_or_else(|refusal| panic!("{refusal}"));
        self.used(&repository, &server);
        assert_eq!(repository.lookup(TARGET).unwrap().sha256, digest(&server), "and it is the newest");
        self.device.open(Rules::accepted_before()).expect("and it opens without a network");
    }
}

fn digest(server: &Sim) -> Option<slipway_protocol::Sha256> {
    let info = &server.delegated["channels"].targets[TARGET];
    info["hashes"]["sha256"].as_str().and_then(|hex| hex.parse().ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_life_ends_well(actions in proptest::collection::vec(action(), 1..40)) {
        let mut life = Simulation::new();
        for action in &actions {
            life.step(action);
        }
        life.recovers();
    }
}

#[test]
fn a_device_that_slept_for_two_years_walks_the_chain() {
    let mut life = Simulation::new();
    life.step(&Action::Refresh);
    for _ in 0..8 {
        life.step(&Action::Pass(91));
        for role in 0..ROLES.len() {
            life.step(&Action::Rotate(role));
        }
    }
    assert!(life.operator.root.version > 40);
    life.recovers();
}

/// The account above would notice: a device that forgets its floors takes what is old.
#[test]
fn without_floors_a_replay_is_taken() {
    let mut life = Simulation::new();
    let old = life.past[0].clone();
    life.publish();
    life.step(&Action::Refresh);
    let forgetful = Device::born_with(&life.device.initial_root);
    forgetful.clone().refresh_by(&old, Rules::at(life.now)).expect("the old repository is properly signed");
    life.device.stored = Default::default();
    assert_eq!(life.device.refresh_by(&old, Rules::at(life.now)).unwrap_err().code, "SLW-T-ROLLBACK");
}
