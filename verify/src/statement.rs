//! The in-toto statement: which files the evidence is about.

use crate::error::Check;
use crate::evidence::{Artifact, Subject};
use serde::Deserialize;
use serde_json::Value;
use slipway_protocol::{Refusal, Sha256, Sha512, json};
use std::collections::BTreeMap;

/// A GitHub event inside a predicate nests about ten deep. The size is bounded by the bundle's.
const LIMITS: json::Limits = json::Limits { bytes: 1024 * 1024, depth: 48 };
/// A KubeEdge release has 11; a large distribution some hundred.
const SUBJECT_LIMIT: usize = 1024;
/// The two versions of the statement's own format.
const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"];

/// A statement, parsed from the very bytes that were signed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Named>,
    /// What kind of predicate it makes.
    pub(crate) predicate_type: String,
    /// The predicate.
    #[serde(default)]
    pub(crate) predicate: Value,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
    digest: BTreeMap<String, String>,
}

impl Statement {
    /// Parses and checks everything that can be checked without knowing the artifact.
    pub(crate) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let statement: Self = json::parse(payload, LIMITS)
            .map_err(|error| Check::StatementMalformed.refuse(error, "a statement without duplicate members"))?;
        if !TYPES.contains(&statement.kind.as_str()) {
            return Err(Check::StatementType.refuse(&statement.kind, TYPES.join(" or ")));
        }
        let count = statement.subject.len();
        if count == 0 || count > SUBJECT_LIMIT {
            return Err(Check::StatementSubjects.refuse(count, format_args!("1 to {SUBJECT_LIMIT} subjects")));
        }
        for named in &statement.subject {
            let digest =
                |why: String| Check::StatementSubjects.refuse(format_args!("{}: {why}", named.name), "lowercase hex digests");
            if named.digest.is_empty() {
                return Err(digest("no digest".to_owned()));
            }
            named.sha256().map_err(digest)?;
            named.sha512().map_err(digest)?;
        }
        Ok(statement)
    }

    /// In which form the artifact can be compared with this statement: SHA-256 where both sides have it, else SHA-512.
    pub(crate) fn form<'a>(&self, subject: &Subject<'_>) -> Result<Artifact<'a>, Refusal> {
        let of_name: Vec<&Named> = self.subject.iter().filter(|named| named.name == subject.name).collect();
        let candidates = if of_name.is_empty() { self.subject.iter().collect() } else { of_name };
        let lists = |algorithm: &str| candidates.iter().any(|named| named.digest.contains_key(algorithm));
        let (sha256, sha512) = (lists("sha256"), lists("sha512"));
        match (subject.sha256.filter(|_| sha256), subject.sha512.filter(|_| sha512)) {
            (Some(digest), _) => Ok(Artifact::Sha256(digest)),
            (None, Some(digest)) => Ok(Artifact::Sha512(digest)),
            (None, None) if sha256 => Err(Check::SubjectAlgorithm.refuse("SHA-256 only", "the artifact's SHA-256")),
            (None, None) if sha512 => Err(Check::SubjectAlgorithm.refuse("SHA-512 only", "the artifact's SHA-512")),
            (None, None) => Err(Check::StatementSubjects.refuse("neither SHA-256 nor SHA-512", "one of them")),
        }
    }

    /// Checks that the artifact is a subject by name, and that every digest which both sides know agrees.
    pub(crate) fn covers(&self, subject: &Subject<'_>) -> Result<(), Refusal> {
        let mut wrong = None;
        // No name is nobody's name, also where it is asked for.
        let of_name = |named: &&Named| !named.name.is_empty() && named.name == subject.name;
        for named in self.subject.iter().filter(of_name) {
            let (sha256, sha512) = (named.sha256().ok().flatten(), named.sha512().ok().flatten());
            let pairs = [
                sha256.zip(subject.sha256).map(|(theirs, mine)| (theirs == mine, theirs.to_string(), mine.to_string())),
                sha512.zip(subject.sha512).map(|(theirs, mine)| (theirs == mine, theirs.to_string(), mine.to_string())),
            ];
            let known: Vec<_> = pairs.into_iter().flatten().collect();
            match known.iter().find(|(same, ..)| !same) {
                Some((_, theirs, mine)) => wrong = Some(Check::ArtifactDigest.refuse(mine, theirs)),
                None if known.is_empty() => {}
                None => return Ok(()),
            }
        }
        Err(wrong.unwrap_or_else(|| {
            let names: Vec<&str> = self.subject.iter().map(|named| named.name.as_str()).collect();
            Check::SubjectName.refuse(names.join(", "), subject.name)
        }))
    }
}

