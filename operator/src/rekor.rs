//! Fetches entries from a transparency log (Rekor v1, HTTP) in the form of Sigstore bundles.
//!
//! Nothing that the log answers is believed here: it is put into a Sigstore bundle, and the verifier judges that.

use crate::error::{ENTRY_NONE, ENTRY_SEVERAL, REKOR};
use crate::http::{Http, complaint};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::{Value, json};
use slipway_protocol::{Refusal, Sha256, json as strict};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// Sigstore's public-good log.
pub const PUBLIC_GOOD: &str = "https://rekor.sigstore.dev";

/// Ten entries, each with a stored attestation of 100 KB in base64, and room.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;
const DEPTH: usize = 16;
/// So many entries Rekor answers at once.
const BATCH: usize = 10;
/// One signature has one entry, seldom two. More than this is not about one signature.
const CANDIDATE_LIMIT: usize = 30;

/// Which entry of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EntryLocator {
    /// Its index over all shards.
    Index(u64),
    /// Its id: 64 hex digits, or 80 with the shard's before it.
    Uuid(Uuid),
}

/// An entry's id in hex: the hash of the entry, with or without the shard's id before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Uuid(String);

impl FromStr for Uuid {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && matches!(text.len(), 64 | 80) {
            Ok(Self(text.to_owned()))
        } else {
            Err("an entry's id is 64 or 80 lowercase hex digits".to_owned())
        }
    }
}

/// An entry as the log gave it, in the words of a Sigstore bundle's `tlogEntries`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its index over all shards.
    pub log_index: u64,
    /// What kind of entry its body says it is, `dsse 0.0.1`.
    pub kind: String,
    /// The entry itself.
    pub value: Value,
}

impl Entry {
    /// The body that was logged, base64.
    #[must_use]
    pub fn body(&self) -> &str {
        self.value.pointer("/canonicalizedBody").and_then(Value::as_str).unwrap_or_default()
    }
}

/// An entry as Rekor's interface has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logged {
    body: String,
    integrated_time: u64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: Option<Verification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    inclusion_proof: Option<InclusionProof>,
    signed_entry_timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionProof {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

/// A log entry's promise and what it promises, as cosign keeps it beside a signature.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Promise {
    signed_entry_timestamp: String,
    payload: Promised,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promised {
    body: String,
    integrated_time: u64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

impl Promise {
    /// The entry, without a proof: cosign keeps none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn entry(&self) -> Result<Entry, String> {
        let promised = &self.payload;
        let mut value = common(&promised.body, promised.log_index, &promised.log_id, promised.integrated_time)?;
        set(&mut value.value, "inclusionPromise", json!({ "signedEntryTimestamp": self.signed_entry_timestamp }));
        Ok(value)
    }
}

impl Logged {
    fn entry(self) -> Result<Entry, String> {
        let mut entry = common(&self.body, self.log_index, &self.log_id, self.integrated_time)?;
        let verification = self.verification.ok_or("an entry without verification")?;
        let proof = verification.inclusion_proof.ok_or("an entry without a proof of inclusion")?;
        let promise = verification.signed_entry_timestamp.ok_or("an entry without a signed timestamp")?;
        let hashes: Result<Vec<String>, String> = proof.hashes.iter().map(|hash| base64_of(hash)).collect();
        set(&mut entry.value, "inclusionPromise", json!({ "signedEntryTimestamp": promise }));
        let proof = json!({
            "logIndex": proof.log_index.to_string(),
            "rootHash": base64_of(&proof.root_hash)?,
            "treeSize": proof.tree_size.to_string(),
            "hashes": hashes?,
            "checkpoint": { "envelope": proof.checkpoint },
        });
        set(&mut entry.value, "inclusionProof", proof);
        Ok(entry)
    }
}

/// What an entry has with and without a proof.
fn common(body: &str, log_index: u64, log_id: &str, integrated_time: u64) -> Result<Entry, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        kind: String,
        api_version: String,
    }
    let decoded = STANDARD.decode(body).map_err(|error| format!("a body that is not base64: {error}"))?;
    let stated: Body =
        serde_json::from_slice(&decoded).map_err(|error| format!("a body without kind and apiVersion: {error}"))?;
    let value = json!({
        "logIndex": log_index.to_string(),
        "logId": { "keyId": base64_of(log_id)? },
        "kindVersion": { "kind": stated.kind, "version": stated.api_version },
        "integratedTime": integrated_time.to_string(),
        "canonicalizedBody": body,
    });
    Ok(Entry { log_index, kind: format!("{} {}", stated.kind, stated.api_version), value })
}

fn set(value: &mut Value, member: &str, to: Value) {
    if let Value::Object(members) = value {
        members.insert(member.to_owned(), to);
    }
}

fn base64_of(hex_text: &str) -> Result<String, String> {
    Ok(STANDARD.encode(hex::decode(hex_text).map_err(|error| format!("a hash that is not hex: {error}"))?))
}

