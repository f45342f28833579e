//! Takes releases out of the index, and puts them back: a repository holds what is in use, not what ever was.

use crate::error::{ARTIFACT, NO_RELEASE, REPOSITORY};
use crate::files;
use crate::index::components;
use crate::metadata::Targets;
use crate::repo::Repo;
use crate::role::Role;
use crate::staged::Edits;
use jiff::Timestamp;
use slipway_protocol::{ComponentName, Manifest, Refusal, Sha256, Version, index};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// How many releases of a component stay in the index, unless said otherwise: more than a year of weekly ones. Each costs the operator
/// a manifest; a device reads as much for 8 as it does for 64.
pub const KEEP: usize = 64;

/// A release that was taken out of the index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Retired {
    /// Of which component.
    pub component: ComponentName,
    /// Which one.
    pub version: Version,
    /// Whether it was withdrawn; otherwise it was one of the oldest.
    pub withdrawn: bool,
}

/// Which of `all` are retired: those withdrawn, and all but the newest `keep` of the others; never one that a channel names.
fn to_retire<'a>(
    all: impl DoubleEndedIterator<Item = (&'a Version, &'a String)>,
    named: &BTreeSet<String>,
    withdrawn: &BTreeSet<String>,
    keep: usize,
) -> Vec<(&'a Version, bool)> {
    let mut kept: usize = 0;
    let mut retired = Vec::new();
    for (version, text) in all.rev() {
        let gone = withdrawn.contains(text);
        if named.contains(text) {
            kept = kept.saturating_add(1);
        } else if gone || kept >= keep {
            retired.push((version, gone));
        } else {
            kept = kept.saturating_add(1);
        }
    }
    retired.reverse();
    retired
}

impl Repo {
    /// Retires releases of `only`, or of every component: those withdrawn, and the oldest beyond `keep`, but never one that a channel
    /// names. Devices that run one go on running it; none can install it any more. Its manifest goes to the archive.
    ///
    /// # Errors
    /// `SLW-O-MIGRATE`, or when something cannot be read, written or signed.
    pub fn retire(&mut self, only: Option<&ComponentName>, keep: usize, now: Timestamp) -> Result<Vec<Retired>, Refusal> {
        self.has_indexes()?;
        let mut targets = self.draft(Role::Releases)?;
        let mut edits = Edits::default();
        let mut all = Vec::new();
        for component in components(&targets).into_iter().filter(|component| only.is_none_or(|only| only == component)) {
            let mut releases = self.releases(&targets, &edits.nodes, &component)?;
            let versions = index::versions(&releases).map_err(|why| REPOSITORY.with(why, "versions"))?;
            let channels = self.channels_of(None, &component)?;
            let named = channels.iter().map(|channel| channel.release.as_str().to_owned()).collect();
            let withdrawn = channels.iter().flat_map(|channel| &channel.withdrawn).map(|version| version.as_str().to_owned());
            let gone = to_retire(versions.iter(), &named, &withdrawn.collect(), keep);
            if gone.is_empty() {
                continue;
            }
            for (version, withdrawn) in gone {
                self.archive(&targets, &component, version)?;
                releases.remove(version.as_str());
                all.push(Retired { component: component.clone(), version: version.clone(), withdrawn });
            }
            edits.set_index(&mut targets, &component, &releases);
        }
        if !all.is_empty() {
            edits.roles.insert(Role::Releases, targets);
            self.commit(edits, now)?;
        }
        Ok(all)
    }

    /// Keeps the manifest of a release outside of what is served.
    fn archive(&self, targets: &Targets, component: &ComponentName, version: &Version) -> Result<(), Refusal> {
        let place = self.archived(component, version);
        let (folder, name) = files::split(&place)?;
        let found = self.locate(targets, component, version)?;
        let waits = self.staged.file(&Manifest::target(component, version))?;
        let bytes = match (waits, found) {
            (Some(bytes), _) => bytes,
            (None, Some(found)) => files::read(&self.public_dir().join("targets").join(found.place))?,
            (None, None) => return Ok(()),
        };
        files::write(folder, name, &bytes).map(drop)
    }

