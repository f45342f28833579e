//! What Linux says about a running process: memory, bytes written, threads and how often each woke. See proc(5).

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A process at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its share of all pages it has mapped, in KiB: a page that two processes use counts half in each.
    pub pss_kib: u64,
    /// Resident, with the pages of the program that it has touched, in KiB.
    pub resident_kib: u64,
    /// Pages that no file backs, in KiB: heap, stacks, what was written to data.
    pub anonymous_kib: u64,
    /// Bytes that it caused to be written to disks, since it began.
    pub written: u64,
    /// Its threads by id.
    pub threads: BTreeMap<u32, Thread>,
}

/// A thread at one moment.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// How often it went to sleep, so how often it woke, since it began.
    pub sleeps: u64,
}

impl Look {
    /// Looks at a process.
    ///
    /// # Errors
    /// It is gone, or belongs to another user.
    pub fn at(pid: u32) -> Result<Self> {
        let (memory, io) = (read(pid, "smaps_rollup")?, read(pid, "io")?);
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(path(pid, "task"))? {
            let task = entry?.path();
            let id = task.file_name().and_then(|name| name.to_str()?.parse().ok()).context("a thread's id")?;
            let name = fs::read_to_string(task.join("comm"))?.trim_end().to_owned();
            let sleeps = number(&fs::read_to_string(task.join("status"))?, "voluntary_ctxt_switches:")?;
            threads.insert(id, Thread { name, sleeps });
        }
        Ok(Self {
            pss_kib: number(&memory, "Pss:")?,
            resident_kib: number(&memory, "Rss:")?,
            anonymous_kib: number(&memory, "Anonymous:")?,
            written: number(&io, "write_bytes:")?,
            threads,
        })
    }

    /// Each thread's name, and how often it woke since an earlier look.
    pub fn wake_ups<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = (&'a str, u64)> {
        self.threads.iter().map(|(id, thread)| {
            let before = earlier.threads.get(id).map_or(0, |thread| thread.sleeps);
            (thread.name.as_str(), thread.sleeps.saturating_sub(before))
        })
    }
}

/// Whether a thread is one of the database library's.
#[must_use]
pub fn is_sled(name: &str) -> bool {
    name.starts_with("sled")
}

/// A file of `/proc/PID`.
///
/// # Errors
/// The process is gone, or belongs to another user.
pub fn read(pid: u32, name: &str) -> Result<String> {
    let path = path(pid, name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn path(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// The number behind a word at the beginning of a line.
///
/// # Errors
/// There is no such line, or no number behind the word.
pub fn number(text: &str, word: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word)).with_context(|| format!("no {word} in {text}"))?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).with_context(|| format!("{word}{line}"))
}