/// A log that can be asked.
#[derive(Debug)]
pub struct Rekor {
    http: Http,
    url: Url,
}

impl Rekor {
    /// The log at this address.
    ///
    /// # Errors
    /// `SLW-O-REKOR` when that is no http or https URL.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, Refusal> {
        let bad = |why: &str| REKOR.with(format_args!("{url}: {why}"), PUBLIC_GOOD);
        let mut parsed: Url = url.parse().map_err(|_| bad("no URL"))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.query().is_some() {
            return Err(bad("not the address of a log"));
        }
        // `join` replaces what is behind the last slash.
        if !parsed.path().ends_with('/') {
            parsed.set_path(&format!("{}/", parsed.path()));
        }
        Ok(Self { http: Http::new(timeout).map_err(|why| bad(&why))?, url: parsed })
    }

    /// The entry at a place that somebody named.
    ///
    /// # Errors
    /// `SLW-O-REKOR`, or `SLW-O-ENTRY-NONE`.
    pub async fn entry(&self, place: &EntryLocator) -> Result<Entry, Refusal> {
        let query = match place {
            EntryLocator::Index(index) => json!({ "logIndexes": [index] }),
            EntryLocator::Uuid(Uuid(uuid)) => json!({ "entryUUIDs": [uuid] }),
        };
        let found = self.retrieve(&query).await?;
        let [entry] = found.as_slice() else {
            return Err(ENTRY_NONE.with(format_args!("{} entries", found.len()), format_args!("the entry {place:?}")));
        };
        if let EntryLocator::Index(index) = place
            && entry.log_index != *index
        {
            return Err(REKOR.with(format_args!("{}: entry {}", self.url, entry.log_index), format_args!("entry {index}")));
        }
        Ok(entry.clone())
    }

    /// The entries that the log's index has under any of these hashes, or for the certificate that signed.
    ///
    /// Every entry is indexed under several of them, but a log may have lost the one or the other.
    ///
    /// # Errors
    /// `SLW-O-REKOR`, or `SLW-O-ENTRY-SEVERAL` if there are too many to be about one signature.
    pub async fn search(&self, hashes: &[Sha256], certificate: Option<&str>) -> Result<Vec<Entry>, Refusal> {
        let mut queries: Vec<Value> = hashes.iter().map(|hash| json!({ "hash": format!("{hash:?}") })).collect();
        // One query may ask for both, and means either.
        if let (Some(first), Some(pem)) = (queries.first_mut(), certificate) {
            set(first, "publicKey", json!({ "format": "x509", "content": STANDARD.encode(pem) }));
        }
        let mut uuids: Vec<String> = Vec::new();
        for query in &queries {
            if let Some(body) = self.ask("api/v1/index/retrieve", query).await? {
                uuids.extend(self.parse::<Vec<String>>(&body)?);
            }
        }
        uuids.sort();
        uuids.dedup();
        if uuids.len() > CANDIDATE_LIMIT {
            return Err(ENTRY_SEVERAL.with(format_args!("{} entries", uuids.len()), "one"));
        }
        let mut found = Vec::new();
        for batch in uuids.chunks(BATCH) {
            found.extend(self.retrieve(&json!({ "entryUUIDs": batch })).await?);
        }
        found.sort_by_key(|entry| entry.log_index);
        found.dedup_by_key(|entry| entry.log_index);
        Ok(found)
    }

    async fn retrieve(&self, query: &Value) -> Result<Vec<Entry>, Refusal> {
        let Some(body) = self.ask("api/v1/log/entries/retrieve", query).await? else { return Ok(Vec::new()) };
        let answers: Vec<BTreeMap<String, Logged>> = self.parse(&body)?;
        let entries = answers.into_iter().flat_map(BTreeMap::into_values).map(Logged::entry);
        entries.collect::<Result<_, _>>().map_err(|why| self.refuse(&why))
    }

    /// Posts a query. `None`: the log knows nothing of it.
    async fn ask(&self, path: &str, query: &Value) -> Result<Option<Vec<u8>>, Refusal> {
        let url = self.url.join(path).map_err(|error| self.refuse(&error.to_string()))?;
        let request: RequestBuilder = self.http.post(url, query);
        let answer = self.http.send(request, ANSWER_LIMIT).await.map_err(|why| self.refuse(&why))?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => Err(self.refuse(&complaint(&answer))),
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, body: &[u8]) -> Result<T, Refusal> {
        let limits = strict::Limits { bytes: ANSWER_LIMIT, depth: DEPTH };
        strict::parse(body, limits).map_err(|error| self.refuse(&format!("not an answer of Rekor: {error}")))
    }

    fn refuse(&self, why: &str) -> Refusal {
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        REKOR.with(format_args!("{}{port}: {why}", self.url.host_str().unwrap_or_default()), "an answer of Rekor, version 1")
    }
}
