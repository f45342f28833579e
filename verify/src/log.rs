//! Verifies that an entry is in a trusted transparency log, and since when: promise, proof, checkpoint.
//!
//! Signer's name, origin, tree size and index must all agree with the trusted root and with each other. A log's time is judged by that log's
//! window alone; nothing asks what time it is now.

use crate::bundle::{Entry, InclusionProof};
use crate::checkpoint::Checkpoint;
use crate::error::Check;
use crate::key::Hash;
use crate::root::{Log, SigstoreRoot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sigstore_types::Sha256Hash;
use slipway_protocol::Refusal;

/// The log that an entry says it is in, if that log is trusted.
pub(crate) fn log_of<'r>(entry: &Entry, root: Option<&'r SigstoreRoot>) -> Result<&'r Log, Refusal> {
    let id = entry.log_id.as_bytes();
    root.map_or(Ok(()), |root| root.supports_log(id))?;
    let log = root.and_then(|root| root.log(id));
    log.ok_or_else(|| Check::LogUnknown.refuse(hex::encode(id), "a log of the trusted root"))
}

/// The time at which the log promised to include `entry`, if it did: its signature over body, time, index and its own id (SET, Rekor v1).
pub(crate) fn promised(entry: &Entry, log: &Log) -> Result<Option<Timestamp>, Refusal> {
    // The gate has seen to it that a promise has a time.
    let (Some(promise), Some(time)) = (&entry.promise, entry.integrated_time) else {
        return Ok(None);
    };
    // Canonical JSON (RFC 8785). No value in it has a character that JSON would escape.
    let signed = format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        STANDARD.encode(entry.body.as_bytes()),
        time.as_second(),
        hex::encode(log.id),
        entry.log_index
    );
    let signature = promise.as_bytes();
    match log.key.verify(Hash::Sha256, signed.as_bytes(), signature) {
        Ok(()) => Ok(Some(time)),
        Err(_) => Err(Check::LogPromise.refuse("a signature that does not verify", format_args!("a signature of {}", log.name))),
    }
}

/// Checks that the key of `log` was in force at every signed time, whoever tells it: Rekor v2 has no time of its own, and a proof of v1 does not
/// prove one. Without any time, a log that has ended proves nothing.
pub(crate) fn in_force(log: &Log, times: &[Timestamp]) -> Result<(), Refusal> {
    let end = log.window.end;
    let wanted = || format!("{} to {}", log.window.start, end.map_or_else(|| "now".to_owned(), |end| end.to_string()));
    if let Some(outside) = times.iter().find(|time| !log.window.contains(**time)) {
        return Err(Check::LogWindow.refuse(outside, wanted()));
    }
    if times.is_empty() && end.is_some() {
        return Err(Check::LogWindow.refuse("no signed time", wanted()));
    }
    Ok(())
}

/// Checks that `entry` is in `log`: checkpoint by that log, proof to that checkpoint, and every number that appears twice the same.
pub(crate) fn included(entry: &Entry, proof: &InclusionProof, log: &Log) -> Result<(), Refusal> {
    let second_generation = entry.kind.is_second_generation();
    let checkpoint = Checkpoint::parse(&proof.checkpoint)?;
    if proof.root_hash.as_bytes() != &checkpoint.root {
        return Err(Check::LogCheckpointRoot.refuse(proof.root_hash.to_hex(), hex::encode(checkpoint.root)));
    }
    if proof.tree_size != checkpoint.size {
        return Err(Check::LogTreeSize.refuse(proof.tree_size, checkpoint.size));
    }
    // In Rekor v1 the proof's index is the shard's, the entry's is over all shards; v2 has one.
    if second_generation && entry.log_index != proof.log_index {
        return Err(Check::LogIndex.refuse(entry.log_index, proof.log_index));
    }
    if proof.log_index >= checkpoint.size {
        return Err(Check::LogIndex.refuse(proof.log_index, format_args!("less than {}", checkpoint.size)));
    }
    let leaf = sigstore_merkle::hash_leaf(entry.body.as_bytes());
    let root = Sha256Hash::new(checkpoint.root);
    sigstore_merkle::verify_inclusion_proof(&leaf, proof.log_index, checkpoint.size, &proof.hashes, &root)
        .map_err(|error| Check::LogProof.refuse(error, "a path from the entry to the checkpoint's root hash"))?;
    // Last, because it costs the most.
    checkpoint.signed_by(log, second_generation)
}
