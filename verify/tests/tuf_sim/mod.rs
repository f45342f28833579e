//! A TUF repository in memory that can be made to say anything, and a device that follows it.

use jiff::Timestamp;
use slipway_operator::keys::{Keyring, SecretKey};
use slipway_operator::metadata::{
    self, DelegatedRole, Delegations, Header, Pin, Pins, PublicKey, RoleKeys, Root, TargetFile, Targets,
};
use slipway_verify::Refusal;
use slipway_verify::tuf::{Answer, Fetch, Floors, Refresh, Repository, Rules, Step, Stored};
use std::collections::BTreeMap;

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}
pub(crate) fn now() -> Timestamp {
    time("2026-11-22T12:00:00Z")
}
fn later() -> Timestamp {
    time("2027-11-22T12:00:00Z")
}

pub(crate) struct Sim {
    pub(crate) keys: BTreeMap<String, Vec<SecretKey>>,
    pub(crate) root: Root,
    pub(crate) timestamp: Pins,
    pub(crate) snapshot: Pins,
    pub(crate) targets: Targets,
    pub(crate) delegated: BTreeMap<String, Targets>,
    /// What the server has.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Paths that answer with an error of this text.
    pub(crate) failing: BTreeMap<String, String>,
}

pub(crate) fn publics(keys: &[SecretKey]) -> BTreeMap<String, PublicKey> {
    keys.iter().map(|key| (key.id().to_owned(), key.public().clone())).collect()
}
pub(crate) fn binding(keys: &[SecretKey]) -> RoleKeys {
    RoleKeys { keyids: keys.iter().map(|key| key.id().to_owned()).collect(), threshold: 1 }
}

impl Sim {
    pub(crate) fn new() -> Self {
        let key = |role: &str| (role.to_owned(), vec![SecretKey::generate().unwrap()]);
        let keys: BTreeMap<_, _> = ["root", "timestamp", "snapshot", "targets", "releases", "channels"].map(key).into();
        let delegation = |name: &str| DelegatedRole {
            name: name.to_owned(),
            keys: binding(&keys[name]),
            terminating: true,
            paths: vec![format!("{name}/*/*")],
        };
        let empty = || Targets { header: Header::new("targets", 0, later()), targets: BTreeMap::new(), delegations: None };
        let pins = |kind| Pins { header: Header::new(kind, 0, later()), meta: BTreeMap::new() };
        let mut targets = empty();
        targets.delegations = Some(Delegations {
            keys: publics(&[keys["releases"].clone(), keys["channels"].clone()].concat()),
            roles: vec![delegation("releases"), delegation("channels")],
        });
        let mut sim = Self {
            root: Root {
                header: Header::new("root", 0, later()),
                consistent_snapshot: true,
                keys: BTreeMap::new(),
                roles: BTreeMap::new(),
            },
            timestamp: pins("timestamp"),
            snapshot: pins("snapshot"),
            targets,
            delegated: [("releases".to_owned(), empty()), ("channels".to_owned(), empty())].into(),
            keys,
            files: BTreeMap::new(),
            failing: BTreeMap::new(),
        };
        for role in ["root", "timestamp", "snapshot", "targets"] {
            sim.bind(role);
        }
        sim.publish_root();
        sim.put("releases", "releases/edgecore/v1.json", b"manifest one");
        sim.put("channels", "channels/edgecore/stable.json", b"channel one");
        sim.put("targets", "policies/edgecore.toml", b"policy one");
        sim.publish();
        sim
    }

    /// Makes the root say who signs `role` as `self.keys` has it.
    pub(crate) fn bind(&mut self, role: &str) {
        self.root.keys.extend(publics(&self.keys[role]));
        self.root.roles.insert(role.to_owned(), binding(&self.keys[role]));
    }

    /// Gives `role` a new key; takes effect with the next root.
    pub(crate) fn rotate(&mut self, role: &str) -> Vec<SecretKey> {
        let old = self.keys.insert(role.to_owned(), vec![SecretKey::generate().unwrap()]).unwrap();
        self.bind(role);
        old
    }

    /// The next root, signed with the present root keys and with `also`.
    pub(crate) fn publish_root_with(&mut self, also: &[SecretKey]) {
        self.root.header.version += 1;
        let signers: Vec<_> = self.keys["root"].iter().chain(also).collect();
        let bytes = metadata::seal(&self.root, &signers).unwrap();
        self.files.insert(format!("{}.root.json", self.root.header.version), bytes);
    }
    pub(crate) fn publish_root(&mut self) {
        self.publish_root_with(&[]);
    }

    fn role(&mut self, role: &str) -> &mut Targets {
        if role == "targets" { &mut self.targets } else { self.delegated.get_mut(role).unwrap() }
    }

    pub(crate) fn put(&mut self, role: &str, path: &str, bytes: &[u8]) {
        let file = TargetFile::of(bytes);
        self.files.insert(file.place(path), bytes.to_vec());
        self.role(role).targets.insert(path.to_owned(), file);
    }

    /// The next version of everything below the root.
    pub(crate) fn publish(&mut self) {
        self.publish_targets("targets");
        for role in self.delegated.keys().cloned().collect::<Vec<_>>() {
            self.publish_targets(&role);
        }
        self.publish_snapshot();
        self.publish_timestamp();
    }

