//! `slipway release`: artifacts and provenance from the command line into a manifest.

use crate::cli::signing::{Signing, conclude};
use crate::{now, say};
use anyhow::Context as _;
use clap::Args;
use slipway_operator::kubeedge::KubeEdge;
use slipway_operator::release::ArtifactArg;
use slipway_operator::{ArtifactOptions, Outcome, ReleaseOptions};
use slipway_protocol::{ComponentName, Platform, Version};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct Release {
    /// The repository
    dir: PathBuf,
    /// Component that is released
    #[arg(long, default_value = "edgecore")]
    component: ComponentName,
    /// Version of the release; read from KubeEdge's file names by default
    #[arg(long)]
    version: Option<Version>,
    /// PLATFORM=FILE[,member=PATH][,name=NAME]; just FILE for KubeEdge's archives. PLATFORM is linux/amd64, linux/arm64,
    /// linux/arm or any; member is the program's path in an archive (without it, FILE is the program itself); name is the
    /// artifact's name in its provenance, if it is not the file's. Repeat for more platforms
    #[arg(long = "artifact", required_unless_present = "from_archive", value_name = "ARTIFACT")]
    artifacts: Vec<ArtifactArg>,
    /// Sigstore bundle that proves the build: FILE for all artifacts, or PLATFORM=FILE
    #[arg(long, required_unless_present = "from_archive", value_name = "FILE")]
    provenance: Vec<String>,
    /// A release that was retired, as its manifest in the repository's archive has it
    #[arg(long, conflicts_with_all = ["artifacts", "provenance", "urls"], requires = "version")]
    from_archive: bool,
    /// URL of a folder that also has the artifacts; devices try it first. Repeat for more
    #[arg(long = "url")]
    urls: Vec<String>,
    /// Oldest agent that may install it, as `slipway-agent version` prints; older ones hold until they are updated. Not for
    /// the agent's own releases
    #[arg(long, value_name = "VERSION")]
    min_agent: Option<Version>,
    /// Sign without verifying the provenance; devices still verify it
    #[arg(long)]
    unsafe_skip_verify: bool,
    #[command(flatten)]
    signing: Signing,
}

impl Release {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let file_name = |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(KubeEdge::of);
        let version = self
            .version
            .or_else(|| self.artifacts.iter().find_map(|artifact| Some(file_name(&artifact.file)?.version)))
            .context("no file name contains the version; give --version")?;
        if self.from_archive {
            let mut repo = self.signing.open(&self.dir)?;
            repo.release_again(&self.component, &version, self.unsafe_skip_verify, now())?;
            return conclude(&repo, &format!("released {} {version} again", self.component));
        }
        let mut artifacts = Vec::new();
        for artifact in self.artifacts {
            let named = |given: &String| {
                let (platform, path) = given.split_once('=')?;
                (platform.parse() == Ok(artifact.platform)).then(|| path.to_owned())
            };
            let common =
                |given: &&String| given.split_once('=').is_none_or(|(platform, _)| platform.parse::<Platform>().is_err());
            let provenance = self.provenance.iter().find_map(named).or_else(|| self.provenance.iter().find(common).cloned());
            artifacts.push(ArtifactOptions {
                platform: artifact.platform,
                file: artifact.file,
                name: artifact.name,
                member: artifact.member,
                provenance: provenance.with_context(|| format!("no --provenance for {}", artifact.platform))?.into(),
                urls: self.urls.clone(),
            });
        }
        let options = ReleaseOptions {
            component: self.component,
            version,
            artifacts,
            min_agent: self.min_agent,
            unsafe_skip_verify: self.unsafe_skip_verify,
        };
        let mut repo = self.signing.open(&self.dir)?;
        let manifest = repo.release(&options, now())?;
        let verb = if matches!(repo.outcome(), Outcome::Staged(_)) { "prepared" } else { "released" };
        say(&format!("{verb} {} {}", manifest.component, manifest.version))?;
        for artifact in &manifest.artifacts {
            say(&format!(
                "{:<12} {:>12} bytes  sha256:{}  {}",
                artifact.platform, artifact.size, artifact.sha256, artifact.name
            ))?;
            say(&format!("{:<12} installs {}", "", artifact.member.as_deref().unwrap_or("the file itself")))?;
        }
        let verified = if options.unsafe_skip_verify { "NOT verified here" } else { "verified with the repository's policy" };
        say(&format!("provenance {verified}"))?;
        let next = format!(
            "next: slipway channel {} --component {} --release {}",
            self.dir.display(),
            manifest.component,
            manifest.version
        );
        conclude(&repo, &next)
    }
}
