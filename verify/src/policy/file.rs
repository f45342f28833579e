//! The tables of a policy's TOML file, with the line of each value for error messages.
//!
//! A key that is not known is refused: its author must not believe that a misspelled key protects anything. What a
//! newer operator signed passes through `newer` first.

use super::{LIST_LIMIT, versions};
use crate::error::Check;
use crate::pattern::Pattern;
use serde::Deserialize;
use slipway_protocol::{ComponentName, Refusal};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) component: ComponentName,
    /// Keys that must be understood, by dotted name: `provenance.source`. See `newer`.
    #[serde(default, rename = "critical")]
    pub(super) _critical: Vec<String>,
    pub(super) profile: Option<Spanned<String>>,
    pub(super) preset: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<CertificateTable>>,
    pub(super) keys: Option<Spanned<KeysTable>>,
    pub(super) provenance: Option<Spanned<ProvenanceTable>>,
    #[serde(default)]
    pub(super) log: LogTable,
    #[serde(default)]
    pub(super) also: Vec<Spanned<AlsoTable>>,
}

/// What is accepted besides, by what differs in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlsoTable {
    pub(super) name: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<CertificateTable>>,
    pub(super) provenance: Option<Spanned<ProvenanceTable>>,
}

#[derive(Clone, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateTable {
    pub(super) issuer: Option<Spanned<String>>,
    pub(super) identity: Option<Spanned<OneOrMany>>,
    pub(super) identity_pattern: Option<Spanned<OneOrMany>>,
    pub(super) identity_versions: Option<Spanned<OneOrMany>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysTable {
    pub(super) threshold: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) public: BTreeMap<String, Spanned<String>>,
}

#[derive(Clone, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct ProvenanceTable {
    pub(super) predicate_types: Option<Spanned<OneOrMany>>,
    pub(super) builder: Option<Spanned<OneOrMany>>,
    pub(super) builder_pattern: Option<Spanned<OneOrMany>>,
    pub(super) builder_versions: Option<Spanned<OneOrMany>>,
    pub(super) build_type: Option<Spanned<OneOrMany>>,
    pub(super) source: Option<Spanned<String>>,
    pub(super) tag: Option<Spanned<String>>,
    #[serde(rename = "ref")]
    pub(super) reference: Option<Spanned<String>>,
    pub(super) unsafe_any_ref: Option<Spanned<bool>>,
    pub(super) workflow: Option<Spanned<String>>,
    pub(super) triggers: Option<Spanned<OneOrMany>>,
    pub(super) inputs: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) unsafe_any_inputs: Option<Spanned<bool>>,
    pub(super) repository_id: Option<Spanned<String>>,
    pub(super) owner_id: Option<Spanned<String>>,
    pub(super) unsafe_self_hosted_runner: Option<Spanned<bool>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTable {
    pub(super) unsafe_promise_only: Option<Spanned<bool>>,
    pub(super) unsafe_timestamp_only: Option<Spanned<bool>>,
    pub(super) unsafe_no_log: Option<Spanned<bool>>,
}

#[derive(Clone, Deserialize, PartialEq)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn list(&self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text.clone()],
            Self::Many(list) => list.clone(),
        }
    }
}

/// The value of a switch that is on.
pub(super) fn on(value: Option<&Spanned<bool>>) -> Option<&Spanned<bool>> {
    value.filter(|value| *value.get_ref())
}

/// Where a policy is being read, for messages that name the line.
pub(super) struct PolicyText<'t>(pub(super) &'t str);

impl PolicyText<'_> {
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.0.as_bytes().iter().take(span.start);
        before.filter(|byte| **byte == b'\n').count().saturating_add(1)
    }

    pub(super) fn refuse<T>(&self, check: Check, at: &Spanned<T>, seen: &str, wanted: &str) -> Refusal {
        check.refuse(format_args!("line {}: {seen}", self.line(&at.span())), wanted)
    }

    /// Something is missing: shown at the table it is missing in, or at the beginning where there is not even that.
    pub(super) fn missing<T>(&self, table: Option<&Spanned<T>>, name: &str, what: &str) -> Refusal {
        let line = table.map_or(1, |table| self.line(&table.span()));
        Check::PolicyEmpty.refuse(format_args!("line {line}: no {what} in [{name}]"), what)
    }

    /// A list of texts, none empty; nothing at all where the key is not there.
    pub(super) fn list(&self, value: Option<&Spanned<OneOrMany>>) -> Result<Vec<String>, Refusal> {
        let Some(value) = value else { return Ok(Vec::new()) };
        let list = value.get_ref().list();
        if list.is_empty() || list.len() > LIST_LIMIT || list.iter().any(String::is_empty) {
            return Err(self.refuse(Check::PolicyEmpty, value, "an empty value or list", "1 to 64 values, or no key at all"));
        }
        Ok(list)
    }

    /// Texts and patterns in one list.
    pub(super) fn patterns(
        &self,
        exact: Option<&Spanned<OneOrMany>>,
        pattern: Option<&Spanned<OneOrMany>>,
    ) -> Result<Vec<Pattern>, Refusal> {
        let mut all = Vec::new();
        for (value, parse) in [(exact, Parser(Pattern::exact)), (pattern, Parser(Pattern::parse))] {
            let Some(at) = value else { continue };
            for text in self.list(value)? {
                // Certificates hold identities in ASCII: anything else matches nothing, and only looks like what does.
                if !text.is_ascii() {
                    return Err(self.refuse(
                        Check::PolicySyntax,
                        at,
                        &text.escape_default().to_string(),
                        "ASCII characters alone",
                    ));
                }
                all.push(parse.0(&text).map_err(|why| self.refuse(Check::PolicySyntax, at, &why, "an identity or a pattern"))?);
            }
        }
        Ok(all)
    }

    /// A set of versions.
    pub(super) fn versions(&self, value: &Spanned<OneOrMany>) -> Result<Vec<versions::Range>, Refusal> {
        let read = |text: &String| {
            versions::Range::parse(text).map_err(|mistake| match mistake {
                versions::Mistake::Syntax(why) => {
                    self.refuse(Check::PolicySyntax, value, &why, "versions such as 1.9.0 and ranges such as >=2.1.0, <3")
                }
                versions::Mistake::Nothing(why) => {
                    self.refuse(Check::PolicyContradiction, value, &why, "a range that some version is in")
                }
            })
        };
        self.list(Some(value))?.iter().map(read).collect()
    }

    /// A full URL, without a slash at the end that would make it another text than the certificate's.
    pub(super) fn https(&self, value: &Spanned<String>) -> Result<String, Refusal> {
        let url = value.get_ref();
        let plain = url.bytes().all(|b| b.is_ascii_graphic())
            && !url.ends_with('/')
            && !url.contains(['@', '*', '{', '?', '#', '\\'])
            && !url.contains("/..");
        if plain && url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) {
            Ok(url.clone())
        } else {
            Err(self.refuse(Check::PolicySyntax, value, url, "a URL that begins with https:// and does not end with /"))
        }
    }

    /// One of GitHub's numbers, which it writes as text.
    pub(super) fn id(&self, value: Option<&Spanned<String>>) -> Result<Option<String>, Refusal> {
        let Some(at) = value else { return Ok(None) };
        let id = at.get_ref();
        if id.is_empty() || id.len() > 20 || !id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.refuse(Check::PolicySyntax, at, &format!("{id:?}"), "an id, such as \"150462334\""));
        }
        Ok(Some(id.clone()))
    }
}

/// How a kind of text becomes a pattern.
struct Parser(fn(&str) -> Result<Pattern, String>);
