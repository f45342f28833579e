//! A change that waits for signatures: one file that is carried from key to key.
//!
//! It holds what is to be signed, the signatures so far, and what is published now, so that whoever signs sees the difference.
//! What is published is verified by its own signatures; whether it is *this* repository's, the signer's own signature under it
//! tells, or a copy of the repository (`--against`).

use crate::error::{REPOSITORY, STAGED, file};
use crate::files;
use crate::index;
use crate::keys::SecretKey;
use crate::metadata::{Envelope, Root, TargetFile, Targets};
use crate::quorum::Quorum;
use crate::role::Role;
use crate::state::{State, quorum};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use slipway_protocol::index::{build, node_place, target};
use slipway_protocol::{ComponentName, Refusal, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// The format that this program writes.
const FORMAT: u32 = 1;

/// What roles shall say from now on.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    pub(crate) root: Option<Root>,
    pub(crate) roles: BTreeMap<Role, Targets>,
    /// New targets by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Files of indexes, by their place below `public/targets/`.
    pub(crate) nodes: BTreeMap<String, Vec<u8>>,
    /// Artifacts that wait below `staged/`, by their place below `public/`.
    pub(crate) artifacts: Vec<String>,
}

impl Edits {
    /// Lets the role `releases` sign for the index of exactly these releases; for none, if there are none.
    pub(crate) fn set_index(&mut self, targets: &mut Targets, component: &ComponentName, releases: &index::Releases) {
        let (root, files) = build(releases);
        if let Some(bytes) = files.get(&root) {
            targets.targets.insert(target(component), TargetFile::of(bytes));
        }
        self.nodes.extend(files.into_iter().map(|(sha256, bytes)| (node_place(component, &sha256), bytes)));
    }
}

/// New versions of some roles, with the signatures so far.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The format.
    #[serde(rename = "slipway-change")]
    format: u32,
    /// What is published: root, targets, and every role that changes. Empty before the first publication.
    pub(crate) base: BTreeMap<Role, Envelope>,
    /// What shall be.
    pub(crate) next: BTreeMap<Role, Envelope>,
    /// New targets, Base64, by target path: small files, so that whoever signs can see them.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Files of indexes by their place below `public/targets/`: those that are new, and those that a signer needs to see which
    /// releases come and go.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) nodes: BTreeMap<String, String>,
    /// Artifacts that are published with it, by their place below `public/`.
    #[serde(default)]
    pub(crate) artifacts: Vec<String>,
}

impl Default for Change {
    fn default() -> Self {
        Self {
            format: FORMAT,
            base: BTreeMap::new(),
            next: BTreeMap::new(),
            files: BTreeMap::new(),
            nodes: BTreeMap::new(),
            artifacts: Vec::new(),
        }
    }
}

/// A role that has not enough signatures yet.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Waiting {
    /// The role.
    pub role: Role,
    /// The version that waits.
    pub version: u64,
    /// Under which keys: those of the published root, when those who sign roots change.
    pub by_old_keys: bool,
    /// How many must sign.
    pub threshold: u32,
    /// Who has.
    pub signed: Vec<String>,
    /// Of whom the rest must come.
    pub unsigned: Vec<String>,
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let missing = self.threshold.saturating_sub(u32::try_from(self.signed.len()).unwrap_or(u32::MAX));
        let old = if self.by_old_keys { ", as the published root has it" } else { "" };
        let signed = if self.signed.is_empty() { "none".to_owned() } else { self.signed.join(", ") };
        write!(f, "{} version {}: ", self.role, self.version)?;
        write!(f, "{missing} more of {}{old} (signed so far: {signed})", self.unsigned.join(", "))
    }
}

