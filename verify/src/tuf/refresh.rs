//! The refresh: TUF's client workflow (specification 5.3 to 5.6) as requests and answers.

use super::checks::{
    CACHE, ENDLESS, MISSING, MIX, OFFLINE, ORDER, ROLLBACK, ROOT_CHAIN, ROOT_FORK, STALE, rollback, same_if_same_version,
    unexpired,
};
use super::repository::Repository;
use super::rules::{Expiry, Fetch, FetchResult, Kind, Rules, Step, Wanted};
use super::state::{Floors, Slot, Stored, encode};
use super::verified::{Edge, Newness, Search, Verified};
use jiff::Timestamp;
use sigstore_tuf::{Metadata, Root, Snapshot, Targets};
use slipway_protocol::{Category, Refusal, Sha256};
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Phase {
    Roots,
    Timestamp,
    Snapshot,
    Targets(Edge),
    Done,
    Failed(Refusal),
}

/// A verified file: its floor, and its bytes unless they came from the cache.
#[derive(Clone, Debug)]
struct Loaded {
    slot: Slot,
    version: u64,
    bytes: Option<Vec<u8>>,
}

/// The snapshot that was in force, and the files that it pins as they are in the cache.
#[derive(Clone, Debug)]
struct Before {
    snapshot: Metadata<Snapshot>,
    files: Stored,
}

impl Before {
    /// A targets role as that snapshot pinned it, if the cache has those very bytes.
    fn targets(&self, edge: &Edge) -> Option<Metadata<Targets>> {
        let pinned = self.snapshot.signed().meta.get(&format!("{}.json", edge.role))?.hashes.as_ref()?.get("sha256")?.clone();
        let bytes = self.files.get(&edge.slot());
        (Sha256::of(bytes).to_string() == pinned.to_ascii_lowercase()).then(|| Metadata::from_slice(bytes).ok()).flatten()
    }
}

/// Where bytes came from: what was cached is not written again, flash wears out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    Cache,
    Answer,
}

/// A refresh under way. After a refusal it only says [`Step::Done`], and [`Self::floors`] still holds what was verified before.
#[derive(Clone, Debug)]
pub struct Refresh {
    rules: Rules,
    verified: Verified,
    cached: Stored,
    /// What was verified before this refresh, by keys that still count.
    before: Option<Before>,
    /// As given, and raised only by what the caller must store.
    floors: Floors,
    phase: Phase,
    root_steps: u32,
    outbox: VecDeque<Step>,
    /// Verified, but not to be stored before all is.
    held: Vec<Loaded>,
    notes: Vec<Refusal>,
    locked: Option<Refusal>,
}

impl Refresh {
    /// Begins at the newest trusted root: the cached one if the floors name it, else the initial one.
    ///
    /// ```
    /// use slipway_testkit::tuf::Repository;
    /// use slipway_verify::tuf::{Floors, Refresh, Rules, Step, Stored};
    ///
    /// let now: jiff::Timestamp = "2026-11-30T00:00:00Z".parse().unwrap();
    /// let repository = Repository::bare("2026-12-20T00:00:00Z".parse().unwrap());
    /// let first = &repository.files["1.root.json"];
    /// let mut refresh = Refresh::begin(first, Stored::default(), &Floors::default(), Rules::at(now))?;
    /// // The first question is whether there is a newer root.
    /// assert!(matches!(refresh.step(), Step::Fetch(fetch) if fetch.path == "2.root.json"));
    /// # Ok::<(), slipway_verify::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// When the initial root is unusable, or is another root than the one trusted before.
    pub fn begin(initial_root: &[u8], stored: Stored, floors: &Floors, rules: Rules) -> Result<Self, Refusal> {
        crate::provider::install();
        let verified = Verified::from_root(initial_root, rules.limits)?;
        let mut refresh = Self {
            rules,
            verified,
            cached: stored,
            before: None,
            floors: floors.clone(),
            phase: Phase::Roots,
            root_steps: 0,
            outbox: VecDeque::new(),
            held: Vec::new(),
            notes: Vec::new(),
            locked: None,
        };
        let mut roots = vec![std::mem::take(&mut refresh.cached.root)];
        roots.append(&mut refresh.cached.root_history);
        roots.retain(|bytes| !bytes.is_empty());
        let rotates = refresh.adopt_cached_root(&roots);
        refresh.raise_root_floor(rotates)?;
        refresh.walk_cached_roots(&roots)?;
        Ok(refresh)
    }

