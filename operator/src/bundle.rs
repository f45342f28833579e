//! The offline bundle: one tar file with all that a device needs to install a channel's release.
//!
//! Every member has the name it has below `public/`, so that a device reads it as a repository. Metadata comes first and
//! artifacts last, so that it can be judged before anything large is read.

use crate::error::{EXISTS, NO_RELEASE, REPOSITORY, file};
use crate::files::Pending;
use crate::repo::{Repo, SIGSTORE_ROOT};
use crate::role::Role;
use slipway_protocol::{Channel, ChannelName, ComponentName, Platform, Refusal};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

impl Repo {
    /// Writes the offline bundle of `channel`'s release to `out`; for all platforms if `platforms` is empty. Returns its members.
    ///
    /// # Errors
    /// `SLW-O-NO-RELEASE` when there is no such channel, or it has nothing for a platform.
    pub fn bundle(
        &self,
        component: &ComponentName,
        channel: &ChannelName,
        platforms: &[Platform],
        out: &Path,
    ) -> Result<Vec<String>, Refusal> {
        let members = self.bundle_members(component, channel, platforms)?;
        let (Some(folder), Some(name)) = (out.parent(), out.file_name().and_then(|name| name.to_str())) else {
            return Err(REPOSITORY.with(out.display(), "a file to write"));
        };
        if out.exists() {
            return Err(EXISTS.with(out.display(), "no such file"));
        }
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let mut pending = Sink(Pending::create(folder)?);
        let mut tar = tar::Builder::new(&mut pending);
        for member in &members {
            let mirrored = member.starts_with("sigstore/");
            let path = if mirrored { self.dir.join("mirror") } else { self.public_dir() }.join(member);
            let broken = |error: io::Error| file(&path, &error);
            let source = File::open(&path).map_err(broken)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(source.metadata().map_err(broken)?.len());
            header.set_mode(0o644);
            header.set_mtime(0);
            tar.append_data(&mut header, member, source).map_err(broken)?;
        }
        tar.into_inner().map_err(|error| file(out, &error))?;
        pending.0.commit(name)?;
        Ok(members)
    }

    fn bundle_members(
        &self,
        component: &ComponentName,
        channel: &ChannelName,
        platforms: &[Platform],
    ) -> Result<Vec<String>, Refusal> {
        let Some(pointer) = self.read_channel(component, channel)? else {
            return Err(NO_RELEASE.with(format_args!("no channel {channel} of {component}"), "a channel"));
        };
        let Some(manifest) = self.manifest(component, &pointer.release)? else {
            return Err(NO_RELEASE.with(format_args!("no release {}", pointer.release), "a release"));
        };
        let mut members: Vec<String> =
            (1..=self.state.root.header.version).map(|version| format!("metadata/{version}.root.json")).collect();
        members.push("metadata/timestamp.json".to_owned());
        members.push(format!("metadata/{}.snapshot.json", self.state.snapshot.header.version));
        for (name, role) in &self.state.roles {
            members.push(format!("metadata/{}.{}.json", role.header.version, name));
        }
        for path in [format!("policies/{component}.toml"), SIGSTORE_ROOT.to_owned(), Channel::target(component, channel)] {
            let known = self.state.roles.values().find_map(|role| role.targets.get(&path));
            members.extend(known.map(|known| format!("targets/{}", known.place(&path))));
        }
        if let Some(releases) = self.state.roles.get(&Role::Releases)
            && let Some(found) = self.locate(releases, component, &pointer.release)?
        {
            members.extend(found.nodes.into_iter().chain([found.place]).map(|place| format!("targets/{place}")));
        }
        members.extend(self.mirrored_files());
        let mut artifacts = Vec::new();
        for platform in platforms {
            let found = manifest.artifact(*platform);
            artifacts.push(found.ok_or_else(|| NO_RELEASE.with(format_args!("nothing for {platform}"), "an artifact"))?);
        }
        if platforms.is_empty() {
            artifacts.extend(&manifest.artifacts);
        }
        artifacts.sort_by_key(|artifact| artifact.sha256);
        artifacts.dedup();
        let own = |urls: &[String]| urls.iter().find(|url| url.starts_with("artifacts/")).cloned();
        members.extend(artifacts.iter().filter_map(|artifact| own(&artifact.provenance.urls)));
        members.extend(artifacts.iter().filter_map(|artifact| own(&artifact.urls)));
        let mut seen = std::collections::BTreeSet::new();
        members.retain(|member| seen.insert(member.clone()));
        Ok(members)
    }
}

/// Lets the archive be written to a file that has no name yet.
struct Sink(Pending);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
