//! Simulates power cuts of a disk during an update, and checks that the agent recovers from each.
//!
//! The whole update is done once, on ext4 on a disk whose writes and flushes are recorded. From the recording come disks as a cut at
//! some moment may leave them; on each the agent is started, must end the update as it should, and must still know everything that it
//! had told anybody before. See `tests/power-cut --help`; that it can fail was seen, as
//! `docs/decisions/0008-interrupted-from-outside.md` tells.

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::prelude::{Long, Short, ValueExt};
use serde::{Deserialize, Serialize};
use slipway_protocol::{Event, Report, Version};
use slipway_testkit::wait;
use slipway_tests::crash::blocks::{Recorder, Recording, Survivors, run};
use slipway_tests::crash::device::CrashDevice;
use slipway_tests::crash::scenario::{Scenario, Setting};
use slipway_tests::crash::testbed::Testbed;
use slipway_tests::crash::{Progress, verdict};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HELP: &str = "\
Cuts the power of a recorded disk while the agent updates, and starts the agent on what is left.

Usage: tests/power-cut [OPTIONS]

      --quick              A few dozen images, for CI
      --images N           So many images [default: 600]
      --seed N             For the moments and the writes that survive [default: 1]
      --jobs N             Images at a time [default: 4; most of one is waiting]
      --dir DIR            Where disks are made [default: the folder for temporary files]
      --can                Only say whether this machine can: exit code 0 or 3

Needs root, loop devices, FUSE, qemu-storage-daemon and nbdfuse.
Ends with `images: N, bad: B`; exit code 1 if any is bad.
";

/// How long the agent may take to end the update after a cut.
const DEADLINE: Duration = Duration::from_secs(60);
const QUICK: usize = 48;

struct Options {
    images: usize,
    seed: u64,
    jobs: usize,
    dir: PathBuf,
    can: bool,
    /// Judge the image that this file describes: what this program calls itself for, in namespaces of its own.
    judge: Option<PathBuf>,
}

fn options() -> Result<Option<Options>> {
    let mut options = Options { images: 600, seed: 1, jobs: 4, dir: std::env::temp_dir(), can: false, judge: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            Long("quick") => options.images = QUICK,
            Long("images") => options.images = parser.value()?.parse::<usize>()?.max(1),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("jobs") => options.jobs = parser.value()?.parse::<usize>()?.max(1),
            Long("dir") => options.dir = parser.value()?.into(),
            Long("can") => options.can = true,
            Long("judge") => options.judge = Some(parser.value()?.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let done = options().and_then(|options| match options {
        None => Ok(ExitCode::SUCCESS),
        Some(Options { judge: Some(task), .. }) => judge(&task).map(|()| ExitCode::SUCCESS),
        Some(Options { can: true, dir, .. }) => Ok(match can(&dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("this machine cannot record a disk: {why:#}");
                ExitCode::from(3)
            }
        }),
        Some(options) => cut(&options),
    });
    done.unwrap_or_else(|error| {
        eprintln!("power-cut: {error:#}");
        ExitCode::from(2)
    })
}

/// Whether a recorded disk can be made here, by making one.
fn can(dir: &Path) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("slipway-").tempdir_in(dir)?;
    let mount = dir.path().join("mount");
    let recorder = Recorder::start(dir.path(), &mount, || Ok(()))?;
    std::fs::write(mount.join("file"), "x")?;
    std::fs::File::open(mount.join("file"))?.sync_all()?;
    ensure!(recorder.finish()?.flushes() > 0, "an fsync left no flush in the log");
    Ok(())
}

/// What the agent had told before the cut.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Statements {
    reports: Vec<Report>,
    committed: Option<Version>,
    floor: Option<Version>,
    blocked: usize,
}

/// What it had told by the time the log was so long.
type Acknowledged = (u64, Statements);

/// One image to be judged.
#[derive(Debug, Deserialize, Serialize)]
struct Task {
    setting: Setting,
    scenario: Scenario,
    image: PathBuf,
    mount: PathBuf,
    statements: Statements,
}