    /// Opens what the device has stored, asking nobody: for a start without network, and to verify again what was accepted before.
    ///
    /// # Errors
    /// [`Refusal`] `SLW-T-CACHE` when something is missing or no longer fits together, and every refusal of a refresh.
    pub fn replay(initial_root: &[u8], stored: Stored, floors: &Floors, rules: Rules) -> Result<Repository, Refusal> {
        let timestamp = stored.timestamp.clone();
        let mut refresh = Self::begin(initial_root, stored, floors, rules)?;
        loop {
            match refresh.step() {
                Step::Fetch(fetch) if fetch.ends_root_chain => refresh.answer(FetchResult::Missing)?,
                Step::Fetch(fetch) if fetch.path == "timestamp.json" && !timestamp.is_empty() => {
                    refresh.answer(FetchResult::Bytes(&timestamp)).map_err(of_cache)?;
                }
                Step::Fetch(fetch) => return Err(CACHE.with(format_args!("no usable {}", fetch.path), "a complete cache")),
                Step::Store { .. } => {}
                Step::Done => return refresh.finish(),
            }
        }
    }

    /// What to do next. Asks the same again until it is answered.
    pub fn step(&mut self) -> Step {
        self.outbox.pop_front().or_else(|| self.question().map(Step::Fetch)).unwrap_or(Step::Done)
    }

    /// Takes what came of the fetch that [`Self::step`] asked for.
    ///
    /// # Errors
    /// The refusal that ends this refresh.
    pub fn answer(&mut self, answer: FetchResult<'_>) -> Result<(), Refusal> {
        let taken = self.take(answer);
        if let Err(refusal) = &taken {
            self.phase = Phase::Failed(refusal.clone());
        }
        taken
    }

    /// The floors to keep, now: they rise with every [`Step::Store`] and are valid whatever comes after.
    #[must_use]
    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    /// What was odd so far but did no harm; see [`Repository::notes`].
    #[must_use]
    pub fn notes(&self) -> &[Refusal] {
        &self.notes
    }

    /// The verified repository.
    ///
    /// # Errors
    /// The refusal that ended the refresh, or that it is not at its end.
    pub fn finish(self) -> Result<Repository, Refusal> {
        match self.phase {
            Phase::Done => {
                Ok(Repository { verified: self.verified, floors: self.floors, notes: self.notes, locked: self.locked })
            }
            Phase::Failed(refusal) => Err(refusal),
            _ => Err(ORDER.with("a request is pending", "an answer")),
        }
    }

    fn question(&self) -> Option<Fetch> {
        let limits = &self.rules.limits;
        let consistent = self.verified.root().consistent_snapshot;
        let pinned = |pin: Option<&sigstore_tuf::MetaFile>, name: &str, slot: &Slot, most: u64| {
            let pin = pin?;
            let path = if consistent { format!("{}.{name}.json", pin.version) } else { format!("{name}.json") };
            Some((path, pin.length.unwrap_or(most).min(most).min(self.room(slot))))
        };
        let (path, limit) = match &self.phase {
            Phase::Roots => (format!("{}.root.json", self.verified.root().version.saturating_add(1)), limits.root_bytes),
            Phase::Timestamp => ("timestamp.json".to_owned(), limits.timestamp_bytes),
            Phase::Snapshot => pinned(self.verified.snapshot_pin(), "snapshot", &Slot::Snapshot, limits.snapshot_bytes)?,
            Phase::Targets(edge) => {
                pinned(self.verified.pin(&edge.role), &encode(&edge.role), &edge.slot(), limits.targets_bytes)?
            }
            Phase::Done | Phase::Failed(_) => return None,
        };
        Some(Fetch { path, limit, kind: Kind::Metadata, ends_root_chain: matches!(self.phase, Phase::Roots) })
    }

    /// Bytes that are left of what the metadata below the root may have together, for what comes
    /// into `slot`.
    fn room(&self, slot: &Slot) -> u64 {
        self.rules.limits.total_bytes.saturating_sub(self.verified.bytes().below_root_without(slot))
    }

