//! Describes a change for those who sign it: what differs from what is published.

use crate::index;
use crate::metadata::{Root, TargetFile, Targets};
use crate::public_key::PublicKey;
use crate::quorum::Quorum;
use crate::role::Role;
use crate::staged::Change;
use crate::state::quorum;
use crate::status::audience;
use slipway_protocol::refusal::printable;
use slipway_protocol::{Channel, ComponentName, Manifest, Refusal};
use std::collections::{BTreeMap, BTreeSet};

impl Change {
    /// What will be signed, over several lines.
    ///
    /// # Errors
    /// `SLW-O-STAGED` when it is not well formed.
    pub fn summary(&self) -> Result<String, Refusal> {
        let mut lines = Vec::new();
        let authority = |base: bool| -> Result<(Root, Targets), Refusal> {
            let of = |role: Role| {
                let next = self.next.get(&role).filter(|_| !base);
                next.or(self.base.get(&role)).ok_or_else(|| crate::error::STAGED.with(format_args!("no {role}"), role))
            };
            Ok((of(Role::Root)?.read("root")?, of(Role::Targets)?.read("targets")?))
        };
        let after = authority(false)?;
        let before = if self.base.is_empty() { None } else { Some(authority(true)?) };
        for (role, envelope) in &self.next {
            let header: crate::metadata::Header = envelope.read(role.name())?;
            let was = header.version.saturating_sub(1);
            let versions =
                if was == 0 { "the first version".to_owned() } else { format!("version {was} becomes {}", header.version) };
            lines.push(format!("{role:<10} {versions}, valid until {}", header.expires));
            let named: &[Role] = match role {
                Role::Root => &[Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp],
                Role::Targets => &[Role::Releases, Role::Channels],
                _ => &[],
            };
            for signs in named {
                let old = before.as_ref().map(|(root, targets)| quorum(root, targets, *signs)).transpose()?;
                keys(*signs, old.as_ref(), &quorum(&after.0, &after.1, *signs)?, &mut lines)?;
            }
            if *role != Role::Root {
                let old: Option<Targets> = self.base.get(role).map(|envelope| envelope.read(role.name())).transpose()?;
                let new: Targets = envelope.read(role.name())?;
                if *role == Role::Releases {
                    self.releases(old.as_ref(), &new, &mut lines)?;
                }
                self.targets(old.as_ref(), &new, &mut lines)?;
            }
        }
        Ok(lines.join("\n"))
    }

    /// Which releases come and go. A signature for the root of an index is one for all that is below it, so what cannot be shown is
    /// refused.
    fn releases(&self, old: Option<&Targets>, new: &Targets, lines: &mut Vec<String>) -> Result<(), Refusal> {
        let mut all: BTreeSet<ComponentName> = index::components(new).into_iter().collect();
        all.extend(old.map(index::components).unwrap_or_default());
        for component in all {
            for (version, before, after) in self.index_changes(&component)?.releases {
                let path = format!("releases/{component}/{version}.json");
                let (sign, sha256) = match (before, after) {
                    (None, Some(after)) => ("new", after),
                    (Some(_), Some(after)) => ("changes", after),
                    _ => {
                        lines.push(format!("  gone     {}", printable(&path)));
                        continue;
                    }
                };
                lines.push(format!("  {sign:<8} {}  sha256:{sha256}", printable(&path)));
                if let Some(bytes) = self.file(&path)? {
                    content(&path, &bytes, lines);
                }
            }
        }
        if let Some(until) = new.overlap_until {
            lines.push(format!("  agents of formats-1 are served until {until}"));
        } else if old.is_some_and(|old| old.overlap_until.is_some()) {
            lines.push("  agents of formats-1 are no longer served".to_owned());
        }
        Ok(())
    }

