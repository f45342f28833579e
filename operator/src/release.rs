//! Adds a release: copies artifacts and provenance, and signs the manifest with the release keys.

use crate::error::{ARTIFACT, MIN_AGENT, NO_POLICY, RELEASED, REPOSITORY, file};
use crate::files::{self, Pending};
use crate::index::Releases;
use crate::kubeedge::KubeEdge;
use crate::repo::{Repo, SIGSTORE_ROOT};
use crate::role::Role;
use crate::staged::Edits;
use jiff::Timestamp;
use slipway_protocol::{
    Artifact, ComponentName, Digests, Format, Manifest, Platform, Provenance, Refusal, Sha256, Sha512, Version,
};
use slipway_verify::{Policy, SigstoreRoot, Subject, verify_provenance};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The agent's own component.
const AGENT: &str = "slipway-agent";

/// What to release.
#[derive(Clone, Debug)]
pub struct ReleaseOptions {
    /// Of which component.
    pub component: ComponentName,
    /// As which version.
    pub version: Version,
    /// One for each platform.
    pub artifacts: Vec<ArtifactOptions>,
    /// The oldest agent that may install it. Agents of `formats-1` refuse a release that says so.
    pub min_agent: Option<Version>,
    /// Signs although nothing verified the provenance. Devices verify all the same.
    pub unsafe_skip_verify: bool,
}

/// One artifact to release.
#[derive(Clone, Debug)]
pub struct ArtifactOptions {
    /// Which devices it is for.
    pub platform: Platform,
    /// The file.
    pub file: PathBuf,
    /// Its name in the provenance; the file's own name when absent.
    pub name: Option<String>,
    /// The archive's member to install; known for KubeEdge's archives.
    pub member: Option<String>,
    /// The Sigstore bundle that proves its build.
    pub provenance: PathBuf,
    /// Folders by URL where the file also is, tried before the repository's own copy.
    pub urls: Vec<String>,
}

/// `PLATFORM=FILE[,member=PATH][,name=NAME]` as written on a command line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArtifactArg {
    /// Which devices it is for.
    pub platform: Platform,
    /// The file.
    pub file: PathBuf,
    /// The archive's member to install.
    pub member: Option<String>,
    /// Its name in the provenance.
    pub name: Option<String>,
}

impl FromStr for ArtifactArg {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let known = first.split_once('=').map(|(platform, path)| (platform.parse::<Platform>(), path));
        let (platform, path) = match known {
            Some((platform, path)) => (platform?, path),
            None => {
                let known = Path::new(first).file_name().and_then(|name| name.to_str()).and_then(KubeEdge::of);
                (known.ok_or_else(|| format!("{first:?} does not name a platform; write PLATFORM=FILE"))?.platform, first)
            }
        };
        let mut arg = Self { platform, file: path.into(), member: None, name: None };
        for part in parts {
            match part.split_once('=') {
                Some(("member", value)) => arg.member = Some(value.to_owned()),
                Some(("name", value)) => arg.name = Some(value.to_owned()),
                _ => return Err(format!("{part:?} is neither member=PATH nor name=NAME")),
            }
        }
        Ok(arg)
    }
}

impl Repo {
    /// Adds a release and publishes it. Nothing changes on devices until a channel points at it.
    ///
    /// # Errors
    /// Whatever a device would refuse it for, with the same code; `SLW-O-RELEASED` if that version exists with other content.
    pub fn release(&mut self, options: &ReleaseOptions, now: Timestamp) -> Result<Manifest, Refusal> {
        if let Some(least) = &options.min_agent
            && options.component.as_str() == AGENT
        {
            return Err(MIN_AGENT.with(format_args!("--min-agent {least} for {AGENT}"), "no --min-agent"));
        }
        let target = Manifest::target(&options.component, &options.version);
        let mut artifacts = Vec::new();
        let mut proofs = Vec::new();
        for given in &options.artifacts {
            let proof = files::read(&given.provenance)?;
            artifacts.push(describe(options, given, &proof)?);
            proofs.push(proof);
        }
        // Agents of `formats-1` refuse members that they do not know, and follow this repository until the overlap ends.
        let followed = options.min_agent.is_none() && self.overlap_until().is_some_and(|until| until > now);
        let mut manifest = Manifest {
            v: 1,
            component: options.component.clone(),
            version: options.version.clone(),
            min_agent: options.min_agent.clone(),
            artifacts,
            skipped: Vec::new(),
        };
        if followed {
            manifest = without_unpacked(&manifest);
        }
        let bytes = files::to_compact(&manifest)?;
        Manifest::parse(&bytes).map_err(|why| ARTIFACT.with(why, "a manifest that devices can read"))?;
        if !options.unsafe_skip_verify {
            self.verify(&manifest, &proofs)?;
        }
        self.has_indexes()?;
        match self.manifest(&options.component, &options.version)? {
            // The same command again, also when it did not record the unpacked size then.
            Some(known) if known == manifest || known == without_unpacked(&manifest) => return Ok(known),
            Some(_) => return Err(RELEASED.with(&target, "a new version")),
            None => {}
        }
        let waits = self.locate(&self.draft(Role::Releases)?, &options.component, &options.version)?;
        if waits.is_some_and(|waits| waits.sha256 == Sha256::of(&bytes)) {
            // It waits already: the same command again must not cost the signatures that it has.
            self.sign(None, now)?;
            return Ok(manifest);
        }
        let mut places = Vec::new();
        for ((artifact, given), proof) in manifest.artifacts.iter().zip(&options.artifacts).zip(&proofs) {
            self.import(artifact, given, proof)?;
            places.extend([&artifact.urls, &artifact.provenance.urls].into_iter().filter_map(|urls| urls.last().cloned()));
        }
        self.put_manifests(&[(&manifest, bytes)], places, now)?;
        Ok(manifest)
    }

