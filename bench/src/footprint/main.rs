//! `bench/footprint`: what an agent costs a device while nothing happens, built for glibc and for musl. How to read it: `bench/README.md`.
//!
//! Each agent installs a release first, so that it is idle in the state in which devices are: connected to a real mosquitto, one
//! component committed and running, its database open.

use anyhow::{Context as _, Result, ensure};
use lexopt::prelude::{Long, ValueExt as _};
use serde_json::{Value, json};
use slipway_bench::exit_code;
use slipway_bench::process::{Look, is_sled};
use slipway_sim::{AgentProgram, Device, DeviceOptions, Factory};
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::edgecore::Dials;
use slipway_testkit::{programs, wait};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Every wait ends as soon as its condition holds.
const LONG: Duration = Duration::from_secs(120);
/// Often enough that a start of some milliseconds is seen as such.
const GLANCE: Duration = Duration::from_micros(500);

struct Options {
    agents: Vec<(String, PathBuf)>,
    starts: usize,
    window: Duration,
    json: bool,
}

/// What is measured, its unit, and the most that it may be; without a limit it is shown only.
const FIGURES: [(&str, &str, Option<f64>); 9] = [
    ("binary", "MiB", Some(6.0)),
    ("idle pss", "MiB", Some(6.0)),
    ("idle anonymous", "MiB", Some(3.0)),
    ("cold start to broker", "ms", Some(50.0)),
    ("idle writes", "bytes", Some(0.0)),
    ("own threads", "", Some(3.0)),
    ("own wake-ups", "/s", Some(1.0)),
    ("sled's threads", "", None),
    ("sled's wake-ups", "/s", None),
];

/// One agent's figures, in the order of [`FIGURES`], and each thread's wake-ups a second.
struct Footprint {
    figures: [f64; FIGURES.len()],
    threads: Vec<(String, f64)>,
}

fn main() -> ExitCode {
    exit_code("bench/footprint", options(std::env::args_os().skip(1)).and_then(|options| bench(&options)))
}

fn options(args: impl Iterator<Item = OsString>) -> Result<Options> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut options = Options { agents: Vec::new(), starts: 11, window: Duration::from_secs(60), json: false };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("agent") => {
                let agent = parser.value()?.string()?;
                let (libc, path) = agent.split_once('=').context("--agent wants LIBC=PROGRAM")?;
                options.agents.push((libc.to_owned(), path.into()));
            }
            Long("json") => options.json = true,
            Long("quick") => (options.starts, options.window) = (3, Duration::from_secs(10)),
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(!options.agents.is_empty(), "--agent LIBC=PROGRAM is missing: start this by bench/footprint");
    Ok(options)
}

fn bench(options: &Options) -> Result<bool> {
    let factory = Factory::new(&programs::edgecore_standin()?)?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let broker = Mosquitto::start(Access::Plain)?;
    let mut found = Vec::new();
    for (libc, exe) in &options.agents {
        let footprint = measure(options, &factory, &broker, exe).with_context(|| format!("the agent for {libc}"))?;
        found.push((libc.as_str(), footprint));
    }
    let missed = missed(&found);
    if options.json {
        println!("{:#}", as_json(&found, &missed));
    } else {
        print_table(&found);
    }
    for text in &missed {
        eprintln!("bench/footprint: {text}");
    }
    Ok(missed.is_empty())
}

