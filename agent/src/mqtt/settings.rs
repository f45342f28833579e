//! The `[mqtt]` table of the configuration, and which topics are refused.

use crate::tls::TlsSettings;
use serde::{Deserialize, Serialize};
use slipway_protocol::{FleetName, NodeName, Refusal, topics};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// The `[mqtt]` table.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// `mqtt://host:1883`, or `mqtts://host:8883` for TLS. The port may be left out.
    pub url: String,
    /// Roots and our certificate, for `mqtts`. The files are read again for every connection, so that they can be renewed in place.
    #[serde(default)]
    pub tls: TlsSettings,
    /// User name, when the broker asks for one.
    #[serde(default)]
    pub username: Option<String>,
    /// File whose first line is the password of `username`.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Must be unique at the broker: it names the session in which notices wait while the node is away. Unset: `slipway-<node>`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// How often a silent connection is tried. Short finds a dead connection early, long saves a metered link.
    #[serde(default = "default_keep_alive", with = "crate::duration")]
    pub keep_alive: Duration,
    /// How often the node checks that it still hears: it says `online` again and waits for its own words, two small messages.
    #[serde(default = "default_hearing_check", with = "crate::duration")]
    pub hearing_check: Duration,
    /// Further topics to hear notices on: `edge-ota/notice`, where a KubeEdge rule delivers.
    #[serde(default)]
    pub extra_notice_topics: Vec<String>,
    /// Where reports go instead of `slipway/<fleet>/node/<node>/report`: `kubeedge-ota/status`, where a KubeEdge rule picks them up.
    #[serde(default)]
    pub report_topic: Option<String>,
}

const fn default_keep_alive() -> Duration {
    Duration::from_secs(60)
}

const fn default_hearing_check() -> Duration {
    Duration::from_secs(900)
}

/// Often enough to be of use, not so often that the broker minds.
const HEARING_CHECK_SECS: std::ops::RangeInclusive<u64> = 1..=86_400;
/// The MQTT library panics below 5 s; the protocol has 16 bits of seconds, and beyond an hour a dead connection is not found in a shift.
const KEEP_ALIVE_SECS: std::ops::RangeInclusive<u64> = 5..=3600;
/// Longest topic and client identifier, in bytes.
const NAME_BYTES: usize = 512;
/// Longest password file read.
const PASSWORD_BYTES: u64 = 4096;
/// More topics than this are a mistake.
const EXTRA_TOPICS: usize = 16;

slipway_protocol::refusals! {
    URL = "SLW-A-MQTT-URL", Configuration, Operator, "mqtt.url is invalid",
        "write mqtts://HOST:8883 or mqtt://HOST:1883";
    TLS = "SLW-A-MQTT-TLS", Configuration, Operator, "mqtt.tls is set, but mqtt.url does not use TLS",
        "write mqtts:// in mqtt.url to use TLS, or remove the [mqtt.tls] table";
    KEEP_ALIVE = "SLW-A-MQTT-KEEP-ALIVE", Configuration, Operator, "mqtt.keep_alive is invalid",
        "write a duration such as \"60s\"";
    HEARING = "SLW-A-MQTT-HEARING-CHECK", Configuration, Operator, "mqtt.hearing_check is invalid",
        "write a duration such as \"15m\"";
    CLIENT_ID = "SLW-A-MQTT-CLIENT-ID", Configuration, Operator, "mqtt.client_id is invalid",
        "remove it to use slipway-<node>, or name this node uniquely";
    TOPIC = "SLW-A-MQTT-TOPIC", Configuration, Operator, "topic in mqtt.extra_notice_topics or mqtt.report_topic is invalid",
        "choose plain topics such as edge-ota/notice and kubeedge-ota/status, never the same for both";
    PASSWORD = "SLW-A-MQTT-PASSWORD", Configuration, Operator, "mqtt.password_file cannot be used",
        "name a readable file with the password, and set mqtt.username";
}

/// A broker's address, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

/// Every topic of this node.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    pub(super) notices: Vec<String>,
    pub(super) report: String,
    pub(super) presence: String,
}

impl MqttSettings {
    /// Refuses what cannot work or would panic, before anything is dialled.
    ///
    /// # Errors
    /// Names the setting, its value and what is wanted.
    pub fn validate(&self) -> Result<(), Refusal> {
        self.violations().into_iter().next().map_or(Ok(()), |(_, refusal)| Err(refusal))
    }

