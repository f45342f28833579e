//! A TUF repository in memory (specification 1.0) that can publish anything, properly signed or not.
//!
//! It imitates what `slipway` publishes. Change the roles and `publish`, and the server's files change as an operator's would; or change
//! the files themselves with [`Repository::tamper`]. Unlike `slipway` it checks nothing. Everything is deterministic except the keys.

use jiff::Timestamp;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A private key of the fake world. Worth nothing: it is derived from a number.
#[derive(Clone)]
pub struct Key {
    id: String,
    /// As metadata has it.
    pub public: Value,
    secret: Secret,
}

#[derive(Clone)]
enum Secret {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

impl Key {
    /// A new P-256 key.
    #[must_use]
    pub fn new() -> Self {
        let secret = p256::ecdsa::SigningKey::from_slice(&seed()).expect("a hash is a P-256 scalar");
        let pem = secret.verifying_key().to_public_key_pem(p256::pkcs8::LineEnding::LF).expect("public keys encode");
        Self::of(Secret::P256(secret), "ecdsa", "ecdsa-sha2-nistp256", pem)
    }

    /// A new Ed25519 key, in hexadecimal as TUF has it.
    #[must_use]
    pub fn ed25519() -> Self {
        let secret = ed25519_dalek::SigningKey::from_bytes(&seed());
        let public = hex::encode(secret.verifying_key().to_bytes());
        Self::of(Secret::Ed25519(secret), "ed25519", "ed25519", public)
    }

    fn of(secret: Secret, keytype: &str, scheme: &str, public: String) -> Self {
        let public = json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": public}});
        Self { id: hex::encode(Sha256::digest(canonical(&public))), public, secret }
    }

