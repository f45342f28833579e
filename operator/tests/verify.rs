//! `verify-bundle`, `verify` and `policy explain` as a person meets them: on a private Sigstore, and on real bundles.
//!
//! The real ones are read from the folder `vectors` of `SLIPWAY_SHARED`, else of `../shared` beside the project. Without it that test is skipped
//! with a line that says so, and fails where `CI=true`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ending;

use ending::{ending, good, refused, text};
use serde_json::Value;
use slipway_protocol::{Sha256, Sha512};
use slipway_testkit::sigstore::{Attestation, Evidence, ManagedKey, PrivateSigstore, Subject, generator_generic};
use slipway_testkit::vectors::vectors;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const NAME: &str = "kubeedge-v1.23.1-linux-arm64.tar.gz";
const TARBALL: &[u8] = b"a tarball";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const BEACON: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";

fn slipway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slipway")).args(arguments).output().unwrap()
}

/// Files of one build in a folder of their own.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(TempDir::new().unwrap());
        let sigstore = PrivateSigstore::new("desk");
        let release = || Attestation::kubeedge("v1.23.1").artifact(NAME, TARBALL);
        let key = ManagedKey::new("desk");
        desk.write("root", sigstore.trusted_root());
        desk.write("root-timestamps", sigstore.trusted_root_timestamps_only());
        desk.write("bundle", sigstore.attest(&release()));
        desk.write("timestamped", sigstore.attest(&Attestation { evidence: Evidence::TimestampOnly, ..release() }));
        desk.write("blob", sigstore.sign_blob(&release(), TARBALL));
        desk.write("key.pem", key.public_pem());
        desk.write("other.pem", ManagedKey::new("other").public_pem());
        desk.write("keyed", sigstore.sign_blob(&Attestation { managed_key: Some(key), ..release() }, TARBALL));
        desk.write("sha512", sigstore.attest(&Attestation::kubeedge("v1.23.1").subject(Subject::sha512_of(NAME, TARBALL))));
        desk.write("policy", "component = \"edgecore\"\npreset = \"kubeedge\"\n");
        desk.write(NAME, TARBALL);
        desk
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn verify_bundle(&self, bundle: &str, more: &[&str]) -> Output {
        let (bundle, root) = (self.path(bundle), self.path("root"));
        slipway(&[&["verify-bundle", "--bundle", &bundle, "--trusted-root", &root], more].concat())
    }

    fn verify(&self, more: &[&str]) -> Output {
        let (bundle, policy) = (self.path("bundle"), self.path("policy"));
        slipway(&[&["verify", "--bundle", &bundle, "--policy", &policy], more].concat())
    }
}

