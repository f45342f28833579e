//! Lists where each check of the specifications is made, for reviewers; a test keeps it complete.
//!
//! It has every check of the Sigstore client, Rekor, Rekor v2, Fulcio and in-toto specifications and of SLSA's verifier, in their order; the second
//! column is the module of this crate, with what it builds on. What the Sigstore project's own verifier accepts beyond it is marked *peer*
//! and proven by the differential test. Codes are those of [`crate::error::Check`], without `SLW-V-`.
//!
//! | check | where | refusal |
//! |---|---|---|
//! | **Limits and parsing** | | |
//! | size, depth, duplicate members of the bundle; arrays in the place of objects (*peer*: takes them) | `bundle`, by `slipway_protocol::json` | `BUNDLE-SIZE`, `BUNDLE-MALFORMED` |
//! | number of timestamp tokens, certificates, proof hashes, subjects; size of a token | `bundle`, `timestamp`, `statement` | `BUNDLE-TIMESTAMPS`, `BUNDLE-SHAPE`, `LOG-PROOF`, `STATEMENT-SUBJECTS`, `TIMESTAMP-MALFORMED` |
//! | member names in lowerCamelCase, 64-bit numbers as text or number, bytes in base64 of either alphabet, padded or not, without line breaks | sigstore-types | `BUNDLE-MALFORMED` |
//! | negative or oversized index or time | sigstore-types | `BUNDLE-MALFORMED` |
//! | media type known and present (*peer*: none is 0.1) | `bundle` | `BUNDLE-MEDIA-TYPE` |
//! | exactly one content, exactly one material (*peer*: the first it finds) | `bundle` | `BUNDLE-CONTENT`, `BUNDLE-MATERIAL` |
//! | exactly one DSSE signature | `bundle` | `BUNDLE-SIGNATURES` |
//! | version's shape: promise in 0.1; one certificate, no chain in 0.3 | `bundle` | `LOG-PROMISE-MISSING`, `BUNDLE-SHAPE` |
//! | proof and checkpoint, whatever version the bundle claims (*peer*: not in 0.1) | `bundle`; opt-out `unsafe_promise_only` | `LOG-PROOF-MISSING`, `LOG-CHECKPOINT-MISSING` |
//! | a proof without a checkpoint counts as none | `bundle` | `LOG-CHECKPOINT-MISSING` |
//! | chain form: leaf first, not empty, no self-signed certificate (*peer*: ignores one) | `bundle` | `CERT-CHAIN-EMPTY`, `CERT-ROOT` |
//! | exactly one log entry (*peer*: any number); none only where the rule needs none | `bundle` | `BUNDLE-LOG-ENTRIES`, `LOG-MISSING`, `LOG-UNEXPECTED` |
//! | a bare envelope without log entry, as old generators published it | `bundle` | `BUNDLE-NO-ENTRY` |
//! | **Trusted root** | | |
//! | size, duplicates, media type | `root` | `ROOT-SIZE`, `ROOT-MALFORMED`, `ROOT-MEDIA-TYPE` |
//! | key kind as declared, log id made from the key, no log twice | `root` | `ROOT-KEY`, `ROOT-LOG-ID` |
//! | a log with a kind of key or tree that is not supported or not known, by name or number (*peer*: refuses a number) | `root`: left out, so that it does not brick the root | `ROOT-KEY`, when evidence names it |
//! | a log's name: host and port of its address, normalized | `root` | `LOG-CHECKPOINT-ORIGIN` |
//! | windows have a start, do not end before it, are closed at both ends; overlapping and future ones are fine | `root`, `authority` | `ROOT-WINDOW` |
//! | window of an authority and dates of every certificate in its chain | `authority`: cut into one window, asked at every signed time | `CERT-AUTHORITY`, `TIMESTAMP-WINDOW` |
//! | chain not empty; each certificate issued by the next: name, key id, signature, constraints, usages, nothing critical unknown | `authority`, once, when the authority is first needed | `ROOT-CHAIN` |
//! | timestamp authority: extended key usage critical and sole | `authority`: left out otherwise | `TIMESTAMP-SIGNER` |
//! | origin, rollback and expiry of the root itself | [`crate::tuf`] | its own codes, `SLW-T-…` |
//! | **Certificate** | | |
//! | DER, v3, nothing after it | `certificate`, x509-cert, webpki | `CERT-MALFORMED`, `CERT-PROFILE` |
//! | each extension once, exactly one name of kind URI or email (*peer*: the first it can read), neither spelled as the other, critical where there is no subject | `certificate` | `CERT-PROFILE` |
//! | digitalSignature (*peer*: not asked), codeSigning, not an authority, nothing critical unknown | `certificate`, `path` by webpki | `CERT-PROFILE` |
//! | Fulcio's name for users (otherName) | unsupported: builds have URIs | `CERT-PROFILE` |
//! | key of a signer or log: P-256, P-384, Ed25519; RSA, P-521 and ML-DSA unsupported | `key` | `SIGNATURE-UNSUPPORTED`, `KEY` |
//! | key of an authority: these, and RSA of 2048 to 4096 bits with PKCS#1 v1.5 or PSS and SHA-256 or stronger | `authority`, `rsa`, by ring through webpki | `AUTHORITY-KEY` |
//! | old and new issuer extension agree (*peer*: the new one) | `certificate` | `CLAIM-ISSUER` |
//! | **Signed time** | | |
//! | at least one; every one that is there must verify; all are used; no clock, the caller judges what is in the future | `sigstore` | `TIMESTAMP-MISSING` |
//! | token: status, one signer, signed content type, algorithms named alike, no extension (*peer*: reads none of these) | `timestamp`, by cms | `TIMESTAMP-MALFORMED` |
//! | token: imprint of the very signature | `timestamp` | `TIMESTAMP-IMPRINT` |
//! | token: signed digest of its content | `timestamp` | `TIMESTAMP-DIGEST` |
//! | token: signer is an authority's first certificate, by issuer and serial or key id; ESSCertID of both versions agrees (*peer*: not read); embedded certificates ignored | `timestamp` | `TIMESTAMP-SIGNER` |
//! | token: signature over the signed attributes in DER | `timestamp`, `key` | `TIMESTAMP-INVALID` |
//! | token: time in the window of that very authority, its path at that time | `timestamp`, `authority` | `TIMESTAMP-WINDOW`, `ROOT-CHAIN` |
//! | token: nonce, policy, accuracy | cannot be checked offline | none: not read |
//! | promise (SET) over body, time, global index and log | `log`, `key` | `LOG-PROMISE` |
//! | a promise has a time, Rekor v2 has neither; a time without a promise counts for nothing | `bundle` | `LOG-TIME`, `LOG-PROMISE` |
//! | log's key in force at every signed time, whatever proves it; a log that has ended proves nothing without a time (*peer*: no end) | `log` | `LOG-WINDOW` |
//! | **Path, at every signed time** | | |
//! | leaf's own dates | `path` | `CERT-NOT-YET`, `CERT-EXPIRED` |
//! | issuer by name and key id, in one authority in force at all times | `path` | `CERT-CHAIN`, `CERT-AUTHORITY` |
//! | signature, once; codeSigning along the whole path; name constraints | `path`, by webpki | `CERT-SIGNATURE`, `CERT-PROFILE`, `CERT-PATH` |
//! | basicConstraints and keyCertSign of every certificate that issued another (webpki reads no key usage) | `path` | `CERT-AUTHORITY-USAGE` |
//! | certificates of the bundle between leaf and root: only for roots that name root certificates alone; their dates, the root's path length | `bundle`, `path` | `CERT-CHAIN`, `CERT-EXPIRED`, `CERT-NOT-YET`, `CERT-PATH` |
//! | revocation | not by design: certificates live ten minutes | none: by design |
//! | **Certificate's log (SCT)** | | |
//! | there is one; none only for instances without certificate logs, by `unsafe_timestamp_only` | `sct`, `sigstore` | `CERT-SCT-MISSING`, `CERT-UNLOGGED`, `LOG-UNEXPECTED` |
//! | the list's shape, nothing after it, version 1 | `sct` | `CERT-SCT-MALFORMED` |
//! | unknown logs skipped, at least one known (*peer*: exactly one SCT) | `sct` | `CERT-SCT-LOG` |
//! | in the log's window, not after the certificate's end (*peer*: not asked) | `sct` | `CERT-SCT-TIME` |
//! | signature over the spliced precertificate, its extensions and the key of the issuer really used | `sct`, `path` | `CERT-SCT` |
//! | **Transparency log** | | |
//! | log of the entry is in the root (*peer*: not read in Rekor v2) | `log` | `LOG-UNKNOWN` |
//! | checkpoint: strict signed note | `log` | `LOG-CHECKPOINT` |
//! | checkpoint: origin and signer are the log's host (*peer*: not compared) | `log` | `LOG-CHECKPOINT-ORIGIN` |
//! | checkpoint: signature by the key of the entry's log, by its hint | `log`, `key` | `LOG-CHECKPOINT-SIGNATURE` |
//! | checkpoint: witnesses and unknown signers | `log`: passed over, in any order | none: ignored |
//! | proof: root hash, tree size and, in Rekor v2, index equal to checkpoint and entry (*peer*: ignores them in v2) | `log` | `LOG-CHECKPOINT-ROOT`, `LOG-TREE-SIZE`, `LOG-INDEX` |
//! | proof: index below the size, exact number of hashes, path to the root | `log`, by sigstore-merkle | `LOG-INDEX`, `LOG-PROOF` |
//! | **Entry's body against the bundle** | | |
//! | kinds that bind the signature, and fit the content; dsse 0.0.2 was withdrawn | `bundle`, `body` | `LOG-KIND` |
//! | no duplicate members, its kind's members | `bundle`, `body` | `LOG-BODY-MALFORMED` |
//! | kind and version as the entry says (*peer*: not read), payload type in intoto | `bundle`, `body` | `LOG-BODY` |
//! | verifier is the certificate itself or the caller's key; Rekor v2's key details are that key's and the digest's (*peer*: not read) | `body` | `LOG-BODY-KEY` |
//! | digest of artifact, payload or DSSE encoding, as the kind has it | `body` | `LOG-BODY-DIGEST` |
//! | one signature, equal to the bundle's; twice in base64 in intoto | `body` | `LOG-BODY-SIGNATURE` |
//! | intoto 0.0.1: hash of the envelope file, written again with and without its certificate (*peer*: does not know the kind) | `body`, [`crate::envelope`] | `LOG-BODY-ENVELOPE` |
//! | envelope hash of dsse and of intoto 0.0.2 | not compared: it is of the submitter's own JSON, and the signature binds | none: not reproducible |
//! | **Signature** | | |
//! | over the artifact's bytes or digest; Ed25519 needs the bytes | `signature`, `key` | `SIGNATURE`, `ARTIFACT-FORM` |
//! | over the DSSE encoding of the decoded payload | `signature`, `key` | `SIGNATURE` |
//! | digest by the key; SHA-256 under P-384 only where the log entry or the bundle says so | `signature` | `SIGNATURE-UNSUPPORTED` |
//! | declared digest equals the artifact's, and never replaces it | `signature` | `ARTIFACT-DIGEST` |
//! | key against certificate, certificate against key; hint ignored; the log entry of a key must verify too, and is not needed under `unsafe_no_log` | `sigstore` | `KEY-MISMATCH`, `LOG-MISSING` |
//! | **Statement** | | |
//! | payload type, statement type, no duplicate members, well-formed digests | `statement` | `PAYLOAD-TYPE`, `STATEMENT-TYPE`, `STATEMENT-MALFORMED`, `STATEMENT-SUBJECTS` |
//! | subject by name, and by every digest that both sides know | `statement` | `SUBJECT-NAME`, `ARTIFACT-DIGEST`, `SUBJECT-ALGORITHM` |
//! | predicate type | `provenance` | `POLICY-PREDICATE` |
//! | **SLSA and policy** | | |
//! | one alternative (preset, own tables or an `[[also]]`) in all its parts, none mixed with another | `provenance`, `policy::also` | that of the one which came furthest: `POLICY-IDENTITY`, … |
//! | the policy itself: complete, not contradictory, nothing unknown in it; each mistake by line | `policy` | `POLICY-EMPTY`, `POLICY-CONTRADICTION`, `POLICY-SYNTAX`, `KEY` |
//! | instance, by who certified the signer and by its log; generation of the log | `policy::profile` | `POLICY-PROFILE` |
//! | a policy for the component, and the version that it binds to | `provenance`, [`crate::authorize`] | `POLICY-NONE`, `POLICY-COMPONENT`, `POLICY-VERSION` |
//! | the predicate's members, by each builder's conventions; an array is no object | `slsa` | `PROVENANCE-MALFORMED`, `CLAIM-MISSING` |
//! | two names for one fact, in small letters and capitals: both read, and alike | `slsa::members` | `CLAIM-COMMIT`, `CLAIM-RUN`, `CLAIM-…`, `PROVENANCE-MALFORMED` |
//! | what a builder sets itself (`internalParameters`, `environment`) and no fact of which is known | description | none: not read |
//! | issuer, identity; SLSA's own builders at a release tag only | `provenance` | `POLICY-ISSUER`, `POLICY-IDENTITY` |
//! | keys in place of certificates: every line by a listed key, enough distinct ones, about one source, ref and commit | `provenance::keys` | `POLICY-KEY`, `POLICY-THRESHOLD`, `BUNDLE-LINES`, `CLAIM-…` |
//! | identity equals the certificate's build signer; a workflow that signs for itself is of the commit it ran from | `provenance::facts` | `CLAIM-SIGNER`, `CLAIM-COMMIT` |
//! | builder named by the policy, its version in the set or range, never a prerelease | `provenance`, `policy::versions` | `POLICY-BUILDER` |
//! | builder is who signed; or the runner, of the certificate's kind; or one that SLSA's delegator signs for, at the delegator's tag if of its repository | `provenance` | `POLICY-BUILDER-IDENTITY`, `CLAIM-RUNNER` |
//! | build type | `provenance` | `POLICY-BUILDER` |
//! | source in certificate (old and new claims, owner), trigger, material, environment and event | `provenance` | `POLICY-SOURCE`, `CLAIM-SOURCE` |
//! | ref in certificate, trigger, material, environment, event and its kind; tag bound to the version as a whole | `provenance` | `POLICY-REF`, `CLAIM-REF` |
//! | versioned tag (a prefix), branch of a tag's commit | not offered: a release's tag is compared whole | none: not offered |
//! | commit in certificate, trigger, material and environment; of the workflow in certificate and environment | `provenance` | `CLAIM-COMMIT`, `CLAIM-MISSING` |
//! | workflow in certificate, entry point and environment | `provenance` | `POLICY-WORKFLOW`, `CLAIM-WORKFLOW` |
//! | run and attempt in certificate, environment and metadata | `provenance` | `CLAIM-RUN` |
//! | event in certificate and environment; pull and merge requests never, `workflow_dispatch` only if named | `policy`, `provenance` | `POLICY-CONTRADICTION`, `POLICY-TRIGGER`, `CLAIM-TRIGGER` |
//! | every member of `externalParameters`, `invocation.parameters` and `configSource` that is not compared, inputs of a dispatch: none but those pinned; bounded in the sum | `slsa::members`, `provenance` | `POLICY-INPUTS`, `PROVENANCE-MALFORMED` |
//! | runner in certificate and provenance; hosted | `provenance` | `POLICY-RUNNER`, `CLAIM-RUNNER` |
//! | repository and owner ids in certificate, environment and event; as pinned | `provenance` | `POLICY-IDS`, `CLAIM-IDS` |
//! | a certificate without the newer claims (before 2023-03) is judged by the old ones | `provenance::facts` | `CLAIM-MISSING` |
//! | **Release** | | |
//! | documents and artifacts of a newer operator: critical members and formats known, agent as new as the manifest says | [`crate::authorize`], `policy` | `AGENT-CRITICAL`, `AGENT-FORMAT`, `AGENT-VERSION` |
//! | manifest: signed by the release role, of this component, under its own name, with this platform | [`crate::authorize`] | `MANIFEST-ROLE`, `MANIFEST-MALFORMED`, `MANIFEST-COMPONENT`, `MANIFEST-PATH`, `ARTIFACT-MISSING` |
//! | the evidence is the one that was released | [`crate::authorize`] | `BUNDLE-DIGEST` |
//! | floor, rollback | the agent | `SLW-A-…` |

