use super::*;
use crate::record::{Activation, Condemned, Installed, Plan, Retry, SlotName, Source, State};
use crate::slots::{SLOT_FORMAT, SlotRecord};
use slipway_protocol::{Platform, Version};
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::Duration;

fn name() -> ComponentName {
    "edgecore".parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn installed(text: &str) -> Installed {
    let (version, artifact) = (version(text), Sha256::of(text.as_bytes()));
    Installed { slot: SlotName::of(&version, &artifact), version, artifact, payload: Sha256::of(b"payload"), adopted: false }
}

fn plan(text: &str) -> Plan {
    let Installed { version, artifact, slot, .. } = installed(text);
    Plan { version, platform: Platform::LinuxAmd64, artifact, size: 7, slot, source: Source::Network, floor: None }
}

fn condemned(text: &str) -> Condemned {
    let reason = Refusal::of("SLW-A-TEST", Class::Health, Actor::Builder, "a test", "nothing");
    let at = "2026-11-22T12:00:00Z".parse().unwrap();
    Condemned { artifact: Sha256::of(text.as_bytes()), version: version(text), reason, at }
}

/// v1.22.0 committed before v1.21.0, the floor at v1.21.0, v1.20.5 condemned; v1.23.1 being activated.
fn record() -> Record {
    Record {
        epoch: 40,
        state: State::Activating { plan: plan("v1.23.1"), payload: Sha256::of(b"new"), step: Activation::Switching },
        committed: Some(installed("v1.22.0")),
        previous: Some(installed("v1.21.0")),
        floor: Some(version("v1.21.0")),
        condemned: vec![condemned("v1.20.1"), condemned("v1.20.5")],
        ..Record::new(name())
    }
}

fn report(event: Event) -> Report {
    Report {
        v: 1,
        node: "edge-7".parse().unwrap(),
        fleet: "plant".parse().unwrap(),
        seq: 0,
        time: "2026-11-22T12:00:00Z".parse().unwrap(),
        component: name(),
        event,
        state: "idle".to_owned(),
        from: None,
        to: None,
        percent: None,
        refusal: None,
        text: None,
    }
}

fn open(dir: &Path) -> (Store, Vec<String>) {
    let (store, healed) = Store::open(dir, &Slots::new(dir)).unwrap();
    (store, healed.into_iter().map(|refusal| refusal.code.into_owned()).collect())
}

fn seqs(reports: &[Report]) -> Vec<u64> {
    reports.iter().map(|report| report.seq).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place)
        } else {
            assert!(fs::copy(entry.path(), place).is_ok())
        }
    }
}

/// What must hold for a device that lost its database in the middle of [`record`]'s activation.
fn assert_goes_back(found: &Record) {
    assert_eq!(found.committed, record().committed);
    assert_eq!(found.previous, record().previous);
    assert_eq!(found.floor, record().floor);
    assert!(found.epoch > record().epoch);
    assert!(found.condemned.iter().any(|one| one.artifact == Sha256::of(b"v1.20.5")), "{found:?}");
    let State::RollingBack { from, to, reason, .. } = &found.state else { panic!("{:?}", found.state) };
    assert_eq!((from.as_ref(), to), (Some(&plan("v1.23.1").slot), &record().committed));
    assert_eq!(reason.code, "SLW-A-STATE-LOST");
}

