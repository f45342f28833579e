//! Decides whether a release may be installed here, from two proofs: who released and who built it.
//!
//! [`Authorized`] can be made nowhere else and read from no file: whoever holds one holds the verdict of this run, over these bytes.

use crate::error::{Check, or_none};
use crate::evidence::Subject;
use crate::policy::Policy;
use crate::provenance::{Provenance, verify_provenance};
use crate::root::SigstoreRoot;
use crate::tuf::AuthenticTarget;
use slipway_protocol::{Artifact, ComponentName, Manifest, Platform, Refusal, Sha256, Sha512, Unreadable, Version};
use std::ops::Deref;

/// The roles that may sign a release: the release keys, and the targets keys above them. Never the rollout key.
const RELEASE_ROLES: [&str; 2] = ["releases", "targets"];

/// A value that was authorized. No constructor outside this module, and no `Deserialize`: a verdict is never stored, only evidence is.
///
/// ```compile_fail,E0277
/// let forged: slipway_verify::Authorized<u8> = serde_json::from_str("1").unwrap();
/// ```
/// ```compile_fail,E0423
/// let forged = slipway_verify::Authorized(1);
/// ```
#[derive(Clone, Debug)]
pub struct Authorized<T>(T);

impl<T> Authorized<T> {
    /// What was authorized.
    pub const fn get(&self) -> &T {
        &self.0
    }
}

impl<T> Deref for Authorized<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A release with everything that authorizes it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Release {
    /// The manifest that the release keys signed.
    pub manifest: Manifest,
    /// The artifact for this platform. The caller that fetches it must compare its SHA-256.
    pub artifact: Artifact,
    /// The artifact's SHA-512, to be compared as well. Only where a policy was met by provenance that names no SHA-256: elsewhere the
    /// SHA-256 proves the same bytes, and a second digest would cost more than the first.
    pub sha512: Option<Sha512>,
    /// How it was built.
    pub provenance: Provenance,
}

/// Authorizes the release that `manifest` describes, for one platform, if every policy accepts its provenance.
///
/// # Errors
/// The first check that refuses.
pub fn authorize(
    manifest: &AuthenticTarget,
    component: &ComponentName,
    platform: Platform,
    policies: &[Policy],
    root: &SigstoreRoot,
    bundle: &[u8],
) -> Result<Authorized<Release>, Refusal> {
    if !RELEASE_ROLES.contains(&manifest.role()) {
        return Err(Check::ManifestRole.refuse(manifest.role(), RELEASE_ROLES.join(" or ")));
    }
    judge(manifest.path(), manifest.bytes(), component, platform, policies, root, bundle).map(Authorized)
}

/// The refusal of a signed document that cannot be read. What only a newer agent can read is no mistake of its signer.
#[must_use]
pub fn unreadable(why: Unreadable, malformed: impl FnOnce(String) -> Refusal) -> Refusal {
    match why {
        Unreadable::Malformed(why) => malformed(why),
        Unreadable::Critical(why) => Check::AgentCritical.refuse(why, "members that this agent knows"),
        Unreadable::Format(why) => Check::AgentFormat.refuse(why, "what this agent knows"),
    }
}

/// Checks that the agent is new enough for what `release` says about it. `agent` is what `slipway-agent version` prints; one that
/// is not a version is too old.
///
/// Not to be asked about a release of the agent itself: `min_agent` in one of those would lock out the agents that need it most.
///
/// # Errors
/// [`Check::AgentVersion`].
pub fn agent_is_new_enough(release: &Manifest, agent: &str) -> Result<(), Refusal> {
    match &release.min_agent {
        Some(least) if agent.parse::<Version>().map_or(true, |agent| agent < *least) => {
            Err(Check::AgentVersion.refuse(format_args!("agent {agent}"), format_args!("{least} or newer")))
        }
        _ => Ok(()),
    }
}

fn judge(
    path: &str,
    manifest: &[u8],
    component: &ComponentName,
    platform: Platform,
    policies: &[Policy],
    root: &SigstoreRoot,
    bundle: &[u8],
) -> Result<Release, Refusal> {
    let malformed = |why| Check::ManifestMalformed.refuse(why, "a release manifest");
    let manifest = Manifest::parse(manifest).map_err(|why| unreadable(why, malformed))?;
    if manifest.component != *component {
        return Err(Check::ManifestComponent.refuse(&manifest.component, component));
    }
    let expected = Manifest::target(&manifest.component, &manifest.version);
    if path != expected {
        return Err(Check::ManifestPath.refuse(expected, path));
    }
    let artifact = manifest.artifact(platform).cloned().ok_or_else(|| {
        let known = manifest.artifacts.iter().map(|artifact| artifact.platform.as_str());
        let has: Vec<&str> = known.chain(manifest.skipped.iter().map(|skipped| skipped.platform.as_str())).collect();
        let missing = |_| Check::ArtifactMissing.refuse(has.join(", "), platform);
        manifest.skipped(platform).cloned().map_or_else(|| missing(String::new()), |why| unreadable(why, missing))
    })?;
    let size = u64::try_from(bundle.len()).unwrap_or(u64::MAX);
    let seen = Sha256::of(bundle);
    if size != artifact.provenance.size || seen != artifact.provenance.sha256 {
        let wanted = format_args!("{} bytes, {:?}", artifact.provenance.size, artifact.provenance.sha256).to_string();
        return Err(Check::BundleDigest.refuse(format_args!("{size} bytes, {seen:?}"), wanted));
    }
    let subject = Subject {
        name: &artifact.name,
        sha256: Some(artifact.sha256),
        sha512: artifact.sha512,
        version: Some(&manifest.version),
    };
    let (mut provenance, mut sha512) = (None, None);
    for policy in policies {
        if policy.component() != component {
            return Err(Check::PolicyComponent.refuse(policy.component(), component));
        }
        let verified = verify_provenance(bundle, root, policy, &subject)?;
        if verified.digest_algorithm != "sha256" {
            sha512 = artifact.sha512;
        }
        provenance = Some(verified);
    }
    let provenance = provenance.ok_or_else(|| Check::PolicyNone.refuse(or_none(None::<&str>), "a policy"))?;
    Ok(Release { manifest, artifact, sha512, provenance })
}
