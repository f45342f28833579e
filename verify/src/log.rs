//! Whether an entry is in the transparency log, and since when: promise, proof and checkpoint, bound to one trusted log by id, name and key.
//!
//! Signer's name, origin, tree size and index must all agree with the trusted root and with each other. A log's time is judged by that log's
//! window alone; nothing asks what time it is now.

use crate::bundle::{Entry, Proof};
use crate::error::Check;
use crate::key::Hash;
use crate::root::{Log, SigstoreRoot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sigstore_types::Sha256Hash;
use slipway_protocol::Refusal;

/// A log signs once, each witness once, and there are fewer than ten. Every line in the log's name costs a verification.
const SIGNATURE_LIMIT: usize = 16;

/// A checkpoint: a tree's size and root hash, in a signed note (C2SP).
#[derive(Debug)]
pub(crate) struct Checkpoint<'a> {
    /// What is signed: everything up to the blank line, with its newline.
    text: &'a str,
    origin: &'a str,
    size: u64,
    root: [u8; 32],
    signatures: Vec<NoteSignature<'a>>,
}

#[derive(Debug)]
struct NoteSignature<'a> {
    name: &'a str,
    hint: [u8; 4],
    signature: Vec<u8>,
}

impl<'a> Checkpoint<'a> {
    /// Parses a signed note strictly: no trimming, no leading zeros, nothing but signature lines after the blank line.
    pub(crate) fn parse(note: &'a str) -> Result<Self, Refusal> {
        let bad = |what: &str| Check::LogCheckpoint.refuse(what, "origin, size, root hash, a blank line and signature lines");
        let split = note.find("\n\n").ok_or_else(|| bad("no blank line"))?;
        let (text, tail) = note.split_at_checked(split.saturating_add(1)).ok_or_else(|| bad("no blank line"))?;
        let tail = tail.strip_prefix('\n').unwrap_or(tail);
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or_else(|| bad("no origin"))?;
        let size = lines.next().unwrap_or_default();
        let size: u64 = size.parse().ok().filter(|n: &u64| n.to_string() == size).ok_or_else(|| bad("no tree size"))?;
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()).and_then(|root| root.try_into().ok());
        let root = root.ok_or_else(|| bad("no root hash of 32 bytes"))?;
        if tail.is_empty() {
            return Err(bad("no signature line"));
        }
        let tail = tail.strip_suffix('\n').ok_or_else(|| bad("no newline at the end"))?;
        if tail.split('\n').nth(SIGNATURE_LIMIT).is_some() {
            return Err(bad("too many signature lines"));
        }
        let signatures: Option<Vec<_>> = tail.split('\n').map(NoteSignature::parse).collect();
        Ok(Self { text, origin, size, root, signatures: signatures.ok_or_else(|| bad("a line that is no signature"))? })
    }

    /// Checks that `log` made this checkpoint: its name on the origin and on a signature that verifies with its key.
    fn signed_by(&self, log: &Log, second_generation: bool) -> Result<(), Refusal> {
        let origin = if second_generation {
            self.origin == log.name
        } else {
            let tree = self.origin.strip_prefix(&log.name).and_then(|rest| rest.strip_prefix(" - "));
            tree.is_some_and(|tree| !tree.is_empty() && tree.bytes().all(|b| b.is_ascii_digit()))
        };
        if !origin {
            return Err(Check::LogCheckpointOrigin.refuse(self.origin, &log.name));
        }
        let mut named = self.signatures.iter().filter(|signature| signature.name == log.name).peekable();
        if named.peek().is_none() {
            let names: Vec<&str> = self.signatures.iter().map(|signature| signature.name).collect();
            return Err(Check::LogCheckpointOrigin.refuse(names.join(", "), &log.name));
        }
        let mut signatures = named.filter(|signature| log.id.starts_with(&signature.hint)).peekable();
        if signatures.peek().is_none() {
            return Err(Check::LogCheckpointSignature.refuse("no signature with the log's key id", &log.name));
        }
        if signatures.any(|signature| log.key.verify(Hash::Sha256, self.text.as_bytes(), &signature.signature).is_ok()) {
            return Ok(());
        }
        Err(Check::LogCheckpointSignature.refuse("another signature", format_args!("a signature of {}", log.name)))
    }
}

impl<'a> NoteSignature<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let (hint, signature) = decoded.split_first_chunk::<4>()?;
        if name.is_empty() || name.contains(char::is_whitespace) || signature.is_empty() {
            return None;
        }
        Some(Self { name, hint: *hint, signature: signature.to_vec() })
    }
}

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
        Err(_) => Err(Check::LogPromise.refuse("another signature", format_args!("a signature of {}", log.name))),
    }
}

/// Checks that the key of `log` was in force at every signed time, whoever tells it: Rekor v2 has no time of its own, and a proof of v1 does not
/// prove one. Without any time, a log that has ended vouches for nothing.
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
pub(crate) fn included(entry: &Entry, proof: &Proof, log: &Log) -> Result<(), Refusal> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn notes_are_parsed_strictly() {
        let good = format!("log.example - 1\n7\n{ROOT}\nTimestamp: 5\n\n\u{2014} log.example AAAAAAA=\n\u{2014} w AAAAAAAA\n");
        let note = Checkpoint::parse(&good).unwrap();
        assert_eq!((note.origin, note.size, note.signatures.len()), ("log.example - 1", 7, 2));
        assert_eq!(note.text, format!("log.example - 1\n7\n{ROOT}\nTimestamp: 5\n"));
        for (from, to) in [
            ("log.example - 1\n", "\n"),
            ("log.example - 1\n", ""),
            ("\n7\n", "\n07\n"),
            ("\n7\n", "\n+7\n"),
            ("\n7\n", "\n-7\n"),
            ("\n7\n", "\n18446744073709551616\n"),
            (ROOT, "AAAA"),
            (&format!("{ROOT}\n"), ""),
            ("\n\n", "\n"),
            ("\n\n", "\n\n\n"),
            ("AAAAAAA=\n", "AAAAAAA=\n\n"),
            ("\u{2014} w", "- w"),
            ("\u{2014} w ", "\u{2014}  w "),
            (" AAAAAAA=", " AAAA"),
            (" AAAAAAA=", " AAAAAAA"),
            ("AAAAAAAA\n", "AAAAAAAA"),
        ] {
            assert!(good.contains(from));
            let bad = good.replacen(from, to, 1);
            assert_eq!(Checkpoint::parse(&bad).unwrap_err().code, "SLW-V-LOG-CHECKPOINT", "{bad}");
        }
    }
}
