//! Real provenance of public builds with real policies, and policies that differ by one character.
//!
//! Read from the folder `vectors` of `SLIPWAY_SHARED`, else of `../shared` beside the project. Without it the tests are skipped with a line that says so,
//! and fail where `CI=true`.

use super::*;
use serde_json::Value;
use slipway_testkit::vectors::vectors;
use std::fs;
use std::path::Path;

/// A real build: its file, the artifact's name, the release's version, and the policy as a person would write it.
struct Build {
    file: &'static str,
    subject: &'static str,
    version: &'static str,
    policy: &'static str,
}

const BUILDS: [Build; 11] = [
    Build {
        file: "npm-sigstore-2.1.0.sigstore.json",
        subject: "pkg:npm/sigstore@2.1.0",
        version: "2.1.0",
        policy: r#"
component = "sigstore-js"
profile = "public-good"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"

[provenance]
builder = "https://github.com/actions/runner/github-hosted"
source = "https://github.com/sigstore/sigstore-js"
ref = "refs/heads/main"
triggers = "push"
repository_id = "495574555"
owner_id = "71096353"
"#,
    },
    Build {
        file: "npm-sigstore-1.3.0.sigstore.json",
        subject: "pkg:npm/sigstore@1.3.0",
        version: "1.3.0",
        policy: r#"
component = "sigstore-js"
profile = "public-good-rekor-v1"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"

[provenance]
builder = "https://github.com/actions/runner"
source = "https://github.com/sigstore/sigstore-js"
ref = "refs/heads/main"
triggers = "push"

[log]
unsafe_promise_only = true
"#,
    },
    Build {
        file: "npm-delegator-v1.6.0.sigstore.json",
        subject: "pkg:npm/%40laurentsimon/provenance-npm-test@1.0.5",
        version: "1.0.5",
        policy: r#"
component = "npm-test"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_lowperms-generic_slsa3.yml"
identity_versions = ">=1.6.0, <2"

[provenance]
builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_nodejs_slsa3.yml@refs/tags/v1.6.0"
source = "https://github.com/laurentsimon/provenance-npm-test"
ref = "refs/heads/main"
workflow = ".github/workflows/release-slsa3.yml"
triggers = ["push", "workflow_dispatch"]

[provenance.inputs]
directory = "."
node-version = ""
node-version-file = ""
rekor-log-public = "false"
run-scripts = "ci, build"

[log]
unsafe_promise_only = true
"#,
    },
    Build {
        file: "github-reusable-workflow.sigstore.json",
        subject: "github_provenance_demo-0.0.0-py3-none-any.whl",
        version: "0.0.0",
        policy: r#"
component = "demo"
profile = "public-good"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/github/artifact-attestations-workflows/.github/workflows/attest.yml@09b495c3f12c7881b3cc17209a327792065c1a1d"

[provenance]
builder = "https://github.com/actions/runner/github-hosted"
source = "https://github.com/malancas/attest-demo"
ref = "refs/heads/main"
workflow = ".github/workflows/shared.yml"
triggers = "workflow_dispatch"
"#,
    },
    Build {
        file: "slsa-generic-v2.1.0.sigstore.json",
        subject: "gha_generic-binary-linux-amd64-v14.2",
        version: "14.2.0",
        policy: r#"
component = "example-package"
profile = "public-good"

[certificate]
issuer = "https://token.actions.githubusercontent.com"

[provenance]
builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml"
builder_versions = ["1.9.0", ">=2.1.0, <3"]
build_type = "https://github.com/slsa-framework/slsa-github-generator/generic@v1"
source = "https://github.com/slsa-framework/example-package"
ref = "refs/tags/v14.2"
triggers = "push"
"#,
    },
    Build {
        file: "slsa-generic-v2.1.0-dispatch.sigstore.json",
        subject: "gha_generic-binary-linux-amd64-workflow_dispatch",
        version: "14.2.0",
        policy: r#"
component = "example-package"
profile = "public-good-rekor-v1"

[certificate]
issuer = "https://token.actions.githubusercontent.com"

[provenance]
builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0"
source = "https://github.com/slsa-framework/example-package"
ref = "refs/heads/main"
triggers = "workflow_dispatch"
"#,
    },
    Build {
        file: "bcr-module.sigstore.json",
        subject: "MODULE.bazel",
        version: "1.0.0",
        policy: r#"
component = "rules-lint"
profile = "public-good"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/bazel-contrib/publish-to-bcr/.github/workflows/publish.yaml@refs/tags/v0.0.1"

[provenance]
source = "https://github.com/aspect-build/rules_lint"
ref = "refs/heads/publish-to-bcr"
workflow = ".github/workflows/release.yml"
triggers = "workflow_dispatch"
repository_id = "631710741"
"#,
    },
    Build {
        file: "github-tsa-only.sigstore.json",
        subject: "github_provenance_demo-0.0.12-py3-none-any.whl",
        version: "0.0.12",
        policy: r#"
component = "demo"
profile = "github"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/actions/attest-demo/.github/workflows/build-python.yml@refs/heads/main"

[provenance]
builder = "https://github.com/actions/runner/github-hosted"
source = "https://github.com/actions/attest-demo"
ref = "refs/heads/main"
triggers = "workflow_dispatch"
"#,
    },
    Build {
        file: "delegator/maven-v2.1.0.sigstore.json",
        subject: "test-java-project-1.23.90.jar",
        version: "14.2.0",
        policy: r#"
component = "example-package"
profile = "public-good"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_lowperms-generic_slsa3.yml@refs/tags/v2.1.0"

[provenance]
builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_maven_slsa3.yml@refs/tags/v2.1.0"
build_type = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
source = "https://github.com/slsa-framework/example-package"
ref = "refs/tags/v14.2"
workflow = ".github/workflows/verifier-e2e.all.workflow_dispatch.main.all.slsa3.yml"
triggers = "push"
repository_id = "486325809"
owner_id = "80431187"

[provenance.inputs]
directory = "./e2e/maven/workflow_dispatch"
jdk-version = "17"
rekor-log-public = "false"
"#,
    },
    Build {
        file: "delegator/delegator-v1.10.0.sigstore.json",
        subject: "gha_delegator-binary-linux-amd64-v14.2",
        version: "14.2.0",
        policy: r#"
component = "example-package"
profile = "public-good"

[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/delegator_generic_slsa3.yml"
identity_versions = ">=1.10.0, <3"

[provenance]
builder = "https://github.com/slsa-framework/example-trw/.github/workflows/builder_high-perms_slsa3.yml@refs/tags/v1.10.0"
build_type = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
source = "https://github.com/slsa-framework/example-package"
ref = "refs/tags/v14.2"
workflow = ".github/workflows/verifier-e2e.all.workflow_dispatch.main.all.slsa3.yml"
triggers = "push"
repository_id = "486325809"
owner_id = "80431187"

[provenance.inputs]
artifact = "gha_delegator-binary-linux-amd64-v14.2"
content = "hello"
rekor-log-public = "false"
username = "***"
"#,
    },
    Build {
        file: "delegator/container-based-v1.10.0.sigstore.json",
        subject: "gha_container-based-binary-linux-amd64-v14.2",
        version: "14.2.0",
        policy: r#"
component = "example-package"
profile = "public-good"

[certificate]
issuer = "https://token.actions.githubusercontent.com"

[provenance]
builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_container-based_slsa3.yml@refs/tags/v1.10.0"
build_type = "https://slsa.dev/container-based-build/v0.1?draft"
source = "https://github.com/slsa-framework/example-package"
ref = "refs/tags/v14.2"
workflow = ".github/workflows/verifier-e2e.all.workflow_dispatch.main.all.slsa3.yml"
triggers = "push"
repository_id = "486325809"
owner_id = "80431187"

[provenance.inputs]
"builderImage.uri" = "bash@sha256:9e2ba52487d945504d250de186cb4fe2e3ba023ed2921dd6ac8b97ed43e76af9"
"builderImage.digest.sha256" = "9e2ba52487d945504d250de186cb4fe2e3ba023ed2921dd6ac8b97ed43e76af9"
configPath = ".github/configs-docker/config-tag-v14.2.toml"
"buildConfig.ArtifactPath" = "gha_container-based-binary-linux-amd64-v14.2"
"buildConfig.Command" = '["touch","gha_container-based-binary-linux-amd64-v14.2"]'
"#,
    },
];

/// A build with what has to be read once.
struct Case {
    build: &'static Build,
    bundle: Vec<u8>,
    root: SigstoreRoot,
    sha256: Option<slipway_protocol::Sha256>,
    sha512: Option<slipway_protocol::Sha512>,
}

impl Case {
    fn of(build: &'static Build, vectors: &Path) -> Self {
        let json = |file: &str| -> Value { serde_json::from_slice(&fs::read(vectors.join(file)).unwrap()).unwrap() };
        let (folder, root, digest) = if build.file.starts_with("delegator/") {
            let digest = json("slsa/index.json")[build.file]["subjects"][0][1].take();
            ("slsa", "sigstore-prod.trusted_root.json".to_owned(), digest)
        } else {
            let mut index = json("provenance/index.json");
            let entry = index.as_array_mut().unwrap().iter_mut().find(|entry| entry["bundle"] == build.file).unwrap();
            ("provenance", entry["trusted_root"].as_str().unwrap().to_owned(), entry["artifact_digest"].take())
        };
        Self {
            build,
            bundle: fs::read(vectors.join(folder).join(build.file)).unwrap(),
            root: SigstoreRoot::parse(&fs::read(vectors.join("roots").join(root)).unwrap()).unwrap(),
            sha256: digest["sha256"].as_str().map(|hex| hex.parse().unwrap()),
            sha512: digest["sha512"].as_str().map(|hex| hex.parse().unwrap()),
        }
    }

    fn verify(&self, policy: &str, subject: &str, root: &SigstoreRoot) -> Result<Provenance, Refusal> {
        let version: Version = self.build.version.parse().unwrap();
        let subject = Subject { name: subject, sha256: self.sha256, sha512: self.sha512, version: Some(&version) };
        verify_provenance(&self.bundle, root, &Policy::parse(policy)?, &subject)
    }

    /// The code that refuses it under another policy, or nothing.
    fn code(&self, policy: &str) -> String {
        code(self.verify(policy, self.build.subject, &self.root))
    }
}

fn code<T>(found: Result<T, Refusal>) -> String {
    found.err().map_or_else(String::new, |refusal| refusal.code.trim_start_matches("SLW-V-").to_owned())
}

/// All real cases, or none where they are not here.
fn cases() -> Vec<Case> {
    vectors().map_or_else(Vec::new, |vectors| BUILDS.iter().map(|build| Case::of(build, &vectors)).collect())
}

/// The value of a key in a policy, if it is one text.
fn value<'p>(policy: &'p str, key: &str) -> Option<&'p str> {
    let line = policy.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
    line.strip_suffix('"')
}

