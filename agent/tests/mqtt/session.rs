//! The session: presence, TLS, brokers that are away, frozen or forgetful, and what is delivered to them.

use super::*;

#[tokio::test]
async fn receives_notices_delivers_reports_and_shows_presence() {
    let (broker, operator) = broker_and_operator().await;
    let extra = "extra_notice_topics = ['edge-ota/notice']\nreport_topic = 'up/status'";
    let mut driver = Driver::connected(settings(&broker.url(), extra)).await;
    operator.presence("online").await;

    for (number, topic) in
        [(1, topics::fleet_notice(&fleet())), (2, topics::node_notice(&fleet(), &node())), (3, "edge-ota/notice".into())]
    {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            operator.publish(&topic, qos, false, notice(number)).await;
            assert_eq!(driver.received().await, number, "{topic} {qos:?}");
        }
    }
    for seq in 1..=40 {
        driver.say(ToBroker::Report(report(seq))).await;
    }
    for seq in 1..=40 {
        assert_eq!(driver.delivered().await, seq);
    }
    driver.say(ToBroker::Progress(Report { event: Happened::Progress, percent: Some(7), ..report(41) })).await;
    operator.until("all reports", |operator| operator.on("up/status").len() == 41).await;
    let seqs: Vec<u64> = operator.on("up/status").iter().map(|text| serde_json::from_str::<Report>(text).unwrap().seq).collect();
    assert_eq!(seqs, (1..=41).collect::<Vec<_>>());

    driver.stop().await;
    operator.presence("offline").await;
}

#[tokio::test]
async fn speaks_tls_and_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) =
        (Authority::new(&folder.path().join("ours")).unwrap(), Authority::new(&folder.path().join("other")).unwrap());
    let tls = |ca: &Path, client: Option<&Authority>| {
        let client = client.map(|authority| authority.client("n1").unwrap());
        let client = client.map(|id| format!(", cert = '{}', key = '{}'", id.certificate.display(), id.key.display()));
        format!("tls = {{ ca = '{}'{} }}", ca.display(), client.unwrap_or_default())
    };
    let plain = Mosquitto::start(Access::Tls(ours.server().unwrap())).unwrap();
    let expired = Mosquitto::start(Access::Tls(ours.expired_server().unwrap())).unwrap();
    let misnamed = Mosquitto::start(Access::Tls(ours.server_named("elsewhere", &["elsewhere.example"]).unwrap())).unwrap();
    let mutual = Mosquitto::start(Access::MutualTls(ours.server().unwrap())).unwrap();
    for (broker, extra, wrong) in [
        (&plain, tls(&ours.ca(), None), None),
        (&mutual, tls(&ours.ca(), Some(&ours)), None),
        (&plain, tls(&other.ca(), None), Some("not from an authority in mqtt.tls.ca")),
        (&mutual, tls(&ours.ca(), None), Some("set mqtt.tls.cert and mqtt.tls.key")),
        (&mutual, tls(&ours.ca(), Some(&other)), Some("one from an authority that it trusts")),
        (&expired, tls(&ours.ca(), None), Some("has expired")),
        (&misnamed, tls(&ours.ca(), None), Some("another name")),
    ] {
        let mut driver = Driver::start(settings(&broker.url(), &extra));
        match wrong {
            None => {
                driver.until_connected().await;
                driver.say(ToBroker::Report(report(1))).await;
                assert_eq!(driver.delivered().await, 1);
            }
            Some(wrong) => {
                let reason = driver.reason().await;
                assert!(reason.contains(wrong), "{reason}");
            }
        }
        driver.stop().await;
    }
    let plain_port = settings(&plain.url().replace("mqtts", "mqtt"), "");
    let reason = Driver::start(plain_port).reason().await;
    assert!(reason.contains("with or without TLS"), "{reason}");
    let missing = settings(&plain.url(), "tls = { ca = '/nowhere' }");
    assert!(mqtt::start(missing, &node(), &fleet()).is_err(), "a missing file is an error at start");
}

