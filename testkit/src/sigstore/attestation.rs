//! What builders say about what they built: SLSA provenance, and the certificate that belongs to it.
//!
//! Real shapes are [`Attestation::kubeedge`], [`Attestation::npm`] and [`Attestation::maven`].

use super::entries::{EntryKind, entry_kind, kubeedge_generator};
use super::forgery::Forgery;
use super::keys::ManagedKey;
use super::sha256;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};
use std::collections::BTreeMap;

/// When attestations are signed unless they say otherwise: 2025-06-15T15:06:40Z.
pub const DEFAULT_SIGNED_AT: i64 = 1_750_000_000;

/// Fulcio's certificates from before 2023-03 carry the first six claims alone, as the one in `slsa/envelopes/generic-v1.2.2.intoto.jsonl`.
const NEW_CLAIMS_FROM: i64 = 1_677_628_800;
const GITHUB: &str = "https://github.com";
const ACTIONS_ISSUER: &str = "https://token.actions.githubusercontent.com";
const HOSTED_RUNNER: &str = "https://github.com/actions/runner/github-hosted";
/// The commit of slsa-github-generator that v2.1.0 is.
const GENERATOR_COMMIT: &str = "f7dd8c54c2067bafc12ca7a55595d5ee9b75204a";

/// The identity of slsa-github-generator's generic builder, `version` being `v2.1.0` and the like.
pub fn generator_generic(version: &str) -> String {
    let workflow = "slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml";
    format!("{GITHUB}/{workflow}@refs/tags/{version}")
}

/// Which predicate the statement carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredicateKind {
    /// `https://slsa.dev/provenance/v0.2`, as slsa-github-generator writes it.
    SlsaV02,
    /// `https://slsa.dev/provenance/v1`, as npm and GitHub's attest action write it.
    SlsaV1,
    /// `https://slsa.dev/provenance/v1`, as slsa-github-generator's delegator writes it.
    SlsaV1Delegated,
}

/// What proves that and when the signature was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Signed entry timestamp, inclusion proof and checkpoint of a first-generation log.
    RekorV1,
    /// The same and an RFC 3161 token.
    RekorV1AndTimestamp,
    /// Inclusion proof and checkpoint of a second-generation log, and the token that it needs.
    RekorV2,
    /// A token alone, and a certificate without SCT: GitHub's private repositories.
    TimestampOnly,
}

/// An artifact that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its file name.
    pub name: String,
    /// Digests by algorithm, lowercase hex.
    pub digests: BTreeMap<String, String>,
}

impl Subject {
    /// A subject with the SHA-256 of `artifact`, as slsa-github-generator lists them.
    pub fn of(name: &str, artifact: &[u8]) -> Self {
        Self::sha256(name, &hex::encode(sha256(artifact)))
    }

    /// A subject with this SHA-256 in hex.
    pub fn sha256(name: &str, digest: &str) -> Self {
        Self { name: name.to_owned(), digests: [("sha256".to_owned(), digest.to_owned())].into() }
    }

    /// A subject with the SHA-512 of `artifact` only, as npm lists them.
    pub fn sha512_of(name: &str, artifact: &[u8]) -> Self {
        let digest = hex::encode(Sha512::digest(artifact));
        Self { name: name.to_owned(), digests: [("sha512".to_owned(), digest)].into() }
    }
}

