//! With SQLite itself, by way of python3. On a machine without it these tests say so and pass.

use super::super::{lock, restore, take};
use super::SnapshotSettings;
use slipway_protocol::Refusal;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Whether there is a python3 with SQLite.
fn present() -> bool {
    let there = Command::new("python3")
        .args(["-c", "import sqlite3"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        println!("skipped: no python3 with sqlite3 on this machine");
    }
    there
}

/// Runs a script with the database as `path` and returns what it printed.
fn python(db: &Path, script: &str) -> String {
    let ran = Command::new("python3").args(["-c", &format!("{HEAD}{script}")]).arg(db).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

const HEAD: &str = "import os, sqlite3, sys\npath = sys.argv[1]\ndb = sqlite3.connect(path, timeout=0, isolation_level=None)\nrun = db.execute\n";
const ROWS: &str = "print([row[0] for row in run('SELECT x FROM t ORDER BY x')])";

/// A process that did `script` and keeps the database open until this goes out of scope.
struct Holder(Child);

impl Holder {
    fn new(db: &Path, script: &str) -> Self {
        let script = format!("{HEAD}{script}\nprint('ready', flush=True)\nsys.stdin.read()");
        let mut command = Command::new("python3");
        command.args(["-c", &script]).arg(db).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Self(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(holder.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
    fn db(&self) -> PathBuf {
        self.dir.path().join("edgecore.db")
    }
    fn wal(&self) -> PathBuf {
        self.dir.path().join("edgecore.db-wal")
    }
    fn snapshot(&self) -> PathBuf {
        self.dir.path().join("snapshot")
    }
    fn take(&self) -> Result<(), Refusal> {
        take(&self.snapshot(), &SnapshotSettings { files: vec![], databases: vec![self.db()] })
    }
}

/// Rows that are only in the write-ahead log, as a killed process leaves them.
const KILLED_IN_WAL: &str = "run('PRAGMA journal_mode=WAL'); run('CREATE TABLE t (x)'); run('PRAGMA wal_checkpoint(TRUNCATE)'); run('INSERT INTO t VALUES (1), (2)'); os._exit(0)";

#[test]
fn what_is_only_in_the_write_ahead_log_comes_back() {
    if !present() {
        return;
    }
    let node = Node::new();
    python(&node.db(), KILLED_IN_WAL);
    assert!(fs::metadata(node.wal()).unwrap().len() > 0, "the rows are in the log");
    node.take().unwrap();
    // The new release migrates, and is killed as well.
    python(&node.db(), "run('ALTER TABLE t ADD COLUMN y'); run('INSERT INTO t VALUES (3, 4)'); os._exit(0)");
    assert_eq!(python(&node.db(), ROWS), "[1, 2, 3]");
    restore(&node.snapshot()).unwrap();
    assert_eq!(python(&node.db(), ROWS), "[1, 2]");
    assert_eq!(python(&node.db(), "print(run('PRAGMA integrity_check').fetchone()[0])"), "ok");
    assert_eq!(python(&node.db(), "print(len(run('PRAGMA table_info(t)').fetchall()))"), "1");
}

#[test]
fn a_hot_journal_comes_back_with_its_database() {
    if !present() {
        return;
    }
    let node = Node::new();
    python(&node.db(), "run('CREATE TABLE t (x)'); run('INSERT INTO t VALUES (1)')");
    // Killed in the middle of a transaction that was already spilt to the database file.
    python(
        &node.db(),
        "run('PRAGMA cache_size=5'); run('BEGIN'); run('DELETE FROM t')\nfor n in range(2000): run('INSERT INTO t VALUES (?)', ('x' * 500,))\nos._exit(0)",
    );
    assert!(node.dir.path().join("edgecore.db-journal").exists(), "the journal is hot");
    node.take().unwrap();
    assert_eq!(python(&node.db(), ROWS), "[1]");
    python(&node.db(), "run('DELETE FROM t')");
    restore(&node.snapshot()).unwrap();
    assert!(node.dir.path().join("edgecore.db-journal").exists());
    assert_eq!(python(&node.db(), ROWS), "[1]");
}

#[test]
fn an_open_database_is_refused_with_the_name_of_who_has_it() {
    if !present() {
        return;
    }
    for (why, script) in [
        ("a connection in WAL mode", "run('PRAGMA journal_mode=WAL'); run('INSERT INTO t VALUES (9)')"),
        ("a reader", "run('BEGIN'); run('SELECT * FROM t').fetchall()"),
        ("a writer", "run('BEGIN IMMEDIATE'); run('INSERT INTO t VALUES (9)')"),
        ("an exclusive writer", "run('BEGIN EXCLUSIVE')"),
    ] {
        let node = Node::new();
        python(&node.db(), "run('CREATE TABLE t (x)'); run('INSERT INTO t VALUES (1)')");
        node.take().unwrap();
        let holder = Holder::new(&node.db(), script);
        for refusal in [node.take().unwrap_err(), restore(&node.snapshot()).unwrap_err()] {
            assert_eq!(refusal.code, "SLW-A-DATABASE-BUSY", "{why}: {refusal}");
            assert!(refusal.seen.contains(&format!("process {} (python", holder.0.id())), "{why}: {refusal}");
        }
        drop(holder);
        restore(&node.snapshot()).unwrap();
        assert_eq!(python(&node.db(), ROWS), "[1]", "{why}: the earlier snapshot is whole");
        node.take().unwrap();
    }
}

#[test]
fn nobody_gets_in_while_it_is_held_and_everybody_afterwards() {
    if !present() {
        return;
    }
    let node = Node::new();
    python(&node.db(), KILLED_IN_WAL);
    let attempt = "try: print([row[0] for row in run('SELECT x FROM t')])\nexcept sqlite3.OperationalError as e: print(e)";
    let file = OpenOptions::new().read(true).write(true).open(node.db()).unwrap();
    let held = lock::exclusive(file, &node.db()).unwrap();
    assert_eq!(python(&node.db(), attempt), "database is locked");
    // Another of our own files on the same inode must not let go of it.
    drop(fs::File::open(node.db()).unwrap());
    assert_eq!(python(&node.db(), attempt), "database is locked");
    // A copy, such as a child has while it is being started, does not keep it.
    let copy = held.0.try_clone().unwrap();
    drop(held);
    assert_eq!(python(&node.db(), attempt), "[1, 2]");
    drop(copy);
}
