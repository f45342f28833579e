//! Questions and reports of `verify`.
//!
//! They are the same on a device and for operators: the artifact as it is named, and what was proven about
//! it in lines or as JSON. Values come from certificates and predicates, so none may draw on a terminal.

use crate::evidence::{Evidence, Subject};
use crate::provenance::{KeySignature, Provenance};
use jiff::Timestamp;
use serde_json::json;
use slipway_protocol::refusal::printable;
use slipway_protocol::{Digests, Refusal, Sha256, Sha512, Version};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An artifact as a person names it: a file, or a digest of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Named {
    /// The file.
    File(PathBuf),
    /// `sha256:HEX`.
    Sha256(Sha256),
    /// `sha512:HEX`.
    Sha512(Sha512),
}

impl FromStr for Named {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("sha256:") {
            text.parse().map(Self::Sha256)
        } else if text.starts_with("sha512:") {
            text.parse().map(Self::Sha512)
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

/// What is asked about: an artifact's name in the provenance, and its digests as far as they are known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    name: String,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
}

impl Question {
    /// About an artifact. `open` gives the content of a file; it is read once, in bounded memory. The name is the file's own unless another
    /// is given.
    ///
    /// # Errors
    /// Of `open` and of reading; `None` inside where a digest was given without a name.
    pub fn about<R: Read>(
        artifact: &Named,
        name: Option<String>,
        open: impl FnOnce(&Path) -> io::Result<R>,
    ) -> io::Result<Option<Self>> {
        Ok(match artifact {
            Named::Sha256(digest) => name.map(|name| Self { name, sha256: Some(*digest), sha512: None }),
            Named::Sha512(digest) => name.map(|name| Self { name, sha256: None, sha512: Some(*digest) }),
            Named::File(path) => {
                let (_, sha256, sha512) = digests(open(path)?)?;
                let own = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Some(Self { name: name.unwrap_or_else(own), sha256: Some(sha256), sha512: Some(sha512) })
            }
        })
    }

    /// As a subject, bound to a version or not.
    #[must_use]
    pub fn subject<'a>(&'a self, version: Option<&'a Version>) -> Subject<'a> {
        Subject { name: &self.name, sha256: self.sha256, sha512: self.sha512, version }
    }

    /// What goes to standard output: everything that was established, for a person or as JSON. Of a refusal only the JSON does, so that
    /// nothing there can be taken for a yes.
    #[must_use]
    pub fn answer(&self, found: &Result<Provenance, Refusal>, style: Style) -> Option<String> {
        match (found, style) {
            (Ok(provenance), Style::Json) => {
                let (sha256, sha512) = (self.sha256, self.sha512);
                Some(json!({ "verified": true, "sha256": sha256, "sha512": sha512, "provenance": provenance }).to_string())
            }
            (Err(refusal), Style::Json) => Some(json!({ "verified": false, "refusal": refusal }).to_string()),
            (Ok(provenance), _) => Some(style.heading(&self.report(provenance))),
            (Err(_), _) => None,
        }
    }

