//! The release server works without faults, and misbehaves exactly as requested with them.

use slipway_testkit::server::{Fault, ReleaseServer};
use slipway_testkit::tls::{Authority, client_config};
use slipway_testkit::wait;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn file() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| n.to_le_bytes()).collect()
}

/// Serves [`file`] as `/r/a.bin`.
fn serve() -> (tempfile::TempDir, ReleaseServer) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("r")).unwrap();
    std::fs::write(dir.path().join("r/a.bin"), file()).unwrap();
    let server = ReleaseServer::start(dir.path()).unwrap();
    (dir, server)
}

const PATH: &str = "/r/a.bin";

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether the peer ended the connection in good order.
    closed: bool,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value)
    }
}

/// One request on its own connection; reads until the peer closes, at most `most` bytes of body.
fn ask_on(mut stream: impl Read + Write, method: &str, path: &str, headers: &str, most: usize) -> Answer {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
    let (mut bytes, mut chunk, mut closed) = (Vec::new(), vec![0; 64 * 1024], false);
    let split = |bytes: &[u8]| bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    let complete = |bytes: &[u8]| {
        let at = split(bytes)?;
        let head = String::from_utf8_lossy(&bytes[..at]).to_ascii_lowercase();
        if head.starts_with("http/1.1 304") {
            return Some(true);
        }
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
        Some(method == "HEAD" || bytes.len() - at >= length)
    };
    loop {
        if complete(&bytes) == Some(true) || split(&bytes).is_some_and(|at| bytes.len() - at >= most) {
            break;
        }
        match stream.read(&mut chunk) {
            Ok(0) => {
                closed = true;
                break;
            }
            Ok(got) => bytes.extend_from_slice(&chunk[..got]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => panic!("{e}"),
        }
    }
    let at = split(&bytes).expect("an HTTP head");
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[at..].to_vec(), closed }
}

fn connection(server: &ReleaseServer, patience: Duration) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream
}

fn ask(server: &ReleaseServer, headers: &str) -> Answer {
    ask_on(connection(server, LONG), "GET", PATH, headers, usize::MAX)
}

#[test]
fn files_heads_and_ranges() {
    let (_dir, server) = serve();
    let whole = ask(&server, "");
    assert_eq!((whole.status, whole.body.len()), (200, file().len()));
    assert!(whole.body == file());
    let etag = whole.header("etag").unwrap().to_owned();
    assert!(etag.starts_with('"'), "a strong tag");

    let head = ask_on(connection(&server, LONG), "HEAD", PATH, "", usize::MAX);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("1200000"));

    let part = ask(&server, &format!("Range: bytes=1000-\r\nIf-Range: {etag}\r\n"));
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 1000-1199999/1200000")));
    assert!(part.body == file()[1000..]);
    assert_eq!(ask(&server, "Range: bytes=1000-\r\nIf-Range: \"other\"\r\n").status, 200);

    let beyond = ask(&server, "Range: bytes=1200000-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */1200000")));
    assert_eq!(ask(&server, &format!("If-None-Match: {etag}\r\n")).status, 304);
    assert_eq!(ask_on(connection(&server, LONG), "GET", "/r/none", "", usize::MAX).status, 404);
    assert_eq!(ask_on(connection(&server, LONG), "GET", "/../r/a.bin", "", usize::MAX).status, 404);
    assert_eq!(ask_on(connection(&server, LONG), "POST", PATH, "", usize::MAX).status, 405);

    let seen = server.requests_for(PATH);
    assert_eq!(seen[2].range.as_deref(), Some("bytes=1000-"));
    assert_eq!((seen[2].status, seen[2].bytes_sent), (206, 1_199_000));
}

#[test]
fn a_connection_serves_many_requests() {
    let (_dir, server) = serve();
    let mut stream = connection(&server, LONG);
    for first in [0, 10, 20] {
        let answer = ask_on(&mut stream, "GET", PATH, &format!("Range: bytes={first}-{}\r\n", first + 9), usize::MAX);
        assert!(answer.status == 206 && answer.body == file()[first..first + 10]);
    }
}

#[test]
fn a_replaced_file_has_another_tag() {
    let (dir, server) = serve();
    let old = ask(&server, "").header("etag").unwrap().to_owned();
    std::fs::write(dir.path().join("r/a.bin"), b"new").unwrap();
    let new = ask(&server, &format!("Range: bytes=1-\r\nIf-Range: {old}\r\n"));
    assert_eq!((new.status, new.body.as_slice()), (200, b"new".as_slice()));
}

#[test]
fn cut_ends_the_connection_and_a_resume_gets_the_rest() {
    let (_dir, server) = serve();
    server.fault_times(PATH, Fault::CutAfter(70_001), 1);
    let cut = ask(&server, "");
    assert!(cut.closed && cut.body == file()[..70_001]);
    assert_eq!(cut.header("content-length"), Some("1200000"));
    let rest = ask(&server, "Range: bytes=70001-\r\n");
    assert!(rest.status == 206 && rest.body == file()[70_001..]);
    assert_eq!(server.bytes_sent(PATH), 1_200_000);
}

#[test]
fn stall_keeps_the_connection_and_says_nothing() {
    let (_dir, server) = serve();
    server.fault(PATH, Fault::StallAfter(5000));
    let stalled = ask_on(connection(&server, Duration::from_secs(5)), "GET", PATH, "", usize::MAX);
    assert!(!stalled.closed && stalled.body == file()[..5000]);
}