    fn take(&mut self, answer: FetchResult<'_>) -> Result<(), Refusal> {
        let Some(fetch) = self.question() else {
            return Err(match &self.phase {
                Phase::Failed(refusal) => refusal.clone(),
                _ => ORDER.with("an answer", "no request is pending"),
            });
        };
        let bytes = match answer {
            FetchResult::Bytes(bytes) => bytes,
            FetchResult::Missing if fetch.ends_root_chain => return self.end_roots(),
            FetchResult::Missing => return Err(MISSING.with(fetch.path, "a complete repository")),
            FetchResult::Failed(why) => return Err(STALE.with(format_args!("{}: {why}", fetch.path), "an answer")),
        };
        if u64::try_from(bytes.len()).map_or(true, |len| len > fetch.limit) {
            let total = self.rules.limits.total_bytes;
            let wanted = format!("at most {}; all metadata below the root together at most {total}", fetch.limit);
            return Err(ENDLESS.with(format_args!("{}: {} bytes or more", fetch.path, bytes.len()), wanted));
        }
        match self.phase.clone() {
            Phase::Roots => self.take_root(bytes),
            Phase::Timestamp => {
                self.take_timestamp(bytes)?;
                self.phase = Phase::Snapshot;
                self.finish_role()
            }
            Phase::Snapshot => {
                self.take_snapshot(bytes, Source::Answer)?;
                self.phase = Phase::Targets(Edge::top());
                self.finish_role()
            }
            Phase::Targets(edge) => {
                self.take_targets(&edge, bytes, Source::Answer)?;
                self.next_role()?;
                self.finish_role()
            }
            Phase::Done | Phase::Failed(_) => Ok(()),
        }
    }

    /// Uses the cached root that is the very one that the floors remember, if it is newer than
    /// the initial one. Tells whether the initial root is newer and replaces timestamp or
    /// snapshot keys.
    fn adopt_cached_root(&mut self, roots: &[Vec<u8>]) -> bool {
        let Some(wanted) = self.floors.root_digest.filter(|wanted| *wanted != self.verified.root_digest()) else {
            return false;
        };
        let vouched = |bytes: &Vec<u8>| Verified::from_root(bytes, self.rules.limits).ok();
        match roots.iter().rev().filter_map(vouched).find(|cached| cached.root_digest() == wanted) {
            Some(cached) if cached.root().version > self.verified.root().version => {
                self.verified = cached;
                false
            }
            Some(cached) => cached.rotates(self.verified.root()),
            // The initial root is never stored: there is nothing to miss while it is the newest.
            None => {
                if !roots.is_empty() || self.verified.root().version < self.floors.root {
                    self.notes.push(CACHE.with("root.json", format_args!("root version {}", self.floors.root)));
                }
                false
            }
        }
    }

    /// Goes on where a walk over new roots was cut off before the floors knew of it: those it had
    /// verified are on disk, and are verified again instead of fetched.
    fn walk_cached_roots(&mut self, roots: &[Vec<u8>]) -> Result<(), Refusal> {
        for bytes in roots {
            let next = self.verified.root().version.saturating_add(1);
            let version = Metadata::<Root>::from_slice(bytes).map_or(0, |root| root.signed().version);
            if version != next || self.root_steps >= self.rules.limits.root_steps {
                continue;
            }
            match self.verified.take_root(bytes) {
                Ok(rotates) => {
                    self.root_steps = self.root_steps.saturating_add(1);
                    self.raise_root_floor(rotates)?;
                }
                Err(refusal) => {
                    self.notes.push(CACHE.with(refusal, format_args!("root version {next}")));
                    break;
                }
            }
        }
        Ok(())
    }

    fn take_root(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.root_steps >= self.rules.limits.root_steps {
            return Err(ROOT_CHAIN.with("one more", format_args!("at most {}", self.rules.limits.root_steps)));
        }
        self.root_steps = self.root_steps.saturating_add(1);
        let rotates = self.verified.take_root(bytes)?;
        self.raise_root_floor(rotates)?;
        self.outbox.push_back(Step::Store { slot: Slot::Root, bytes: bytes.to_vec() });
        Ok(())
    }

    /// Remembers the trusted root if it is the newest so far; a different one of the same version is refused.
    fn raise_root_floor(&mut self, rotates: bool) -> Result<(), Refusal> {
        let (version, digest) = (self.verified.root().version, self.verified.root_digest());
        if version == self.floors.root && self.floors.root_digest.is_some_and(|known| known != digest) {
            return Err(ROOT_FORK.with(
                format_args!("root version {version}, {digest}"),
                self.floors.root_digest.map(|known| known.to_string()).unwrap_or_default(),
            ));
        }
        if version > self.floors.root && rotates {
            self.floors.clear_below_root();
            self.cached.timestamp.clear();
            self.cached.snapshot.clear();
        }
        if version >= self.floors.root {
            self.floors.root = version;
            self.floors.root_digest = Some(digest);
        }
        Ok(())
    }

