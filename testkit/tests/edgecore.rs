//! The stand-in for edgecore does what its dials say, as a process.

use slipway_testkit::edgecore::{Behaviour, CONNECTED, Dials, payload, tarball};
use slipway_testkit::wait;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// How long something is well, in ms: the longer ones for a machine that was too slow to see it so.
const LIVES: [u64; 3] = [800, 6_000, 40_000];

struct Standin {
    dir: tempfile::TempDir,
    health: SocketAddr,
    child: Child,
}

impl Drop for Standin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn install(dir: &Path, dials: &Dials) -> PathBuf {
    let program = dir.join(format!("edgecore-{}", dials.version));
    std::fs::write(&program, payload(Path::new(env!("CARGO_BIN_EXE_edgecore-standin")), dials).unwrap()).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    program
}

fn start(behaviour: Behaviour) -> Standin {
    let (dir, health) = (tempfile::tempdir().unwrap(), slipway_testkit::address());
    let program = install(dir.path(), &Dials { pad: 4096, ..Dials::new("v1.23.1", behaviour) });
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let child = Command::new(program).arg("--version").env("EDGECORE_HEALTH", health.to_string()).stderr(log).spawn().unwrap();
    Standin { dir, health, child }
}

fn exit_code(command: &mut Command) -> Option<i32> {
    wait::spawn(command.stderr(Stdio::null())).unwrap().wait().unwrap().code()
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn answers(address: SocketAddr, path: &str, status: &str) -> bool {
    get(address, path).is_some_and(|a| a.starts_with(&format!("HTTP/1.1 {status}")))
}

#[test]
fn healthy_answers_and_says_so_and_ends_on_sigterm() {
    let mut standin = start(Behaviour::Healthy);
    wait::until("healthz", LONG, || answers(standin.health, "/healthz", "200"));
    assert!(answers(standin.health, "/healthz/syncloop", "200"));
    assert!(answers(standin.health, "/other", "404"));
    let log = standin.dir.path().join("log");
    wait::until("the log line", LONG, || std::fs::read_to_string(&log).unwrap().contains(CONNECTED));
    Command::new("kill").arg(standin.child.id().to_string()).status().unwrap();
    let status: ExitStatus = wait::until_some("its end", LONG, || standin.child.try_wait().unwrap());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
}

#[test]
fn exits_at_once_with_the_code_it_was_given() {
    let mut standin = start(Behaviour::ExitAtOnce { code: 2 });
    let status = wait::until_some("its end", LONG, || standin.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(2));
}

#[test]
fn dies_after_having_been_healthy() {
    let was_healthy = LIVES.into_iter().any(|ms| {
        let mut standin = start(Behaviour::DiesAfter { ms, code: 3 });
        let mut healthy = false;
        let status = wait::until_some("its end", LONG, || {
            healthy |= answers(standin.health, "/healthz", "200");
            standin.child.try_wait().unwrap()
        });
        assert_eq!(status.code(), Some(3));
        healthy
    });
    assert!(was_healthy);
}

#[test]
fn never_answers_but_lives() {
    let mut standin = start(Behaviour::NeverAnswers);
    wait::until("the port", LONG, || TcpStream::connect(standin.health).is_ok());
    assert_eq!(get(standin.health, "/healthz"), None);
    assert!(standin.child.try_wait().unwrap().is_none());
}

#[test]
fn sickens() {
    let was_healthy = LIVES.into_iter().any(|ms| {
        let standin = start(Behaviour::SickensAfter { ms });
        let mut healthy = false;
        wait::until("sickness", LONG, || {
            healthy |= answers(standin.health, "/healthz", "200");
            answers(standin.health, "/healthz", "500")
        });
        healthy
    });
    assert!(was_healthy);
}

#[test]
fn an_old_version_does_not_start_on_a_rewritten_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (config, database) = (dir.path().join("edgecore.yaml"), dir.path().join("edgecore.db"));
    std::fs::write(&config, "kind: EdgeCore\nunknown: 1\n").unwrap();
    let run = |version: &str| {
        let dials = Dials {
            rewrites_config: version == "v1.23.1",
            database: Some(database.clone()),
            ..Dials::new(version, Behaviour::DiesAfter { ms: 0, code: 0 })
        };
        let mut command = Command::new(install(dir.path(), &dials));
        command.arg("--config").arg(&config).env("EDGECORE_HEALTH", slipway_testkit::address().to_string());
        exit_code(&mut command)
    };
    assert_eq!(run("v1.13.0"), Some(0));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "kind: EdgeCore\nunknown: 1\n");
    assert_eq!(run("v1.23.1"), Some(0));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "kind: EdgeCore\nwrittenBy: v1.23.1\n");
    assert_eq!(run("v1.13.0"), Some(1), "it must not start on the newer one's configuration");
    assert_eq!(std::fs::read_to_string(&database).unwrap(), "started v1.13.0\nstarted v1.23.1\n");
}

#[test]
fn a_program_without_dials_is_only_a_host() {
    assert_eq!(exit_code(&mut Command::new(env!("CARGO_BIN_EXE_edgecore-standin"))), Some(64));
}

#[test]
fn a_packed_release_runs_after_it_was_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let dials = Dials::new("v1.23.1", Behaviour::ExitAtOnce { code: 7 });
    let host = Path::new(env!("CARGO_BIN_EXE_edgecore-standin"));
    std::fs::write(dir.path().join("r.tar.gz"), tarball("v1.23.1", "amd64", &payload(host, &dials).unwrap())).unwrap();
    let tar = Command::new("tar").args(["-xzf", "r.tar.gz"]).current_dir(dir.path()).status().unwrap();
    assert!(tar.success());
    let program = dir.path().join("kubeedge-v1.23.1-linux-amd64/edge/edgecore");
    assert_eq!(exit_code(&mut Command::new(program)), Some(7));
}

/// Needs the `sqlite3` program, as the stand-in itself does for a real database; without it there is nothing to test.
#[test]
fn a_real_database_gets_a_row_at_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("edgecore.db");
    let sql = |text: &str| Command::new("sqlite3").arg(&database).arg(text).output();
    let Ok(made) = sql("create table device (id text); insert into device values ('n1');") else {
        eprintln!("skipped: there is no sqlite3 on this machine");
        return;
    };
    assert!(made.status.success());
    for version in ["v1.13.0", "v1.23.1"] {
        let dials = Dials {
            database: Some(database.clone()),
            health: slipway_testkit::address(),
            ..Dials::new(version, Behaviour::DiesAfter { ms: 0, code: 0 })
        };
        assert_eq!(exit_code(&mut Command::new(install(dir.path(), &dials))), Some(0));
    }
    let rows = sql("select id from device union all select version from starts;").unwrap();
    assert_eq!(String::from_utf8(rows.stdout).unwrap(), "n1\nv1.13.0\nv1.23.1\n");
}
