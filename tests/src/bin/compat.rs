//! Runs agents and repositories of `formats-1` and of today together, on loopback, and sees that nobody is locked out.
//!
//! | | must hold |
//! |---|---|
//! | each agent on each repository | it installs edgecore, blocks a bad release, and then the release of the agent that its channel names |
//! | state of an old agent under a new one | floors, blocks and reports are there: every old agent above ends as a new one |
//! | state of a new agent under an old one, and under a new one again | the same |
//!
//! That it can fail was seen: with an unknown member in the witness's payload in place of beside it, the old agent ends with
//! `SLW-A-STATE-NEWER`; with `expired` in the payload's floors, with `SLW-A-TRUST-MEMORY`. A channel that no release follows, and
//! a configuration that an agent refuses, were counted as locked out.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use slipway_agent::storage::witness::Witness;
use slipway_protocol::Platform;
use slipway_sim::factory::now;
use slipway_testkit::edgecore::{self, Behaviour, Dials, Member, pack};
use slipway_testkit::server::ReleaseServer;
use slipway_testkit::sigstore::{Attestation, PrivateSigstore, Subject};
use slipway_testkit::{programs, wait};
use slipway_tests::LONG;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};

const HELP: &str = "\
Runs agents and repositories of formats-1 and of today together.

Usage: tests/compat [OPTIONS]

      --quick      Only the old agent on the new repository, and the states
      --keep DIR   Leave the devices' folders there, and a copy of each state as the first agent wrote it: golden files

Ends with `agents: A × repositories: R  locked out: N` and `states: S  lost: N`; exit code 1 unless both are 0.
";
const AGENT: &str = "slipway-agent";
/// Program that the agent takes for systemctl of systemd 257. It knows the verbs that the agent uses, answers `show` with the
/// properties that it reads, and leaves a restart of the agent to this program.
const SYSTEMCTL: &str = r#"#!/bin/sh
here=$(dirname "$0")
verb=$1
for unit; do :; done
case "$verb $unit" in
"show slipway-agent.service")
    printf 'LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nNRestarts=0\nMainPID=%s\n' "$(cat "$here/pid")" ;;
"show "*)
    state=$(cat "$here/$unit" 2>/dev/null || echo inactive)
    printf 'LoadState=loaded\nActiveState=%s\nSubState=running\nResult=success\nNRestarts=0\nMainPID=1\n' "$state" ;;
"restart slipway-agent.service") : > "$here/restart" ;;
"start "*) echo active > "$here/$unit" ;;
"stop "*) echo inactive > "$here/$unit" ;;
esac
"#;

/// A generation of programs.
struct Programs {
    name: &'static str,
    agent: PathBuf,
    operator: PathBuf,
    /// Options of `slipway init`.
    init: &'static [&'static str],
}

/// An operator's repository, made by one generation's tool, on a web server.
struct Repository<'a> {
    operator: &'a Path,
    dir: PathBuf,
    sigstore: PrivateSigstore,
    server: ReleaseServer,
}

impl<'a> Repository<'a> {
    /// `init` are further options of `slipway init`: today's tool serves agents of `formats-1` where it is asked to.
    fn new(operator: &'a Path, dir: &Path, init: &[&str]) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let sigstore = PrivateSigstore::new("compat");
        let repo = dir.join("repo");
        run(Command::new(operator).arg("init").arg(&repo).arg("--unencrypted").args(init))?;
        let server = ReleaseServer::start(&repo.join("public"))?;
        let repository = Self { operator, dir: dir.to_owned(), sigstore, server };
        for component in ["edgecore", AGENT] {
            let policy = dir.join(format!("{component}.toml"));
            fs::write(&policy, format!("component = \"{component}\"\npreset = \"kubeedge\"\n"))?;
            repository.slipway(&["policy", "add"], &[&policy.display().to_string()])?;
        }
        let root = dir.join("trusted_root.json");
        fs::write(&root, repository.sigstore.trusted_root())?;
        repository.slipway(&["sigstore", "add"], &[&root.display().to_string()])?;
        Ok(repository)
    }

    fn slipway(&self, verb: &[&str], args: &[&str]) -> Result<()> {
        run(Command::new(self.operator).args(verb).arg(self.dir.join("repo")).args(args)).map(drop)
    }

    /// Releases edgecore's stand-in and points the channel there.
    fn edgecore(&self, dials: &Dials, channel: &[&str]) -> Result<()> {
        let out = self.dir.join("builds").join(&dials.version);
        let attestation = Attestation::kubeedge(&dials.version).at(now().as_second().saturating_sub(60));
        let standin = programs::edgecore_standin()?;
        let arch = Platform::current().arch();
        let release = edgecore::Release::write_attested(&out, &self.sigstore, &standin, &[arch], dials, attestation)?;
        let archive = release.archives.first().context("an archive")?;
        let (archive, provenance) = (archive.path.display().to_string(), release.provenance.display().to_string());
        self.slipway(&["release"], &["--artifact", &archive, "--provenance", &provenance])?;
        self.slipway(&["channel"], &[&["--release", &dials.version], channel].concat())
    }