#[tokio::test]
async fn says_why_there_is_no_broker_and_retries_slowly() {
    let mut driver = Driver::start(settings(&format!("mqtt://{}", slipway_testkit::address()), ""));
    let began = std::time::Instant::now();
    for _ in 0..4 {
        let reason = driver.reason().await;
        assert!(reason.contains("nothing listens"), "{reason}");
    }
    assert!(began.elapsed() >= Duration::from_millis(750), "three waits of a quarter second at least");
    driver.stop().await;
    let mut driver = Driver::start(settings("mqtt://broker.invalid", ""));
    let reason = driver.reason().await;
    assert!(reason.contains("cannot find broker.invalid"), "{reason}");
    driver.stop().await;
}

#[tokio::test]
async fn a_broker_that_forgot_everything_is_subscribed_to_again() {
    let (mut broker, operator) = broker_and_operator().await;
    let mut driver = Driver::connected(settings(&broker.url(), "")).await;
    operator.trigger(1).await;
    assert_eq!(driver.received().await, 1);
    broker.restart().unwrap();
    driver.reason().await;
    driver.until_connected().await;
    // A new one: the old may still be finding out.
    let operator = Operator::new(&broker).await;
    operator.presence("online").await;
    operator.trigger(2).await;
    assert_eq!(driver.received().await, 2);
}

#[tokio::test]
async fn a_report_is_delivered_only_when_the_broker_says_so() {
    let (mut broker, _operator) = broker_and_operator().await;
    let mut driver = Driver::connected(settings(&broker.url(), "")).await;
    broker.freeze().unwrap();
    driver.say(ToBroker::Report(report(1))).await;
    driver.say(ToBroker::Report(report(2))).await;
    // A frozen broker takes bytes and answers nothing. Nothing is delivered until it is gone for good.
    assert!(timeout(Duration::from_millis(300), driver.from.recv()).await.is_err(), "nothing to say yet");
    broker.stop();
    driver.reason().await;
    broker.restart().unwrap();
    let operator = Operator::new(&broker).await;
    driver.until_connected().await;
    assert!(timeout(Duration::from_millis(300), driver.from.recv()).await.is_err(), "only what is offered again is sent again");
    for seq in [1, 2, 1, 2, 3] {
        driver.say(ToBroker::Report(report(seq))).await;
    }
    for seq in 1..=3 {
        assert_eq!(driver.delivered().await, seq);
    }
    let topic = topics::report(&fleet(), &node());
    operator.until("three reports", |operator| operator.on(&topic).len() == 3).await;
}

#[tokio::test]
async fn a_frozen_broker_is_given_up_and_found_again() {
    let (broker, _operator) = broker_and_operator().await;
    let mut driver = Driver::connected(settings(&broker.url(), "")).await;
    broker.freeze().unwrap();
    let reason = driver.reason().await;
    assert!(reason.contains("no longer answers"), "{reason}");
    broker.thaw().unwrap();
    driver.until_connected().await;
}

#[tokio::test]
async fn a_report_that_the_broker_refuses_is_not_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "topic read slipway/f1/#\ntopic write slipway/f1/node/n1/presence\ntopic write allowed\n").unwrap();
    let broker = Mosquitto::start_with(Access::Plain, &format!("acl_file {}", acl.display())).unwrap();
    let mut refused = Driver::connected(settings(&broker.url(), "")).await;
    refused.say(ToBroker::Report(report(1))).await;
    let mut allowed = Driver::connected(settings(&broker.url(), "report_topic = 'allowed'\nclient_id = 'n2'")).await;
    allowed.say(ToBroker::Report(report(1))).await;
    assert_eq!(allowed.delivered().await, 1);
    assert!(timeout(Duration::from_millis(300), refused.from.recv()).await.is_err(), "neither delivered nor disconnected");
}

#[tokio::test]
async fn the_last_will_says_offline_when_the_process_vanishes() {
    let (broker, operator) = broker_and_operator().await;
    let (node, ()) = Mortal::live(settings(&broker.url(), ""), async |driver: &mut Driver| driver.until_connected().await).await;
    operator.presence("online").await;
    node.die();
    operator.presence("offline").await;
    // Retained: who comes later sees it too.
    let later = Operator::new(&broker).await;
    later.presence("offline").await;
}
