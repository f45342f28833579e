//! Image registries: a real one, an imitation with the newest features and with faults, and what cosign stores in them.
//!
//! | part | what it is |
//! |---|---|
//! | [`Repository`] | images, attestations under cosign's `.att` tags, referrers; can be written as an OCI image layout |
//! | [`DockerRegistry`] | Debian's `docker-registry`, the real program; it has no referrers API, so clients fall back to a tag |
//! | [`FakeRegistry`] | imitates the pull side of the OCI distribution specification 1.1 with referrers and tokens |
//!
//! Unlike a real registry, [`FakeRegistry`] takes no uploads, pages no lists, and uses one fixed token.

use crate::http::{Ask, HttpServer, Reply};
use crate::sigstore::{b64, envelope_file, pem, sha256};
use crate::wait;
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const TAG: &str = "org.opencontainers.image.ref.name";

/// What one repository of a registry holds. Digests are `sha256:HEX`.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// Blobs by digest.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Manifests by digest: media type and bytes.
    pub manifests: BTreeMap<String, (String, Vec<u8>)>,
    /// What tags point at.
    pub tags: BTreeMap<String, String>,
}

/// `sha256:HEX` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha256(bytes)))
}

/// The tag under which something about an image is kept: `sha256-HEX` and a suffix.
pub fn tag_of(image: &str, suffix: &str) -> String {
    format!("{}{suffix}", image.replace(':', "-"))
}

impl Repository {
    /// Adds a blob; its descriptor.
    pub fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        self.blobs.insert(digest(bytes), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
    }

