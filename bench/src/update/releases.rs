//! What is installed, signed and served: an operator's repository as devices find it.

use anyhow::{Context as _, Result, ensure};
use slipway_operator::{ArtifactOptions, ReleaseOptions};
use slipway_protocol::Platform;
use slipway_sim::Factory;
use slipway_sim::factory::{edgecore_name, find, now};
use slipway_testkit::sigstore::{Attestation, Subject};
use slipway_testkit::wait;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The release that a device runs before the one that is measured.
pub(crate) const BEFORE: &str = "v1.0.0";
/// The program: this file and bytes behind it, which the kernel does not look at.
const PROGRAM: &str = "/bin/sleep";

/// One release.
pub(crate) struct Release {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The artifact.
    pub(crate) file: PathBuf,
    /// The archive's member that is installed; none of a bare file.
    pub(crate) member: Option<&'static str>,
    /// Bytes of what is installed.
    pub(crate) payload: u64,
    pub(crate) bundle: PathBuf,
    path: String,
}

/// All of them, and the server.
pub(crate) struct Releases {
    pub(crate) factory: Factory,
    pub(crate) before: Release,
    pub(crate) measured: [Release; 3],
    nginx: Option<Nginx>,
    _dir: TempDir,
}

impl Releases {
    /// Makes bare files of these sizes, and an archive with a member of that size.
    pub(crate) fn new(nginx: Option<&Path>, [first, second]: [u64; 2], member: u64) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let factory = Factory::new(Path::new(PROGRAM))?;
        let nginx = nginx.map(|program| Nginx::start(program, &factory.repo_dir().join("public"), dir.path())).transpose()?;
        let make = |name, version, size, archive| make(&factory, dir.path(), name, version, size, archive);
        // In order: a bundle's metadata must not be older than what the device has seen.
        let before = make("before", BEFORE, 1 << 20, false)?;
        let bare = make("256 MiB", "v1.1.0", first, false)?;
        let large = make("1 GiB", "v1.2.0", second, false)?;
        let archive = make("archive of 100 MiB", "v1.3.0", member, true)?;
        Ok(Self { factory, before, measured: [bare, large, archive], nginx, _dir: dir })
    }

    pub(crate) fn server(&self) -> &'static str {
        if self.nginx.is_some() { "nginx" } else { "the test kit's server, which takes processor time of its own" }
    }

    pub(crate) fn url(&self) -> String {
        self.nginx
            .as_ref()
            .map_or_else(|| format!("{}/", self.factory.server.url()), |nginx| format!("http://127.0.0.1:{}/", nginx.port))
    }

    pub(crate) fn url_of(&self, release: &Release) -> String {
        format!("{}{}", self.url(), release.path)
    }
}

fn make(factory: &Factory, dir: &Path, name: &'static str, version: &'static str, size: u64, archive: bool) -> Result<Release> {
    let program = dir.join("program");
    write_program(&program, size, archive)?;
    let file_name = if archive { format!("program-{version}.tar.gz") } else { format!("program-{version}") };
    let (file, member) = (dir.join(&file_name), archive.then_some("program"));
    if archive {
        let packed = Command::new("tar").arg("-czf").arg(&file).arg("-C").arg(dir).arg("program").status()?;
        ensure!(packed.success(), "tar ended with {packed}");
    } else {
        std::fs::rename(&program, &file)?;
    }
    let provenance = dir.join(format!("{file_name}.sigstore.json"));
    let mut digests = slipway_protocol::Digests::default();
    std::io::copy(&mut std::fs::File::open(&file)?, &mut digests)?;
    let (_, sha256, _) = digests.finish();
    let subject = Subject::sha256(&file_name, &sha256.to_string());
    let attestation = Attestation::kubeedge(version).subject(subject).at(now().as_second() - 60);
    std::fs::write(&provenance, factory.sigstore.attest(&attestation))?;
    let artifact = ArtifactOptions {
        platform: Platform::current(),
        file: file.clone(),
        name: None,
        member: member.map(str::to_owned),
        provenance,
        urls: Vec::new(),
    };
    let options = ReleaseOptions {
        component: edgecore_name(),
        version: version.parse().map_err(anyhow::Error::msg)?,
        artifacts: vec![artifact],
        min_agent: None,
        unsafe_skip_verify: false,
    };
    factory.repo()?.release(&options, now())?;
    factory.point(version)?;
    let bundle = dir.join(format!("{version}.tar"));
    factory.bundle(&bundle)?;
    let public = factory.repo_dir().join("public");
    let published = find(&public.join("artifacts"), &file_name).context("the published artifact")?;
    let path = published.strip_prefix(&public)?.display().to_string();
    Ok(Release { name, version, file, member, payload: size, bundle, path })
}

/// A program of `size` bytes that waits. A bare file is noise behind its first bytes; in an archive it is programs of this machine,
/// which compress as programs do.
fn write_program(path: &Path, size: u64, compressible: bool) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    std::io::copy(&mut std::fs::File::open(PROGRAM)?, &mut file)?;
    let mut left = size.saturating_sub(file.metadata()?.len());
    let mut fill = |source: &mut dyn std::io::Read| -> Result<()> {
        left -= std::io::copy(&mut source.take(left), &mut file)?;
        Ok(())
    };
    if compressible {
        let mut programs: Vec<PathBuf> = std::fs::read_dir("/usr/bin")?.flatten().map(|entry| entry.path()).collect();
        programs.sort();
        for program in programs.iter().filter(|path| path.is_file()) {
            fill(&mut std::fs::File::open(program)?)?;
        }
    }
    fill(&mut std::fs::File::open("/dev/urandom")?)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    file.flush()?;
    Ok(file.sync_all()?)
}

/// A real web server over the repository.
struct Nginx {
    process: Child,
    port: u16,
}

impl Nginx {
    fn start(program: &Path, public: &Path, dir: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (home, config) = (dir.join("nginx"), dir.join("nginx.conf"));
        std::fs::create_dir_all(&home)?;
        let at = |name: &str| home.join(name).display().to_string();
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        let temporary =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {:?};", at(kind)));
        let text = format!(
            "daemon off; {user} worker_processes 1; pid {:?}; error_log {:?};\nevents {{ worker_connections 64; }}\n\
             http {{ {} access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; root {:?}; }} }}\n",
            at("pid"),
            at("error.log"),
            temporary.join(" "),
            public.display().to_string(),
        );
        std::fs::write(&config, text)?;
        let mut process = Command::new(program)
            .arg("-p")
            .arg(&home)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        let waited = wait::try_until("nginx answers", Duration::from_secs(10), answers);
        if let Err(error) = waited {
            let _ = process.kill();
            let mut log = String::new();
            let _ = std::fs::File::open(home.join("error.log")).and_then(|mut file| file.read_to_string(&mut log));
            return Err(error.context(log));
        }
        Ok(Self { process, port })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its worker.
        if let Ok(pid) = i32::try_from(self.process.id()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.process.wait();
    }
}
