//! Imitates Rekor v1 and v2: a Merkle tree (RFC 6962), inclusion proofs, checkpoints and, for v1, signed entry timestamps.
//!
//! Unlike the real logs it verifies no entry before it adds it, and the entries of others in its tree are made up.

use super::keys::Key;
use super::{b64, sha256};
use serde_json::{Value, json};
use std::sync::Mutex;

/// Entries of strangers that stand in the log before ours, so that proofs are not empty.
const STRANGERS_BEFORE: usize = 5;
/// And after each of ours, so that proofs have both inner and border hashes.
const STRANGERS_AFTER: usize = 2;
/// Rekor's global index counts its older shards too, so it is never the index in the tree.
const OLDER_SHARDS: u64 = 121_904_258;

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256(&[&[1][..], left, right].concat())
}

fn leaf(body: &[u8]) -> [u8; 32] {
    sha256(&[&[0][..], body].concat())
}

/// The largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => sha256(&[]),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

fn proof(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) =
        if index < left.len() { (proof(index, left), root(right)) } else { (proof(index - left.len(), right), root(left)) };
    path.push(sibling);
    path
}

/// A log in memory that only ever grows.
#[derive(Debug)]
pub(crate) struct Log {
    key: Key,
    host: String,
    /// The first generation names its tree in the checkpoint's origin.
    tree_id: Option<u64>,
    leaves: Mutex<Vec<[u8; 32]>>,
}

impl Log {
    pub(crate) fn v1(host: &str, key: Key) -> Self {
        Self::with(host, key, Some(1_193_050_959_916_656_506))
    }

    pub(crate) fn v2(host: &str, key: Key) -> Self {
        Self::with(host, key, None)
    }

    fn with(host: &str, key: Key, tree_id: Option<u64>) -> Self {
        let strangers = (0..STRANGERS_BEFORE).map(|n| leaf(format!("stranger {n} before").as_bytes())).collect();
        Self { key, host: host.to_owned(), tree_id, leaves: Mutex::new(strangers) }
    }

    /// The log's id: hash of the key, or of name and key (C2SP signed note) in the second generation.
    pub(crate) fn id(&self) -> [u8; 32] {
        match &self.key {
            Key::Ed25519(key) => sha256(&[self.host.as_bytes(), &[0x0A, 0x01], key.verifying_key().as_bytes()].concat()),
            _ => self.key.id(),
        }
    }

    /// The entry of `tlogs` in a trusted root.
    pub(crate) fn trusted(&self, valid_for: &Value) -> Value {
        json!({
            "baseUrl": format!("https://{}", self.host),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {"rawBytes": b64(&self.key.spki()), "keyDetails": self.key.details(), "validFor": valid_for},
            "logId": {"keyId": b64(&self.id())},
        })
    }

    /// Adds `body` and returns the entry of `tlogEntries` that proves it. `at` is the integrated time, first generation only.
    pub(crate) fn append(&self, body: &Value, at: i64) -> Value {
        let canonical = serde_json::to_vec(body).expect("JSON values serialize");
        let (index, size, tree_root, hashes) = {
            let mut leaves = self.leaves.lock().expect("no thread panicked while it held the log");
            let index = leaves.len();
            leaves.push(leaf(&canonical));
            for n in 0..STRANGERS_AFTER {
                leaves.push(leaf(format!("stranger {n} after {index}").as_bytes()));
            }
            (index, leaves.len(), root(&leaves), proof(index, &leaves))
        };
        let inclusion_proof = json!({
            "logIndex": index.to_string(),
            "rootHash": b64(&tree_root),
            "treeSize": size.to_string(),
            "hashes": hashes.iter().map(|h| b64(h)).collect::<Vec<_>>(),
            "checkpoint": {"envelope": self.checkpoint(size, &tree_root)},
        });
        let kind_version = json!({"kind": body["kind"], "version": body["apiVersion"]});
        let log_id = json!({"keyId": b64(&self.id())});
        if self.tree_id.is_none() {
            return json!({
                "logIndex": index.to_string(),
                "logId": log_id,
                "kindVersion": kind_version,
                "inclusionProof": inclusion_proof,
                "canonicalizedBody": b64(&canonical),
            });
        }
        let global = OLDER_SHARDS + index as u64;
        json!({
            "logIndex": global.to_string(),
            "logId": log_id,
            "kindVersion": kind_version,
            "integratedTime": at.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": b64(&self.promise(&canonical, at, global))},
            "inclusionProof": inclusion_proof,
            "canonicalizedBody": b64(&canonical),
        })
    }

    /// The signed entry timestamp: a signature over canonical JSON with sorted keys.
    fn promise(&self, body: &[u8], at: i64, global: u64) -> Vec<u8> {
        let signed = format!(
            r#"{{"body":"{}","integratedTime":{at},"logID":"{}","logIndex":{global}}}"#,
            b64(body),
            hex::encode(self.id())
        );
        self.key.sign(signed.as_bytes())
    }

    /// A C2SP signed note over the tree.
    fn checkpoint(&self, size: usize, root: &[u8; 32]) -> String {
        let origin = match self.tree_id {
            Some(tree) => format!("{} - {tree}", self.host),
            None => self.host.clone(),
        };
        let text = format!("{origin}\n{size}\n{}\n", b64(root));
        let signature = [&self.id()[..4], &self.key.sign(text.as_bytes())].concat();
        format!("{text}\n\u{2014} {} {}\n", self.host, b64(&signature))
    }
}
