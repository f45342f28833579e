//! Where each check of the specifications is made: the table for reviewers. No code.
//!
//! "gate" is this crate, before or after the library; "library" is sigstore-verify 0.15.1 with its siblings; both are run on every bundle.
//! Codes are those of [`crate::error::Check`], without `SLW-V-`.
//!
//! | check | where | refusal |
//! |---|---|---|
//! | **Parsing** | | |
//! | size, depth, duplicate members of the bundle | gate, `bundle` | `BUNDLE-SIZE`, `BUNDLE-MALFORMED` |
//! | media type known and present | gate, `bundle` (the library takes none for 0.1) | `BUNDLE-MEDIA-TYPE` |
//! | exactly one content, exactly one material | gate, `bundle` (the library takes the first it finds) | `BUNDLE-CONTENT`, `BUNDLE-MATERIAL` |
//! | one certificate in 0.3, no empty chain, no self-signed certificate in a chain | gate, `bundle` | `BUNDLE-SHAPE`, `CERT-CHAIN-EMPTY`, `CERT-ROOT` |
//! | certificates of the bundle between leaf and root: only for roots that name root certificates alone | gate, `bundle` | dropped |
//! | exactly one log entry; none only for instances without a log | gate, `bundle` | `BUNDLE-LOG-ENTRIES`, `LOG-MISSING`, `LOG-UNEXPECTED` |
//! | proof and checkpoint, whatever format the bundle claims | gate, `bundle` | `LOG-PROOF-MISSING`, `LOG-CHECKPOINT-MISSING` |
//! | promise in 0.1 | gate, `bundle` | `LOG-PROMISE-MISSING` |
//! | negative or oversized indices, base64, exactly one DSSE signature | library, parser | `BUNDLE-MALFORMED` |
//! | number of timestamps and proof hashes | gate, `bundle` | `BUNDLE-TIMESTAMPS`, `LOG-PROOF` |
//! | **Trusted root** | | |
//! | size, duplicates, media type | gate, `root` | `ROOT-SIZE`, `ROOT-MALFORMED`, `ROOT-MEDIA-TYPE` |
//! | key kind as declared, log id made from the key, no log twice | gate, `root` | `ROOT-KEY`, `ROOT-LOG-ID` |
//! | windows have a start and do not end before it | gate, `root` | `ROOT-WINDOW` |
//! | dates of every certificate in an authority's chain | gate, `root`: cut into the window (the library's anchors carry no dates) | `CERT-AUTHORITY`, `TIMESTAMP-WINDOW` |
//! | timestamp authority: extended key usage critical and sole | gate, `root`: left out otherwise | `TIMESTAMP-INVALID` |
//! | origin, rollback and expiry of the root itself | [`crate::tuf`] | `SLW-T-…` |
//! | **Certificate** | | |
//! | v3, each extension once, exactly one name, usages, not an authority | gate, `certificate` (the library takes the first name) | `CERT-PROFILE` |
//! | unknown critical extensions, path, signatures, names, dates at every signed time | library, webpki | `CERT-CHAIN`, `CERT-EXPIRED`, `CERT-NOT-YET` |
//! | SCT: rebuilt precertificate, log by id, log's window | library; exactly one SCT | `CERT-SCT` |
//! | no SCT only for instances without certificate logs | gate, `verify` | `CERT-UNLOGGED`, `LOG-UNEXPECTED` |
//! | old and new issuer extension agree | gate, `certificate` (the library prefers the new one) | `CLAIM-ISSUER` |
//! | revocation | not by design: certificates live ten minutes | |
//! | **Signed time** | | |
//! | at least one; every one that is there must verify; all are used | library | `TIMESTAMP-MISSING` |
//! | token: imprint, digest of the content, signature, signer by issuer and serial, chain at its own time, window of the very authority | library | `TIMESTAMP-INVALID`, `TIMESTAMP-WINDOW` |
//! | token: status, one signer, signed content type, algorithms named alike, ESSCertIDv2 | gate, `timestamp` (the library reads none of the last three) | `TIMESTAMP-MALFORMED`, `TIMESTAMP-SIGNER` |
//! | ESSCertID of version 1 (SHA-1) | not read: the signer is fixed by the trusted root | |
//! | promise (SET) over body, time, index and log; log in force then | library | `LOG-PROMISE` |
//! | a promise has a time, Rekor v2 has neither | gate, `bundle` | `LOG-TIME`, `LOG-PROMISE` |
//! | not later than now | library, which reads the system clock; a wrong clock refuses good evidence, never accepts bad | `DEVICE-CLOCK` |
//! | log's key in force at every signed time | gate, `verify` (the library asks the system clock) | `LOG-NOT-STARTED` |
//! | **Log** | | |
//! | log of the entry is in the root | gate, `log` | `LOG-UNKNOWN` |
//! | checkpoint: strict signed note | gate, `log` (the library trims and takes extra parts) | `LOG-CHECKPOINT` |
//! | checkpoint: origin and signer are the log's host, key is that of the entry's log | gate, `log` (the library looks for a key by four bytes) | `LOG-CHECKPOINT-ORIGIN`, `LOG-CHECKPOINT-SIGNATURE` |
//! | proof: root hash, tree size and, in Rekor v2, index equal to checkpoint and entry | gate, `log` (the library ignores size and root in v2) | `LOG-CHECKPOINT-ROOT`, `LOG-TREE-SIZE`, `LOG-INDEX` |
//! | proof: exact number of hashes, path to the root | gate, `log`, by sigstore-merkle | `LOG-PROOF` |
//! | witnesses and unknown signers are ignored | gate, `log` | |
//! | body: no duplicate members, kind and version as the entry says | gate, `bundle` (the library does not read the body's kind) | `LOG-BODY-MALFORMED`, `LOG-BODY` |
//! | body: digest, signature and certificate or key are the bundle's | library; for intoto 0.0.2 the certificate's key | `LOG-BODY` |
//! | dsse: envelope hash | not compared: it hashes the submitter's own JSON | |
//! | intoto 0.0.1, dsse 0.0.2 | unsupported | `BUNDLE-MALFORMED` |
//! | **Signature** | | |
//! | over the artifact or the DSSE encoding, with the leaf's key or the caller's | library, over [`crate::provider`] | `SIGNATURE` |
//! | RSA, ML-DSA, P-521 | unsupported | `SIGNATURE-UNSUPPORTED`, `KEY` |
//! | declared digest equals the artifact's | library | `ARTIFACT-DIGEST` |
//! | key against certificate, certificate against key | gate, `verify` | `KEY-MISMATCH` |
//! | **Statement** | | |
//! | payload type, statement type, no duplicate members, well-formed digests | gate, `statement` | `PAYLOAD-TYPE`, `STATEMENT-TYPE`, `STATEMENT-MALFORMED`, `STATEMENT-SUBJECTS` |
//! | subject by name, and by every digest that both sides know | gate, `statement` (the library takes any subject) | `SUBJECT-NAME`, `ARTIFACT-DIGEST`, `SUBJECT-ALGORITHM` |
//! | predicate type | gate, `provenance` | `POLICY-PREDICATE` |
//! | **SLSA and policy** | | |
//! | issuer, identity; SLSA's own builders at a release tag only | gate, `provenance` | `POLICY-ISSUER`, `POLICY-IDENTITY` |
//! | identity equals the certificate's build signer | gate, `provenance` | `CLAIM-SIGNER` |
//! | builder named by the policy, and the one who signed; runner and delegator rules | gate, `provenance` | `POLICY-BUILDER`, `POLICY-BUILDER-IDENTITY` |
//! | source in certificate, trigger and material | gate, `provenance` | `POLICY-SOURCE`, `CLAIM-SOURCE` |
//! | ref in certificate, trigger, material and environment; tag bound to the version | gate, `provenance` | `POLICY-REF`, `CLAIM-REF` |
//! | commit in certificate, trigger, material and environment | gate, `provenance` | `CLAIM-COMMIT`, `CLAIM-MISSING` |
//! | workflow, run and attempt, event, runner, repository and owner ids | gate, `provenance` | `CLAIM-…`, `POLICY-…` |
//! | `pull_request` never, `workflow_dispatch` only if named | gate, `policy` | `POLICY-CONTRADICTION`, `POLICY-TRIGGER` |
//! | a certificate without the newer claims (before 2023-03) is judged by the old ones | gate, `provenance` | |
//! | workflow inputs | not read: dispatches are refused unless named | |
//! | floor, rollback | the agent | `SLW-A-…` |
