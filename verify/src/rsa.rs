//! RSA keys of authorities in private trusted roots; ring verifies them, through webpki.
//!
//! 2048 to 4096 bits; PKCS#1 v1.5 and PSS with a salt as long as the digest; SHA-256 and up. Signers and logs have no RSA keys here. The
//! crate `rsa` is not used: its private operations leak by timing (RUSTSEC-2023-0071), and nothing but verification is wanted.

use crate::key::{Hash, NotSigned};
use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::ring::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    RSA_PSS_2048_8192_SHA256_LEGACY_KEY, RSA_PSS_2048_8192_SHA384_LEGACY_KEY, RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
};
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tagged as _};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

/// `rsaEncryption`: a key of either scheme, and in CMS a PKCS#1 v1.5 signature by whatever digest stands beside it (RFC 8017, appendix A.1).
pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// Shorter keys are within reach (NIST SP 800-131A); longer ones only cost a small device time, and Sigstore's registry has none.
const BITS: std::ops::RangeInclusive<u32> = 2048..=4096;
/// The exponents that the library ring accepts. Real keys have 65537, few 3; a large one only costs a small device time.
const EXPONENTS: std::ops::RangeInclusive<u64> = 3..=(1 << 33) - 1;

/// An algorithm as webpki knows it.
pub(crate) type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// What an authority may sign with. The parameters of PKCS#1 v1.5 are null, or absent (RFC 4055 section 5).
pub(crate) fn algorithms() -> [(Algorithm, Hash); 9] {
    [
        (RSA_PKCS1_2048_8192_SHA256, Hash::Sha256),
        (RSA_PKCS1_2048_8192_SHA384, Hash::Sha384),
        (RSA_PKCS1_2048_8192_SHA512, Hash::Sha512),
        (RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS, Hash::Sha256),
        (RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS, Hash::Sha384),
        (RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS, Hash::Sha512),
        (RSA_PSS_2048_8192_SHA256_LEGACY_KEY, Hash::Sha256),
        (RSA_PSS_2048_8192_SHA384_LEGACY_KEY, Hash::Sha384),
        (RSA_PSS_2048_8192_SHA512_LEGACY_KEY, Hash::Sha512),
    ]
}

/// The algorithm that an identifier names with all its parameters, and its digest.
pub(crate) fn by_identifier(identifier: &AlgorithmIdentifierOwned) -> Option<(Algorithm, Hash)> {
    let der = identifier.to_der().ok()?;
    let content = AnyRef::from_der(&der).ok()?;
    algorithms().into_iter().find(|(algorithm, _)| algorithm.signature_alg_id().as_ref() == content.value())
}

/// The algorithm of a CMS signature over a message of this digest: there the key's own identifier stands for PKCS#1 v1.5 (RFC 5754
/// section 3.2).
pub(crate) fn in_cms(identifier: &AlgorithmIdentifierOwned, digest: Hash) -> Option<Algorithm> {
    let (algorithm, hash) = if identifier.oid == RSA {
        // The first three are PKCS#1 v1.5.
        algorithms().into_iter().take(3).find(|(_, hash)| *hash == digest)?
    } else {
        by_identifier(identifier)?
    };
    (hash == digest).then_some(algorithm)
}

/// A public key.
#[derive(Debug)]
pub(crate) struct RsaKey {
    /// `RSAPublicKey` in DER (RFC 8017, appendix A.1.1).
    key: Vec<u8>,
}

impl RsaKey {
    /// Reads a SubjectPublicKeyInfo whose algorithm is [`RSA`].
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn from_spki(spki: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, String> {
        let key = spki.subject_public_key.as_bytes().ok_or("a malformed RSA key")?;
        let (modulus, exponent) = numbers(key).map_err(|error| format!("an RSA key that cannot be read: {error}"))?;
        let leading = modulus.first().map_or(0, |byte| byte.leading_zeros());
        let bits = u32::try_from(modulus.len()).ok().and_then(|bytes| bytes.checked_mul(8)?.checked_sub(leading));
        match bits {
            Some(bits) if BITS.contains(&bits) => match exponent {
                Some(exponent) if EXPONENTS.contains(&exponent) && exponent % 2 == 1 => Ok(Self { key: key.to_vec() }),
                Some(exponent) => Err(format!("an RSA key with the exponent {exponent}")),
                None => Err("an RSA key with a longer exponent than 64 bits".to_owned()),
            },
            Some(bits) => Err(format!("an RSA key of {bits} bits")),
            None => Err("an RSA key of size 0".to_owned()),
        }
    }

    /// Verifies a signature over `message`.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), NotSigned> {
        algorithm.verify_signature(&self.key, message, signature).map_err(|_| NotSigned)
    }
}

