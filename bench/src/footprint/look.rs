//! What Linux says about a process that does nothing: memory, bytes written, threads and how often each woke up. See proc(5).

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A process at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Its share of all pages it has mapped, in KiB: a page that two processes use counts half in each.
    pub(crate) pss_kib: u64,
    /// Pages that no file backs, in KiB: heap, stacks, what was written to data.
    pub(crate) anonymous_kib: u64,
    /// Bytes that it caused to be written to disks, since it began.
    pub(crate) written: u64,
    /// Each thread's name, and how often it went to sleep, since it began.
    pub(crate) threads: BTreeMap<u32, (String, u64)>,
}

impl Look {
    /// Looks at a process.
    pub(crate) fn at(pid: u32) -> Result<Self> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let read = |name: &str| fs::read_to_string(proc.join(name)).with_context(|| format!("{}/{name}", proc.display()));
        let memory = read("smaps_rollup")?;
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(proc.join("task"))? {
            let task = entry?.path();
            let id = task.file_name().and_then(|name| name.to_str()?.parse().ok()).context("a thread's id")?;
            let name = fs::read_to_string(task.join("comm"))?.trim_end().to_owned();
            let sleeps = number(&fs::read_to_string(task.join("status"))?, "voluntary_ctxt_switches:")?;
            threads.insert(id, (name, sleeps));
        }
        Ok(Self {
            pss_kib: number(&memory, "Pss:")?,
            anonymous_kib: number(&memory, "Anonymous:")?,
            written: number(&read("io")?, "write_bytes:")?,
            threads,
        })
    }

    /// How often each thread woke up since an earlier look, by name; threads of one name are added up.
    pub(crate) fn wake_ups(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (id, (name, sleeps)) in &self.threads {
            let before = earlier.threads.get(id).map_or(0, |(_, sleeps)| *sleeps);
            *all.entry(name.clone()).or_insert(0) += sleeps.saturating_sub(before);
        }
        all
    }
}

/// Whether a thread is one of sled's.
pub(crate) fn is_sled(name: &str) -> bool {
    name.starts_with("sled")
}

/// The number behind a word at the beginning of a line.
fn number(text: &str, word: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word)).with_context(|| format!("no {word} in {text}"))?;
    line.split_whitespace().next().and_then(|number| number.parse().ok()).with_context(|| format!("{word}{line}"))
}