    /// There is no newer root: judge the last one, and load the cached timestamp and snapshot as what may not be undercut.
    fn end_roots(&mut self) -> Result<(), Refusal> {
        let root = self.verified.root();
        if root.version < self.floors.root {
            return Err(rollback("root", root.version, self.floors.root));
        }
        let (version, expires) = (root.version, root.expires);
        self.judge("root", version, expires)?;
        self.phase = Phase::Timestamp;
        let cached = self.cached.clone();
        if cached.timestamp.is_empty() {
            if self.floors.timestamp > 0 {
                self.notes.push(CACHE.with("no timestamp.json", format_args!("version {}", self.floors.timestamp)));
            }
            return Ok(());
        }
        // New roots may have replaced the keys; only without one does a failure here mean damage.
        let seeded = self.verified.take_timestamp(&cached.timestamp).and_then(|_| self.verified.take_snapshot(&cached.snapshot));
        match (seeded, Metadata::from_slice(&cached.snapshot)) {
            (Ok(()), Ok(snapshot)) => self.before = Some(Before { snapshot, files: cached }),
            (Err(refusal), _) if self.root_steps == 0 => {
                self.notes.push(CACHE.with(refusal, "the metadata verified before"));
            }
            _ => {}
        }
        Ok(())
    }

    fn take_timestamp(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let newness = self.verified.take_timestamp(bytes)?;
        let Some(timestamp) = self.verified.timestamp() else { return Err(ORDER.with("no timestamp", "one")) };
        let (version, expires) = (timestamp.version, timestamp.expires);
        if version < self.floors.timestamp {
            return Err(rollback("timestamp", version, self.floors.timestamp));
        }
        let Some(pin) = self.verified.snapshot_pin() else {
            return Err(MIX.with("the timestamp pins no snapshot", "snapshot.json"));
        };
        if pin.version < self.floors.snapshot {
            return Err(rollback("snapshot", pin.version, self.floors.snapshot));
        }
        self.judge("timestamp", version, expires)?;
        if newness == Newness::Forked {
            // The specification (5.4.3) keeps the one we have; that there are two is worth telling.
            self.notes.push(MIX.with(format_args!("another timestamp of version {version}"), "the one verified before"));
        }
        let source = if newness == Newness::Newer { Source::Answer } else { Source::Cache };
        self.keep(Slot::Timestamp, version, bytes, source);
        Ok(())
    }

    fn take_snapshot(&mut self, bytes: &[u8], source: Source) -> Result<(), Refusal> {
        self.verified.take_snapshot(bytes)?;
        if let (Some(before), Ok(new)) = (&self.before, Metadata::from_slice(bytes)) {
            same_if_same_version(&before.snapshot, &new, "snapshot")?;
        }
        let Some(snapshot) = self.verified.snapshot() else { return Err(ORDER.with("no snapshot", "one")) };
        for (role, floor) in &self.floors.targets {
            match self.verified.pin(role) {
                Some(pin) if pin.version >= *floor => {}
                Some(pin) => return Err(rollback(role, pin.version, *floor)),
                None => return Err(ROLLBACK.with(format_args!("the snapshot no longer names {role}"), floor)),
            }
        }
        let (version, expires) = (snapshot.version, snapshot.expires);
        self.judge("snapshot", version, expires)?;
        self.keep(Slot::Snapshot, version, bytes, source);
        Ok(())
    }

    fn take_targets(&mut self, edge: &Edge, bytes: &[u8], source: Source) -> Result<(), Refusal> {
        self.verified.take_targets(edge, bytes)?;
        if let (Some(old), Ok(new)) = (self.before.as_ref().and_then(|before| before.targets(edge)), Metadata::from_slice(bytes))
        {
            same_if_same_version(&old, &new, &edge.role)?;
        }
        let Some(targets) = self.verified.targets(&edge.role) else { return Err(ORDER.with("no targets", "them")) };
        let (version, expires) = (targets.version, targets.expires);
        self.judge(&edge.role, version, expires)?;
        self.keep(edge.slot(), version, bytes, source);
        Ok(())
    }

    /// Whether a role's metadata is of use now: it has not expired, by the clock of now or of an
    /// earlier look, and does not live for longer than it may.
    fn judge(&mut self, role: &str, version: u64, expires: Timestamp) -> Result<(), Refusal> {
        let Rules { now, expiry, keep_expired, max_lifetimes, .. } = &self.rules;
        if *expiry == Expiry::AcceptedBefore {
            return Ok(());
        }
        let Err(refusal) = unexpired(role, version, expires, *now, self.floors.judged_expired(role)) else {
            return max_lifetimes.map_or(Ok(()), |most| most.judge(role, version, expires, *now));
        };
        if *keep_expired && role != "root" {
            self.floors.judge_expired(role, version);
        }
        if *expiry == Expiry::Offline && ["timestamp", "snapshot"].contains(&role) {
            self.locked.get_or_insert(OFFLINE.with(refusal.seen, refusal.wanted));
            return Ok(());
        }
        Err(refusal)
    }

