//! Answers of servers: which are accepted, which end the download, which are retried.

use super::*;

#[tokio::test]
async fn a_server_that_stalls_or_trickles_is_abandoned() {
    let slow = HttpSettings { min_speed: MIB / 16, min_speed_window: Duration::from_secs(1), ..settings() };
    let case = Case::with(&slow);
    case.server.fault_times("/a", Fault::StallAfter(5 * MIB), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), SLOW, "{error}");
    assert_eq!(error.refusal.category, Category::SlowRetrieval);
    assert_eq!(case.cursor.get(), 5 * MIB, "what came before is kept");

    case.server.fault_times("/a", Fault::Throttle(MIB / 64), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), SLOW, "{error}");
    assert!(case.cursor.get() > 5 * MIB, "so is a trickle");

    // Slow, but fast enough: it takes more than one window. A busy machine sends little in some windows, so little is asked for.
    let case = Case::with(&HttpSettings { min_speed: 1, min_speed_window: Duration::from_secs(2), ..settings() });
    case.server.fault_times("/a", Fault::Throttle(3 * MIB), 1);
    let done = case.get(&["a"]).await.unwrap();
    assert_eq!(done.received + done.resumed, SIZE);
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_server_that_never_answers_is_abandoned() {
    let impatient = HttpSettings { response_timeout: Duration::from_millis(200), ..settings() };
    let case = Case::with(&impatient);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut what = case.wanted(&["a"]);
    what.urls = vec![format!("http://{}/a", silent.local_addr().unwrap()).parse().unwrap()];
    let error = case.download(&what).await.unwrap_err();
    assert_eq!(code(&error), SLOW, "{error}");
    // With a second address, which has time enough to answer, it is only a delay.
    let patient = HttpSettings { response_timeout: Duration::from_secs(5), ..settings() };
    let case = Case::with(&patient);
    what = Download { urls: vec![what.urls.remove(0), case.url("a")], ..case.wanted(&["a"]) };
    assert!(case.download(&what).await.is_ok());
}

#[tokio::test]
async fn more_than_was_authorised_is_refused_at_once() {
    let case = Case::new();
    case.server.fault_times("/a", Fault::WrongLength(1), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!((code(&error), error.received), (ENDLESS, 0), "{error}");
    assert_eq!(error.refusal.category, Category::EndlessData);
    assert!(!case.part().exists(), "nothing is left");

    case.server.fault_times("/a", Fault::WrongLength(-1), 1);
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
async fn one_flipped_byte_is_refused_and_not_kept() {
    let case = Case::new();
    case.server.fault("/a", Fault::FlipByte(SIZE - 1));
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), DIGEST, "{error}");
    assert_eq!(error.refusal.category, Category::ArbitrarySoftware);
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
async fn when_all_urls_fail_the_gravest_refusal_is_reported() {
    let case = Case::new();
    case.server.fault("/a", Fault::FlipByte(1));
    assert_eq!(code(&case.refused(&["nothing", "a", "nothing"]).await), DIGEST);
    // That ended the download: told of it again, the agent asks again.
    case.server.heal("/a");
    assert!(case.get(&["a"]).await.is_ok());
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
        (Fault::WrongLength(1), Some(ENDLESS)),
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

/// A server that compresses: the same bytes, fewer of them on the way, and the limit is that of what comes out.
#[tokio::test]
async fn small_files_may_come_in_gzip_and_artifacts_never_do() {
    let case = Case::new();
    case.server.compress();
    let text = "the same words again. ".repeat(500);
    std::fs::write(case.dir.path().join("www/text"), &text).unwrap();
    let (url, size) = (case.url("text"), text.len() as u64);
    assert_eq!(case.client.get_small(&url, size).await, Ok(Small::Bytes(text.clone().into_bytes())));
    assert!(case.server.bytes_sent("/text") < 500, "{}", case.server.bytes_sent("/text"));
    assert_eq!(code(&case.client.get_small(&url, size - 1).await.unwrap_err()), ENDLESS, "what comes out is what counts");
    // Larger in gzip than it is.
    let digits = "8b1a9953c4611296a827abf8c47804d7";
    std::fs::write(case.dir.path().join("www/digits"), digits).unwrap();
    assert_eq!(case.client.get_small(&case.url("digits"), 32).await, Ok(Small::Bytes(digits.as_bytes().to_vec())));
}
