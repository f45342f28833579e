//! The table of TUF checks, and those that every metadata file must pass.

use super::Limits;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sigstore_tuf::metadata::Role;
use sigstore_tuf::{Error, Key, Metadata, RoleKeys, Root, Targets};
use slipway_protocol::{Refusal, Sha256, json};
use std::collections::{BTreeMap, BTreeSet};

slipway_protocol::refusals! {
    pub(super) CACHE = "SLW-T-CACHE", System, Device, "cached metadata is damaged",
        "wait: the agent fetches it again, and the version floors still hold; if this happens often, check the disk";
    pub(super) ENDLESS = "SLW-T-ENDLESS", EndlessData, Attacker, "metadata or target file is too large",
        "check the server, or use another mirror: it sends more than is authorized";
    pub(super) EXPIRED = "SLW-T-EXPIRED", Freeze, Operator, "metadata has expired",
        "run `slipway refresh` and publish; if that was done, the device is being shown old metadata, or its clock \
         is or was ahead: set the clock, and without a network clear the recorded expiry with `slipway-agent unblock \
         --expiry`";
    pub(super) FORK = "SLW-T-FORK", MixAndMatch, Attacker, "one version of a role has two different contents",
        "publish every change under a new version; if that was done, rotate the role's keys: they were misused";
    pub(super) INDEX = "SLW-T-INDEX", Malformed, Operator, "index of releases is malformed",
        "write it again with `slipway renew REPO releases`; if `slipway` refuses its own repository too, restore it from a backup";
    pub(super) KEY = "SLW-T-KEY", Malformed, Operator, "key in the metadata cannot be used",
        "use P-256 or Ed25519 keys";
    pub(super) LIFETIME = "SLW-T-LIFETIME", Freeze, Attacker, "metadata expires too far ahead",
        "set the device's clock if it is behind; otherwise sign the role again for a shorter time with `slipway \
         refresh` or `slipway renew`; if nobody here signed it, rotate its key: it is stolen";
    pub(super) MALFORMED = "SLW-T-MALFORMED", Malformed, Operator, "metadata is malformed",
        "publish the repository again with `slipway`; if it is intact there, find out what changes it on the way";
    pub(super) MISSING = "SLW-T-MISSING", Network, Operator, "file that signed metadata names is missing",
        "publish the whole repository, timestamp.json last; if timestamp.json itself is missing, check repository.url";
    pub(super) MIX = "SLW-T-MIX", MixAndMatch, Attacker, "metadata differs from what its parent pins",
        "publish again, and purge caches on the way: the server shows files of different releases together";
    pub(super) NO_TARGET = "SLW-T-NO-TARGET", Configuration, Operator, "target is not signed by a trusted role",
        "release it, or check component, channel and version for a typing error";
    pub(super) OFFLINE = "SLW-T-OFFLINE", Freeze, Operator, "offline bundle's metadata has expired",
        "make a new bundle, or set `offline_until` in the channel and allow it in the device's configuration; if \
         only the device's clock was ahead, set it and clear the recorded expiry with `slipway-agent unblock \
         --expiry`";
    pub(super) ORDER = "SLW-T-ORDER", System, Device, "refresh was not completed",
        "report it: this is a fault in the agent";
    pub(super) ROLE = "SLW-T-ROLE", Malformed, Operator, "role or delegation is invalid",
        "publish the repository again with `slipway`";
    pub(super) ROLLBACK = "SLW-T-ROLLBACK", Rollback, Attacker, "metadata is older than what this device has accepted before",
        "restore the newest repository on the server; after losing keys, rotate them";
    pub(super) ROOT_CHAIN = "SLW-T-ROOT-CHAIN", EndlessData, Network, "too many new roots in one refresh",
        "wait: the next refresh continues from the verified roots; if this never ends, find out who controls the server";
    pub(super) ROOT_FORK = "SLW-T-ROOT-FORK", WrongSigner, Attacker, "root differs from the known root of the same version",
        "if this device was set up with another repository's root.json before, give it a fresh state directory; \
         otherwise stop and rotate the root keys: one is stolen or was misused";
    pub(super) ROOT_VERSION = "SLW-T-ROOT-VERSION", Rollback, Attacker, "new root is not exactly one version newer",
        "publish every root under its own number";
    pub(super) SAME_KEY = "SLW-T-SAME-KEY", WrongSigner, Attacker, "one key was counted more than once toward the threshold",
        "list each public key once: distinct keys count, not key ids";
    pub(super) SIGNATURES = "SLW-T-SIGNATURES", WrongSigner, Attacker, "too few valid signatures by the required keys",
        "check that the device has this repository's root.json and that the right keys signed; if both are right, \
         find out who else signed this";
    pub(super) STALE = "SLW-T-STALE", Network, Network, "newer metadata could not be fetched",
        "wait: the agent tries again, and the verified metadata stays in force";
    pub(super) SUCCINCT = "SLW-T-SUCCINCT-ROLES", Malformed, Operator,
        "metadata delegates by succinct_roles, which is not supported",
        "name each delegated role with its paths or path_hash_prefixes in roles, instead of hash bins (TAP 15)";
    pub(super) TARGET = "SLW-T-TARGET", ArbitrarySoftware, Attacker, "target's length or digest differs from the signed one",
        "publish again, and purge caches on the way: the server delivers other bytes than were signed";
    pub(super) TARGET_PATH = "SLW-T-TARGET-PATH", Configuration, Operator, "target path is not a plain relative path",
        "use names without `..`, empty parts, backslashes or control characters";
}

