//! `slipway verify-image` on a real registry, on an imitated one with faults, and on image layouts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../ending/mod.rs"]
mod ending;

mod attestations;
mod layouts;
mod registries;

use ending::{ending, good, refused, text};
use serde_json::{Value, json};
use slipway_testkit::registry::{FakeRegistry, Repository, digest};
use slipway_testkit::rekor::RekorServer;
use slipway_testkit::sigstore::{Attestation, PrivateSigstore, Subject};
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

const NAME: &str = "index.docker.io/kubeedge/cloudcore";
const REPOSITORY: &str = "kubeedge/cloudcore";
const TAG: &str = "v1.23.1";
const BUILDER: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml";
const BUILD_TYPE: &str = "https://github.com/slsa-framework/slsa-github-generator/container@v1";

/// A build of cloudcore's image, as the generator's container workflow attests it.
fn build(name: &str, image: &str) -> Attestation {
    build_by("v2.1.0", name, image)
}

/// The same by this version of the generator; up to v1.9.0 its log entry is about the layer's bytes.
fn build_by(version: &str, name: &str, image: &str) -> Attestation {
    let release = Attestation::kubeedge(TAG);
    let identity = format!("{BUILDER}@refs/tags/{version}");
    let subject = Subject::sha256(name, image.trim_start_matches("sha256:"));
    Attestation { identity: identity.clone(), builder: identity, build_type: BUILD_TYPE.to_owned(), ..release }.subject(subject)
}

struct Desk {
    dir: TempDir,
    sigstore: PrivateSigstore,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { dir: TempDir::new().unwrap(), sigstore: PrivateSigstore::new("images") };
        fs::write(desk.path("root"), desk.sigstore.trusted_root()).unwrap();
        let policy = format!(
            "component = \"cloudcore\"\n[certificate]\nissuer = \"https://token.actions.githubusercontent.com\"\n[provenance]\nbuilder = \"{BUILDER}\"\n\
             builder_versions = [\">=1.4.0, <3\"]\nbuild_type = \"{BUILD_TYPE}\"\nsource = \"https://github.com/kubeedge/kubeedge\"\n\
             tag = \"v{{version}}\"\ntriggers = \"release\"\n"
        );
        fs::write(desk.path("policy"), &policy).unwrap();
        fs::write(desk.path("policy-promise"), policy + "[log]\nunsafe_promise_only = true\n").unwrap();
        desk
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn bundle(&self, attestation: &Attestation) -> Value {
        self.sigstore.attest_value(attestation)
    }

    fn command(&self, image: &str, policy: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command.args([
            "verify-image",
            image,
            "--plain-http",
            "--policy",
            &self.path(policy),
            "--trusted-root",
            &self.path("root"),
        ]);
        command.args(["--release-version", TAG]).args(more).env("DOCKER_CONFIG", self.dir.path());
        command
    }

    fn verify(&self, image: &str, more: &[&str]) -> Output {
        self.command(image, "policy", more).output().unwrap()
    }

    /// The report as JSON, whatever the verdict.
    fn report(&self, image: &str, more: &[&str]) -> Value {
        serde_json::from_slice(&self.verify(image, &[more, &["--json"]].concat()).stdout).unwrap()
    }
}

/// A repository with one index of two platforms under [`TAG`]; the index's digest and the platforms'.
fn repository() -> (Repository, String, Vec<String>) {
    let mut repository = Repository::default();
    let (index, images) = repository.index("cloudcore", &["amd64", "arm64"]);
    repository.tag(TAG, &index);
    (repository, index, images)
}

/// The fake registry with one repository, and the image in it by tag and by digest.
fn fake(content: Repository) -> (FakeRegistry, String) {
    let registry = FakeRegistry::start([(REPOSITORY.to_owned(), content)]).unwrap();
    let image = format!("{}/{REPOSITORY}", registry.host());
    (registry, image)
}
