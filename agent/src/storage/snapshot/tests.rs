//! Real files with modes and owners, real databases written by SQLite itself, and a cut at every step.

use super::restore::restore_until;
use super::take::take_until;
use super::*;
use crate::storage::layout::{INDEX, INDEX_DIGEST};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

mod sqlite;

/// A node with a configuration, a database with its companions, and paths where nothing is.
struct Node {
    dir: tempfile::TempDir,
}

const WAS: [(&str, &str); 5] = [
    ("edgecore.yaml", "old configuration"),
    ("token", ""),
    ("edgecore.db", "old data"),
    ("edgecore.db-wal", "old log"),
    ("edgecore.db-shm", "old index"),
];
const IS: [(&str, &str); 5] = [
    ("edgecore.yaml", "new configuration, longer"),
    ("added.yaml", "new file"),
    ("edgecore.db", "new data"),
    ("edgecore.db-journal", "new journal"),
    ("edgecore.db-wal", "new log"),
];

impl Node {
    /// As it was when the old release was stopped.
    fn new() -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(node.path("etc")).unwrap();
        for (name, text) in WAS {
            fs::write(node.file(name), text).unwrap();
            fs::set_permissions(node.file(name), Permissions::from_mode(0o640)).unwrap();
        }
        fs::set_permissions(node.file("token"), Permissions::from_mode(0o4711)).unwrap();
        if nix::unistd::geteuid().is_root() {
            chown(node.file("edgecore.yaml"), Some(1234), Some(4321)).unwrap();
        }
        let old = std::time::SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::new(1_000_000_000, 123_456_789)).unwrap();
        fs::File::open(node.file("edgecore.db")).unwrap().set_modified(old).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path("etc").join(name)
    }

    fn snapshot(&self) -> PathBuf {
        self.path("snapshots/1.23.1-0123456789ab")
    }

    fn settings(&self) -> SnapshotSettings {
        let files = ["edgecore.yaml", "token", "added.yaml", "gone/never.yaml"].map(|name| self.file(name)).into();
        SnapshotSettings { files, databases: vec![self.file("edgecore.db"), self.file("other.db")] }
    }

    fn take(&self) {
        take(&self.snapshot(), &self.settings()).unwrap();
    }

    /// What the new release makes of it.
    fn migrate(&self) {
        fs::remove_dir_all(self.path("etc")).unwrap();
        fs::create_dir(self.path("etc")).unwrap();
        for (name, text) in IS {
            fs::write(self.file(name), text).unwrap();
        }
        fs::write(self.file("unrelated"), "stays").unwrap();
    }

    /// Every file of the directory with all that a snapshot promises to keep.
    fn state(&self) -> Vec<(String, u32, u32, u32, i64, i64, String)> {
        let mut all: Vec<_> = fs::read_dir(self.path("etc")).unwrap().map(|found| found.unwrap()).collect();
        all.retain(|found| found.file_name() != "unrelated");
        all.sort_by_key(fs::DirEntry::file_name);
        let row = |found: fs::DirEntry| {
            let about = found.metadata().unwrap();
            let text = fs::read_to_string(found.path()).unwrap();
            let name = found.file_name().into_string().unwrap();
            (name, about.mode(), about.uid(), about.gid(), about.mtime(), about.mtime_nsec(), text)
        };
        all.into_iter().map(row).collect()
    }
}

/// Fails at the `n`th step.
fn cut_at(n: usize) -> impl FnMut(&str) -> Result<(), Refusal> {
    let mut left = n;
    move |step| match left.checked_sub(1) {
        Some(less) => {
            left = less;
            Ok(())
        }
        None => Err(IO.with(format_args!("cut before {step}"), "")),
    }
}

