//! Verifies a log's checkpoint: size and root hash of its tree in a signed note (C2SP).

use crate::error::Check;
use crate::key::Hash;
use crate::root::Log;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_protocol::Refusal;

/// A log signs once, each witness once, and there are fewer than ten. Every line in the log's name costs a verification.
const SIGNATURE_LIMIT: usize = 16;

/// A checkpoint: a tree's size and root hash, in a signed note (C2SP).
#[derive(Debug)]
pub(crate) struct Checkpoint<'a> {
    /// What is signed: everything up to the blank line, with its newline.
    text: &'a str,
    origin: &'a str,
    pub(crate) size: u64,
    pub(crate) root: [u8; 32],
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
        Ok(Self { text, origin, size, root, signatures: signatures.ok_or_else(|| bad("a line that is not a signature"))? })
    }

    /// Checks that `log` made this checkpoint: its name on the origin and on a signature that verifies with its key.
    pub(crate) fn signed_by(&self, log: &Log, second_generation: bool) -> Result<(), Refusal> {
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
        Err(Check::LogCheckpointSignature.refuse("a signature that does not verify", format_args!("a signature of {}", log.name)))
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
