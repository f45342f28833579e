//! Policies: what provenance must say, in one TOML file per component.
//!
//! A policy that is empty, contradictory, or has a key that is not known does not load; nothing is accepted by default. What loosens it
//! carries `unsafe` in its name. [`Policy::explain`] says in words what is accepted.
//!
//! ```toml
//! component = "edgecore"
//! profile = "public-good"            # or public-good-rekor-v1, public-good-rekor-v2, github, private, keys
//!
//! [certificate]
//! issuer = "https://token.actions.githubusercontent.com"
//!
//! [provenance]
//! builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml"
//! builder_versions = ["1.9.0", ">=2.1.0, <3"]     # of its tag, vX.Y.Z; a prerelease is in no range
//! source = "https://github.com/kubeedge/kubeedge"
//! tag = "v{version}"                 # bound to the release's version
//! triggers = "release"
//! ```
//!
//! `[[also]]` adds complete alternatives, by what differs in them.

use crate::bundle::LogRule;
use crate::error::Check;
use crate::pattern::Pattern;
use crate::root::SigstoreRoot;
use crate::slsa;
use also::Base;
use file::{CertificateTable, File, LogTable, PolicyText, ProvenanceTable, on};
use keys::KeyRule;
use profile::Profile;
use serde::Deserialize as _;
use slipway_protocol::{ComponentName, Refusal, Sha256};
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::DeTable;

mod also;
mod explain;
mod file;
pub(crate) mod keys;
mod newer;
pub(crate) mod profile;
mod versions;
mod workflows;

pub(crate) use versions::of_tag;
pub(crate) use workflows::Workflows;

/// A policy file is under 2 KiB, or 8 KiB with many keys.
const SIZE_LIMIT: usize = 64 * 1024;
/// Identities, builders, triggers in one policy.
const LIST_LIMIT: usize = 64;
/// The reusable workflows that SLSA's own builders are. They count only at a release tag.
pub(crate) const GENERATOR: &str = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/";
/// How GitHub and npm name their builder: the runner, since any workflow may attest.
pub(crate) const RUNNER: &str = "https://github.com/actions/runner";

/// A component's policy. Every part is set and consistent.
#[derive(Clone, Debug)]
pub struct Policy {
    component: ComponentName,
    /// SHA-256 of the text it was read from.
    digest: Sha256,
    preset: Option<String>,
    pub(crate) profile: Option<Profile>,
    /// What the policy says itself, or its preset.
    pub(crate) own: Alternative,
    /// What it accepts besides.
    also: Vec<Alternative>,
    pub(crate) log: LogRule,
}

/// One complete answer to who may sign and what the provenance must say. Evidence satisfies one of
/// them in all its parts, or none.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    /// What an `[[also]]` is called.
    name: Option<String>,
    pub(crate) signers: Signers,
    pub(crate) rules: Rules,
}

/// Who may sign.
#[derive(Clone, Debug)]
pub(crate) enum Signers {
    /// The identity in a certificate, and its issuer.
    Certificate(CertificateRule),
    /// Holders of listed keys.
    Keys(KeyRule),
}

/// Whose certificate counts.
#[derive(Clone, Debug)]
pub(crate) struct CertificateRule {
    pub(crate) issuer: String,
    pub(crate) identities: Workflows,
    pub(crate) signed_by: SignedBy,
}

/// What the one who signed has to do with the builder that the provenance names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignedBy {
    /// They are the same.
    Builder,
    /// SLSA's delegator signed for the builder that called it.
    Delegator,
    /// Any workflow on the runner may sign; the identity says which one.
    Runner,
}

/// What the provenance must say.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// With certificates and [`SignedBy::Builder`] the same as the identities.
    pub(crate) builders: Workflows,
    /// Empty: any.
    pub(crate) build_types: Vec<String>,
    pub(crate) predicate_types: Vec<String>,
    pub(crate) source: String,
    pub(crate) reference: RefRule,
    pub(crate) workflow: Option<String>,
    pub(crate) triggers: Vec<String>,
    /// Whether the policy lists the triggers itself.
    pub(crate) triggers_named: bool,
    pub(crate) inputs: BTreeMap<String, String>,
    pub(crate) unsafe_any_inputs: bool,
    pub(crate) repository_id: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) unsafe_self_hosted_runner: bool,
}

