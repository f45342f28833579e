//! Imitates the provenance of real builders, as statements that a key or a certificate can sign.
//!
//! Each copies the members, their nesting, names and types of a named file of a named program;
//! values are the testkit's own. What no check reads is kept where it decides how a builder is
//! recognized (Tekton's images among the dependencies) and left out elsewhere.

use super::sha256;
use serde_json::{Value, json};

/// The repository that all of them build.
pub const SOURCE: &str = "https://git.example/team/app";
/// The ref that they build, where the builder records one.
pub const REFERENCE: &str = "refs/tags/v1.23.1";

/// A builder and the version of SLSA that it writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Builder {
    /// The example of the specification: slsa-framework/slsa, `docs/spec/v1.0/provenance.md`,
    /// section on `externalParameters`.
    SlsaExample,
    /// BuildKit 0.11 and later with SLSA v0.2: moby/buildkit,
    /// `docs/attestations/slsa-definitions.md`.
    BuildKitV02,
    /// BuildKit 0.23 and later with SLSA v1: the same file.
    BuildKitV1,
    /// Tekton Chains, format `slsa/v1`, which is SLSA v0.2: tektoncd/chains,
    /// `pkg/chains/formats/slsa/v1/intotoite6_test.go`.
    TektonTaskV02,
    /// The same of a PipelineRun whose pipeline comes from another repository: the same file.
    TektonPipelineV02,
    /// Tekton Chains, format `slsa/v2alpha3`, which is SLSA v1: tektoncd/chains,
    /// `docs/predicate/slsa/v2.md`.
    TektonV1,
    /// The same with `slsa/v2alpha4` and build type `slsa-tekton`:
    /// `pkg/chains/formats/slsa/internal/external_parameters`.
    TektonV1Own,
    /// GitLab Runner 15.1 to 16: gitlab-org/gitlab-runner,
    /// `commands/helpers/artifact_metadata.go`.
    GitLabRunnerV02,
    /// GitLab Runner 17 and later: gitlab-org/gitlab, `doc/ci/runners/configure_runners.md`, its
    /// example.
    GitLabRunnerV1,
    /// GitLab 18.3 itself: gitlab-org/gitlab, `doc/ci/pipeline_security/slsa/provenance_v1.md`.
    GitLabV1,
}

