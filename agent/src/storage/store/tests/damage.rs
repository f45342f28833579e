//! Damage to database or witness: what was acknowledged stays in force.

use super::*;

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
        assert_eq!(store.witness_data().components[&name()].floor, record().floor);
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
    let reason = blocked("v1.0.0").reason;
    let watch = slipway_machine::record::Watch {
        deadline: slipway_machine::time::Moment::default(),
        starts: 0,
        process: None,
        healthy_since: None,
        failures: 0,
        unhealthy: None,
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
        State::RollingBack { from, plan: None, to, reason, block: Some(blocked("v1.23.1")), retry },
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
    let State::RollingBack { block, .. } = after_loss(&moving[3]).state else { panic!() };
    assert_eq!(block.unwrap().artifact, blocked("v1.23.1").artifact, "a failed release stays condemned");
}

#[test]
fn the_damage_of_a_release_is_not_that_of_its_successor() {
    let reason = slipway_protocol::Refusal::of("X", Category::System, Responsible::Device, "x", "");
    let damage = Some(slipway_machine::record::SlotDamage { reason, from: Some(installed("v1.23.1").slot), failures: 1 });
    let older = Record { state: State::Idle, committed: Some(installed("v1.22.0")), damage: damage.clone(), ..record() };
    for (now, kept) in [("v1.22.0", damage), ("v1.23.1", None)] {
        let committed = Record { committed: Some(installed(now)), ..older.clone() };
        let rebuilt = rebuild::rebuild(&name(), &rebuild::remember(&committed, 5), Some(older.clone()), None, None);
        assert_eq!((rebuilt.committed, rebuilt.damage), (committed.committed, kept), "{now}");
    }
}

#[test]
fn openings_that_were_not_survived_end_with_a_new_database() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![report(Event::Started)]).unwrap();
    drop(store);
    let die = |times: u32| {
        let (mut witness, witness_data) = Witness::open(&dir.path().join("witness")).unwrap();
        witness.write(&WitnessData { opening: times, ..witness_data.unwrap() }).unwrap();
    };
    die(1);
    let (store, healed) = open(dir.path());
    assert!(healed.is_empty(), "once may be a power cut");
    assert_eq!(store.witness_data().opening, 2, "an opening is under way until the first commit or a clean end");
    drop(store);
    assert_eq!(Witness::open(&dir.path().join("witness")).unwrap().1.unwrap().opening, 0);
    die(OPENINGS);
    let (mut store, healed) = open(dir.path());
    assert_eq!(healed, ["SLW-A-STORE-DAMAGED"]);
    assert_goes_back(&store.record(&name()).unwrap());
    store.commit(&record(), vec![]).unwrap();
    assert_eq!(store.witness_data().opening, 0);
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

    type SlotDamage = Box<dyn Fn(&Path)>;
    let mut damages: Vec<(String, SlotDamage)> = Vec::new();
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
    let here = module_path!().split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--quiet", &format!("{here}::child_that_opens_a_damaged_store")])
        .env("SLIPWAY_TEST_STORE", dir)
        .env("RUST_BACKTRACE", "0")
        .stdout(File::options().create(true).append(true).open(dir.join("output")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..2000 {
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
