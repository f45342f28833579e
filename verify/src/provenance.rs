//! Checks proven provenance against a policy: signer, builder, source, ref, trigger, consistency.
//!
//! The certificate is the identity provider's word about the run, the predicate the builder's. Each is compared with the policy, and
//! they with each other: the source must be the same in certificate, trigger and material. Where keys sign in place of certificates
//! ([`keys`]), the statement's own parts are held against each other.

use crate::error::{Check, or_none};
use crate::evidence::{Artifact, Proven, Subject};
use crate::policy::{Alternative, CertificateRule, Policy, RUNNER, RefRule, Rules, SignedBy, Signers};
use crate::root::SigstoreRoot;
use crate::sigstore;
use crate::slsa::Claims;
use crate::statement::Statement;
use facts::{Facts, agrees};
use jiff::Timestamp;
use serde::Serialize;
use slipway_protocol::refusal::printable;
use slipway_protocol::{Refusal, Sha256, Version};

mod facts;
mod keys;

/// What was established about an artifact's build. Data for reports: it gives no authority.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Provenance {
    /// The artifact's name among the subjects.
    pub subject: String,
    /// Which digest matched: `sha256` or `sha512`.
    pub digest_algorithm: &'static str,
    /// The certificate's identity; none where keys signed.
    pub identity: Option<String>,
    /// Who signed it.
    pub issuer: Option<String>,
    /// The keys that signed, where the policy lists keys.
    pub keys: Vec<KeySignature>,
    /// How many keys had to sign.
    pub threshold: Option<usize>,
    /// Who built.
    pub builder: String,
    /// How it was built.
    pub build_type: String,
    /// Type of the predicate.
    pub predicate_type: String,
    /// The source repository.
    pub source: String,
    /// The branch or tag that was built; empty where the builder records none and the policy takes
    /// any.
    pub source_ref: String,
    /// The commit that was built.
    pub commit: String,
    /// The workflow's path in the repository.
    pub workflow: Option<String>,
    /// The event that started the build.
    pub trigger: Option<String>,
    /// The kind of machine that it ran on.
    pub runner: Option<String>,
    /// Where the run can be looked at.
    pub run: Option<String>,
    /// The source repository's immutable id.
    pub repository_id: Option<String>,
    /// Its owner's immutable id.
    pub owner_id: Option<String>,
    /// Every verified time of the signature, earliest first.
    pub signed_times: Vec<Timestamp>,
    /// The transparency log, by host name.
    pub log: Option<String>,
    /// The entry's index in that log.
    pub log_index: Option<u64>,
    /// The policy that accepted it, in few words.
    pub policy: String,
    /// The SHA-256 of that policy's text.
    pub policy_sha256: Sha256,
}

/// What one of the policy's keys was found to have signed, and when.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeySignature {
    /// What the policy calls the key.
    pub name: String,
    /// SHA-256 of the key, as SubjectPublicKeyInfo.
    pub key: Sha256,
    /// Every verified time of the signature, earliest first.
    pub signed_times: Vec<Timestamp>,
    /// The transparency log, by host name.
    pub log: Option<String>,
    /// The entry's index in that log.
    pub log_index: Option<u64>,
}

