//! Whether proven provenance says what the policy asks: signer, builder, source, ref, trigger, and that all its parts agree.
//!
//! The certificate is the identity provider's word about the run, the predicate the builder's. Each is compared with the policy, and
//! they with each other: the source must be the same in certificate, trigger and material.

use crate::error::{Check, or_none};
use crate::policy::{Policy, RefRule};
use crate::root::SigstoreRoot;
use crate::slsa::{Claims, Run};
use crate::statement::Statement;
use crate::verify::{self, Artifact, Proven};
use jiff::Timestamp;
use serde::Serialize;
use sigstore_crypto::FulcioCiClaims;
use slipway_protocol::{Refusal, Sha256, Sha512, Version};

/// The artifact that provenance is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its name among the provenance's subjects.
    pub name: &'a str,
    /// Its SHA-256.
    pub sha256: Option<Sha256>,
    /// Its SHA-512. Whoever gives both must have them of the same bytes.
    pub sha512: Option<Sha512>,
    /// The release's version, for policies that bind the tag to it.
    pub version: Option<&'a Version>,
}

/// What was established about an artifact's build. Data for reports: it vouches for nothing by itself.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Provenance {
    /// The artifact's name among the subjects.
    pub subject: String,
    /// Which digest matched: `sha256` or `sha512`.
    pub digest_algorithm: &'static str,
    /// The certificate's identity.
    pub identity: String,
    /// Who vouched for it.
    pub issuer: String,
    /// Who built.
    pub builder: String,
    /// How it was built.
    pub build_type: String,
    /// Type of the predicate.
    pub predicate_type: String,
    /// The source repository.
    pub source: String,
    /// The branch or tag that was built.
    pub source_ref: String,
    /// The commit that was built.
    pub commit: String,
    /// The workflow's path in the repository.
    pub workflow: Option<String>,
    /// The event that started the build.
    pub trigger: String,
    /// Where the run can be looked at.
    pub run: Option<String>,
    /// Every verified time of the signature, earliest first.
    pub signed_times: Vec<Timestamp>,
    /// The transparency log, by host name.
    pub log: Option<String>,
    /// The entry's index in that log.
    pub log_index: Option<u64>,
}

/// GitHub's identity provider, whose older certificates carry only `owner/repository`.
const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";
/// The SLSA builders' repository; its workflows count only at a release tag.
const GENERATOR: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/";
/// How GitHub and npm name their builder: the runner, since any workflow may attest.
const RUNNER: &str = "https://github.com/actions/runner";

/// Verifies that a Sigstore bundle is provenance for `subject` that satisfies `policy`.
///
/// # Errors
/// The first check that refuses.
pub fn verify_provenance(
    bundle: &[u8],
    root: &SigstoreRoot,
    policy: &Policy,
    subject: &Subject<'_>,
) -> Result<Provenance, Refusal> {
    let bundle = verify::admit(bundle, root, policy.log)?;
    let statement = Statement::parse(verify::payload(&bundle)?)?;
    let form = statement.form(subject)?;
    let proven = verify::prove(&bundle, root, form, policy.log)?;
    // From here on everything is authentic; what is left is whether it is what we want.
    check_signer(&proven, policy, subject.version)?;
    statement.covers(subject)?;
    if !policy.predicate_types.contains(&statement.predicate_type) {
        return Err(Check::PolicyPredicate.refuse(&statement.predicate_type, policy.predicate_types.join(" or ")));
    }
    let claims = Claims::read(&statement.predicate_type, &statement.predicate)?;
    let certificate = Certified::read(&proven)?;
    agrees(Check::ClaimSigner, certificate.claims.build_signer_uri.as_deref(), Some(&proven.identity))?;
    check_builder(&proven, &claims, &certificate, policy, subject.version)?;
    check_source(&claims, &certificate, policy)?;
    let commit = check_commit(&claims, &certificate)?;
    check_ref(&claims, &certificate, policy, subject.version)?;
    check_run(&claims, &certificate, policy)?;
    let digest_algorithm = if matches!(form, Artifact::Sha512(_)) { "sha512" } else { "sha256" };
    Ok(Provenance {
        subject: subject.name.to_owned(),
        digest_algorithm,
        identity: proven.identity,
        issuer: proven.issuer,
        builder: claims.builder,
        build_type: claims.build_type,
        predicate_type: statement.predicate_type,
        source: certificate.source,
        source_ref: certificate.reference,
        commit,
        workflow: claims.workflow,
        trigger: certificate.trigger,
        run: certificate.claims.run_invocation_uri.clone(),
        signed_times: proven.evidence.signed_times,
        log: proven.evidence.log,
        log_index: proven.evidence.log_index,
    })
}