/// A build and its attestation.
///
/// Start from a real shape and change what the test is about. A field changes certificate and statement together, as another build
/// would; [`Attestation::claim`] changes the certificate alone and [`Attestation::edit`] the statement alone, as only a liar can.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// What was built.
    pub subjects: Vec<Subject>,
    /// The certificate's subject alternative name: the workflow that signs.
    pub identity: String,
    /// The OIDC issuer that vouches for it.
    pub issuer: String,
    /// `https://github.com/OWNER/REPO`.
    pub source: String,
    /// `refs/tags/vX.Y.Z`, `refs/heads/main`.
    pub git_ref: String,
    /// The commit that was built, forty hex digits.
    pub commit: String,
    /// Path of the workflow in the source repository.
    pub workflow: String,
    /// Display name of that workflow.
    pub workflow_name: String,
    /// The event that started the build.
    pub trigger: String,
    /// The predicate's builder id.
    pub builder: String,
    /// The commit the signing workflow was taken from.
    pub builder_commit: String,
    /// The predicate's build type.
    pub build_type: String,
    /// GitHub's number of the run.
    pub run_id: String,
    /// Which attempt of it.
    pub run_attempt: String,
    /// The repository's number, which survives renames.
    pub repository_id: String,
    /// The owner's number.
    pub owner_id: String,
    /// `github-hosted` or `self-hosted`.
    pub runner: String,
    /// Which predicate.
    pub predicate: PredicateKind,
    /// Which evidence.
    pub evidence: Evidence,
    /// How Rekor's first generation logs it: as its builder does, unless it says otherwise here.
    pub logged_as: Option<EntryKind>,
    /// Whether the certificate carries an SCT.
    pub sct: bool,
    /// When the certificate begins; it lives ten minutes.
    pub certified_at: i64,
    /// When the log and the timestamp authority say the signature was made.
    pub signed_at: i64,
    /// Sign with this key and no certificate at all.
    pub managed_key: Option<ManagedKey>,
    /// Lies of the certificate; see [`Attestation::claim`].
    pub claim_changes: Vec<(u8, Option<String>)>,
    /// Lies of the statement; see [`Attestation::edit`].
    pub statement_edits: Vec<(String, Option<Value>)>,
    /// What certificate authority, logs or timestamp authority get wrong, and sign.
    pub forgery: Option<Forgery>,
}

impl Attestation {
    /// A release of KubeEdge, `version` being `v1.23.1` and the like, as the generator attested it that this release used. Add the tarballs as
    /// subjects. The shapes are those of `provenance/slsa-generic-v2.1.0.sigstore.json` and `slsa/envelopes/` among the test vectors.
    pub fn kubeedge(version: &str) -> Self {
        let builder = generator_generic(kubeedge_generator(version));
        Self {
            subjects: Vec::new(),
            identity: builder.clone(),
            issuer: ACTIONS_ISSUER.to_owned(),
            source: format!("{GITHUB}/kubeedge/kubeedge"),
            git_ref: format!("refs/tags/{version}"),
            commit: hex::encode(&sha256(version.as_bytes())[..20]),
            workflow: ".github/workflows/release.yml".to_owned(),
            workflow_name: "build release, release image to DockerHub".to_owned(),
            trigger: "release".to_owned(),
            builder,
            builder_commit: GENERATOR_COMMIT.to_owned(),
            build_type: format!("{GITHUB}/slsa-framework/slsa-github-generator/generic@v1"),
            run_id: "13530999644".to_owned(),
            run_attempt: "1".to_owned(),
            // Stand-ins: what matters is that certificate and statement agree on them.
            repository_id: "150462334".to_owned(),
            owner_id: "43684100".to_owned(),
            runner: "github-hosted".to_owned(),
            predicate: PredicateKind::SlsaV02,
            evidence: Evidence::RekorV1,
            logged_as: None,
            sct: true,
            certified_at: DEFAULT_SIGNED_AT - 2,
            signed_at: DEFAULT_SIGNED_AT,
            managed_key: None,
            claim_changes: Vec::new(),
            statement_edits: Vec::new(),
            forgery: None,
        }
    }