impl Change {
    /// Reads a change from where it is carried.
    ///
    /// # Errors
    /// `SLW-O-STAGED` when it is none.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let bytes = files::read(path)?;
        let bad = |error: &dyn std::fmt::Display| {
            STAGED.with(format_args!("{}: {error}", path.display()), "a change written by `slipway`")
        };
        let change: Self = slipway_protocol::json::parse(&bytes, crate::metadata::OWN_LIMITS).map_err(|error| bad(&error))?;
        if change.format != FORMAT {
            return Err(bad(&format_args!("format {}", change.format)));
        }
        change.check()?;
        Ok(change)
    }

    /// Writes it in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Refusal> {
        let (folder, name) = files::split(path)?;
        files::write(folder, name, &files::to_json(self)?).map(drop)
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Whether nothing is published yet.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.base.is_empty()
    }

    /// What is published is properly signed, what is new follows it, and files are those that are signed for.
    fn check(&self) -> Result<(), Refusal> {
        if !self.base.is_empty() {
            let (root, targets): (Root, Targets) = (of(&self.base, Role::Root)?, of(&self.base, Role::Targets)?);
            for (role, envelope) in &self.base {
                // Under an interrupted publication of a root, targets may still be signed by the keys that it replaced.
                if !quorum(&root, &targets, *role)?.met(envelope)? && !self.next.contains_key(role) {
                    return Err(STAGED.with(format_args!("{role} of the published state"), "the signatures of its keys"));
                }
            }
        }
        for (role, envelope) in &self.next {
            let published = self.base.get(role).map_or(0, Envelope::version);
            if !Role::BY_HAND.contains(role) || envelope.version() != published.saturating_add(1) {
                return Err(STAGED.with(format_args!("{role} version {}", envelope.version()), published.saturating_add(1)));
            }
        }
        for (place, text) in &self.nodes {
            if !place.ends_with(&format!("/{}.index", Sha256::of(text.as_bytes()))) {
                return Err(STAGED.with(format_args!("other bytes of {place}"), "those of its digest"));
            }
        }
        for path in self.files.keys() {
            let bytes = self.file(path)?.unwrap_or_default();
            if !self.signs_for(path, &bytes)? {
                return Err(STAGED.with(format_args!("bytes of {path} that are not the signed ones"), "the signed ones"));
            }
        }
        Ok(())
    }

    fn signs_for(&self, path: &str, bytes: &[u8]) -> Result<bool, Refusal> {
        let known = TargetFile::of(bytes);
        for role in Role::TARGETS {
            if let Some(envelope) = self.next.get(&role) {
                let targets: Targets = envelope.read(role.name())?;
                if targets.targets.get(path) == Some(&known) {
                    return Ok(true);
                }
            }
        }
        let (Some((component, version)), Some(envelope)) = (index::of_manifest(path), self.next.get(&Role::Releases)) else {
            return Ok(false);
        };
        let Some(root) = index::root(&envelope.read("releases")?, &component)? else { return Ok(false) };
        // What is not carried did not change, so it does not lead to anything new.
        let Ok(found) = index::find(&component, &root, &version, &|sha256| self.node(&component, sha256)) else {
            return Ok(false);
        };
        Ok(found.is_some_and(|found| found.sha256 == Sha256::of(bytes)))
    }

    /// A new target's bytes.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let decode =
            |text: &String| STANDARD.decode(text).map_err(|error| STAGED.with(format_args!("{path}: {error}"), "Base64"));
        self.files.get(path).map(decode).transpose()
    }

    /// Every new target's path.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub(crate) fn put_file(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.to_owned(), STANDARD.encode(bytes));
    }

    /// Forgets files that nothing signs for any more.
    pub(crate) fn tidy(&mut self) -> Result<(), Refusal> {
        let paths: Vec<String> = self.files.keys().cloned().collect();
        for path in paths {
            let bytes = self.file(&path)?.unwrap_or_default();
            if !self.signs_for(&path, &bytes)? {
                self.files.remove(&path);
            }
        }
        Ok(())
    }

    /// A role as it shall be, or as it is.
    fn latest<T: serde::de::DeserializeOwned>(&self, role: Role) -> Result<T, Refusal> {
        if self.next.contains_key(&role) { of(&self.next, role) } else { of(&self.base, role) }
    }

    /// Whether this key signed the published root: then its holder has seen this repository before.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when the root is not well formed.
    pub fn is_known_to(&self, key: &SecretKey) -> Result<bool, Refusal> {
        let Some(envelope) = self.base.get(&Role::Root) else { return Ok(false) };
        let keys = [(key.id().to_owned(), key.public().clone())].into();
        Quorum { keys, threshold: 1 }.met(envelope)
    }

    /// Compares what the file says is published with a copy of the repository (or of its `metadata` folder).
    ///
    /// # Errors
    /// `SLW-O-STAGED` when it is something else.
    pub fn compare(&self, copy: &Path) -> Result<(), Refusal> {
        let below = copy.join("public/metadata");
        let state = State::load(if below.is_dir() { &below } else { copy })?;
        match self.base.iter().find(|(role, envelope)| state.envelopes.get(role) != Some(envelope)) {
            Some((role, _)) => Err(STAGED.with(format_args!("another published {role}"), copy.display())),
            None => Ok(()),
        }
    }

    /// All that must sign a role: for the root its own keys and those of the root before it.
    pub(crate) fn quorums(&self, role: Role) -> Result<Vec<(bool, Quorum)>, Refusal> {
        let mut all = vec![(false, quorum(&self.latest(Role::Root)?, &self.latest(Role::Targets)?, role)?)];
        if role == Role::Root && !self.base.is_empty() {
            let old: Root = of(&self.base, Role::Root)?;
            all.push((true, quorum(&old, &self.latest(Role::Targets)?, role)?));
        }
        Ok(all)
    }

    /// Whose signatures are still missing; nobody's when it can be published.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when a role is not well formed.
    pub fn waiting(&self) -> Result<Vec<Waiting>, Refusal> {
        let mut waiting = Vec::new();
        for (role, envelope) in &self.next {
            for (by_old_keys, quorum) in self.quorums(*role)? {
                if quorum.met(envelope)? {
                    continue;
                }
                let signed = quorum.signed(envelope)?;
                let label = |wanted: bool| {
                    let chosen = quorum.keys.iter().filter(|(id, _)| signed.contains(id) == wanted);
                    chosen.map(|(_, key)| key.called()).collect()
                };
                waiting.push(Waiting {
                    role: *role,
                    version: envelope.version(),
                    by_old_keys,
                    threshold: quorum.threshold,
                    signed: label(true),
                    unsigned: label(false),
                });
            }
        }
        Ok(waiting)
    }

    /// Signs every role that this key has a say in. Returns them.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when a role is not well formed.
    pub fn sign(&mut self, key: &SecretKey) -> Result<Vec<Role>, Refusal> {
        let mut signed = Vec::new();
        for role in self.next.keys().copied().collect::<Vec<_>>() {
            let quorums = self.quorums(role)?;
            let Some(envelope) = self.next.get_mut(&role) else { continue };
            let mut ids: Vec<String> = Vec::new();
            for (_, quorum) in &quorums {
                let mine = |known: &crate::public_key::PublicKey| known.spki().is_ok_and(|spki| spki == key.spki());
                ids.extend(quorum.keys.iter().find(|(_, known)| mine(known)).map(|(id, _)| id.clone()));
            }
            ids.dedup();
            ids.iter().try_for_each(|id| envelope.sign(id, key))?;
            if !ids.is_empty() {
                signed.push(role);
            }
        }
        Ok(signed)
    }

    /// Takes the signatures of a copy that comes back. How many were new.
    ///
    /// # Errors
    /// `SLW-O-STAGED` when the copy says something else, or a signature in it is not valid.
    pub fn merge(&mut self, copy: &Self) -> Result<usize, Refusal> {
        let mut new: usize = 0;
        for (role, theirs) in &copy.next {
            let quorums = self.quorums(*role)?;
            let Some(ours) = self.next.get_mut(role).filter(|ours| ours.signed == theirs.signed) else {
                let what = format_args!("another {role} version {}", theirs.version());
                return Err(STAGED.with(what, "a copy of the change that waits in this repository"));
            };
            for signature in &theirs.signatures {
                if ours.signatures.contains(signature) {
                    continue;
                }
                let alone = Envelope { signatures: vec![signature.clone()], signed: ours.signed.clone() };
                let mut valid = false;
                for (_, quorum) in &quorums {
                    valid |= !quorum.signed(&alone)?.is_empty();
                }
                if !valid {
                    let what = format_args!("{role}: a signature by key {}", signature.keyid);
                    return Err(STAGED.with(what, "valid signatures of keys that must sign"));
                }
                ours.signatures.retain(|known| known.keyid != signature.keyid);
                ours.signatures.push(signature.clone());
                new = new.saturating_add(1);
            }
        }
        Ok(new)
    }
}

