//! The demo: a broker, a release server and three agents as real processes, step by step.
//!
//! One program, several roles, so that it needs nothing but a Rust toolchain: `slipway-sim agent …` is the agent, a copy with dials
//! behind its end is the stand-in for edgecore, `slipway-sim demo` plays, and without arguments it is the [`keeper`] of all these.

mod demo;
mod fleet;
mod keeper;
mod live;
mod screen;

use std::ffi::OsString;
use std::process::ExitCode;

const HELP: &str = "\
Shows in about a minute what Slipway does, with real processes on this machine's loopback: a broker, a release server, three devices.

  1  a good release is announced, proven, installed and committed by all three
  2  a release built from another source repository is refused, and the reason shown
  3  a download that somebody changed is refused
  4  a release that passes every check and then dies is rolled back, configuration and all
  5  an agent is killed in the middle of a download and goes on where it was

Usage: slipway-sim [-h | --help] [-V | --version]

Exit codes: 0 all of it really happened; 1 it did not, and what was seen instead; 2 wrong usage. Ctrl-C leaves nothing behind.
Everything is below TMPDIR, which must be a place where programs may run. NO_COLOR is respected.
";

fn main() -> ExitCode {
    // A copy of this program is edgecore: it never returns from here.
    slipway_testkit::edgecore::main_if_standin();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    match words.as_slice() {
        ["agent", ..] => return slipway_agent::cli::main(args.into_iter().skip(1)),
        ["story"] => return demo::run(),
        [] => return keeper::run(),
        ["-h" | "--help"] => print!("{HELP}"),
        ["-V" | "--version"] => println!("slipway-sim {}", env!("CARGO_PKG_VERSION")),
        _ => {
            eprintln!("slipway-sim: it takes no arguments\nTry `slipway-sim --help`.");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
