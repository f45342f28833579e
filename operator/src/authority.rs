//! Edits of keys and thresholds, on a root and a targets role that are not signed yet.

use crate::error::ROLE;
use crate::metadata::{DelegatedRole, Delegations, RoleKeys, Root, Targets};
use crate::public_key::PublicKey;
use crate::quorum::Quorum;
use crate::role::Role;
use crate::state::quorum;
use slipway_protocol::Refusal;
use std::collections::{BTreeMap, BTreeSet};

/// The keys and threshold of one role of a new repository.
#[derive(Clone, Debug, Default)]
pub struct RoleOptions {
    /// Its keys.
    pub keys: Vec<PublicKey>,
    /// How many of them must sign.
    pub threshold: u32,
}

/// The two roles that name keys.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub(crate) root: Root,
    pub(crate) targets: Targets,
}

impl Authority {
    /// Every role gets these keys.
    pub(crate) fn set(&mut self, roles: &BTreeMap<Role, RoleOptions>) -> Result<(), Refusal> {
        let delegated = |role: Role| DelegatedRole {
            name: role.name().to_owned(),
            keys: RoleKeys { keyids: Vec::new(), threshold: 1 },
            terminating: true,
            paths: vec![format!("{role}/*/*")],
        };
        let delegations =
            Delegations { keys: BTreeMap::new(), roles: vec![delegated(Role::Releases), delegated(Role::Channels)] };
        self.targets.delegations = Some(delegations);
        for role in Role::ALL.into_iter().filter(|role| !role.is_delegated()) {
            self.root.roles.insert(role.name().to_owned(), RoleKeys { keyids: Vec::new(), threshold: 1 });
        }
        for (role, options) in roles {
            options.keys.iter().try_for_each(|key| self.add(*role, key))?;
            self.set_threshold(*role, options.threshold)?;
        }
        self.check()
    }

    /// One more key for a role.
    pub(crate) fn add(&mut self, role: Role, key: &PublicKey) -> Result<(), Refusal> {
        let spki = key.spki()?;
        for known in self.quorum(role)?.keys.values() {
            if known.spki()? == spki {
                return Err(ROLE.with(format_args!("{} already is a key of {role}", known.label()), "another key"));
            }
        }
        let id = key.id()?;
        let (keys, binding) = self.place(role)?;
        keys.entry(id.clone()).or_insert_with(|| key.clone());
        binding.keyids.push(id);
        Ok(())
    }

    /// Takes a key from a role. Whether it was there.
    pub(crate) fn remove(&mut self, role: Role, spki: &[u8]) -> Result<bool, Refusal> {
        let gone: BTreeSet<String> = self.ids(role, spki)?;
        self.place(role)?.1.keyids.retain(|id| !gone.contains(id));
        Ok(!gone.is_empty())
    }

    pub(crate) fn set_threshold(&mut self, role: Role, threshold: u32) -> Result<(), Refusal> {
        self.place(role)?.1.threshold = threshold;
        Ok(())
    }

    /// Thresholds can be met by distinct keys; keys that nobody uses are gone.
    pub(crate) fn check(&mut self) -> Result<(), Refusal> {
        for role in Role::ALL {
            let quorum = self.quorum(role)?;
            let mut distinct = BTreeSet::new();
            for key in quorum.keys.values() {
                if !distinct.insert(key.spki()?) {
                    return Err(ROLE.with(format_args!("{role} has {} twice", key.label()), "each key once"));
                }
            }
            let count = u32::try_from(distinct.len()).unwrap_or(u32::MAX);
            if quorum.threshold == 0 || quorum.threshold > count {
                let seen = format_args!("{role}: threshold {} of {count} keys", quorum.threshold);
                return Err(ROLE.with(seen, "a threshold from 1 to the number of keys"));
            }
        }
        let used: BTreeSet<String> = self.root.roles.values().flat_map(|role| role.keyids.clone()).collect();
        self.root.keys.retain(|id, _| used.contains(id));
        if let Some(delegations) = &mut self.targets.delegations {
            let used: BTreeSet<String> = delegations.roles.iter().flat_map(|role| role.keys.keyids.clone()).collect();
            delegations.keys.retain(|id, _| used.contains(id));
        }
        Ok(())
    }

    pub(crate) fn quorum(&self, role: Role) -> Result<Quorum, Refusal> {
        quorum(&self.root, &self.targets, role)
    }

    /// The roles that this key signs.
    pub(crate) fn roles_of(&self, spki: &[u8]) -> Result<Vec<Role>, Refusal> {
        let mut roles = Vec::new();
        for role in Role::ALL {
            if !self.ids(role, spki)?.is_empty() {
                roles.push(role);
            }
        }
        Ok(roles)
    }

    /// Every key, once, with the roles it signs.
    pub(crate) fn keys(&self) -> Result<Vec<(PublicKey, Vec<Role>)>, Refusal> {
        let mut keys: Vec<(PublicKey, Vec<Role>)> = Vec::new();
        let mut seen = BTreeSet::new();
        for role in Role::ALL {
            for key in self.quorum(role)?.keys.into_values() {
                let spki = key.spki()?;
                if seen.insert(spki.clone()) {
                    keys.push((key, self.roles_of(&spki)?));
                }
            }
        }
        Ok(keys)
    }

    /// The key that somebody means: by name, or by the beginning of its id.
    pub(crate) fn find(&self, wanted: &str) -> Result<PublicKey, Refusal> {
        let keys = self.keys()?;
        let by_id = |key: &PublicKey| wanted.len() >= 6 && key.id().is_ok_and(|id| id.starts_with(wanted));
        let found: Vec<&PublicKey> =
            keys.iter().map(|(key, _)| key).filter(|key| key.name.as_deref() == Some(wanted) || by_id(key)).collect();
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(ROLE
                .with(format_args!("no key {wanted:?}"), "a name or the first 6 digits of an id, as `slipway key list` shows")),
            _ => Err(ROLE.with(format_args!("{} keys match {wanted:?}", found.len()), "the beginning of one key's id")),
        }
    }

    fn ids(&self, role: Role, spki: &[u8]) -> Result<BTreeSet<String>, Refusal> {
        let mut ids = BTreeSet::new();
        for (id, key) in self.quorum(role)?.keys {
            if key.spki()? == spki {
                ids.insert(id);
            }
        }
        Ok(ids)
    }

    fn place(&mut self, role: Role) -> Result<(&mut BTreeMap<String, PublicKey>, &mut RoleKeys), Refusal> {
        let missing = || ROLE.with(format_args!("no role {role}"), role);
        if role.is_delegated() {
            let delegations = self.targets.delegations.as_mut().ok_or_else(missing)?;
            let found = delegations.roles.iter_mut().find(|known| known.name == role.name()).ok_or_else(missing)?;
            Ok((&mut delegations.keys, &mut found.keys))
        } else {
            Ok((&mut self.root.keys, self.root.roles.get_mut(role.name()).ok_or_else(missing)?))
        }
    }
}
