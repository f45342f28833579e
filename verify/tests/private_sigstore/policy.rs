//! Policies: versions, profiles, keys with a threshold, inputs, and each claim of the provenance that must agree with the rest.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use slipway_testkit::sigstore::ManagedKey;
use slipway_verify::{Provenance, Refusal};

fn verify(evidence: &[u8], policy: &str) -> Result<Provenance, Refusal> {
    super::verify(evidence, &root(), &Policy::parse(policy).unwrap())
}

fn code(evidence: &[u8], policy: &str) -> String {
    code_of(verify(evidence, policy))
}

const KUBEEDGE: &str = "component = \"edgecore\"\npreset = \"kubeedge\"\n";

#[test]
fn a_claim_that_disagrees_with_the_rest_is_refused_by_its_own_check() {
    let sigstore = sigstore();
    let variable = |name: &str, value: Value| release().edit(&format!("/predicate/invocation/environment/{name}"), Some(value));
    let event = |pointer: &str, value: Value| variable(&format!("github_event_payload/{pointer}"), value);
    let v1 = |name: &str, value: Value| npm().edit(&format!("/predicate/buildDefinition/internalParameters/{name}"), Some(value));
    let other = "0000000000000000000000000000000000000000";
    let workflow = "kubeedge/kubeedge/.github/workflows/release.yml@refs/tags/v1.23.1";
    for (what, attestation, code_wanted) in [
        ("nothing", release(), ""),
        ("kind of ref", variable("github_ref_type", "branch".into()), "CLAIM-REF"),
        ("released tag", event("release/tag_name", "v1.23.0".into()), "CLAIM-REF"),
        ("event's repository", event("repository/full_name", "kubeedge/kubeedgf".into()), "CLAIM-SOURCE"),
        ("event's repository id", event("repository/id", 1.into()), "CLAIM-IDS"),
        ("event's owner id", event("repository/owner/id", 1.into()), "CLAIM-IDS"),
        ("repository", variable("github_repository", "kubeedge/kubeedgf".into()), "CLAIM-SOURCE"),
        ("repository, rightly", variable("github_repository", "kubeedge/kubeedge".into()), ""),
        ("workflow", variable("github_workflow_ref", workflow.replace("v1.23.1", "v1.23.2").into()), "CLAIM-WORKFLOW"),
        ("workflow, rightly", variable("github_workflow_ref", workflow.into()), ""),
        ("workflow's commit", variable("github_workflow_sha", other.into()), "CLAIM-COMMIT"),
        ("runner", variable("github_runner_environment", "self-hosted".into()), "CLAIM-RUNNER"),
        ("invocation", release().edit("/predicate/metadata/buildInvocationID", Some("13530999644-2".into())), "CLAIM-RUN"),
        (
            "invocation in npm's spelling beside it",
            release().edit("/predicate/metadata/buildInvocationId", Some("1-1".into())),
            "CLAIM-RUN",
        ),
        (
            "invocation in both spellings alike",
            release().edit("/predicate/metadata/buildInvocationId", Some("13530999644-1".into())),
            "",
        ),
        (
            "only invocation in npm's spelling",
            release()
                .edit("/predicate/metadata/buildInvocationID", None)
                .edit("/predicate/metadata/buildInvocationId", Some("1-1".into())),
            "CLAIM-RUN",
        ),
        ("owner in the certificate", release().claim(16, Some("https://github.com/kube")), "CLAIM-SOURCE"),
        ("repository id in the certificate", release().claim(15, Some("1")), "CLAIM-IDS"),
        ("owner id in the certificate", release().claim(17, Some("1")), "CLAIM-IDS"),
        ("new ref in the certificate", release().claim(14, Some("refs/tags/v1.23.2")), "CLAIM-REF"),
        ("new trigger in the certificate", release().claim(20, Some("push")), "CLAIM-TRIGGER"),
        ("new source in the certificate", release().claim(12, Some("https://github.com/kubeedge/kubeedgf")), "CLAIM-SOURCE"),
    ] {
        assert_eq!(code(&sigstore.attest(&attestation), KUBEEDGE), code_wanted, "{what}");
    }
    for (what, attestation, code_wanted) in [
        ("nothing", npm(), ""),
        ("runner", v1("github/runner_environment", "self-hosted".into()), "CLAIM-RUNNER"),
        ("event", v1("github/event_name", "release".into()), "CLAIM-TRIGGER"),
        ("ref", v1("GITHUB_REF", "refs/tags/v1.23.2".into()), "CLAIM-REF"),
        ("commit", v1("GITHUB_SHA", other.into()), "CLAIM-COMMIT"),
        ("run", npm().edit("/predicate/runDetails/metadata/invocationId", Some("https://github.com/x".into())), "CLAIM-RUN"),
        ("signer's commit", npm().claim(10, Some(other)), "CLAIM-COMMIT"),
        (
            "source",
            npm().edit(
                "/predicate/buildDefinition/externalParameters/workflow/repository",
                Some("https://github.com/owner/rep".into()),
            ),
            "CLAIM-SOURCE",
        ),
        (
            "path",
            npm().edit("/predicate/buildDefinition/externalParameters/workflow/path", Some("x.yml".into())),
            "CLAIM-WORKFLOW",
        ),
        (
            "runner that the builder names",
            npm().edit("/predicate/runDetails/builder/id", Some("https://github.com/actions/runner/self-hosted".into())),
            "POLICY-BUILDER",
        ),
        ("runner of the certificate", Attestation { runner: "self-hosted".into(), ..npm() }, "CLAIM-RUNNER"),
    ] {
        assert_eq!(code(&sigstore.attest(&attestation), NPM), code_wanted, "{what}");
    }
}

