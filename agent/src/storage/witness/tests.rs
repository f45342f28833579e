//! The witness's tests: torn, damaged, of other formats, full.

use super::*;
use std::fs;

fn witness_data(generation: u64) -> WitnessData {
    let kept = |version: &str| {
        let (version, artifact): (Version, _) = (version.parse().unwrap(), Sha256::of(version.as_bytes()));
        let slot = SlotName::of(&version, &artifact);
        Some(KeptRelease::from(&Installed { version, artifact, payload: Sha256::of(b"payload"), slot, adopted: false }))
    };
    let edgecore = Remembered {
        generation,
        epoch: 7,
        phase: Phase::Probation,
        committed: kept("v1.22.0"),
        previous: kept("v1.21.0"),
        active: Some(SlotName::of(&"v1.23.1".parse().unwrap(), &Sha256::of(b"new"))),
        blocked: Some((Sha256::of(b"bad"), "v1.22.5".parse().unwrap())),
        floor: Some("v1.22.0".parse().unwrap()),
        ..Remembered::default()
    };
    WitnessData {
        generation,
        trusted_time: Some("2026-11-22T12:00:00Z".parse().unwrap()),
        tuf: serde_json::json!({
            "operator": {
                "root": 30, "root_digest": Sha256::of(b"root"), "timestamp": 81_200, "snapshot": 9_700,
                "targets": {"targets": 120, "releases": 900, "channels": 4400},
                "expired": {"timestamp": 81_201, "snapshot": 9_701, "targets": 121, "releases": 901, "channels": 4401},
            },
            "sigstore": {
                "root": 16, "root_digest": Sha256::of(b"other"), "timestamp": 2_000, "snapshot": 160,
                "targets": {"targets": 16},
            },
            "trusted_root": Sha256::of(b"trusted"),
        }),
        reports: 2000,
        components: BTreeMap::from([("edgecore".parse().unwrap(), edgecore)]),
        ..WitnessData::default()
    }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("witness");
    (dir, path)
}

#[test]
fn remembers_the_newest_and_never_grows() {
    let (_dir, path) = file();
    let (mut witness, none) = Witness::open(&path).unwrap();
    assert_eq!(none, None);
    assert_eq!(Witness::open(&path).unwrap().1, Some(WitnessData::default()), "cut right after creation: nothing yet, no damage");
    for generation in 1..=5 {
        witness.write(&witness_data(generation)).unwrap();
        let (again, seen) = Witness::open(&path).unwrap();
        assert_eq!(seen, Some(witness_data(generation)));
        witness = again;
    }
    witness.write_both(&witness_data(6)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 8192);
}

