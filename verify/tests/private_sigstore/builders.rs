//! Every builder of docs/PROVENANCE.md in its own shape, with the policy that the page gives for
//! it; and every way in which a statement of that shape can say something else.
//!
//! Seen to fail with members that nobody took and no input holds, with two names of one fact that
//! may differ, and with only the first of the places that name the source compared.

use super::*;
use slipway_testkit::sigstore::ManagedKey;
use slipway_testkit::sigstore::builders::{Builder, SOURCE};

/// The policies under a heading of the page, with a real key in the place of `…`.
fn policies(heading: &str) -> Vec<String> {
    let page = include_str!("../../../docs/PROVENANCE.md");
    let section = page.split("\n### ").find(|section| section.starts_with(&format!("{heading}\n")));
    let section = section.unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let key = ManagedKey::new("ci").public_pem().replace('\n', "\\n");
    let with_key = |text: &str| text.replace("-----BEGIN PUBLIC KEY-----\\n…\\n-----END PUBLIC KEY-----\\n", &key);
    blocks.map(with_key).collect()
}

/// The policy of the page that is for a builder.
fn policy_of(builder: Builder) -> String {
    let (heading, number) = match builder {
        Builder::SlsaExample => ("slsa-example", 0),
        Builder::BuildKitV1 => ("buildkit", 0),
        Builder::BuildKitV02 => ("buildkit", 1),
        Builder::TektonTaskV02 | Builder::TektonPipelineV02 | Builder::TektonV1 | Builder::TektonV1Own => ("tekton", 0),
        Builder::GitLabRunnerV02 | Builder::GitLabRunnerV1 => ("gitlab-runner", 0),
        Builder::GitLabV1 => ("gitlab", 0),
    };
    policies(heading).swap_remove(number)
}

/// What a key has signed.
fn signed(statement: &Value) -> Vec<u8> {
    let attestation = Attestation { managed_key: Some(ManagedKey::new("ci")), ..release() };
    sigstore().attest_payload(&attestation, &bytes(statement))
}

fn statement(builder: Builder) -> Value {
    builder.statement(NAME, &Sha256::of(TARBALL).to_string())
}

fn code(statement: &Value, policy: &str) -> String {
    judge(&signed(statement), &root(), &Policy::parse(policy).unwrap())
}

/// A statement with another value at a pointer, which must be there.
fn with(builder: Builder, pointer: &str, value: Value) -> Value {
    let mut statement = statement(builder);
    *statement.pointer_mut(&format!("/predicate{pointer}")).unwrap() = value;
    statement
}

/// A statement with one member more.
fn and(builder: Builder, pointer: &str, name: &str, value: Value) -> Value {
    let mut statement = statement(builder);
    let object = statement.pointer_mut(&format!("/predicate{pointer}")).unwrap();
    object.as_object_mut().unwrap().insert(name.to_owned(), value);
    statement
}

/// Changes the last character.
fn off_by_one(text: &str) -> String {
    let mut changed = text.to_owned();
    let last = if changed.pop() == Some('z') { 'y' } else { 'z' };
    changed.push(last);
    changed
}

