//! The available keys: those in the `keys` folder and those given on the command line.
//!
//! A key is unlocked only when it must sign.

use crate::error::{Cause, KEY, PASSWORD, file};
use crate::keys::{Password, SecretKey, is_encrypted, public_path, read_public};
use crate::public_key::PublicKey;
use slipway_protocol::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Asks for the password of a key file.
pub type Ask = Box<dyn Fn(&Path) -> Result<Password, Refusal> + Send + Sync>;

/// The available keys, identified by their public bytes: metadata may call one key by any id.
#[derive(Default)]
pub struct Keyring {
    keys: BTreeMap<Vec<u8>, Entry>,
    ask: Option<Ask>,
    /// What opened a key before is tried first: people use one password for several keys.
    known: Vec<Password>,
    /// The keys that somebody named, and all whose signature a change could take.
    named: Vec<PublicKey>,
    asked: BTreeSet<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Entry {
    Open(SecretKey),
    Locked(PathBuf),
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.values()).finish()
    }
}

impl Keyring {
    /// An empty key ring that asks for passwords in this way.
    #[must_use]
    pub fn new(ask: Option<Ask>) -> Self {
        Self { ask, ..Self::default() }
    }

    /// Adds every `*.pem` in `folder`. No folder is fine: with all keys elsewhere, status and bundles still work.
    ///
    /// # Errors
    /// `SLW-O-KEY` for a file that is no key or that others may read.
    pub fn add_folder(&mut self, folder: &Path) -> Result<(), Refusal> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file(folder, &error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| file(folder, &error))?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                self.add_file(&path)?;
            }
        }
        Ok(())
    }

    /// Adds a key file; one that is encrypted and has its public half beside it stays locked until it must sign.
    ///
    /// # Errors
    /// `SLW-O-KEY` for a file that is no key or that others may read. `SLW-O-PASSWORD`.
    pub fn add_file(&mut self, path: &Path) -> Result<PublicKey, Refusal> {
        let pem = zeroize::Zeroizing::new(crate::files::read(path)?);
        if is_encrypted(&String::from_utf8_lossy(&pem)) && public_path(path).is_file() {
            let public = read_public(path)?;
            self.keys.entry(public.spki()?).or_insert_with(|| Entry::Locked(path.to_owned()));
            return Ok(public);
        }
        let key = self.unlock(path)?;
        let public = key.public().clone();
        self.add(key);
        Ok(public)
    }

    /// Adds a key file and asks for its password at once, if it has one.
    ///
    /// # Errors
    /// As [`Self::add_file`] and [`Self::open`].
    pub fn unlock_file(&mut self, path: &Path) -> Result<PublicKey, Refusal> {
        let public = self.add_file(path)?;
        self.open(&public)?;
        self.named.push(public.clone());
        Ok(public)
    }

    /// Remembers that a change takes signatures of this key.
    pub(crate) fn ask_for(&mut self, public: &PublicKey) -> Result<(), Refusal> {
        self.asked.insert(public.spki()?);
        Ok(())
    }

    /// The keys that somebody named although no change had a use for them. None as long as nothing was to be signed at all.
    pub(crate) fn idle(&self) -> Vec<&PublicKey> {
        let idle = |key: &&PublicKey| !self.asked.is_empty() && key.spki().is_ok_and(|spki| !self.asked.contains(&spki));
        self.named.iter().filter(idle).collect()
    }

    /// Adds a key.
    pub fn add(&mut self, key: SecretKey) {
        self.keys.insert(key.spki().to_vec(), Entry::Open(key));
    }

    /// Whether the secret of this key is here, locked or not.
    #[must_use]
    pub fn has(&self, public: &PublicKey) -> bool {
        public.spki().is_ok_and(|spki| self.keys.contains_key(&spki))
    }

    /// The secret of this key, if it is here; asks for its password if it must.
    ///
    /// # Errors
    /// `SLW-O-PASSWORD`, and `SLW-O-KEY` when the file holds another key than its `.pub` says.
    pub fn open(&mut self, public: &PublicKey) -> Result<Option<&SecretKey>, Refusal> {
        let spki = public.spki()?;
        if let Some(Entry::Locked(path)) = self.keys.get(&spki) {
            let path = path.clone();
            let key = self.unlock(&path)?;
            if key.spki() != spki {
                return Err(KEY.with(
                    format_args!("{} has a different key than {}", path.display(), public_path(&path).display()),
                    "the two halves of one key",
                ));
            }
            self.add(key);
        }
        Ok(match self.keys.get(&spki) {
            Some(Entry::Open(key)) => Some(key),
            _ => None,
        })
    }

    /// Whether it can sign without asking for a password.
    pub(crate) fn is_open(&self, public: &PublicKey) -> bool {
        public.spki().is_ok_and(|spki| matches!(self.keys.get(&spki), Some(Entry::Open(_))))
    }

    fn unlock(&mut self, path: &Path) -> Result<SecretKey, Refusal> {
        for password in &self.known {
            match SecretKey::read(path, || Ok(password.clone())) {
                Err(refusal) if Cause::of(&refusal) == Some(Cause::Password) => {}
                settled => return settled,
            }
        }
        let mut given = None;
        let ask = || {
            let ask = self.ask.as_ref().ok_or_else(|| PASSWORD.with("none", "the key's password"))?;
            let password = ask(path)?;
            given = Some(password.clone());
            Ok(password)
        };
        let key = SecretKey::read(path, ask)?;
        self.known.extend(given);
        Ok(key)
    }
}
