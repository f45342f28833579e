//! Tekton Chains, of both versions: where a run's definition came from and which source it built
//! are two things.
//!
//! Chains takes the source from the run's type hints (`CHAINS-GIT_URL`, `CHAINS-GIT_COMMIT`): in
//! v1 it is the dependency called `inputs/result`, in v0.2 a material whose URI begins with
//! `git+`. It never records a ref. A dependency that is the source and the definition alike is
//! listed once, under the definition's name, so without any other the definition is the source. A
//! definition from elsewhere is an input.

use super::members::{Inputs, Members};
use super::{Source, agreed, commit, repository};
use crate::error::Check;
use serde_json::Value;
use slipway_protocol::Refusal;

/// What Chains calls a dependency that a type hint named: in its code, and in its documentation.
const HINTED: [&str; 2] = ["inputs/result", "input/result"];
/// What Chains calls the dependencies that define the run; its documentation has `config/` before
/// it.
const DEFINITIONS: [&str; 3] = ["pipeline", "task", "pipelineTask"];

/// The source and, where the definition is of that very commit, its path. Takes what it read out
/// of `externalParameters`.
pub(super) fn v1(
    external: &mut Members<'_>,
    dependencies: &[Value],
    inputs: &mut Inputs,
) -> Result<(Source, Option<String>), Refusal> {
    let (mut hinted, mut defining) = (Vec::new(), Vec::new());
    for value in dependencies {
        let mut dependency = Members::of(value, "resolvedDependencies")?;
        let name = dependency.fact(&["name"], Check::ProvenanceMalformed)?.unwrap_or_default();
        let Some(source) = git(&mut dependency)? else { continue };
        if HINTED.contains(&name.as_str()) {
            hinted.push(source);
        } else if DEFINITIONS.contains(&name.strip_prefix("config/").unwrap_or(&name)) {
            defining.push(source);
        }
    }
    let source = only(if hinted.is_empty() { defining } else { hinted })?;
    let mut config = external.object("buildConfigSource")?;
    let reference = config.fact(&["ref"], Check::ClaimCommit)?;
    let repository = config.fact(&["repository"], Check::ClaimSource)?;
    let path = config.fact(&["path"], Check::ClaimWorkflow)?;
    let commit = reference.as_ref().map(|text| text.strip_prefix("sha1:").unwrap_or(text).to_owned());
    config.into_inputs("buildConfigSource", inputs)?;
    let members = [("repository", repository.clone()), ("ref", reference), ("path", path.clone())];
    Ok((source.clone(), own(&source, repository, commit, path, "buildConfigSource", members, inputs)?))
}

/// The same of `configSource` and the materials. The type hints may be parameters; then they say
/// what the material says.
pub(super) fn v0_2(
    mut config: Members<'_>,
    parameters: &mut Members<'_>,
    materials: &[Value],
    inputs: &mut Inputs,
) -> Result<(Source, Option<String>), Refusal> {
    let uri = config.fact(&["uri"], Check::ClaimSource)?;
    let mut digest = config.object("digest")?;
    let defined = commit(&mut digest)?;
    let path = config.fact(&["entryPoint"], Check::ClaimWorkflow)?;
    digest.into_inputs("configSource.digest", inputs)?;
    config.into_inputs("configSource", inputs)?;
    let mut all = Vec::new();
    for value in materials {
        all.extend(git(&mut Members::of(value, "materials")?)?);
    }
    let definition = uri.as_ref().map(|uri| Source::from_uri(uri, defined.clone()));
    let others: Vec<Source> = all.iter().filter(|source| Some(*source) != definition.as_ref()).cloned().collect();
    let source = only(if others.is_empty() { all } else { others })?;
    let hint = parameters.fact(&["CHAINS-GIT_URL"], Check::ClaimSource)?.map(|url| repository(&url).to_owned());
    agreed(Some(source.repository.clone()), hint, Check::ClaimSource)?;
    agreed(source.commit.clone(), parameters.fact(&["CHAINS-GIT_COMMIT"], Check::ClaimCommit)?, Check::ClaimCommit)?;
    let members = [("uri", uri.clone()), ("digest", defined.clone()), ("entryPoint", path.clone())];
    Ok((source.clone(), own(&source, uri, defined, path, "configSource", members, inputs)?))
}

/// A Git repository among the materials; images and the like are none.
fn git(material: &mut Members<'_>) -> Result<Option<Source>, Refusal> {
    let uri = material.fact(&["uri"], Check::ClaimSource)?;
    let Some(uri) = uri.filter(|uri| uri.starts_with("git+")) else { return Ok(None) };
    Ok(Some(Source::from_uri(&uri, commit(&mut material.object("digest")?)?)))
}

/// The one source that all of them are.
fn only(mut sources: Vec<Source>) -> Result<Source, Refusal> {
    let first = sources.pop().ok_or_else(|| {
        Check::ClaimMissing.refuse("no Git repository", "the source, by the results CHAINS-GIT_URL and CHAINS-GIT_COMMIT")
    })?;
    match sources.iter().find(|source| source.repository != first.repository) {
        Some(other) => {
            Err(Check::ClaimSource.refuse(format_args!("{} and {}", other.repository, first.repository), "one source"))
        }
        None => {
            let commits = sources.iter().filter_map(|source| source.commit.clone());
            let commits: Vec<String> = commits.chain(first.commit.clone()).collect();
            super::fact(commits, Check::ClaimCommit)?;
            Ok(first)
        }
    }
}

/// The definition's path if it is of the source's own commit; else all that names the definition
/// is an input.
fn own(
    source: &Source,
    uri: Option<String>,
    commit: Option<String>,
    path: Option<String>,
    name: &str,
    members: [(&str, Option<String>); 3],
    inputs: &mut Inputs,
) -> Result<Option<String>, Refusal> {
    let definition = Source::from_uri(uri.as_deref().unwrap_or_default(), commit);
    if definition.repository == source.repository && definition.commit.is_some() && definition.commit == source.commit {
        return Ok(path);
    }
    for (member, value) in members {
        if let Some(value) = value {
            inputs.add(&format!("{name}.{member}"), &value.into())?;
        }
    }
    Ok(None)
}
