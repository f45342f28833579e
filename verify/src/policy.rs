//! What provenance must say, as the operator wrote it: one TOML file per component.
//!
//! A policy that is empty, contradictory, or has a key that is not known does not load; nothing is accepted by default. What loosens it
//! carries `unsafe` in its name.

use crate::bundle::LogRule;
use crate::error::Check;
use crate::pattern::Pattern;
use crate::slsa;
use serde::Deserialize;
use slipway_protocol::{ComponentName, Refusal, Version};
use std::fmt::Write as _;
use std::ops::Range;
use toml::Spanned;

/// A policy file is under 2 KiB.
const SIZE_LIMIT: usize = 64 * 1024;
/// Identities, builders, triggers in one policy.
const LIST_LIMIT: usize = 64;

/// A component's policy. Every part is set and consistent.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) component: ComponentName,
    pub(crate) issuer: String,
    pub(crate) identities: Vec<Pattern>,
    /// Empty: the builder must be the identity.
    pub(crate) builders: Vec<Pattern>,
    /// Empty: any.
    pub(crate) build_types: Vec<String>,
    pub(crate) predicate_types: Vec<String>,
    pub(crate) source: String,
    pub(crate) reference: RefRule,
    pub(crate) workflow: Option<String>,
    pub(crate) triggers: Vec<String>,
    pub(crate) repository_id: Option<String>,
    pub(crate) owner_id: Option<String>,
    pub(crate) unsafe_self_hosted_runner: bool,
    pub(crate) log: LogRule,
}

/// Which branches and tags may be built from.
#[derive(Clone, Debug)]
pub(crate) enum RefRule {
    /// The full name of the ref.
    Is(Pattern),
    /// Any. Opt-in.
    UnsafeAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    component: ComponentName,
    preset: Option<Spanned<String>>,
    certificate: Option<CertificateTable>,
    provenance: Option<ProvenanceTable>,
    #[serde(default)]
    log: LogTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateTable {
    issuer: Option<Spanned<String>>,
    identity: Option<Spanned<OneOrMany>>,
    identity_pattern: Option<Spanned<OneOrMany>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvenanceTable {
    predicate_types: Option<Spanned<OneOrMany>>,
    builder: Option<Spanned<OneOrMany>>,
    builder_pattern: Option<Spanned<OneOrMany>>,
    build_type: Option<Spanned<OneOrMany>>,
    source: Option<Spanned<String>>,
    tag: Option<Spanned<String>>,
    #[serde(rename = "ref")]
    reference: Option<Spanned<String>>,
    unsafe_any_ref: Option<Spanned<bool>>,
    workflow: Option<String>,
    triggers: Option<Spanned<OneOrMany>>,
    repository_id: Option<String>,
    owner_id: Option<String>,
    #[serde(default)]
    unsafe_self_hosted_runner: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    unsafe_promise_only: Option<Spanned<bool>>,
    unsafe_timestamp_only: Option<Spanned<bool>>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// How a kind of text becomes a pattern.
struct Parser(fn(&str) -> Result<Pattern, String>);

/// Where a policy is being read, for messages that name the line.
struct Place<'t>(&'t str);

impl Place<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.0.as_bytes().iter().take(span.start);
        before.filter(|byte| **byte == b'\n').count().saturating_add(1)
    }

    fn refuse<T>(&self, check: Check, at: &Spanned<T>, seen: &str, wanted: &str) -> Refusal {
        check.refuse(format_args!("line {}: {seen}", self.line(&at.span())), wanted)
    }

    fn list(&self, value: Option<&Spanned<OneOrMany>>) -> Result<Vec<String>, Refusal> {
        let Some(value) = value else { return Ok(Vec::new()) };
        let list = match value.get_ref() {
            OneOrMany::One(text) => vec![text.clone()],
            OneOrMany::Many(list) => list.clone(),
        };
        if list.is_empty() || list.len() > LIST_LIMIT || list.iter().any(String::is_empty) {
            return Err(self.refuse(Check::PolicyEmpty, value, "an empty value or list", "1 to 64 values, or no key at all"));
        }
        Ok(list)
    }

