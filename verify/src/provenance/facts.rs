//! Facts about a build, and the check that nothing in certificate or provenance contradicts them.
//!
//! With a certificate it is the certificate's claims, old and new extensions reconciled. With a key it is the statement's own trigger,
//! against which its other parts are held.

use crate::error::Check;
use crate::evidence::Proven;
use crate::slsa::{Claims, Run, Source};
use slipway_protocol::Refusal;

/// GitHub's identity provider, whose older certificates carry only `owner/repository`.
const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
/// Where GitHub's repositories are.
const GITHUB: &str = "https://github.com/";

/// A build, by the word that counts most.
pub(super) struct Facts {
    pub(super) source: String,
    /// The full name of the ref; nothing where a builder that a key signs for does not record it.
    pub(super) reference: Option<String>,
    pub(super) commit: String,
    pub(super) trigger: Option<String>,
    /// Path of the workflow in the repository.
    pub(super) workflow: Option<String>,
    pub(super) run: Option<String>,
    pub(super) runner: Option<String>,
    pub(super) repository_id: Option<String>,
    pub(super) owner_id: Option<String>,
    /// URI of the workflow, `SOURCE/PATH@REF`.
    config: Option<String>,
    /// The commit that the workflow was taken from.
    config_commit: Option<String>,
    /// Certificates from before 2023-03 do not name the runner, nor do all builders that keys sign for.
    pub(super) runner_may_be_missing: bool,
    /// Not all builders that keys sign for have events.
    pub(super) trigger_may_be_missing: bool,
}

impl Facts {
    /// By the certificate.
    pub(super) fn certified(proven: &Proven) -> Result<Self, Refusal> {
        let claims = proven.certificate.ci_claims.clone();
        let old = &claims.deprecated_github;
        let repository = old.workflow_repository.as_ref().filter(|_| proven.issuer == GITHUB_ISSUER);
        let repository = repository.map(|name| format!("{GITHUB}{name}"));
        let source = same(Check::ClaimSource, claims.source_repository_uri.as_ref(), repository.as_ref())?;
        let reference = same(Check::ClaimRef, claims.source_repository_ref.as_ref(), old.workflow_ref.as_ref())?;
        let commit = same(Check::ClaimCommit, claims.source_repository_digest.as_ref(), old.workflow_sha.as_ref())?;
        let trigger = same(Check::ClaimTrigger, claims.build_trigger.as_ref(), old.workflow_trigger.as_ref())?;
        agrees(Check::ClaimSigner, claims.build_signer_uri.as_deref(), Some(&proven.identity))?;
        let missing = |what: &str| Check::ClaimMissing.refuse("nothing", format_args!("{what} in the certificate"));
        let source = source.ok_or_else(|| missing("a source repository"))?;
        let reference = reference.ok_or_else(|| missing("a source ref"))?;
        if let Some(owner) = &claims.source_repository_owner_uri
            && !source.strip_prefix(owner.as_str()).is_some_and(|rest| rest.starts_with('/'))
        {
            return Err(Check::ClaimSource.refuse(owner, format_args!("the owner of {source}")));
        }
        // Who signs as the workflow that was run was taken from the same commit.
        if claims.build_config_uri.as_ref() == Some(&proven.identity) {
            agrees(Check::ClaimCommit, claims.build_signer_digest.as_deref(), claims.build_config_digest.as_deref())?;
        }
        Ok(Self {
            workflow: claims.build_config_uri.as_ref().and_then(|uri| path(uri, &source, &reference)),
            source,
            reference: Some(reference),
            commit: commit.ok_or_else(|| missing("a commit"))?,
            trigger: Some(trigger.ok_or_else(|| missing("a trigger"))?),
            run: claims.run_invocation_uri,
            runner: claims.runner_environment,
            repository_id: claims.source_repository_identifier,
            owner_id: claims.source_repository_owner_identifier,
            config: claims.build_config_uri,
            config_commit: claims.build_config_digest,
            runner_may_be_missing: claims.source_repository_uri.is_none(),
            trigger_may_be_missing: false,
        })
    }

    /// By the statement itself, for want of a certificate. Each fact is taken where it counts
    /// most, and [`Self::agree`] holds the rest against it.
    pub(super) fn claimed(claims: &Claims) -> Result<Self, Refusal> {
        let environment = &claims.environment;
        let source = claims.sources().next().unwrap_or(&claims.material).repository.clone();
        let reference = claims.sources().find_map(|source| source.reference.clone());
        Ok(Self {
            reference: reference.or_else(|| environment.references.first().cloned()),
            commit: claims.sources().find_map(|source| source.commit.clone()).ok_or_else(no_commit)?,
            trigger: environment.event.clone(),
            workflow: claims.workflow.clone(),
            run: claims.runs.iter().find_map(|run| run.url(&source)),
            runner: environment.runner.clone(),
            repository_id: environment.repository_ids.first().cloned(),
            owner_id: environment.owner_ids.first().cloned(),
            source,
            config: None,
            config_commit: None,
            runner_may_be_missing: true,
            trigger_may_be_missing: true,
        })
    }

