//! What the operator publishes, a device accepts; mistakes are refused before they are published.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use jiff::{SignedDuration, Timestamp};
use slipway_operator::{ArtifactOptions, ChannelChange, InitOptions, Lifetimes, Outcome, ReleaseOptions, Repo, Role};
use slipway_protocol::channel::Wave;
use slipway_protocol::{Channel, ComponentName, Manifest, Platform, Refusal, Version};
use slipway_testkit::edgecore::{tarball, tarball_name};
use slipway_testkit::sigstore::{Attestation, PrivateSigstore};
use slipway_verify::tuf::{Fetch, FetchResult, Floors, Kind, Refresh, Repository, Rules, Step, Stored};
use slipway_verify::{Policy, SigstoreRoot, authorize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

mod support;

const POLICY: &str = "component = \"edgecore\"\npreset = \"kubeedge\"\n";

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}
fn component() -> ComponentName {
    "edgecore".parse().unwrap()
}
fn version(text: &str) -> Version {
    text.parse().unwrap()
}

struct Operator {
    dir: TempDir,
    repo: Repo,
    sigstore: PrivateSigstore,
}

/// An operator with a policy and a private Sigstore's root published.
fn operator() -> Operator {
    let dir = TempDir::new().unwrap();
    let mut repo = Repo::init(&dir.path().join("repo"), &InitOptions::default(), now()).unwrap();
    let sigstore = PrivateSigstore::new("operator-tests");
    repo.add_policy(POLICY.as_bytes(), now()).unwrap();
    repo.add_sigstore_root(&sigstore.trusted_root(), now()).unwrap();
    Operator { dir, repo, sigstore }
}

impl Operator {
    /// A release as KubeEdge makes it, attested by `attestation` with the archive as its subject.
    fn options(&self, text: &str, attestation: Attestation) -> ReleaseOptions {
        let name = tarball_name(text, "amd64");
        let archive = tarball(text, "amd64", text.as_bytes());
        let proof = self.sigstore.attest(&attestation.artifact(&name, &archive));
        let (file, provenance) = (self.dir.path().join(&name), self.dir.path().join(format!("{text}.sigstore.json")));
        fs::write(&file, archive).unwrap();
        fs::write(&provenance, proof).unwrap();
        let artifact =
            ArtifactOptions { platform: Platform::LinuxAmd64, file, name: None, member: None, provenance, urls: Vec::new() };
        ReleaseOptions {
            component: component(),
            version: version(text),
            artifacts: vec![artifact],
            min_agent: None,
            unsafe_skip_verify: false,
        }
    }

    fn release(&mut self, text: &str) -> Manifest {
        let options = self.options(text, Attestation::kubeedge(text));
        self.repo.release(&options, now()).unwrap()
    }

    fn point(&mut self, text: &str) {
        let change = ChannelChange { release: Some(version(text)), ..ChannelChange::default() };
        self.repo.channel(&component(), &"stable".parse().unwrap(), &change, now()).unwrap();
    }

    fn public(&self) -> PathBuf {
        self.repo.public_dir()
    }
}

/// Where a device reads from: a path below `public/` to its bytes.
type Transport<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

fn folder(public: &Path) -> impl Fn(&str) -> Option<Vec<u8>> {
    let public = public.to_owned();
    move |path| fs::read(public.join(path)).ok()
}

fn archive(path: &Path) -> impl Fn(&str) -> Option<Vec<u8>> + use<> {
    let mut members = BTreeMap::new();
    for entry in tar::Archive::new(fs::File::open(path).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        members.insert(entry.path().unwrap().to_str().unwrap().to_owned(), bytes);
    }
    move |path| members.get(path).cloned()
}

fn place(fetch: &Fetch) -> String {
    match fetch.kind {
        Kind::Metadata => format!("metadata/{}", fetch.path),
        Kind::Target => format!("targets/{}", fetch.path),
    }
}

