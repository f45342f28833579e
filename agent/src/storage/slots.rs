//! Slots: one directory per release of a component, and the link to the current one.
//!
//! ```text
//! slots/<component>/<slot>/bin/<component>          what runs, 0755
//! slots/<component>/<slot>/release.json             what it is: the database can be rebuilt from these
//! slots/<component>/<slot>/manifest.json            the signed manifest that named it
//! slots/<component>/<slot>/evidence.sigstore.json   the proof of its build, verified again before it runs
//! slots/<component>/.writing-<slot>/                a slot being written, or what a crash left of it
//! slots/<component>/.damaged-<slot>/                a slot that was set aside so that nobody starts it, until another release is committed
//! current/<component> -> ../slots/<component>/<slot>
//! ```
//! A slot appears under its name by one rename, whole and synced, and is never changed afterwards.

use crate::crashpoint::crashpoint;
use crate::storage::durable::{self, DiskFault};
use crate::storage::hash;
use crate::storage::layout::{self, DAMAGED_SLOT, FOREIGN, SLOT_EVIDENCE, SLOT_MANIFEST, SLOT_RELEASE, WRITING};
use crate::storage::stamp::{Stamp, VerifiedFiles};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use slipway_machine::record::{Installed, SlotName};
use slipway_protocol::{ComponentName, Platform, Refusal, Sha256, Version, json};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The only format of a slot's record there is.
pub const SLOT_FORMAT: u32 = 1;
const RECORD_LIMITS: json::Limits = json::Limits { bytes: 16 * 1024, depth: 4 };
/// A manifest is a few kilobytes, a Sigstore bundle up to some hundred.
const DOCUMENT_LIMIT: u64 = 16 * 1024 * 1024;

slipway_protocol::refusals! {
    MISSING = "SLW-A-SLOT-MISSING", System, Device, "slot is missing",
        "find out who removed it; the release has to be fetched again";
    DAMAGED = "SLW-A-SLOT-DAMAGED", System, Device, "slot's record is damaged",
        "check the disk; the release has to be fetched again";
    CHANGED = "SLW-A-SLOT-CHANGED", ArbitrarySoftware, Device, "staged file differs from the one that was verified",
        "find out who changed it, or check the disk; it will not run and has to be fetched again";
    IN_USE = "SLW-A-SLOT-IN-USE", System, Device, "slot is in use",
        "make another slot current first: a slot that runs is neither replaced nor removed";
    FOREIGN_LINK = "SLW-A-LINK-FOREIGN", System, Operator, "link `current` does not point to a slot of this component",
        "remove it, then let the agent restore it: it was changed by hand";
    NOT_EXECUTABLE = "SLW-A-ADOPT", Configuration, Operator, "program to adopt is not an executable file",
        "name the executable file that the component runs now";
    MISMATCH = "SLW-A-SLOT-MISMATCH", System, Device, "slot, record and content do not match",
        "report it with the agent's log: this is a fault in the agent";
}

/// In which way a slot does not hold what was committed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotDamage {
    /// The payload is not there.
    Missing,
    /// It is another file, or none.
    Changed,
    /// The disk does not return it.
    Unreadable,
}

impl SlotDamage {
    /// Of a refusal by [`Slots::check_payload`], which may come from a record; `None` when it says nothing about the slot.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Option<Self> {
        let unreadable = (DiskFault::of(refusal) == Some(DiskFault::Failed)).then_some(Self::Unreadable);
        refusal.find(&[(MISSING, Self::Missing), (CHANGED, Self::Changed)]).or(unreadable)
    }
}

/// What a slot says about itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SlotRecord {
    /// [`SLOT_FORMAT`].
    pub format: u32,
    /// Whose slot.
    pub component: ComponentName,
    /// Which release.
    pub version: Version,
    /// What it was built for.
    pub platform: Platform,
    /// SHA-256 of the artifact it came from; of an adopted program, of the program.
    pub artifact: Sha256,
    /// The artifact's size.
    pub artifact_size: u64,
    /// SHA-256 of what runs.
    pub payload: Sha256,
    /// Size of what runs.
    pub payload_size: u64,
    /// When it was staged, by the wall clock.
    pub staged: Timestamp,
    /// It was on the device before Slipway: no provenance, no manifest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

