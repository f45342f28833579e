//! Runs a helper program to its end, bounded in time and output, and ends all its processes.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use slipway_protocol::refusal::printable;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// Output that is kept of each stream, the end of it: far more than any answer that is read.
const OUTPUT_LIMIT: usize = 64 * 1024;
/// How long output is still read once the program ended: a child of its own may hold the pipe open forever.
const DRAIN: Duration = Duration::from_millis(200);
/// What a program that the agent starts inherits of its environment. Not NOTIFY_SOCKET and its kind: those speak for the agent.
pub(crate) const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// What a program answered.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The last line that says something: of its output, or else of its error output.
    pub(crate) fn last_line(&self) -> &str {
        let last = |text: &'_ str| text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::len);
        let text = if last(&self.out).is_some() { &self.out } else { &self.err };
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
    }
}

/// Why a program gave no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It could not be started or waited for.
    Io(std::io::Error),
    /// It took too long and was killed.
    Timeout(Duration),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => f.write_str(&printable(&error.to_string())),
            Self::Timeout(limit) => write!(f, "no answer within {limit:?}"),
        }
    }
}

/// A command with the small environment that all programs get.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)))).current_dir("/");
    command
}

/// Runs it. When this returns or is dropped, its whole process group is dead.
pub(crate) async fn run(mut command: Command, limit: Duration) -> Result<Ran, Failed> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(Failed::Io)?;
    let _group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(|pid| Group(Pid::from_raw(pid)));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = {
        let reading = async { tokio::join!(keep_end(stdout, &mut out), keep_end(stderr, &mut err)) };
        tokio::pin!(reading);
        timeout(limit, async {
            // Read while it runs, or a full pipe would stop it.
            let mut read = false;
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status,
                    _ = &mut reading, if !read => read = true,
                }
            };
            if !read {
                timeout(DRAIN, &mut reading).await.ok();
            }
            status
        })
        .await
    };
    match status {
        Ok(Ok(status)) => Ok(Ran { status, out: text(&out), err: text(&err) }),
        Ok(Err(error)) => Err(Failed::Io(error)),
        Err(_) => Err(Failed::Timeout(limit)),
    }
}

/// Kills a process group when it goes out of scope. The group's id is not used again while anything of it lives, and when nothing does
/// the signal goes nowhere.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // The only failure is that the processes are gone already.
        killpg(self.0, Signal::SIGKILL).ok();
    }
}

async fn keep_end(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut block = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut block).await {
        kept.extend_from_slice(block.get(..count).unwrap_or_default());
        if kept.len() > OUTPUT_LIMIT.saturating_mul(2) {
            kept.drain(..kept.len().saturating_sub(OUTPUT_LIMIT));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.get(bytes.len().saturating_sub(OUTPUT_LIMIT)..).unwrap_or(bytes);
    String::from_utf8_lossy(end).into_owned()
}

/// How a process ended, in words.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => {
            Signal::try_from(number).map_or_else(|_| format!("killed by signal {number}"), |signal| format!("killed by {signal}"))
        }
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = command("/bin/sh");
        shell.args(["-c", script]);
        shell
    }

    #[tokio::test]
    async fn answers_with_status_and_last_line() {
        let ran = run(shell("echo one; echo two; echo; echo err >&2; exit 3"), Duration::from_secs(10)).await.unwrap();
        assert_eq!((ran.status.code(), ran.last_line()), (Some(3), "two"));
        let ran = run(shell("echo only >&2; kill -9 $$"), Duration::from_secs(60)).await.unwrap();
        assert_eq!((ending(ran.status).as_str(), ran.last_line()), ("killed by SIGKILL", "only"));
        assert!(matches!(run(command("/no/such/program"), Duration::from_secs(1)).await, Err(Failed::Io(_))));
    }

    #[tokio::test]
    async fn a_flood_is_read_and_forgotten() {
        let ran = run(shell("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end"), Duration::from_secs(60)).await.unwrap();
        assert!(ran.out.len() <= OUTPUT_LIMIT && ran.last_line() == "end");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        // Longer where a machine is so slow that it has not come to its children.
        for secs in [1, 10, 60] {
            assert!(matches!(run(shell(&script), Duration::from_secs(secs)).await, Err(Failed::Timeout(_))));
            if std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')) {
                break;
            }
        }
        gone(&file).await;
    }

    #[tokio::test]
    async fn a_child_that_stays_behind_neither_holds_us_up_nor_survives() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; echo done", file.display());
        let ran = run(shell(&script), Duration::from_secs(60)).await.unwrap();
        assert_eq!(ran.last_line(), "done");
        gone(&file).await;
    }

    /// Waits until the process whose id is in `file` is gone.
    async fn gone(file: &std::path::Path) {
        let pid: u32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let over = || super::super::process::stat(pid).is_none_or(|stat| stat.over);
        timeout(Duration::from_secs(60), async {
            while !over() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
    }
}
