//! Interrupts the real agent at every changing system call of an update, and checks that it recovers.
//!
//! First an update is recorded; then it is done once for each call recorded: the agent is killed there, or the call fails for want
//! of space or as on a broken disk; it is started again if it ended, as a service manager would; and must end the update as it should,
//! without help. See `tests/sweep --help`; that it can fail was seen, as `docs/decisions/0008-interrupted-from-outside.md` tells.

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::prelude::{Long, Short, ValueExt};
use slipway_testkit::wait;
use slipway_tests::crash::Progress;
use slipway_tests::crash::device::CrashDevice;
use slipway_tests::crash::scenario::Scenario;
use slipway_tests::crash::strace::{self, Fault, InjectionPoint};
use slipway_tests::crash::testbed::Testbed;
use slipway_tests::crash::verdict;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HELP: &str = "\
Interrupts the agent at every system call of an update that changes something.

Usage: tests/sweep [OPTIONS]

      --quick              A sample of the points, for CI
      --sample N           So many points, evenly spread
      --scenario NAME      Only commit, rollback or repair
      --fault NAME         Only kill, enospc or eio
      --point POINT        Only this one, as a bad one is shown; its folder is kept
      --list               Show the points and do nothing
      --jobs N             Points at a time [default: 4; most of a point is waiting]
      --dir DIR            Where devices live [default: the folder for temporary files]

Ends with `points: N, torn: T, stuck: S`; exit code 1 if anything is torn or stuck.
";

/// How long the agent may take to end the update, whatever happened to it: a pause between two tries may be half of it.
const DEADLINE: Duration = Duration::from_secs(60);
/// Points of a quick sweep.
const QUICK: usize = 120;

/// One update with one interruption.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Point {
    scenario: Scenario,
    fault: Fault,
    place: InjectionPoint,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.scenario.name(), self.fault.name(), self.place)
    }
}

/// What became of a point.
#[derive(Debug)]
enum Outcome {
    /// Interrupted, and all is well. `NotReached` is: all is well, but this run never came there.
    Survived,
    NotReached,
    /// Something on the disk is neither the old nor the new, or two things disagree.
    Torn(String),
    /// The update did not end.
    Stuck(String),
}

#[derive(Debug)]
struct Options {
    sample: Option<usize>,
    scenarios: Vec<Scenario>,
    faults: Vec<Fault>,
    point: Option<String>,
    list: bool,
    jobs: usize,
    dir: PathBuf,
}

fn options() -> Result<Option<Options>> {
    let mut options = Options {
        sample: None,
        scenarios: Scenario::ALL.to_vec(),
        faults: Fault::ALL.to_vec(),
        point: None,
        list: false,
        jobs: 4,
        dir: std::env::temp_dir(),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Long("quick") => options.sample = Some(QUICK),
            Long("sample") => options.sample = Some(parser.value()?.parse()?),
            Long("scenario") => options.scenarios = vec![parser.value()?.parse_with(str::parse)?],
            Long("fault") => options.faults = vec![parser.value()?.parse_with(str::parse)?],
            Long("point") => options.point = Some(parser.value()?.string()?),
            Long("list") => options.list = true,
            Long("jobs") => options.jobs = parser.value()?.parse::<usize>()?.max(1),
            Long("dir") => options.dir = parser.value()?.into(),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let swept = options().and_then(|options| options.map_or(Ok(true), |options| sweep(&options)));
    match swept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sweep: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well.
fn sweep(options: &Options) -> Result<bool> {
    let testbed = Testbed::new(&options.dir)?;
    let mut points = points(&testbed, options)?;
    match &options.point {
        Some(wanted) => {
            points.retain(|point| point.to_string() == *wanted);
            ensure!(!points.is_empty(), "this update has no point {wanted}; --list shows them all");
        }
        None => points = spread(points, options.sample),
    }
    if options.list {
        points.iter().for_each(|point| println!("{point}"));
        return Ok(true);
    }
    let next = AtomicUsize::new(0);
    let progress = Mutex::new(Progress::new(points.len()));
    let counts = Mutex::new((0_usize, 0_usize, 0_usize));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.min(points.len()) {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = run(&testbed, point, options.point.is_some());
                    let (mut counts, mut progress) = (lock(&counts), lock(&progress));
                    let bad = |kind: &str, why: &str| {
                        progress.say(&format!(
                            "{kind} {point}\n  {}\n  again: tests/sweep --point {point}",
                            why.replace('\n', "\n  ")
                        ));
                    };
                    match &outcome {
                        Outcome::Survived => {}
                        Outcome::NotReached => counts.2 += 1,
                        Outcome::Torn(why) => {
                            counts.0 += 1;
                            bad("TORN ", why);
                        }
                        Outcome::Stuck(why) => {
                            counts.1 += 1;
                            bad("STUCK", why);
                        }
                    }
                    progress.step(counts.0 + counts.1);
                }
            });
        }
    });
    let (torn, stuck, missed) = *lock(&counts);
    if missed > 0 {
        println!("in {missed} of these the update went another way and never came to the call; it ended well");
    }
    // Nearly all of them, or the counters no longer mean what they meant in the recording.
    ensure!(missed * 3 <= points.len(), "too many points were never reached: this sweep shows nothing");
    println!("points: {}, torn: {torn}, stuck: {stuck}", points.len());
    Ok(torn + stuck == 0)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Evenly spread over the whole.
