//! Fetches small files into memory and artifacts into part files, from a server or an offline bundle.
//!
//! Nothing here decides what may be installed. Size and digest are authorised before the first byte is asked for; this module
//! never reads more than that size, hashes each byte once as it is written, goes on where it was after a drop, a kill or a power
//! cut, and says no with a name when a server sends something else, too much, or too slowly.
//!
//! | file | subject |
//! |---|---|
//! | `resume` | what a server's answer means: pure |
//! | `budget` | what an artifact may cost: pure |
//! | `client` | HTTP: requests, redirects, speed, which address next |
//! | `transport` | what a broken exchange means |
//! | `tar` | the offline bundle as a place to fetch from |
//! | `sink`, `part` | the part file: written and hashed beside the event loop, checkpoints, digest |

pub mod budget;
pub(crate) mod checks;
pub mod client;
mod gzip;
mod part;
pub mod resume;
mod sink;
pub mod tar;
mod transport;

pub use budget::Budget;
pub use client::{Client, HttpSettings};
pub use tar::TarSource;
pub(crate) use transport::shown;

use crate::storage::stamp::VerifiedFiles;
use slipway_machine::RetryAdvice;
use slipway_protocol::{Refusal, Sha256, Sha512};
use std::fmt;
use std::path::PathBuf;
use url::Url;

/// An artifact to be fetched. Size and digests are the authorised ones.
#[derive(Clone, Debug)]
pub struct Download {
    /// Where to get it, tried in turn. Of no meaning to an offline bundle.
    pub urls: Vec<Url>,
    /// Its size; more is never read.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
    /// Its SHA-512, compared as well if there is one.
    pub sha512: Option<Sha512>,
    /// The file that receives it; its directory exists. `<part>.etag` is beside it for a while.
    pub part: PathBuf,
    /// Bytes of it that are known to be durable: the last checkpoint. What is beyond is cut off and fetched again.
    pub trusted_offset: u64,
    /// What it has cost and may cost. Of no meaning to an offline bundle.
    pub budget: Budget,
    /// Remembers the complete part as hashed in this run.
    pub verified: VerifiedFiles,
}

/// A complete artifact: durable under [`Download::part`], with the wanted digests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Downloaded {
    /// Bytes that came over the network or from the medium this time.
    pub received: u64,
    /// Bytes that were there already and of use.
    pub resumed: u64,
}

/// A small file, whole in memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Small {
    /// Its content.
    Bytes(Vec<u8>),
    /// There is none: 404, 403 (which object stores answer for files that are not there), or no such name in the bundle.
    Missing,
}

/// Why something could not be fetched, and whether trying again makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchError {
    /// What was wrong: of several addresses, at the first that may work later, else at the one that matters most.
    pub refusal: Refusal,
    /// What is decided by.
    pub kind: FetchErrorKind,
    /// Bytes that came this time nevertheless, for whoever keeps a budget. They are not lost unless refused.
    pub received: u64,
}

/// In which way something could not be fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FetchErrorKind {
    /// The artifact has used up its network budget.
    Budget,
    /// The server has another file under this name.
    WrongFile,
    /// In another one, and whether to try again.
    Other(RetryAdvice),
}

impl FetchError {
    pub(crate) fn new(refusal: Refusal, retry: RetryAdvice) -> Self {
        Self { refusal, kind: FetchErrorKind::Other(retry), received: 0 }
    }

    /// Whether to try again; how often and for how long is the caller's decision.
    #[must_use]
    pub const fn retry(&self) -> RetryAdvice {
        match self.kind {
            FetchErrorKind::Budget | FetchErrorKind::WrongFile => RetryAdvice::Never,
            FetchErrorKind::Other(again) => again,
        }
    }

    fn never(refusal: Refusal) -> Self {
        Self::new(refusal, RetryAdvice::Never)
    }

    fn later(refusal: Refusal) -> Self {
        Self::new(refusal, RetryAdvice::Later)
    }

    fn over_budget(refusal: Refusal) -> Self {
        Self { refusal, kind: FetchErrorKind::Budget, received: 0 }
    }

    fn wrong_file(refusal: Refusal) -> Self {
        Self { refusal, kind: FetchErrorKind::WrongFile, received: 0 }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl std::error::Error for FetchError {}