#[test]
fn inputs_are_refused_unless_they_are_pinned_or_allowed() {
    let sigstore = sigstore();
    let dispatch = || Attestation { trigger: "workflow_dispatch".into(), ..release() };
    let given = |attestation: Attestation, inputs: Value| {
        sigstore.attest(&attestation.edit("/predicate/invocation/environment/github_event_payload/inputs", Some(inputs)))
    };
    let own = |more: &str| {
        format!(
            "component = \"edgecore\"\n[certificate]\nissuer = \"https://token.actions.githubusercontent.com\"\n[provenance]\nbuilder = \"https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml\"\nbuilder_versions = \"2.1.0\"\nsource = \"https://github.com/kubeedge/kubeedge\"\ntag = \"v{{version}}\"\ntriggers = \"workflow_dispatch\"\n{more}"
        )
    };
    for (inputs, more, wanted) in [
        (json!({}), "", ""),
        (Value::Null, "", ""),
        (json!({"debug": null}), "", ""),
        (json!({"debug": "true"}), "", "POLICY-INPUTS"),
        (json!({"debug": ""}), "", "POLICY-INPUTS"),
        (json!("debug"), "", "POLICY-INPUTS"),
        (json!({"debug": "true"}), "unsafe_any_inputs = true", ""),
        (json!({"debug": "true"}), "unsafe_any_inputs = false", "POLICY-INPUTS"),
        (json!({"debug": "true"}), "inputs = { debug = \"true\" }", ""),
        (json!({"debug": true, "level": 3}), "inputs = { debug = \"true\", level = \"3\" }", ""),
        (json!({"debug": "false"}), "inputs = { debug = \"true\" }", "POLICY-INPUTS"),
        (json!({"debug": "true", "more": "x"}), "inputs = { debug = \"true\" }", "POLICY-INPUTS"),
        (json!({}), "inputs = { debug = \"true\" }", "POLICY-INPUTS"),
    ] {
        assert_eq!(code(&given(dispatch(), inputs.clone()), &own(more)), wanted, "{inputs} {more}");
    }
    assert_eq!(code(&given(release(), json!({"debug": "true"})), KUBEEDGE), "POLICY-INPUTS", "whatever the event");
    assert_eq!(code(&given(dispatch(), json!({})), KUBEEDGE), "POLICY-TRIGGER", "a dispatch has to be named");
    // The same input twice with two values, in the event and as the builder's parameter.
    let twice = dispatch().edit("/predicate/invocation/parameters/event_inputs", Some(json!({"debug": "false"})));
    assert_eq!(code(&given(twice, json!({"debug": "true"})), &own("inputs = { debug = \"true\" }")), "POLICY-INPUTS");
    // SLSA v1: whatever came from outside and is not the workflow.
    let external = |name: &str, value: Value| {
        sigstore.attest(&npm().edit(&format!("/predicate/buildDefinition/externalParameters/{name}"), Some(value)))
    };
    assert_eq!(code(&external("inputs", json!({"a": "b"})), NPM), "POLICY-INPUTS");
    assert_eq!(code(&external("inputs", json!({"a": "b"})), &format!("{NPM}inputs = {{ a = \"b\" }}\n")), "");
    assert_eq!(code(&external("vars", json!({"a": "b"})), NPM), "POLICY-INPUTS");
    assert_eq!(code(&external("vars", json!({})), NPM), "");
}