#[test]
fn each_builder_verifies_with_the_policy_of_its_page_and_one_character_off_does_not() {
    for builder in Builder::ALL {
        let policy = policy_of(builder);
        let bundle = signed(&statement(builder));
        let found = verify(&bundle, &root(), &Policy::parse(&policy).unwrap()).unwrap();
        assert_eq!((found.source.as_str(), found.commit), (SOURCE, Builder::commit()), "{builder:?}");
        let value = |key: &str| {
            let line = policy
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))
                .map(|line| line.strip_suffix('"').unwrap());
            line.map(|value| (format!("{key} = \"{value}\""), value.to_owned()))
        };
        for (key, wanted) in [
            ("source", "POLICY-SOURCE"),
            ("tag", "POLICY-REF"),
            ("builder", "POLICY-BUILDER"),
            ("builder_pattern", "POLICY-BUILDER"),
            ("workflow", "POLICY-WORKFLOW"),
            ("triggers", "POLICY-TRIGGER"),
        ] {
            let Some((line, value)) = value(key) else { continue };
            let wrong = match key {
                "tag" => "w{version}".to_owned(),
                "builder_pattern" => value.replacen("://", "://x", 1),
                _ => off_by_one(&value),
            };
            let text = policy.replacen(&line, &format!("{key} = \"{wrong}\""), 1);
            assert_ne!(text, policy);
            assert_eq!(judge(&bundle, &root(), &Policy::parse(&text).unwrap()), wanted, "{builder:?}: {key}");
        }
        // What loosens the policy is there because this builder needs it.
        for (line, tightened, wanted) in [
            ("unsafe_any_ref = true", "tag = \"v{version}\"", "CLAIM-MISSING"),
            ("unsafe_any_inputs = true", "", "POLICY-INPUTS"),
        ] {
            if policy.contains(line) {
                let text = policy.replacen(line, tightened, 1);
                assert_eq!(judge(&bundle, &root(), &Policy::parse(&text).unwrap()), wanted, "{builder:?}: without {line}");
            }
        }
        if let Some(inputs) = policy.lines().find(|line| line.starts_with("inputs = ")) {
            let text = policy.replacen(inputs, "", 1);
            assert_eq!(judge(&bundle, &root(), &Policy::parse(&text).unwrap()), "POLICY-INPUTS", "{builder:?}: no inputs");
        }
        let other = builder.statement("x", &Sha256::of(TARBALL).to_string());
        assert_eq!(code(&other, &policy), "SUBJECT-NAME", "{builder:?}");
        let other = builder.statement(NAME, &Sha256::of(b"x").to_string());
        assert_eq!(code(&other, &policy), "ARTIFACT-DIGEST", "{builder:?}");
    }
}

