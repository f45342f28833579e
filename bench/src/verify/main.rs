//! Measures the cost of verifying a Sigstore bundle.
//!
//! `bench/verify`: what verifying a Sigstore bundle costs above the signature verifications that the bundle needs, and what
//! `slipway-agent verify` costs as a process. How to read it: `bench/README.md`.

mod floor;
mod measure;
mod process;

use anyhow::{Context as _, Result, bail, ensure};
use floor::Floor;
use lexopt::prelude::{Long, ValueExt as _};
use measure::{Ratio, side_by_side};
use slipway_bench::exit_code;
use slipway_protocol::{Sha256, Version};
use slipway_testkit::sigstore::{Attestation, Evidence, PrivateSigstore, RsaKind};
use slipway_verify::{Artifact, LogRule, Policy, Signer, SigstoreRoot, Subject, verify_bundle, verify_provenance};
use std::ffi::OsString;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What must not be missed: as a ratio to the floor, or beyond it in µs where the floor is low; and in MiB.
const MOST_RATIO: f64 = 1.15;
const MOST_BEYOND: f64 = 250.0;
const MOST_MIB: f64 = 8.0;

const TARBALL: &[u8] = b"a tarball";
const NAME: &str = "kubeedge-v1.23.1-linux-arm64.tar.gz";
const POLICY: &str = "component = \"edgecore\"\npreset = \"kubeedge\"\n";

struct Options {
    agent: PathBuf,
    rounds: usize,
    runs: u32,
    quick: bool,
    /// Whether nothing is judged: a debug build's numbers say nothing.
    smoke: bool,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let outcome = match args.next() {
        Some(first) if first == process::LAUNCH => process::launch(args).map(|()| true),
        first => options(first.into_iter().chain(args)).and_then(|options| bench(&options)),
    };
    exit_code("bench/verify", outcome)
}

fn options(args: impl Iterator<Item = OsString>) -> Result<Options> {
    let mut parser = lexopt::Parser::from_args(args);
    let (mut agent, mut rounds, mut quick, mut smoke) = (None, None, false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("agent") => agent = Some(PathBuf::from(parser.value()?)),
            Long("rounds") => rounds = Some(parser.value()?.parse()?),
            Long("quick") => quick = true,
            Long("smoke") => (quick, smoke) = (true, true),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Options {
        agent: agent.context("--agent PROGRAM is missing: start this by bench/verify")?,
        rounds: rounds.unwrap_or(if quick { 10 } else { 500 }),
        runs: if quick { 2 } else { 20 },
        quick,
        smoke,
    })
}

/// One way to verify one bundle.
struct Case {
    name: &'static str,
    floor: Floor,
    verify: Box<dyn Fn() -> bool>,
}

fn bench(options: &Options) -> Result<bool> {
    pin();
    let sigstore = PrivateSigstore::new("bench");
    let rsa = RsaKind { bits: 4096, pss: true, sha: 256, plain_in_cms: false };
    let rsa = PrivateSigstore::with_rsa("bench", rsa);
    let release = || Attestation::kubeedge("v1.23.1").artifact(NAME, TARBALL);
    let v2 = Attestation { evidence: Evidence::RekorV2, ..release() };
    let mut cases = Vec::new();
    for (names, sigstore, attestation) in [
        (["Rekor v1, dsse", "Rekor v1, dsse, with policy"], &sigstore, release()),
        (["Rekor v1, intoto 0.0.1", "Rekor v1, intoto 0.0.1, policy"], &sigstore, release().generator("v1.10.0")),
        (["Rekor v2, timestamp", "Rekor v2, timestamp, with policy"], &sigstore, v2.clone()),
        (["RSA authorities, Rekor v2", "RSA authorities, with policy"], &rsa, v2),
    ] {
        cases.extend(private(sigstore, names, &attestation)?);
    }
    if let Some(vectors) = slipway_testkit::vectors::vectors() {
        cases.extend(public(&vectors)?);
    }
    println!("{:34} {:28} {:>9} {:>9} {:>6}  10 to 90 %", "bundle", "signatures to verify", "floor µs", "verify µs", "ratio");
    let (mut worst, mut slow) = (0_f64, false);
    for case in &cases {
        ensure!((case.verify)(), "{}: does not verify", case.name);
        let floor = || assert!(black_box(case.floor.run()));
        let Ratio { floor, subject, median, spread } =
            side_by_side(options.rounds, floor, || assert!(black_box((case.verify)())))?;
        println!(
            "{:34} {:28} {:>9} {:>9} {median:>6.3}  {:.3} to {:.3}",
            case.name,
            case.floor.describe(),
            floor.as_micros(),
            subject.as_micros(),
            spread.0,
            spread.1
        );
        // A low floor of a few RSA verifications leaves parsing as the larger part; then the time itself is what counts.
        let beyond = (median - 1.0) * floor.as_secs_f64() * 1e6;
        if !(median > 0.0 && (median <= MOST_RATIO || beyond <= MOST_BEYOND)) {
            slow = true;
            if !options.quick {
                let name = case.name;
                eprintln!(
                    "bench/verify: {name}: {median:.3} times the floor and {beyond:.0} µs beyond it; \
                     it must be at most {MOST_RATIO} times or {MOST_BEYOND} µs"
                );
            }
        }
        worst = worst.max(median);
    }
    let mib = whole_process(options, &sigstore)?;
    let large = !(options.smoke || (mib > 0.0 && mib < MOST_MIB));
    if large {
        eprintln!("bench/verify: {mib:.2} MiB; it must be less than {MOST_MIB}");
    }
    println!("verify/floor: {worst:.3}\npeak rss MiB: {mib:.2}");
    Ok(!(large || (slow && !options.quick)))
}

