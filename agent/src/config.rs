//! The configuration file `/etc/slipway/agent.toml`: read at start; a mistake is refused with its line.

use crate::fetch::HttpSettings;
use crate::mqtt::MqttSettings;
use crate::process::health::HealthSettings;
use crate::process::supervisor::{AGENT_UNIT, Run, RunSettings};
use crate::storage::snapshot::SnapshotSettings;
use crate::tls::TlsSettings;
use serde::Deserialize;
use slipway_machine::Settings;
use slipway_protocol::{ChannelName, ComponentName, FleetName, NodeName, Refusal, Version};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

mod check;
#[cfg(test)]
mod reference;

pub use check::Mistake;
use check::Violation;

/// Where the configuration is unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/slipway/agent.toml";
/// The component that is the agent itself.
const AGENT: &str = "slipway-agent";
/// Larger than any configuration a person writes.
const SIZE_LIMIT: u64 = 256 * 1024;

slipway_protocol::refusals! {
    CONFIG = "SLW-A-CONFIG", Configuration, Operator, "configuration is invalid",
        "correct the file; docs/CONFIG.md lists every key";
}

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who this device is and where it keeps things.
    pub node: Node,
    /// The operator's TUF repository.
    pub repository: Repository,
    /// Sigstore's trust root.
    #[serde(default)]
    pub sigstore: Sigstore,
    /// The broker; without it the device learns of releases from its timer and from offline bundles alone.
    #[serde(default)]
    pub mqtt: Option<MqttSettings>,
    /// How servers are reached.
    #[serde(default)]
    pub http: HttpSettings,
    /// Whom HTTPS servers are believed by.
    #[serde(default)]
    pub tls: TlsSettings,
    /// What is kept up to date here.
    #[serde(rename = "component")]
    pub components: Vec<Component>,
}

/// `[node]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The node's name; the host's name when unset.
    #[serde(default)]
    pub name: Option<NodeName>,
    /// The fleet it belongs to.
    pub fleet: FleetName,
    /// Where state is kept.
    #[serde(default = "default_state")]
    pub state: PathBuf,
    /// The socket that `slipway-agent status` and its siblings talk to.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
}

/// `[repository]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its base URL: `metadata/`, `targets/` and `artifacts/` are below it. Unset for devices that only take offline bundles.
    #[serde(default)]
    pub url: Option<Url>,
    /// The TUF root that the device is born with.
    pub root: PathBuf,
    /// Interval of checks without a notice; shortened by up to a random fifth, so that a fleet spreads out.
    #[serde(default = "default_refresh", with = "crate::duration")]
    pub refresh: Duration,
}

/// `[sigstore]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sigstore {
    /// A `trusted_root.json`. Unset: the one that the operator's repository mirrors, else the public-good root this agent was built with.
    #[serde(default)]
    pub trusted_root: Option<PathBuf>,
    /// Sigstore's own TUF repository, or a copy of it: `https://tuf-repo-cdn.sigstore.dev/`. Set, it is followed from here.
    #[serde(default)]
    pub url: Option<Url>,
    /// The TUF root to follow it from, for an instance of your own. Unset: the public-good one, which this agent ships.
    #[serde(default)]
    pub root: Option<PathBuf>,
}

/// One `[[component]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name, as in the releases.
    pub name: ComponentName,
    /// The channel it follows.
    pub channel: ChannelName,
    /// A policy file on the device. One from the operator's repository applies as well: with both, both must agree.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// Whether offline bundles are taken although their timestamp has expired, if their channel allows it too.
    #[serde(default)]
    pub accept_expired_bundles: bool,
    /// How it runs.
    #[serde(default)]
    pub run: RunSettings,
    /// What makes it healthy.
    #[serde(default)]
    pub health: HealthSettings,
    /// What comes back with it on rollback.
    #[serde(default)]
    pub snapshot: SnapshotSettings,
    /// What runs before Slipway's first update, so that there is a way back from that one too.
    #[serde(default)]
    pub adopt: Option<Adopt>,
}

/// `[component.adopt]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    /// The executable that runs now: `/usr/local/bin/edgecore`.
    pub path: PathBuf,
    /// Its version; what is older is never installed.
    pub version: Version,
}

