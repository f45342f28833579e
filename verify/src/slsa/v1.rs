//! SLSA provenance v1.

use super::members::{Inputs, Members};
use super::{Claims, Conventions, Run, Source, commit, environment, tekton};
use crate::error::Check;
use serde_json::Value;
use slipway_protocol::Refusal;

/// What `externalParameters` says about the source.
#[derive(Default)]
struct StatedBuild {
    source: Option<Source>,
    /// What in the source was run.
    workflow: Option<String>,
}

pub(super) fn read(mut predicate: Members<'_>) -> Result<Claims, Refusal> {
    let mut definition = predicate.need_object("buildDefinition")?;
    let mut details = predicate.need_object("runDetails")?;
    let build_type = definition.need("buildType")?;
    let conventions = Conventions::of(&build_type);
    let mut external = definition.need_object("externalParameters")?;
    let dependencies = definition.list("resolvedDependencies")?;
    let mut inputs = Inputs::default();
    let (stated, material) = match conventions {
        Conventions::Tekton => {
            let (material, workflow) = tekton::v1(&mut external, dependencies, &mut inputs)?;
            (StatedBuild { source: None, workflow }, material)
        }
        Conventions::BuildKit => {
            let config = external.object("configSource")?;
            let (material, workflow) = build_kit(config, "configSource", "path", dependencies, &mut inputs)?;
            (StatedBuild { source: None, workflow }, material)
        }
        Conventions::GitLab => {
            let stated = stated(&mut external, &mut inputs)?;
            let material = gitlab_material(dependencies, stated.source.as_ref())?;
            (stated, material)
        }
        Conventions::FirstMaterial => (stated(&mut external, &mut inputs)?, Source::first(dependencies, "resolvedDependencies")?),
    };
    let (environment, mut runs) = environment::github(definition.object("internalParameters")?, &mut inputs)?;
    let invocation = details.object("metadata")?.fact(&["invocationId"], Check::ClaimRun)?;
    runs.extend(invocation.filter(|id| id.contains("://")).map(Run::Url));
    let mut claims = Claims {
        builder: details.need_object("builder")?.need("id")?,
        build_type,
        material,
        stated: stated.source.into_iter().collect(),
        environment,
        workflow: stated.workflow,
        runs,
        inputs: Default::default(),
    };
    if conventions == Conventions::GitLab {
        // GitLab itself lists them apart, its runner beside the rest. A builder that writes both must say one thing.
        let mut apart = external.object("variables")?;
        environment::gitlab(&mut external, &mut claims)?;
        environment::gitlab(&mut apart, &mut claims)?;
        apart.into_inputs("variables", &mut inputs)?;
    }
    inputs.add_named(external.take("inputs"))?;
    external.into_inputs("", &mut inputs)?;
    claims.inputs = inputs.into_map();
    Ok(claims)
}

/// Takes the source out of `externalParameters`, in the first of these forms that is there. What
/// stands in another one beside it is not taken out, and so counts as an input:
///
/// - `workflow: {repository, ref, path}`: GitHub, npm;
/// - `source: {uri, digest}`: slsa-github-generator's container-based builder;
/// - `source: URL, entryPoint: JOB`: GitLab;
/// - `repository, ref`: SLSA's own example;
/// - none: slsa-github-generator's delegator, whose source is among the dependencies alone.
fn stated(external: &mut Members<'_>, inputs: &mut Inputs) -> Result<StatedBuild, Refusal> {
    if external.has("workflow") {
        let mut workflow = external.object("workflow")?;
        let reference = workflow.fact(&["ref"], Check::ClaimRef)?;
        let source = Source::new(&workflow.need("repository")?, reference, None);
        let path = workflow.fact(&["path"], Check::ClaimWorkflow)?;
        inputs.add_named(workflow.take("inputs"))?;
        workflow.into_inputs("workflow", inputs)?;
        return Ok(StatedBuild { source: Some(source), workflow: path });
    }
    match external.take("source") {
        Some(Value::String(url)) => {
            let workflow = external.fact(&["entryPoint"], Check::ClaimWorkflow)?;
            return Ok(StatedBuild { source: Some(Source::from_uri(url, None)), workflow });
        }
        Some(value) => {
            let mut source = Members::of(value, "externalParameters.source")?;
            let mut digest = source.object("digest")?;
            let found = Source::from_uri(&source.need("uri")?, commit(&mut digest)?);
            digest.into_inputs("source.digest", inputs)?;
            source.into_inputs("source", inputs)?;
            return Ok(StatedBuild { source: Some(found), workflow: None });
        }
        None => {}
    }
    if external.has("repository") {
        let reference = external.fact(&["ref"], Check::ClaimRef)?;
        let source = Source::new(&external.need("repository")?, reference, None);
        return Ok(StatedBuild { source: Some(source), workflow: None });
    }
    Ok(StatedBuild::default())
}