/// Whatever byte of the newest slot changes, the older one answers; whatever byte of the older, the newest does.
#[test]
fn any_flipped_byte_costs_its_slot_and_nothing_else() {
    let (_dir, path) = file();
    let (mut witness, _) = Witness::open(&path).unwrap();
    // Turn 1 is the creation's, in the first slot; turn 2 goes to the second slot, turn 3 to the first.
    witness.write(&witness_data(2)).unwrap();
    witness.write(&witness_data(3)).unwrap();
    let good = fs::read(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for at in 0..good.len() {
        file.write_all_at(&[good[at] ^ (1 << (at % 8))], at as u64).unwrap();
        let wanted = if at < SLOT { witness_data(2) } else { witness_data(3) };
        assert_eq!(Witness::open(&path).unwrap().1, Some(wanted), "byte {at}");
        file.write_all_at(&good[at..=at], at as u64).unwrap();
    }
}

#[test]
fn both_slots_gone_is_damage_and_not_a_first_boot() {
    let (_dir, path) = file();
    for content in [vec![], vec![0; 8192], vec![0xff; 8192], b"SLIPWITN".repeat(1024)] {
        fs::write(&path, &content).unwrap();
        assert_eq!(Witness::open(&path).unwrap_err().code, DAMAGED.code);
        assert_eq!(fs::read(&path).unwrap(), content, "the evidence stays as it is");
    }
    assert_eq!(Witness::open(path.parent().unwrap()).unwrap_err().code, "SLW-A-DISK-IO");
}

#[test]
fn a_torn_write_leaves_the_one_before_and_the_next_write_repairs() {
    let (_dir, path) = file();
    let (mut witness, _) = Witness::open(&path).unwrap();
    witness.write(&witness_data(2)).unwrap();
    let before = fs::read(&path).unwrap();
    witness.write(&witness_data(3)).unwrap();
    let after = fs::read(&path).unwrap();
    for sectors in 0..8 {
        let cut = sectors * 512;
        let torn = [&after[..cut], &before[cut..SLOT], &before[SLOT..]].concat();
        fs::write(&path, &torn).unwrap();
        let (mut witness, seen) = Witness::open(&path).unwrap();
        // Past the payload old and new are zeros alike: cut there, the write was complete.
        assert_eq!(seen, Some(witness_data(if torn == after { 3 } else { 2 })), "{cut}");
        witness.write(&witness_data(4)).unwrap();
        assert_eq!(Witness::open(&path).unwrap().1, Some(witness_data(4)));
    }
    // Cut short, the first slot is still whole; the next write restores the length.
    fs::write(&path, &after[..SLOT + 100]).unwrap();
    let (mut witness, seen) = Witness::open(&path).unwrap();
    assert_eq!(seen, Some(witness_data(3)));
    witness.write(&witness_data(4)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 8192);
}

/// A whole witness as an agent of that format would leave it.
pub(crate) fn of_format(format: u8) -> Vec<u8> {
    let mut bytes = encode(9, &witness_data(9)).unwrap().to_vec();
    bytes[8] = format;
    let sum = checksum(&bytes[..24], &bytes[HEADER..]);
    bytes[24..HEADER].copy_from_slice(&sum);
    bytes.resize(2 * SLOT, 0);
    bytes
}

#[test]
fn a_newer_format_is_refused_and_kept() {
    let (_dir, path) = file();
    let bytes = of_format(2);
    fs::write(&path, &bytes).unwrap();
    let refusal = Witness::open(&path).unwrap_err();
    assert_eq!((refusal.code.as_ref(), refusal.seen.as_str()), ("SLW-A-STATE-NEWER", "witness format 2"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

/// There is no older format: a slot that claims one is as good as torn.
#[test]
fn an_older_format_is_damage_and_kept() {
    let (_dir, path) = file();
    let bytes = of_format(0);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(Witness::open(&path).unwrap_err().code, DAMAGED.code);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // Beside a whole slot it costs nothing.
    let good = encode(3, &witness_data(3)).unwrap();
    fs::write(&path, [&bytes[..SLOT], &good].concat()).unwrap();
    assert_eq!(Witness::open(&path).unwrap().1, Some(witness_data(3)));
}

/// Four components with the longest names and versions there can be, each with everything that can be remembered.
#[test]
fn four_components_always_fit_and_too_many_are_refused() {
    let (_dir, path) = file();
    let (mut witness, _) = Witness::open(&path).unwrap();
    let version: Version = format!("v1.23.1-{}", "x".repeat(56)).parse().unwrap();
    let kept = KeptRelease { version: version.clone(), artifact: Sha256::of(b"a"), payload: Sha256::of(b"p"), slot: None };
    let largest = Remembered {
        generation: u64::MAX,
        epoch: u64::MAX,
        phase: Phase::Inconsistent,
        committed: Some(kept.clone()),
        previous: Some(kept),
        active: Some(SlotName::of(&version, &Sha256::of(b"a"))),
        block: Some((Sha256::of(b"a"), version.clone())),
        blocked: Some((Sha256::of(b"a"), version.clone())),
        floor: Some(version),
        more: Members::new(),
    };
    let with = |count: usize| {
        let name = |n: usize| format!("{n}{}", "c".repeat(62)).parse().unwrap();
        let components = (0..count).map(|n| (name(n), largest.clone())).collect();
        WitnessData { opening: 3, alone_since: Some(u64::MAX), reports: u64::MAX, components, ..witness_data(u64::MAX) }
    };
    witness.write(&with(COMPONENT_LIMIT)).unwrap();
    let seen = Witness::open(&path).unwrap().1.unwrap();
    assert_eq!(seen.components.len(), COMPONENT_LIMIT);
    assert!(seen.components.values().all(|c| c.committed == largest.committed && c.floor == largest.floor));
    assert_eq!(seen.tuf, witness_data(1).tuf, "what must not go back never gives way");
    let refusal = witness.write(&with(8)).unwrap_err();
    assert_eq!(refusal.code, "SLW-A-WITNESS-FULL");
    assert_eq!(Witness::open(&path).unwrap().1.unwrap(), seen, "and nothing was written");
}

/// What an agent of formats-1 sees of a slot: the payload alone, of which it knows every member.
fn seen_by_formats_1(slot: &[u8; SLOT]) -> serde_json::Value {
    let length = u32::from_le_bytes(slot[20..24].try_into().unwrap());
    serde_json::from_slice(&slot[HEADER..][..length.try_into().unwrap()]).unwrap()
}

/// Failed while `expired` stood in the payload: agents of formats-1 refused the trust floors with it.
#[test]
fn what_agents_of_formats_1_do_not_know_is_beside_the_payload() {
    let mut newer = witness_data(7);
    newer.more.insert("lease".to_owned(), serde_json::json!({"until": 7}));
    newer.components.values_mut().next().unwrap().more.insert("pin".to_owned(), "v1".into());
    let slot = encode(3, &newer).unwrap();
    let mut seen = seen_by_formats_1(&slot);
    assert_eq!(seen["tuf"]["operator"]["targets"]["channels"], 4400);
    assert_eq!(beside::split(&mut seen, &beside::WITNESS), None, "{seen}");
    let Some(Slot::Good { witness_data: read, .. }) = decode(&slot) else { panic!() };
    assert_eq!(*read, newer);

    // Where everything is known there is nothing beside, and an old agent's witness is read.
    let mut plain = witness_data(7);
    plain.tuf["operator"].as_object_mut().unwrap().remove("expired");
    let slot = encode(3, &plain).unwrap();
    let Some(Slot::Good { witness_data: read, .. }) = decode(&slot) else { panic!() };
    assert_eq!(*read, plain);
}

/// Failed while an unknown member or phase made the slot one of a newer format.
#[test]
fn what_a_newer_agent_remembers_is_kept() {
    let (_dir, path) = file();
    let mut value = serde_json::to_value(witness_data(7)).unwrap();
    value["lease"] = 1.into();
    value["components"]["edgecore"]["phase"] = "migrating".into();
    value["components"]["edgecore"]["pin"] = "v1".into();
    value["components"]["edgecore"]["committed"]["q"] = 2.into();
    let newer: WitnessData = serde_json::from_value(value).unwrap();
    let (mut witness, _) = Witness::open(&path).unwrap();
    witness.write_both(&newer).unwrap();
    let read = Witness::open(&path).unwrap().1.unwrap();
    let edgecore = read.components.values().next().unwrap();
    assert_eq!((edgecore.phase, &edgecore.floor), (Phase::Unlisted("migrating".into()), &Some("v1.22.0".parse().unwrap())));
    assert_eq!((&read.more["lease"], &edgecore.more["pin"]), (&1.into(), &"v1".into()));
    assert_eq!(serde_json::to_value(edgecore.phase).unwrap(), "migrating");
}