fn default_state() -> PathBuf {
    PathBuf::from("/var/lib/slipway")
}
fn default_socket() -> PathBuf {
    PathBuf::from("/run/slipway/agent.sock")
}
const fn default_refresh() -> Duration {
    Duration::from_secs(3600)
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Names the file, the line and what is wrong.
    pub fn load(path: &Path) -> Result<Self, Refusal> {
        let text = text(read_limited(path)?, path)?;
        Self::parse(&text).map_err(|why| Refusal { seen: format!("{}: {}", path.display(), why.seen), ..why })
    }

    /// Reads and checks the text of a configuration.
    ///
    /// # Errors
    /// Names the line and what is wrong.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::check(text).map_err(|mistakes| {
            mistakes.into_iter().next().map_or_else(|| CONFIG.with("nothing", "a configuration"), Mistake::refusal)
        })
    }

    /// Reads the text of a configuration and checks all that can be known without the device: files, host name, servers.
    ///
    /// # Errors
    /// Every mistake, at least one, by line.
    pub fn check(text: &str) -> Result<Self, Vec<Mistake>> {
        check::read(text)
    }

    /// The rules about values and between keys that are broken.
    fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut wrong = |key: &str, refusal: Refusal| found.push(Violation { key: key.to_owned(), refusal });
        if self.components.is_empty() {
            wrong("component", CONFIG.with("no [[component]]", "at least one"));
        }
        if self.components.len() > crate::storage::witness::COMPONENT_LIMIT {
            let (seen, limit) = (self.components.len(), crate::storage::witness::COMPONENT_LIMIT);
            wrong("component", CONFIG.with(format_args!("{seen} components"), format_args!("at most {limit}")));
        }
        let mut names = std::collections::BTreeSet::new();
        for (index, component) in self.components.iter().enumerate() {
            let key = format!("component.{index}.name");
            if !names.insert(&component.name) {
                wrong(&key, CONFIG.with(format_args!("component {} twice", component.name), "each component once"));
            }
            // The unit starts `current/slipway-agent/bin/slipway-agent`, and only that unit may be this component.
            if component.is_agent() != (component.name.as_str() == AGENT) {
                let seen = format!("component {} with {:?}", component.name, component.run.run);
                let wanted = format!("the agent itself as component {AGENT} with run.unit = {AGENT_UNIT:?}");
                wrong(&key, CONFIG.with(seen, wanted));
            }
        }
        if self.repository.refresh < Duration::from_secs(1) {
            wrong("repository.refresh", CONFIG.with("repository.refresh below 1s", "a duration such as \"1h\""));
        }
        for (key, url) in [("repository.url", &self.repository.url), ("sigstore.url", &self.sigstore.url)] {
            let Some(url) = url else { continue };
            let http = url.scheme() == "http" && self.http.allow_http;
            if url.scheme() != "https" && !http {
                let seen = format!("{key} = {url}");
                wrong(key, CONFIG.with(seen, "https, or http with `allow_http = true` in [http]"));
            }
        }
        for (key, path) in [("node.state", &self.node.state), ("node.socket", &self.node.socket)] {
            if !path.is_absolute() {
                wrong(key, CONFIG.with(path.display(), "an absolute path"));
            }
        }
        let mqtt = self.mqtt.iter().flat_map(MqttSettings::violations);
        let tables = [("http", self.http.violations()), ("tls", self.tls.violations()), ("mqtt", mqtt.collect())];
        for (table, violations) in tables {
            for (key, refusal) in violations {
                wrong(&format!("{table}.{key}"), refusal);
            }
        }
        found
    }

    /// The node's name: as configured, else the host's.
    ///
    /// # Errors
    /// When the host's name cannot be a node's name.
    pub fn node_name(&self) -> Result<NodeName, Refusal> {
        if let Some(name) = &self.node.name {
            return Ok(name.clone());
        }
        let host = nix::unistd::gethostname().unwrap_or_default();
        let host = host.to_string_lossy();
        host.parse().map_err(|why| CONFIG.with(format_args!("host name {host:?}: {why}"), "`name` in [node]"))
    }

    /// One component's table.
    #[must_use]
    pub fn component(&self, name: &ComponentName) -> Option<&Component> {
        self.components.iter().find(|component| component.name == *name)
    }
}

impl Component {
    /// Whether this is the agent itself.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.run.run == Run::Unit(AGENT_UNIT.to_owned())
    }

    /// The numbers that the machine works with.
    #[must_use]
    pub fn machine(&self) -> Settings {
        Settings { soak: self.health.soak.as_secs(), deadline: self.health.deadline.as_secs(), failures: self.health.failures }
    }
}

/// The text of the file at `path`.
pub(crate) fn text(bytes: Vec<u8>, path: &Path) -> Result<String, Refusal> {
    String::from_utf8(bytes).map_err(|_| CONFIG.with(path.display(), "UTF-8 text"))
}

