//! `bench/state`: what a durable transition costs above an append with fdatasync, and what an idle agent does. How to read it:
//! `bench/README.md`.

mod updates;

use anyhow::{Context as _, Result, ensure};
use lexopt::prelude::{Long, ValueExt as _};
use slipway_bench::process::{Look, is_sled};
use slipway_bench::{exit_code, quantile};
use slipway_sim::{AgentProgram, Device, DeviceOptions, Factory};
use slipway_testkit::edgecore::Dials;
use slipway_testkit::programs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use updates::{Transition, Updates};

/// What must not be missed: median transition as a ratio to the floor, and in µs.
const MOST_RATIO: f64 = 1.7;
const MOST_MICROS: f64 = 300.0;
/// Transitions without which a median says nothing.
const LEAST_TRANSITIONS: usize = 1000;
/// What the store may hold after all updates more than before the first, in MiB.
const MOST_GROWTH: f64 = 2.0;
/// Wake-ups of an idle agent's own threads in a second.
const MOST_WAKES: f64 = 1.0;
/// How long an agent that has just started or updated is left alone before it counts as idle: it looks into the repository within half a
/// minute after its start.
const SETTLE: Duration = Duration::from_secs(40);
/// Long enough for a loaded machine.
const LONG: Duration = Duration::from_secs(120);

struct Options {
    agent: PathBuf,
    dir: PathBuf,
    updates: u32,
    idle: Duration,
    /// Whether nothing is judged: a debug build's numbers say nothing.
    smoke: bool,
}

fn main() -> ExitCode {
    exit_code("bench/state", options().and_then(|options| bench(&options)))
}

fn options() -> Result<Options> {
    let mut parser = lexopt::Parser::from_env();
    let (mut agent, mut dir, mut updates, mut idle, mut smoke) = (None, std::env::temp_dir(), None, None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("agent") => agent = Some(PathBuf::from(parser.value()?)),
            Long("dir") => dir = PathBuf::from(parser.value()?),
            Long("updates") => updates = Some(parser.value()?.parse()?),
            Long("idle") => idle = Some(Duration::from_secs(parser.value()?.parse()?)),
            Long("smoke") => smoke = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Options {
        agent: agent.context("--agent PROGRAM is missing: start this by bench/state")?,
        dir,
        updates: updates.unwrap_or(if smoke { 20 } else { 1000 }),
        idle: idle.unwrap_or(Duration::from_secs(if smoke { 3 } else { 60 })),
        smoke,
    })
}

/// Says whether every requirement is met.
fn bench(options: &Options) -> Result<bool> {
    let (mut lines, mut missed) = (Vec::new(), Vec::new());
    transitions(options, &mut lines, &mut missed)?;
    idle(options, &mut lines, &mut missed)?;
    println!();
    if !options.smoke {
        missed.iter().for_each(|missed| eprintln!("bench/state: {missed}"));
    }
    lines.iter().for_each(|line| println!("{line}"));
    Ok(options.smoke || missed.is_empty())
}

