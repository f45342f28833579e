//! Imitates KubeEdge's `edgecore`, as v1.13.0 and v1.23.1 were measured when they ran.
//!
//! Like the real one:
//! - it reads `/etc/kubeedge/config/edgecore.yaml`; a newer version rewrites that file in place, an older one exits with 1 on the result;
//! - it adds to its database at start, and exits with 1 if it cannot;
//! - it answers `/healthz` and `/healthz/syncloop`, and logs `Websocket connect to cloud access successful`;
//! - it panics with exit status 2 on a certificate of an old version; it dies some time after a healthy start without the cloud;
//! - SIGTERM ends it, and it ignores `--version` and starts.
//!
//! Unlike the real one: it runs no modules, talks to no cloud, broker or container runtime, and answers no membership request over
//! MQTT. Its configuration is read by lines, and only a stamp of the last writer makes it incompatible. Its database may be a text file.
//! `/metaserver` is on the port of the health checks, not on 10550. [`Dials`] set when it dies.
#![expect(clippy::print_stderr, reason = "edgecore logs to stderr, and so does its stand-in")]

use super::dials::{Behaviour, Dials, dials_of};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The line edgecore logs once it has reached the cloud.
pub const CONNECTED: &str = "Websocket connect to cloud access successful";

const CONFIG: &str = "/etc/kubeedge/config/edgecore.yaml";
/// The key a rewriting version leaves behind, and that older ones choke on.
const WRITTEN_BY: &str = "writtenBy";
const KNOWN_KEYS: [&str; 6] = ["apiVersion", "database", "featureGates", "kind", "modules", WRITTEN_BY];

/// Runs as edgecore and never returns, if this very executable carries dials; otherwise does nothing. Call it first in `main`.
pub fn main_if_standin() {
    // Not `current_exe`: its path is wrong as soon as the file was replaced, which is what updates do.
    let dials = dials_of(Path::new("/proc/self/exe"));
    match dials {
        Ok(None) => {}
        Ok(Some(dials)) => run(&dials),
        Err(e) => {
            eprintln!("edgecore stand-in: {e:#}");
            std::process::exit(70);
        }
    }
}

fn log(dials: &Dials, text: &str) {
    eprintln!("I edgecore {} [{}] {text}", dials.version, std::process::id());
}

fn fail(dials: &Dials, code: i32, text: &str) -> ! {
    eprintln!("E edgecore {} [{}] {text}", dials.version, std::process::id());
    std::process::exit(code)
}

fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// `--config FILE` or `--config=FILE`; every other argument is ignored.
fn config_argument() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|a| a.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    None
}

fn run(dials: &Dials) -> ! {
    let started = Instant::now();
    std::thread::sleep(Duration::from_millis(dials.start_delay_ms));
    log(dials, "starting");
    if let Behaviour::ExitAtOnce { code } = dials.behaviour {
        fail(dials, code, "dialled to exit at once");
    }
    if dials.behaviour == Behaviour::PanicsOnOldCertificate {
        eprintln!("panic: the certificate's common name is kubeedge.io, expected system:node:edge-1");
        (1..100).for_each(|n| eprintln!("goroutine {n} [running]:\nmain.main()"));
        std::process::exit(2);
    }
    match config_argument().or_else(|| env_path("EDGECORE_CONFIG")).or_else(|| dials.config.clone()) {
        Some(path) => read_config(dials, &path),
        None if Path::new(CONFIG).exists() => read_config(dials, Path::new(CONFIG)),
        None => {}
    }
    if let Some(path) = env_path("EDGECORE_DATABASE").or_else(|| dials.database.clone())
        && let Err(e) = add_row(dials, &path)
    {
        fail(dials, 1, &format!("database {}: {e}", path.display()));
    }
    if dials.behaviour != Behaviour::NeverListens {
        listen(dials, started);
    }
    if dials.connects {
        log(dials, CONNECTED);
    }
    if let Behaviour::DiesAfter { ms, code } = dials.behaviour {
        std::thread::sleep(Duration::from_millis(ms).saturating_sub(started.elapsed()));
        fail(dials, code, &format!("dialled to die after {ms} ms"));
    }
    loop {
        std::thread::park();
    }
}

fn read_config(dials: &Dials, path: &Path) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => fail(dials, 1, &format!("config {}: {e}", path.display())),
    };
    if let Some(writer) = written_by(&text)
        && numbers(writer) > numbers(&dials.version)
    {
        fail(dials, 1, &format!("config {}: unknown fields, it was written by {writer}", path.display()));
    }
    if dials.rewrites_config {
        // In place and without a rename, as the real one does it.
        if let Err(e) = std::fs::write(path, rewritten(&text, &dials.version)) {
            fail(dials, 1, &format!("config {}: {e}", path.display()));
        }
        log(dials, &format!("rewrote {}", path.display()));
    }
}