    fn patterns(
        &self,
        exact: Option<&Spanned<OneOrMany>>,
        pattern: Option<&Spanned<OneOrMany>>,
    ) -> Result<Vec<Pattern>, Refusal> {
        let mut all = Vec::new();
        for (value, parse) in [(exact, Parser(Pattern::exact)), (pattern, Parser(Pattern::parse))] {
            for text in self.list(value)? {
                all.push(parse.0(&text).map_err(|why| match value {
                    Some(at) => self.refuse(Check::PolicySyntax, at, &why, "an identity or a pattern"),
                    None => Check::PolicySyntax.refuse(why, "an identity or a pattern"),
                })?);
            }
        }
        Ok(all)
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// Says what is wrong and in which line.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let place = Place(text);
        if text.len() > SIZE_LIMIT {
            return Err(Check::PolicySyntax.refuse(text.len(), format_args!("at most {SIZE_LIMIT} bytes")));
        }
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| place.line(&span));
            Check::PolicySyntax.refuse(format_args!("line {line}: {}", error.message()), "a policy")
        })?;
        match &file.preset {
            None => Self::build(
                &place,
                file.component,
                file.certificate.unwrap_or_default(),
                file.provenance.unwrap_or_default(),
                &file.log,
            ),
            Some(preset) if file.certificate.is_some() || file.provenance.is_some() => Err(place.refuse(
                Check::PolicyContradiction,
                preset,
                "a preset and a table of its own",
                "either the preset or [certificate] and [provenance]",
            )),
            Some(preset) if preset.get_ref() == "kubeedge" => {
                let mut policy = Self::kubeedge(file.component)?;
                policy.log = log_rule(&place, &file.log)?;
                Ok(policy)
            }
            Some(preset) => Err(place.refuse(Check::PolicySyntax, preset, preset.get_ref(), "the preset kubeedge")),
        }
    }

    /// KubeEdge's releases since v1.13, made by the SLSA generator from the release's tag.
    fn kubeedge(component: ComponentName) -> Result<Self, Refusal> {
        let text = format!("component = \"{component}\"\n{KUBEEDGE}");
        Self::parse(&text)
    }

    fn build(
        place: &Place<'_>,
        component: ComponentName,
        certificate: CertificateTable,
        provenance: ProvenanceTable,
        log: &LogTable,
    ) -> Result<Self, Refusal> {
        let need = |what: &str| Check::PolicyEmpty.refuse(format_args!("no {what}"), what);
        let issuer = certificate.issuer.as_ref().ok_or_else(|| need("issuer in [certificate]"))?;
        https(place, issuer)?;
        let identities = place.patterns(certificate.identity.as_ref(), certificate.identity_pattern.as_ref())?;
        if identities.is_empty() {
            return Err(need("identity or identity_pattern in [certificate]"));
        }
        let builders = place.patterns(provenance.builder.as_ref(), provenance.builder_pattern.as_ref())?;
        let source = provenance.source.as_ref().ok_or_else(|| need("source in [provenance]"))?;
        https(place, source)?;
        let mut predicate_types = place.list(provenance.predicate_types.as_ref())?;
        let known = [slsa::V0_2, slsa::V1];
        if let (Some(at), Some(other)) =
            (&provenance.predicate_types, predicate_types.iter().find(|kind| !known.contains(&kind.as_str())))
        {
            return Err(place.refuse(Check::PolicySyntax, at, other, &known.join(" or ")));
        }
        if predicate_types.is_empty() {
            predicate_types = known.map(str::to_owned).to_vec();
        }
        Ok(Self {
            component,
            issuer: issuer.get_ref().clone(),
            identities,
            builders,
            build_types: place.list(provenance.build_type.as_ref())?,
            predicate_types,
            source: source.get_ref().clone(),
            reference: ref_rule(place, &provenance)?,
            triggers: triggers(place, &provenance)?,
            workflow: provenance.workflow,
            repository_id: provenance.repository_id,
            owner_id: provenance.owner_id,
            unsafe_self_hosted_runner: provenance.unsafe_self_hosted_runner,
            log: log_rule(place, log)?,
        })
    }

    /// The component it is for.
    #[must_use]
    pub fn component(&self) -> &ComponentName {
        &self.component
    }

    pub(crate) fn is_bound_to_version(&self) -> bool {
        let reference = match &self.reference {
            RefRule::Is(pattern) => Some(pattern),
            RefRule::UnsafeAny => None,
        };
        self.identities.iter().chain(&self.builders).chain(reference).any(Pattern::is_bound)
    }

    /// What a list of patterns accepts, for messages.
    #[expect(clippy::unused_self, reason = "reads as a question to the policy")]
    pub(crate) fn list(&self, patterns: &[Pattern], version: Option<&Version>) -> String {
        let all: Vec<String> = patterns.iter().map(|pattern| pattern.with(version)).collect();
        all.join(" or ")
    }

    /// What the policy accepts, in words.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut out = format!("A release of {} is accepted if all of this is proven:\n", self.component);
        let mut say = |what: &str, value: &dyn std::fmt::Display| {
            // Writing to a string cannot fail.
            let _: std::fmt::Result = writeln!(out, "- {what} {value}");
        };
        say("its provenance was signed by", &self.list(&self.identities, None));
        say("that identity was vouched for by", &self.issuer);
        match self.builders.as_slice() {
            [] => say("its builder is", &"the one who signed"),
            builders => say("its builder is", &self.list(builders, None)),
        }
        if !self.build_types.is_empty() {
            say("it was built in the way", &self.build_types.join(" or "));
        }
        say("its source is", &self.source);
        match &self.reference {
            RefRule::Is(pattern) if pattern.is_bound() => {
                say("it was built from", &format_args!("{pattern}, {{version}} being the release's version"));
            }
            RefRule::Is(pattern) => say("it was built from", pattern),
            RefRule::UnsafeAny => say("it was built from", &"any branch or tag (unsafe_any_ref)"),
        }
        if let Some(workflow) = &self.workflow {
            say("the workflow was", workflow);
        }
        say("the build was started by the event", &self.triggers.join(" or "));
        if let Some(id) = &self.repository_id {
            say("the source repository's id is", id);
        }
        if let Some(id) = &self.owner_id {
            say("the source owner's id is", id);
        }
        if self.unsafe_self_hosted_runner {
            say("it was built on", &"any runner, also a self-hosted one (unsafe_self_hosted_runner)");
        } else {
            say("it was built on", &"a hosted runner");
        }
        say("the provenance is of type", &self.predicate_types.join(" or "));
        match self.log {
            LogRule::Proof => {
                say("the signature is in a public log,", &"with a proof of inclusion and the log's signed checkpoint")
            }
            LogRule::UnsafePromiseOnly => {
                say("the signature is in a public log,", &"of which a signed promise is enough (unsafe_promise_only)")
            }
            LogRule::UnsafeTimestampOnly => {
                say("the signature has a signed timestamp;", &"no log is asked (unsafe_timestamp_only)")
            }
            LogRule::UnsafeNoLog => say("no log is asked", &"(unsafe_no_log)"),
        }
        say("the file's digest and name are among", &"those that the provenance is about");
        out
    }
}

