//! Verifies a container image by its attestations: cosign's tag and referrers (OCI 1.1).
//!
//! | part | in |
//! |---|---|
//! | what the user named, and what manifests say | `reference` |
//! | where content comes from: a registry, an OCI image layout | `source`, `registry`, `layout`, `credentials` |
//! | what attests the image | `find` |
//!
//! A tag is looked up once; from then on everything is about the digest it had. Nothing that a registry says is believed: content must
//! have the digest under which it was asked for, and an attestation must satisfy the policy as on a device.

mod credentials;
mod find;
mod layout;
mod reference;
mod registry;
mod source;

pub use reference::Image;

use crate::error::{ATTESTATION, ATTESTATION_NONE, Cause, ENTRY_MISMATCH};
use crate::provenance::Signed;
use crate::rekor::{Entry, EntryLocator, Rekor};
use find::{FoundAttestation, Material};
use reference::{At, Manifest};
use serde::Serialize;
use slipway_protocol::refusal::printable;
use slipway_protocol::{Refusal, Sha256, Version};
use slipway_verify::report::{Named, Question, Style};
use slipway_verify::{Check, Policy, Provenance, SigstoreRoot, Subject, verify_provenance};
use source::Source;
use std::time::Duration;

/// What else is needed to verify an image.
#[derive(Debug)]
pub struct Options<'a> {
    /// The image's name in its attestations; the repository's by default.
    pub name: Option<&'a str>,
    /// The version that the policy's tag is bound to.
    pub version: Option<&'a Version>,
    /// What the attestations must say.
    pub policy: &'a Policy,
    /// Sigstore's trusted root.
    pub root: &'a SigstoreRoot,
    /// The log that completes attestations which hold only its promise.
    pub rekor: Option<&'a Rekor>,
    /// Whether the registry is spoken to without TLS.
    pub plain_http: bool,
    /// How long each answer may take.
    pub timeout: Duration,
}

/// What was found out about an image.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The image, as the user named it.
    pub image: String,
    /// Its name in the attestations.
    pub name: String,
    /// The digest that everything else is about.
    pub digest: Sha256,
    /// The tag that was looked up, once.
    pub tag: Option<String>,
    /// The platforms of an index; none for a single image.
    pub platforms: Vec<String>,
    /// Every attestation that was found, in the order in which they were tried.
    pub attestations: Vec<Attempt>,
    /// What the first attestation that satisfies the policy proves.
    pub provenance: Option<Provenance>,
}

/// An attestation, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Where it is: a layer under a tag, or a referrer.
    pub place: String,
    /// Whether it satisfies the policy.
    pub verified: bool,
    /// Whether its proof of inclusion was fetched from the log just now.
    pub completed: bool,
    /// Whether it satisfies the policy only together with others: each by one of the keys that must sign.
    pub joined: bool,
    /// Why it does not.
    pub refusal: Option<Refusal>,
}

/// Finds an image's attestations and verifies them all.
///
/// # Errors
/// When the image cannot be found or read. That no attestation verifies is for [`Report::verdict`] to say.
pub async fn verify_image(image: &Image, options: &Options<'_>) -> Result<Report, Refusal> {
    let source = Source::open(image, options.plain_http, options.timeout).await?;
    let (digest, manifest) = source.resolve().await?;
    let name = options.name.map(str::to_owned).or_else(|| image.name());
    let name =
        name.ok_or_else(|| crate::error::IMAGE.with("a folder has no name", "--name, the image's name in its attestations"))?;
    let mut report = Report {
        image: image.to_string(),
        name,
        digest,
        tag: image.tag().map(str::to_owned),
        platforms: manifest.platforms(),
        attestations: Vec::new(),
        provenance: None,
    };
    let subject = Subject { name: &report.name, sha256: Some(digest), sha512: None, version: options.version };
    let verify = |bundle: &[u8]| verify_provenance(bundle, options.root, options.policy, &subject);
    // Those by a key of the policy to which only other keys are missing: which attempt, and the Sigstore bundle.
    let mut parts: Vec<(usize, Vec<u8>)> = Vec::new();
    for FoundAttestation { place, material } in find::attestations(&source, &digest).await? {
        let (result, completed) = match bundle(material, options).await? {
            Ok((bundle, completed)) => {
                let result = verify(&bundle);
                if result.as_ref().is_err_and(|refusal| Check::of(refusal) == Some(Check::PolicyThreshold)) {
                    parts.push((report.attestations.len(), bundle));
                }
                (result.map_err(|refusal| if completed { refusal } else { completable(refusal) }), completed)
            }
            Err(refusal) => (Err(refusal), false),
        };
        let (verified, refusal) = (result.is_ok(), result.as_ref().err().cloned());
        report.attestations.push(Attempt { place, verified, completed, joined: false, refusal });
        report.provenance = report.provenance.or(result.ok());
    }
    if report.provenance.is_none() && parts.len() > 1 {
        let lines: Vec<Vec<u8>> = parts.iter().map(|(_, bundle)| in_one_line(bundle)).collect();
        let together = verify(&lines.join(&b'\n'));
        for (number, _) in &parts {
            if let Some(attempt) = report.attestations.get_mut(*number) {
                (attempt.verified, attempt.joined) = (together.is_ok(), true);
                attempt.refusal = together.as_ref().err().cloned();
            }
        }
        report.provenance = together.ok();
    }
    Ok(report)
}