    /// A build of `owner/repo` that its own workflow signs, as `npm publish --provenance` and GitHub's attest action do. The shape is
    /// that of npm 9.5 in `provenance/npm-sigstore-2.1.0.sigstore.json` among the test vectors.
    pub fn npm(repository: &str, git_ref: &str) -> Self {
        let source = format!("{GITHUB}/{repository}");
        let workflow = ".github/workflows/release.yml";
        let commit = hex::encode(&sha256(git_ref.as_bytes())[..20]);
        Self {
            identity: format!("{source}/{workflow}@{git_ref}"),
            source,
            git_ref: git_ref.to_owned(),
            commit: commit.clone(),
            workflow: workflow.to_owned(),
            workflow_name: "Release".to_owned(),
            trigger: "push".to_owned(),
            builder: HOSTED_RUNNER.to_owned(),
            builder_commit: commit,
            build_type: "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1".to_owned(),
            predicate: PredicateKind::SlsaV1,
            ..Self::kubeedge("")
        }
    }

    /// A build of `owner/repo` by slsa-github-generator's builder for Maven, which its delegator
    /// signs for; `version` being `v2.1.0` and the like. Members as in slsa-verifier's
    /// `cli/slsa-verifier/testdata/gha_maven/v2.1.0/binary-linux-amd64-push-v14.2.build.slsa`.
    pub fn maven(repository: &str, git_ref: &str, version: &str) -> Self {
        let generator = format!("{GITHUB}/slsa-framework/slsa-github-generator/.github/workflows");
        Self {
            identity: format!("{generator}/delegator_lowperms-generic_slsa3.yml@refs/tags/{version}"),
            builder: format!("{generator}/builder_maven_slsa3.yml@refs/tags/{version}"),
            builder_commit: GENERATOR_COMMIT.to_owned(),
            build_type: format!("{GITHUB}/slsa-framework/slsa-github-generator/delegator-generic@v0"),
            predicate: PredicateKind::SlsaV1Delegated,
            ..Self::npm(repository, git_ref)
        }
    }

    /// Adds an artifact by its bytes.
    #[must_use]
    pub fn artifact(self, name: &str, bytes: &[u8]) -> Self {
        self.subject(Subject::of(name, bytes))
    }

    /// Adds a subject.
    #[must_use]
    pub fn subject(mut self, subject: Subject) -> Self {
        self.subjects.push(subject);
        self
    }

    /// Signs at this time, with a certificate that began two seconds earlier.
    #[must_use]
    pub fn at(mut self, unix: i64) -> Self {
        self.signed_at = unix;
        self.certified_at = unix - 2;
        self
    }

    /// Signed by another release of the generic generator, `v1.9.0` and the like, certificate and statement alike.
    #[must_use]
    pub fn generator(mut self, version: &str) -> Self {
        self.identity = generator_generic(version);
        self.builder.clone_from(&self.identity);
        self
    }

    /// Gives Fulcio's extension `1.3.6.1.4.1.57264.1.number` another value, or leaves it out; the statement stays as it is.
    #[must_use]
    pub fn claim(mut self, number: u8, value: Option<&str>) -> Self {
        self.claim_changes.push((number, value.map(str::to_owned)));
        self
    }

    /// Changes or removes the member of the statement at `pointer` (RFC 6901, `/predicate/builder/id`); the certificate stays as it
    /// is. Missing objects on the way are made.
    #[must_use]
    pub fn edit(mut self, pointer: &str, value: Option<Value>) -> Self {
        self.statement_edits.push((pointer.to_owned(), value));
        self
    }

    /// How Rekor's first generation logs it.
    pub(crate) fn entry_kind(&self) -> EntryKind {
        // A key of somebody's own signs with cosign, which logs `dsse` unless `--rekor-entry-type intoto` says otherwise.
        let builders = || if self.managed_key.is_some() { EntryKind::Dsse } else { entry_kind(&self.identity) };
        self.logged_as.unwrap_or_else(builders)
    }

    fn repository(&self) -> &str {
        self.source.strip_prefix("https://github.com/").unwrap_or(&self.source)
    }

    fn owner(&self) -> &str {
        self.repository().split('/').next().unwrap_or_default()
    }

