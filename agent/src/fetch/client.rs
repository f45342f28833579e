//! HTTP: one client with the configured roots, limits on all that a server controls, and each URL in turn.

use super::gzip;
use super::resume::{self, RangeRequest, ResponseHead, ResumeDecision};
use super::sink::{SAVE_EVERY, Sink};
use super::transport::{AttemptError, shown, transport};
use super::{Budget, Download, Downloaded, FetchError, FetchErrorKind, Small, checks};
use crate::storage::store::{Account, Mark};
use bytes::Bytes;
use reqwest::header::{self, HeaderName};
use reqwest::{Response, redirect};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use slipway_machine::RetryAdvice;
use slipway_protocol::{Refusal, Sha256, causes};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use url::Url;

/// Redirects followed: a release page, a storage service and a mirror make three.
const REDIRECTS: usize = 5;
/// Notices a peer that went away without a word, as behind a mobile network's address translation.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Shortest timeout: below it no server can be reached.
const TIMEOUT_LEAST: Duration = Duration::from_millis(10);
/// Addresses remembered to have served a wrong file. A release has at most eight.
const DISTRUSTED_ADDRESSES: usize = 64;

/// How servers are reached, and how slow they may be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Longest wait for a connection, name resolution and TLS included.
    #[serde(with = "crate::duration")]
    pub connect_timeout: Duration,
    /// Longest wait for the head of an answer.
    #[serde(with = "crate::duration")]
    pub response_timeout: Duration,
    /// Bytes per second that a server must deliver, on average over `min_speed_window`.
    pub min_speed: u64,
    /// Over how long the speed is measured; so long may a connection stand still.
    #[serde(with = "crate::duration")]
    pub min_speed_window: Duration,
    /// `http://proxy:3128` for all requests, or `none`. Unset: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are obeyed.
    pub proxy: Option<String>,
    /// Hosts reached without `proxy`, as in `NO_PROXY`: `localhost,.example.org,10.0.0.0/8`.
    pub no_proxy: Option<String>,
    /// How many times its size an artifact may cost over the network in a day, and 1 MiB more. Once for the artifact itself, once for a
    /// server that sent the wrong file or a part that was damaged, once for servers that start over.
    pub byte_budget: u32,
    /// Whether plain http will do. Content is verified in any case; this is about who sees and delays it.
    pub allow_http: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_secs(30),
            min_speed: 1024,
            min_speed_window: Duration::from_secs(30),
            proxy: None,
            no_proxy: None,
            byte_budget: 3,
            allow_http: false,
        }
    }
}

impl HttpSettings {
    /// Rules that are broken: the keys to blame and why.
    #[must_use]
    pub fn violations(&self) -> Vec<(&'static str, Refusal)> {
        let mut found = Vec::new();
        for (key, duration) in [
            ("connect_timeout", self.connect_timeout),
            ("response_timeout", self.response_timeout),
            ("min_speed_window", self.min_speed_window),
        ] {
            if duration < TIMEOUT_LEAST {
                let seen = format!("{key} = {:?}", crate::duration::show(duration));
                found.push((key, checks::SETTINGS.with(seen, "10 ms or more")));
            }
        }
        if self.byte_budget == 0 {
            found.push(("byte_budget", checks::SETTINGS.with("byte_budget = 0", "1 or more")));
        }
        let proxy = self.proxy.as_deref().filter(|proxy| *proxy != "none");
        found.extend(proxy.and_then(|proxy| proxy_of(proxy).err()).map(|refusal| ("proxy", refusal)));
        found
    }
}

fn proxy_of(url: &str) -> Result<reqwest::Proxy, Refusal> {
    // The address may hold a password.
    reqwest::Proxy::all(url).map_err(|error| {
        checks::SETTINGS.with(format_args!("proxy: {}", causes(&error)), "`none` or a URL such as http://proxy:3128")
    })
}

/// Fetches over HTTP. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    settings: Arc<HttpSettings>,
    /// Which address served which artifact wrongly, until that artifact's download ends: it is not asked again before.
    distrusted: Arc<Mutex<Vec<(Sha256, Url)>>>,
}

