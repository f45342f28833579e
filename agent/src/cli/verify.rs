//! `slipway-agent verify`: what an artifact's provenance proves, against a policy, without installing anything.

use super::{Args, Stop};
use crate::config::read_limited;
use slipway_protocol::manifest::PROVENANCE_LIMIT;
use slipway_protocol::{Digests, Refusal, Sha256, Sha512};
use slipway_verify::{Policy, Provenance, SigstoreRoot, Subject, verify_provenance};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let what = args.file.as_ref().ok_or_else(|| Stop::Usage("verify wants an artifact or its sha256: digest".into()))?;
    let given: Option<Sha256> =
        what.to_str().filter(|text| text.starts_with("sha256:")).map(str::parse).transpose().map_err(Stop::Usage)?;
    let path = PathBuf::from(what);
    let (sha256, sha512) = match given {
        Some(digest) => (digest, None),
        None => digests(&path).map_err(|error| Stop::Failed(format!("{}: {error}", path.display())))?,
    };
    let name = match (&args.name, given) {
        (Some(name), _) => name.clone(),
        (None, None) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (None, Some(_)) => return Err(Stop::Usage("a digest needs --name, the artifact's name in the provenance".into())),
    };
    let bundle = match (&args.bundle, given) {
        (Some(bundle), _) => bundle.clone(),
        (None, None) => PathBuf::from(format!("{}.sigstore.json", path.display())),
        (None, Some(_)) => return Err(Stop::Usage("a digest needs --bundle".into())),
    };
    let policy = policy(args)?;
    let root = match &args.trusted_root {
        Some(file) => SigstoreRoot::parse(&read_limited(file)?)?,
        None => SigstoreRoot::public_good()?,
    };
    let bundle = read_bundle(&bundle)
        .map_err(|error| Stop::Failed(format!("{}: {error}; name the Sigstore bundle with --bundle", bundle.display())))?;
    let subject = Subject { name: &name, sha256: Some(sha256), sha512, version: args.version.as_ref() };
    match verify_provenance(&bundle, &root, &policy, &subject) {
        Ok(provenance) => Ok(show(&provenance, &sha256, args.json)?),
        Err(refusal) if args.json => {
            writeln!(std::io::stdout(), "{}", serde_json::json!({ "verified": false, "refusal": refusal }))?;
            Err(refusal.into())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn policy(args: &Args) -> Result<Policy, Stop> {
    let file = match &args.policy {
        Some(file) => file.clone(),
        None => {
            let config = args.config()?;
            let component = args.component(&config)?;
            let file = config.component(&component).and_then(|component| component.policy.clone());
            file.ok_or_else(|| Stop::Usage(format!("{component} has no policy file on this device: name one with --policy")))?
        }
    };
    let text = String::from_utf8(read_limited(&file)?).map_err(|error| Stop::Failed(format!("{}: {error}", file.display())))?;
    Ok(Policy::parse(&text).map_err(|why| Refusal { seen: format!("{}: {}", file.display(), why.seen), ..why })?)
}

fn read_bundle(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the verifier says that it is too large.
    File::open(path)?.take(PROVENANCE_LIMIT.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Both digests in one pass, in bounded memory.
fn digests(path: &Path) -> std::io::Result<(Sha256, Option<Sha512>)> {
    let mut digests = Digests::default();
    std::io::copy(&mut File::open(path)?, &mut digests)?;
    let (_, sha256, sha512) = digests.finish();
    Ok((sha256, Some(sha512)))
}

fn show(provenance: &Provenance, sha256: &Sha256, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        return writeln!(out, "{}", serde_json::json!({ "verified": true, "sha256": sha256, "provenance": provenance }));
    }
    write!(out, "{}", provenance.report(sha256))
}