#[test]
fn a_commit_is_there_after_a_restart_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, healed) = open(dir.path());
    assert!(healed.is_empty());
    assert_eq!(store.record(&name()), None);
    let numbered =
        store.commit(&record(), vec![report(Event::Started), report(Event::Progress), report(Event::Activated)]).unwrap();
    assert_eq!(seqs(&numbered), [1, 2, 3]);
    store.set_cursor(&Sha256::of(b"a"), 4096).unwrap();
    store.set_cursor(&Sha256::of(b"b"), 1).unwrap();
    store.clear_cursor(&Sha256::of(b"b")).unwrap();
    store.remember_time("2026-11-22T12:00:00Z".parse().unwrap()).unwrap();
    store.remember_time("2020-01-01T00:00:00Z".parse().unwrap()).unwrap();
    store.remember_tuf(serde_json::json!({"timestamp": 8})).unwrap();
    assert_eq!(store.degraded(), None);
    drop(store);

    let (mut store, healed) = open(dir.path());
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!(store.record(&name()), Some(record()));
    assert_eq!(seqs(&store.outbox(0, 10)), [1, 3], "progress is not kept");
    assert_eq!(seqs(&store.outbox(1, 10)), [3]);
    assert_eq!(seqs(&store.outbox(0, 1)), [1]);
    assert_eq!((store.cursor(&Sha256::of(b"a")), store.cursor(&Sha256::of(b"b"))), (Some(4096), None));
    assert_eq!(store.memory().trusted_time, Some("2026-11-22T12:00:00Z".parse().unwrap()));
    assert_eq!(store.memory().tuf, serde_json::json!({"timestamp": 8}));
    store.acknowledge(1).unwrap();
    store.acknowledge(1).unwrap();
    store.acknowledge(99).unwrap();
    assert_eq!(seqs(&store.commit(&record(), vec![report(Event::Committed)]).unwrap()), [4]);
    drop(store);

    let (store, _) = open(dir.path());
    assert_eq!(seqs(&store.outbox(0, 10)), [3, 4]);
    assert_eq!(seqs(&store.history(None, 2)), [4, 3]);
    assert_eq!(seqs(&store.history(Some(&name()), 10)), [4, 3, 1]);
    assert_eq!(store.history(Some(&"keadm".parse().unwrap()), 10), []);
}

#[test]
fn a_second_agent_is_refused_and_a_newer_agents_state_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    assert_eq!(Store::open(dir.path(), &Slots::new(dir.path())).unwrap_err().code, "SLW-A-STORE-BUSY");
    let newer = Record { format: RECORD_FORMAT + 1, ..record() };
    assert_eq!(store.commit(&newer, vec![]).unwrap_err().code, "SLW-A-STATE-NEWER");
    // What a newer agent would have written: more members than this one knows.
    let mut value = serde_json::to_value(Stored { generation: 1, record: newer }).unwrap();
    value["record"]["surprise"] = 1.into();
    let mut changes = Changes::default();
    changes.put(Key::Record(&name()), serde_json::to_vec(&value).unwrap());
    changes.put(Key::Meta, json(&Meta { format: 1, generation: 1, next: 1 }).unwrap());
    store.database.as_mut().unwrap().apply(changes).unwrap();
    drop(store);
    for _ in 0..4 {
        let refusal = Store::open(dir.path(), &Slots::new(dir.path())).unwrap_err();
        assert_eq!((refusal.code.as_ref(), refusal.seen.as_str()), ("SLW-A-STATE-NEWER", "record format 2"));
    }
    assert!(!dir.path().join("state.damaged-1").exists());
}

#[test]
fn an_older_copy_of_the_database_is_found_out_set_aside_and_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let (state, old) = (dir.path().join("state"), dir.path().join("old"));
    let (mut store, _) = open(dir.path());
    let idle = Record { state: State::Idle, committed: Some(installed("v1.21.0")), floor: None, ..record() };
    store.commit(&idle, vec![report(Event::Started)]).unwrap();
    drop(store);
    copy(&state, &old);
    let (mut store, _) = open(dir.path());
    assert_eq!(seqs(&store.commit(&record(), vec![report(Event::Activated)]).unwrap()), [2]);
    drop(store);
    for round in 1..=5 {
        fs::remove_dir_all(&state).unwrap();
        copy(&old, &state);
        let (mut store, healed) = open(dir.path());
        assert_eq!(healed, ["SLW-A-STORE-DAMAGED"]);
        assert_goes_back(&store.record(&name()).unwrap());
        assert_eq!(store.degraded(), None);
        assert!(dir.path().join(format!("state.damaged-{round}")).exists());
        let fresh = store.commit(&record(), vec![report(Event::Started)]).unwrap();
        assert!(fresh[0].seq > 1000, "no number is given twice: {}", fresh[0].seq);
        drop(store);
        let (store, healed) = open(dir.path());
        assert!(healed.is_empty(), "healed once: {healed:?}");
        assert_eq!(store.record(&name()), Some(record()));
    }
    assert!(!dir.path().join("state.damaged-2").exists() && dir.path().join("state.damaged-3").exists());
}

