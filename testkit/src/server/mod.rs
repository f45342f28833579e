//! A release server with faults: static files over HTTP/1.1 on loopback. Imitates a web server such as nginx.
//!
//! Without a fault it behaves as RFC 9110 asks of a static server: strong `ETag`, `Range` with `If-Range`, 206, 416, 304, `HEAD`, and
//! persistent connections. [`ReleaseServer::fault`] makes it misbehave on one path, at run time. It copies no particular program or
//! version. Unlike nginx it knows no HTTP/2, compression, multipart ranges or caching proxies.
//!
//! | part | in |
//! |---|---|
//! | the faults, and how many requests they last | `fault` |
//! | what a request asks for: file, range, conditions | `request` |
//! | sending the answer, faults applied | `connection` |

mod connection;
mod fault;
mod request;

pub use fault::Fault;

use crate::tls::Identity;
use anyhow::{Context as _, Result};
use fault::Faults;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// A request as the server saw it, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// The path, with its leading slash and without a query.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `If-Range` header.
    pub if_range: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of body sent so far.
    pub bytes_sent: u64,
}

#[derive(Debug)]
struct Received {
    request: Request,
    bytes_sent: Arc<AtomicU64>,
}

/// What the connections share with the handle.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    faults: Mutex<Faults>,
    seen: Mutex<Vec<Received>>,
    etags: Mutex<request::Etags>,
    /// Whether small files are sent in gzip to those who take it.
    gzip: AtomicBool,
}

impl Shared {
    fn record(&self, request: Request) -> Arc<AtomicU64> {
        let bytes_sent = Arc::new(AtomicU64::new(0));
        self.seen.lock().expect("no panic in here").push(Received { request, bytes_sent: bytes_sent.clone() });
        bytes_sent
    }
}

/// See the [module](self). Dropping it ends it and every connection it has.
#[derive(Debug)]
pub struct ReleaseServer {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl ReleaseServer {
    /// Serves `dir` on a free port of 127.0.0.1.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_at(dir, ([127, 0, 0, 1], 0).into(), None)
    }

    /// The same over TLS, with a certificate of [`crate::tls::Authority`].
    pub fn start_tls(dir: &Path, identity: &Identity) -> Result<Self> {
        Self::start_at(dir, ([127, 0, 0, 1], 0).into(), Some(identity))
    }

    /// The same on an address of one's own choice: a server that comes back after it was away.
    pub fn start_at(dir: &Path, address: SocketAddr, identity: Option<&Identity>) -> Result<Self> {
        let tls = identity.map(crate::tls::acceptor).transpose()?;
        // Its own thread and runtime: a test need not be async, and one that is may block.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            let listener = std::net::TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)?
        };
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            etags: Mutex::default(),
            gzip: AtomicBool::new(false),
        });
        let (stop, stopped) = watch::channel(false);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let thread = std::thread::Builder::new().name("release-server".to_owned()).spawn({
            let shared = shared.clone();
            move || runtime.block_on(connection::accept(listener, tls, shared, stopped))
        })?;
        Ok(Self { address, scheme, shared, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`; no slash at its end.
    pub fn url(&self) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}", self.address.port()),
            scheme => format!("{scheme}://{}", self.address),
        }
    }

    /// The URL of a file below the folder.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}/{}", self.url(), path.trim_start_matches('/'))
    }

    /// Misbehaves on `path` until [`Self::heal`]. Several faults on one path act together.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.add_fault(path, fault, None);
    }

    /// Misbehaves on `path` for the next `times` requests.
    pub fn fault_times(&self, path: &str, fault: Fault, times: u32) {
        self.add_fault(path, fault, Some(times));
    }

    fn add_fault(&self, path: &str, fault: Fault, times: Option<u32>) {
        self.shared.faults.lock().expect("no panic in here").add(&format!("/{}", path.trim_start_matches('/')), fault, times);
    }

    /// Ends all faults on `path`.
    pub fn heal(&self, path: &str) {
        self.shared.faults.lock().expect("no panic in here").heal(&format!("/{}", path.trim_start_matches('/')));
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        let seen = self.shared.seen.lock().expect("no panic in here");
        let current = |seen: &Received| Request { bytes_sent: seen.bytes_sent.load(Ordering::SeqCst), ..seen.request.clone() };
        seen.iter().map(current).collect()
    }

    /// The requests for one path.
    pub fn requests_for(&self, path: &str) -> Vec<Request> {
        let path = format!("/{}", path.trim_start_matches('/'));
        self.requests().into_iter().filter(|request| request.path == path).collect()
    }

    /// From now on answers in gzip where the client accepts that, as nginx does with `gzip on; gzip_types *; gzip_comp_level 6;`
    /// (ngx_http_gzip_filter_module of 1.22): whole files of 20 bytes and more, chunked, with a weak tag and no ranges.
    pub fn compress(&self) {
        self.shared.gzip.store(true, Ordering::SeqCst);
    }

    /// Bytes of body sent for one path, over all requests.
    pub fn bytes_sent(&self, path: &str) -> u64 {
        self.requests_for(path).iter().map(|request| request.bytes_sent).sum()
    }
}

impl Drop for ReleaseServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed when it happened; a second one out of a drop would hide the test's own.
            let _ended = thread.join();
        }
    }
}
