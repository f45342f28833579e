//! The trust state as `slipway-agent trust` shows it: roots, versions, expiry, trusted time.

use super::{Origin, Trust, TrustFloors, read_file};
use crate::clock::Known;
use crate::storage::durable;
use crate::storage::layout::SEEN_SUFFIX;
use crate::text::{columns, day, minute};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slipway_protocol::{Refusal, Sha256};
use slipway_verify::tuf::{Floors, Repository};
use std::fmt::Write;

/// The operator's repository, by name.
pub(super) const OPERATOR: &str = "operator";
/// Sigstore's own repository, by name.
pub(super) const SIGSTORE: &str = "sigstore";
/// A renewed "all is well" is written down only so often: flash wears out.
const SEEN_AGAIN_SECS: i64 = 600;

/// The trust of this device at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct View {
    /// What time it is.
    pub time: Known,
    /// The repositories that are followed.
    pub repositories: Vec<RepositoryView>,
    /// Sigstore's trusted root in force.
    pub sigstore_root: SigstoreView,
}

/// One repository.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RepositoryView {
    /// `operator` or `sigstore`.
    pub name: String,
    /// Where it is; absent on a device that takes offline bundles alone.
    pub url: Option<String>,
    /// Its roles, and below which versions nothing is believed.
    pub roles: Vec<RoleView>,
    /// When it was last verified to its end.
    pub verified: Option<Timestamp>,
    /// Since when that has not worked any more, and why.
    #[serde(rename = "trouble")]
    pub failure: Option<RefreshFailure>,
    /// Why what is on disk cannot be used, if so.
    pub damage: Option<Refusal>,
}

/// Since when something has not worked, and why.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RefreshFailure {
    /// Since when.
    pub since: Timestamp,
    /// Why, the last time.
    pub refusal: Refusal,
}

/// One role.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RoleView {
    /// Its name.
    pub name: String,
    /// The version on disk; absent when it is not there or not usable.
    pub version: Option<u64>,
    /// The lowest version that is still accepted.
    pub floor: u64,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// Whether it has expired.
    pub expired: bool,
    /// The newest version that was judged expired: it stays refused whatever the clock says later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_expired: Option<u64>,
}

/// Sigstore's trusted root in force.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct SigstoreView {
    /// Where it comes from.
    pub origin: Option<Origin>,
    /// SHA-256 of its bytes.
    pub sha256: Option<Sha256>,
    /// The version of Sigstore's TUF root below which no other is believed; 0 when none was ever used.
    pub tuf_root: u64,
    /// Why there is none, if so.
    pub refusal: Option<Refusal>,
}

/// What is written down about a repository, apart from its files: it only serves a person.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct RefreshState {
    verified: Option<Timestamp>,
    #[serde(rename = "trouble")]
    failure: Option<RefreshFailure>,
}

impl Trust {
    /// Writes down how a refresh ended. Failing to is no reason for anything.
    pub(super) fn note_seen(&self, name: &str, now: Timestamp, failure: Option<&Refusal>) {
        let before = self.state(name);
        let fresh = before.verified.is_some_and(|at| now.duration_since(at).as_secs().abs() < SEEN_AGAIN_SECS);
        let after = match failure {
            None if before.failure.is_none() && fresh => return,
            None => RefreshState { verified: Some(now), failure: None },
            Some(refusal) => {
                let same = before.failure.as_ref().filter(|failure| refusal.repeats(&failure.refusal));
                if same.is_some() {
                    return;
                }
                let since = before.failure.as_ref().map_or(now, |failure| failure.since);
                RefreshState { failure: Some(RefreshFailure { since, refusal: refusal.clone() }), ..before }
            }
        };
        let file = self.dir.join(format!("{name}{SEEN_SUFFIX}"));
        let bytes = serde_json::to_vec(&after).unwrap_or_default();
        if let Err(error) = durable::write_cache(&file, &bytes, 0o644) {
            tracing::debug!(path = %file.display(), %error, "result of the check not stored");
        }
    }

