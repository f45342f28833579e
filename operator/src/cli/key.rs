//! `slipway key`: creates keys, and says which roles they sign.

use crate::cli::signing::{Passwords, Signing, conclude};
use crate::{now, say};
use clap::{Args, Subcommand, ValueEnum};
use slipway_operator::Repo;
use slipway_operator::Role;
use slipway_operator::keyring::Keyring;
use slipway_operator::keys::{KeyType, SecretKey, public_path, read_public};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make a key: FILE with the encrypted secret key, and FILE.pub with its public half
    Generate(Generate),
    /// Add a key to a role
    Add {
        /// The repository
        dir: PathBuf,
        /// The role
        role: Role,
        /// Public half of the new key
        public: PathBuf,
        /// How many keys of the role must sign from now on
        #[arg(long)]
        threshold: Option<u32>,
        #[command(flatten)]
        signing: Signing,
    },
    /// Remove a key from its roles; the remaining keys sign again what it signed
    Revoke {
        /// The repository
        dir: PathBuf,
        /// Name of the key, the beginning of its id, or the file with its public half
        which: String,
        /// Only from this role
        #[arg(long)]
        role: Option<Role>,
        /// How many keys of those roles must sign from now on
        #[arg(long)]
        threshold: Option<u32>,
        #[command(flatten)]
        signing: Signing,
    },
    /// Replace a key of a role
    ///
    /// New timestamp or snapshot keys make every device forget the versions it has seen of them: the way back after a thief
    /// signed a version far in the future.
    Rotate {
        /// The repository
        dir: PathBuf,
        /// The role
        role: Role,
        /// The key to replace; optional if the role has only one
        #[arg(long, value_name = "KEY")]
        old: Option<String>,
        /// The new key's public half; without it, a key is made in the `keys` folder
        #[arg(long, value_name = "PUB")]
        new: Option<PathBuf>,
        /// Do not encrypt the key that is made. Those of snapshot and timestamp never are
        #[arg(long)]
        unencrypted: bool,
        #[command(flatten)]
        signing: Signing,
    },
    /// Set how many keys of a role must sign
    Threshold {
        /// The repository
        dir: PathBuf,
        /// The role
        role: Role,
        /// Number of keys that must sign
        threshold: u32,
        #[command(flatten)]
        signing: Signing,
    },
    /// List all keys with their roles and places
    List {
        /// The repository
        dir: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// The kind of a new key.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// ECDSA on P-256
    P256,
    /// Ed25519
    Ed25519,
}

#[derive(Args)]
pub(crate) struct Generate {
    /// File to make; `.pem` is added to a name without an ending
    file: PathBuf,
    /// Kind of key
    #[arg(long = "type", value_enum, default_value = "p256")]
    kind: Kind,
    /// Do not encrypt it: for keys that sign unattended, which are timestamp and snapshot keys and perhaps channel keys
    #[arg(long)]
    unencrypted: bool,
    #[command(flatten)]
    passwords: Passwords,
}

impl Generate {
    fn run(self) -> anyhow::Result<()> {
        let file = if self.file.extension().is_none() { self.file.with_extension("pem") } else { self.file };
        let password = self.passwords.new_password(&file.display().to_string(), self.unencrypted)?;
        let kind = match self.kind {
            Kind::P256 => KeyType::P256,
            Kind::Ed25519 => KeyType::Ed25519,
        };
        let key = SecretKey::generate(kind)?;
        key.write(&file, password.as_ref())?;
        say(&format!("secret  {}  {}", file.display(), if password.is_some() { "encrypted" } else { "NOT encrypted" }))?;
        say(&format!("public  {}  share this file", public_path(&file).display()))?;
        say(&format!("id      {}", key.id()))
    }
}

impl Key {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Generate(args) => args.run(),
            Self::Add { dir, role, public, threshold, signing } => {
                let mut repo = signing.open(&dir)?;
                let key = read_public(&public)?;
                repo.add_key(role, &key, threshold, now())?;
                conclude(&repo, &format!("{} is now a key of {role}", key.label()))
            }
            Self::Revoke { dir, which, role, threshold, signing } => {
                let mut repo = signing.open(&dir)?;
                let lost = repo.revoke_key(&name_or_id(which)?, role, threshold, now())?;
                let lost: Vec<&str> = lost.iter().map(|role| role.name()).collect();
                say(&format!("removed from {}; the remaining keys sign again what it signed", lost.join(", ")))?;
                conclude(&repo, "published")
            }
            Self::Rotate { dir, role, old, new, unencrypted, signing } => {
                let mut repo = signing.open(&dir)?;
                let old = old.map(name_or_id).transpose()?;
                let key = match new {
                    Some(public) => read_public(&public)?,
                    None => {
                        let unencrypted = unencrypted || Role::ONLINE.contains(&role);
                        let password = signing.passwords().new_password(&format!("the new {role} key"), unencrypted)?;
                        let (path, public) = repo.make_key(role, KeyType::P256, password.as_ref())?;
                        let state = if password.is_some() { "encrypted" } else { "NOT encrypted" };
                        say(&format!("made {}, {state}", path.display()))?;
                        public
                    }
                };
                repo.rotate_key(role, old.as_deref(), &key, now())?;
                conclude(&repo, &format!("{} now signs {role}; destroy the old key's file", key.label()))
            }
            Self::Threshold { dir, role, threshold, signing } => {
                let mut repo = signing.open(&dir)?;
                repo.set_threshold(role, threshold, now())?;
                conclude(&repo, &format!("{role} now requires {threshold} signatures"))
            }
            Self::List { dir, json } => list(&Repo::open_with(&dir, Keyring::default())?, json),
        }
    }
}

fn list(repo: &Repo, json: bool) -> anyhow::Result<()> {
    let keys = repo.known_keys()?;
    if json {
        return say(&serde_json::to_string_pretty(&keys)?);
    }
    say(&format!("{:<16} {:<64} {:<8} {:<10} ROLES", "NAME", "ID", "TYPE", "SECRET"))?;
    for key in keys {
        let place = if key.here { "here" } else { "elsewhere" };
        let roles: Vec<&str> = key.roles.iter().map(|role| role.name()).collect();
        let name = key.name.as_deref().unwrap_or("-");
        say(&format!("{name:<16} {:<64} {:<8} {place:<10} {}", key.id, key.keytype, roles.join(", ")))?;
    }
    Ok(())
}

/// A key may be given by the file of its public half.
fn name_or_id(which: String) -> anyhow::Result<String> {
    let path = PathBuf::from(&which);
    if path.extension().is_some() && path.is_file() { Ok(read_public(&path)?.id()?) } else { Ok(which) }
}
