//! Imitates a KubeEdge release in a folder: archives, checksum files and provenance under the names KubeEdge gives them.
//!
//! The private Sigstore signs the provenance, as the version of slsa-github-generator that this KubeEdge release used would sign it.
//! Unlike the real provenance, which covers all archives of a release, it covers only the ones that are written.

use super::{Dials, checksum, checksum_name, payload, tarball, tarball_name};
use crate::sigstore::{Attestation, PrivateSigstore, Subject};
use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};

/// The provenance file's name in every KubeEdge release.
pub const PROVENANCE_NAME: &str = "multiple.intoto.jsonl";

/// One archive of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// `amd64`, `arm64`, `arm`.
    pub arch: String,
    /// Its file name.
    pub name: String,
    /// Where it was written.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 in hex: what the provenance is about.
    pub sha256: String,
    /// SHA-256 in hex of the edgecore inside.
    pub edgecore_sha256: String,
}

/// A release that was written to a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `v1.23.1`.
    pub version: String,
    /// Its archives, in the order asked for.
    pub archives: Vec<Archive>,
    /// `multiple.intoto.jsonl`, a Sigstore bundle about all archives.
    pub provenance: PathBuf,
}

impl Release {
    /// Packs stand-ins with these dials for every architecture, attests them as KubeEdge's own release would be attested, and writes
    /// everything into `dir`.
    pub fn write(dir: &Path, sigstore: &PrivateSigstore, host: &Path, archs: &[&str], dials: &Dials) -> Result<Self> {
        Self::write_attested(dir, sigstore, host, archs, dials, Attestation::kubeedge(&dials.version))
    }

    /// The same with provenance of one's own; the archives are added to its subjects.
    pub fn write_attested(
        dir: &Path,
        sigstore: &PrivateSigstore,
        host: &Path,
        archs: &[&str],
        dials: &Dials,
        mut attestation: Attestation,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let write = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
            let path = dir.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        };
        let edgecore = payload(host, dials)?;
        let mut archives = Vec::new();
        for arch in archs {
            let name = tarball_name(&dials.version, arch);
            let bytes = tarball(&dials.version, arch, &edgecore);
            write(&checksum_name(&dials.version, arch), checksum(&bytes).as_bytes())?;
            attestation.subjects.push(Subject::of(&name, &bytes));
            archives.push(Archive {
                arch: (*arch).to_owned(),
                path: write(&name, &bytes)?,
                name,
                size: bytes.len() as u64,
                sha256: hex::encode(Sha256::digest(&bytes)),
                edgecore_sha256: hex::encode(Sha256::digest(&edgecore)),
            });
        }
        let provenance = write(PROVENANCE_NAME, &sigstore.attest(&attestation))?;
        Ok(Self { version: dials.version.clone(), archives, provenance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_the_files_of_a_kubeedge_release() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host");
        std::fs::write(&host, b"host").unwrap();
        let out = dir.path().join("v1.23.1");
        let sigstore = PrivateSigstore::new("ours");
        let release = Release::write(&out, &sigstore, &host, &["amd64", "arm64"], &Dials::healthy("v1.23.1")).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(
            names,
            [
                "checksum_kubeedge-v1.23.1-linux-amd64.tar.gz.txt",
                "checksum_kubeedge-v1.23.1-linux-arm64.tar.gz.txt",
                "kubeedge-v1.23.1-linux-amd64.tar.gz",
                "kubeedge-v1.23.1-linux-arm64.tar.gz",
                "multiple.intoto.jsonl",
            ]
        );
        let [amd64, arm64] = &release.archives[..] else { panic!("two archives") };
        assert_eq!(amd64.size, std::fs::metadata(&amd64.path).unwrap().len());
        assert_ne!(amd64.sha256, arm64.sha256, "the architecture is in the paths inside");
        let bundle: serde_json::Value = serde_json::from_slice(&std::fs::read(&release.provenance).unwrap()).unwrap();
        assert!(bundle["dsseEnvelope"]["payload"].is_string());
    }
}
