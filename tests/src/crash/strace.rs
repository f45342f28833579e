//! Records an update's changing system calls with `strace`, and lets one of them fail.
//!
//! strace's counters are per thread and per call. So that the n-th call means the same in every run, each is counted among the calls
//! on one path: the third `fdatasync` of `state/witness`.

use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

/// Calls that change something through a descriptor.
const BY_DESCRIPTOR: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "copy_file_range",
    "sendfile",
    "fsync",
    "fdatasync",
    "ftruncate",
    "fallocate",
    "sync_file_range",
    "fchmod",
    "fchown",
];
/// Calls that change something by its name.
const BY_NAME: &[&str] = &[
    "openat",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "chmod",
    "fchmodat",
    "chown",
    "fchownat",
    "utimensat",
    "truncate",
];
/// Calls that change which processes there are.
const PROCESSES: &[&str] = &["clone", "clone3", "vfork", "kill"];

/// What happens to the call.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Fault {
    /// The agent is killed as it makes it.
    Kill,
    /// It fails for want of space.
    Full,
    /// It fails as on a broken disk.
    Broken,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kill, Self::Full, Self::Broken];

    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Full => "enospc",
            Self::Broken => "eio",
        }
    }

    const fn injection(self) -> &'static str {
        match self {
            Self::Kill => "signal=KILL",
            Self::Full => "error=ENOSPC",
            Self::Broken => "error=EIO",
        }
    }

    /// Whether a real kernel could answer this call like that.
    #[must_use]
    pub fn fits(self, call: &str) -> bool {
        match self {
            Self::Kill => true,
            Self::Full => !PROCESSES.contains(&call) && !call.starts_with("unlink") && call != "rmdir",
            Self::Broken => !PROCESSES.contains(&call),
        }
    }
}

impl std::str::FromStr for Fault {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|one| one.name() == text).with_context(|| format!("no fault {text:?}"))
    }
}

/// The n-th time that a thread makes this call on this path.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct InjectionPoint {
    /// The system call.
    pub call: String,
    /// Below the device's folder; empty for calls about processes.
    pub path: String,
    /// From 1.
    pub n: u32,
    /// As a person is told of it, and the same in every world: `@2` is the second SHA-256 that comes up.
    pub shown: String,
}

impl fmt::Display for InjectionPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Names by which digests are shown: keys and times are others in every world.
#[derive(Debug, Default)]
struct Digests(Vec<String>);

impl Digests {
    fn hide(&mut self, path: &str) -> String {
        let (mut shown, mut rest) = (String::new(), path);
        while !rest.is_empty() {
            let hex = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
            if hex == 64 {
                let (digest, after) = rest.split_at(hex);
                let known = self.0.iter().position(|one| one == digest).unwrap_or_else(|| {
                    self.0.push(digest.to_owned());
                    self.0.len() - 1
                });
                shown.push_str(&format!("@{}", known + 1));
                rest = after;
            } else {
                let next = rest.char_indices().nth(hex.max(1)).map_or(rest.len(), |(at, _)| at);
                shown.push_str(&rest[..next]);
                rest = &rest[next..];
            }
        }
        shown
    }
}

fn strace(output: &Path) -> Vec<OsString> {
    // What the agent starts is let go of as it becomes another program; its threads are followed.
    let words = ["strace", "--follow-forks", "--detach-on=execve", "-qq", "-o"];
    words.iter().map(OsString::from).chain([output.into()]).collect()
}

/// The tracer that writes every changing call of the agent to `output`.
#[must_use]
pub fn recorder(output: &Path) -> Vec<OsString> {
    let calls = [BY_DESCRIPTOR, BY_NAME, PROCESSES].concat().join(",");
    let mut words = strace(output);
    words.extend(["--decode-fds=path", "--string-limit=400"].map(OsString::from));
    words.push(format!("--trace={calls}").into());
    words
}

/// The tracer that has one call go wrong.
#[must_use]
pub fn injector(output: &Path, dir: &Path, place: &InjectionPoint, fault: Fault) -> Vec<OsString> {
    let InjectionPoint { call, path, n, .. } = place;
    let mut words = strace(output);
    words.push(format!("--trace={call}").into());
    words.push(format!("--inject={call}:{}:when={n}", fault.injection()).into());
    if !path.is_empty() {
        words.extend(["-P".into(), dir.join(path).into()]);
    }
    words
}

/// Whether the fault of [`injector`] happened, by what it wrote.
#[must_use]
pub fn observed(output: &Path) -> bool {
    let text = std::fs::read_to_string(output).unwrap_or_default();
    text.contains("(INJECTED)") || text.contains("killed by SIGKILL")
}

