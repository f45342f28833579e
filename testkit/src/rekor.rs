//! Imitates the HTTP interface of Rekor v1 (sigstore/rekor at 05a14a9a) for the private Sigstore's log.
//!
//! It offers the search by hash or certificate, and retrieval by id or index. Unlike the real one it takes no entries over HTTP (tests
//! add them), has one shard, indexes no subjects or materials, and serves each entry with the proof in the entry's Sigstore bundle
//! instead of one for the newest tree. It misbehaves as [`RekorFault`] says.

use crate::http::{Ask, HttpServer, Reply};
use crate::sigstore::sha256;
use anyhow::Result;
use base64::Engine as _;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// How the server misbehaves, until told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RekorFault {
    /// Its index knows no hashes, only certificates.
    NoHashIndex,
    /// Whatever is asked for, it answers with the first entry it has.
    WrongEntry,
    /// An answer that never ends.
    Endless,
    /// No answer at all.
    Never,
    /// Only this status.
    Status(u16),
    /// Something that is not Rekor's.
    Garbage,
    /// Entries without their proofs.
    NoProof,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Vec<Value>,
    fault: Option<RekorFault>,
    asked: Vec<(String, Value)>,
}

/// See the [module](self). Dropping it ends it.
#[derive(Debug)]
pub struct RekorServer {
    http: HttpServer,
    shared: Arc<Mutex<Shared>>,
}

impl RekorServer {
    /// Starts a server that knows no entry.
    pub fn start() -> Result<Self> {
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let http = HttpServer::start({
            let shared = shared.clone();
            move |ask| answer(&mut shared.lock().expect("no panic in here"), ask)
        })?;
        Ok(Self { http, shared })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.http.address())
    }

    /// Lets it know the entry of this Sigstore bundle; returns the entry's index.
    pub fn add_bundle(&self, bundle: &Value) -> u64 {
        self.add(bundle["verificationMaterial"]["tlogEntries"][0].clone())
    }

    /// Lets it know an entry, as a Sigstore bundle holds it; returns its index.
    pub fn add(&self, entry: Value) -> u64 {
        let index = number(&entry["logIndex"]);
        self.shared.lock().expect("no panic in here").entries.push(entry);
        index
    }

    /// Makes it misbehave, or no longer.
    pub fn fault(&self, fault: Option<RekorFault>) {
        self.shared.lock().expect("no panic in here").fault = fault;
    }

    /// What it was asked so far: paths and queries.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.shared.lock().expect("no panic in here").asked.clone()
    }

    /// The id of the entry with this index.
    pub fn uuid(&self, index: u64) -> Option<String> {
        let shared = self.shared.lock().expect("no panic in here");
        shared.entries.iter().find(|entry| number(&entry["logIndex"]) == index).map(uuid)
    }
}

fn decode(base64: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(base64.as_str().unwrap_or_default()).unwrap_or_default()
}

fn number(text: &Value) -> u64 {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The shard's id, and the hash of the entry as a leaf of the tree.
fn uuid(entry: &Value) -> String {
    let body = decode(&entry["canonicalizedBody"]);
    format!("108e9186e8c5677a{}", hex::encode(sha256(&[&[0][..], &body].concat())))
}

/// Rekor's own form of an entry.
fn wire(entry: &Value, fault: Option<RekorFault>) -> Value {
    let hexed = |base64: &Value| Value::String(hex::encode(decode(base64)));
    let proof = &entry["inclusionProof"];
    let hashes: Vec<Value> = proof["hashes"].as_array().into_iter().flatten().map(hexed).collect();
    let mut verification = json!({"signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"]});
    if fault != Some(RekorFault::NoProof) {
        verification["inclusionProof"] = json!({
            "checkpoint": proof["checkpoint"]["envelope"],
            "hashes": hashes,
            "logIndex": number(&proof["logIndex"]),
            "rootHash": hexed(&proof["rootHash"]),
            "treeSize": number(&proof["treeSize"]),
        });
    }
    json!({uuid(entry): {
        "attestation": {"data": "bm90IHJlYWQ="},
        "body": entry["canonicalizedBody"],
        "integratedTime": number(&entry["integratedTime"]),
        "logID": hexed(&entry["logId"]["keyId"]),
        "logIndex": number(&entry["logIndex"]),
        "verification": verification,
    }})
}

