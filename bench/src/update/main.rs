//! `bench/update`: what a whole update costs, beside the tools that do a part of the same work. How to read it: `bench/README.md`.

mod agent;
mod peers;
mod releases;

use agent::{Cost, Source};
use anyhow::{Context as _, Result};
use lexopt::prelude::{Long, ValueExt as _};
use releases::{Release, Releases};
use slipway_bench::{exit_code, quantile};
use std::path::PathBuf;
use std::process::ExitCode;

/// What must not be missed: each line's most.
const MOST: [f64; 6] = [1.3, 0.25, 1.15, 1.01, 0.7, 2.0];
const MIB: u64 = 1024 * 1024;

struct Options {
    agent: PathBuf,
    /// A web server to measure with instead of the test kit's.
    nginx: Option<PathBuf>,
    rounds: usize,
    /// Whether nothing is judged, and everything is small.
    smoke: bool,
}

fn main() -> ExitCode {
    exit_code("bench/update", options().and_then(|options| bench(&options)))
}

fn options() -> Result<Options> {
    let mut parser = lexopt::Parser::from_env();
    let (mut agent, mut nginx, mut rounds, mut smoke) = (None, None, 5, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("agent") => agent = Some(PathBuf::from(parser.value()?)),
            Long("nginx") => nginx = Some(PathBuf::from(parser.value()?)),
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("smoke") => (rounds, smoke) = (1, true),
            other => return Err(other.unexpected().into()),
        }
    }
    let agent = agent.context("--agent PROGRAM is missing: start this by bench/update")?;
    Ok(Options { agent, nginx, rounds, smoke })
}

/// What one round found, as ratios to floors of that very round.
#[derive(Default)]
struct Rounds {
    cpu: Vec<f64>,
    wall_sum: Vec<f64>,
    wall_floor: Vec<f64>,
    archive_cpu: Vec<f64>,
    written: f64,
    peak: f64,
}

fn bench(options: &Options) -> Result<bool> {
    let sizes = if options.smoke { [2, 4, 4] } else { [256, 1024, 100] };
    let [first, second, member] = sizes.map(|mib| mib * MIB);
    let releases = Releases::new(options.nginx.as_deref(), [first, second], member)?;
    let [bare, large, archive] = &releases.measured;
    println!("served by {}; rounds: {}", releases.server(), options.rounds);
    if options.smoke {
        println!("smoke: files of {sizes:?} MiB under the names of large ones; the ratios say nothing");
    }
    println!();
    println!("{:44} {:>8} {:>8} {:>9} {:>10}", "", "wall s", "CPU s", "written", "peak MiB");
    let mut found = Rounds::default();
    for _ in 0..options.rounds.max(1) {
        round(options, &releases, [bare, large, archive], &mut found)?;
    }
    let lines = [
        ("256 MiB cpu s / (openssl + cp)", quantile(&mut found.cpu, 0.5)),
        ("1 GiB wall/(curl+sha256sum)", quantile(&mut found.wall_sum, 0.5)),
        ("wall/floor", quantile(&mut found.wall_floor, 0.5)),
        ("written/size (bare)", found.written),
        ("archive cpu s / (openssl + gzip -d + openssl)", quantile(&mut found.archive_cpu, 0.5)),
        ("peak rss over idle MiB", found.peak),
    ];
    println!("\nmedians of {} rounds", options.rounds);
    let mut good = true;
    for ((name, value), most) in lines.iter().zip(MOST) {
        // NaN is no number to be content with.
        let met = *value <= most;
        if !options.smoke && !met {
            good = false;
            eprintln!("bench/update: {name}: {value:.3}; it must be at most {most}");
        }
    }
    lines.iter().for_each(|(name, value)| println!("{name}: {value:.3}"));
    Ok(good)
}

fn round(options: &Options, releases: &Releases, [bare, large, archive]: [&Release; 3], found: &mut Rounds) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let peers = peers::Peers::new(scratch.path());
    let mut update = |release: &Release, source: Source| -> Result<Cost> {
        let cost = agent::update(&options.agent, releases, release, source)?;
        let name = format!("slipway-agent, {}, {}", release.name, source.name());
        println!(
            "{name:44} {:>8.3} {:>8.3} {:>9.4} {:>10.2}",
            cost.wall,
            cost.cpu,
            cost.written / release.payload as f64,
            cost.peak_over_idle
        );
        found.peak = found.peak.max(cost.peak_over_idle);
        if release.member.is_none() {
            found.written = found.written.max(cost.written / release.payload as f64);
        }
        Ok(cost)
    };

    let floor = peers.openssl(&bare.file)?.and(peers.copy(&bare.file)?);
    floor.print("openssl, cp + sync, 256 MiB");
    peers.curl_to_file(&releases.url_of(bare))?.and(peers.openssl_of_download()?).print("curl + openssl, 256 MiB");
    let fetched = update(bare, Source::Http)?;
    let installed = update(bare, Source::Bundle)?;
    found.cpu.push(fetched.cpu.max(installed.cpu) / floor.cpu);

    let network = peers.curl_to_nothing(&releases.url_of(large))?;
    network.print("curl to nothing, 1 GiB");
    let disk = peers.write(&large.file)?;
    disk.print("write + fsync, 1 GiB");
    let fetched = update(large, Source::Http)?;
    found.wall_floor.push(fetched.wall / network.wall.max(disk.wall));
    let summed = peers.curl_to_file(&releases.url_of(large))?.and(peers.sha256sum_of_download()?);
    summed.print("curl + sha256sum, 1 GiB");
    found.wall_sum.push(fetched.wall / summed.wall);
    update(large, Source::Bundle)?;

    let floor = peers.openssl(&archive.file)?.and(peers.gzip(&archive.file)?).and(peers.openssl_of_inflated()?);
    floor.print("openssl, gzip -d, openssl, archive");
    let fetched = update(archive, Source::Http)?;
    let installed = update(archive, Source::Bundle)?;
    found.archive_cpu.push(fetched.cpu.max(installed.cpu) / floor.cpu);
    Ok(())
}
