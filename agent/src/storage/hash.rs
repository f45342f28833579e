//! SHA-256 of artifacts and programs at the speed of the machine.
//!
//! ring is linked for TLS anyway and uses the SHA instructions of x86-64 and of ARM. sha2, which
//! hashes documents, uses none on ARM and is slow there: 256 MiB would take ten times as long.

use crate::storage::stamp::Stamp;
use slipway_protocol::Sha256;
use std::fs::File;
use std::io::{self, Read, Write};

/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

/// A SHA-256 that is being computed. What is written to it is hashed.
#[derive(Clone)]
pub struct Hasher(ring::digest::Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Hasher {
    /// Hashes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        let mut digest = Sha256([0; 32]);
        // Both have 32 bytes; a digest of another length would be no SHA-256 and match nothing.
        digest.0.iter_mut().zip(self.0.finish().as_ref()).for_each(|(to, from)| *to = *from);
        digest
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies to the end. SHA-256 and size of what was copied.
///
/// # Errors
/// Of reading or writing.
pub fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<(Sha256, u64)> {
    let mut buffer = vec![0; BUFFER];
    let (mut hasher, mut size) = (Hasher::default(), 0_u64);
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((hasher.finish(), size));
        }
        hasher.update(bytes);
        to.write_all(bytes)?;
        size = size.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

/// Writes a file and hashes what it writes, in one pass. Between two writes it sees whether
/// somebody else changed the file: then the digest says nothing about what is on the disk.
#[derive(Clone, Debug)]
pub struct WriteHash {
    hasher: Hasher,
    /// After our own last change.
    stamp: Stamp,
    disturbed: bool,
}

impl WriteHash {
    /// For a file of which nothing is hashed yet.
    ///
    /// # Errors
    /// Of the file system.
    pub fn new(file: &File) -> io::Result<Self> {
        Ok(Self { hasher: Hasher::default(), stamp: Stamp::of(file)?, disturbed: false })
    }

    /// Writes the next bytes at the file's position.
    ///
    /// # Errors
    /// Of the file system.
    pub fn append(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        self.change(file, |_| file.write_all(bytes))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Hashes bytes that were read from the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Changes the file in another way than by writing, without doubting it for that.
    ///
    /// # Errors
    /// Of the change.
    pub fn change(&mut self, file: &File, work: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        self.look(file)?;
        work(file)?;
        self.stamp = Stamp::of(file)?;
        Ok(())
    }

    fn look(&mut self, file: &File) -> io::Result<()> {
        self.disturbed |= Stamp::of(file)? != self.stamp;
        Ok(())
    }

    /// The digest of all bytes, and the file's stamp; none if somebody else changed the file meanwhile.
    ///
    /// # Errors
    /// Of the file system.
    pub fn finish(mut self, file: &File) -> io::Result<(Sha256, Option<Stamp>)> {
        self.look(file)?;
        let stamp = Some(self.stamp).filter(|_| !self.disturbed);
        Ok((self.hasher.finish(), stamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to fail with a `finish` that does not look, and with one that forgets what an earlier look saw.
    #[test]
    fn whoever_else_writes_into_the_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part");
        for other_writes_before in [None, Some(1), Some(2), Some(3)] {
            let file = File::create(&path).unwrap();
            let mut written = WriteHash::new(&file).unwrap();
            for step in 1..=3 {
                if other_writes_before == Some(step) {
                    // The kernel's clock for files must have moved on, as it has at any later time.
                    let before = Stamp::of(&file).unwrap();
                    while Stamp::of(&file).unwrap() == before {
                        File::options().write(true).open(&path).unwrap().write_all(b"X").unwrap();
                    }
                }
                if step < 3 {
                    written.append(&file, b"content").unwrap();
                }
            }
            let (digest, stamp) = written.finish(&file).unwrap();
            assert_eq!(digest, Sha256::of(b"contentcontent"));
            assert_eq!(stamp.is_some(), other_writes_before.is_none(), "{other_writes_before:?}");
        }
    }

    /// The same digest as sha2's, however the bytes are cut: two implementations that never meet elsewhere.
    #[test]
    fn both_implementations_agree_on_every_length_around_a_block() {
        let bytes: Vec<u8> = (0..300_u32).map(|i| u8::try_from(i.wrapping_mul(31) % 251).unwrap()).collect();
        for length in 0..bytes.len() {
            let (first, second) = bytes[..length].split_at(length / 3);
            let mut hasher = Hasher::default();
            hasher.update(first);
            hasher.write_all(second).unwrap();
            assert_eq!(hasher.finish(), Sha256::of(&bytes[..length]), "{length}");
        }
    }
}
