//! SLSA provenance v0.2 and v1: what the builder says it did, in one shape for both.
//!
//! Written against what real builders emit: slsa-github-generator (v0.2), npm (v0.2 and v1), GitHub's attestations (v1).

use crate::error::Check;
use serde_json::Value;
use slipway_protocol::Refusal;
use std::collections::BTreeMap;

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
    /// What the build's environment said, where the provenance records it.
    pub(crate) environment: Environment,
    /// The workflow's path in the repository.
    pub(crate) workflow: Option<String>,
    /// The run: id and attempt, or a URL.
    pub(crate) run: Option<Run>,
    /// The run as the metadata names it, `ID-ATTEMPT`.
    pub(crate) invocation: Option<String>,
    /// Whatever came in from outside and is not the source: inputs of a dispatch, of a builder, variables.
    pub(crate) inputs: BTreeMap<String, String>,
}

/// GitHub's variables and its event. Each may be missing; each that is there must agree with the rest.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// The event that started the build.
    pub(crate) event: Option<String>,
    /// Refs: of the variable, of the event, of the released tag.
    pub(crate) references: Vec<String>,
    /// `tag` or `branch`.
    pub(crate) ref_type: Option<String>,
    /// The commit.
    pub(crate) commit: Option<String>,
    /// `OWNER/REPOSITORY`, of the variable and of the event.
    pub(crate) repositories: Vec<String>,
    /// The repository's immutable id, of the variable and of the event.
    pub(crate) repository_ids: Vec<String>,
    /// The owner's immutable id, likewise.
    pub(crate) owner_ids: Vec<String>,
    /// The workflow, `OWNER/REPOSITORY/PATH@REF`.
    pub(crate) workflow: Option<String>,
    /// The commit that the workflow was taken from.
    pub(crate) workflow_commit: Option<String>,
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

impl Run {
    /// Where the run can be looked at.
    pub(crate) fn url(&self, source: &str) -> String {
        match self {
            Self::Numbers(id, attempt) => format!("{source}/actions/runs/{id}/attempts/{attempt}"),
            Self::Url(url) => url.clone(),
        }
    }
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
        commit: text(config, "/digest/sha1")?,
        ..Source::from_uri(&need_text(predicate, "/invocation/configSource/uri")?)
    };
    let material = need(predicate, "/materials/0")?;
    let material =
        Source { commit: text(material, "/digest/sha1")?, ..Source::from_uri(&need_text(predicate, "/materials/0/uri")?) };
    // The generator writes its environment in small letters, npm and the delegator in capitals.
    let environment = predicate.pointer("/invocation/environment").unwrap_or(&Value::Null);
    let variable = |name: &str| {
        environment.get(format!("github_{name}")).or_else(|| environment.get(format!("GITHUB_{}", name.to_uppercase())))
    };
    let metadata = predicate.get("metadata").unwrap_or(&Value::Null);
    let mut inputs = BTreeMap::new();
    if let Some(parameters) = predicate.pointer("/invocation/parameters") {
        collect(&mut inputs, parameters, &["inputs", "event_inputs"], &[]);
    }
    let event = event(variable("event_payload"))?;
    collect_named(&mut inputs, event.get("inputs"));
    collect_named(&mut inputs, event.get("client_payload"));
    let run = plain(variable("run_id"))?.zip(plain(variable("run_attempt"))?);
    let run = run.map(|(id, attempt)| Run::Numbers(id, attempt));
    Ok(Claims {
        builder: need_text(predicate, "/builder/id")?,
        build_type: need_text(predicate, "/buildType")?,
        trigger,
        material,
        environment: Environment::read(variable, event)?,
        workflow: text(config, "/entryPoint")?,
        run,
        invocation: text(metadata, "/buildInvocationID")?.or(text(metadata, "/buildInvocationId")?),
        inputs,
    })
}

