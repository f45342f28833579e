//! Runs the agent for 64-bit and 32-bit ARM under emulation: verification, status, an offline bundle for another platform.
//!
//! `tests/run` builds it by `cross/build` and says where it is.

use anyhow::{Result, ensure};
use slipway_sim::{AgentProgram, Device, DeviceOptions};
use slipway_testkit::edgecore::Dials;
use slipway_testkit::vectors::vectors;
use slipway_tests::{factory, stderr};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// `qemu-aarch64-static -L … slipway-agent`; `None` with a printed line where it was not built, an error in CI.
fn arm_agent(variable: &str, emulator: &str, libraries: &str) -> Result<Option<AgentProgram>> {
    let Some(agent) = std::env::var_os(variable) else {
        ensure!(std::env::var_os("CI").is_none(), "CI must run this by tests/run");
        println!("skipped: run it by tests/run");
        return Ok(None);
    };
    let first: Vec<OsString> = vec!["-L".into(), libraries.into(), agent];
    Ok(Some(AgentProgram { exe: PathBuf::from(emulator), first }))
}

const POLICY: &str = r#"
component = "example"
[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0"
[provenance]
source = "https://github.com/slsa-framework/example-package"
unsafe_any_ref = true
triggers = ["push", "release", "workflow_dispatch", "schedule", "create"]
"#;

#[test]
fn verifies_and_shows_its_state_on_64_bit_arm() -> Result<()> {
    let arm = arm_agent("SLIPWAY_AGENT_AARCH64", "qemu-aarch64-static", "/usr/aarch64-linux-gnu")?;
    arm.map_or(Ok(()), |arm| verifies_and_shows_its_state(&arm, "linux/arm64"))
}

#[test]
fn verifies_and_shows_its_state_on_32_bit_arm() -> Result<()> {
    let arm = arm_agent("SLIPWAY_AGENT_ARMV7", "qemu-arm-static", "/usr/arm-linux-gnueabihf")?;
    arm.map_or(Ok(()), |arm| verifies_and_shows_its_state(&arm, "linux/arm"))
}

fn verifies_and_shows_its_state(arm: &AgentProgram, platform: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let run = |args: &[&str]| -> Result<std::process::Output> {
        Ok(Command::new(&arm.exe).args(&arm.first).args(args).current_dir(dir.path()).output()?)
    };
    if let Some(vectors) = vectors() {
        std::fs::write(dir.path().join("policy.toml"), POLICY)?;
        let bundle = vectors.join("provenance/slsa-generic-v2.1.0.sigstore.json");
        let name = subject_name(&bundle)?;
        let verify = |digest: &str| {
            let bundle = bundle.display().to_string();
            run(&["verify", digest, "--bundle", &bundle, "--policy", "policy.toml", "--name", &name])
        };
        let good = verify("sha256:376e7e01348585b6e6643bc6663146b9d525d9b41228bf180eaeb4d4a3706caa")?;
        assert!(good.status.success(), "{}", stderr(&good));
        assert!(String::from_utf8(good.stdout)?.contains("slsa-framework/example-package"));
        let bad = verify("sha256:376e7e01348585b6e6643bc6663146b9d525d9b41228bf180eaeb4d4a3706cab")?;
        assert_eq!(bad.status.code(), Some(3));
        assert!(stderr(&bad).contains("SLW-V-"), "{}", stderr(&bad));
    }
    let factory = factory()?;
    let mut options = DeviceOptions::named("arm-1");
    options.component = Some("[[component]]\nname = \"edgecore\"\nchannel = \"stable\"\n".into());
    let device = Device::new(arm, &factory.root()?, options)?;
    let status = device.status()?;
    assert_eq!((status.node.as_str(), status.components.len()), ("arm-1", 1));
    // An artifact for another platform is not for this one, whatever else is right with it.
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let file = device.path("amd64.tar");
    factory.bundle(&file)?;
    let refused = device.run("install", &[&file.display().to_string()])?;
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(platform), "{}", stderr(&refused));
    Ok(())
}

fn subject_name(bundle: &std::path::Path) -> Result<String> {
    let output = Command::new("python3")
        .args(["-c", "import sys,json,base64;b=json.load(open(sys.argv[1]));print(json.loads(base64.b64decode(b['dsseEnvelope']['payload']))['subject'][0]['name'])"])
        .arg(bundle)
        .output()?;
    ensure!(output.status.success(), "{}", stderr(&output));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
