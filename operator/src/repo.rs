//! The repository's folder: `public/` is what a web server serves, `keys/` is what must not leave.
//!
//! ```text
//! public/metadata/   1.root.json  7.snapshot.json  3.targets.json  5.releases.json  9.channels.json  timestamp.json
//! public/targets/    policies/<digest>.edgecore.toml  releases/edgecore/<digest>.v1.23.1.json  …
//! public/artifacts/  edgecore/v1.23.1/<digest>.kubeedge-v1.23.1-linux-amd64.tar.gz
//! keys/              the keys that are here, each with its public half beside it: root.pem, root.pub, …
//! staged/            change.json: what waits for signatures. It is not public before it has all of them
//! slipway.toml       how many days each role lives
//! ```
//!
//! Every change goes one way: what roles shall say ([`Edits`]) becomes new versions, signed by the keys that are here. With all
//! signatures it is published; without, it waits in `staged/` for `slipway sign` and `slipway publish`.

use crate::authority::{Authority, RoleOptions};
use crate::error::{BUSY, EXISTS, KEY, REPOSITORY, STAGED, TIME, WAITING, file};
use crate::files;
use crate::keyring::Keyring;
use crate::keys::{KeyType, Password, SecretKey};
use crate::metadata::{Envelope, Header, Quorum, Root, TargetFile, Targets};
use crate::role::{Lifetimes, Role};
use crate::staged::{self, Change, Waiting};
use crate::state::State;
use jiff::{SignedDuration, Timestamp};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use slipway_protocol::Refusal;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    days: Lifetimes,
}

/// How a repository begins.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// How many days each role lives.
    pub days: Lifetimes,
    /// Keys and thresholds of roles. A role that is not here gets a new key in `keys/`.
    pub roles: BTreeMap<Role, RoleOptions>,
    /// Encrypts the new keys of all roles but snapshot and timestamp, which are used unattended.
    pub password: Option<Password>,
}

/// What became of a change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Outcome {
    /// There was none.
    #[default]
    Nothing,
    /// Devices see it.
    Published,
    /// It waits in `staged/` for these; for none, if only the snapshot and timestamp keys are missing.
    Staged(Vec<Waiting>),
}

/// What roles shall say from now on.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    pub(crate) root: Option<Root>,
    pub(crate) roles: BTreeMap<Role, Targets>,
    /// New targets by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Artifacts that wait below `staged/`, by their place below `public/`.
    pub(crate) artifacts: Vec<String>,
}

/// An open repository; while it is open nobody else can change it.
#[derive(Debug)]
pub struct Repo {
    pub(crate) dir: PathBuf,
    pub(crate) days: Lifetimes,
    pub(crate) keys: Keyring,
    pub(crate) state: State,
    pub(crate) staged: Change,
    pub(crate) outcome: Outcome,
    _lock: Flock<File>,
}

impl Repo {
    /// Makes a repository in `dir`, which must not hold one: version 1 of everything, signed by the keys that are on the ring or
    /// made here. Where those are not enough, everything waits for the first signatures.
    ///
    /// # Errors
    /// `SLW-O-EXISTS`, `SLW-O-ROLE`, or what could not be written.
    pub fn init(dir: &Path, options: &InitOptions, now: Timestamp) -> Result<Self, Refusal> {
        Self::init_with(dir, options, Keyring::default(), now)
    }

