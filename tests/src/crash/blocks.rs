//! Records a disk's writes and flushes, and makes the disks that a power cut may leave.
//!
//! ```text
//! ext4 on a loop device ─▶ a file by FUSE (nbdfuse) ─▶ qemu-storage-daemon ─▶ disk, and log of every write and flush
//! ```
//! A flush says that everything before it is on the disk. What comes after the last flush may be there or not, in any combination.

use anyhow::{Context as _, Result, bail, ensure};
use slipway_testkit::wait;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Bytes of the disk: an update and a journal fit.
const SIZE: u64 = 48 << 20;
/// How long a program may take to come up, or a mount to be let go of.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the log: "write log" by dm-log-writes, which qemu writes too.
const MAGIC: u64 = 0x6a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Of an image: only blocks that hold something are written.
const BLOCK: usize = 4096;

/// A file system on a disk that is recorded. Gone with the handle; the log stays.
#[derive(Debug)]
pub struct Recorder {
    dir: PathBuf,
    mount: PathBuf,
    loop_device: Option<String>,
    mounted: bool,
    programs: Vec<Child>,
}

impl Recorder {
    /// Makes a disk, has `fill` put on it what is there from the beginning, and mounts it at `mount` with its recorder behind it.
    /// Files are made in `dir`.
    pub fn start(dir: &Path, mount: &Path, fill: impl FnOnce() -> Result<()>) -> Result<Self> {
        std::fs::create_dir_all(dir.join("export"))?;
        std::fs::create_dir_all(mount)?;
        let (disk, log, socket) = (dir.join("disk"), dir.join("log"), dir.join("nbd"));
        File::create(&disk)?.set_len(SIZE)?;
        File::create(&log)?;
        // All of it is initialised now: the kernel would go on with that during the recording.
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &text(&disk)])?;
        run("mount", &["-o", "loop", &text(&disk), &text(mount)])?;
        let filled = fill();
        unmount(mount)?;
        filled?;
        std::fs::copy(&disk, dir.join("base"))?;

        let mut recorder =
            Self { dir: dir.to_owned(), mount: mount.to_owned(), loop_device: None, mounted: false, programs: Vec::new() };
        recorder.spawn(Command::new("qemu-storage-daemon").args([
            "--blockdev",
            &format!("driver=file,node-name=disk,filename={},cache.direct=off", disk.display()),
            "--blockdev",
            &format!("driver=file,node-name=log,filename={}", log.display()),
            "--blockdev",
            "driver=blklogwrites,node-name=recorded,file=disk,log=log,log-sector-size=512",
            "--nbd-server",
            &format!("addr.type=unix,addr.path={}", socket.display()),
            "--export",
            "type=nbd,id=export,node-name=recorded,name=,writable=on",
        ]))?;
        wait::try_until("qemu-storage-daemon listens", PATIENCE, || socket.exists())?;
        let export = dir.join("export");
        recorder.spawn(Command::new("nbdfuse").arg(&export).arg(format!("nbd+unix://?socket={}", socket.display())))?;
        let file = export.join("nbd");
        wait::try_until("nbdfuse shows the disk", PATIENCE, || file.exists())?;
        let device = run("losetup", &["-f", "--show", "--direct-io=on", &text(&file)])
            .or_else(|_| run("losetup", &["-f", "--show", &text(&file)]))?;
        recorder.loop_device = Some(device.trim().to_owned());
        run("mount", &[device.trim(), &text(mount)])?;
        recorder.mounted = true;
        Ok(recorder)
    }

    fn spawn(&mut self, command: &mut Command) -> Result<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().with_context(|| format!("cannot run {name}"))?;
        self.programs.push(child);
        Ok(())
    }

    /// How long the log is now: whatever the disk had acknowledged is in it.
    pub fn position(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.dir.join("log"))?.len())
    }

    /// Ends the recording and reads it.
    pub fn finish(mut self) -> Result<Recording> {
        self.down()?;
        Recording::read(&self.dir)
    }

    fn down(&mut self) -> Result<()> {
        let mut failed = Ok(());
        let mut also = |done: Result<String>| failed = std::mem::replace(&mut failed, Ok(())).and(done.map(|_| ()));
        if std::mem::take(&mut self.mounted) {
            also(unmount(&self.mount));
        }
        if let Some(device) = self.loop_device.take() {
            also(run("losetup", &["-d", &device]));
        }
        let export = text(&self.dir.join("export"));
        if self.programs.len() > 1 {
            // The loop device lets go of the file a moment after it is gone.
            also(unmount(Path::new(&export)));
        }
        for child in self.programs.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.programs.clear();
        failed
    }
}

/// Unmounts, as soon as the last that was killed there, or that looks at everybody's files, has let go.
fn unmount(mount: &Path) -> Result<String> {
    let mut last = run("umount", &[&text(mount)]);
    let _ = wait::try_until("nobody is there", PATIENCE, || {
        if last.is_err() {
            last = run("umount", &[&text(mount)]);
        }
        last.is_ok()
    });
    last
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.down();
    }
}

/// One write or flush.
#[derive(Debug)]
struct Entry {
    /// Where in the log it ends.
    end: u64,
    offset: u64,
    length: u64,
    flags: u64,
    /// Where in the log its bytes are.
    data: Option<u64>,
}

