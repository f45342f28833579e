//! Feeds what the operator publishes: TUF metadata, manifests, channels, policies.

use crate::mutate::mutant;
use crate::tape::Tape;
use ed25519_dalek::{Signer as _, SigningKey};
use jiff::Timestamp;
use serde_json::{Value, json};
use slipway_protocol::index::Node;
use slipway_protocol::{Channel, Manifest, Platform, Sha256};
use slipway_verify::tuf::{FetchResult, Floors, Refresh, Repository, Rules, Step, Stored};
use slipway_verify::{Policy, Refusal};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A release's manifest: what was read can be written and read again, and names one artifact for a platform at most.
pub fn manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        // What was skipped is not written; a manifest of nothing else cannot be.
        let manifest = Manifest { skipped: Vec::new(), ..manifest };
        if manifest.artifacts.is_empty() {
            return;
        }
        let written = serde_json::to_vec(&manifest).expect("a manifest can be written");
        assert_eq!(Manifest::parse(&written).as_ref(), Ok(&manifest));
        let _artifact = manifest.artifact(Platform::current());
        let target = Manifest::target(&manifest.component, &manifest.version);
        assert_eq!(target.split('/').count(), 3, "{target}");
    }
}

/// A channel: likewise.
pub fn channel(data: &[u8]) {
    if let Ok(channel) = Channel::parse(data) {
        let written = serde_json::to_vec(&channel).expect("a channel can be written");
        assert_eq!(Channel::parse(&written).as_ref(), Ok(&channel));
    }
}

/// A file of an index of releases: likewise.
pub fn index(data: &[u8]) {
    if let Ok(node) = Node::parse(data) {
        assert_eq!(Node::parse(&node.to_bytes()).as_ref(), Ok(&node));
    }
}

/// A policy: it is read or refused, and what is read can be explained.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(policy) = Policy::parse(text) {
        assert!(!policy.explain().is_empty());
        // A device reads all that an operator may write.
        let signed = Policy::read_signed("policy", data).map(|policy| policy.explain());
        assert_eq!(signed.ok(), Some(policy.explain()));
    }
    let _signed = Policy::read_signed("policy", data);
}

const DAYS: [&str; 2] = ["2026-11-22T12:00:00Z", "2036-11-22T12:00:00Z"];
const MANIFEST: &str = "releases/edgecore/v1.23.1.json";
/// All files but the roots, each before those that pin it.
const ROLES: [&str; 5] = ["releases", "channels", "targets", "snapshot", "timestamp"];

/// A small TUF repository whose keys are hashes of their names, so that anything can be signed again.
struct Tuf {
    /// The signed part of each file.
    signed: BTreeMap<&'static str, Value>,
    /// The files as a server has them.
    files: BTreeMap<String, Vec<u8>>,
}

fn key(role: &str) -> SigningKey {
    SigningKey::from_bytes(&Sha256::of(format!("slipway fuzz {role}").as_bytes()).0)
}

/// A key as metadata lists it, by its id.
fn public(role: &str) -> (String, Value) {
    let listed = json!({
        "keytype": "ed25519", "scheme": "ed25519",
        "keyval": {"public": hex::encode(key(role).verifying_key().as_bytes())},
    });
    (Sha256::of(listed.to_string().as_bytes()).to_string(), listed)
}

fn keys(roles: &[&str]) -> Value {
    Value::Object(roles.iter().map(|role| public(role)).collect())
}

fn header(kind: &str, version: u64) -> Value {
    json!({"_type": kind, "spec_version": "1.0.0", "version": version, "expires": DAYS[1]})
}

fn with(mut header: Value, members: Value) -> Value {
    if let (Value::Object(header), Value::Object(members)) = (&mut header, members) {
        header.extend(members);
    }
    header
}

/// A parsed object is sorted by name and written without spaces, which is canonical as long as no text in it needs an escape.
fn sealed(signed: &Value, role: &str) -> Vec<u8> {
    let signature = key(role).sign(signed.to_string().as_bytes());
    let signatures = json!([{"keyid": public(role).0, "sig": hex::encode(signature.to_bytes())}]);
    json!({"signatures": signatures, "signed": signed}).to_string().into_bytes()
}

fn target(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": Sha256::of(bytes).to_string()}})
}

impl Tuf {
    fn new() -> Self {
        let top = ["root", "targets", "snapshot", "timestamp"];
        let alone = |role: &str| json!({"keyids": [public(role).0], "threshold": 1});
        let root = |version| {
            let roles: Value = top.iter().map(|role| ((*role).to_owned(), alone(role))).collect::<serde_json::Map<_, _>>().into();
            with(header("root", version), json!({"consistent_snapshot": true, "keys": keys(&top), "roles": roles}))
        };
        let delegation =
            |name: &str| with(alone(name), json!({"name": name, "terminating": true, "paths": [format!("{name}/*/*")]}));
        let targets = |listed: Value| with(header("targets", 1), json!({"targets": listed}));
        let delegations =
            json!({"keys": keys(&["releases", "channels"]), "roles": [delegation("releases"), delegation("channels")]});
        let signed = [
            ("1.root", root(1)),
            ("2.root", root(2)),
            ("releases", targets(json!({MANIFEST: target(b"manifest")}))),
            ("channels", targets(json!({"channels/edgecore/stable.json": target(b"channel")}))),
            ("targets", with(targets(json!({"policies/edgecore.toml": target(b"policy")})), json!({"delegations": delegations}))),
            ("snapshot", with(header("snapshot", 1), json!({"meta": {}}))),
            ("timestamp", with(header("timestamp", 1), json!({"meta": {}}))),
        ];
        let mut tuf = Self { signed: signed.into(), files: BTreeMap::new() };
        tuf.sign();
        tuf
    }

