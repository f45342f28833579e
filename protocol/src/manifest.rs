//! A release: what it consists of per platform, with digests, sizes, places and provenance.
//!
//! TUF target `releases/<component>/<version>.json`, signed by the release keys.

use crate::growth::{self, Unreadable};
use crate::json::Members;
use crate::{ComponentName, Platform, Sha256, Sha512, Version, json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One version of a component.
///
/// Unknown members are ignored; see [`crate::growth`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// Format; 1. An agent holds on a higher one.
    pub v: u32,
    /// What it is a release of.
    pub component: ComponentName,
    /// Which one.
    pub version: Version,
    /// The oldest agent that may install it. Not for releases of the agent itself: an agent that is too old needs those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_agent: Option<Version>,
    /// What to install, one per platform.
    pub artifacts: Vec<Artifact>,
    /// Artifacts for platforms, in formats or with critical members that this version does not know. Not written.
    #[serde(skip)]
    pub skipped: Vec<Skipped>,
}

/// A manifest as it is written.
#[derive(Deserialize)]
struct Written {
    v: u32,
    component: ComponentName,
    version: Version,
    #[serde(default)]
    min_agent: Option<Version>,
    artifacts: Vec<Members>,
    /// Judged before.
    #[serde(default, rename = "critical")]
    _critical: Vec<String>,
}

/// An artifact that this version cannot install, anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// Its platform as written, printable.
    pub platform: String,
    /// What of it is not known here.
    pub unknown: Unreadable,
}

/// One file to be installed, or the archive it is in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Artifact {
    /// Which devices it is for.
    pub platform: Platform,
    /// The subject's name in the provenance: `kubeedge-v1.23.1-linux-amd64.tar.gz`.
    pub name: String,
    /// Size in bytes; more is never read.
    pub size: u64,
    /// SHA-256 of the file as downloaded.
    pub sha256: Sha256,
    /// SHA-512 of the same, for provenance that names only that (npm does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<Sha512>,
    /// Where to get it, tried in turn: absolute, or relative to the repository's URL.
    pub urls: Vec<String>,
    /// What the file is.
    pub format: Format,
    /// The archive's member to be installed; only with an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Size in bytes of that member once it is unpacked; a device makes room for so much and unpacks no more. Unknown of releases that
    /// were made before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked: Option<u64>,
    /// The Sigstore bundle that proves its build.
    pub provenance: Provenance,
}

/// What a downloaded file is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Format {
    /// The file itself is what is installed.
    #[serde(rename = "file")]
    File,
    /// A gzip-compressed tar archive; one member is installed.
    #[serde(rename = "tar.gz")]
    TarGz,
}

impl Format {
    const ALL: [Self; 2] = [Self::File, Self::TarGz];

    /// Its name in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::TarGz => "tar.gz",
        }
    }
}

/// Where the Sigstore bundle is. It authenticates itself; size and digest bound what is fetched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Provenance {
    /// Where to get it, as in [`Artifact::urls`].
    pub urls: Vec<String>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the Sigstore bundle's bytes.
    pub sha256: Sha256,
}

/// A manifest for four platforms is about 4 KiB; ten times that is generous.
pub const MANIFEST_LIMITS: json::Limits = json::Limits { bytes: 64 * 1024, depth: 8 };
/// Platforms a release may have, with room for variants.
const ARTIFACT_LIMIT: usize = 32;
/// Places to try for one file.
const URL_LIMIT: usize = 8;
/// Longest URL, member or file name in bytes.
const TEXT_LIMIT: usize = 2048;
/// Largest Sigstore bundle: real ones are 5 to 25 KB; sigstore-go reads at most 32 MB, a device need not.
pub const PROVENANCE_LIMIT: u64 = 1024 * 1024;

impl Manifest {
    /// The TUF target path of a release's manifest.
    #[must_use]
    pub fn target(component: &ComponentName, version: &Version) -> String {
        format!("releases/{component}/{version}.json")
    }