/// What survives of the writes before a cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Survivors {
    /// All of them, as when only the agent's memory was lost.
    All,
    /// Only what a flush had made durable.
    Flushed,
    /// That, and each other one by chance.
    Half,
}

impl Survivors {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::All, Self::Flushed, Self::Half];
}

/// A disk as it was at first, and everything that was written to it.
#[derive(Debug)]
pub struct Recording {
    base: Vec<u8>,
    log: Vec<u8>,
    entries: Vec<Entry>,
}

impl Recording {
    fn read(dir: &Path) -> Result<Self> {
        let (base, log) = (std::fs::read(dir.join("base"))?, std::fs::read(dir.join("log"))?);
        let number = |at: u64| -> Result<u64> {
            let at = usize::try_from(at)?;
            let bytes = log.get(at..at + 8).context("the log is cut short")?;
            Ok(u64::from_le_bytes(bytes.try_into()?))
        };
        ensure!(number(0)? == MAGIC, "this is no write log");
        let sector = number(24)? & 0xffff_ffff;
        let mut entries = Vec::new();
        let mut at = sector;
        while at + sector <= log.len() as u64 {
            let (start, count, flags) = (number(at)?, number(at + 8)?, number(at + 16)?);
            at += sector;
            let (offset, length) = (start * sector, count * sector);
            let data = (flags & DISCARD == 0 && length > 0).then_some(at);
            if data.is_some() {
                at += length;
            }
            if (start, count, flags) != (0, 0, 0) {
                entries.push(Entry { end: at, offset, length, flags, data });
            }
        }
        if at > log.len() as u64 {
            bail!("the log is cut short");
        }
        Ok(Self { base, log, entries })
    }

    /// Writes and flushes up to a position in the log.
    #[must_use]
    pub fn entries(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.end <= position)
    }

    /// Flushes in all.
    #[must_use]
    pub fn flushes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.flags & FLUSH != 0).count()
    }

    /// Where in the log the first `count` entries end.
    #[must_use]
    pub fn position(&self, count: usize) -> u64 {
        count.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(0, |entry| entry.end)
    }

    /// Writes the disk as it is when the power goes after `count` entries. `dice` says which unflushed writes are there.
    pub fn image(&self, count: usize, survivors: Survivors, mut dice: impl FnMut() -> bool, path: &Path) -> Result<()> {
        let before = self.entries.get(..count).context("so many entries are not in the log")?;
        // A flush makes durable what was written before it.
        let flushed = before.iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |at| at + 1);
        let mut disk = self.base.clone();
        for (at, entry) in before.iter().enumerate() {
            let durable = at < flushed || entry.flags & FUA != 0;
            let there = match survivors {
                Survivors::All => true,
                Survivors::Flushed => durable,
                Survivors::Half => durable || dice(),
            };
            if !there {
                continue;
            }
            let range = usize::try_from(entry.offset)?..usize::try_from(entry.offset + entry.length)?;
            let place = disk.get_mut(range).context("a write behind the end of the disk")?;
            match entry.data {
                Some(data) => {
                    let from = usize::try_from(data)?;
                    place.copy_from_slice(self.log.get(from..from + place.len()).context("the log is cut short")?);
                }
                None if entry.flags & DISCARD != 0 => place.fill(0),
                None => {}
            }
        }
        let _ = std::fs::remove_file(path);
        let file = OpenOptions::new().create_new(true).write(true).open(path)?;
        file.set_len(disk.len() as u64)?;
        for (n, block) in disk.chunks(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, (n * BLOCK) as u64)?;
            }
        }
        Ok(())
    }
}

/// Runs a program that must succeed; what it printed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of 512-byte sectors: each entry writes its own number, 0 is a flush.
    fn recording(entries: &[(u64, u8)]) -> Recording {
        let mut log = vec![0; 512];
        let mut listed = Vec::new();
        for (sector, byte) in entries {
            log.extend([0; 512]);
            let data = log.len() as u64;
            let flush = *byte == 0;
            if !flush {
                log.extend([*byte; 512]);
            }
            listed.push(Entry {
                end: log.len() as u64,
                offset: sector * 512,
                length: if flush { 0 } else { 512 },
                flags: if flush { FLUSH } else { 0 },
                data: (!flush).then_some(data),
            });
        }
        Recording { base: vec![9; 4 * 512], log, entries: listed }
    }

    #[test]
    fn only_what_a_flush_covers_is_certain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let recording = recording(&[(0, 1), (1, 2), (0, 0), (1, 3), (2, 4)]);
        let image = |count, survivors, luck: bool| {
            recording.image(count, survivors, || luck, &path).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            [bytes[0], bytes[512], bytes[1024], bytes[1536]]
        };
        assert_eq!(image(0, Survivors::All, true), [9, 9, 9, 9]);
        assert_eq!(image(2, Survivors::All, true), [1, 2, 9, 9]);
        assert_eq!(image(2, Survivors::Flushed, true), [9, 9, 9, 9]);
        assert_eq!(image(5, Survivors::Flushed, true), [1, 2, 9, 9]);
        assert_eq!(image(5, Survivors::All, true), [1, 3, 4, 9]);
        assert_eq!(image(5, Survivors::Half, false), [1, 2, 9, 9]);
        assert_eq!(image(5, Survivors::Half, true), [1, 3, 4, 9]);
        assert_eq!(recording.entries(recording.position(3)), 3);
    }
}
