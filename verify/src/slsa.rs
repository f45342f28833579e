//! SLSA provenance v0.2 and v1: what the builder says it did, in one shape for both.
//!
//! Written against what real builders emit: slsa-github-generator (v0.2), npm (v0.2 and v1), GitHub's attestations (v1).

use crate::error::Check;
use serde_json::Value;
use slipway_protocol::Refusal;

/// SLSA provenance v0.2.
pub(crate) const V0_2: &str = "https://slsa.dev/provenance/v0.2";
/// SLSA provenance v1.
pub(crate) const V1: &str = "https://slsa.dev/provenance/v1";

/// What the provenance claims. A claim that may be missing is an option; what to do without it is for the policy to say.
#[derive(Debug)]
pub(crate) struct Claims {
    /// Who built.
    pub(crate) builder: String,
    /// How the rest is to be read.
    pub(crate) build_type: String,
    /// What triggered the build's definition: repository, ref and commit.
    pub(crate) trigger: Source,
    /// What went in first: the source.
    pub(crate) material: Source,
    /// Ref and commit as the build's environment had them.
    pub(crate) environment: (Option<String>, Option<String>),
    /// The workflow's path in the repository.
    pub(crate) workflow: Option<String>,
    /// The event that started the build.
    pub(crate) event: Option<String>,
    /// The run: id and attempt, or a URL.
    pub(crate) run: Option<Run>,
    /// The repository's immutable id.
    pub(crate) repository_id: Option<String>,
    /// The owner's immutable id.
    pub(crate) owner_id: Option<String>,
    /// The kind of runner.
    pub(crate) runner: Option<String>,
}

/// A repository at a ref and a commit.
#[derive(Debug)]
pub(crate) struct Source {
    /// URL of the repository.
    pub(crate) repository: String,
    /// Full name of the ref.
    pub(crate) reference: Option<String>,
    /// Commit in hex.
    pub(crate) commit: Option<String>,
}

/// How provenance names its run.
#[derive(Debug)]
pub(crate) enum Run {
    /// Number of the run and of the attempt.
    Numbers(String, String),
    /// The whole URL.
    Url(String),
}

impl Claims {
    /// Reads a predicate of a known type.
    pub(crate) fn read(predicate_type: &str, predicate: &Value) -> Result<Self, Refusal> {
        match predicate_type {
            V0_2 => v0_2(predicate),
            V1 => v1(predicate),
            other => Err(Check::PolicyPredicate.refuse(other, format_args!("{V0_2} or {V1}"))),
        }
    }
}

fn v0_2(predicate: &Value) -> Result<Claims, Refusal> {
    let config = need(predicate, "/invocation/configSource")?;
    let trigger = Source {
        commit: text(config, "/digest/sha1"),
        ..Source::from_uri(&need_text(predicate, "/invocation/configSource/uri")?)
    };
    let material = need(predicate, "/materials/0")?;
    let material =
        Source { commit: text(material, "/digest/sha1"), ..Source::from_uri(&need_text(predicate, "/materials/0/uri")?) };
    // The generator writes its environment in small letters, npm and the delegator in capitals.
    let environment = predicate.pointer("/invocation/environment").unwrap_or(&Value::Null);
    let variable = |name: &str| {
        text(environment, &format!("/github_{name}")).or_else(|| text(environment, &format!("/GITHUB_{}", name.to_uppercase())))
    };
    Ok(Claims {
        builder: need_text(predicate, "/builder/id")?,
        build_type: need_text(predicate, "/buildType")?,
        trigger,
        material,
        environment: (variable("ref"), variable("sha1").or_else(|| variable("sha"))),
        workflow: text(config, "/entryPoint"),
        event: variable("event_name"),
        run: variable("run_id").zip(variable("run_attempt")).map(|(id, attempt)| Run::Numbers(id, attempt)),
        repository_id: variable("repository_id"),
        owner_id: variable("repository_owner_id"),
        runner: None,
    })
}

fn v1(predicate: &Value) -> Result<Claims, Refusal> {
    let workflow = predicate.pointer("/buildDefinition/externalParameters/workflow");
    let trigger = match workflow {
        Some(workflow) => {
            Source { repository: need_text(workflow, "/repository")?, reference: text(workflow, "/ref"), commit: None }
        }
        None => Source {
            commit: text(predicate, "/buildDefinition/externalParameters/source/digest/gitCommit"),
            ..Source::from_uri(&need_text(predicate, "/buildDefinition/externalParameters/source/uri")?)
        },
    };
    let first = need(predicate, "/buildDefinition/resolvedDependencies/0")?;
    let material = Source {
        commit: text(first, "/digest/gitCommit").or_else(|| text(first, "/digest/sha1")),
        ..Source::from_uri(&need_text(first, "/uri")?)
    };
    let internal = predicate.pointer("/buildDefinition/internalParameters").unwrap_or(&Value::Null);
    let variable = |name: &str| {
        text(internal, &format!("/github/{name}")).or_else(|| text(internal, &format!("/GITHUB_{}", name.to_uppercase())))
    };
    Ok(Claims {
        builder: need_text(predicate, "/runDetails/builder/id")?,
        build_type: need_text(predicate, "/buildDefinition/buildType")?,
        trigger,
        material,
        environment: (variable("ref"), variable("sha")),
        workflow: workflow.and_then(|workflow| text(workflow, "/path")),
        event: variable("event_name"),
        run: text(predicate, "/runDetails/metadata/invocationId").filter(|id| id.contains("://")).map(Run::Url),
        repository_id: variable("repository_id"),
        owner_id: variable("repository_owner_id"),
        runner: variable("runner_environment"),
    })
}

impl Source {
    /// `git+https://host/owner/repo@ref`; the ref may be missing.
    fn from_uri(uri: &str) -> Self {
        let (repository, reference) = match uri.rsplit_once('@') {
            Some((repository, reference)) => (repository, Some(reference.to_owned())),
            None => (uri, None),
        };
        let repository = repository.strip_prefix("git+").unwrap_or(repository).to_owned();
        Self { repository, reference, commit: None }
    }
}

fn need<'v>(value: &'v Value, pointer: &str) -> Result<&'v Value, Refusal> {
    value.pointer(pointer).ok_or_else(|| Check::ProvenanceMalformed.refuse("nothing", format_args!("a value at {pointer}")))
}

fn need_text(value: &Value, pointer: &str) -> Result<String, Refusal> {
    text(value, pointer).ok_or_else(|| Check::ProvenanceMalformed.refuse("no text", format_args!("text at {pointer}")))
}

/// Text that is there and not empty.
fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
