//! Fuzz targets.
//!
//! What is fuzzed: one function for each reader of bytes from elsewhere, fed by cargo-fuzz (`fuzz/run`) and by a test that any stable
//! toolchain runs.
//!
//! | module | what it feeds |
//! |---|---|
//! | [`evidence`] | the verifier: bundles, their parts, trusted roots, statements |
//! | [`release`] | what the operator publishes: TUF metadata, manifest, channel, policy |
//! | [`device`] | what the device reads back, from its disk or from a medium |
//! | [`messages`] | what the broker and the socket bring |
//! | [`meaning`] | what a Sigstore bundle says, however it is written: the oracle of the mutants |
//! | [`mutate`], [`tape`] | changes to valid JSON, chosen by the fuzzer's bytes |
//!
//! A function panics when something is wrong, and that is all it tells: a reader panicked, accepted what says something else than what was
//! signed, or did not give back what it had read. What is refused is fine.

pub mod device;
pub mod evidence;
pub mod meaning;
pub mod messages;
pub mod mutate;
pub mod release;
pub mod tape;

/// One reader.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the cargo-fuzz target and of the corpus folder.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
    /// How many inputs the stable test feeds it: readers behind a signature take milliseconds each.
    pub inputs: u32,
}

const fn target(name: &'static str, run: fn(&[u8]), inputs: u32) -> Target {
    Target { name, run, inputs }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("archive", device::archive, 200),
    target("bundle", evidence::bundle, 400),
    target("bundle_mutant", evidence::bundle_mutant, 100),
    target("certificate", evidence::certificate, 100),
    target("channel", release::channel, 2000),
    target("checkpoint", evidence::checkpoint, 100),
    target("config", device::config, 1000),
    target("control", messages::control, 2000),
    target("index", release::index, 2000),
    target("json", messages::json, 2000),
    target("manifest", release::manifest, 2000),
    target("notice", messages::notice, 2000),
    target("offline_bundle", device::offline_bundle, 200),
    target("policy", release::policy, 1000),
    target("report", messages::report, 2000),
    target("slot_record", device::slot_record, 500),
    target("statement", evidence::statement, 30),
    target("timestamp", evidence::timestamp, 100),
    target("trusted_root", evidence::trusted_root, 200),
    target("tuf", release::tuf, 200),
    target("witness", device::witness, 200),
];

/// Feeds the target of this name.
///
/// # Panics
/// There is none; or what was fed shows that something is wrong.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"));
    (target.run)(data);
}
