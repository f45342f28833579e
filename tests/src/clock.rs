//! Gives a program a wrong clock, with `libfaketime`.

use anyhow::{Result, ensure};
use slipway_sim::AgentProgram;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A clock that the test sets. `None` with a printed line where there is no such thing; an error
/// in CI.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock whose time is in a file in `dir`.
    pub fn new(dir: &Path) -> Result<Option<Self>> {
        let folders = std::fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
        let Some(library) = folders.into_iter().find(|path| path.exists()) else {
            ensure!(std::env::var_os("CI").is_none(), "CI must have libfaketime: tests/run installs it");
            println!("skipped: no libfaketime");
            return Ok(None);
        };
        Ok(Some(Self { library, file: dir.join("clock") }))
    }

    /// What time it is from now on, for whoever runs under it: `@1970-01-01 00:00:20`, `+730d`.
    pub fn set(&self, time: &str) -> Result<()> {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{time}\n"))?;
        Ok(std::fs::rename(new, &self.file)?)
    }

    /// The words before a command that runs under it. Only the time of day is another; how long
    /// things take is as ever.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let set = |name: &str, value: &Path| OsString::from(format!("{name}={}", value.display()));
        vec![
            "env".into(),
            set("LD_PRELOAD", &self.library),
            set("FAKETIME_TIMESTAMP_FILE", &self.file),
            "FAKETIME_NO_CACHE=1".into(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
        ]
    }

    /// The agent's own program under this clock: each command reads it anew.
    #[must_use]
    pub fn agent(&self) -> AgentProgram {
        let mut words = self.words();
        words.push(crate::agent().exe.into());
        AgentProgram { exe: words.remove(0).into(), first: words }
    }
}