#[test]
fn a_statement_at_odds_with_itself_is_refused_in_every_shape() {
    let other = "0000000000000000000000000000000000000000";
    let elsewhere = "git+https://git.example/team/apq";
    let moved = "https://git.example/team/app.git#refs/tags/v1.23.2";
    for (builder, pointer, value, wanted) in [
        (Builder::SlsaExample, "/buildDefinition/resolvedDependencies/0/uri", elsewhere.into(), "CLAIM-SOURCE"),
        (
            Builder::SlsaExample,
            "/buildDefinition/resolvedDependencies/0/uri",
            format!("git+{SOURCE}@refs/tags/v1.23.2").into(),
            "CLAIM-REF",
        ),
        (Builder::SlsaExample, "/buildDefinition/resolvedDependencies/0/digest/gitCommit", "v1".into(), "PROVENANCE-MALFORMED"),
        (Builder::SlsaExample, "/buildDefinition/resolvedDependencies", json!([]), "PROVENANCE-MALFORMED"),
        (Builder::SlsaExample, "/buildDefinition/resolvedDependencies/0", json!(["uri"]), "PROVENANCE-MALFORMED"),
        (Builder::SlsaExample, "/buildDefinition/resolvedDependencies", json!({"0": {"uri": SOURCE}}), "PROVENANCE-MALFORMED"),
        (Builder::SlsaExample, "/buildDefinition/externalParameters", json!([SOURCE]), "PROVENANCE-MALFORMED"),
        (Builder::SlsaExample, "/buildDefinition/externalParameters", Value::Null, "PROVENANCE-MALFORMED"),
        (Builder::SlsaExample, "/runDetails", json!([{"id": "https://ci.example/builder"}]), "PROVENANCE-MALFORMED"),
        (Builder::SlsaExample, "/runDetails/builder/id", "".into(), "PROVENANCE-MALFORMED"),
        (Builder::BuildKitV1, "/buildDefinition/resolvedDependencies/1/digest/sha1", other.into(), "CLAIM-COMMIT"),
        (Builder::BuildKitV1, "/buildDefinition/externalParameters/configSource/uri", moved.into(), "POLICY-REF"),
        (Builder::BuildKitV1, "/buildDefinition/externalParameters/configSource/uri", Value::Null, "CLAIM-MISSING"),
        (Builder::BuildKitV02, "/materials/1/digest/sha1", other.into(), "CLAIM-COMMIT"),
        (Builder::BuildKitV02, "/invocation/configSource/uri", format!("{SOURCE}.git#v1.23.1").into(), "POLICY-REF"),
        (Builder::BuildKitV02, "/invocation/configSource/uri", format!("{SOURCE}.git").into(), "CLAIM-MISSING"),
        (
            Builder::BuildKitV02,
            "/invocation/configSource/uri",
            format!("{SOURCE}.git#refs/tags/v1.23.1:evil").into(),
            "POLICY-INPUTS",
        ),
        (Builder::BuildKitV02, "/invocation/configSource", json!([]), "PROVENANCE-MALFORMED"),
        (Builder::BuildKitV02, "/invocation/parameters", json!([]), "PROVENANCE-MALFORMED"),
        (Builder::BuildKitV02, "/builder/id", "".into(), "PROVENANCE-MALFORMED"),
        (Builder::TektonTaskV02, "/invocation/parameters/CHAINS-GIT_URL", elsewhere.into(), "CLAIM-SOURCE"),
        (Builder::TektonTaskV02, "/invocation/parameters/CHAINS-GIT_COMMIT", other.into(), "CLAIM-COMMIT"),
        (Builder::TektonTaskV02, "/materials/1/uri", "oci://registry.example/app".into(), "CLAIM-MISSING"),
        (Builder::TektonPipelineV02, "/invocation/configSource/uri", "git+https://git.example/x".into(), "CLAIM-SOURCE"),
        (Builder::TektonV1, "/buildDefinition/resolvedDependencies/2/name", "other".into(), "POLICY-SOURCE"),
        (Builder::TektonV1, "/buildDefinition/resolvedDependencies/0/name", "inputs/result".into(), "CLAIM-SOURCE"),
        (Builder::TektonV1Own, "/buildDefinition/resolvedDependencies/0/digest", json!({}), "CLAIM-MISSING"),
        (Builder::GitLabRunnerV02, "/invocation/configSource/digest/sha256", "v1".into(), "PROVENANCE-MALFORMED"),
        (Builder::GitLabRunnerV02, "/invocation/configSource/digest", json!({}), "CLAIM-MISSING"),
        (Builder::GitLabRunnerV1, "/buildDefinition/resolvedDependencies/0/uri", elsewhere.into(), "CLAIM-SOURCE"),
        (Builder::GitLabV1, "/buildDefinition/externalParameters/variables/CI_COMMIT_TAG", "v1.23.2".into(), "CLAIM-REF"),
        (Builder::GitLabV1, "/buildDefinition/externalParameters/variables/CI_COMMIT_REF_NAME", "v1.23.2".into(), "CLAIM-REF"),
        (Builder::GitLabV1, "/buildDefinition/externalParameters/variables/CI_COMMIT_SHA", other.into(), "CLAIM-COMMIT"),
        (Builder::GitLabV1, "/buildDefinition/externalParameters/variables/CI_PROJECT_URL", elsewhere.into(), "CLAIM-SOURCE"),
        (Builder::GitLabV1, "/buildDefinition/externalParameters/variables/CI_PIPELINE_SOURCE", "web".into(), "POLICY-TRIGGER"),
        (Builder::GitLabV1, "/buildDefinition/externalParameters/variables", json!(["CI"]), "PROVENANCE-MALFORMED"),
    ] {
        assert_eq!(code(&with(builder, pointer, value), &policy_of(builder)), wanted, "{builder:?} {pointer}");
    }
    // Two names for one fact.
    for (builder, pointer, name, wanted) in [
        (Builder::SlsaExample, "/buildDefinition/resolvedDependencies/0/digest", "sha1", "CLAIM-COMMIT"),
        (Builder::BuildKitV1, "/buildDefinition/externalParameters/configSource/digest", "gitCommit", "CLAIM-COMMIT"),
        (Builder::GitLabV1, "/buildDefinition/resolvedDependencies/0/digest", "sha256", "CLAIM-COMMIT"),
    ] {
        assert_eq!(code(&and(builder, pointer, name, other.into()), &policy_of(builder)), wanted, "{builder:?} {name}");
        assert_eq!(code(&and(builder, pointer, name, Builder::commit().into()), &policy_of(builder)), "", "{builder:?} {name}");
    }
    // GitHub's variables, where the source is on another server than github.com.
    for (name, value, wanted) in [
        ("GITHUB_REPOSITORY", "team/app", ""),
        ("GITHUB_REPOSITORY", "team/apq", "CLAIM-SOURCE"),
        ("GITHUB_REPOSITORY_OWNER", "team", ""),
        ("GITHUB_REPOSITORY_OWNER", "teal", "CLAIM-SOURCE"),
    ] {
        let variables = json!({name: value});
        let stated = and(Builder::SlsaExample, "/buildDefinition", "internalParameters", variables);
        assert_eq!(code(&stated, &policy_of(Builder::SlsaExample)), wanted, "{name} = {value}");
    }
    // GitLab lists its variables apart, its runner beside the rest: in both places they must say one thing.
    for (name, value, wanted) in [
        ("CI_COMMIT_SHA", "f".repeat(40), "CLAIM-COMMIT"),
        // Read first, so it is what the policy sees.
        ("CI_COMMIT_TAG", "v1.23.2".to_owned(), "POLICY-REF"),
        ("CI_COMMIT_TAG", "v1.23.1".to_owned(), ""),
        ("CI_PROJECT_URL", elsewhere.to_owned(), "CLAIM-SOURCE"),
        ("CI_PIPELINE_SOURCE", "merge_request_event".to_owned(), "CLAIM-TRIGGER"),
    ] {
        let twice = and(Builder::GitLabV1, "/buildDefinition/externalParameters", name, value.clone().into());
        assert_eq!(code(&twice, &policy_of(Builder::GitLabV1)), wanted, "{name} = {value}");
    }
    let mut twice = and(Builder::GitLabV1, "/buildDefinition/externalParameters", "CI_COMMIT_TAG", "v1.23.1".into());
    twice["predicate"]["buildDefinition"]["externalParameters"]["variables"]["CI_COMMIT_TAG"] = "v1.23.2".into();
    twice["predicate"]["buildDefinition"]["externalParameters"]["variables"]["CI_COMMIT_REF_NAME"] = "v1.23.2".into();
    assert_eq!(code(&twice, &policy_of(Builder::GitLabV1)), "CLAIM-REF");
    // A tag and a branch at once.
    let both = and(Builder::GitLabV1, "/buildDefinition/externalParameters/variables", "CI_COMMIT_BRANCH", "main".into());
    assert_eq!(code(&both, &policy_of(Builder::GitLabV1)), "CLAIM-REF");
    // A source that is a branch is none that a tag's policy takes.
    let mut branch = with(Builder::GitLabV1, "/buildDefinition/externalParameters/variables/CI_COMMIT_TAG", "".into());
    branch["predicate"]["buildDefinition"]["externalParameters"]["variables"]["CI_COMMIT_BRANCH"] = "v1.23.1".into();
    assert_eq!(code(&branch, &policy_of(Builder::GitLabV1)), "POLICY-REF");
}

