//! The witness file.
//!
//! A small preallocated file that remembers what must never be lost or go back, when the database is gone and the
//! disk is full.
//!
//! Two slots of 4 KiB, written in turn in place, so that a write needs no space and a torn one leaves the other. A slot is
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic |
//! | 8..12 | format, little endian |
//! | 12..20 | turn: rises with every write |
//! | 20..24 | length of the payload |
//! | 24..56 | SHA-256 of everything else in the slot |
//! | 56.. | payload, JSON; then what agents of `formats-1` do not know, JSON, if there is any; zeros to the end |

use crate::crashpoint::crashpoint;
use crate::storage::beside;
use crate::storage::durable;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256 as Hasher};
use slipway_machine::record::{Installed, SlotName};
use slipway_protocol::json::Members;
use slipway_protocol::{ComponentName, Refusal, Sha256, Unlisted, Version};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Components that fit whatever their names and versions are; more may fit.
pub const COMPONENT_LIMIT: usize = 4;
/// Bytes of one slot: a page and a block on every platform there is.
const SLOT: usize = 4096;
/// Bytes before the payload.
const HEADER: usize = 56;
/// Bytes for the payload.
const ROOM: usize = SLOT - HEADER;
const MAGIC: [u8; 8] = *b"SLIPWITN";
const FORMAT: u32 = 1;

slipway_protocol::refusals! {
    pub DAMAGED = "SLW-A-WITNESS-DAMAGED", System, Device, "witness file is damaged",
        "check the disk; the agent creates a new file from its database and slots, and floors may have been lost";
    pub NEWER = "SLW-A-STATE-NEWER", System, Operator, "saved state was written by a newer agent",
        "install the newer agent again: this one cannot read its format";
    TOO_LARGE = "SLW-A-WITNESS-FULL", Configuration, Operator, "witness file has no room for all components",
        "configure at most four components for one agent";
}

/// What must never be lost or go back.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct WitnessData {
    /// The generation of the database that this goes with; one that opens with an older one has lost something.
    pub generation: u64,
    /// The latest time that was ever proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_time: Option<Timestamp>,
    /// The versions of the operator's metadata below which nothing is believed.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub tuf: serde_json::Value,
    /// Numbers of reports below this one may have been used.
    pub reports: u64,
    /// Times in a row that the agent began to open the database and never came to its first commit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub opening: u32,
    /// The database's generation when the disk was full and the witness went on alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone_since: Option<u64>,
    /// Each component that was ever touched.
    pub components: BTreeMap<ComponentName, Remembered>,
    /// What a newer agent remembers besides.
    #[serde(flatten)]
    pub more: Members,
}

/// What must never be lost about one component.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Remembered {
    /// The generation of its record; an older record in the database has lost something.
    pub generation: u64,
    /// The epoch of its record.
    pub epoch: u64,
    /// What the agent was about to do to what runs.
    pub phase: Phase,
    /// The release that passed probation last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<KeptRelease>,
    /// The one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<KeptRelease>,
    /// The slot being activated, watched or left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<SlotName>,
    /// What is condemned when the rollback under way is over.
    #[serde(default, rename = "condemn", skip_serializing_if = "Option::is_none")]
    pub block: Option<(Sha256, Version)>,
    /// The artifact condemned last: the one that the channel most likely still names.
    #[serde(default, rename = "condemned", skip_serializing_if = "Option::is_none")]
    pub blocked: Option<(Sha256, Version)>,
    /// The lowest version accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Version>,
    /// What a newer agent remembers of it besides.
    #[serde(flatten)]
    pub more: Members,
}

/// What the agent was about to do to what runs: all that a record's state means to a device that lost the record.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing: the committed release runs, whatever is being fetched.
    #[default]
    Resting,
    /// A release is being made current.
    Activating,
    /// It is current and watched.
    Probation,
    /// The committed release is being brought back.
    RollingBack,
    /// Neither could be made to run.
    Inconsistent,
    /// Of the agent itself: the restore unit has put the committed release back, and the record does not know it yet.
    Restored,
    /// Something that only a newer agent does: undone, like everything that is not [`Phase::Resting`].
    #[serde(untagged)]
    Unlisted(Unlisted),
}

/// [`Installed`] in few bytes, without its slot's name where that follows from the rest: so that four components fit.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeptRelease {
    #[serde(rename = "v")]
    version: Version,
    #[serde(rename = "a")]
    artifact: Sha256,
    #[serde(rename = "p")]
    payload: Sha256,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "s")]
    slot: Option<SlotName>,
}

impl From<&Installed> for KeptRelease {
    fn from(installed: &Installed) -> Self {
        let Installed { version, artifact, payload, slot, .. } = installed.clone();
        let slot = (slot != SlotName::of(&version, &artifact)).then_some(slot);
        Self { version, artifact, payload, slot }
    }
}

