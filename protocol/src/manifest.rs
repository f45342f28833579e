//! A release: what it consists of per platform, with digests, sizes, places and provenance.
//!
//! TUF target `releases/<component>/<version>.json`, signed by the release keys.

use crate::{ComponentName, Platform, Sha256, Sha512, Version, json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One version of a component.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Format; only 1 is known.
    pub v: u32,
    /// What it is a release of.
    pub component: ComponentName,
    /// Which one.
    pub version: Version,
    /// What to install, one per platform.
    pub artifacts: Vec<Artifact>,
}

/// One file to be installed, or the archive it is in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
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

/// Where the Sigstore bundle is. It authenticates itself; size and digest bound what is fetched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
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
    /// let manifest = Manifest::parse(file)?;
    /// assert_eq!(manifest.artifact(Platform::LinuxArm64).unwrap().size, 3);
    /// assert!(manifest.artifact(Platform::LinuxAmd64).is_none());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// Says which member is wrong and why.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = json::parse(bytes, MANIFEST_LIMITS).map_err(|error| format!("manifest is malformed: {error}"))?;
        if manifest.v != 1 {
            return Err(format!("manifest has format {}, this agent knows 1", manifest.v));
        }
        if manifest.artifacts.is_empty() || manifest.artifacts.len() > ARTIFACT_LIMIT {
            return Err(format!("manifest has {} artifacts, expected 1 to {ARTIFACT_LIMIT}", manifest.artifacts.len()));
        }
        let mut platforms = BTreeSet::new();
        for artifact in &manifest.artifacts {
            artifact.validate()?;
            if !platforms.insert(artifact.platform) {
                return Err(format!("manifest has two artifacts for {}", artifact.platform));
            }
        }
        Ok(manifest)
    }

    /// The artifact for `platform`; one for that very platform before one that runs everywhere.
    #[must_use]
    pub fn artifact(&self, platform: Platform) -> Option<&Artifact> {
        let of = |wanted| self.artifacts.iter().find(|artifact| artifact.platform == wanted);
        of(platform).or_else(|| of(Platform::Any))
    }
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
        match (self.format, &self.member) {
            (Format::File, None) => Ok(()),
            (Format::TarGz, Some(member)) => named("member", member),
            (Format::File, Some(_)) => Err(format!("artifact {}: a bare file has no members", self.name)),
            (Format::TarGz, None) => Err(format!("artifact {}: the archive's member to install is missing", self.name)),
        }
    }
}