#[test]
fn a_bundle_is_verified_by_file_and_by_digest_for_its_signer_alone() {
    let desk = Desk::new();
    let (file, identity) = (desk.path(NAME), generator_generic("v2.1.0"));
    let who = ["--certificate-identity", &identity, "--certificate-oidc-issuer", ISSUER];
    let sha256 = format!("{:?}", Sha256::of(TARBALL));
    let other = format!("{:?}", Sha256::of(b"another"));
    for bundle in ["bundle", "blob"] {
        for artifact in [&file, &sha256] {
            let output = desk.verify_bundle(bundle, &[&who[..], &[artifact]].concat());
            assert_eq!(ending(&output), good());
            let report = text(&output.stdout);
            assert!(report.starts_with(&format!("Verified {artifact}\n")), "{report}");
            assert!(report.contains(&identity) && report.contains("rekor.desk.test, entry "), "{report}");
        }
        let output = desk.verify_bundle(bundle, &[&who[..], &[&other]].concat());
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    }
    assert_eq!(ending(&desk.verify_bundle("bundle", &[&who[..], &[&other]].concat())), refused("SLW-V-ARTIFACT-DIGEST"));

    let sha512 = format!("{:?}", Sha512::of(TARBALL));
    for artifact in [&file, &sha512] {
        assert_eq!(ending(&desk.verify_bundle("sha512", &[&who[..], &[artifact]].concat())), good());
    }
    let other512 = format!("{:?}", Sha512::of(b"another"));
    assert_eq!(ending(&desk.verify_bundle("sha512", &[&who[..], &[&other512]].concat())), refused("SLW-V-ARTIFACT-DIGEST"));

    let longer = format!("{identity}0");
    let wrong = ["--certificate-identity", &longer, "--certificate-oidc-issuer", ISSUER, &file];
    let output = desk.verify_bundle("bundle", &wrong);
    assert_eq!(ending(&output), refused("SLW-V-POLICY-IDENTITY"));
    let shown = text(&output.stderr);
    assert!(shown.contains(&format!("\n  found     {identity}\n  expected  {longer}\n  fix       ")), "{shown}");
    assert!(output.stdout.is_empty(), "nothing that could be taken for a yes");
    let wrong = ["--certificate-identity", &identity, "--certificate-oidc-issuer", "https://gitlab.com", &file];
    assert_eq!(ending(&desk.verify_bundle("bundle", &wrong)), refused("SLW-V-POLICY-ISSUER"));

    let found: Value =
        serde_json::from_slice(&desk.verify_bundle("bundle", &[&who[..], &["--json", &file]].concat()).stdout).unwrap();
    assert_eq!(found["verified"], true);
    assert_eq!(found["evidence"]["identity"], identity.as_str());
    let found: Value =
        serde_json::from_slice(&desk.verify_bundle("bundle", &[&who[..], &["--json", &other]].concat()).stdout).unwrap();
    assert_eq!(found["verified"], false);
    assert_eq!(found["refusal"]["code"], "SLW-V-ARTIFACT-DIGEST");
}

#[test]
fn a_key_takes_the_place_of_an_identity() {
    let desk = Desk::new();
    let (file, key, other) = (desk.path(NAME), desk.path("key.pem"), desk.path("other.pem"));
    let output = desk.verify_bundle("keyed", &["--key", &key, &file]);
    assert_eq!(ending(&output), good());
    assert!(text(&output.stdout).contains("Signer      the given key"));
    assert_eq!(ending(&desk.verify_bundle("keyed", &["--key", &other, &file])), refused("SLW-V-SIGNATURE"));
    assert_eq!(ending(&desk.verify_bundle("bundle", &["--key", &key, &file])), refused("SLW-V-KEY-MISMATCH"));
    assert_eq!(ending(&desk.verify_bundle("keyed", &["--key", &file, &file])), refused("SLW-V-KEY"));
}

