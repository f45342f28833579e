use super::*;
use slipway_machine::time::BootId;

fn at(secs: u64) -> Moment {
    Moment { boot: BootId("b".into()), secs }
}

fn slot(text: &str) -> SlotName {
    text.to_owned().try_into().unwrap()
}

fn release(slots: &Slots, version: &str, program: &[u8]) -> Installed {
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), program).unwrap();
    std::fs::set_permissions(path.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    slots.adopt(&"slipway-agent".parse().unwrap(), path.path(), version.parse().unwrap()).unwrap()
}

fn armed(back: Installed, testing: &SlotName) -> Armed {
    Armed {
        format: FORMAT,
        component: "slipway-agent".parse().unwrap(),
        testing: testing.clone(),
        block: (Sha256::of(b"new"), "v2.0.0".parse().unwrap()),
        back,
        within: 390,
        deadline: at(1390),
        boots: 0,
    }
}

/// A device whose committed agent is `old` and whose link names `new`.
struct Fixture {
    dir: tempfile::TempDir,
    slots: Slots,
    armed: Armed,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::new(dir.path());
        let (old, new) = (release(&slots, "v1.0.0", b"old"), release(&slots, "v2.0.0", b"new"));
        let (mut witness, _) = Witness::open(&dir.path().join("witness")).unwrap();
        let it = Remembered {
            generation: 7,
            phase: Phase::Probation,
            committed: Some(witness::KeptRelease::from(&old)),
            active: Some(new.slot.clone()),
            floor: Some("v1.0.0".parse().unwrap()),
            ..Remembered::default()
        };
        let armed = armed(old, &new.slot);
        let components = std::collections::BTreeMap::from([(armed.component.clone(), it)]);
        witness.write_both(&WitnessData { generation: 9, opening: 2, components, ..WitnessData::default() }).unwrap();
        RestoreDir::new(dir.path()).arm(&slots, &armed).unwrap();
        slots.point(&armed.component, &armed.testing).unwrap();
        Self { dir, slots, armed }
    }

    fn place(&self) -> RestoreDir {
        RestoreDir::new(self.dir.path())
    }

    fn remembered(&self) -> Remembered {
        let witness_data = Witness::peek(&self.dir.path().join("witness")).unwrap().unwrap();
        assert_eq!(witness_data.opening, 0, "the database is not blamed for the new agent's deaths");
        witness_data.components[&self.armed.component].clone()
    }
}

#[test]
fn table() {
    let back = release(&Slots::new(tempfile::tempdir().unwrap().path()), "v1.0.0", b"old");
    let testing = slot("v2.0.0-aaaaaaaaaaaa");
    let armed = armed(back.clone(), &testing);
    let seen = |phase, link: &SlotName| AgentObservation {
        remembered: Some(Remembered { phase, active: Some(testing.clone()), ..Remembered::default() }),
        link: Some(link.clone()),
        ..AgentObservation::default()
    };
    let code = |decision: RestoreDecision| match decision {
        RestoreDecision::Restore(Some(reason)) => reason.code.into_owned(),
        RestoreDecision::Restore(None) => "its own".to_owned(),
        other => format!("{other:?}"),
    };
    let early = |seen: &AgentObservation| code(judge(&armed, seen, &at(1000)));
    // Before the link moves nothing is the new agent's doing, whatever happens and however long it takes.
    for phase in [Phase::Activating, Phase::RollingBack] {
        let wild = AgentObservation { restarts: 9, given_up: true, ..seen(phase, &back.slot) };
        assert_eq!(early(&wild), "Watch");
        assert_eq!(code(judge(&armed, &wild, &at(9999))), "Watch");
    }
    for phase in [Phase::Activating, Phase::Probation] {
        let fine = seen(phase, &testing);
        assert_eq!(early(&fine), "Watch");
        assert_eq!(
            early(&AgentObservation { restarts: 1, ..fine.clone() }),
            "Watch",
            "once may be a cut: a new agent that comes up judges it"
        );
        assert_eq!(early(&AgentObservation { restarts: 2, ..fine.clone() }), "SLW-A-RESTARTED");
        assert_eq!(early(&AgentObservation { given_up: true, ..fine.clone() }), "SLW-A-DIED");
        assert_eq!(code(judge(&armed, &fine, &at(1390))), "SLW-A-DEADLINE");
        assert_eq!(code(judge(&Armed { boots: 4, ..armed.clone() }, &fine, &at(1000))), "SLW-A-STARTS");
        assert_eq!(code(judge(&Armed { boots: 3, ..armed.clone() }, &fine, &at(1000))), "Watch");
    }
    // A link that names neither is nobody's, and nothing starts by it.
    assert_eq!(early(&AgentObservation { link: None, restarts: 2, ..seen(Phase::Probation, &testing) }), "SLW-A-RESTARTED");
    // The new agent's own judgement over itself needs no waiting.
    assert_eq!(early(&seen(Phase::RollingBack, &testing)), "its own");
    assert_eq!(early(&seen(Phase::Inconsistent, &testing)), "its own");
    // A rollback by hand: the committed one is replaced, the previous one is under test.
    let mut by_hand = seen(Phase::RollingBack, &testing);
    by_hand.remembered.as_mut().unwrap().active = Some(back.slot.clone());
    assert_eq!(early(&by_hand), "Watch");
    // Over, however late it is looked at; and finished after a cut.
    assert_eq!(code(judge(&armed, &seen(Phase::Resting, &testing), &at(9999))), "Over");
    assert_eq!(early(&seen(Phase::Restored, &testing)), "Finish");
    // A witness that cannot be read says nothing: crashes and the deadline decide.
    let blind = AgentObservation { remembered: None, ..seen(Phase::Probation, &testing) };
    assert_eq!((early(&blind), code(judge(&armed, &blind, &at(1390)))), ("Watch".into(), "SLW-A-DEADLINE".into()));
}

