//! Real cases: public conformance bundles, each by bytes and by digest, and real provenance with policies a person would write.
//!
//! They are read from the folder `vectors` of `SLIPWAY_SHARED`, else of `../shared` beside the project. Without it the tests are skipped with a
//! line that says so, and fail where `CI=true`.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use slipway_testkit::vectors::vectors;
use slipway_verify::{
    Artifact, LogRule, Policy, PublicKey, Refusal, Signer, SigstoreRoot, Subject, envelope, verify_bundle, verify_provenance,
};
use std::fs;
use std::path::Path;

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Which check a conformance case is about, by its name. A case that must be refused for another reason than its name says is a case
/// that would pass by accident.
fn promised(case: &str) -> &'static [&'static str] {
    match case {
        "bundle-empty-certificate-chain_fail" => &["SLW-V-CERT-CHAIN-EMPTY"],
        "bundle-from-wrong-instance_fail" => &["SLW-V-LOG-UNKNOWN"],
        "bundle-invalid-base64-signature_fail" | "bundle-malformed-json_fail" => &["SLW-V-BUNDLE-MALFORMED"],
        "bundle-unknown-version_fail" => &["SLW-V-BUNDLE-MEDIA-TYPE"],
        "checkpoint-wrong-roothash_fail" => &["SLW-V-LOG-CHECKPOINT-ROOT"],
        "dsse-invalid-sig_fail" => &["SLW-V-SIGNATURE"],
        "dsse-mismatch-envelope_fail" => &["SLW-V-LOG-BODY-DIGEST"],
        "incorrect-public-key_fail" => &["SLW-V-LOG-BODY-KEY"],
        // Its time is past by now; it still lies after the certificate's end.
        "integrated-time-in-future_fail" => &["SLW-V-CERT-EXPIRED"],
        // Its certificate begins in 2030.
        "intoto-expired-certificate_fail" => &["SLW-V-CERT-NOT-YET"],
        "intoto-missing-inclusion-proof_fail" => &["SLW-V-LOG-PROOF-MISSING"],
        "intoto-set-outside-signing-cert-validity_fail" => &["SLW-V-CERT-EXPIRED"],
        "invalid-checkpoint-signature_fail" => &["SLW-V-LOG-CHECKPOINT-SIGNATURE"],
        // Its trusted root has the certificate logs of another instance.
        "invalid-ct-key_fail" => &["SLW-V-CERT-SCT-LOG"],
        "invalid-inclusion-proof_fail" => &["SLW-V-LOG-CHECKPOINT-MISSING"],
        "managed-key-no-key_fail" => &["SLW-V-KEY-MISMATCH"],
        "rekor2-checkpoint-missing-log-signature_fail"
        | "rekor2-checkpoint-missing-origin_fail"
        | "rekor2-checkpoint-missing-root-hash_fail" => &["SLW-V-LOG-CHECKPOINT"],
        "rekor2-dsse-invalid-sig_fail" => &["SLW-V-SIGNATURE"],
        "rekor2-dsse-mismatch-sig_fail" => &["SLW-V-LOG-BODY-SIGNATURE"],
        "rekor2-no-inclusion-proof_fail" => &["SLW-V-LOG-PROOF-MISSING"],
        "rekor2-no-timestamp_fail" => &["SLW-V-TIMESTAMP-MISSING"],
        "rekor2-timestamp-outside-trust-root-tsa-validity_fail" => &["SLW-V-TIMESTAMP-WINDOW"],
        "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail" => &["SLW-V-TIMESTAMP-SIGNER"],
        "rekor2-timestamp-with-incorrect-time_fail" => &["SLW-V-BUNDLE-MALFORMED"],
        "set-invalid-signature_fail" => &["SLW-V-LOG-PROMISE"],
        "signature-mismatch_fail" => &["SLW-V-SIGNATURE"],
        "wrong-hashedrekord-artifact_fail" => &["SLW-V-LOG-BODY-DIGEST"],
        // A whole entry of another signature; its signer is compared first.
        "wrong-hashedrekord-entry_fail" => &["SLW-V-LOG-BODY-KEY"],
        "wrong-material_fail" => &["SLW-V-ARTIFACT-DIGEST"],
        _ => &[],
    }
}

