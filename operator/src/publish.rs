//! Publishes signed metadata so that after a power cut at any moment devices accept the repository.
//!
//! Every file but `timestamp.json` has a name of its own for every version. New files are written and synced first, and
//! `timestamp.json` takes its name last, in one step. One case needs more: a root that replaces the keys under the published
//! timestamp, snapshot or targets. Neither order of the two renames would do, so a whole new folder is made (of hard links) and
//! exchanged with the old one in one step.

use crate::error::{EXPIRES, KEY, SELF_CHECK, TIME, file};
use crate::files;
use crate::index;
use crate::metadata::{Envelope, Header, Pin};
use crate::public_key::PublicKey;
use crate::quorum::Quorum;
use crate::repo::{Outcome, Repo};
use crate::role::{Lifetimes, Role};
use crate::staged::Change;
use crate::state::{State, quorum};
use jiff::{SignedDuration, Timestamp};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use slipway_protocol::Refusal;
use slipway_verify::tuf::{FetchResult, Floors, Refresh, Rules, Step, Stored};
use std::fs;
use std::io;
use std::path::Path;

/// Metadata files in the order in which they are written: the timestamp last.
pub(crate) type NewFiles = Vec<(String, Vec<u8>)>;

impl Repo {
    /// Whether snapshot and timestamp can be signed here, as this change has their keys.
    pub(crate) fn online_keys_are_here(&self, change: &Change) -> Result<bool, Refusal> {
        let mut next = self.state.clone();
        change.next.iter().try_for_each(|(role, envelope)| next.apply(*role, envelope.clone()))?;
        for role in Role::ONLINE {
            let quorum = next.quorum(role)?;
            let here = quorum.keys.values().filter(|key| self.keys.has(key)).count();
            if !u32::try_from(here).is_ok_and(|here| here >= quorum.threshold) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Publishes a complete change: signs snapshot and timestamp first, so that a missing key changes nothing, shows it to the
    /// device's own code, then writes new files, and the timestamp last of all.
    pub(crate) fn publish_change(&mut self, change: &Change, now: Timestamp) -> Result<(), Refusal> {
        for (role, envelope) in &change.next {
            let header: Header = envelope.read(role.name())?;
            if header.expires <= now {
                let seen = format_args!("{role} version {} expired at {} while it waited", header.version, header.expires);
                return Err(EXPIRES.with(seen, format_args!("a later expiry: `slipway renew {role}`, and sign again")));
            }
        }
        let mut next = self.state.clone();
        let mut new = NewFiles::new();
        for (role, envelope) in change.next.iter().filter(|(role, _)| **role != Role::Root) {
            let bytes = envelope.to_bytes()?;
            next.snapshot.meta.insert(format!("{role}.json"), Pin::of(envelope.version(), &bytes));
            new.push((format!("{}.{role}.json", envelope.version()), bytes));
            next.apply(*role, envelope.clone())?;
        }
        let root = change.next.get(&Role::Root);
        if let Some(envelope) = root {
            next.apply(Role::Root, envelope.clone())?;
        }
        lives_too_long(&next, now)?;
        let life = i64::from(self.days.snapshot).saturating_mul(24);
        let left = self.state.snapshot.header.expires.duration_since(now).as_hours();
        // One that lives longer was signed while this clock was ahead.
        let lasts = (life.div_euclid(2)..=life).contains(&left);
        let kept = self.state.envelopes.get(&Role::Snapshot).filter(|_| change.is_empty() && lasts);
        if kept.is_none_or(|kept| next.quorum(Role::Snapshot).and_then(|quorum| quorum.met(kept)) != Ok(true)) {
            self.renew(&mut next.snapshot.header, Role::Snapshot, now)?;
            let envelope =
                self.sign_online(Role::Snapshot, &next.quorum(Role::Snapshot)?, Envelope::unsigned(&next.snapshot)?)?;
            let bytes = envelope.to_bytes()?;
            next.timestamp.meta = [("snapshot.json".to_owned(), Pin::of(envelope.version(), &bytes))].into();
            new.push((format!("{}.snapshot.json", envelope.version()), bytes));
            next.apply(Role::Snapshot, envelope)?;
        }
        if let Some(envelope) = root {
            new.push((format!("{}.root.json", envelope.version()), envelope.to_bytes()?));
        }
        self.renew(&mut next.timestamp.header, Role::Timestamp, now)?;
        let quorum = next.quorum(Role::Timestamp)?;
        let envelope = self.sign_online(Role::Timestamp, &quorum, Envelope::unsigned(&next.timestamp)?)?;
        new.push(("timestamp.json".to_owned(), envelope.to_bytes()?));
        next.apply(Role::Timestamp, envelope)?;

        self_check(&self.metadata_dir(), &new)?;
        self.bring_out(change, &next)?;
        if self.breaks_what_is_out(&next)? {
            at_once(&self.metadata_dir(), &self.dir.join("staged/metadata"), &new)?;
        } else {
            in_order(&self.metadata_dir(), &new)?;
        }
        self.state = next;
        self.outcome = Outcome::Published;
        // It is out. What cannot be removed now costs space only, and the next publication tries again.
        let _left = self.prune_metadata();
        Ok(())
    }

    /// Artifacts and targets first: nothing names them yet.
    fn bring_out(&self, change: &Change, next: &State) -> Result<(), Refusal> {
        for place in &change.artifacts {
            let from = self.dir.join("staged").join(place);
            if from.is_file() {
                files::rename(&from, &self.public_dir().join(place))?;
            }
        }
        for path in change.paths() {
            let (Some(place), Some(bytes)) = (self.place_of(change, next, path)?, change.file(path)?) else { continue };
            let place = self.public_dir().join("targets").join(place);
            let (folder, name) = files::split(&place)?;
            files::write(folder, name, &bytes)?;
        }
        for (place, text) in &change.nodes {
            let place = self.public_dir().join("targets").join(place);
            if !place.is_file() {
                let (folder, name) = files::split(&place)?;
                files::write(folder, name, text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Where a new target goes, below `public/targets/`; nowhere if nothing signs for it.
    fn place_of(&self, change: &Change, next: &State, path: &str) -> Result<Option<String>, Refusal> {
        if let Some(known) = next.roles.values().find_map(|role| role.targets.get(path)) {
            return Ok(Some(known.place(path)));
        }
        let (Some((component, version)), Some(releases)) = (index::of_manifest(path), next.roles.get(&Role::Releases)) else {
            return Ok(None);
        };
        let Some(root) = index::root(releases, &component)? else { return Ok(None) };
        let found = index::find(&component, &root, &version, &|sha256| change.node(&component, sha256))?;
        Ok(found.map(|found| found.place))
    }

    /// Whether the new root takes its signatures from metadata that is published.
    fn breaks_what_is_out(&self, next: &State) -> Result<bool, Refusal> {
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            if let Some(out) = self.state.envelopes.get(&role)
                && !quorum(&next.root, self.state.targets()?, role)?.met(out)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn sign_online(&mut self, role: Role, quorum: &Quorum, mut envelope: Envelope) -> Result<Envelope, Refusal> {
        quorum.keys.values().try_for_each(|key| self.keys.ask_for(key))?;
        for (id, public) in &quorum.keys {
            if quorum.met(&envelope)? {
                break;
            }
            if let Some(key) = self.keys.open(public)? {
                envelope.sign(id, key)?;
            }
        }
        if !quorum.met(&envelope)? {
            let keys: Vec<String> = quorum.keys.values().map(PublicKey::label).collect();
            return Err(KEY.with(
                format_args!("role {role}: {} of its keys", envelope.signatures.len()),
                format_args!("{} of {}", quorum.threshold, keys.join(", ")),
            ));
        }
        Ok(envelope)
    }
}

/// Refuses roles that people sign which expire later than devices take, from before there was a
/// bound or from a clock that was ahead.
fn lives_too_long(state: &State, now: Timestamp) -> Result<(), Refusal> {
    let expires = |role: Role| state.header(role).map_or(now, |header| header.expires);
    let most = |role: Role| SignedDuration::from_hours(i64::from(Lifetimes::longest(role)).saturating_mul(24));
    let too_long = Role::BY_HAND.into_iter().filter(|role| expires(*role).duration_since(now) > most(*role));
    let (seen, roles): (Vec<String>, Vec<&str>) =
        too_long.map(|role| (format!("{role} expires at {}", expires(role)), role.name())).unzip();
    let Some(role) = roles.first().and_then(|role| role.parse().ok()) else { return Ok(()) };
    let wanted = format!(
        "at most {} days after {now:.0}, or devices refuse it: `slipway renew REPO {}`",
        Lifetimes::longest(role),
        roles.join(" ")
    );
    Err(TIME.with(seen.join(", "), wanted))
}

/// What a device born with the first root would say to the folder with these files in it.
fn self_check(metadata: &Path, new: &NewFiles) -> Result<(), Refusal> {
    let get = |name: &str| match new.iter().find(|(known, _)| known == name) {
        Some((_, bytes)) => Some(bytes.clone()),
        None => fs::read(metadata.join(name)).ok(),
    };
    let refused = |why: Refusal| SELF_CHECK.with(&why, "metadata that every device accepts");
    let first =
        get("1.root.json").ok_or_else(|| SELF_CHECK.with("no 1.root.json", "the root that devices are installed with"))?;
    let mut refresh = Refresh::begin(&first, Stored::default(), &Floors::default(), Rules::accepted_before()).map_err(refused)?;
    loop {
        match refresh.step() {
            Step::Fetch(fetch) => match get(&fetch.path) {
                Some(bytes) => refresh.answer(FetchResult::Bytes(&bytes)).map_err(refused)?,
                None => refresh.answer(FetchResult::Missing).map_err(refused)?,
            },
            Step::Store { .. } => {}
            Step::Done => return refresh.finish().map(drop).map_err(refused),
        }
    }
}

/// Writes the files one by one, in order.
fn in_order(metadata: &Path, new: &NewFiles) -> Result<(), Refusal> {
    new.iter().try_for_each(|(name, bytes)| files::write(metadata, name, bytes).map(drop))
}

/// Exchanges the whole folder; in order where the file system cannot. `scratch` is a folder on the same file system.
fn at_once(metadata: &Path, scratch: &Path, new: &NewFiles) -> Result<(), Refusal> {
    crate::staged::remove(scratch)?;
    fs::create_dir_all(scratch).map_err(|error| file(scratch, &error))?;
    let mode = fs::metadata(metadata).map_err(|error| file(metadata, &error))?.permissions();
    fs::set_permissions(scratch, mode).map_err(|error| file(scratch, &error))?;
    let linked = link_all(metadata, scratch);
    if linked.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::CrossesDevices) {
        linked.map_err(|error| file(scratch, &error))?;
    } else if linked.is_ok() {
        in_order(scratch, new)?;
        let exchanged = renameat2(AT_FDCWD, scratch, AT_FDCWD, metadata, RenameFlags::RENAME_EXCHANGE);
        if exchanged.is_ok() {
            for folder in [metadata, scratch].into_iter().filter_map(Path::parent) {
                files::sync_folder(folder)?;
            }
            return crate::staged::remove(scratch);
        }
    }
    crate::staged::remove(scratch)?;
    in_order(metadata, new)
}

fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // What an interrupted write left has a dot in front.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            fs::hard_link(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
