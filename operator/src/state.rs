//! The repository as it is published: what every role says, and the signatures under it.

use crate::error::REPOSITORY;
use crate::files;
use crate::metadata::{Envelope, Header, Pins, Root, Targets};
use crate::quorum::Quorum;
use crate::role::Role;
use jiff::Timestamp;
use slipway_protocol::Refusal;
use std::collections::BTreeMap;
use std::path::Path;

/// What every role says. A repository whose first root waits for signatures has version 0 of everything.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) root: Root,
    pub(crate) timestamp: Pins,
    pub(crate) snapshot: Pins,
    pub(crate) roles: BTreeMap<Role, Targets>,
    /// The same as signed. Empty for version 0.
    pub(crate) envelopes: BTreeMap<Role, Envelope>,
}

impl State {
    /// Nothing published yet.
    pub(crate) fn unpublished() -> Self {
        let header = |kind: &str| Header::new(kind, 0, Timestamp::UNIX_EPOCH);
        let pins = |kind: &str| Pins { header: header(kind), meta: BTreeMap::new() };
        let empty = |role| {
            (role, Targets { header: header("targets"), targets: BTreeMap::new(), delegations: None, overlap_until: None })
        };
        Self {
            root: Root { header: header("root"), consistent_snapshot: true, keys: BTreeMap::new(), roles: BTreeMap::new() },
            timestamp: pins("timestamp"),
            snapshot: pins("snapshot"),
            roles: Role::TARGETS.into_iter().map(empty).collect(),
            envelopes: BTreeMap::new(),
        }
    }

    /// Reads what the newest timestamp names, and the newest root.
    pub(crate) fn load(metadata: &Path) -> Result<Self, Refusal> {
        let version = (1..).take_while(|version| metadata.join(format!("{version}.root.json")).is_file()).last().unwrap_or(1_u64);
        let mut state = Self::unpublished();
        let mut read = |role: Role, name: &str| -> Result<Envelope, Refusal> {
            let envelope = Envelope::parse(&files::read(&metadata.join(name))?, name)?;
            state.envelopes.insert(role, envelope.clone());
            Ok(envelope)
        };
        let root = read(Role::Root, &format!("{version}.root.json"))?.read("root")?;
        let timestamp: Pins = read(Role::Timestamp, "timestamp.json")?.read("timestamp")?;
        let snapshot: Pins = read(Role::Snapshot, &pinned(&timestamp, "snapshot")?)?.read("snapshot")?;
        let mut roles = BTreeMap::new();
        for role in Role::TARGETS {
            roles.insert(role, read(role, &pinned(&snapshot, role.name())?)?.read(role.name())?);
        }
        Ok(Self { root, timestamp, snapshot, roles, envelopes: state.envelopes })
    }

    pub(crate) fn is_published(&self) -> bool {
        self.root.header.version > 0
    }

    /// Type, version, expiry of a role.
    pub(crate) fn header(&self, role: Role) -> Option<&Header> {
        match role {
            Role::Root => Some(&self.root.header),
            Role::Timestamp => Some(&self.timestamp.header),
            Role::Snapshot => Some(&self.snapshot.header),
            other => self.roles.get(&other).map(|targets| &targets.header),
        }
    }

    pub(crate) fn targets(&self) -> Result<&Targets, Refusal> {
        self.roles.get(&Role::Targets).ok_or_else(|| REPOSITORY.with("no targets", "a targets role"))
    }

    /// Takes over what a change says.
    pub(crate) fn apply(&mut self, role: Role, envelope: Envelope) -> Result<(), Refusal> {
        match role {
            Role::Root => self.root = envelope.read("root")?,
            Role::Timestamp => self.timestamp = envelope.read("timestamp")?,
            Role::Snapshot => self.snapshot = envelope.read("snapshot")?,
            other => drop(self.roles.insert(other, envelope.read(other.name())?)),
        }
        self.envelopes.insert(role, envelope);
        Ok(())
    }

    /// Who must sign a role.
    pub(crate) fn quorum(&self, role: Role) -> Result<Quorum, Refusal> {
        quorum(&self.root, self.targets()?, role)
    }
}

/// Who must sign `role`, by the root or, where it is delegated, by the targets role.
pub(crate) fn quorum(root: &Root, targets: &Targets, role: Role) -> Result<Quorum, Refusal> {
    let missing = || REPOSITORY.with(format_args!("no role {role}"), role);
    let (keys, binding) = if role.is_delegated() {
        let delegations = targets.delegations.as_ref().ok_or_else(missing)?;
        let found = delegations.roles.iter().find(|known| known.name == role.name()).ok_or_else(missing)?;
        (&delegations.keys, &found.keys)
    } else {
        (&root.keys, root.roles.get(role.name()).ok_or_else(missing)?)
    };
    let known = |id: &String| keys.get(id).map(|key| (id.clone(), key.clone()));
    Ok(Quorum { keys: binding.keyids.iter().filter_map(known).collect(), threshold: binding.threshold })
}

fn pinned(pins: &Pins, role: &str) -> Result<String, Refusal> {
    let pin = pins.meta.get(&format!("{role}.json"));
    pin.map(|pin| format!("{}.{role}.json", pin.version)).ok_or_else(|| REPOSITORY.with(format_args!("no pin for {role}"), role))
}