/// Stays on the processor it is on, as far as that is allowed: moving costs caches.
fn pin() {
    let mut here = nix::sched::CpuSet::new();
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    let cpu = allowed.ok().and_then(|set| (0..nix::sched::CpuSet::count()).rev().find(|cpu| set.is_set(*cpu).unwrap_or(false)));
    if let Some(cpu) = cpu
        && here.set(cpu).is_ok()
    {
        let _unpinned = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &here);
    }
}

/// A KubeEdge release of the private Sigstore, whose keys are of the kinds that the public one has: as a device verifies it, against a
/// policy, and the bundle alone.
fn private(sigstore: &PrivateSigstore, names: [&'static str; 2], attestation: &Attestation) -> Result<[Case; 2]> {
    let (bundle, trusted_root) = (sigstore.attest(attestation), sigstore.trusted_root());
    let policy = Policy::parse(POLICY)?;
    let version: Version = "v1.23.1".parse().map_err(anyhow::Error::msg)?;
    let root = SigstoreRoot::parse(&trusted_root)?;
    let with_policy = Case {
        name: names[1],
        floor: Floor::of(&bundle, &trusted_root)?,
        verify: {
            let (bundle, root) = (bundle.clone(), SigstoreRoot::parse(&trusted_root)?);
            Box::new(move || {
                let subject = Subject { name: NAME, sha256: Some(Sha256::of(TARBALL)), sha512: None, version: Some(&version) };
                verify_provenance(black_box(&bundle), &root, &policy, &subject).is_ok()
            })
        },
    };
    Ok([
        alone(
            names[0],
            bundle,
            &trusted_root,
            root,
            attestation.identity.clone(),
            attestation.issuer.clone(),
            Sha256::of(TARBALL),
        )?,
        with_policy,
    ])
}

/// Two public bundles, where they are.
fn public(vectors: &Path) -> Result<Vec<Case>> {
    let read = |path: &str| std::fs::read(vectors.join(path)).with_context(|| path.to_owned());
    let issuer = "https://token.actions.githubusercontent.com";
    let generator =
        "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0";
    let beacon = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
    let digest = "sha256:376e7e01348585b6e6643bc6663146b9d525d9b41228bf180eaeb4d4a3706caa".parse().map_err(anyhow::Error::msg)?;
    let text = read("bundles/a.txt")?;
    [
        (
            "public, Rekor v1",
            "provenance/slsa-generic-v2.1.0.sigstore.json",
            "roots/sigstore-prod.trusted_root.json",
            generator,
            digest,
        ),
        (
            "public, Rekor v2, timestamp",
            "bundles/rekor2-dsse-happy-path/bundle.sigstore.json",
            "bundles/rekor2-dsse-happy-path/trusted_root.json",
            beacon,
            Sha256::of(&text),
        ),
    ]
    .into_iter()
    .map(|(name, bundle, root, identity, digest)| {
        let trusted_root = read(root)?;
        let root = SigstoreRoot::parse(&trusted_root)?;
        alone(name, read(bundle)?, &trusted_root, root, identity.to_owned(), issuer.to_owned(), digest)
    })
    .collect()
}

/// A bundle without a policy.
fn alone(
    name: &'static str,
    bundle: Vec<u8>,
    trusted_root: &[u8],
    root: SigstoreRoot,
    identity: String,
    issuer: String,
    digest: Sha256,
) -> Result<Case> {
    let floor = Floor::of(&bundle, trusted_root).with_context(|| name)?;
    let verify = Box::new(move || {
        let signer = Signer::Identity { identity: &identity, issuer: &issuer };
        verify_bundle(black_box(&bundle), &root, signer, Artifact::Sha256(digest), LogRule::Proof).is_ok()
    });
    Ok(Case { name, floor, verify })
}

/// Peak memory in MiB of `slipway-agent verify`.
fn whole_process(options: &Options, sigstore: &PrivateSigstore) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| -> Result<OsString> {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path.into())
    };
    let mut peak = 0;
    println!("\n{:34} {:>9} {:>9}", "slipway-agent verify", "CPU ms", "peak MiB");
    for (name, evidence) in [("Rekor v1", Evidence::RekorV1), ("Rekor v2 and timestamp", Evidence::RekorV2)] {
        let attestation = Attestation { evidence, ..Attestation::kubeedge("v1.23.1").artifact(NAME, TARBALL) };
        let command: Vec<OsString> = vec![
            options.agent.clone().into(),
            "verify".into(),
            file(NAME, TARBALL)?,
            "--bundle".into(),
            file("bundle", &sigstore.attest(&attestation))?,
            "--policy".into(),
            file("policy.toml", POLICY.as_bytes())?,
            "--trusted-root".into(),
            file("root.json", &sigstore.trusted_root())?,
            "--release-version".into(),
            "v1.23.1".into(),
        ];
        let cost = process::measure(&command, options.runs)?;
        println!("{name:34} {:>9.2} {:>9.2}", cost.cpu.as_secs_f64() * 1000.0, cost.peak_kib as f64 / 1024.0);
        peak = peak.max(cost.peak_kib);
    }
    println!();
    if peak == 0 {
        bail!("no memory was measured");
    }
    Ok(peak as f64 / 1024.0)
}