fn refresh(transport: Transport<'_>, initial: &[u8], floors: &mut Floors, rules: Rules) -> Result<Repository, Refusal> {
    let mut refresh = Refresh::begin(initial, Stored::default(), floors, rules)?;
    loop {
        match refresh.step() {
            Step::Fetch(fetch) => match transport(&place(&fetch)) {
                Some(bytes) => refresh.answer(FetchResult::Bytes(&bytes))?,
                None => refresh.answer(FetchResult::Missing)?,
            },
            Step::Store { .. } => {}
            Step::Done => {
                *floors = refresh.floors().clone();
                return refresh.finish();
            }
        }
    }
}

fn target(transport: Transport<'_>, repository: &Repository, path: &str) -> slipway_verify::tuf::AuthenticTarget {
    let info = repository.lookup(path).unwrap();
    repository.authenticate(path, transport(&format!("targets/{}", info.fetch_path)).unwrap()).unwrap()
}

/// All that a device does between a notice and the first byte of the artifact.
fn follow(transport: Transport<'_>, initial: &[u8]) -> (Channel, Vec<u8>) {
    let repository = refresh(transport, initial, &mut Floors::default(), Rules::at(now())).unwrap();
    let channel = Channel::parse(target(transport, &repository, "channels/edgecore/stable.json").bytes()).unwrap();
    let read = |path: &str| transport(&format!("targets/{path}"));
    let manifest = support::manifest(&repository, &component(), &channel.release, &read).unwrap();
    let policy = target(transport, &repository, "policies/edgecore.toml");
    let policy = Policy::parse(std::str::from_utf8(policy.bytes()).unwrap()).unwrap();
    let root = SigstoreRoot::parse(target(transport, &repository, "sigstore/trusted_root.json").bytes()).unwrap();
    let parsed = Manifest::parse(manifest.bytes()).unwrap();
    let proof = transport(&parsed.artifacts[0].provenance.urls[0]).unwrap();
    let release = authorize(&manifest, &component(), Platform::LinuxAmd64, &[policy], &root, &proof).unwrap();
    (channel, transport(&release.artifact.urls[0]).unwrap())
}

#[test]
fn a_release_reaches_a_device_by_server_and_by_offline_bundle() {
    let mut operator = operator();
    let manifest = operator.release("v1.23.1");
    assert_eq!(manifest.artifacts[0].member.as_deref(), Some("kubeedge-v1.23.1-linux-amd64/edge/edgecore"));
    operator.point("v1.23.1");
    let initial = operator.repo.initial_root().unwrap();
    let wanted = tarball("v1.23.1", "amd64", b"v1.23.1");

    let (channel, artifact) = follow(&folder(&operator.public()), &initial);
    assert_eq!(channel.release, version("v1.23.1"));
    assert_eq!(artifact, wanted);

    // A second release is in the repository, and not in the bundle.
    operator.release("v1.23.2");
    let out = operator.dir.path().join("offline.tar");
    let members = operator.repo.bundle(&component(), &"stable".parse().unwrap(), &[Platform::LinuxAmd64], &out).unwrap();
    assert!(members.iter().all(|member| !member.contains("v1.23.2")), "{members:?}");
    assert!(members[0] == "metadata/1.root.json" && members.last().unwrap().ends_with(".tar.gz"), "{members:?}");
    assert_eq!(follow(&archive(&out), &initial).1, wanted);
    // The same repository gives the same bytes.
    let again = operator.dir.path().join("again.tar");
    operator.repo.bundle(&component(), &"stable".parse().unwrap(), &[Platform::LinuxAmd64], &again).unwrap();
    assert!(fs::read(out).unwrap() == fs::read(again).unwrap());
    let missing =
        operator.repo.bundle(&component(), &"stable".parse().unwrap(), &[Platform::LinuxArm], &operator.dir.path().join("x"));
    assert_eq!(missing.unwrap_err().code, "SLW-O-NO-RELEASE");
}

