//! Turns edits of roles ([`Edits`]) into new versions, signed by the keys that are here.
//!
//! Every change takes this way. With all
//! signatures it is published; without, it waits in `staged/` for `slipway sign` and `slipway publish`.

use crate::authority::Authority;
use crate::error::{REPOSITORY, STAGED};
use crate::metadata::{Envelope, Header, TargetFile, Targets};
use crate::quorum::Quorum;
use crate::repo::{Outcome, Repo};
use crate::role::{Role, expiry};
use crate::staged::{Change, Edits};
use jiff::Timestamp;
use slipway_protocol::Refusal;
use std::collections::BTreeMap;

impl Repo {
    /// What a role shall say: as it waits for signatures, or as it is published.
    pub(crate) fn draft(&self, role: Role) -> Result<Targets, Refusal> {
        match self.staged.next.get(&role) {
            Some(envelope) => envelope.read(role.name()),
            None => self.state.roles.get(&role).cloned().ok_or_else(|| REPOSITORY.with(format_args!("no {role}"), role)),
        }
    }

    /// Who signs, as it waits for signatures or is published.
    pub(crate) fn authority(&self) -> Result<Authority, Refusal> {
        let root = match self.staged.next.get(&Role::Root) {
            Some(envelope) => envelope.read("root")?,
            None => self.state.root.clone(),
        };
        Ok(Authority { root, targets: self.draft(Role::Targets)? })
    }

    /// Signs for a target.
    pub(crate) fn put(&mut self, role: Role, path: &str, bytes: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let edits = self.edit(role, path, bytes)?;
        self.commit(edits, now)
    }

    /// The edit that signs for a target.
    pub(crate) fn edit(&self, role: Role, path: &str, bytes: &[u8]) -> Result<Edits, Refusal> {
        let mut targets = self.draft(role)?;
        targets.targets.insert(path.to_owned(), TargetFile::of(bytes));
        let files = [(path.to_owned(), bytes.to_vec())].into();
        Ok(Edits { roles: [(role, targets)].into(), files, ..Edits::default() })
    }

    /// Publishes what the keys that are here can sign; anything else waits. A change to a role that waits already waits with it.
    pub(crate) fn commit(&mut self, edits: Edits, now: Timestamp) -> Result<(), Refusal> {
        let edited = |role: &Role| edits.roles.contains_key(role) || (*role == Role::Root && edits.root.is_some());
        let joins = self.staged.next.keys().any(edited);
        if !joins && !self.staged.is_empty() {
            let mut alone = self.change(Change::default(), &edits, now)?;
            self.sign_here(&mut alone)?;
            if alone.waiting()?.is_empty() && self.online_keys_are_here(&alone)? {
                return self.publish_change(&alone, now);
            }
        }
        let mut change = self.change(self.staged.clone(), &edits, now)?;
        self.sign_here(&mut change)?;
        self.publish_or_stage(change, now)
    }

    /// Publishes a change that is complete, and keeps any other.
    pub(crate) fn publish_or_stage(&mut self, change: Change, now: Timestamp) -> Result<(), Refusal> {
        for (role, envelope) in &change.next {
            let out = self.state.header(*role).map_or(0, |out| out.version);
            if envelope.version() != out.saturating_add(1) {
                return Err(STAGED.with(format_args!("{role} version {} after {out}", envelope.version()), "the next version"));
            }
        }
        let waiting = change.waiting()?;
        let complete = waiting.is_empty() && self.online_keys_are_here(&change)?;
        // A new root cannot be taken back: until the rest is out too, the change is kept.
        if !complete || change.next.contains_key(&Role::Root) {
            change.write(&self.staged_file())?;
        }
        self.staged = change.clone();
        if complete {
            self.publish_change(&change, now)?;
            self.discard()?;
            self.outcome = Outcome::Published;
        } else {
            self.outcome = Outcome::Staged(waiting);
        }
        Ok(())
    }

    /// New versions of what is edited, and of what the edit takes the signatures from.
    fn change(&self, mut change: Change, edits: &Edits, now: Timestamp) -> Result<Change, Refusal> {
        if let Some(root) = &edits.root {
            let mut root = root.clone();
            self.renew(&mut root.header, Role::Root, now)?;
            change.next.insert(Role::Root, Envelope::unsigned(&root)?);
        }
        for (role, targets) in &edits.roles {
            let mut targets = targets.clone();
            if *role == Role::Releases {
                self.list(&mut targets, edits, now)?;
            }
            targets.targets.values_mut().for_each(TargetFile::only_sha256);
            self.renew(&mut targets.header, *role, now)?;
            change.next.insert(*role, Envelope::unsigned(&targets)?);
        }
        edits.files.iter().for_each(|(path, bytes)| change.put_file(path, bytes));
        change.artifacts.extend(edits.artifacts.iter().cloned());
        change.base = self.base(&change);
        // What a key signed that is no key of the role any more is signed again by those that are.
        for role in Role::TARGETS {
            let (Some(envelope), false) = (self.state.envelopes.get(&role), change.next.contains_key(&role)) else { continue };
            let stays = |quorum: &Quorum| -> Result<bool, Refusal> {
                let known = |signature: &crate::metadata::Signature| quorum.keys.contains_key(&signature.keyid);
                Ok(quorum.met(envelope)? && envelope.signatures.iter().all(known))
            };
            let mut holds = true;
            for (_, quorum) in change.quorums(role)? {
                holds &= stays(&quorum)?;
            }
            if !holds {
                let mut targets: Targets = envelope.read(role.name())?;
                self.renew(&mut targets.header, role, now)?;
                change.next.insert(role, Envelope::unsigned(&targets)?);
                change.base = self.base(&change);
            }
        }
        change.nodes = self.index_files(&change, &edits.nodes)?;
        change.tidy()?;
        Ok(change)
    }

    /// What is published of the roles that a change is about, and of those that say who signs.
    pub(crate) fn base(&self, change: &Change) -> BTreeMap<Role, Envelope> {
        let about = |role: &Role| change.next.contains_key(role) || matches!(role, Role::Root | Role::Targets);
        self.state.envelopes.iter().filter(|(role, _)| about(role)).map(|(role, envelope)| (*role, envelope.clone())).collect()
    }

    /// Signs with the keys that are here as far as signatures are missing; those that need no password first.
    pub(crate) fn sign_here(&mut self, change: &mut Change) -> Result<(), Refusal> {
        for role in change.next.keys().copied().collect::<Vec<_>>() {
            for (_, quorum) in change.quorums(role)? {
                quorum.keys.values().try_for_each(|key| self.keys.ask_for(key))?;
                let mut candidates: Vec<_> = quorum.keys.iter().filter(|(_, key)| self.keys.has(key)).collect();
                candidates.sort_by_key(|(_, key)| !self.keys.is_open(key));
                for (id, public) in candidates {
                    let Some(envelope) = change.next.get_mut(&role) else { continue };
                    if quorum.met(envelope)? {
                        break;
                    }
                    if let Some(key) = self.keys.open(public)? {
                        envelope.sign(id, key)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One version more than is published.
    pub(crate) fn renew(&self, header: &mut Header, role: Role, now: Timestamp) -> Result<(), Refusal> {
        header.version = self.state.header(role).map_or(0, |out| out.version).saturating_add(1);
        header.expires = expiry(now, self.days.of(role))?;
        Ok(())
    }
}