impl From<&KeptRelease> for Installed {
    fn from(kept: &KeptRelease) -> Self {
        let KeptRelease { version, artifact, payload, slot } = kept.clone();
        let slot = slot.unwrap_or_else(|| SlotName::of(&version, &artifact));
        Self { version, artifact, payload, slot, adopted: false }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The open witness.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    file: File,
    /// The turn of the newest slot.
    turn: u64,
    /// The slot that is written next: never the newest good one.
    next: u8,
}

/// What is in one slot.
#[derive(Debug, PartialEq)]
enum Slot {
    Good {
        turn: u64,
        witness_data: Box<WitnessData>,
    },
    /// Whole, but of a format that this agent cannot know.
    Newer(String),
    Bad,
}

/// Why a witness cannot be opened.
#[derive(Debug)]
pub(crate) enum WitnessError {
    /// [`DAMAGED`]: what it remembered is lost.
    Damaged(Refusal),
    /// It is not to be touched: a newer agent wrote it, or the disk fails.
    Unusable(Refusal),
}

impl From<Refusal> for WitnessError {
    fn from(refusal: Refusal) -> Self {
        Self::Unusable(refusal)
    }
}

impl From<WitnessError> for Refusal {
    fn from(error: WitnessError) -> Self {
        match error {
            WitnessError::Damaged(refusal) | WitnessError::Unusable(refusal) => refusal,
        }
    }
}

impl Witness {
    /// Opens the witness, or creates it when there is none: then there is no memory either.
    ///
    /// # Errors
    /// [`DAMAGED`] when it is there and neither slot can be read; [`NEWER`]; or the disk fails.
    pub fn open(path: &Path) -> Result<(Self, Option<WitnessData>), Refusal> {
        Ok(Self::try_open(path)?)
    }

    /// As [`Self::open`], for a caller that can continue without it when it is damaged.
    pub(crate) fn try_open(path: &Path) -> Result<(Self, Option<WitnessData>), WitnessError> {
        let failed = |error: io::Error| durable::refusal(path, &error);
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Self::create(path)?, None)),
            other => other.map_err(failed)?,
        };
        let (turn, witness_data, next) = newest(path, &file)?;
        Ok((Self { path: path.to_owned(), file, turn, next }, Some(*witness_data)))
    }

    /// What is remembered, for whoever only looks: the agent may be writing meanwhile. None when there is no witness.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn peek(path: &Path) -> Result<Option<WitnessData>, Refusal> {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(durable::refusal(path, &error)),
            Ok(file) => Ok(Some(*newest(path, &file)?.1)),
        }
    }

    /// The file appears under its name only with an empty memory in it, so that a file without any is always damage.
    fn create(path: &Path) -> Result<Self, Refusal> {
        let turn = 1;
        let mut bytes = encode(turn, &WitnessData::default())?.to_vec();
        bytes.resize(SLOT.saturating_mul(2), 0);
        let failed = |error: io::Error| durable::refusal(path, &error);
        durable::write_atomic(path, &bytes, 0o600).map_err(failed)?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, turn, next: 1 })
    }

    /// Remembers. It is durable on return.
    ///
    /// # Errors
    /// It does not fit, or the disk fails; what was remembered before still is.
    pub fn write(&mut self, witness_data: &WitnessData) -> Result<(), Refusal> {
        let turn = self.turn.saturating_add(1);
        let bytes = encode(turn, witness_data)?;
        crashpoint!("witness: before");
        let written = self.file.write_all_at(&bytes, offset(self.next)).and_then(|()| {
            crashpoint!("witness: written");
            self.file.sync_data()
        });
        crashpoint!("witness: after");
        // After a failure the same slot is written again: the other one holds the last that was whole.
        written.map_err(|error| durable::refusal(&self.path, &error))?;
        self.turn = turn;
        self.next ^= 1;
        Ok(())
    }

    /// Remembers in both slots, so that no single damaged block brings back what was before: for floors.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_both(&mut self, witness_data: &WitnessData) -> Result<(), Refusal> {
        self.write(witness_data)?;
        self.write(witness_data)
    }
}

/// Turn and memory of the newest whole slot, and the slot that is written next.
fn newest(path: &Path, file: &File) -> Result<(u64, Box<WitnessData>, u8), WitnessError> {
    let failed = |error: io::Error| durable::refusal(path, &error);
    let read = |index| read_slot(file, index).map_err(failed);
    match (read(0)?, read(1)?) {
        (Slot::Newer(seen), _) | (_, Slot::Newer(seen)) => Err(NEWER.with(seen, format_args!("witness format {FORMAT}")).into()),
        (Slot::Good { turn: a, witness_data }, Slot::Good { turn: b, .. }) if a > b => Ok((a, witness_data, 1)),
        (_, Slot::Good { turn, witness_data }) => Ok((turn, witness_data, 0)),
        (Slot::Good { turn, witness_data }, Slot::Bad) => Ok((turn, witness_data, 1)),
        (Slot::Bad, Slot::Bad) => {
            let length = file.metadata().map_err(failed)?.len();
            let seen = format_args!("{} ({length} bytes) without an intact slot", path.display()).to_string();
            Err(WitnessError::Damaged(DAMAGED.with(seen, "one intact slot")))
        }
    }
}