#[test]
fn less_evidence_is_asked_only_where_a_person_says_so() {
    let desk = Desk::new();
    let (file, root, bundle) = (desk.path(NAME), desk.path("root-timestamps"), desk.path("timestamped"));
    let identity = generator_generic("v2.1.0");
    let base =
        ["verify-bundle", "--certificate-identity", &identity, "--certificate-oidc-issuer", ISSUER, "--bundle", &bundle, &file];
    let run = |more: &[&str]| ending(&slipway(&[&base[..], more].concat()));
    assert_eq!(run(&["--trusted-root", &root, "--unsafe-timestamp-only"]), good());
    assert_eq!(run(&["--trusted-root", &root]), refused("SLW-V-CERT-UNLOGGED"));
    assert_eq!(run(&["--trusted-root", &desk.path("root"), "--unsafe-timestamp-only"]), refused("SLW-V-LOG-UNEXPECTED"));
    assert_eq!(run(&["--trusted-root", &desk.path("root")]), refused("SLW-V-LOG-MISSING"));

    // A bundle without its proof: the log's promise is enough only on demand.
    let mut promised: Value = serde_json::from_slice(&fs::read(desk.path("bundle")).unwrap()).unwrap();
    promised["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    promised["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap().remove("inclusionProof");
    desk.write("promised", promised.to_string());
    let who = ["--certificate-identity", &identity, "--certificate-oidc-issuer", ISSUER, &file];
    assert_eq!(ending(&desk.verify_bundle("promised", &who)), refused("SLW-V-LOG-PROOF-MISSING"));
    assert_eq!(ending(&desk.verify_bundle("promised", &[&who[..], &["--unsafe-promise-only"]].concat())), good());
}

#[test]
fn provenance_is_held_against_a_policy() {
    let desk = Desk::new();
    let (file, root) = (desk.path(NAME), desk.path("root"));
    let base = ["--trusted-root", &root, "--release-version", "v1.23.1"];
    let verify = |more: &[&str]| desk.verify(&[&base[..], more].concat());
    let digest = format!("{:?}", Sha256::of(TARBALL));
    for artifact in [&[file.as_str()][..], &[&digest, "--name", NAME]] {
        let output = verify(artifact);
        assert_eq!(ending(&output), good());
        let report = text(&output.stdout);
        assert!(report.starts_with(&format!("Verified {NAME} ({digest})\n")), "{report}");
        for line in [
            "Source      https://github.com/kubeedge/kubeedge  (id 150462334)  (owner's id 43684100)",
            "Ref         refs/tags/v1.23.1",
            "Workflow    .github/workflows/release.yml",
            "Trigger     release",
            "Runner      github-hosted",
            "Run         https://github.com/kubeedge/kubeedge/actions/runs/13530999644/attempts/1",
            "Issuer      https://token.actions.githubusercontent.com",
            "Signed      2025-06-15T15:06:40Z",
            "Log         rekor.desk.test, entry ",
            "Policy      edgecore, preset kubeedge, sha256:",
        ] {
            assert!(report.contains(&format!("\n  {line}")), "{line}: {report}");
        }
    }
    // By its SHA-512 alone, where the provenance names that.
    let (sha512, own) = (format!("{:?}", Sha512::of(TARBALL)), desk.path("sha512"));
    let by_sha512 = |bundle: &str| {
        let policy = desk.path("policy");
        slipway(&[&["verify", "--bundle", bundle, "--policy", &policy, &sha512, "--name", NAME][..], &base].concat())
    };
    assert_eq!(ending(&by_sha512(&own)), good());
    assert!(text(&by_sha512(&own).stdout).starts_with(&format!("Verified {NAME} ({sha512})\n")));
    assert_eq!(ending(&by_sha512(&desk.path("bundle"))), refused("SLW-V-SUBJECT-ALGORITHM"));
    let found: Value = serde_json::from_slice(&verify(&["--json", &file]).stdout).unwrap();
    assert_eq!(found["provenance"]["source"], "https://github.com/kubeedge/kubeedge");

    assert_eq!(ending(&verify(&[&file, "--name", "x"])), refused("SLW-V-SUBJECT-NAME"));
    let output = desk.verify(&["--trusted-root", &root, "--release-version", "v1.23.2", &file]);
    assert_eq!(ending(&output), refused("SLW-V-POLICY-REF"));
    assert_eq!(ending(&desk.verify(&["--trusted-root", &root, &file])), refused("SLW-V-POLICY-VERSION"));
    desk.write(NAME, "another tarball");
    assert_eq!(ending(&verify(&[&file])), refused("SLW-V-ARTIFACT-DIGEST"));
    desk.write(NAME, TARBALL);
    let policy = format!(
        "component = \"edgecore\"\n[certificate]\nissuer = \"{ISSUER}\"\nidentity = \"{}\"\n[provenance]\nsource = \"https://github.com/kubeedge/kubeedgf\"\ntag = \"v{{version}}\"\n",
        generator_generic("v2.1.0")
    );
    desk.write("policy", policy);
    let output = verify(&[&file, "--json"]);
    assert_eq!(ending(&output), refused("SLW-V-POLICY-SOURCE"));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["refusal"]["code"], "SLW-V-POLICY-SOURCE");
}

