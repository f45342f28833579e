//! Real input: npm's package sigstore 2.1.0, its provenance, and Sigstore's public-good root.
//!
//! Released by the operator's program, announced through a real mosquitto, taken by a real agent. Needs the npm registry and the public
//! vectors; without them it is skipped, except in CI. Takes about 30 s: six notices, each held to the pause between two checks.

use anyhow::{Context as _, Result};
use slipway_sim::factory::find;
use slipway_sim::{Device, DeviceOptions};
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::server::{Fault, ReleaseServer};
use slipway_testkit::vectors::vectors;
use slipway_tests::{LONG, agent, slipway, slipway_ok, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

const POLICY: &str = r#"
component = "sigstore-js"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"

[provenance]
builder = "https://github.com/actions/runner/github-hosted"
source = "https://github.com/sigstore/sigstore-js"
ref = "refs/heads/main"
triggers = ["push"]
"#;

/// The package as the registry serves it, or `None` where there is no registry.
fn npm_pack(dir: &Path) -> Result<Option<PathBuf>> {
    let packed = Command::new("npm").args(["pack", "--silent", "sigstore@2.1.0"]).current_dir(dir).output();
    match packed {
        Ok(output) if output.status.success() => Ok(Some(dir.join("sigstore-2.1.0.tgz"))),
        other => {
            anyhow::ensure!(std::env::var_os("CI").is_none(), "CI must reach the npm registry: {other:?}");
            println!("skipped: npm pack: {other:?}");
            Ok(None)
        }
    }
}

struct Operator {
    repo: PathBuf,
    broker: String,
}

impl Operator {
    fn new(dir: &Path, broker: &str) -> Result<Self> {
        let repo = dir.join("fleet");
        slipway_ok(&["init", text(&repo), "--unencrypted"])?;
        Ok(Self { repo, broker: broker.to_owned() })
    }

    fn policy(&self, dir: &Path, policy: &str) -> Result<()> {
        let file = dir.join("policy.toml");
        std::fs::write(&file, policy)?;
        slipway_ok(&["policy", "add", text(&self.repo), text(&file)])?;
        Ok(())
    }

    fn release(&self, version: &str, artifact: &Path, provenance: &Path, force: bool) -> Result<std::process::Output> {
        let artifact = format!("any={},member=package/package.json,name=pkg:npm/sigstore@2.1.0", artifact.display());
        let mut args = vec!["release", text(&self.repo), "--component", "sigstore-js", "--version", version];
        args.extend(["--artifact", &artifact, "--provenance", text(provenance)]);
        args.extend(force.then_some("--unsafe-skip-verify"));
        slipway(&args)
    }

    fn announce(&self, version: &str) -> Result<()> {
        slipway_ok(&["channel", text(&self.repo), "--component", "sigstore-js", "--release", version])?;
        slipway_ok(&[
            "notify",
            "--broker",
            &self.broker,
            "--fleet",
            "factory",
            "--component",
            "sigstore-js",
            "--version",
            version,
        ])?;
        Ok(())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn a_real_package_with_real_provenance() -> Result<()> {
    let Some(vectors) = vectors() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let Some(package) = npm_pack(dir.path())? else { return Ok(()) };
    let provenance = vectors.join("provenance/npm-sigstore-2.1.0.sigstore.json");
    let broker = Mosquitto::start(Access::Plain)?;
    let operator = Operator::new(dir.path(), &broker.url())?;
    operator.policy(dir.path(), POLICY)?;
    let server = ReleaseServer::start(&operator.repo.join("public"))?;

    let mut options = DeviceOptions::named("edge-npm");
    options.repository = Some(server.url());
    options.broker = Some(broker.url());
    let soak = "health = { soak = \"1s\", deadline = \"120s\", interval = \"100ms\" }";
    options.component = Some(format!("[[component]]\nname = \"sigstore-js\"\nchannel = \"stable\"\n{soak}\n"));
    let root = std::fs::read(operator.repo.join("public/metadata/1.root.json"))?;
    let mut device = Device::new(&agent(), &root, options)?;
    device.start()?;
    device.wait("connects", LONG, |device| device.status().is_ok_and(|status| status.broker == Some(true)))?;

    // One byte changed on the server: provenance and metadata are real, the artifact is not.
    let released = operator.release("2.1.0", &package, &provenance, false)?;
    assert!(released.status.success(), "{}", stderr(&released));
    let artifact = find(&operator.repo.join("public/artifacts"), "sigstore-2.1.0.tgz").context("the artifact is published")?;
    let path = artifact.strip_prefix(operator.repo.join("public"))?.display().to_string();
    server.fault(&path, Fault::FlipByte(20_000));
    operator.announce("2.1.0")?;
    let report = device.wait_code("SLW-A-DIGEST", LONG)?;
    assert_eq!(report.to.map(|version| version.to_string()).as_deref(), Some("2.1.0"));
    assert_eq!(device.committed(), None);

    // As it is: taken.
    server.heal(&path);
    operator.announce("2.1.0")?;
    device.wait_committed("2.1.0", LONG)?;
    let installed = std::fs::read_to_string(device.state().join("current/sigstore-js/bin/sigstore-js"))?;
    let package_json: serde_json::Value = serde_json::from_str(&installed)?;
    assert_eq!(package_json["version"], "2.1.0");

    // Another project's real provenance. The operator's tool says no with the code that the device will say.
    let other = vectors.join("provenance/npm-sigstore-1.3.0.sigstore.json");
    let foreign = vectors.join("provenance/github-reusable-workflow.sigstore.json");
    for (version, provenance) in [("2.1.1", &other), ("2.1.2", &foreign)] {
        let refused = operator.release(version, &package, provenance, false)?;
        assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
        let said = stderr(&refused);
        let code =
            said.split_whitespace().find(|word| word.starts_with("SLW-V-")).context("a code")?.trim_end_matches(':').to_owned();
        assert!(operator.release(version, &package, provenance, true)?.status.success());
        operator.announce(version)?;
        device.wait("refuses it too, with that code", LONG, |device| {
            let reports = device.history().unwrap_or_default();
            let same = |report: &&slipway_protocol::Report| report.to.as_ref().is_some_and(|v| v.as_str() == version);
            reports.iter().filter(same).any(|report| report.refusal.as_ref().is_some_and(|refusal| refusal.code == code))
        })?;
    }

    // A policy that names another source: the very same package is not wanted any more.
    operator.policy(
        dir.path(),
        &POLICY.replace(
            "source = \"https://github.com/sigstore/sigstore-js\"",
            "source = \"https://github.com/sigstore/sigstore-jx\"",
        ),
    )?;
    assert!(operator.release("2.1.3", &package, &provenance, true)?.status.success());
    operator.announce("2.1.3")?;
    let report = device.wait_code("SLW-V-POLICY-SOURCE", LONG)?;
    let refusal = report.refusal.context("a refusal")?;
    assert!(refusal.seen.contains("sigstore-js") && refusal.wanted.contains("sigstore-jx"), "{refusal}");
    assert_eq!(device.committed().map(|version| version.to_string()).as_deref(), Some("2.1.0"));
    Ok(())
}
