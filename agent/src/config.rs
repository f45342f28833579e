//! The configuration file, `/etc/slipway/agent.toml`: read once at start, refused with the line that is wrong.

use crate::fetch::HttpSettings;
use crate::mqtt::MqttSettings;
use crate::process::health::HealthSettings;
use crate::process::supervisor::{AGENT_UNIT, Run, RunSettings};
use crate::storage::snapshot::SnapshotSettings;
use crate::tls::TlsSettings;
use serde::Deserialize;
use slipway_machine::Settings;
use slipway_protocol::{Actor, ChannelName, Class, ComponentName, FleetName, NodeName, Refusal, Version};
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Where the configuration is unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/slipway/agent.toml";
/// The component that is the agent itself.
const AGENT: &str = "slipway-agent";
/// Larger than any configuration a person writes.
const SIZE_LIMIT: u64 = 256 * 1024;

const CONFIG: Refusal = Refusal::of(
    "SLW-A-CONFIG",
    Class::Configuration,
    Actor::Operator,
    "configuration",
    "correct the file; README.md has an example of every table",
);

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
    /// How often to look for news without being told; a random fifth is taken off, so that a fleet spreads out.
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
        let text = read_limited(path)?;
        let text = String::from_utf8(text).map_err(|_| CONFIG.with(path.display(), "UTF-8 text"))?;
        Self::parse(&text).map_err(|why| Refusal { seen: format!("{}: {}", path.display(), why.seen), ..why })
    }

    /// Reads and checks the text of a configuration.
    ///
    /// # Errors
    /// Names the line and what is wrong.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text.get(..span.start).unwrap_or(text).matches('\n').count().saturating_add(1));
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            CONFIG.with(format_args!("{place}{}", error.message()), "")
        })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), Refusal> {
        if self.components.is_empty() {
            return Err(CONFIG.with("no [[component]]", "at least one"));
        }
        let mut names = std::collections::BTreeSet::new();
        for component in &self.components {
            if !names.insert(&component.name) {
                return Err(CONFIG.with(format_args!("component {} twice", component.name), "each component once"));
            }
        }
        for component in &self.components {
            // The unit starts `current/slipway-agent/bin/slipway-agent`, and only that unit may be this component.
            if component.is_agent() != (component.name.as_str() == AGENT) {
                let seen = format_args!("component {} with {:?}", component.name, component.run.run).to_string();
                return Err(
                    CONFIG.with(seen, format_args!("the agent itself as component {AGENT} with run.unit = {AGENT_UNIT:?}"))
                );
            }
        }
        if names.len() > crate::storage::witness::COMPONENT_LIMIT {
            return Err(CONFIG.with(
                format_args!("{} components", names.len()),
                format_args!("at most {}", crate::storage::witness::COMPONENT_LIMIT),
            ));
        }
        if self.repository.refresh < Duration::from_secs(1) {
            return Err(CONFIG.with("repository.refresh below 1s", "a duration such as \"1h\""));
        }
        for (table, url) in [("repository", &self.repository.url), ("sigstore", &self.sigstore.url)] {
            let Some(url) = url else { continue };
            let http = url.scheme() == "http" && self.http.allow_http;
            if url.scheme() != "https" && !http {
                return Err(CONFIG.with(format_args!("{table}.url = {url}"), "https, or http with `allow_http = true` in [http]"));
            }
        }
        for path in [&self.node.state, &self.node.socket] {
            if !path.is_absolute() {
                return Err(CONFIG.with(path.display(), "an absolute path"));
            }
        }
        if let Some(mqtt) = &self.mqtt {
            mqtt.validate()?;
        }
        Ok(())
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
        Settings {
            soak: self.health.soak.as_secs(),
            deadline: self.health.deadline.as_secs(),
            failures: self.health.failures,
            ..Settings::default()
        }
    }
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
            ("\"edge-7\"", "\"../7\"", "line 3: \"../7\" is no node name"),
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
}
