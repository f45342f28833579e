//! `slipway-agent verify`: verifies an artifact's provenance against a policy; installs nothing.

use super::{Args, Stop};
use crate::config::read_limited;
use slipway_protocol::manifest::PROVENANCE_LIMIT;
use slipway_verify::report::{Named, Question, Style};
use slipway_verify::{Policy, SigstoreRoot, verify_provenance};
use std::fs::File;
use std::io::{IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let what =
        args.file.as_ref().ok_or_else(|| Stop::Usage("`verify` requires an artifact or its sha256: or sha512: digest".into()))?;
    let artifact = match what.to_str() {
        Some(text) => text.parse().map_err(Stop::Usage)?,
        None => Named::File(PathBuf::from(what)),
    };
    let bundle = match (&args.bundle, &artifact) {
        (Some(bundle), _) => bundle.clone(),
        (None, Named::File(path)) => PathBuf::from(format!("{}.sigstore.json", path.display())),
        (None, _) => return Err(Stop::Usage("a digest requires --bundle".into())),
    };
    let question = Question::about(&artifact, args.name.clone(), |path| File::open(path))
        .map_err(|error| Stop::Failed(format!("{}: {error}", what.display())))?;
    let needs_name = || Stop::Usage("a digest requires --name, the artifact's name in the provenance".into());
    let question = question.ok_or_else(needs_name)?;
    let policy = policy(args)?;
    let root = match &args.trusted_root {
        Some(file) => SigstoreRoot::parse(&read(file)?)?,
        None => policy.embedded_root()?,
    };
    let bundle = read_bundle(&bundle)
        .map_err(|error| Stop::Failed(format!("{}: {error}; give the Sigstore bundle with --bundle", bundle.display())))?;
    let found = verify_provenance(&bundle, &root, &policy, &question.subject(args.version.as_ref()));
    let mut out = std::io::stdout().lock();
    let style = match (args.json, out.is_terminal()) {
        (true, _) => Style::Json,
        (false, true) => Style::Colour,
        (false, false) => Style::Plain,
    };
    if let Some(answer) = question.answer(&found, style) {
        writeln!(out, "{}", answer.trim_end())?;
    }
    found.map(|_| ()).map_err(Stop::from)
}

fn policy(args: &Args) -> Result<Policy, Stop> {
    let file = match &args.policy {
        Some(file) => file.clone(),
        None => {
            let config = args.config()?;
            let component = args.component(&config)?;
            let file = config.component(&component).and_then(|component| component.policy.clone());
            file.ok_or_else(|| {
                Stop::Usage(format!("component {component} has no policy file on this device; give one with --policy"))
            })?
        }
    };
    Ok(Policy::read(file.display(), &read(&file)?)?)
}

/// What cannot be read at all is no refusal, whichever file it is.
fn read(file: &Path) -> Result<Vec<u8>, Stop> {
    File::open(file).map_err(|error| Stop::Failed(format!("{}: {error}", file.display())))?;
    Ok(read_limited(file)?)
}

fn read_bundle(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the verifier says that it is too large.
    File::open(path)?.take(PROVENANCE_LIMIT.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
