//! Reads about a process from `/proc`.
//!
//! Process ids are reused, so a process is identified by id and start time together.

use std::fs;
use std::time::Duration;

/// The fields of `/proc/PID/stat` that are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stat {
    /// Ended and not yet reaped, or being torn down. Its first thread may be a zombie while others still hold its files and ports: a
    /// successor that started then would find the port taken.
    pub(super) over: bool,
    /// Its process group.
    pub(super) group: i32,
    /// When it started, in clock ticks since boot (field 22).
    pub(super) started: u64,
}

/// Looks a process up; none when there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, parentheses and spaces too: fields are counted from the last `)`.
fn parse(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let threads: u32 = fields.nth(14)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    let over = matches!(state, "X" | "x") || state == "Z" && threads <= 1;
    Some(Stat { over, group, started })
}

/// A process that is just executing another program has no environment for a moment: so often, and so far apart, is it looked for.
const LOOKS: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The oldest process whose environment has this entry: children, which inherit it, are younger. To miss it would be to start a second.
pub(super) fn marked(entry: &str) -> Option<(u32, Stat)> {
    (0..LOOKS).find_map(|look| {
        if look > 0 {
            std::thread::sleep(LOOK_AGAIN);
        }
        look_for(entry)
    })
}

fn look_for(entry: &str) -> Option<(u32, Stat)> {
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|found| found.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| env.split(|&b| b == 0).any(|found| found == entry.as_bytes()))
    })
    .filter_map(|pid| Some((pid, stat(pid)?)))
    .filter(|(_, stat)| !stat.over)
    .min_by_key(|(_, stat)| stat.started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let line = "42 (a) Z (b) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11";
        assert_eq!(parse(line), Some(Stat { over: false, group: 40, started: 987_654 }));
        assert_eq!(parse(&line.replace(") S", ") Z")).map(|stat| stat.over), Some(true));
        let threads = line.replace(") S", ") Z").replace(" 20 0 1 0 ", " 20 0 3 0 ");
        assert_eq!(parse(&threads).map(|stat| stat.over), Some(false), "two threads are still ending");
        assert_eq!(parse("42 (a) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_is_there() {
        let found = stat(std::process::id()).unwrap();
        assert!(!found.over && found.started > 0);
        assert_eq!(found.group, nix::unistd::getpgrp().as_raw());
        assert_eq!(stat(u32::MAX), None);
    }
}