#[test]
fn a_set_or_range_of_builders_is_bound_to_the_tag_that_signed() {
    let sigstore = sigstore();
    let signed = |version: &str| sigstore.attest(&release().generator(version));
    for (version, wanted) in [
        ("v1.2.2", ""),
        ("v1.9.0", ""),
        ("v1.10.0", ""),
        ("v2.1.0", ""),
        ("v2.7.3", ""),
        ("v1.2.3", "POLICY-IDENTITY"),
        ("v1.8.0", "POLICY-IDENTITY"),
        ("v2.0.0", "POLICY-IDENTITY"),
        ("v2.2.0-rc.1", "POLICY-IDENTITY"),
        ("v3.0.0", "POLICY-IDENTITY"),
        ("2.1.0", "POLICY-IDENTITY"),
    ] {
        assert_eq!(code(&signed(version), KUBEEDGE), wanted, "{version}");
    }
    // Both in the range, but another one than signed.
    let builder = slipway_testkit::sigstore::generator_generic("v2.1.1");
    let forger = release().edit("/predicate/builder/id", Some(builder.into()));
    assert_eq!(code(&sigstore.attest(&forger), KUBEEDGE), "POLICY-BUILDER-IDENTITY");
}

#[test]
fn a_private_instance_is_private_and_no_other() {
    let sigstore = sigstore();
    let as_profile = |profile: &str| KUBEEDGE.replacen("preset", &format!("profile = \"{profile}\"\npreset"), 1);
    for evidence in [Evidence::RekorV1, Evidence::RekorV1AndTimestamp, Evidence::RekorV2] {
        let bundle = sigstore.attest(&Attestation { evidence, ..release() });
        assert_eq!(code(&bundle, KUBEEDGE), "");
        assert_eq!(code(&bundle, &as_profile("private")), "");
        for other in ["public-good", "public-good-rekor-v1", "public-good-rekor-v2"] {
            assert_eq!(code(&bundle, &as_profile(other)), "POLICY-PROFILE", "{other}");
        }
    }
    let refusal = Policy::parse(&as_profile("private")).unwrap().embedded_root().unwrap_err();
    assert_eq!(refusal.code, "SLW-V-POLICY-PROFILE");
}

/// A policy of these keys, by the names that the private Sigstore knows them under.
fn keys(threshold: usize, names: &[&str], more: &str) -> String {
    let public: String =
        names.iter().map(|name| format!("{name} = \"\"\"\n{}\"\"\"\n", ManagedKey::new(name).public_pem())).collect();
    format!(
        "component = \"edgecore\"\nprofile = \"keys\"\n[keys]\nthreshold = {threshold}\n[keys.public]\n{public}[provenance]\nbuilder = \"https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0\"\nsource = \"https://github.com/kubeedge/kubeedge\"\ntag = \"v{{version}}\"\n{more}"
    )
}

fn signed_by(name: &str, attestation: Attestation) -> Vec<u8> {
    sigstore().attest(&Attestation { managed_key: Some(ManagedKey::new(name)), ..attestation })
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.join(&b'\n')
}

