//! What crosses the wire between operator, release server and device: types and parsing only.
//!
//! | module | what it holds |
//! |---|---|
//! | [`json`] | strict JSON: a size limit, a depth limit, no duplicate members |
//! | [`ids`] | names of nodes, fleets, components and channels, safe as path and topic parts |
//! | [`version`], [`digest`], [`platform`] | the small values everything else is made of |
//! | [`growth`] | how older readers read what newer ones wrote: unknown members, `critical` |
//! | [`unlisted`] | names that are not in this version's lists, kept as they came |
//! | [`notice`], [`topics`] | the message that triggers a check, and its topics |
//! | [`report`] | what the node tells the cloud |
//! | [`manifest`], [`channel`] | a release and the stream that points at it, both signed through TUF |
//! | [`index`] | which manifests there are, in a tree of small files under one signed target |
//! | [`refusal`] | why something was refused: code, headline, found, expected, fix |
//!
//! Parsing gives no authority; that is decided in `slipway-verify`.

pub mod channel;
pub mod digest;
pub mod growth;
pub mod ids;
pub mod index;
pub mod json;
pub mod manifest;
pub mod notice;
pub mod platform;
pub mod refusal;
pub mod report;
pub mod topics;
pub mod unlisted;
pub mod version;

pub use channel::Channel;
pub use digest::{Digests, Sha256, Sha512};
pub use growth::Unreadable;
pub use ids::{ChannelName, ComponentName, FleetName, NodeName};
pub use manifest::{Artifact, Format, Manifest, Provenance};
pub use notice::Notice;
pub use platform::Platform;
pub use refusal::{Category, Refusal, Responsible, causes};
pub use report::{Event, Report};
pub use unlisted::Unlisted;
pub use version::Version;
