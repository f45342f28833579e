//! What the tests of the repository share: the real program, and a device that follows the published folder with the device's code.
#![allow(dead_code, reason = "not every test file uses all of it")]

use jiff::Timestamp;
use slipway_protocol::Refusal;
use slipway_verify::tuf::{FetchResult, Floors, Kind, Refresh, Repository, Rules, Step, Stored};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

#[expect(clippy::disallowed_methods, reason = "the real program reads the clock too")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The program in `dir`, with one password for all keys.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
    command.current_dir(dir).env_remove("SLIPWAY_BROKER").env("SLIPWAY_KEY_PASSWORD", PASSWORD);
    command.stdin(std::process::Stdio::null());
    command
}

pub(crate) fn run(dir: &Path, line: &str) -> Output {
    command(dir).args(line.split_whitespace()).output().unwrap()
}

/// Runs it; it must succeed. What it said.
pub(crate) fn done(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(output.status.success(), "slipway {line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs it; it must refuse with this code. What it said.
pub(crate) fn refused(dir: &Path, line: &str, code: &str) -> String {
    let output = run(dir, line);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "slipway {line}: {said}{}", text(&output.stdout));
    assert!(said.contains(code), "slipway {line}: {said}, not {code}");
    said
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A device: the root it was born with, and what it remembers.
#[derive(Clone)]
pub(crate) struct Device {
    initial: Vec<u8>,
    stored: Stored,
    pub(crate) floors: Floors,
}

impl Device {
    /// Born with the first root of the repository in `repo`.
    pub(crate) fn born(repo: &Path) -> Self {
        let initial = fs::read(repo.join("public/metadata/1.root.json")).unwrap();
        Self { initial, stored: Stored::default(), floors: Floors::default() }
    }

    /// Refreshes from the published folder, and remembers what it may.
    pub(crate) fn refresh(&mut self, repo: &Path) -> Result<Repository, Refusal> {
        self.refresh_at(&repo.join("public"), now())
    }

    pub(crate) fn refresh_at(&mut self, public: &Path, now: Timestamp) -> Result<Repository, Refusal> {
        let mut refresh = Refresh::begin(&self.initial, self.stored.clone(), &self.floors, Rules::at(now))?;
        let result = loop {
            match refresh.step() {
                Step::Fetch(fetch) => {
                    let below = if fetch.kind == Kind::Metadata { "metadata" } else { "targets" };
                    let file = fs::read(public.join(below).join(&fetch.path)).ok();
                    let answered = refresh.answer(file.as_deref().map_or(FetchResult::Missing, FetchResult::Bytes));
                    if let Err(refusal) = answered {
                        break Err(refusal);
                    }
                }
                Step::Store { slot, bytes } => self.stored.put(&slot, bytes),
                Step::Done => break Ok(()),
            }
        };
        self.floors = refresh.floors().clone();
        result.and_then(|()| refresh.finish())
    }

    /// A target's bytes as the device trusts them.
    pub(crate) fn target(&mut self, repo: &Path, path: &str) -> Result<Vec<u8>, Refusal> {
        let repository = self.refresh(repo)?;
        let info = repository.lookup(path)?;
        let bytes = fs::read(repo.join("public/targets").join(&info.fetch_path)).unwrap();
        Ok(repository.authenticate(path, bytes)?.bytes().to_vec())
    }

    pub(crate) fn version(&mut self, repo: &Path, role: &str) -> u64 {
        let roles = self.refresh(repo).unwrap().roles();
        roles.into_iter().find(|known| known.name == role).unwrap().version
    }
}

/// A copy of a folder, to try something on.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args([OsStr::new("-a"), from.as_os_str(), to.as_os_str()]).status().unwrap();
    assert!(status.success());
}

/// A KubeEdge archive and something that is no proof, for `release --unsafe-skip-verify`.
pub(crate) fn archive(dir: &Path, version: &str) -> PathBuf {
    let path = dir.join(slipway_testkit::edgecore::tarball_name(version, "arm64"));
    fs::write(&path, slipway_testkit::edgecore::tarball(version, "arm64", version.as_bytes())).unwrap();
    fs::write(dir.join("proof.json"), "{}").unwrap();
    path
}

/// Releases without provenance, which is another test's business.
pub(crate) fn release_line(repo: &str, dir: &Path, version: &str) -> String {
    let archive = archive(dir, version);
    format!(
        "release {repo} --artifact {} --provenance {} --unsafe-skip-verify",
        archive.display(),
        dir.join("proof.json").display()
    )
}