    /// Refuses whatever the provenance says otherwise.
    pub(super) fn agree(&mut self, claims: &Claims) -> Result<(), Refusal> {
        let (source, environment) = (self.source.as_str(), &claims.environment);
        for Source { repository, .. } in claims.sources() {
            agrees(Check::ClaimSource, Some(repository), Some(source))?;
        }
        // GitHub's variables name it without the server, which may be another than github.com.
        let (server, name) = server_and_name(source);
        all(Check::ClaimSource, &environment.repositories, Some(name))?;
        all(Check::ClaimSource, &environment.owners, name.split('/').next())?;
        all(Check::ClaimIds, &environment.repository_ids, self.repository_id.as_deref())?;
        all(Check::ClaimIds, &environment.owner_ids, self.owner_id.as_deref())?;

        if claims.material.commit.is_none() {
            return Err(no_commit());
        }
        let commits = claims.sources().filter_map(|source| source.commit.as_ref());
        all(Check::ClaimCommit, commits.chain(&environment.commit), Some(&self.commit))?;
        agrees(Check::ClaimCommit, environment.workflow_commit.as_deref(), self.config_commit.as_deref())?;

        let references: Vec<&String> = claims.sources().filter_map(|source| source.reference.as_ref()).collect();
        if references.is_empty() && environment.references.is_empty() && self.reference.is_some() {
            return Err(no_reference());
        }
        all(Check::ClaimRef, references.into_iter().chain(&environment.references), self.reference.as_deref())?;
        if let Some(reference) = &self.reference {
            let kinds = [("refs/tags/", "tag"), ("refs/heads/", "branch")];
            let kind = kinds.into_iter().find(|(head, _)| reference.starts_with(head)).map(|(_, kind)| kind);
            agrees(Check::ClaimRef, environment.ref_type.as_deref(), kind)?;
        }

        agrees(Check::ClaimTrigger, environment.event.as_deref(), self.trigger.as_deref())?;
        let at = self.reference.as_deref().unwrap_or_default();
        let configs = [
            claims.workflow.as_ref().map(|path| format!("{source}/{path}@{at}")),
            environment.workflow.as_ref().map(|workflow| format!("{server}{workflow}")),
        ];
        for config in configs.iter().flatten() {
            match &self.config {
                Some(known) if known != config => return Err(Check::ClaimWorkflow.refuse(config, known)),
                Some(_) => {}
                // The first to say so, where there is no certificate that does.
                None => self.config = Some(config.clone()),
            }
        }
        if self.workflow.is_none() {
            self.workflow.clone_from(&claims.workflow);
        }
        claims.runs.iter().try_for_each(|run| self.is_run(run))
    }

    /// Refuses another run than the known one.
    fn is_run(&self, run: &Run) -> Result<(), Refusal> {
        let Some(known) = &self.run else { return Ok(()) };
        let Run::Numbers(id, attempt) = run else {
            return agrees(Check::ClaimRun, run.url(&self.source).as_deref(), Some(known));
        };
        let numbers = known.strip_prefix(&self.source).and_then(|rest| rest.strip_prefix("/actions/runs/"));
        let Some((known_id, known_attempt)) = numbers.and_then(|rest| rest.split_once("/attempts/")) else {
            return Err(Check::ClaimRun.refuse("the numbers of a run of GitHub", known));
        };
        agrees(Check::ClaimRun, id.as_deref(), Some(known_id))?;
        agrees(Check::ClaimRun, attempt.as_deref(), Some(known_attempt))
    }
}

fn no_commit() -> Refusal {
    Check::ClaimMissing.refuse("nothing", "a commit of the source in the provenance")
}

/// The ref is asked for, and the provenance does not record it.
pub(super) fn no_reference() -> Refusal {
    Check::ClaimMissing
        .refuse("nothing", "a source ref in the provenance; where its builder records none, the policy must say unsafe_any_ref")
}

/// A repository's server, with the slash after it, and its name there: `https://github.com/` and `OWNER/REPOSITORY`.
fn server_and_name(source: &str) -> (&str, &str) {
    let scheme = source.find("://").map_or(0, |at| at.saturating_add(3));
    let slash = source.get(scheme..).and_then(|rest| rest.find('/'));
    let end = slash.map_or(scheme, |at| scheme.saturating_add(at).saturating_add(1));
    source.split_at_checked(end).unwrap_or(("", source))
}

/// The workflow's path in `SOURCE/PATH@REF`.
fn path(config: &str, source: &str, reference: &str) -> Option<String> {
    let path = config.strip_prefix(source)?.strip_prefix('/')?.strip_suffix(reference)?.strip_suffix('@')?;
    Some(path.to_owned())
}

/// The value that both have, or the one that one has.
fn same(check: Check, new: Option<&String>, old: Option<&String>) -> Result<Option<String>, Refusal> {
    match (new, old) {
        (Some(new), Some(old)) if new != old => Err(check.refuse(old, new)),
        (new, old) => Ok(new.or(old).cloned()),
    }
}

/// Refuses unless a claim, if it is made, equals what is known.
pub(super) fn agrees(check: Check, claimed: Option<&str>, known: Option<&str>) -> Result<(), Refusal> {
    match (claimed, known) {
        (Some(claimed), Some(known)) if claimed != known => Err(check.refuse(claimed, known)),
        _ => Ok(()),
    }
}

/// The same for several.
fn all<'c>(check: Check, claimed: impl IntoIterator<Item = &'c String>, known: Option<&str>) -> Result<(), Refusal> {
    claimed.into_iter().try_for_each(|claimed| agrees(check, Some(claimed), known))
}