fn cut(options: &Options) -> Result<ExitCode> {
    let testbed = Testbed::new(&options.dir)?;
    let mut random = Random(options.seed);
    let (mut images, mut bad) = (0, 0);
    let share = options.images.div_ceil(Scenario::UPDATES.len());
    for scenario in Scenario::UPDATES {
        let (recording, acknowledged, end) = record(&testbed, scenario)?;
        let last = recording.entries(end);
        eprintln!(
            "{}: {last} writes and flushes, {} flushes among them, {} times something was told",
            scenario.name(),
            recording.flushes(),
            acknowledged.len()
        );
        ensure!(recording.flushes() > 20 && acknowledged.len() > 3, "a recording of a whole update has dozens of flushes");
        let cuts: Vec<(usize, Survivors, u64)> = (0..share)
            .map(|n| {
                let survivors = Survivors::ALL.get(n % Survivors::ALL.len()).copied().unwrap_or(Survivors::Half);
                // Half of them at any moment, half right after something was told: then it must be there.
                let any = usize::try_from(random.next() % (last as u64 + 1)).unwrap_or(last);
                let reported =
                    acknowledged.get(n / 6 % acknowledged.len()).map_or(any, |(position, _)| recording.entries(*position));
                (if n % 6 < 3 { any } else { reported }, survivors, random.next())
            })
            .collect();
        bad += judge_all(&testbed, scenario, &recording, &acknowledged, &cuts, options.jobs)?;
        images += cuts.len();
    }
    println!("images: {images}, bad: {bad}");
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One whole update on a recorded disk; what it said by when; and where in the log it was over.
fn record(testbed: &Testbed, scenario: Scenario) -> Result<(Recording, Vec<Acknowledged>, u64)> {
    let dir = testbed.scratch(&format!("recorded-{}", scenario.name()));
    let mount = mount_point(testbed);
    let device_dir = mount.join("device");
    let recorder = Recorder::start(&dir, &mount, || testbed.device(&device_dir, scenario).map(drop))?;
    let mut device = CrashDevice::at(&device_dir, scenario, &testbed.setting)?;
    run("sync", &["-f", &mount.display().to_string()])?;
    device.start()?;
    let mut acknowledged = Vec::new();
    wait::try_until("the agent answers", DEADLINE, || device.status().is_ok()).with_context(|| device.log())?;
    // The log is measured the moment a report comes, before the agent can write what comes next.
    device.follow(|report| {
        acknowledged
            .push(recorder.position().map(|position| (position, Statements { reports: vec![report], ..Statements::default() })));
    })?;
    wait::try_until("the update that is recorded ends", DEADLINE, || device.finished()).with_context(|| device.log())?;
    let statements = listen(&device)?;
    let end = recorder.position()?;
    acknowledged.push(Ok((end, statements)));
    let acknowledged = acknowledged.into_iter().collect::<Result<Vec<Acknowledged>>>()?;
    device.stop()?;
    drop(device);
    Ok((recorder.finish()?, acknowledged, end))
}

/// Everything that was told before the log was so long.
fn said_by(acknowledged: &[Acknowledged], position: u64) -> Statements {
    let mut all = Statements::default();
    for (_, statements) in acknowledged.iter().filter(|(at, _)| *at <= position) {
        all.reports.extend(statements.reports.iter().cloned());
        // A report of a commit or a rollback says what the status would.
        for report in &statements.reports {
            match report.event {
                Event::Committed => {
                    all.committed = all.committed.max(report.to.clone());
                    all.floor = all.floor.max(report.to.clone());
                }
                Event::RolledBack => all.blocked = all.blocked.max(1),
                _ => {}
            }
        }
        all.committed = all.committed.max(statements.committed.clone());
        all.floor = all.floor.max(statements.floor.clone());
        all.blocked = all.blocked.max(statements.blocked);
    }
    all
}

fn listen(device: &CrashDevice) -> Result<Statements> {
    let status = device.status()?;
    // Asked for after the rest, so that it holds at least what the rest says.
    let mut reports = device.history()?;
    reports.reverse();
    let committed = status.committed.map(|installed| installed.version);
    Ok(Statements { reports, committed, floor: status.floor, blocked: status.blocked.len() })
}

/// The same for the recording and every image: snapshots know absolute paths.
fn mount_point(testbed: &Testbed) -> PathBuf {
    testbed.scratch("disk")
}

fn judge_all(
    testbed: &Testbed,
    scenario: Scenario,
    recording: &Recording,
    acknowledged: &[Acknowledged],
    cuts: &[(usize, Survivors, u64)],
    jobs: usize,
) -> Result<usize> {
    let (next, bad) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let progress = Mutex::new(Progress::new(cuts.len()));
    let program = std::env::current_exe()?;
    let one = |n: usize, (count, survivors, seed): (usize, Survivors, u64)| -> Result<()> {
        let at = recording.position(count);
        let statements = said_by(acknowledged, at);
        let (image, mount) = (testbed.scratch(&format!("image-{n}")), mount_point(testbed));
        let mut dice = Random(seed);
        recording.image(count, survivors, || dice.next().is_multiple_of(2), &image)?;
        let task = Task { setting: testbed.setting.clone(), scenario, image: image.clone(), mount, statements };
        let file = testbed.scratch(&format!("task-{n}"));
        std::fs::write(&file, serde_json::to_vec(&task)?)?;
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        let output = unshare.arg(&program).arg("--judge").arg(&file).output()?;
        std::fs::remove_file(&file)?;
        if output.status.success() {
            std::fs::remove_file(&image)?;
            return Ok(());
        }
        let kept = std::env::temp_dir().join(format!("slipway-power-cut-{}-{}-{n}", std::process::id(), scenario.name()));
        std::fs::copy(&image, &kept)?;
        std::fs::remove_file(&image)?;
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{}\n  the disk as the cut left it: {}", why.trim().replace('\n', "\n  "), kept.display());
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(cuts.len()) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let Some((count, survivors, seed)) = cuts.get(n).copied() else { return };
                    let judged = one(n, (count, survivors, seed));
                    let mut progress = progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if let Err(why) = judged {
                        bad.fetch_add(1, Ordering::Relaxed);
                        progress.say(&format!("BAD {} after {count} entries, {survivors:?} survive\n  {why:#}", scenario.name()));
                    }
                    progress.step(bad.load(Ordering::Relaxed));
                }
            });
        }
    });
    Ok(bad.into_inner())
}