/// Which branches and tags may be built from.
#[derive(Clone, Debug)]
pub(crate) enum RefRule {
    /// The full name of the ref.
    Is(Pattern),
    /// Any. Opt-in.
    UnsafeAny,
}

/// What becomes of keys that are not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reader {
    /// They are mistakes.
    Strict,
    /// They are of a newer version.
    Growing,
}

impl Policy {
    /// Reads a policy.
    ///
    /// ```
    /// use slipway_verify::Policy;
    ///
    /// let policy = Policy::parse("component = \"edgecore\"\npreset = \"kubeedge\"\n")?;
    /// assert!(policy.explain().contains("its source is https://github.com/kubeedge/kubeedge"));
    ///
    /// // Nothing is accepted without a signer, a source and a ref.
    /// let refusal = Policy::parse("component = \"edgecore\"\n").unwrap_err();
    /// assert_eq!(refusal.code, "SLW-V-POLICY-EMPTY");
    /// # Ok::<(), slipway_verify::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// Says what is wrong and in which line.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::parse_by(text, Reader::Strict)
    }

    fn parse_by(text: &str, reader: Reader) -> Result<Self, Refusal> {
        let place = PolicyText(text);
        if text.len() > SIZE_LIMIT {
            return Err(Check::PolicySyntax.refuse(text.len(), format_args!("at most {SIZE_LIMIT} bytes")));
        }
        let syntax = |error: toml::de::Error| {
            let line = error.span().map_or(1, |span| place.line(&span));
            Check::PolicySyntax
                .refuse(format_args!("line {line}: {}", error.message()), "a policy in TOML: docs/VERIFYING.md lists its keys")
        };
        let mut table = DeTable::parse(text).map_err(syntax)?;
        if reader == Reader::Growing {
            newer::without_unknown(table.get_mut())?;
        }
        let file = File::deserialize(toml::de::Deserializer::from(table)).map_err(syntax)?;
        let profile = profile(&place, file.profile.as_ref())?;
        let log = log_rule(&place, profile, &file.log)?;
        let preset = match &file.preset {
            None => None,
            Some(at) => Some(preset(&place, at, &file, profile)?),
        };
        let (base_text, tables) = match &preset {
            None => (text, None),
            Some((name, text)) => (*text, Some(preset_tables(name, text)?)),
        };
        let base = tables.unwrap_or(Base { certificate: file.certificate, provenance: file.provenance });
        let (signers, rules) =
            read(&PolicyText(base_text), profile, base.certificate.clone(), file.keys, base.provenance.clone())?;
        let own = Alternative { name: None, signers, rules };
        let also = also::alternatives(&place, profile, &base, &file.also)?;
        let digest = Sha256::of(text.as_bytes());
        let preset = preset.map(|(name, _)| name.to_owned());
        Ok(Self { component: file.component, digest, preset, profile, own, also, log })
    }

    /// Reads the content of a policy file; a mistake is shown with the file's name.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(file: impl std::fmt::Display, content: &[u8]) -> Result<Self, Refusal> {
        Self::read_by(file, content, Reader::Strict)
    }

    /// Reads a policy that the operator signed: keys that a newer operator's tool knows are ignored, unless its `critical` names
    /// them.
    ///
    /// # Errors
    /// As [`Self::parse`], and [`Check::AgentCritical`].
    pub fn read_signed(file: impl std::fmt::Display, content: &[u8]) -> Result<Self, Refusal> {
        Self::read_by(file, content, Reader::Growing)
    }

    fn read_by(file: impl std::fmt::Display, content: &[u8], reader: Reader) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(content).map_err(|error| Check::PolicySyntax.refuse(error, "a policy in UTF-8"));
        text.and_then(|text| Self::parse_by(text, reader)).map_err(|why| Refusal { seen: format!("{file}: {}", why.seen), ..why })
    }

    /// The component it is for.
    #[must_use]
    pub fn component(&self) -> &ComponentName {
        &self.component
    }

    /// What it is, in few words: `edgecore, preset kubeedge, profile public-good`.
    #[must_use]
    pub fn title(&self) -> String {
        let mut title = self.component.to_string();
        for (what, name) in [("preset", self.preset.as_deref()), ("profile", self.profile.map(Profile::name))] {
            if let Some(name) = name {
                title = format!("{title}, {what} {name}");
            }
        }
        title
    }

    /// Everything that it accepts, first what it says itself.
    pub(crate) fn alternatives(&self) -> impl Iterator<Item = &Alternative> {
        [&self.own].into_iter().chain(&self.also)
    }

    /// What an alternative is called in reports and refusals.
    pub(crate) fn name_of(&self, alternative: &Alternative) -> String {
        match (&alternative.name, &self.preset) {
            (Some(name), _) => format!("also {name:?}"),
            (None, Some(preset)) => format!("preset {preset}"),
            (None, None) => "the policy's own tables".to_owned(),
        }
    }

    /// What it is and by which alternative it accepts.
    pub(crate) fn title_of(&self, alternative: &Alternative) -> String {
        match alternative.name {
            Some(_) => format!("{}, {}", self.title(), self.name_of(alternative)),
            None => self.title(),
        }
    }

    /// The SHA-256 of its text, which identifies it in reports.
    #[must_use]
    pub fn digest(&self) -> &Sha256 {
        &self.digest
    }

    /// The trusted root that is shipped for the instance it trusts, for where no other was given.
    ///
    /// # Errors
    /// [`Check::PolicyProfile`] for a private instance, whose root must be given.
    pub fn embedded_root(&self) -> Result<SigstoreRoot, Refusal> {
        self.profile.unwrap_or(Profile::PublicGood).embedded_root()
    }

    pub(crate) fn is_bound_to_version(&self) -> bool {
        self.alternatives().any(Alternative::is_bound_to_version)
    }
}