#[test]
fn a_release_that_devices_would_refuse_is_refused_here_with_the_same_code() {
    let mut operator = operator();
    let before = operator.repo.timestamp_version();
    let mut other_source = Attestation::kubeedge("v1.23.1");
    other_source.source = "https://github.com/evil/kubeedge".to_owned();
    let refusal = operator.repo.release(&operator.options("v1.23.1", other_source), now()).unwrap_err();
    assert!(refusal.code.starts_with("SLW-V-"), "{refusal}");
    let refusal = operator.repo.release(&operator.options("v1.23.1", Attestation::kubeedge("v1.23.0")), now()).unwrap_err();
    assert!(refusal.code.starts_with("SLW-V-"), "the tag is another version's: {refusal}");
    let mut changed = operator.options("v1.23.1", Attestation::kubeedge("v1.23.1"));
    fs::write(&changed.artifacts[0].file, tarball("v1.23.1", "amd64", b"changed")).unwrap();
    let refusal = operator.repo.release(&changed, now()).unwrap_err();
    assert!(refusal.code.starts_with("SLW-V-"), "{refusal}");
    assert_eq!(operator.repo.timestamp_version(), before, "nothing was published");
    assert!(!operator.public().join("artifacts").exists(), "nor made visible");
    changed.unsafe_skip_verify = true;
    operator.repo.release(&changed, now()).unwrap();
}

#[test]
fn without_a_policy_nothing_can_be_verified() {
    let mut operator = operator();
    let mut options = operator.options("v1.23.1", Attestation::kubeedge("v1.23.1"));
    options.component = "keadm".parse().unwrap();
    assert_eq!(operator.repo.release(&options, now()).unwrap_err().code, "SLW-O-NO-POLICY");
    assert_eq!(operator.repo.add_policy(b"component = \"keadm\"", now()).unwrap_err().code.get(..6), Some("SLW-V-"));
}

#[test]
fn a_version_is_released_once() {
    let mut operator = operator();
    let mut other = operator.options("v1.23.1", Attestation::kubeedge("v1.23.1"));
    operator.repo.release(&other, now()).unwrap();
    let published = operator.repo.timestamp_version();
    operator.repo.release(&other, now()).unwrap();
    assert_eq!(operator.repo.timestamp_version(), published, "the same again changes nothing");
    other.artifacts[0].urls = vec!["https://mirror.example/".to_owned()];
    assert_eq!(operator.repo.release(&other, now()).unwrap_err().code, "SLW-O-RELEASED");
}

#[test]
fn file_names_and_options_that_contradict_each_other_are_refused() {
    let mut operator = operator();
    let good = operator.options("v1.23.1", Attestation::kubeedge("v1.23.1"));
    let mut wrong_platform = good.clone();
    wrong_platform.artifacts[0].platform = Platform::LinuxArm64;
    let mut wrong_version = good.clone();
    wrong_version.version = version("v1.23.2");
    let mut twice = good;
    twice.artifacts.push(twice.artifacts[0].clone());
    for options in [wrong_platform, wrong_version, twice] {
        assert_eq!(operator.repo.release(&options, now()).unwrap_err().code, "SLW-O-ARTIFACT");
    }
}

#[test]
fn a_channel_follows_releases_of_this_repository_and_its_floor_only_rises() {
    let mut operator = operator();
    operator.release("v1.23.1");
    let name = "stable".parse().unwrap();
    let mut change = |change: ChannelChange| operator.repo.channel(&component(), &name, &change, now());
    let to = |text: &str| ChannelChange { release: Some(version(text)), ..ChannelChange::default() };
    assert_eq!(change(ChannelChange::default()).unwrap_err().code, "SLW-O-CHANNEL", "a new channel needs a release");
    assert_eq!(change(to("v1.23.2")).unwrap_err().code, "SLW-O-NO-RELEASE");
    let wave = |time: &str, percent| Wave { start: time.parse().unwrap(), percent, more: Default::default() };
    let waves = vec![wave("2026-11-23T00:00:00Z", 10), wave("2026-11-24T00:00:00Z", 100)];
    change(ChannelChange { waves: Some(waves.clone()), floor: Some(version("v1.20.0")), ..to("v1.23.1") }).unwrap();
    let halted = change(ChannelChange { halted: Some(true), ..ChannelChange::default() }).unwrap();
    assert!(halted.halted && halted.waves == waves, "what is not said stays: {halted:?}");
    for floor in ["v1.19.0", "v1.24.0"] {
        let lower = ChannelChange { floor: Some(version(floor)), ..ChannelChange::default() };
        assert_eq!(change(lower).unwrap_err().code, "SLW-O-CHANNEL", "{floor}");
    }
    let withdraw = ChannelChange { withdraw: vec![version("v1.23.1")], ..ChannelChange::default() };
    let why = change(withdraw).unwrap_err();
    assert_eq!(why.code, "SLW-O-CHANNEL", "what devices shall run cannot be withdrawn");
    assert!(why.wanted.contains("--release OTHER --withdraw v1.23.1"), "{why:?}");
    let falling = vec![wave("2026-11-24T00:00:00Z", 10), wave("2026-11-23T00:00:00Z", 100)];
    let falling = ChannelChange { waves: Some(falling), ..ChannelChange::default() };
    assert_eq!(change(falling).unwrap_err().code, "SLW-O-CHANNEL");
    operator.release("v1.23.2");
    let moved = operator.repo.channel(&component(), &name, &to("v1.23.2"), now()).unwrap();
    assert!(moved.waves.is_empty() && moved.halted, "old waves do not gate a new release, but a halt stays: {moved:?}");
    let withdraw = ChannelChange { withdraw: vec![version("v1.23.1")], ..ChannelChange::default() };
    operator.repo.channel(&component(), &name, &withdraw, now()).unwrap();
    assert!(operator.repo.status(now()).unwrap().to_string().contains("halted, withdrawn v1.23.1"));
    let back = operator.repo.channel(&component(), &name, &to("v1.23.1"), now()).unwrap_err();
    assert!(back.wanted.contains("under a new version"), "{back:?}");
}