#[test]
fn a_witness_older_than_the_database_is_normal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&Record { state: State::Idle, floor: None, ..record() }, vec![]).unwrap();
    let older = fs::read(dir.path().join("witness")).unwrap();
    store.commit(&record(), vec![report(Event::Activated)]).unwrap();
    drop(store);
    // The power went between the two writes of the last commit.
    fs::write(dir.path().join("witness"), older).unwrap();
    let (store, healed) = open(dir.path());
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!(store.record(&name()), Some(record()));
    drop(store);
    // And the witness knows it by now, whatever becomes of the database.
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    let (store, healed) = open(dir.path());
    assert_eq!(healed, ["SLW-A-STORE-DAMAGED"]);
    assert_goes_back(&store.record(&name()).unwrap());
}

#[test]
fn a_lost_witness_comes_back_from_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("witness");
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![report(Event::Started)]).unwrap();
    drop(store);
    for (damage, code) in
        [(None, "SLW-A-WITNESS-MISSING"), (Some(vec![0; 8192]), "SLW-A-WITNESS-DAMAGED"), (Some(vec![]), "SLW-A-WITNESS-DAMAGED")]
    {
        fs::remove_file(&witness).unwrap();
        if let Some(bytes) = damage {
            fs::write(&witness, bytes).unwrap();
        }
        let (mut store, healed) = open(dir.path());
        assert_eq!(healed, [code]);
        assert_eq!(store.record(&name()), Some(record()));
        assert_eq!(store.memory().components[&name()].floor, record().floor);
        store.commit(&record(), vec![]).unwrap();
        drop(store);
        assert_eq!(open(dir.path()).1, Vec::<String>::new());
    }
    assert!(dir.path().join("witness.damaged-2").exists());
}

#[test]
fn with_everything_lost_what_is_current_is_taken_for_committed() {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path());
    let slot = SlotRecord {
        format: SLOT_FORMAT,
        component: name(),
        version: version("v1.22.0"),
        platform: Platform::LinuxAmd64,
        artifact: Sha256::of(b"artifact"),
        artifact_size: 1,
        payload: Sha256::of(b"program"),
        payload_size: 7,
        staged: "2026-11-22T12:00:00Z".parse().unwrap(),
        adopted: false,
    };
    let mut writer = slots.begin(&name(), &slot.slot()).unwrap();
    writer.payload_file().write_all(b"program").unwrap();
    writer.finish(&slot, b"", b"").unwrap();
    slots.point(&name(), &slot.slot()).unwrap();
    let (mut store, healed) = open(dir.path());
    assert_eq!(healed, ["SLW-A-STATE-MISSING"]);
    let found = store.record(&name()).unwrap();
    assert_eq!((&found.state, found.committed.as_ref()), (&State::Idle, Some(&slot.installed())));
    assert_eq!(found.floor, Some(version("v1.22.0")));
    assert!(store.commit(&found, vec![report(Event::Started)]).unwrap()[0].seq > 1_700_000_000);
    drop(store);
    let (store, healed) = open(dir.path());
    assert!(healed.is_empty());
    assert_eq!(store.record(&name()), Some(found));
}

