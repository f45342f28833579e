//! Tells the program when it was built: no device's clock can be right and earlier. `SOURCE_DATE_EPOCH` makes it reproducible.
//!
//! Leaves the tables for unwinding out of a release build, in which a panic does not unwind: `no-unwind-tables.ld`.

use std::env::var;
use std::time::{SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "the build's own time is the point here")]
fn main() {
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-changed=no-unwind-tables.ld");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = var("SOURCE_DATE_EPOCH").ok().and_then(|secs| secs.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo::rustc-env=SLIPWAY_BUILT={}", given.unwrap_or(now));

    let (profile, system, folder) = (var("PROFILE"), var("CARGO_CFG_TARGET_OS"), var("CARGO_MANIFEST_DIR"));
    if let (Ok("release"), Ok("linux"), Ok(folder)) = (profile.as_deref(), system.as_deref(), folder) {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/no-unwind-tables.ld");
    }
}