impl Builder {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SlsaExample,
        Self::BuildKitV02,
        Self::BuildKitV1,
        Self::TektonTaskV02,
        Self::TektonPipelineV02,
        Self::TektonV1,
        Self::TektonV1Own,
        Self::GitLabRunnerV02,
        Self::GitLabRunnerV1,
        Self::GitLabV1,
    ];

    /// The commit that all of them build.
    pub fn commit() -> String {
        hex::encode(&sha256(REFERENCE.as_bytes())[..20])
    }

    /// A statement about one artifact, by its SHA-256 in hex.
    pub fn statement(self, name: &str, digest: &str) -> Value {
        let v1 = match self {
            Self::BuildKitV02 | Self::TektonTaskV02 | Self::TektonPipelineV02 | Self::GitLabRunnerV02 => false,
            Self::SlsaExample | Self::BuildKitV1 | Self::TektonV1 | Self::TektonV1Own | Self::GitLabRunnerV1 | Self::GitLabV1 => {
                true
            }
        };
        json!({
            "_type": if self == Self::GitLabV1 { "https://in-toto.io/Statement/v1" } else { "https://in-toto.io/Statement/v0.1" },
            "predicateType": if v1 { "https://slsa.dev/provenance/v1" } else { "https://slsa.dev/provenance/v0.2" },
            "subject": [{"name": name, "digest": {"sha256": digest}}],
            "predicate": self.predicate(&Self::commit()),
        })
    }

    fn predicate(self, commit: &str) -> Value {
        match self {
            Self::SlsaExample => json!({
                "buildDefinition": {
                    "buildType": "https://ci.example/build-types/make/v1",
                    "externalParameters": {"repository": SOURCE, "ref": REFERENCE},
                    "resolvedDependencies": [{"uri": format!("git+{SOURCE}@{REFERENCE}"), "digest": {"gitCommit": commit}}],
                },
                "runDetails": {"builder": {"id": "https://ci.example/builder"}},
            }),
            Self::BuildKitV02 => json!({
                "builder": {"id": "https://ci.example/builds/3709599520"},
                "buildType": "https://mobyproject.org/buildkit@v1",
                "materials": [base_image(), {"uri": git_context(), "digest": {"sha1": commit}}],
                "invocation": {
                    "configSource": {"uri": git_context(), "digest": {"sha1": commit}, "entryPoint": "Dockerfile"},
                    "parameters": {"frontend": "dockerfile.v0", "args": {"build-arg:RELEASE": "1"}, "locals": []},
                    "environment": {"platform": "linux/amd64"},
                },
                "metadata": {
                    "buildInvocationID": "rpv7a389uzil5lqmrgwhijwjz",
                    "completeness": {"parameters": true, "environment": true, "materials": true},
                    "reproducible": false,
                    "https://mobyproject.org/buildkit@v1#hermetic": false,
                    "https://mobyproject.org/buildkit@v1#metadata": {},
                },
            }),
            Self::BuildKitV1 => json!({
                "buildDefinition": {
                    "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
                    "externalParameters": {
                        "configSource": {"uri": git_context(), "digest": {"sha1": commit}, "path": "Dockerfile"},
                        "request": {"frontend": "dockerfile.v0", "args": {"build-arg:RELEASE": "1"}, "locals": []},
                    },
                    "internalParameters": {"builderPlatform": "linux/amd64"},
                    "resolvedDependencies": [base_image(), {"uri": git_context(), "digest": {"sha1": commit}}],
                },
                "runDetails": {
                    "builder": {"id": "https://ci.example/builds/3709599520"},
                    "metadata": {"invocationID": "rpv7a389uzil5lqmrgwhijwjz", "buildkit_hermetic": false},
                },
            }),
            Self::TektonTaskV02 => json!({
                "builder": {"id": "https://tekton.dev/chains/v2"},
                "buildType": "tekton.dev/v1beta1/TaskRun",
                "invocation": {
                    "configSource": {},
                    "parameters": {
                        "CHAINS-GIT_COMMIT": commit,
                        "CHAINS-GIT_URL": SOURCE,
                        "IMAGE": "registry.example/app",
                    },
                    "environment": {"labels": {"tekton.dev/pipelineTask": "build"}},
                },
                "buildConfig": {"steps": [{"entryPoint": "", "arguments": null, "environment": {"container": "step1"}}]},
                "materials": [step_image(), {"uri": format!("git+{SOURCE}.git"), "digest": {"sha1": commit}}],
            }),
            Self::TektonPipelineV02 => json!({
                "builder": {"id": "https://tekton.dev/chains/v2"},
                "buildType": "tekton.dev/v1beta1/PipelineRun",
                "invocation": {
                    "configSource": {
                        "uri": "git+https://git.example/team/pipelines.git",
                        "digest": {"sha1": "28b123e4a5c6d7f8091a2b3c4d5e6f708192a3b4"},
                        "entryPoint": "pipeline.yaml",
                    },
                    "parameters": {"IMAGE": "registry.example/app"},
                },
                "buildConfig": {"tasks": []},
                "materials": [
                    {
                        "uri": "git+https://git.example/team/pipelines.git",
                        "digest": {"sha1": "28b123e4a5c6d7f8091a2b3c4d5e6f708192a3b4"},
                    },
                    step_image(),
                    {"uri": format!("git+{SOURCE}.git"), "digest": {"sha1": commit}},
                ],
            }),
            Self::TektonV1 => json!({
                "buildDefinition": {
                    "buildType": "https://tekton.dev/chains/v2/slsa",
                    "externalParameters": {"runSpec": run_spec()},
                    "internalParameters": {"tekton-pipelines-feature-flags": {"EnableAPIFields": "stable"}},
                    "resolvedDependencies": [
                        {
                            "name": "pipeline",
                            "uri": "git+https://git.example/team/pipelines",
                            "digest": {"sha1": "4e11e2fe764ff8bddede42eee852767f7e5264c3"},
                        },
                        step_image(),
                        {"name": "inputs/result", "uri": format!("git+{SOURCE}.git"), "digest": {"sha1": commit}},
                    ],
                },
                "runDetails": {
                    "builder": {"id": "https://tekton.dev/chains/v2"},
                    "metadata": {"invocationId": "1aa04ff2-9c2a-47f5-9c75-ed43d259649a"},
                    "byProducts": [{"name": "results", "content": "e30="}],
                },
            }),
            Self::TektonV1Own => json!({
                "buildDefinition": {
                    "buildType": "https://tekton.dev/chains/v2/slsa-tekton",
                    "externalParameters": {
                        "runSpec": run_spec(),
                        "buildConfigSource": {
                            "ref": format!("sha1:{commit}"),
                            "repository": format!("git+{SOURCE}.git"),
                            "path": "tekton/pipeline.yaml",
                        },
                    },
                    "internalParameters": {"tekton-pipelines-feature-flags": {"EnableAPIFields": "stable"}, "labels": {}},
                    // The source is the pipeline's own repository and commit, so Chains lists it
                    // once, as the pipeline.
                    "resolvedDependencies": [
                        {"name": "pipeline", "uri": format!("git+{SOURCE}.git"), "digest": {"sha1": commit}},
                        {"name": "pipelineTask", "content": "e30="},
                        step_image(),
                    ],
                },
                "runDetails": {
                    "builder": {"id": "https://tekton.dev/chains/v2"},
                    "metadata": {"invocationId": "1aa04ff2-9c2a-47f5-9c75-ed43d259649a"},
                },
            }),
            Self::GitLabRunnerV02 => json!({
                "buildType": "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v15.11.0/PROVENANCE.md",
                "builder": {"id": format!("{SOURCE}/-/runners/12270831")},
                "invocation": {
                    // It calls the commit a SHA-256.
                    "configSource": {"uri": SOURCE, "digest": {"sha256": commit}, "entryPoint": "build-job"},
                    "environment": {"name": "runner-1", "executor": "docker", "architecture": "amd64", "job": {"id": 4_089_072_540_u64}},
                    "parameters": {"CI": "", "CI_COMMIT_SHA": "", "CI_COMMIT_TAG": "", "CI_PROJECT_URL": ""},
                },
            }),
            Self::GitLabRunnerV1 => json!({
                "buildDefinition": {
                    "buildType": "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/2147fb44/PROVENANCE.md",
                    "externalParameters": {
                        "CI": "", "CI_COMMIT_SHA": "", "CI_COMMIT_TAG": "", "CI_PROJECT_URL": "",
                        "entryPoint": "build-job",
                        "source": SOURCE,
                    },
                    "internalParameters": {"architecture": "amd64", "executor": "docker+machine", "job": "10340684631", "name": "runner-1"},
                    "resolvedDependencies": [{"uri": SOURCE, "digest": {"sha256": commit}}],
                },
                "runDetails": {
                    "builder": {"id": format!("{SOURCE}/-/runners/12270857"), "version": {"gitlab-runner": "2147fb44"}},
                    "metadata": {"invocationID": "10340684631"},
                },
            }),
            Self::GitLabV1 => json!({
                "buildDefinition": {
                    "buildType": "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1",
                    "externalParameters": {
                        "source": SOURCE,
                        "entryPoint": "build-job",
                        "variables": {
                            "CI": "true",
                            "CI_COMMIT_REF_NAME": "v1.23.1",
                            "CI_COMMIT_SHA": commit,
                            "CI_COMMIT_TAG": "v1.23.1",
                            "CI_PIPELINE_SOURCE": "push",
                            "CI_PROJECT_URL": SOURCE,
                            "DEPLOY_TOKEN": "[MASKED]",
                        },
                    },
                    "internalParameters": {"architecture": "amd64", "executor": "docker", "job": 10_340_684_631_u64, "name": "runner-1"},
                    "resolvedDependencies": [{"uri": SOURCE, "digest": {"gitCommit": commit}}],
                },
                "runDetails": {
                    "builder": {"id": format!("{SOURCE}/-/runners/12270857"), "version": {"gitlab-runner": "2147fb44"}},
                    "metadata": {"invocationId": "10340684631"},
                },
            }),
        }
    }
}

/// How BuildKit names a Git context.
fn git_context() -> String {
    format!("{SOURCE}.git#{REFERENCE}")
}

/// An image as BuildKit lists it.
fn base_image() -> Value {
    json!({"uri": "pkg:docker/alpine@3.17?platform=linux%2Famd64", "digest": {"sha256": hex::encode(sha256(b"alpine"))}})
}

/// An image as Tekton lists it.
fn step_image() -> Value {
    json!({"uri": "oci://registry.example/git-init", "digest": {"sha256": hex::encode(sha256(b"git-init"))}})
}

/// What a Tekton user asked for.
fn run_spec() -> Value {
    json!({
        "pipelineRef": {"resolver": "git", "params": [{"name": "revision", "value": "main"}]},
        "params": [{"name": "git-revision", "value": "v1.23.1"}],
        "timeouts": {"pipeline": "1h0m0s"},
    })
}
