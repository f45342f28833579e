//! How near a repository is to what devices take. The limits are the device's own; nothing is counted here that a device does not.

use crate::error::LIMIT;
use crate::repo::Repo;
use crate::role::Role;
use serde::Serialize;
use slipway_protocol::Refusal;
use slipway_protocol::channel::CHANNEL_LIMITS;
use slipway_verify::tuf::Limits;
use std::fmt;

/// One limit of devices, and how much of it is used.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Usage {
    /// What is counted.
    pub what: String,
    /// How much there is.
    pub used: u64,
    /// How much a device takes.
    pub most: u64,
    /// In what.
    pub unit: &'static str,
}

impl Usage {
    fn bytes(what: impl Into<String>, used: usize, most: u64) -> Self {
        Self { what: what.into(), used: u64::try_from(used).unwrap_or(u64::MAX), most, unit: "bytes" }
    }

    /// Whether it is time to do something about it.
    #[must_use]
    pub fn is_half(&self) -> bool {
        self.used >= self.most.div_euclid(2)
    }

    /// The same for monitoring.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        LIMIT.with(self, format_args!("less than half of it, {}", self.most.div_euclid(2)))
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, used, most, unit } = self;
        write!(f, "{what}: {used} of at most {most} {unit}")
    }
}

impl Repo {
    /// What is used of every limit that devices have for a repository; the largest share first.
    ///
    /// # Errors
    /// When the repository is damaged.
    pub fn limits(&self) -> Result<Vec<Usage>, Refusal> {
        let device = Limits::DEVICE;
        let mut all = Vec::new();
        let mut below_root: usize = 0;
        for (role, envelope) in &self.state.envelopes {
            let size = envelope.to_bytes()?.len();
            let most = match role {
                Role::Root => device.root_bytes,
                Role::Timestamp => device.timestamp_bytes,
                Role::Snapshot => device.snapshot_bytes,
                Role::Targets | Role::Releases | Role::Channels => device.targets_bytes,
            };
            all.push(Usage::bytes(format!("metadata of {role}"), size, most));
            if *role != Role::Root {
                below_root = below_root.saturating_add(size);
            }
            let (used, most) = (envelope.signatures.len(), device.signatures);
            let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            all.push(Usage { what: format!("under {role}"), used: count(used), most: count(most), unit: "signatures" });
        }
        all.push(Usage::bytes("metadata below the root together", below_root, device.total_bytes));
        for (role, targets) in &self.state.roles {
            for (path, file) in &targets.targets {
                let channel = *role == Role::Channels && path.starts_with("channels/");
                let channel_bytes = u64::try_from(CHANNEL_LIMITS.bytes).unwrap_or(u64::MAX);
                let most = if channel { channel_bytes } else { device.target_bytes };
                all.push(Usage { what: path.clone(), used: file.length, most, unit: "bytes" });
            }
        }
        let share = |usage: &Usage| u128::from(usage.used).saturating_mul(1_000_000).checked_div(u128::from(usage.most));
        all.sort_by_key(|usage| std::cmp::Reverse(share(usage)));
        Ok(all)
    }
}
