//! The platform that an artifact is built for, by the names Go and OCI use.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Operating system and architecture. `linux/arm` is ARMv7 hard float, as KubeEdge builds it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Platform {
    /// x86-64.
    #[serde(rename = "linux/amd64")]
    LinuxAmd64,
    /// ARMv7 hard float.
    #[serde(rename = "linux/arm")]
    LinuxArm,
    /// ARMv8, 64 bit.
    #[serde(rename = "linux/arm64")]
    LinuxArm64,
    /// Anything that runs everywhere: scripts, data.
    #[serde(rename = "any")]
    Any,
}

impl Platform {
    /// The platform this program was built for.
    #[must_use]
    pub const fn current() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::LinuxArm64
        } else if cfg!(target_arch = "arm") {
            Self::LinuxArm
        } else {
            Self::LinuxAmd64
        }
    }

    /// Its name, `linux/amd64`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "linux/amd64",
            Self::LinuxArm => "linux/arm",
            Self::LinuxArm64 => "linux/arm64",
            Self::Any => "any",
        }
    }

    /// The architecture alone, as in KubeEdge's file names: `amd64`.
    #[must_use]
    pub const fn arch(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "amd64",
            Self::LinuxArm => "arm",
            Self::LinuxArm64 => "arm64",
            Self::Any => "any",
        }
    }
}

impl std::str::FromStr for Platform {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::LinuxAmd64, Self::LinuxArm, Self::LinuxArm64, Self::Any]
            .into_iter()
            .find(|platform| platform.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "{:?} is not a valid platform: use linux/amd64, linux/arm64, linux/arm or any",
                    crate::refusal::printable(text)
                )
            })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
