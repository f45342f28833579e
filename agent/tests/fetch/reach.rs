//! How a server is reached: schemes, connections, certificates, settings.

use super::*;

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
fn certificate_of_tomorrow(dir: &Path) -> slipway_testkit::tls::Identity {
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
    slipway_testkit::tls::Identity { certificate: path.clone(), key: put("tomorrow.key", key.serialize_pem()), ca: path }
}

#[tokio::test]
async fn tls_says_what_is_wrong_with_whom() {
    let case = Case::new();
    let (www, tls) = (case.dir.path().join("www"), case.dir.path().join("tls"));
    std::fs::create_dir(&tls).unwrap();
    let authority = slipway_testkit::tls::Authority::new(&tls).unwrap();
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

#[test]
fn settings_that_cannot_be_are_refused() {
    let tls = client_config(&TlsSettings::default()).unwrap();
    let refused = |settings: HttpSettings| Client::new(&settings, &tls).expect_err("these settings are wrong");
    assert_eq!(refused(HttpSettings { connect_timeout: Duration::ZERO, ..settings() }).code, "SLW-A-HTTP-SETTINGS");
    assert!(refused(HttpSettings { byte_budget: 0, ..settings() }).seen.contains("byte_budget"));
    let proxy = refused(HttpSettings { proxy: Some("http://user:secret@[".to_owned()), ..settings() });
    assert_eq!(proxy.code, "SLW-A-HTTP-SETTINGS");
    assert!(!proxy.to_string().contains("secret"), "{proxy}");
    for text in ["connect_timeout = 5", "connect_timeout = \"soon\"", "timeout = \"5s\"", "min_speed = -1"] {
        assert!(toml::from_str::<HttpSettings>(text).is_err(), "{text}");
    }
    let read = toml::from_str::<HttpSettings>("connect_timeout = \"5s\"\nallow_http = true").unwrap();
    assert_eq!((read.connect_timeout, read.allow_http), (Duration::from_secs(5), true));
}
