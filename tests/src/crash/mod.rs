//! Crash tests: a small setup in which an update takes two seconds, and what must hold after any interruption.
//!
//! | module | what it is |
//! |---|---|
//! | [`testbed`] | a factory with three releases of a component that is a shell script, and a device that runs the first of them |
//! | [`scenario`] | what happens to the device, and what it has to know |
//! | [`device`] | one copy of that device: its agent, its component, what they say |
//! | [`verdict`] | what must hold after a crash, before and after the agent was started again |
//! | [`strace`] | which system calls an update makes, and how to interrupt one of them |
//! | [`blocks`] | a disk whose writes are recorded, and what is on it after a power cut |
//!
//! `tests/sweep` and `tests/power-cut` are the programs made from it.

pub mod blocks;
pub mod device;
pub mod scenario;
pub mod strace;
pub mod testbed;
pub mod verdict;

/// What a program of this crate shows while it works: overwritten on a terminal, a line now and then elsewhere.
#[derive(Debug)]
pub struct Progress {
    total: usize,
    done: usize,
    began: std::time::Instant,
    terminal: bool,
    /// Where there is no terminal, a line is shown for so many steps.
    stride: usize,
}

impl Progress {
    /// Of so many steps.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a person is told how long it takes")]
    pub fn new(total: usize) -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        Self { total, done: 0, began: std::time::Instant::now(), terminal, stride: (total / 20).max(1) }
    }

    /// One step is done; `bad` of all were bad.
    pub fn step(&mut self, bad: usize) {
        self.done += 1;
        let line = format!("{:>5}/{} {:>4} s  bad: {bad}", self.done, self.total, self.began.elapsed().as_secs());
        if self.terminal {
            eprint!("\r{line}{}", if self.done == self.total { "\n" } else { "" });
        } else if self.done.is_multiple_of(self.stride) || self.done == self.total {
            eprintln!("{line}");
        }
    }

    /// Says something that stays.
    pub fn say(&self, text: &str) {
        eprintln!("{}{text}", if self.terminal { "\r\u{1b}[K" } else { "" });
    }
}
