//! Explains in words what a policy accepts.

use super::{Alternative, Policy, Profile, RefRule, SignedBy, Signers};
use crate::bundle::LogRule;
use slipway_protocol::refusal::visible;
use std::fmt::{Display, Write as _};

/// Lines under a heading; writing to a string cannot fail.
struct Words(String);

impl Words {
    /// One line, whatever is in it: not every value is as plain as an identity, and whoever reads this decides by it.
    fn say(&mut self, what: impl Display) {
        let line: String = what.to_string().chars().map(visible).collect();
        let _: std::fmt::Result = writeln!(self.0, "- {line}");
    }
}

impl Policy {
    /// What the policy accepts, in words.
    #[must_use]
    pub fn explain(&self) -> String {
        let preset = self.preset.as_ref().map_or_else(String::new, |name| format!(", which the preset {name} stands for,"));
        let mut out = Words(format!("A release of {} is accepted if all of this{preset} is proven:\n", self.component));
        self.explain_alternative(&self.own, &mut out);
        for alternative in &self.also {
            let name = alternative.name.as_deref().unwrap_or_default();
            let _: std::fmt::Result = writeln!(out.0, "Or all of this, as the alternative {name:?}:");
            self.explain_alternative(alternative, &mut out);
        }
        if self.is_bound_to_version() {
            out.0.push_str("{version} is the release's version, without a leading v.\n");
        }
        out.0
    }

    fn explain_alternative(&self, alternative: &Alternative, out: &mut Words) {
        self.explain_signers(alternative, out);
        self.explain_log(out);
        alternative.explain_build(out);
        out.say("the file's digest and name are among those that the provenance is about");
    }

    fn explain_signers(&self, alternative: &Alternative, out: &mut Words) {
        let rule = match &alternative.signers {
            Signers::Keys(rule) => {
                let (count, threshold) = (rule.keys.len(), rule.threshold);
                let all = if count == threshold { "all".to_owned() } else { format!("at least {threshold}") };
                out.say(format_args!("its provenance was signed by {all} of these {count} keys, and by no other:"));
                for key in &rule.keys {
                    let _: std::fmt::Result = writeln!(out.0, "    {} ({:?})", key.name, key.id);
                }
                return;
            }
            Signers::Certificate(rule) => rule,
        };
        out.say(format_args!("its provenance was signed by {}", rule.identities.words(None)));
        out.say(match rule.signed_by {
            SignedBy::Builder => "that is the builder, and the provenance names it as such".to_owned(),
            SignedBy::Delegator => {
                format!("that is SLSA's delegator, and signed for the builder {}", alternative.rules.builders.words(None))
            }
            SignedBy::Runner => {
                format!("that workflow signed for itself; its builder is the runner, {}", alternative.rules.builders.words(None))
            }
        });
        out.say(format_args!("the signer's identity was issued by {}", rule.issuer));
        out.say(match self.profile {
            None => "its certificate comes from the Sigstore instance whose trusted root the device holds",
            Some(Profile::PublicGood) => "its certificate comes from Sigstore's public-good instance",
            Some(Profile::PublicGoodRekorV1) => {
                "its certificate comes from Sigstore's public-good instance, and its log entry from Rekor v1"
            }
            Some(Profile::PublicGoodRekorV2) => {
                "its certificate comes from Sigstore's public-good instance, and its log entry from Rekor v2"
            }
            Some(Profile::GitHub) => "its certificate comes from GitHub's instance for private repositories",
            Some(Profile::Private | Profile::Keys) => {
                "its certificate comes from a private Sigstore instance, whose trusted root must be given"
            }
        });
    }

    fn explain_log(&self, out: &mut Words) {
        out.say(match self.log {
            LogRule::Proof => {
                "each signature is in the instance's log, with a proof of inclusion and the log's signed checkpoint"
            }
            LogRule::UnsafePromiseOnly => {
                "each signature is in the instance's log, and the log's signed promise is enough (unsafe_promise_only)"
            }
            LogRule::UnsafeTimestampOnly if self.profile == Some(Profile::GitHub) => {
                "the signature has a signed timestamp; that instance has no log to ask"
            }
            LogRule::UnsafeTimestampOnly => "the signature has a signed timestamp; no log is asked (unsafe_timestamp_only)",
            LogRule::UnsafeNoLog => "neither a log entry nor a signed time is required (unsafe_no_log)",
        });
    }
}

impl Alternative {
    fn explain_build(&self, out: &mut Words) {
        let rules = &self.rules;
        if matches!(self.signers, Signers::Keys(_)) {
            out.say(format_args!("its builder is {}", rules.builders.words(None)));
        }
        if !rules.build_types.is_empty() {
            out.say(format_args!("its build type is {}", rules.build_types.join(" or ")));
        }
        out.say(format_args!("its source is {}", rules.source));
        for (what, id) in [("repository", &rules.repository_id), ("owner", &rules.owner_id)] {
            if let Some(id) = id {
                out.say(format_args!("the source {what}'s id is {id}, which outlives names"));
            }
        }
        match &rules.reference {
            RefRule::Is(pattern) => out.say(format_args!("it was built from {pattern}")),
            RefRule::UnsafeAny => out.say("it was built from any branch or tag (unsafe_any_ref)"),
        }
        if let Some(workflow) = &rules.workflow {
            out.say(format_args!("the workflow was {workflow}"));
        }
        let events = rules.triggers.join(" or ");
        match &self.signers {
            Signers::Keys(_) if !rules.triggers_named => {
                out.say(format_args!("the build was started by the event {events}, where the provenance names one"));
            }
            _ => out.say(format_args!("the build was started by the event {events}")),
        }
        match (rules.unsafe_any_inputs, rules.inputs.is_empty()) {
            (true, _) => out.say("the build may have been given any inputs (unsafe_any_inputs)"),
            (false, true) => out.say("the build records no inputs but its source"),
            (false, false) => {
                let inputs: Vec<String> = rules.inputs.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
                out.say(format_args!("the build records these inputs and no others: {}", inputs.join(", ")));
            }
        }
        out.say(match (rules.unsafe_self_hosted_runner, &self.signers) {
            (true, _) => "it was built on any runner, also a self-hosted one (unsafe_self_hosted_runner)",
            (false, Signers::Certificate(_)) => "it was built on a hosted runner",
            (false, Signers::Keys(_)) => "it was built on a hosted runner, where the provenance names the runner",
        });
        out.say(format_args!("the provenance is of type {}", rules.predicate_types.join(" or ")));
    }
}
