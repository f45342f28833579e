//! Settings by table; checks against real sockets and real programs.

use super::*;
use slipway_machine::record::ProcessState;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn parse(text: &str) -> Result<HealthSettings, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn prober() -> Prober {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Prober::new(&Arc::new(tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())).unwrap()
}

fn subject(dir: &Path) -> Subject {
    let slot = SlotName::try_from("1.23.1-0123456789ab".to_owned()).unwrap();
    Subject { component: "edgecore".parse().unwrap(), version: "1.23.1".parse().unwrap(), slot, dir: dir.into() }
}

/// The outcomes of these checks.
async fn outcomes(text: &str) -> Vec<Result<(), String>> {
    let settings = parse(text).unwrap();
    let sample = prober().sample(&settings, &Supervisor::None, &subject(Path::new("/slots/edgecore/x"))).await.unwrap();
    assert_eq!(sample.process, ProcessState::None);
    assert_eq!(sample.checks.len(), settings.checks.len());
    sample.checks.into_iter().map(|check| check.outcome).collect()
}

/// A server that answers each connection with `answer` (nothing at all when it is empty) until it is dropped.
async fn server(answer: &'static str) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 2048];
            let _: usize = stream.read(&mut request).await.unwrap_or(0);
            stream.write_all(answer.as_bytes()).await.ok();
            if answer.is_empty() {
                open.push(stream);
            }
        }
    });
    (port, task)
}

#[test]
fn defaults_watch_longer_than_a_dying_edgecore_lives() {
    let settings = parse("").unwrap();
    assert_eq!(settings, HealthSettings::default());
    assert_eq!((settings.soak, settings.deadline), (Duration::from_secs(90), Duration::from_secs(300)));
    assert_eq!((settings.interval, settings.failures), (Duration::from_secs(2), 3));
}

#[test]
fn a_table_as_in_the_manual() {
    let settings = parse(
        "soak = \"60s\"\ndeadline = \"4m\"\n\
         [[check]]\nname = \"healthz\"\nhttp = \"http://127.0.0.1:10350/healthz\"\ntimeout = \"2s\"\n\
         [[check]]\nname = \"pods\"\ncommand = [\"/usr/bin/check\", \"-q\"]\nrequired = false\n",
    )
    .unwrap();
    let [healthz, pods] = settings.checks.as_slice() else { panic!("expected two checks") };
    assert!(healthz.required && !pods.required);
    assert_eq!((healthz.timeout, pods.timeout), (Duration::from_secs(2), Duration::from_secs(5)));
    assert_eq!(pods.probe, Probe::Command(vec!["/usr/bin/check".into(), "-q".into()]));
}

#[test]
fn invalid_values_are_refused_by_the_name_of_their_key() {
    let check = |text: &str| format!("[[check]]\nname = \"a\"\n{text}");
    for (text, key) in [
        ("soak = \"0s\"".into(), "`soak`"),
        ("soak = \"5m\"".into(), "`deadline`"),
        ("deadline = \"90s\"".into(), "`deadline`"),
        ("interval = \"1ms\"".into(), "`interval`"),
        ("interval = \"100s\"".into(), "`interval`"),
        ("failures = 0".into(), "`failures`"),
        ("soaking = \"90s\"".into(), "`soaking`"),
        (check(""), "`http` or `command`"),
        (check("http = \"http://a/\"\ncommand = [\"/b\"]"), "`http` and `command`"),
        (check("http = \"ftp://a/\""), "`http`"),
        (check("http = \"127.0.0.1:10350\""), "`http`"),
        (check("http = \"http://a/\"\nstatus = 99"), "`status`"),
        (check("command = [\"/b\"]\nstatus = 200"), "`status`"),
        (check("command = []"), "`command`"),
        (check("command = [\"b\"]"), "`command`"),
        (check("command = [\"/b\"]\ntimeout = \"0s\""), "`timeout`"),
        (check("command = [\"/b\"]\ntimeout = \"61s\""), "`timeout`"),
        (check("command = [\"/b\"]\nmqtt = \"x\""), "`mqtt`"),
        ("[[check]]\nname = \"\"\ncommand = [\"/b\"]".into(), "`name`"),
        (format!("{0}\n{0}", check("command = [\"/b\"]")), "`name`"),
        ((0..33).map(|n| format!("[[check]]\nname = \"{n}\"\ncommand = [\"/b\"]\n")).collect(), "`check`"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(key), "{text}: {error}");
    }
}