impl Change {
    /// What the index of a component says otherwise than the published one, from the files that the change carries.
    pub(crate) fn index_changes(&self, component: &ComponentName) -> Result<index::Differences, Refusal> {
        let of = |envelopes: &BTreeMap<Role, Envelope>| match envelopes.get(&Role::Releases) {
            Some(envelope) => index::root(&envelope.read("releases")?, component),
            None => Ok(None),
        };
        index::differences(component, of(&self.base)?, of(&self.next)?, &|sha256| self.node(component, sha256))
    }

    /// A file of an index that the change carries.
    pub(crate) fn node(&self, component: &ComponentName, sha256: &Sha256) -> Result<Vec<u8>, Refusal> {
        let place = node_place(component, sha256);
        let text = self.nodes.get(&place);
        text.map(|text| text.clone().into_bytes()).ok_or_else(|| STAGED.with(format_args!("no {place}"), "all of what changes"))
    }
}

fn of<T: serde::de::DeserializeOwned>(envelopes: &BTreeMap<Role, Envelope>, role: Role) -> Result<T, Refusal> {
    envelopes.get(&role).ok_or_else(|| REPOSITORY.with(format_args!("no {role}"), role))?.read(role.name())
}

/// Removes a change that was published or is not wanted.
pub(crate) fn remove(folder: &Path) -> Result<(), Refusal> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file(folder, &error)),
        _ => Ok(()),
    }
}
