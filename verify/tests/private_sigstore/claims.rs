//! Claims with valid signatures that are refused for their content.

use super::*;
use slipway_testkit::sigstore::{ManagedKey, generator_generic};

#[test]
fn a_signed_false_claim_is_refused_by_the_check_that_it_breaks() {
    let (sigstore, root) = (sigstore(), root());
    let mut wrong = Vec::new();
    let edit = |pointer: &str, value: &str| release().edit(pointer, Some(value.into()));
    let other_source = "git+https://github.com/kubeedge/kubeedgf@refs/tags/v1.23.1";
    let other_ref = "git+https://github.com/kubeedge/kubeedge@refs/tags/v1.23.2";
    let commit = "0000000000000000000000000000000000000000";
    let old = |attestation: Attestation| (8..=22).fold(attestation, |attestation, number| attestation.claim(number, None));
    for (what, attestation, code) in [
        // An honest build of something else.
        ("another signer", release().generator("v2.1.0-rc.1"), "POLICY-IDENTITY"),
        ("another issuer", Attestation { issuer: "https://gitlab.com".into(), ..release() }, "POLICY-ISSUER"),
        ("another source", Attestation { source: "https://github.com/kubeedge/kubeedgf".into(), ..release() }, "POLICY-SOURCE"),
        ("a longer source", Attestation { source: "https://github.com/kubeedge/kubeedge2".into(), ..release() }, "POLICY-SOURCE"),
        ("another tag", Attestation { git_ref: "refs/tags/v1.23.2".into(), ..release() }, "POLICY-REF"),
        ("a longer tag", Attestation { git_ref: "refs/tags/v1.23.10".into(), ..release() }, "POLICY-REF"),
        ("a branch of the tag's name", Attestation { git_ref: "refs/heads/v1.23.1".into(), ..release() }, "POLICY-REF"),
        ("another workflow", Attestation { workflow: ".github/workflows/evil.yml".into(), ..release() }, "POLICY-WORKFLOW"),
        ("a dispatch", Attestation { trigger: "workflow_dispatch".into(), ..release() }, "POLICY-TRIGGER"),
        ("a pull request", Attestation { trigger: "pull_request".into(), ..release() }, "POLICY-TRIGGER"),
        ("its own runner", Attestation { runner: "self-hosted".into(), ..release() }, "POLICY-RUNNER"),
        ("another build type", Attestation { build_type: "https://example.com".into(), ..release() }, "POLICY-BUILDER"),
        ("another predicate", Attestation { predicate: PredicateKind::SlsaV1, ..release() }, "POLICY-PREDICATE"),
        ("other files", Attestation { subjects: vec![Named::of("x", b"x")], ..release() }, "ARTIFACT-DIGEST"),
        ("the file under another name", Attestation { subjects: vec![Named::of("x", TARBALL)], ..release() }, "SUBJECT-NAME"),
        (
            "another file under the name",
            release().edit("/subject/0/digest/sha256", Some(Sha256::of(b"x").to_string().into())),
            "ARTIFACT-DIGEST",
        ),
        // Certificate and provenance tell two stories.
        ("builder", edit("/predicate/builder/id", &generator_generic("v2.1.1")), "POLICY-BUILDER-IDENTITY"),
        ("trigger's source", edit("/predicate/invocation/configSource/uri", other_source), "CLAIM-SOURCE"),
        ("material's source", edit("/predicate/materials/0/uri", other_source), "CLAIM-SOURCE"),
        ("trigger's ref", edit("/predicate/invocation/configSource/uri", other_ref), "CLAIM-REF"),
        ("material's ref", edit("/predicate/materials/0/uri", other_ref), "CLAIM-REF"),
        ("environment's ref", edit("/predicate/invocation/environment/github_ref", "refs/tags/v1.23.2"), "CLAIM-REF"),
        ("trigger's commit", edit("/predicate/invocation/configSource/digest/sha1", commit), "CLAIM-COMMIT"),
        ("material's commit", edit("/predicate/materials/0/digest/sha1", commit), "CLAIM-COMMIT"),
        ("environment's commit", edit("/predicate/invocation/environment/github_sha1", commit), "CLAIM-COMMIT"),
        ("event", edit("/predicate/invocation/environment/github_event_name", "push"), "CLAIM-TRIGGER"),
        ("run", edit("/predicate/invocation/environment/github_run_id", "1"), "CLAIM-RUN"),
        ("attempt", edit("/predicate/invocation/environment/github_run_attempt", "2"), "CLAIM-RUN"),
        ("repository id", edit("/predicate/invocation/environment/github_repository_id", "1"), "CLAIM-IDS"),
        ("owner id", edit("/predicate/invocation/environment/github_repository_owner_id", "1"), "CLAIM-IDS"),
        ("entry point", edit("/predicate/invocation/configSource/entryPoint", ".github/workflows/x.yml"), "CLAIM-WORKFLOW"),
        ("no material", release().edit("/predicate/materials", Some(json!([]))), "PROVENANCE-MALFORMED"),
        ("no commit", release().edit("/predicate/materials/0/digest", Some(json!({}))), "CLAIM-MISSING"),
        ("another statement type", edit("/_type", "https://in-toto.io/Statement/v2"), "STATEMENT-TYPE"),
        ("no subjects", release().edit("/subject", Some(json!([]))), "STATEMENT-SUBJECTS"),
        ("capital digest", release().edit("/subject/0/digest/sha256", Some("A".repeat(64).into())), "STATEMENT-SUBJECTS"),
        // The certificate contradicts itself.
        ("old issuer", release().claim(1, Some("https://gitlab.com")), "CLAIM-ISSUER"),
        ("old trigger", release().claim(2, Some("push")), "CLAIM-TRIGGER"),
        ("old commit", release().claim(3, Some(commit)), "CLAIM-COMMIT"),
        ("old repository", release().claim(5, Some("evil/kubeedge")), "CLAIM-SOURCE"),
        ("old ref", release().claim(6, Some("refs/heads/main")), "CLAIM-REF"),
        ("signer", release().claim(9, Some("https://github.com/x")), "CLAIM-SIGNER"),
        ("new commit", release().claim(13, Some(commit)), "CLAIM-COMMIT"),
        ("workflow", release().claim(18, Some("https://github.com/x")), "CLAIM-WORKFLOW"),
        ("certified run", release().claim(21, Some("https://github.com/x")), "CLAIM-RUN"),
        ("no runner", release().claim(11, None), "POLICY-RUNNER"),
        ("no issuer", release().claim(1, None).claim(8, None), "POLICY-ISSUER"),
        ("no claims but the old ones", old(release()), ""),
        ("old claims lie", old(release().claim(5, Some("kubeedge/kubeedgf"))), "POLICY-SOURCE"),
        ("no source", old(release()).claim(5, None), "CLAIM-MISSING"),
        ("no trigger", old(release()).claim(2, None), "CLAIM-MISSING"),
        ("no commit in the certificate", old(release()).claim(3, None), "CLAIM-MISSING"),
        // Time and logging of the certificate.
        ("no SCT", Attestation { sct: false, ..release() }, "CERT-SCT-MISSING"),
        ("signed after the certificate's end", Attestation { signed_at: 1_750_001_000, ..release() }, "CERT-EXPIRED"),
        ("signed before it began", Attestation { signed_at: 1_749_990_000, ..release() }, "CERT-NOT-YET"),
        ("before the authority began", release().at(1_500_000_000), "LOG-WINDOW"),
        ("a key instead of a certificate", Attestation { managed_key: Some(ManagedKey::new("k")), ..release() }, "KEY-MISMATCH"),
    ] {
        let found = judge(&sigstore.attest(&attestation), &root, &kubeedge(""));
        if found != code {
            wrong.push(format!("{what}: {found}, not {code}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let text = String::from_utf8(release().payload()).unwrap();
    let twice = text.replacen('{', r#"{"subject":[],"#, 1);
    assert_eq!(judge(&sigstore.attest_payload(&release(), twice.as_bytes()), &root, &kubeedge("")), "STATEMENT-MALFORMED");
    // A claim that cannot be compared is not one that is missing.
    for (from, to) in [
        ("\"github_event_name\":\"release\"", "\"github_event_name\":[\"push\"]"),
        ("\"github_ref\":\"refs/tags/v1.23.1\"", "\"github_ref\":true"),
    ] {
        assert!(text.contains(from), "{text}");
        let typed = text.replacen(from, to, 1);
        assert_eq!(judge(&sigstore.attest_payload(&release(), typed.as_bytes()), &root, &kubeedge("")), "PROVENANCE-MALFORMED");
    }
    let later = policy_with("owner_id = \"43684101\"");
    assert_eq!(judge(&sigstore.attest(&npm()), &root, &later), "POLICY-IDS");
    assert_eq!(
        judge(&sigstore.attest(&npm()), &root, &policy_with("owner_id = \"43684100\"\nrepository_id = \"150462334\"")),
        ""
    );
    assert_eq!(judge(&sigstore.attest(&npm()), &root, &policy_with("repository_id = \"1\"")), "POLICY-IDS");
    let own =
        Attestation { runner: "self-hosted".into(), builder: "https://github.com/actions/runner/self-hosted".into(), ..npm() };
    assert_eq!(judge(&sigstore.attest(&own), &root, &policy_with("")), "POLICY-BUILDER");
    let claims_hosted = Attestation { runner: "self-hosted".into(), ..npm() };
    assert_eq!(judge(&sigstore.attest(&claims_hosted), &root, &policy_with("")), "CLAIM-RUNNER");
    // A builder who could never be the one who signed.
    let text = NPM.replace(
        "https://github.com/actions/runner/github-hosted",
        "https://github.com/owner/other/.github/workflows/b.yml@refs/tags/v1.0.0",
    );
    assert_eq!(Policy::parse(&text).unwrap_err().code, "SLW-V-POLICY-CONTRADICTION");
}

fn policy_with(more: &str) -> Policy {
    Policy::parse(&format!("{NPM}{more}\n")).unwrap()
}