/// What the certificate says about the run, old and new extensions reconciled.
struct Certified {
    source: String,
    reference: String,
    commit: Option<String>,
    trigger: String,
    claims: FulcioCiClaims,
}

impl Certified {
    fn read(proven: &Proven) -> Result<Self, Refusal> {
        let claims = proven.certificate.ci_claims.clone();
        let old = &claims.deprecated_github;
        let repository = old.workflow_repository.as_ref().filter(|_| proven.issuer == GITHUB_ISSUER);
        let repository = repository.map(|name| format!("https://github.com/{name}"));
        let source = same(Check::ClaimSource, claims.source_repository_uri.as_ref(), repository.as_ref())?;
        let reference = same(Check::ClaimRef, claims.source_repository_ref.as_ref(), old.workflow_ref.as_ref())?;
        let commit = same(Check::ClaimCommit, claims.source_repository_digest.as_ref(), old.workflow_sha.as_ref())?;
        let trigger = same(Check::ClaimTrigger, claims.build_trigger.as_ref(), old.workflow_trigger.as_ref())?;
        let missing = |what: &str| Check::ClaimMissing.refuse("nothing", format_args!("{what} in the certificate"));
        Ok(Self {
            source: source.ok_or_else(|| missing("a source repository"))?,
            reference: reference.ok_or_else(|| missing("a source ref"))?,
            commit,
            trigger: trigger.ok_or_else(|| missing("a trigger"))?,
            claims,
        })
    }

    /// Certificates from before 2023-03 have none of the newer claims.
    fn is_old(&self) -> bool {
        self.claims.source_repository_uri.is_none()
    }
}

/// The value that both have, or the one that one has.
fn same(check: Check, new: Option<&String>, old: Option<&String>) -> Result<Option<String>, Refusal> {
    match (new, old) {
        (Some(new), Some(old)) if new != old => Err(check.refuse(old, new)),
        (new, old) => Ok(new.or(old).cloned()),
    }
}

/// Refuses unless a claim, if it is made, equals what the certificate says.
fn agrees(check: Check, claimed: Option<&str>, certified: Option<&str>) -> Result<(), Refusal> {
    match (claimed, certified) {
        (Some(claimed), Some(certified)) if claimed != certified => Err(check.refuse(claimed, certified)),
        _ => Ok(()),
    }
}

fn check_signer(proven: &Proven, policy: &Policy, version: Option<&Version>) -> Result<(), Refusal> {
    if proven.issuer != policy.issuer {
        return Err(Check::PolicyIssuer.refuse(&proven.issuer, &policy.issuer));
    }
    if version.is_none() && policy.is_bound_to_version() {
        return Err(Check::PolicyVersion.refuse("none", "a version"));
    }
    if !policy.identities.iter().any(|pattern| pattern.matches(&proven.identity, version)) {
        return Err(Check::PolicyIdentity.refuse(&proven.identity, policy.list(&policy.identities, version)));
    }
    if proven.identity.starts_with(GENERATOR) && !at_release_tag(&proven.identity) {
        return Err(Check::PolicyIdentity.refuse(&proven.identity, "the builder at a release tag, @refs/tags/vX.Y.Z"));
    }
    Ok(())
}

fn at_release_tag(workflow: &str) -> bool {
    let tag = workflow.rsplit_once('@').and_then(|(_, reference)| reference.strip_prefix("refs/tags/v"));
    tag.and_then(|tag| tag.parse::<semver::Version>().ok()).is_some_and(|tag| tag.pre.is_empty() && tag.build.is_empty())
}

fn check_builder(
    proven: &Proven,
    claims: &Claims,
    certificate: &Certified,
    policy: &Policy,
    version: Option<&Version>,
) -> Result<(), Refusal> {
    let (builder, identity) = (claims.builder.as_str(), proven.identity.as_str());
    let wanted = if policy.builders.is_empty() { identity.to_owned() } else { policy.list(&policy.builders, version) };
    let accepted = match policy.builders.as_slice() {
        [] => builder == identity,
        builders => builders.iter().any(|pattern| pattern.matches(builder, version)),
    };
    if !accepted {
        return Err(Check::PolicyBuilder.refuse(builder, wanted));
    }
    if !policy.build_types.is_empty() && !policy.build_types.contains(&claims.build_type) {
        return Err(Check::PolicyBuilder.refuse(&claims.build_type, policy.build_types.join(" or ")));
    }
    let runner = certificate.claims.runner_environment.as_deref();
    agrees(Check::ClaimRunner, claims.runner.as_deref(), runner)?;
    if let Some(kind) = builder.strip_prefix(RUNNER) {
        // GitHub and npm: any workflow may sign, so the identity alone says which; the builder must be the runner it ran on.
        agrees(Check::ClaimRunner, kind.strip_prefix('/'), runner)?;
    } else if let Some(delegator) = identity.strip_prefix(GENERATOR).filter(|rest| rest.starts_with("delegator_")) {
        // The delegator signs for the builder that called it. Builders of its own repository are released together with it.
        let tag = |workflow: &str| workflow.rsplit_once('@').map(|(_, tag)| tag.to_owned());
        if builder.starts_with(GENERATOR) && tag(builder) != tag(delegator) {
            return Err(Check::PolicyBuilderIdentity.refuse(builder, identity));
        }
    } else if builder != identity {
        return Err(Check::PolicyBuilderIdentity.refuse(builder, identity));
    }
    match runner {
        Some("github-hosted") => Ok(()),
        None if certificate.is_old() => Ok(()),
        _ if policy.unsafe_self_hosted_runner => Ok(()),
        other => Err(Check::PolicyRunner.refuse(or_none(other), "github-hosted")),
    }
}

