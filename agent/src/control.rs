//! The socket of the running agent for commands: one request per connection, answers as JSON lines.
//!
//! Only root and the socket's group may connect: the file's mode says so. What comes in is still bounded and parsed strictly.

use crate::status::Status;
use crate::trust::View;
use serde::{Deserialize, Serialize};
use slipway_machine::record::Ending;
use slipway_protocol::{ComponentName, Refusal, Report, Sha256, Version, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// A request is one short line.
const REQUEST_LIMITS: json::Limits = json::Limits { bytes: 16 * 1024, depth: 4 };
/// Answers on the way to one command; a command that does not read is let go.
const ANSWERS: usize = 256;

/// How often, and how far apart, a socket that answers is asked again before another agent is taken to be there: 3 s.
const TRIES: u8 = 15;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

slipway_protocol::refusals! {
    SOCKET = "SLW-A-SOCKET", System, Device, "agent's socket cannot be used",
        "check whether slipway-agent.service runs and whether you may use its socket (root may)";
}

/// What a command wants.
///
/// It comes from the agent's own command line and is kept nowhere. A request is carried out as it is meant or not at all, so a
/// member that is not known is refused.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "request", deny_unknown_fields)]
pub enum Request {
    /// The node's picture.
    Status,
    /// What is trusted.
    Trust,
    /// Past reports, newest first.
    History {
        /// Of one component, or of all.
        component: Option<ComponentName>,
        /// At most so many.
        limit: usize,
    },
    /// Look for a release now.
    Check {
        /// Of which component.
        component: ComponentName,
    },
    /// Install from an offline bundle.
    Install {
        /// Which component.
        component: ComponentName,
        /// The bundle, by its absolute path.
        path: PathBuf,
    },
    /// Go back, or call the running update off.
    Rollback {
        /// Which component.
        component: ComponentName,
    },
    /// Let a condemned artifact be tried again.
    #[serde(rename = "forgive")]
    Unblock {
        /// Which component.
        component: ComponentName,
        /// Which artifact; all when absent.
        artifact: Option<Sha256>,
    },
    /// Show a possible freeze no more.
    Dismiss {
        /// Of which component.
        component: ComponentName,
    },
    /// Clear the recorded expiry of the operator's metadata, which all components share.
    ForgetExpired {
        /// Whom the answer names.
        component: ComponentName,
    },
}

/// What the agent answers; the last answer is anything but [`Response::Report`].
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// Something happened on the way.
    Report(Report),
    /// It is over; how the last attempt ended.
    Done(Option<Ending>),
    /// It is over, and this is what there was to forgive.
    #[serde(rename = "forgiven")]
    Unblocked(Unblocked),
    /// The picture.
    Status(Box<Status>),
    /// What is trusted.
    Trust(Box<View>),
    /// Past reports.
    History(Vec<Report>),
    /// Not like this.
    Refused(Refusal),
}

/// What a person has forgiven.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Unblocked {
    /// Of which component.
    pub component: ComponentName,
    /// Releases that may be installed again.
    pub releases: Vec<Version>,
    /// Whether downloads had cost something that no longer counts.
    pub cost: bool,
    /// The release whose absence is no longer shown as a possible freeze.
    pub freeze: Option<Version>,
    /// Versions by role of the operator's metadata that had been judged expired and are judged
    /// anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expired: BTreeMap<String, u64>,
}

impl Unblocked {
    /// That there was nothing to forgive.
    #[must_use]
    pub const fn nothing(component: ComponentName) -> Self {
        Self { component, releases: Vec::new(), cost: false, freeze: None, expired: BTreeMap::new() }
    }
}

/// Opens the socket. One left by an agent that was killed is replaced; one that answers belongs to another agent.
///
/// # Errors
/// When another agent listens there, or it cannot be made.
pub async fn listen(path: &Path) -> Result<UnixListener, Refusal> {
    let failed = |error: std::io::Error| SOCKET.with(format_args!("{}: {error}", path.display()), "a socket");
    // A process that an agent was starting when it was killed holds its socket for a moment.
    let mut tries = 0_u8;
    while UnixStream::connect(path).await.is_ok() {
        tries = tries.saturating_add(1);
        if tries >= TRIES {
            return Err(SOCKET.with(format_args!("{}: another agent listens there", path.display()), "one agent"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Passes every request to the driver, without end.
pub async fn serve(listener: UnixListener, requests: mpsc::Sender<(Request, mpsc::Sender<Response>)>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let requests = requests.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = answer(stream, requests).await {
                        tracing::debug!(%error, "client of the control socket disconnected");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket failed to accept a connection; retrying");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, requests: mpsc::Sender<(Request, mpsc::Sender<Response>)>) -> std::io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut line = Vec::new();
    let limit = u64::try_from(REQUEST_LIMITS.bytes).unwrap_or(u64::MAX).saturating_add(1);
    BufReader::new(from.take(limit)).read_until(b'\n', &mut line).await?;
    let request = match json::parse::<Request>(&line, REQUEST_LIMITS) {
        Ok(request) => request,
        Err(error) => {
            return send(&mut to, &Response::Refused(SOCKET.with(error, "a request that this agent's version knows"))).await;
        }
    };
    let (answers, mut coming) = mpsc::channel(ANSWERS);
    if requests.send((request, answers)).await.is_err() {
        return Ok(());
    }
    while let Some(response) = coming.recv().await {
        let last = !matches!(response, Response::Report(_));
        send(&mut to, &response).await?;
        if last {
            break;
        }
    }
    Ok(())
}

async fn send(to: &mut (impl AsyncWriteExt + Unpin), response: &Response) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// Asks a running agent; `each` hears every answer. `None` when no agent listens there.
///
/// # Errors
/// When the agent goes away in the middle, or may not be asked.
pub async fn ask(path: &Path, request: &Request, mut each: impl FnMut(Response)) -> Result<Option<()>, Refusal> {
    let failed = |error: std::io::Error| SOCKET.with(format_args!("{}: {error}", path.display()), "an answer");
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let (from, mut to) = stream.into_split();
    let mut line = serde_json::to_vec(request).map_err(|error| SOCKET.with(error, "a request"))?;
    line.push(b'\n');
    to.write_all(&line).await.map_err(failed)?;
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await.map_err(failed)? {
        let response: Response =
            serde_json::from_str(&line).map_err(|error| SOCKET.with(error, "an answer that this version knows"))?;
        let last = !matches!(response, Response::Report(_));
        each(response);
        if last {
            return Ok(Some(()));
        }
    }
    Err(SOCKET.with("the agent closed the connection", "an answer"))
}
