//! A slot that is being written: out of sight until it is complete and durable.
//!
//! The payload is unpacked or copied into it, or is the download itself, which changes its name
//! and is not copied.

use super::{MISMATCH, SLOT_FORMAT, SlotRecord, Slots, make_dir, open_file, payload_in};
use crate::crashpoint::crashpoint;
use crate::storage::layout::{self, SLOT_EVIDENCE, SLOT_MANIFEST, SLOT_RELEASE, WRITING};
use crate::storage::stamp::Stamp;
use crate::storage::{durable, hash, unpack};
use slipway_machine::record::SlotName;
use slipway_protocol::{ComponentName, Refusal, Sha256};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

impl Slots {
    /// Begins to write a slot, out of sight; what an earlier attempt left of it is removed.
    ///
    /// # Errors
    /// The disk fails.
    pub fn begin(&self, component: &ComponentName, slot: &SlotName) -> Result<SlotWriter, Refusal> {
        let home = self.home(component);
        let dir = self.writing(component, slot);
        let prepare = || -> io::Result<File> {
            durable::create_dir_all_durable(&home)?;
            durable::remove_tree_durable(&dir)?;
            make_dir(&dir)?;
            make_dir(&dir.join(layout::BIN))?;
            durable::create(&payload_in(&dir, component), 0o755)
        };
        let payload = prepare().map_err(|error| durable::refusal(&dir, &error))?;
        Ok(SlotWriter { slots: self.clone(), component: component.clone(), slot: slot.clone(), dir, payload, stamp: None })
    }

    fn writing(&self, component: &ComponentName, slot: &SlotName) -> PathBuf {
        self.home(component).join(format!("{WRITING}{slot}"))
    }

    /// Where a download is that became the payload of a slot which is not complete.
    #[must_use]
    pub fn taken_part(&self, component: &ComponentName, slot: &SlotName) -> PathBuf {
        payload_in(&self.writing(component, slot), component)
    }

    /// Gives a download back that an unfinished slot has taken: after a crash or a full disk it is the only copy. Nothing if the part
    /// is there, or nothing was taken.
    ///
    /// # Errors
    /// The disk fails.
    pub fn return_part(&self, component: &ComponentName, slot: &SlotName, part: &Path) -> Result<(), Refusal> {
        let taken = self.taken_part(component, slot);
        if part.symlink_metadata().is_ok() || taken.symlink_metadata().is_err() {
            return Ok(());
        }
        let back = fs::rename(&taken, part).and_then(|()| durable::sync_dir(part.parent().unwrap_or(part)));
        back.map_err(|error| durable::refusal(part, &error))
    }
}

/// A slot being written, out of sight.
#[derive(Debug)]
pub struct SlotWriter {
    slots: Slots,
    component: ComponentName,
    slot: SlotName,
    pub(super) dir: PathBuf,
    payload: File,
    /// The payload's stamp, if its bytes were hashed and nobody else has changed it since.
    stamp: Option<Stamp>,
}

impl SlotWriter {
    /// The file to write the payload to; open for reading too.
    pub const fn payload_file(&mut self) -> &mut File {
        &mut self.payload
    }

    /// Says that the payload was hashed as it was written, and what its stamp was then.
    pub const fn hashed(&mut self, stamp: Option<Stamp>) {
        self.stamp = stamp;
    }

    /// Takes a complete download as the payload, by a rename; says whether it could: not from another file system. What was not hashed
    /// in this run, or has changed since, is hashed first.
    ///
    /// # Errors
    /// It has another digest, or the disk fails.
    pub fn take_part(&mut self, part: &Path, expected: &Sha256) -> Result<bool, Refusal> {
        let failed = |error: io::Error| durable::refusal(part, &error);
        let file = open_file(part)?;
        let stamp = Stamp::of(&file).map_err(failed)?;
        if !self.slots.verified.knows(&stamp, expected) {
            let (seen, size) = hash::copy(&file, &mut io::sink()).map_err(failed)?;
            if seen != *expected {
                return Err(
                    unpack::CHANGED.with(format_args!("sha256:{seen} of {size} bytes"), format_args!("sha256:{expected}"))
                );
            }
        }
        let payload = payload_in(&self.dir, &self.component);
        match fs::rename(part, &payload) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return Ok(false),
            renamed => renamed.map_err(failed)?,
        }
        crashpoint!("slot: download is its payload");
        file.set_permissions(Permissions::from_mode(0o755)).map_err(failed)?;
        // Rename and mode changed the change time; a write would have changed the modification time, too.
        let after = Stamp::of(&file).map_err(failed)?;
        self.stamp = Some(after).filter(|after| stamp.is_renamed(after));
        self.payload = file;
        Ok(true)
    }

    /// Makes everything durable and lets the slot appear, in place of an older one of its name that is not current.
    ///
    /// # Errors
    /// Record, slot and payload do not belong together, the slot is current, or the disk fails. Nothing has appeared then.
    pub fn finish(self, record: &SlotRecord, evidence: &[u8], manifest: &[u8]) -> Result<(), Refusal> {
        self.complete(record, &[(SLOT_EVIDENCE, evidence), (SLOT_MANIFEST, manifest)])
    }

    pub(super) fn complete(self, record: &SlotRecord, documents: &[(&str, &[u8])]) -> Result<(), Refusal> {
        let Self { slots, component, slot, dir, payload, stamp } = self;
        let failed = |error: io::Error| durable::refusal(&dir, &error);
        if record.component != component || record.slot() != slot || record.format != SLOT_FORMAT {
            let seen = format_args!("{} {} format {}", record.component, record.slot(), record.format).to_string();
            return Err(MISMATCH.with(seen, format_args!("{component} {slot} format {SLOT_FORMAT}")));
        }
        let size = payload.metadata().map_err(failed)?.len();
        if size != record.payload_size {
            return Err(MISMATCH.with(format_args!("{size} bytes"), format_args!("{} bytes", record.payload_size)));
        }
        // What is current and gone, set aside, or damaged is to be replaced.
        let promised = slots.read(&component, &slot).map_or(record.payload, |there| there.payload);
        let damaged = slots.is_damaged(&component, &slot, &promised);
        if !damaged && slots.path(&component, &slot).symlink_metadata().is_ok() {
            slots.refuse_current(&component, &slot)?;
        }
        let json = serde_json::to_vec_pretty(record).map_err(|error| MISMATCH.with(error, "JSON"))?;
        let make_durable = || -> io::Result<()> {
            payload.sync_all()?;
            durable::sync_dir(&dir.join(layout::BIN))?;
            for (name, bytes) in documents {
                durable::write_new(&dir.join(name), bytes, 0o644)?;
            }
            durable::write_new(&dir.join(SLOT_RELEASE), &json, 0o644)?;
            durable::sync_dir(&dir)?;
            let home = slots.home(&component);
            let place = home.join(slot.as_str());
            crashpoint!("slot: before its name");
            if damaged {
                slots.move_aside(&component, &slot)?;
            }
            durable::remove_tree_durable(&place)?;
            crashpoint!("slot: its name is free");
            fs::rename(&dir, &place)?;
            crashpoint!("slot: after its name");
            durable::sync_dir(&home)
        };
        make_durable().map_err(failed)?;
        // Only the very file that was written: somebody may have put another in its place.
        let there = open_file(&slots.payload_path(&component, &slot)).ok().and_then(|file| Stamp::of(&file).ok());
        if let Some(stamp) = stamp.filter(|stamp| there == Some(*stamp)) {
            slots.verified.remember(stamp, record.payload);
        }
        Ok(())
    }
}
