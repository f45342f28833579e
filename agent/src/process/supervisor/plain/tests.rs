//! With real processes. Each test ends what it started, also when it fails: [`Node`] does so when it goes out of scope.

use super::super::tests::executable;
use super::super::{Run, RunSettings, Supervisor, Tools};
use super::*;

struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    /// A node whose component is this shell script.
    fn new(script: &str) -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap() };
        let slot = node.path("slot");
        fs::create_dir(&slot).unwrap();
        std::os::unix::fs::symlink(&slot, node.path("current")).unwrap();
        node.release(script);
        node
    }

    fn release(&self, script: &str) {
        executable(&self.path("slot/program"), &format!("#!/bin/sh\n{script}\n"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new life of the agent.
    fn plain(&self) -> Plain {
        let command = vec!["{current}/program".into(), "{slot}".into(), self.path("").display().to_string()];
        let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
        Plain::new("edgecore".parse().unwrap(), command, env, self.path("current"), self.path("run"), Duration::from_secs(10))
    }

    async fn file(&self, name: &str) -> String {
        let path = self.path(name);
        until(|| fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))).await.trim().to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some((id, stat)) = self.plain().find(&mut Inner::default()) {
            signal(id, stat, Signal::SIGKILL);
        }
    }
}

async fn until<T>(mut seen: impl FnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(seen) = seen() {
                return seen;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), polling).await.unwrap()
}

fn pid(state: &ProcessState) -> u32 {
    match state {
        ProcessState::Running(process) => process.pid,
        other => panic!("expected a running process, found {other:?}"),
    }
}

async fn dead(plain: &Plain) -> String {
    until(|| match plain.look() {
        ProcessState::Dead(evidence) => Some(evidence),
        _ => None,
    })
    .await
}

/// A script that runs until it is told to stop.
const STAYS: &str = "echo \"$GREETING from $1\" ; echo $$ > $2/pid; exec sleep 600";

#[tokio::test]
async fn starts_once_is_seen_and_stops() {
    let node = Node::new(STAYS);
    let plain = node.plain();
    assert_eq!(plain.look(), ProcessState::Dead("never started".into()));
    plain.stop().await.unwrap();
    plain.start().unwrap();
    let first = pid(&plain.look());
    plain.start().unwrap();
    assert_eq!(pid(&plain.look()), first);
    assert_eq!(node.file("pid").await, first.to_string());
    let evidence = plain.evidence();
    let slot = fs::canonicalize(node.path("slot")).unwrap();
    assert_eq!(evidence, format!("edgecore: process {first} runs\nhello from {}", slot.display()));
    plain.stop().await.unwrap();
    assert!(process::stat(first).is_none());
    assert!(dead(&plain).await.starts_with("killed by SIGTERM"));
}

#[tokio::test]
async fn the_agents_own_environment_stays_with_it() {
    let node = Node::new("env | cut -d= -f1 | sort | tr '\\n' ' ' > $2/new; echo >> $2/new; mv $2/new $2/env; exec sleep 600");
    let plain = node.plain();
    plain.start().unwrap();
    let env = node.file("env").await;
    assert!(
        env.split(' ').all(|name| [&INHERITED[..], &[MARK, "GREETING", "PWD", "OLDPWD", "SHLVL", "_"]].concat().contains(&name)),
        "{env}"
    );
    plain.stop().await.unwrap();
}

#[tokio::test]
async fn a_dead_process_is_dead_with_its_last_words() {
    let node = Node::new("echo one; echo two >&2; exit 3");
    let plain = node.plain();
    plain.start().unwrap();
    assert_eq!(dead(&plain).await, "exit status 3 | one | two");
    // The next life of the agent knows less, and says so.
    let next = node.plain();
    assert_eq!(dead(&next).await, "exit status unknown: the agent was restarted meanwhile | one | two");
}

#[tokio::test]
async fn outlives_the_agent_and_is_found_again() {
    let node = Node::new(STAYS);
    let first = node.plain();
    first.start().unwrap();
    let process = pid(&first.look());
    drop(first);
    let second = node.plain();
    assert_eq!(pid(&second.look()), process);
    second.start().unwrap();
    assert_eq!(pid(&second.look()), process, "no second process");
    second.stop().await.unwrap();
    dead(&second).await;
}

