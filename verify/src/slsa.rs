//! SLSA provenance v0.2 and v1: what the builder says it did, in one shape for both and for every
//! builder.
//!
//! Builders write the same facts into different members; docs/PROVENANCE.md has the table, and
//! each of its rows is a test. Whatever came from outside (`externalParameters`,
//! `invocation.parameters`, `configSource`) is taken out member by member with
//! [`members::Members`]: what is read is compared, and what is left is an input, which the policy
//! must allow. Of what the builder itself set (`internalParameters`, `environment`) every known
//! fact is read under all its names and must agree; the rest is description and is not read.

use crate::error::Check;
use environment::Environment;
pub(crate) use members::SECOND_VALUE;
use members::{Members, fact};
use serde_json::Value;
use slipway_protocol::Refusal;
use std::collections::BTreeMap;

mod environment;
mod members;
mod tekton;
mod v0_2;
mod v1;

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
    /// The source as it went in, by commit.
    pub(crate) material: Source,
    /// Every other place that names the source, first what was asked for from outside. All must
    /// agree.
    pub(crate) stated: Vec<Source>,
    /// What the build's environment said, where the provenance records it.
    pub(crate) environment: Environment,
    /// What in the source was run: the path of a workflow or Dockerfile, the name of a job.
    pub(crate) workflow: Option<String>,
    /// The run, by every name that it is given.
    pub(crate) runs: Vec<Run>,
    /// Whatever came in from outside and is not the source: inputs of a dispatch, of a builder, variables.
    pub(crate) inputs: BTreeMap<String, String>,
}

/// A repository at a ref and a commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Source {
    /// URL of the repository, without `git+` before and `.git` behind it.
    pub(crate) repository: String,
    /// The ref as it was written, in full or not.
    pub(crate) reference: Option<String>,
    /// Commit in hex.
    pub(crate) commit: Option<String>,
}

/// How provenance names its run.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Run {
    /// Numbers of the run and of the attempt, as far as they are known.
    Numbers(Option<String>, Option<String>),
    /// The whole URL.
    Url(String),
}

/// Whose conventions a predicate follows, by its build type. Whoever is not known here is read as
/// the specification's own example is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Conventions {
    /// The source is the first material or dependency: GitHub, npm, slsa-github-generator, the
    /// specification.
    FirstMaterial,
    /// `CI_…` variables come from outside, and the commit may stand under `sha256`.
    GitLab,
    /// A Git context, `URL#REF:DIRECTORY`.
    BuildKit,
    /// The build's definition and its source are two things.
    Tekton,
}

impl Conventions {
    fn of(build_type: &str) -> Self {
        let tekton = ["https://tekton.dev/", "tekton.dev/", "https://chains.tekton.dev/"];
        match build_type {
            "https://mobyproject.org/buildkit@v1"
            | "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md" => Self::BuildKit,
            "https://docs.gitlab.com/ci/pipeline_security/slsa/provenance_v1" => Self::GitLab,
            other if other.starts_with("https://gitlab.com/gitlab-org/gitlab-runner/-/blob/") => Self::GitLab,
            other if tekton.iter().any(|head| other.starts_with(head)) => Self::Tekton,
            _ => Self::FirstMaterial,
        }
    }
}

impl Claims {
    /// Reads a predicate of a known type.
    pub(crate) fn read(predicate_type: &str, predicate: &Value) -> Result<Self, Refusal> {
        match predicate_type {
            V0_2 => v0_2::read(Members::of(predicate, "predicate")?),
            V1 => v1::read(Members::of(predicate, "predicate")?),
            other => Err(Check::PolicyPredicate.refuse(other, format_args!("{V0_2} or {V1}"))),
        }
    }

    /// Every place that names the source, first what counts most.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.stated.iter().chain([&self.material])
    }
}

impl Run {
    /// `ID-ATTEMPT`, as the metadata of v0.2 names it.
    fn of_invocation(id: &str) -> Option<Self> {
        let number = |text: &str| (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.to_owned());
        let (id, attempt) = id.split_once('-')?;
        Some(Self::Numbers(Some(number(id)?), Some(number(attempt)?)))
    }

    /// Where the run can be looked at, if that is known.
    pub(crate) fn url(&self, source: &str) -> Option<String> {
        match self {
            Self::Numbers(Some(id), Some(attempt)) => Some(format!("{source}/actions/runs/{id}/attempts/{attempt}")),
            Self::Numbers(..) => None,
            Self::Url(url) => Some(url.clone()),
        }
    }
}

impl Source {
    /// A repository by its URL.
    fn new(url: &str, reference: Option<String>, commit: Option<String>) -> Self {
        Self { repository: repository(url.strip_prefix("git+").unwrap_or(url)).to_owned(), reference, commit }
    }

    /// `git+https://host/owner/repo@ref` (SPDX's form); the ref may be missing.
    fn from_uri(uri: &str, commit: Option<String>) -> Self {
        match uri.rsplit_once('@') {
            Some((url, reference)) => Self::new(url, Some(reference.to_owned()), commit),
            None => Self::new(uri, None, commit),
        }
    }

    /// A material, or a dependency.
    fn of_material(value: &Value, at: &str) -> Result<Self, Refusal> {
        let mut material = Members::of(value, at)?;
        let commit = commit(&mut material.object("digest")?)?;
        Ok(Self::from_uri(&material.need("uri")?, commit))
    }

    /// The first of a list of materials.
    fn first(list: &[Value], at: &str) -> Result<Self, Refusal> {
        let first =
            list.first().ok_or_else(|| Check::ProvenanceMalformed.refuse("none", format_args!("the source first in {at}")))?;
        Self::of_material(first, at)
    }
}

/// The repository's URL without the `.git` behind it: Git servers take both, and so do people.
pub(crate) fn repository(url: &str) -> &str {
    url.strip_suffix(".git").unwrap_or(url)
}

/// The commit among digests, under each of the names that it has been given.
fn commit(digest: &mut Members<'_>) -> Result<Option<String>, Refusal> {
    let commit = digest.fact(&["gitCommit", "sha1"], Check::ClaimCommit)?;
    match &commit {
        Some(hex) if !is_commit(hex) => {
            Err(Check::ProvenanceMalformed.refuse(hex, "a commit in 40 or 64 digits of lowercase hex"))
        }
        _ => Ok(commit),
    }
}

fn is_commit(hex: &str) -> bool {
    matches!(hex.len(), 40 | 64) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Both, where one fact has two places.
fn agreed(one: Option<String>, other: Option<String>, check: Check) -> Result<Option<String>, Refusal> {
    fact([one, other].into_iter().flatten(), check)
}

#[cfg(test)]
mod tests;
