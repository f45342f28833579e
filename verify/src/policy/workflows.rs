//! The workflows that may sign or build: patterns, and version ranges for those without a ref.

use super::file::{OneOrMany, PolicyText};
use super::{RUNNER, versions};
use crate::error::Check;
use crate::pattern::Pattern;
use slipway_protocol::{Refusal, Version};
use toml::Spanned;

/// What every identity and builder that is a workflow of GitHub has in it.
const WORKFLOW: &str = "/.github/workflows/";

/// Identities or builders: a list of patterns, and for workflows that are named without a ref the versions they may have.
#[derive(Clone, Debug)]
pub(crate) struct Workflows {
    patterns: Vec<Pattern>,
    versions: Vec<versions::Range>,
}

impl Workflows {
    /// Whether `text` is one of them. Without a version nothing matches what is bound to one.
    pub(crate) fn accept(&self, text: &str, version: Option<&Version>) -> bool {
        let any = |text: &str| self.patterns.iter().any(|pattern| pattern.matches(text, version));
        if self.versions.is_empty() {
            return any(text);
        }
        text.rsplit_once('@').is_some_and(|(workflow, reference)| {
            let version = versions::of_tag(reference);
            any(workflow) && version.is_some_and(|version| self.versions.iter().any(|range| range.contains(&version)))
        })
    }

    /// What they are, for messages.
    pub(crate) fn words(&self, version: Option<&Version>) -> String {
        let patterns: Vec<String> = self.patterns.iter().map(|pattern| pattern.with(version)).collect();
        let patterns = patterns.join(" or ");
        if self.versions.is_empty() {
            return patterns;
        }
        let versions: Vec<String> = self.versions.iter().map(ToString::to_string).collect();
        format!("{patterns}, its version {}", versions.join(" or "))
    }

    pub(super) fn all_begin_with(&self, head: &str) -> bool {
        self.patterns.iter().all(|pattern| pattern.head().starts_with(head))
    }

    /// Whether each is GitHub's runner, of one kind or of none.
    pub(super) fn are_runners(&self) -> bool {
        self.patterns.iter().all(|pattern| {
            pattern.head().strip_prefix(RUNNER).is_some_and(|kind| matches!(kind.chars().next(), None | Some('/')))
        })
    }

    pub(super) fn is_bound(&self) -> bool {
        self.patterns.iter().any(Pattern::is_bound)
    }

    pub(super) fn read(
        place: &PolicyText<'_>,
        exact: Option<&Spanned<OneOrMany>>,
        pattern: Option<&Spanned<OneOrMany>>,
        versions: Option<&Spanned<OneOrMany>>,
    ) -> Result<Option<Self>, Refusal> {
        let patterns = place.patterns(exact, pattern)?;
        match versions {
            None if patterns.is_empty() => Ok(None),
            None => {
                // It would match nothing: these identities end in the ref they were run at, and * does not stand for an @.
                let bare =
                    patterns.iter().find(|pattern| pattern.to_string().contains(WORKFLOW) && !pattern.to_string().contains('@'));
                match (bare, exact.or(pattern)) {
                    (Some(bare), Some(at)) => {
                        let seen = format!("{bare}, which names no ref");
                        Err(place.refuse(
                            Check::PolicyContradiction,
                            at,
                            &seen,
                            "…@refs/tags/v1.2.3 behind it, or its versions beside it",
                        ))
                    }
                    _ => Ok(Some(Self { patterns, versions: Vec::new() })),
                }
            }
            Some(at) if patterns.is_empty() => Err(place.refuse(
                Check::PolicyContradiction,
                at,
                "versions without a workflow",
                "the workflow that they are versions of",
            )),
            Some(at) => {
                if let Some(with) = patterns.iter().find(|pattern| pattern.to_string().contains('@')) {
                    let seen = format!("versions, and {with} with a ref of its own");
                    return Err(place.refuse(Check::PolicyContradiction, at, &seen, "the workflow without @…, or no versions"));
                }
                Ok(Some(Self { patterns, versions: place.versions(at)? }))
            }
        }
    }
}