/// A policy with two keys, both of which must sign, and the release that they sign.
#[test]
fn a_threshold_of_keys_releases_and_verifies_without_any_certificate() {
    let desk = Desk::new();
    let archive = slipway_testkit::edgecore::tarball("v1.23.1", "arm64", b"edgecore");
    desk.write(NAME, &archive);
    let sigstore = PrivateSigstore::new("desk");
    let signed_by = |name: &str| {
        let release = Attestation::kubeedge("v1.23.1").artifact(NAME, &archive);
        sigstore.attest(&Attestation { managed_key: Some(ManagedKey::new(name)), ..release })
    };
    let (one, both) = (signed_by("farm"), [signed_by("farm"), signed_by("release")].join(&b'\n'));
    desk.write("one", one);
    desk.write("both.intoto.jsonl", both);
    let keys: String =
        ["farm", "release"].map(|name| format!("{name} = \"\"\"\n{}\"\"\"\n", ManagedKey::new(name).public_pem())).concat();
    let policy = format!(
        "component = \"edgecore\"\nprofile = \"keys\"\n[keys]\nthreshold = 2\n[keys.public]\n{keys}[provenance]\nbuilder = \"{}\"\nsource = \"https://github.com/kubeedge/kubeedge\"\ntag = \"v{{version}}\"\n",
        generator_generic("v2.1.0")
    );
    desk.write("policy", &policy);
    let (file, root, policy_file, repo) = (desk.path(NAME), desk.path("root"), desk.path("policy"), desk.path("repo"));
    let verify = |bundle: &str, more: &[&str]| {
        let bundle = desk.path(bundle);
        let fixed = [
            "verify",
            &file,
            "--bundle",
            &bundle,
            "--policy",
            &policy_file,
            "--trusted-root",
            &root,
            "--release-version",
            "1.23.1",
        ];
        slipway(&[&fixed[..], more].concat())
    };
    let output = verify("both.intoto.jsonl", &[]);
    assert_eq!(ending(&output), good());
    let report = text(&output.stdout);
    assert!(report.contains("\n  Keys        2 signed, 2 required\n  Key         farm (sha256:"), "{report}");
    assert!(report.contains("\n    Signed    2025-06-15T15:06:40Z\n    Log       rekor.desk.test, entry "), "{report}");
    let found: Value = serde_json::from_slice(&verify("both.intoto.jsonl", &["--json"]).stdout).unwrap();
    assert_eq!((&found["provenance"]["threshold"], &found["provenance"]["keys"][1]["name"]), (&2.into(), &"release".into()));
    assert_eq!(ending(&verify("one", &[])), refused("SLW-V-POLICY-THRESHOLD"));
    assert_eq!(ending(&verify("bundle", &[])), refused("SLW-V-KEY-MISMATCH"));

    // The operator's repository takes the policy, holds a release against it, and takes no policy that does not load.
    let done = |output: Output| assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    done(slipway(&["init", &repo, "--unencrypted"]));
    done(slipway(&["policy", "add", &repo, &policy_file]));
    done(slipway(&["sigstore", "add", &repo, &root]));
    let release = |proof: &str| slipway(&["release", &repo, "--artifact", &file, "--provenance", &desk.path(proof)]);
    assert_eq!(ending(&release("one")), refused("SLW-V-POLICY-THRESHOLD"));
    done(release("both.intoto.jsonl"));
    desk.write("policy", policy.replace("threshold = 2", "threshold = 3"));
    let output = slipway(&["policy", "add", &repo, &policy_file]);
    assert_eq!(ending(&output), refused("SLW-V-POLICY-CONTRADICTION"));
    assert!(text(&output.stderr).contains("line 4: threshold 3"), "{}", text(&output.stderr));
}

