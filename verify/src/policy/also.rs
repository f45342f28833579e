//! Alternatives of a policy (`[[also]]`), each complete in itself.
//!
//! An `[[also]]` says what differs from the policy's own tables, or from its preset, and inherits
//! the rest. Evidence must satisfy one alternative in all its parts: the builder of one never
//! counts beside the trigger of another.

use super::file::{AlsoTable, CertificateTable, PolicyText, ProvenanceTable};
use super::{Alternative, Profile, read};
use crate::error::Check;
use slipway_protocol::Refusal;
use slipway_protocol::refusal::visible;
use std::ops::Range;
use toml::Spanned;

/// Alternatives in one policy: each is tried on each piece of evidence, and each is named where
/// none accepts.
const ALSO_LIMIT: usize = 8;
/// Characters of a name, so that a refusal has room for all of them.
const NAME_LIMIT: usize = 40;

/// The policy's own tables, or those that its preset stands for.
pub(super) struct Base {
    pub(super) certificate: Option<Spanned<CertificateTable>>,
    pub(super) provenance: Option<Spanned<ProvenanceTable>>,
}

/// Reads the alternatives.
pub(super) fn alternatives(
    place: &PolicyText<'_>,
    profile: Option<Profile>,
    base: &Base,
    also: &[Spanned<AlsoTable>],
) -> Result<Vec<Alternative>, Refusal> {
    let Some(first) = also.first() else { return Ok(Vec::new()) };
    if profile == Some(Profile::Keys) {
        let wanted = "no [[also]]: what keys sign may list several builders and triggers in [provenance]";
        return Err(place.refuse(Check::PolicyContradiction, first, "an alternative with the profile keys", wanted));
    }
    if let Some(beyond) = also.get(ALSO_LIMIT) {
        return Err(place.refuse(Check::PolicySyntax, beyond, "one more [[also]]", &format!("at most {ALSO_LIMIT}")));
    }
    let mut all: Vec<Alternative> = Vec::new();
    for table in also {
        let name = name(place, table, &all)?;
        let said = table.get_ref();
        if says_nothing(said) {
            return Err(place.refuse(Check::PolicyEmpty, table, "an empty alternative", "what differs from the policy"));
        }
        let (certificate, provenance) = merged(said, base, &table.span());
        let (signers, rules) = read(place, profile, certificate, None, provenance)?;
        all.push(Alternative { name: Some(name), signers, rules });
    }
    Ok(all)
}

/// What reports and refusals call it.
fn name(place: &PolicyText<'_>, table: &Spanned<AlsoTable>, known: &[Alternative]) -> Result<String, Refusal> {
    let at = table.get_ref().name.as_ref().ok_or_else(|| place.missing(Some(table), "[also]", "name"))?;
    let name = at.get_ref();
    let plain = !name.trim().is_empty() && name.chars().count() <= NAME_LIMIT && name.chars().all(|c| visible(c) == c);
    if !plain {
        let seen = format!("the name {:?}", name.escape_debug().to_string());
        return Err(place.refuse(Check::PolicySyntax, at, &seen, &format!("1 to {NAME_LIMIT} visible characters")));
    }
    if known.iter().any(|other| other.name.as_ref() == Some(name)) {
        return Err(place.refuse(Check::PolicyContradiction, at, &format!("{name:?} a second time"), "each name once"));
    }
    Ok(name.clone())
}

fn says_nothing(said: &AlsoTable) -> bool {
    let nothing = (CertificateTable::default(), ProvenanceTable::default());
    said.certificate.as_ref().is_none_or(|table| *table.get_ref() == nothing.0)
        && said.provenance.as_ref().is_none_or(|table| *table.get_ref() == nothing.1)
}