/// Every text that is one character away: one put before, one after, one in between, one dropped, one in the other case, one changed.
fn off_by_one(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for at in 0..=text.len() {
        let (head, tail) = text.split_at(at);
        all.push(format!("{head}x{tail}"));
        let mut rest = tail.chars();
        if let Some(next) = rest.next() {
            let rest = rest.as_str();
            all.push(format!("{head}{rest}"));
            all.push(format!("{head}y{rest}"));
            let other = if next.is_ascii_uppercase() { next.to_ascii_lowercase() } else { next.to_ascii_uppercase() };
            all.push(format!("{head}{other}{rest}"));
        }
    }
    all.retain(|changed| changed != text);
    all
}

#[test]
fn real_provenance_verifies_with_a_policy_that_a_person_would_write() {
    for case in cases() {
        let Build { file, subject, policy, .. } = case.build;
        let found = case.verify(policy, subject, &case.root).unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
        assert_eq!(found.subject, *subject);
        assert_eq!(Some(found.source.as_str()), value(policy, "source"));
        assert!(!found.signed_times.is_empty() && found.commit.len() == 40, "{file}");
        assert_eq!(found.log.as_deref(), (!file.starts_with("github-tsa")).then_some("rekor.sigstore.dev"), "{file}");
        assert!(found.workflow.is_some() && found.run.is_some() && found.repository_id.is_some(), "{file}");
        assert_eq!(found.runner.as_deref(), Some("github-hosted"), "{file}");
        // The trusted root that is shipped for the profile does as well as the one that was captured with the bundle.
        let embedded = Policy::parse(policy).unwrap().embedded_root().unwrap();
        assert_eq!(code(case.verify(policy, subject, &embedded)), "", "{file}");
    }
}