/// Reads a file that a person or an installer wrote, never more than [`SIZE_LIMIT`].
pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>, Refusal> {
    use std::io::Read;
    let failed = |error: std::io::Error| CONFIG.with(format_args!("{}: {error}", path.display()), "a readable file");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(SIZE_LIMIT.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > SIZE_LIMIT {
        return Err(CONFIG.with(format_args!("{}: too large", path.display()), format_args!("at most {SIZE_LIMIT} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[node]
name = "edge-7"
fleet = "factory"

[repository]
url = "https://releases.example/slipway/"
root = "/etc/slipway/root.json"

[[component]]
name = "edgecore"
channel = "stable"
run.unit = "edgecore.service"
"#;

    #[test]
    fn a_good_one_and_what_is_wrong_with_others() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(config.components[0].machine().soak, 90);
        let with = |from: &str, to: &str| Config::parse(&GOOD.replace(from, to)).map(|_| ()).unwrap_err().to_string();
        for (from, to, says) in [
            ("fleet = \"factory\"", "flet = \"factory\"", "line 4: unknown field `flet`"),
            ("fleet = \"factory\"", "", "missing field `fleet`"),
            ("\"edge-7\"", "\"../7\"", "line 3: \"../7\" is not a valid node name"),
            ("https://releases", "http://releases", "allow_http"),
            ("https://releases.example/slipway/", "not a url", "line 7"),
            ("run.unit = \"edgecore.service\"", "run.unit = \"a.service\"\nrun.command = [\"/bin/x\"]", "both set"),
            ("run.unit = \"edgecore.service\"", "health.soak = 90", "\"90s\""),
            ("run.unit = \"edgecore.service\"", "surprise = 1", "line 13: unknown field `surprise`"),
            ("name = \"edgecore\"", "name = ", "line 11"),
        ] {
            let refusal = with(from, to);
            assert!(refusal.contains(says), "{refusal:?} does not say {says:?}");
        }
        let twice = format!("{GOOD}\n[[component]]\nname = \"edgecore\"\nchannel = \"x\"\n");
        assert!(Config::parse(&twice).unwrap_err().to_string().contains("twice"));
    }

    /// Every mistake in a text, as its line and what was seen.
    fn mistakes(text: &str) -> Vec<(Option<usize>, String)> {
        let mistakes = Config::check(text).map(|_| ()).unwrap_err();
        mistakes.into_iter().map(|mistake| (mistake.line, mistake.refusal.seen)).collect()
    }

    /// The program has no Unicode tables. Shown to fail: without the pinned `idna_adapter`, which accepts the first name.
    #[test]
    fn an_international_host_name_is_written_in_ascii() {
        let with = |host: &str| format!("[repository]\nurl = \"https://{host}/fleet/\"\n");
        let mistakes = Config::check(&with("b\u{fc}cher.example")).map(|_| ()).unwrap_err();
        let refusal = &mistakes.iter().find(|mistake| mistake.line == Some(2)).expect("the URL's line").refusal;
        assert!(refusal.seen.contains("international domain name"), "{refusal}");
        assert!(refusal.wanted.contains("xn--"), "{refusal}");
        let mistakes = Config::check(&with("xn--bcher-kva.example")).map(|_| ()).unwrap_err();
        assert!(mistakes.iter().all(|mistake| mistake.line != Some(2)), "{mistakes:?}");
    }

    #[test]
    fn every_mistake_is_found_with_its_line() {
        let text = r#"[node]
flet = "factory"
name = "../7"

[repository]
url = "not a url"
root = "/etc/slipway/root.json"
refresh = 30

[[component]]
name = "edgecore"
channel = "stable"
run.unit = "edgecore.socket"
[component.health]
interval = "2s"
soak = "0s"
[[component.health.check]]
name = "healthz"
htp = "http://127.0.0.1/"

[[component]]
name = "app"
[component.run]
stop_timeout = "soon"
"#;
        let found = mistakes(text);
        let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
        // Not that `name`, which is wrong, is missing, nor what the unknown keys were meant to be; and of the tables that are read and then
        // refused, the line of the key that they name.
        assert_eq!(lines, [2, 3, 6, 8, 13, 16, 19, 21, 24], "{found:#?}");
    }

    #[test]
    fn values_that_do_not_go_together_are_found_with_their_lines() {
        let text = r#"[node]
fleet = "factory"
state = "var/lib"
[repository]
url = "http://releases.example"
root = "root.json"
refresh = "10ms"
[http]
byte_budget = 0
proxy = "http://"
[tls]
cert = "node.crt"
[mqtt]
url = "mqtt://broker"
keep_alive = "1s"
tls = { ca = "ca.crt" }
extra_notice_topics = ["a/+", "a/b"]
report_topic = "a/b"
[[component]]
name = "edgecore"
channel = "stable"
[[component]]
channel = "stable"
name = "edgecore"
[[component]]
name = "other"
channel = "stable"
run.unit = "slipway-agent.service"
"#;
        let found = mistakes(text);
        let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
        assert_eq!(lines, [3, 5, 7, 9, 10, 12, 15, 16, 17, 18, 24, 26], "{found:#?}");
        // The service refuses the first of them, in the same words.
        assert!(Config::parse(text).unwrap_err().seen.starts_with("line 3: var/lib"));
    }

    #[test]
    fn invalid_toml_is_reported_with_its_lines() {
        let found = mistakes(&GOOD.replace("\"edge-7\"", "edge-7").replace("[repository]", "[repository"));
        let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
        assert_eq!(lines, [3, 6], "{found:#?}");
        let found = mistakes("");
        assert!(found[0].0.is_none() && found[0].1.contains("missing field `node`"), "{found:?}");
    }
}