#[cfg(test)]
mod tests {
    use crate::error::Check;
    use std::collections::BTreeSet;

    /// The cells of each row but the headings.
    fn rows() -> Vec<Vec<&'static str>> {
        let lines = include_str!("checklist.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
        let cells = lines.map(|line| line.trim_end_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
        cells.skip(1).filter(|cells| !cells.iter().any(|cell| cell.starts_with("**"))).collect()
    }

    /// The words in backticks that look like codes.
    fn codes(cell: &'static str) -> impl Iterator<Item = &'static str> {
        cell.split('`').skip(1).step_by(2).filter(|code| code.chars().all(|c| c.is_ascii_uppercase() || c == '-'))
    }

    #[test]
    fn no_row_is_empty_and_no_code_is_missing_or_made_up() {
        let known: BTreeSet<&str> = Check::ALL.iter().map(|check| check.code().trim_start_matches("SLW-V-")).collect();
        let mut named = BTreeSet::new();
        for row in rows() {
            assert_eq!(row.len(), 3, "{row:?}");
            assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
            for code in row.last().into_iter().flat_map(|cell| codes(cell)) {
                assert!(known.contains(code), "{code} is no check: {row:?}");
                named.insert(code);
            }
            let nothing = row.last().is_some_and(|cell| codes(cell).next().is_none());
            assert!(!nothing || row.last().is_some_and(|cell| cell.starts_with("none") || cell.contains("SLW-")), "{row:?}");
        }
        let forgotten: Vec<_> = known.difference(&named).collect();
        assert!(rows().len() > 70 && forgotten.is_empty(), "in no row: {forgotten:?}");
    }
}