#[tokio::test]
async fn http_by_status() {
    let (good, a) = server("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
    let (bad, b) = server("HTTP/1.1 500 Oops\r\ncontent-length: 19\r\nconnection: close\r\n\r\n\n[-]syncloop \x1b dead").await;
    let (moved, c) =
        server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let found = outcomes(&format!(
        "[[check]]\nname = \"good\"\nhttp = \"http://127.0.0.1:{good}/healthz\"\n\
         [[check]]\nname = \"exact\"\nhttp = \"http://127.0.0.1:{good}/healthz\"\nstatus = 200\n\
         [[check]]\nname = \"bad\"\nhttp = \"http://127.0.0.1:{bad}/healthz\"\n\
         [[check]]\nname = \"meant\"\nhttp = \"http://127.0.0.1:{bad}/healthz\"\nstatus = 500\n\
         [[check]]\nname = \"moved\"\nhttp = \"http://127.0.0.1:{moved}/healthz\"\n"
    ))
    .await;
    assert_eq!(found[0], Ok(()));
    assert_eq!(found[1], Err("status 204, expected 200: ".into()));
    assert_eq!(found[2], Err("status 500, expected 200 to 299: [-]syncloop \u{fffd} dead".into()));
    assert_eq!(found[3], Ok(()));
    assert_eq!(found[4], Err("status 302, expected 200 to 299: ".into()));
    for task in [a, b, c] {
        task.abort();
    }
}

#[tokio::test]
async fn http_without_answer() {
    let closed = slipway_testkit::address();
    let (silent, task) = server("").await;
    let found = outcomes(&format!(
        "[[check]]\nname = \"closed\"\nhttp = \"http://{closed}/\"\n\
         [[check]]\nname = \"silent\"\nhttp = \"http://127.0.0.1:{silent}/\"\ntimeout = \"200ms\"\n"
    ))
    .await;
    assert!(found[0].as_ref().unwrap_err().contains("refused"), "{found:?}");
    assert_eq!(found[1], Err("no answer within 200ms".into()));
    task.abort();
}

#[tokio::test]
async fn commands_by_exit_status() {
    let sh = |name: &str, script: &str| {
        format!("[[check]]\nname = \"{name}\"\ntimeout = \"20s\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n")
    };
    let text = [
        sh("good", "exit 0"),
        sh("bad", "echo first; echo no pods; exit 7"),
        sh("env", "echo $SLIPWAY_COMPONENT $SLIPWAY_VERSION $SLIPWAY_SLOT $NOTIFY_SOCKET; exit 1"),
        sh("hangs", "sleep 600").replace("20s", "300ms"),
        "[[check]]\nname = \"missing\"\ncommand = [\"/no/such/check\"]\n".to_owned(),
    ];
    let found = outcomes(&text.concat()).await;
    assert_eq!(found[0], Ok(()));
    assert_eq!(found[1], Err("exit status 7, expected 0: no pods".into()));
    let version = subject(Path::new("/")).version.to_string();
    assert_eq!(found[2], Err(format!("exit status 1, expected 0: edgecore {version} /slots/edgecore/x")));
    assert_eq!(found[3], Err("no answer within 300ms; killed".into()));
    assert!(found[4].as_ref().unwrap_err().contains("No such file"));
}

#[tokio::test]
async fn checks_run_at_the_same_time_and_in_the_order_written() {
    // Each of the two waits for what the other makes: one after the other, the first would be killed.
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let meet = |name: &str, mine: &Path, other: &Path| {
        let script =
            format!("touch {}; until [ -e {} ]; do sleep 0.02; done; echo {name}; exit 1", mine.display(), other.display());
        format!("[[check]]\nname = \"{name}\"\ntimeout = \"20s\"\ncommand = [\"/bin/sh\", \"-c\", \"{script}\"]\n")
    };
    let found = outcomes(&[meet("a", &a, &b), meet("b", &b, &a)].concat()).await;
    assert_eq!(found, [Err("exit status 1, expected 0: a".into()), Err("exit status 1, expected 0: b".into())]);
}

#[tokio::test]
async fn a_service_manager_without_answer_gives_no_sample() {
    use crate::process::supervisor::{Run, RunSettings, Tools};
    let tools = Tools { systemctl: "/no/such/systemctl".into(), journalctl: "/no/such/journalctl".into() };
    let run = RunSettings::new(Run::Unit("edgecore.service".into()));
    let supervisor = Supervisor::new(&"edgecore".parse().unwrap(), &run, "/none".into(), "/none".into(), &tools);
    let refusal = prober().sample(&HealthSettings::default(), &supervisor, &subject(Path::new("/"))).await.unwrap_err();
    assert_eq!(refusal.code, "SLW-A-MANAGER");
}