    /// Signs for manifests in the indexes of their components, all in one change.
    pub(crate) fn put_manifests(
        &mut self,
        manifests: &[(&Manifest, Vec<u8>)],
        artifacts: Vec<String>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.has_indexes()?;
        let mut targets = self.draft(Role::Releases)?;
        let mut edits = Edits { artifacts, ..Edits::default() };
        let mut all: BTreeMap<&ComponentName, Releases> = BTreeMap::new();
        for (manifest, bytes) in manifests {
            let Manifest { component, version, .. } = manifest;
            if !all.contains_key(component) {
                all.insert(component, self.releases(&targets, &edits.nodes, component)?);
            }
            let (path, sha256) = (Manifest::target(component, version), Sha256::of(bytes));
            let before = all.get_mut(component).and_then(|releases| releases.insert(version.as_str().to_owned(), sha256));
            // One that waits for signatures may still be replaced; one that devices may have seen may not.
            let published =
                before.filter(|before| *before != sha256).map(|_| self.manifest_bytes(component, version)).transpose()?;
            if published.flatten().is_some() {
                return Err(RELEASED.with(&path, "a new version"));
            }
            edits.files.insert(path, bytes.clone());
        }
        for (component, releases) in &all {
            edits.set_index(&mut targets, component, releases);
        }
        edits.roles.insert(Role::Releases, targets);
        self.commit(edits, now)
    }

    /// The manifest of a release, if there is one.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn manifest(&self, component: &ComponentName, version: &Version) -> Result<Option<Manifest>, Refusal> {
        let parse = |bytes: Vec<u8>| Manifest::parse(&bytes).map_err(|why| REPOSITORY.with(why, "a manifest"));
        self.manifest_bytes(component, version)?.map(parse).transpose()
    }

    /// What devices will check, checked here first: every artifact's provenance against the policy in this repository.
    pub(crate) fn verify(&self, manifest: &Manifest, proofs: &[Vec<u8>]) -> Result<(), Refusal> {
        let path = format!("policies/{}.toml", manifest.component);
        let policy = self.target(&path)?.ok_or_else(|| NO_POLICY.with(format_args!("no {path}"), "a policy"))?;
        let policy = Policy::read(&path, &policy)?;
        let root = match self.target(SIGSTORE_ROOT)? {
            Some(bytes) => SigstoreRoot::parse(&bytes)?,
            // What devices have built in, whatever the policy's profile could do with. A private instance's they cannot have.
            None => policy.embedded_root().and_then(|_| SigstoreRoot::public_good())?,
        };
        for (artifact, proof) in manifest.artifacts.iter().zip(proofs) {
            let subject = Subject {
                name: &artifact.name,
                sha256: Some(artifact.sha256),
                sha512: artifact.sha512,
                version: Some(&manifest.version),
            };
            verify_provenance(proof, &root, &policy, &subject)?;
        }
        Ok(())
    }

    /// Copies an artifact and its provenance to where they wait until their manifest has all signatures.
    fn import(&self, artifact: &Artifact, given: &ArtifactOptions, proof: &[u8]) -> Result<(), Refusal> {
        let place = |urls: &[String]| urls.last().map(|url| self.dir.join("staged").join(url)).unwrap_or_default();
        let (file, proof_file) = (place(&artifact.urls), place(&artifact.provenance.urls));
        let (Some(folder), Some(name), Some(proof_name)) = (file.parent(), name_of(&file), name_of(&proof_file)) else {
            return Err(ARTIFACT.with(file.display(), "a path with a file name"));
        };
        let mut pending = Pending::create(folder)?;
        let (_, copied, _) = read_through(&given.file, |bytes| pending.write(bytes))?;
        if copied != artifact.sha256 {
            return Err(ARTIFACT.with(format_args!("{} changed while it was released", given.file.display()), artifact.sha256));
        }
        pending.commit(name)?;
        files::write(folder, proof_name, proof)?;
        Ok(())
    }
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// The manifest as agents of `formats-1` read it.
fn without_unpacked(manifest: &Manifest) -> Manifest {
    let artifacts = manifest.artifacts.iter().map(|artifact| Artifact { unpacked: None, ..artifact.clone() }).collect();
    Manifest { artifacts, ..manifest.clone() }
}

