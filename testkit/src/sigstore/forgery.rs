//! Forged evidence with valid signatures.
//!
//! An authority, log or builder that misbehaves could make it. One forgery at a time; see [`super::Attestation::forgery`].

use serde_json::Value;

/// One lie.
#[derive(Debug, Clone, Copy)]
pub enum Forgery {
    /// In the signing certificate.
    Certificate(CertificateForgery),
    /// In the certificate's proof that it was logged.
    Sct(SctForgery),
    /// In the timestamp token.
    Token(TokenForgery),
    /// Changes the log entry's body before the log signs for it.
    Body(fn(&mut Value)),
}

/// What a certificate authority should not issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateForgery {
    /// No key usage at all.
    NoUsage,
    /// For TLS servers.
    OtherPurpose,
    /// An authority.
    Authority,
    /// Two identities.
    TwoNames,
    /// An identity of another kind (Fulcio's user names).
    OtherName,
    /// An email address that spells the workflow's URI.
    EmailOfUri,
    /// A URI that is an email address.
    UriOfEmail,
    /// An email address. No lie, but no workflow's identity either.
    Email,
    /// An identity that is not critical, although there is no subject.
    NameNotCritical,
    /// A critical extension that nobody knows.
    UnknownCritical,
    /// The same extension twice.
    Twice,
    /// X.509 v1 by its version.
    OldVersion,
    /// A signature by another key than the issuer's.
    Forged,
}

/// What the root should not issue in place of its intermediate, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntermediateForgery {
    /// The same rights. No lie.
    Honest,
    /// No key usages named at all. No lie: only named ones limit.
    NoUsage,
    /// Key usage for signatures alone.
    OnlySignatures,
    /// Key usage for revocation lists alone.
    OnlyRevocation,
    /// Not an authority, but with the usage of one.
    NoAuthority,
    /// No basic constraints.
    NoConstraints,
    /// For TLS servers.
    OtherPurpose,
    /// A critical extension that nobody knows.
    UnknownCritical,
    /// Over before anything was signed.
    Expired,
}

/// What a certificate log should not sign, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SctForgery {
    /// Only by a log that nobody trusts.
    OnlyUnknown,
    /// By a log that nobody trusts, and by the trusted one. No lie: certificates may be in several logs.
    UnknownToo,
    /// Twice by the trusted log. No lie either.
    Twice,
    /// A signature over another time.
    Forged,
    /// By an algorithm that the log's key is not for.
    OtherAlgorithm,
    /// Later than the certificate's end.
    AfterEnd,
    /// From 2019, before the log's key was in force.
    BeforeLog,
    /// A byte too many at the end of the list.
    Malformed,
    /// No timestamp in the list.
    Empty,
}

/// What a timestamp authority should not sign, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenForgery {
    /// Names its certificate by SHA-1, as RFC 3161 did first. No lie.
    OldName,
    /// Names another certificate by SHA-1.
    OldNameWrong,
    /// Names another certificate by SHA-256.
    NameWrong,
    /// Is about another signature.
    OtherSignature,
    /// Its signed digest is of something else.
    OtherDigest,
    /// Its signed content type is plain data.
    OtherContentType,
    /// Its signature is by another key.
    Forged,
    /// Two signers.
    TwoSigners,
    /// Its signer is named by another serial number.
    OtherSerial,
    /// It carries an extension.
    Extension,
    /// Its status is a rejection.
    Rejected,
}
