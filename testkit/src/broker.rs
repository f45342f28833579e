//! Runs a real mosquitto on a loopback address of its own, for as long as the test lives.
//!
//! Unlike a broker in use it persists nothing: after [`Mosquitto::restart`] every session is new, as after a broker's crash.

use crate::tls::Identity;
use crate::wait;
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_secs(60);
/// Somebody else may take a port between our finding it free and mosquitto's asking for it.
const ATTEMPTS: usize = 5;

/// How clients reach the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// TCP, anybody.
    Plain,
    /// TLS with this server certificate, anybody.
    Tls(Identity),
    /// TLS, and only with a client certificate of the same authority, whose common name is the user.
    MutualTls(Identity),
}

/// A broker process; killed when dropped.
#[derive(Debug)]
pub struct Mosquitto {
    address: SocketAddr,
    access: Access,
    extra: String,
    dir: TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts a broker and waits until it accepts connections.
    pub fn start(access: Access) -> Result<Self> {
        Self::start_with(access, "")
    }

    /// The same with further lines of mosquitto.conf, such as `max_packet_size 65536` or `acl_file …`.
    pub fn start_with(access: Access, extra: &str) -> Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let address = match access {
                Access::Plain => crate::address(),
                // The certificate is for `localhost`, and that is everybody's.
                Access::Tls(_) | Access::MutualTls(_) => TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            };
            let dir = TempDir::with_prefix("slipway-mosquitto-")?;
            let mut broker = Self { address, access: access.clone(), extra: extra.to_owned(), dir, child: None };
            match broker.run() {
                Ok(()) => return Ok(broker),
                Err(e) if broker.log().contains("Address already in use") => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host name that fits its certificate.
    pub fn host(&self) -> String {
        match self.access {
            Access::Plain => self.address.ip().to_string(),
            Access::Tls(_) | Access::MutualTls(_) => "localhost".to_owned(),
        }
    }

    /// `mqtt://ADDRESS:PORT` or `mqtts://localhost:PORT`.
    pub fn url(&self) -> String {
        let scheme = if self.access == Access::Plain { "mqtt" } else { "mqtts" };
        format!("{scheme}://{}:{}", self.host(), self.address.port())
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Kills it at once; clients notice when their connection ends.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; `wait` tells either way.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Stops it if it runs and starts it again on the same port, with an empty memory.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.run()
    }

    /// Freezes it (SIGSTOP): connections stay, nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid().context("the broker does not run")?;
        let status = Command::new("kill").arg(signal).arg(pid.to_string()).status().context("cannot run kill")?;
        anyhow::ensure!(status.success(), "kill {signal} {pid}: {status}");
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn config(&self) -> String {
        let mut lines = vec![
            // Started by root it would become another user, who cannot read our keys.
            "user root".to_owned(),
            "persistence false".to_owned(),
            // Not stdout, which it writes in blocks.
            "log_dest stderr".to_owned(),
            "log_type all".to_owned(),
            format!("listener {} {}", self.address.port(), self.address.ip()),
        ];
        if let Access::Tls(identity) | Access::MutualTls(identity) = &self.access {
            lines.push(format!("cafile {}", identity.ca.display()));
            lines.push(format!("certfile {}", identity.certificate.display()));
            lines.push(format!("keyfile {}", identity.key.display()));
        }
        match &self.access {
            Access::MutualTls(_) => {
                lines.extend(["require_certificate true", "use_identity_as_username true"].map(str::to_owned))
            }
            Access::Plain | Access::Tls(_) => lines.push("allow_anonymous true".to_owned()),
        }
        lines.push(self.extra.clone());
        lines.join("\n") + "\n"
    }

    fn run(&mut self) -> Result<()> {
        let program = program()?;
        let config = self.dir.path().join("mosquitto.conf");
        std::fs::write(&config, self.config())?;
        let log = File::create(self.log_path())?;
        let child = Command::new(&program)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.child = Some(child);
        let ready = wait::try_until_some("mosquitto accepts connections", START, || {
            match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(None)) => {}
                ended => return Some(Err(anyhow::anyhow!("mosquitto ended at once: {ended:?}"))),
            }
            let listens = self.log().contains(" running") && TcpStream::connect(self.address).is_ok();
            listens.then_some(Ok(()))
        });
        if let Err(e) = ready.and_then(|ready| ready) {
            let log = self.log();
            self.stop();
            bail!("{e}\nits log:\n{log}");
        }
        Ok(())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Debian puts mosquitto where only root looks.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    match dirs.map(|dir| dir.join("mosquitto")).find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => {
            bail!("mosquitto is not installed, and this test needs the real one: `apt-get install mosquitto`, or run tests/run")
        }
    }
}