fn written_by(config: &str) -> Option<&str> {
    config.lines().find_map(|line| line.strip_prefix(WRITTEN_BY)?.strip_prefix(':')).map(str::trim)
}

/// Keeps known top-level keys with what is indented below them, drops the others, and signs.
fn rewritten(config: &str, version: &str) -> String {
    let mut keep = true;
    let mut out = String::new();
    for line in config.lines() {
        let top_level = !line.starts_with([' ', '\t', '#', '-']) && !line.is_empty();
        if top_level {
            let key = line.split(':').next().unwrap_or_default();
            keep = key != WRITTEN_BY && KNOWN_KEYS.contains(&key);
        }
        if keep && !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.push_str(&format!("{WRITTEN_BY}: {version}\n"));
    out
}

fn numbers(version: &str) -> Vec<u64> {
    version.trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// A real SQLite database gets a row by way of the `sqlite3` program; any other file gets a line.
fn add_row(dials: &Dials, path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut magic = [0; 15];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"SQLite format 3" => {}
        Ok(()) => return writeln!(file, "started {}", dials.version),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return writeln!(file, "started {}", dials.version),
        Err(e) => return Err(e),
    }
    drop(file);
    let statement = format!(
        "create table if not exists starts (version text); insert into starts values ('{}');",
        dials.version.replace('\'', "")
    );
    let status = std::process::Command::new("sqlite3").arg(path).arg(statement).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("sqlite3: {status}"))) }
}

fn listen(dials: &Dials, started: Instant) {
    let address: SocketAddr = match std::env::var("EDGECORE_HEALTH") {
        Ok(text) => text.parse().unwrap_or_else(|e| fail(dials, 1, &format!("EDGECORE_HEALTH `{text}`: {e}"))),
        Err(_) => dials.health,
    };
    let listener = TcpListener::bind(address).unwrap_or_else(|e| fail(dials, 1, &format!("listen on {address}: {e}")));
    let dials = dials.clone();
    std::thread::spawn(move || {
        let (mut unanswered, mut answered) = (Vec::new(), 0_u32);
        for stream in listener.incoming().flatten() {
            if dials.behaviour == Behaviour::NeverAnswers {
                // Kept, or the peer would see the connection end, which is an answer of a kind.
                unanswered.push(stream);
                continue;
            }
            let sick = match dials.behaviour {
                Behaviour::AnswersSick => true,
                Behaviour::SickensAfter { ms } => started.elapsed() > Duration::from_millis(ms),
                Behaviour::SickensAfterAnswers { answers } => answered >= answers,
                _ => false,
            };
            answered = answered.saturating_add(1);
            // A peer that disconnects early needs no answer.
            let _gone = answer(stream, sick, dials.connects);
        }
    });
}

fn answer(mut stream: TcpStream, sick: bool, connected: bool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut request = Vec::new();
    let mut byte = [0; 512];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        let got = stream.read(&mut byte)?;
        if got == 0 || request.len() > 16 * 1024 {
            return Ok(());
        }
        request.extend_from_slice(&byte[..got]);
    }
    let line = String::from_utf8_lossy(&request);
    let path = line.split_whitespace().nth(1).unwrap_or_default();
    let (status, body) = match path {
        "/healthz" | "/healthz/syncloop" if sick => ("500 Internal Server Error", "sync loop is stuck"),
        "/healthz" | "/healthz/syncloop" => ("200 OK", "ok"),
        // The real one's metaserver has a port of its own; it answers 500 while the cloud is away.
        "/metaserver" if connected => ("200 OK", "ok"),
        "/metaserver" => ("500 Internal Server Error", "cloud is away"),
        _ => ("404 Not Found", "404 page not found"),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewriting_drops_unknown_keys_and_signs() {
        let old =
            "apiVersion: v1alpha2\nmodules:\n  edged:\n    enable: true\nours: kept by operators\n  nested: 1\nkind: EdgeCore\n";
        let new = rewritten(old, "v1.23.1");
        assert_eq!(new, "apiVersion: v1alpha2\nmodules:\n  edged:\n    enable: true\nkind: EdgeCore\nwrittenBy: v1.23.1\n");
        assert_eq!(written_by(&new), Some("v1.23.1"));
        assert_eq!(rewritten(&new, "v1.24.0"), new.replace("v1.23.1", "v1.24.0"), "signed once");
        assert!(numbers("v1.9.0") < numbers("v1.23.1"));
    }
}
