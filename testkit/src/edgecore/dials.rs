//! Settings of the stand-in for edgecore, appended to its own executable. The real edgecore has nothing like it.
//!
//! ```text
//! host program | padding | dials as JSON | length of JSON, u64 little endian | magic, 16 bytes
//! ```
//! The kernel's loader ignores what follows an ELF file's last segment, so any of our programs can be the host.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"slipway-standin1";
const TRAILER: u64 = 24;
/// Dials are a few hundred bytes; more is not a stand-in.
const MAX_DIALS: u64 = 64 * 1024;

/// Where edgecore answers health checks.
pub const DEFAULT_HEALTH: &str = "127.0.0.1:10350";

/// How a stand-in behaves once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Answers 200 until it is stopped.
    Healthy,
    /// Ends before it listens, as edgecore does with a configuration it does not know.
    ExitAtOnce {
        /// Its exit code; edgecore's panics are 2.
        code: i32,
    },
    /// Panics as Go programs do, with stack traces behind it and exit status 2: edgecore 1.16 and later on a certificate that an older
    /// one was issued.
    PanicsOnOldCertificate,
    /// Answers 200 and then ends, as edgecore does 28 s after it started without the cloud.
    DiesAfter {
        /// Milliseconds from its start.
        ms: u64,
        /// Its exit code.
        code: i32,
    },
    /// Accepts connections and never answers one.
    NeverAnswers,
    /// Lives and listens to nothing.
    NeverListens,
    /// Answers 500 to every check.
    AnswersSick,
    /// Answers 200 at first and 500 later.
    SickensAfter {
        /// Milliseconds from its start.
        ms: u64,
    },
    /// Answers 200 so many times and 500 afterwards, however busy the machine is.
    SickensAfterAnswers {
        /// Requests that are answered with 200.
        answers: u32,
    },
}

/// All dials of a stand-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dials {
    /// The version it believes to be, with the `v`.
    pub version: String,
    /// Where it answers health checks, unless `EDGECORE_HEALTH` says otherwise.
    pub health: SocketAddr,
    /// What it does.
    pub behaviour: Behaviour,
    /// Rewrites its configuration at start, as new versions do: unknown keys go, its own version comes.
    pub rewrites_config: bool,
    /// Its configuration, unless `--config` or `EDGECORE_CONFIG` says otherwise. `None` is edgecore's own path, which may be missing.
    pub config: Option<PathBuf>,
    /// Its database, unless `EDGECORE_DATABASE` says otherwise: one row or line is added at every start.
    pub database: Option<PathBuf>,
    /// Waits before it does anything.
    pub start_delay_ms: u64,
    /// Whether it says that it reached the cloud.
    pub connects: bool,
    /// Bytes of incompressible padding, so that releases have a real one's size. Differs from version to version.
    pub pad: u64,
}

impl Dials {
    /// A release that works.
    pub fn healthy(version: &str) -> Self {
        Self::new(version, Behaviour::Healthy)
    }

    /// A release that behaves like this.
    pub fn new(version: &str, behaviour: Behaviour) -> Self {
        Self {
            version: version.to_owned(),
            health: DEFAULT_HEALTH.parse().expect("a constant address"),
            behaviour,
            rewrites_config: false,
            config: None,
            database: None,
            start_delay_ms: 0,
            connects: true,
            pad: 0,
        }
    }
}

/// An executable that is a stand-in with these dials: the host's bytes and the trailer. If the host is itself a stand-in, its own
/// trailer stays inside and has no effect.
pub fn payload(host: &Path, dials: &Dials) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(host).with_context(|| format!("cannot read the stand-in's host program {}", host.display()))?;
    let json = serde_json::to_vec(dials)?;
    bytes.reserve(usize::try_from(dials.pad)? + json.len() + 24);
    pad(&mut bytes, dials);
    bytes.extend_from_slice(&json);
    bytes.extend((json.len() as u64).to_le_bytes());
    bytes.extend(MAGIC);
    Ok(bytes)
}

/// Noise from a xorshift generator seeded with the version.
fn pad(bytes: &mut Vec<u8>, dials: &Dials) {
    let seed = crate::sigstore::sha256(dials.version.as_bytes());
    let mut state = u64::from_le_bytes(seed[..8].try_into().expect("eight bytes")) | 1;
    let mut left = dials.pad as usize;
    while left > 0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let chunk = state.to_le_bytes();
        let take = left.min(chunk.len());
        bytes.extend_from_slice(&chunk[..take]);
        left -= take;
    }
}

/// The dials of this executable, or `None` when it is an ordinary program.
pub fn dials_of(executable: &Path) -> Result<Option<Dials>> {
    let mut file = std::fs::File::open(executable).with_context(|| format!("cannot open {}", executable.display()))?;
    let size = file.metadata()?.len();
    if size < TRAILER {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(size - TRAILER))?;
    let mut trailer = [0; TRAILER as usize];
    file.read_exact(&mut trailer)?;
    let (length, magic) = trailer.split_at(8);
    if magic != MAGIC {
        return Ok(None);
    }
    let length = u64::from_le_bytes(length.try_into()?);
    anyhow::ensure!(length <= MAX_DIALS && length <= size - TRAILER, "the stand-in's trailer is damaged");
    file.seek(SeekFrom::Start(size - TRAILER - length))?;
    let mut json = vec![0; usize::try_from(length)?];
    file.read_exact(&mut json)?;
    Ok(Some(serde_json::from_slice(&json).context("the stand-in's dials are damaged")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_travel_inside_the_executable() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host");
        std::fs::write(&host, b"\x7fELF and so on").unwrap();
        assert_eq!(dials_of(&host).unwrap(), None);
        let dials = Dials { pad: 1003, ..Dials::new("v1.2.3", Behaviour::DiesAfter { ms: 700, code: 2 }) };
        let packed = payload(&host, &dials).unwrap();
        assert!(packed.starts_with(b"\x7fELF and so on") && packed.len() > 1003);
        let standin = dir.path().join("standin");
        std::fs::write(&standin, &packed).unwrap();
        assert_eq!(dials_of(&standin).unwrap(), Some(dials.clone()));
        // A stand-in can be the host of the next one.
        let next = Dials::healthy("v1.2.4");
        std::fs::write(dir.path().join("next"), payload(&standin, &next).unwrap()).unwrap();
        assert_eq!(dials_of(&dir.path().join("next")).unwrap(), Some(next));
    }

    #[test]
    fn padding_differs_between_versions_and_does_not_compress() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("host");
        std::fs::write(&host, b"").unwrap();
        let make = |version: &str| payload(&host, &Dials { pad: 100_000, ..Dials::healthy(version) }).unwrap();
        assert_ne!(make("v1.0.0")[..1000], make("v1.0.1")[..1000]);
        assert!(crate::edgecore::tarball("v1.0.0", "amd64", &make("v1.0.0")).len() > 100_000);
    }
}