#[test]
fn conformance_cases_behave_as_their_names_say() {
    let Some(vectors) = vectors() else { return };
    let cases = vectors.join("bundles");
    let production = fs::read(vectors.join("roots/sigstore-prod.trusted_root.json")).unwrap();
    let (mut good, mut refused, mut wrong) = (0, 0, Vec::new());
    for entry in fs::read_dir(&cases).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        let file = |name: &str| fs::read(entry.path().join(name)).ok();
        let text = |name: &str, default: &str| {
            file(name).map_or_else(|| default.to_owned(), |bytes| String::from_utf8(bytes).unwrap().trim().to_owned())
        };
        let bundle = file("bundle.sigstore.json").unwrap();
        let artifact = file("artifact").unwrap_or_else(|| fs::read(cases.join("a.txt")).unwrap());
        let root = SigstoreRoot::parse(file("trusted_root.json").as_ref().unwrap_or(&production));
        let key = file("key.pub").map(|pem| PublicKey::from_pem(std::str::from_utf8(&pem).unwrap()).unwrap());
        let (identity, issuer) = (text("identity", IDENTITY), text("issuer", ISSUER));
        let signer = match &key {
            Some(key) => Signer::Key(key),
            None => Signer::Identity { identity: &identity, issuer: &issuer },
        };
        let digest = slipway_protocol::Sha256::of(&artifact);
        for artifact in [Artifact::Bytes(&artifact), Artifact::Sha256(digest)] {
            let result = root.as_ref().map_err(Clone::clone);
            let result = result.and_then(|root| verify_bundle(&bundle, root, signer, artifact, LogRule::Proof));
            match (result, name.ends_with("_fail")) {
                (Ok(_), false) => good += 1,
                (Err(refusal), true) if promised(&name).contains(&refusal.code.as_ref()) => refused += 1,
                (Ok(_), true) => wrong.push(format!("{name}: verified")),
                (Err(refusal), _) => wrong.push(format!("{name}: {refusal}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{good} verified, {refused} refused, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(good >= 26 && refused >= 60, "{good} verified, {refused} refused");
}

/// A policy as a person would write it for one of the real builds, in parts that a test can change.
#[derive(Clone)]
struct Written {
    file: &'static str,
    root: &'static str,
    subject: &'static str,
    version: &'static str,
    identity: String,
    builder: Option<String>,
    source: String,
    reference: String,
    trigger: &'static str,
    log: &'static str,
}

impl Written {
    /// Whoever starts a build by hand may give it inputs.
    fn inputs(&self) -> &'static str {
        if self.trigger == "workflow_dispatch" || self.file.starts_with("npm-delegator") {
            "unsafe_any_inputs = true"
        } else {
            ""
        }
    }

    fn policy(&self) -> String {
        let builder = self.builder.as_ref().map_or_else(String::new, |builder| format!("builder = \"{builder}\"\n"));
        format!(
            "component = \"edgecore\"\n[certificate]\nissuer = \"{ISSUER}\"\nidentity = \"{}\"\n[provenance]\n{builder}source = \"{}\"\n{}\ntriggers = [\"{}\"]\n{}\n[log]\n{}\n",
            self.identity,
            self.source,
            self.reference,
            self.trigger,
            self.inputs(),
            self.log
        )
    }

    fn check(&self, vectors: &Path) -> Result<slipway_verify::Provenance, Refusal> {
        let index: Value = serde_json::from_slice(&fs::read(vectors.join("provenance/index.json")).unwrap()).unwrap();
        let entry = index.as_array().unwrap().iter().find(|entry| entry["bundle"] == self.file).unwrap();
        let digest = &entry["artifact_digest"];
        let sha512 = digest["sha512"].as_str().map(|hex| hex.parse().unwrap());
        let sha256 = digest["sha256"].as_str().map(|hex| hex.parse().unwrap());
        let bundle = fs::read(vectors.join("provenance").join(self.file)).unwrap();
        let root = SigstoreRoot::parse(&fs::read(vectors.join("roots").join(self.root)).unwrap())?;
        let version = self.version.parse().unwrap();
        let subject = Subject { name: self.subject, sha256, sha512, version: Some(&version) };
        verify_provenance(&bundle, &root, &Policy::parse(&self.policy())?, &subject)
    }
}

fn builds() -> Vec<Written> {
    let generic =
        "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0";
    let base = Written {
        file: "npm-sigstore-2.1.0.sigstore.json",
        root: "sigstore-prod.trusted_root.json",
        subject: "pkg:npm/sigstore@2.1.0",
        version: "2.1.0",
        identity: "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main".to_owned(),
        builder: Some("https://github.com/actions/runner/github-hosted".to_owned()),
        source: "https://github.com/sigstore/sigstore-js".to_owned(),
        reference: "ref = \"refs/heads/main\"".to_owned(),
        trigger: "push",
        log: "",
    };
    vec![
        base.clone(),
        Written {
            file: "npm-sigstore-1.3.0.sigstore.json",
            subject: "pkg:npm/sigstore@1.3.0",
            version: "1.3.0",
            builder: Some("https://github.com/actions/runner".to_owned()),
            log: "unsafe_promise_only = true",
            ..base.clone()
        },
        Written {
            file: "npm-delegator-v1.6.0.sigstore.json",
            subject: "pkg:npm/%40laurentsimon/provenance-npm-test@1.0.5",
            version: "1.0.5",
            identity: "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_lowperms-generic_slsa3.yml@refs/tags/v1.6.0".to_owned(),
            builder: Some("https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_nodejs_slsa3.yml@refs/tags/v1.6.0".to_owned()),
            source: "https://github.com/laurentsimon/provenance-npm-test".to_owned(),
            trigger: "workflow_dispatch",
            log: "unsafe_promise_only = true",
            ..base.clone()
        },
        Written {
            file: "github-reusable-workflow.sigstore.json",
            subject: "github_provenance_demo-0.0.0-py3-none-any.whl",
            identity: "https://github.com/github/artifact-attestations-workflows/.github/workflows/attest.yml@09b495c3f12c7881b3cc17209a327792065c1a1d".to_owned(),
            source: "https://github.com/malancas/attest-demo".to_owned(),
            trigger: "workflow_dispatch",
            ..base.clone()
        },
        Written {
            file: "slsa-generic-v2.1.0.sigstore.json",
            subject: "gha_generic-binary-linux-amd64-v14.2",
            identity: generic.to_owned(),
            builder: None,
            source: "https://github.com/slsa-framework/example-package".to_owned(),
            reference: "ref = \"refs/tags/v14.2\"".to_owned(),
            ..base.clone()
        },
        Written {
            file: "slsa-generic-v2.1.0-dispatch.sigstore.json",
            subject: "gha_generic-binary-linux-amd64-workflow_dispatch",
            identity: generic.to_owned(),
            builder: Some(generic.to_owned()),
            source: "https://github.com/slsa-framework/example-package".to_owned(),
            trigger: "workflow_dispatch",
            ..base.clone()
        },
        Written {
            file: "bcr-module.sigstore.json",
            subject: "MODULE.bazel",
            identity: "https://github.com/bazel-contrib/publish-to-bcr/.github/workflows/publish.yaml@refs/tags/v0.0.1".to_owned(),
            builder: None,
            source: "https://github.com/aspect-build/rules_lint".to_owned(),
            reference: "ref = \"refs/heads/publish-to-bcr\"".to_owned(),
            trigger: "workflow_dispatch",
            ..base.clone()
        },
        Written {
            file: "github-tsa-only.sigstore.json",
            root: "github.trusted_root.json",
            subject: "github_provenance_demo-0.0.12-py3-none-any.whl",
            identity: "https://github.com/actions/attest-demo/.github/workflows/build-python.yml@refs/heads/main".to_owned(),
            source: "https://github.com/actions/attest-demo".to_owned(),
            trigger: "workflow_dispatch",
            log: "unsafe_timestamp_only = true",
            ..base
        },
    ]
}

/// Changes the last letter or digit, so that the text stays of its kind.
fn off_by_one(text: &str) -> String {
    let at = text.rfind(|c: char| c.is_ascii_alphanumeric()).unwrap();
    let last = if text[at..].starts_with('z') { "y" } else { "z" };
    format!("{}{last}{}", &text[..at], &text[at + 1..])
}

#[test]
fn real_provenance_verifies_and_one_character_off_does_not() {
    let Some(vectors) = vectors() else { return };
    let code = |build: &Written| build.check(&vectors).map_err(|refusal| refusal.code.into_owned()).err();
    for build in builds() {
        let found = build.check(&vectors).unwrap_or_else(|refusal| panic!("{}: {refusal}", build.file));
        assert_eq!((found.subject.as_str(), found.source.as_str()), (build.subject, build.source.as_str()));
        assert!(!found.signed_times.is_empty() && found.commit.len() == 40);
        assert_eq!(found.log.is_some(), build.root.starts_with("sigstore"), "{}", build.file);

        // The builder goes with it where it is the signer: a policy that contradicts itself does not load.
        let builder = build.builder.clone().filter(|builder| *builder != build.identity);
        let identity = Written { identity: off_by_one(&build.identity), builder, ..build.clone() };
        assert_eq!(code(&identity).as_deref(), Some("SLW-V-POLICY-IDENTITY"), "{}", build.file);
        let wrong = build.builder.clone().unwrap_or_else(|| build.identity.clone());
        let builder = Written { builder: Some(off_by_one(&wrong)), ..build.clone() };
        // A policy whose builder could never be who signed does not even load.
        let refused = code(&builder).unwrap_or_default();
        assert!(["SLW-V-POLICY-BUILDER", "SLW-V-POLICY-CONTRADICTION"].contains(&&*refused), "{}: {refused}", build.file);
        let source = Written { source: off_by_one(&build.source), ..build.clone() };
        assert_eq!(code(&source).as_deref(), Some("SLW-V-POLICY-SOURCE"), "{}", build.file);
        let reference = Written { reference: off_by_one(&build.reference), ..build.clone() };
        assert_eq!(code(&reference).as_deref(), Some("SLW-V-POLICY-REF"), "{}", build.file);
        let name = Box::leak(off_by_one(build.subject).into_boxed_str());
        let subject = Written { subject: name, ..build.clone() };
        assert_eq!(code(&subject).as_deref(), Some("SLW-V-SUBJECT-NAME"), "{}", build.file);
        let trigger = Written { trigger: "release", ..build.clone() };
        assert_eq!(code(&trigger).as_deref(), Some("SLW-V-POLICY-TRIGGER"), "{}", build.file);
        let tag = Written { reference: "tag = \"v{version}\"".to_owned(), ..build.clone() };
        assert_eq!(code(&tag).as_deref(), Some("SLW-V-POLICY-REF"), "{}", build.file);
    }
}

/// A real build of slsa-github-generator's delegator or container-based builder, and the policy
/// that a person would write for it.
struct Delegated {
    file: &'static str,
    identity: &'static str,
    builder: &'static str,
    subject: &'static str,
    inputs: &'static str,
}

const DELEGATED: [Delegated; 4] = [
    Delegated {
        file: "maven-v2.1.0",
        identity: "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_lowperms-generic_slsa3.yml@refs/tags/v2.1.0",
        builder: "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_maven_slsa3.yml@refs/tags/v2.1.0",
        subject: "test-java-project-1.23.90.jar",
        inputs: "inputs = { directory = \"./e2e/maven/workflow_dispatch\", jdk-version = \"17\", rekor-log-public = \"false\" }",
    },
    Delegated {
        file: "delegator-v1.10.0",
        identity: "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_generic_slsa3.yml@refs/tags/v1.10.0",
        builder: "https://github.com/slsa-framework/example-trw/.github/workflows/builder_high-perms_slsa3.yml@refs/tags/v1.10.0",
        subject: "gha_delegator-binary-linux-amd64-v14.2",
        inputs: "unsafe_any_inputs = true",
    },
    Delegated {
        file: "container-based-v1.10.0",
        identity: "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_container-based_slsa3.yml@refs/tags/v1.10.0",
        builder: "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_container-based_slsa3.yml@refs/tags/v1.10.0",
        subject: "gha_container-based-binary-linux-amd64-v14.2",
        inputs: "unsafe_any_inputs = true",
    },
    // Signed by the delegator as it was on a branch: whoever may push there signs for every
    // builder.
    Delegated {
        file: "delegator-v1.9.0",
        identity: "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_generic_slsa3.yml@refs/heads/main",
        builder: "https://github.com/slsa-framework/example-trw/.github/workflows/builder_high-perms_slsa3.yml@refs/tags/v1.9.0",
        subject: "gha_delegator-binary-linux-amd64-v14.2",
        inputs: "unsafe_any_inputs = true",
    },
];

#[test]
fn real_delegated_provenance_verifies_by_path_and_by_digest() {
    let Some(vectors) = vectors() else { return };
    let root = SigstoreRoot::parse(&fs::read(vectors.join("roots/sigstore-prod.trusted_root.json")).unwrap()).unwrap();
    for build in DELEGATED {
        let Delegated { file, identity, builder, subject, inputs } = build;
        let folder = vectors.join("slsa/delegator");
        let bundle = fs::read(folder.join(format!("{file}.sigstore.json"))).unwrap();
        let (source, reference) = ("https://github.com/slsa-framework/example-package", "refs/tags/v14.2");
        let policy = |identity: &str, builder: &str, source: &str, reference: &str| {
            let builder = if builder == identity { String::new() } else { format!("builder = \"{builder}\"\n") };
            format!(
                "component = \"example\"\nprofile = \"public-good\"\n[certificate]\nissuer = \"{ISSUER}\"\nidentity = \"{identity}\"\n[provenance]\n{builder}source = \"{source}\"\nref = \"{reference}\"\n{inputs}\n"
            )
        };
        // As a person names it: the file itself, or its digest.
        let path = folder.join(file);
        let digest = slipway_protocol::Sha256::of(&fs::read(&path).unwrap());
        let by_path = slipway_verify::report::Named::File(path);
        let by_digest: slipway_verify::report::Named = format!("{digest:?}").parse().unwrap();
        for named in [by_path, by_digest] {
            let code = |policy: &str, name: &str| {
                let question =
                    slipway_verify::report::Question::about(&named, Some(name.to_owned()), |path| fs::File::open(path));
                let question = question.unwrap().unwrap();
                let policy = Policy::parse(policy);
                let found = policy.and_then(|policy| verify_provenance(&bundle, &root, &policy, &question.subject(None)));
                found.err().map_or_else(String::new, |refusal| refusal.code.trim_start_matches("SLW-V-").to_owned())
            };
            let good = policy(identity, builder, source, reference);
            if file == "delegator-v1.9.0" {
                assert_eq!(code(&good, subject), "POLICY-IDENTITY");
                // Whatever else is said of it.
                let tag = identity.replace("heads/main", "tags/v1.9.0");
                assert_eq!(code(&policy(&tag, builder, source, reference), subject), "POLICY-IDENTITY");
                continue;
            }
            assert_eq!(code(&good, subject), "", "{file}");
            assert_eq!(code(&good, &off_by_one(subject)), "SUBJECT-NAME", "{file}");
            assert_eq!(code(&policy(identity, builder, &off_by_one(source), reference), subject), "POLICY-SOURCE", "{file}");
            assert_eq!(code(&policy(identity, builder, source, &off_by_one(reference)), subject), "POLICY-REF", "{file}");
            let (wrong, code_of_builder) = match identity == builder {
                true => (policy(&off_by_one(identity), &off_by_one(builder), source, reference), "POLICY-IDENTITY"),
                false => (policy(identity, &off_by_one(builder), source, reference), "POLICY-BUILDER"),
            };
            assert_eq!(code(&wrong, subject), code_of_builder, "{file}");
            assert_eq!(code(&good.replace(inputs, ""), subject), "POLICY-INPUTS", "{file}");
        }
        let other = slipway_verify::report::Question::about(
            &format!("{:?}", slipway_protocol::Sha256::of(b"another")).parse().unwrap(),
            Some(subject.to_owned()),
            |path| fs::File::open(path),
        );
        let good = Policy::parse(&policy(identity, builder, source, reference)).unwrap();
        let refused = verify_provenance(&bundle, &root, &good, &other.unwrap().unwrap().subject(None)).unwrap_err();
        assert_eq!(refused.code, "SLW-V-ARTIFACT-DIGEST", "{file}");
    }
}

#[test]
fn what_loosens_a_policy_is_needed_and_fits_only_where_it_belongs() {
    let Some(vectors) = vectors() else { return };
    for build in builds() {
        let code = |log| Written { log, ..build.clone() }.check(&vectors).map_err(|refusal| refusal.code.into_owned()).err();
        match build.log {
            "" => {
                assert_eq!(code("unsafe_timestamp_only = true").as_deref(), Some("SLW-V-LOG-UNEXPECTED"));
            }
            "unsafe_promise_only = true" => {
                assert_eq!(code("").as_deref(), Some("SLW-V-LOG-PROOF-MISSING"), "{}", build.file);
            }
            _ => {
                assert_eq!(code("").as_deref(), Some("SLW-V-CERT-UNLOGGED"), "{}", build.file);
                assert_eq!(code("unsafe_promise_only = true").as_deref(), Some("SLW-V-CERT-UNLOGGED"), "{}", build.file);
            }
        }
    }
}

#[test]
fn all_real_roots_load() {
    let Some(vectors) = vectors() else { return };
    for name in ["github", "sigstore-prod", "sigstore-staging"] {
        let bytes = fs::read(vectors.join(format!("roots/{name}.trusted_root.json"))).unwrap();
        SigstoreRoot::parse(&bytes).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    }
}

/// Envelope files of three versions of the generic generator, and the layers that cosign attached for two of the container generator, written again
/// byte for byte from what a Sigstore bundle keeps of them: a log entry of kind `intoto` 0.0.1 is about such a file.
#[test]
fn real_envelope_files_are_written_again_byte_for_byte() {
    let Some(vectors) = vectors() else { return };
    let mut files = Vec::new();
    for version in ["1.2.2", "1.9.0", "1.10.0"] {
        files.push(fs::read(vectors.join(format!("slsa/envelopes/generic-v{version}.intoto.jsonl"))).unwrap());
    }
    for version in ["1.4.0", "1.9.0"] {
        let blobs = vectors.join(format!("slsa/images/container-v{version}/blobs/sha256"));
        let blobs = fs::read_dir(blobs).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        files.extend(blobs.filter(|bytes| bytes.starts_with(b"{\"payloadType\"")));
    }
    assert_eq!(files.len(), 5);
    for file in files {
        let envelope: Value = serde_json::from_slice(&file).unwrap();
        let (signed, text) = (&envelope["signatures"][0], |value: &Value| value.as_str().unwrap().to_owned());
        let decoded = |value: &Value| STANDARD.decode(text(value)).unwrap();
        let certificate = signed["cert"].as_str().map(|pem| {
            let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            STANDARD.decode(base64).unwrap()
        });
        let (payload, signature) = (decoded(&envelope["payload"]), decoded(&signed["sig"]));
        let keyid = text(&signed["keyid"]);
        let written = envelope::files(&text(&envelope["payloadType"]), &payload, &signature, &keyid, certificate.as_deref());
        assert_eq!(written.len(), if certificate.is_some() { 2 } else { 1 });
        assert!(written[0] == file, "{}", String::from_utf8_lossy(&written[0]));
    }
}