#[test]
fn without_its_key_a_change_waits_and_the_rest_goes_on() {
    let mut operator = operator();
    operator.release("v1.23.1");
    let (dir, away) = (operator.dir.path().join("repo"), operator.dir.path().join("channels.pem"));
    let published = operator.repo.timestamp_version();
    drop(operator.repo);
    fs::rename(dir.join("keys/channels.pem"), &away).unwrap();
    operator.repo = Repo::open(&dir).unwrap();
    operator.point("v1.23.1");
    let Outcome::Staged(waiting) = operator.repo.outcome() else { panic!("published without its key") };
    assert_eq!((waiting.len(), waiting[0].role), (1, Role::Channels));
    let name = "stable".parse().unwrap();
    assert_eq!(operator.repo.read_channel(&component(), &name).unwrap(), None, "devices see nothing of it");
    // What does not touch it is published meanwhile, and does not carry it.
    operator.release("v1.23.2");
    assert_eq!(operator.repo.timestamp_version(), published + 1);
    assert_eq!(operator.repo.read_channel(&component(), &name).unwrap(), None);
    let status = operator.repo.status(now()).unwrap();
    let channels = status.roles.iter().find(|role| role.role == "channels").unwrap();
    assert!(!channels.keys[0].here && channels.version == 1);
    assert_eq!(status.staged.unwrap().roles, [(Role::Channels, 2)]);
    // The key comes back.
    drop(operator.repo);
    fs::rename(&away, dir.join("keys/channels.pem")).unwrap();
    operator.repo = Repo::open(&dir).unwrap();
    assert_eq!(operator.repo.sign(None, now()).unwrap(), [Role::Channels]);
    assert_eq!(*operator.repo.outcome(), Outcome::Published);
    assert_eq!(operator.repo.read_channel(&component(), &name).unwrap().unwrap().release, version("v1.23.1"));
    assert!(!dir.join("staged").exists());
}