#[test]
fn enough_distinct_keys_must_sign_one_build() {
    let (a, b, c) = (signed_by("a", release()), signed_by("b", release()), signed_by("c", release()));
    let two = keys(2, &["a", "b", "c"], "");
    for (what, lines, wanted) in [
        ("two of three", vec![a.clone(), b.clone()], ""),
        ("all", vec![c.clone(), b.clone(), a.clone()], ""),
        ("one", vec![a.clone()], "POLICY-THRESHOLD"),
        ("the same key twice", vec![a.clone(), a.clone()], "POLICY-THRESHOLD"),
        (
            "the same key for two logs",
            vec![a.clone(), signed_by("a", Attestation { evidence: Evidence::RekorV2, ..release() })],
            "POLICY-THRESHOLD",
        ),
        ("nobody", vec![], "BUNDLE-MALFORMED"),
        ("a stranger", vec![signed_by("x", release())], "POLICY-KEY"),
        ("enough and a stranger", vec![a.clone(), b.clone(), signed_by("x", release())], "POLICY-KEY"),
        ("enough and something else", vec![a.clone(), b.clone(), b"{}".to_vec()], "BUNDLE-MEDIA-TYPE"),
        ("enough and a certificate", vec![a.clone(), b.clone(), sigstore().attest(&release())], "KEY-MISMATCH"),
        (
            "another file",
            vec![a.clone(), signed_by("b", Attestation::kubeedge("v1.23.1").artifact(NAME, b"evil"))],
            "ARTIFACT-DIGEST",
        ),
        (
            "another name",
            vec![a.clone(), signed_by("b", Attestation::kubeedge("v1.23.1").artifact("x", TARBALL))],
            "SUBJECT-NAME",
        ),
        (
            "another source",
            vec![a.clone(), signed_by("b", Attestation { source: "https://github.com/kubeedge/kubeedgf".into(), ..release() })],
            "POLICY-SOURCE",
        ),
        (
            "another tag",
            vec![a.clone(), signed_by("b", Attestation { git_ref: "refs/tags/v1.23.2".into(), ..release() })],
            "POLICY-REF",
        ),
        ("another builder", vec![a.clone(), signed_by("b", release().generator("v2.1.1"))], "POLICY-BUILDER"),
        ("another commit", vec![a.clone(), signed_by("b", Attestation { commit: "0".repeat(40), ..release() })], "CLAIM-COMMIT"),
        (
            "a dispatch",
            vec![a.clone(), signed_by("b", Attestation { trigger: "workflow_dispatch".into(), ..release() })],
            "POLICY-TRIGGER",
        ),
        (
            "a pull request",
            vec![a.clone(), signed_by("b", Attestation { trigger: "pull_request".into(), ..release() })],
            "POLICY-TRIGGER",
        ),
        (
            "a statement at odds with itself",
            vec![
                a.clone(),
                signed_by(
                    "b",
                    release().edit("/predicate/materials/0/uri", Some("git+https://github.com/x/y@refs/tags/v1.23.1".into())),
                ),
            ],
            "CLAIM-SOURCE",
        ),
        (
            "no log entry",
            vec![a.clone(), signed_by("b", Attestation { evidence: Evidence::TimestampOnly, ..release() })],
            "LOG-MISSING",
        ),
    ] {
        assert_eq!(code(&joined(&lines), &two), wanted, "{what}");
    }
    let found = verify(&joined(&[a.clone(), b.clone()]), &two).unwrap();
    let names: Vec<&str> = found.keys.iter().map(|signature| signature.name.as_str()).collect();
    assert_eq!((names.as_slice(), found.threshold, found.identity), (&["a", "b"][..], Some(2), None));
    assert!(found.keys.iter().all(|signature| signature.log.as_deref() == Some("rekor.verify.test")));
    assert_eq!(found.signed_times.len(), 1);
    // Which line it is, as an editor counts.
    let refusal = verify(&joined(&[a.clone(), Vec::new(), signed_by("x", release())]), &two).unwrap_err();
    assert!(refusal.seen.starts_with("line 3: "), "{}", refusal.seen);
    // A single bundle may be spread over lines; two spread ones are no JSON lines.
    let spread = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&a).unwrap()).unwrap();
    assert_eq!(code(&spread, &keys(1, &["a"], "")), "");
    assert_eq!(code(&joined(&[spread.clone(), spread]), &keys(1, &["a"], "")), "BUNDLE-LINES");
    // Keys of a policy are no certificates' keys: whoever trusts an identity is not content with a key.
    assert_eq!(code(&a, KUBEEDGE), "KEY-MISMATCH");
}