/// Updates of a store in this process.
fn transitions(options: &Options, lines: &mut Vec<String>, missed: &mut Vec<String>) -> Result<()> {
    let dir = tempfile::tempdir_in(&options.dir)?;
    let mut updates = Updates::new(dir.path())?;
    let mut seen = Vec::new();
    let before = Look::at(std::process::id())?;
    for _ in 0..options.updates {
        updates.update(&mut seen)?;
    }
    let after = Look::at(std::process::id())?;
    // What the benchmark itself remembers is not the store's.
    let own = seen.capacity().saturating_mul(size_of::<Transition>()) as f64 / 1024.0;
    let growth = (after.anonymous_kib as f64 - before.anonymous_kib as f64 - own) / 1024.0;

    println!("{:34} {:>6} {:>8} {:>8} {:>8}", "durable transitions", "number", "p50 µs", "p99 µs", "floor µs");
    let row = |name: &str, which: &dyn Fn(&&Transition) -> bool| {
        let (mut took, mut floor) =
            (micros(seen.iter().filter(which), |t| t.took), micros(seen.iter().filter(which), |t| t.floor));
        println!(
            "{name:34} {:>6} {:>8.0} {:>8.0} {:>8.0}",
            took.len(),
            quantile(&mut took, 0.5),
            quantile(&mut took, 0.99),
            quantile(&mut floor, 0.5)
        );
    };
    row("database alone", &|transition| !transition.witness);
    row("database, then witness", &|transition| transition.witness);
    row("all", &|_| true);

    let (mut took, mut floor) = (micros(seen.iter(), |t| t.took), micros(seen.iter(), |t| t.floor));
    let (p50, p99, floor_p50) = (quantile(&mut took, 0.5), quantile(&mut took, 0.99), quantile(&mut floor, 0.5));
    let ratio = p50 / floor_p50;
    ensure!(ratio > 0.0, "no transition was measured");
    if seen.len() < LEAST_TRANSITIONS {
        missed.push(format!("{} transitions; at least {LEAST_TRANSITIONS} are needed", seen.len()));
    }
    if !(ratio <= MOST_RATIO && p50 <= MOST_MICROS) {
        missed.push(format!(
            "a transition takes {p50:.0} µs, {ratio:.2} times the floor; it must be at most {MOST_MICROS} µs and {MOST_RATIO} times"
        ));
    }
    if growth > MOST_GROWTH {
        missed.push(format!("the store grew by {growth:.2} MiB; it must be at most {MOST_GROWTH}"));
    }
    lines.push(format!("transition p50 us: {p50:.0}"));
    lines.push(format!("transition p99 us: {p99:.0}"));
    lines.push(format!("floor p50 us: {floor_p50:.0}"));
    lines.push(format!("transition/floor: {ratio:.2}"));
    lines.push(format!("growth MiB after {} updates: {growth:.2}", options.updates));
    Ok(())
}

/// A real agent that has made one update and has nothing to do.
fn idle(options: &Options, lines: &mut Vec<String>, missed: &mut Vec<String>) -> Result<()> {
    let factory = Factory::new(&programs::edgecore_standin()?)?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let program = AgentProgram { exe: options.agent.clone(), first: Vec::new() };
    let mut settings = DeviceOptions::named("edge-1");
    settings.repository = Some(format!("{}/", factory.server.url()));
    settings.broker = Some(slipway_sim::broker::start()?);
    settings.refresh = Duration::from_secs(4 * 3600);
    let mut device = Device::new(&program, &factory.root()?, settings)?;
    device.start()?;
    device.wait("answers", LONG, Device::answers)?;
    ensure!(device.run("check", &[])?.status.success(), "the agent did not update:\n{}", device.log());
    let pid = device.pid().context("the agent does not run")?;

    std::thread::sleep(if options.smoke { options.idle } else { SETTLE });
    let before = Look::at(pid)?;
    std::thread::sleep(options.idle);
    let after = Look::at(pid)?;
    let written = after.written.saturating_sub(before.written);

    println!("\n{:34} {:>14}", "idle agent, thread", "wake-ups per s");
    let (mut own, mut sled) = (0.0, 0.0);
    for (name, wakes) in after.wake_ups(&before) {
        let rate = wakes as f64 / options.idle.as_secs_f64();
        println!("{name:34} {rate:>14.2}");
        *if is_sled(name) { &mut sled } else { &mut own } += rate;
    }
    if own > MOST_WAKES {
        missed.push(format!("the idle agent's own threads wake {own:.2} times a second; it must be at most {MOST_WAKES}"));
    }
    if written > 0 {
        missed.push(format!("the idle agent wrote {written} bytes; it must write none"));
    }
    lines.push(format!("idle threads: {}", after.threads.len()));
    lines.push(format!("idle wake-ups per s, own: {own:.2}"));
    lines.push(format!("idle wake-ups per s, sled: {sled:.2}"));
    lines.push(format!("idle bytes written: {written}"));
    lines.push(format!("idle rss MiB: {:.2}", after.resident_kib as f64 / 1024.0));
    lines.push(format!("idle anonymous MiB: {:.2}", after.anonymous_kib as f64 / 1024.0));
    device.stop()
}

fn micros<'a>(of: impl Iterator<Item = &'a Transition>, value: impl Fn(&Transition) -> Duration) -> Vec<f64> {
    of.map(|transition| value(transition).as_secs_f64() * 1e6).collect()
}