    /// Parses a manifest and checks everything that can be checked without trust.
    ///
    /// ```
    /// use slipway_protocol::{Manifest, Platform};
    ///
    /// let file = br#"{
    ///     "v": 1, "component": "edgecore", "version": "v1.23.1",
    ///     "artifacts": [{
    ///         "platform": "linux/arm64", "name": "edgecore", "size": 3, "format": "file",
    ///         "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ///         "urls": ["artifacts/edgecore"],
    ///         "provenance": {
    ///             "urls": ["artifacts/edgecore.sigstore.json"], "size": 9000,
    ///             "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    ///         }
    ///     }]
    /// }"#;
    /// let manifest = Manifest::parse(file).map_err(|why| why.to_string())?;
    /// assert_eq!(manifest.artifact(Platform::LinuxArm64).unwrap().size, 3);
    /// assert!(manifest.artifact(Platform::LinuxAmd64).is_none());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// Says which member is wrong and why, or that only a newer agent may use it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (written, _): (Written, Members) = growth::read("manifest", bytes, MANIFEST_LIMITS)?;
        let Written { v, component, version, min_agent, artifacts: listed, .. } = written;
        if listed.is_empty() || listed.len() > ARTIFACT_LIMIT {
            return Err(format!("manifest has {} artifacts, expected 1 to {ARTIFACT_LIMIT}", listed.len()).into());
        }
        let mut manifest = Self { v, component, version, min_agent, artifacts: Vec::new(), skipped: Vec::new() };
        let mut platforms = BTreeSet::new();
        for (n, artifact) in (1_usize..).zip(listed) {
            let header: Header = read(&artifact).map_err(|error| format!("manifest is malformed: artifact {n}: {error}"))?;
            match header.unknown(&artifact) {
                // Beside one that is skipped, another one for the same platform may be meant for older agents.
                Ok(()) if !platforms.insert(header.platform.clone()) => {
                    return Err(format!("manifest has two artifacts for {}", header.platform).into());
                }
                Ok(()) => {
                    let artifact: Artifact =
                        read(&artifact).map_err(|error| format!("manifest is malformed: artifact {n}: {error}"))?;
                    artifact.validate()?;
                    manifest.artifacts.push(artifact);
                }
                Err(malformed @ Unreadable::Malformed(_)) => return Err(malformed),
                Err(unknown) => {
                    let platform = crate::refusal::printable(&header.platform);
                    manifest.skipped.push(Skipped { platform, unknown });
                }
            }
        }
        Ok(manifest)
    }

    /// What of the artifact for `platform` is not known here, if that is why there is none.
    #[must_use]
    pub fn skipped(&self, platform: Platform) -> Option<&Unreadable> {
        self.skipped.iter().find(|skipped| skipped.platform == platform.as_str()).map(|skipped| &skipped.unknown)
    }

    /// The artifact for `platform`; one for that very platform before one that runs everywhere.
    #[must_use]
    pub fn artifact(&self, platform: Platform) -> Option<&Artifact> {
        let of = |wanted| self.artifacts.iter().find(|artifact| artifact.platform == wanted);
        of(platform).or_else(|| of(Platform::Any))
    }
}

/// What tells whether an artifact can be read at all.
#[derive(Deserialize)]
struct Header {
    platform: String,
    format: String,
    #[serde(default)]
    provenance: Members,
}

impl Header {
    fn unknown(&self, artifact: &Members) -> Result<(), Unreadable> {
        growth::understood("artifact", artifact, growth::members::<Artifact>())?;
        growth::understood("provenance", &self.provenance, growth::members::<Provenance>())?;
        if self.platform.parse::<Platform>().is_err() {
            let platform = crate::refusal::printable(&self.platform);
            return Err(Unreadable::Format(format!("artifact is for the platform {platform:?}")));
        }
        if !Format::ALL.iter().any(|format| format.as_str() == self.format) {
            let format = crate::refusal::printable(&self.format);
            return Err(Unreadable::Format(format!("artifact for {} has the format {format:?}", self.platform)));
        }
        Ok(())
    }
}

fn read<T: serde::de::DeserializeOwned>(artifact: &Members) -> Result<T, serde_json::Error> {
    json::from_value(&serde_json::Value::Object(artifact.clone()))
}