impl SlotRecord {
    /// The slot that this describes.
    #[must_use]
    pub fn slot(&self) -> SlotName {
        SlotName::of(&self.version, &self.artifact)
    }

    /// It, as the machine knows it.
    #[must_use]
    pub fn installed(&self) -> Installed {
        Installed {
            version: self.version.clone(),
            artifact: self.artifact,
            payload: self.payload,
            slot: self.slot(),
            adopted: self.adopted,
        }
    }
}

/// All slots of this device.
#[derive(Clone, Debug)]
pub struct Slots {
    root: PathBuf,
    verified: VerifiedFiles,
}

impl Slots {
    /// The slots under the agent's state directory.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { root: state_dir.to_owned(), verified: VerifiedFiles::default() }
    }

    /// The directory of a slot.
    #[must_use]
    pub fn path(&self, component: &ComponentName, slot: &SlotName) -> PathBuf {
        self.home(component).join(slot.as_str())
    }

    /// The file that runs.
    #[must_use]
    pub fn payload_path(&self, component: &ComponentName, slot: &SlotName) -> PathBuf {
        payload_in(&self.path(component, slot), component)
    }

    /// Where a slot is that was set aside; what runs from it runs on.
    #[must_use]
    pub fn aside(&self, component: &ComponentName, slot: &SlotName) -> PathBuf {
        self.home(component).join(format!("{DAMAGED_SLOT}{slot}"))
    }

    fn home(&self, component: &ComponentName) -> PathBuf {
        self.root.join(layout::SLOTS).join(component.as_str())
    }

    /// The link that says which slot is current.
    #[must_use]
    pub fn link(&self, component: &ComponentName) -> PathBuf {
        self.root.join(layout::CURRENT).join(component.as_str())
    }

    /// The slots of a component, in order of their names.
    ///
    /// # Errors
    /// The disk fails.
    pub fn list(&self, component: &ComponentName) -> Result<Vec<SlotName>, Refusal> {
        let mut slots: Vec<_> = self.entries(component)?.into_iter().filter_map(|name| SlotName::try_from(name).ok()).collect();
        slots.sort();
        Ok(slots)
    }

    /// The components that have slots or a link, in order of their names.
    ///
    /// # Errors
    /// The disk fails.
    pub fn components(&self) -> Result<Vec<ComponentName>, Refusal> {
        let mut all = names(&self.root.join(layout::SLOTS))?;
        all.extend(names(&self.root.join(layout::CURRENT))?);
        let mut all: Vec<ComponentName> = all.iter().filter_map(|name| name.parse().ok()).collect();
        all.sort();
        all.dedup();
        Ok(all)
    }

    fn entries(&self, component: &ComponentName) -> Result<Vec<String>, Refusal> {
        names(&self.home(component))
    }

    /// What a slot says about itself.
    ///
    /// # Errors
    /// There is no such slot, or its record is damaged, of another slot, or of a newer agent.
    pub fn read(&self, component: &ComponentName, slot: &SlotName) -> Result<SlotRecord, Refusal> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = self.path(component, slot).join(SLOT_RELEASE);
        let bytes = read_bounded(&path)?;
        if let Ok(Format { format }) = json::parse(&bytes, RECORD_LIMITS)
            && format > SLOT_FORMAT
        {
            return Err(crate::storage::witness::NEWER.with(format_args!("slot format {format}"), format_args!("{SLOT_FORMAT}")));
        }
        let record: SlotRecord = json::parse(&bytes, RECORD_LIMITS)
            .map_err(|error| DAMAGED.with(format_args!("{}: {error}", path.display()), "a record"))?;
        if record.component != *component || record.slot() != *slot {
            return Err(DAMAGED.with(format_args!("{} {}", record.component, record.slot()), format_args!("{component} {slot}")));
        }
        Ok(record)
    }

    /// The files of slots and downloads that were hashed in this run.
    #[must_use]
    pub const fn verified(&self) -> &VerifiedFiles {
        &self.verified
    }

    /// Reads the whole payload and compares its SHA-256. Blocks for as long as that takes.
    ///
    /// # Errors
    /// It is missing, is not a plain file, or has another digest.
    pub fn check_payload(&self, component: &ComponentName, slot: &SlotName, expected: &Sha256) -> Result<(), Refusal> {
        let path = self.payload_path(component, slot);
        let file = open_file(&path)?;
        let read = || -> io::Result<_> {
            let before = Stamp::of(&file)?;
            let (seen, _) = hash::copy(&file, &mut io::sink())?;
            Ok((seen, Some(before).filter(|before| Stamp::of(&file).is_ok_and(|after| after == *before))))
        };
        let (seen, stamp) = read().map_err(|error| durable::refusal(&path, &error))?;
        if seen != *expected {
            return Err(CHANGED.with(seen, expected));
        }
        if let Some(stamp) = stamp {
            self.verified.remember(stamp, seen);
        }
        Ok(())
    }

    /// As [`Self::check_payload`], but does not read what was written or read in this run and has not changed since.
    ///
    /// # Errors
    /// As [`Self::check_payload`].
    pub fn confirm_payload(&self, component: &ComponentName, slot: &SlotName, expected: &Sha256) -> Result<(), Refusal> {
        let path = self.payload_path(component, slot);
        let stamp = Stamp::of(&open_file(&path)?).map_err(|error| durable::refusal(&path, &error))?;
        if self.verified.knows(&stamp, expected) { Ok(()) } else { self.check_payload(component, slot, expected) }
    }

    /// That a program which was started from a slot is another file than the payload that is there now, if so. `executable` is
    /// `/proc/PID/exe`, which names the file that runs, whatever has its path. Says nothing about a script, which its interpreter runs.
    #[must_use]
    pub fn runs_another(&self, component: &ComponentName, slot: &SlotName, executable: &Path) -> Option<Refusal> {
        let dir = self.path(component, slot);
        let program = fs::read_link(executable).ok()?;
        if !program.starts_with(fs::canonicalize(&dir).unwrap_or(dir)) {
            return None;
        }
        let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        let (runs, payload) = (identity(executable).ok()?, identity(&self.payload_path(component, slot)));
        let same = payload.is_ok_and(|payload| payload == runs);
        (!same).then(|| CHANGED.with(format_args!("{} runs", program.display()), "the program that was verified"))
    }

    /// That there is no payload in a slot, if so.
    #[must_use]
    pub fn missing(&self, component: &ComponentName, slot: &SlotName) -> Option<Refusal> {
        let path = self.payload_path(component, slot);
        let gone = matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        gone.then(|| MISSING.with(format_args!("no {}", path.display()), "a file"))
    }

    /// Takes a slot whose payload is not what it should be from its place, so that nobody starts it: neither a process that ends and is
    /// started again by its service manager, nor by the next boot. A process that runs from it keeps running. An intact slot stays where it is.
    ///
    /// # Errors
    /// The disk fails.
    pub fn set_aside(&self, component: &ComponentName, slot: &SlotName, payload: &Sha256) -> Result<(), Refusal> {
        if !self.is_damaged(component, slot, payload) {
            return Ok(());
        }
        self.move_aside(component, slot).map_err(|error| durable::refusal(&self.path(component, slot), &error))
    }

    /// Whether something is there under this name that is not what it should be.
    fn is_damaged(&self, component: &ComponentName, slot: &SlotName, payload: &Sha256) -> bool {
        self.path(component, slot).symlink_metadata().is_ok()
            && self.check_payload(component, slot, payload).is_err_and(|refusal| SlotDamage::of(&refusal).is_some())
    }

    fn move_aside(&self, component: &ComponentName, slot: &SlotName) -> io::Result<()> {
        let home = self.home(component);
        let aside = self.aside(component, slot);
        durable::remove_tree_durable(&aside)?;
        crashpoint!("slot: before it is set aside");
        fs::rename(self.path(component, slot), &aside)?;
        crashpoint!("slot: after it is set aside");
        durable::sync_dir(&home)
    }

    /// The Sigstore bundle that proves the build.
    ///
    /// # Errors
    /// It is missing or unreasonably large, or the disk fails.
    pub fn evidence(&self, component: &ComponentName, slot: &SlotName) -> Result<Vec<u8>, Refusal> {
        read_bounded(&self.path(component, slot).join(SLOT_EVIDENCE))
    }

    /// The signed manifest.
    ///
    /// # Errors
    /// It is missing or unreasonably large, or the disk fails.
    pub fn manifest(&self, component: &ComponentName, slot: &SlotName) -> Result<Vec<u8>, Refusal> {
        read_bounded(&self.path(component, slot).join(SLOT_MANIFEST))
    }

    /// Removes a slot; one that is not there is fine.
    ///
    /// # Errors
    /// It is current, or the disk fails.
    pub fn remove(&self, component: &ComponentName, slot: &SlotName) -> Result<(), Refusal> {
        self.refuse_current(component, slot)?;
        let path = self.path(component, slot);
        durable::remove_tree_durable(&path).map_err(|error| durable::refusal(&path, &error))
    }

    /// Removes every slot but these and the current one, and what crashes left. Says what it removed.
    ///
    /// # Errors
    /// The disk fails, or the current link is not the agent's: then nothing is removed.
    pub fn keep_only(&self, component: &ComponentName, keep: &[SlotName]) -> Result<Vec<SlotName>, Refusal> {
        let current = self.current(component)?;
        let home = self.home(component);
        let mut removed = Vec::new();
        for name in self.entries(component)? {
            let path = home.join(&name);
            let failed = |error: io::Error| durable::refusal(&path, &error);
            if name.starts_with(WRITING) || name.starts_with(DAMAGED_SLOT) {
                durable::remove_tree_durable(&path).map_err(failed)?;
            } else if let Ok(slot) = SlotName::try_from(name)
                && !keep.contains(&slot)
                && current.as_ref() != Some(&slot)
            {
                durable::remove_tree_durable(&path).map_err(failed)?;
                removed.push(slot);
            }
        }
        if home.is_dir() {
            durable::sweep(&home).map_err(|error| durable::refusal(&home, &error))?;
        }
        Ok(removed)
    }

    /// The slot that the link names, which need not exist.
    ///
    /// # Errors
    /// What is there is no link, or not one that the agent made.
    pub fn current(&self, component: &ComponentName) -> Result<Option<SlotName>, Refusal> {
        let link = self.link(component);
        let wanted = || format!("a link to ../slots/{component}/ and a slot");
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(FOREIGN_LINK.with(format_args!("{} is not a link", link.display()), wanted()));
            }
            Err(error) => return Err(durable::refusal(&link, &error)),
        };
        let name = target.to_str().and_then(|text| text.strip_prefix(&format!("../slots/{component}/")));
        match name.and_then(|name| SlotName::try_from(name.to_owned()).ok()) {
            Some(slot) => Ok(Some(slot)),
            None => Err(FOREIGN_LINK.with(format_args!("{} -> {}", link.display(), target.display()), wanted())),
        }
    }

    /// Makes a slot current, in one step.
    ///
    /// # Errors
    /// There is no such slot, or the disk fails; the link is then as it was.
    pub fn point(&self, component: &ComponentName, slot: &SlotName) -> Result<(), Refusal> {
        open_file(&self.payload_path(component, slot))?;
        let link = self.link(component);
        let target = Path::new("..").join(layout::SLOTS).join(component.as_str()).join(slot.as_str());
        let swap = || {
            durable::create_dir_all_durable(&self.root.join(layout::CURRENT))?;
            if link.symlink_metadata().is_ok_and(|there| there.is_dir()) {
                // A folder is not replaced by a rename. What somebody put there is kept for him.
                let foreign = link.with_file_name(format!("{FOREIGN}{component}"));
                durable::remove_tree_durable(&foreign)?;
                fs::rename(&link, &foreign)?;
            }
            durable::swap_link(&link, &target)
        };
        swap().map_err(|error| durable::refusal(&link, &error))
    }

    /// Makes no slot current.
    ///
    /// # Errors
    /// The disk fails.
    pub fn unpoint(&self, component: &ComponentName) -> Result<(), Refusal> {
        let link = self.link(component);
        durable::remove_file_durable(&link).map_err(|error| durable::refusal(&link, &error))
    }

    /// Copies a program that was on the device before Slipway to a slot, so that the first update has something to go back to.
    /// Twice is as good as once.
    ///
    /// # Errors
    /// It is no executable file, or the disk fails.
    pub fn adopt(&self, component: &ComponentName, existing: &Path, version: Version) -> Result<Installed, Refusal> {
        let failed = |error: io::Error| durable::refusal(existing, &error);
        let describe = || File::open(existing).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        let (mut source, metadata) = describe()
            .map_err(|error| NOT_EXECUTABLE.with(format_args!("{}: {error}", existing.display()), "an executable file"))?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(NOT_EXECUTABLE.with(existing.display(), "an executable file"));
        }
        // The slot is named for the digest, so it is read once to know the name and once to copy it.
        let (digest, _) = hash::copy(&source, &mut io::sink()).map_err(failed)?;
        let slot = SlotName::of(&version, &digest);
        if let Ok(there) = self.read(component, &slot) {
            self.check_payload(component, &slot, &digest)?;
            return Ok(there.installed());
        }
        io::Seek::rewind(&mut source).map_err(failed)?;
        let mut writer = self.begin(component, &slot)?;
        let (payload, size) =
            hash::copy(&source, writer.payload_file()).map_err(|error| durable::refusal(&writer.dir, &error))?;
        if payload != digest {
            return Err(NOT_EXECUTABLE.with(format_args!("{} changed during the copy", existing.display()), "an unchanged file"));
        }
        let record = SlotRecord {
            format: SLOT_FORMAT,
            component: component.clone(),
            version,
            platform: Platform::current(),
            artifact: digest,
            artifact_size: size,
            payload,
            payload_size: size,
            staged: crate::clock::now().wall,
            adopted: true,
        };
        writer.complete(&record, &[])?;
        Ok(record.installed())
    }

    /// Copies what was adopted once more from where it came from, if that is still the same, byte by byte.
    ///
    /// # Errors
    /// It is not, or the disk fails.
    pub fn adopt_again(&self, component: &ComponentName, existing: &Path, lost: &Installed) -> Result<(), Refusal> {
        let read = File::open(existing).and_then(|file| hash::copy(file, &mut io::sink()));
        let (seen, _) = read.map_err(|error| durable::refusal(existing, &error))?;
        if seen != lost.payload {
            return Err(CHANGED.with(seen, lost.payload));
        }
        self.adopt(component, existing, lost.version.clone())?;
        self.check_payload(component, &lost.slot, &lost.payload)
    }

    fn refuse_current(&self, component: &ComponentName, slot: &SlotName) -> Result<(), Refusal> {
        match self.current(component)? {
            Some(current) if current == *slot => Err(IN_USE.with(current, "another slot")),
            _ => Ok(()),
        }
    }
}