fn offset(index: u8) -> u64 {
    if index == 0 { 0 } else { u64::try_from(SLOT).unwrap_or(u64::MAX) }
}

fn encode(turn: u64, witness_data: &WitnessData) -> Result<[u8; SLOT], Refusal> {
    let (payload, beside) = payload(witness_data)?;
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut head = Vec::with_capacity(SLOT);
    head.extend(MAGIC);
    head.extend(FORMAT.to_le_bytes());
    head.extend(turn.to_le_bytes());
    head.extend(length.to_le_bytes());
    let mut rest = [payload, beside].concat();
    rest.resize(ROOM, 0);
    let checksum = checksum(&head, &rest);
    head.extend(checksum);
    head.extend(rest);
    head.try_into().map_err(|_| TOO_LARGE.with("a payload of another size", ROOM))
}

/// JSON that fits, and what goes beside it. With the longest names there can be, conveniences give way: what was condemned last, then
/// the releases before the committed ones, then what only newer agents know. Floors and committed releases never do.
fn payload(witness_data: &WitnessData) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let mut less = witness_data.clone();
    let mut length = 0_usize;
    let give_way: [fn(&mut Remembered); 4] =
        [|_| {}, |component| component.blocked = None, |component| component.previous = None, |component| component.more.clear()];
    for give_way in give_way {
        less.components.values_mut().for_each(give_way);
        let failed = |error| TOO_LARGE.with(error, "JSON");
        let mut value = serde_json::to_value(&less).map_err(failed)?;
        let beside = beside::split(&mut value, &beside::WITNESS);
        let bytes = serde_json::to_vec(&value).map_err(failed)?;
        let beside = beside.map_or_else(|| Ok(Vec::new()), |beside| serde_json::to_vec(&beside)).map_err(failed)?;
        length = bytes.len().saturating_add(beside.len());
        if length <= ROOM {
            return Ok((bytes, beside));
        }
    }
    let seen = format_args!("{length} bytes for {} components", witness_data.components.len()).to_string();
    Err(TOO_LARGE.with(seen, format_args!("at most {ROOM} bytes")))
}

fn checksum(head: &[u8], rest: &[u8]) -> [u8; 32] {
    Hasher::new().chain_update(head).chain_update(rest).finalize().into()
}

fn read_slot(file: &File, index: u8) -> io::Result<Slot> {
    let mut bytes = [0; SLOT];
    match file.read_exact_at(&mut bytes, offset(index)) {
        // A damaged block of the disk costs this slot, not the other one.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || is_bad_block(&error) => Ok(Slot::Bad),
        Err(error) => Err(error),
        Ok(()) => Ok(decode(&bytes).unwrap_or(Slot::Bad)),
    }
}

fn is_bad_block(error: &io::Error) -> bool {
    error.raw_os_error().map(nix::errno::Errno::from_raw) == Some(nix::errno::Errno::EIO)
}

/// `None` for a slot that is torn, damaged or was never written.
fn decode(bytes: &[u8; SLOT]) -> Option<Slot> {
    let (head, rest) = bytes.split_first_chunk::<24>()?;
    let (wanted, rest) = rest.split_first_chunk::<32>()?;
    if !head.starts_with(&MAGIC) || checksum(head, rest) != *wanted {
        return None;
    }
    let format = u32::from_le_bytes(*head.get(8..)?.first_chunk()?);
    let turn = u64::from_le_bytes(*head.get(12..)?.first_chunk()?);
    let length = u32::from_le_bytes(*head.get(20..)?.first_chunk()?);
    match format.cmp(&FORMAT) {
        Ordering::Equal => {}
        Ordering::Greater => return Some(Slot::Newer(format!("witness format {format}"))),
        // No agent ever wrote one. An agent that brings a second format reads the first here.
        Ordering::Less => return None,
    }
    let (payload, beside) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some(match join(payload, beside) {
        Ok(witness_data) => Slot::Good { turn, witness_data: Box::new(witness_data) },
        // The checksum is right: nobody damaged it, somebody wrote what this agent cannot read.
        Err(error) => Slot::Newer(format!("a witness that does not parse: {error}")),
    })
}

/// What is remembered, from payload and what is beside it.
fn join(payload: &[u8], beside: &[u8]) -> Result<WitnessData, serde_json::Error> {
    let mut value = serde_json::from_slice(payload)?;
    // Zeros follow, or nothing but zeros is there.
    if let Some(Ok(more)) = serde_json::Deserializer::from_slice(beside).into_iter().next() {
        beside::join(&mut value, more);
    }
    serde_json::from_value(value)
}

#[cfg(test)]
pub(crate) mod tests;
