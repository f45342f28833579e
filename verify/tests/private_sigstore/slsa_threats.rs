//! SLSA's threat model, point by point: what a consumer of provenance can see of each attack, and that it is refused for what it is.
//!
//! The letters are those of SLSA 1.2, "Threats & mitigations". Each row is that page's attack against KubeEdge's release v1.23.1, carried out with
//! valid signatures wherever the attacker has them. What a consumer cannot see is in docs/THREAT-MODEL.md, with why. Each
//! attack is one change to a release that is accepted, as the tests assert first, so a check that is removed lets its rows through.

use super::*;
use slipway_testkit::sigstore::{CertificateForgery, Forgery, ManagedKey};

/// Fails with every attack that ends in another way than it should.
fn refused(attacks: impl IntoIterator<Item = (&'static str, Attestation, &'static str)>) {
    let (sigstore, root, policy) = (sigstore(), root(), kubeedge(""));
    assert_eq!(judge(&sigstore.attest(&release()), &root, &policy), "", "what is attacked is good");
    let ends =
        attacks.into_iter().map(|(what, attestation, code)| (what, judge(&sigstore.attest(&attestation), &root, &policy), code));
    let wrong: Vec<_> = ends.filter(|(_, found, code)| found != code).collect();
    assert!(wrong.is_empty(), "(attack, found, expected): {wrong:#?}");
}

fn edit(pointer: &str, value: impl Into<Value>) -> Attestation {
    release().edit(pointer, Some(value.into()))
}

/// (C) The source's name was given up and registered again, or the project moved: only the ids tell, where the policy pins them.
#[test]
fn slsa_c_a_repository_that_was_registered_again_is_refused() {
    let owner = Policy::parse(&policy_text("owner_id = \"43684100\"\nrepository_id = \"150462334\"")).unwrap();
    let (sigstore, root) = (sigstore(), root());
    assert_eq!(judge(&sigstore.attest(&npm()), &root, &owner), "");
    for other in
        [Attestation { owner_id: "43684101".into(), ..npm() }, Attestation { repository_id: "150462335".into(), ..npm() }]
    {
        assert_eq!(judge(&sigstore.attest(&other), &root, &owner), "POLICY-IDS");
    }
}

fn policy_text(more: &str) -> String {
    format!("{NPM}{more}\n")
}

/// (D) The right builder was asked to build something else.
#[test]
fn slsa_d_a_build_by_other_parameters_is_refused() {
    let branch = "refs/heads/release-1.23".to_owned();
    refused([
        ("from a fork", Attestation { source: "https://github.com/mallory/kubeedge".into(), ..release() }, "POLICY-SOURCE"),
        ("from a branch", Attestation { git_ref: branch, ..release() }, "POLICY-REF"),
        ("from another tag", Attestation { git_ref: "refs/tags/v1.23.0".into(), ..release() }, "POLICY-REF"),
        ("by another workflow", Attestation { workflow: ".github/workflows/dev.yml".into(), ..release() }, "POLICY-WORKFLOW"),
        (
            "by another build type",
            Attestation { build_type: "https://example.test/make@v1".into(), ..release() },
            "POLICY-BUILDER",
        ),
        ("from a pull request", Attestation { trigger: "pull_request_target".into(), ..release() }, "POLICY-TRIGGER"),
        ("by hand", Attestation { trigger: "workflow_dispatch".into(), ..release() }, "POLICY-TRIGGER"),
        (
            "with parameters",
            edit("/predicate/invocation/parameters", json!({"event_inputs": {"ldflags": "-X main.backdoor=1"}})),
            "POLICY-INPUTS",
        ),
    ]);
}

/// (E) The build's own process was tampered with: what the provenance says is not what happened, or who says it is not the builder.
#[test]
fn slsa_e_forged_provenance_of_a_build_is_refused() {
    let commit = "f".repeat(40);
    refused([
        ("a forged builder", edit("/predicate/builder/id", "https://github.com/mallory/builder"), "POLICY-BUILDER"),
        (
            "a forged source",
            edit("/predicate/materials/0/uri", "git+https://github.com/mallory/kubeedge@refs/tags/v1.23.1"),
            "CLAIM-SOURCE",
        ),
        ("a forged commit", edit("/predicate/materials/0/digest/sha1", commit.as_str()), "CLAIM-COMMIT"),
        (
            "a forged entry point",
            edit("/predicate/invocation/configSource/entryPoint", ".github/workflows/x.yml"),
            "CLAIM-WORKFLOW",
        ),
        ("a forged event", edit("/predicate/invocation/environment/github_event_name", "push"), "CLAIM-TRIGGER"),
        ("another run's provenance", edit("/predicate/invocation/environment/github_run_id", "1"), "CLAIM-RUN"),
        ("a forged output digest", edit("/subject/0/digest/sha256", "0".repeat(64)), "ARTIFACT-DIGEST"),
        ("on a machine of the attacker's", Attestation { runner: "self-hosted".into(), ..release() }, "POLICY-RUNNER"),
        // The signing key is the build's for ten minutes; whoever steals it is too late, or has no log.
        ("a stolen key, used later", Attestation { signed_at: release().signed_at + 3600, ..release() }, "CERT-EXPIRED"),
        ("a certificate nobody logged", Attestation { sct: false, ..release() }, "CERT-SCT-MISSING"),
        (
            "a certificate by another key",
            Attestation { forgery: Some(Forgery::Certificate(CertificateForgery::Forged)), ..release() },
            "CERT-SIGNATURE",
        ),
    ]);
}