#[test]
fn whatever_is_not_read_for_a_decision_is_an_input() {
    let source = json!({"uri": "git+https://git.example/evil", "digest": {"sha1": "0000000000000000000000000000000000000000"}});
    let external = "/buildDefinition/externalParameters";
    for (builder, pointer, name) in [
        (Builder::SlsaExample, external, "flag"),
        (Builder::BuildKitV1, external, "source"),
        (Builder::BuildKitV1, "/buildDefinition/externalParameters/configSource", "mirror"),
        (Builder::BuildKitV02, "/invocation/configSource", "mirror"),
        (Builder::BuildKitV02, "/invocation/configSource/digest", "sha512"),
        (Builder::BuildKitV02, "/invocation", "recipe"),
    ] {
        assert_eq!(code(&and(builder, pointer, name, "x".into()), &policy_of(builder)), "POLICY-INPUTS", "{builder:?} {name}");
        let empty = if name == "mirror" { json!({}) } else { Value::Null };
        assert_eq!(code(&and(builder, pointer, name, empty), &policy_of(builder)), "", "{builder:?} {name}");
    }
    // Another form of the source beside the one that is read.
    for (name, value) in
        [("source", source.clone()), ("source", SOURCE.into()), ("repository", SOURCE.into()), ("ref", "x".into())]
    {
        let attestation = npm().edit(&format!("/predicate{external}/{name}"), Some(value));
        assert_eq!(judge(&sigstore().attest(&attestation), &root(), &Policy::parse(NPM).unwrap()), "POLICY-INPUTS", "{name}");
    }
    let workflow = npm().edit(&format!("/predicate{external}/workflow/shell"), Some("bash".into()));
    assert_eq!(judge(&sigstore().attest(&workflow), &root(), &Policy::parse(NPM).unwrap()), "POLICY-INPUTS");
    let pinned = Policy::parse(&format!("{NPM}inputs = {{ \"workflow.shell\" = \"bash\" }}\n")).unwrap();
    assert_eq!(judge(&sigstore().attest(&workflow), &root(), &pinned), "");
    // An object and a name with a dot that spell the same differ in their values, and then no
    // policy pins them.
    let twice = and(Builder::SlsaExample, external, "a.b", "1".into());
    let mut twice = twice.clone();
    twice["predicate"]["buildDefinition"]["externalParameters"]["a"] = json!({"b": "2"});
    assert_eq!(code(&twice, &format!("{}inputs = {{ \"a.b\" = \"1\" }}\n", policy_of(Builder::SlsaExample))), "POLICY-INPUTS");
}