impl Alternative {
    fn is_bound_to_version(&self) -> bool {
        let identities = match &self.signers {
            Signers::Certificate(rule) => rule.identities.is_bound(),
            Signers::Keys(_) => false,
        };
        let reference = match &self.rules.reference {
            RefRule::Is(pattern) => pattern.is_bound(),
            RefRule::UnsafeAny => false,
        };
        identities || reference || self.rules.builders.is_bound()
    }
}

/// What KubeEdge's release workflow has produced since v1.13: from the release's tag, by the generator's releases that it has used.
const KUBEEDGE: &str = r#"
[certificate]
issuer = "https://token.actions.githubusercontent.com"

[provenance]
builder = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml"
builder_versions = ["1.2.2", "1.9.0", "1.10.0", ">=2.1.0, <3"]
predicate_types = "https://slsa.dev/provenance/v0.2"
build_type = "https://github.com/slsa-framework/slsa-github-generator/generic@v1"
source = "https://github.com/kubeedge/kubeedge"
tag = "v{version}"
workflow = ".github/workflows/release.yml"
triggers = "release"
"#;

fn profile(place: &PolicyText<'_>, name: Option<&Spanned<String>>) -> Result<Option<Profile>, Refusal> {
    let Some(at) = name else { return Ok(None) };
    let known = profile::NAMES.iter().find(|(name, _)| name == at.get_ref());
    let names = || profile::NAMES.map(|(name, _)| name).join(", ");
    known.map(|(_, profile)| Some(*profile)).ok_or_else(|| place.refuse(Check::PolicySyntax, at, at.get_ref(), &names()))
}

