//! Sigstore's trusted root: which one is in force, and where it comes from. It never gets older.
//!
//! | source | when |
//! |---|---|
//! | a file on the device | `trusted_root` in `[sigstore]` is set; nothing else counts then |
//! | Sigstore's own repository | `url` in `[sigstore]` is set and it was followed once, over the network or from an offline bundle |
//! | the operator's mirror | the operator's repository signs [`MIRROR`] |
//! | this agent | else |
//!
//! Sigstore's own repository is followed by TUF from a root that this agent ships. Its timestamp lives for seven days; that it is out of
//! date is worth a word and stops nothing: whether a release is fresh is the operator's vote.

use super::cache::Cache;
use super::transport::{RepositoryTransport, Transport};
use super::{MISSING, NoCandidate, Trust, TrustFloors, read_file};
use crate::config::{Config, read_limited};
use crate::fetch::Small;
use crate::storage::layout;
use serde::{Deserialize, Serialize};
use slipway_protocol::{Refusal, Sha256};
use slipway_verify::SigstoreRoot;
use slipway_verify::tuf::{Floors, Kind, Repository, Rules};
use std::path::Path;
use url::Url;

/// The TUF target of the mirrored trusted root, in the operator's repository.
pub(super) const MIRROR: &str = "sigstore/trusted_root.json";
/// The TUF target of the trusted root in Sigstore's own repository.
const TARGET: &str = "trusted_root.json";
/// Where an offline bundle has Sigstore's own repository.
pub(super) const IN_BUNDLE: &str = "sigstore/";
/// The file that tells whether it has.
pub(super) const IN_BUNDLE_TIMESTAMP: &str = "sigstore/timestamp.json";
/// Sigstore's TUF root as of this agent; it authenticates all later ones.
const SHIPPED_TUF_ROOT: &[u8] = include_bytes!("../../data/sigstore-tuf-root.json");

slipway_protocol::refusals! {
    LOST = "SLW-A-SIGSTORE-ROOT", System, Device, "Sigstore's trusted root on disk is missing or too old",
        "make `url` in [sigstore] reachable, so that it is fetched again, or mirror it with `slipway mirror \
         sigstore`: an older one is not used";
}

/// Where the trusted root in force comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A file that the configuration names.
    File,
    /// Sigstore's own repository.
    Sigstore,
    /// The operator's repository.
    Mirror,
    /// The agent was built with it.
    Agent,
}

/// What the configuration says about Sigstore's root, and Sigstore's own repository on disk.
#[derive(Clone, Debug)]
pub(super) struct Sigstore {
    file: Option<Vec<u8>>,
    pub(super) url: Option<Url>,
    pub(super) cache: Cache,
    /// The version of Sigstore's TUF root that the shipped trusted root belongs to; `None` where another instance is followed.
    shipped: Option<u64>,
}

impl Sigstore {
    pub(super) fn open(config: &Config, dir: &Path) -> Result<Self, Refusal> {
        let file = config.sigstore.trusted_root.as_deref().map(read_limited).transpose()?;
        if let Some(bytes) = &file {
            SigstoreRoot::parse(bytes)?;
        }
        let initial = config.sigstore.root.as_deref().map(read_limited).transpose()?;
        let another = initial.is_some();
        let cache = Cache::new(dir.join(layout::SIGSTORE_TAR), initial.unwrap_or_else(|| SHIPPED_TUF_ROOT.to_vec()))?;
        let shipped = if another { None } else { Some(cache.born(&Floors::default())?.root) };
        Ok(Self { file, url: config.sigstore.url.clone(), cache, shipped })
    }
}