    /// [`Self::init`] with keys from elsewhere.
    ///
    /// # Errors
    /// As [`Self::init`].
    pub fn init_with(dir: &Path, options: &InitOptions, mut keys: Keyring, now: Timestamp) -> Result<Self, Refusal> {
        for taken in ["public", "keys", "staged", "slipway.toml"] {
            if dir.join(taken).exists() {
                return Err(EXISTS.with(dir.join(taken).display(), "an empty folder"));
            }
        }
        options.days.check()?;
        let mut roles = options.roles.clone();
        let mut made = Vec::new();
        for role in Role::ALL {
            let options = roles.entry(role).or_insert_with(|| RoleOptions { keys: Vec::new(), threshold: 1 });
            if options.keys.is_empty() {
                let key = SecretKey::generate(KeyType::P256)?.named(role.name());
                options.keys.push(key.public().clone());
                made.push((role, key));
            }
        }
        let state = State::unpublished();
        let mut authority = Authority { root: state.root.clone(), targets: state.targets()?.clone() };
        authority.set(&roles)?;

        fs::create_dir_all(dir).map_err(|error| file(dir, &error))?;
        let lock = lock(dir)?;
        let secrets = dir.join("keys");
        DirBuilder::new().mode(0o700).create(&secrets).map_err(|error| file(&secrets, &error))?;
        for (role, key) in made {
            let password = options.password.as_ref().filter(|_| !Role::ONLINE.contains(&role));
            key.write(&secrets.join(format!("{role}.pem")), password)?;
            keys.add(key);
        }
        let settings = toml::to_string(&Settings { days: options.days }).map_err(|error| REPOSITORY.with(error, "settings"))?;
        files::write(dir, "slipway.toml", settings.as_bytes())?;
        let mut edits = Edits { root: Some(authority.root), roles: state.roles.clone(), ..Edits::default() };
        edits.roles.insert(Role::Targets, authority.targets);
        let (staged, outcome) = (Change::default(), Outcome::default());
        let mut repo = Self { dir: dir.to_owned(), days: options.days, keys, state, staged, outcome, _lock: lock };
        repo.commit(edits, now)?;
        Ok(repo)
    }

    /// Opens a repository for use by this program alone, with the keys in its `keys` folder.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY`, `SLW-O-BUSY`, `SLW-O-KEY`.
    pub fn open(dir: &Path) -> Result<Self, Refusal> {
        Self::open_with(dir, Keyring::default())
    }

