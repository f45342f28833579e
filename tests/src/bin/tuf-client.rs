//! The device's TUF client as a program for the public conformance suite. For tests only.
//!
//! ```text
//! tuf-client --metadata-dir D init ROOT
//! tuf-client --metadata-dir D --metadata-url U refresh
//! tuf-client --metadata-dir D --metadata-url U --target-name P… --target-dir T --target-base-url B download
//! ```
//!
//! Refresh, verification and HTTP are the device's own. What differs is what the suite asks of any client: files are stored as soon as
//! they are verified and under plain names, the system clock is the time, metadata may live as
//! long as it likes, delegated roles are loaded when a target needs them, and RSA keys count.
//! What was judged expired stays so, as on a device. Exit 0 for done, 1 for anything else.

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::prelude::{Long, Value, ValueExt};
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme};
use slipway_agent::fetch::{Client, HttpSettings, Small};
use slipway_agent::storage::durable::write_atomic;
use slipway_agent::tls::{self, TlsSettings};
use slipway_agent::trust::{NoCandidate, RepositoryTransport, RootHistory, Transport, follow};
use slipway_protocol::Sha256;
use slipway_verify::tuf::{Floors, Kind, Limits, Refresh, Repository, Rules, Slot, Stored, Wanted};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The floors, which a device keeps in its witness. Only metadata may end in `.json` here.
const FLOORS: &str = "floors";
/// The root of `init`, beside `root.json`, which is the newest.
const INITIAL_ROOT: &str = "initial-root";
/// The folder of roots that were walked over, as on a device.
const ROOT_HISTORY: &str = "root_history";

#[derive(Default)]
struct Args {
    verb: String,
    root: Option<PathBuf>,
    metadata_dir: PathBuf,
    metadata_url: Option<String>,
    target_names: Vec<String>,
    target_dir: Option<PathBuf>,
    target_base_url: Option<String>,
}

