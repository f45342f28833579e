//! The tools of the distribution that do a part of an update: each is run as a process and measured.

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What something took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

impl Took {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }

    pub(crate) fn print(&self, name: &str) {
        println!("{name:44} {:>8.3} {:>8.3}", self.wall, self.cpu);
    }
}

/// They write to files of this folder.
pub(crate) struct Peers {
    download: PathBuf,
    inflated: PathBuf,
    copied: PathBuf,
}

impl Peers {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { download: dir.join("download"), inflated: dir.join("inflated"), copied: dir.join("copied") }
    }

    pub(crate) fn openssl(&self, file: &Path) -> Result<Took> {
        run("openssl", &["dgst".as_ref(), "-sha256".as_ref(), file.as_os_str()], None)
    }

    pub(crate) fn openssl_of_download(&self) -> Result<Took> {
        self.openssl(&self.download)
    }

    pub(crate) fn openssl_of_inflated(&self) -> Result<Took> {
        self.openssl(&self.inflated)
    }

    pub(crate) fn sha256sum_of_download(&self) -> Result<Took> {
        run("sha256sum", &[self.download.as_os_str()], None)
    }

    /// A copy that survives a power cut.
    pub(crate) fn copy(&self, file: &Path) -> Result<Took> {
        let _ = std::fs::remove_file(&self.copied);
        let copied = run("cp", &["--reflink=never".as_ref(), file.as_os_str(), self.copied.as_os_str()], None)?;
        Ok(copied.and(run("sync", &[self.copied.as_os_str()], None)?))
    }

    /// The same bytes, written and synced.
    pub(crate) fn write(&self, file: &Path) -> Result<Took> {
        let _ = std::fs::remove_file(&self.copied);
        let [from, to] = [("if=", file), ("of=", self.copied.as_path())].map(|(name, path)| format!("{name}{}", path.display()));
        run("dd", &[from.as_ref(), to.as_ref(), "bs=1M".as_ref(), "conv=fsync".as_ref(), "status=none".as_ref()], None)
    }

    pub(crate) fn curl_to_nothing(&self, url: &str) -> Result<Took> {
        curl(url, Path::new("/dev/null"))
    }

    pub(crate) fn curl_to_file(&self, url: &str) -> Result<Took> {
        let _ = std::fs::remove_file(&self.download);
        curl(url, &self.download)
    }

    pub(crate) fn gzip(&self, archive: &Path) -> Result<Took> {
        run("gzip", &["-dc".as_ref(), archive.as_os_str()], Some(&self.inflated))
    }
}

fn curl(url: &str, to: &Path) -> Result<Took> {
    let args = ["--silent", "--fail", "--noproxy", "*", "--output"].map(OsStr::new);
    run("curl", &[&args[..], &[to.as_os_str(), url.as_ref()]].concat(), None)
}

fn run(program: &str, args: &[&OsStr], output: Option<&Path>) -> Result<Took> {
    let stdout = output.map_or(Ok(Stdio::null()), |path| std::fs::File::create(path).map(Stdio::from))?;
    let (before, began) = (cpu_of_children()?, now());
    let status = Command::new(program).args(args).stdin(Stdio::null()).stdout(stdout).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    let took = Took { wall: began.elapsed().as_secs_f64(), cpu: cpu_of_children()? - before };
    ensure!(status.success(), "{program} {args:?} ended with {status}");
    Ok(took)
}

/// The clock that does not jump.
#[expect(clippy::disallowed_methods, reason = "what is measured is time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn cpu_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time() + usage.system_time();
    Ok(cpu.tv_sec() as f64 + cpu.tv_usec() as f64 / 1e6)
}