impl Trust {
    /// The trusted root in force, and where it comes from.
    ///
    /// # Errors
    /// When the one that was in force is lost and only older ones are there, or it cannot be used.
    pub(super) fn sigstore_root(
        &self,
        repository: &Repository,
        trust_floors: &TrustFloors,
    ) -> Result<(Vec<u8>, Origin), Refusal> {
        if let Some(bytes) = &self.sigstore.file {
            return Ok((bytes.clone(), Origin::File));
        }
        let mirrored = || self.optional_target(repository, MIRROR);
        if self.sigstore.url.is_some() && trust_floors.sigstore.timestamp > 0 {
            return match self.own_root(trust_floors) {
                Ok(own) => Ok(own),
                // A root signed by the operator is as good a reason not to wait for the network.
                Err(lost) => mirrored()?.map(|target| (target.bytes().to_vec(), Origin::Mirror)).ok_or(lost),
            };
        }
        match mirrored()? {
            Some(target) => Ok((target.bytes().to_vec(), Origin::Mirror)),
            None => self.own_root(trust_floors),
        }
    }

    /// The newest of Sigstore's own that was seen here: followed, or shipped with this agent or a newer one.
    fn own_root(&self, trust_floors: &TrustFloors) -> Result<(Vec<u8>, Origin), Refusal> {
        let shipped = self.sigstore.shipped.map(|version| (version, SigstoreRoot::public_good_json().as_bytes()));
        let wanted = match (&shipped, trust_floors.trusted_root) {
            (Some((version, shipped)), None) if *version >= trust_floors.sigstore.root => {
                return Ok((shipped.to_vec(), Origin::Agent));
            }
            (Some((version, shipped)), Some(_)) if *version > trust_floors.sigstore.root => {
                return Ok((shipped.to_vec(), Origin::Agent));
            }
            (_, Some(wanted)) => wanted,
            (_, None) => return Err(LOST.with("none yet", "one")),
        };
        let kept = read_file(&self.cache_name(layout::TARGETS, &wanted)).filter(|bytes| Sha256::of(bytes) == wanted);
        match (kept, shipped) {
            (Some(bytes), _) if trust_floors.sigstore.timestamp > 0 => Ok((bytes, Origin::Sigstore)),
            (Some(bytes), _) => Ok((bytes, Origin::Agent)),
            (None, Some((_, shipped))) if Sha256::of(shipped) == wanted => Ok((shipped.to_vec(), Origin::Agent)),
            (None, _) => Err(LOST.with("an older one than before", wanted)),
        }
    }

    /// Remembers the shipped root, so that an older agent, back after this one failed, does not go back to an older root.
    pub(super) fn remember_shipped(&self, trust_floors: &mut TrustFloors) -> Result<(), Refusal> {
        if self.sigstore.shipped.is_some_and(|version| version > trust_floors.sigstore.root) && self.sigstore.file.is_none() {
            let shipped = SigstoreRoot::public_good_json().as_bytes();
            self.keep_target(shipped)?;
            trust_floors.sigstore = self.sigstore.cache.born(&trust_floors.sigstore)?;
            trust_floors.trusted_root = Some(Sha256::of(shipped));
        }
        Ok(())
    }

    /// Follows Sigstore's own repository, where that is configured.
    pub(super) async fn follow_sigstore(
        &self,
        base: &Transport,
        rules: Rules,
        trust_floors: &mut TrustFloors,
    ) -> Result<(), NoCandidate> {
        let place = RepositoryTransport::sigstore(base);
        let repository = self.sigstore.cache.refresh(&place, &mut trust_floors.sigstore, rules).await?;
        let info = repository.lookup(TARGET)?;
        if trust_floors.trusted_root.is_some() && info.sha256 == trust_floors.trusted_root && self.own_root(trust_floors).is_ok()
        {
            return Ok(());
        }
        let Small::Bytes(bytes) = place.get(Kind::Target, &info.fetch_path, info.length).await? else {
            return Err(MISSING.with(format_args!("no {}", info.fetch_path), "the file").into());
        };
        let target = repository.authenticate(TARGET, bytes)?;
        // One that this agent cannot use does not replace one that it can.
        SigstoreRoot::parse(target.bytes())?;
        self.keep_target(target.bytes())?;
        trust_floors.trusted_root = Some(Sha256::of(target.bytes()));
        Ok(())
    }

    /// Whether there is none of Sigstore's own yet, or it is lost.
    pub(super) fn root_is_missing(&self, trust_floors: &TrustFloors) -> bool {
        self.sigstore.file.is_none() && (trust_floors.sigstore.timestamp == 0 || self.own_root(trust_floors).is_err())
    }
}