#[tokio::test]
async fn an_agent_killed_between_start_and_record_finds_the_process_by_its_mark() {
    let node = Node::new(STAYS);
    let first = node.plain();
    first.start().unwrap();
    let process = pid(&first.look());
    let mut record: Record = serde_json::from_slice(&fs::read(node.path("run/process.json")).unwrap()).unwrap();
    record.process = None;
    first.write(&record).unwrap();
    drop(first);
    let second = node.plain();
    assert_eq!(pid(&second.look()), process);
    second.start().unwrap();
    assert_eq!(pid(&second.look()), process);
    // And killed before the start there is nothing to be found.
    second.stop().await.unwrap();
    dead(&second).await;
}

/// Else it would count as running for as long as that child lives.
#[tokio::test]
async fn a_child_that_outlived_what_was_started_is_ended_and_not_taken_for_it() {
    let node = Node::new("sleep 1000 & wait");
    let first = node.plain();
    first.start().unwrap();
    let process = pid(&first.look());
    let mut record: Record = serde_json::from_slice(&fs::read(node.path("run/process.json")).unwrap()).unwrap();
    record.process = None;
    let children = || fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    until(|| (!children().trim().is_empty()).then_some(())).await;
    let child: u32 = children().trim().parse().unwrap();
    kill(Pid::from_raw(i32::try_from(process).unwrap()), Signal::SIGKILL).unwrap();
    dead(&first).await;
    first.write(&record).unwrap();
    drop(first);
    let second = node.plain();
    assert!(matches!(second.look(), ProcessState::Dead(_)), "its child is not it");
    until(|| process::stat(child).is_none_or(|stat| stat.over).then_some(())).await;
    second.start().unwrap();
    assert_ne!(pid(&second.look()), process);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn another_process_with_the_same_id_or_from_another_boot_is_not_it() {
    let node = Node::new(STAYS);
    let plain = node.plain();
    plain.start().unwrap();
    let text = fs::read(node.path("run/process.json")).unwrap();
    let rewritten = |change: &dyn Fn(&mut Record)| {
        let mut record: Record = serde_json::from_slice(&text).unwrap();
        change(&mut record);
        plain.write(&record).unwrap();
        plain.look()
    };
    assert!(matches!(rewritten(&|_| {}), ProcessState::Running(_)));
    assert!(matches!(rewritten(&|record| record.boot.0.push('x')), ProcessState::Dead(_)));
    assert!(matches!(rewritten(&|record| record.process.as_mut().unwrap().started += 1), ProcessState::Dead(_)));
    fs::write(node.path("run/process.json"), "{").unwrap();
    assert!(matches!(plain.look(), ProcessState::Dead(_)));
    rewritten(&|_| {});
    plain.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_with_its_children() {
    let node = Node::new("trap '' TERM; sleep 600 & echo $! > $2/child; while :; do wait; done");
    let mut plain = node.plain();
    plain.stop_timeout = Duration::from_millis(300);
    plain.start().unwrap();
    let process = pid(&plain.look());
    let child: u32 = node.file("child").await.parse().unwrap();
    plain.stop().await.unwrap();
    assert!(process::stat(process).is_none());
    until(|| process::stat(child).is_none_or(|stat| stat.over).then_some(())).await;
    assert!(dead(&plain).await.starts_with("killed by SIGKILL"));
}

#[tokio::test]
async fn children_that_stay_behind_are_ended_too() {
    let node = Node::new("sh -c 'trap \"\" TERM; echo $$ > $0/child; while :; do sleep 1; done' $2 & exec sleep 600");
    let plain = node.plain();
    plain.start().unwrap();
    let child: u32 = node.file("child").await.parse().unwrap();
    plain.stop().await.unwrap();
    until(|| process::stat(child).is_none_or(|stat| stat.over).then_some(())).await;
}

#[tokio::test]
async fn what_cannot_be_executed_is_refused_at_once() {
    let node = Node::new("");
    fs::remove_file(node.path("slot/program")).unwrap();
    let refusal = node.plain().start().unwrap_err();
    assert_eq!(refusal.code, "SLW-A-START");
    assert!(refusal.seen.contains("program: No such file"), "{refusal}");
    // Another machine's binary.
    executable(&node.path("slot/program"), "\x7fELF\x02\x01\x01 of some other machine");
    let refusal = node.plain().start().unwrap_err();
    assert!(refusal.code == "SLW-A-START" && refusal.seen.contains("Exec format error"), "{refusal}");
    assert!(matches!(node.plain().look(), ProcessState::Dead(_)));
}

#[tokio::test]
async fn each_life_has_its_own_log_and_a_long_one_is_emptied() {
    let node = Node::new("echo $GREETING; exit 1");
    let plain = node.plain();
    plain.start().unwrap();
    dead(&plain).await;
    node.release("echo second; exit 1");
    plain.start().unwrap();
    assert_eq!(dead(&plain).await, "exit status 1 | second");
    let log = OpenOptions::new().write(true).open(node.path("run/output.log")).unwrap();
    log.set_len(LOG_LIMIT + 1).unwrap();
    plain.look();
    assert_eq!(log.metadata().unwrap().len(), 0);
}

#[tokio::test]
async fn a_committed_component_is_started_again_after_a_pause() {
    let node = Node::new("echo x >> $2/lives; exit 1");
    let plain = node.plain();
    assert!(plain.ensure_running().unwrap(), "after a boot it starts at once");
    dead(&plain).await;
    // The pause after the first death is one second: longer than this takes, or else it has passed.
    assert!(!plain.ensure_running().unwrap() || plain.lock().deaths == 2, "not without a pause");
    until(|| (plain.ensure_running().unwrap() || plain.lock().deaths >= 2).then_some(())).await;
    dead(&plain).await;
    let lives = fs::read_to_string(node.path("lives")).unwrap().lines().count();
    assert!(lives >= 2 && plain.lock().deaths >= 2);
    // A running one is not touched.
    node.release("exec sleep 600");
    plain.start().unwrap();
    assert!(!plain.ensure_running().unwrap());
    plain.stop().await.unwrap();
}

#[test]
fn pauses_grow_and_stay_bounded() {
    let pauses: Vec<u64> = [0, 1, 2, 3, 9, 10, 64, 65, u32::MAX].map(pause).into();
    assert_eq!(pauses, [1, 1, 2, 4, 256, 300, 300, 300, 300]);
}

#[tokio::test]
async fn the_supervisor_hands_through() {
    let node = Node::new(STAYS);
    let command = vec!["{slot}/program".to_owned(), "{slot}".into(), node.path("").display().to_string()];
    let settings = RunSettings::new(Run::Command { command, env: BTreeMap::new() });
    let name = "edgecore".parse().unwrap();
    let supervisor = Supervisor::new(&name, &settings, node.path("current"), node.path("run"), &Tools::default());
    supervisor.start().await.unwrap();
    assert!(matches!(supervisor.look().await.unwrap(), ProcessState::Running(_)));
    assert!(supervisor.evidence().await.contains("runs"));
    assert!(!supervisor.ensure_running().unwrap());
    supervisor.stop().await.unwrap();
}

#[tokio::test]
async fn what_ran_before_a_boot_is_started_once_after_it() {
    let node = Node::new("exit 3");
    let plain = node.plain();
    if plain.went_down() {
        plain.start().unwrap();
    }
    assert_eq!(plain.look(), ProcessState::Dead("never started".into()));
    node.release(STAYS);
    let record = Record { boot: BootId("another".into()), mark: "1-1-1".into(), process: Some(Id { pid: 1, started: 1 }) };
    fs::create_dir_all(node.path("run")).unwrap();
    plain.write(&record).unwrap();
    if plain.went_down() {
        plain.start().unwrap();
    }
    pid(&plain.look());
    // In this boot its end is its own.
    plain.stop().await.unwrap();
    if plain.went_down() {
        plain.start().unwrap();
    }
    dead(&plain).await;
}

/// As agents of every generation wrote it: see agent/tests/golden.rs.
#[test]
fn the_process_record_of_every_generation_is_read() {
    for golden in ["formats-1", "2026-12"] {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(golden);
        let record: Record = serde_json::from_slice(&fs::read(file.join("state/run/edgecore/process.json")).unwrap()).unwrap();
        assert!(record.process.is_some_and(|process| process.pid > 1 && process.started > 0), "{golden}");
        assert!(record.boot.0.len() > 36 && !record.mark.is_empty(), "{golden}");
    }
}
