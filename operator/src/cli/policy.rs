//! `slipway policy` and `slipway sigstore`: what the targets role signs by hand.

use crate::cli::signing::{Signing, conclude};
use crate::{now, read, verify};
use clap::Subcommand;
use slipway_operator::repo::SIGSTORE_ROOT;
use slipway_verify::SigstoreRoot;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Add or replace a component's policy
    Add {
        /// The repository
        dir: PathBuf,
        /// The policy, TOML
        file: PathBuf,
        #[command(flatten)]
        signing: Signing,
    },
    /// Explain what a policy accepts
    Explain {
        /// The policy, TOML
        file: PathBuf,
    },
}

impl Policy {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Add { dir, file, signing } => {
                let mut repo = signing.open(&dir)?;
                let path = repo.add_policy(&read(&file)?, now())?;
                conclude(&repo, &format!("published {path}"))
            }
            Self::Explain { file } => verify::explain_policy(&file),
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Sigstore {
    /// Add or replace the trusted root
    Add {
        /// The repository
        dir: PathBuf,
        /// trusted_root.json
        #[arg(required_unless_present = "github")]
        file: Option<PathBuf>,
        /// Use the built-in trusted root of GitHub's instance for private repositories
        #[arg(long, conflicts_with = "file")]
        github: bool,
        #[command(flatten)]
        signing: Signing,
    },
}

impl Sigstore {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Add { dir, file, github: _, signing } = self;
        let mut repo = signing.open(&dir)?;
        let root = match file {
            Some(file) => read(&file)?,
            None => SigstoreRoot::github_json().as_bytes().to_vec(),
        };
        repo.add_sigstore_root(&root, now())?;
        conclude(&repo, &format!("published {SIGSTORE_ROOT}"))
    }
}
