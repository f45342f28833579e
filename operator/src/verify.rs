//! `slipway verify-bundle`, `verify` and `policy explain`: the devices' verifier for operators.

use crate::say;
use clap::{Args, CommandFactory as _};
use serde_json::json;
use slipway_operator::error::file;
use slipway_protocol::manifest::PROVENANCE_LIMIT;
use slipway_protocol::{Refusal, Sha256, Version};
use slipway_verify::report::{Named, Question, Style, digests};
use slipway_verify::{Artifact, LogRule, Policy, PublicKey, Signer, SigstoreRoot, verify_bundle, verify_provenance};
use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::{Path, PathBuf};

/// An artifact up to this size is verified by its bytes, which every signature can be; a larger one by its SHA-256.
const BYTES_LIMIT: u64 = 256 * 1024 * 1024;

#[derive(Args)]
pub(crate) struct VerifyBundle {
    /// The artifact, or its digest as sha256:HEX or sha512:HEX. A file over 256 MiB is verified by its SHA-256
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: Named,
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
    /// OIDC issuer that must have issued the identity, compared exactly
    #[arg(long, value_name = "URL", conflicts_with = "key", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// Key that must have signed, in place of an identity: PEM; P-256, P-384 or Ed25519
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,
    /// Sigstore's trusted root; the public-good instance's by default
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Accept the log's signed promise (SET); by default a proof of inclusion with a checkpoint is required
    #[arg(long)]
    unsafe_promise_only: bool,
    /// Require timestamps and no log; only with a trusted root without logs, such as GitHub's
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
            Named::Sha256(digest) => (Artifact::Sha256(*digest), format!("{digest:?}")),
            Named::Sha512(digest) => (Artifact::Sha512(*digest), format!("{digest:?}")),
            Named::File(path) => {
                let larger = load(path, BYTES_LIMIT, &mut bytes).map_err(|error| file(path, &error))?;
                (larger.map_or(Artifact::Bytes(&bytes), Artifact::Sha256), path.display().to_string())
            }
        };
        let found = verify_bundle(&bundle, &root, signer, artifact, rule);
        let shown = match (&found, style(self.json)) {
            (Ok(evidence), Style::Json) => {
                Some(json!({ "verified": true, "artifact": called, "evidence": evidence }).to_string())
            }
            (Err(refusal), Style::Json) => Some(json!({ "verified": false, "refusal": refusal }).to_string()),
            (Ok(evidence), style) => Some(evidence.report(&called, style)),
            (Err(_), _) => None,
        };
        print_outcome(shown, found)
    }
}

/// What provenance is held against: of a file, or of an image.
#[derive(Args)]
pub(crate) struct Against {
    /// Policy that the provenance must satisfy, TOML
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Sigstore's trusted root; by default that of the policy's profile
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Name of the artifact in the provenance; by default the file's, or the image's registry and repository (Docker Hub is index.docker.io)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Version to compare with the policy's tag
    #[arg(long, value_name = "VERSION")]
    pub(crate) release_version: Option<Version>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Against {
    /// The policy, and the trusted root to judge by.
    pub(crate) fn read(&self) -> anyhow::Result<(Policy, SigstoreRoot)> {
        let policy = policy(&self.policy)?;
        let root = match &self.trusted_root {
            Some(file) => root(Some(file))?,
            None => policy.embedded_root()?,
        };
        Ok((policy, root))
    }
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The artifact, or its digest as sha256:HEX or sha512:HEX
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: Named,
    /// The provenance: a Sigstore bundle, or for a policy with keys, one per line
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    #[command(flatten)]
    against: Against,
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let question = Question::about(&self.artifact, self.against.name.clone(), |path| File::open(path));
        let question = question.map_err(|error| match &self.artifact {
            Named::File(path) => file(path, &error),
            // Nothing is read for these.
            Named::Sha256(_) | Named::Sha512(_) => file(Path::new("digest"), &error),
        })?;
        let Some(question) = question else { wrong_usage("a digest requires --name, the artifact's name in the provenance") };
        let (policy, root) = self.against.read()?;
        let subject = question.subject(self.against.release_version.as_ref());
        let found = verify_provenance(&read(&self.bundle)?, &root, &policy, &subject);
        print_outcome(question.answer(&found, style(self.against.json)), found)
    }
}

/// What a policy accepts, in words.
pub(crate) fn explain_policy(file: &Path) -> anyhow::Result<()> {
    say(policy(file)?.explain().trim_end())
}

/// Shows what was found out. A refusal goes on to `main` too, for standard error and the exit code.
pub(crate) fn print_outcome<T>(shown: Option<String>, found: Result<T, Refusal>) -> anyhow::Result<()> {
    if let Some(shown) = shown {
        say(shown.trim_end())?;
    }
    found.map(|_| ()).map_err(Into::into)
}

pub(crate) fn style(json: bool) -> Style {
    match (json, std::io::stdout().is_terminal()) {
        (true, _) => Style::Json,
        (false, true) => Style::Colour,
        (false, false) => Style::Plain,
    }
}

/// Ends the program as it ends for every other mistake on the command line.
pub(crate) fn wrong_usage(why: &str) -> ! {
    crate::Cli::command().error(clap::error::ErrorKind::MissingRequiredArgument, why).exit()
}

fn policy(file: &Path) -> anyhow::Result<Policy> {
    Ok(Policy::read(file.display(), &read(file)?)?)
}

pub(crate) fn root(file: Option<&Path>) -> anyhow::Result<SigstoreRoot> {
    Ok(match file {
        Some(file) => SigstoreRoot::parse(&read(file)?)?,
        None => SigstoreRoot::public_good()?,
    })
}

fn public_key(file: &Path) -> anyhow::Result<PublicKey> {
    Ok(PublicKey::from_pem(&String::from_utf8_lossy(&read(file)?))?)
}

/// Reads one byte more than the largest of these files may have, so that it is the verifier that says that it is too large.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(PROVENANCE_LIMIT.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| file(path, &error))?;
    Ok(bytes)
}

/// Reads an artifact of up to `limit` bytes; of a larger one, gives the digest.
fn load(path: &Path, limit: u64, bytes: &mut Vec<u8>) -> std::io::Result<Option<Sha256>> {
    let mut file = File::open(path)?;
    let read = file.by_ref().take(limit.saturating_add(1)).read_to_end(bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= limit) {
        return Ok(None);
    }
    digests(bytes.as_slice().chain(file)).map(|(_, sha256, _)| Some(sha256))
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
