//! What the kernel says about a process: memory, writes, and how often each of its threads woke.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;

/// MemoryUse of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryUse {
    /// Resident, with the pages of the program that it has touched.
    pub(crate) resident: u64,
    /// Of it what no file backs.
    pub(crate) anonymous: u64,
}

/// One thread.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) name: String,
    /// How often it went to sleep, so how often it woke.
    pub(crate) wakes: u64,
}

/// MemoryUse of process `pid`, or of this one for `self`.
pub(crate) fn memory(pid: &str) -> Result<MemoryUse> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(MemoryUse { resident: number(&text, "Rss:")?, anonymous: number(&text, "Anonymous:")? })
}

/// Bytes that a process has had written to a disk.
pub(crate) fn written(pid: u32) -> Result<u64> {
    number(&fs::read_to_string(format!("/proc/{pid}/io"))?, "write_bytes:")
}

/// The threads of a process.
pub(crate) fn threads(pid: u32) -> Result<BTreeMap<String, Thread>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path().join("status"))?;
        let name = text.lines().find_map(|line| line.strip_prefix("Name:")).context("no name")?.trim().to_owned();
        let wakes = number(&text, "voluntary_ctxt_switches:")?;
        threads.insert(entry.file_name().to_string_lossy().into_owned(), Thread { name, wakes });
    }
    Ok(threads)
}

fn number(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{name} is missing"))?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}