    fn archived(&self, component: &ComponentName, version: &Version) -> PathBuf {
        self.dir.join("archive").join(component.as_str()).join(format!("{version}.json"))
    }

    /// Publishes a retired release again, from the archive. Its provenance is verified as when it was released.
    ///
    /// # Errors
    /// `SLW-O-NO-RELEASE` when the archive has none, `SLW-O-ARTIFACT` when its files are gone from `public/artifacts`, and whatever
    /// `release` refuses.
    pub fn release_again(
        &mut self,
        component: &ComponentName,
        version: &Version,
        unsafe_skip_verify: bool,
        now: Timestamp,
    ) -> Result<Manifest, Refusal> {
        let place = self.archived(component, version);
        if !place.is_file() {
            return Err(NO_RELEASE.with(format_args!("no {}", place.display()), "the manifest of a retired release"));
        }
        let manifest = Manifest::parse(&files::read(&place)?).map_err(|why| REPOSITORY.with(why, "a manifest"))?;
        let mut proofs = Vec::new();
        for artifact in &manifest.artifacts {
            let own = |urls: &[String]| urls.iter().rev().find(|url| url.starts_with("artifacts/")).cloned();
            let gone =
                |url: &str| ARTIFACT.with(format_args!("no {url} in public/"), "the file: release it from its files instead");
            if let Some(url) = own(&artifact.urls).filter(|url| !self.public_dir().join(url).is_file()) {
                return Err(gone(&url));
            }
            let url = own(&artifact.provenance.urls).ok_or_else(|| gone("provenance"))?;
            let proof = std::fs::read(self.public_dir().join(&url)).map_err(|_| gone(&url))?;
            if Sha256::of(&proof) != artifact.provenance.sha256 {
                return Err(ARTIFACT.with(format_args!("{url} was changed"), artifact.provenance.sha256));
            }
            proofs.push(proof);
        }
        if !unsafe_skip_verify {
            self.verify(&manifest, &proofs)?;
        }
        self.add_manifests(std::slice::from_ref(&manifest), now)?;
        Ok(manifest)
    }

    /// Signs for manifests whose artifacts are in their places already, all in one change. Nothing of their provenance is verified here;
    /// devices verify it all the same.
    ///
    /// # Errors
    /// `SLW-O-MIGRATE`, `SLW-O-RELEASED`, or when something cannot be written or signed.
    pub fn add_manifests(&mut self, manifests: &[Manifest], now: Timestamp) -> Result<(), Refusal> {
        let mut files = Vec::new();
        for manifest in manifests {
            files.push((manifest, files::to_compact(manifest)?));
        }
        self.put_manifests(&files, Vec::new(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withdrawn_and_old_ones_go_and_what_a_channel_names_stays() {
        let text = |versions: &[&str]| versions.iter().map(|v| (*v).to_owned()).collect::<BTreeSet<_>>();
        let all = text(&["v1.0.0", "v1.9.0", "v1.10.0", "v2.0.0-rc.1", "v2.0.0"]);
        let versions = index::versions(&all.iter().map(|v| (v.clone(), Sha256::of(b""))).collect()).unwrap();
        for (named, withdrawn, keep, retired) in [
            (vec![], vec![], 5, vec![]),
            (vec![], vec![], 2, vec!["v1.0.0", "v1.9.0", "v1.10.0"]),
            // The pinned one counts, and stays although it is the oldest.
            (vec!["v1.0.0"], vec![], 2, vec!["v1.9.0", "v1.10.0"]),
            (vec!["v2.0.0"], vec!["v2.0.0-rc.1"], 9, vec!["v2.0.0-rc.1"]),
            // Withdrawn in one channel, named by another.
            (vec!["v1.9.0"], vec!["v1.9.0"], 9, vec![]),
            (vec!["v1.0.0"], vec![], 0, vec!["v1.9.0", "v1.10.0", "v2.0.0-rc.1", "v2.0.0"]),
        ] {
            let gone = to_retire(versions.iter(), &text(&named), &text(&withdrawn), keep);
            let gone: Vec<&str> = gone.iter().map(|(version, _)| version.as_str()).collect();
            assert_eq!(gone, retired, "{named:?} {withdrawn:?} {keep}");
        }
    }
}