    fn targets(&self, old: Option<&Targets>, new: &Targets, lines: &mut Vec<String>) -> Result<(), Refusal> {
        let none = BTreeMap::new();
        let old = old.map_or(&none, |old| &old.targets);
        for (path, file) in new.targets.iter().filter(|(path, _)| !is_index(path)) {
            // What is listed beside the indexes is for agents that know none.
            let sign = match old.get(path) {
                Some(known) if known == file => continue,
                _ if index::of_manifest(path).is_some() => "listed",
                Some(_) => "changes",
                None => "new",
            };
            lines.push(format!("  {sign:<8} {}  {}", printable(path), digest(file)));
            if let Some(bytes) = self.file(path)?.filter(|_| sign != "listed") {
                content(path, &bytes, lines);
            }
        }
        for path in old.keys().filter(|path| !new.targets.contains_key(*path)) {
            let sign = if index::of_manifest(path).is_some() { "unlisted" } else { "removed" };
            lines.push(format!("  {sign:<8} {}", printable(path)));
        }
        let same = new.targets.iter().filter(|(path, file)| old.get(*path) == Some(*file)).count();
        if same > 0 {
            lines.push(format!("  unchanged: {same} more"));
        }
        Ok(())
    }
}

fn is_index(path: &str) -> bool {
    path.starts_with("releases/") && path.ends_with("/index")
}

/// All keys of a role, with what changes: whoever signs must see the whole list, not only a difference.
fn keys(role: Role, old: Option<&Quorum>, new: &Quorum, lines: &mut Vec<String>) -> Result<(), Refusal> {
    let had = |quorum: Option<&Quorum>, spki: &[u8]| {
        quorum.is_some_and(|quorum| quorum.keys.values().any(|key| key.spki().is_ok_and(|known| known == spki)))
    };
    let changed =
        old.filter(|old| old.threshold != new.threshold).map(|old| format!(" (was {})", old.threshold)).unwrap_or_default();
    lines.push(format!("  {role:<10} {}{changed} of", new.threshold));
    let mut say = |mark: &str, key: &PublicKey| lines.push(format!("    {mark:<8} {}", printable(&key.label())));
    for key in new.keys.values() {
        say(if old.is_some() && !had(old, &key.spki()?) { "NEW" } else { "" }, key);
    }
    for key in old.iter().flat_map(|old| old.keys.values()) {
        if !had(Some(new), &key.spki()?) {
            say("REVOKED", key);
        }
    }
    Ok(())
}

fn digest(file: &TargetFile) -> String {
    let sha256 = file.hashes.get("sha256").map_or("", String::as_str);
    format!("{} bytes, sha256:{sha256}", file.length)
}

/// What the files that this tool knows say.
fn content(path: &str, bytes: &[u8], lines: &mut Vec<String>) {
    let mut say = |text: &str| lines.extend(text.trim_end().lines().map(|line| format!("           {}", printable(line))));
    if path.starts_with("releases/") {
        match Manifest::parse(bytes) {
            Ok(manifest) => {
                say(&format!("{} {}", manifest.component, manifest.version));
                for artifact in &manifest.artifacts {
                    say(&format!(
                        "{:<12} {}  {} bytes, sha256:{}",
                        artifact.platform, artifact.name, artifact.size, artifact.sha256
                    ));
                }
            }
            Err(why) => say(&format!("NOT a manifest: {why}")),
        }
    } else if path.starts_with("channels/") {
        match Channel::parse(bytes) {
            Ok(channel) => {
                let halted = if channel.halted { ", halted" } else { "" };
                let floor = channel.floor.as_ref().map(|floor| format!(", floor {floor}")).unwrap_or_default();
                let to = audience(&channel);
                say(&format!("{} of {} is {}{floor}{halted}, to {to}", channel.channel, channel.component, channel.release));
            }
            Err(why) => say(&format!("NOT a channel: {why}")),
        }
    } else if path.starts_with("policies/") {
        match std::str::from_utf8(bytes)
            .map_err(|error| error.to_string())
            .and_then(|text| slipway_verify::Policy::parse(text).map_err(|why| why.to_string()))
        {
            Ok(policy) => say(&policy.explain()),
            Err(why) => say(&format!("NOT a policy: {why}")),
        }
    }
}