fn check_source(claims: &Claims, certificate: &Certified, policy: &Policy) -> Result<(), Refusal> {
    if certificate.source != policy.source {
        return Err(Check::PolicySource.refuse(&certificate.source, &policy.source));
    }
    for source in [&claims.trigger, &claims.material] {
        if source.repository != certificate.source {
            return Err(Check::ClaimSource.refuse(&source.repository, &certificate.source));
        }
    }
    let ids = [
        (&policy.repository_id, &certificate.claims.source_repository_identifier, &claims.repository_id),
        (&policy.owner_id, &certificate.claims.source_repository_owner_identifier, &claims.owner_id),
    ];
    for (wanted, certified, claimed) in ids {
        agrees(Check::ClaimIds, claimed.as_deref(), certified.as_deref())?;
        if wanted.is_some() && wanted != certified {
            return Err(Check::PolicyIds.refuse(or_none(certified.as_ref()), or_none(wanted.as_ref())));
        }
    }
    Ok(())
}

fn check_commit(claims: &Claims, certificate: &Certified) -> Result<String, Refusal> {
    let missing = |what: &str| Check::ClaimMissing.refuse("nothing", format_args!("a commit in the {what}"));
    let commit = certificate.commit.as_ref().ok_or_else(|| missing("certificate"))?;
    let material = claims.material.commit.as_ref().ok_or_else(|| missing("provenance's material"))?;
    for claimed in [Some(material), claims.trigger.commit.as_ref(), claims.environment.1.as_ref()] {
        agrees(Check::ClaimCommit, claimed.map(String::as_str), Some(commit))?;
    }
    Ok(commit.clone())
}

fn check_ref(claims: &Claims, certificate: &Certified, policy: &Policy, version: Option<&Version>) -> Result<(), Refusal> {
    let seen = certificate.reference.as_str();
    if let RefRule::Is(pattern) = &policy.reference
        && !pattern.matches(seen, version)
    {
        return Err(Check::PolicyRef.refuse(seen, pattern.with(version)));
    }
    if claims.trigger.reference.is_none() {
        return Err(Check::ClaimMissing.refuse("nothing", "a source ref in the provenance"));
    }
    for claimed in [&claims.trigger.reference, &claims.material.reference, &claims.environment.0] {
        agrees(Check::ClaimRef, claimed.as_deref(), Some(seen))?;
    }
    Ok(())
}

fn check_run(claims: &Claims, certificate: &Certified, policy: &Policy) -> Result<(), Refusal> {
    let event = certificate.trigger.as_str();
    agrees(Check::ClaimTrigger, claims.event.as_deref(), Some(event))?;
    if !policy.triggers.iter().any(|trigger| trigger == event) {
        return Err(Check::PolicyTrigger.refuse(event, policy.triggers.join(" or ")));
    }
    let (source, reference) = (&certificate.source, &certificate.reference);
    let claimed = claims.workflow.as_ref().map(|path| format!("{source}/{path}@{reference}"));
    agrees(Check::ClaimWorkflow, claimed.as_deref(), certificate.claims.build_config_uri.as_deref())?;
    if policy.workflow.is_some() && policy.workflow != claims.workflow {
        return Err(Check::PolicyWorkflow.refuse(or_none(claims.workflow.as_ref()), or_none(policy.workflow.as_ref())));
    }
    let run = claims.run.as_ref().map(|run| match run {
        Run::Numbers(id, attempt) => format!("{source}/actions/runs/{id}/attempts/{attempt}"),
        Run::Url(url) => url.clone(),
    });
    agrees(Check::ClaimRun, run.as_deref(), certificate.claims.run_invocation_uri.as_deref())
}