    /// Releases `program` as the agent and points its channel there.
    fn agent(&self, version: &str, program: &[u8]) -> Result<()> {
        let platform = Platform::current();
        let name = format!("slipway-agent-{version}-linux-{}.tar.gz", platform.arch());
        let archive = pack(&[Member::file(AGENT, 0o755, program)]);
        let (file, provenance) = (self.dir.join(&name), self.dir.join("agent.sigstore.json"));
        fs::write(&file, &archive)?;
        let attestation = Attestation::kubeedge(version).subject(Subject::of(&name, &archive));
        fs::write(&provenance, self.sigstore.attest(&attestation.at(now().as_second().saturating_sub(60))))?;
        let artifact = format!("{platform}={},member={AGENT}", file.display());
        let provenance = provenance.display().to_string();
        let component = ["--component", AGENT];
        self.slipway(
            &["release"],
            &[&component[..], &["--version", version, "--artifact", &artifact, "--provenance", &provenance]].concat(),
        )?;
        self.slipway(&["channel"], &[&component[..], &["--release", version]].concat())
    }
}

/// A device with an agent, and this program in systemd's place.
struct Node {
    dir: PathBuf,
    agent: Option<Child>,
}

impl Node {
    fn new(dir: &Path, repository: &Repository<'_>, adopt: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("bin"))?;
        program(&dir.join("bin/systemctl"), SYSTEMCTL)?;
        program(&dir.join("bin/journalctl"), "#!/bin/sh\n")?;
        fs::write(dir.join("edgecore.yaml"), "apiVersion: edgecore.config.kubeedge.io/v1alpha2\n")?;
        let health = slipway_testkit::address();
        let config = format!(
            r#"
[node]
name = "edge-1"
fleet = "factory"
state = "{dir}/state"
socket = "{dir}/agent.sock"
[repository]
root = "{root}"
url = "{url}/"
refresh = "1h"
[http]
allow_http = true
proxy = "none"
[mqtt]
url = "mqtt://{nobody}"
[[component]]
name = "edgecore"
channel = "stable"
snapshot.files = ["{dir}/edgecore.yaml"]
[component.run]
command = ["{{current}}/bin/edgecore", "--config", "{dir}/edgecore.yaml"]
env = {{ EDGECORE_HEALTH = "{health}" }}
[component.health]
soak = "1s"
deadline = "20s"
interval = "100ms"
[[component.health.check]]
name = "healthz"
http = "http://{health}/healthz"
required = true
[[component]]
name = "slipway-agent"
channel = "stable"
run.unit = "slipway-agent.service"
adopt = {{ path = "{adopt}", version = "v0.0.1" }}
[component.health]
soak = "1s"
deadline = "60s"
interval = "200ms"
"#,
            dir = dir.display(),
            root = repository.dir.join("repo/public/metadata/1.root.json").display(),
            url = repository.server.url(),
            nobody = slipway_testkit::address(),
            adopt = adopt.display(),
        );
        fs::write(dir.join("agent.toml"), config)?;
        Ok(Self { dir: dir.to_owned(), agent: None })
    }

    fn command(&self, exe: &Path, verb: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(exe);
        command.arg(verb).arg("--config").arg(self.dir.join("agent.toml"));
        command.env("PATH", format!("{}:{path}", self.dir.join("bin").display()));
        command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
        command
    }

    /// What systemd would start.
    fn current(&self) -> PathBuf {
        self.dir.join("state/current/slipway-agent/bin/slipway-agent")
    }