#[test]
fn one_character_off_is_another_source_ref_builder_signer_or_file() {
    let mut tried = 0_usize;
    for case in cases() {
        let Build { file, subject, policy: text, version } = *case.build;
        // The evidence is proven once; what is tried is every policy and every name that is almost right.
        let policy = Policy::parse(text).unwrap();
        let version: Version = version.parse().unwrap();
        let own = Subject { name: subject, sha256: case.sha256, sha512: case.sha512, version: Some(&version) };
        let bundle = sigstore::admit(&case.bundle, &case.root, policy.log).unwrap();
        let statement = Statement::parse(sigstore::payload(&bundle).unwrap()).unwrap();
        let form = statement.form(&own).unwrap();
        let proven = sigstore::prove(&bundle, &case.root, form, policy.log).unwrap();
        let judged = |policy: &Policy, name: &str| code(judge(&statement, &proven, policy, &Subject { name, ..own }));
        assert_eq!(judged(&policy, subject), "");
        // What a change of this key's value is refused with, if it loads.
        for (key, codes) in [
            ("source", &["POLICY-SOURCE"][..]),
            ("ref", &["POLICY-REF"]),
            ("identity", &["POLICY-IDENTITY"]),
            ("issuer", &["POLICY-ISSUER"]),
            ("builder", &["POLICY-BUILDER", "POLICY-IDENTITY"]),
            ("workflow", &["POLICY-WORKFLOW"]),
            ("build_type", &["POLICY-BUILDER"]),
            ("triggers", &["POLICY-TRIGGER"]),
            ("repository_id", &["POLICY-IDS"]),
            ("owner_id", &["POLICY-IDS"]),
        ] {
            let Some(right) = value(text, key) else { continue };
            let mut loaded = 0_usize;
            for wrong in off_by_one(right) {
                let changed = text.replacen(&format!("\n{key} = \"{right}\""), &format!("\n{key} = \"{wrong}\""), 1);
                assert_ne!(changed, text);
                match Policy::parse(&changed) {
                    Ok(policy) => {
                        let code = judged(&policy, subject);
                        assert!(codes.contains(&code.as_str()), "{file}: {key} = {wrong}: {code:?}");
                        loaded += 1;
                    }
                    // Some are no URL or no full ref any more, or name a signer that cannot be the builder's.
                    Err(refusal) => assert!(
                        matches!(refusal.code.as_ref(), "SLW-V-POLICY-SYNTAX" | "SLW-V-POLICY-CONTRADICTION"),
                        "{file}: {key} = {wrong}: {refusal}"
                    ),
                }
            }
            // A builder that is nearly the runner is a contradiction each time.
            assert!(loaded > 3 || key == "builder", "{file}: {key}: {loaded}");
            tried += loaded;
        }
        for wrong in off_by_one(subject) {
            assert_eq!(judged(&policy, &wrong), "SUBJECT-NAME", "{file}: {wrong}");
            tried += 1;
        }
    }
    assert!(tried == 0 || tried > 5000, "{tried}");
}

