use super::*;
use std::io::Write;

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

/// A complete download of `content` as the fetch leaves it: hashed while it was written.
fn download(dir: &Path, slots: &Slots, content: &[u8]) -> PathBuf {
    let part = dir.join("artifact.part");
    let file = File::create(&part).unwrap();
    let mut written = hash::WriteHash::new(&file).unwrap();
    written.append(&file, content).unwrap();
    let (digest, stamp) = written.finish(&file).unwrap();
    slots.verified().remember(stamp.unwrap(), digest);
    part
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn is_known(slots: &Slots, path: &Path, content: &[u8]) -> bool {
    slots.verified().knows(&Stamp::of(&File::open(path).unwrap()).unwrap(), &Sha256::of(content))
}

/// The file itself moves, and neither the download nor the slot is read: bytes that were changed by somebody whom no clock sees are not
/// found out, which shows that nothing read them.
#[test]
fn a_download_becomes_the_payload_without_being_copied_or_read() {
    let (dir, slots) = empty_slots();
    let record = record("v1.23.1", b"program");
    let part = download(dir.path(), &slots, b"program");
    let before = inode(&part);
    let mut writer = slots.begin(&name(), &record.slot()).unwrap();
    assert!(writer.take_part(&part, &record.payload).unwrap());
    assert!(!part.exists());
    writer.finish(&record, b"evidence", b"manifest").unwrap();
    let payload = slots.payload_path(&name(), &record.slot());
    assert_eq!((inode(&payload), fs::metadata(&payload).unwrap().permissions().mode() & 0o7777), (before, 0o755));
    assert!(is_known(&slots, &payload, b"program"), "what came by one pass is not read again");
    slots.confirm_payload(&name(), &record.slot(), &record.payload).unwrap();
    // The next run knows nothing and reads it.
    let next = Slots::new(dir.path());
    assert!(!is_known(&next, &payload, b"program"));
    next.confirm_payload(&name(), &record.slot(), &record.payload).unwrap();
    assert!(is_known(&next, &payload, b"program"));
    fs::write(&payload, b"Program").unwrap();
    for slots in [&slots, &next] {
        let refusal = slots.confirm_payload(&name(), &record.slot(), &record.payload).unwrap_err();
        assert_eq!(refusal.code, "SLW-A-SLOT-CHANGED");
    }
}

#[test]
fn a_download_that_is_in_doubt_is_hashed_before_it_is_taken() {
    let (dir, slots) = empty_slots();
    let record = record("v1.23.1", b"program");
    let taken = |slots: &Slots| {
        let mut writer = slots.begin(&name(), &record.slot()).unwrap();
        writer.take_part(&dir.path().join("artifact.part"), &record.payload).map_err(|refusal| refusal.code.to_string())
    };
    let part = download(dir.path(), &slots, b"program");
    fs::write(&part, b"Program").unwrap();
    assert_eq!(taken(&slots), Err("SLW-A-ARTIFACT-CHANGED".to_owned()), "written into");
    download(dir.path(), &slots, b"program");
    fs::write(dir.path().join("other"), b"Program").unwrap();
    fs::rename(dir.path().join("other"), &part).unwrap();
    assert_eq!(taken(&slots), Err("SLW-A-ARTIFACT-CHANGED".to_owned()), "replaced");
    assert!(part.exists(), "it was not taken");
    fs::write(&part, b"program").unwrap();
    assert_eq!(taken(&Slots::new(dir.path())), Ok(true), "of another run");

    // Between the rename and the end somebody puts another file in the payload's place.
    let part = download(dir.path(), &slots, b"program");
    let mut writer = slots.begin(&name(), &record.slot()).unwrap();
    assert!(writer.take_part(&part, &record.payload).unwrap());
    fs::write(dir.path().join("other"), b"Program").unwrap();
    fs::rename(dir.path().join("other"), slots.taken_part(&name(), &record.slot())).unwrap();
    writer.finish(&record, b"", b"").unwrap();
    assert_eq!(slots.confirm_payload(&name(), &record.slot(), &record.payload).unwrap_err().code, "SLW-A-SLOT-CHANGED");
}

#[test]
fn an_unfinished_slot_gives_its_download_back() {
    let (dir, slots) = empty_slots();
    let record = record("v1.23.1", b"program");
    let part = download(dir.path(), &slots, b"program");
    slots.return_part(&name(), &record.slot(), &part).unwrap();
    let mut writer = slots.begin(&name(), &record.slot()).unwrap();
    assert!(writer.take_part(&part, &record.payload).unwrap());
    drop(writer); // A crash, or a full disk.
    let next = Slots::new(dir.path());
    for _ in 0..2 {
        next.return_part(&name(), &record.slot(), &part).unwrap();
        assert_eq!(fs::read(&part).unwrap(), b"program");
    }
    let mut writer = next.begin(&name(), &record.slot()).unwrap();
    assert!(writer.take_part(&part, &record.payload).unwrap());
    writer.finish(&record, b"", b"").unwrap();
    next.return_part(&name(), &record.slot(), &part).unwrap();
    assert!(!part.exists(), "a complete slot keeps it");
}

/// A program that ran from its slot when another file had its name. Seen to fail where only the path was compared.
#[test]
fn a_program_that_was_replaced_after_its_start_is_distinguished_from_the_payload() {
    let (_dir, slots) = empty_slots();
    let sleep = fs::read("/bin/sleep").unwrap();
    let slot = stage(&slots, "v1.23.1", &sleep).unwrap();
    let payload = slots.payload_path(&name(), &slot);
    let mut running = std::process::Command::new(&payload).arg("1000").spawn().unwrap();
    let exe = PathBuf::from(format!("/proc/{}/exe", running.id()));
    let honest = slots.runs_another(&name(), &slot, &exe);
    fs::copy(&payload, payload.with_extension("new")).unwrap();
    fs::rename(payload.with_extension("new"), &payload).unwrap();
    let replaced = slots.runs_another(&name(), &slot, &exe);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(honest, None);
    assert_eq!(replaced.unwrap().code, "SLW-A-SLOT-CHANGED");
    assert_eq!(slots.runs_another(&name(), &slot, Path::new("/proc/self/exe")), None, "a program from elsewhere, as of a script");
}
