//! Downloads from a server that cuts, stalls, lies, changes its mind and sends the wrong bytes.

#![expect(clippy::arithmetic_side_effects, clippy::expect_used, clippy::unwrap_used, reason = "a test may panic")]

use slipway_agent::fetch::{Client, Download, Downloaded, FetchError, HttpSettings, RetryAdvice, Small};
use slipway_agent::tls::{TlsSettings, client_config};
use slipway_protocol::{Class, Refusal, Sha256, Sha512};
use slipway_world::server::{Fault, ReleaseServer};
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
        Self { dir, server, client, bytes, cursor: Cell::new(0), progress: RefCell::default() }
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
        }
    }

    async fn download(&self, what: &Download) -> Result<Downloaded, FetchError> {
        self.progress.borrow_mut().clear();
        self.client
            .download(
                what,
                |position| self.progress.borrow_mut().push(position),
                |durable| {
                    self.cursor.set(durable);
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
    (&error.refusal.code, error.retry)
}

const DIGEST: (&str, RetryAdvice) = ("SLW-A-DIGEST", RetryAdvice::Never);
const CUT: (&str, RetryAdvice) = ("SLW-A-CUT", RetryAdvice::Later);
const SLOW: (&str, RetryAdvice) = ("SLW-A-SLOW", RetryAdvice::Later);
const ENDLESS: (&str, RetryAdvice) = ("SLW-A-ENDLESS", RetryAdvice::Never);

#[tokio::test]
async fn a_whole_file_in_one_go() {
    let case = Case::new();
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE, resumed: 0 }));
    assert!(case.is_complete());
    let progress = case.progress.borrow();
    assert!(progress.is_sorted() && progress.last() == Some(&SIZE), "{progress:?}");
    let request = &case.server.requests()[0];
    assert_eq!(request.range, None);
    assert!(request.user_agent.as_deref().is_some_and(|agent| agent.starts_with("slipway-agent/")), "{request:?}");
}

#[tokio::test]
async fn a_cut_connection_costs_nothing() {
    let case = Case::new();
    let got = 5 * MIB + 123;
    case.server.fault_times("/a", Fault::CutAfter(got), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), CUT, "{error}");
    assert_eq!((error.received, case.cursor.get()), (got, got), "all that came is durable and known to be");
    assert!(case.tag().exists());

    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE - got, resumed: got }));
    assert!(case.is_complete());
    let again = &case.server.requests()[1];
    assert_eq!(again.range, Some(format!("bytes={got}-")));
    assert!(again.if_range.is_some(), "{again:?}");
    assert_eq!(case.server.bytes_sent("/a"), SIZE, "every byte travelled once");
}

#[tokio::test]
async fn a_dropped_download_goes_on_at_its_last_checkpoint() {
    let case = Case::new();
    case.server.fault_times("/a", Fault::StallAfter(9 * MIB), 1);
    let stalled = tokio::sync::Notify::new();
    let what = case.wanted(&["a"]);
    let download = case.client.download(
        &what,
        |position| {
            if position == 9 * MIB {
                stalled.notify_one();
            }
        },
        |durable| {
            case.cursor.set(durable);
            Ok(())
        },
    );
    tokio::select! {
        ended = download => panic!("it should stall: {ended:?}"),
        () = stalled.notified() => {}
    }
    let cursor = case.cursor.get();
    assert!((4 * MIB..=9 * MIB).contains(&cursor), "{cursor}");
    // At once, while the writer of the first may still be at its last block.
    let done = case.get(&["a"]).await.unwrap();
    assert_eq!(done, Downloaded { received: SIZE - cursor, resumed: cursor });
    assert!(case.is_complete());
}

