//! Parses image names, manifests and descriptors.

use crate::error::{IMAGE, IMAGE_DIGEST};
use oci_client::Reference;
use serde::Deserialize;
use slipway_protocol::{Refusal, Sha256, json as strict};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// As large as registries must take them (OCI distribution, 4.4).
pub(super) const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;
const DEPTH: usize = 16;

/// An image, as a user names it.
#[derive(Clone, Debug)]
pub enum Image {
    /// In a registry: `REGISTRY/REPOSITORY:TAG` or `@sha256:HEX`.
    Registry(Reference),
    /// In the folder of an OCI image layout, `oci:FOLDER[:TAG]` or `oci:FOLDER@sha256:HEX`; just the folder if there is one image in it.
    Layout(PathBuf, Option<Pick>),
}

/// Which image of a layout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pick {
    /// The one of this name.
    Tag(String),
    /// The one with this digest.
    Digest(Sha256),
}

/// Under what a manifest is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'a> {
    Digest(&'a Sha256),
    Tag(&'a str),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "{digest:?}"),
            Self::Tag(tag) => f.write_str(tag),
        }
    }
}

impl Image {
    /// Reads an image's name. Without `oci:`, a path that begins like one and a folder that is a layout are taken for layouts.
    ///
    /// # Errors
    /// `SLW-O-IMAGE`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let bad = |why: &str| IMAGE.with(format_args!("{text}: {why}"), "REGISTRY/REPOSITORY:TAG, @sha256:HEX, or oci:FOLDER");
        let digest = |hex: &str| hex.parse::<Sha256>().map_err(|why| bad(&why));
        let (before, after) = text.split_once('@').map_or((text, None), |(before, after)| (before, Some(after)));
        // No registry's name begins like a path.
        let folder = before.strip_prefix("oci:").or_else(|| before.starts_with(['/', '.']).then_some(before));
        let path = Path::new(folder.unwrap_or(before));
        if path.join("oci-layout").is_file() {
            return Ok(Self::Layout(path.to_owned(), after.map(digest).transpose()?.map(Pick::Digest)));
        }
        if let Some(folder) = folder {
            let tagged = folder.rsplit_once(':').filter(|(folder, _)| after.is_none() && Path::new(folder).is_dir());
            return match tagged {
                Some((folder, tag)) if Path::new(folder).join("oci-layout").is_file() => {
                    Ok(Self::Layout(folder.into(), Some(Pick::Tag(tag.to_owned()))))
                }
                Some((folder, _)) => Err(no_layout(Path::new(folder))),
                None if path.is_dir() => Err(no_layout(path)),
                None => Err(bad("no such folder")),
            };
        }
        let reference: Reference = text.parse().map_err(|error: oci_client::ParseError| bad(&error.to_string()))?;
        if let Some(hex) = reference.digest() {
            digest(hex)?;
        }
        Ok(Self::Registry(reference))
    }

    /// The name that builders give it in attestations: registry and repository. Docker Hub is `index.docker.io` there.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Registry(reference) => Some(format!("{}/{}", reference.resolve_registry(), reference.repository())),
            Self::Layout(..) => None,
        }
    }

    /// The tag that has to be looked up, if no digest says what is meant.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Registry(reference) => reference.tag().filter(|_| reference.digest().is_none()),
            Self::Layout(_, Some(Pick::Tag(tag))) => Some(tag),
            Self::Layout(..) => None,
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => f.write_str(&reference.whole()),
            Self::Layout(folder, None) => write!(f, "oci:{}", folder.display()),
            Self::Layout(folder, Some(Pick::Tag(tag))) => write!(f, "oci:{}:{tag}", folder.display()),
            Self::Layout(folder, Some(Pick::Digest(digest))) => write!(f, "oci:{}@{digest:?}", folder.display()),
        }
    }
}

/// A folder that is there, and no layout.
pub(super) fn no_layout(folder: &Path) -> Refusal {
    const ADVICE: &str = "`skopeo copy --all docker://IMAGE oci:FOLDER:TAG` and `cosign save --dir FOLDER IMAGE` make such a folder, the second with its attestations; an image in a registry is named without ./ or oci:";
    let refusal = IMAGE.with(format_args!("{}: no file oci-layout in it", folder.display()), "the folder of an OCI image layout");
    Refusal { advice: ADVICE.into(), ..refusal }
}

