//! `slipway mirror`: Sigstore's trusted root, for devices that do not fetch it from Sigstore.

use crate::cli::signing::{Signing, conclude};
use crate::{now, read, say};
use clap::Subcommand;
use slipway_operator::mirror::Source;
use slipway_operator::repo::SIGSTORE_ROOT;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Mirror {
    /// Follow Sigstore's TUF repository and publish its trusted root as a target of this one
    ///
    /// The mirrored root is verified from the root that this program ships. An older one than the last mirrored one is refused.
    Sigstore {
        /// The repository
        dir: PathBuf,
        /// Sigstore's TUF repository: a URL, or a folder with a copy of it
        #[arg(long, value_name = "URL_OR_DIR", default_value = "https://tuf-repo-cdn.sigstore.dev/")]
        from: Source,
        /// First root to trust, for an instance other than the public one
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
        #[command(flatten)]
        signing: Signing,
    },
}

impl Mirror {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Sigstore { dir, from, root, signing } = self;
        let root = root.as_deref().map(read).transpose()?;
        let mut repo = signing.open(&dir)?;
        let mirrored = repo.mirror_sigstore(&from, root.as_deref(), now())?;
        let roles: Vec<String> = mirrored.roles.iter().map(|(role, version)| format!("{role} {version}")).collect();
        say(&format!("verified {}", roles.join(", ")))?;
        if !mirrored.changed {
            return say(&format!("{SIGSTORE_ROOT} is unchanged"));
        }
        conclude(&repo, &format!("published {SIGSTORE_ROOT}"))
    }
}