    fn run_url(&self) -> String {
        format!("{}/actions/runs/{}/attempts/{}", self.source, self.run_id, self.run_attempt)
    }

    /// Fulcio's extensions, by number.
    pub(crate) fn claims(&self) -> BTreeMap<u8, String> {
        let mut claims: BTreeMap<u8, String> = [
            (1, self.issuer.clone()),
            (2, self.trigger.clone()),
            (3, self.commit.clone()),
            (4, self.workflow_name.clone()),
            (5, self.repository().to_owned()),
            (6, self.git_ref.clone()),
            (8, self.issuer.clone()),
            (9, self.identity.clone()),
            (10, self.builder_commit.clone()),
            (11, self.runner.clone()),
            (12, self.source.clone()),
            (13, self.commit.clone()),
            (14, self.git_ref.clone()),
            (15, self.repository_id.clone()),
            (16, format!("{GITHUB}/{}", self.owner())),
            (17, self.owner_id.clone()),
            (18, format!("{}/{}@{}", self.source, self.workflow, self.git_ref)),
            (19, self.commit.clone()),
            (20, self.trigger.clone()),
            (21, self.run_url()),
            (22, "public".to_owned()),
        ]
        .into();
        if self.certified_at < NEW_CLAIMS_FROM {
            claims.retain(|number, _| *number <= 6);
        }
        for (number, value) in &self.claim_changes {
            match value {
                Some(value) => claims.insert(*number, value.clone()),
                None => claims.remove(number),
            };
        }
        claims
    }

    /// The in-toto statement.
    pub fn statement(&self) -> Value {
        let (statement_type, predicate_type, predicate) = match self.predicate {
            PredicateKind::SlsaV02 => ("https://in-toto.io/Statement/v0.1", "https://slsa.dev/provenance/v0.2", self.slsa_v02()),
            PredicateKind::SlsaV1 => ("https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1", self.slsa_v1()),
            PredicateKind::SlsaV1Delegated => {
                ("https://in-toto.io/Statement/v0.1", "https://slsa.dev/provenance/v1", self.slsa_v1_delegated())
            }
        };
        let subjects: Vec<Value> = self.subjects.iter().map(|s| json!({"name": s.name, "digest": s.digests})).collect();
        let mut statement = json!({
            "_type": statement_type,
            "predicateType": predicate_type,
            "subject": subjects,
            "predicate": predicate,
        });
        for (pointer, value) in &self.statement_edits {
            edit(&mut statement, pointer, value.clone());
        }
        statement
    }