/// Judges one image. In namespaces of its own, so that several are at the same place at the same time and see nothing of each other.
fn judge(file: &Path) -> Result<()> {
    let task: Task = serde_json::from_slice(&std::fs::read(file)?)?;
    // After a power cut it is another boot.
    let boot = file.with_extension("boot");
    std::fs::write(&boot, format!("00000000-0000-4000-8000-{:012}\n", std::process::id()))?;
    run("mount", &["--bind", &boot.display().to_string(), "/proc/sys/kernel/random/boot_id"])?;
    std::fs::remove_file(&boot)?;
    let mount = task.mount.display().to_string();
    run("mount", &["-o", "loop", &task.image.display().to_string(), &mount]).context("the file system itself is broken")?;
    let judged = judge_mounted(&task);
    // The namespace takes it along in any case, and the loop device with it.
    let _ = run("umount", &["--lazy", &mount]);
    judged
}

fn judge_mounted(task: &Task) -> Result<()> {
    let mut device = CrashDevice::at(&task.mount.join("device"), task.scenario, &task.setting)?;
    let judged = judge_device(task, &mut device);
    judged.map_err(|error| {
        let log = device.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
        anyhow::anyhow!("{error:#}\n{tail}")
    })
}

fn judge_device(task: &Task, device: &mut CrashDevice) -> Result<()> {
    verdict::nothing_is_torn(&task.setting, device).context("right after the cut")?;
    // What the cut left of the log of the life before says nothing of this one.
    std::fs::write(device.dir().join("agent.log"), "")?;
    device.start()?;
    let now = wait::try_until_some("the agent answers after the cut", DEADLINE, || listen(device).ok())?;
    kept(&task.statements, &now)?;
    wait::try_until("the update ends after the cut", DEADLINE, || device.finished())?;
    verdict::nothing_was_healed(device)?;
    kept(&task.statements, &listen(device)?)?;
    verdict::all_agree(&task.setting, device)
}

/// Nothing that was told is gone, or taken back.
fn kept(statements: &Statements, now: &Statements) -> Result<()> {
    for report in &statements.reports {
        match now.reports.iter().find(|one| one.seq == report.seq) {
            None => bail!("report {} ({:?}) is gone", report.seq, report.event),
            Some(other) if other != report => bail!("report {} was {report:?}, is {other:?}", report.seq),
            Some(_) => {}
        }
    }
    ensure!(now.floor >= statements.floor, "the floor was {:?}, is {:?}", statements.floor, now.floor);
    ensure!(now.committed >= statements.committed, "committed was {:?}, is {:?}", statements.committed, now.committed);
    ensure!(now.blocked >= statements.blocked, "{} releases were condemned, {} are", statements.blocked, now.blocked);
    Ok(())
}

/// xorshift64*: the same images for the same seed, where the recordings are the same.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        let mut x = self.0 | 1;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0 = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }
}
