//! Adds, removes and replaces keys.
//!
//! A change of root, targets, snapshot or timestamp keys makes a new root, signed by the keys of the old one and
//! of the new one; a change of release or channel keys makes new targets. What a key signed that goes is signed again by those
//! that stay, in the same publication.

use crate::authority::Authority;
use crate::error::ROLE;
use crate::keys::{KeyType, Password, SecretKey};
use crate::public_key::PublicKey;
use crate::repo::Repo;
use crate::role::Role;
use crate::staged::Edits;
use jiff::Timestamp;
use serde::Serialize;
use slipway_protocol::Refusal;
use std::path::PathBuf;

/// A key of the repository.
#[derive(Clone, Debug, Serialize)]
pub struct KnownKey {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// `ecdsa` or `ed25519`.
    pub keytype: String,
    /// Which roles it signs.
    pub roles: Vec<Role>,
    /// Whether its secret is here.
    pub here: bool,
}

impl Repo {
    /// One more key for a role, and perhaps another threshold.
    ///
    /// # Errors
    /// `SLW-O-ROLE` when the role has it already, or the threshold cannot be met.
    pub fn add_key(&mut self, role: Role, key: &PublicKey, threshold: Option<u32>, now: Timestamp) -> Result<(), Refusal> {
        self.change_keys(now, |authority| {
            authority.add(role, key)?;
            threshold.map_or(Ok(()), |threshold| authority.set_threshold(role, threshold))
        })
    }

    /// Takes a key from one role, or from all. Returns the roles it had.
    ///
    /// # Errors
    /// `SLW-O-ROLE` when there is no such key, or too few would be left.
    pub fn revoke_key(
        &mut self,
        wanted: &str,
        only: Option<Role>,
        threshold: Option<u32>,
        now: Timestamp,
    ) -> Result<Vec<Role>, Refusal> {
        let mut lost = Vec::new();
        self.change_keys(now, |authority| {
            let key = authority.find(wanted)?;
            let spki = key.spki()?;
            lost = authority.roles_of(&spki)?;
            if let Some(only) = only {
                lost.retain(|role| *role == only);
            }
            if lost.is_empty() {
                return Err(ROLE.with(format_args!("{} is not a key of that role", key.label()), "a key of it"));
            }
            for role in &lost {
                authority.remove(*role, &spki)?;
                threshold.map_or(Ok(()), |threshold| authority.set_threshold(*role, threshold))?;
            }
            Ok(())
        })?;
        Ok(lost)
    }

    /// Puts a new key in the place of an old one in one role; of the only one, if none is named.
    ///
    /// # Errors
    /// `SLW-O-ROLE` when the old key is not that role's, or the new one is already.
    pub fn rotate_key(&mut self, role: Role, old: Option<&str>, new: &PublicKey, now: Timestamp) -> Result<(), Refusal> {
        self.change_keys(now, |authority| {
            let old = match old {
                Some(old) => authority.find(old)?,
                None => {
                    let keys: Vec<PublicKey> = authority.quorum(role)?.keys.into_values().collect();
                    let [only] = keys.as_slice() else {
                        return Err(ROLE.with(format_args!("{role} has {} keys", keys.len()), "--old KEY: the key to replace"));
                    };
                    only.clone()
                }
            };
            authority.add(role, new)?;
            if !authority.remove(role, &old.spki()?)? {
                return Err(ROLE.with(format_args!("{} is not a key of {role}", old.label()), "a key of it"));
            }
            Ok(())
        })
    }

    /// How many keys of a role must sign.
    ///
    /// # Errors
    /// `SLW-O-ROLE` when it is 0 or more than there are keys.
    pub fn set_threshold(&mut self, role: Role, threshold: u32, now: Timestamp) -> Result<(), Refusal> {
        self.change_keys(now, |authority| authority.set_threshold(role, threshold))
    }

    /// The same again with a later expiry, for roles that people sign.
    ///
    /// # Errors
    /// `SLW-O-ROLE` for snapshot and timestamp, which `refresh` renews.
    pub fn renew_roles(&mut self, roles: &[Role], now: Timestamp) -> Result<(), Refusal> {
        let mut edits = Edits::default();
        for role in roles {
            match role {
                Role::Root => edits.root = Some(self.authority()?.root),
                role if Role::ONLINE.contains(role) => {
                    return Err(ROLE.with(role, "a role that people sign; `slipway refresh` renews this one"));
                }
                role => drop(edits.roles.insert(*role, self.draft(*role)?)),
            }
        }
        self.commit(edits, now)
    }

    /// A new key for a role in the `keys` folder. Its file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make_key(&mut self, role: Role, kind: KeyType, password: Option<&Password>) -> Result<(PathBuf, PublicKey), Refusal> {
        let folder = self.dir.join("keys");
        let free = |name: &String| !folder.join(format!("{name}.pem")).exists() && !folder.join(format!("{name}.pub")).exists();
        let name = (2_u32..).map(|n| format!("{role}-{n}")).find(free).unwrap_or_default();
        let path = folder.join(format!("{name}.pem"));
        let key = SecretKey::generate(kind)?.named(&name);
        key.write(&path, password)?;
        let public = key.public().clone();
        self.keys.add(key);
        Ok((path, public))
    }

    /// Every key of the repository, as it is published or waits for signatures.
    ///
    /// # Errors
    /// When a key is unusable.
    pub fn known_keys(&self) -> Result<Vec<KnownKey>, Refusal> {
        let describe = |(key, roles): (PublicKey, Vec<Role>)| {
            let here = self.keys.has(&key);
            Ok(KnownKey { id: key.id()?, keytype: key.keytype, name: key.name, roles, here })
        };
        self.authority()?.keys()?.into_iter().map(describe).collect()
    }

    /// The keys that were named to sign with and have no say in what changed, each with the roles that it does sign.
    ///
    /// # Errors
    /// When a key is unusable.
    pub fn idle_keys(&self) -> Result<Vec<(PublicKey, Vec<Role>)>, Refusal> {
        let authority = self.authority()?;
        self.keys.idle().into_iter().map(|key| Ok((key.clone(), authority.roles_of(&key.spki()?)?))).collect()
    }

    fn change_keys(&mut self, now: Timestamp, edit: impl FnOnce(&mut Authority) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let before = self.authority()?;
        let mut authority = before.clone();
        edit(&mut authority)?;
        authority.check()?;
        let mut edits = Edits::default();
        if authority.root.roles != before.root.roles {
            edits.root = Some(authority.root);
        }
        if authority.targets.delegations != before.targets.delegations {
            edits.roles.insert(Role::Targets, authority.targets);
        }
        if edits.root.is_none() && edits.roles.is_empty() {
            return Ok(());
        }
        self.commit(edits, now)
    }
}