#[test]
fn what_is_held_goes_on_when_it_is_healed() {
    let (_dir, server) = serve();
    server.fault(PATH, Fault::HoldAfter(5000));
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&server, ""));
        wait::until("the middle", LONG, || server.bytes_sent(PATH) == 5000);
        server.heal(PATH);
        asking.join().unwrap()
    });
    assert!(answer.body == file());
}

#[test]
fn statuses_last_as_often_as_asked() {
    let (_dir, server) = serve();
    server.fault_times("r/a.bin", Fault::Status(500), 2);
    assert_eq!([ask(&server, "").status, ask(&server, "").status, ask(&server, "").status], [500, 500, 200]);
    server.fault_times(PATH, Fault::RetryAfter(7), 1);
    let busy = ask(&server, "");
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("7")));
    server.fault_times(PATH, Fault::RedirectLoop, 1);
    assert_eq!(ask(&server, "").header("location"), Some(PATH));
}

#[test]
fn faults_appear_as_requested() {
    let (_dir, server) = serve();
    let once = |fault| server.fault_times(PATH, fault, 1);

    once(Fault::WrongLength(10));
    let long = ask(&server, "");
    assert!(long.header("content-length") == Some("1200010") && long.closed && long.body.len() == 1_200_000);
    once(Fault::WrongLength(-10));
    assert_eq!(ask(&server, "").header("content-length"), Some("1199990"));

    once(Fault::NoLength);
    let unknown = ask(&server, "Range: bytes=5-\r\n");
    assert!(unknown.status == 200 && unknown.header("content-length").is_none() && unknown.body == file());

    let etag = ask(&server, "").header("etag").unwrap().to_owned();
    once(Fault::NewEtag);
    assert_eq!(ask(&server, &format!("Range: bytes=5-\r\nIf-Range: {etag}\r\n")).status, 200);
    once(Fault::NoEtag);
    assert_eq!(ask(&server, "").header("etag"), None);

    once(Fault::IgnoreRange);
    assert_eq!(ask(&server, "Range: bytes=5-\r\n").status, 200);
    once(Fault::WrongContentRange(3));
    let wrong = ask(&server, "Range: bytes=5-9\r\n");
    assert!(wrong.header("content-range") == Some("bytes 8-12/1200000") && wrong.body == file()[5..10]);
    once(Fault::ShiftedRange(3));
    let shifted = ask(&server, "Range: bytes=5-9\r\n");
    assert!(shifted.header("content-range") == Some("bytes 5-9/1200000") && shifted.body == file()[8..13]);
}

#[test]
fn one_byte_is_flipped_wherever_it_is_asked_for() {
    let (_dir, server) = serve();
    server.fault(PATH, Fault::FlipByte(100_000));
    let mut wanted = file();
    wanted[100_000] ^= 1;
    assert!(ask(&server, "").body == wanted);
    assert!(ask(&server, "Range: bytes=99999-\r\n").body == wanted[99_999..]);
    server.heal(PATH);
    assert!(ask(&server, "").body == file());
}

#[test]
fn endless_goes_on_after_the_file() {
    let (_dir, server) = serve();
    server.fault(PATH, Fault::Endless);
    let answer = ask_on(connection(&server, LONG), "GET", PATH, "", 3_000_000);
    assert!(answer.body.len() >= 3_000_000 && answer.body.starts_with(&file()));
}

#[test]
fn throttle_is_slow() {
    let (_dir, server) = serve();
    server.fault(PATH, Fault::Throttle(20_000));
    let begun = Instant::now();
    let answer = ask(&server, "Range: bytes=0-9999\r\n");
    assert!(answer.body == file()[..10_000] && begun.elapsed() >= Duration::from_millis(450));
}

#[test]
fn dropping_it_ends_connections_and_the_address_can_be_used_again() {
    let (dir, _another) = serve();
    let address = slipway_testkit::address();
    let server = ReleaseServer::start_at(dir.path(), address, None).unwrap();
    server.fault(PATH, Fault::StallAfter(10));
    let mut stream = connection(&server, LONG);
    write!(stream, "GET {PATH} HTTP/1.1\r\n\r\n").unwrap();
    wait::until("the stall", LONG, || server.bytes_sent(PATH) == 10);
    drop(server);
    let mut rest = Vec::new();
    let _reset_or_end = stream.read_to_end(&mut rest);
    assert!(TcpStream::connect(address).is_err());
    let again = ReleaseServer::start_at(dir.path(), address, None).unwrap();
    assert_eq!(ask(&again, "").status, 200);
}

#[tokio::test]
async fn it_runs_beside_a_runtime_of_the_tests_own() {
    let (_dir, server) = serve();
    let url = server.url_of("r/a.bin");
    assert!(url.starts_with("http://127.0.0.1:") && url.ends_with("/r/a.bin"));
    let answer = tokio::task::spawn_blocking(move || ask(&server, "").status).await.unwrap();
    assert_eq!(answer, 200);
}

#[test]
fn over_tls_too() {
    let (dir, _plain) = serve();
    let authority = Authority::new(&dir.path().join("tls")).unwrap();
    let server = ReleaseServer::start_tls(dir.path(), &authority.server().unwrap()).unwrap();
    assert!(server.url().starts_with("https://localhost:"));
    let config = Arc::new(client_config(&authority.ca()).unwrap());
    let client = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let answer = ask_on(rustls::StreamOwned::new(client, connection(&server, LONG)), "GET", PATH, "", usize::MAX);
    assert!(answer.status == 200 && answer.body == file());
}
