//! The operator's side of a fleet: keys, a repository on a web server, a private Sigstore, releases.

use anyhow::{Context as _, Result};
use slipway_operator::{ArtifactOptions, ChannelChange, InitOptions, ReleaseOptions, Repo};
use slipway_protocol::{ChannelName, ComponentName, Platform, Version};
use slipway_testkit::edgecore::{self, Dials};
use slipway_testkit::server::ReleaseServer;
use slipway_testkit::sigstore::{Attestation, PrivateSigstore};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The policy of the fleet: exactly what the preset for KubeEdge asks.
pub const POLICY: &str = "component = \"edgecore\"\npreset = \"kubeedge\"\n";

/// A working operator.
#[derive(Debug)]
pub struct Factory {
    dir: TempDir,
    /// The private Sigstore that devices trust.
    pub sigstore: PrivateSigstore,
    /// The web server over the repository.
    pub server: ReleaseServer,
    /// The program that becomes the stand-in for edgecore.
    standin: PathBuf,
}

/// The component all of this is about.
#[must_use]
pub fn edgecore_name() -> ComponentName {
    "edgecore".parse().expect("a constant name")
}

/// The channel that devices follow.
#[must_use]
pub fn stable() -> ChannelName {
    "stable".parse().expect("a constant name")
}

impl Factory {
    /// Makes keys, a repository with policy and Sigstore root, and serves it. `standin` hosts the dials of every release.
    ///
    /// # Errors
    /// When anything of that fails.
    pub fn new(standin: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let repo = dir.path().join("repo");
        let sigstore = PrivateSigstore::new("factory");
        let mut opened = Repo::init(&repo, &InitOptions::default(), now())?;
        opened.add_policy(POLICY.as_bytes(), now())?;
        opened.add_sigstore_root(&sigstore.trusted_root(), now())?;
        let server = ReleaseServer::start(&opened.public_dir())?;
        Ok(Self { dir, sigstore, server, standin: standin.to_owned() })
    }

    /// The operator's folder, for `slipway` commands.
    #[must_use]
    pub fn repo_dir(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// The repository, as the operator's tool opens it.
    ///
    /// # Errors
    /// When it is not intact.
    pub fn repo(&self) -> Result<Repo> {
        Ok(Repo::open(&self.repo_dir())?)
    }

    /// The TUF root that devices are born with.
    ///
    /// # Errors
    /// When the repository is not intact.
    pub fn root(&self) -> Result<Vec<u8>> {
        Ok(self.repo()?.initial_root()?)
    }

    /// Builds, attests, signs and publishes a release; no channel points at it yet.
    ///
    /// # Errors
    /// When the operator's tool refuses.
    pub fn release(&self, dials: &Dials) -> Result<edgecore::Release> {
        self.release_attested(dials, Attestation::kubeedge(&dials.version), false)
    }

    /// The same with provenance of one's own; `unsafe_skip_verify` publishes what the operator's tool would refuse.
    ///
    /// # Errors
    /// When the operator's tool refuses.
    pub fn release_attested(
        &self,
        dials: &Dials,
        attestation: Attestation,
        unsafe_skip_verify: bool,
    ) -> Result<edgecore::Release> {
        self.release_signed_by(&self.sigstore, dials, attestation, unsafe_skip_verify)
    }

    /// The same with the certificate and the log of another Sigstore.
    ///
    /// # Errors
    /// When the operator's tool refuses.
    pub fn release_signed_by(
        &self,
        sigstore: &PrivateSigstore,
        dials: &Dials,
        attestation: Attestation,
        unsafe_skip_verify: bool,
    ) -> Result<edgecore::Release> {
        let platform = Platform::current();
        let out = self.dir.path().join("builds").join(&dials.version);
        let attestation = attestation.at(now().as_second() - 60);
        let release = edgecore::Release::write_attested(&out, sigstore, &self.standin, &[platform.arch()], dials, attestation)?;
        let archive = release.archives.first().context("an archive")?;
        let artifact = ArtifactOptions {
            platform,
            file: archive.path.clone(),
            name: None,
            member: None,
            provenance: release.provenance.clone(),
            urls: Vec::new(),
        };
        let version = parse_version(&dials.version)?;
        let options = ReleaseOptions {
            component: edgecore_name(),
            version,
            artifacts: vec![artifact],
            min_agent: None,
            unsafe_skip_verify,
        };
        self.repo()?.release(&options, now())?;
        Ok(release)
    }

    /// Points the channel `stable` at a release.
    ///
    /// # Errors
    /// When there is no such release.
    pub fn point(&self, version: &str) -> Result<()> {
        self.change(&ChannelChange { release: Some(parse_version(version)?), ..ChannelChange::default() })
    }

    /// Changes the channel `stable`.
    ///
    /// # Errors
    /// When the change is a contradiction.
    pub fn change(&self, change: &ChannelChange) -> Result<()> {
        self.repo()?.channel(&edgecore_name(), &stable(), change, now())?;
        Ok(())
    }

    /// Builds a release and points the channel at it.
    ///
    /// # Errors
    /// As both.
    pub fn ship(&self, dials: &Dials) -> Result<edgecore::Release> {
        let release = self.release(dials)?;
        self.point(&dials.version)?;
        Ok(release)
    }

    /// Where the server has a release's archive, for faults.
    #[must_use]
    pub fn artifact_path(&self, release: &edgecore::Release) -> String {
        let name = release.archives.first().map(|archive| archive.name.clone()).unwrap_or_default();
        let public = self.repo_dir().join("public");
        find(&public.join("artifacts"), &name)
            .and_then(|path| path.strip_prefix(&public).ok().map(|path| path.display().to_string()))
            .unwrap_or(name)
    }

    /// Packs an offline bundle of what the channel names.
    ///
    /// # Errors
    /// When the channel names nothing.
    pub fn bundle(&self, out: &Path) -> Result<()> {
        self.repo()?.bundle(&edgecore_name(), &stable(), &[Platform::current()], out)?;
        Ok(())
    }
}

/// The file below `dir` whose name ends like this: published files have their digest before their name.
#[must_use]
pub fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            find(&path, name)
        } else {
            path.file_name().is_some_and(|file| file.to_string_lossy().ends_with(name)).then_some(path)
        }
    })
}

fn parse_version(text: &str) -> Result<Version> {
    text.parse().map_err(anyhow::Error::msg)
}

/// The operator's wall clock.
#[must_use]
pub fn now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the simulated operator works in real time")]
    jiff::Timestamp::now()
}
