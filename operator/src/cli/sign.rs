//! `slipway sign`, `publish`, `discard` and `renew`: changes that need keys from elsewhere.

use crate::cli::signing::{Signing, conclude, warn_idle};
use crate::{now, say};
use anyhow::Context as _;
use clap::Args;
use slipway_operator::error::{KEY, ROLE, STAGED};
use slipway_operator::keyring::Keyring;
use slipway_operator::staged::Change;
use slipway_operator::{Repo, Role};
use std::io::{BufRead as _, IsTerminal as _, Write as _, stderr, stdin};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Sign {
    /// File with the change, or the repository
    #[arg(value_name = "FILE_OR_REPO")]
    what: PathBuf,
    /// Only show what would be signed
    #[arg(long)]
    show: bool,
    /// Do not ask. Without a terminal, this or a line `y` on standard input is required
    #[arg(long)]
    yes: bool,
    /// Copy of the repository: the file must agree with it about what is published
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

impl Sign {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.what.is_dir() { self.in_repository() } else { self.in_file() }
    }

    fn in_repository(self) -> anyhow::Result<()> {
        let mut repo = self.signing.open_without(&self.what)?;
        if repo.staged().is_empty() {
            return Err(STAGED.with("nothing", "a change to sign").into());
        }
        if !self.agree(repo.staged())? {
            return Ok(());
        }
        self.signing.keys.iter().try_for_each(|path| repo.unlock(path))?;
        let signed = repo.sign(None, now())?;
        if signed.is_empty() && !self.signing.keys.is_empty() {
            return Err(ROLE.with("no signature of this key is missing", "a key of a role that lacks signatures").into());
        }
        conclude(&repo, &format!("published; timestamp is now version {}", repo.timestamp_version()))
    }

    fn in_file(self) -> anyhow::Result<()> {
        let mut change = Change::read(&self.what)?;
        if !self.show && self.signing.keys.is_empty() {
            return Err(KEY.with("none", "--key FILE").into());
        }
        if !self.agree(&change)? {
            return Ok(());
        }
        let mut keyring = Keyring::new(Some(self.signing.passwords().ask()));
        for path in &self.signing.keys {
            let public = keyring.unlock_file(path)?;
            let key = keyring.open(&public)?.context("the key")?;
            let signed = change.sign(key)?;
            if signed.is_empty() {
                return Err(ROLE
                    .with(format_args!("{} signs none of these roles", public.label()), "a key that must sign")
                    .into());
            }
            if !change.is_first() && self.against.is_none() && !change.is_known_to(key)? {
                say("note: this key has not signed the published root; use --against to check that this is your repository")?;
            }
            let roles: Vec<&str> = signed.iter().map(|role| role.name()).collect();
            say(&format!("signed {} with {}", roles.join(", "), public.label()))?;
        }
        change.write(&self.what)?;
        let waiting = change.waiting()?;
        waiting.iter().try_for_each(|waiting| say(&format!("waits for  {waiting}")))?;
        say(&format!("next: carry {} back, and run `slipway publish REPO FILE` there", self.what.display()))
    }

    /// Shows what a signature is for, and asks. False when it was only to be shown; no is an error.
    fn agree(&self, change: &Change) -> anyhow::Result<bool> {
        if let Some(copy) = &self.against {
            change.compare(copy)?;
        }
        say(&change.summary()?)?;
        if self.show {
            change.waiting()?.iter().try_for_each(|waiting| say(&format!("waits for  {waiting}")))?;
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        let person = stdin().is_terminal();
        if person {
            write!(stderr(), "Sign this? [y/N] ")?;
            stderr().flush()?;
        }
        let mut answer = String::new();
        let read = stdin().lock().read_line(&mut answer)?;
        anyhow::ensure!(read > 0 || person, "not signed; nothing changed: there is no terminal to ask on; give --yes");
        anyhow::ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "not signed; nothing changed");
        Ok(true)
    }
}

#[derive(Args)]
pub(crate) struct Publish {
    /// The repository
    dir: PathBuf,
    /// Signed copies of the change
    files: Vec<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

impl Publish {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut repo = self.signing.open(&self.dir)?;
        repo.publish(&self.files, now())?;
        warn_idle(&repo)?;
        say(&format!("published; timestamp is now version {}", repo.timestamp_version()))
    }
}

#[derive(Args)]
pub(crate) struct Discard {
    /// The repository
    dir: PathBuf,
}

impl Discard {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut repo = Repo::open_with(&self.dir, Keyring::default())?;
        if repo.staged().is_empty() {
            repo.discard()?;
            return say("nothing waits for signatures");
        }
        repo.discard()?;
        say("dropped the change that waited for signatures; the published state is unchanged")
    }
}

#[derive(Args)]
pub(crate) struct Renew {
    /// The repository
    dir: PathBuf,
    /// Roles to sign again with a later expiry: root, targets, releases, channels
    #[arg(required = true)]
    roles: Vec<Role>,
    #[command(flatten)]
    signing: Signing,
}

impl Renew {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut repo = self.signing.open(&self.dir)?;
        repo.renew_roles(&self.roles, now())?;
        conclude(&repo, &format!("published; timestamp is now version {}", repo.timestamp_version()))
    }
}
