//! The table of checks: every refusal of this crate, with a stable code, who must act, and the fix.
//!
//! [`Check::refuse`] makes a check's refusal, with the values found and expected. No two causes share a code.

use slipway_protocol::{Category, Refusal, Responsible};
use std::fmt::Display;

macro_rules! checks {
    ($($name:ident = $code:literal, $category:ident, $responsible:ident, $check:literal, $advice:literal;)+) => {
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
                    $(Self::$name => Refusal::of($code, Category::$category, Responsible::$responsible, $check, $advice),)+
                }
            }

            /// The check's stable code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }

        /// The refusals of all checks.
        pub(crate) const REFUSALS: &[Refusal] = &[$(Check::$name.row()),+];
    };
}

checks! {
    AgentCritical = "SLW-V-AGENT-CRITICAL", Policy, Operator,
        "signed document has a critical member that this agent does not know",
        "update the agent first, then let it check again";
    AgentFormat = "SLW-V-AGENT-FORMAT", Policy, Operator,
        "signed document has a format that this agent does not know",
        "update the agent first, then let it check again";
    AgentVersion = "SLW-V-AGENT-VERSION", Policy, Operator, "release needs a newer agent",
        "update the agent first, then let it check again";
    ArtifactDigest = "SLW-V-ARTIFACT-DIGEST", ArbitrarySoftware, Attacker,
        "artifact's digest differs from the signed evidence",
        "fetch the file again; if its digest still differs, do not use it";
    ArtifactForm = "SLW-V-ARTIFACT-FORM", Configuration, Operator, "signature cannot be checked against this digest",
        "pass the file instead of its digest: this signature needs the artifact's bytes or a digest of another algorithm";
    ArtifactMissing = "SLW-V-ARTIFACT-MISSING", Policy, Operator, "release has no artifact for this platform",
        "release an artifact for this platform, or remove the device from this channel";
    AuthorityKey = "SLW-V-AUTHORITY-KEY", Configuration, Operator,
        "authority in the trusted root uses an unsupported key or signature algorithm",
        "give the private Sigstore instance's authority a supported key, and renew the trusted root";
    BundleContent = "SLW-V-BUNDLE-CONTENT", Malformed, Builder, "Sigstore bundle does not have exactly one signed content",
        "create the Sigstore bundle again with one of messageSignature or dsseEnvelope";
    BundleDigest = "SLW-V-BUNDLE-DIGEST", MixAndMatch, Network, "Sigstore bundle differs from the one in the manifest",
        "fetch the Sigstore bundle again, or release again with the right file";
    BundleLines = "SLW-V-BUNDLE-LINES", EndlessData, Attacker, "file contains too many Sigstore bundles",
        "find out who serves this file: it should have one Sigstore bundle for each key that signed";
    BundleLogEntries = "SLW-V-BUNDLE-LOG-ENTRIES", Malformed, Builder,
        "Sigstore bundle does not have exactly one transparency log entry",
        "create the Sigstore bundle again with the one log entry of its signature";
    BundleMalformed = "SLW-V-BUNDLE-MALFORMED", Malformed, Builder, "Sigstore bundle cannot be parsed",
        "fetch the file again or create it again: it is not a Sigstore bundle or is damaged";
    BundleMaterial = "SLW-V-BUNDLE-MATERIAL", Malformed, Builder,
        "Sigstore bundle does not have exactly one kind of verification material",
        "create the Sigstore bundle again with one of certificate, x509CertificateChain or publicKey";
    BundleMediaType = "SLW-V-BUNDLE-MEDIA-TYPE", Malformed, Builder, "Sigstore bundle has an unsupported media type",
        "create the Sigstore bundle again with a current signer (format 0.3)";
    BundleNoEntry = "SLW-V-BUNDLE-NO-ENTRY", Malformed, Operator, "DSSE envelope has no log entry",
        "run `slipway provenance bundle` once, online, to turn the envelope into a Sigstore bundle: a bare envelope \
         cannot be checked offline";
    BundleShape = "SLW-V-BUNDLE-SHAPE", Malformed, Builder, "Sigstore bundle does not match its format version",
        "create the Sigstore bundle again with a current signer (format 0.3)";
    BundleSignatures = "SLW-V-BUNDLE-SIGNATURES", Malformed, Builder, "DSSE envelope does not have exactly one signature",
        "create the Sigstore bundle again with one signature; if several sign, create one bundle for each";
    BundleSize = "SLW-V-BUNDLE-SIZE", EndlessData, Attacker, "Sigstore bundle is too large",
        "find out who serves this file: real ones are 5 to 25 KB";
    BundleTimestamps = "SLW-V-BUNDLE-TIMESTAMPS", EndlessData, Attacker, "Sigstore bundle has too many timestamp tokens",
        "find out who serves this file: real ones have one or two";
    CertificateAuthority = "SLW-V-CERT-AUTHORITY", Time, Operator,
        "no trusted certificate authority was in force at the signing time",
        "renew the cached trusted root";
    CertificateAuthorityUsage = "SLW-V-CERT-AUTHORITY-USAGE", WrongSigner, Attacker,
        "certificate in the path may not issue certificates",
        "do not use this build; in a private Sigstore instance, create the authority with CA:TRUE and keyCertSign";
    CertificateChain = "SLW-V-CERT-CHAIN", WrongSigner, Attacker, "certificate does not chain to the trusted root",
        "check which Sigstore instance signed and which trusted root is cached";
    CertificateChainEmpty = "SLW-V-CERT-CHAIN-EMPTY", Malformed, Builder, "certificate chain is empty",
        "create the Sigstore bundle again with its certificate";
    CertificateExpired = "SLW-V-CERT-EXPIRED", Time, Attacker, "signed after the certificate expired",
        "build and sign again: after the expiry, somebody else may have had the key";
    CertificateMalformed = "SLW-V-CERT-MALFORMED", Malformed, Builder, "certificate cannot be parsed",
        "create the Sigstore bundle again; if the error persists, report it to the signer's vendor";
    CertificateNotYet = "SLW-V-CERT-NOT-YET", Time, Attacker, "signed before the certificate was valid",
        "build and sign again";
    CertificatePath = "SLW-V-CERT-PATH", WrongSigner, Attacker, "certificate path violates an authority's constraints",
        "check which Sigstore instance signed and which trusted root is cached";
    CertificateProfile = "SLW-V-CERT-PROFILE", Malformed, Builder,
        "certificate is not a code signing certificate as Fulcio issues them",
        "sign with the builder's own workflow";
    CertificateRoot = "SLW-V-CERT-ROOT", Malformed, Attacker, "Sigstore bundle contains a root certificate",
        "create the Sigstore bundle again with the leaf certificate only: evidence may not bring its own authority";
    CertificateSct = "SLW-V-CERT-SCT", WrongSigner, Attacker,
        "certificate log's signature on the certificate timestamp (SCT) is invalid",
        "check which Sigstore instance signed and which trusted root is cached";
    CertificateSctLog = "SLW-V-CERT-SCT-LOG", WrongSigner, Attacker, "certificate log is not in the trusted root",
        "check which Sigstore instance signed, and renew the cached trusted root";
    CertificateSctMalformed = "SLW-V-CERT-SCT-MALFORMED", Malformed, Builder, "certificate timestamp (SCT) cannot be parsed",
        "create the Sigstore bundle again; if the error persists, report it to the certificate authority";
    CertificateSctMissing = "SLW-V-CERT-SCT-MISSING", WrongSigner, Attacker,
        "certificate has no timestamp of a certificate log (SCT)",
        "check which Sigstore instance signed: a certificate that is in no log can be issued unnoticed";
    CertificateSctTime = "SLW-V-CERT-SCT-TIME", Time, Attacker, "certificate was logged outside a validity period",
        "renew the cached trusted root, or build again: the certificate log's key or the certificate was not valid then";
    CertificateSignature = "SLW-V-CERT-SIGNATURE", WrongSigner, Attacker,
        "authority's signature on the certificate is invalid",
        "create the Sigstore bundle again: the certificate is forged or damaged";
    CertificateUnlogged = "SLW-V-CERT-UNLOGGED", Policy, Operator, "trusted root has no certificate log",
        "if this is intended, set profile = \"github\" in the policy for GitHub's instance, or unsafe_timestamp_only \
         in its [log] table for another one; without a policy, pass --unsafe-timestamp-only";
    ClaimCommit = "SLW-V-CLAIM-COMMIT", ArbitrarySoftware, Attacker, "certificate and provenance name different commits",
        "do not use this build: its evidence contradicts itself";
    ClaimIds = "SLW-V-CLAIM-IDS", ArbitrarySoftware, Attacker,
        "certificate and provenance name different repository or owner ids",
        "do not use this build: its evidence contradicts itself";
    ClaimIssuer = "SLW-V-CLAIM-ISSUER", ArbitrarySoftware, Attacker,
        "certificate's old and new extensions name different issuers",
        "do not use this build: its evidence contradicts itself";
    ClaimMissing = "SLW-V-CLAIM-MISSING", Policy, Builder, "certificate or provenance lacks a claim that the policy requires",
        "build with a builder that records the claim";
    ClaimRef = "SLW-V-CLAIM-REF", ArbitrarySoftware, Attacker, "certificate, trigger and material name different source refs",
        "do not use this build: its evidence contradicts itself";
    ClaimRun = "SLW-V-CLAIM-RUN", ArbitrarySoftware, Attacker, "certificate and provenance name different build runs",
        "do not use this build: its evidence contradicts itself";
    ClaimRunner = "SLW-V-CLAIM-RUNNER", ArbitrarySoftware, Attacker, "certificate and provenance name different runners",
        "do not use this build: its evidence contradicts itself";
    ClaimSigner = "SLW-V-CLAIM-SIGNER", ArbitrarySoftware, Attacker,
        "certificate's identity and claims name different signing workflows",
        "do not use this build: its evidence contradicts itself";
    ClaimSource = "SLW-V-CLAIM-SOURCE", ArbitrarySoftware, Attacker,
        "certificate, trigger and material name different source repositories",
        "do not use this build: its evidence contradicts itself";
    ClaimTrigger = "SLW-V-CLAIM-TRIGGER", ArbitrarySoftware, Attacker,
        "certificate and provenance name different build triggers",
        "do not use this build: its evidence contradicts itself";
    ClaimWorkflow = "SLW-V-CLAIM-WORKFLOW", ArbitrarySoftware, Attacker,
        "certificate and provenance name different workflows",
        "do not use this build: its evidence contradicts itself";
    Key = "SLW-V-KEY", Configuration, Operator, "public key cannot be used",
        "give an ECDSA P-256, ECDSA P-384 or Ed25519 public key as PEM; RSA and ML-DSA keys are not supported";
    KeyMismatch = "SLW-V-KEY-MISMATCH", Configuration, Operator, "signed with a key instead of a certificate, or the reverse",
        "name an identity for a Sigstore bundle with a certificate, a key for one with a key";
    LogBody = "SLW-V-LOG-BODY", MixAndMatch, Attacker, "log entry does not match its body or the payload",
        "create the Sigstore bundle again: the log entry belongs to another signature";
    LogBodyDigest = "SLW-V-LOG-BODY-DIGEST", MixAndMatch, Attacker,
        "log entry has the digest of another artifact or statement",
        "create the Sigstore bundle again with the log entry of this signature";
    LogBodyEnvelope = "SLW-V-LOG-BODY-ENVELOPE", MixAndMatch, Attacker, "log entry has the hash of another envelope file",
        "create the Sigstore bundle again, from the file as its builder published it";
    LogBodyKey = "SLW-V-LOG-BODY-KEY", MixAndMatch, Attacker, "log entry has another certificate or key",
        "create the Sigstore bundle again with the log entry of this signature";
    LogBodyMalformed = "SLW-V-LOG-BODY-MALFORMED", Malformed, Builder, "log entry's body cannot be parsed",
        "create the Sigstore bundle again with a current signer";
    LogBodySignature = "SLW-V-LOG-BODY-SIGNATURE", MixAndMatch, Attacker, "log entry has another signature",
        "create the Sigstore bundle again with the log entry of this signature";
    LogCheckpoint = "SLW-V-LOG-CHECKPOINT", Malformed, Builder, "log's checkpoint cannot be parsed",
        "create the Sigstore bundle again with the log's unchanged checkpoint";
    LogCheckpointMissing = "SLW-V-LOG-CHECKPOINT-MISSING", Policy, Builder, "inclusion proof has no checkpoint",
        "create the Sigstore bundle again with a current signer: without the log's signed checkpoint the proof \
         proves nothing";
    LogCheckpointOrigin = "SLW-V-LOG-CHECKPOINT-ORIGIN", WrongSigner, Attacker, "checkpoint is from another log",
        "create the Sigstore bundle again with the checkpoint of the entry's log";
    LogCheckpointRoot = "SLW-V-LOG-CHECKPOINT-ROOT", MixAndMatch, Attacker,
        "inclusion proof and checkpoint have different tree roots",
        "create the Sigstore bundle again with proof and checkpoint of the same tree";
    LogCheckpointSignature = "SLW-V-LOG-CHECKPOINT-SIGNATURE", WrongSigner, Attacker,
        "log's signature on its checkpoint is invalid",
        "create the Sigstore bundle again with the log's unchanged checkpoint";
    LogIndex = "SLW-V-LOG-INDEX", MixAndMatch, Attacker, "log entry and inclusion proof have different indexes",
        "create the Sigstore bundle again with the proof of this entry";
    LogKind = "SLW-V-LOG-KIND", Malformed, Builder, "log entry has a kind that is not supported for this content",
        "sign with a client that logs hashedrekord 0.0.1 or 0.0.2, dsse 0.0.1 or intoto 0.0.2: others do not bind \
         the signature";
    LogMissing = "SLW-V-LOG-MISSING", Policy, Builder, "signature is in no transparency log",
        "sign so that the signature is logged; for a Sigstore instance without a log, set profile = \"github\", or \
         unsafe_timestamp_only in the policy's [log] table; for keys, set unsafe_no_log there; without a policy, \
         pass --unsafe-timestamp-only";
    LogPromise = "SLW-V-LOG-PROMISE", WrongSigner, Attacker, "log's promise of inclusion (SET) is invalid",
        "create the Sigstore bundle again: the log did not promise this entry at this time";
    LogPromiseMissing = "SLW-V-LOG-PROMISE-MISSING", Malformed, Builder,
        "Sigstore bundle of format 0.1 has no promise of inclusion (SET)",
        "create the Sigstore bundle again with a current signer (format 0.3)";
    LogProof = "SLW-V-LOG-PROOF", WrongSigner, Attacker, "proof of inclusion in the transparency log is invalid",
        "create the Sigstore bundle again: the entry is not in the log's tree";
    LogProofMissing = "SLW-V-LOG-PROOF-MISSING", Policy, Builder, "proof of inclusion in the transparency log is missing",
        "create the Sigstore bundle again with a current signer; for evidence from before 2023-08 that has only the \
         log's promise, set unsafe_promise_only in the policy's [log] table; without a policy, pass \
         --unsafe-promise-only";
    LogTime = "SLW-V-LOG-TIME", Time, Attacker, "log entry's time is not signed, or is outside the certificate's validity",
        "create the Sigstore bundle again";
    LogTreeSize = "SLW-V-LOG-TREE-SIZE", MixAndMatch, Attacker, "inclusion proof and checkpoint have different tree sizes",
        "create the Sigstore bundle again with proof and checkpoint of the same tree";
    LogUnexpected = "SLW-V-LOG-UNEXPECTED", Policy, Operator,
        "trusted root has transparency logs, but evidence without one is accepted",
        "remove unsafe_timestamp_only or the profile github (without a policy, --unsafe-timestamp-only), or give the \
         trusted root of an instance without logs: to devices by `slipway sigstore add REPO --github` (or with its \
         trusted_root.json), by hand as --trusted-root";
    LogUnknown = "SLW-V-LOG-UNKNOWN", WrongSigner, Operator, "transparency log is not in the trusted root",
        "check which Sigstore instance signed, and renew the cached trusted root";
    LogWindow = "SLW-V-LOG-WINDOW", Time, Attacker, "log's key was not in force at the signing time",
        "renew the cached trusted root, or build again";
    ManifestComponent = "SLW-V-MANIFEST-COMPONENT", MixAndMatch, Attacker, "release manifest is for another component",
        "find out who may sign under releases/: this manifest was signed under another component's name";
    ManifestMalformed = "SLW-V-MANIFEST-MALFORMED", Malformed, Operator, "release manifest cannot be parsed",
        "make the release again with `slipway release`";
    ManifestPath = "SLW-V-MANIFEST-PATH", MixAndMatch, Attacker,
        "release manifest does not match the name it was signed under",
        "find out who may sign under releases/: this manifest was signed under another release's name";
    ManifestRole = "SLW-V-MANIFEST-ROLE", WrongSigner, Attacker, "release manifest was signed by the wrong role",
        "find out who may sign under releases/: only the release keys may sign a release";
    PayloadType = "SLW-V-PAYLOAD-TYPE", Malformed, Builder, "signed payload is not an in-toto statement",
        "sign an in-toto statement: provenance is one";
    PolicyBuilder = "SLW-V-POLICY-BUILDER", ArbitrarySoftware, Attacker, "builder differs from the policy",
        "if the builder changed on purpose, add it to the policy; otherwise do not use this build";
    PolicyBuilderIdentity = "SLW-V-POLICY-BUILDER-IDENTITY", ArbitrarySoftware, Attacker,
        "builder in the provenance differs from the certificate's identity",
        "do not use this build: its provenance names a builder that did not sign it";
    PolicyComponent = "SLW-V-POLICY-COMPONENT", Configuration, Operator, "policy is for another component",
        "use the policy of this component";
    PolicyContradiction = "SLW-V-POLICY-CONTRADICTION", Configuration, Operator, "policy contradicts itself",
        "correct the policy: nothing is accepted until it loads";
    PolicyEmpty = "SLW-V-POLICY-EMPTY", Configuration, Operator, "policy does not name signer, source and ref",
        "add who may sign, from which source and from which tag: nothing is accepted without";
    PolicyIdentity = "SLW-V-POLICY-IDENTITY", WrongSigner, Attacker, "certificate's identity differs from the expected one",
        "if the signer or its version after the @ changed on purpose, name the new identity; otherwise do not use this build";
    PolicyIds = "SLW-V-POLICY-IDS", ArbitrarySoftware, Attacker, "repository or owner id differs from the policy",
        "find out whether the repository was deleted and registered again by someone else: its name is the expected \
         one, its id is not";
    PolicyInputs = "SLW-V-POLICY-INPUTS", ArbitrarySoftware, Builder, "build inputs differ from the policy",
        "build without these inputs, or pin them in [provenance.inputs]";
    PolicyIssuer = "SLW-V-POLICY-ISSUER", WrongSigner, Attacker, "issuer of the identity differs from the expected one",
        "if the identity provider changed on purpose, name the new one; otherwise do not use this build";
    PolicyKey = "SLW-V-POLICY-KEY", WrongSigner, Attacker, "signed by none of the policy's keys",
        "if a key was added on purpose, add it to the policy; otherwise remove its line from the file, or sign again \
         if it is damaged";
    PolicyNone = "SLW-V-POLICY-NONE", Configuration, Operator, "component has no policy",
        "write a policy for this component: without one nothing may be installed";
    PolicyPredicate = "SLW-V-POLICY-PREDICATE", Policy, Operator, "statement's predicate type differs from the policy",
        "give SLSA provenance of a type that the policy accepts";
    PolicyProfile = "SLW-V-POLICY-PROFILE", WrongSigner, Operator, "Sigstore instance differs from the policy's profile",
        "name the right profile, and give the trusted root of that instance: to devices by `slipway sigstore add \
         REPO trusted_root.json` (GitHub's by --github), by hand as --trusted-root";
    PolicyRef = "SLW-V-POLICY-REF", ArbitrarySoftware, Attacker,
        "source ref differs from the policy or the release's version",
        "release a build of the expected branch or tag";
    PolicyRunner = "SLW-V-POLICY-RUNNER", ArbitrarySoftware, Builder, "build did not run on a hosted runner",
        "build on a hosted runner: the owner of a self-hosted one controls it";
    PolicySource = "SLW-V-POLICY-SOURCE", ArbitrarySoftware, Attacker, "source repository differs from the policy",
        "if the project moved, change the policy; otherwise do not use this build";
    PolicySyntax = "SLW-V-POLICY-SYNTAX", Configuration, Operator, "policy file cannot be parsed",
        "correct the policy: nothing is accepted until it loads";
    PolicyThreshold = "SLW-V-POLICY-THRESHOLD", WrongSigner, Builder, "too few distinct keys signed",
        "have the build signed with further keys, and put their Sigstore bundles into the file, one per line";
    PolicyTrigger = "SLW-V-POLICY-TRIGGER", Policy, Operator, "event that triggered the build differs from the policy",
        "build from a tag or release, or add the event to triggers";
    PolicyVersion = "SLW-V-POLICY-VERSION", Configuration, Operator, "version to compare the tag with is missing",
        "pass the version: the policy binds the tag to it";
    PolicyWorkflow = "SLW-V-POLICY-WORKFLOW", ArbitrarySoftware, Attacker, "workflow differs from the policy",
        "if the workflow changed on purpose, change the policy; otherwise do not use this build";
    ProvenanceMalformed = "SLW-V-PROVENANCE-MALFORMED", Malformed, Builder, "SLSA provenance cannot be parsed",
        "build with a builder that follows SLSA v0.2 or v1";
    RootChain = "SLW-V-ROOT-CHAIN", Configuration, Operator, "certificates of an authority in the trusted root are invalid",
        "fetch the trusted root again through TUF: the cached one is damaged";
    RootKey = "SLW-V-ROOT-KEY", Configuration, Operator, "key of a log in the trusted root cannot be used",
        "fetch the trusted root again through TUF; supported keys are ECDSA P-256, P-384 and Ed25519";
    RootLogId = "SLW-V-ROOT-LOG-ID", Configuration, Operator, "log's id in the trusted root does not match its key",
        "fetch the trusted root again through TUF: the cached one is damaged";
    RootMalformed = "SLW-V-ROOT-MALFORMED", Malformed, Operator, "trusted root cannot be parsed",
        "name the right trusted_root.json, or fetch it again through TUF";
    RootMediaType = "SLW-V-ROOT-MEDIA-TYPE", Malformed, Operator, "trusted root has an unsupported media type",
        "give a Sigstore trusted_root.json of format 0.1 or 0.2";
    RootSize = "SLW-V-ROOT-SIZE", EndlessData, Attacker, "trusted root is too large",
        "find out who serves this file: real ones are 7 to 32 KB";
    RootWindow = "SLW-V-ROOT-WINDOW", Configuration, Operator, "validity period in the trusted root is invalid",
        "fetch the trusted root again through TUF: the cached one is damaged";
    Signature = "SLW-V-SIGNATURE", ArbitrarySoftware, Attacker, "signature over the artifact or statement is invalid",
        "do not use the artifact: the signature does not belong to this content";
    SignatureUnsupported = "SLW-V-SIGNATURE-UNSUPPORTED", Policy, Builder,
        "kind of signature, key or log entry is not supported",
        "sign with ECDSA P-256, P-384 or Ed25519; RSA and ML-DSA keys of signers are not supported";
    StatementMalformed = "SLW-V-STATEMENT-MALFORMED", Malformed, Builder, "in-toto statement cannot be parsed",
        "make the provenance again; if the error persists, report it to the builder's vendor";
    StatementSubjects = "SLW-V-STATEMENT-SUBJECTS", Malformed, Builder, "in-toto statement has invalid subjects",
        "make the provenance again with a SHA-256 or SHA-512 digest for each subject";
    StatementType = "SLW-V-STATEMENT-TYPE", Malformed, Builder, "in-toto statement has an unsupported type",
        "make the provenance again as an in-toto statement v0.1 or v1";
    SubjectAlgorithm = "SLW-V-SUBJECT-ALGORITHM", Configuration, Operator,
        "provenance's subjects have no digest of this algorithm",
        "give the file itself, or its digest by the algorithm that the provenance has; release it with that digest";
    SubjectName = "SLW-V-SUBJECT-NAME", MixAndMatch, Attacker, "artifact's name is not among the provenance's subjects",
        "release the artifact with its own provenance, under the name that the builder gave it";
    TimestampDigest = "SLW-V-TIMESTAMP-DIGEST", WrongSigner, Attacker,
        "timestamp token's content differs from its signed digest",
        "create the Sigstore bundle again: the token was changed";
    TimestampImprint = "SLW-V-TIMESTAMP-IMPRINT", MixAndMatch, Attacker, "timestamp token is about another signature",
        "create the Sigstore bundle again with a token for this signature";
    TimestampInvalid = "SLW-V-TIMESTAMP-INVALID", WrongSigner, Attacker, "timestamp token's signature is invalid",
        "create the Sigstore bundle again: the timestamp authority did not sign this token";
    TimestampMalformed = "SLW-V-TIMESTAMP-MALFORMED", Malformed, Builder, "timestamp token cannot be parsed",
        "create the Sigstore bundle again with a timestamp authority that follows RFC 3161";
    TimestampMissing = "SLW-V-TIMESTAMP-MISSING", Policy, Builder, "signature has no signed time",
        "sign with a timestamp authority: without a signed time the certificate cannot be checked";
    TimestampSigner = "SLW-V-TIMESTAMP-SIGNER", WrongSigner, Attacker,
        "timestamp token was not signed by a trusted timestamp authority",
        "check which Sigstore instance signed and which trusted root is cached";
    TimestampWindow = "SLW-V-TIMESTAMP-WINDOW", Time, Attacker, "timestamp authority was not in force at the token's time",
        "renew the cached trusted root, or build again";
}

impl Check {
    /// Which check a refusal is of, if it is of this crate's.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Option<Self> {
        Self::ALL.iter().find(|check| refusal.repeats(&check.row())).copied()
    }

    /// The refusal of this check, with the values found and expected.
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

    #[test]
    fn names_and_codes_are_alphabetical() {
        let names: Vec<String> = Check::ALL.iter().map(|check| format!("{check:?}")).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        let codes: Vec<&str> = Check::ALL.iter().map(|check| check.code()).collect();
        assert!(codes.is_sorted(), "{codes:?}");
        assert!(Check::ALL.iter().all(|check| Check::of(&check.refuse("x", "y")) == Some(*check)));
    }
}