/// Each phase, with nothing left but the witness.
#[test]
fn every_phase_becomes_rest_or_a_rollback() {
    let (active, payload) = (plan("v1.23.1"), Sha256::of(b"new"));
    let reason = condemned("v1.0.0").reason;
    let watch = crate::record::Watch {
        deadline: crate::clock::Moment::default(),
        starts: 0,
        process: None,
        healthy_since: None,
        failures: 0,
        ill: None,
    };
    let (from, to, retry) = (Some(active.slot.clone()), record().committed, Retry::default());
    let resting = [
        State::Idle,
        State::Downloading { plan: active.clone(), retry: retry.clone() },
        State::Staging { plan: active.clone() },
        State::Staged { plan: active.clone(), payload },
    ];
    let moving = [
        State::Activating { plan: active.clone(), payload, step: Activation::Preparing },
        State::Probation { plan: active, payload, watch },
        State::Inconsistent { to: to.clone(), from: from.clone(), reason: reason.clone(), retry: retry.clone() },
        State::RollingBack { from, plan: None, to, reason, condemn: Some(condemned("v1.23.1")), retry },
    ];
    let after_loss = |state: &State| {
        let record = Record { state: state.clone(), ..record() };
        rebuild::rebuild(&name(), &rebuild::remember(&record, 5), None, None, None)
    };
    for state in &resting {
        assert_eq!(after_loss(state).state, State::Idle, "{state:?}");
    }
    for state in &moving {
        assert_goes_back(&after_loss(state));
    }
    let State::RollingBack { condemn, .. } = after_loss(&moving[3]).state else { panic!() };
    assert_eq!(condemn.unwrap().artifact, condemned("v1.23.1").artifact, "a failed release stays condemned");
}

#[test]
fn openings_that_were_not_survived_end_with_a_new_database() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![report(Event::Started)]).unwrap();
    drop(store);
    let die = |times: u32| {
        let (mut witness, memory) = Witness::open(&dir.path().join("witness")).unwrap();
        witness.write(&Memory { opening: times, ..memory.unwrap() }).unwrap();
    };
    die(1);
    let (store, healed) = open(dir.path());
    assert!(healed.is_empty(), "once may be a power cut");
    assert_eq!(store.memory().opening, 2, "an opening is under way until the first commit or a clean end");
    drop(store);
    assert_eq!(Witness::open(&dir.path().join("witness")).unwrap().1.unwrap().opening, 0);
    die(OPENINGS);
    let (mut store, healed) = open(dir.path());
    assert_eq!(healed, ["SLW-A-STORE-DAMAGED"]);
    assert_goes_back(&store.record(&name()).unwrap());
    store.commit(&record(), vec![]).unwrap();
    assert_eq!(store.memory().opening, 0);
}

#[test]
fn a_snapshot_cut_short_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![report(Event::Started)]).unwrap();
    drop(store);
    fs::write(dir.path().join("state/snap.FFFFFFFFFFFFFFFF.generating"), b"half").unwrap();
    let (store, healed) = open(dir.path());
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!(store.record(&name()), Some(record()));
}

#[test]
fn the_outbox_is_bounded_and_keeps_how_things_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![report(Event::Committed)]).unwrap();
    let batch = || (0..100).map(|_| report(Event::Checking)).collect::<Vec<_>>();
    for _ in 0..OUTBOX_LIMIT / 100 + 3 {
        store.commit(&record(), batch()).unwrap();
    }
    let check = |store: &Store| {
        let outbox = store.outbox(0, usize::MAX);
        assert_eq!(outbox.len(), OUTBOX_LIMIT);
        assert_eq!((outbox[0].seq, outbox[0].event), (1, Event::Committed), "the oldest, but it says how something ended");
        assert_eq!(outbox[1].seq, 303, "a gap shows what went");
        assert_eq!(store.reports.len(), OUTBOX_LIMIT);
    };
    check(&store);
    drop(store);
    let (mut store, _) = open(dir.path());
    check(&store);
    for seq in seqs(&store.outbox(0, usize::MAX)) {
        store.acknowledge(seq).unwrap();
    }
    store.commit(&record(), vec![]).unwrap();
    assert_eq!((store.outbox(0, 1).len(), store.history(None, usize::MAX).len()), (0, HISTORY_LIMIT));
    drop(store);
    let (store, _) = open(dir.path());
    assert_eq!((store.outbox(0, 1).len(), store.history(None, usize::MAX).len()), (0, HISTORY_LIMIT));
}