/// The name and the text of a preset, which stands for the tables on signers and provenance.
fn preset(
    place: &PolicyText<'_>,
    at: &Spanned<String>,
    file: &File,
    profile: Option<Profile>,
) -> Result<(&'static str, &'static str), Refusal> {
    if at.get_ref() != "kubeedge" {
        return Err(place.refuse(Check::PolicySyntax, at, at.get_ref(), "the preset kubeedge"));
    }
    if file.certificate.is_some() || file.keys.is_some() || file.provenance.is_some() {
        let wanted = "either the preset or tables of your own; put alternatives into [[also]]";
        return Err(place.refuse(Check::PolicyContradiction, at, "a preset and a table that it stands for", wanted));
    }
    match profile {
        Some(Profile::Keys | Profile::GitHub) => Err(place.refuse(
            Check::PolicyContradiction,
            at,
            "KubeEdge signs on the public-good instance",
            "that profile, or private",
        )),
        _ => Ok(("kubeedge", KUBEEDGE)),
    }
}

/// The tables that a preset stands for.
fn preset_tables(name: &str, text: &str) -> Result<Base, Refusal> {
    let file: File = toml::from_str(&format!("component = \"preset\"\n{text}"))
        .map_err(|error| Check::PolicySyntax.refuse(error.message(), format_args!("the preset {name} as it was built in")))?;
    Ok(Base { certificate: file.certificate, provenance: file.provenance })
}

fn read(
    place: &PolicyText<'_>,
    profile: Option<Profile>,
    certificate: Option<Spanned<CertificateTable>>,
    keys: Option<Spanned<file::KeysTable>>,
    provenance: Option<Spanned<ProvenanceTable>>,
) -> Result<(Signers, Rules), Refusal> {
    let nothing = ProvenanceTable::default();
    let said = provenance.as_ref().map_or(&nothing, Spanned::get_ref);
    let builders = Workflows::read(place, said.builder.as_ref(), said.builder_pattern.as_ref(), said.builder_versions.as_ref())?;
    let (signers, builders) = match (profile == Some(Profile::Keys), certificate, keys) {
        (true, Some(at), _) => {
            let wanted = "either the profile keys or [certificate]";
            return Err(place.refuse(Check::PolicyContradiction, &at, "keys that sign, and certificates", wanted));
        }
        (false, _, Some(at)) => {
            return Err(place.refuse(Check::PolicyContradiction, &at, "[keys] without the profile keys", "profile = \"keys\""));
        }
        (true, None, None) => return Err(place.missing::<()>(None, "keys", "key")),
        (true, None, Some(table)) => {
            let builders =
                builders.ok_or_else(|| place.missing(provenance.as_ref(), "provenance", "builder, which a key cannot prove"))?;
            (Signers::Keys(keys::read(place, &table)?), builders)
        }
        (false, table, None) => {
            let at = said.builder.as_ref().or(said.builder_pattern.as_ref());
            let (rule, builders) = certificate_rule(place, table.as_ref(), builders, at)?;
            (Signers::Certificate(rule), builders)
        }
    };
    Ok((signers, rules(place, provenance.as_ref(), said, builders)?))
}

