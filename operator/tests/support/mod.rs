//! What the tests of the repository share: the real program, and a device that follows the published folder with the device's code.
#![allow(dead_code, reason = "not every test file uses all of it")]

use jiff::Timestamp;
use slipway_protocol::{ComponentName, Manifest, Refusal, Sha256, Version};
use slipway_verify::tuf::{AuthenticTarget, FetchResult, Floors, Kind, ManifestSearch, Refresh, Repository, Rules, Step, Stored};
use std::collections::BTreeMap;
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
        let read = |path: &str| fs::read(repo.join("public/targets").join(path)).unwrap();
        let Some((component, version)) = path.strip_prefix("releases/").and_then(|path| path.split_once('/')) else {
            let info = repository.lookup(path)?;
            return Ok(repository.authenticate(path, read(&info.fetch_path))?.bytes().to_vec());
        };
        let (component, version) = (component.parse().unwrap(), version.trim_end_matches(".json").parse().unwrap());
        Ok(manifest(&repository, &component, &version, &|path| Some(read(path)))?.bytes().to_vec())
    }

    pub(crate) fn version(&mut self, repo: &Path, role: &str) -> u64 {
        let roles = self.refresh(repo).unwrap().roles();
        roles.into_iter().find(|known| known.name == role).unwrap().version
    }
}

/// A manifest as a device finds it, one file of the index after the other.
pub(crate) fn manifest(
    repository: &Repository,
    component: &ComponentName,
    version: &Version,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<AuthenticTarget, Refusal> {
    let mut nodes: BTreeMap<Sha256, Vec<u8>> = BTreeMap::new();
    loop {
        let file = match repository.find_manifest(component, version, |sha256| nodes.get(sha256).cloned())? {
            ManifestSearch::Node(file) => file,
            ManifestSearch::Manifest(file, _) => {
                let bytes = read(&file.fetch_path).unwrap();
                return repository.authenticate_manifest(component, version, |sha256| nodes.get(sha256).cloned(), bytes);
            }
            ManifestSearch::Listed => {
                let path = Manifest::target(component, version);
                let info = repository.lookup(&path)?;
                return repository.authenticate(&path, read(&info.fetch_path).unwrap());
            }
        };
        let bytes = read(&file.fetch_path).unwrap();
        file.check(&bytes)?;
        nodes.insert(file.sha256, bytes);
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
