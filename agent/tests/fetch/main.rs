//! Downloads from a server that drops connections, stalls, and sends wrong headers or bytes.
//!
//! This file has what the others share: one server, one artifact, one device that downloads it.

#![expect(clippy::arithmetic_side_effects, clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

mod budget;
mod reach;
mod resume;
mod servers;

use slipway_agent::fetch::{Budget, Client, Download, Downloaded, FetchError, HttpSettings, Small};
use slipway_agent::storage::stamp::VerifiedFiles;
use slipway_agent::storage::store::{Account, Mark};
use slipway_agent::tls::{TlsSettings, client_config};
use slipway_machine::RetryAdvice;
use slipway_protocol::{Category, Refusal, Sha256, Sha512};
use slipway_testkit::server::{Fault, ReleaseServer};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

const MIB: u64 = 1024 * 1024;
/// Some checkpoints long, and no multiple of anything.
const SIZE: u64 = 10 * MIB + 4321;

/// A server with one artifact, and a device that wants it.
struct Case {
    dir: tempfile::TempDir,
    server: ReleaseServer,
    client: Client,
    bytes: Vec<u8>,
    /// The durable cursor, as the agent's store would keep it.
    cursor: Cell<u64>,
    /// What came over the network for it, likewise.
    spent: Cell<u64>,
    /// How many times its size the artifact may cost.
    times: Cell<u32>,
    /// All positions reported.
    progress: RefCell<Vec<u64>>,
}

fn settings() -> HttpSettings {
    HttpSettings {
        allow_http: true,
        proxy: Some("none".to_owned()),
        min_speed: 1,
        min_speed_window: Duration::from_secs(10),
        ..HttpSettings::default()
    }
}

fn client(settings: &HttpSettings, ca: Option<PathBuf>) -> Client {
    Client::new(settings, &client_config(&TlsSettings { ca, ..TlsSettings::default() }).unwrap()).unwrap()
}

/// Bytes that do not repeat within a file.
fn content(size: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size as usize);
    bytes
}

impl Case {
    fn new() -> Self {
        Self::with(&settings())
    }

    fn with(settings: &HttpSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bytes = content(SIZE);
        for path in ["www", "downloads"] {
            std::fs::create_dir(dir.path().join(path)).unwrap();
        }
        for name in ["a", "b"] {
            std::fs::write(dir.path().join("www").join(name), &bytes).unwrap();
        }
        let server = ReleaseServer::start(&dir.path().join("www")).unwrap();
        let client = client(settings, None);
        Self {
            dir,
            server,
            client,
            bytes,
            cursor: Cell::new(0),
            spent: Cell::new(0),
            times: Cell::new(1000),
            progress: RefCell::default(),
        }
    }

    fn url(&self, name: &str) -> Url {
        self.server.url_of(name).parse().unwrap()
    }

    fn part(&self) -> PathBuf {
        self.dir.path().join("downloads/artifact.part")
    }

    fn tag(&self) -> PathBuf {
        self.dir.path().join("downloads/artifact.part.etag")
    }

    fn wanted(&self, names: &[&str]) -> Download {
        Download {
            urls: names.iter().map(|name| self.url(name)).collect(),
            size: SIZE,
            sha256: Sha256::of(&self.bytes),
            sha512: None,
            part: self.part(),
            trusted_offset: self.cursor.get(),
            budget: self.budget(),
            verified: VerifiedFiles::default(),
        }
    }

    fn budget(&self) -> Budget {
        let since = "2026-11-22T12:00:00Z".parse().unwrap();
        Budget::new(Account { spent: self.spent.get(), ..Account::new(since) }, SIZE, self.times.get())
    }

    fn keep(&self, mark: Mark) {
        self.cursor.set(mark.at);
        self.spent.set(mark.spent);
    }

    async fn download(&self, what: &Download) -> Result<Downloaded, FetchError> {
        self.progress.borrow_mut().clear();
        self.client
            .download(
                what,
                |position| self.progress.borrow_mut().push(position),
                |mark| {
                    self.keep(mark);
                    Ok(())
                },
            )
            .await
    }

    async fn get(&self, names: &[&str]) -> Result<Downloaded, FetchError> {
        self.download(&self.wanted(names)).await
    }

    async fn refused(&self, names: &[&str]) -> FetchError {
        self.get(names).await.expect_err("this download must fail")
    }

    fn is_complete(&self) -> bool {
        std::fs::read(self.part()).is_ok_and(|bytes| bytes == self.bytes) && !self.tag().exists() && self.cursor.get() == SIZE
    }

    fn ranges(&self, name: &str) -> Vec<Option<String>> {
        self.server.requests_for(&format!("/{name}")).into_iter().map(|request| request.range).collect()
    }
}

fn code(error: &FetchError) -> (&str, RetryAdvice) {
    (&error.refusal.code, error.retry())
}

const DIGEST: (&str, RetryAdvice) = ("SLW-A-DIGEST", RetryAdvice::Never);
const CUT: (&str, RetryAdvice) = ("SLW-A-CUT", RetryAdvice::Later);
const SLOW: (&str, RetryAdvice) = ("SLW-A-SLOW", RetryAdvice::Later);
const ENDLESS: (&str, RetryAdvice) = ("SLW-A-ENDLESS", RetryAdvice::Never);