/// The alternative written out. What belongs together is inherited together or not at all: a
/// workflow with its versions, the ways to name a ref, inputs, and with another source the ids of
/// the old one. Where the policy names the builder or the signer for both, whoever names one of
/// them names both. What is inherited is shown, if it does not fit, at the alternative.
fn merged(
    said: &AlsoTable,
    base: &Base,
    span: &Range<usize>,
) -> (Option<Spanned<CertificateTable>>, Option<Spanned<ProvenanceTable>>) {
    let certificate = said.certificate.as_ref().map(Spanned::get_ref).cloned().unwrap_or_default();
    let provenance = said.provenance.as_ref().map(Spanned::get_ref).cloned().unwrap_or_default();
    let old_certificate = base.certificate.as_ref().map(Spanned::get_ref).cloned().unwrap_or_default();
    let old = base.provenance.as_ref().map(Spanned::get_ref).cloned().unwrap_or_default();

    let names_signer = |table: &CertificateTable| table.identity.is_some() || table.identity_pattern.is_some();
    let names_builder = |table: &ProvenanceTable| table.builder.is_some() || table.builder_pattern.is_some();
    let one_for_both = names_signer(&old_certificate) != names_builder(&old);
    let own_signer = names_signer(&certificate) || (one_for_both && names_builder(&provenance));
    let own_builder = names_builder(&provenance) || (one_for_both && names_signer(&certificate));
    let own_ref = provenance.tag.is_some() || provenance.reference.is_some() || provenance.unsafe_any_ref.is_some();
    let own_inputs = provenance.inputs.is_some() || provenance.unsafe_any_inputs.is_some();
    let repository = |table: &ProvenanceTable| {
        let source = table.source.as_ref().map(Spanned::get_ref);
        source.map(|source| crate::slsa::repository(source).to_owned())
    };
    // The same source said again is no other, and keeps its ids.
    let own_source = repository(&provenance).is_some_and(|source| Some(source) != repository(&old));

    let certificate = CertificateTable {
        issuer: pick(certificate.issuer, old_certificate.issuer, false, span),
        identity: pick(certificate.identity, old_certificate.identity, own_signer, span),
        identity_pattern: pick(certificate.identity_pattern, old_certificate.identity_pattern, own_signer, span),
        identity_versions: pick(certificate.identity_versions, old_certificate.identity_versions, own_signer, span),
    };
    let provenance = ProvenanceTable {
        builder: pick(provenance.builder, old.builder, own_builder, span),
        builder_pattern: pick(provenance.builder_pattern, old.builder_pattern, own_builder, span),
        builder_versions: pick(provenance.builder_versions, old.builder_versions, own_builder, span),
        predicate_types: pick(provenance.predicate_types, old.predicate_types, false, span),
        build_type: pick(provenance.build_type, old.build_type, false, span),
        source: pick(provenance.source, old.source, false, span),
        tag: pick(provenance.tag, old.tag, own_ref, span),
        reference: pick(provenance.reference, old.reference, own_ref, span),
        unsafe_any_ref: pick(provenance.unsafe_any_ref, old.unsafe_any_ref, own_ref, span),
        workflow: pick(provenance.workflow, old.workflow, false, span),
        triggers: pick(provenance.triggers, old.triggers, false, span),
        inputs: pick(provenance.inputs, old.inputs, own_inputs, span),
        unsafe_any_inputs: pick(provenance.unsafe_any_inputs, old.unsafe_any_inputs, own_inputs, span),
        repository_id: pick(provenance.repository_id, old.repository_id, own_source, span),
        owner_id: pick(provenance.owner_id, old.owner_id, own_source, span),
        unsafe_self_hosted_runner: pick(provenance.unsafe_self_hosted_runner, old.unsafe_self_hosted_runner, false, span),
    };
    (Some(Spanned::new(span.clone(), certificate)), Some(Spanned::new(span.clone(), provenance)))
}

/// The own value; else, unless the alternative has a say of its own in the matter, the inherited
/// one.
fn pick<T>(own: Option<Spanned<T>>, inherited: Option<Spanned<T>>, own_say: bool, span: &Range<usize>) -> Option<Spanned<T>> {
    own.or_else(|| inherited.filter(|_| !own_say).map(|value| Spanned::new(span.clone(), value.into_inner())))
}
