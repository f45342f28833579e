//! A full disk: the agent continues with the witness, and the database catches up.

use super::*;

/// A small file system of its own, gone at the end.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(dir.path()).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        println!("SKIPPED: a full disk needs a file system of its own, and this user may not mount one");
        None
    }

    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.0.path().join("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_the_witness_goes_on_and_the_database_catches_up() {
    let Some(disk) = Small::mount("size=8m") else { return };
    let dir = disk.0.path().join("slipway");
    let (mut store, _) = open(&dir);
    store.commit(&Record { state: State::Idle, floor: None, ..record() }, vec![report(Event::Started)]).unwrap();
    assert!(dir.join("reserve").exists());
    disk.fill();
    // The reserve is used first.
    store.commit(&record(), vec![report(Event::Activated)]).unwrap();
    assert!(store.degraded().is_none() && !dir.join("reserve").exists());
    disk.fill();
    let rolling = State::RollingBack {
        from: Some(plan("v1.23.1").slot),
        plan: None,
        to: record().committed,
        reason: blocked("v1.0.0").reason,
        block: Some(blocked("v1.23.1")),
        retry: Retry::default(),
    };
    let rolling = Record { state: rolling, epoch: 41, floor: Some(version("v1.21.5")), ..record() };
    assert_eq!(seqs(&store.commit(&rolling, vec![report(Event::RollingBack)]).unwrap()), [3]);
    assert_eq!(store.degraded().unwrap().code, "SLW-A-STORE-DEGRADED");
    store.acknowledge(1);
    assert_eq!(seqs(&store.outbox(0, 9)), [2, 3]);
    assert!(!store.recover());
    drop(store);

    // A restart on the full disk: the witness alone.
    let (mut store, healed) = open(&dir);
    assert!(healed.is_empty(), "a full disk is no damage: {healed:?}");
    let found = store.record(&name()).unwrap();
    assert!(matches!(&found.state, State::RollingBack { block: Some(_), .. }), "{found:?}");
    assert_eq!((found.committed.as_ref(), found.floor.as_ref()), (record().committed.as_ref(), Some(&version("v1.21.5"))));
    assert!(store.degraded().is_some());
    let idle = Record { state: State::Idle, ..found };
    let last = store.commit(&idle, vec![report(Event::RolledBack)]).unwrap()[0].seq;
    assert!(last > 3);

    // Space returns: everything is in the database, what it knew before included.
    disk.empty();
    assert!(store.recover());
    assert!(dir.join("reserve").exists());
    assert_eq!(seqs(&store.outbox(0, 9)), [1, 2, last], "3 was only in memory when the agent ended");
    assert_eq!(store.record(&name()).unwrap().blocked.len(), 2, "the older one was only in the database");
    drop(store);
    let (store, healed) = open(&dir);
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!(seqs(&store.outbox(0, 9)), [1, 2, last]);
    assert!(store.record(&name()).unwrap().epoch > 41);
    assert_eq!(store.witness_data().alone_since, None);
}

/// The disk fills between the look at its free space and sled's write.
#[test]
fn a_database_that_meets_a_full_disk_is_let_go_and_opened_again() {
    let Some(disk) = Small::mount("size=8m") else { return };
    let dir = disk.0.path().join("slipway");
    let (mut store, _) = open(&dir);
    store.commit(&Record { state: State::Idle, ..record() }, vec![report(Event::Started)]).unwrap();
    durable::remove_file_durable(&dir.join("reserve")).unwrap();
    disk.fill();
    let mut changes = Changes::default();
    (10..80).for_each(|seq| changes.put(Key::Report(seq), vec![b'x'; 8000]));
    let outcome = store.database.as_mut().unwrap().apply(changes);
    assert!(matches!(outcome, Err(DatabaseError::Full(_))), "{outcome:?}");
    store.judge(outcome);
    store.commit(&record(), vec![report(Event::Activated)]).unwrap();
    assert!(store.degraded().is_some());
    disk.empty();
    assert!(store.recover(), "{:?}", store.degraded());
    assert_eq!(store.record(&name()), Some(record()));
    assert_eq!(seqs(&store.outbox(0, 9)), [1, 2]);
    drop(store);
    let (store, healed) = open(&dir);
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!((store.record(&name()), seqs(&store.history(None, 9))), (Some(record()), vec![2, 1]));
}
