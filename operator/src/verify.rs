//! `slipway verify-bundle`, `slipway verify` and `slipway policy explain`: the verifier of the devices, for a person at a desk.

use crate::say;
use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use serde_json::{Value, json};
use slipway_protocol::manifest::PROVENANCE_LIMIT;
use slipway_protocol::{Digests, Refusal, Sha256, Sha512, Version};
use slipway_verify::{Artifact, LogRule, Policy, PublicKey, Signer, SigstoreRoot, Subject, verify_bundle, verify_provenance};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An artifact up to this size is verified by its bytes, which every signature can be; a larger one by its SHA-256.
const BYTES_LIMIT: u64 = 256 * 1024 * 1024;

/// A file, or a digest of it.
#[derive(Clone, Debug)]
enum FileOrDigest {
    File(PathBuf),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl FromStr for FileOrDigest {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("sha256:") {
            text.parse().map(Self::Sha256)
        } else if text.starts_with("sha512:") {
            text.parse().map(Self::Sha512)
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

#[derive(Args)]
pub(crate) struct VerifyBundle {
    /// The artifact, or its digest as sha256:HEX or sha512:HEX. A file over 256 MiB is verified by its SHA-256
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: FileOrDigest,
    /// The Sigstore bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Who must have signed: the certificate's subject alternative name, compared exactly
    #[arg(
        long,
        value_name = "ID",
        required_unless_present = "key",
        conflicts_with = "key",
        requires = "certificate_oidc_issuer"
    )]
    certificate_identity: Option<String>,
    /// Who must have vouched for the identity, compared exactly
    #[arg(long, value_name = "URL", conflicts_with = "key", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// Key that must have signed, in place of an identity: PEM; P-256, P-384 or Ed25519
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
    /// Sigstore's trusted root; the public-good instance's by default
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Be content with a log's signed promise; by default a proof of inclusion with a checkpoint is demanded
    #[arg(long)]
    unsafe_promise_only: bool,
    /// Ask for timestamps and no log; only with a trusted root that has none, such as GitHub's
    #[arg(long, conflicts_with = "unsafe_promise_only")]
    unsafe_timestamp_only: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl VerifyBundle {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bundle = read(&self.bundle)?;
        let root = root(self.trusted_root.as_deref())?;
        let key = self.key.as_deref().map(public_key).transpose()?;
        let signer = match (&key, &self.certificate_identity, &self.certificate_oidc_issuer) {
            (Some(key), ..) => Signer::Key(key),
            (None, Some(identity), Some(issuer)) => Signer::Identity { identity, issuer },
            _ => wrong_usage("--certificate-identity with --certificate-oidc-issuer, or --key"),
        };
        let rule = match (self.unsafe_promise_only, self.unsafe_timestamp_only) {
            (true, _) => LogRule::UnsafePromiseOnly,
            (_, true) => LogRule::UnsafeTimestampOnly,
            _ => LogRule::Proof,
        };
        let mut bytes = Vec::new();
        let (artifact, called) = match &self.artifact {
            FileOrDigest::Sha256(digest) => (Artifact::Sha256(*digest), format!("{digest:?}")),
            FileOrDigest::Sha512(digest) => (Artifact::Sha512(*digest), format!("{digest:?}")),
            FileOrDigest::File(path) => {
                let larger = load(path, BYTES_LIMIT, &mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
                (larger.map_or(Artifact::Bytes(&bytes), Artifact::Sha256), path.display().to_string())
            }
        };
        let result = verify_bundle(&bundle, &root, signer, artifact, rule);
        let found = result
            .map(|evidence| (evidence.report(&called), json!({ "verified": true, "artifact": called, "evidence": evidence })));
        tell(found, self.json)
    }
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The artifact, or its digest as sha256:HEX
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: FileOrDigest,
    /// The provenance, a Sigstore bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// What it must say, TOML
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Sigstore's trusted root; the public-good instance's by default
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// The artifact's name in the provenance; the file's by default
    #[arg(long)]
    name: Option<String>,
    /// The version that the policy's tag is bound to
    #[arg(long, value_name = "VERSION")]
    release_version: Option<Version>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let ((sha256, sha512), name) = match (&self.artifact, self.name) {
            (FileOrDigest::File(path), name) => {
                let digests = File::open(path).and_then(digests).with_context(|| format!("cannot read {}", path.display()))?;
                let file_name = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                ((digests.0, Some(digests.1)), name.unwrap_or_else(file_name))
            }
            (FileOrDigest::Sha256(digest), Some(name)) => ((*digest, None), name),
            (FileOrDigest::Sha256(_), None) => wrong_usage("a digest needs --name, the artifact's name in the provenance"),
            (FileOrDigest::Sha512(_), _) => wrong_usage("give the file or its sha256: digest"),
        };
        let policy = policy(&self.policy)?;
        let root = root(self.trusted_root.as_deref())?;
        let subject = Subject { name: &name, sha256: Some(sha256), sha512, version: self.release_version.as_ref() };
        let result = verify_provenance(&read(&self.bundle)?, &root, &policy, &subject);
        let found = result.map(|provenance| {
            (provenance.report(&sha256), json!({ "verified": true, "sha256": sha256, "provenance": provenance }))
        });
        tell(found, self.json)
    }
}

/// What a policy accepts, in words.
pub(crate) fn explain_policy(file: &Path) -> anyhow::Result<()> {
    say(policy(file)?.explain().trim_end())
}

/// Shows what was found out. A refusal goes on to `main` too, for standard error and the exit code.
fn tell(found: Result<(String, Value), Refusal>, json: bool) -> anyhow::Result<()> {
    match found {
        Ok((_, value)) if json => say(&value.to_string()),
        Ok((report, _)) => say(report.trim_end()),
        Err(refusal) => {
            if json {
                say(&json!({ "verified": false, "refusal": refusal }).to_string())?;
            }
            Err(refusal.into())
        }
    }
}

/// Ends the program as it ends for every other mistake on the command line.
fn wrong_usage(why: &str) -> ! {
    crate::Cli::command().error(clap::error::ErrorKind::MissingRequiredArgument, why).exit()
}

fn policy(file: &Path) -> anyhow::Result<Policy> {
    let text = String::from_utf8(read(file)?).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Policy::parse(&text).map_err(|why| Refusal { seen: format!("{}: {}", file.display(), why.seen), ..why })?)
}

