//! Finds an image's attestations: under cosign's tag `sha256-HEX.att`, and among its referrers.

use super::parse_manifest;
use super::reference::{At, Descriptor, Manifest};
use super::source::Source;
use crate::error::{ATTESTATION, Cause, IMAGE_SIZE};
use crate::provenance::Signed;
use crate::rekor::{Entry, Promise};
use serde::Deserialize;
use slipway_protocol::{Refusal, Sha256};
use std::collections::BTreeSet;

/// A Sigstore bundle as a referrer; the version follows.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// What cosign put under a tag, as a referrer: its experiment before there were bundles.
const COSIGN_ATTESTATION: &str = "application/vnd.dev.cosign.artifact.att.v1+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const PROMISE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// An image has one or two; many if somebody attests every scan of it.
const LIMIT: usize = 64;

/// An attestation, or what is wrong with it.
#[derive(Debug)]
pub(super) struct FoundAttestation {
    /// Where it is, for people.
    pub(super) place: String,
    pub(super) material: Result<Material, Refusal>,
}

/// What an attestation consists of.
#[derive(Debug)]
pub(super) enum Material {
    /// A Sigstore bundle.
    Bundle(Vec<u8>),
    /// An envelope, and beside it what cosign keeps: the entry that the log promised, and a timestamp token in base64.
    Envelope { signed: Signed, promise: Option<Entry>, token: Option<String> },
}

#[derive(Deserialize)]
struct Timestamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    signed: String,
}

/// A layer that may hold an attestation.
struct Layer {
    place: String,
    descriptor: Descriptor,
}

/// All attestations of an image, each once. What is wrong with one of them is no reason not to look at the others, but a registry that
/// does not answer is.
pub(super) async fn attestations(source: &Source, image: &Sha256) -> Result<Vec<FoundAttestation>, Refusal> {
    let mut found = Vec::new();
    let mut layers = Vec::new();
    let tag = format!("sha256-{image}.att");
    match at_tag(source, &tag).await {
        Ok(attached) => layers.extend(attached),
        Err(refusal) => found.push(broken(tag, refusal)?),
    }
    let referrers = match source.referrers(image).await {
        Ok(referrers) => referrers,
        Err(refusal) => {
            found.push(broken("referrers".to_owned(), refusal)?);
            Vec::new()
        }
    };
    let attest = |entry: &&Descriptor| {
        entry.artifact_type.as_deref().is_some_and(|kind| kind.starts_with(BUNDLE) || kind == COSIGN_ATTESTATION)
    };
    let referrers: Vec<&Descriptor> = referrers.iter().filter(attest).collect();
    bounded(referrers.len().saturating_add(layers.len()))?;
    for entry in referrers {
        let place = format!("referrer {}", entry.digest.short());
        match referrer(source, image, entry, &place).await {
            Ok(more) => layers.extend(more),
            Err(refusal) => found.push(broken(place, refusal)?),
        }
    }
    bounded(layers.len())?;
    let mut seen = BTreeSet::new();
    for layer in layers {
        // The same attestation in two places is one.
        if !seen.insert((layer.descriptor.digest, layer.descriptor.annotations.get(PROMISE).cloned())) {
            continue;
        }
        match read(source, &layer.descriptor).await {
            Ok(material) => found.push(FoundAttestation { place: layer.place, material: Ok(material) }),
            Err(refusal) => found.push(broken(layer.place, refusal)?),
        }
    }
    Ok(found)
}

fn bounded(count: usize) -> Result<(), Refusal> {
    if count > LIMIT {
        Err(IMAGE_SIZE.with(format_args!("{count} attestations"), format_args!("at most {LIMIT}")))
    } else {
        Ok(())
    }
}

/// Something that cannot be read is kept with its refusal. Not so if the registry does not answer: then nobody knows what there is.
fn broken(place: String, refusal: Refusal) -> Result<FoundAttestation, Refusal> {
    if Cause::of(&refusal) == Some(Cause::Registry) {
        Err(refusal)
    } else {
        Ok(FoundAttestation { place, material: Err(refusal) })
    }
}

/// The layers of cosign's tag.
async fn at_tag(source: &Source, tag: &str) -> Result<Vec<Layer>, Refusal> {
    let Some(bytes) = source.manifest(At::Tag(tag)).await? else { return Ok(Vec::new()) };
    let manifest = parse_manifest(&bytes, &At::Tag(tag))?;
    Ok(attached(manifest, "cosign's .att tag"))
}

fn attached(manifest: Manifest, place: &str) -> Vec<Layer> {
    let numbered = manifest.layers.into_iter().zip(1_usize..);
    numbered.map(|(descriptor, number)| Layer { place: format!("{place}, layer {number}"), descriptor }).collect()
}

/// The layers of a referrer that is about this image.
async fn referrer(source: &Source, image: &Sha256, entry: &Descriptor, place: &str) -> Result<Vec<Layer>, Refusal> {
    let at = At::Digest(&entry.digest);
    let bytes = source.manifest(at).await?.ok_or_else(|| crate::error::IMAGE_DIGEST.with("nothing", at))?;
    entry.holds(&bytes)?;
    let manifest = parse_manifest(&bytes, &at)?;
    match &manifest.subject {
        Some(subject) if subject.digest == *image => {}
        // A layout's index lists those of all its images.
        Some(_) if matches!(source, Source::Layout(_)) => return Ok(Vec::new()),
        other => {
            let seen = other.as_ref().map_or_else(|| "no subject".to_owned(), |subject| format!("{:?}", subject.digest));
            return Err(ATTESTATION.with(seen, format_args!("{image:?} as the referrer's subject")));
        }
    }
    if manifest.artifact_type.as_deref() == Some(COSIGN_ATTESTATION) {
        return Ok(attached(manifest, place));
    }
    match manifest.layers.as_slice() {
        [layer] => Ok(vec![Layer { place: place.to_owned(), descriptor: layer.clone() }]),
        layers => Err(ATTESTATION.with(format_args!("{} layers", layers.len()), "the Sigstore bundle as the only one")),
    }
}

/// Reads an attestation: a Sigstore bundle, or an envelope with annotations.
async fn read(source: &Source, layer: &Descriptor) -> Result<Material, Refusal> {
    if layer.media_type.starts_with(BUNDLE) {
        return Ok(Material::Bundle(source.blob(layer).await?));
    }
    let bad = |what: &str, why: &str| ATTESTATION.with(format_args!("{what}: {why}"), "an attestation as cosign attaches it");
    if layer.media_type != ENVELOPE {
        return Err(bad("media type", &layer.media_type));
    }
    // Without a certificate it was signed by somebody's own key, for a policy that lists keys.
    let certificate = layer.annotations.get(CERTIFICATE).map(String::as_str).filter(|pem| !pem.is_empty());
    let signed = Signed::parse(&source.blob(layer).await?, certificate).map_err(|why| bad("envelope", &why.seen))?;
    let promise = match layer.annotations.get(PROMISE).filter(|text| !text.is_empty()) {
        Some(text) => {
            let promise: Promise = serde_json::from_str(text).map_err(|error| bad(PROMISE, &error.to_string()))?;
            Some(promise.entry().map_err(|why| bad(PROMISE, &why))?)
        }
        None => None,
    };
    let token = match layer.annotations.get(TIMESTAMP).filter(|text| !text.is_empty()) {
        Some(text) => Some(serde_json::from_str::<Timestamp>(text).map_err(|error| bad(TIMESTAMP, &error.to_string()))?.signed),
        None => None,
    };
    Ok(Material::Envelope { signed, promise, token })
}