    /// Adds a manifest, which says its media type; its digest.
    pub fn manifest(&mut self, manifest: &Value) -> String {
        let bytes = manifest.to_string().into_bytes();
        let media_type = manifest["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        let digest = digest(&bytes);
        self.manifests.insert(digest.clone(), (media_type, bytes));
        digest
    }

    /// Points a tag.
    pub fn tag(&mut self, tag: &str, digest: &str) {
        self.tags.insert(tag.to_owned(), digest.to_owned());
    }

    /// Adds an image for one platform, different for each seed; its digest.
    pub fn image(&mut self, seed: &str) -> String {
        let config = self.blob("application/vnd.oci.image.config.v1+json", format!(r#"{{"seed":"{seed}"}}"#).as_bytes());
        let layer = self.blob("application/vnd.oci.image.layer.v1.tar+gzip", seed.as_bytes());
        self.manifest(&json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}))
    }

    /// Adds an index of images for these architectures; its digest, and theirs.
    pub fn index(&mut self, seed: &str, architectures: &[&str]) -> (String, Vec<String>) {
        let images: Vec<String> =
            architectures.iter().map(|architecture| self.image(&format!("{seed} {architecture}"))).collect();
        let entries: Vec<Value> = images
            .iter()
            .zip(architectures)
            .map(|(image, architecture)| {
                let mut entry = self.descriptor(image);
                entry["platform"] = json!({"os": "linux", "architecture": architecture});
                entry
            })
            .collect();
        (self.manifest(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})), images)
    }

    /// The descriptor of a manifest that is here.
    pub fn descriptor(&self, digest: &str) -> Value {
        let (media_type, bytes) = &self.manifests[digest];
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// A layer that attests as cosign v1.13 to v2.2 attaches it, the form of `slsa/images/container-v1.9.0` among the test vectors: the
    /// envelope of a Sigstore bundle as a blob, and its certificate, promise and timestamp as annotations. A proof of inclusion has no place there.
    pub fn att_layer(&mut self, bundle: &Value) -> Value {
        let material = &bundle["verificationMaterial"];
        let entry = &material["tlogEntries"][0];
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
        let promise = json!({
            "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {
                "body": entry["canonicalizedBody"],
                "integratedTime": number(&entry["integratedTime"]),
                "logIndex": number(&entry["logIndex"]),
                "logID": hex::encode(decode(&entry["logId"]["keyId"])),
            },
        });
        let payload = decode(&bundle["dsseEnvelope"]["payload"]);
        let statement: Value = serde_json::from_slice(&payload).unwrap_or_default();
        let envelope = envelope_file(&payload, &decode(&bundle["dsseEnvelope"]["signatures"][0]["sig"]), None);
        let mut layer = self.blob("application/vnd.dsse.envelope.v1+json", &envelope);
        layer["annotations"] = json!({
            "dev.cosignproject.cosign/signature": "",
            "dev.sigstore.cosign/bundle": promise.to_string(),
            "predicateType": statement["predicateType"],
        });
        // Nothing names a key of somebody's own.
        if material["certificate"].is_object() {
            let certificate = pem("CERTIFICATE", &decode(&material["certificate"]["rawBytes"]));
            layer["annotations"]["dev.sigstore.cosign/certificate"] = certificate.clone().into();
            layer["annotations"]["dev.sigstore.cosign/chain"] = certificate.into();
        }
        let token = &material["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"];
        if token.is_string() {
            layer["annotations"]["dev.sigstore.cosign/rfc3161timestamp"] =
                json!({"SignedRFC3161Timestamp": token}).to_string().into();
        }
        layer
    }

    /// Attaches layers as `cosign attest` does: all of an image's attestations are layers of one manifest under one tag.
    pub fn attach(&mut self, image: &str, layers: &[Value]) -> String {
        let config = self.blob("application/vnd.oci.image.config.v1+json", b"{}");
        let digest = self.manifest(&json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}));
        self.tag(&tag_of(image, ".att"), &digest);
        digest
    }

    /// Adds a Sigstore bundle as a referrer of an image (OCI 1.1); the referrer's digest. A registry without the referrers API finds it
    /// after [`Self::fallback`].
    pub fn refer(&mut self, image: &str, bundle: &Value) -> String {
        self.refer_bytes(image, bundle.to_string().as_bytes())
    }

    /// [`Self::refer`] with the bundle as it is written.
    pub fn refer_bytes(&mut self, image: &str, bundle: &[u8]) -> String {
        let layer = self.blob(BUNDLE, bundle);
        let config = self.blob(EMPTY, b"{}");
        let subject = match self.manifests.contains_key(image) {
            true => self.descriptor(image),
            false => json!({"mediaType": MANIFEST, "digest": image, "size": 1}),
        };
        self.manifest(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE, "config": config, "layers": [layer], "subject": subject,
            "annotations": {"dev.sigstore.bundle.content": "dsse-envelope"},
        }))
    }

    /// The list of an image's referrers.
    pub fn referrers(&self, image: &str) -> Value {
        let referrers: Vec<Value> = self
            .manifests
            .iter()
            .filter_map(|(digest, (_, bytes))| {
                let manifest: Value = serde_json::from_slice(bytes).ok()?;
                (manifest["subject"]["digest"] == image).then(|| {
                    let mut entry = self.descriptor(digest);
                    entry["artifactType"] = manifest["artifactType"].clone();
                    entry
                })
            })
            .collect();
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": referrers})
    }

    /// Keeps the list of an image's referrers under a tag, as clients do for a registry without the referrers API.
    pub fn fallback(&mut self, image: &str) {
        let list = self.manifest(&self.referrers(image));
        self.tag(&tag_of(image, ""), &list);
    }

    /// Writes it as an OCI image layout; tags become names in its index, and referrers are listed there too.
    pub fn write_layout(&self, dir: &Path) -> Result<()> {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for (digest, bytes) in self.blobs.iter().chain(self.manifests.iter().map(|(digest, (_, bytes))| (digest, bytes))) {
            fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes)?;
        }
        let mut entries = Vec::new();
        for (tag, digest) in &self.tags {
            let mut entry = self.descriptor(digest);
            entry["annotations"] = json!({TAG: tag});
            entries.push(entry);
        }
        for (digest, (_, bytes)) in &self.manifests {
            let manifest: Value = serde_json::from_slice(bytes)?;
            if manifest["subject"].is_object() {
                let mut entry = self.descriptor(digest);
                entry["artifactType"] = manifest["artifactType"].clone();
                entries.push(entry);
            }
        }
        fs::write(dir.join("index.json"), json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string())?;
        Ok(())
    }
}

