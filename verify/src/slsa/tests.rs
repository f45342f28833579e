//! The reader that leaves nothing unnoticed, and the forms in which sources and runs are written.

use super::members::Inputs;
use super::*;
use serde_json::json;

fn code<T>(found: Result<T, Refusal>) -> String {
    found.err().map_or_else(String::new, |refusal| refusal.code.trim_start_matches("SLW-V-").to_owned())
}

#[test]
fn members_are_taken_once_and_the_rest_is_an_input() {
    let value =
        json!({"ref": "a", "none": null, "flag": true, "list": [], "deep": {"a": {"b": 1, "c": {}}, "d": ["x"]}, "empty": ""});
    let mut members = Members::of(&value, "test").unwrap();
    assert_eq!(members.fact(&["ref"], Check::ClaimRef).unwrap().as_deref(), Some("a"));
    assert_eq!(members.fact(&["ref"], Check::ClaimRef).unwrap(), None);
    assert!(!members.has("none") && members.has("flag"));
    let mut inputs = Inputs::default();
    members.into_inputs("", &mut inputs).unwrap();
    inputs.add("flag", &json!("true")).unwrap();
    let all = inputs.into_map();
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(all, [("deep.a.b", "1"), ("deep.d", r#"["x"]"#), ("empty", ""), ("flag", "true")]);
    // The same name with another value is one that no policy can name.
    let mut inputs = Inputs::default();
    inputs.add("flag", &json!("true")).unwrap();
    inputs.add("flag", &json!(false)).unwrap();
    inputs.add("flag", &json!("maybe")).unwrap();
    let all = inputs.into_map();
    assert_eq!(all["flag (a second value)"], "false");
    assert_eq!(all["flag (a second value) (a second value)"], "maybe");
}

#[test]
fn inputs_are_bounded_in_the_sum() {
    // A quarter of a megabyte as JSON, 250 MB as names.
    let many: serde_json::Map<String, Value> = (0..1000).map(|n| (n.to_string(), 1.into())).collect();
    let hostile = json!({ "n".repeat(250_000): many });
    assert_eq!(code(Inputs::default().add_named(Some(&hostile))), "PROVENANCE-MALFORMED");
    assert_eq!(code(Inputs::default().add("x", &json!("v".repeat(1024 * 1024)))), "PROVENANCE-MALFORMED");
    assert_eq!(code(Inputs::default().add("x", &json!("v".repeat(1024 * 1023)))), "");
}

#[test]
fn one_fact_is_read_under_all_its_names() {
    for (value, found) in [
        (json!({}), Ok(None)),
        (json!({"gitCommit": null, "sha1": ""}), Ok(None)),
        (json!({"gitCommit": "a"}), Ok(Some("a"))),
        (json!({"SHA1": "a", "gitCommit": "a", "other": "b"}), Ok(Some("a"))),
        (json!({"sha1": 7, "gitcommit": "7"}), Ok(Some("7"))),
        (json!({"sha1": "a", "gitCommit": "b"}), Err("CLAIM-COMMIT")),
        (json!({"sha1": "a", "SHA1": "A"}), Err("CLAIM-COMMIT")),
        (json!({"sha1": "a", "gitCommit": ["a"]}), Err("PROVENANCE-MALFORMED")),
        (json!({"sha1": {}}), Err("PROVENANCE-MALFORMED")),
        (json!({"sha1": true}), Err("PROVENANCE-MALFORMED")),
    ] {
        let fact = Members::of(&value, "test").unwrap().fact(&["gitCommit", "sha1"], Check::ClaimCommit);
        match found {
            Ok(wanted) => assert_eq!(fact.unwrap().as_deref(), wanted, "{value}"),
            Err(wanted) => assert_eq!(code(fact), wanted, "{value}"),
        }
    }
}

#[test]
fn arrays_and_objects_are_not_interchangeable() {
    for value in [json!([]), json!([["uri", "x"]]), json!("x"), json!(1), json!(null)] {
        assert_eq!(code(Members::of(&value, "test")), "PROVENANCE-MALFORMED", "{value}");
    }
    for (value, object, list) in [
        (json!({}), "", ""),
        (json!({"at": null}), "", ""),
        (json!({"at": []}), "PROVENANCE-MALFORMED", ""),
        (json!({"at": {}}), "", "PROVENANCE-MALFORMED"),
        (json!({"at": {"0": {}}}), "", "PROVENANCE-MALFORMED"),
        (json!({"at": "0"}), "PROVENANCE-MALFORMED", "PROVENANCE-MALFORMED"),
    ] {
        assert_eq!(code(Members::of(&value, "test").unwrap().object("at")), object, "{value}");
        assert_eq!(code(Members::of(&value, "test").unwrap().list("at")), list, "{value}");
    }
    for predicate in [json!([]), json!(null), json!({}), json!({"buildDefinition": [], "runDetails": {}})] {
        assert_eq!(code(Claims::read(V1, &predicate)), "PROVENANCE-MALFORMED", "{predicate}");
        assert_eq!(code(Claims::read(V0_2, &predicate)), "PROVENANCE-MALFORMED", "{predicate}");
    }
    assert_eq!(code(Claims::read("https://slsa.dev/provenance/v1.0", &json!({}))), "POLICY-PREDICATE");
}

#[test]
fn sources_and_runs_have_several_forms() {
    for (uri, repository, reference) in [
        ("git+https://github.com/o/r@refs/tags/v1", "https://github.com/o/r", Some("refs/tags/v1")),
        ("https://github.com/o/r", "https://github.com/o/r", None),
        ("git+https://github.com/o/r.git@refs/heads/a@b", "https://github.com/o/r.git@refs/heads/a", Some("b")),
        ("git+https://github.com/o/r.git", "https://github.com/o/r", None),
        ("git+git+https://github.com/o/r.git.git", "git+https://github.com/o/r.git", None),
    ] {
        let source = Source::from_uri(uri, None);
        assert_eq!((source.repository.as_str(), source.reference.as_deref()), (repository, reference), "{uri}");
    }
    let numbers = |id: &str, attempt: &str| Some(Run::Numbers(Some(id.to_owned()), Some(attempt.to_owned())));
    assert_eq!(Run::of_invocation("12-1"), numbers("12", "1"));
    for other in ["12", "12-", "-1", "a-1", "12-1-1", "rpv7a389", "1aa04ff2-9c2a-47f5-9c75-ed43d259649a"] {
        assert_eq!(Run::of_invocation(other), None, "{other}");
    }
    assert!(is_commit(&"a".repeat(40)) && is_commit(&"0".repeat(64)));
    assert!(!is_commit(&"A".repeat(40)) && !is_commit(&"a".repeat(41)) && !is_commit("main"));
}

#[test]
fn conventions_go_by_the_build_type_alone() {
    for (build_type, conventions) in [
        ("https://mobyproject.org/buildkit@v1", Conventions::BuildKit),
        ("https://mobyproject.org/buildkit@v2", Conventions::FirstMaterial),
        ("tekton.dev/v1/PipelineRun", Conventions::Tekton),
        ("tekton.dev.example/v1/PipelineRun", Conventions::FirstMaterial),
        ("https://tekton.dev/attestations/chains/pipelinerun@v2", Conventions::Tekton),
        ("https://tekton.developers.example/", Conventions::FirstMaterial),
        ("https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v17.0.0/PROVENANCE.md", Conventions::GitLab),
        ("https://github.com/slsa-framework/slsa-github-generator/generic@v1", Conventions::FirstMaterial),
    ] {
        assert_eq!(Conventions::of(build_type), conventions, "{build_type}");
    }
}

/// Every statement under `vectors/slsa`: bundles, bare envelopes, and the attestations in image layouts.
fn real_statements() -> Vec<(String, Value)> {
    use base64::Engine as _;
    let Some(vectors) = slipway_testkit::vectors::vectors() else { return Vec::new() };
    let folders = ["delegator", "envelopes", "images/container-v1.4.0/blobs/sha256", "images/container-v1.9.0/blobs/sha256"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(vectors.join("slsa").join(folder)).unwrap());
    let envelopes = files.filter_map(|file| {
        let path = file.unwrap().path();
        let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).ok()?;
        let payload = json.pointer("/dsseEnvelope/payload").or_else(|| json.get("payload"))?.as_str()?.to_owned();
        let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
        Some((path.display().to_string(), serde_json::from_slice(&payload).unwrap()))
    });
    envelopes.collect()
}

#[test]
fn every_real_statement_is_read_and_names_one_source() {
    let statements = real_statements();
    for (file, statement) in &statements {
        let kind = statement["predicateType"].as_str().unwrap();
        let claims = Claims::read(kind, &statement["predicate"]).unwrap_or_else(|why| panic!("{file}: {why}"));
        assert_eq!(claims.material.repository, "https://github.com/slsa-framework/example-package", "{file}");
        assert!(claims.sources().all(|source| *source == claims.material), "{file}");
        assert!(claims.material.reference.is_some() && claims.material.commit == claims.environment.commit, "{file}");
        assert!(claims.environment.event.is_some() && !claims.runs.is_empty(), "{file}");
    }
    assert!(statements.is_empty() || statements.len() == 9, "{}", statements.len());
}