#[test]
fn roles_live_no_longer_than_devices_believe_them_and_nothing_expired_is_published() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("repo");
    let days = |root| InitOptions { days: Lifetimes { root, ..Lifetimes::default() }, ..InitOptions::default() };
    for wrong in [0, 401, 36_500, u32::MAX] {
        assert_eq!(Repo::init(&path, &days(wrong), now()).unwrap_err().code, "SLW-O-TIME", "{wrong}");
        assert!(!path.exists(), "nothing is left behind");
    }
    for role in Role::ALL {
        let most = if Role::ONLINE.contains(&role) { 30 } else { 400 };
        let with = |days: u32| {
            let mut all = Lifetimes::default();
            let life = match role {
                Role::Root => &mut all.root,
                Role::Targets => &mut all.targets,
                Role::Releases => &mut all.releases,
                Role::Channels => &mut all.channels,
                Role::Snapshot => &mut all.snapshot,
                Role::Timestamp => &mut all.timestamp,
            };
            *life = days;
            all.check()
        };
        assert!(with(most).is_ok(), "{role}");
        let refusal = with(most + 1).unwrap_err();
        assert!(refusal.wanted.contains(&format!("1 to {most} days")) && refusal.seen.contains(role.name()), "{refusal}");
    }
    drop(Repo::init(&path, &days(400), now()).unwrap());
    // Nor is it written past the tool.
    let settings = path.join("slipway.toml");
    let good = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, good.replace("timestamp = 7", "timestamp = 31")).unwrap();
    assert_eq!(Repo::open(&path).unwrap_err().code, "SLW-O-TIME");
    fs::write(&settings, good).unwrap();
    // A change that waited longer than it lives.
    let away = dir.path().join("channels.pem");
    fs::rename(path.join("keys/channels.pem"), &away).unwrap();
    let mut repo = Repo::open(&path).unwrap();
    repo.renew_roles(&[Role::Channels], now()).unwrap();
    drop(repo);
    fs::rename(&away, path.join("keys/channels.pem")).unwrap();
    let mut repo = Repo::open(&path).unwrap();
    let later: Timestamp = "2027-11-22T12:00:01Z".parse().unwrap();
    let before = repo.timestamp_version();
    assert_eq!(repo.sign(None, later).unwrap_err().code, "SLW-O-EXPIRES");
    assert_eq!(repo.timestamp_version(), before);
    let text = repo.status("2026-11-29T12:30:00Z".parse().unwrap()).unwrap().to_string();
    let expired: Vec<&str> = text.lines().filter(|line| line.contains("EXPIRED")).collect();
    assert!(expired.len() == 1 && expired[0].starts_with("timestamp"), "half an hour ago is expired: {text}");
    repo.renew_roles(&[Role::Channels], later).unwrap();
    assert_eq!(*repo.outcome(), Outcome::Published);
}

#[test]
fn a_publication_that_broke_off_is_not_seen_and_not_in_the_way() {
    let mut operator = operator();
    operator.release("v1.23.1");
    operator.point("v1.23.1");
    let initial = operator.repo.initial_root().unwrap();
    let metadata = operator.repo.metadata_dir();
    let timestamp = fs::read(metadata.join("timestamp.json")).unwrap();
    operator.release("v1.23.2");
    operator.point("v1.23.2");
    // As if the power had gone before the last rename.
    fs::write(metadata.join("timestamp.json"), timestamp).unwrap();
    let dir = operator.dir.path().join("repo");
    drop(operator.repo);
    operator.repo = Repo::open(&dir).unwrap();
    assert_eq!(follow(&folder(&operator.public()), &initial).0.release, version("v1.23.1"));
    operator.release("v1.23.3");
    operator.point("v1.23.3");
    assert_eq!(follow(&folder(&operator.public()), &initial).0.release, version("v1.23.3"));
}

#[test]
fn refresh_renews_snapshot_and_timestamp_and_nothing_else() {
    let mut operator = operator();
    let initial = operator.repo.initial_root().unwrap();
    let public = operator.public();
    let later: Timestamp = "2026-12-05T12:00:00Z".parse().unwrap();
    let mut floors = Floors::default();
    let refusal = refresh(&folder(&public), &initial, &mut floors, Rules::at(later)).unwrap_err();
    assert_eq!(refusal.code, "SLW-T-EXPIRED");
    operator.repo.refresh(later).unwrap();
    let repository = refresh(&folder(&public), &initial, &mut floors, Rules::at(later)).unwrap();
    let versions: BTreeMap<_, _> = repository.roles().into_iter().map(|role| (role.name, role.version)).collect();
    assert_eq!(versions["targets"], 3);
    // Half of the snapshot's 30 days is not over yet.
    assert_eq!((versions["snapshot"], versions["timestamp"]), (3, 4));
    operator.repo.refresh("2026-12-09T12:00:00Z".parse().unwrap()).unwrap();
    let after = refresh(&folder(&public), &initial, &mut floors, Rules::at(later)).unwrap();
    let versions: BTreeMap<_, _> = after.roles().into_iter().map(|role| (role.name, role.version)).collect();
    assert_eq!((versions["snapshot"], versions["timestamp"]), (4, 5));
}