fn decode(base64: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(base64.as_str().unwrap_or_default()).unwrap_or_default()
}

/// How the fake registry answers one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryFault {
    /// With bytes that never end.
    Endless,
    /// Not at all.
    Never,
    /// With this status.
    Status(u16),
    /// With other bytes.
    Bytes(Vec<u8>),
    /// Well, and afterwards the tag of that path points at this digest.
    MoveTag(String),
}

#[derive(Debug)]
struct Shared {
    repositories: BTreeMap<String, Repository>,
    faults: BTreeMap<String, RegistryFault>,
    referrers: bool,
    token: Option<String>,
    asked: Vec<String>,
}

/// See the [module](self). Dropping it ends it.
#[derive(Debug)]
pub struct FakeRegistry {
    http: HttpServer,
    shared: Arc<Mutex<Shared>>,
}

impl FakeRegistry {
    /// Starts a registry with these repositories, and with the referrers API.
    pub fn start(repositories: impl IntoIterator<Item = (String, Repository)>) -> Result<Self> {
        let shared = Arc::new(Mutex::new(Shared {
            repositories: repositories.into_iter().collect(),
            faults: BTreeMap::new(),
            referrers: true,
            token: None,
            asked: Vec::new(),
        }));
        let http = HttpServer::start({
            let shared = shared.clone();
            move |ask| answer(&mut shared.lock().expect("no panic in here"), ask)
        })?;
        Ok(Self { http, shared })
    }

    /// `127.0.0.1:PORT`, the name that image references begin with.
    pub fn host(&self) -> String {
        self.http.address().to_string()
    }

    /// Turns the referrers API off or on.
    pub fn referrers_api(&self, on: bool) {
        self.shared.lock().expect("no panic in here").referrers = on;
    }

    /// From now on it wants a token, which everybody gets who asks for one, as on public registries.
    pub fn want_token(&self, token: &str) {
        self.shared.lock().expect("no panic in here").token = Some(token.to_owned());
    }

    /// Makes it misbehave on `/v2/…`.
    pub fn fault(&self, path: &str, fault: RegistryFault) {
        self.shared.lock().expect("no panic in here").faults.insert(path.to_owned(), fault);
    }

    /// The paths it was asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.shared.lock().expect("no panic in here").asked.clone()
    }
}