fn v1(predicate: &Value) -> Result<Claims, Refusal> {
    let workflow = predicate.pointer("/buildDefinition/externalParameters/workflow");
    let trigger = match workflow {
        Some(workflow) => {
            Source { repository: need_text(workflow, "/repository")?, reference: text(workflow, "/ref")?, commit: None }
        }
        None => Source {
            commit: text(predicate, "/buildDefinition/externalParameters/source/digest/gitCommit")?,
            ..Source::from_uri(&need_text(predicate, "/buildDefinition/externalParameters/source/uri")?)
        },
    };
    let first = need(predicate, "/buildDefinition/resolvedDependencies/0")?;
    let material = Source {
        commit: text(first, "/digest/gitCommit")?.or(text(first, "/digest/sha1")?),
        ..Source::from_uri(&need_text(first, "/uri")?)
    };
    let internal = predicate.pointer("/buildDefinition/internalParameters").unwrap_or(&Value::Null);
    let github = internal.get("github").unwrap_or(&Value::Null);
    let variable = |name: &str| github.get(name).or_else(|| internal.get(format!("GITHUB_{}", name.to_uppercase())));
    let event = event(variable("event_payload"))?;
    let mut inputs = BTreeMap::new();
    if let Some(external) = predicate.pointer("/buildDefinition/externalParameters") {
        // These two were read above and are compared with the certificate; whatever else came from outside is an input.
        collect(&mut inputs, external, &["inputs"], &["workflow", "source"]);
    }
    if let Some(workflow) = workflow {
        collect(&mut inputs, workflow, &["inputs"], &["path", "ref", "repository"]);
    }
    collect_named(&mut inputs, event.get("inputs"));
    collect_named(&mut inputs, event.get("client_payload"));
    let run = plain(variable("run_id"))?.zip(plain(variable("run_attempt"))?);
    let run = run.map(|(id, attempt)| Run::Numbers(id, attempt));
    let url = text(predicate, "/runDetails/metadata/invocationId")?.filter(|id| id.contains("://")).map(Run::Url);
    Ok(Claims {
        builder: need_text(predicate, "/runDetails/builder/id")?,
        build_type: need_text(predicate, "/buildDefinition/buildType")?,
        trigger,
        material,
        environment: Environment::read(variable, event)?,
        workflow: workflow.map(|workflow| text(workflow, "/path")).transpose()?.flatten(),
        run: url.or(run),
        invocation: None,
        inputs,
    })
}

impl Environment {
    /// Reads GitHub's variables by their names in small letters, and the event that GitHub sent.
    fn read<'v>(variable: impl Fn(&str) -> Option<&'v Value>, event: &Value) -> Result<Self, Refusal> {
        let text_of = |name: &str| plain(variable(name));
        let name = text_of("event_name")?;
        let both = |name: &str, pointer: &str| -> Result<Vec<String>, Refusal> {
            Ok(text_of(name)?.into_iter().chain(plain(event.pointer(pointer))?).collect())
        };
        // A push and a dispatch name the whole ref; a release only its tag; other events mean other things by `ref`.
        let sent = match name.as_deref() {
            Some("push" | "workflow_dispatch") => text(event, "/ref")?,
            Some("release") => text(event, "/release/tag_name")?.map(|tag| format!("refs/tags/{tag}")),
            _ => None,
        };
        Ok(Self {
            references: text_of("ref")?.into_iter().chain(sent).collect(),
            ref_type: text_of("ref_type")?,
            commit: text_of("sha1")?.or(text_of("sha")?),
            repositories: both("repository", "/repository/full_name")?,
            repository_ids: both("repository_id", "/repository/id")?,
            owner_ids: both("repository_owner_id", "/repository/owner/id")?,
            workflow: text_of("workflow_ref")?,
            workflow_commit: text_of("workflow_sha")?,
            runner: text_of("runner_environment")?,
            event: name,
        })
    }
}

/// Adds the members of an object of parameters: those of the objects called `inside` one by one, and all others but the `known`.
fn collect(inputs: &mut BTreeMap<String, String>, parameters: &Value, inside: &[&str], known: &[&str]) {
    let Some(members) = parameters.as_object() else {
        return collect_one(inputs, "parameters", parameters);
    };
    for (name, value) in members.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        if inside.contains(&name.as_str()) {
            collect_named(inputs, Some(value));
        } else {
            collect_one(inputs, name, value);
        }
    }
}

/// Adds inputs that are listed by name.
fn collect_named(inputs: &mut BTreeMap<String, String>, value: Option<&Value>) {
    match value {
        None => {}
        Some(Value::Object(members)) => members.iter().for_each(|(name, value)| collect_one(inputs, name, value)),
        Some(value) => collect_one(inputs, "inputs", value),
    }
}

/// Adds one input, as text; nothing is no input. The same input with another value elsewhere gets a name that no policy can pin.
fn collect_one(inputs: &mut BTreeMap<String, String>, name: &str, value: &Value) {
    let empty = match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if empty {
        return;
    }
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match inputs.get(name) {
        Some(known) if *known != value => inputs.insert(format!("{name} (a second value)"), value),
        _ => inputs.insert(name.to_owned(), value),
    };
}

/// A text or a number, as text; nothing if it is missing or empty. Of another type it could not be compared, and would count as missing.
fn plain(value: Option<&Value>) -> Result<Option<String>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(Check::ProvenanceMalformed.refuse(other, "a text or a number")),
    }
}

/// What GitHub sent to start the build.
fn event(value: Option<&Value>) -> Result<&Value, Refusal> {
    match value {
        None => Ok(&Value::Null),
        Some(value @ (Value::Null | Value::Object(_))) => Ok(value),
        Some(other) => Err(Check::ProvenanceMalformed.refuse(other, "an event's payload as an object")),
    }
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
    text(value, pointer)?.ok_or_else(|| Check::ProvenanceMalformed.refuse("no text", format_args!("text at {pointer}")))
}

/// Text, if it is there and not empty.
fn text(value: &Value, pointer: &str) -> Result<Option<String>, Refusal> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(other) => Err(Check::ProvenanceMalformed.refuse(other, format_args!("text at {pointer}"))),
    }
}