/// What KubeEdge's release workflow has produced since v1.13.
const KUBEEDGE: &str = r#"
[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity_pattern = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v{semver}"

[provenance]
predicate_types = "https://slsa.dev/provenance/v0.2"
build_type = "https://github.com/slsa-framework/slsa-github-generator/generic@v1"
source = "https://github.com/kubeedge/kubeedge"
tag = "v{version}"
workflow = ".github/workflows/release.yml"
triggers = ["release", "push"]
"#;

/// A full URL, without a slash at the end that would make it another text than the certificate's.
fn https(place: &Place<'_>, value: &Spanned<String>) -> Result<(), Refusal> {
    let url = value.get_ref();
    let plain = url.bytes().all(|b| b.is_ascii_graphic()) && !url.ends_with('/') && !url.contains(['@', '*', '{']);
    if plain && url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) {
        Ok(())
    } else {
        Err(place.refuse(Check::PolicySyntax, value, url, "a URL that begins with https:// and does not end with /"))
    }
}

fn ref_rule(place: &Place<'_>, table: &ProvenanceTable) -> Result<RefRule, Refusal> {
    let any = table.unsafe_any_ref.as_ref().filter(|any| *any.get_ref());
    match (&table.tag, &table.reference, any) {
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
        (None, None, None) => {
            Err(Check::PolicyEmpty
                .refuse("no tag or ref in [provenance]", "tag = \"v{version}\", or ref, or unsafe_any_ref = true"))
        }
        (tag, reference, _) => {
            let at = tag.as_ref().or(reference.as_ref());
            let (seen, wanted) = ("more than one of tag, ref and unsafe_any_ref", "one of them");
            Err(at.map_or_else(
                || Check::PolicyContradiction.refuse(seen, wanted),
                |at| place.refuse(Check::PolicyContradiction, at, seen, wanted),
            ))
        }
    }
}

fn triggers(place: &Place<'_>, table: &ProvenanceTable) -> Result<Vec<String>, Refusal> {
    let Some(at) = &table.triggers else {
        return Ok(vec!["push".to_owned(), "release".to_owned()]);
    };
    let list = place.list(Some(at))?;
    match list.iter().find(|trigger| trigger.starts_with("pull_request")) {
        Some(bad) => Err(place.refuse(Check::PolicyContradiction, at, bad, "no pull requests: anybody can start one")),
        None => Ok(list),
    }
}