/// JSON has line breaks only where any space would do.
fn in_one_line(json: &[u8]) -> Vec<u8> {
    json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// The Sigstore bundle of an attestation, and whether the log completed it. The outer error ends everything: the log does not answer.
async fn bundle(material: Result<Material, Refusal>, options: &Options<'_>) -> Result<Result<(Vec<u8>, bool), Refusal>, Refusal> {
    let (signed, promise, token) = match material {
        Err(refusal) => return Ok(Err(refusal)),
        Ok(Material::Bundle(bundle)) => return Ok(Ok((bundle, false))),
        Ok(Material::Envelope { signed, promise, token }) => (signed, promise, token),
    };
    let whole = |entry: Option<&Entry>| signed.bundle(entry, token.as_deref()).to_string().into_bytes();
    let Some(rekor) = options.rekor else { return Ok(Ok((whole(promise.as_ref()), false))) };
    match complete(&signed, promise.as_ref(), rekor, options.root).await {
        Ok(entry) => Ok(Ok((whole(Some(&entry)), true))),
        Err(refusal) if Cause::of(&refusal) == Some(Cause::Rekor) => Err(refusal),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// The entry with its proof: the one that was promised, or the one that the log finds for this signature.
async fn complete(signed: &Signed, promise: Option<&Entry>, rekor: &Rekor, root: &SigstoreRoot) -> Result<Entry, Refusal> {
    match promise {
        Some(promised) => {
            let entry = rekor.entry(&EntryLocator::Index(promised.log_index)).await?;
            if entry.body() == promised.body() {
                Ok(entry)
            } else {
                Err(ENTRY_MISMATCH.with(format_args!("another body in entry {}", entry.log_index), "the entry that was promised"))
            }
        }
        None => Ok(signed.seal(&signed.look_up(rekor, None).await?, root)?.entry),
    }
}

/// An attestation as cosign attached it lacks the proof, which the log still has: the refusal says so.
fn completable(refusal: Refusal) -> Refusal {
    const ADVICE: &str = "cosign keeps only the log's promise beside an image: give --rekor-url to fetch the proof, or accept promises with unsafe_promise_only in the policy's [log] table";
    if matches!(Check::of(&refusal), Some(Check::LogProofMissing | Check::LogMissing)) {
        return Refusal { advice: ADVICE.into(), ..refusal };
    }
    refusal
}

impl Report {
    /// What the attestations prove, if one satisfies the policy.
    ///
    /// # Errors
    /// `SLW-O-ATTESTATION-NONE`; what is wrong with the only one or with all alike; `SLW-O-ATTESTATION` with all that is wrong with several.
    pub fn verdict(&self) -> Result<&Provenance, Refusal> {
        if let Some(provenance) = &self.provenance {
            return Ok(provenance);
        }
        match self.attestations.as_slice() {
            [] => Err(ATTESTATION_NONE.with(format_args!("none of {:?}", self.digest), "one")),
            [Attempt { refusal: Some(refusal), .. }, more @ ..]
                if more.iter().all(|other| other.refusal.as_ref() == Some(refusal)) =>
            {
                Err(refusal.clone())
            }
            several => {
                let codes =
                    several.iter().filter_map(|attempt| Some(format!("{}: {}", attempt.place, attempt.refusal.as_ref()?.code)));
                Err(ATTESTATION.with(codes.collect::<Vec<_>>().join(" | "), "one that verifies"))
            }
        }
    }

    /// The report for a person: what is proven, what the image is, and what became of every attestation.
    #[must_use]
    pub fn text(&self, style: Style) -> String {
        let named = Question::about(&Named::Sha256(self.digest), Some(self.name.clone()), |_| Ok(std::io::empty()));
        let answer = |question: Question| question.answer(&self.verdict().cloned(), style);
        let mut text = named.ok().flatten().and_then(answer).unwrap_or_default();
        let kind = match self.platforms.as_slice() {
            [] => "one manifest".to_owned(),
            platforms => {
                format!("index of {}; the attestation is for the index, and through it for each platform", platforms.join(", "))
            }
        };
        let mut say = |label: &str, value: &str| text.push_str(&format!("  {label:<11} {}\n", printable(value)));
        say("Image", &self.image);
        if let Some(tag) = &self.tag {
            say("Tag", &format!("{tag} was {:?} when it was looked up; use the digest from here on", self.digest));
        }
        say("Content", &kind);
        text.push_str(&self.attempts());
        text
    }

    /// What became of every attestation, in lines.
    #[must_use]
    pub fn attempts(&self) -> String {
        let wide = self.attestations.iter().map(|attempt| attempt.place.chars().count()).max().unwrap_or_default();
        let line = |(attempt, first): (&Attempt, bool)| {
            let label = if first { "Attested by" } else { "" };
            let became = match &attempt.refusal {
                Some(refusal) => format!("{}: {}: found {}", refusal.code, refusal.check, refusal.seen),
                None if attempt.joined => "verified, together with the others of the policy's keys".to_owned(),
                None if attempt.completed => "verified, with a proof fetched from the log".to_owned(),
                None => "verified".to_owned(),
            };
            format!("  {label:<11} {:<wide$}  {}\n", printable(&attempt.place), printable(&became))
        };
        self.attestations.iter().zip(std::iter::once(true).chain(std::iter::repeat(false))).map(line).collect()
    }
}

/// Reads a manifest, of whatever kind.
fn parse_manifest(bytes: &[u8], at: &At<'_>) -> Result<Manifest, Refusal> {
    Manifest::parse(bytes).map_err(|why| crate::error::IMAGE.with(format_args!("{at}: {why}"), "a manifest"))
}