/// GitLab's source among the dependencies, images being others. Its runner writes the commit under
/// `sha256`, though it is none.
fn gitlab_material(dependencies: &[Value], stated: Option<&Source>) -> Result<Source, Refusal> {
    let mut first = None;
    for value in dependencies {
        let mut dependency = Members::of(value, "resolvedDependencies")?;
        let source = Source::from_uri(&dependency.need("uri")?, None);
        let is_asked = stated.is_some_and(|stated| stated.repository == source.repository);
        if is_asked || first.is_none() {
            first = Some(Source { commit: gitlab_commit(&mut dependency.object("digest")?)?, ..source });
        }
        if is_asked {
            break;
        }
    }
    first.ok_or_else(|| Check::ProvenanceMalformed.refuse("none", "the source among resolvedDependencies"))
}

/// The commit under each name that GitLab has given it.
pub(super) fn gitlab_commit(digest: &mut Members<'_>) -> Result<Option<String>, Refusal> {
    let known = commit(digest)?;
    let misnamed = digest.fact(&["sha256"], Check::ClaimCommit)?;
    if let Some(hex) = misnamed.as_ref().filter(|hex| !super::is_commit(hex)) {
        return Err(Check::ProvenanceMalformed.refuse(hex, "a commit in 40 or 64 digits of lowercase hex"));
    }
    super::agreed(known, misnamed, Check::ClaimCommit)
}

/// BuildKit's configuration is a Git context, `URL#REF` or `URL#REF:DIRECTORY`. Where the very
/// same is among the materials, they agree. The `vcs` in its metadata is what the client said,
/// unverified, and is not read.
pub(super) fn build_kit(
    mut config: Members<'_>,
    name: &str,
    path: &str,
    materials: &[Value],
    inputs: &mut Inputs,
) -> Result<(Source, Option<String>), Refusal> {
    let uri = config.fact(&["uri"], Check::ClaimSource)?.ok_or_else(|| {
        Check::ClaimMissing
            .refuse("a build from a local directory", "a build from a Git context, whose repository BuildKit records")
    })?;
    let mut digest = config.object("digest")?;
    let stated = commit(&mut digest)?;
    digest.into_inputs(&format!("{name}.digest"), inputs)?;
    let file = config.fact(&[path], Check::ClaimWorkflow)?;
    config.into_inputs(name, inputs)?;
    let (url, fragment) = uri.split_once('#').map_or((uri.as_str(), None), |(url, fragment)| (url, Some(fragment)));
    let (reference, directory) = fragment.map_or((None, None), |fragment| match fragment.split_once(':') {
        Some((reference, directory)) => (Some(reference), Some(directory)),
        None => (Some(fragment), None),
    });
    if let Some(directory) = directory {
        inputs.add(&format!("{name}.directory"), &directory.into())?;
    }
    let mut commits: Vec<String> = stated.into_iter().collect();
    for material in materials {
        let mut material = Members::of(material, "a material")?;
        if material.fact(&["uri"], Check::ClaimSource)?.as_ref() == Some(&uri) {
            commits.extend(commit(&mut material.object("digest")?)?);
        }
    }
    let commit = super::fact(commits, Check::ClaimCommit)?;
    let reference = reference.filter(|reference| !reference.is_empty()).map(str::to_owned);
    Ok((Source::new(url, reference, commit), file))
}