    fn start(&mut self, exe: &Path) -> Result<()> {
        self.stop();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("agent.log"))?;
        let mut command = self.command(exe, "run");
        let child = wait::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))?;
        fs::write(self.dir.join("bin/pid"), child.id().to_string())?;
        let socket = self.dir.join("agent.sock");
        let agent = self.agent.insert(child);
        let mut ended = None;
        let waited = wait::try_until("the agent answers", LONG, || {
            ended = agent.try_wait().ok().flatten();
            ended.is_some() || std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        match ended {
            Some(status) => Err(anyhow::anyhow!("the agent ended: {status}")).with_context(|| self.log()),
            None => waited.with_context(|| self.log()),
        }
    }

    fn stop(&mut self) {
        let Some(mut agent) = self.agent.take() else { return };
        let pid = i32::try_from(agent.id()).map(nix::unistd::Pid::from_raw);
        if let Ok(pid) = pid {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        let ended = wait::try_until("the agent ends", LONG, || matches!(agent.try_wait(), Ok(Some(_))));
        if ended.is_err() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n")
    }

    /// Does what `systemctl restart` would have done.
    fn systemd(&mut self) -> Result<()> {
        let asked = self.dir.join("bin/restart");
        if asked.exists() {
            fs::remove_file(&asked)?;
            // Gone when the update is over; one of the golden files.
            let _ = fs::copy(self.dir.join("state/restore/armed"), self.dir.join("armed"));
            self.start(&self.current())?;
        }
        Ok(())
    }

    fn status(&self, exe: &Path) -> Result<Value> {
        let output = run(self.command(exe, "status").arg("--json"))?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn until(&mut self, exe: &Path, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Result<()> {
        let mut last = Value::Null;
        let waited = wait::try_until(what, LONG, || {
            let _ = self.systemd();
            last = self.status(exe).unwrap_or_default();
            holds(&last)
        });
        waited.with_context(|| format!("{last:#}\n{}", self.log()))
    }

    fn check(&self, exe: &Path, component: &str) -> Result<()> {
        // Its end does not count: the agent may be restarted under it.
        let mut command = self.command(exe, "check");
        command.args(["--component", component]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// What must not be lost.
    fn kept(&self, exe: &Path) -> Result<Kept> {
        let status = self.status(exe)?;
        let edgecore = component(&status, "edgecore");
        let blocked = edgecore["condemned"].as_array().into_iter().flatten();
        let output = run(self.command(exe, "history").args(["--json", "-n", "1000"]))?;
        let lines = String::from_utf8(output.stdout)?;
        let reports = lines.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?["seq"].as_u64().unwrap_or_default()));
        Ok(Kept {
            floor: edgecore["floor"].as_str().unwrap_or_default().to_owned(),
            committed: edgecore["committed"]["version"].as_str().unwrap_or_default().to_owned(),
            blocked: blocked.filter_map(|one| one["version"].as_str().map(str::to_owned)).collect(),
            reports: reports.collect::<Result<_>>()?,
            unsent: status["outbox"].as_u64().unwrap_or_default(),
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
        // The component outlives its agent, in a process group of its own.
        let record = fs::read(self.dir.join("state/run/edgecore/process.json")).unwrap_or_default();
        let pid = serde_json::from_slice::<Value>(&record).ok().and_then(|it| it["process"]["pid"].as_i64());
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1) {
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Kept {
    floor: String,
    committed: String,
    blocked: BTreeSet<String>,
    reports: BTreeSet<u64>,
    unsent: u64,
}

impl Kept {
    /// That a later look at the same device finds all of this.
    fn still_in(&self, later: &Self) -> Result<()> {
        let same = self.floor == later.floor && self.committed == later.committed && self.blocked.is_subset(&later.blocked);
        ensure!(
            same && self.reports.is_subset(&later.reports) && self.unsent <= later.unsent,
            "something is lost:\nbefore {self:?}\nafter  {later:?}"
        );
        Ok(())
    }
}

fn component<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|one| one["component"] == name).unwrap_or(&Value::Null)
}

fn committed(status: &Value, name: &str, version: &str) -> bool {
    let component = component(status, name);
    component["committed"]["version"] == version && component["state"] == "idle"
}

fn program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

/// One agent on one repository, until it runs the agent release that its channel names.
fn follow(agent: &Programs, repository: &Programs, release: &[u8], dir: &Path, keep: bool) -> Result<(Node, Kept)> {
    let repository = Repository::new(&repository.operator, &dir.join("operator"), repository.init)?;
    repository.edgecore(&Dials::healthy("v1.22.0"), &["--floor", "v1.21.0"])?;
    let exe = agent.agent.as_path();
    let mut node = Node::new(&dir.join("node"), &repository, exe)?;
    node.start(exe)?;
    node.until(exe, "the agent adopts itself", |status| committed(status, AGENT, "v0.0.1"))?;
    node.start(&node.current())?;
    node.check(exe, "edgecore")?;
    node.until(exe, "edgecore is committed", |status| committed(status, "edgecore", "v1.22.0"))?;
    repository.edgecore(&Dials::new("v1.23.0", Behaviour::ExitAtOnce { code: 2 }), &[])?;
    node.check(exe, "edgecore")?;
    node.until(exe, "a bad release is blocked", |status| {
        let edgecore = component(status, "edgecore");
        edgecore["condemned"].as_array().is_some_and(|all| !all.is_empty()) && edgecore["state"] == "idle"
    })?;
    let before = node.kept(exe)?;
    ensure!(before.floor == "v1.22.0" && before.blocked.len() == 1 && before.unsent > 0, "{before:?}");
    if keep {
        node.stop();
        run(Command::new("cp").arg("-a").arg(node.dir.join("state")).arg(dir.join("golden")))?;
        node.start(&node.current())?;
    }

    repository.agent("v0.9.0", release)?;
    node.check(exe, AGENT)?;
    node.until(exe, "the agent has updated itself", |status| committed(status, AGENT, "v0.9.0"))?;
    let running = fs::read_link(format!("/proc/{}/exe", node.agent.as_ref().map_or(0, Child::id)))?;
    ensure!(running.to_string_lossy().contains("/slots/slipway-agent/v0.9.0-"), "{} runs", running.display());
    let current = node.current();
    let after = node.kept(&current)?;
    before.still_in(&after)?;
    Ok((node, after))
}

/// What a device of a new agent keeps under an old one, and then under a new one again.
fn back_and_forth(mut node: Node, before: &Kept, old: &Programs, new: &Programs) -> Result<()> {
    node.stop();
    // What no agent of formats-1 knows, written as today's agent writes it.
    let path = node.dir.join("state/witness");
    let (mut witness, memory) = Witness::open(&path).map_err(anyhow::Error::msg)?;
    let mut memory = memory.context("a witness")?;
    memory.tuf["operator"]["expired"] = serde_json::json!({ "timestamp": 1 });
    memory.more.insert("lease".to_owned(), serde_json::json!({ "until": 7 }));
    witness.write_both(&memory).map_err(anyhow::Error::msg)?;
    drop(witness);

    before.still_in(&node.kept(&old.agent)?).context("read by the old agent")?;
    run(&mut node.command(&old.agent, "trust")).context("floors of the metadata, read by the old agent")?;
    node.start(&old.agent)?;
    let under_old = node.kept(&old.agent)?;
    before.still_in(&under_old).context("under the old agent")?;
    node.stop();
    node.start(&new.agent)?;
    under_old.still_in(&node.kept(&new.agent)?).context("under the new agent again")?;
    node.stop();
    let aside =
        fs::read_dir(node.dir.join("state"))?.flatten().find(|entry| entry.file_name().to_string_lossy().contains(".damaged-"));
    ensure!(aside.is_none(), "set aside: {aside:?}");
    Ok(())
}

fn compat(quick: bool, dir: &Path, keep: bool) -> Result<bool> {
    let from = PathBuf::from(std::env::var_os("SLIPWAY_COMPAT_OLD").context("tests/compat sets SLIPWAY_COMPAT_OLD")?);
    let old = Programs { name: "old", agent: from.join(AGENT), operator: from.join("slipway"), init: &[] };
    let new = Programs {
        name: "new",
        agent: programs::program(AGENT, AGENT)?,
        operator: programs::program("slipway", "slipway")?,
        init: &["--overlap", "90"],
    };
    let mut release = fs::read(&new.agent)?;
    release.extend(b"v0.9.0");
    let (mut locked_out, mut lost) = (0_u32, 0_u32);
    let all = [&old, &new];
    let agents = if quick { &all[..1] } else { &all[..] };
    let repositories = if quick { &all[1..] } else { &all[..] };
    for agent in agents {
        for repository in repositories {
            let what = format!("{} agent, {} repository", agent.name, repository.name);
            let dir = dir.join(format!("{}-{}", agent.name, repository.name));
            match follow(agent, repository, &release, &dir, keep) {
                Ok((node, kept)) => {
                    println!("{what}: v0.9.0 of the agent is committed, {} reports kept", kept.reports.len());
                    if repository.name == "new" {
                        match back_and_forth(node, &kept, &old, &new) {
                            Ok(()) => println!("{what}: state goes to the old agent and back"),
                            Err(why) => {
                                lost = lost.saturating_add(1);
                                println!("{what}: {why:#}");
                            }
                        }
                    }
                }
                Err(why) => {
                    locked_out = locked_out.saturating_add(1);
                    println!("{what}: {why:#}");
                }
            }
        }
    }
    let names = |all: &[&Programs]| all.iter().map(|one| one.name).collect::<Vec<_>>().join(",");
    println!("states: old under new, new under old  lost: {lost}");
    println!("agents: {} × repositories: {}  locked out: {locked_out}", names(agents), names(repositories));
    Ok(locked_out == 0 && lost == 0)
}

fn main() -> ExitCode {
    let (mut quick, mut keep) = (false, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.len()) {
            ("--quick", _) => quick = true,
            ("--keep", 1..) => keep = args.next().map(PathBuf::from),
            _ => {
                print!("{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let run = || -> Result<bool> {
        match keep {
            Some(dir) => compat(quick, &dir, true),
            None => compat(quick, tempfile::tempdir()?.path(), false),
        }
    };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compat: {error:#}");
            ExitCode::from(2)
        }
    }
}