/// What the manifest says about an artifact.
fn describe(options: &ReleaseOptions, given: &ArtifactOptions, proof: &[u8]) -> Result<Artifact, Refusal> {
    let plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+~".contains(c));
    let Some(file_name) = name_of(&given.file).filter(plain) else {
        return Err(ARTIFACT.with(given.file.display(), "a file name of letters, digits and -_.+~"));
    };
    let known = KubeEdge::of(file_name);
    if let Some(known) = &known
        && (known.platform != given.platform || known.version != options.version)
    {
        return Err(ARTIFACT.with(
            format_args!("{file_name} as {} for {}", options.version, given.platform),
            format_args!("{} for {}", known.version, known.platform),
        ));
    }
    let archive = [".tar.gz", ".tgz"].iter().any(|suffix| file_name.ends_with(suffix));
    let member = given.member.clone().or_else(|| known.map(|known| known.member));
    let unpacked = member.as_deref().filter(|_| archive).map(|member| has_member(&given.file, member)).transpose()?;
    let (size, sha256, sha512) = read_through(&given.file, |_| Ok(()))?;
    let below = format!("artifacts/{}/{}", options.component, options.version);
    let elsewhere = given.urls.iter().map(|base| format!("{}/{file_name}", base.trim_end_matches('/')));
    let proof_digest = Sha256::of(proof);
    Ok(Artifact {
        platform: given.platform,
        name: given.name.clone().unwrap_or_else(|| file_name.to_owned()),
        size,
        sha256,
        sha512: Some(sha512),
        urls: elsewhere.chain([format!("{below}/{sha256}.{file_name}")]).collect(),
        format: if archive && member.is_some() { Format::TarGz } else { Format::File },
        member,
        unpacked,
        provenance: Provenance {
            urls: vec![format!("{below}/{proof_digest}.{file_name}.sigstore.json")],
            size: u64::try_from(proof.len()).unwrap_or(u64::MAX),
            sha256: proof_digest,
        },
    })
}

/// A device takes exactly one regular file of that name out of the archive; better to learn here that it cannot. Says how large it is.
fn has_member(archive: &Path, member: &str) -> Result<u64, Refusal> {
    let unreadable = |error: std::io::Error| ARTIFACT.with(format_args!("{}: {error}", archive.display()), "a readable .tar.gz");
    let source = File::open(archive).map_err(|error| file(archive, &error))?;
    let mut entries = tar::Archive::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(source)));
    let (mut found, mut size, mut names) = (0_usize, 0, Vec::new());
    for entry in entries.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.path_bytes().into_owned();
        let name = name.strip_prefix(b"./").unwrap_or(&name);
        if name == member.as_bytes() && entry.header().entry_type().is_file() {
            found = found.saturating_add(1);
            size = entry.size();
        }
        if names.len() < NAMES_SHOWN && entry.header().entry_type().is_file() {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    match found {
        1 => Ok(size),
        0 => Err(ARTIFACT.with(format_args!("no {member} among {}, …", names.join(", ")), "the archive's file to install")),
        more => Err(ARTIFACT.with(format_args!("{member} {more} times"), "once")),
    }
}

/// How many names an error lists when a file is not in the archive.
const NAMES_SHOWN: usize = 10;

/// Reads a file of any size once, through both digests and `each`. Size, SHA-256, SHA-512.
fn read_through(path: &Path, mut each: impl FnMut(&[u8]) -> Result<(), Refusal>) -> Result<(u64, Sha256, Sha512), Refusal> {
    let mut source = File::open(path).map_err(|error| file(path, &error))?;
    let mut digests = Digests::default();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = source.read(&mut buffer).map_err(|error| file(path, &error))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        digests.write_all(bytes).map_err(|error| file(path, &error))?;
        each(bytes)?;
    }
    Ok(digests.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_argument_is_read_or_explained() {
        let full: ArtifactArg = "linux/arm=dir/x.tar.gz,member=a/b,name=pkg:npm/x@1".parse().unwrap();
        assert_eq!((full.platform, full.file, full.member.as_deref()), (Platform::LinuxArm, "dir/x.tar.gz".into(), Some("a/b")));
        assert_eq!(full.name.as_deref(), Some("pkg:npm/x@1"));
        let short: ArtifactArg = "out/kubeedge-v1.23.1-linux-amd64.tar.gz".parse().unwrap();
        assert_eq!(short.platform, Platform::LinuxAmd64);
        for bad in ["x.tar.gz", "linux/mips=x", "any=x,colour=red", ""] {
            assert!(bad.parse::<ArtifactArg>().is_err(), "{bad}");
        }
    }
}
