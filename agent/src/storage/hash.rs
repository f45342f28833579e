//! SHA-256 of artifacts and programs at the speed of the machine.
//!
//! ring is linked for TLS anyway and uses the SHA instructions of x86-64 and of ARM. sha2, which
//! hashes documents, uses none on ARM and is slow there: 256 MiB would take ten times as long.

use slipway_protocol::Sha256;
use std::io::{self, Write};

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

#[cfg(test)]
mod tests {
    use super::*;

    /// The same digest as sha2's, however the bytes are cut: two implementations that never meet elsewhere.
    #[test]
    fn ring_and_sha2_agree_on_every_length_around_a_block() {
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