    /// Rules that are broken: the keys to blame and why.
    #[must_use]
    pub fn violations(&self) -> Vec<(&'static str, Refusal)> {
        let mut found = Vec::new();
        let mut wrong = |key: &'static str, refusal: Refusal| found.push((key, refusal));
        match self.address() {
            Err(refusal) => wrong("url", refusal),
            Ok(address) if !address.tls && self.tls != TlsSettings::default() => {
                wrong("tls", TLS.with(format_args!("certificates for {}", self.url), "no certificates without TLS"));
            }
            Ok(_) => {}
        }
        for (key, refusal) in self.tls.violations() {
            wrong(if key == "cert" { "tls.cert" } else { "tls.key" }, refusal);
        }
        if !KEEP_ALIVE_SECS.contains(&self.keep_alive.as_secs()) {
            wrong("keep_alive", KEEP_ALIVE.with(crate::duration::show(self.keep_alive), "5s to 1h"));
        }
        if !HEARING_CHECK_SECS.contains(&self.hearing_check.as_secs()) {
            wrong("hearing_check", HEARING.with(crate::duration::show(self.hearing_check), "1s to 24h"));
        }
        if let Some(id) = &self.client_id
            && (id.is_empty() || id.len() > NAME_BYTES || id.chars().any(char::is_control))
        {
            wrong("client_id", CLIENT_ID.with(id, "1 to 512 bytes without control characters"));
        }
        if self.password_file.is_some() && self.username.is_none() {
            wrong("password_file", PASSWORD.with("no mqtt.username", "a user name with the password"));
        }
        if self.extra_notice_topics.len() > EXTRA_TOPICS {
            let seen = format!("{} extra topics", self.extra_notice_topics.len());
            wrong("extra_notice_topics", TOPIC.with(seen, "at most 16"));
        }
        for topic in &self.extra_notice_topics {
            if let Err(wanted) = plain(topic) {
                wrong("extra_notice_topics", TOPIC.with(topic, wanted));
            }
        }
        if let Some(topic) = &self.report_topic {
            if let Err(wanted) = plain(topic) {
                wrong("report_topic", TOPIC.with(topic, wanted));
            }
            if self.extra_notice_topics.contains(topic) {
                let seen = format!("{topic} both for notices and for reports");
                wrong("report_topic", TOPIC.with(seen, "two topics: a bridge would send reports back forever"));
            }
        }
        found
    }

    /// The broker's address.
    pub(super) fn address(&self) -> Result<Address, Refusal> {
        let url = Url::parse(&self.url).map_err(|error| URL.with(format_args!("{}: {error}", self.url), "a URL"))?;
        let (tls, port) = match url.scheme() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            other => return Err(URL.with(format_args!("{other}://"), "mqtt:// or mqtts://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(URL.with("a user name or password", "them in mqtt.username and mqtt.password_file"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(URL.with(&self.url, "host and port only"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| URL.with(&self.url, "a host"))?;
        if tls && host.starts_with('[') {
            return Err(URL.with(&self.url, "a host name for TLS, not an IPv6 address"));
        }
        Ok(Address { host: host.to_owned(), port: url.port().unwrap_or(port), tls })
    }

    /// User name and password, read afresh.
    pub(super) fn credentials(&self) -> Result<Option<(String, String)>, Refusal> {
        let Some(username) = &self.username else { return Ok(None) };
        let Some(path) = &self.password_file else { return Ok(Some((username.clone(), String::new()))) };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(PASSWORD_BYTES).read_to_string(&mut text))
            .map_err(|error| PASSWORD.with(format_args!("{}: {error}", path.display()), "a readable file"))?;
        match text.lines().next() {
            Some(password) if !password.is_empty() => Ok(Some((username.clone(), password.to_owned()))),
            _ => Err(PASSWORD.with(format_args!("{}: no first line", path.display()), "the password in the first line")),
        }
    }

    /// Where this node hears and speaks.
    pub(super) fn topics(&self, node: &NodeName, fleet: &FleetName) -> Topics {
        let mut notices = vec![topics::fleet_notice(fleet), topics::node_notice(fleet, node)];
        for extra in &self.extra_notice_topics {
            if !notices.contains(extra) {
                notices.push(extra.clone());
            }
        }
        Topics {
            notices,
            report: self.report_topic.clone().unwrap_or_else(|| topics::report(fleet, node)),
            presence: topics::presence(fleet, node),
        }
    }
}

/// What a topic must be so that brokers, KubeEdge's eventbus and its router all carry it. Says what is wanted.
fn plain(topic: &str) -> Result<(), &'static str> {
    let wrong = |wrong: bool, wanted: &'static str| if wrong { Err(wanted) } else { Ok(()) };
    wrong(topic.is_empty() || topic.len() > NAME_BYTES, "1 to 512 bytes")?;
    wrong(topic.chars().any(char::is_control), "no control characters")?;
    wrong(topic.contains(['+', '#']), "no wildcards")?;
    wrong(topic.starts_with('$') || topic.starts_with("SYS/"), "not reserved by the broker or KubeEdge ($…, SYS/…)")?;
    wrong(topic.starts_with('/') || topic.contains("//") || topic.contains(".."), "no leading /, no // and no ..")?;
    wrong(topic.split('/').nth(1) == Some("user"), "no second level `user`: KubeEdge forwards those itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &str) -> Result<MqttSettings, String> {
        toml::from_str(&format!("url = \"mqtt://127.0.0.1\"\n{extra}")).map_err(|error| error.to_string())
    }

