//! Provenance signed by keys: Sigstore bundles, one per line, by a threshold of distinct keys.
//!
//! Every line must prove, by a key of the policy, a statement that satisfies it. A line that does not refuses the whole file, even where the
//! others would be enough: the release keys signed this very file, so nobody else can have put the line there, and it says that the release
//! was put together wrongly or that a trusted key signed something else. A reader that skips what it cannot verify can be made to
//! skip what he should have refused.

use super::{Facts, KeySignature, Passed, Provenance, check_statement, found, has_version};
use crate::bundle::Bundle;
use crate::error::Check;
use crate::evidence::{Artifact, Evidence, Subject};
use crate::policy::Policy;
use crate::policy::keys::{KeyRule, NamedKey};
use crate::root::SigstoreRoot;
use crate::sigstore;
use crate::statement::Statement;
use serde::de::IgnoredAny;
use slipway_protocol::{Refusal, manifest};

/// Lines in one file: more than any policy has keys.
const LINE_LIMIT: usize = 32;

/// Verifies every line, and that enough distinct keys signed.
pub(super) fn verify(
    evidence: &[u8],
    root: &SigstoreRoot,
    policy: &Policy,
    rule: &KeyRule,
    subject: &Subject<'_>,
) -> Result<Provenance, Refusal> {
    has_version(policy, subject.version)?;
    let mut all: Option<Provenance> = None;
    for (number, line) in lines(evidence)? {
        let at = |why: Refusal| Refusal { seen: format!("line {number}: {}", why.seen), ..why };
        let one = verify_line(line, root, policy, rule, subject).map_err(at)?;
        match &mut all {
            None => all = Some(one),
            Some(all) => join(all, one).map_err(at)?,
        }
    }
    let mut all = all.ok_or_else(|| Check::BundleMalformed.refuse("nothing", "one Sigstore bundle per line"))?;
    if all.keys.len() < rule.threshold {
        let names: Vec<&str> = all.keys.iter().map(|signature| signature.name.as_str()).collect();
        let wanted = format!("{} of the policy's {} keys", rule.threshold, rule.keys.len());
        return Err(Check::PolicyThreshold.refuse(names.join(", "), wanted));
    }
    all.threshold = Some(rule.threshold);
    Ok(all)
}

/// The lines of a file that hold something, with their numbers. A single bundle may be written over several lines.
fn lines(evidence: &[u8]) -> Result<Vec<(usize, &[u8])>, Refusal> {
    let size = u64::try_from(evidence.len()).unwrap_or(u64::MAX);
    if size > manifest::PROVENANCE_LIMIT {
        return Err(Check::BundleSize.refuse(size, format_args!("at most {} bytes", manifest::PROVENANCE_LIMIT)));
    }
    if serde_json::from_slice::<IgnoredAny>(evidence).is_ok() {
        return Ok(vec![(1, evidence)]);
    }
    let numbered = evidence.split(|byte| *byte == b'\n').zip(1_usize..).map(|(line, number)| (number, line.trim_ascii()));
    let lines: Vec<_> = numbered.filter(|(_, line)| !line.is_empty()).take(LINE_LIMIT.saturating_add(1)).collect();
    if lines.len() > LINE_LIMIT {
        return Err(Check::BundleLines.refuse(format_args!("more than {LINE_LIMIT} lines"), format_args!("at most {LINE_LIMIT}")));
    }
    Ok(lines)
}

fn verify_line(
    line: &[u8],
    root: &SigstoreRoot,
    policy: &Policy,
    rule: &KeyRule,
    subject: &Subject<'_>,
) -> Result<Provenance, Refusal> {
    let bundle = sigstore::admit_with_key(line, Some(root), policy.log)?;
    let statement = Statement::parse(sigstore::payload(&bundle)?)?;
    let form = statement.form(subject)?;
    let (key, evidence) = signer(&bundle, root, policy, rule, form)?;
    // From here on the key's holder has signed it; the question is whether it is acceptable.
    let (claims, facts) = check_statement(&statement, &policy.own.rules, subject, Facts::claimed, &mut Passed::default())?;
    let mut one = found(policy.title(), policy, subject, form, &statement, claims, facts);
    one.signed_times.clone_from(&evidence.signed_times);
    one.log.clone_from(&evidence.log);
    one.log_index = evidence.log_index;
    let Evidence { signed_times, log, log_index, .. } = evidence;
    one.keys.push(KeySignature { name: key.name.clone(), key: key.id, signed_times, log, log_index });
    Ok(one)
}

/// The key of the policy that signed. What a bundle hints about its key is unsigned, so all are tried but those that the log entry excludes;
/// what is not about the key, the log and the times, is verified once.
fn signer<'p>(
    bundle: &Bundle,
    root: &SigstoreRoot,
    policy: &Policy,
    rule: &'p KeyRule,
    form: Artifact<'_>,
) -> Result<(&'p NamedKey, Evidence), Refusal> {
    let evidence = sigstore::evidence_of_key(bundle, Some(root), policy.log)?;
    let body = sigstore::body(bundle)?;
    let mut other = None;
    for key in rule.keys.iter().filter(|key| sigstore::said_to_be_of(body.as_ref(), &key.key)) {
        match sigstore::signed_with(bundle, body.as_ref(), &key.key, form) {
            Ok(()) => return Ok((key, evidence)),
            Err(why) if Check::of(&why) == Some(Check::Signature) => {}
            Err(why) => other = other.or(Some(why)),
        }
    }
    Err(other.unwrap_or_else(|| {
        let names: Vec<&str> = rule.keys.iter().map(|key| key.name.as_str()).collect();
        Check::PolicyKey.refuse("a signature by none of them", names.join(" or "))
    }))
}

/// Adds another key's word about the same build. Two builds of one source may differ in builder and run, never in what was built.
fn join(all: &mut Provenance, one: Provenance) -> Result<(), Refusal> {
    for (check, known, other) in [
        (Check::ClaimSource, &all.source, &one.source),
        (Check::ClaimRef, &all.source_ref, &one.source_ref),
        (Check::ClaimCommit, &all.commit, &one.commit),
    ] {
        if known != other {
            return Err(check.refuse(other, format_args!("{known}, as in the provenance of another key")));
        }
    }
    all.signed_times.extend(one.signed_times);
    all.signed_times.sort_unstable();
    all.signed_times.dedup();
    for signature in one.keys {
        if all.keys.iter().all(|known| known.key != signature.key) {
            all.keys.push(signature);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bundle_may_take_several_lines_and_several_take_one_each() {
        let count = |text: &str| lines(text.as_bytes()).unwrap().len();
        assert_eq!(count("{\n \"a\": 1\n}\n"), 1);
        assert_eq!(count("{}\n{}\r\n\n{}\n"), 3);
        assert_eq!(count(""), 0);
        assert_eq!(lines(b"{}\n\n{x}").unwrap().last().unwrap().0, 3, "as an editor counts");
        assert_eq!(lines("{}\n".repeat(33).as_bytes()).unwrap_err().code, "SLW-V-BUNDLE-LINES");
        assert_eq!(lines(&vec![b'\n'; 1024 * 1024 + 1]).unwrap_err().code, "SLW-V-BUNDLE-SIZE");
    }
}