    /// The statement's bytes, which are what is signed.
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(&self.statement()).expect("JSON values serialize")
    }

    fn slsa_v02(&self) -> Value {
        let source = format!("git+{}@{}", self.source, self.git_ref);
        let (ref_type, tag) = match self.git_ref.strip_prefix("refs/tags/") {
            Some(tag) => ("tag", tag),
            None => ("branch", ""),
        };
        let repository = json!({
            "full_name": self.repository(),
            "html_url": self.source,
            "id": self.repository_id.parse::<u64>().unwrap_or_default(),
            "owner": {"id": self.owner_id.parse::<u64>().unwrap_or_default(), "login": self.owner()},
            "private": false,
        });
        let event = match self.trigger.as_str() {
            "release" => json!({
                "action": "published",
                "release": {"draft": false, "prerelease": false, "tag_name": tag, "target_commitish": "master"},
                "repository": repository,
            }),
            "workflow_dispatch" => json!({"inputs": {}, "ref": self.git_ref, "repository": repository}),
            _ => json!({"after": self.commit, "ref": self.git_ref, "repository": repository}),
        };
        let mut predicate = json!({
            "builder": {"id": self.builder},
            "buildType": self.build_type,
            "invocation": {
                "configSource": {"uri": source, "digest": {"sha1": self.commit}, "entryPoint": self.workflow},
                "environment": {
                    "github_actor": "release-manager",
                    "github_actor_id": "1000001",
                    "github_base_ref": "",
                    "github_event_name": self.trigger,
                    "github_event_payload": event,
                    "github_head_ref": "",
                    "github_ref": self.git_ref,
                    "github_ref_type": ref_type,
                    "github_repository_id": self.repository_id,
                    "github_repository_owner": self.owner(),
                    "github_repository_owner_id": self.owner_id,
                    "github_run_attempt": self.run_attempt,
                    "github_run_id": self.run_id,
                    "github_run_number": "115",
                    "github_sha1": self.commit,
                },
            },
            "metadata": {
                "buildInvocationID": format!("{}-{}", self.run_id, self.run_attempt),
                "completeness": {"parameters": true, "environment": false, "materials": false},
                "reproducible": false,
            },
            "materials": [{"uri": source, "digest": {"sha1": self.commit}}],
        });
        // The generator's first generation wrote its parameters also where there are none.
        if self.builder.contains("@refs/tags/v1.") {
            predicate["invocation"]["parameters"] = json!({});
        }
        predicate
    }

    fn slsa_v1(&self) -> Value {
        json!({
            "buildDefinition": {
                "buildType": self.build_type,
                "externalParameters": {
                    "workflow": {"ref": self.git_ref, "repository": self.source, "path": self.workflow},
                },
                "internalParameters": {
                    "github": {
                        "event_name": self.trigger,
                        "repository_id": self.repository_id,
                        "repository_owner_id": self.owner_id,
                    },
                },
                "resolvedDependencies": [{
                    "uri": format!("git+{}@{}", self.source, self.git_ref),
                    "digest": {"gitCommit": self.commit},
                }],
            },
            "runDetails": {"builder": {"id": self.builder}, "metadata": {"invocationId": self.run_url()}},
        })
    }

    fn slsa_v1_delegated(&self) -> Value {
        let ref_type = if self.git_ref.starts_with("refs/tags/") { "tag" } else { "branch" };
        let event = self.slsa_v02()["invocation"]["environment"]["github_event_payload"].take();
        json!({
            "buildDefinition": {
                "buildType": self.build_type,
                "externalParameters": {
                    "inputs": {"rekor-log-public": false, "jdk-version": 17, "directory": "."},
                    "vars": {},
                },
                "internalParameters": {
                    "GITHUB_ACTOR_ID": "1000001",
                    "GITHUB_EVENT_NAME": self.trigger,
                    "GITHUB_BASE_REF": "",
                    "GITHUB_REF": self.git_ref,
                    "GITHUB_REF_TYPE": ref_type,
                    "GITHUB_REPOSITORY": self.repository(),
                    "GITHUB_REPOSITORY_ID": self.repository_id,
                    "GITHUB_REPOSITORY_OWNER_ID": self.owner_id,
                    "GITHUB_RUN_ATTEMPT": self.run_attempt,
                    "GITHUB_RUN_ID": self.run_id,
                    "GITHUB_RUN_NUMBER": "115",
                    "GITHUB_SHA": self.commit,
                    "GITHUB_TRIGGERING_ACTOR_ID": "1000001",
                    "GITHUB_WORKFLOW_REF": format!("{}/{}@{}", self.repository(), self.workflow, self.git_ref),
                    "GITHUB_WORKFLOW_SHA": self.commit,
                    "GITHUB_EVENT_PAYLOAD": event,
                },
                "resolvedDependencies": [{
                    "uri": format!("git+{}@{}", self.source, self.git_ref),
                    "digest": {"gitCommit": self.commit},
                }],
            },
            "runDetails": {"builder": {"id": self.builder}, "metadata": {"invocationId": self.run_url()}},
        })
    }
}