fn log_rule(place: &Place<'_>, table: &LogTable) -> Result<LogRule, Refusal> {
    let on = |value: &Option<Spanned<bool>>| value.as_ref().is_some_and(|value| *value.get_ref());
    match (on(&table.unsafe_promise_only), on(&table.unsafe_timestamp_only), &table.unsafe_promise_only) {
        (true, true, Some(at)) => {
            Err(place.refuse(Check::PolicyContradiction, at, "unsafe_promise_only and unsafe_timestamp_only", "one of them"))
        }
        (true, ..) => Ok(LogRule::UnsafePromiseOnly),
        (_, true, _) => Ok(LogRule::UnsafeTimestampOnly),
        _ => Ok(LogRule::Proof),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"component = "edgecore"
[certificate]
issuer = "https://issuer.example"
identity = "https://github.com/o/r/.github/workflows/release.yml@refs/tags/v{version}"
[provenance]
source = "https://github.com/o/r"
tag = "v{version}"
"#;

    fn refused(text: &str) -> (String, String) {
        let refusal = Policy::parse(text).unwrap_err();
        (refusal.code.into_owned(), refusal.seen)
    }

    #[test]
    fn what_is_missing_contradictory_or_unknown_does_not_load() {
        Policy::parse(GOOD).unwrap();
        for (from, to, code, line) in [
            ("component = \"edgecore\"\n", "", "SYNTAX", "line 1"),
            ("issuer = \"https://issuer.example\"\n", "", "EMPTY", ""),
            ("https://issuer.example", "http://issuer.example", "SYNTAX", "line 3"),
            ("https://issuer.example", "https://issuer.example/", "SYNTAX", "line 3"),
            ("identity = ", "identify = ", "SYNTAX", "line 4"),
            ("identity = \"https://github.com/o/r/.github/workflows/release.yml@refs/tags/v{version}\"\n", "", "EMPTY", ""),
            (
                "identity = \"https://github.com/o/r/.github/workflows/release.yml@refs/tags/v{version}\"",
                "identity = []",
                "EMPTY",
                "line 4",
            ),
            ("v{version}\"\n[prov", "v*\"\n[prov", "SYNTAX", "line 4"),
            ("source = \"https://github.com/o/r\"\n", "", "EMPTY", ""),
            ("tag = \"v{version}\"\n", "", "EMPTY", ""),
            ("tag = \"v{version}\"", "tag = \"v1.0.0\"", "SYNTAX", "line 7"),
            ("tag = \"v{version}\"", "tag = \"v{version}\"\nref = \"refs/heads/main\"", "CONTRADICTION", "line 7"),
            ("tag = \"v{version}\"", "ref = \"main\"", "SYNTAX", "line 7"),
            ("tag = \"v{version}\"", "unsafe_any_ref = false", "EMPTY", ""),
            ("tag = \"v{version}\"", "tag = \"v{version}\"\ntriggers = [\"pull_request_target\"]", "CONTRADICTION", "line 8"),
            ("tag = \"v{version}\"", "tag = \"v{version}\"\npredicate_types = [\"https://example.com/x\"]", "SYNTAX", "line 8"),
            ("[certificate]", "preset = \"kubeedge\"\n[certificate]", "CONTRADICTION", "line 2"),
            ("tag = ", "[log]\nunsafe_promise_only = true\nunsafe_timestamp_only = true\n#", "EMPTY", ""),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let (seen_code, seen) = refused(&GOOD.replacen(from, to, 1));
            assert_eq!(seen_code, format!("SLW-V-POLICY-{code}"), "{to}");
            assert!(seen.starts_with(line), "{seen} {line}");
        }
        let both = format!("{GOOD}[log]\nunsafe_promise_only = true\nunsafe_timestamp_only = true\n");
        assert_eq!(refused(&both).0, "SLW-V-POLICY-CONTRADICTION");
    }

    #[test]
    fn a_policy_explains_itself() {
        let policy = Policy::parse("component = \"edgecore\"\npreset = \"kubeedge\"\n").unwrap();
        let words = policy.explain();
        for word in [
            "edgecore",
            "kubeedge/kubeedge",
            "refs/tags/v{version}",
            "generator_generic_slsa3",
            "release or push",
            "hosted runner",
        ] {
            assert!(words.contains(word), "{word}: {words}");
        }
        assert!(!words.contains("unsafe"), "{words}");
    }
}