/// The library's errors as refusals. `what` is the file or role it happened with.
pub(super) fn refused(what: &str, error: &Error) -> Refusal {
    match error {
        Error::UnusableKey { .. } | Error::UnsupportedScheme { .. } | Error::Crypto(_) => {
            KEY.with(format_args!("{what}: {error}"), "a P-256 or Ed25519 key")
        }
        Error::UnknownRole(role) => ROLE.with(format_args!("{what}: nobody delegates to {role:?}"), "a delegated role"),
        Error::DuplicateSignature { key_id, .. } => {
            SIGNATURES.with(format_args!("{what}: two signatures under key id {key_id}"), "one signature for each key")
        }
        Error::ThresholdNotMet { found, threshold, .. } => {
            SIGNATURES.with(format_args!("{what}: {found} valid"), format_args!("{threshold}"))
        }
        Error::Rollback { role, trusted, new } => rollback(role, *new, *trusted),
        Error::EqualVersion { version, .. } => ROLLBACK.with(format_args!("{what}: version {version} again"), "a newer one"),
        Error::BadRootVersion { trusted, new } => ROOT_VERSION.with(new, trusted.saturating_add(1)),
        Error::Expired { role, expires } => EXPIRED.with(format_args!("{role} expired at {expires}"), "a later expiry"),
        Error::IntegrityMismatch(why) => MIX.with(why, "the pinned version, length and digest"),
        Error::Json(why) => MALFORMED.with(format_args!("{what}: {}", without_rust(&why.to_string())), "TUF metadata"),
        other => MALFORMED.with(format_args!("{what}: {other}"), "TUF metadata"),
    }
}

/// An error of serde's without the names of Rust's types, which say nothing to whoever publishes a repository.
fn without_rust(error: &str) -> String {
    let mut words = error.split(' ');
    let mut plain = Vec::new();
    while let Some(word) = words.next() {
        plain.push(match word {
            "struct" => {
                words.next();
                "an object"
            }
            "u64" | "u32" | "usize" | "i64" => "a non-negative integer",
            word => word,
        });
    }
    plain.join(" ")
}

/// `role` has version `seen`, below `floor`.
pub(super) fn rollback(role: &str, seen: u64, floor: u64) -> Refusal {
    ROLLBACK.with(format_args!("{role} version {seen}"), format_args!("{floor} or newer"))
}

/// What every metadata file is made of.
#[derive(Deserialize)]
struct Outline {
    #[serde(rename = "signatures")]
    _signatures: Vec<SignatureOutline>,
}

#[derive(Deserialize)]
struct SignatureOutline {
    #[serde(rename = "keyid")]
    _keyid: IgnoredAny,
}

/// Size, strict JSON, shape and number of signatures: all that is looked at before a signature is.
pub(super) fn gate<T: Role>(bytes: &[u8], most: u64, limits: &Limits, what: &str) -> Result<Metadata<T>, Refusal> {
    bounded(bytes, most, what)?;
    json::check(bytes, json::Limits { bytes: bytes.len(), depth: limits.depth })
        .map_err(|error| MALFORMED.with(format_args!("{what}: {error}"), "JSON without duplicate members"))?;
    // The library would take `["KEYID", "SIGNATURE"]` for a signature; all its other types are objects only.
    json::from_slice::<Outline>(bytes).map_err(|error| MALFORMED.with(format_args!("{what}: {error}"), "TUF metadata"))?;
    let metadata = Metadata::<T>::from_slice(bytes).map_err(|error| refused(what, &error))?;
    let signatures = metadata.signatures().len();
    if signatures > limits.signatures {
        return Err(
            MALFORMED.with(format_args!("{what}: {signatures} signatures"), format_args!("at most {}", limits.signatures))
        );
    }
    Ok(metadata)
}

