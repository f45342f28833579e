//! Public test vectors that are too large for the repository and not ours to ship.

use std::path::{Path, PathBuf};

/// The folder `vectors` of `SLIPWAY_SHARED`, else of `../shared` beside the project; `None`, with a line that says so, where it is not
/// there. The tests of a user pass without it.
///
/// # Panics
/// Where `SLIPWAY_SHARED` names a folder without them: whoever names it wants them read.
pub fn vectors() -> Option<PathBuf> {
    let named = std::env::var_os("SLIPWAY_SHARED").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let vectors = named.clone().unwrap_or_else(beside).join("vectors");
    if vectors.is_dir() {
        return Some(vectors);
    }
    assert!(named.is_none(), "SLIPWAY_SHARED names no folder with vectors: {}", vectors.display());
    println!("skipped: {} is missing", vectors.display());
    None
}