impl Client {
    /// A client with these settings and the TLS configuration that MQTT uses as well.
    ///
    /// # Errors
    /// Says which setting cannot be.
    pub fn new(settings: &HttpSettings, tls: &ClientConfig) -> Result<Self, Refusal> {
        if let Some((_, refusal)) = settings.violations().into_iter().next() {
            return Err(refusal);
        }
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .user_agent(concat!("slipway-agent/", env!("CARGO_PKG_VERSION")))
            .https_only(!settings.allow_http)
            .redirect(redirects(settings.allow_http))
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .tcp_keepalive(KEEP_ALIVE)
            .pool_max_idle_per_host(1);
        builder = match settings.proxy.as_deref() {
            None => builder,
            Some("none") => builder.no_proxy(),
            Some(proxy) => {
                let proxy = proxy_of(proxy)?;
                builder.proxy(proxy.no_proxy(settings.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string)))
            }
        };
        let http = builder.build().map_err(|error| checks::SETTINGS.with(causes(&error), "settings that make an HTTP client"))?;
        Ok(Self { http, settings: Arc::new(settings.clone()), distrusted: Arc::default() })
    }

    /// How many times its size an artifact may cost in a day.
    #[must_use]
    pub fn byte_budget(&self) -> u32 {
        self.settings.byte_budget
    }

    /// Fetches a small file, at most `limit` bytes, into memory.
    ///
    /// # Errors
    /// Anything but a complete answer of at most that size, or a clear "there is none".
    pub async fn get_small(&self, url: &Url, limit: u64) -> Result<Small, FetchError> {
        let response = self.ask(url, 0, None, "gzip").await?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            403 | 404 => return Ok(Small::Missing),
            _ => return Err(self.refused(url, resume::refused(status, &answer(&response))).into()),
        }
        let packed = text(&response, header::CONTENT_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        let most = if packed { gzip::most(limit) } else { limit };
        let endless = |seen: u64| {
            let seen = format_args!("{}: {seen} bytes or more", shown(url)).to_string();
            FetchError::never(checks::ENDLESS.with(seen, format_args!("at most {limit} bytes")))
        };
        if let Some(length) = response.content_length().filter(|length| *length > most) {
            return Err(endless(length));
        }
        let mut bytes = Vec::new();
        let mut body = Body::of(response, url, &self.settings);
        while let Some(chunk) = body.next().await? {
            let total = length(bytes.len()).saturating_add(length(chunk.len()));
            if total > most {
                return Err(endless(total));
            }
            bytes.extend_from_slice(&chunk);
        }
        if packed {
            bytes = gzip::inflate(&bytes, limit).map_err(|error| {
                let seen = format_args!("{}: {error}", shown(url)).to_string();
                FetchError::later(checks::CUT.with(seen, "a complete response in gzip"))
            })?;
        }
        if length(bytes.len()) > limit {
            return Err(endless(length(bytes.len())));
        }
        Ok(Small::Bytes(bytes))
    }

    /// Fetches an artifact: tries each address once, goes on where the last one stopped, and ends with a durable file that has
    /// the wanted digests, or with an error and a part that the next call goes on with.
    ///
    /// `progress` gets the position in the file; it decreases when a server makes us start over. `checkpoint` gets what is to be
    /// handed back to the next call; it makes that durable before it returns, and gets 0 before anything is overwritten. Dropping
    /// the future cancels. Nothing is asked for that the budget does not cover.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn download<P, C>(&self, what: &Download, progress: P, checkpoint: C) -> Result<Downloaded, FetchError>
    where
        P: FnMut(u64),
        C: FnMut(Mark) -> Result<(), Refusal>,
    {
        if what.urls.is_empty() {
            return Err(FetchError::never(checks::NO_URL.with("none", "at least one URL")));
        }
        let mut sink = Sink::open(what, progress, checkpoint).await.map_err(FetchError::later)?;
        sink.charge(sink.cut());
        let mut run = Run { resumed: sink.position(), mixed: sink.position() > 0, received: 0 };
        let mut worst: Option<FetchError> = None;
        for url in &what.urls {
            let failure = match self.fetch_from(url, what, &mut sink, &mut run).await {
                Ok(()) => {
                    self.unblock(&what.sha256);
                    return Ok(Downloaded { received: run.received, resumed: run.resumed });
                }
                Err(AttemptError::ThisDevice(refusal)) => {
                    return Err(FetchError { received: run.received, ..FetchError::later(refusal) });
                }
                Err(failure) => FetchError::from(failure),
            };
            tracing::warn!(url = %shown(url), refusal = %failure.refusal, "download failed at this URL");
            worst = Some(worse(worst, failure));
        }
        // There was at least one address, and none delivered.
        let mut error = worst.unwrap_or_else(|| FetchError::never(checks::NO_URL));
        error.received = run.received;
        if error.retry() == RetryAdvice::Never {
            self.unblock(&what.sha256);
        }
        let kept = sink.leave().await;
        match kept {
            Ok(()) => Err(error),
            Err(refusal) => Err(FetchError { received: run.received, ..FetchError::later(refusal) }),
        }
    }

    /// One address: the rest of the file, and once the whole of it if the bytes that were there turn out to be wrong.
    async fn fetch_from<P, C>(&self, url: &Url, what: &Download, sink: &mut Sink<P, C>, run: &mut Run) -> Result<(), AttemptError>
    where
        P: FnMut(u64),
        C: FnMut(Mark) -> Result<(), Refusal>,
    {
        if self.lied(&what.sha256, url) {
            let seen = format_args!("{}: sent a wrong file before", shown(url)).to_string();
            return Err(AttemptError::ThisAddress(FetchError::wrong_file(checks::DIGEST.with(seen, what.sha256))));
        }
        loop {
            if sink.missing() > 0 {
                afford(what, sink.spent(), sink.missing())?;
                self.fetch_rest(url, what, sink, run).await?;
            }
            let Some(refusal) = sink.finish().await.map_err(AttemptError::ThisDevice)? else { return Ok(()) };
            let mixed = run.mixed;
            sink.restart().await.map_err(AttemptError::ThisDevice)?;
            run.anew();
            if !mixed {
                self.distrust(what.sha256, url);
                let refusal = Refusal { seen: format!("{} from {}", refusal.seen, shown(url)), ..refusal };
                return Err(AttemptError::ThisAddress(FetchError::wrong_file(refusal)));
            }
            // Some of it came from another address, at another time, or through a failing disk: this one gets a fair chance.
            tracing::warn!(url = %shown(url), %refusal, "resumed download has the wrong digest; starting over");
        }
    }

    /// Asks for what is missing and takes it.
    async fn fetch_rest<P, C>(&self, url: &Url, what: &Download, sink: &mut Sink<P, C>, run: &mut Run) -> Result<(), AttemptError>
    where
        P: FnMut(u64),
        C: FnMut(Mark) -> Result<(), Refusal>,
    {
        let mut offset = sink.position();
        let etag = sink.tag(url).await.map_err(AttemptError::ThisDevice)?;
        let response = loop {
            let asked = RangeRequest { offset, size: what.size, etag: etag.clone().filter(|_| offset > 0) };
            let response = self.ask(url, offset, asked.etag.as_deref(), "identity").await?;
            match resume::judge(&asked, &answer(&response)) {
                ResumeDecision::Append => break response,
                ResumeDecision::Restart => {
                    // Before what we have is given up: another address may be able to go on from there.
                    afford(what, sink.spent(), what.size)?;
                    if sink.position() > 0 {
                        sink.restart().await.map_err(AttemptError::ThisDevice)?;
                    }
                    run.anew();
                    break response;
                }
                // What we have is kept until the server really sends the whole.
                ResumeDecision::AskAgain => offset = 0,
                verdict => return Err(self.refused(url, verdict)),
            }
        };
        let strong = text(&response, header::ETAG).filter(|tag| resume::strong(tag).is_some());
        sink.remember_tag(url, strong).await.map_err(AttemptError::ThisDevice)?;
        sink.reserve().await.map_err(AttemptError::ThisDevice)?;
        run.mixed = sink.position() > 0;
        let mut body = Body::of(response, url, &self.settings);
        let mut save = ticks(SAVE_EVERY);
        while sink.missing() > 0 {
            tokio::select! {
                biased;
                chunk = body.next() => {
                    let Some(chunk) = chunk? else {
                        let seen = format_args!("{}: ended after {} bytes", shown(url), sink.position()).to_string();
                        return Err(AttemptError::later(checks::CUT.with(seen, format_args!("{} bytes", what.size))));
                    };
                    run.received = run.received.saturating_add(length(chunk.len()));
                    sink.charge(length(chunk.len()));
                    if length(chunk.len()) > sink.missing() {
                        let seen = format_args!("{}: more bytes", shown(url)).to_string();
                        return Err(AttemptError::never(checks::ENDLESS.with(seen, format_args!("{} bytes", what.size))));
                    }
                    sink.push(chunk).await.map_err(AttemptError::ThisDevice)?;
                }
                _ = save.tick() => sink.save().await.map_err(AttemptError::ThisDevice)?,
            }
        }
        Ok(())
    }

    /// Sends the request and waits for the head of the answer.
    async fn ask(&self, url: &Url, offset: u64, etag: Option<&str>, coding: &'static str) -> Result<Response, AttemptError> {
        let wanted = if self.settings.allow_http { "http or https" } else { "https" };
        if url.scheme() != "https" && !(self.settings.allow_http && url.scheme() == "http") {
            return Err(AttemptError::never(checks::PLAIN_HTTP.with(shown(url), wanted)));
        }
        // An artifact's bytes as they are stored: sizes and ranges are of those.
        let mut request = self.http.get(url.clone()).header(header::ACCEPT_ENCODING, coding);
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
            if let Some(etag) = etag {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        match timeout(self.settings.response_timeout, request.send()).await {
            Ok(sent) => sent.map_err(|error| transport(url, &error)),
            Err(_) => {
                let wanted =
                    format_args!("an answer within {}", crate::duration::show(self.settings.response_timeout)).to_string();
                Err(AttemptError::later(checks::SLOW.with(format_args!("{}: no answer", shown(url)), wanted)))
            }
        }
    }

    /// The failure that a verdict without bytes is.
    fn refused(&self, url: &Url, verdict: ResumeDecision) -> AttemptError {
        let at = |refusal: Refusal| Refusal { seen: format!("{} from {}", refusal.seen, shown(url)), ..refusal };
        match verdict {
            ResumeDecision::Later(refusal, Some(seconds)) => {
                AttemptError::ThisAddress(FetchError::new(at(refusal), RetryAdvice::After(seconds)))
            }
            ResumeDecision::Later(refusal, None) => AttemptError::later(at(refusal)),
            ResumeDecision::Refuse(refusal) => AttemptError::never(at(refusal)),
            ResumeDecision::Append | ResumeDecision::Restart | ResumeDecision::AskAgain => {
                AttemptError::later(checks::CUT.with(shown(url), "a complete response"))
            }
        }
    }

    fn lied(&self, artifact: &Sha256, url: &Url) -> bool {
        self.with_distrusted_addresses(|distrusted| distrusted.iter().any(|(of, at)| of == artifact && at == url))
    }

    fn distrust(&self, artifact: Sha256, url: &Url) {
        self.with_distrusted_addresses(|distrusted| {
            distrusted.push((artifact, url.clone()));
            if distrusted.len() > DISTRUSTED_ADDRESSES {
                distrusted.remove(0);
            }
        });
    }

    fn unblock(&self, artifact: &Sha256) {
        self.with_distrusted_addresses(|distrusted| distrusted.retain(|(of, _)| of != artifact));
    }

    fn with_distrusted_addresses<T>(&self, work: impl FnOnce(&mut Vec<(Sha256, Url)>) -> T) -> T {
        work(&mut self.distrusted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What came from where in one call.
struct Run {
    /// Bytes that were there before the call, as long as they are of use.
    resumed: u64,
    /// Whether what is there came by more than one request, so that a wrong digest is not yet the last server's fault.
    mixed: bool,
    /// Bytes that came.
    received: u64,
}

impl Run {
    fn anew(&mut self) {
        (self.resumed, self.mixed) = (0, false);
    }
}

/// A body that must come fast enough.
struct Body<'a> {
    response: Response,
    url: &'a Url,
    pace: Interval,
    /// Bytes since the last look.
    came: u64,
    /// Bytes that must come between two looks.
    wanted: u64,
    window: Duration,
}

impl<'a> Body<'a> {
    fn of(response: Response, url: &'a Url, settings: &HttpSettings) -> Self {
        let window = settings.min_speed_window;
        // At least one byte: a window in which nothing at all came is always too slow.
        let wanted = settings.min_speed.saturating_mul(window.as_secs()).max(1);
        Self { response, url, pace: ticks(window), came: 0, wanted, window }
    }

    /// The next bytes. May be dropped while it waits; nothing is lost.
    async fn next(&mut self) -> Result<Option<Bytes>, AttemptError> {
        loop {
            tokio::select! {
                // Bytes that are there come first: a slow disk of ours is not the server's fault.
                biased;
                chunk = self.response.chunk() => {
                    let chunk = chunk.map_err(|error| transport(self.url, &error))?;
                    self.came = self.came.saturating_add(chunk.as_ref().map_or(0, |chunk| length(chunk.len())));
                    return Ok(chunk);
                }
                _ = self.pace.tick() => {
                    let came = std::mem::take(&mut self.came);
                    if came < self.wanted {
                        let window = crate::duration::show(self.window);
                        return Err(AttemptError::later(checks::SLOW.with(
                            format_args!("{}: {came} bytes in {window}", shown(self.url)),
                            format_args!("{} bytes in {window}", self.wanted),
                        )));
                    }
                }
            }
        }
    }
}

fn ticks(every: Duration) -> Interval {
    // The runtime's own clock: it only counts ticks, nothing is decided by a time that was read.
    let mut ticks = interval_at(Instant::now().checked_add(every).unwrap_or_else(Instant::now), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Whether the budget covers so many bytes more.
fn afford(what: &Download, spent: u64, wanted: u64) -> Result<(), AttemptError> {
    let account = Account { spent, ..what.budget.account };
    Budget { account, ..what.budget }
        .covers(wanted)
        .map_err(|refusal| AttemptError::ThisAddress(FetchError::over_budget(refusal)))
}

/// Of two failures the one to report: what ends it here, then what may work later, the shorter wait, else the graver.
fn worse(first: Option<FetchError>, second: FetchError) -> FetchError {
    let Some(first) = first else { return second };
    let rank = |error: &FetchError| match error.kind {
        // To ask on would cost a little each time, and an address that can resume would have done so.
        FetchErrorKind::Budget => (0, 0),
        FetchErrorKind::Other(RetryAdvice::Later) => (1, 0),
        FetchErrorKind::Other(RetryAdvice::After(seconds)) => (2, seconds),
        FetchErrorKind::WrongFile => (3, 0),
        FetchErrorKind::Other(RetryAdvice::Never) => (3, 1),
    };
    if rank(&second) < rank(&first) { second } else { first }
}

/// At most [`REDIRECTS`], and never from https to something that anybody on the way can read and change.
fn redirects(allow_http: bool) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        let scheme = attempt.url().scheme().to_owned();
        let secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS {
            attempt.error(format!("more than {REDIRECTS} redirects"))
        } else if scheme != "https" && (secure || !allow_http) {
            attempt.error(format!("a redirect to {scheme}"))
        } else {
            attempt.follow()
        }
    })
}

fn answer(response: &Response) -> ResponseHead {
    ResponseHead {
        status: response.status().as_u16(),
        length: text(response, header::CONTENT_LENGTH).and_then(|text| text.parse().ok()),
        range: text(response, header::CONTENT_RANGE),
        etag: text(response, header::ETAG),
        retry_after: text(response, header::RETRY_AFTER),
        date: text(response, header::DATE),
    }
}

fn text(response: &Response, name: HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
