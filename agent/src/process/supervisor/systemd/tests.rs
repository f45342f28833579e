//! Tests with shell scripts that imitate `systemctl` and `journalctl` of systemd.
//!
//! `systemctl show` prints a file in the real format (`Property=value` lines); other verbs do what each test says. Unlike the real
//! programs the scripts know no units and keep no state between calls. `tests/tests/systemd.rs` uses a real systemd.

use super::super::tests::executable;
use super::super::{Run, RunSettings, Supervisor};
use super::*;
use std::fs;
use std::path::Path;

/// A directory with fake `systemctl` and `journalctl`; `show` is the file that `systemctl show` prints.
struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    /// `body` handles the verbs other than `show`, in shell; `$dir` is the directory and `$verb` the verb.
    fn new(show: &str, body: &str) -> Self {
        let fake = Self { dir: tempfile::tempdir().unwrap() };
        fake.show(show);
        let dir = fake.dir.path().display();
        let head = format!("#!/bin/sh\ndir={dir}\nverb=$1\necho \"$*\" >> $dir/told\n");
        fake.script("systemctl", &format!("{head}if [ $verb = show ]; then cat $dir/show; exit 0; fi\n{body}\n"));
        fake.script(
            "journalctl",
            &format!("{head}echo 'level=info msg=\"hello\"'\necho 'panic: no certificate'\necho 'goroutine 1'\n"),
        );
        fake
    }

    fn script(&self, name: &str, text: &str) {
        executable(&self.dir.path().join(name), text);
    }

    fn show(&self, text: &str) {
        fs::write(self.dir.path().join("show"), text).unwrap();
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.dir.path().join("told")).unwrap_or_default()
    }

    fn supervisor(&self, stop: Duration, start: Duration) -> Supervisor {
        let settings = RunSettings { run: Run::Unit("edgecore.service".into()), stop_timeout: stop, start_timeout: start };
        let tools = Tools { systemctl: self.dir.path().join("systemctl"), journalctl: self.dir.path().join("journalctl") };
        Supervisor::new(&"edgecore".parse().unwrap(), &settings, Path::new("/none").into(), Path::new("/none").into(), &tools)
    }
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

fn shown(active: &str, sub: &str, more: &str) -> String {
    format!("LoadState=loaded\nActiveState={active}\nSubState={sub}\n{more}")
}