    /// The same key under another id.
    #[must_use]
    pub fn named(&self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self.clone() }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn sign(&self, bytes: &[u8]) -> String {
        match &self.secret {
            Secret::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(bytes);
                hex::encode(signature.as_bytes())
            }
            Secret::Ed25519(key) => hex::encode(ed25519_dalek::Signer::sign(key, bytes).to_bytes()),
        }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

fn seed() -> [u8; 32] {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    Sha256::digest(format!("slipway-testkit tuf key {}", NUMBER.fetch_add(1, Ordering::Relaxed))).into()
}

/// Signs `signed` with these keys, whoever must.
#[must_use]
pub fn seal(signed: &Value, keys: &[Key]) -> Vec<u8> {
    let bytes = canonical(signed);
    let signatures: Vec<Value> = keys.iter().map(|key| json!({"keyid": key.id, "sig": key.sign(bytes.as_bytes())})).collect();
    serde_json::to_vec_pretty(&json!({"signatures": signatures, "signed": signed})).expect("JSON")
}

/// Canonical JSON as TUF has it: sorted, without spaces, only quotes and backslashes escaped.
fn canonical(value: &Value) -> String {
    let string = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match value {
        Value::String(text) => string(text),
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let member = |(name, value): (&String, &Value)| format!("{}:{}", string(name), canonical(value));
            format!("{{{}}}", sorted.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// Version and expiry.
#[derive(Clone, Debug)]
pub struct Header {
    /// What the next publication adds one to.
    pub version: u64,
    /// When it is over.
    pub expires: Timestamp,
}

/// Who signs a role: the keys that the delegator names, how many of them it wants, and who really signs.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The keys that may.
    pub listed: Vec<Key>,
    /// How many must; nonsense is allowed.
    pub threshold: i64,
    /// Who does.
    pub signers: Vec<Key>,
}

impl Keys {
    /// One of these keys is enough, and all sign.
    #[must_use]
    pub fn any(keys: Vec<Key>) -> Self {
        Self::threshold(1, keys)
    }

    /// So many of these keys are wanted, and all sign.
    #[must_use]
    pub fn threshold(threshold: i64, keys: Vec<Key>) -> Self {
        Self { listed: keys.clone(), threshold, signers: keys }
    }

    fn binding(&self) -> Value {
        let mut ids: Vec<&str> = self.listed.iter().map(Key::id).collect();
        ids.dedup();
        json!({"keyids": ids, "threshold": self.threshold})
    }
}

/// One delegation to a role; the role itself is in [`Repository::delegated`].
#[derive(Clone, Debug)]
pub struct Delegation {
    /// The role's name.
    pub name: String,
    /// Who signs it, as this delegator sees it; `None`: as [`Repository::keys`] has it.
    pub keys: Option<Keys>,
    /// No other role is asked about its paths.
    pub terminating: bool,
    /// Which target paths it may sign for.
    pub paths: Vec<String>,
}

/// A role that signs targets.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Version and expiry.
    pub header: Header,
    /// Length and digests by path.
    pub targets: BTreeMap<String, Value>,
    /// In order of search.
    pub delegations: Vec<Delegation>,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Repository {
    /// Who signs each role.
    pub keys: BTreeMap<String, Keys>,
    /// The root's header.
    pub root: Header,
    /// Whether file names carry versions and digests.
    pub consistent: bool,
    /// The timestamp's header.
    pub timestamp: Header,
    /// The snapshot's header.
    pub snapshot: Header,
    /// What the timestamp pins.
    pub timestamp_meta: Map<String, Value>,
    /// What the snapshot pins.
    pub snapshot_meta: Map<String, Value>,
    /// The top-level targets.
    pub targets: Targets,
    /// Every other role that signs targets.
    pub delegated: BTreeMap<String, Targets>,
    /// What the server has, by path below `metadata/` or `targets/`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The same for targets.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Paths that answer with an error of this text.
    pub failing: BTreeMap<String, String>,
}

const TOP: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

impl Repository {
    /// A repository with the four roles alone, all that is in it expiring at `expires`; version 1 is published.
    #[must_use]
    pub fn bare(expires: Timestamp) -> Self {
        let header = || Header { version: 0, expires };
        let mut repository = Self {
            keys: TOP.map(|role| (role.to_owned(), Keys::any(vec![Key::new()]))).into(),
            root: header(),
            consistent: true,
            timestamp: header(),
            snapshot: header(),
            timestamp_meta: Map::new(),
            snapshot_meta: Map::new(),
            targets: Targets { header: header(), targets: BTreeMap::new(), delegations: Vec::new() },
            delegated: BTreeMap::new(),
            files: BTreeMap::new(),
            blobs: BTreeMap::new(),
            failing: BTreeMap::new(),
        };
        repository.publish_root();
        repository.publish();
        repository
    }

    /// A repository as an operator of Slipway has one, with a release, a channel and a policy in it; version 1 is published.
    #[must_use]
    pub fn new(expires: Timestamp) -> Self {
        let mut repository = Self::bare(expires);
        for role in ["releases", "channels"] {
            repository.delegate("targets", role, &[&format!("{role}/*/*")], true);
        }
        repository.put("releases", "releases/edgecore/v1.json", b"manifest one");
        repository.put("channels", "channels/edgecore/stable.json", b"channel one");
        repository.put("targets", "policies/edgecore.toml", b"policy one");
        for header in [&mut repository.targets.header, &mut repository.snapshot, &mut repository.timestamp] {
            header.version = 0;
        }
        repository.publish();
        repository
    }

    /// Gives `role` one new key, which a new root or delegator has to tell; the old ones come back.
    pub fn rotate(&mut self, role: &str) -> Keys {
        self.keys.insert(role.to_owned(), Keys::any(vec![Key::new()])).expect("a role")
    }

    /// The next root, signed by the present signers and by `also`.
    pub fn publish_root_with(&mut self, also: &[Key]) {
        self.root.version += 1;
        let keys: Map<String, Value> =
            TOP.iter().flat_map(|role| &self.keys[*role].listed).map(|key| (key.id.clone(), key.public.clone())).collect();
        let roles: Map<String, Value> = TOP.iter().map(|role| ((*role).to_owned(), self.keys[*role].binding())).collect();
        let mut signed = head("root", &self.root);
        signed.extend(members(json!({"consistent_snapshot": self.consistent, "keys": keys, "roles": roles})));
        let bytes = seal(&signed.into(), &[self.keys["root"].signers.as_slice(), also].concat());
        self.files.insert(format!("{}.root.json", self.root.version), bytes);
    }

    /// The next root.
    pub fn publish_root(&mut self) {
        self.publish_root_with(&[]);
    }

    /// Lets `from` delegate these paths to a role, which is made if there is none of that name.
    pub fn delegate(&mut self, from: &str, name: &str, paths: &[&str], terminating: bool) {
        let expires = self.targets.header.expires;
        self.delegated.entry(name.to_owned()).or_insert_with(|| Targets {
            header: Header { version: 0, expires },
            targets: BTreeMap::new(),
            delegations: Vec::new(),
        });
        if !TOP.contains(&name) {
            self.keys.entry(name.to_owned()).or_insert_with(|| Keys::any(vec![Key::new()]));
        }
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        self.role(from).delegations.push(Delegation { name: name.to_owned(), keys: None, terminating, paths });
    }

    /// A role that signs targets.
    pub fn role(&mut self, role: &str) -> &mut Targets {
        if role == "targets" { &mut self.targets } else { self.delegated.get_mut(role).expect("a role") }
    }

    /// Adds a target to what `role` will sign next; its bytes are served at once.
    pub fn put(&mut self, role: &str, path: &str, bytes: &[u8]) {
        let sha256 = hex::encode(Sha256::digest(bytes));
        let info = json!({"length": bytes.len(), "hashes": {"sha256": sha256, "sha512": hex::encode(Sha512::digest(bytes))}});
        let place = match path.rsplit_once('/') {
            _ if !self.consistent => path.to_owned(),
            Some((folder, name)) => format!("{folder}/{sha256}.{name}"),
            None => format!("{sha256}.{path}"),
        };
        self.blobs.insert(place, bytes.to_vec());
        self.role(role).targets.insert(path.to_owned(), info);
    }

    /// The next version of everything below the root.
    pub fn publish(&mut self) {
        self.publish_targets("targets");
        for role in self.delegated.keys().cloned().collect::<Vec<_>>() {
            self.publish_targets(&role);
        }
        self.publish_snapshot();
        self.publish_timestamp();
    }

    /// The next version of one role that signs targets.
    pub fn publish_targets(&mut self, role: &str) {
        self.role(role).header.version += 1;
        self.write_targets(role);
    }

    /// The role as it is, without a new version.
    pub fn write_targets(&mut self, role: &str) {
        let data = self.role(role).clone();
        let mut signed = head("targets", &data.header);
        signed.insert("targets".to_owned(), json!(data.targets));
        if !data.delegations.is_empty() {
            let keys_of = |delegation: &Delegation| delegation.keys.clone().unwrap_or_else(|| self.keys_of(&delegation.name));
            let mut keys = Map::new();
            let mut roles = Vec::new();
            for delegation in &data.delegations {
                let by = keys_of(delegation);
                keys.extend(by.listed.iter().map(|key| (key.id.clone(), key.public.clone())));
                let mut entry = members(by.binding());
                entry.extend(members(json!({
                    "name": delegation.name, "terminating": delegation.terminating, "paths": delegation.paths,
                })));
                roles.push(Value::from(entry));
            }
            signed.insert("delegations".to_owned(), json!({"keys": keys, "roles": roles}));
        }
        let bytes = seal(&signed.into(), &self.keys_of(role).signers);
        self.snapshot_meta.insert(format!("{role}.json"), pin(data.header.version, &bytes));
        self.write(&encode(role), data.header.version, bytes);
    }

    fn keys_of(&self, role: &str) -> Keys {
        self.keys.get(role).cloned().unwrap_or_else(|| Keys::any(vec![Key::new()]))
    }

    /// The next snapshot.
    pub fn publish_snapshot(&mut self) {
        self.snapshot.version += 1;
        self.write_snapshot();
    }

    /// The snapshot as it is, without a new version.
    pub fn write_snapshot(&mut self) {
        let mut signed = head("snapshot", &self.snapshot);
        signed.insert("meta".to_owned(), self.snapshot_meta.clone().into());
        let bytes = seal(&signed.into(), &self.keys["snapshot"].signers);
        self.timestamp_meta.insert("snapshot.json".to_owned(), pin(self.snapshot.version, &bytes));
        self.write("snapshot", self.snapshot.version, bytes);
    }

    /// The next timestamp.
    pub fn publish_timestamp(&mut self) {
        self.timestamp.version += 1;
        self.write_timestamp();
    }

    /// The timestamp as it is, without a new version.
    pub fn write_timestamp(&mut self) {
        let mut signed = head("timestamp", &self.timestamp);
        signed.insert("meta".to_owned(), self.timestamp_meta.clone().into());
        self.files.insert("timestamp.json".to_owned(), seal(&signed.into(), &self.keys["timestamp"].signers));
    }

    fn write(&mut self, name: &str, version: u64, bytes: Vec<u8>) {
        let place = if self.consistent { format!("{version}.{name}.json") } else { format!("{name}.json") };
        self.files.insert(place, bytes);
    }

    /// Changes the text of a published file and pins the result as if it were right, up to the timestamp.
    pub fn tamper(&mut self, name: &str, change: impl FnOnce(String) -> String) {
        let text = String::from_utf8(self.files[name].clone()).expect("metadata is text");
        let changed = change(text.clone());
        assert_ne!(text, changed, "the change must change something");
        let bytes = changed.into_bytes();
        self.files.insert(name.to_owned(), bytes.clone());
        let Some((Ok(version), role)) = name.split_once('.').map(|(version, role)| (version.parse::<u64>(), role)) else {
            return;
        };
        match role {
            "root.json" => {}
            "snapshot.json" => {
                self.timestamp_meta.insert(role.to_owned(), pin(version, &bytes));
                self.publish_timestamp();
            }
            _ => {
                self.snapshot_meta.insert(role.to_owned(), pin(version, &bytes));
                self.publish_snapshot();
                self.publish_timestamp();
            }
        }
    }

    /// Changes a published file's JSON like [`Self::tamper`].
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        self.tamper(name, |text| {
            let mut value: Value = serde_json::from_str(&text).expect("JSON");
            change(&mut value);
            value.to_string()
        });
    }

    /// Writes what the server has to `metadata/` and `targets/` below `dir`; names that are no file names are left out.
    pub fn write_to(&self, dir: &Path) -> std::io::Result<()> {
        for (folder, files) in [("metadata", &self.files), ("targets", &self.blobs)] {
            let _ = std::fs::remove_dir_all(dir.join(folder));
            for (name, bytes) in files.iter().filter(|(name, _)| !name.starts_with('/') && !name.contains("..")) {
                let path = dir.join(folder).join(name);
                std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
                std::fs::write(path, bytes)?;
            }
        }
        Ok(())
    }
}

/// Percent-encodes a role's name for a file name.
fn encode(role: &str) -> String {
    role.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn head(kind: &str, header: &Header) -> Map<String, Value> {
    members(json!({"_type": kind, "spec_version": "1.0.31", "version": header.version, "expires": header.expires}))
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What pins `bytes` as `version`.
#[must_use]
pub fn pin(version: u64, bytes: &[u8]) -> Value {
    #[derive(Serialize)]
    struct Pin {
        version: u64,
        length: usize,
        hashes: BTreeMap<&'static str, String>,
    }
    json!(Pin { version, length: bytes.len(), hashes: [("sha256", hex::encode(Sha256::digest(bytes)))].into() })
}