fn spread(points: Vec<Point>, sample: Option<usize>) -> Vec<Point> {
    let (all, wanted) = (points.len(), sample.unwrap_or(points.len()).max(1));
    if all <= wanted {
        return points;
    }
    (0..wanted).filter_map(|n| points.get(n * all / wanted).cloned()).collect()
}

/// Every point there is, by recording each scenario once.
fn points(testbed: &Testbed, options: &Options) -> Result<Vec<Point>> {
    let mut all = Vec::new();
    for scenario in &options.scenarios {
        let mut device = testbed.device(&testbed.scratch(&format!("recorded-{}", scenario.name())), *scenario)?;
        let output = device.dir().join("strace");
        device.start_under(&strace::recorder(&output))?;
        wait::try_until("the update that is recorded ends", DEADLINE, || device.finished()).with_context(|| device.log())?;
        verdict::all_agree(&testbed.setting, &mut device).context("an update that nobody interrupted")?;
        let recorded = strace::recorded(&String::from_utf8_lossy(&std::fs::read(&output)?), device.dir())?;
        eprintln!(
            "{}: {} calls that change something, {} places to interrupt it",
            scenario.name(),
            recorded.calls,
            recorded.places.len()
        );
        ensure!(recorded.places.len() > 100, "a recording of a whole update has hundreds of calls");
        for fault in &options.faults {
            let fitting = recorded.places.iter().filter(|place| fault.fits(&place.call));
            all.extend(fitting.map(|place| Point { scenario: *scenario, fault: *fault, place: place.clone() }));
        }
    }
    Ok(all)
}

fn run(testbed: &Testbed, point: &Point, keep: bool) -> Outcome {
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let dir = testbed.scratch(&format!("p{}", FOLDERS.fetch_add(1, Ordering::Relaxed)));
    let outcome = match testbed.device(&dir, point.scenario) {
        Ok(mut device) => interrupt(testbed, &mut device, point),
        Err(error) => Outcome::Stuck(format!("no device: {error:#}")),
    };
    let outcome = match outcome {
        // The device's own words belong to what went wrong.
        Outcome::Torn(why) => Outcome::Torn(format!("{why}\n{}", tail(&dir))),
        Outcome::Stuck(why) => Outcome::Stuck(format!("{why}\n{}", tail(&dir))),
        fine => fine,
    };
    if keep {
        let kept = std::env::temp_dir().join(format!("slipway-sweep-{}", std::process::id()));
        if std::fs::rename(&dir, &kept).is_ok() || slipway_tests::crash::testbed::copy(&dir, &kept).is_ok() {
            eprintln!("kept: {}", kept.display());
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn tail(dir: &std::path::Path) -> String {
    let log = std::fs::read_to_string(dir.join("agent.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

fn interrupt(testbed: &Testbed, device: &mut CrashDevice, point: &Point) -> Outcome {
    let output = device.dir().join("strace");
    if let Err(error) = device.start_under(&strace::injector(&output, device.dir(), &point.place, point.fault)) {
        return Outcome::Stuck(format!("{error:#}"));
    }
    // It may end by itself over an error, or be killed while it says goodbye: whoever runs it then starts it again.
    let mut observed = false;
    let ended = wait::try_until_some("the update ends, or the agent", DEADLINE, || {
        // Once is what is asked; strace counts in each thread anew.
        if !observed && point.fault != Fault::Kill && strace::observed(&output) {
            observed = true;
            device.let_go();
        }
        if observed {
            device.check_if_held_off();
        }
        device.ended().map(|_| true).or_else(|| device.finished().then_some(false))
    });
    let crashed = match ended {
        Err(error) => return Outcome::Stuck(format!("{error:#}; {}", state(device))),
        Ok(crashed) => crashed || device.stop().is_err() && strace::observed(&output),
    };
    let hit = strace::observed(&output);
    if crashed {
        if let Err(error) = verdict::nothing_is_torn(&testbed.setting, device) {
            return Outcome::Torn(format!("right after the crash: {error:#}"));
        }
        if let Err(error) = recover(device) {
            return Outcome::Stuck(format!("{error:#}; {}", state(device)));
        }
    }
    let healed = if point.fault == Fault::Kill { verdict::nothing_was_healed(device) } else { Ok(()) };
    match healed.and_then(|()| verdict::all_agree(&testbed.setting, device)) {
        Err(error) => Outcome::Torn(format!("at the end: {error:#}")),
        Ok(()) if hit => Outcome::Survived,
        Ok(()) => Outcome::NotReached,
    }
}

/// Starts the agent as often as it ends, and waits for the update's end.
fn recover(device: &mut CrashDevice) -> Result<()> {
    let mut starts = 0;
    device.start()?;
    wait::try_until("the update ends after a restart", DEADLINE, || {
        if device.ended().is_some() {
            starts += 1;
            if starts < 20 {
                let _ = device.start();
            }
        }
        device.check_if_held_off();
        device.finished()
    })?;
    if starts >= 20 {
        bail!("the agent ends again and again");
    }
    Ok(())
}

fn state(device: &CrashDevice) -> String {
    match device.status() {
        Ok(status) => {
            let version = |installed: Option<slipway_machine::record::Installed>| installed.map(|it| it.version.to_string());
            format!("state {}, committed {:?}, running {:?}", status.state, version(status.committed), device.running())
        }
        Err(error) => format!("no status: {error:#}"),
    }
}