fn parse() -> Result<Args> {
    let mut parser = lexopt::Parser::from_env();
    let mut args = Args::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("metadata-dir") => args.metadata_dir = parser.value()?.into(),
            Long("metadata-url") => args.metadata_url = Some(parser.value()?.string()?),
            Long("target-name") => args.target_names.push(parser.value()?.string()?),
            Long("target-dir") => args.target_dir = Some(parser.value()?.into()),
            Long("target-base-url") => args.target_base_url = Some(parser.value()?.string()?),
            Value(verb) if args.verb.is_empty() => args.verb = verb.string()?,
            Value(root) if args.root.is_none() => args.root = Some(root.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    ensure!(!args.metadata_dir.as_os_str().is_empty(), "missing --metadata-dir");
    Ok(args)
}

fn main() -> ExitCode {
    let _ours = sigstore_crypto::install_default_provider(&WithRsa);
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args = parse()?;
    match args.verb.as_str() {
        "init" => init(&args),
        "refresh" => runtime()?.block_on(refresh(&args, Vec::new())).map(|_| ()),
        "download" => runtime()?.block_on(download(&args)),
        other => bail!("init, refresh or download, not {other:?}"),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn init(args: &Args) -> Result<()> {
    let root = std::fs::read(args.root.as_ref().context("init wants a root")?)?;
    Refresh::begin(&root, Stored::default(), &Floors::default(), Rules::accepted_before())?;
    write_atomic(&args.metadata_dir.join(INITIAL_ROOT), &root, 0o644)?;
    write_atomic(&args.metadata_dir.join(Slot::Root.file_name()), &root, 0o644)?;
    Ok(())
}

async fn refresh(args: &Args, targets: Vec<String>) -> Result<(Repository, RepositoryTransport)> {
    let dir = &args.metadata_dir;
    let initial_root = std::fs::read(dir.join(INITIAL_ROOT)).context("init comes first")?;
    let mut floors: Floors = match std::fs::read(dir.join(FLOORS)) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(_) => Floors::default(),
    };
    let history = RootHistory::open(dir.join(ROOT_HISTORY))?;
    history.prune(floors.root);
    let rules = Rules {
        keep_expired: true,
        wanted: Wanted::Paths(targets),
        limits: Limits { target_bytes: 64 << 20, ..Limits::default() },
        store_early: true,
        ..Rules::at(slipway_agent::clock::now().wall)
    };
    let stored = Stored { root_history: history.read(), ..stored(dir)? };
    let refresh = Refresh::begin(&initial_root, stored, &floors, rules)?;
    let place = place(args)?;
    let followed = follow(&place, refresh, &mut floors, |files| {
        for (slot, bytes) in files {
            if slot == Slot::Root {
                history.keep(&bytes)?;
            }
            let path = dir.join(slot.file_name());
            write_atomic(&path, &bytes, 0o644).map_err(|error| slipway_agent::storage::durable::refusal(&path, &error))?;
        }
        Ok(())
    })
    .await;
    write_atomic(&dir.join(FLOORS), &serde_json::to_vec(&floors)?, 0o644)?;
    match followed {
        Ok(repository) => Ok((repository, place)),
        Err(NoCandidate::Refused(refusal, _)) => Err(refusal.into()),
        Err(NoCandidate::Failed(failure)) => Err(failure.refusal.into()),
    }
}

fn stored(dir: &Path) -> Result<Stored> {
    let mut stored = Stored::default();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(slot) = entry.file_name().to_str().and_then(Slot::of_file_name) {
            stored.put(&slot, std::fs::read(entry.path())?);
        }
    }
    Ok(stored)
}

fn place(args: &Args) -> Result<RepositoryTransport> {
    let http = HttpSettings { allow_http: true, proxy: Some("none".to_owned()), ..HttpSettings::default() };
    let client = Client::new(&http, &*tls::client_config(&TlsSettings::default())?)?;
    let at = |url: &str| -> Result<Transport> {
        let url = if url.ends_with('/') { url.to_owned() } else { format!("{url}/") };
        Ok(Transport::Http(client.clone(), url.parse().with_context(|| url.clone())?))
    };
    let metadata = at(args.metadata_url.as_deref().context("missing --metadata-url")?)?;
    let targets = args.target_base_url.as_deref().map(at).transpose()?.unwrap_or_else(|| metadata.clone());
    Ok(RepositoryTransport { metadata, targets })
}

async fn download(args: &Args) -> Result<()> {
    let dir = args.target_dir.as_ref().context("missing --target-dir")?;
    ensure!(!args.target_names.is_empty(), "missing --target-name");
    let (repository, place) = refresh(args, args.target_names.clone()).await?;
    for name in &args.target_names {
        let info = repository.lookup(name)?;
        // The name is data: the file is called by its digest.
        let path = dir.join(Sha256::of(name.as_bytes()).to_string());
        if std::fs::read(&path).is_ok_and(|bytes| repository.authenticate(name, bytes).is_ok()) {
            continue;
        }
        match place.get(Kind::Target, &info.fetch_path, info.length).await? {
            Small::Bytes(bytes) => {
                let target = repository.authenticate(name, bytes)?;
                write_atomic(&path, target.bytes(), 0o644)?;
            }
            Small::Missing => bail!("{}: not there", info.fetch_path),
        }
    }
    Ok(())
}

/// The device's cryptography, and RSA, which the device refuses by name and the specification lists.
#[derive(Debug)]
struct WithRsa;

impl CryptoProvider for WithRsa {
    fn hash(&self, algorithm: sigstore_types::HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        slipway_verify::provider::RustCrypto.hash(algorithm)
    }

    fn verify_raw(&self, scheme: SigningScheme, key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), Error> {
        if scheme != SigningScheme::RsaPssSha256 {
            return slipway_verify::provider::RustCrypto.verify_raw(scheme, key, data, signature);
        }
        ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PSS_2048_8192_SHA256, key)
            .verify(data, signature)
            .map_err(|_| Error::Verification("RSA signature invalid".to_owned()))
    }

    fn verify_prehashed(&self, scheme: SigningScheme, key: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), Error> {
        slipway_verify::provider::RustCrypto.verify_prehashed(scheme, key, digest, signature)
    }
}
