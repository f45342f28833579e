//! Options of all commands that sign: further keys, passwords, and the report of the result.

use crate::say;
use anyhow::Context as _;
use clap::Args;
use slipway_operator::error::PASSWORD;
use slipway_operator::keyring::{Ask, Keyring};
use slipway_operator::keys::Password;
use slipway_operator::{Outcome, Repo};
use slipway_protocol::Refusal;
use std::io::{IsTerminal as _, Write as _, stderr, stdin};
use std::path::{Path, PathBuf};

#[derive(Args, Clone, Debug)]
pub(crate) struct Passwords {
    /// File with the password of encrypted keys. Without it, SLIPWAY_KEY_PASSWORD is used, else a prompt on the terminal
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Passwords {
    /// How encrypted keys are opened.
    pub(crate) fn ask(&self) -> Ask {
        let given = self.clone();
        Box::new(move |path| match given.given()? {
            Some(password) => Ok(password),
            None => prompt(&format!("Password for {}: ", path.display())),
        })
    }

    /// The password for new keys, typed twice. None only where that is said: nobody gets unencrypted keys by an oversight.
    pub(crate) fn new_password(&self, what: &str, unencrypted: bool) -> Result<Option<Password>, Refusal> {
        if unencrypted {
            return Ok(None);
        }
        let none = |seen: &str| PASSWORD.with(seen, "a password, or --unencrypted");
        if let Some(password) = self.given()? {
            return Ok(Some(password));
        }
        if !stdin().is_terminal() {
            return Err(none("none"));
        }
        let first = prompt(&format!("New password for {what}: "))?;
        if first.is_empty() {
            return Err(none("an empty one"));
        }
        if first != prompt("Repeat it: ")? {
            return Err(PASSWORD.with("two different ones", "the same password twice"));
        }
        Ok(Some(first))
    }

    fn given(&self) -> Result<Option<Password>, Refusal> {
        let unreadable = |why: &dyn std::fmt::Display| PASSWORD.with(why, "a password");
        let text = if let Some(file) = &self.password_file {
            let text = std::fs::read_to_string(file);
            Some(text.map_err(|error| unreadable(&format_args!("{}: {error}", file.display())))?)
        } else {
            std::env::var("SLIPWAY_KEY_PASSWORD").ok()
        };
        let password = text.map(|text| Password::new(text.trim_end_matches(['\r', '\n']).to_owned()));
        match password {
            Some(empty) if empty.is_empty() => Err(unreadable(&"an empty one")),
            other => Ok(other),
        }
    }
}

fn prompt(question: &str) -> Result<Password, Refusal> {
    let typed =
        rpassword::prompt_password(question).map_err(|error| PASSWORD.with(format_args!("none ({error})"), "a password"))?;
    Ok(Password::new(typed))
}

#[derive(Args, Debug)]
pub(crate) struct Signing {
    /// Key to sign with, besides those in the repository's `keys` folder. Repeat for more
    #[arg(long = "key", value_name = "FILE")]
    pub(crate) keys: Vec<PathBuf>,
    #[command(flatten)]
    passwords: Passwords,
}

impl Signing {
    /// The named keys, unlocked.
    pub(crate) fn keyring(&self) -> Result<Keyring, Refusal> {
        let mut keyring = Keyring::new(Some(self.passwords.ask()));
        self.keys.iter().try_for_each(|path| keyring.unlock_file(path).map(drop))?;
        Ok(keyring)
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// The repository with the keys in its own folder only: to show something before a password is asked for.
    pub(crate) fn open_without(&self, dir: &Path) -> Result<Repo, Refusal> {
        Repo::open_with(dir, Keyring::new(Some(self.passwords.ask())))
    }

    /// The repository with the named keys and those in its own folder.
    pub(crate) fn open(&self, dir: &Path) -> Result<Repo, Refusal> {
        Repo::open_with(dir, self.keyring()?)
    }
}

/// Says which of the named keys had nothing to sign: the wrong file was named, or the wrong role was thought of.
pub(crate) fn warn_idle(repo: &Repo) -> anyhow::Result<()> {
    for (key, roles) in repo.idle_keys()? {
        let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let signs = if roles.is_empty() { "no role of this repository".to_owned() } else { roles.join(", ") };
        writeln!(stderr(), "slipway: the key {} signed nothing: it signs {signs}, which did not change", key.label())?;
    }
    Ok(())
}

/// Says `done`, or for whom the change waits.
pub(crate) fn conclude(repo: &Repo, done: &str) -> anyhow::Result<()> {
    warn_idle(repo)?;
    let Outcome::Staged(waiting) = repo.outcome() else { return say(done) };
    let file = repo.staged_file();
    if waiting.is_empty() {
        say("fully signed; not published because the snapshot and timestamp keys are missing")?;
        return say(&format!("next: run `slipway publish` where these keys are; the change is in {}", file.display()));
    }
    let what = if repo.is_published() { "this change is not published yet" } else { "nothing is published yet" };
    say(&format!("{what}: signatures are missing"))?;
    waiting.iter().try_for_each(|waiting| say(&format!("waits for  {waiting}")))?;
    let dir = file.parent().and_then(Path::parent).context("a folder")?;
    say(&format!("carry      {} to them: slipway sign change.json --key KEY", file.display()))?;
    say(&format!("then       slipway publish {} SIGNED-FILE…", dir.display()))
}