/// Verifies that `evidence` is provenance for `subject` that satisfies `policy`.
///
/// The evidence is a Sigstore bundle; for a policy with keys it is one or several, one per line.
///
/// ```
/// use slipway_protocol::Sha256;
/// use slipway_testkit::sigstore::{Attestation, PrivateSigstore};
/// use slipway_verify::{Policy, SigstoreRoot, Subject, verify_provenance};
///
/// // A private Sigstore signs what KubeEdge's release workflow would sign.
/// let sigstore = PrivateSigstore::new("example");
/// let archive = b"an archive";
/// let name = "kubeedge-v1.23.1-linux-arm64.tar.gz";
/// let evidence = sigstore.attest(&Attestation::kubeedge("v1.23.1").artifact(name, archive));
///
/// let root = SigstoreRoot::parse(&sigstore.trusted_root())?;
/// let policy = Policy::parse("component = \"edgecore\"\npreset = \"kubeedge\"\nprofile = \"private\"\n")?;
/// let version = "v1.23.1".parse().unwrap();
/// let subject = |bytes| Subject {
///     name, sha256: Some(Sha256::of(bytes)), sha512: None, version: Some(&version),
/// };
/// let provenance = verify_provenance(&evidence, &root, &policy, &subject(archive))?;
/// assert_eq!(provenance.source, "https://github.com/kubeedge/kubeedge");
///
/// let refusal = verify_provenance(&evidence, &root, &policy, &subject(b"another")).unwrap_err();
/// assert_eq!(refusal.code, "SLW-V-ARTIFACT-DIGEST");
/// # Ok::<(), slipway_verify::Refusal>(())
/// ```
///
/// # Errors
/// The first check that refuses.
pub fn verify_provenance(
    evidence: &[u8],
    root: &SigstoreRoot,
    policy: &Policy,
    subject: &Subject<'_>,
) -> Result<Provenance, Refusal> {
    if let Signers::Keys(rule) = &policy.own.signers {
        return keys::verify(evidence, root, policy, rule, subject);
    }
    let bundle = sigstore::admit(evidence, root, policy.log)?;
    let statement = Statement::parse(sigstore::payload(&bundle)?)?;
    let form = statement.form(subject)?;
    let proven = sigstore::prove(&bundle, root, form, policy.log)?;
    if let Some(profile) = policy.profile {
        profile.accepts(&bundle, &proven)?;
    }
    has_version(policy, subject.version)?;
    // From here on everything is authentic; the question is whether it is acceptable.
    let (alternative, claims, facts) = judge(&statement, &proven, policy, subject)?;
    let mut found = found(policy.title_of(alternative), policy, subject, form, &statement, claims, facts);
    found.identity = Some(proven.identity);
    found.issuer = Some(proven.issuer);
    found.signed_times = proven.evidence.signed_times;
    found.log = proven.evidence.log;
    found.log_index = proven.evidence.log_index;
    Ok(found)
}

/// How many checks an alternative has passed, in their one order: whichever came furthest has the
/// most to say.
#[derive(Default)]
struct Passed(usize);

impl Passed {
    fn when<T>(&mut self, check: Result<T, Refusal>) -> Result<T, Refusal> {
        if check.is_ok() {
            self.0 = self.0.saturating_add(1);
        }
        check
    }
}

/// Whether a proven statement and its proven signer are what one of the policy's alternatives
/// wants, in all its parts.
fn judge<'p>(
    statement: &Statement,
    proven: &Proven,
    policy: &'p Policy,
    subject: &Subject<'_>,
) -> Result<(&'p Alternative, Claims, Facts), Refusal> {
    let mut furthest: Option<(usize, &Alternative, Refusal)> = None;
    for alternative in policy.alternatives() {
        let mut passed = Passed::default();
        match judge_by(statement, proven, alternative, subject, &mut passed) {
            Ok((claims, facts)) => return Ok((alternative, claims, facts)),
            Err(why) if furthest.as_ref().is_none_or(|(most, ..)| passed.0 > *most) => {
                furthest = Some((passed.0, alternative, why));
            }
            Err(_) => {}
        }
    }
    let (_, alternative, why) =
        furthest.ok_or_else(|| Check::PolicyEmpty.refuse("nothing that is accepted", "an alternative"))?;
    let others = policy.alternatives().filter(|other| !std::ptr::eq(*other, alternative));
    let others: Vec<String> = others.map(|other| policy.name_of(other)).collect();
    if others.is_empty() {
        return Err(why);
    }
    let name = policy.name_of(alternative);
    Err(Refusal { wanted: printable(&format!("{} ({name} came furthest; tried too: {})", why.wanted, others.join(", "))), ..why })
}

fn judge_by(
    statement: &Statement,
    proven: &Proven,
    alternative: &Alternative,
    subject: &Subject<'_>,
    passed: &mut Passed,
) -> Result<(Claims, Facts), Refusal> {
    let Signers::Certificate(rule) = &alternative.signers else {
        return Err(Check::KeyMismatch.refuse("a certificate", "keys that the policy lists"));
    };
    passed.when(if proven.issuer == rule.issuer {
        Ok(())
    } else {
        Err(Check::PolicyIssuer.refuse(&proven.issuer, &rule.issuer))
    })?;
    passed.when(check_identity(proven, rule, subject.version))?;
    let facts = |claims: &Claims| {
        check_signer(proven, claims, rule)?;
        Facts::certified(proven)
    };
    check_statement(statement, &alternative.rules, subject, facts, passed)
}

