//! Digests as lowercase hex.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $hasher:ty, $len:literal, $label:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The digest of `bytes`.
            #[must_use]
            pub fn of(bytes: &[u8]) -> Self {
                Self(<$hasher as sha2::Digest>::digest(bytes).into())
            }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            /// Lowercase hex, with or without the algorithm before a colon.
            fn from_str(text: &str) -> Result<Self, String> {
                let hex = text.strip_prefix(concat!($label, ":")).unwrap_or(text);
                let mut out = [0; $len];
                if hex.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(hex, &mut out).is_err() {
                    return Err(format!("{:?} is not a {} digest: expected {} lowercase hex digits", crate::refusal::printable(text), $label, $len * 2));
                }
                Ok(Self(out))
            }
        }
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($label, ":{}"), self)
            }
        }
    };
}

digest!(
    /// SHA-256 (FIPS 180-4).
    Sha256, sha2::Sha256, 32, "sha256"
);
digest!(
    /// SHA-512 (FIPS 180-4).
    Sha512, sha2::Sha512, 64, "sha512"
);

/// Both digests and the size of whatever is written to it, in one pass: the target of an [`std::io::copy`].
#[derive(Clone, Debug, Default)]
pub struct Digests {
    sha256: sha2::Sha256,
    sha512: sha2::Sha512,
    size: u64,
}

impl Digests {
    /// Size, SHA-256 and SHA-512 of all that was written.
    #[must_use]
    pub fn finish(self) -> (u64, Sha256, Sha512) {
        use sha2::Digest;
        (self.size, Sha256(self.sha256.finalize().into()), Sha512(self.sha512.finalize().into()))
    }
}

impl std::io::Write for Digests {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(&mut self.sha256, bytes);
        sha2::Digest::update(&mut self.sha512, bytes);
        self.size = self.size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sha256 {
    /// The first twelve hex digits: enough to tell releases apart in a path or a table, never used to decide.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(self.0.first_chunk::<6>().copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_gives_both() {
        let mut digests = Digests::default();
        std::io::copy(&mut &b"abc"[..], &mut digests).unwrap();
        assert_eq!(digests.finish(), (3, Sha256::of(b"abc"), Sha512::of(b"abc")));
    }

    #[test]
    fn hex_round_trip() {
        let digest = Sha256::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(format!("sha256:{digest}").parse::<Sha256>(), Ok(digest));
        assert_eq!(digest.short(), "ba7816bf8f01");
        assert!(digest.to_string().to_uppercase().parse::<Sha256>().is_err());
        assert!("sha512:00".parse::<Sha256>().is_err());
    }
}