/// Sets or removes the value at a JSON pointer. Panics when the pointer leads nowhere, for then the test would test nothing.
fn edit(root: &mut Value, pointer: &str, value: Option<Value>) {
    let (parent, last) = pointer.rsplit_once('/').unwrap_or_else(|| panic!("`{pointer}` is not a JSON pointer"));
    let mut at = root;
    for step in parent.split('/').skip(1) {
        at = match at {
            Value::Array(items) => {
                let index: usize = step.parse().unwrap_or_else(|_| panic!("`{step}` in `{pointer}` is not an index"));
                items.get_mut(index).unwrap_or_else(|| panic!("`{pointer}` points beyond an array"))
            }
            Value::Object(members) => members.entry(step).or_insert_with(|| Value::Object(Map::new())),
            _ => panic!("`{pointer}` goes through something that has no members"),
        };
    }
    match (at, value) {
        (Value::Object(members), Some(value)) => {
            members.insert(last.to_owned(), value);
        }
        (Value::Object(members), None) => {
            members.remove(last).unwrap_or_else(|| panic!("there is no `{pointer}` to remove"));
        }
        (Value::Array(items), value) => {
            let index: usize = last.parse().unwrap_or_else(|_| panic!("`{last}` in `{pointer}` is not an index"));
            match value {
                Some(value) if index < items.len() => items[index] = value,
                Some(value) => items.push(value),
                None => drop(items.remove(index)),
            }
        }
        _ => panic!("`{pointer}` ends in something that has no members"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::vectors;
    use base64::Engine as _;
    use std::collections::BTreeSet;

    /// Every member that does not lead into the event that GitHub sent, as a pointer with the value's type.
    fn shape(value: &Value, at: &str, found: &mut BTreeSet<(String, &'static str)>) {
        match value {
            Value::Object(members) if !members.is_empty() && !at.ends_with("event_payload") => {
                members.iter().for_each(|(name, value)| shape(value, &format!("{at}/{name}"), found));
            }
            Value::Array(items) => items.iter().take(1).for_each(|item| shape(item, &format!("{at}/0"), found)),
            Value::Object(_) => drop(found.insert((at.to_owned(), "object"))),
            Value::String(_) => drop(found.insert((at.to_owned(), "text"))),
            Value::Number(_) => drop(found.insert((at.to_owned(), "number"))),
            Value::Bool(_) => drop(found.insert((at.to_owned(), "bool"))),
            Value::Null => drop(found.insert((at.to_owned(), "null"))),
        }
    }

    /// The payload of a real Sigstore bundle or of a real envelope.
    fn statement(path: &std::path::Path) -> Value {
        let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let payload = file.pointer("/dsseEnvelope/payload").or_else(|| file.get("payload")).unwrap();
        let payload = base64::engine::general_purpose::STANDARD.decode(payload.as_str().unwrap()).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }

    #[test]
    fn statements_have_the_shape_of_the_real_files_that_they_copy() {
        let Some(vectors) = vectors() else { return };
        let kubeedge = |version: &str| Attestation::kubeedge(version).artifact("f", b"f");
        for (file, attestation) in [
            ("slsa/envelopes/generic-v1.2.2.intoto.jsonl", kubeedge("v1.13.0")),
            ("slsa/envelopes/generic-v1.9.0.intoto.jsonl", kubeedge("v1.16.0")),
            ("slsa/envelopes/generic-v1.10.0.intoto.jsonl", kubeedge("v1.20.0")),
            ("provenance/slsa-generic-v2.1.0.sigstore.json", kubeedge("v1.23.1")),
            (
                "provenance/npm-sigstore-2.1.0.sigstore.json",
                Attestation::npm("o/r", "refs/heads/main").subject(Subject::sha512_of("f", b"f")),
            ),
        ] {
            let (mut real, mut ours) = (BTreeSet::new(), BTreeSet::new());
            shape(&statement(&vectors.join(file)), "", &mut real);
            shape(&attestation.statement(), "", &mut ours);
            assert_eq!(ours, real, "{file}");
        }
    }
}