#[test]
fn certificates_and_the_policies_of_the_page() {
    let owned = |attestation: Attestation| Attestation {
        source: "https://github.com/owner/repo".into(),
        ..attestation.artifact(NAME, TARBALL)
    };
    let check = |heading: &str, attestation: &Attestation| {
        let policy = policies(heading).swap_remove(0);
        judge(&sigstore().attest(attestation), &root(), &Policy::parse(&policy).unwrap())
    };
    let generic = owned(Attestation::kubeedge("v1.23.1"));
    assert_eq!(check("generic", &generic), "");
    assert_eq!(check("github", &npm()), "");
    let maven = || owned(Attestation::maven("owner/repo", "refs/tags/v1.23.1", "v2.1.0"));
    assert_eq!(check("delegator", &maven()), "");
    assert_eq!(check("delegator", &Attestation { trigger: "release".into(), ..maven() }), "");
    let internal = "/predicate/buildDefinition/internalParameters";
    let dependency = "/predicate/buildDefinition/resolvedDependencies/0";
    let other = "0000000000000000000000000000000000000000";
    for (what, attestation, wanted) in [
        (
            "delegator at a branch",
            Attestation { identity: maven().identity.replace("tags/v2.1.0", "heads/main"), ..maven() },
            "POLICY-IDENTITY",
        ),
        (
            "another release of the builder",
            Attestation { builder: maven().builder.replace("v2.1.0", "v2.0.0"), ..maven() },
            "POLICY-BUILDER-IDENTITY",
        ),
        ("another builder", Attestation { builder: maven().builder.replace("maven", "gradle"), ..maven() }, "POLICY-BUILDER"),
        ("a dispatch", Attestation { trigger: "workflow_dispatch".into(), ..maven() }, "POLICY-TRIGGER"),
        ("a branch", Attestation { git_ref: "refs/heads/v1.23.1".into(), ..maven() }, "POLICY-REF"),
        (
            "dependency's source",
            maven().edit(&format!("{dependency}/uri"), Some("git+https://github.com/owner/rep@refs/tags/v1.23.1".into())),
            "CLAIM-SOURCE",
        ),
        (
            "dependency's ref",
            maven().edit(&format!("{dependency}/uri"), Some("git+https://github.com/owner/repo@refs/tags/v1.23.2".into())),
            "CLAIM-REF",
        ),
        ("dependency's commit", maven().edit(&format!("{dependency}/digest/gitCommit"), Some(other.into())), "CLAIM-COMMIT"),
        ("no dependency", maven().edit("/predicate/buildDefinition/resolvedDependencies", None), "PROVENANCE-MALFORMED"),
        ("repository", maven().edit(&format!("{internal}/GITHUB_REPOSITORY"), Some("owner/rep".into())), "CLAIM-SOURCE"),
        ("owner", maven().edit(&format!("{internal}/GITHUB_REPOSITORY_OWNER"), Some("owne".into())), "CLAIM-SOURCE"),
        ("small letters", maven().edit(&format!("{internal}/github_event_name"), Some("release".into())), "CLAIM-TRIGGER"),
        ("nested", maven().edit(&format!("{internal}/github"), Some(json!({"event_name": "release"}))), "CLAIM-TRIGGER"),
        ("nested, rightly", maven().edit(&format!("{internal}/github"), Some(json!({"event_name": "push"}))), ""),
        ("sha1 beside sha", maven().edit(&format!("{internal}/GITHUB_SHA1"), Some(other.into())), "CLAIM-COMMIT"),
        ("run", maven().edit(&format!("{internal}/GITHUB_RUN_ID"), Some("1".into())), "CLAIM-RUN"),
        (
            "run without attempt",
            maven()
                .edit(&format!("{internal}/GITHUB_RUN_ATTEMPT"), None)
                .edit(&format!("{internal}/GITHUB_RUN_ID"), Some("1".into())),
            "CLAIM-RUN",
        ),
        ("environment as an array", maven().edit(internal, Some(json!([]))), "PROVENANCE-MALFORMED"),
        (
            "event as an array",
            maven().edit(&format!("{internal}/GITHUB_EVENT_PAYLOAD"), Some(json!(["ref"]))),
            "PROVENANCE-MALFORMED",
        ),
        (
            "two events",
            maven().edit(&format!("{internal}/github_event_payload"), Some(json!({"ref": "x"}))),
            "PROVENANCE-MALFORMED",
        ),
        (
            "a variable of the caller",
            maven().edit("/predicate/buildDefinition/externalParameters/vars/x", Some("y".into())),
            "POLICY-INPUTS",
        ),
    ] {
        assert_eq!(check("delegator", &attestation), wanted, "{what}");
    }
    let container = Attestation {
        identity: maven().builder.replace("maven", "container-based"),
        builder: maven().builder.replace("maven", "container-based"),
        build_type: "https://slsa.dev/container-based-build/v0.1?draft".into(),
        ..maven()
    };
    // Members as in slsa-verifier's
    // gha_container-based/v1.10.0/binary-linux-amd64-push-v14.2.intoto.build.slsa.
    let image = "9e2ba52487d945504d250de186cb4fe2e3ba023ed2921dd6ac8b97ed43e76af9";
    let container = container.clone().edit(
        "/predicate/buildDefinition/externalParameters",
        Some(json!({
            "source": {"uri": "git+https://github.com/owner/repo@refs/tags/v1.23.1", "digest": {"sha1": container.commit}},
            "builderImage": {"uri": format!("bash@sha256:{image}"), "digest": {"sha256": image}},
            "configPath": ".github/build.toml",
            "buildConfig": {"ArtifactPath": "app", "Command": ["make", "app"]},
        })),
    );
    assert_eq!(check("container-based", &container), "");
    let parameter = |name: &str| format!("/predicate/buildDefinition/externalParameters/{name}");
    for (name, value, wanted) in [
        ("source/digest/sha1", json!(other), "CLAIM-COMMIT"),
        ("source/uri", json!("git+https://github.com/owner/rep@refs/tags/v1.23.1"), "CLAIM-SOURCE"),
        ("source/digest/sha512", json!("00"), "POLICY-INPUTS"),
        ("source", json!(["git+https://github.com/owner/repo"]), "PROVENANCE-MALFORMED"),
        ("builderImage/digest/sha256", json!("00"), "POLICY-INPUTS"),
        ("buildConfig/Command/1", json!("evil"), "POLICY-INPUTS"),
    ] {
        assert_eq!(check("container-based", &container.clone().edit(&parameter(name), Some(value))), wanted, "{name}");
    }
}

#[test]
fn every_policy_of_the_page_loads_and_every_row_has_a_section() {
    let page = include_str!("../../../docs/PROVENANCE.md");
    let rows: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| [")?.split("](#").nth(1)?.split(')').next()).collect();
    let sections: Vec<&str> = page.split("\n### ").skip(1).map(|section| section.lines().next().unwrap()).collect();
    assert_eq!(rows, sections);
    for heading in sections {
        let policies = policies(heading);
        assert!(!policies.is_empty(), "{heading}");
        for policy in policies {
            Policy::parse(&policy).unwrap_or_else(|why| panic!("{heading}: {why}"));
        }
    }
}