#[test]
fn what_the_unit_shows_and_what_it_means() {
    let running = |pid, restarts| Life::Running(Process { pid, restarts });
    for (active, sub, more, life) in [
        ("active", "running", "MainPID=42\nNRestarts=0\n", running(42, 0)),
        ("active", "running", "MainPID=43\nNRestarts=3\n", running(43, 3)),
        ("reloading", "reload", "MainPID=42\n", running(42, 0)),
        ("active", "exited", "MainPID=0\n", Life::Dead),
        ("activating", "start", "MainPID=42\nNRestarts=0\n", Life::Starting),
        ("activating", "start-pre", "NRestarts=0\n", Life::Starting),
        ("activating", "start", "MainPID=42\nNRestarts=1\n", Life::Dead),
        ("activating", "auto-restart", "NRestarts=0\nResult=exit-code\n", Life::Dead),
        ("activating", "auto-restart-queued", "NRestarts=0\n", Life::Dead),
        ("deactivating", "stop-sigterm", "MainPID=42\n", Life::Dead),
        ("inactive", "dead", "", Life::Dead),
        ("failed", "failed", "Result=start-limit-hit\n", Life::Dead),
        ("maintenance", "dead", "", Life::Dead),
        ("a-later-state", "unheard-of", "MainPID=42\n", Life::Dead),
    ] {
        let parsed = Shown::parse(&shown(active, sub, more)).unwrap();
        assert_eq!(parsed.life(), life, "{active}/{sub} {more}");
    }
    for bad in ["", "LoadState=loaded\n", "LoadState=loaded\nActiveState=active\nMainPID=many\n"] {
        assert!(Shown::parse(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn how_it_ended_in_words() {
    let status = |more| Shown::parse(&shown("activating", "auto-restart", more)).unwrap().status();
    let exit = "Result=exit-code\nExecMainCode=1\nExecMainStatus=2\nExecMainStartTimestampMonotonic=5\nNRestarts=7\n";
    assert_eq!(status(exit), "activating/auto-restart, result exit-code, exit status 2, restarted 7 times");
    let killed = "Result=oom-kill\nExecMainCode=2\nExecMainStatus=9\nExecMainStartTimestampMonotonic=5\n";
    assert_eq!(status(killed), "activating/auto-restart, result oom-kill, killed by SIGKILL");
    assert_eq!(status("ExecMainCode=1\nExecMainStatus=0\nExecMainStartTimestampMonotonic=0\n"), "activating/auto-restart");
}

#[tokio::test]
async fn a_crash_loop_is_dead_with_its_panic_as_evidence() {
    let fake = Fake::new(&shown("activating", "auto-restart", "Result=exit-code\n"), "exit 1");
    let supervisor = fake.supervisor(LONG, LONG);
    let ProcessState::Dead(evidence) = supervisor.look().await.unwrap() else { panic!("expected a dead process") };
    assert_eq!(evidence, "activating/auto-restart, result exit-code | panic: no certificate | goroutine 1");
    let evidence = supervisor.evidence().await;
    assert_eq!(evidence, "edgecore.service: activating/auto-restart, result exit-code\npanic: no certificate\ngoroutine 1");
}

#[tokio::test]
async fn start_resets_the_counters_first_and_does_not_repeat_itself() {
    let body = "[ $verb = start ] && printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\nMainPID=9\\n' > $dir/show; exit 0";
    let fake = Fake::new(&shown("failed", "failed", ""), body);
    let supervisor = fake.supervisor(LONG, LONG);
    supervisor.start().await.unwrap();
    supervisor.start().await.unwrap();
    let calls = fake.calls();
    let verbs: Vec<&str> = calls.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(verbs, ["show", "reset-failed", "start", "show"]);
    assert!(calls.contains("start -- edgecore.service"));
    assert_eq!(supervisor.look().await.unwrap(), ProcessState::Running(Process { pid: 9, restarts: 0 }));
}

#[tokio::test]
async fn a_start_that_hangs_is_judged_by_samples() {
    let fake = Fake::new(&shown("inactive", "dead", ""), "[ $verb = start ] && sleep 600; exit 0");
    fake.supervisor(LONG, SHORT).start().await.unwrap();
}

#[tokio::test]
async fn a_start_job_that_failed_by_its_process_is_judged_by_looks_and_any_other_is_refused() {
    let died = "[ $verb = start ] && { printf 'LoadState=loaded\\nActiveState=failed\\nSubState=failed\\nResult=exit-code\\n' > $dir/show; exit 1; }; exit 0";
    Fake::new(&shown("inactive", "dead", "Result=success\n"), died).supervisor(LONG, LONG).start().await.unwrap();
    let refused = "[ $verb = start ] && { echo 'A dependency job failed.' >&2; exit 1; }; exit 0";
    let refusal =
        Fake::new(&shown("inactive", "dead", "Result=success\n"), refused).supervisor(LONG, LONG).start().await.unwrap_err();
    assert_eq!(refusal.code, "SLW-A-START");
    assert!(refusal.seen.contains("A dependency job failed."), "{refusal}");
}

#[tokio::test]
async fn an_unknown_or_masked_unit_is_stopped_but_not_started() {
    for load in ["not-found", "masked"] {
        let fake = Fake::new(&format!("LoadState={load}\nActiveState=inactive\nSubState=dead\n"), "exit 5");
        let supervisor = fake.supervisor(LONG, LONG);
        supervisor.stop().await.unwrap();
        let refusal = supervisor.start().await.unwrap_err();
        assert_eq!(refusal.code, "SLW-A-UNIT");
        assert!(refusal.seen.contains(load));
    }
}

#[tokio::test]
async fn a_stop_that_hangs_ends_in_a_kill() {
    let kill = "[ $verb = stop ] && sleep 600\n[ $verb = kill ] && printf 'LoadState=loaded\\nActiveState=failed\\nSubState=failed\\n' > $dir/show\nexit 0";
    let fake = Fake::new(&shown("deactivating", "stop-sigterm", ""), kill);
    fake.supervisor(SHORT, LONG).stop().await.unwrap();
    assert!(fake.calls().contains("kill --signal=SIGKILL -- edgecore.service"));
}

#[tokio::test]
async fn a_stop_that_fails_says_why_and_kills_nothing() {
    let fake = Fake::new(&shown("active", "running", "MainPID=1\n"), "echo 'Access denied' >&2; exit 4");
    let refusal = fake.supervisor(LONG, LONG).stop().await.unwrap_err();
    assert_eq!(refusal.code, "SLW-A-STOP");
    assert!(refusal.seen.contains("active/running") && refusal.seen.contains("Access denied"), "{refusal}");
    assert!(!fake.calls().contains("kill"));
}

#[tokio::test]
async fn no_answer_is_neither_life_nor_death() {
    let fake = Fake::new("", "");
    assert_eq!(fake.supervisor(LONG, LONG).look().await.unwrap_err().code, "SLW-A-MANAGER");
    fake.script("systemctl", "#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n");
    let refusal = fake.supervisor(LONG, LONG).look().await.unwrap_err();
    assert!(refusal.seen.contains("Failed to connect to bus"), "{refusal}");
    fs::remove_file(fake.dir.path().join("systemctl")).unwrap();
    assert_eq!(fake.supervisor(LONG, LONG).look().await.unwrap_err().code, "SLW-A-MANAGER");
    assert!(fake.supervisor(LONG, LONG).evidence().await.contains("SLW-A-MANAGER"));
}