    /// Signs everything, from the bottom up, each pin being what its file has become.
    fn sign(&mut self) {
        for root in ["1.root", "2.root"] {
            self.files.insert(format!("{root}.json"), sealed(&self.signed[root], "root"));
        }
        for role in ROLES {
            let bytes = sealed(&self.signed[role], role);
            let version = self.signed[role]["version"].clone();
            let name = if role == "timestamp" { "timestamp.json".to_owned() } else { format!("{version}.{role}.json") };
            let pinned_by = match role {
                "timestamp" => None,
                "snapshot" => self.signed.get_mut("timestamp"),
                _ => self.signed.get_mut("snapshot"),
            };
            if let Some(Value::Object(meta)) = pinned_by.and_then(|signed| signed.get_mut("meta")) {
                meta.insert(format!("{role}.json"), with(target(&bytes), json!({"version": version})));
            }
            self.files.insert(name, bytes);
        }
    }

    /// A device's first refresh: the repository, and what the device keeps.
    fn follow(&self, initial_root: &[u8]) -> Result<(Repository, Stored), Refusal> {
        let now: Timestamp = DAYS[0].parse().expect("a valid time");
        let mut stored = Stored::default();
        let mut refresh = Refresh::begin(initial_root, Stored::default(), &Floors::default(), Rules::at(now))?;
        for _ in 0..1000 {
            match refresh.step() {
                Step::Fetch(fetch) => {
                    let most = usize::try_from(fetch.limit).map_or(usize::MAX, |limit| limit.saturating_add(1));
                    let answer = self.files.get(&fetch.path).map(|bytes| &bytes[..bytes.len().min(most)]);
                    refresh.answer(answer.map_or(FetchResult::Missing, FetchResult::Bytes))?;
                }
                Step::Store { slot, bytes } => stored.put(&slot, bytes),
                Step::Done => {
                    let floors = refresh.floors().clone();
                    let opened = Refresh::replay(initial_root, stored.clone(), &floors, Rules::at(now));
                    assert!(opened.is_ok(), "accepted, and cannot be opened again: {opened:?}");
                    return refresh.finish().map(|repository| (repository, stored));
                }
            }
        }
        panic!("a refresh of {} files takes more than 1000 steps", self.files.len())
    }
}

fn signed_part(bytes: &[u8]) -> Value {
    serde_json::from_slice::<Value>(bytes).map(|mut file| file["signed"].take()).unwrap_or_default()
}

/// The repository with one file changed. Changed without its key, what is signed must stay the same; changed by a thief of the key, or of
/// all keys, it only has to be read without harm.
pub fn tuf(data: &[u8]) {
    static HONEST: OnceLock<Tuf> = OnceLock::new();
    let honest = HONEST.get_or_init(Tuf::new);
    let mut tape = Tape::new(data);
    let mut tuf = Tuf { signed: honest.signed.clone(), files: honest.files.clone() };
    let thief = tape.byte() % 3;
    if thief == 0 {
        let names: Vec<String> = tuf.files.keys().cloned().collect();
        let Some(name) = tape.pick(&names) else { return };
        let all: Vec<Value> = honest.files.values().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        let changed = match serde_json::from_slice(&honest.files[name]) {
            Ok(value) if !tape.byte().is_multiple_of(8) => mutant(&value, &all, &mut tape),
            _ => tape.rest().to_vec(),
        };
        tuf.files.insert(name.clone(), changed);
    } else {
        let names: Vec<&str> = honest.signed.keys().copied().collect();
        let Some(name) = tape.pick(&names) else { return };
        let others: Vec<Value> = honest.signed.values().cloned().collect();
        let changed = serde_json::from_slice(&mutant(&honest.signed[name], &others, &mut tape)).unwrap_or_default();
        tuf.signed.insert(*name, changed);
        if thief == 1 {
            tuf.sign();
        } else {
            let role = name.trim_start_matches("1.").trim_start_matches("2.");
            let bytes = sealed(&tuf.signed[name], role);
            let file = tuf.files.keys().find(|file| file.contains(name)).cloned().unwrap_or_default();
            tuf.files.insert(file, bytes);
        }
    }
    let Some(initial_root) = tuf.files.get("1.root.json") else { return };
    let Ok((repository, stored)) = tuf.follow(initial_root) else { return };
    let (found, _roles) = (repository.lookup(MANIFEST), repository.roles());
    if thief == 0 && initial_root == &honest.files["1.root.json"] {
        let kept =
            [&stored.root, &stored.timestamp, &stored.snapshot, &stored.targets].into_iter().chain(stored.delegated.values());
        for file in kept.filter(|file| !file.is_empty()) {
            let said = signed_part(file);
            assert!(honest.signed.values().any(|signed| *signed == said), "accepted, and never signed by anybody: {said}");
        }
        let found = found.expect("a repository that is accepted has its release");
        assert_eq!((found.length, found.sha256), (8, Some(Sha256::of(b"manifest"))));
    }
    if repository.lookup(MANIFEST).is_ok_and(|found| found.sha256 == Some(Sha256::of(b"manifest"))) {
        assert!(
            repository.authenticate(MANIFEST, b"manifesT".to_vec()).is_err(),
            "another file than the signed one is authentic"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_honest_repository_is_accepted() {
        let honest = Tuf::new();
        let (repository, _) = honest.follow(&honest.files["1.root.json"]).unwrap();
        assert!(repository.authenticate(MANIFEST, b"manifest".to_vec()).is_ok());
        assert_eq!(repository.roles().len(), 6);
    }
}