fn certificate_rule(
    place: &PolicyText<'_>,
    table: Option<&Spanned<CertificateTable>>,
    builders: Option<Workflows>,
    at: Option<&Spanned<file::OneOrMany>>,
) -> Result<(CertificateRule, Workflows), Refusal> {
    let nothing = CertificateTable::default();
    let said = table.map_or(&nothing, Spanned::get_ref);
    let issuer = said.issuer.as_ref().ok_or_else(|| place.missing(table, "certificate", "issuer"))?;
    let issuer = place.https(issuer)?;
    let identities =
        Workflows::read(place, said.identity.as_ref(), said.identity_pattern.as_ref(), said.identity_versions.as_ref())?;
    let rule = |identities: Workflows, signed_by| CertificateRule { issuer, identities, signed_by };
    match (identities, builders) {
        (None, None) => Err(place.missing(table, "certificate", "identity (nor a builder in [provenance] that signs)")),
        // Who builds signs, whichever of the two is named.
        (None, Some(builders)) if !builders.are_runners() => Ok((rule(builders.clone(), SignedBy::Builder), builders)),
        (None, Some(_)) => Err(place.missing(table, "certificate", "identity of the workflow (any may sign on that runner)")),
        (Some(identities), None) => Ok((rule(identities.clone(), SignedBy::Builder), identities)),
        (Some(identities), Some(builders)) => {
            let delegators = format!("{GENERATOR}delegator_");
            let signed_by = if builders.are_runners() {
                SignedBy::Runner
            } else if identities.all_begin_with(&delegators) && !builders.all_begin_with(&delegators) {
                SignedBy::Delegator
            } else if identities.words(None) == builders.words(None) {
                SignedBy::Builder
            } else {
                let seen = "a builder that is neither the signer, nor the runner, nor one that SLSA's delegator signs for";
                let wanted = "identity or builder alone, GitHub's runner, or a delegator as identity";
                return Err(at.map_or_else(
                    || Check::PolicyContradiction.refuse(seen, wanted),
                    |at| place.refuse(Check::PolicyContradiction, at, seen, wanted),
                ));
            };
            Ok((rule(identities, signed_by), builders))
        }
    }
}

fn rules(
    place: &PolicyText<'_>,
    table: Option<&Spanned<ProvenanceTable>>,
    said: &ProvenanceTable,
    builders: Workflows,
) -> Result<Rules, Refusal> {
    let source = said.source.as_ref().ok_or_else(|| place.missing(table, "provenance", "source"))?;
    let mut predicate_types = place.list(said.predicate_types.as_ref())?;
    let known = [slsa::V0_2, slsa::V1];
    let unknown = predicate_types.iter().find(|kind| !known.contains(&kind.as_str()));
    if let (Some(at), Some(other)) = (&said.predicate_types, unknown) {
        return Err(place.refuse(Check::PolicySyntax, at, other, &known.join(" or ")));
    }
    if predicate_types.is_empty() {
        predicate_types = known.map(str::to_owned).to_vec();
    }
    if let Some(at) = said.workflow.as_ref().filter(|path| path.get_ref().is_empty() || path.get_ref().starts_with('/')) {
        return Err(place.refuse(
            Check::PolicySyntax,
            at,
            at.get_ref(),
            "a path in the repository, .github/workflows/release.yml",
        ));
    }
    let unsafe_any_inputs = on(said.unsafe_any_inputs.as_ref());
    if let (Some(_), Some(at)) = (unsafe_any_inputs, &said.inputs) {
        return Err(place.refuse(Check::PolicyContradiction, at, "inputs and unsafe_any_inputs", "one of them"));
    }
    if let Some(at) = &said.inputs
        && let Some(name) = at.get_ref().keys().find(|name| name.ends_with(slsa::SECOND_VALUE))
    {
        return Err(place.refuse(Check::PolicyContradiction, at, name, "an input's own name: one with two values is refused"));
    }
    Ok(Rules {
        builders,
        build_types: place.list(said.build_type.as_ref())?,
        predicate_types,
        source: slsa::repository(&place.https(source)?).to_owned(),
        reference: ref_rule(place, table, said)?,
        triggers: triggers(place, said)?,
        triggers_named: said.triggers.is_some(),
        workflow: said.workflow.as_ref().map(|path| path.get_ref().clone()),
        inputs: said.inputs.as_ref().map_or_else(BTreeMap::new, |inputs| inputs.get_ref().clone()),
        unsafe_any_inputs: unsafe_any_inputs.is_some(),
        repository_id: place.id(said.repository_id.as_ref())?,
        owner_id: place.id(said.owner_id.as_ref())?,
        unsafe_self_hosted_runner: on(said.unsafe_self_hosted_runner.as_ref()).is_some(),
    })
}