fn root(file: Option<&Path>) -> anyhow::Result<SigstoreRoot> {
    Ok(match file {
        Some(file) => SigstoreRoot::parse(&read(file)?)?,
        None => SigstoreRoot::public_good()?,
    })
}

fn public_key(file: &Path) -> anyhow::Result<PublicKey> {
    Ok(PublicKey::from_pem(&String::from_utf8_lossy(&read(file)?))?)
}

/// Reads one byte more than the largest of these files may have, so that it is the verifier that says that it is too large.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PROVENANCE_LIMIT.saturating_add(1)).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// Reads an artifact of up to `limit` bytes; of a larger one, gives the digest.
fn load(path: &Path, limit: u64, bytes: &mut Vec<u8>) -> std::io::Result<Option<Sha256>> {
    let mut file = File::open(path)?;
    let read = file.by_ref().take(limit.saturating_add(1)).read_to_end(bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= limit) {
        return Ok(None);
    }
    digests(bytes.as_slice().chain(file)).map(|(sha256, _)| Some(sha256))
}

/// Both digests in one pass, in bounded memory.
fn digests(mut source: impl Read) -> std::io::Result<(Sha256, Sha512)> {
    let mut digests = Digests::default();
    std::io::copy(&mut source, &mut digests)?;
    let (_, sha256, sha512) = digests.finish();
    Ok((sha256, sha512))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_at_the_limit_is_read_and_one_beyond_it_is_hashed_whole() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("artifact");
        for (content, read, digest) in [
            ("abc", "abc", None),
            ("abcd", "abcd", Some(Sha256::of(b"abcd"))),
            ("abcdefgh", "abcd", Some(Sha256::of(b"abcdefgh"))),
        ] {
            std::fs::write(&path, content).unwrap();
            let mut bytes = Vec::new();
            assert_eq!(load(&path, 3, &mut bytes).unwrap(), digest, "{content}");
            assert_eq!(bytes, read.as_bytes());
        }
    }
}
