//! What can be wrong with a download, each with its code.

use slipway_protocol::{Actor, Class, Refusal};

pub(crate) const BUDGET: Refusal = Refusal::of(
    "SLW-A-BUDGET",
    Class::Network,
    Actor::Operator,
    "what one artifact may cost over the network in a day",
    "find out why it is fetched again and again (a server that cannot resume, a wrong file, a failing disk); it is tried again after that time, or at once after `slipway-agent forgive`; `byte_budget` in [http] sets the limit",
);
pub(super) const BUNDLE: Refusal = Refusal::of(
    "SLW-A-BUNDLE",
    Class::Malformed,
    Actor::Operator,
    "offline bundle's archive",
    "make the bundle again with `slipway bundle make` and copy it completely",
);
pub(super) const BUNDLE_MEMBER: Refusal = Refusal::of(
    "SLW-A-BUNDLE-MEMBER",
    Class::Malformed,
    Actor::Operator,
    "file in the offline bundle",
    "make the bundle again with `slipway bundle make`, for this component and platform",
);
pub(super) const BUNDLE_READ: Refusal = Refusal::of(
    "SLW-A-BUNDLE-READ",
    Class::System,
    Actor::Device,
    "reading the offline bundle",
    "leave the medium plugged in until the update is staged; if it is, try another one",
);
pub(super) const CLOCK_BEHIND: Refusal = Refusal::of(
    "SLW-A-CLOCK-BEHIND",
    Class::Time,
    Actor::Device,
    "the device's clock against the server's certificate",
    "set the clock or let NTP do it; the agent tries again by itself",
);
pub(super) const CONNECT: Refusal = Refusal::of(
    "SLW-A-CONNECT",
    Class::Network,
    Actor::Network,
    "connection to the server",
    "check name resolution, route, firewall and proxy; the agent tries again by itself",
);
pub(super) const CUT: Refusal = Refusal::of(
    "SLW-A-CUT",
    Class::Network,
    Actor::Network,
    "complete answer from the server",
    "nothing: the agent goes on where it was",
);
pub(super) const DIGEST: Refusal = Refusal::of(
    "SLW-A-DIGEST",
    Class::ArbitrarySoftware,
    Actor::Attacker,
    "digest of what was downloaded",
    "find out who changed the file on that server; nothing of it was kept",
);
pub(super) const ENDLESS: Refusal = Refusal::of(
    "SLW-A-ENDLESS",
    Class::EndlessData,
    Actor::Attacker,
    "size of the server's file",
    "find out why that server sends more than was authorised",
);
pub(super) const NO_URL: Refusal = Refusal::of(
    "SLW-A-NO-URL",
    Class::Configuration,
    Actor::Operator,
    "places to download from",
    "name at least one URL in the release",
);
pub(super) const PLAIN_HTTP: Refusal = Refusal::of(
    "SLW-A-PLAIN-HTTP",
    Class::Configuration,
    Actor::Operator,
    "scheme of the URL",
    "use https, or set `allow_http = true` in the [http] table where the network is trusted",
);
pub(super) const REDIRECT: Refusal = Refusal::of(
    "SLW-A-REDIRECT",
    Class::Network,
    Actor::Operator,
    "redirects of the server",
    "name the URL where the file really is",
);
pub(super) const SETTINGS: Refusal = Refusal::of(
    "SLW-A-HTTP-SETTINGS",
    Class::Configuration,
    Actor::Operator,
    "HTTP settings",
    "correct the [http] table of the configuration",
);
pub(super) const SIZE: Refusal = Refusal::of(
    "SLW-A-SIZE",
    Class::ArbitrarySoftware,
    Actor::Operator,
    "size of the server's file",
    "upload the file that was released; that server has another one under its name",
);
pub(super) const SLOW: Refusal = Refusal::of(
    "SLW-A-SLOW",
    Class::SlowRetrieval,
    Actor::Network,
    "speed of the server",
    "nothing: the agent goes on where it was; on a slow line lower `min_speed` in the [http] table",
);
pub(super) const STATUS: Refusal = Refusal::of(
    "SLW-A-STATUS",
    Class::Network,
    Actor::Operator,
    "the server's answer",
    "make the file available under that URL; the agent asks again when it is told of a release",
);
pub(super) const TLS: Refusal = Refusal::of(
    "SLW-A-TLS",
    Class::Network,
    Actor::Operator,
    "the server's certificate",
    "check the server's certificate, `ca` in the [tls] table, and whether something is between",
);
pub(super) const UNAVAILABLE: Refusal = Refusal::of(
    "SLW-A-UNAVAILABLE",
    Class::Network,
    Actor::Network,
    "the server's answer",
    "nothing: the agent tries again by itself",
);
pub(super) const WORKER: Refusal = Refusal::of(
    "SLW-A-WORKER",
    Class::System,
    Actor::Device,
    "the thread that writes the disk",
    "nothing: the agent goes on where it was",
);