fn payload_in(dir: &Path, component: &ComponentName) -> PathBuf {
    dir.join(layout::BIN).join(component.as_str())
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// The names in a directory that are text; none if it is not there.
fn names(dir: &Path) -> Result<Vec<String>, Refusal> {
    let failed = |error: io::Error| durable::refusal(dir, &error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Opens a plain file in a slot: a link there would let something else run than what was verified.
fn open_file(path: &Path) -> Result<File, Refusal> {
    let opened = OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(MISSING.with(format_args!("no {}", path.display()), "a file"));
        }
        Err(error) if error.raw_os_error().map(Errno::from_raw) == Some(Errno::ELOOP) => {
            return Err(CHANGED.with(format_args!("{} is a link", path.display()), "a plain file"));
        }
        Err(error) => return Err(durable::refusal(path, &error)),
    };
    let metadata = file.metadata().map_err(|error| durable::refusal(path, &error))?;
    if metadata.is_file() {
        Ok(file)
    } else {
        Err(CHANGED.with(format_args!("{} is not a file", path.display()), "a plain file"))
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let read = open_file(path)?.take(DOCUMENT_LIMIT.saturating_add(1)).read_to_end(&mut bytes);
    let length = u64::try_from(read.map_err(|error| durable::refusal(path, &error))?).unwrap_or(u64::MAX);
    if length > DOCUMENT_LIMIT {
        return Err(DAMAGED.with(format_args!("{}: more than {DOCUMENT_LIMIT} bytes", path.display()), "a document"));
    }
    Ok(bytes)
}

mod writer;
pub use writer::SlotWriter;

#[cfg(test)]
mod tests;