    fn report(&self, found: &Provenance) -> String {
        let digest = match (self.sha256, self.sha512) {
            (Some(digest), _) => format!("{digest:?}"),
            (None, Some(digest)) => format!("{digest:?}"),
            (None, None) => "no digest".to_owned(),
        };
        under(&format!("Verified {} ({digest})", printable(&found.subject)), &found.lines())
    }
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Style {
    /// Lines for a person.
    Plain,
    /// The same with colour, for a terminal.
    Colour,
    /// For a program.
    Json,
}

impl Style {
    /// Colours the first word, which is the answer.
    fn heading(self, report: &str) -> String {
        match (self, report.split_once(' ')) {
            (Self::Colour, Some((verdict, rest))) => format!("\u{1b}[1;32m{verdict}\u{1b}[0m {rest}"),
            _ => report.to_owned(),
        }
    }
}

/// Size, SHA-256 and SHA-512 in one pass, in bounded memory.
///
/// # Errors
/// Of reading.
pub fn digests(mut source: impl Read) -> io::Result<(u64, Sha256, Sha512)> {
    let mut digests = Digests::default();
    io::copy(&mut source, &mut digests)?;
    Ok(digests.finish())
}

impl Provenance {
    /// Everything that was established, by label.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let id = |id: &Option<String>| id.as_ref().map_or_else(String::new, |id| format!("  (id {id})"));
        let owner = self.owner_id.as_ref().map_or_else(String::new, |id| format!("  (owner's id {id})"));
        let or_nothing = |value: &Option<String>| value.clone().unwrap_or_default();
        let mut lines = vec![
            ("Source", format!("{}{}{owner}", self.source, id(&self.repository_id))),
            ("Ref", self.source_ref.clone()),
            ("Commit", self.commit.clone()),
            ("Workflow", or_nothing(&self.workflow)),
            ("Trigger", or_nothing(&self.trigger)),
            ("Builder", self.builder.clone()),
            ("Runner", or_nothing(&self.runner)),
            ("Build type", self.build_type.clone()),
            ("Run", or_nothing(&self.run)),
            ("Predicate", self.predicate_type.clone()),
        ];
        match self.threshold {
            None => lines.extend([
                ("Signer", or_nothing(&self.identity)),
                ("Issuer", or_nothing(&self.issuer)),
                ("Signed", times(&self.signed_times)),
                ("Log", place(self.log.as_deref(), self.log_index, &self.signed_times)),
            ]),
            Some(threshold) => {
                lines.push(("Keys", format!("{} signed, {threshold} required", self.keys.len())));
                lines.extend(self.keys.iter().flat_map(KeySignature::lines));
            }
        }
        lines.push(("Policy", format!("{}, {:?}", self.policy, self.policy_sha256)));
        lines
    }
}

impl KeySignature {
    fn lines(&self) -> [(&'static str, String); 3] {
        [
            ("Key", format!("{} ({:?})", self.name, self.key)),
            ("  Signed", times(&self.signed_times)),
            ("  Log", place(self.log.as_deref(), self.log_index, &self.signed_times)),
        ]
    }
}

impl Evidence {
    /// Everything that was established about `artifact`, as the caller calls it: who signed, when, and where it is logged.
    #[must_use]
    pub fn report(&self, artifact: &str, style: Style) -> String {
        let lines = [
            ("Signer", self.identity.clone().unwrap_or_else(|| "the given key".to_owned())),
            ("Issuer", self.issuer.clone().unwrap_or_default()),
            ("Signed", times(&self.signed_times)),
            ("Log", place(self.log.as_deref(), self.log_index, &self.signed_times)),
        ];
        style.heading(&under(&format!("Verified {}", printable(artifact)), &lines))
    }
}

/// Labelled lines under a heading, each ending in a line feed.
fn under(heading: &str, lines: &[(&str, String)]) -> String {
    let shown = |value: &str| if value.is_empty() { "-".to_owned() } else { printable(value) };
    let lines = lines.iter().map(|(label, value)| format!("  {label:<11} {}\n", shown(value)));
    format!("{heading}\n{}", lines.collect::<String>())
}

fn times(times: &[Timestamp]) -> String {
    times.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn place(log: Option<&str>, index: Option<u64>, times: &[Timestamp]) -> String {
    match (log, index) {
        (Some(log), Some(index)) => format!("{log}, entry {index}"),
        _ if times.is_empty() => "none (unsafe_no_log)".to_owned(),
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
        let plain = "Verified a\u{fffd}b\n  Signer      me\u{fffd}[2K\n  Issuer      -\n  \
             Signed      2026-11-22T12:00:00Z, 2026-11-22T12:00:01Z\n  Log         rekor.example, entry 7\n";
        assert_eq!(evidence.report("a\nb", Style::Plain), plain);
        assert_eq!(evidence.report("a\nb", Style::Colour), plain.replacen("Verified", "\u{1b}[1;32mVerified\u{1b}[0m", 1));
    }

    #[test]
    fn an_artifact_is_a_file_or_a_digest_and_a_digest_needs_a_name() {
        let open = |_: &Path| Ok(&b"abc"[..]);
        let ask =
            |what: &str, name: Option<&str>| Question::about(&what.parse().unwrap(), name.map(str::to_owned), open).unwrap();
        let (sha256, sha512) = (Sha256::of(b"abc"), Sha512::of(b"abc"));
        let question = |name: &str, sha256, sha512| Some(Question { name: name.to_owned(), sha256, sha512 });
        assert_eq!(ask("dir/a.tar.gz", None), question("a.tar.gz", Some(sha256), Some(sha512)));
        assert_eq!(ask("dir/a.tar.gz", Some("n")), question("n", Some(sha256), Some(sha512)));
        assert_eq!(ask(&format!("{sha256:?}"), Some("n")), question("n", Some(sha256), None));
        assert_eq!(ask(&format!("{sha512:?}"), Some("n")), question("n", None, Some(sha512)));
        assert_eq!(ask(&format!("{sha512:?}"), None), None);
        assert!("sha256:00".parse::<Named>().is_err() && "sha512:00".parse::<Named>().is_err());
    }
}