#[test]
fn what_a_policy_leaves_out_or_adds_is_refused_by_its_own_check() {
    for case in cases() {
        let Build { file, policy, .. } = case.build;
        let with = |from: &str, to: &str| {
            assert!(policy.contains(from), "{file}: {from}");
            case.code(&policy.replacen(from, to, 1))
        };
        let reference = format!("ref = \"{}\"", value(policy, "ref").unwrap());
        assert_eq!(with(&reference, "tag = \"v{version}\""), "POLICY-REF", "{file}");
        assert_eq!(with(&reference, "unsafe_any_ref = true"), "", "{file}");
        match *file {
            "npm-delegator-v1.6.0.sigstore.json" => {
                assert_eq!(with("triggers = [\"push\", \"workflow_dispatch\"]", ""), "POLICY-TRIGGER");
                assert_eq!(with("directory = \".\"\n", ""), "POLICY-INPUTS");
                assert_eq!(with("directory = \".\"\n", "directory = \"..\"\n"), "POLICY-INPUTS");
                assert_eq!(with("directory = \".\"\n", "directory = \".\"\nmore = \"\"\n"), "POLICY-INPUTS");
                assert_eq!(with("unsafe_promise_only = true", ""), "LOG-PROOF-MISSING");
                assert_eq!(with(">=1.6.0, <2", ">1.6.0"), "POLICY-IDENTITY");
                assert_eq!(
                    with("builder_nodejs_slsa3.yml@refs/tags/v1.6.0", "builder_nodejs_slsa3.yml@refs/tags/v1.6.1"),
                    "POLICY-BUILDER"
                );
                // Who does not name the builder wants the delegator itself to be it.
                let builder = format!("builder = \"{}\"\n", value(policy, "builder").unwrap());
                assert_eq!(with(&builder, ""), "POLICY-BUILDER");
            }
            "slsa-generic-v2.1.0.sigstore.json" => {
                for (versions, code) in [
                    ("\"2.1.0\"", ""),
                    ("\"=2\"", ""),
                    ("\"^2.0.0\"", ""),
                    ("\"1.9.0\"", "POLICY-IDENTITY"),
                    ("\">2.1.0\"", "POLICY-IDENTITY"),
                    ("\"<2.1.0\"", "POLICY-IDENTITY"),
                    ("[\"<2.1.0\", \">=2.1.1\"]", "POLICY-IDENTITY"),
                ] {
                    assert_eq!(with("[\"1.9.0\", \">=2.1.0, <3\"]", versions), code, "{versions}");
                }
            }
            "npm-sigstore-1.3.0.sigstore.json" => {
                assert_eq!(with("unsafe_promise_only = true", ""), "LOG-PROOF-MISSING");
                assert_eq!(with("rekor-v1", "rekor-v2"), "POLICY-CONTRADICTION");
            }
            "npm-sigstore-2.1.0.sigstore.json" => {
                assert_eq!(with("\"71096353\"", "\"71096353\"\ninputs = { a = \"b\" }"), "POLICY-INPUTS");
                assert_eq!(with("runner/github-hosted", "runner/self-hosted"), "POLICY-BUILDER");
            }
            "delegator/maven-v2.1.0.sigstore.json" => {
                assert_eq!(with("jdk-version = \"17\"\n", ""), "POLICY-INPUTS");
                assert_eq!(with("jdk-version = \"17\"\n", "jdk-version = \"21\"\n"), "POLICY-INPUTS");
                // A builder of the delegator's own repository is of the delegator's own release.
                let other = "_maven_slsa3.yml@refs/tags/v2.1.1";
                assert_eq!(with("_maven_slsa3.yml@refs/tags/v2.1.0", other), "POLICY-BUILDER");
                assert_eq!(
                    with("_lowperms-generic_slsa3.yml@refs/tags/v2.1.0", "_generic_slsa3.yml@refs/tags/v2.1.0"),
                    "POLICY-IDENTITY"
                );
            }
            "delegator/delegator-v1.10.0.sigstore.json" => {
                assert_eq!(with("username = \"***\"\n", ""), "POLICY-INPUTS");
                assert_eq!(with(">=1.10.0, <3", ">1.10.0"), "POLICY-IDENTITY");
            }
            "delegator/container-based-v1.10.0.sigstore.json" => {
                assert_eq!(with("builderImage.uri", "builderImage"), "POLICY-INPUTS");
                assert_eq!(with("\"touch\"", "\"rm\""), "POLICY-INPUTS");
            }
            _ => assert_eq!(with("triggers", "#"), "POLICY-TRIGGER", "{file}: a dispatch has to be named"),
        }
    }
}