#[test]
fn years_of_commits_and_long_reports_do_not_grow_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let size = || -> u64 {
        let of = |dir: &Path| fs::read_dir(dir).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).sum::<u64>();
        of(&dir.path().join("state")) + of(&dir.path().join("state/blobs"))
    };
    let long = Report { text: Some("x".repeat(6000)), ..report(Event::RolledBack) };
    let mut sizes = Vec::new();
    let mut times = Vec::new();
    for n in 0..1500_u64 {
        let record = Record { epoch: n, state: State::Idle, ..record() };
        let event = if n % 20 == 0 { long.clone() } else { report(Event::Checking) };
        #[expect(clippy::disallowed_methods, reason = "a measurement")]
        let begin = std::time::Instant::now();
        let seq = store.commit(&record, vec![event]).unwrap()[0].seq;
        times.push(begin.elapsed());
        store.acknowledge(seq).unwrap();
        if n % 250 == 249 {
            sizes.push(size());
        }
    }
    times.sort();
    println!("commit p50 {:?} p99 {:?}; bytes {sizes:?}", times[750], times[1485]);
    assert!(sizes[5] < 16 * 1024 * 1024, "{sizes:?}");
    drop(store);
    let (store, healed) = open(dir.path());
    assert!(healed.is_empty());
    assert_eq!(store.record(&name()).unwrap().epoch, 1499);
    assert!(store.history(None, 100).iter().any(|report| report.text.as_ref().is_some_and(|text| text.len() == 6000)));
}

/// Run by the test below in a process of its own, since sled may end it or never return.
#[test]
fn child_that_opens_a_damaged_store() {
    let Some(dir) = std::env::var_os("SLIPWAY_TEST_STORE") else { return };
    let (mut store, _) = open(Path::new(&dir));
    let found = store.record(&name()).unwrap();
    fs::write(Path::new(&dir).join("found"), serde_json::to_vec(&found).unwrap()).unwrap();
    store.commit(&found, vec![report(Event::Started)]).unwrap();
    fs::write(Path::new(&dir).join("survived"), b"").unwrap();
}