impl Artifact {
    fn validate(&self) -> Result<(), String> {
        let named = |what: &str, text: &str| {
            if text.is_empty() || text.len() > TEXT_LIMIT || text.chars().any(char::is_control) {
                Err(format!(
                    "artifact {:?}: {what} must have 1 to {TEXT_LIMIT} printable bytes",
                    crate::refusal::printable(&self.name)
                ))
            } else {
                Ok(())
            }
        };
        named("name", &self.name)?;
        for urls in [&self.urls, &self.provenance.urls] {
            if urls.is_empty() || urls.len() > URL_LIMIT {
                return Err(format!("artifact {}: {} URLs, expected 1 to {URL_LIMIT}", self.name, urls.len()));
            }
            urls.iter().try_for_each(|url| named("URL", url))?;
        }
        if self.size == 0 {
            return Err(format!("artifact {}: size 0", self.name));
        }
        if self.provenance.size == 0 || self.provenance.size > PROVENANCE_LIMIT {
            return Err(format!(
                "artifact {}: provenance of {} bytes, expected 1 to {PROVENANCE_LIMIT}",
                self.name, self.provenance.size
            ));
        }
        if self.unpacked.is_some() && self.format != Format::TarGz {
            return Err(format!("artifact {}: a bare file is not unpacked", self.name));
        }
        match (self.format, &self.member) {
            (Format::File, None) => Ok(()),
            (Format::TarGz, Some(member)) => named("member", member),
            (Format::File, Some(_)) => Err(format!("artifact {}: a bare file has no members", self.name)),
            (Format::TarGz, None) => Err(format!("artifact {}: the archive's member to install is missing", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn artifact(platform: &str, format: &str) -> Value {
        json!({
            "platform": platform, "name": "a.tar.gz", "size": 1, "sha256": "00".repeat(32), "urls": ["a"], "format": format,
            "provenance": {"urls": ["p"], "size": 1, "sha256": "00".repeat(32)},
        })
    }

    fn manifest(artifacts: &[Value]) -> Value {
        json!({"v": 1, "component": "edgecore", "version": "v1.23.1", "artifacts": artifacts})
    }

    fn parse(manifest: &Value) -> Result<Manifest, Unreadable> {
        Manifest::parse(manifest.to_string().as_bytes())
    }

    /// Each failed while the member, platform or format was an error.
    #[test]
    fn what_is_unknown_is_ignored_or_skipped() {
        let mut any = manifest(&[artifact("any", "file")]);
        any["notes"] = json!({"a": [1]});
        any["min_agent"] = json!("0.3.0");
        any["artifacts"][0]["unheard_of"] = json!(7);
        any["artifacts"][0]["provenance"]["kind"] = json!("x");
        let read = parse(&any).unwrap();
        assert_eq!((read.artifacts.len(), read.skipped.len(), read.min_agent), (1, 0, "0.3.0".parse().ok()));

        let mut critical = artifact("linux/arm64", "file");
        critical["zstd"] = json!(true);
        critical["critical"] = json!(["zstd"]);
        let mut proof = artifact("linux/arm", "file");
        proof["provenance"]["kind"] = json!("x");
        proof["provenance"]["critical"] = json!(["kind"]);
        // What only a newer agent can read may look like nothing that is known here.
        let strange = json!({"platform": "linux/riscv64", "format": "erofs", "blocks": []});
        let older = artifact("linux/amd64", "file");
        let read = parse(&manifest(&[artifact("linux/amd64", "tar.zst"), older])).unwrap();
        assert_eq!((read.artifacts.len(), read.skipped.len()), (1, 1), "one format for newer agents, one for older ones");
        let read = parse(&manifest(&[artifact("linux/amd64", "tar.zst"), strange, critical, proof])).unwrap();
        assert!(read.artifacts.is_empty());
        let skipped: Vec<_> = read.skipped.iter().map(|one| one.platform.as_str()).collect();
        assert_eq!(skipped, ["linux/amd64", "linux/riscv64", "linux/arm64", "linux/arm"]);
        assert!(matches!(read.skipped(Platform::LinuxAmd64), Some(Unreadable::Format(_))));
        assert!(matches!(read.skipped(Platform::LinuxArm64), Some(Unreadable::Critical(_))));
        assert!(read.skipped(Platform::Any).is_none());
    }

    #[test]
    fn what_must_be_understood_is_not_read_around() {
        let mut critical = manifest(&[artifact("any", "file")]);
        critical["after"] = json!("keadm");
        critical["critical"] = json!(["after"]);
        assert!(matches!(parse(&critical), Err(Unreadable::Critical(_))));
        assert!(matches!(parse(&json!({"v": 2, "releases": []})), Err(Unreadable::Format(_))));
    }

    #[test]
    fn wrong_types_and_repeated_members_do_not_parse() {
        let twice = manifest(&[artifact("any", "file"), artifact("any", "file")]);
        let mut wrong = vec![twice, manifest(&[])];
        for (member, value) in [("v", json!("1")), ("min_agent", json!(3)), ("artifacts", json!({})), ("critical", json!("v"))] {
            let mut one = manifest(&[artifact("any", "file")]);
            one[member] = value;
            wrong.push(one);
        }
        for (member, value) in [("platform", json!(1)), ("format", json!(null)), ("size", json!("1")), ("provenance", json!([]))]
        {
            let mut one = manifest(&[artifact("any", "file")]);
            one["artifacts"][0][member] = value;
            wrong.push(one);
        }
        for one in wrong {
            assert!(matches!(parse(&one), Err(Unreadable::Malformed(_))), "{one}");
        }
        let repeated = manifest(&[artifact("any", "file")]).to_string().replace(r#""v":1"#, r#""v":1,"v":1"#);
        assert!(matches!(Manifest::parse(repeated.as_bytes()), Err(Unreadable::Malformed(_))));
    }
}