    fn state(&self, name: &str) -> RefreshState {
        let bytes = read_file(&self.dir.join(format!("{name}{SEEN_SUFFIX}"))).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// What is trusted, from the disk alone.
    #[must_use]
    pub fn view(&self, trust_floors: &TrustFloors, time: Known) -> View {
        let now = time.trusted();
        let operator = self.operator.open(&trust_floors.operator);
        let root = match &operator {
            Ok(repository) => self.sigstore_root(repository, trust_floors),
            Err(refusal) => Err(refusal.clone()),
        };
        let url = self.url.as_ref().map(ToString::to_string);
        let mut repositories = vec![self.repository_view(OPERATOR, url, operator, &trust_floors.operator, now)];
        if let Some(url) = &self.sigstore.url {
            let own = self.sigstore.cache.open(&trust_floors.sigstore);
            repositories.push(self.repository_view(SIGSTORE, Some(url.to_string()), own, &trust_floors.sigstore, now));
        }
        let sigstore_root = SigstoreView {
            origin: root.as_ref().ok().map(|(_, origin)| *origin),
            sha256: root.as_ref().ok().map(|(bytes, _)| Sha256::of(bytes)),
            tuf_root: trust_floors.sigstore.root,
            refusal: root.err().filter(|_| trust_floors.operator.timestamp > 0),
        };
        View { time, repositories, sigstore_root }
    }

    fn repository_view(
        &self,
        name: &str,
        url: Option<String>,
        opened: Result<Repository, Refusal>,
        floors: &Floors,
        now: Timestamp,
    ) -> RepositoryView {
        let RefreshState { verified, failure } = self.state(name);
        let judged = |role: &str| floors.expired.get(role).copied();
        let (roles, damage) = match opened {
            Ok(repository) => {
                let role = |role: slipway_verify::tuf::RoleState| RoleView {
                    floor: floors.version(&role.name),
                    judged_expired: judged(&role.name),
                    version: Some(role.version),
                    expires: Some(role.expires),
                    expired: role.expires < now,
                    name: role.name,
                };
                (repository.roles().into_iter().map(role).collect(), None)
            }
            // What the floors know holds without the files.
            Err(refusal) => {
                let known = ["root", "timestamp", "snapshot"].into_iter().chain(floors.targets.keys().map(String::as_str));
                let role = |name: &str| RoleView {
                    name: name.to_owned(),
                    version: None,
                    floor: floors.version(name),
                    judged_expired: judged(name),
                    expires: None,
                    expired: false,
                };
                // Before the first refresh there is nothing to be damaged.
                (known.map(role).collect(), Some(refusal).filter(|_| floors.timestamp > 0))
            }
        };
        RepositoryView { name: name.to_owned(), url, roles, verified, failure, damage }
    }
}

impl View {
    /// As a table for a person.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let unsure = if self.time.unsure { "; not trusted" } else { "" };
        let _ = writeln!(out, "Clock:              {}{unsure}", minute(self.time.clock));
        let _ = writeln!(out, "Latest known time:  {}", minute(self.time.latest));
        let root = &self.sigstore_root;
        let origin = match root.origin {
            Some(Origin::File) => "a file on this device",
            Some(Origin::Sigstore) => "Sigstore's own repository",
            Some(Origin::Mirror) => "the operator's mirror",
            Some(Origin::Agent) => "this agent",
            None => "none yet",
        };
        let digest = root.sha256.map(|digest| format!(", sha256 {}", digest.short())).unwrap_or_default();
        let version = if root.tuf_root > 0 { format!(", TUF root v{}", root.tuf_root) } else { String::new() };
        let _ = writeln!(out, "Sigstore's root:    {origin}{version}{digest}");
        for repository in &self.repositories {
            repository.write(&mut out);
        }
        let of =
            |repository: &RepositoryView| [repository.failure.as_ref().map(|it| it.refusal.clone()), repository.damage.clone()];
        let mut refusals: Vec<Refusal> = self.repositories.iter().flat_map(of).flatten().collect();
        // Without the operator's metadata nothing is known about Sigstore's root either, and that has been said.
        refusals.extend(root.refusal.clone().filter(|lost| !refusals.iter().any(|said| lost.repeats(said))));
        for refusal in refusals {
            let _ = write!(out, "\n{}", refusal.explain());
        }
        out
    }
}

impl RepositoryView {
    fn write(&self, out: &mut String) {
        let whose = if self.name == OPERATOR { "Operator's repository" } else { "Sigstore's repository" };
        let _ = writeln!(out, "\n{whose}: {}", self.url.as_deref().unwrap_or("offline bundles only"));
        let state = match (&self.failure, self.verified) {
            (Some(failure), _) => format!("stale since {}: {}", minute(failure.since), failure.refusal.code),
            (None, Some(at)) => format!("verified {}", minute(at)),
            (None, None) => "never fetched".to_owned(),
        };
        let _ = writeln!(out, "  {state}");
        let header = ["  ROLE", "VERSION", "FLOOR", "EXPIRES"].map(str::to_owned);
        let row = |role: &RoleView| {
            let dash = || "-".to_owned();
            let expired = match role.judged_expired {
                Some(version) => format!(" (version {version} recorded as expired)"),
                None if role.expired => " (expired)".to_owned(),
                None => String::new(),
            };
            let expires = format!("{}{expired}", role.expires.map_or_else(dash, day));
            let version = role.version.map_or_else(dash, |version| version.to_string());
            [format!("  {}", role.name), version, role.floor.to_string(), expires]
        };
        out.push_str(&columns(&std::iter::once(header).chain(self.roles.iter().map(row)).collect::<Vec<_>>()));
    }
}
