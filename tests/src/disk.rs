//! Small disks that can fill up: an ext4 in a file, mounted where only this test sees it.

use crate::faults::PATIENCE;
use anyhow::{Context as _, Result, ensure};
use slipway_testkit::wait;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set in the process that has mounts of its own.
const INSIDE: &str = "SLIPWAY_OWN_MOUNTS";

/// Whether the body of a test is to run here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Here {
    /// Yes: what is mounted here is gone with this process.
    Yes,
    /// No: it ran in a process of its own, or cannot run on this machine.
    No,
}

/// Runs the test of this name again, in a process with mounts of its own, and says to that one that it is there. Where that cannot be
/// had it is skipped with a printed line; in CI it must be had.
///
/// # Errors
/// When the test fails there.
pub fn own_mounts(test: &str) -> Result<Here> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(Here::Yes);
    }
    let possible = nix::unistd::geteuid().is_root()
        && Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !possible {
        ensure!(std::env::var_os("CI").is_none(), "CI must be root, and may mount: a full disk shows nowhere else");
        println!("skipped: mounting small disks takes root");
        return Ok(Here::No);
    }
    let mut again = Command::new("unshare");
    again.args(["-m", "--propagation", "private"]).arg(std::env::current_exe()?).args([test, "--exact", "--nocapture"]);
    let status = again.env(INSIDE, "yes").stdin(Stdio::null()).status()?;
    ensure!(status.success(), "{test}, in a process with mounts of its own: {status}");
    Ok(Here::No)
}

/// How much is left on a disk that is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Left {
    /// So many bytes.
    Bytes(u64),
    /// Bytes enough, but no inode.
    NoInodes,
}

/// A small disk, mounted; unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

/// Of the file system.
const BLOCK: u64 = 1024;
/// Inodes of a disk that is to run out of them: enough for an agent's state.
const FEW_INODES: u64 = 256;

impl Disk {
    /// Makes a disk of so many bytes in the file `image`, and mounts it.
    pub fn mount(image: &Path, mount: &Path, bytes: u64) -> Result<Self> {
        std::fs::create_dir_all(mount)?;
        File::create(image)?.set_len(bytes)?;
        // No blocks for root alone: who is root here is the agent.
        let (inodes, block) = (FEW_INODES.to_string(), BLOCK.to_string());
        let path = image.display().to_string();
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-N", &inodes, "-b", &block, "-O", "^has_journal,^resize_inode", &path])?;
        let disk = Self { image: image.to_owned(), mount: mount.to_owned() };
        disk.put_in()?;
        Ok(disk)
    }

    fn put_in(&self) -> Result<()> {
        run("mount", &["-o", "loop,errors=remount-ro", &self.image.display().to_string(), &self.mount.display().to_string()])
    }

    /// Bytes that can still be written.
    #[expect(clippy::disallowed_methods, reason = "the tests run on 64 bits")]
    pub fn free(&self) -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.mount)?;
        Ok(stat.blocks_free() * stat.fragment_size())
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// Fills it up, and keeps it full against whatever is removed meanwhile as far as that goes in a moment.
    #[expect(clippy::disallowed_methods, reason = "the tests run on 64 bits")]
    pub fn fill(&self, left: Left) -> Result<()> {
        let filler = self.filler();
        std::fs::create_dir_all(&filler)?;
        match left {
            Left::Bytes(left) => {
                let file = File::create(filler.join("bytes"))?;
                let mut length = 0;
                while let Some(more) = self.free()?.checked_sub(left).filter(|more| *more > 0) {
                    // Its own bookkeeping takes blocks too: ever smaller pieces, down to one block.
                    let mut piece = more;
                    while nix::fcntl::posix_fallocate(&file, length, i64::try_from(piece)?).is_err() {
                        piece /= 2;
                        if piece < BLOCK {
                            return Ok(());
                        }
                    }
                    length += i64::try_from(piece)?;
                }
            }
            Left::NoInodes => {
                for n in 0.. {
                    match File::create(filler.join(n.to_string())) {
                        Ok(_) => {}
                        Err(error) if error.kind() == ErrorKind::StorageFull => break,
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    }

    /// Space returns.
    pub fn clear(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.filler())?)
    }

    /// The kernel finds an error on it and makes it read-only, as it does with a disk that fails. What was written before is on it.
    pub fn fail(&self) -> Result<()> {
        run("sync", &["-f", &self.mount.display().to_string()])?;
        let table = std::fs::read_to_string("/proc/self/mounts")?;
        let mount = self.mount.canonicalize()?.display().to_string();
        let device =
            table.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words.get(1) == Some(&mount.as_str()));
        let device =
            device.and_then(|words| words.first()?.rsplit('/').next().map(str::to_owned)).context("the disk's device")?;
        Ok(std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test")?)
    }

    /// Taken out, checked, and put in again.
    pub fn repair(&self) -> Result<()> {
        // Who was just ended may still be ending, with files open on it.
        let mount = self.mount.display().to_string();
        wait::try_until("nobody uses the disk", PATIENCE, || run("umount", &[&mount]).is_ok())?;
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image).output()?;
        // 1: errors were corrected.
        ensure!(matches!(checked.status.code(), Some(0 | 1)), "e2fsck: {}", String::from_utf8_lossy(&checked.stdout));
        self.put_in()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(args).stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