#[test]
fn what_a_key_does_not_state_may_be_missing_and_what_a_policy_asks_may_not() {
    let own = |edit: fn(Attestation) -> Attestation| signed_by("a", edit(release()));
    let bare = own(|release| release.edit("/predicate/invocation/environment", None).edit("/predicate/metadata", None));
    assert_eq!(code(&bare, &keys(1, &["a"], "")), "");
    assert_eq!(code(&bare, &keys(1, &["a"], "triggers = \"push\"\n")), "POLICY-TRIGGER");
    assert_eq!(code(&bare, &keys(1, &["a"], "repository_id = \"1\"\n")), "POLICY-IDS");
    assert_eq!(code(&bare, &keys(1, &["a"], "workflow = \".github/workflows/other.yml\"\n")), "POLICY-WORKFLOW");
    let runner =
        own(|release| release.edit("/predicate/invocation/environment/github_runner_environment", Some("self-hosted".into())));
    assert_eq!(code(&runner, &keys(1, &["a"], "")), "POLICY-RUNNER");
    assert_eq!(code(&runner, &keys(1, &["a"], "unsafe_self_hosted_runner = true\n")), "");
    // The material may name the ref where the trigger does not; where nothing does, the policy
    // must not care.
    let unnamed = |release: Attestation, place: &str| {
        release.edit(&format!("/predicate/{place}/uri"), Some("git+https://github.com/kubeedge/kubeedge".into()))
    };
    let by_material = signed_by("a", unnamed(release(), "invocation/configSource"));
    assert_eq!(code(&by_material, &keys(1, &["a"], "")), "");
    let nowhere = unnamed(unnamed(release(), "invocation/configSource"), "materials/0");
    let nowhere = signed_by("a", nowhere.edit("/predicate/invocation/environment", None));
    assert_eq!(code(&nowhere, &keys(1, &["a"], "")), "CLAIM-MISSING");
    let any = keys(1, &["a"], "").replacen("tag = \"v{version}\"", "unsafe_any_ref = true", 1);
    assert_eq!(verify(&nowhere, &any).unwrap().source_ref, "");
    let v1 = signed_by("a", Attestation { predicate: PredicateKind::SlsaV1, ..release() });
    assert_eq!(code(&v1, &keys(1, &["a"], "")), "");
}

/// A Sigstore bundle that an Ed25519 key signed and no log knows of.
fn unlogged(key: &ed25519_dalek::SigningKey, attestation: &Attestation) -> Vec<u8> {
    let payload = attestation.payload();
    let kind = "application/vnd.in-toto+json";
    let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    signed.extend_from_slice(&payload);
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "anything"}},
        "dsseEnvelope": {
            "payload": STANDARD.encode(&payload),
            "payloadType": kind,
            "signatures": [{"sig": STANDARD.encode(key.sign(&signed).to_bytes())}],
        },
    });
    bytes(&bundle)
}

#[test]
fn without_a_log_only_where_the_policy_says_so() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    // The fixed head of an Ed25519 key as SubjectPublicKeyInfo (RFC 8410), and the key.
    let spki =
        [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], key.verifying_key().as_bytes()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki));
    let policy =
        |log: &str| keys(2, &["a"], log).replacen("[keys.public]\n", &format!("[keys.public]\nfarm = \"\"\"\n{pem}\"\"\"\n"), 1);
    let (plain, loose) = (policy(""), policy("[log]\nunsafe_no_log = true\n"));
    let (mine, theirs) = (unlogged(&key, &release()), signed_by("a", release()));
    let both = joined(&[mine.clone(), theirs.clone()]);
    assert_eq!(code(&both, &plain), "LOG-MISSING");
    let found = verify(&both, &loose).unwrap();
    let logs: Vec<Option<&str>> = found.keys.iter().map(|signature| signature.log.as_deref()).collect();
    assert_eq!(logs, [None, Some("rekor.verify.test")], "an entry that is there is verified all the same");
    assert_eq!(code(&mine, &loose), "POLICY-THRESHOLD");
    let mut forged: Value = serde_json::from_slice(&mine).unwrap();
    forged["dsseEnvelope"]["payload"] = STANDARD.encode(release().edit("/predicate/x", Some(1.into())).payload()).into();
    assert_eq!(code(&joined(&[serde_json::to_vec(&forged).unwrap(), theirs]), &loose), "POLICY-KEY");
    let mut damaged: Value = serde_json::from_slice(&signed_by("a", release())).unwrap();
    let proof = &mut damaged["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"];
    *proof = json!([STANDARD.encode([0; 32])]);
    let refused = code(&joined(&[mine, serde_json::to_vec(&damaged).unwrap()]), &loose);
    assert!(refused.starts_with("LOG-"), "a log entry that does not verify is none that may be missing: {refused}");
}