    pub(crate) fn publish_targets(&mut self, role: &str) {
        self.role(role).header.version += 1;
        self.write_targets(role);
    }
    /// The role as it is, without a new version.
    pub(crate) fn write_targets(&mut self, role: &str) {
        let keys: Vec<SecretKey> = self.keys[role].clone();
        let data = self.role(role).clone();
        let version = data.header.version;
        let bytes = metadata::seal(&data, &keys.iter().collect::<Vec<_>>()).unwrap();
        self.snapshot.meta.insert(format!("{role}.json"), Pin::of(version, &bytes));
        self.files.insert(format!("{version}.{role}.json"), bytes);
    }
    pub(crate) fn publish_snapshot(&mut self) {
        self.snapshot.header.version += 1;
        self.write_snapshot();
    }
    pub(crate) fn write_snapshot(&mut self) {
        let bytes = metadata::seal(&self.snapshot, &self.keys["snapshot"].iter().collect::<Vec<_>>()).unwrap();
        let version = self.snapshot.header.version;
        self.timestamp.meta.insert("snapshot.json".to_owned(), Pin::of(version, &bytes));
        self.files.insert(format!("{version}.snapshot.json"), bytes);
    }
    pub(crate) fn publish_timestamp(&mut self) {
        self.timestamp.header.version += 1;
        self.write_timestamp();
    }
    pub(crate) fn write_timestamp(&mut self) {
        let bytes = metadata::seal(&self.timestamp, &self.keys["timestamp"].iter().collect::<Vec<_>>()).unwrap();
        self.files.insert("timestamp.json".to_owned(), bytes);
    }

    /// Changes the text of a published file and pins the result as if it were right, up to the timestamp.
    pub(crate) fn tamper(&mut self, name: &str, change: impl FnOnce(String) -> String) {
        let text = String::from_utf8(self.files[name].clone()).unwrap();
        let changed = change(text.clone());
        assert_ne!(text, changed, "the change must change something");
        let bytes = changed.into_bytes();
        self.files.insert(name.to_owned(), bytes.clone());
        let Some((version, role)) = name.split_once('.').filter(|(version, _)| version.parse::<u64>().is_ok()) else { return };
        let version = version.parse().unwrap();
        match role {
            "root.json" => {}
            "snapshot.json" => {
                self.timestamp.meta.insert(role.to_owned(), Pin::of(version, &bytes));
                self.publish_timestamp();
            }
            _ => {
                self.snapshot.meta.insert(role.to_owned(), Pin::of(version, &bytes));
                self.publish_snapshot();
                self.publish_timestamp();
            }
        }
    }

    pub(crate) fn fetch(&self, fetch: &Fetch) -> Answer<'_> {
        if let Some(why) = self.failing.get(&fetch.path) {
            return Answer::Failed(why);
        }
        match self.files.get(&fetch.path) {
            Some(bytes) => {
                let most = usize::try_from(fetch.limit).unwrap() + 1;
                Answer::Bytes(&bytes[..bytes.len().min(most)])
            }
            None => Answer::Missing,
        }
    }
}

/// A device: what it was born with, and what it keeps.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) initial_root: Vec<u8>,
    pub(crate) stored: Stored,
    pub(crate) floors: Floors,
    /// What the last refresh asked for.
    pub(crate) asked: Vec<String>,
    /// What the last refresh stored.
    pub(crate) wrote: Vec<String>,
}

impl Device {
    pub(crate) fn born(sim: &Sim) -> Self {
        let initial_root = sim.files["1.root.json"].clone();
        Self { initial_root, stored: Stored::default(), floors: Floors::default(), asked: Vec::new(), wrote: Vec::new() }
    }

    pub(crate) fn refresh(&mut self, sim: &Sim) -> Result<Repository, Refusal> {
        self.refresh_by(sim, Rules::at(now()))
    }

    pub(crate) fn refresh_by(&mut self, sim: &Sim, rules: Rules) -> Result<Repository, Refusal> {
        self.asked.clear();
        self.wrote.clear();
        let mut refresh = Refresh::begin(&self.initial_root, self.stored.clone(), &self.floors, rules)?;
        for _ in 0..2000 {
            match refresh.step() {
                Step::Fetch(fetch) => {
                    self.asked.push(fetch.path.clone());
                    // A refusal ends it; what comes after is whatever was verified before.
                    let _ = refresh.answer(sim.fetch(&fetch));
                }
                Step::Store { slot, bytes } => {
                    self.wrote.push(slot.file_name());
                    self.stored.put(&slot, bytes);
                }
                Step::Done => {
                    self.floors = refresh.floors().clone();
                    return refresh.finish();
                }
            }
        }
        panic!("the refresh does not end")
    }

    pub(crate) fn open(&self, rules: Rules) -> Result<Repository, Refusal> {
        Repository::open(&self.initial_root, self.stored.clone(), &self.floors, rules)
    }

    pub(crate) fn refused(&mut self, sim: &Sim) -> Refusal {
        match self.refresh(sim) {
            Ok(_) => panic!("accepted, asked for {:?}", self.asked),
            Err(refusal) => refusal,
        }
    }
}

/// A keyring, for the library's own signing.
pub(crate) fn ring(keys: &[SecretKey]) -> Keyring {
    let mut ring = Keyring::default();
    keys.iter().cloned().for_each(|key| ring.add(key));
    ring
}
