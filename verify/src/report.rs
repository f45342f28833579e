//! What was proven, in lines for a person. Values come from certificates and predicates, so none may draw on a terminal.

use crate::provenance::Provenance;
use crate::verify::Evidence;
use jiff::Timestamp;
use slipway_protocol::Sha256;
use slipway_protocol::refusal::printable;

impl Provenance {
    /// Everything that was established about the artifact with this digest: who, from which commit, when, and where it is logged.
    #[must_use]
    pub fn report(&self, sha256: &Sha256) -> String {
        let lines = [
            ("Source", self.source.as_str()),
            ("Ref", &self.source_ref),
            ("Commit", &self.commit),
            ("Workflow", self.workflow.as_deref().unwrap_or_default()),
            ("Trigger", &self.trigger),
            ("Builder", &self.builder),
            ("Build type", &self.build_type),
            ("Predicate", &self.predicate_type),
            ("Signer", &self.identity),
            ("Issuer", &self.issuer),
            ("Signed", &times(&self.signed_times)),
            ("Log", &place(self.log.as_deref(), self.log_index)),
            ("Run", self.run.as_deref().unwrap_or_default()),
        ];
        under(&format!("Verified {} ({sha256:?})", printable(&self.subject)), &lines)
    }
}

impl Evidence {
    /// Everything that was established about `artifact`, as the caller calls it: who signed, when, and where it is logged.
    #[must_use]
    pub fn report(&self, artifact: &str) -> String {
        let lines = [
            ("Signer", self.identity.as_deref().unwrap_or("the given key")),
            ("Issuer", self.issuer.as_deref().unwrap_or_default()),
            ("Signed", &times(&self.signed_times)),
            ("Log", &place(self.log.as_deref(), self.log_index)),
        ];
        under(&format!("Verified {}", printable(artifact)), &lines)
    }
}

/// Labelled lines under a heading, each ending in a line feed.
fn under(heading: &str, lines: &[(&str, &str)]) -> String {
    let shown = |value: &str| if value.is_empty() { "-".to_owned() } else { printable(value) };
    let lines = lines.iter().map(|(label, value)| format!("  {label:<11} {}\n", shown(value)));
    format!("{heading}\n{}", lines.collect::<String>())
}

fn times(times: &[Timestamp]) -> String {
    times.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn place(log: Option<&str>, index: Option<u64>) -> String {
    match (log, index) {
        (Some(log), Some(index)) => format!("{log}, entry {index}"),
        _ => "none (time by a timestamp authority)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_known_and_nothing_draws_on_the_terminal() {
        let evidence = Evidence {
            identity: Some("me\u{1b}[2K".to_owned()),
            issuer: None,
            signed_times: vec!["2026-11-22T12:00:00Z".parse().unwrap(), "2026-11-22T12:00:01Z".parse().unwrap()],
            log: Some("rekor.example".to_owned()),
            log_index: Some(7),
        };
        assert_eq!(
            evidence.report("a\nb"),
            "Verified a\u{fffd}b\n  Signer      me\u{fffd}[2K\n  Issuer      -\n  \
             Signed      2026-11-22T12:00:00Z, 2026-11-22T12:00:01Z\n  Log         rekor.example, entry 7\n"
        );
    }
}