/// However the database is damaged: after at most three starts the agent runs, and its record is the last one or one that goes
/// back to the committed release. Never an older one, never a lower floor.
#[test]
fn no_damage_to_the_database_survives_three_starts_or_lowers_a_floor() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good");
    let (mut store, _) = open(&good);
    for n in 0..60 {
        let early = Record { epoch: n, state: State::Idle, committed: Some(installed("v1.21.0")), floor: None, ..record() };
        store.commit(&early, vec![Report { text: Some("y".repeat(700)), ..report(Event::Checking) }]).unwrap();
    }
    store.commit(&record(), vec![report(Event::Activated)]).unwrap();
    drop(store);
    drop(open(&good)); // So that there is a snapshot, too.
    let length = fs::metadata(good.join("state/db")).unwrap().len();
    let snapshot = fs::read_dir(good.join("state"))
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .find(|it| it.to_str().unwrap().starts_with("snap."));
    let snapshot = format!("state/{}", snapshot.unwrap().to_str().unwrap());

    type Damage = Box<dyn Fn(&Path)>;
    let mut damages: Vec<(String, Damage)> = Vec::new();
    for part in 0..12 {
        let at = length * part / 12;
        damages.push((
            format!("cut at {at}"),
            Box::new(move |dir| File::options().write(true).open(dir.join("state/db")).unwrap().set_len(at).unwrap()),
        ));
        let zero = move |dir: &Path| {
            File::options().write(true).open(dir.join("state/db")).unwrap().write_all_at(&[0; 4096], at / 4096 * 4096).unwrap()
        };
        damages.push((format!("zeroed page at {at}"), Box::new(zero)));
        let flip = move |dir: &Path| {
            let mut bytes = fs::read(dir.join("state/db")).unwrap();
            (0..64).for_each(|n| bytes[(at + 37 * n * n % 9000) as usize % length as usize] ^= 0x10);
            fs::write(dir.join("state/db"), bytes).unwrap();
        };
        damages.push((format!("flipped bits from {at}"), Box::new(flip)));
    }
    for file in ["state/db".to_owned(), "state/conf".to_owned(), snapshot] {
        let (gone, emptied, noise) = (file.clone(), file.clone(), file.clone());
        damages.push((format!("{file} gone"), Box::new(move |dir| fs::remove_file(dir.join(&gone)).unwrap())));
        damages.push((format!("{file} emptied"), Box::new(move |dir| fs::write(dir.join(&emptied), b"").unwrap())));
        damages.push((format!("{file} noise"), Box::new(move |dir| fs::write(dir.join(&noise), [0xa5; 9999]).unwrap())));
    }
    let (mut died, mut rebuilt) = (0, 0);
    for (number, (damage, apply)) in damages.iter().enumerate() {
        let place = dir.path().join(number.to_string());
        copy(&good, &place);
        apply(&place);
        let starts = (1..=3).find(|_| survives(&place));
        assert!(starts.is_some(), "{damage}: does not start: {}", fs::read_to_string(place.join("output")).unwrap());
        died += starts.unwrap() - 1;
        let found: Record = serde_json::from_slice(&fs::read(place.join("found")).unwrap()).unwrap();
        if found != record() {
            assert_goes_back(&found);
            assert!(place.join("state.damaged-1").exists(), "{damage}: the evidence is kept");
            rebuilt += 1;
        }
        fs::remove_dir_all(place).unwrap();
    }
    println!("damages: {}, rebuilt: {rebuilt}, starts that died: {died}", damages.len());
    assert!(rebuilt > 0);
}

