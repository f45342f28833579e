//! The one content coding that small files may come in: gzip (RFC 9110 section 8.4.1.3), bounded on both sides.
//!
//! What is signed is what comes out. Artifacts never come in a coding: sizes and ranges are of the bytes as they are stored.

use flate2::read::MultiGzDecoder;
use std::io::{self, Read as _};

/// Head, tail, and the beginnings of blocks. Servers compress files of a hundred bytes, too.
const ADDED: u64 = 64;

/// The most bytes that a file of at most `limit` may have in this coding: a hasty encoder spends up to 9 bits on a byte that it cannot
/// make smaller (RFC 1951 section 3.2.6).
pub(super) fn most(limit: u64) -> u64 {
    limit.saturating_add(limit.div_euclid(8)).saturating_add(ADDED)
}

/// What `packed` holds; one byte more than `limit` if it is larger.
///
/// # Errors
/// It is no gzip file, or ends too early.
pub(super) fn inflate(packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed).take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_comes_out_is_bounded_whatever_goes_in() {
        let bomb = gzip(&vec![0; 64 << 20], 9);
        assert_eq!(inflate(&bomb, 1000).unwrap().len(), 1001, "and not 64 MiB");
        assert_eq!(inflate(&gzip(b"hello", 6), 5).unwrap(), b"hello");
        assert_eq!(inflate(&gzip(b"", 6), 5).unwrap(), b"");
        let good = gzip(b"hello", 6);
        for bad in [&b"hello"[..], b"", &good[..good.len() - 1], &good[..12]] {
            assert!(inflate(bad, 5).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_made_smaller_fits() {
        let noise = |count: u32| -> Vec<u8> {
            (0..count.div_ceil(32)).flat_map(|n| slipway_protocol::Sha256::of(&n.to_be_bytes()).0).take(count as usize).collect()
        };
        for count in [0, 1, 84, 16_384, 1 << 20] {
            for level in [0, 1, 9] {
                let packed = gzip(&noise(count), level);
                assert!(packed.len() as u64 <= most(count.into()), "{count} at {level}: {}", packed.len());
            }
        }
    }
}