#[test]
fn evidence_is_held_against_the_instance_that_the_profile_names() {
    let Some(vectors) = vectors() else { return };
    let root =
        |name: &str| SigstoreRoot::parse(&fs::read(vectors.join(format!("roots/{name}.trusted_root.json"))).unwrap()).unwrap();
    let (public, github) = (root("sigstore-prod"), root("github"));
    for case in cases() {
        let Build { file, subject, policy, .. } = case.build;
        let from_github = file.starts_with("github-tsa");
        let own = value(policy, "profile").map(|own| format!("profile = \"{own}\""));
        let promise = policy.contains("unsafe_promise_only");
        let as_profile = |profile: &str, root: &SigstoreRoot| {
            let line = format!("profile = \"{profile}\"\n");
            let text = match &own {
                Some(own) => policy.replacen(&format!("{own}\n"), &line, 1),
                None => policy.replacen("\n[certificate]", &format!("{line}\n[certificate]"), 1),
            };
            code(case.verify(&text, subject, root))
        };
        // A public-good bundle is never tried against GitHub's authorities, nor the other way round, whichever root is at hand.
        for (profile, root, here, there) in [
            ("public-good", &public, "", "LOG-MISSING"),
            ("public-good-rekor-v1", &public, "", "LOG-MISSING"),
            ("public-good-rekor-v2", &public, "POLICY-PROFILE", "LOG-MISSING"),
            ("private", &public, "POLICY-PROFILE", "LOG-MISSING"),
            ("github", &public, "LOG-UNEXPECTED", "LOG-UNEXPECTED"),
            ("public-good", &github, "CERT-UNLOGGED", "CERT-UNLOGGED"),
            ("private", &github, "CERT-UNLOGGED", "CERT-UNLOGGED"),
        ] {
            let found = as_profile(profile, root);
            let contradicts = promise && matches!(profile, "github" | "public-good-rekor-v2");
            let wanted = if contradicts {
                "POLICY-CONTRADICTION"
            } else if from_github {
                there
            } else {
                here
            };
            assert_eq!(found, wanted, "{file} as {profile}");
        }
        let found = as_profile("github", &github);
        match (from_github, promise) {
            (true, _) => assert_eq!(found, ""),
            (_, true) => assert_eq!(found, "POLICY-CONTRADICTION"),
            // GitHub's root has none of the logs; whatever is asked first, it is not taken.
            _ => assert!(!found.is_empty() && found != "POLICY-CONTRADICTION", "{file}: {found}"),
        }
    }
}
