//! The agent's MQTT side against a real mosquitto: notices, reports, and what survives.
//!
//! This file has what the others share: the driver's end, one that can disconnect, and an operator.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic and look at the clock"
)]

mod notices;
mod session;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use slipway_agent::mqtt::{self, AckToken, FromBroker, MqttSettings, ToBroker};
use slipway_protocol::{Event as Happened, FleetName, NodeName, Notice, Report, topics};
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::tls::Authority;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(60);

fn node() -> NodeName {
    "n1".parse().unwrap()
}
fn fleet() -> FleetName {
    "f1".parse().unwrap()
}
fn settings(url: &str, extra: &str) -> MqttSettings {
    toml::from_str(&format!("url = \"{url}\"\nkeep_alive = '5s'\n{extra}")).unwrap()
}
fn report(seq: u64) -> Report {
    Report {
        v: 1,
        node: node(),
        fleet: fleet(),
        seq,
        boot: Some("b-1".into()),
        time: "2026-01-01T00:00:00Z".parse().unwrap(),
        component: "edgecore".parse().unwrap(),
        event: Happened::Staged,
        state: "staged".into(),
        from: None,
        to: None,
        percent: None,
        refusal: None,
        text: None,
        signature: None,
        more: Default::default(),
    }
}
fn notice(number: u64) -> String {
    format!(r#"{{"v":1,"timestamp_version":{number}}}"#)
}

/// The driver's end of the agent's MQTT side.
struct Driver {
    to: mpsc::Sender<ToBroker>,
    from: mpsc::Receiver<FromBroker>,
}

impl Driver {
    fn start(settings: MqttSettings) -> Self {
        let (to, from) = mqtt::start(settings, &node(), &fleet()).unwrap();
        Self { to, from }
    }

    async fn connected(settings: MqttSettings) -> Self {
        let mut driver = Self::start(settings);
        driver.until_connected().await;
        driver
    }

    /// The first event that `want` takes; all before it are dropped.
    async fn until<T>(&mut self, what: &str, mut want: impl FnMut(FromBroker) -> Option<T>) -> T {
        let mut others = Vec::new();
        let found = timeout(SOON, async {
            loop {
                let event = self.from.recv().await.expect("the MQTT task ended");
                let said = format!("{event:?}");
                if let Some(found) = want(event) {
                    return found;
                }
                others.push(said);
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("waited for {what} in vain, saw {others:?}"),
        }
    }

    async fn until_connected(&mut self) {
        self.until("Connected", |event| matches!(event, FromBroker::Connected).then_some(())).await;
    }

    async fn reason(&mut self) -> String {
        self.until("Disconnected", |event| if let FromBroker::Disconnected(reason) = event { Some(reason) } else { None }).await
    }

    async fn notice(&mut self) -> (u64, AckToken) {
        self.until("a notice", |event| match event {
            FromBroker::Notice { notice: Notice { timestamp_version, .. }, ack } => Some((timestamp_version.unwrap_or(0), ack)),
            _ => None,
        })
        .await
    }

    async fn received(&mut self) -> u64 {
        let (number, ack) = self.notice().await;
        self.say(ToBroker::Acknowledge(ack)).await;
        number
    }

    async fn delivered(&mut self) -> u64 {
        self.until("Delivered", |event| if let FromBroker::Delivered(seq) = event { Some(seq) } else { None }).await
    }

    async fn say(&self, command: ToBroker) {
        self.to.send(command).await.unwrap();
    }

    /// Stops and waits until the task has ended.
    async fn stop(mut self) {
        self.say(ToBroker::Stop).await;
        timeout(SOON, async { while self.from.recv().await.is_some() {} }).await.expect("the MQTT task ends");
    }
}

/// A driver in a thread and runtime of its own, which can vanish as a killed process does: its sockets close, nothing is said.
struct Mortal {
    die: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Mortal {
    /// Connects, runs `life` and returns what it returns; the MQTT task lives on until [`Self::die`].
    async fn live<T: Send + 'static>(
        settings: MqttSettings,
        life: impl AsyncFnOnce(&mut Driver) -> T + Send + 'static,
    ) -> (Self, T) {
        let (result, lived) = tokio::sync::oneshot::channel();
        let (die, death) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // Outlives the runtime: the task must not see its ends close.
            let _driver = runtime.block_on(async move {
                let mut driver = Driver::start(settings);
                drop(result.send(life(&mut driver).await));
                drop(death.await);
                driver
            });
            drop(runtime);
        });
        let mortal = Self { die: Some(die), thread: Some(thread) };
        (mortal, timeout(SOON, lived).await.unwrap().unwrap())
    }

    fn die(mut self) {
        drop(self.die.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The operator: hears everything below `slipway/` and `up/`, and says anything.
struct Operator {
    client: AsyncClient,
    received: Arc<Mutex<Vec<(String, String)>>>,
    acknowledged: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Operator {
    async fn new(broker: &Mosquitto) -> Self {
        // One name each: two of one name would throw each other out for ever.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("operator-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(name, broker.host(), broker.address().port());
        options.set_keep_alive(Duration::from_secs(5));
        options.set_max_packet_size(Some(1 << 20));
        let (client, mut event_loop) = AsyncClient::new(options, 64);
        let received = Arc::new(Mutex::new(Vec::new()));
        let acknowledged = Arc::new(Mutex::new(0));
        let (ready, mut is_ready) = mpsc::channel(1);
        let task = tokio::spawn({
            let (client, received, acknowledged) = (client.clone(), Arc::clone(&received), Arc::clone(&acknowledged));
            async move {
                loop {
                    match event_loop.poll().await {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            client.try_subscribe("slipway/#", QoS::AtLeastOnce).unwrap();
                            client.try_subscribe("up/#", QoS::AtLeastOnce).unwrap();
                        }
                        Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.try_send(())),
                        Ok(Event::Incoming(Packet::PubAck(_))) => *acknowledged.lock().unwrap() += 1,
                        Ok(Event::Incoming(Packet::Publish(Publish { topic, payload, .. }))) => {
                            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                            received.lock().unwrap().push((text(&topic), text(&payload)));
                        }
                        Ok(_) => {}
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            }
        });
        timeout(SOON, is_ready.recv()).await.unwrap();
        Self { client, received, acknowledged, task }
    }

    async fn publish(&self, topic: &str, qos: QoS, retain: bool, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, qos, retain, payload.into()).await.unwrap();
    }

    /// Rings the node's bell at QoS 1.
    async fn trigger(&self, number: u64) {
        self.publish(&topics::node_notice(&fleet(), &node()), QoS::AtLeastOnce, false, notice(number)).await;
    }

    fn on(&self, topic: &str) -> Vec<String> {
        self.received.lock().unwrap().iter().filter(|(on, _)| on == topic).map(|(_, payload)| payload.clone()).collect()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        slipway_testkit::wait::until_async(what, SOON, || std::future::ready(condition(self))).await;
    }

    async fn presence(&self, state: &str) {
        let topic = topics::presence(&fleet(), &node());
        self.until(state, |operator| operator.on(&topic).last().is_some_and(|last| last.contains(state))).await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn broker_and_operator() -> (Mosquitto, Operator) {
    let broker = Mosquitto::start(Access::Plain).unwrap();
    let operator = Operator::new(&broker).await;
    (broker, operator)
}
