//! KubeEdge releases: archives packed as KubeEdge packs them, with a stand-in for edgecore inside.
//!
//! | part | in |
//! |---|---|
//! | the archive and its checksum file | `archive` |
//! | a whole release in a folder, with provenance | `release` |
//! | the dials of a stand-in, and how they travel inside its own executable | `dials` |
//! | what a stand-in does when it runs | `standin` |
//!
//! ```no_run
//! use slipway_testkit::edgecore::{Dials, Release};
//! use slipway_testkit::{programs, sigstore::PrivateSigstore};
//! # fn main() -> anyhow::Result<()> {
//! let host = programs::edgecore_standin()?;
//! let dir = std::path::Path::new("www/v1.23.1");
//! let release = Release::write(dir, &PrivateSigstore::new("ours"), &host, &["amd64"], &Dials::healthy("v1.23.1"))?;
//! # Ok(()) }
//! ```

mod archive;
mod dials;
mod release;
mod standin;

pub use archive::{Member, MemberKind, checksum, checksum_name, folder, kubeedge_members, pack, tarball, tarball_name};
pub use dials::{Behaviour, DEFAULT_HEALTH, Dials, dials_of, payload};
pub use release::{Archive, PROVENANCE_NAME, Release};
pub use standin::{CONNECTED, main_if_standin};
