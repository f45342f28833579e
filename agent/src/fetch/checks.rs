//! What can be wrong with a download, each with its code.

slipway_protocol::refusals! {
    pub(crate) BUDGET = "SLW-A-BUDGET", Network, Operator, "artifact has used up its network budget of a day",
        "find out why it is fetched again and again (a server that cannot resume, a wrong file, a failing disk); the \
         agent tries again after that time, or at once after `slipway-agent unblock`; `byte_budget` in [http] sets \
         the limit";
    pub(super) BUNDLE = "SLW-A-BUNDLE", Malformed, Operator, "offline bundle's archive is malformed",
        "make the bundle again with `slipway bundle make` and copy it completely";
    pub(super) BUNDLE_MEMBER = "SLW-A-BUNDLE-MEMBER", Malformed, Operator, "offline bundle lacks a file of this release",
        "make the bundle again with `slipway bundle make`, for this component and platform";
    pub(super) BUNDLE_READ = "SLW-A-BUNDLE-READ", System, Device, "offline bundle cannot be read",
        "keep the medium plugged in until the update is staged; if it was, try another one";
    pub(super) CLOCK_BEHIND = "SLW-A-CLOCK-BEHIND", Time, Device, "device's clock is behind the server's certificate",
        "set the clock or enable NTP; the agent retries automatically";
    pub(super) CONNECT = "SLW-A-CONNECT", Network, Network, "connection to the server failed",
        "check name resolution, route, firewall and proxy; the agent retries automatically";
    pub(super) CUT = "SLW-A-CUT", Network, Network, "server's response ended early",
        "wait: the agent resumes the download automatically";
    pub(super) DIGEST = "SLW-A-DIGEST", ArbitrarySoftware, Attacker, "downloaded file has the wrong digest",
        "find out who changed the file on that server; nothing of it was kept";
    pub(super) DISTURBED = "SLW-A-DISTURBED", System, Device, "another process writes to the download",
        "find out what writes below the agent's state directory; the agent tries again";
    pub(super) ENDLESS = "SLW-A-ENDLESS", EndlessData, Attacker, "server's file is larger than authorized",
        "find out why the server sends more than was authorized";
    pub(super) NO_URL = "SLW-A-NO-URL", Configuration, Operator, "release has no URL to download from",
        "name at least one URL in the release";
    pub(super) PLAIN_HTTP = "SLW-A-PLAIN-HTTP", Configuration, Operator, "URL's scheme is not allowed",
        "use https, or set `allow_http = true` in the [http] table where the network is trusted";
    pub(super) REDIRECT = "SLW-A-REDIRECT", Network, Operator, "server's redirects are not allowed",
        "name the URL where the file really is";
    pub(super) SETTINGS = "SLW-A-HTTP-SETTINGS", Configuration, Operator, "HTTP settings are invalid",
        "correct the [http] table of the configuration";
    pub(super) SIZE = "SLW-A-SIZE", ArbitrarySoftware, Operator, "server's file has the wrong size",
        "upload the released file: the server has a different one under its name";
    pub(super) SLOW = "SLW-A-SLOW", SlowRetrieval, Network, "server sends too slowly",
        "wait: the agent resumes the download automatically; on a slow line, lower `min_speed` in the [http] table";
    pub(super) STATUS = "SLW-A-STATUS", Network, Operator, "server refused the request",
        "make the file available under this URL; the agent requests it again at the next notice of a release";
    pub(super) TLS = "SLW-A-TLS", Network, Operator, "server's certificate is not trusted",
        "check the server's certificate, `ca` in the [tls] table, and whether a proxy intercepts the connection";
    pub(super) UNAVAILABLE = "SLW-A-UNAVAILABLE", Network, Network, "server is temporarily unavailable",
        "wait: the agent retries automatically";
    pub(super) WORKER = "SLW-A-FETCH-TASK", System, Device, "task that writes the download ended unexpectedly",
        "wait: the agent resumes the download automatically; if this recurs, check memory and disk";
}