#[test]
fn a_policy_is_explained_or_its_mistake_is() {
    let desk = Desk::new();
    let output = slipway(&["policy", "explain", &desk.path("policy")]);
    assert_eq!(ending(&output), good());
    assert!(text(&output.stdout).contains("its source is https://github.com/kubeedge/kubeedge\n"));
    desk.write("policy", "component = \"edgecore\"\npreset = \"kubedge\"\n");
    let output = slipway(&["policy", "explain", &desk.path("policy")]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains(&format!("{}: line 2", desk.path("policy"))), "{}", text(&output.stderr));
}

#[test]
fn mistakes_on_the_command_line_are_no_refusals() {
    let desk = Desk::new();
    let (file, key) = (desk.path(NAME), desk.path("key.pem"));
    let digest = format!("{:?}", Sha256::of(TARBALL));
    let sha512 = format!("{:?}", Sha512::of(TARBALL));
    for usage in [
        &["--key", &key, "sha256:00"][..],
        &["--key", &key, "--certificate-identity", "x", "--certificate-oidc-issuer", "y", &file],
        &["--certificate-identity", "x", &file],
        &["--certificate-oidc-issuer", "y", &file],
        &["--key", &key, "--certificate-oidc-issuer", "y", &file],
        &["--key", &key, "--unsafe-promise-only", "--unsafe-timestamp-only", &file],
        &[&file],
    ] {
        assert_eq!(desk.verify_bundle("bundle", usage).status.code(), Some(2), "{usage:?}");
    }
    assert_eq!(desk.verify(&[&digest]).status.code(), Some(2), "no name");
    assert_eq!(desk.verify(&[&sha512]).status.code(), Some(2), "no name");
    assert_eq!(desk.verify_bundle("none", &["--key", &key, &file]).status.code(), Some(1));
    assert_eq!(desk.verify_bundle("keyed", &["--key", &key, &desk.path("none")]).status.code(), Some(1));
    assert!(text(&slipway(&["verify-bundle", "--help"]).stdout).contains("3 refused"));
}

/// The verifier's own tests compare each refusal with the check that a case is about; here it is what the program makes of it that counts.
#[test]
fn conformance_cases_behave_as_their_names_say() {
    let Some(vectors) = vectors() else { return };
    let cases = vectors.join("bundles");
    let production = vectors.join("roots/sigstore-prod.trusted_root.json");
    let (mut good, mut refused, mut wrong) = (0, 0, Vec::new());
    for case in fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let or =
            |name: &str, default: &Path| Some(case.join(name)).filter(|path| path.exists()).unwrap_or_else(|| default.to_owned());
        let said = |name: &str, default: &str| {
            fs::read_to_string(case.join(name)).map_or_else(|_| default.to_owned(), |text| text.trim().to_owned())
        };
        let artifact = or("artifact", &cases.join("a.txt"));
        let digest = format!("{:?}", Sha256::of(&fs::read(&artifact).unwrap()));
        let key = case.join("key.pub");
        for subject in [artifact.to_str().unwrap(), &digest] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
            command.arg("verify-bundle").arg("--bundle").arg(case.join("bundle.sigstore.json"));
            command.arg("--trusted-root").arg(or("trusted_root.json", &production)).arg(subject);
            if key.exists() {
                command.arg("--key").arg(&key);
            } else {
                command.args(["--certificate-identity", &said("identity", BEACON)]);
                command.args(["--certificate-oidc-issuer", &said("issuer", ISSUER)]);
            }
            let (exit, first) = ending(&command.output().unwrap());
            match (exit, case.to_str().unwrap().ends_with("_fail")) {
                (0, false) => good += 1,
                (3, true) if first.starts_with("SLW-V-") => refused += 1,
                _ => wrong.push(format!("{} with {subject}: exit {exit}: {first}", case.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{good} verified, {refused} refused, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(good >= 26 && refused >= 60, "{good} verified, {refused} refused");
}
