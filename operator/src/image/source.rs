//! Sources of an image's content. All content has the requested digest and a bounded size.

use super::layout::Layout;
use super::reference::{At, Descriptor, Image, Manifest, Pick};
use super::registry::Registry;
use crate::error::{IMAGE, IMAGE_DIGEST, IMAGE_SIZE};
use slipway_protocol::manifest::PROVENANCE_LIMIT;
use slipway_protocol::{Refusal, Sha256};
use std::time::Duration;

/// A registry or a layout.
#[derive(Debug)]
pub(super) enum Source {
    Registry(Registry),
    Layout(Layout),
}

impl Source {
    pub(super) async fn open(image: &Image, plain_http: bool, timeout: Duration) -> Result<Self, Refusal> {
        match image {
            Image::Registry(reference) => Ok(Self::Registry(Registry::open(reference, plain_http, timeout).await?)),
            Image::Layout(folder, pick) => Ok(Self::Layout(Layout::open(folder, pick.clone())?)),
        }
    }

    /// The image that the user named: its digest, and its manifest. A tag is looked up here and never again.
    pub(super) async fn resolve(&self) -> Result<(Sha256, Manifest), Refusal> {
        let pick = match self {
            Self::Registry(registry) => registry.named()?,
            Self::Layout(layout) => layout.named()?,
        };
        let at = match &pick {
            Pick::Tag(tag) => At::Tag(tag),
            Pick::Digest(digest) => At::Digest(digest),
        };
        let bytes = self.manifest(at).await?.ok_or_else(|| IMAGE.with(format_args!("{at} does not exist"), "an image"))?;
        Ok((Sha256::of(&bytes), super::parse_manifest(&bytes, &at)?))
    }

    /// A manifest's bytes; none if there is none.
    pub(super) async fn manifest(&self, at: At<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        let bytes = match self {
            Self::Registry(registry) => registry.manifest(at).await?,
            Self::Layout(layout) => layout.manifest(at)?,
        };
        match (&bytes, at) {
            (Some(bytes), At::Digest(digest)) => checked(bytes, digest)?,
            // What a registry has under a tag is whatever it says; a layout has held it against its entry.
            (Some(_), At::Tag(_)) | (None, _) => {}
        }
        Ok(bytes)
    }

    /// A blob's bytes. Its size is known before it is read.
    pub(super) async fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Refusal> {
        if descriptor.size > PROVENANCE_LIMIT {
            return Err(IMAGE_SIZE.with(format_args!("{} bytes", descriptor.size), format_args!("at most {PROVENANCE_LIMIT}")));
        }
        let bytes = match self {
            Self::Registry(registry) => registry.blob(descriptor).await?,
            Self::Layout(layout) => layout.blob(descriptor)?,
        };
        descriptor.holds(&bytes)?;
        Ok(bytes)
    }

    /// What refers to an image.
    pub(super) async fn referrers(&self, digest: &Sha256) -> Result<Vec<Descriptor>, Refusal> {
        let listed = match self {
            Self::Registry(registry) => registry.referrers(digest).await?,
            Self::Layout(layout) => Some(layout.referrers()),
        };
        if let Some(listed) = listed.filter(|listed| !listed.is_empty()) {
            return Ok(listed);
        }
        // Whoever attached something where nobody keeps such a list kept it under a tag.
        let tag = format!("sha256-{digest}");
        match self.manifest(At::Tag(&tag)).await? {
            Some(bytes) => Ok(super::parse_manifest(&bytes, &At::Tag(&tag))?.manifests),
            None => Ok(Vec::new()),
        }
    }
}

fn checked(bytes: &[u8], digest: &Sha256) -> Result<(), Refusal> {
    let seen = Sha256::of(bytes);
    if seen == *digest { Ok(()) } else { Err(IMAGE_DIGEST.with(format_args!("{seen:?}"), format_args!("{digest:?}"))) }
}