/// Whether a start comes to its first commit within a few seconds.
fn survives(dir: &Path) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--quiet", "store::tests::child_that_opens_a_damaged_store"])
        .env("SLIPWAY_TEST_STORE", dir)
        .env("RUST_BACKTRACE", "0")
        .stdout(File::options().create(true).append(true).open(dir.join("output")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..500 {
        // The watchdog of the unit, so to say.
        match child.try_wait().unwrap() {
            Some(status) => return status.success() && dir.join("survived").exists(),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

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
        reason: condemned("v1.0.0").reason,
        condemn: Some(condemned("v1.23.1")),
        retry: Retry::default(),
    };
    let rolling = Record { state: rolling, epoch: 41, floor: Some(version("v1.21.5")), ..record() };
    assert_eq!(seqs(&store.commit(&rolling, vec![report(Event::RollingBack)]).unwrap()), [3]);
    assert_eq!(store.degraded().unwrap().code, "SLW-A-STORE-DEGRADED");
    store.acknowledge(1).unwrap();
    assert_eq!(seqs(&store.outbox(0, 9)), [2, 3]);
    assert!(!store.recover());
    drop(store);

    // A restart on the full disk: the witness alone.
    let (mut store, healed) = open(&dir);
    assert!(healed.is_empty(), "a full disk is no damage: {healed:?}");
    let found = store.record(&name()).unwrap();
    assert!(matches!(&found.state, State::RollingBack { condemn: Some(_), .. }), "{found:?}");
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
    assert_eq!(store.record(&name()).unwrap().condemned.len(), 2, "the older one was only in the database");
    drop(store);
    let (store, healed) = open(&dir);
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!(seqs(&store.outbox(0, 9)), [1, 2, last]);
    assert!(store.record(&name()).unwrap().epoch > 41);
    assert_eq!(store.memory().alone_since, None);
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
    assert!(matches!(outcome, Err(Trouble::Full(_))), "{outcome:?}");
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

/// What the restore unit leaves behind it, whatever the agent that it stopped had written last.
#[test]
fn an_agent_that_was_put_back_goes_back_whatever_the_database_says() {
    let restored = |dir: &Path| {
        let (mut witness, memory) = Witness::open(&dir.join("witness")).unwrap();
        let mut memory = memory.unwrap();
        let it = memory.components.get_mut(&name()).unwrap();
        it.phase = witness::Phase::Restored;
        it.active = Some(plan("v1.23.1").slot);
        it.condemn = Some((plan("v1.23.1").artifact, version("v1.23.1")));
        it.committed = record().committed.as_ref().map(witness::Kept::from);
        witness.write_both(&memory).unwrap();
    };
    let watch = crate::record::Watch {
        deadline: crate::clock::now().moment,
        starts: 1,
        process: None,
        healthy_since: None,
        failures: 0,
        ill: None,
    };
    let probation = State::Probation { plan: plan("v1.23.1"), payload: Sha256::of(b"new"), watch };
    let committed = Record { state: State::Idle, committed: Some(installed("v1.23.1")), ..record() };
    for (what, last) in [
        ("switching", record()),
        ("probation", Record { state: probation, ..record() }),
        // It committed itself, and the witness never heard of it.
        ("its own commit", committed),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        store.commit(&record(), vec![report(Event::Activated)]).unwrap();
        for _ in 0..3 {
            store.commit(&last, vec![]).unwrap();
        }
        drop(store);
        restored(dir.path());
        // Twice: what was rebuilt is in the database before the witness forgets why.
        for _ in 0..2 {
            let (store, healed) = open(dir.path());
            assert!(healed.is_empty(), "{what}: {healed:?}");
            let found = store.record(&name()).unwrap();
            let State::RollingBack { from, to, reason, condemn, .. } = &found.state else { panic!("{what}: {found:?}") };
            assert_eq!((from.as_ref(), to), (Some(&plan("v1.23.1").slot), &record().committed), "{what}");
            assert_eq!(reason.code, "SLW-A-SELF-RESTORED");
            assert_eq!(condemn.as_ref().map(|one| one.artifact), Some(plan("v1.23.1").artifact));
            assert_eq!(found.committed, record().committed);
            assert_eq!(seqs(&store.outbox(0, 10)), [1], "{what}: reports that wait still wait");
        }
    }

    // A new agent that judged itself wrote down why, which is better than what can be seen from outside.
    let dir = tempfile::tempdir().unwrap();
    let reason = condemned("v1.23.1").reason;
    let own = State::RollingBack {
        from: Some(plan("v1.23.1").slot),
        plan: Some(plan("v1.23.1")),
        to: record().committed,
        reason,
        condemn: None,
        retry: Retry::default(),
    };
    let own = Record { state: own, ..record() };
    let (mut store, _) = open(dir.path());
    store.commit(&own, vec![]).unwrap();
    drop(store);
    restored(dir.path());
    assert_eq!(open(dir.path()).0.record(&name()), Some(own));
}

/// Decision 9: what an agent that was left again wrote in a newer format gives way; otherwise it is left alone.
#[test]
fn a_newer_database_gives_way_only_after_its_agent_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![]).unwrap();
    let mut changes = Changes::default();
    changes.put(Key::Meta, json(&Meta { format: STORE_FORMAT + 1, generation: 9, next: 9 }).unwrap());
    store.database.as_mut().unwrap().apply(changes).unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path(), &Slots::new(dir.path())).unwrap_err().code, "SLW-A-STATE-NEWER");
    let (mut witness, memory) = Witness::open(&dir.path().join("witness")).unwrap();
    let mut memory = memory.unwrap();
    memory.components.get_mut(&name()).unwrap().phase = witness::Phase::Restored;
    witness.write_both(&memory).unwrap();
    let (store, healed) = open(dir.path());
    assert_eq!(healed, ["SLW-A-STORE-DAMAGED"]);
    let found = store.record(&name()).unwrap();
    assert!(matches!(found.state, State::RollingBack { .. }) && found.floor == record().floor, "{found:?}");
    assert!(dir.path().join("state.damaged-1").exists(), "kept");
}