impl Named {
    fn sha256(&self) -> Result<Option<Sha256>, String> {
        self.digest.get("sha256").map(|hex| hex.parse()).transpose()
    }
    fn sha512(&self) -> Result<Option<Sha512>, String> {
        self.digest.get("sha512").map(|hex| hex.parse()).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(subjects: &str) -> Result<Statement, Refusal> {
        Statement::parse(
            format!(r#"{{"_type":"https://in-toto.io/Statement/v1","subject":{subjects},"predicateType":"p","predicate":{{}}}}"#)
                .as_bytes(),
        )
    }

    #[test]
    fn subjects_are_matched_by_name_and_every_known_digest() {
        let (a, b) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let (a5, b5) = (Sha512::of(b"a"), Sha512::of(b"b"));
        let both = |x: Sha256, y: Sha512| format!(r#"[{{"name":"f","digest":{{"sha256":"{x}","sha512":"{y}"}}}}]"#);
        let subject = |name, sha256, sha512| Subject { name, sha256, sha512, version: None };
        let only512 = |name| Subject { name, sha256: None, sha512: Some(a5), version: None };
        for (subjects, name, sha512, code) in [
            (both(a, a5), "f", Some(a5), ""),
            (both(a, a5), "f", None, ""),
            (both(a, a5), "F", None, "SLW-V-SUBJECT-NAME"),
            (both(a, b5), "f", Some(a5), "SLW-V-ARTIFACT-DIGEST"),
            (both(b, a5), "f", Some(a5), "SLW-V-ARTIFACT-DIGEST"),
            (format!(r#"[{{"name":"f","digest":{{"sha512":"{a5}"}}}}]"#), "f", Some(a5), ""),
            (format!(r#"[{{"name":"f","digest":{{"sha512":"{a5}"}}}}]"#), "f", None, "SLW-V-SUBJECT-NAME"),
            // Several builds of one name, as images for several platforms have: each is attested.
            (
                format!(r#"[{{"name":"f","digest":{{"sha256":"{b}"}}}},{{"name":"f","digest":{{"sha256":"{a}"}}}}]"#),
                "f",
                None,
                "",
            ),
            // A name is its bytes: nothing is trimmed, folded or ended by a NUL.
            (format!(r#"[{{"name":"f\u0000","digest":{{"sha256":"{a}"}}}}]"#), "f", None, "SLW-V-SUBJECT-NAME"),
            (format!(r#"[{{"name":"f ","digest":{{"sha256":"{a}"}}}}]"#), "f", None, "SLW-V-SUBJECT-NAME"),
            (format!(r#"[{{"name":"\u0192","digest":{{"sha256":"{a}"}}}}]"#), "f", None, "SLW-V-SUBJECT-NAME"),
            (format!(r#"[{{"name":"./f","digest":{{"sha256":"{a}"}}}}]"#), "f", None, "SLW-V-SUBJECT-NAME"),
            (format!(r#"[{{"digest":{{"sha256":"{a}"}}}}]"#), "f", None, "SLW-V-SUBJECT-NAME"),
            (format!(r#"[{{"digest":{{"sha256":"{a}"}}}}]"#), "", None, "SLW-V-SUBJECT-NAME"),
            // Right by one algorithm and unknown by another is right; the name of an algorithm is exact.
            (format!(r#"[{{"name":"f","digest":{{"sha256":"{a}","sha1":"00","SHA512":"{b5}"}}}}]"#), "f", Some(a5), ""),
            (
                format!(r#"[{{"name":"g","digest":{{"sha256":"{a}"}}}},{{"name":"f","digest":{{"sha256":"{b}"}}}}]"#),
                "f",
                None,
                "SLW-V-ARTIFACT-DIGEST",
            ),
        ] {
            let found = statement(&subjects).unwrap().covers(&subject(name, Some(a), sha512));
            assert_eq!(found.err().map_or(String::new(), |refusal| refusal.code.into_owned()), code, "{subjects} {name}");
        }
        for (subjects, form, code) in [
            (both(a, a5), "", ""),
            (both(b, a5), "", ""),
            (both(a, b5), "", "SLW-V-ARTIFACT-DIGEST"),
            (format!(r#"[{{"name":"f","digest":{{"sha256":"{a}"}}}}]"#), "SLW-V-SUBJECT-ALGORITHM", "SLW-V-SUBJECT-NAME"),
        ] {
            let statement = statement(&subjects).unwrap();
            assert_eq!(statement.form(&only512("f")).err().map_or(String::new(), |refusal| refusal.code.into_owned()), form);
            assert_eq!(statement.covers(&only512("f")).err().map_or(String::new(), |refusal| refusal.code.into_owned()), code);
        }
    }

    #[test]
    fn malformed_statements_are_refused_one_by_one() {
        let digest = Sha256::of(b"a");
        for (subjects, code) in [
            ("[]".to_owned(), "SLW-V-STATEMENT-SUBJECTS"),
            (r#"[{"name":"f","digest":{}}]"#.to_owned(), "SLW-V-STATEMENT-SUBJECTS"),
            (
                format!(r#"[{{"name":"f","digest":{{"sha256":"{}"}}}}]"#, digest.to_string().to_uppercase()),
                "SLW-V-STATEMENT-SUBJECTS",
            ),
            (format!(r#"[{{"name":"f","name":"g","digest":{{"sha256":"{digest}"}}}}]"#), "SLW-V-STATEMENT-MALFORMED"),
        ] {
            assert_eq!(statement(&subjects).unwrap_err().code, code, "{subjects}");
        }
        let other = r#"{"_type":"https://in-toto.io/Statement/v2","subject":[],"predicateType":"p"}"#;
        assert_eq!(Statement::parse(other.as_bytes()).unwrap_err().code, "SLW-V-STATEMENT-TYPE");
    }
}