    /// Walks on as far as cached files are still the pinned ones.
    fn finish_role(&mut self) -> Result<(), Refusal> {
        loop {
            match self.phase.clone() {
                Phase::Snapshot => {
                    let bytes = std::mem::take(&mut self.cached.snapshot);
                    if bytes.is_empty() || self.take_snapshot(&bytes, Source::Cache).is_err() {
                        break;
                    }
                    self.phase = Phase::Targets(Edge::top());
                }
                Phase::Targets(edge) => {
                    let bytes = self.cached.get(&edge.slot()).to_vec();
                    self.cached.put(&edge.slot(), Vec::new());
                    // What comes from the cache counts toward the sum like what is fetched, or
                    // the new cache would be too large.
                    let fits = u64::try_from(bytes.len()).is_ok_and(|len| len <= self.room(&edge.slot()));
                    if bytes.is_empty() || !fits || self.take_targets(&edge, &bytes, Source::Cache).is_err() {
                        break;
                    }
                    self.next_role()?;
                }
                _ => break,
            }
        }
        match &self.phase {
            Phase::Snapshot if self.verified.snapshot_pin().is_none() => {
                Err(MIX.with("the timestamp pins no snapshot", "snapshot.json"))
            }
            Phase::Targets(edge) if self.verified.pin(&edge.role).is_none() => {
                Err(MIX.with(format_args!("the snapshot does not name {}", edge.role), format_args!("{}.json", edge.role)))
            }
            Phase::Snapshot => self.fits(self.verified.snapshot_pin(), &Slot::Snapshot),
            Phase::Targets(edge) => self.fits(self.verified.pin(&edge.role), &edge.slot()),
            _ => Ok(()),
        }
    }

    /// Refuses a file whose pinned length is more than the sum leaves, before it is asked for.
    fn fits(&self, pin: Option<&sigstore_tuf::MetaFile>, slot: &Slot) -> Result<(), Refusal> {
        let length = pin.and_then(|pin| pin.length).unwrap_or(0);
        let total = self.rules.limits.total_bytes;
        if length <= self.room(slot) {
            return Ok(());
        }
        let used = self.verified.bytes().below_root_without(slot);
        let seen = format_args!("{}: {length} bytes beside {used} bytes of other metadata", slot.file_name());
        Err(ENDLESS.with(seen, format_args!("at most {total} bytes below the root together")))
    }

    fn next_role(&mut self) -> Result<(), Refusal> {
        let edge = match &self.rules.wanted {
            Wanted::All => self.verified.unloaded()?,
            Wanted::Paths(paths) => {
                let mut needed = None;
                for path in paths {
                    if let Search::Needs(edge) = self.verified.search(path)? {
                        needed = Some(edge);
                        break;
                    }
                }
                needed
            }
        };
        match edge {
            Some(edge) => self.phase = Phase::Targets(edge),
            None => {
                self.phase = Phase::Done;
                self.release();
            }
        }
        Ok(())
    }

    fn keep(&mut self, slot: Slot, version: u64, bytes: &[u8], source: Source) {
        self.held.push(Loaded { slot, version, bytes: (source == Source::Answer).then(|| bytes.to_vec()) });
        if self.rules.store_early {
            self.release();
        }
    }

    /// Raises the floors by what was held, and hands out what is new.
    fn release(&mut self) {
        for Loaded { slot, version, bytes } in self.held.drain(..) {
            let floor = match &slot {
                Slot::Root => &mut self.floors.root,
                Slot::Timestamp => &mut self.floors.timestamp,
                Slot::Snapshot => &mut self.floors.snapshot,
                Slot::Targets => self.floors.targets.entry("targets".to_owned()).or_default(),
                Slot::Delegated(role) => self.floors.targets.entry(role.clone()).or_default(),
            };
            *floor = version.max(*floor);
            self.outbox.extend(bytes.map(|bytes| Step::Store { slot, bytes }));
        }
        self.floors.drop_expired_below_floors();
    }
}

/// What is wrong with our own copy is damage, unless it is age.
fn of_cache(refusal: Refusal) -> Refusal {
    match refusal.category {
        Category::Freeze | Category::Rollback => refusal,
        _ => CACHE.with(refusal, "a complete cache"),
    }
}