#[test]
fn a_changed_file_is_noticed_by_its_owner_too() {
    let mut operator = operator();
    operator.release("v1.23.1");
    let folder = operator.public().join("targets/releases/edgecore");
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "a manifest and an index");
    for file in files {
        let good = fs::read(&file).unwrap();
        fs::write(&file, b"{}").unwrap();
        assert_eq!(operator.repo.manifest(&component(), &version("v1.23.1")).unwrap_err().code, "SLW-O-REPOSITORY");
        fs::write(&file, good).unwrap();
    }
}

/// The operator's clock was months ahead once. What it signed then lives too long for devices,
/// and is signed again: snapshot and timestamp by the next refresh, the others by people who are
/// told so.
#[test]
fn what_was_signed_while_the_clock_was_ahead_is_signed_again() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("repo");
    let mut repo = Repo::init(&path, &InitOptions::default(), now()).unwrap();
    let ahead = now() + SignedDuration::from_hours(24 * 60);
    repo.refresh(ahead).unwrap();
    repo.refresh(now()).unwrap();
    let rules = Rules::operator(now(), false);
    let device = || refresh(&folder(&repo.public_dir()), &repo.initial_root().unwrap(), &mut Floors::default(), rules.clone());
    device().unwrap();
    repo.renew_roles(&[Role::Releases], ahead).unwrap();
    let refusal = repo.refresh(now()).unwrap_err();
    assert_eq!(refusal.code, "SLW-O-TIME");
    assert!(refusal.seen.starts_with("releases") && refusal.wanted.contains("slipway renew REPO releases"), "{refusal}");
    repo.renew_roles(&[Role::Releases], now()).unwrap();
    repo.refresh(now()).unwrap();
}

#[test]
fn keys_are_secret_and_nothing_is_overwritten() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("repo");
    let days = Lifetimes { timestamp: 3, ..Lifetimes::default() };
    let repo = Repo::init(&path, &InitOptions { days, ..InitOptions::default() }, now()).unwrap();
    assert_eq!(Repo::open(&path).unwrap_err().code, "SLW-O-BUSY");
    drop(repo);
    for entry in fs::read_dir(path.join("keys")).unwrap().map(Result::unwrap) {
        let mode = if entry.path().extension().unwrap() == "pem" { 0o600 } else { 0o644 };
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, mode);
    }
    assert_eq!(Repo::init(&path, &InitOptions::default(), now()).unwrap_err().code, "SLW-O-EXISTS");
    let status = Repo::open(&path).unwrap().status(now()).unwrap();
    assert_eq!(status.roles.last().map(|role| (role.role.as_str(), role.days_left)), Some(("timestamp", 3)));
    fs::set_permissions(path.join("keys/root.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(Repo::open(&path).unwrap_err().code, "SLW-O-KEY");
    assert_eq!(Repo::open(dir.path()).unwrap_err().code, "SLW-O-REPOSITORY");
}

/// Only when it is asked for: agents of formats-1 refuse a manifest with a member that they do not know. Fails where the member is
/// written for nothing, or where the agent's own releases may have it.
#[test]
fn the_oldest_agent_is_named_when_asked_for_and_never_for_the_agent_itself() {
    let mut operator = operator();
    operator.release("v1.22.0");
    let with =
        ReleaseOptions { min_agent: Some(version("0.3.0")), ..operator.options("v1.23.0", Attestation::kubeedge("v1.23.0")) };
    operator.repo.release(&with, now()).unwrap();
    for (text, least) in [("v1.22.0", None), ("v1.23.0", Some(version("0.3.0")))] {
        let manifest = operator.repo.manifest(&component(), &version(text)).unwrap().unwrap();
        assert_eq!(manifest.min_agent, least);
        let written = serde_json::to_value(&manifest).unwrap();
        assert_eq!(written.get("min_agent").is_some(), least.is_some(), "{written}");
        assert!(written.get("critical").is_none() && written.get("skipped").is_none());
    }
    let agent = ReleaseOptions { component: "slipway-agent".parse().unwrap(), ..with };
    assert_eq!(operator.repo.release(&agent, now()).unwrap_err().code, "SLW-O-MIN-AGENT");
}