#[test]
fn everything_comes_back() {
    let node = Node::new();
    let was = node.state();
    node.take();
    assert_eq!(node.state(), was, "taking it changes nothing");
    node.migrate();
    restore(&node.snapshot()).unwrap();
    assert_eq!(node.state(), was);
    restore(&node.snapshot()).unwrap();
    assert_eq!(node.state(), was, "and again");
    assert_eq!(fs::read_to_string(node.file("unrelated")).unwrap(), "stays");
    assert_eq!(fs::metadata(node.snapshot()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_removed_directory_comes_back_too() {
    let node = Node::new();
    let was = node.state();
    node.take();
    fs::remove_dir_all(node.path("etc")).unwrap();
    restore(&node.snapshot()).unwrap();
    assert_eq!(node.state(), was);
}

#[test]
fn an_interrupted_restore_is_completed_by_another() {
    let mut steps = 0;
    loop {
        let node = Node::new();
        let was = node.state();
        node.take();
        node.migrate();
        let done = restore_until(&node.snapshot(), &mut cut_at(steps)).is_ok();
        let read = |name: &str| fs::read_to_string(node.file(name)).unwrap_or_default();
        let newer = [read("edgecore.db-wal"), read("edgecore.db-journal")].iter().any(|text| text.starts_with("new"));
        assert!(!(read("edgecore.db") == "old data" && newer), "a newer log beside an older database at step {steps}");
        // Whatever the cut left is also what a second cut, one step later, may find.
        let _: bool = restore_until(&node.snapshot(), &mut cut_at(steps + 1)).is_ok();
        restore(&node.snapshot()).unwrap();
        assert_eq!(node.state(), was, "after a cut at step {steps}");
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20, "{steps} steps");
}

#[test]
fn a_database_has_its_name_again_only_under_lock() {
    let node = Node::new();
    node.take();
    node.migrate();
    let db = node.file("edgecore.db");
    let mut held = 0;
    let mut look = |step: &str| {
        if fs::read_to_string(&db).unwrap() == "old data" {
            let file = fs::OpenOptions::new().read(true).write(true).open(&db).unwrap();
            let refusal = lock::exclusive(file, &db).unwrap_err();
            assert_eq!(refusal.code, "SLW-A-DATABASE-BUSY", "before {step}");
            held += 1;
        }
        Ok(())
    };
    restore_until(&node.snapshot(), &mut look).unwrap();
    assert!(held > 5, "{held} steps");
    let file = fs::OpenOptions::new().read(true).write(true).open(&db).unwrap();
    lock::exclusive(file, &db).unwrap();
}

#[test]
fn an_interrupted_backup_leaves_a_complete_snapshot_or_none() {
    let mut steps = 0;
    let mut missing = 0;
    loop {
        let node = Node::new();
        let first = node.state();
        node.take();
        fs::write(node.file("edgecore.yaml"), "second configuration").unwrap();
        let second = node.state();
        let done = take_until(&node.snapshot(), &node.settings(), &mut cut_at(steps)).is_ok();
        node.migrate();
        match restore(&node.snapshot()) {
            Ok(()) => assert!([&first, &second].contains(&&node.state()), "step {steps}"),
            Err(refusal) => {
                assert_eq!(refusal.code, "SLW-A-SNAPSHOT-MISSING", "step {steps}");
                missing += 1;
            }
        }
        // Remains of the power cut do not block the next one.
        let third = node.state();
        node.take();
        assert_eq!(fs::read_dir(node.path("snapshots")).unwrap().count(), 1);
        restore(&node.snapshot()).unwrap();
        assert_eq!(node.state().len(), third.len());
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 8 && missing == 1, "{steps} steps, {missing} without a snapshot");
}

#[test]
fn a_damaged_snapshot_touches_nothing() {
    type SlotDamage = fn(&Path);
    let flip = |path: PathBuf| {
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let damages: [(&str, SlotDamage); 6] = [
        ("index", |dir| {
            let text = fs::read_to_string(dir.join(INDEX)).unwrap();
            fs::write(dir.join(INDEX), text.replace("edgecore.yaml", "edgecore.yaml2")).unwrap();
        }),
        ("no digest", |dir| fs::remove_file(dir.join(INDEX_DIGEST)).unwrap()),
        ("empty index", |dir| fs::write(dir.join(INDEX), "").unwrap()),
        ("gone", |dir| fs::remove_file(dir.join("0")).unwrap()),
        ("cut", |dir| fs::write(dir.join("0"), "old").unwrap()),
        ("grown", |dir| fs::write(dir.join("0"), "old configuration and more").unwrap()),
    ];
    for (name, damage) in damages {
        let node = Node::new();
        node.take();
        node.migrate();
        let now = node.state();
        damage(&node.snapshot());
        let refusal = restore(&node.snapshot()).unwrap_err();
        assert_eq!(refusal.code, "SLW-A-SNAPSHOT-DAMAGED", "{name}: {refusal}");
        assert_eq!(node.state(), now, "{name}");
    }
    // The last of all copies counts as much as the first.
    let node = Node::new();
    node.take();
    node.migrate();
    let now = node.state();
    let last = (0..).map(|n: u32| node.snapshot().join(n.to_string())).take_while(|path| path.exists()).last().unwrap();
    flip(last);
    assert_eq!(restore(&node.snapshot()).unwrap_err().code, "SLW-A-SNAPSHOT-DAMAGED");
    assert_eq!(node.state(), now);
}

#[test]
fn an_index_of_a_later_format_is_refused() {
    let node = Node::new();
    node.take();
    let text = fs::read_to_string(node.snapshot().join(INDEX)).unwrap().replace("\"format\": 1", "\"format\": 2");
    fs::write(node.snapshot().join(INDEX), &text).unwrap();
    fs::write(node.snapshot().join(INDEX_DIGEST), Sha256::of(text.as_bytes()).to_string()).unwrap();
    let refusal = restore(&node.snapshot()).unwrap_err();
    assert!(refusal.code == "SLW-A-SNAPSHOT-DAMAGED" && refusal.seen.contains("format 2"), "{refusal}");
}

#[test]
fn no_snapshot_is_a_refusal_of_its_own() {
    let node = Node::new();
    assert_eq!(restore(&node.snapshot()).unwrap_err().code, "SLW-A-SNAPSHOT-MISSING");
    fs::create_dir_all(node.snapshot()).unwrap();
    assert_eq!(restore(&node.snapshot()).unwrap_err().code, "SLW-A-SNAPSHOT-MISSING");
}

#[test]
fn other_than_regular_files_are_refused_and_the_older_snapshot_stays() {
    let node = Node::new();
    let was = node.state();
    node.take();
    let path = node.file("added.yaml");
    let replace = |make: &dyn Fn(&Path)| {
        fs::remove_file(&path).ok();
        fs::remove_dir(&path).ok();
        make(&path);
        let refusal = take(&node.snapshot(), &node.settings()).unwrap_err();
        assert_eq!(refusal.code, "SLW-A-SNAPSHOT-KIND");
        refusal.seen
    };
    assert!(replace(&|path| symlink("token", path).unwrap()).ends_with("added.yaml: a symbolic link"));
    assert!(replace(&|path| symlink("nowhere", path).unwrap()).ends_with("a symbolic link"));
    assert!(replace(&|path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap()).ends_with("a pipe"));
    assert!(replace(&|path| fs::create_dir(path).unwrap()).ends_with("a directory"));
    fs::remove_dir(&path).unwrap();
    assert!(!beside(&node.snapshot(), ".tmp").exists());
    node.migrate();
    restore(&node.snapshot()).unwrap();
    assert_eq!(node.state(), was);
}

#[test]
fn links_that_a_release_put_in_place_of_files_are_replaced_and_not_followed() {
    let node = Node::new();
    let was = node.state();
    node.take();
    let outside = node.path("outside");
    fs::write(&outside, "not ours").unwrap();
    for name in ["edgecore.yaml", "edgecore.db", "edgecore.db-wal", "added.yaml"] {
        fs::remove_file(node.file(name)).ok();
        symlink(&outside, node.file(name)).unwrap();
    }
    symlink(&outside, node.file(".edgecore.yaml.slipway")).unwrap();
    restore(&node.snapshot()).unwrap();
    assert_eq!(node.state(), was);
    assert_eq!(fs::read_to_string(outside).unwrap(), "not ours");
}

#[test]
fn more_than_a_snapshot_may_hold_is_refused_before_it_is_copied() {
    let node = Node::new();
    let big = fs::File::create(node.file("added.yaml")).unwrap();
    big.set_len(SIZE_LIMIT).unwrap();
    let refusal = take(&node.snapshot(), &node.settings()).unwrap_err();
    assert_eq!(refusal.code, "SLW-A-SNAPSHOT-SIZE");
    assert!(!node.snapshot().exists() && !beside(&node.snapshot(), ".tmp").exists());
}

#[test]
fn a_file_that_cannot_be_put_back_is_an_error_and_not_a_success() {
    let node = Node::new();
    node.take();
    fs::remove_file(node.file("token")).unwrap();
    fs::create_dir_all(node.file("token/inside")).unwrap();
    let refusal = restore(&node.snapshot()).unwrap_err();
    assert!(refusal.code == "SLW-A-SNAPSHOT-IO" && refusal.seen.contains("token"), "{refusal}");
}

#[test]
fn settings_by_table() {
    let parse = |text: &str| toml::from_str::<SnapshotSettings>(text).map_err(|error| error.to_string());
    assert_eq!(parse("").unwrap(), SnapshotSettings::default());
    let good =
        parse("files = [\"/etc/kubeedge/config/edgecore.yaml\"]\ndatabases = [\"/var/lib/kubeedge/edgecore.db\"]").unwrap();
    assert_eq!((good.files.len(), good.databases.len()), (1, 1));
    for (text, key) in [
        ("files = [\"edgecore.yaml\"]", "`files`"),
        ("files = [\"/etc/../etc/passwd\"]", "`files`"),
        ("files = [\"/etc/./passwd\"]", "`files`"),
        ("files = [\"/etc/kubeedge/\"]", "`files`"),
        ("files = [\"/\"]", "`files`"),
        ("databases = [\"\"]", "`databases`"),
        ("files = [\"/a\", \"/a\"]", "second time"),
        ("files = [\"/a.db-wal\"]\ndatabases = [\"/a.db\"]", "second time"),
        ("file = [\"/a\"]", "`file`"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(key), "{text}: {error}");
    }
    let many = format!("files = [{}]", (0..65).map(|n| format!("\"/{n}\",")).collect::<String>());
    assert!(parse(&many).unwrap_err().contains("at most 64"));
}

/// As agents of every generation wrote them: see agent/tests/golden.rs.
#[test]
fn the_index_of_every_generation_is_read() {
    for golden in ["formats-1", "2026-12"] {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(golden).join("state/snapshots/edgecore");
        let dir = fs::read_dir(all).unwrap().next().unwrap().unwrap().path();
        let index = super::restore::read_index(&dir).unwrap();
        let [entry] = index.files.as_slice() else { panic!("{index:?}") };
        let stored = entry.stored.as_ref().unwrap();
        assert!(entry.path.ends_with("node/edgecore.yaml") && index.databases.is_empty(), "{golden}");
        assert_eq!((index.format, stored.copy, stored.mode & 0o777), (1, 0, 0o644), "{golden}");
        let copy = fs::read(dir.join("0")).unwrap();
        assert_eq!((stored.size, stored.sha256), (u64::try_from(copy.len()).unwrap(), Sha256::of(&copy)), "{golden}");
    }
}