/// Everything that can be asked of an authentic statement: that it is about the artifact, is of a kind the policy takes, and says what the
/// policy wants in all its parts. `facts` tells what its claims are held against.
fn check_statement(
    statement: &Statement,
    rules: &Rules,
    subject: &Subject<'_>,
    facts: impl FnOnce(&Claims) -> Result<Facts, Refusal>,
    passed: &mut Passed,
) -> Result<(Claims, Facts), Refusal> {
    passed.when(statement.covers(subject))?;
    passed.when(one_of(Check::PolicyPredicate, &statement.predicate_type, &rules.predicate_types))?;
    let claims = passed.when(Claims::read(&statement.predicate_type, &statement.predicate))?;
    passed.when(check_builder(&claims, rules, subject.version))?;
    if !rules.build_types.is_empty() {
        one_of(Check::PolicyBuilder, &claims.build_type, &rules.build_types)?;
    }
    let mut facts = passed.when(facts(&claims))?;
    passed.when(check_runner(&claims, &facts, rules))?;
    passed.when(check_source(&facts, rules))?;
    passed.when(check_ref(&facts, rules, subject.version))?;
    passed.when(check_trigger(&facts, rules))?;
    passed.when(facts.agree(&claims))?;
    passed.when(check_inputs(&claims, rules))?;
    passed.when(check_workflow(&facts, rules))?;
    Ok((claims, facts))
}

fn found(
    title: String,
    policy: &Policy,
    subject: &Subject<'_>,
    form: Artifact<'_>,
    statement: &Statement,
    claims: Claims,
    facts: Facts,
) -> Provenance {
    Provenance {
        subject: subject.name.to_owned(),
        digest_algorithm: if matches!(form, Artifact::Sha512(_)) { "sha512" } else { "sha256" },
        identity: None,
        issuer: None,
        keys: Vec::new(),
        threshold: None,
        builder: claims.builder,
        build_type: claims.build_type,
        predicate_type: statement.predicate_type.clone(),
        source: facts.source,
        source_ref: facts.reference.unwrap_or_default(),
        commit: facts.commit,
        workflow: facts.workflow,
        trigger: facts.trigger,
        runner: facts.runner,
        run: facts.run,
        repository_id: facts.repository_id,
        owner_id: facts.owner_id,
        signed_times: Vec::new(),
        log: None,
        log_index: None,
        policy: title,
        policy_sha256: *policy.digest(),
    }
}

fn has_version(policy: &Policy, version: Option<&Version>) -> Result<(), Refusal> {
    if version.is_none() && policy.is_bound_to_version() {
        return Err(Check::PolicyVersion.refuse("none", "a version"));
    }
    Ok(())
}

fn check_identity(proven: &Proven, rule: &CertificateRule, version: Option<&Version>) -> Result<(), Refusal> {
    let identity = &proven.identity;
    if !rule.identities.accept(identity, version) {
        return Err(Check::PolicyIdentity.refuse(identity, rule.identities.words(version)));
    }
    if identity.starts_with(crate::policy::GENERATOR) && !at_release_tag(identity) {
        return Err(Check::PolicyIdentity.refuse(identity, "the builder at a release tag, @refs/tags/vX.Y.Z"));
    }
    Ok(())
}

fn at_release_tag(workflow: &str) -> bool {
    let tag = workflow.rsplit_once('@').and_then(|(_, reference)| crate::policy::of_tag(reference));
    tag.is_some_and(|tag| tag.pre.is_empty() && tag.build.is_empty())
}

/// What the one who signed has to do with the builder that the provenance names.
fn check_signer(proven: &Proven, claims: &Claims, rule: &CertificateRule) -> Result<(), Refusal> {
    let (builder, identity) = (claims.builder.as_str(), proven.identity.as_str());
    let claimed = &proven.certificate.ci_claims;
    let fits = match rule.signed_by {
        SignedBy::Builder => builder == identity,
        // Builders of the delegator's own repository are released together with it.
        SignedBy::Delegator => {
            let tag = |workflow: &str| workflow.rsplit_once('@').map(|(_, tag)| tag.to_owned());
            !builder.starts_with(crate::policy::GENERATOR) || tag(builder) == tag(identity)
        }
        // `…/runner/github-hosted` must be the kind that the certificate names; plain `…/runner` names none.
        SignedBy::Runner => {
            let kind = builder.strip_prefix(RUNNER).and_then(|rest| rest.strip_prefix('/'));
            return agrees(Check::ClaimRunner, kind, claimed.runner_environment.as_deref());
        }
    };
    if fits { Ok(()) } else { Err(Check::PolicyBuilderIdentity.refuse(builder, identity)) }
}