/// The modulus, without a leading zero, and the exponent, if it has no more than 64 bits.
fn numbers(key: &[u8]) -> Result<(&[u8], Option<u64>), x509_cert::der::Error> {
    let sequence = AnyRef::from_der(key)?;
    sequence.tag().assert_eq(x509_cert::der::Tag::Sequence)?;
    let mut reader = SliceReader::new(sequence.value())?;
    let modulus = UintRef::decode(&mut reader)?;
    let exponent = UintRef::decode(&mut reader)?.as_bytes();
    let short = exponent.len() <= size_of::<u64>();
    let exponent = short.then(|| exponent.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)));
    reader.finish((modulus.as_bytes(), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_cert::der::asn1::BitStringRef;
    use x509_cert::spki::AlgorithmIdentifierRef;

    /// `RSAPublicKey` with a modulus of `bits` ones and this exponent.
    fn key(bits: u32, exponent: &[u8]) -> Vec<u8> {
        let first = match bits % 8 {
            0 => 0xff,
            rest => 0xff >> 8_u32.saturating_sub(rest),
        };
        let mut modulus = vec![0xff_u8; usize::try_from(bits.div_ceil(8)).unwrap()];
        modulus[0] = first;
        let integer = |bytes: &[u8]| UintRef::new(bytes).unwrap().to_der().unwrap();
        let content = [integer(&modulus), integer(exponent)].concat();
        AnyRef::new(x509_cert::der::Tag::Sequence, &content).unwrap().to_der().unwrap()
    }

    fn read_key(der: &[u8]) -> Result<RsaKey, String> {
        RsaKey::from_spki(&SubjectPublicKeyInfoRef {
            algorithm: AlgorithmIdentifierRef { oid: RSA, parameters: None },
            subject_public_key: BitStringRef::from_bytes(der).unwrap(),
        })
    }

    /// One that ring does not take would be found out as a signature that does not verify, by which the wrong one is blamed.
    #[test]
    fn an_exponent_that_nothing_verifies_with_is_the_keys_fault() {
        for (exponent, read) in [
            (&[1][..], false),
            (&[3], true),
            (&[4], false),
            (&[1, 0, 1], true),
            (&[1, 0xff, 0xff, 0xff, 0xff], true),
            (&[2, 0, 0, 0, 1], false),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 1], false),
        ] {
            let found = read_key(&key(2048, exponent));
            assert_eq!(found.is_ok(), read, "{exponent:?}");
            assert!(read || found.unwrap_err().contains("exponent"));
        }
    }

    #[test]
    fn parameters_of_pkcs1_are_null_or_absent() {
        for (oid, hash) in [
            ("1.2.840.113549.1.1.11", Hash::Sha256),
            ("1.2.840.113549.1.1.12", Hash::Sha384),
            ("1.2.840.113549.1.1.13", Hash::Sha512),
        ] {
            for parameters in [None, Some(x509_cert::der::asn1::Any::null())] {
                let identifier = AlgorithmIdentifierOwned { oid: ObjectIdentifier::new_unwrap(oid), parameters };
                assert_eq!(by_identifier(&identifier).map(|(_, hash)| hash), Some(hash), "{identifier:?}");
                assert!(in_cms(&identifier, hash).is_some());
            }
        }
    }

    #[test]
    fn keys_of_2048_to_4096_bits_are_read() {
        for (bits, read) in [(1024, false), (2047, false), (2048, true), (3072, true), (4096, true), (4097, false), (8192, false)]
        {
            let found = read_key(&key(bits, &[1, 0, 1]));
            assert_eq!(found.is_ok(), read, "{bits}");
            assert!(read || found.unwrap_err() == format!("an RSA key of {bits} bits"));
        }
        for broken in [&[][..], &[0x30, 0x00], &[0x02, 0x01, 0x01], &key(2048, &[3])[1..]] {
            assert!(numbers(broken).is_err(), "{broken:?}");
        }
    }
}
