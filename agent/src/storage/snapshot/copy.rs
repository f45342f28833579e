//! Copies one file through SHA-256, bounded.

use crate::storage::hash::Hasher;
use slipway_protocol::Sha256;
use std::fs::File;
use std::io::{self, Read, Write};

/// Copies at most `limit` bytes and says how many there were, and their digest. A source with more than that is not an error here: one
/// byte over the limit is read and counted, so that the caller sees it.
pub(super) fn copy(source: &mut File, sink: &mut dyn Write, limit: u64) -> io::Result<(u64, Sha256)> {
    let mut source = source.take(limit.saturating_add(1));
    let mut hasher = Hasher::default();
    let mut block = vec![0; 128 * 1024];
    let mut size: u64 = 0;
    loop {
        let count = match source.read(&mut block) {
            Ok(0) => return Ok((size, hasher.finish())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = block.get(..count).unwrap_or_default();
        hasher.update(bytes);
        sink.write_all(bytes)?;
        size = size.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