fn measure(options: &Options, factory: &Factory, broker: &Mosquitto, exe: &PathBuf) -> Result<Footprint> {
    let program = AgentProgram { exe: exe.clone(), first: Vec::new() };
    let mut device_options = DeviceOptions::named("edge-1");
    device_options.repository = Some(format!("{}/", factory.server.url()));
    device_options.broker = Some(broker.url());
    device_options.refresh = Duration::from_secs(3600); // the default; a look costs two requests, and none falls into the window
    let mut device = Device::new(&program, &factory.root()?, device_options)?;
    device.start()?;
    device.wait_committed("v1.22.0", LONG)?;
    let mut starts = Vec::new();
    for _ in 0..options.starts {
        device.stop()?;
        let before = connections(broker);
        let began = Instant::now();
        device.start()?;
        wait_for("the agent is connected", || connections(broker) > before)?;
        starts.push(began.elapsed());
        device.wait("answers", LONG, Device::answers)?;
    }
    starts.sort_unstable();
    let start = starts.get(starts.len() / 2).context("at least one start")?;
    let pid = device.pid().context("an agent that runs")?;
    // What a start leaves to do ends when for three seconds nothing was written and the component is well.
    let (mut last, mut since) = (Look::at(pid)?, Instant::now());
    wait::try_until("the agent is idle", LONG, || {
        let Ok(now) = Look::at(pid) else { return false };
        if now.written != last.written {
            (last, since) = (now, Instant::now());
        }
        device.healthy() && since.elapsed() > Duration::from_secs(3)
    })?;
    let (before, began) = (Look::at(pid)?, Instant::now());
    std::thread::sleep(options.window); // what is measured is a time in which nothing happens
    let (after, seconds) = (Look::at(pid)?, began.elapsed().as_secs_f64());
    device.stop()?;

    // Threads of one name are added up.
    let mut by_name = BTreeMap::<String, u64>::new();
    for (name, count) in after.wake_ups(&before) {
        *by_name.entry(name.to_owned()).or_default() += count;
    }
    let threads: Vec<(String, f64)> = by_name.into_iter().map(|(name, count)| (name, count as f64 / seconds)).collect();
    let count = |sled: bool| after.threads.values().filter(|thread| is_sled(&thread.name) == sled).count() as f64;
    let rate = |sled: bool| threads.iter().filter(|(name, _)| is_sled(name) == sled).map(|(_, rate)| rate).sum();
    Ok(Footprint {
        figures: [
            std::fs::metadata(exe)?.len() as f64 / f64::from(1 << 20),
            after.pss_kib as f64 / 1024.0,
            after.anonymous_kib as f64 / 1024.0,
            start.as_secs_f64() * 1000.0,
            after.written.saturating_sub(before.written) as f64,
            count(false),
            rate(false),
            count(true),
            rate(true),
        ],
        threads,
    })
}

/// How many clients the broker has accepted so far.
fn connections(broker: &Mosquitto) -> usize {
    broker.log().matches("New client connected").count()
}

/// Waits like [`wait::try_until`], and looks more often than that does.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !condition() {
        ensure!(began.elapsed() < LONG, "{what}: not after {LONG:?}");
        std::thread::sleep(GLANCE);
    }
    Ok(())
}

fn missed(found: &[(&str, Footprint)]) -> Vec<String> {
    let mut missed = Vec::new();
    for (libc, footprint) in found {
        for ((name, unit, limit), figure) in FIGURES.iter().zip(footprint.figures) {
            if let Some(limit) = limit.filter(|limit| figure > *limit) {
                missed.push(format!("{libc}: {name} is {figure:.2} {unit}; it must be at most {limit}"));
            }
        }
    }
    missed
}

fn as_json(found: &[(&str, Footprint)], missed: &[String]) -> Value {
    let limits: Value = FIGURES.iter().filter_map(|(name, unit, limit)| Some((key(name, unit), json!((*limit)?)))).collect();
    let mut all = serde_json::Map::new();
    for (libc, footprint) in found {
        let mut one: serde_json::Map<String, Value> =
            FIGURES.iter().zip(footprint.figures).map(|((name, unit, _), figure)| (key(name, unit), json!(figure))).collect();
        let threads: Value = footprint.threads.iter().map(|(name, rate)| (name.clone(), json!(rate))).collect();
        one.insert("wake_ups_per_s_by_thread".to_owned(), threads);
        all.insert((*libc).to_owned(), one.into());
    }
    all.insert("limits".to_owned(), limits);
    all.insert("missed".to_owned(), json!(missed));
    all.into()
}

/// `idle pss` in MiB is `idle_pss_mib`.
fn key(name: &str, unit: &str) -> String {
    let unit = match unit {
        "/s" => "_per_s".to_owned(),
        "" | "bytes" => String::new(),
        other => format!("_{}", other.to_lowercase()),
    };
    format!("{}{unit}", name.replace("'s", "").replace([' ', '-'], "_"))
}

fn print_table(found: &[(&str, Footprint)]) {
    print!("{:28}", "");
    found.iter().for_each(|(libc, _)| print!("{libc:>10}"));
    println!("{:>10}", "limit");
    for (at, (name, unit, limit)) in FIGURES.iter().enumerate() {
        print!("{:28}", format!("{name} {unit}"));
        found.iter().filter_map(|(_, footprint)| footprint.figures.get(at)).for_each(|figure| print!("{figure:>10.2}"));
        println!("{:>10}", limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string()));
    }
    for (libc, footprint) in found {
        println!("\nwake-ups a second by thread, {libc}:");
        footprint.threads.iter().for_each(|(name, rate)| println!("  {name:24} {rate:8.2}"));
    }
}