fn answer(shared: &mut Shared, ask: &Ask) -> Reply {
    shared.asked.push(ask.path.clone());
    let missing = |what: &str| Reply::json(404, &json!({"errors": [{"code": what, "message": "not here"}]}));
    if ask.path == "/token" {
        return Reply::json(200, &json!({"token": shared.token}));
    }
    if let Some(token) = &shared.token
        && ask.headers.get("authorization") != Some(&format!("Bearer {token}"))
    {
        let host = ask.headers.get("host").cloned().unwrap_or_default();
        return Reply::Challenge(format!(r#"Bearer realm="http://{host}/token",service="fake""#));
    }
    let fault = shared.faults.get(&ask.path).cloned();
    match &fault {
        Some(RegistryFault::Endless) => return Reply::Endless,
        Some(RegistryFault::Never) => return Reply::Never,
        Some(RegistryFault::Status(status)) => return Reply::json(*status, &json!({"errors": []})),
        Some(RegistryFault::Bytes(bytes)) => return Reply::Whole(200, MANIFEST.to_owned(), bytes.clone()),
        Some(RegistryFault::MoveTag(_)) | None => {}
    }
    let Some(path) = ask.path.strip_prefix("/v2/") else { return missing("UNSUPPORTED") };
    if path.is_empty() {
        return Reply::json(200, &json!({}));
    }
    let mut parts = path.rsplitn(3, '/');
    let (Some(last), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else { return missing("UNSUPPORTED") };
    let referrers = shared.referrers;
    let Some(repository) = shared.repositories.get_mut(name) else { return missing("NAME_UNKNOWN") };
    match kind {
        "manifests" => {
            let digest = repository.tags.get(last).cloned().unwrap_or_else(|| last.to_owned());
            if let Some(RegistryFault::MoveTag(to)) = fault {
                repository.tag(last, &to);
            }
            match repository.manifests.get(&digest) {
                Some((media_type, bytes)) => Reply::Whole(200, media_type.clone(), bytes.clone()),
                None => missing("MANIFEST_UNKNOWN"),
            }
        }
        "blobs" => match repository.blobs.get(last) {
            Some(bytes) => Reply::Whole(200, "application/octet-stream".to_owned(), bytes.clone()),
            None => missing("BLOB_UNKNOWN"),
        },
        "referrers" if referrers => Reply::Whole(200, INDEX.to_owned(), repository.referrers(last).to_string().into_bytes()),
        _ => missing("UNSUPPORTED"),
    }
}

const START: Duration = Duration::from_secs(60);
/// Somebody else may take a port between our finding it free and the registry's asking for it.
const ATTEMPTS: usize = 5;

/// The user who may read from [`DockerRegistry::start_locked`].
pub const USER: &str = "operator";
/// His password.
pub const PASSWORD: &str = "not-for-production";
/// The same as htpasswd writes it.
const HTPASSWD: &str = "$2b$04$lBH7uN00JX5Z/pwYBHXuk.ROGhuxCqywgKL/cWp70V3rrIj/u03gq";

/// A registry process; killed when dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    port: u16,
    dir: TempDir,
    child: Option<Child>,
}

impl DockerRegistry {
    /// Starts an empty registry that anybody may use, and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_with("")
    }

    /// The same for [`USER`] with [`PASSWORD`] alone.
    pub fn start_locked() -> Result<Self> {
        Self::start_with("auth: {htpasswd: {realm: fake, path: htpasswd}}\n")
    }

    fn start_with(more: &str) -> Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut registry = Self { port, dir: TempDir::with_prefix("slipway-registry-")?, child: None };
            match registry.run(more) {
                Ok(()) => return Ok(registry),
                Err(e) if e.to_string().contains("address already in use") => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.context("no attempt was made")?)
    }

    /// `127.0.0.1:PORT`, the name that image references begin with.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn run(&mut self, more: &str) -> Result<()> {
        let program = program()?;
        let config = self.dir.path().join("config.yml");
        let storage = self.dir.path().join("storage");
        let text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{}\"}}\n{more}",
            storage.display(),
            self.port
        );
        fs::write(&config, text)?;
        fs::write(self.dir.path().join("htpasswd"), format!("{USER}:{HTPASSWD}\n"))?;
        let log_path = self.dir.path().join("log");
        let log = File::create(&log_path)?;
        let child = Command::new(&program)
            .arg("serve")
            .arg(&config)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let child = self.child.insert(child);
        let port = self.port;
        let ready = wait::try_until_some("docker-registry accepts connections", START, || match child.try_wait() {
            Ok(None) => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(Ok(())),
            ended => Some(Err(anyhow::anyhow!("docker-registry ended at once: {ended:?}"))),
        });
        if let Err(e) = ready.and_then(|ready| ready) {
            bail!("{e}\nits log:\n{}", fs::read_to_string(&log_path).unwrap_or_default());
        }
        Ok(())
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; `wait` tells either way.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).map(|dir| dir.join("docker-registry")).find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => bail!(
            "docker-registry is not installed, and this test needs the real one: `apt-get install docker-registry`, or run tests/run"
        ),
    }
}

/// `auth` of a docker `config.json` for [`USER`].
pub fn docker_auth() -> String {
    b64(format!("{USER}:{PASSWORD}").as_bytes())
}