#[tokio::test]
async fn only_what_is_known_to_be_durable_is_trusted() {
    let case = Case::new();
    let mut torn = case.bytes[..(3 * MIB) as usize].to_vec();
    torn[(2 * MIB) as usize..].fill(0);
    std::fs::write(case.part(), &torn).unwrap();
    case.cursor.set(2 * MIB);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE - 2 * MIB, resumed: 2 * MIB }));
    assert_eq!(case.ranges("a"), [Some(format!("bytes={}-", 2 * MIB))]);
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_part_that_was_damaged_is_fetched_anew_once() {
    let case = Case::new();
    std::fs::write(case.part(), vec![0; MIB as usize]).unwrap();
    case.cursor.set(MIB);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: 2 * SIZE - MIB, resumed: 0 }));
    assert_eq!(case.ranges("a"), [Some(format!("bytes={MIB}-")), None]);
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_part_shorter_than_its_cursor_moves_the_cursor() {
    let case = Case::new();
    std::fs::write(case.part(), &case.bytes[..1000]).unwrap();
    case.cursor.set(2 * MIB);
    case.server.fault_times("/a", Fault::Status(503), 1);
    assert_eq!(code(&case.refused(&["a"]).await), ("SLW-A-UNAVAILABLE", RetryAdvice::Later));
    assert_eq!(case.cursor.get(), 1000);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE - 1000, resumed: 1000 }));
}

#[tokio::test]
async fn a_complete_part_is_only_hashed_again() {
    let case = Case::new();
    std::fs::write(case.part(), &case.bytes).unwrap();
    case.cursor.set(SIZE);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: 0, resumed: SIZE }));
    assert!(case.server.requests().is_empty());
    // The same with one byte changed is fetched.
    let mut damaged = case.bytes.clone();
    damaged[77] ^= 1;
    std::fs::write(case.part(), &damaged).unwrap();
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE, resumed: 0 }));
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_server_that_stalls_or_trickles_is_left() {
    let slow = HttpSettings { min_speed: MIB, min_speed_window: Duration::from_secs(1), ..settings() };
    let case = Case::with(&slow);
    case.server.fault_times("/a", Fault::StallAfter(5 * MIB), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), SLOW, "{error}");
    assert_eq!(error.refusal.class, Class::SlowRetrieval);
    assert_eq!(case.cursor.get(), 5 * MIB, "what came before is kept");

    case.server.fault_times("/a", Fault::Throttle(MIB / 4), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), SLOW, "{error}");
    assert!(case.cursor.get() > 5 * MIB, "so is a trickle");

    // Slow, but fast enough: it takes more than one window.
    case.server.fault_times("/a", Fault::Throttle(3 * MIB), 1);
    let done = case.get(&["a"]).await.unwrap();
    assert_eq!(done.received + done.resumed, SIZE);
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_server_that_never_answers_is_left() {
    let impatient = HttpSettings { response_timeout: Duration::from_millis(200), ..settings() };
    let case = Case::with(&impatient);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut what = case.wanted(&["a"]);
    what.urls = vec![format!("http://{}/a", silent.local_addr().unwrap()).parse().unwrap()];
    let error = case.download(&what).await.unwrap_err();
    assert_eq!(code(&error), SLOW, "{error}");
    // With a second address it is only a delay.
    what.urls.push(case.url("a"));
    assert!(case.download(&what).await.is_ok());
}

#[tokio::test]
async fn more_than_was_authorised_is_refused_at_once() {
    let case = Case::new();
    case.server.fault_times("/a", Fault::LieAboutLength(1), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!((code(&error), error.received), (ENDLESS, 0), "{error}");
    assert_eq!(error.refusal.class, Class::EndlessData);
    assert!(!case.part().exists(), "nothing is left");

    case.server.fault_times("/a", Fault::LieAboutLength(-1), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!((code(&error), error.received), (("SLW-A-SIZE", RetryAdvice::Never), 0), "{error}");

    case.server.fault_times("/a", Fault::Endless, 1);
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), ENDLESS, "{error}");
    assert!(error.received < SIZE + MIB, "{} bytes", error.received);
    assert!(std::fs::metadata(case.part()).unwrap().len() <= SIZE);
    // The bytes that came before the zeros were good.
    assert!(case.get(&["a"]).await.is_ok());
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_body_without_length_is_bounded_and_complete() {
    let case = Case::new();
    case.server.fault_times("/a", Fault::NoLength, 1);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE, resumed: 0 }));
    assert!(case.is_complete());
}

