//! Limits on the cost of a refresh and the lifetime of metadata, each with its reason.
//!
//! The one table of both sides: a device refuses what is beyond [`Limits::DEVICE`], and `slipway status` says what has reached half of
//! it. How many releases there are costs nothing here: they are in indexes, of which a device reads a few files.

/// Bytes of a target's entry in metadata: a path of two names of 63 bytes, a SHA-256 and a length are 250.
const ENTRY: u64 = 256;
/// Targets in one role: eight channels of each of 512 components, or the indexes of 4096.
const ENTRIES: u64 = 4096;
/// Roles that may be as large as they may: targets, releases and channels, and as much again for all others.
const LARGE_ROLES: u64 = 4;

/// Bounds of one refresh. All of them are far above what a real repository needs and far below what hurts a small device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// New roots taken in one refresh. Sigstore made 16 in five years; a yearly rotation never gets near it, and a device that
    /// slept for decades simply needs two refreshes.
    pub root_steps: u32,
    /// Bytes of one root, which is outside the sum below. Sigstore's have 7 KB; a root with 64
    /// keys has 30 KB.
    pub root_bytes: u64,
    /// Bytes of the timestamp. It has a fixed shape and is under 1 KB.
    pub timestamp_bytes: u64,
    /// Bytes of the snapshot: about 150 for each of at most 32 roles that are loaded, and as much for 1700 that ever were, since a
    /// name never leaves it.
    pub snapshot_bytes: u64,
    /// Bytes of one targets role: [`ENTRIES`] of [`ENTRY`]; parsing costs about ten times that in memory.
    pub targets_bytes: u64,
    /// Bytes of timestamp, snapshot and all targets roles of one refresh together: 32 roles at
    /// their own limit would take a small device's memory. Ours have 4 KB, Sigstore's under 100.
    pub total_bytes: u64,
    /// Bytes of one target. Targets are policies, manifests, channels and a trusted root, never artifacts: they are held in memory.
    pub target_bytes: u64,
    /// Targets roles loaded, or visited in the search for one target. Ours has three; cyclic or endless delegations end here.
    pub roles: usize,
    /// Bytes of a delegated role's name; encoded three for one it must fit in a file name.
    pub role_name: usize,
    /// Signatures in one file: each can cost an elliptic curve verification.
    pub signatures: usize,
    /// Nested arrays and objects; TUF metadata has seven.
    pub depth: usize,
}

impl Limits {
    /// What a device takes.
    pub const DEVICE: Self = Self {
        root_steps: 256,
        root_bytes: 64 * 1024,
        timestamp_bytes: 16 * 1024,
        snapshot_bytes: 256 * 1024,
        targets_bytes: ENTRIES * ENTRY,
        total_bytes: LARGE_ROLES * ENTRIES * ENTRY,
        target_bytes: 1024 * 1024,
        roles: 32,
        role_name: 64,
        signatures: 64,
        depth: 32,
    };

    /// Bytes of the newest root and everything below it: the most that a cache of one repository
    /// has to hold.
    #[must_use]
    pub const fn cache_bytes(&self) -> u64 {
        self.root_bytes.saturating_add(self.total_bytes)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEVICE
    }
}

/// How many days ahead each role may expire: what a stolen key can sign ends by itself after so
/// long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MaxLifetimes {
    /// The timestamp, whose key is online.
    pub timestamp: u32,
    /// The snapshot, whose key is online.
    pub snapshot: u32,
    /// Every other role: its keys are in people's hands, who come together once a year.
    pub others: u32,
}

impl MaxLifetimes {
    /// What a device takes from its operator's repository, and what `slipway` signs.
    pub const OPERATOR: Self = Self { timestamp: 30, snapshot: 30, others: 400 };
    /// The days of one role.
    #[must_use]
    pub fn days(&self, role: &str) -> u32 {
        match role {
            "timestamp" => self.timestamp,
            "snapshot" => self.snapshot,
            _ => self.others,
        }
    }
}

impl Default for MaxLifetimes {
    fn default() -> Self {
        Self::OPERATOR
    }
}