#[test]
fn what_is_armed_is_a_verified_copy() {
    let fixture = Fixture::new();
    let copy = fixture.place().copy();
    assert_eq!(std::fs::read(&copy).unwrap(), b"old");
    assert_eq!(fixture.place().armed().unwrap(), Some(fixture.armed.clone()));
    // A committed slot that is damaged is no way back: nothing is armed then.
    std::fs::write(fixture.slots.payload_path(&fixture.armed.component, &fixture.armed.back.slot), b"bad").unwrap();
    let refusal = fixture.place().arm(&fixture.slots, &fixture.armed).unwrap_err();
    assert_eq!(refusal.code, NO_COPY.code);
    assert_eq!(fixture.place().armed().unwrap(), None);
    // But one that is damaged later is healed from the copy.
    let restorer = Restorer::new(fixture.dir.path(), &Tools::default());
    restorer.heal(&fixture.armed).unwrap();
    fixture.slots.check_payload(&fixture.armed.component, &fixture.armed.back.slot, &fixture.armed.back.payload).unwrap();
    std::fs::write(&copy, b"bad").unwrap();
    std::fs::write(fixture.slots.payload_path(&fixture.armed.component, &fixture.armed.back.slot), b"bad").unwrap();
    assert_eq!(restorer.heal(&fixture.armed).unwrap_err().code, NO_COPY.code, "what was never committed is not put back");
}

#[test]
fn the_witness_learns_what_failed_and_loses_nothing() {
    let fixture = Fixture::new();
    for _ in 0..2 {
        fixture.place().remember(&fixture.armed, false).unwrap();
        let it = fixture.remembered();
        assert_eq!((it.phase, it.generation), (Phase::Restored, 7));
        assert_eq!(it.block, Some(fixture.armed.block.clone()));
        assert_eq!(it.floor, Some("v1.0.0".parse().unwrap()));
        assert_eq!(it.committed.as_ref().map(Installed::from).unwrap().slot, fixture.armed.back.slot);
    }
    // What the new agent said of itself stands: an update that was called off condemns nothing.
    let fixture = Fixture::new();
    fixture.place().remember(&fixture.armed, true).unwrap();
    assert_eq!(fixture.remembered().block, None);
}

#[test]
fn a_witness_of_a_newer_format_gives_way_to_the_one_from_before() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("witness");
    for foreign in [witness::tests::of_format(2), vec![0xff; 8192], vec![]] {
        std::fs::write(&path, &foreign).unwrap();
        fixture.place().remember(&fixture.armed, false).unwrap();
        let it = fixture.remembered();
        assert_eq!((it.phase, it.floor), (Phase::Restored, Some("v1.0.0".parse().unwrap())));
        assert_eq!(std::fs::read(fixture.place().at("witness.refused")).unwrap(), foreign, "kept as evidence");
    }
}

#[test]
fn disarming_twice_is_fine_and_a_newer_order_is_refused() {
    let fixture = Fixture::new();
    fixture.place().write("armed", &Armed { format: 2, ..fixture.armed.clone() }).unwrap();
    assert_eq!(fixture.place().armed().unwrap_err().code, "SLW-A-STATE-NEWER");
    fixture.place().disarm().unwrap();
    fixture.place().disarm().unwrap();
    assert_eq!((fixture.place().armed().unwrap(), fixture.place().failed().unwrap()), (None, None));
    assert!(fixture.place().copy().exists(), "it may be running");
}