/// A manifest of an image or an artifact, or an index of them: whatever of these it has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) artifact_type: Option<String>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
    pub(super) subject: Option<Descriptor>,
}

/// What a manifest says of a piece of content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Sha256,
    pub(super) size: u64,
    pub(super) artifact_type: Option<String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self =
            strict::parse(bytes, strict::Limits { bytes: MANIFEST_LIMIT, depth: DEPTH }).map_err(|error| error.to_string())?;
        // Who takes it for the one runs something else than who takes it for the other.
        if !manifest.layers.is_empty() && !manifest.manifests.is_empty() {
            return Err("layers and manifests, so an image and an index at once".to_owned());
        }
        Ok(manifest)
    }

    /// The platforms of an index. Build tools add entries for `unknown/unknown`, which are no images.
    pub(super) fn platforms(&self) -> Vec<String> {
        let named = self.manifests.iter().filter_map(|entry| entry.platform.as_ref()).filter(|platform| platform.os != "unknown");
        named
            .map(|platform| {
                let variant = platform.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
                format!("{}/{}{variant}", platform.os, platform.architecture)
            })
            .collect()
    }
}

impl Descriptor {
    /// Checks that these bytes are what it describes.
    pub(super) fn holds(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let (digest, size) = (Sha256::of(bytes), bytes.len());
        if digest == self.digest && u64::try_from(size) == Ok(self.size) {
            return Ok(());
        }
        let wanted = format_args!("{:?} of {} bytes", self.digest, self.size).to_string();
        Err(IMAGE_DIGEST.with(format_args!("{digest:?} of {size} bytes"), wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_elsewhere() {
        let digest = Sha256::of(b"");
        let at = format!("docker.io/kubeedge/cloudcore:v1.23.1@{digest:?}");
        for (text, name, tag) in [
            ("kubeedge/cloudcore:v1.23.1", "index.docker.io/kubeedge/cloudcore", Some("v1.23.1")),
            ("docker.io/kubeedge/cloudcore", "index.docker.io/kubeedge/cloudcore", Some("latest")),
            ("busybox:1", "index.docker.io/library/busybox", Some("1")),
            ("ghcr.io/a/b/c:d", "ghcr.io/a/b/c", Some("d")),
            ("localhost:5000/a:b", "localhost:5000/a", Some("b")),
            (&at, "index.docker.io/kubeedge/cloudcore", None),
        ] {
            let image = Image::parse(text).unwrap();
            assert_eq!((image.name().as_deref(), image.tag()), (Some(name), tag), "{text}");
        }
        for bad in
            ["", "ghcr.io/UPPER/case:-", "a/b@sha256:00", "a/b@sha512:00", "oci:/no/such/folder", "oci:/no/such:tag", "a b"]
        {
            assert_eq!(Image::parse(bad).unwrap_err().code, "SLW-O-IMAGE", "{bad}");
        }
    }

    #[test]
    fn a_folder_is_a_layout() {
        let dir = tempfile::TempDir::new().unwrap();
        let (path, digest) = (dir.path().to_str().unwrap(), Sha256::of(b"x"));
        for none in
            [path.to_owned(), format!("oci:{path}"), format!("{path}:v1"), format!("oci:{path}:v1"), format!("{path}@{digest:?}")]
        {
            let refusal = Image::parse(&none).unwrap_err();
            assert_eq!(refusal.code, "SLW-O-IMAGE", "{none}");
            assert!(refusal.seen.contains("no file oci-layout in it") && refusal.advice.contains("skopeo copy"), "{refusal}");
        }
        assert!(Image::parse(&format!("{path}/none")).unwrap_err().seen.contains("no such folder"));
        std::fs::write(dir.path().join("oci-layout"), "{}").unwrap();
        for (text, shown, tag) in [
            (path.to_owned(), format!("oci:{path}"), None),
            (format!("oci:{path}"), format!("oci:{path}"), None),
            (format!("oci:{path}:v1"), format!("oci:{path}:v1"), Some("v1")),
            (format!("{path}:v1"), format!("oci:{path}:v1"), Some("v1")),
            (format!("{path}@{digest:?}"), format!("oci:{path}@{digest:?}"), None),
        ] {
            let image = Image::parse(&text).unwrap();
            assert_eq!((image.to_string(), image.tag()), (shown, tag), "{text}");
            assert_eq!(image.name(), None);
        }
    }
}
