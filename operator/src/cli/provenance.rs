//! `slipway provenance`: older provenance becomes a Sigstore bundle, once, online.

use crate::say;
use crate::verify::{root, style};
use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Subcommand};
use serde_json::json;
use slipway_operator::error::{EXISTS, file as file_error};
use slipway_operator::provenance::{Content, bundle_name};
use slipway_operator::rekor::{EntryLocator, PUBLIC_GOOD, Rekor, Uuid};
use slipway_protocol::Refusal;
use slipway_protocol::manifest::PROVENANCE_LIMIT;
use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A release's envelopes together are smaller than this many of the largest.
const FILE_LIMIT: u64 = 8 * PROVENANCE_LIMIT;

#[derive(Subcommand)]
pub(crate) enum Provenance {
    /// Make a Sigstore bundle of each envelope: multiple.intoto.jsonl of slsa-github-generator up to v2.0.0, whose log entry is looked
    /// up once
    #[command(after_help = crate::EXIT_CODES)]
    Bundle(Bundle),
}

impl Provenance {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Bundle(bundle) = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
        runtime.block_on(bundle.run())
    }
}

#[derive(Args)]
pub(crate) struct Bundle {
    /// Files with DSSE envelopes, one per line. X.jsonl becomes X.sigstore.json beside it
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// File to write, if there is one envelope
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
    /// The entry's index in the log, if there is one envelope; looked up by default
    #[arg(long, value_name = "N", conflicts_with = "uuid")]
    log_index: Option<u64>,
    /// The entry's id in the log, if there is one envelope
    #[arg(long, value_name = "HEX")]
    uuid: Option<Uuid>,
    /// Sigstore's trusted root; the public-good instance's by default
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// Print one JSON object per Sigstore bundle
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct LogArgs {
    /// The transparency log
    #[arg(long, value_name = "URL", default_value = PUBLIC_GOOD)]
    rekor_url: String,
    /// Timeout for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

impl Bundle {
    async fn run(self) -> anyhow::Result<()> {
        let root = root(self.trusted_root.as_deref())?;
        let mut work = Vec::new();
        for file in &self.files {
            match Content::parse(&read(file)?).map_err(|refusal| within(file, refusal))? {
                Content::Bundle => say(&format!("{} already is a Sigstore bundle", file.display()))?,
                Content::Envelopes(all) => {
                    let of = all.len();
                    work.extend(all.into_iter().enumerate().map(|(index, signed)| (file, index.saturating_add(1), of, signed)));
                }
            }
        }
        if work.len() != 1 && (self.output.is_some() || self.log_index.is_some() || self.uuid.is_some()) {
            let why = format!("--output, --log-index and --uuid are for one envelope; there are {}", work.len());
            crate::Cli::command().error(clap::error::ErrorKind::ArgumentConflict, why).exit()
        }
        let place = self.log_index.map(EntryLocator::Index).or(self.uuid.map(EntryLocator::Uuid));
        let rekor = Rekor::new(&self.log.rekor_url, Duration::from_secs(self.log.timeout))?;
        for (file, number, of, signed) in work {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let to = self.output.clone().unwrap_or_else(|| file.with_file_name(bundle_name(&name, number, of)));
            if to.exists() {
                return Err(EXISTS.with(to.display(), "no such file").into());
            }
            let candidates = signed.look_up(&rekor, place.as_ref()).await;
            let sealed =
                candidates.and_then(|candidates| signed.seal(&candidates, &root)).map_err(|refusal| within(file, refusal))?;
            write(&to, &sealed.bundle)?;
            if self.json {
                say(&json!({ "file": file, "bundle": to, "evidence": sealed.evidence }).to_string())?;
            } else {
                say(sealed.evidence.report(&to.display().to_string(), style(false)).trim_end())?;
            }
        }
        Ok(())
    }
}

/// The same refusal, with the file that it is about.
fn within(file: &Path, refusal: Refusal) -> Refusal {
    Refusal { seen: format!("{}: {}", file.display(), refusal.seen), ..refusal }
}

/// Reads one byte more than may be, so that it is the parser that says that it is too large.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_LIMIT.saturating_add(1)).read_to_end(&mut bytes));
    read.map_err(|error| file_error(path, &error))?;
    Ok(bytes)
}

/// Writes a file that is there whole or not at all, and over no other.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| file_error(path, &error);
    let anybody_reads = Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(anybody_reads).tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    Ok(())
}
