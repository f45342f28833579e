//! TUF, the first of the two proofs: who may release, and what is current.
//!
//! A [`Refresh`] asks for one file at a time and takes the answer; it never fetches anything itself. So HTTP, a directory
//! and an offline bundle go through the very same code, and every rule can be tested with bytes in memory. What it ends in, a
//! [`Repository`], is the only thing that turns bytes into an [`AuthenticTarget`].
//!
//! Signatures, version order, pins and path patterns are `sigstore-tuf`'s. On top of it come the things an updater needs and no
//! client has: floors that survive a lost cache, distinct keys instead of distinct key ids, no duplicate members, a bound for
//! everything, and "could not ask" is distinct from "there is nothing newer".
//!
//! ```text
//! begin ─▶ step ─▶ Fetch "8.root.json" ─▶ answer ─▶ step ─▶ Store root ─▶ step ─▶ Fetch "timestamp.json" ─▶ … ─▶ Done ─▶ finish
//! ```

pub(crate) mod checks;
mod limits;
mod manifest;
mod refresh;
mod repository;
mod rules;
mod state;
mod verified;

pub use limits::{Limits, MaxLifetimes};
pub use manifest::{ManifestSearch, ReleaseFile};
pub use refresh::Refresh;
pub use repository::{AuthenticTarget, Repository};
pub use rules::{Expiry, Fetch, FetchResult, Kind, Rules, Step, Wanted};
pub use state::{Floors, Slot, Stored};
pub use verified::{RoleState, TargetInfo};