/// The hashes under which an entry is in the index, and that of its certificate, by its kind as Rekor does (sigstore/rekor at 05a14a9a,
/// `IndexKeys` in `pkg/types/intoto/v0.0.1/entry.go` and its twins). The real one also indexes what no body holds: the subjects of the
/// certificate and of the statement, and its materials.
fn keys(entry: &Value) -> (Vec<String>, Option<String>) {
    let body: Value = serde_json::from_slice(&decode(&entry["canonicalizedBody"])).unwrap_or_default();
    let (hashes, certificate): (&[&str], &str) = match (body["kind"].as_str(), body["apiVersion"].as_str()) {
        (Some("intoto"), Some("0.0.1")) => (&["/content/hash", "/content/payloadHash"], "/publicKey"),
        (Some("intoto"), _) => (&["/content/hash", "/content/payloadHash"], "/content/envelope/signatures/0/publicKey"),
        (Some("dsse"), _) => (&["/envelopeHash", "/payloadHash"], "/signatures/0/verifier"),
        _ => (&["/data/hash"], "/signature/publicKey/content"),
    };
    let hash = |pointer: &&str| body["spec"].pointer(pointer)?["value"].as_str().map(str::to_owned);
    let certificate = body["spec"].pointer(certificate).map(|pem| hex::encode(sha256(&decode(pem))));
    (hashes.iter().filter_map(hash).collect(), certificate)
}

fn answer(shared: &mut Shared, ask: &Ask) -> Reply {
    let query: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
    shared.asked.push((ask.path.clone(), query.clone()));
    match shared.fault {
        Some(RekorFault::Endless) => return Reply::Endless,
        Some(RekorFault::Never) => return Reply::Never,
        Some(RekorFault::Status(status)) => return Reply::json(status, &json!({"code": status, "message": "so it was told"})),
        Some(RekorFault::Garbage) => return Reply::json(200, &json!({"nothing": "of Rekor's"})),
        _ => {}
    }
    match (ask.method.as_str(), ask.path.as_str()) {
        ("POST", "/api/v1/index/retrieve") => {
            let hash = query["hash"].as_str().and_then(|hash| hash.strip_prefix("sha256:")).map(str::to_owned);
            let certificate =
                query["publicKey"]["content"].is_string().then(|| hex::encode(sha256(&decode(&query["publicKey"]["content"]))));
            let hash = hash.filter(|_| shared.fault != Some(RekorFault::NoHashIndex));
            let matches = |entry: &&Value| {
                let (hashes, of_certificate) = keys(entry);
                let by_hash = hash.as_ref().is_some_and(|hash| hashes.contains(hash));
                by_hash || (certificate.is_some() && certificate == of_certificate)
            };
            let found: Vec<String> = shared.entries.iter().filter(matches).map(uuid).collect();
            Reply::json(200, &json!(found))
        }
        ("POST", "/api/v1/log/entries/retrieve") => {
            let wanted = |entry: &&Value| {
                let index = number(&entry["logIndex"]);
                let by_index = query["logIndexes"].as_array().is_some_and(|all| all.contains(&json!(index)));
                let id = uuid(entry);
                let by_id = |asked: &Value| asked.as_str().is_some_and(|asked| id.ends_with(asked));
                by_index || query["entryUUIDs"].as_array().is_some_and(|all| all.iter().any(by_id))
            };
            let found: Vec<Value> = match shared.fault {
                Some(RekorFault::WrongEntry) => shared.entries.iter().take(1).map(|entry| wire(entry, None)).collect(),
                fault => shared.entries.iter().filter(wanted).map(|entry| wire(entry, fault)).collect(),
            };
            if found.is_empty() {
                Reply::json(404, &json!({"code": 404, "message": "entry not found"}))
            } else {
                Reply::json(200, &json!(found))
            }
        }
        _ => Reply::json(404, &json!({"code": 404, "message": "no such path"})),
    }
}