    /// [`Self::open`] with more keys, and a way to ask for passwords.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(dir: &Path, mut keys: Keyring) -> Result<Self, Refusal> {
        let (metadata, staged) = (dir.join("public/metadata"), dir.join("staged/change.json"));
        let published = metadata.join("timestamp.json").is_file();
        if !published && !staged.is_file() {
            return Err(REPOSITORY.with(format_args!("no {}", metadata.join("timestamp.json").display()), "a repository"));
        }
        let lock = lock(dir)?;
        let text = String::from_utf8_lossy(&files::read(&dir.join("slipway.toml"))?).into_owned();
        let settings: Settings = toml::from_str(&text)
            .map_err(|error| REPOSITORY.with(format_args!("slipway.toml: {error}"), "days for each role"))?;
        settings.days.check()?;
        let state = if published { State::load(&metadata)? } else { State::unpublished() };
        let mut change = if staged.is_file() { Change::read(&staged)? } else { Change::default() };
        // What an interrupted publication brought out already no longer waits.
        change.next.retain(|role, envelope| state.envelopes.get(role).is_none_or(|out| out.signed != envelope.signed));
        keys.add_folder(&dir.join("keys"))?;
        let mut repo = Self {
            dir: dir.to_owned(),
            days: settings.days,
            keys,
            state,
            staged: change,
            outcome: Outcome::default(),
            _lock: lock,
        };
        repo.staged.base = repo.base(&repo.staged);
        Ok(repo)
    }

    /// Adds or replaces a component's policy: what its provenance must say. Devices with another opinion keep refusing.
    ///
    /// # Errors
    /// When the policy does not parse, or nothing can be written.
    pub fn add_policy(&mut self, policy: &[u8], now: Timestamp) -> Result<String, Refusal> {
        let text = std::str::from_utf8(policy).map_err(|error| REPOSITORY.with(error, "a policy in UTF-8"))?;
        let parsed = slipway_verify::Policy::parse(text)?;
        let path = format!("policies/{}.toml", parsed.component());
        self.put(Role::Targets, &path, policy, Vec::new(), now)?;
        Ok(path)
    }

    /// Adds or replaces Sigstore's trusted root, by which devices judge who signed provenance, and when.
    ///
    /// # Errors
    /// When it does not parse, or nothing can be written.
    pub fn add_sigstore_root(&mut self, trusted_root: &[u8], now: Timestamp) -> Result<(), Refusal> {
        slipway_verify::SigstoreRoot::parse(trusted_root)?;
        self.put(Role::Targets, SIGSTORE_ROOT, trusted_root, Vec::new(), now)
    }

    /// The folder that a web server serves.
    #[must_use]
    pub fn public_dir(&self) -> PathBuf {
        self.dir.join("public")
    }

    /// The folder with metadata, below [`Self::public_dir`].
    #[must_use]
    pub fn metadata_dir(&self) -> PathBuf {
        self.dir.join("public/metadata")
    }

    /// The root that devices are born with: version 1, from which every newer one follows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn initial_root(&self) -> Result<Vec<u8>, Refusal> {
        files::read(&self.metadata_dir().join("1.root.json"))
    }

    /// The timestamp's version, for notices.
    #[must_use]
    pub fn timestamp_version(&self) -> u64 {
        self.state.timestamp.header.version
    }

    /// A target's bytes, if it is signed for and intact.
    ///
    /// # Errors
    /// When the file is unreadable or is not what was signed.
    pub fn target(&self, path: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(known) = self.state.roles.values().find_map(|role| role.targets.get(path)) else { return Ok(None) };
        let place = self.public_dir().join("targets").join(known.place(path));
        let bytes = files::read(&place)?;
        if TargetFile::of(&bytes) != *known {
            return Err(REPOSITORY.with(format_args!("{} was changed", place.display()), "the bytes that were signed"));
        }
        Ok(Some(bytes))
    }

    /// Every target path that is signed for, in order.
    pub fn target_paths(&self) -> impl Iterator<Item = &str> {
        self.state.roles.values().flat_map(|role| role.targets.keys()).map(String::as_str)
    }

    /// What became of the last change.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The file with the change that waits for signatures, to be carried to whoever signs.
    #[must_use]
    pub fn staged_file(&self) -> PathBuf {
        self.dir.join("staged/change.json")
    }

    /// The change that waits for signatures.
    #[must_use]
    pub fn staged(&self) -> &Change {
        &self.staged
    }

    /// Whether devices see anything at all: not before the first root has its signatures.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.state.is_published()
    }

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
    pub(crate) fn put(
        &mut self,
        role: Role,
        path: &str,
        bytes: &[u8],
        artifacts: Vec<String>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let mut targets = self.draft(role)?;
        targets.targets.insert(path.to_owned(), TargetFile::of(bytes));
        let files = [(path.to_owned(), bytes.to_vec())].into();
        self.commit(Edits { roles: [(role, targets)].into(), files, artifacts, ..Edits::default() }, now)
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
        self.settle(change, now)
    }

    /// Publishes a change that is complete, and keeps any other.
    pub(crate) fn settle(&mut self, change: Change, now: Timestamp) -> Result<(), Refusal> {
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

    /// Takes one more key, unlocked.
    ///
    /// # Errors
    /// `SLW-O-KEY`, `SLW-O-PASSWORD`.
    pub fn unlock(&mut self, path: &Path) -> Result<(), Refusal> {
        self.keys.unlock_file(path).map(drop)
    }

    /// Adds the signatures of this key to what waits, and publishes it if that completes it. Returns the roles it signed.
    ///
    /// # Errors
    /// `SLW-O-STAGED` when nothing waits, `SLW-O-KEY` when this key has no say.
    pub fn sign(&mut self, key: Option<&SecretKey>, now: Timestamp) -> Result<Vec<Role>, Refusal> {
        if self.staged.is_empty() {
            return Err(STAGED.with("nothing", "a change to sign"));
        }
        let mut change = self.staged.clone();
        let signed = match key {
            Some(key) => change.sign(key)?,
            None => {
                let before = change.next.clone();
                self.sign_here(&mut change)?;
                change.next.iter().filter(|(role, now)| before.get(role) != Some(now)).map(|(role, _)| *role).collect()
            }
        };
        self.settle(change, now)?;
        Ok(signed)
    }

    /// Takes the signatures of copies that come back, and publishes what waits if it has all of them.
    ///
    /// # Errors
    /// `SLW-O-STAGED` for a copy of something else, `SLW-O-WAITING` when signatures are still missing.
    pub fn publish(&mut self, copies: &[PathBuf], now: Timestamp) -> Result<(), Refusal> {
        if self.staged.is_empty() {
            return Err(STAGED.with("nothing", "a change to publish"));
        }
        let mut change = self.staged.clone();
        for copy in copies {
            change.merge(&Change::read(copy)?)?;
        }
        self.settle(change, now)?;
        match &self.outcome {
            Outcome::Staged(waiting) if waiting.is_empty() => Err(KEY.with("not all here", "the snapshot and timestamp keys")),
            Outcome::Staged(waiting) => {
                Err(WAITING.with(waiting.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), "all of them"))
            }
            _ => Ok(()),
        }
    }

    /// Drops what waits for signatures.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&mut self) -> Result<(), Refusal> {
        self.staged = Change::default();
        staged::remove(&self.dir.join("staged"))
    }

    /// Signs snapshot and timestamp again, so that they do not expire; the snapshot only if half its life is over. Returns the
    /// roles that people must sign again soon.
    ///
    /// # Errors
    /// When their keys are not here, and `SLW-O-EXPIRES` when a role that people sign has expired: devices refuse everything then.
    pub fn refresh(&mut self, now: Timestamp) -> Result<Vec<Refusal>, Refusal> {
        if !self.is_published() {
            return Err(WAITING.with("nothing is published yet", "the signatures under the first root"));
        }
        if let Some(expired) = self.expiring(&Role::BY_HAND, 0, now).into_iter().next() {
            return Err(expired);
        }
        self.publish_change(&Change::default(), now)?;
        Ok(self.expiring(&Role::BY_HAND, WARN_DAYS, now))
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
        change.tidy()?;
        Ok(change)
    }

    /// What is published of the roles that a change is about, and of those that say who signs.
    fn base(&self, change: &Change) -> BTreeMap<Role, Envelope> {
        let about = |role: &Role| change.next.contains_key(role) || matches!(role, Role::Root | Role::Targets);
        self.state.envelopes.iter().filter(|(role, _)| about(role)).map(|(role, envelope)| (*role, envelope.clone())).collect()
    }

    /// Signs with the keys that are here as far as signatures are missing; those that need no password first.
    fn sign_here(&mut self, change: &mut Change) -> Result<(), Refusal> {
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

/// How long before a role expires that people sign `refresh` begins to say so: long enough to bring them together.
pub const WARN_DAYS: u32 = 30;

/// The target path of Sigstore's trusted root.
pub const SIGSTORE_ROOT: &str = "sigstore/trusted_root.json";

/// `days` after `now`, in whole seconds as TUF writes them.
fn expiry(now: Timestamp, days: u32) -> Result<Timestamp, Refusal> {
    let bad = |error: jiff::Error| TIME.with(error, format_args!("{days} days after {now}"));
    let later = now.checked_add(SignedDuration::from_hours(i64::from(days).saturating_mul(24))).map_err(bad)?;
    Timestamp::from_second(later.as_second()).map_err(bad)
}

fn lock(dir: &Path) -> Result<Flock<File>, Refusal> {
    let path = dir.join(".lock");
    let opened = File::create(&path).map_err(|error| file(&path, &error))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| BUSY.with(error, path.display()))
}