/// (F) Something else was published in the project's name.
#[test]
fn slsa_f_an_artifact_published_without_its_build_is_refused() {
    let (sigstore, root, policy) = (sigstore(), root(), kubeedge(""));
    refused([
        ("built by another CI", Attestation { issuer: "https://gitlab.com".into(), ..release() }, "POLICY-ISSUER"),
        (
            "built by the project's own workflow",
            Attestation {
                identity: "https://github.com/kubeedge/kubeedge/.github/workflows/release.yml@refs/tags/v1.23.1".into(),
                ..release()
            },
            "POLICY-IDENTITY",
        ),
        (
            "signed with a maintainer's key",
            Attestation { managed_key: Some(ManagedKey::new("maintainer")), ..release() },
            "KEY-MISMATCH",
        ),
        (
            "another file's provenance",
            Attestation { subjects: vec![Named::of("README.md", b"x")], ..release() },
            "ARTIFACT-DIGEST",
        ),
    ]);
    assert_eq!(judge(b"", &root, &policy), "BUNDLE-MALFORMED", "no provenance");
    assert_eq!(judge(&sigstore.attest_without_evidence(&release()), &root, &policy), "BUNDLE-NO-ENTRY");
    // Provenance that was changed after it was signed.
    let mut changed = sigstore.attest_value(&release());
    let other = sigstore.attest_value(&edit("/predicate/builder/id", "https://github.com/mallory/builder"));
    changed["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone();
    assert_eq!(judge(&bytes(&changed), &root, &policy), "SIGNATURE");
    // An artifact that was changed after it was built.
    let version: Version = "v1.23.1".parse().unwrap();
    let tampered = Subject { name: NAME, sha256: Some(Sha256::of(b"a tarball.")), sha512: None, version: Some(&version) };
    let verdict = verify_provenance(&sigstore.attest(&release()), &root, &policy, &tampered);
    assert_eq!(code_of(verdict), "ARTIFACT-DIGEST");
}

/// (G) The channel serves other files than were published: each of them genuine, together a lie.
#[test]
fn slsa_g_what_a_channel_exchanges_is_refused() {
    let (sigstore, root, policy) = (sigstore(), root(), kubeedge(""));
    let version: Version = "v1.23.1".parse().unwrap();
    let served = |bundle: &[u8], name: &str, bytes: &[u8]| {
        let subject = Subject { name, sha256: Some(Sha256::of(bytes)), sha512: None, version: Some(&version) };
        code_of(verify_provenance(bundle, &root, &policy, &subject))
    };
    let amd64 = "kubeedge-v1.23.1-linux-amd64.tar.gz";
    let good = sigstore.attest(&release());
    assert_eq!(served(&good, NAME, TARBALL), "");
    assert_eq!(served(&good, NAME, b"another"), "ARTIFACT-DIGEST", "another platform's archive under this name");
    assert_eq!(served(&good, amd64, TARBALL), "ARTIFACT-DIGEST", "this platform's under another's");
    let old = Attestation::kubeedge("v1.13.0").generator("v1.2.2").artifact(NAME, TARBALL);
    assert_eq!(
        served(&sigstore.attest(&old), NAME, TARBALL),
        "POLICY-REF",
        "an old release, vulnerable and genuine, as this one"
    );
    let mirror = PrivateSigstore::new("mirror").attest(&release());
    assert_eq!(served(&mirror, NAME, TARBALL), "LOG-UNKNOWN", "another instance's evidence");
}

/// (H) Another package than was meant: its name is alike, or it is the right one's neighbor.
#[test]
fn slsa_h_a_package_of_another_name_is_refused() {
    let renamed = |name: &str| Attestation { subjects: vec![Named::of(name, TARBALL)], ..release() };
    refused([
        ("a name that looks alike", renamed("kubeedge-v1.23.1-linux-arm64.tar.qz"), "SUBJECT-NAME"),
        ("a longer name", renamed("kubeedge-v1.23.1-linux-arm64.tar.gz.sig"), "SUBJECT-NAME"),
        ("its neighbor of the same release", renamed("keadm-v1.23.1-linux-arm64.tar.gz"), "SUBJECT-NAME"),
        (
            "a project that looks alike",
            Attestation { source: "https://github.com/kubeedqe/kubeedge".into(), ..release() },
            "POLICY-SOURCE",
        ),
        (
            "a project of the same owner",
            Attestation { source: "https://github.com/kubeedge/ianvs".into(), ..release() },
            "POLICY-SOURCE",
        ),
    ]);
}

/// Verification itself is attacked: digests that can be made to collide prove nothing, and no policy accepts by default.
#[test]
fn slsa_verification_by_weak_digests_or_no_expectations_is_refused() {
    refused([
        ("SHA-1 alone", edit("/subject/0/digest", json!({"sha1": "0".repeat(40)})), "STATEMENT-SUBJECTS"),
        ("MD5 alone", edit("/subject/0/digest", json!({"md5": "0".repeat(32)})), "STATEMENT-SUBJECTS"),
    ]);
    for empty in [
        "",
        "component = \"edgecore\"\n",
        "component = \"edgecore\"\n[provenance]\nsource = \"https://github.com/kubeedge/kubeedge\"\n",
    ] {
        let code = Policy::parse(empty).unwrap_err().code;
        assert!(["SLW-V-POLICY-EMPTY", "SLW-V-POLICY-SYNTAX"].contains(&&*code), "{empty:?}: {code}");
    }
}
