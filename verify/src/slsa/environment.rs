//! Variables of the build's environment: GitHub's with the event that it sent, and GitLab's.

use super::members::{Inputs, Members};
use super::{Claims, Run, Source, agreed};
use crate::error::Check;
use slipway_protocol::Refusal;

/// GitHub's variables and its event. Each may be missing; each that is there must agree with the
/// rest.
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
    /// `OWNER`, likewise.
    pub(crate) owners: Vec<String>,
    /// The repository's immutable id, likewise.
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

/// Where GitHub's variables are: the generator writes `github_x`, npm and the delegator
/// `GITHUB_X`, GitHub itself an object `github`.
struct Variables<'v> {
    flat: Members<'v>,
    nested: Members<'v>,
}

impl<'v> Variables<'v> {
    /// One variable under all the names and in all the places that it may have.
    fn fact(&mut self, names: &[&str], check: Check) -> Result<Option<String>, Refusal> {
        let flat: Vec<String> = names.iter().map(|name| format!("github_{name}")).collect();
        let flat: Vec<&str> = flat.iter().map(String::as_str).collect();
        agreed(self.flat.fact(&flat, check)?, self.nested.fact(names, check)?, check)
    }

    /// What GitHub sent to start the build.
    fn event(&mut self) -> Result<Members<'v>, Refusal> {
        let flat = ["github_event_payload", "GITHUB_EVENT_PAYLOAD"].map(|name| self.flat.take(name));
        let mut all = flat.into_iter().chain([self.nested.take("event_payload")]).flatten();
        let first = all.next();
        if all.any(|other| Some(other) != first) {
            return Err(Check::ProvenanceMalformed.refuse("two events", "one event, whatever its name"));
        }
        first.map_or_else(|| Ok(Members::none()), |event| Members::of(event, "the event's payload"))
    }
}

/// Reads GitHub's variables and its event out of what the builder recorded. What came with the
/// event from outside is an input.
pub(super) fn github(mut recorded: Members<'_>, inputs: &mut Inputs) -> Result<(Environment, Vec<Run>), Refusal> {
    let nested = recorded.object("github")?;
    let mut variables = Variables { flat: recorded, nested };
    let mut event = variables.event()?;
    inputs.add_named(event.take("inputs"))?;
    inputs.add_named(event.take("client_payload"))?;
    let name = variables.fact(&["event_name"], Check::ClaimTrigger)?;
    // A push and a dispatch name the whole ref; a release only its tag; other events mean other
    // things by `ref`.
    let sent = match name.as_deref() {
        Some("push" | "workflow_dispatch") => event.fact(&["ref"], Check::ClaimRef)?,
        Some("release") => event.object("release")?.fact(&["tag_name"], Check::ClaimRef)?.map(|tag| format!("refs/tags/{tag}")),
        _ => None,
    };
    let mut repository = event.object("repository")?;
    let mut owner = repository.object("owner")?;
    let mut both = |name: &str, sent: Option<String>, check| -> Result<Vec<String>, Refusal> {
        Ok(variables.fact(&[name], check)?.into_iter().chain(sent).collect())
    };
    let environment = Environment {
        references: both("ref", sent, Check::ClaimRef)?,
        repositories: both("repository", repository.fact(&["full_name"], Check::ClaimSource)?, Check::ClaimSource)?,
        owners: both("repository_owner", owner.fact(&["login"], Check::ClaimSource)?, Check::ClaimSource)?,
        repository_ids: both("repository_id", repository.fact(&["id"], Check::ClaimIds)?, Check::ClaimIds)?,
        owner_ids: both("repository_owner_id", owner.fact(&["id"], Check::ClaimIds)?, Check::ClaimIds)?,
        ref_type: variables.fact(&["ref_type"], Check::ClaimRef)?,
        commit: variables.fact(&["sha1", "sha"], Check::ClaimCommit)?,
        workflow: variables.fact(&["workflow_ref"], Check::ClaimWorkflow)?,
        workflow_commit: variables.fact(&["workflow_sha"], Check::ClaimCommit)?,
        runner: variables.fact(&["runner_environment"], Check::ClaimRunner)?,
        event: name,
    };
    let run = (variables.fact(&["run_id"], Check::ClaimRun)?, variables.fact(&["run_attempt"], Check::ClaimRun)?);
    let runs = if run == (None, None) { Vec::new() } else { vec![Run::Numbers(run.0, run.1)] };
    Ok((environment, runs))
}

/// Reads what GitLab's predefined variables say about the source. Who starts a pipeline with
/// variables may overrule them, so they count only beside a policy that takes any inputs, which
/// the others of them need anyway.
pub(super) fn gitlab(variables: &mut Members<'_>, claims: &mut Claims) -> Result<(), Refusal> {
    let tag = variables.fact(&["CI_COMMIT_TAG"], Check::ClaimRef)?.map(|tag| format!("refs/tags/{tag}"));
    let branch = variables.fact(&["CI_COMMIT_BRANCH"], Check::ClaimRef)?.map(|branch| format!("refs/heads/{branch}"));
    let reference = agreed(tag, branch, Check::ClaimRef)?;
    if let Some(reference) = &reference {
        let short = variables.fact(&["CI_COMMIT_REF_NAME"], Check::ClaimRef)?;
        let long = reference.splitn(3, '/').nth(2).map(str::to_owned);
        agreed(long, short, Check::ClaimRef)?;
    }
    let commit = variables.fact(&["CI_COMMIT_SHA"], Check::ClaimCommit)?;
    let url = variables.fact(&["CI_PROJECT_URL"], Check::ClaimSource)?;
    let url = url.unwrap_or_else(|| claims.material.repository.clone());
    claims.stated.push(Source::new(&url, reference, commit));
    let event = variables.fact(&["CI_PIPELINE_SOURCE"], Check::ClaimTrigger)?;
    claims.environment.event = agreed(claims.environment.event.take(), event, Check::ClaimTrigger)?;
    Ok(())
}
