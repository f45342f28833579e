//! Finds the programs of this workspace, so that tests of one package can run the program of another.

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// A folder with programs that are built already; set it to keep tests from building.
pub const BIN_DIR: &str = "SLIPWAY_BIN_DIR";

static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// The path of program `bin` of package `package`, freshly built.
///
/// A test that ran yesterday's program would prove nothing about today's, so cargo is asked once per process, unless
/// `SLIPWAY_BIN_DIR` names a folder of programs. Only where there is no cargo (a demo that was copied elsewhere) does a program
/// that stands beside this one do.
pub fn program(package: &str, bin: &str) -> Result<PathBuf> {
    let mut found = FOUND.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(path) = found.get(bin) {
        return Ok(path.clone());
    }
    let path = locate(std::env::var_os(BIN_DIR), std::env::var_os("CARGO"), package, bin)?;
    found.insert(bin.to_owned(), path.clone());
    Ok(path)
}

fn locate(bin_dir: Option<OsString>, cargo: Option<OsString>, package: &str, bin: &str) -> Result<PathBuf> {
    let path = match (bin_dir, cargo) {
        (Some(dir), _) => PathBuf::from(dir).join(bin),
        (None, Some(cargo)) => build(Path::new(&cargo), package, bin)?,
        (None, None) => beside()?.join(bin),
    };
    ensure!(path.is_file(), "there is no program {}; run `cargo build -p {package}`", path.display());
    Ok(path)
}

/// The host for edgecore's stand-in.
pub fn edgecore_standin() -> Result<PathBuf> {
    program(env!("CARGO_PKG_NAME"), "edgecore-standin")
}

/// The folder of this workspace's programs: tests run in `deps` below it.
fn beside() -> Result<PathBuf> {
    let mut dir = std::env::current_exe().context("cannot find this very program")?;
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    Ok(dir)
}

fn build(cargo: &Path, package: &str, bin: &str) -> Result<PathBuf> {
    let dir = beside()?;
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", package, "--bin", bin]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if dir.ends_with("release") {
        command.arg("--release");
    }
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", cargo.display()))?;
    if !output.status.success() {
        bail!("cannot build {bin}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(dir.join(bin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_folder_it_was_given_and_says_what_is_missing_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("slipway"), b"").unwrap();
        let locate = |bin| locate(Some(dir.path().into()), Some("no-such-cargo".into()), "slipway", bin);
        assert_eq!(locate("slipway").unwrap(), dir.path().join("slipway"));
        let error = locate("slipway-agent").unwrap_err();
        assert!(error.to_string().contains("slipway-agent; run `cargo build -p slipway`"), "{error}");
    }

    #[test]
    fn a_failed_build_is_reported() {
        let error = locate(None, Some("false".into()), "slipway", "slipway").unwrap_err();
        assert!(error.to_string().contains("cannot build slipway"), "{error}");
    }
}
