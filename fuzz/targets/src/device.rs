//! Feeds what the device reads back: from its own disk after a power cut, or from a medium that somebody plugged in.

use slipway_agent::config::Config;
use slipway_agent::fetch::Small;
use slipway_agent::fetch::TarSource;
use slipway_agent::storage::slots::Slots;
use slipway_agent::storage::unpack::{Packed, extract};
use slipway_agent::storage::witness::Witness;
use slipway_machine::record::SlotName;
use slipway_protocol::manifest::Format;
use slipway_protocol::{ComponentName, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The archive's member that is wanted.
pub const MEMBER: &str = "kubeedge/edge/edgecore";
/// The slot that a record must be of: of version v1.23.1 and an artifact that is the SHA-256 of nothing.
pub const SLOT: &str = "v1.23.1-e3b0c44298fc";

/// A folder of this thread's own, made once: in memory where there is such a place, since these readers want files.
fn folder() -> PathBuf {
    thread_local! {
        static FOLDER: tempfile::TempDir = {
            let memory = Path::new("/dev/shm");
            let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
            tempfile::Builder::new().prefix("slipway-fuzz-").tempdir_in(base).expect("a temporary folder")
        };
    }
    FOLDER.with(|folder| folder.path().to_owned())
}

fn file(name: &str, data: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a temporary folder can be made");
    fs::write(&path, data).expect("a temporary file can be written");
    path
}

/// The configuration: it is read or refused, and each component can be found under its name.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = Config::parse(text) {
        for component in &config.components {
            assert_eq!(config.component(&component.name).map(|found| &found.channel), Some(&component.channel));
        }
    }
}

/// The witness, whatever became of its file: what it remembers can be written and is remembered again.
pub fn witness(data: &[u8]) {
    let path = file("witness", data);
    if let Ok((mut witness, Some(memory))) = Witness::open(&path) {
        witness.write(&memory).expect("what was remembered fits");
        let (_, again) = Witness::open(&path).expect("what was just written can be read");
        assert_eq!(again, Some(memory));
    }
}

/// A slot's `release.json`: if it is accepted, it is of this slot.
pub fn slot_record(data: &[u8]) {
    let component: ComponentName = "edgecore".parse().expect("a valid name");
    let slot: SlotName = serde_json::from_value(SLOT.into()).expect("a valid name");
    let slots = Slots::new(&folder());
    file(&format!("slots/{component}/{slot}/release.json", slot = slot.as_str()), data);
    if let Ok(record) = slots.read(&component, &slot) {
        assert_eq!((record.slot(), &record.component), (slot, &component));
    }
}

/// An offline bundle: every name it lists is a relative path that goes down, and its file is as long as the archive can hold.
pub fn offline_bundle(data: &[u8]) {
    let path = file("bundle.tar", data);
    let Ok(source) = TarSource::open(&path) else { return };
    for name in source.names() {
        let down = !name.is_empty() && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        assert!(down && !name.contains('\0'), "{name:?}");
        match source.small(name, 1 << 16) {
            Ok(Small::Bytes(bytes)) => assert!(bytes.len() <= data.len().min(1 << 16), "{name} is longer than what holds it"),
            Ok(Small::Missing) => panic!("{name} is listed and missing"),
            Err(_) => {}
        }
    }
}

/// A downloaded archive with the right digest, and the same bytes as a bare file: what comes out is what is said to come out.
pub fn archive(data: &[u8]) {
    let out = folder().join("member");
    for (format, member) in [(Format::TarGz, Some(MEMBER)), (Format::File, None)] {
        let what = Packed { format, member, size: data.len() as u64, sha256: Sha256::of(data), unpacked: None };
        let mut written = File::create(&out).expect("a temporary file can be made");
        if let Ok(unpacked) = extract(data, &what, &mut written) {
            let bytes = fs::read(&out).expect("a temporary file can be read");
            assert_eq!((unpacked.payload, unpacked.size), (Sha256::of(&bytes), bytes.len() as u64));
            assert!(member.is_some() || bytes == data, "a bare file is copied");
        }
        let another = Packed { sha256: Sha256::of(b"another"), ..what };
        let mut written = File::create(&out).expect("a temporary file can be made");
        assert!(extract(data, &another, &mut written).is_err(), "a file with another digest was unpacked");
    }
}
