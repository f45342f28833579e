//! KubeEdge releases: archives packed as KubeEdge packs them, with a stand-in for edgecore inside.
//!
//! | part | in |
//! |---|---|
//! | the archive and its checksum file | `archive` |
//! | the dials of a stand-in, and how they travel inside its own executable | `dials` |
//! | what a stand-in does when it runs | `standin` |
//!
//! ```no_run
//! use slipway_world::edgecore::{Dials, payload, tarball};
//! # fn main() -> anyhow::Result<()> {
//! let host = std::path::Path::new("target/debug/edgecore-standin");
//! let program = payload(host, &Dials::healthy("v1.23.1"))?;
//! let release = tarball("v1.23.1", "amd64", &program);
//! # Ok(()) }
//! ```

mod archive;
mod dials;
mod standin;

pub use archive::{Member, MemberKind, checksum, checksum_name, folder, kubeedge_members, pack, tarball, tarball_name};
pub use dials::{Behaviour, DEFAULT_HEALTH, Dials, dials_of, payload};
pub use standin::{CONNECTED, main_if_standin};
