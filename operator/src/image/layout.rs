//! An OCI image layout: a folder with an index and blobs by digest.

use super::reference::{At, Descriptor, MANIFEST_LIMIT, Manifest, Pick, no_layout};
use crate::error::{IMAGE, IMAGE_DIGEST, IMAGE_SIZE};
use slipway_protocol::{Refusal, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// Where an index keeps the name of an entry.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Where `cosign save` keeps what an entry is.
const KIND: &str = "kind";
const COSIGN_ATTESTATIONS: &str = "dev.cosignproject.cosign/atts";
const COSIGN_SIGNATURES: &str = "dev.cosignproject.cosign/sigs";

#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
    pick: Option<Pick>,
    index: Vec<Descriptor>,
}

impl Layout {
    pub(super) fn open(folder: &Path, pick: Option<Pick>) -> Result<Self, Refusal> {
        let bad = |why: &str| IMAGE.with(format_args!("{}: {why}", folder.display()), "an OCI image layout");
        if !folder.join("oci-layout").is_file() {
            return Err(no_layout(folder));
        }
        let index = read(&folder.join("index.json"), MANIFEST_LIMIT)?.ok_or_else(|| bad("no file index.json"))?;
        let index = Manifest::parse(&index).map_err(|why| bad(&format!("index.json: {why}")))?.manifests;
        Ok(Self { folder: folder.to_owned(), pick, index })
    }

    /// The image that was asked for; the only one if none was.
    pub(super) fn named(&self) -> Result<Pick, Refusal> {
        if let Some(pick) = &self.pick {
            return Ok(pick.clone());
        }
        let images: Vec<&Descriptor> = self.index.iter().filter(|entry| is_image(entry)).collect();
        match images.as_slice() {
            [image] => Ok(Pick::Digest(image.digest)),
            several => {
                let seen = several.iter().map(|image| format!("{:?}", image.digest)).collect::<Vec<_>>().join(", ");
                Err(IMAGE.with(format_args!("{} images: {seen}", several.len()), "one, or oci:FOLDER@sha256:HEX"))
            }
        }
    }

    pub(super) fn manifest(&self, at: At<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        let digest = match at {
            At::Digest(digest) => digest,
            At::Tag(tag) => match self.tagged(tag)? {
                Some(entry) => &entry.digest,
                None => return Ok(None),
            },
        };
        let bytes = read(&self.path(digest), MANIFEST_LIMIT)?;
        if let Some(bytes) = &bytes {
            self.index.iter().filter(|entry| entry.digest == *digest).try_for_each(|entry| entry.holds(bytes))?;
        }
        Ok(bytes)
    }

    pub(super) fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Refusal> {
        let limit = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        let missing = || IMAGE_DIGEST.with("nothing", format_args!("{:?}", descriptor.digest));
        read(&self.path(&descriptor.digest), limit)?.ok_or_else(missing)
    }

    /// Everything that may refer to an image: which one it refers to is in its manifest.
    pub(super) fn referrers(&self) -> Vec<Descriptor> {
        self.index.iter().filter(|entry| entry.artifact_type.is_some()).cloned().collect()
    }

    /// The entry of this name. Two different ones would be another image for every reader.
    fn tagged(&self, tag: &str) -> Result<Option<&Descriptor>, Refusal> {
        let named = |name: &str, value: &str| -> Result<Option<&Descriptor>, Refusal> {
            let mut all = self.index.iter().filter(|entry| entry.annotations.get(name).is_some_and(|is| is == value));
            let first = all.next();
            match first.and_then(|first| all.find(|other| other.digest != first.digest).map(|other| (first, other))) {
                None => Ok(first),
                Some((first, other)) => {
                    let seen = format_args!("{value} names {:?} and {:?}", first.digest, other.digest);
                    Err(IMAGE.with(seen, "one, or oci:FOLDER@sha256:HEX"))
                }
            }
        };
        // cosign saves one image with its attestations and gives them a kind instead of a name.
        match named(NAME, tag)? {
            None if tag.ends_with(".att") => named(KIND, COSIGN_ATTESTATIONS),
            found => Ok(found),
        }
    }

    fn path(&self, digest: &Sha256) -> PathBuf {
        self.folder.join("blobs").join("sha256").join(digest.to_string())
    }
}

/// Whether an entry is an image and not something about one.
fn is_image(entry: &Descriptor) -> bool {
    let about = |tag: &String| {
        tag.strip_prefix("sha256-").and_then(|rest| rest.get(..64)).is_some_and(|hex| hex.parse::<Sha256>().is_ok())
    };
    let kind = entry.annotations.get(KIND).is_some_and(|kind| [COSIGN_ATTESTATIONS, COSIGN_SIGNATURES].contains(&kind.as_str()));
    entry.artifact_type.is_none() && !kind && !entry.annotations.get(NAME).is_some_and(about)
}

/// A file's bytes, if there is one and it is no larger.
fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Refusal> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(crate::error::file(path, &error)),
    };
    let mut bytes = Vec::new();
    let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(more).read_to_end(&mut bytes).map_err(|error| crate::error::file(path, &error))?;
    if bytes.len() > limit {
        return Err(IMAGE_SIZE.with(format_args!("{}: more than {limit} bytes", path.display()), format_args!("at most {limit}")));
    }
    Ok(Some(bytes))
}
