use super::*;

fn name() -> ComponentName {
    "edgecore".parse().unwrap()
}

fn record(version: &str, content: &[u8]) -> SlotRecord {
    SlotRecord {
        format: SLOT_FORMAT,
        component: name(),
        version: version.parse().unwrap(),
        platform: Platform::LinuxArm64,
        artifact: Sha256::of(version.as_bytes()),
        artifact_size: 1000,
        payload: Sha256::of(content),
        payload_size: content.len() as u64,
        staged: "2026-11-22T12:00:00Z".parse().unwrap(),
        adopted: false,
    }
}

fn stage(slots: &Slots, version: &str, content: &[u8]) -> Result<SlotName, Refusal> {
    let record = record(version, content);
    let mut writer = slots.begin(&name(), &record.slot())?;
    writer.payload_file().write_all(content).unwrap();
    writer.finish(&record, b"evidence", b"manifest")?;
    Ok(record.slot())
}

fn empty_slots() -> (tempfile::TempDir, Slots) {
    let dir = tempfile::tempdir().unwrap();
    let slots = Slots::new(dir.path());
    (dir, slots)
}

fn hidden(slots: &Slots) -> usize {
    names(&slots.home(&name())).unwrap().iter().filter(|name| name.starts_with('.')).count()
}

#[test]
fn a_slot_is_invisible_until_it_is_complete() {
    let (_dir, slots) = empty_slots();
    let record = record("v1.23.1", b"program");
    let slot = record.slot();
    let mut writer = slots.begin(&name(), &slot).unwrap();
    writer.payload_file().write_all(b"prog").unwrap();
    assert_eq!(slots.list(&name()).unwrap(), []);
    assert_eq!(slots.read(&name(), &slot).unwrap_err().code, "SLW-A-SLOT-MISSING");
    assert_eq!(slots.point(&name(), &slot).unwrap_err().code, "SLW-A-SLOT-MISSING");
    drop(writer); // A crash here leaves the hidden directory; the next attempt begins afresh.
    assert_eq!(hidden(&slots), 1);
    assert_eq!(stage(&slots, "v1.23.1", b"program").unwrap(), slot);
    assert_eq!(hidden(&slots), 0);
    assert_eq!(slots.list(&name()).unwrap(), std::slice::from_ref(&slot));
    assert_eq!(slots.read(&name(), &slot).unwrap(), record);
    assert_eq!(slots.evidence(&name(), &slot).unwrap(), b"evidence");
    assert_eq!(slots.manifest(&name(), &slot).unwrap(), b"manifest");
    slots.check_payload(&name(), &slot, &record.payload).unwrap();
    for (path, mode) in [("", 0o755), ("bin", 0o755), ("bin/edgecore", 0o755), (SLOT_RELEASE, 0o644), (SLOT_EVIDENCE, 0o644)] {
        let seen = fs::metadata(slots.path(&name(), &slot).join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(seen, mode, "{path}");
    }
}

#[test]
fn what_does_not_belong_together_never_appears() {
    let (_dir, slots) = empty_slots();
    let good = record("v1.23.1", b"program");
    for wrong in [
        SlotRecord { payload_size: 6, ..good.clone() },
        SlotRecord { component: "keadm".parse().unwrap(), ..good.clone() },
        SlotRecord { version: "v1.23.2".parse().unwrap(), ..good.clone() },
        SlotRecord { artifact: Sha256::of(b"other"), ..good.clone() },
        SlotRecord { format: 2, ..good.clone() },
    ] {
        let mut writer = slots.begin(&name(), &good.slot()).unwrap();
        writer.payload_file().write_all(b"program").unwrap();
        assert_eq!(writer.finish(&wrong, b"", b"").unwrap_err().code, "SLW-A-SLOT-MISMATCH", "{wrong:?}");
        assert_eq!(slots.list(&name()).unwrap(), []);
    }
}

#[test]
fn a_changed_byte_a_link_and_a_fifo_are_refused() {
    let (_dir, slots) = empty_slots();
    let slot = stage(&slots, "v1.23.1", b"program").unwrap();
    let (path, digest) = (slots.payload_path(&name(), &slot), Sha256::of(b"program"));
    fs::write(&path, b"Program").unwrap();
    assert_eq!(slots.check_payload(&name(), &slot, &digest).unwrap_err().code, "SLW-A-SLOT-CHANGED");
    // The content is right, but what the link names can change after the check.
    fs::rename(&path, path.with_extension("moved")).unwrap();
    fs::write(path.with_extension("moved"), b"program").unwrap();
    std::os::unix::fs::symlink(path.with_extension("moved"), &path).unwrap();
    assert_eq!(slots.check_payload(&name(), &slot, &digest).unwrap_err().code, "SLW-A-SLOT-CHANGED");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(slots.check_payload(&name(), &slot, &digest).unwrap_err().code, "SLW-A-SLOT-CHANGED");
    fs::remove_file(&path).unwrap();
    assert_eq!(slots.check_payload(&name(), &slot, &digest).unwrap_err().code, "SLW-A-SLOT-MISSING");
}

#[test]
fn a_damaged_record_is_refused_and_a_newer_one_named() {
    let (_dir, slots) = empty_slots();
    let slot = stage(&slots, "v1.23.1", b"program").unwrap();
    let path = slots.path(&name(), &slot).join(SLOT_RELEASE);
    let good = fs::read_to_string(&path).unwrap();
    for (content, code) in [
        (String::new(), "SLW-A-SLOT-DAMAGED"),
        (good[..good.len() / 2].to_owned(), "SLW-A-SLOT-DAMAGED"),
        (good.replace("v1.23.1", "v1.23.2"), "SLW-A-SLOT-DAMAGED"),
        (good.replace("edgecore", "keadm"), "SLW-A-SLOT-DAMAGED"),
        (good.replace("\"format\": 1", "\"format\": 2, \"more\": true"), "SLW-A-STATE-NEWER"),
    ] {
        fs::write(&path, &content).unwrap();
        assert_eq!(slots.read(&name(), &slot).unwrap_err().code, code, "{content}");
    }
}

#[test]
fn the_link_swaps_and_only_the_agents_own_is_accepted() {
    let (dir, slots) = empty_slots();
    assert_eq!(slots.current(&name()).unwrap(), None);
    let (old, new) = (stage(&slots, "v1.22.0", b"old").unwrap(), stage(&slots, "v1.23.1", b"new").unwrap());
    for slot in [&old, &new, &new] {
        slots.point(&name(), slot).unwrap();
        assert_eq!(slots.current(&name()).unwrap().as_ref(), Some(slot));
    }
    assert_eq!(fs::read(dir.path().join("current/edgecore/bin/edgecore")).unwrap(), b"new");
    slots.unpoint(&name()).unwrap();
    slots.unpoint(&name()).unwrap();
    assert_eq!(slots.current(&name()).unwrap(), None);
    let link = dir.path().join("current/edgecore");
    let foreign = [
        "/usr/local/bin",
        "../slots/keadm/v1-0",
        "../slots/edgecore/../../etc",
        "../slots/edgecore/.writing-x",
        "../slots/edgecore/",
    ];
    for target in foreign {
        std::os::unix::fs::symlink(target, &link).unwrap();
        assert_eq!(slots.current(&name()).unwrap_err().code, "SLW-A-LINK-FOREIGN", "{target}");
        assert_eq!(slots.keep_only(&name(), &[]).unwrap_err().code, "SLW-A-LINK-FOREIGN", "what runs is unknown: nothing goes");
        fs::remove_file(&link).unwrap();
    }
    assert_eq!(slots.list(&name()).unwrap().len(), 2);
    fs::write(&link, b"a file").unwrap();
    assert_eq!(slots.current(&name()).unwrap_err().code, "SLW-A-LINK-FOREIGN");
    // A folder in its place gives way, and is kept.
    fs::remove_file(&link).unwrap();
    fs::create_dir_all(link.join("bin")).unwrap();
    slots.point(&name(), &old).unwrap();
    assert_eq!(slots.current(&name()).unwrap(), Some(old));
    assert!(dir.path().join("current/.foreign-edgecore/bin").is_dir());
    assert_eq!(slots.components().unwrap(), [name()]);
}

/// What is damaged cannot be started by anybody, is replaced although it is current, and takes no room for longer than it must.
#[test]
fn a_damaged_slot_is_set_aside_and_replaced_although_it_is_current() {
    let (dir, slots) = empty_slots();
    let slot = stage(&slots, "v1.22.0", b"sound").unwrap();
    slots.point(&name(), &slot).unwrap();
    let payload = Sha256::of(b"sound");
    slots.set_aside(&name(), &slot, &payload).unwrap();
    slots.check_payload(&name(), &slot, &payload).unwrap();
    assert!(stage(&slots, "v1.22.0", b"sound").is_err(), "what is sound and current is not replaced");
    fs::write(slots.payload_path(&name(), &slot), b"other").unwrap();
    assert!(SlotDamage::of(&slots.check_payload(&name(), &slot, &payload).unwrap_err()) == Some(SlotDamage::Changed));
    for _ in 0..2 {
        slots.set_aside(&name(), &slot, &payload).unwrap();
        let gone = slots.check_payload(&name(), &slot, &payload).unwrap_err();
        assert!(SlotDamage::of(&gone) == Some(SlotDamage::Missing) && slots.missing(&name(), &slot).is_some(), "{gone}");
    }
    let aside = dir.path().join(format!("slots/edgecore/.damaged-{slot}"));
    assert_eq!(fs::read(aside.join("bin/edgecore")).unwrap(), b"other", "kept as evidence");
    stage(&slots, "v1.22.0", b"sound").unwrap();
    slots.check_payload(&name(), &slot, &payload).unwrap();
    assert_eq!((slots.current(&name()).unwrap(), slots.missing(&name(), &slot)), (Some(slot.clone()), None));
    slots.keep_only(&name(), std::slice::from_ref(&slot)).unwrap();
    assert!(!aside.exists());

    // The agent's own stays in its place until there is a whole one.
    fs::write(slots.payload_path(&name(), &slot), b"other").unwrap();
    stage(&slots, "v1.22.0", b"sound").unwrap();
    slots.check_payload(&name(), &slot, &payload).unwrap();
    assert_eq!(fs::read(aside.join("bin/edgecore")).unwrap(), b"other", "kept as evidence");
}

#[test]
fn the_current_slot_is_neither_replaced_nor_removed() {
    let (_dir, slots) = empty_slots();
    let (a, b, c) =
        (stage(&slots, "v1.1.0", b"a").unwrap(), stage(&slots, "v1.2.0", b"b").unwrap(), stage(&slots, "v1.3.0", b"c").unwrap());
    slots.point(&name(), &b).unwrap();
    assert_eq!(stage(&slots, "v1.2.0", b"other").unwrap_err().code, "SLW-A-SLOT-IN-USE");
    assert_eq!(slots.remove(&name(), &b).unwrap_err().code, "SLW-A-SLOT-IN-USE");
    // One that is not current is replaced.
    assert_eq!(stage(&slots, "v1.3.0", b"again").unwrap(), c);
    slots.check_payload(&name(), &c, &Sha256::of(b"again")).unwrap();

    drop(slots.begin(&name(), &SlotName::of(&"v9.0.0".parse().unwrap(), &Sha256::of(b""))).unwrap());
    fs::create_dir_all(slots.home(&name()).join(".slipway-tmp.v0.1.0-abc/bin")).unwrap();
    assert_eq!(slots.keep_only(&name(), std::slice::from_ref(&a)).unwrap(), std::slice::from_ref(&c));
    assert_eq!(slots.list(&name()).unwrap(), [a.clone(), b]);
    assert_eq!(hidden(&slots), 0);
    slots.remove(&name(), &a).unwrap();
    slots.remove(&name(), &a).unwrap();
    assert_eq!(slots.keep_only(&"unknown".parse().unwrap(), &[]).unwrap(), []);
}

#[test]
fn an_existing_program_is_adopted_once() {
    let (dir, slots) = empty_slots();
    let existing = dir.path().join("edgecore-of-the-distribution");
    let version: Version = "v1.20.0".parse().unwrap();
    let adopt = || slots.adopt(&name(), &existing, version.clone());
    assert_eq!(adopt().unwrap_err().code, "SLW-A-ADOPT");
    fs::write(&existing, b"#!/bin/sh\n").unwrap();
    fs::set_permissions(&existing, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(adopt().unwrap_err().code, "SLW-A-ADOPT", "not executable");
    fs::set_permissions(&existing, Permissions::from_mode(0o700)).unwrap();
    let installed = adopt().unwrap();
    assert_eq!(adopt().unwrap(), installed);
    assert_eq!(installed.payload, Sha256::of(b"#!/bin/sh\n"));
    assert_eq!(slots.list(&name()).unwrap(), std::slice::from_ref(&installed.slot));
    assert!(slots.read(&name(), &installed.slot).unwrap().adopted);
    assert_eq!(slots.current(&name()).unwrap(), None, "which one runs is the machine's to say");
    slots.check_payload(&name(), &installed.slot, &installed.payload).unwrap();
    assert_eq!(slots.evidence(&name(), &installed.slot).unwrap_err().code, "SLW-A-SLOT-MISSING");
    fs::write(slots.payload_path(&name(), &installed.slot), b"changed").unwrap();
    assert_eq!(adopt().unwrap_err().code, "SLW-A-SLOT-CHANGED");
}

#[test]
fn a_lost_adopted_program_comes_back_from_where_it_came_from_if_that_is_the_same() {
    let (dir, slots) = empty_slots();
    let existing = dir.path().join("edgecore-of-the-distribution");
    let write = |bytes: &[u8]| {
        fs::write(&existing, bytes).unwrap();
        fs::set_permissions(&existing, Permissions::from_mode(0o755)).unwrap();
    };
    write(b"adopted");
    let lost = slots.adopt(&name(), &existing, "v1.20.0".parse().unwrap()).unwrap();
    slots.point(&name(), &lost.slot).unwrap();
    fs::write(slots.payload_path(&name(), &lost.slot), b"damaged").unwrap();
    slots.set_aside(&name(), &lost.slot, &lost.payload).unwrap();
    write(b"another");
    assert_eq!(slots.adopt_again(&name(), &existing, &lost).unwrap_err().code, "SLW-A-SLOT-CHANGED");
    assert_eq!(slots.list(&name()).unwrap(), [], "nothing else gets a slot");
    write(b"adopted");
    slots.adopt_again(&name(), &existing, &lost).unwrap();
    assert!(slots.read(&name(), &lost.slot).unwrap().adopted);
    slots.check_payload(&name(), &lost.slot, &lost.payload).unwrap();
}
