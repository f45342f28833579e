//! A small HTTP/1.1 server for the imitated services: a function answers each request.
//!
//! Unlike real servers it closes the connection after each answer.

use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What somebody asks for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// By name in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A status, the content's type, and the content.
    Whole(u16, String, Vec<u8>),
    /// 401, with this as `WWW-Authenticate`.
    Challenge(String),
    /// 200, and bytes for as long as the client reads.
    Endless,
    /// Nothing, for as long as the client waits.
    Never,
}

impl Reply {
    pub(crate) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::Whole(status, "application/json".to_owned(), value.to_string().into_bytes())
    }
}

type Handler = dyn Fn(&Ask) -> Reply + Send + Sync;

/// A server on loopback. Dropping it ends it and every connection it has.
pub(crate) struct HttpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpServer({})", self.address)
    }
}

impl HttpServer {
    pub(crate) fn start(handler: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (stop, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let handler: Arc<Handler> = Arc::new(handler);
        let thread = std::thread::spawn({
            let (stop, open) = (stop.clone(), open.clone());
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Ok(copy) = stream.try_clone() {
                        open.lock().expect("no panic in here").push(copy);
                    }
                    let handler = handler.clone();
                    // A client that goes away in the middle is one of the cases, not an error of ours.
                    std::thread::spawn(move || serve(&stream, &*handler).is_ok());
                }
            }
        });
        Ok(Self { address, stop, open, thread: Some(thread) })
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
        for stream in self.open.lock().unwrap_or_else(|e| e.into_inner()).drain(..) {
            let _closed_already = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(stream: &TcpStream, handler: &Handler) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let mut stream = stream;
    match handler(&Ask { method: method.clone(), path, headers, body }) {
        Reply::Whole(status, content_type, body) => {
            write!(
                stream,
                "HTTP/1.1 {status} As Asked For\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )?;
            if method != "HEAD" {
                stream.write_all(&body)?;
            }
        }
        Reply::Challenge(challenge) => {
            write!(
                stream,
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )?;
        }
        Reply::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 64 * 1024])?;
            }
        }
        Reply::Never => {
            // Ends when the client closes, or when the server is dropped.
            std::io::copy(&mut &*stream, &mut std::io::sink())?;
        }
    }
    stream.shutdown(Shutdown::Write)
}