/// What a recording holds.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Changing calls in all.
    pub calls: usize,
    /// Where they can be interrupted, in the order in which they were first made.
    pub places: Vec<InjectionPoint>,
}

/// Reads a recording: the changing calls below `dir`, each at a place where it can be met again. Calls that two threads make at one
/// place are met in one of them.
pub fn recorded(text: &str, dir: &Path) -> Result<Recorded> {
    let prefix = format!("{}/", dir.display());
    let mut counters: BTreeMap<(u32, String, String), u32> = BTreeMap::new();
    let (mut seen, mut digests, mut recorded) = (BTreeSet::new(), Digests::default(), Recorded::default());
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, rest)) = rest.trim_start().split_once('(') else { continue };
        if !call.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            continue; // `<... write resumed>`, `+++ exited`
        }
        let thread: u32 = thread.parse().with_context(|| format!("no thread in {line:?}"))?;
        let paths = paths(call, rest, &prefix);
        let mut places = Vec::new();
        for path in paths {
            let counter = counters.entry((thread, call.to_owned(), path.clone())).or_default();
            *counter += 1;
            let shown = format!("{call}:{}:{counter}", digests.hide(&path));
            places.push(InjectionPoint { call: call.to_owned(), path, n: *counter, shown });
        }
        if !changes(call, rest) || places.is_empty() {
            continue;
        }
        recorded.calls += 1;
        // Of two names the one that is used less is the surer one to meet it at.
        places.sort_by_key(|place| place.n);
        if let Some(place) = places.into_iter().find(|place| !seen.contains(place)) {
            seen.insert(place.clone());
            recorded.places.push(place);
        }
    }
    Ok(recorded)
}

/// Whether this very call changes anything.
fn changes(call: &str, arguments: &str) -> bool {
    match call {
        "openat" => arguments.contains("O_CREAT") || arguments.contains("O_TRUNC"),
        "clone" | "clone3" => !arguments.contains("CLONE_THREAD"),
        _ => true,
    }
}

/// The paths below the device's folder that strace would know this call by.
fn paths(call: &str, arguments: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if PROCESSES.contains(&call) {
        found.insert(String::new());
        return found;
    }
    let by_name = BY_NAME.contains(&call);
    let mut rest = arguments.split(") = ").next().unwrap_or_default();
    while let Some(at) = rest.find(['<', '"']) {
        let quoted = rest[at..].starts_with('"');
        let end = if quoted { '"' } else { '>' };
        let Some(length) = rest[at + 1..].find(end) else { break };
        let path = &rest[at + 1..at + 1 + length];
        // What is written is quoted too, and is no name.
        if by_name || !quoted {
            found.extend(path.strip_prefix(prefix).map(ToOwned::to_owned));
        } else {
            break;
        }
        rest = &rest[at + length + 2..];
    }
    // Its own log is not the agent's work, and the socket is gone with it.
    found.retain(|path| path != "agent.log");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_read_as_strace_counts() {
        let text = r#"
10 openat(AT_FDCWD</>, "/d/state/witness", O_RDWR|O_CLOEXEC) = 3</d/state/witness>
10 pwrite64(3</d/state/witness>, "a \"/d/x\" <b>", 4096, 0) = 4096
11 pwrite64(3</d/state/witness>, "a", 4096, 0 <unfinished ...>
10 <... pwrite64 resumed>) = 4096
10 pwrite64(3</d/state/witness>, "b", 4096, 4096) = 4096
10 fdatasync(3</d/state/witness>) = 0
10 openat(AT_FDCWD</>, "/d/state/new", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 4</d/state/new>
10 write(2</d/agent.log>, "hello", 5) = 5
10 write(7<socket:[1]>, "hello", 5) = 5
10 rename("/d/state/new", "/d/state/old") = 0
10 unlinkat(5</d/state>, "old", 0) = 0
10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0}, 88) = 12
10 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD}, 88) = 13
11 +++ exited with 0 +++
"#;
        let recorded = recorded(text, Path::new("/d")).unwrap();
        let places: Vec<String> = recorded.places.iter().map(ToString::to_string).collect();
        assert_eq!(
            places,
            [
                "pwrite64:state/witness:1", // also thread 11's first
                "pwrite64:state/witness:2",
                "fdatasync:state/witness:1",
                "openat:state/new:1",
                "rename:state/new:1",
                "unlinkat:state:1",
                "clone3::2",
            ]
        );
        assert_eq!(recorded.calls, 8);
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let mut digests = Digests::default();
        assert_eq!(digests.hide(&format!("x/.{a}.part")), "x/.@1.part");
        assert_eq!(digests.hide(&format!("é{b}/{a}-{}", &a[..12])), "é@2/@1-aaaaaaaaaaaa");
    }
}