#[tokio::test]
async fn what_the_server_says_decides_whether_to_come_back() {
    let case = Case::new();
    for (fault, wanted) in [
        (Fault::Status(401), ("SLW-A-STATUS", RetryAdvice::Never)),
        (Fault::Status(403), ("SLW-A-STATUS", RetryAdvice::Never)),
        (Fault::Status(404), ("SLW-A-STATUS", RetryAdvice::Never)),
        (Fault::Status(410), ("SLW-A-STATUS", RetryAdvice::Never)),
        (Fault::Status(408), ("SLW-A-UNAVAILABLE", RetryAdvice::Later)),
        (Fault::Status(429), ("SLW-A-UNAVAILABLE", RetryAdvice::Later)),
        (Fault::Status(500), ("SLW-A-UNAVAILABLE", RetryAdvice::Later)),
        (Fault::RetryAfter(7), ("SLW-A-UNAVAILABLE", RetryAdvice::After(7))),
        (Fault::RedirectLoop, ("SLW-A-REDIRECT", RetryAdvice::Never)),
    ] {
        case.server.heal("/a");
        case.server.fault("/a", fault);
        let before = case.server.requests().len();
        let error = case.refused(&["a"]).await;
        assert_eq!(code(&error), wanted, "{fault:?}: {error}");
        let asked = case.server.requests().len() - before;
        assert!(if fault == Fault::RedirectLoop { asked <= 6 } else { asked == 1 }, "{fault:?}: {asked} requests");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_question_begins_anew() {
    for (fault, tagged) in
        [(Fault::NewEtag, true), (Fault::IgnoreRange, true), (Fault::WrongContentRange(5), true), (Fault::ShiftedRange(5), false)]
    {
        let case = Case::new();
        case.server.fault_times("/a", Fault::CutAfter(5 * MIB), 1);
        assert_eq!(code(&case.refused(&["a"]).await), CUT);
        case.server.fault_times("/a", fault, 1);
        let done = case.get(&["a"]).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(done.resumed, 0, "{fault:?}");
        assert!(case.is_complete(), "{fault:?}");
        // What could be seen from the answer's head cost one file; wrong bytes are only found by the digest.
        let wanted = if tagged { SIZE } else { 2 * SIZE - 5 * MIB };
        assert_eq!(done.received, wanted, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_without_tags_still_resumes() {
    let case = Case::new();
    case.server.fault("/a", Fault::NoEtag);
    case.server.fault_times("/a", Fault::CutAfter(5 * MIB), 1);
    assert_eq!(code(&case.refused(&["a"]).await), CUT);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE - 5 * MIB, resumed: 5 * MIB }));
    assert!(case.is_complete());
}

#[tokio::test]
async fn one_flipped_byte_is_refused_and_not_kept() {
    let case = Case::new();
    case.server.fault("/a", Fault::FlipByte(SIZE - 1));
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), DIGEST, "{error}");
    assert_eq!(error.refusal.class, Class::ArbitrarySoftware);
    assert!(!case.part().exists() && !case.tag().exists());
    assert_eq!((case.cursor.get(), case.server.requests().len()), (0, 1), "not asked twice");
    // Another address has the right one.
    assert_eq!(case.get(&["a", "b"]).await.map(|done| done.received), Ok(2 * SIZE));
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_server_that_lied_is_not_asked_again_for_that_file() {
    let case = Case::new();
    case.server.fault("/a", Fault::FlipByte(1));
    case.server.fault_times("/b", Fault::Status(503), 1);
    let error = case.refused(&["a", "b"]).await;
    assert_eq!(code(&error), ("SLW-A-UNAVAILABLE", RetryAdvice::Later), "the one that may work decides");
    assert!(case.get(&["a", "b"]).await.is_ok());
    assert_eq!((case.ranges("a").len(), case.ranges("b").len()), (1, 2));
}

#[tokio::test]
async fn when_all_addresses_fail_for_good_the_gravest_is_told() {
    let case = Case::new();
    case.server.fault("/a", Fault::FlipByte(1));
    assert_eq!(code(&case.refused(&["nothing", "a", "nothing"]).await), DIGEST);
    // That ended the download: told of it again, the agent asks again.
    case.server.heal("/a");
    assert!(case.get(&["a"]).await.is_ok());
}

#[tokio::test]
async fn the_next_address_goes_on_where_the_last_one_stopped() {
    let case = Case::new();
    case.server.fault("/a", Fault::CutAfter(5 * MIB));
    assert_eq!(case.get(&["nothing", "a", "b"]).await, Ok(Downloaded { received: SIZE, resumed: 0 }));
    let asked = &case.server.requests_for("/b")[0];
    assert_eq!((asked.range.clone(), asked.if_range.clone()), (Some(format!("bytes={}-", 5 * MIB)), None), "a's tag is not b's");
    assert!(case.is_complete());
}

#[tokio::test]
async fn sha512_is_compared_as_well() {
    let case = Case::new();
    let mut what = case.wanted(&["a"]);
    what.sha512 = Some(Sha512::of(&case.bytes));
    assert!(case.download(&what).await.is_ok());
    std::fs::remove_file(case.part()).unwrap();
    what.sha512 = Some(Sha512::of(b"something else"));
    let error = case.download(&what).await.unwrap_err();
    assert_eq!(code(&error), DIGEST, "{error}");
    assert!(error.refusal.seen.starts_with("sha512:"), "{error}");
}

#[tokio::test]
async fn the_devices_own_trouble_is_not_the_servers() {
    let case = Case::new();
    let mut what = case.wanted(&["a", "b"]);
    what.part = case.dir.path().join("missing/artifact.part");
    let error = case.download(&what).await.unwrap_err();
    assert_eq!(code(&error), ("SLW-A-DISK-IO", RetryAdvice::Later), "{error}");
    assert!(case.server.requests().is_empty(), "nothing is asked for that cannot be kept");

    let what = case.wanted(&["a", "b"]);
    let full = Refusal { seen: "full".to_owned(), ..error.refusal };
    let error = case.client.download(&what, |_| {}, |_| Err(full.clone())).await.unwrap_err();
    assert_eq!((&error.refusal, error.retry), (&full, RetryAdvice::Later), "a cursor that cannot be stored ends it");
    assert_eq!(case.ranges("b").len(), 0);
}

#[tokio::test]
async fn schemes_and_connections() {
    let case = Case::new();
    let mut what = case.wanted(&["a"]);
    let strict = client(&HttpSettings { allow_http: false, ..settings() }, None);
    let error = strict.download(&what, |_| {}, |_| Ok(())).await.unwrap_err();
    assert_eq!(code(&error), ("SLW-A-PLAIN-HTTP", RetryAdvice::Never), "{error}");
    let error = strict.get_small(&case.url("a"), 1).await.unwrap_err();
    assert_eq!(code(&error), ("SLW-A-PLAIN-HTTP", RetryAdvice::Never), "{error}");

    what.urls = vec!["http://127.0.0.1:1/a?token=secret".parse().unwrap()];
    let error = case.download(&what).await.unwrap_err();
    assert_eq!(code(&error), ("SLW-A-CONNECT", RetryAdvice::Later), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");

    what.urls = vec!["file:///etc/passwd".parse().unwrap()];
    assert_eq!(code(&case.download(&what).await.unwrap_err()).0, "SLW-A-PLAIN-HTTP");
    what.urls.clear();
    assert_eq!(code(&case.download(&what).await.unwrap_err()).0, "SLW-A-NO-URL");
}

/// A certificate that begins in the far future, which is what every certificate looks like to a device without a clock.
fn certificate_of_tomorrow(dir: &Path) -> slipway_world::tls::Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let put = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let path = put("tomorrow.pem", certificate.pem());
    slipway_world::tls::Identity { certificate: path.clone(), key: put("tomorrow.key", key.serialize_pem()), ca: path }
}

#[tokio::test]
async fn tls_says_what_is_wrong_with_whom() {
    let case = Case::new();
    let (www, tls) = (case.dir.path().join("www"), case.dir.path().join("tls"));
    std::fs::create_dir(&tls).unwrap();
    let authority = slipway_world::tls::Authority::new(&tls).unwrap();
    let https_only = HttpSettings { allow_http: false, ..settings() };
    let other_ca = certificate_of_tomorrow(&tls);
    for (identity, ca, wanted) in [
        (authority.server().unwrap(), authority.ca(), None),
        (authority.server().unwrap(), other_ca.ca.clone(), Some("SLW-A-TLS")),
        (authority.expired_server().unwrap(), authority.ca(), Some("SLW-A-TLS")),
        (authority.server_named("other", &["other.example"]).unwrap(), authority.ca(), Some("SLW-A-TLS")),
        (other_ca.clone(), other_ca.ca.clone(), Some("SLW-A-CLOCK-BEHIND")),
    ] {
        let server = ReleaseServer::start_tls(&www, &identity).unwrap();
        let client = client(&https_only, Some(ca));
        let url: Url = server.url_of("a").parse().unwrap();
        let mut what = case.wanted(&[]);
        what.urls = vec![url];
        let result = client.download(&what, |_| {}, |_| Ok(())).await;
        match (wanted, result) {
            (None, result) => assert!(result.is_ok(), "{result:?}"),
            (Some(wanted), result) => assert_eq!(code(&result.unwrap_err()), (wanted, RetryAdvice::Later), "{identity:?}"),
        }
        let _ = std::fs::remove_file(case.part());
    }
}

#[tokio::test]
async fn small_files_are_bounded_and_may_be_missing() {
    let case = Case::new();
    std::fs::write(case.dir.path().join("www/small"), b"hello").unwrap();
    let url = case.url("small");
    assert_eq!(case.client.get_small(&url, 5).await, Ok(Small::Bytes(b"hello".to_vec())));
    assert_eq!(case.client.get_small(&case.url("nothing"), 5).await, Ok(Small::Missing));
    for (fault, wanted) in [
        (Fault::Status(403), None),
        (Fault::Status(401), Some(("SLW-A-STATUS", RetryAdvice::Never))),
        (Fault::Status(500), Some(("SLW-A-UNAVAILABLE", RetryAdvice::Later))),
        (Fault::RetryAfter(9), Some(("SLW-A-UNAVAILABLE", RetryAdvice::After(9)))),
        (Fault::LieAboutLength(1), Some(ENDLESS)),
        (Fault::Endless, Some(ENDLESS)),
        (Fault::CutAfter(3), Some(CUT)),
        (Fault::RedirectLoop, Some(("SLW-A-REDIRECT", RetryAdvice::Never))),
    ] {
        case.server.fault_times("/small", fault, if fault == Fault::RedirectLoop { 99 } else { 1 });
        let got = case.client.get_small(&url, 5).await;
        match wanted {
            None => assert_eq!(got, Ok(Small::Missing)),
            Some(wanted) => assert_eq!(code(&got.unwrap_err()), wanted, "{fault:?}"),
        }
    }
    case.server.heal("/small");
    assert_eq!(code(&case.client.get_small(&url, 4).await.unwrap_err()), ENDLESS);
    assert_eq!(case.client.get_small(&url, 5).await, Ok(Small::Bytes(b"hello".to_vec())), "the client is as good as new");
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let tls = client_config(&TlsSettings::default()).unwrap();
    let refused = |settings: HttpSettings| Client::new(&settings, &tls).expect_err("these settings are wrong");
    assert_eq!(refused(HttpSettings { connect_timeout: Duration::ZERO, ..settings() }).code, "SLW-A-HTTP-SETTINGS");
    let proxy = refused(HttpSettings { proxy: Some("http://user:secret@[".to_owned()), ..settings() });
    assert_eq!(proxy.code, "SLW-A-HTTP-SETTINGS");
    assert!(!proxy.to_string().contains("secret"), "{proxy}");
    for text in ["connect_timeout = 5", "connect_timeout = \"soon\"", "timeout = \"5s\"", "min_speed = -1"] {
        assert!(toml::from_str::<HttpSettings>(text).is_err(), "{text}");
    }
    let read = toml::from_str::<HttpSettings>("connect_timeout = \"5s\"\nallow_http = true").unwrap();
    assert_eq!((read.connect_timeout, read.allow_http), (Duration::from_secs(5), true));
}