fn check_runner(claims: &Claims, facts: &Facts, rules: &Rules) -> Result<(), Refusal> {
    agrees(Check::ClaimRunner, claims.environment.runner.as_deref(), facts.runner.as_deref())?;
    // Old certificates do not tell; then what the statement says of itself counts against it.
    match facts.runner.as_deref().or(claims.environment.runner.as_deref()) {
        Some("github-hosted") => Ok(()),
        None if facts.runner_may_be_missing => Ok(()),
        _ if rules.unsafe_self_hosted_runner => Ok(()),
        other => Err(Check::PolicyRunner.refuse(or_none(other), "github-hosted")),
    }
}

fn one_of(check: Check, seen: &String, wanted: &[String]) -> Result<(), Refusal> {
    if wanted.contains(seen) { Ok(()) } else { Err(check.refuse(seen, wanted.join(" or "))) }
}

fn check_builder(claims: &Claims, rules: &Rules, version: Option<&Version>) -> Result<(), Refusal> {
    if rules.builders.accept(&claims.builder, version) {
        return Ok(());
    }
    Err(Check::PolicyBuilder.refuse(&claims.builder, rules.builders.words(version)))
}

fn check_ref(facts: &Facts, rules: &Rules, version: Option<&Version>) -> Result<(), Refusal> {
    let RefRule::Is(pattern) = &rules.reference else { return Ok(()) };
    let reference = facts.reference.as_ref().ok_or_else(facts::no_reference)?;
    if pattern.matches(reference, version) { Ok(()) } else { Err(Check::PolicyRef.refuse(reference, pattern.with(version))) }
}

fn check_workflow(facts: &Facts, rules: &Rules) -> Result<(), Refusal> {
    if rules.workflow.is_none() || rules.workflow == facts.workflow {
        return Ok(());
    }
    Err(Check::PolicyWorkflow.refuse(or_none(facts.workflow.as_ref()), or_none(rules.workflow.as_ref())))
}

fn check_source(facts: &Facts, rules: &Rules) -> Result<(), Refusal> {
    if facts.source != rules.source {
        return Err(Check::PolicySource.refuse(&facts.source, &rules.source));
    }
    for (wanted, seen) in [(&rules.repository_id, &facts.repository_id), (&rules.owner_id, &facts.owner_id)] {
        if wanted.is_some() && wanted != seen {
            return Err(Check::PolicyIds.refuse(or_none(seen.as_ref()), or_none(wanted.as_ref())));
        }
    }
    Ok(())
}

fn check_trigger(facts: &Facts, rules: &Rules) -> Result<(), Refusal> {
    let listed = |event: &str| rules.triggers.iter().any(|trigger| trigger == event) && !crate::policy::is_pull_request(event);
    match facts.trigger.as_deref() {
        Some(event) if listed(event) => Ok(()),
        // Not every builder that a key signs for has events.
        None if facts.trigger_may_be_missing && !rules.triggers_named => Ok(()),
        event => Err(Check::PolicyTrigger.refuse(or_none(event), rules.triggers.join(" or "))),
    }
}

/// Inputs are what a person typed when the build was started: none unless the policy pins them.
fn check_inputs(claims: &Claims, rules: &Rules) -> Result<(), Refusal> {
    if rules.unsafe_any_inputs || claims.inputs == rules.inputs {
        return Ok(());
    }
    let differs = |name: &&String| claims.inputs.get(*name) != rules.inputs.get(*name);
    let name = claims.inputs.keys().chain(rules.inputs.keys()).find(differs);
    let shown = |value: Option<&String>| value.map_or_else(|| "not given".to_owned(), |value| format!("{value:?}"));
    let (seen, wanted) = name.map_or((None, None), |name| (claims.inputs.get(name), rules.inputs.get(name)));
    Err(Check::PolicyInputs.refuse(format_args!("{}: {}", or_none(name), shown(seen)), shown(wanted)))
}

#[cfg(test)]
mod tests;