    #[test]
    fn topics_that_kubeedge_or_a_broker_would_swallow_are_refused() {
        for (topic, ok) in [
            ("edge-ota/notice", true),
            ("kubeedge-ota/status", true),
            ("user/x", true),
            ("a/users/b", true),
            ("", false),
            ("$hw/events/node/n1/x", false),
            ("$SYS/broker", false),
            ("$share/g/x", false),
            ("SYS/dis/upload_records", false),
            ("n1/user/anything", false),
            ("n1/user", false),
            ("/edge-ota", false),
            ("edge//ota", false),
            ("edge/../ota", false),
            ("edge/+", false),
            ("edge/#", false),
            ("edge\0", false),
            (&"x".repeat(513), false),
        ] {
            assert_eq!(plain(topic).is_ok(), ok, "{topic}");
        }
    }

    #[test]
    fn addresses() {
        for (url, want) in [
            ("mqtt://broker", Some(("broker", 1883, false))),
            ("mqtt://127.0.0.1:1884/", Some(("127.0.0.1", 1884, false))),
            ("mqtt://[::1]:1884", Some(("[::1]", 1884, false))),
            ("mqtts://broker.example", Some(("broker.example", 8883, true))),
            ("mqtts://[::1]", None),
            ("tcp://broker", None),
            ("broker:1883", None),
            ("mqtt://", None),
            ("mqtt://u:p@broker", None),
            ("mqtt://broker/path", None),
            ("mqtt://broker?x", None),
            ("mqtt://broker:99999", None),
        ] {
            let settings = MqttSettings { url: url.to_owned(), ..parse("").unwrap() };
            let got = settings.address().ok();
            assert_eq!(got.as_ref().map(|a| (a.host.as_str(), a.port, a.tls)), want, "{url}");
            assert_eq!(settings.validate().is_ok(), want.is_some(), "{url}");
        }
    }

    #[test]
    fn impossible_settings_are_refused_with_their_own_code() {
        for (extra, want) in [
            ("", Ok(())),
            ("keep_alive = '5s'\nclient_id = 'x'\nusername = 'u'", Ok(())),
            ("extra_notice_topics = ['edge-ota/notice']\nreport_topic = 'kubeedge-ota/status'", Ok(())),
            ("keep_alive = '4s'", Err("SLW-A-MQTT-KEEP-ALIVE")),
            ("keep_alive = '2h'", Err("SLW-A-MQTT-KEEP-ALIVE")),
            ("hearing_check = '0s'", Err("SLW-A-MQTT-HEARING-CHECK")),
            ("client_id = ''", Err("SLW-A-MQTT-CLIENT-ID")),
            ("password_file = '/x'", Err("SLW-A-MQTT-PASSWORD")),
            ("report_topic = 'a/+'", Err("SLW-A-MQTT-TOPIC")),
            ("report_topic = 'a/b'\nextra_notice_topics = ['a/b']", Err("SLW-A-MQTT-TOPIC")),
            ("tls = { ca = '/x' }", Err("SLW-A-MQTT-TLS")),
        ] {
            let got = parse(extra).unwrap().validate();
            assert_eq!(got.as_ref().map_err(|refusal| &*refusal.code), want.as_ref().map_err(|code| *code), "{extra}");
        }
        for unreadable in ["keep_alive = 5", "keep_alive = '-60s'", "keepalive = '5s'", "tls = { caa = '/x' }"] {
            assert!(parse(unreadable).is_err(), "{unreadable}");
        }
    }

    #[test]
    fn the_password_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let settings = MqttSettings { username: Some("u".into()), password_file: Some(path.clone()), ..parse("").unwrap() };
        assert_eq!(&*settings.credentials().unwrap_err().code, "SLW-A-MQTT-PASSWORD");
        for (content, want) in [("secret\n", Some("secret")), ("a b\nrest", Some("a b")), ("", None), ("\n", None)] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(settings.credentials().ok().flatten().map(|(_, password)| password).as_deref(), want, "{content:?}");
        }
    }
}
