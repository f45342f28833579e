//! The table of checks: every way in which this crate says no, each with a stable code, who must act, and what to do.
//!
//! A check's refusal is made by [`Check::refuse`] with the value that was seen and the value that was wanted. No two causes share a code.

use slipway_protocol::{Actor, Class, Refusal};
use std::fmt::Display;

macro_rules! checks {
    ($($name:ident = $code:literal, $class:ident, $actor:ident, $check:literal, $advice:literal;)+) => {
        /// One check. Names are alphabetical and so are codes.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Check {
            $(#[doc = $check] $name,)+
        }

        impl Check {
            /// All checks, in alphabetical order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The check's fixed part: code, class, actor, words and advice.
            #[must_use]
            pub const fn row(self) -> Refusal {
                match self {
                    $(Self::$name => Refusal::of(concat!("SLW-V-", $code), Class::$class, Actor::$actor, $check, $advice),)+
                }
            }

            /// The check's stable code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("SLW-V-", $code),)+
                }
            }
        }
    };
}

checks! {
    ArtifactDigest = "ARTIFACT-DIGEST", ArbitrarySoftware, Attacker, "artifact's digest in the signed evidence",
        "the file is not the one that was signed: fetch it again, and if it stays so, do not use it";
    ArtifactForm = "ARTIFACT-FORM", Configuration, Operator, "form in which the artifact was given",
        "this signature needs the artifact's bytes or a digest of another algorithm: pass the file instead of its digest";
    ArtifactMissing = "ARTIFACT-MISSING", Policy, Operator, "artifact for this platform in the manifest",
        "release an artifact for this platform, or take the device off this channel";
    AuthorityKey = "AUTHORITY-KEY", Configuration, Operator, "key and signature algorithm of an authority",
        "an authority of the trusted root signs in a way that is not supported: give the private Sigstore instance's authority a supported key, and renew the trusted root";
    BundleContent = "BUNDLE-CONTENT", Malformed, Builder, "exactly one signed content in the Sigstore bundle",
        "make the Sigstore bundle again with one of messageSignature or dsseEnvelope";
    BundleDigest = "BUNDLE-DIGEST", MixAndMatch, Network, "digest of the Sigstore bundle against the manifest",
        "the evidence is not the one that was released: fetch it again, or release again with the right file";
    BundleLines = "BUNDLE-LINES", EndlessData, Attacker, "number of Sigstore bundles in one file",
        "there is one for each key that signed: find out who serves this file";
    BundleLogEntries = "BUNDLE-LOG-ENTRIES", Malformed, Builder, "exactly one transparency log entry in the Sigstore bundle",
        "make the Sigstore bundle again with the one log entry of its signature";
    BundleMalformed = "BUNDLE-MALFORMED", Malformed, Builder, "shape of the Sigstore bundle",
        "the file is no Sigstore bundle or is damaged: fetch it again or make it again";
    BundleMaterial = "BUNDLE-MATERIAL", Malformed, Builder, "exactly one kind of verification material in the Sigstore bundle",
        "make the Sigstore bundle again with one of certificate, x509CertificateChain or publicKey";
    BundleMediaType = "BUNDLE-MEDIA-TYPE", Malformed, Builder, "media type of the Sigstore bundle",
        "make the Sigstore bundle with a current signer (format 0.3)";
    BundleNoEntry = "BUNDLE-NO-ENTRY", Malformed, Operator, "log entry beside the DSSE envelope",
        "this is a bare envelope without its log entry, which cannot be checked offline: turn it into a Sigstore bundle with `slipway provenance bundle`, once, online";
    BundleShape = "BUNDLE-SHAPE", Malformed, Builder, "parts that this version of the Sigstore bundle must have",
        "make the Sigstore bundle again with a current signer (format 0.3)";
    BundleSignatures = "BUNDLE-SIGNATURES", Malformed, Builder, "exactly one signature in the DSSE envelope",
        "make the Sigstore bundle again with one signature; several signers make a bundle each";
    BundleSize = "BUNDLE-SIZE", EndlessData, Attacker, "size of the Sigstore bundle",
        "real ones are 5 to 25 KB: find out who serves this file";
    BundleTimestamps = "BUNDLE-TIMESTAMPS", EndlessData, Attacker, "number of timestamp tokens in the Sigstore bundle",
        "real ones have one or two: find out who serves this file";
    CertificateAuthority = "CERT-AUTHORITY", Time, Operator, "certificate authority in force at the signing time",
        "no authority of the trusted root was in force when this was signed: renew the cached trusted root";
    CertificateAuthorityUsage = "CERT-AUTHORITY-USAGE", WrongSigner, Attacker, "right to issue certificates of every one that did",
        "a certificate was issued by one that is not for that: do not use this; in a Sigstore of your own, make its authority with CA:TRUE and keyCertSign";
    CertificateChain = "CERT-CHAIN", WrongSigner, Attacker, "certificate's chain to the trusted root",
        "the certificate comes from an authority that is not trusted here: check which Sigstore instance signed and which trusted root is cached";
    CertificateChainEmpty = "CERT-CHAIN-EMPTY", Malformed, Builder, "certificate in the chain",
        "make the Sigstore bundle again with its certificate";
    CertificateExpired = "CERT-EXPIRED", Time, Attacker, "signing time before the certificate's end",
        "signed after the certificate had expired, so the key may have been anyone's: build and sign again";
    CertificateMalformed = "CERT-MALFORMED", Malformed, Builder, "certificate's encoding",
        "make the Sigstore bundle again; if it stays so, the signer is broken";
    CertificateNotYet = "CERT-NOT-YET", Time, Attacker, "signing time after the certificate's begin",
        "signed before the certificate existed: build and sign again";
    CertificatePath = "CERT-PATH", WrongSigner, Attacker, "constraints of the authorities between certificate and root",
        "an authority issued what it may not issue: check which Sigstore instance signed and which trusted root is cached";
    CertificateProfile = "CERT-PROFILE", Malformed, Builder, "certificate's profile for code signing",
        "the certificate is not one that Fulcio issues for signing code: sign with the builder's own workflow";
    CertificateRoot = "CERT-ROOT", Malformed, Attacker, "no root certificate inside the Sigstore bundle",
        "evidence may not bring its own authority: make the Sigstore bundle again with the leaf certificate only";
    CertificateSct = "CERT-SCT", WrongSigner, Attacker, "certificate log's signature on its timestamp (SCT)",
        "the log did not see this certificate: check which Sigstore instance signed and which trusted root is cached";
    CertificateSctLog = "CERT-SCT-LOG", WrongSigner, Attacker, "certificate log in the trusted root",
        "the certificate was logged nowhere that is trusted here: check which Sigstore instance signed, and renew the cached trusted root";
    CertificateSctMalformed = "CERT-SCT-MALFORMED", Malformed, Builder, "shape of the certificate's proof that it was logged (SCT)",
        "make the Sigstore bundle again; if it stays so, the certificate authority is broken";
    CertificateSctMissing = "CERT-SCT-MISSING", WrongSigner, Attacker, "certificate's proof that it was logged (SCT)",
        "the certificate was not logged, so nobody could have noticed it: check which Sigstore instance signed";
    CertificateSctTime = "CERT-SCT-TIME", Time, Attacker, "time at which the certificate was logged",
        "the certificate log's key was not in force then, or the certificate was over: renew the cached trusted root or build again";
    CertificateSignature = "CERT-SIGNATURE", WrongSigner, Attacker, "authority's signature on the certificate",
        "the certificate is forged or damaged: make the Sigstore bundle again";
    CertificateUnlogged = "CERT-UNLOGGED", Policy, Operator, "certificate logs in the trusted root",
        "this trusted root names no certificate log. If that is intended: profile = \"github\" in the policy for GitHub's instance, unsafe_timestamp_only in its [log] table for another; without a policy, --unsafe-timestamp-only";
    ClaimCommit = "CLAIM-COMMIT", ArbitrarySoftware, Attacker, "commit in certificate and provenance",
        "provenance and certificate tell two stories about the source: do not use this build";
    ClaimIds = "CLAIM-IDS", ArbitrarySoftware, Attacker, "repository and owner ids in certificate and provenance",
        "provenance and certificate tell two stories about the source: do not use this build";
    ClaimIssuer = "CLAIM-ISSUER", ArbitrarySoftware, Attacker, "issuer in the certificate's old and new extension",
        "the certificate contradicts itself: do not use this build";
    ClaimMissing = "CLAIM-MISSING", Policy, Builder, "claim in certificate or provenance",
        "the evidence does not say what the policy asks: build with a builder that records it";
    ClaimRef = "CLAIM-REF", ArbitrarySoftware, Attacker, "source ref in certificate, trigger and material",
        "provenance and certificate tell two stories about the source: do not use this build";
    ClaimRun = "CLAIM-RUN", ArbitrarySoftware, Attacker, "build run in certificate and provenance",
        "provenance and certificate tell two stories about the build: do not use this build";
    ClaimRunner = "CLAIM-RUNNER", ArbitrarySoftware, Attacker, "runner in certificate and provenance",
        "provenance and certificate tell two stories about the build: do not use this build";
    ClaimSigner = "CLAIM-SIGNER", ArbitrarySoftware, Attacker, "signing workflow in the certificate's identity and claims",
        "the certificate contradicts itself: do not use this build";
    ClaimSource = "CLAIM-SOURCE", ArbitrarySoftware, Attacker, "source repository in certificate, trigger and material",
        "provenance and certificate tell two stories about the source: do not use this build";
    ClaimTrigger = "CLAIM-TRIGGER", ArbitrarySoftware, Attacker, "build trigger in certificate and provenance",
        "provenance and certificate tell two stories about the build: do not use this build";
    ClaimWorkflow = "CLAIM-WORKFLOW", ArbitrarySoftware, Attacker, "workflow in certificate and provenance",
        "provenance and certificate tell two stories about the build: do not use this build";
    Key = "KEY", Configuration, Operator, "public key to verify with",
        "give an ECDSA P-256, ECDSA P-384 or Ed25519 public key as PEM; RSA and ML-DSA keys are not supported";
    KeyMismatch = "KEY-MISMATCH", Configuration, Operator, "kind of signer: certificate or key",
        "name an identity for a Sigstore bundle with a certificate, a key for one with a key";
    LogBody = "LOG-BODY", MixAndMatch, Attacker, "kind of the log entry against its body and the payload",
        "the log entry belongs to another signature: make the Sigstore bundle again";
    LogBodyDigest = "LOG-BODY-DIGEST", MixAndMatch, Attacker, "digest in the log entry",
        "the log entry is about another artifact or statement: make the Sigstore bundle again";
    LogBodyEnvelope = "LOG-BODY-ENVELOPE", MixAndMatch, Attacker, "hash of the envelope file in the log entry",
        "the log entry is about another file: make the Sigstore bundle again, from the file as its builder published it";
    LogBodyKey = "LOG-BODY-KEY", MixAndMatch, Attacker, "certificate or key in the log entry",
        "the log entry is about another signer: make the Sigstore bundle again";
    LogBodyMalformed = "LOG-BODY-MALFORMED", Malformed, Builder, "log entry's body",
        "make the Sigstore bundle again with a current signer";
    LogBodySignature = "LOG-BODY-SIGNATURE", MixAndMatch, Attacker, "signature in the log entry",
        "the log entry is about another signature: make the Sigstore bundle again";
    LogCheckpoint = "LOG-CHECKPOINT", Malformed, Builder, "shape of the log's checkpoint",
        "make the Sigstore bundle again with the log's checkpoint as the log gave it";
    LogCheckpointMissing = "LOG-CHECKPOINT-MISSING", Policy, Builder, "checkpoint beside the inclusion proof",
        "a proof without the log's signed checkpoint proves nothing: make the Sigstore bundle again with a current signer";
    LogCheckpointOrigin = "LOG-CHECKPOINT-ORIGIN", WrongSigner, Attacker, "checkpoint's origin and signer against the log's address",
        "the checkpoint is another log's: make the Sigstore bundle again";
    LogCheckpointRoot = "LOG-CHECKPOINT-ROOT", MixAndMatch, Attacker, "inclusion proof's root against the checkpoint",
        "proof and checkpoint are of different trees: make the Sigstore bundle again";
    LogCheckpointSignature = "LOG-CHECKPOINT-SIGNATURE", WrongSigner, Attacker, "log's signature on its checkpoint",
        "the log did not sign this checkpoint: make the Sigstore bundle again";
    LogIndex = "LOG-INDEX", MixAndMatch, Attacker, "entry's index against the inclusion proof",
        "proof and entry are of different places: make the Sigstore bundle again";
    LogKind = "LOG-KIND", Malformed, Builder, "kind of log entry for this content",
        "sign with a client that logs hashedrekord 0.0.1 or 0.0.2, dsse 0.0.1 or intoto 0.0.2: others do not bind the signature";
    LogMissing = "LOG-MISSING", Policy, Builder, "transparency log entry",
        "sign so that the signature is logged. For a Sigstore instance without a log: profile = \"github\" or unsafe_timestamp_only in the policy's [log] table; for keys unsafe_no_log there; without a policy, --unsafe-timestamp-only";
    LogPromise = "LOG-PROMISE", WrongSigner, Attacker, "log's promise of inclusion (SET)",
        "the log did not promise this entry at this time: make the Sigstore bundle again";
    LogPromiseMissing = "LOG-PROMISE-MISSING", Malformed, Builder, "log's promise of inclusion (SET) in a bundle of format 0.1",
        "make the Sigstore bundle again with a current signer (format 0.3)";
    LogProof = "LOG-PROOF", WrongSigner, Attacker, "proof of inclusion in the transparency log",
        "the entry is not in the tree: make the Sigstore bundle again";
    LogProofMissing = "LOG-PROOF-MISSING", Policy, Builder, "proof of inclusion in the transparency log",
        "make the Sigstore bundle with a current signer; for evidence from before 2023-08 that has only the log's promise: unsafe_promise_only in the policy's [log] table; without a policy, --unsafe-promise-only";
    LogTime = "LOG-TIME", Time, Attacker, "log's time of entry",
        "an unsigned time or one outside the certificate's life: make the Sigstore bundle again";
    LogTreeSize = "LOG-TREE-SIZE", MixAndMatch, Attacker, "inclusion proof's tree size against the checkpoint",
        "proof and checkpoint are of different trees: make the Sigstore bundle again";
    LogUnexpected = "LOG-UNEXPECTED", Policy, Operator, "trusted root without transparency logs for timestamp-only evidence",
        "evidence without a log is only for Sigstore instances that have none: remove unsafe_timestamp_only or the profile github (without a policy, --unsafe-timestamp-only), or give that instance's trusted root: to devices by `slipway sigstore add REPO --github` (or with its trusted_root.json), by hand as --trusted-root";
    LogUnknown = "LOG-UNKNOWN", WrongSigner, Operator, "transparency log in the trusted root",
        "the log is not trusted here: check which Sigstore instance signed, and renew the cached trusted root";
    LogWindow = "LOG-WINDOW", Time, Attacker, "log's key in force when it was signed",
        "the log's key was not in force then: renew the cached trusted root or build again";
    ManifestComponent = "MANIFEST-COMPONENT", MixAndMatch, Attacker, "manifest's component",
        "a manifest of another component was shown under this one's name: find out who may sign under releases/";
    ManifestMalformed = "MANIFEST-MALFORMED", Malformed, Operator, "release manifest",
        "make the release again with `slipway release`";
    ManifestPath = "MANIFEST-PATH", MixAndMatch, Attacker, "manifest's content against the name it was signed under",
        "a manifest was signed under another release's name: find out who may sign under releases/";
    ManifestRole = "MANIFEST-ROLE", WrongSigner, Attacker, "role that signed the release manifest",
        "only the release keys may vouch for a release: find out who may sign under releases/";
    PayloadType = "PAYLOAD-TYPE", Malformed, Builder, "type of the signed payload",
        "provenance is an in-toto statement: sign one";
    PolicyBuilder = "POLICY-BUILDER", ArbitrarySoftware, Attacker, "builder that made the artifact",
        "built by someone else than the policy names: if the builder changed on purpose, add it to the policy";
    PolicyBuilderIdentity = "POLICY-BUILDER-IDENTITY", ArbitrarySoftware, Attacker, "builder in the provenance against the certificate's identity",
        "the provenance names a builder that did not sign it: do not use this build";
    PolicyComponent = "POLICY-COMPONENT", Configuration, Operator, "component that the policy is for",
        "use the policy of this component";
    PolicyContradiction = "POLICY-CONTRADICTION", Configuration, Operator, "policy without contradictions",
        "correct the policy: nothing is accepted until it loads";
    PolicyEmpty = "POLICY-EMPTY", Configuration, Operator, "policy that names signer, source and ref",
        "say who may sign, from which source and from which tag: nothing is accepted without";
    PolicyIdentity = "POLICY-IDENTITY", WrongSigner, Attacker, "certificate's identity",
        "signed by someone else than was asked for: if the signer changed on purpose, or its version behind the @ did, name that too";
    PolicyIds = "POLICY-IDS", ArbitrarySoftware, Attacker, "repository and owner ids",
        "the name is right but the repository is another one: it may have been deleted and registered again by someone else";
    PolicyInputs = "POLICY-INPUTS", ArbitrarySoftware, Builder, "inputs that were given to the build",
        "somebody gave the build inputs that the policy does not name: build without, or pin them in [provenance.inputs]";
    PolicyIssuer = "POLICY-ISSUER", WrongSigner, Attacker, "issuer that vouched for the identity",
        "another identity provider vouched than the policy names: if that changed on purpose, change the policy";
    PolicyKey = "POLICY-KEY", WrongSigner, Attacker, "key that signed, among the policy's keys",
        "signed by no key of the policy, or damaged: if a key was added on purpose, add it to the policy; leave out lines that are not wanted";
    PolicyNone = "POLICY-NONE", Configuration, Operator, "at least one policy for the component",
        "write a policy for this component: without one nothing may be installed";
    PolicyPredicate = "POLICY-PREDICATE", Policy, Operator, "type of the statement's predicate",
        "the evidence is not SLSA provenance of a type the policy takes";
    PolicyProfile = "POLICY-PROFILE", WrongSigner, Operator, "Sigstore instance that signed, against the policy's profile",
        "the evidence is another Sigstore instance's, or the trusted root is: name the right profile, and give the trusted root of that instance: to devices by `slipway sigstore add REPO trusted_root.json` (GitHub's by --github), by hand as --trusted-root";
    PolicyRef = "POLICY-REF", ArbitrarySoftware, Attacker, "source ref that was built",
        "built from another branch or tag than the policy and the release's version ask: release what the tag built";
    PolicyRunner = "POLICY-RUNNER", ArbitrarySoftware, Builder, "runner that the build ran on",
        "built on a self-hosted runner, which its owner controls: build on a hosted one";
    PolicySource = "POLICY-SOURCE", ArbitrarySoftware, Attacker, "source repository",
        "built from another repository than the policy names: if the project moved, change the policy";
    PolicySyntax = "POLICY-SYNTAX", Configuration, Operator, "policy file",
        "correct the policy: nothing is accepted until it loads";
    PolicyThreshold = "POLICY-THRESHOLD", WrongSigner, Builder, "number of distinct keys that signed",
        "not enough keys vouch for this build: have it signed by others too, and put their Sigstore bundles into the file, one a line";
    PolicyTrigger = "POLICY-TRIGGER", Policy, Operator, "event that triggered the build",
        "started by an event the policy does not take: build from a tag or release, or add the event to triggers";
    PolicyVersion = "POLICY-VERSION", Configuration, Operator, "version to compare the tag with",
        "the policy binds the tag to the release's version, but none was given: pass the version";
    PolicyWorkflow = "POLICY-WORKFLOW", ArbitrarySoftware, Attacker, "workflow that was run",
        "another workflow of the repository made this than the policy names: if it changed on purpose, change the policy";
    ProvenanceMalformed = "PROVENANCE-MALFORMED", Malformed, Builder, "shape of the SLSA provenance",
        "make the provenance with a builder that follows SLSA v0.2 or v1";
    RootChain = "ROOT-CHAIN", Configuration, Operator, "certificates of the trusted root's authorities",
        "the cached trusted root is damaged: fetch it again through TUF";
    RootKey = "ROOT-KEY", Configuration, Operator, "keys of the trusted root's logs",
        "the cached trusted root is damaged or uses a key type that is not supported (ECDSA P-256, P-384, Ed25519 are)";
    RootLogId = "ROOT-LOG-ID", Configuration, Operator, "log's id against its key in the trusted root",
        "the cached trusted root is damaged: fetch it again through TUF";
    RootMalformed = "ROOT-MALFORMED", Malformed, Operator, "shape of the trusted root",
        "this is no trusted_root.json, or a damaged one: name the right file, or fetch it again through TUF";
    RootMediaType = "ROOT-MEDIA-TYPE", Malformed, Operator, "media type of the trusted root",
        "give a Sigstore trusted_root.json of format 0.1 or 0.2";
    RootSize = "ROOT-SIZE", EndlessData, Attacker, "size of the trusted root",
        "real ones are 7 to 32 KB: find out who serves this file";
    RootWindow = "ROOT-WINDOW", Configuration, Operator, "validity windows in the trusted root",
        "the cached trusted root is damaged: fetch it again through TUF";
    Signature = "SIGNATURE", ArbitrarySoftware, Attacker, "signature over the artifact or statement",
        "the signature does not belong to this content: do not use it";
    SignatureUnsupported = "SIGNATURE-UNSUPPORTED", Policy, Builder, "kind of signature, key or log entry",
        "sign with ECDSA P-256, P-384 or Ed25519; RSA and ML-DSA keys of signers are not supported";
    StatementMalformed = "STATEMENT-MALFORMED", Malformed, Builder, "shape of the in-toto statement",
        "make the provenance again; if it stays so, the builder is broken";
    StatementSubjects = "STATEMENT-SUBJECTS", Malformed, Builder, "subjects of the in-toto statement",
        "make the provenance again with a SHA-256 or SHA-512 digest for each subject";
    StatementType = "STATEMENT-TYPE", Malformed, Builder, "type of the in-toto statement",
        "make the provenance again as an in-toto statement v0.1 or v1";
    SubjectAlgorithm = "SUBJECT-ALGORITHM", Configuration, Operator, "digest algorithm of the provenance's subjects",
        "give the file itself, or its digest by the algorithm that the provenance has; release it with that digest";
    SubjectName = "SUBJECT-NAME", MixAndMatch, Attacker, "artifact's name among the provenance's subjects",
        "the evidence is about other files: release the artifact with its own provenance, under the name the builder gave it";
    TimestampDigest = "TIMESTAMP-DIGEST", WrongSigner, Attacker, "timestamp token's signed digest of its content",
        "the token's content was changed: make the Sigstore bundle again";
    TimestampImprint = "TIMESTAMP-IMPRINT", MixAndMatch, Attacker, "signature that the timestamp token is about",
        "the token was made for another signature: make the Sigstore bundle again";
    TimestampInvalid = "TIMESTAMP-INVALID", WrongSigner, Attacker, "timestamp token's signature",
        "the timestamp authority did not sign this token: make the Sigstore bundle again";
    TimestampMalformed = "TIMESTAMP-MALFORMED", Malformed, Builder, "shape of the timestamp token",
        "make the Sigstore bundle again with a timestamp authority that follows RFC 3161";
    TimestampMissing = "TIMESTAMP-MISSING", Policy, Builder, "signed time of the signature",
        "nothing says when this was signed, so the certificate cannot be judged: sign with a timestamp authority";
    TimestampSigner = "TIMESTAMP-SIGNER", WrongSigner, Attacker, "signer that the timestamp token names",
        "no trusted timestamp authority made this token: check which Sigstore instance signed and which trusted root is cached";
    TimestampWindow = "TIMESTAMP-WINDOW", Time, Attacker, "timestamp authority in force at its own time",
        "the token's time is outside the authority's window: renew the cached trusted root or build again";
}

impl Check {
    /// The refusal of this check, with what it saw and what it wanted.
    #[must_use]
    pub fn refuse(self, seen: impl Display, wanted: impl Display) -> Refusal {
        self.row().with(seen, wanted)
    }
}

/// The value, or the word `none`.
pub(crate) fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_alphabetical_and_every_row_gives_advice() {
        let mut seen = BTreeSet::new();
        for check in Check::ALL {
            let row = check.row();
            assert!(seen.insert(row.code.clone()), "{} twice", row.code);
            assert_eq!(row.code, check.code());
            assert!(row.code.starts_with("SLW-V-"));
            assert!(!row.check.is_empty() && row.advice.len() > 20, "{}", row.code);
        }
        let names: Vec<String> = Check::ALL.iter().map(|check| format!("{check:?}")).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        let codes: Vec<&str> = Check::ALL.iter().map(|check| check.code()).collect();
        assert!(codes.is_sorted(), "{codes:?}");
    }
}