/// Refuses delegations that two clients would read in two ways: hash bins, which have no list of roles and are passed over beside one; a role named
/// twice, so with two sets of keys and paths; and a role bound by paths and by their digests, of which the specification allows one.
pub(super) fn plain_delegations(targets: &Targets, what: &str) -> Result<(), Refusal> {
    let Some(delegations) = &targets.delegations else { return Ok(()) };
    if delegations.extra.contains_key("succinct_roles") {
        return Err(SUCCINCT.with(format_args!("{what}: succinct_roles"), "roles"));
    }
    let mut names = BTreeSet::new();
    for role in &delegations.roles {
        if !names.insert(role.name.as_str()) {
            return Err(ROLE.with(format_args!("{what} delegates to {} twice", role.name), "each role once"));
        }
        if role.paths.is_some() && role.path_hash_prefixes.is_some() {
            let seen = format_args!("{what} delegates to {} by paths and by path_hash_prefixes", role.name);
            return Err(ROLE.with(seen, "one of them"));
        }
    }
    Ok(())
}

/// No more bytes than allowed.
pub(super) fn bounded(bytes: &[u8], most: u64, what: &str) -> Result<(), Refusal> {
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= most) {
        Ok(())
    } else {
        Err(ENDLESS.with(format_args!("{what}: {} bytes or more", bytes.len()), format_args!("at most {most}")))
    }
}

/// The threshold again, counted by public key: a key that is listed under two ids signs once.
///
/// The library has verified the signatures and counted ids; only where ids and keys differ in number is there anything to do.
pub(super) fn distinct<T: Role>(
    metadata: &Metadata<T>,
    keys: &BTreeMap<String, Key>,
    role: &RoleKeys,
    what: &str,
) -> Result<(), Refusal> {
    let ids: BTreeSet<&String> = role.keyids.iter().collect();
    let public = |id: &String| keys.get(id).and_then(|key| key.verification_key().ok()).map(|key| key.as_bytes().to_vec());
    let known: Vec<Vec<u8>> = ids.iter().filter_map(|id| public(id)).collect();
    if known.iter().collect::<BTreeSet<_>>().len() == known.len() {
        return Ok(());
    }
    let mut signed = BTreeSet::new();
    for signature in metadata.signatures().iter().filter(|signature| ids.contains(&signature.keyid)) {
        let (Some(key), Some(public), Ok(raw)) =
            (keys.get(&signature.keyid), public(&signature.keyid), hex::decode(&signature.sig))
        else {
            continue;
        };
        if !signed.contains(&public) && key.verify(metadata.signed_canonical(), &raw.into()).is_ok() {
            signed.insert(public);
        }
    }
    if signed.len() < role.threshold {
        return Err(SAME_KEY
            .with(format_args!("{what}: signatures of {} distinct keys", signed.len()), format_args!("{}", role.threshold)));
    }
    Ok(())
}

/// [`distinct`] for a role that `root` names.
pub(super) fn distinct_by_root<T: Role>(metadata: &Metadata<T>, root: &Root, role: &str) -> Result<(), Refusal> {
    match root.role(role) {
        Some(binding) => distinct(metadata, &root.keys, binding, role),
        None => Err(ROLE.with(format_args!("the root names no {role} role"), "all four roles")),
    }
}

/// Refuses a version that has expired `now`, or that had when it was looked at before: `judged`
/// is the newest that had.
pub(super) fn unexpired(role: &str, version: u64, expires: Timestamp, now: Timestamp, judged: u64) -> Result<(), Refusal> {
    if expires < now {
        let seen = format_args!("{role} version {version} expired at {expires}");
        return Err(EXPIRED.with(seen, format_args!("an expiry after {now}")));
    }
    if version <= judged {
        let seen = format_args!("{role} version {version}; version {judged} was recorded as expired");
        return Err(EXPIRED.with(seen, format_args!("version {} or newer", judged.saturating_add(1))));
    }
    Ok(())
}

/// Which keys may sign a role, by their bytes: to see whether a new root replaced them.
pub(super) fn public_keys(root: &Root, role: &str) -> BTreeSet<Vec<u8>> {
    let ids = root.role(role).map(|binding| binding.keyids.as_slice()).unwrap_or_default();
    let key = |id: &String| root.keys.get(id)?.verification_key().ok().map(|key| key.as_bytes().to_vec());
    ids.iter().filter_map(key).collect()
}

/// Refuses `new` if it is the version that `old` was and says something else; one more signature is no change.
pub(super) fn same_if_same_version<T: Role>(old: &Metadata<T>, new: &Metadata<T>, what: &str) -> Result<(), Refusal> {
    let version = new.signed().version();
    if old.signed().version() == version && old.signed_canonical() != new.signed_canonical() {
        return Err(FORK.with(format_args!("another {what} version {version}"), "the one verified before"));
    }
    Ok(())
}

/// The digest by which a root is remembered: of what was signed, so that one more signature does not make it another root.
pub(super) fn root_digest(root: &Metadata<Root>) -> Sha256 {
    Sha256::of(root.signed_canonical())
}
