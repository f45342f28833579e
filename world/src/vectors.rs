//! Public test vectors that are too large for the repository and not ours to ship.

use std::path::{Path, PathBuf};

/// The folder `vectors` of `SLIPWAY_SHARED`, else of `../shared` beside the project; `None`, with a line that says so, where it is not
/// there. The tests of a user pass without it.
///
/// # Panics
/// Where `CI` is `true`: half a suite must not pass for the whole.
pub fn vectors() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let vectors = std::env::var_os("SLIPWAY_SHARED").map_or_else(beside, PathBuf::from).join("vectors");
    if vectors.is_dir() {
        return Some(vectors);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must have {}", vectors.display());
    println!("skipped: {} is missing", vectors.display());
    None
}
