//! State of other agents: one that runs at the same time, a newer one, one that was rolled back.

use super::*;

#[test]
fn a_second_agent_is_refused_and_a_newer_agents_state_is_unchanged() {
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
        assert_eq!((refusal.code.as_ref(), refusal.seen.as_str()), ("SLW-A-STATE-NEWER", "edgecore: format 2"));
    }
    assert!(!dir.path().join("state.damaged-1").exists());
}

/// There is no older format: what claims to be one is damage. Nothing that was promised is taken back, and it is kept as evidence.
#[test]
fn an_older_format_or_none_is_damage_and_rebuilt_from_the_witness() {
    let meta = |format: Option<u32>| {
        let mut meta = serde_json::json!({"generation": 9, "next": 9});
        if let Some(format) = format {
            meta["format"] = format.into();
        }
        serde_json::to_vec(&meta).unwrap()
    };
    let mut older = serde_json::to_value(Stored { generation: 1, record: record() }).unwrap();
    older["record"]["format"] = 0.into();
    for (what, key, value) in [
        ("a database of format 0", Key::Meta, meta(Some(0))),
        ("a database without a format", Key::Meta, meta(None)),
        ("a record of format 0", Key::Record(&name()), serde_json::to_vec(&older).unwrap()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        store.commit(&record(), vec![]).unwrap();
        let mut changes = Changes::default();
        changes.put(key, value);
        store.database.as_mut().unwrap().apply(changes).unwrap();
        drop(store);
        let (store, healed) = open(dir.path());
        assert_eq!(healed, ["SLW-A-STORE-DAMAGED"], "{what}");
        assert_goes_back(&store.record(&name()).unwrap());
        drop(store);
        assert!(dir.path().join("state.damaged-1").exists(), "{what}: kept");
        assert_eq!(open(dir.path()).1, Vec::<String>::new(), "{what}: once");
    }
}

/// What the restore unit leaves behind it, whatever the agent that it stopped had written last.
#[test]
fn an_agent_that_was_put_back_goes_back_whatever_the_database_says() {
    let restored = |dir: &Path| {
        let (mut witness, witness_data) = Witness::open(&dir.join("witness")).unwrap();
        let mut witness_data = witness_data.unwrap();
        let it = witness_data.components.get_mut(&name()).unwrap();
        it.phase = witness::Phase::Restored;
        it.active = Some(plan("v1.23.1").slot);
        it.block = Some((plan("v1.23.1").artifact, version("v1.23.1")));
        it.committed = record().committed.as_ref().map(witness::KeptRelease::from);
        witness.write_both(&witness_data).unwrap();
    };
    let watch = slipway_machine::record::Watch {
        deadline: crate::clock::now().moment,
        starts: 1,
        process: None,
        healthy_since: None,
        failures: 0,
        unhealthy: None,
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
            let State::RollingBack { from, to, reason, block, .. } = &found.state else { panic!("{what}: {found:?}") };
            assert_eq!((from.as_ref(), to), (Some(&plan("v1.23.1").slot), &record().committed), "{what}");
            assert_eq!(reason.code, "SLW-A-SELF-RESTORED");
            assert_eq!(block.as_ref().map(|one| one.artifact), Some(plan("v1.23.1").artifact));
            assert_eq!(found.committed, record().committed);
            assert_eq!(seqs(&store.outbox(0, 10)), [1], "{what}: reports that wait still wait");
        }
    }

    // A new agent that judged itself wrote down why, which is better than what can be seen from outside.
    let dir = tempfile::tempdir().unwrap();
    let reason = blocked("v1.23.1").reason;
    let own = State::RollingBack {
        from: Some(plan("v1.23.1").slot),
        plan: Some(plan("v1.23.1")),
        to: record().committed,
        reason,
        block: None,
        retry: Retry::default(),
    };
    let own = Record { state: own, ..record() };
    let (mut store, _) = open(dir.path());
    store.commit(&own, vec![]).unwrap();
    drop(store);
    restored(dir.path());
    assert_eq!(open(dir.path()).0.record(&name()), Some(own));
}

/// Decision 0009: state in a newer format is replaced if its agent was rolled back; otherwise it is not touched.
#[test]
fn a_newer_database_is_replaced_only_after_its_agent_was_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![]).unwrap();
    let mut changes = Changes::default();
    changes.put(Key::Meta, json(&Meta { format: STORE_FORMAT + 1, generation: 9, next: 9 }).unwrap());
    store.database.as_mut().unwrap().apply(changes).unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path(), &Slots::new(dir.path())).unwrap_err().code, "SLW-A-STATE-NEWER");
    let (mut witness, witness_data) = Witness::open(&dir.path().join("witness")).unwrap();
    let mut witness_data = witness_data.unwrap();
    witness_data.components.get_mut(&name()).unwrap().phase = witness::Phase::Restored;
    witness.write_both(&witness_data).unwrap();
    let (store, healed) = open(dir.path());
    assert_eq!(healed, ["SLW-A-STORE-DAMAGED"]);
    let found = store.record(&name()).unwrap();
    assert!(matches!(found.state, State::RollingBack { .. }) && found.floor == record().floor, "{found:?}");
    assert!(dir.path().join("state.damaged-1").exists(), "kept");
}
