//! Accepts connections and sends answers, faults applied.

use super::fault::Fault;
use super::request::{Head, RangeReply, Span, etag_with, file_of, range_reply};
use super::{Request, Shared};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

const MAX_HEAD: usize = 16 * 1024;
const CHUNK: usize = 64 * 1024;
/// nginx's `gzip_min_length`.
const GZIP_LEAST: u64 = 20;
/// Throttled bodies are sent in so many pieces a second.
const BEATS: u64 = 20;

/// Serves until told to stop; then every connection ends with it.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (shared, tls) = (shared.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &shared).await,
                        // A peer that does not trust us is one of the cases, not an error of ours.
                        Some(tls) => if let Ok(stream) = tls.accept(stream).await { serve(stream, &shared).await },
                    }
                });
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, shared: &Shared) {
    while let Some(head) = read_head(&mut stream).await {
        match answer(&mut stream, shared, &head).await {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) | Err(_) => break,
        }
    }
    // TLS says goodbye, plain TCP sends FIN. The peer may be gone already.
    let _gone = stream.shutdown().await;
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Head> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return None;
        }
        head.push(stream.read_u8().await.ok()?);
    }
    Head::parse(std::str::from_utf8(&head).ok()?)
}

/// What goes out before the body.
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
}

impl Reply {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    async fn send<S: AsyncWrite + Unpin>(&self, stream: &mut S) -> std::io::Result<()> {
        let reason = match self.status {
            200 => "OK",
            206 => "Partial Content",
            302 => "Found",
            304 => "Not Modified",
            404 => "Not Found",
            405 => "Method Not Allowed",
            416 => "Range Not Satisfiable",
            503 => "Service Unavailable",
            _ => "As Asked For",
        };
        let mut text = format!("HTTP/1.1 {} {reason}\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await
    }
}

fn find<T>(faults: &[Fault], pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
    faults.iter().find_map(pick)
}

async fn answer<S: AsyncWrite + Unpin>(stream: &mut S, shared: &Shared, head: &Head) -> std::io::Result<ControlFlow<()>> {
    let faults = shared.faults.lock().expect("no panic in here").take(&head.path);
    let record = |status| {
        let header = |name| head.header(name).map(str::to_owned);
        shared.record(Request {
            method: head.method.clone(),
            path: head.path.clone(),
            range: header("range"),
            if_range: header("if-range"),
            user_agent: header("user-agent"),
            status,
            bytes_sent: 0,
        })
    };
    let refusal = match faults.iter().find(|f| matches!(f, Fault::Status(_) | Fault::RetryAfter(_) | Fault::RedirectLoop)) {
        Some(Fault::Status(status)) => Some(Reply::new(*status)),
        Some(Fault::RetryAfter(seconds)) => Some(Reply::new(503).with("Retry-After", seconds)),
        Some(_) => Some(Reply::new(302).with("Location", &head.path)),
        None if head.method != "GET" && head.method != "HEAD" => Some(Reply::new(405).with("Allow", "GET, HEAD")),
        None => None,
    };
    let file = file_of(&shared.dir, &head.path).filter(|file| file.is_file());
    let (reply, file) = match (refusal, file) {
        (Some(reply), _) => (reply, None),
        (None, None) => (Reply::new(404), None),
        (None, Some(file)) => (Reply::new(200), Some(file)),
    };
    let Some(file) = file else {
        record(reply.status);
        reply.with("Content-Length", 0).send(stream).await?;
        return Ok(ControlFlow::Continue(()));
    };

    let size = std::fs::metadata(&file)?.len();
    let etag = if faults.contains(&Fault::NoEtag) {
        None
    } else {
        etag_with(shared.etags.lock().expect("no panic in here").of(&file)?, &faults)
    };
    let mut tagged = Reply::new(200).with("Accept-Ranges", "bytes").with("Content-Type", "application/octet-stream");
    if let Some(etag) = &etag {
        tagged = tagged.with("ETag", etag);
    }
    if etag.is_some() && head.header("if-none-match") == etag.as_deref() {
        record(304);
        tagged.status = 304;
        tagged.send(stream).await?;
        return Ok(ControlFlow::Continue(()));
    }
    if faults.is_empty()
        && let Some(packed) = packed(shared, head, &file, size)?
    {
        let bytes_sent = record(200);
        let weak = etag.map(|etag| format!("W/{etag}")).unwrap_or_default();
        let reply = Reply::new(200).with("Content-Type", "application/octet-stream").with("ETag", weak);
        reply
            .with("Vary", "Accept-Encoding")
            .with("Content-Encoding", "gzip")
            .with("Transfer-Encoding", "chunked")
            .send(stream)
            .await?;
        let mut body = format!("{:x}\r\n", packed.len()).into_bytes();
        body.extend_from_slice(&packed);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        stream.write_all(&body).await?;
        stream.flush().await?;
        bytes_sent.store(packed.len() as u64, Ordering::SeqCst);
        return Ok(ControlFlow::Continue(()));
    }
    let ignore_range = faults.contains(&Fault::IgnoreRange) || faults.contains(&Fault::NoLength);
    let (status, span) = match range_reply(head, size, etag.as_deref()) {
        RangeReply::Unsatisfiable if !ignore_range => {
            record(416);
            tagged.status = 416;
            tagged.with("Content-Range", format!("bytes */{size}")).with("Content-Length", 0).send(stream).await?;
            return Ok(ControlFlow::Continue(()));
        }
        RangeReply::Partial(span) if !ignore_range => (206, span),
        _ => (200, (0, size)),
    };
    let bytes_sent = record(status);
    tagged.status = status;
    if status == 206 {
        let forgery = find(&faults, |f| if let Fault::WrongContentRange(n) = f { Some(*n) } else { None }).unwrap_or(0);
        tagged = tagged.with("Content-Range", format!("bytes {}-{}/{size}", span.0 + forgery, span.1 + forgery - 1));
    }
    let unbounded = faults.contains(&Fault::NoLength) || faults.contains(&Fault::Endless);
    if unbounded {
        tagged = tagged.with("Connection", "close");
    } else {
        let forgery = find(&faults, |f| if let Fault::WrongLength(n) = f { Some(*n) } else { None }).unwrap_or(0);
        tagged = tagged.with("Content-Length", (span.1 - span.0).saturating_add_signed(forgery));
    }
    tagged.send(stream).await?;
    if head.method == "HEAD" {
        return Ok(ControlFlow::Continue(()));
    }
    let held = || shared.faults.lock().expect("no panic in here").holds(&head.path);
    send_body(stream, &file, span, status == 206, &faults, &bytes_sent, held).await
}

/// The file in gzip, if this server compresses and the request takes that.
fn packed(shared: &Shared, head: &Head, file: &Path, size: u64) -> std::io::Result<Option<Vec<u8>>> {
    let accepted = head.header("accept-encoding").is_some_and(|codings| codings.split(',').any(|coding| coding.trim() == "gzip"));
    if !(shared.gzip.load(Ordering::SeqCst) && accepted && head.method == "GET" && size >= GZIP_LEAST) {
        return Ok(None);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    std::io::copy(&mut std::fs::File::open(file)?, &mut encoder)?;
    encoder.finish().map(Some)
}

/// Sends the span of the file, or what the faults make of it.
async fn send_body<S: AsyncWrite + Unpin>(
    stream: &mut S,
    path: &Path,
    (first, end): Span,
    partial: bool,
    faults: &[Fault],
    bytes_sent: &AtomicU64,
    held: impl Fn() -> bool,
) -> std::io::Result<ControlFlow<()>> {
    let shift = find(faults, |f| if let Fault::ShiftedRange(n) = f { Some(*n) } else { None }).filter(|_| partial);
    let flip = find(faults, |f| if let Fault::FlipByte(n) = f { Some(*n) } else { None });
    let cut = find(faults, |f| if let Fault::CutAfter(n) = f { Some(*n) } else { None });
    let stall = find(faults, |f| if let Fault::StallAfter(n) = f { Some(*n) } else { None });
    let mut hold = find(faults, |f| if let Fault::HoldAfter(n) = f { Some(*n) } else { None });
    let throttle = find(faults, |f| if let Fault::Throttle(n) = f { Some(*n) } else { None });
    let endless = faults.contains(&Fault::Endless);
    let limit = cut.unwrap_or(u64::MAX).min(stall.unwrap_or(u64::MAX));

    let mut file = std::fs::File::open(path)?;
    let mut at = first + shift.unwrap_or(0);
    file.seek(SeekFrom::Start(at))?;
    let started = Instant::now();
    let mut sent = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        let left = if endless { u64::MAX } else { (end - first).saturating_sub(sent) }.min(limit - sent);
        let left = hold.map_or(left, |hold| left.min(hold - sent));
        let piece = throttle.map_or(CHUNK as u64, |rate| (rate / BEATS).clamp(1, CHUNK as u64)).min(left);
        if piece == 0 && hold.take_if(|hold| *hold == sent).is_some() {
            while held() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            continue;
        }
        if piece == 0 {
            break;
        }
        let chunk = &mut buffer[..piece as usize];
        let got = file.read(chunk)?;
        // Behind the end of the file there are zeros, for endless and for shifted answers.
        let chunk = if got == 0 {
            chunk.fill(0);
            chunk
        } else {
            &mut chunk[..got]
        };
        if let Some(offset) = flip
            && let Some(index) = offset.checked_sub(at)
            && let Some(byte) = chunk.get_mut(index as usize)
        {
            *byte ^= 1;
        }
        stream.write_all(chunk).await?;
        stream.flush().await?;
        at += chunk.len() as u64;
        sent += chunk.len() as u64;
        bytes_sent.store(sent, Ordering::SeqCst);
        if let Some(rate) = throttle {
            tokio::time::sleep_until(started + Duration::from_secs_f64(sent as f64 / rate.max(1) as f64)).await;
        } else {
            // The server has one thread: the others must get their turn.
            tokio::task::yield_now().await;
        }
    }
    if stall == Some(sent) && sent < end - first {
        std::future::pending::<()>().await;
    }
    // A connection whose body did not end where its head said it would cannot be kept.
    let kept = !faults.iter().any(|f| matches!(f, Fault::CutAfter(_) | Fault::WrongLength(_) | Fault::NoLength));
    Ok(if kept { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
}