fn ref_rule(
    place: &PolicyText<'_>,
    table: Option<&Spanned<ProvenanceTable>>,
    said: &ProvenanceTable,
) -> Result<RefRule, Refusal> {
    match (&said.tag, &said.reference, on(said.unsafe_any_ref.as_ref())) {
        (Some(tag), None, None) => {
            let bad = |why: &str| place.refuse(Check::PolicySyntax, tag, why, "a tag with {version} in it, v{version}");
            let pattern = Pattern::exact(&format!("refs/tags/{}", tag.get_ref())).map_err(|why| bad(&why))?;
            if pattern.is_bound() {
                Ok(RefRule::Is(pattern))
            } else {
                Err(bad("a tag that is not bound to the version (use ref for that)"))
            }
        }
        (None, Some(reference), None) => {
            let bad = |why: &str| place.refuse(Check::PolicySyntax, reference, why, "refs/heads/NAME or refs/tags/NAME");
            let pattern = Pattern::exact(reference.get_ref()).map_err(|why| bad(&why))?;
            let full = ["refs/heads/", "refs/tags/"]
                .iter()
                .any(|head| reference.get_ref().strip_prefix(head).is_some_and(|name| !name.is_empty()));
            if full { Ok(RefRule::Is(pattern)) } else { Err(bad("not the full name of a ref")) }
        }
        (None, None, Some(_)) => Ok(RefRule::UnsafeAny),
        (None, None, None) => Err(place.missing(table, "provenance", "tag = \"v{version}\", ref or unsafe_any_ref")),
        (tag, reference, _) => {
            let (seen, wanted) = ("more than one of tag, ref and unsafe_any_ref", "one of them");
            let at = tag.as_ref().or(reference.as_ref());
            Err(at.map_or_else(
                || Check::PolicyContradiction.refuse(seen, wanted),
                |at| place.refuse(Check::PolicyContradiction, at, seen, wanted),
            ))
        }
    }
}

/// Whether an event comes from whoever proposes a change: GitHub's two, and GitLab's two.
pub(crate) fn is_pull_request(event: &str) -> bool {
    ["pull_request", "merge_request", "external_pull_request"].iter().any(|head| event.starts_with(head))
}

fn triggers(place: &PolicyText<'_>, said: &ProvenanceTable) -> Result<Vec<String>, Refusal> {
    let Some(at) = &said.triggers else {
        return Ok(vec!["push".to_owned(), "release".to_owned()]);
    };
    let list = place.list(Some(at))?;
    if let Some(odd) = list.iter().find(|trigger| !trigger.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase())) {
        return Err(place.refuse(Check::PolicySyntax, at, &odd.escape_default().to_string(), "names of events, such as push"));
    }
    match list.iter().find(|trigger| is_pull_request(trigger)) {
        Some(bad) => Err(place.refuse(Check::PolicyContradiction, at, bad, "no pull requests: anybody can start one")),
        None => Ok(list),
    }
}

/// What evidence of logging is demanded: the instance's own standard, unless a switch loosens it.
fn log_rule(place: &PolicyText<'_>, profile: Option<Profile>, table: &LogTable) -> Result<LogRule, Refusal> {
    let switches = [
        (on(table.unsafe_promise_only.as_ref()), LogRule::UnsafePromiseOnly),
        (on(table.unsafe_timestamp_only.as_ref()), LogRule::UnsafeTimestampOnly),
        (on(table.unsafe_no_log.as_ref()), LogRule::UnsafeNoLog),
    ];
    let mut given = switches.into_iter().filter_map(|(at, rule)| Some((at?, rule)));
    let Some((at, rule)) = given.next() else {
        return Ok(profile.map_or(LogRule::Proof, Profile::rule));
    };
    if given.next().is_some() {
        return Err(place.refuse(Check::PolicyContradiction, at, "more than one setting in [log]", "one of them"));
    }
    // Without a profile the rules are those of a private instance, the widest that has certificates.
    match profile.unwrap_or(Profile::Private).forbids(rule) {
        Some(why) => Err(place.refuse(Check::PolicyContradiction, at, why, "no such setting with this profile")),
        None => Ok(rule),
    }
}

#[cfg(test)]
mod tests;
