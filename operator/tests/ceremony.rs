//! Signing ceremonies with several keys.
//!
//! Two people with keys of their own: first set-up, releases, the yearly rotation, the day a key is stolen. With the real program on
//! "machines" that are folders, and after every step a device that follows the published folder.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use slipway_operator::keys::SecretKey;
use slipway_operator::metadata::{Envelope, Pins, seal};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Device, PASSWORD, command, copy, done, refused, release_line, run, text};
use tempfile::TempDir;

const POLICY: &str = "component = \"edgecore\"\npreset = \"kubeedge\"\n";

/// Alice's machine, Bob's, and the server with the repository `fleet`.
struct Machines {
    dir: TempDir,
}

impl Machines {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for machine in ["alice", "bob", "server"] {
            fs::create_dir(dir.path().join(machine)).unwrap();
        }
        Self { dir }
    }

    fn at(&self, machine: &str) -> PathBuf {
        self.dir.path().join(machine)
    }

    fn repo(&self) -> PathBuf {
        self.at("server/fleet")
    }

    fn carry(&self, from: &str, to: &str) {
        fs::copy(self.at(from), self.at(to)).unwrap();
    }

    /// Each signs a copy of what waits; the server publishes it.
    fn both_sign(&self) -> String {
        for person in ["alice", "bob"] {
            self.carry("server/fleet/staged/change.json", &format!("{person}/change.json"));
            done(&self.at(person), &format!("sign change.json --yes --key {person}.pem"));
            self.carry(&format!("{person}/change.json"), &format!("server/{person}.json"));
        }
        done(&self.at("server"), "publish fleet alice.json bob.json")
    }
}

/// Root 2 of 2 and releases 2 of 2 by Alice and Bob; targets by Alice; the rest on the server.
fn set_up() -> Machines {
    let place = Machines::new();
    done(&place.at("alice"), "key generate alice");
    done(&place.at("bob"), "key generate bob.pem --type ed25519");
    for person in ["alice", "bob"] {
        place.carry(&format!("{person}/{person}.pub"), &format!("server/{person}.pub"));
    }
    fs::write(place.at("server/edgecore.toml"), POLICY).unwrap();
    let said = done(
        &place.at("server"),
        "init fleet --threshold root=2 --key root=alice.pub --key root=bob.pub --key targets=alice.pub \
         --threshold releases=2 --key releases=alice.pub --key releases=bob.pub --unencrypted",
    );
    assert!(said.contains("root version 1: 2 more of") && said.contains("targets version 1: 1 more of alice"), "{said}");
    place
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn signers(repo: &Path, file: &str) -> usize {
    json(&repo.join("public/metadata").join(file))["signatures"].as_array().unwrap().len()
}

#[test]
fn two_people_on_two_machines() {
    let place = set_up();
    let (server, repo) = (place.at("server"), place.repo());
    assert!(!repo.join("public").exists(), "nothing half-signed is public");
    assert!(fs::read_to_string(place.at("alice/alice.pem")).unwrap().contains("ENCRYPTED"));

    // One of two is not enough, and the other's copy does not carry the first's signature.
    place.carry("server/fleet/staged/change.json", "alice/change.json");
    let said = done(&place.at("alice"), "sign change.json --yes --key alice.pem");
    assert!(said.contains("root       2 of") && said.contains("signed root, targets, releases with alice"), "{said}");
    place.carry("alice/change.json", "server/alice.json");
    let said = refused(&server, "publish fleet alice.json", "SLW-O-WAITING");
    assert!(said.contains("bob") && said.contains("signed so far: alice"), "{said}");
    assert!(!repo.join("public").exists());
    let said = done(&server, "status fleet");
    assert!(said.contains("nothing is published yet") && said.contains("waits for  root version 1: 1 more of bob"), "{said}");
    refused(&server, "refresh fleet", "SLW-O-WAITING");
    let said = place.both_sign();
    assert!(said.starts_with("published"), "{said}");

    let mut device = Device::born(&repo);
    assert_eq!(device.version(&repo, "root"), 1);
    assert_eq!((signers(&repo, "1.root.json"), signers(&repo, "1.releases.json")), (2, 2));

    // A policy is Alice's alone: she has come with her key.
    let said = done(&server, "policy add fleet edgecore.toml");
    assert!(said.contains("waits for  targets version 2: 1 more of alice"), "{said}");
    assert!(device.target(&repo, "policies/edgecore.toml").is_err(), "not before it is signed");
    let said = done(&server, "sign fleet --yes --key ../alice/alice.pem");
    assert!(said.contains("new      policies/edgecore.toml") && said.contains("published"), "{said}");
    assert_eq!(device.target(&repo, "policies/edgecore.toml").unwrap(), POLICY.as_bytes());

    // A release needs both, and is nowhere to be seen before.
    let line = release_line("fleet", &server, "v1.23.1");
    let said = done(&server, &line);
    assert!(said.starts_with("prepared edgecore v1.23.1") && said.contains("2 more of"), "{said}");
    assert!(!repo.join("public/artifacts").exists());
    refused(&server, "channel fleet --release v1.23.1", "SLW-O-NO-RELEASE");
    let said = done(&server, "sign fleet --show");
    assert!(said.contains("edgecore v1.23.1") && said.contains("linux/arm64"), "{said}");
    place.both_sign();
    assert!(repo.join("public/artifacts/edgecore/v1.23.1").is_dir());
    done(&server, "channel fleet --release v1.23.1");
    assert!(text(&device.target(&repo, "channels/edgecore/stable.json").unwrap()).contains("v1.23.1"));
    assert!(text(&device.target(&repo, "releases/edgecore/v1.23.1.json").unwrap()).contains("kubeedge-v1.23.1-linux-arm64"));
    assert!(!repo.join("staged").exists());
    let status: Value = serde_json::from_str(&done(&server, "status fleet --json --check")).unwrap();
    assert_eq!(status["roles"][0]["keys"].as_array().unwrap().iter().filter(|key| key["signed"] == true).count(), 2);
    assert_eq!(status["staged"], Value::Null);
}

#[test]
fn a_signature_can_be_lost_and_given_again_and_the_same_release_twice_costs_none() {
    let place = set_up();
    place.both_sign();
    let server = place.at("server");
    let line = release_line("fleet", &server, "v1.23.1");
    done(&server, &line);
    done(&server, "sign fleet --yes --key ../alice/alice.pem");
    let before = fs::read(place.repo().join("staged/change.json")).unwrap();
    done(&server, &line);
    assert_eq!(fs::read(place.repo().join("staged/change.json")).unwrap(), before);
    refused(&server, "publish fleet", "SLW-O-WAITING");
    // What else goes on meanwhile goes on alone.
    done(&server, "refresh fleet");
    done(&server, "sign fleet --yes --key ../bob/bob.pem");
    Device::born(&place.repo()).target(&place.repo(), "releases/edgecore/v1.23.1.json").unwrap();
    refused(&server, "sign fleet", "SLW-O-STAGED");
    // And what is not wanted is dropped.
    done(&server, &release_line("fleet", &server, "v1.23.2"));
    done(&server, "discard fleet");
    assert!(!place.repo().join("staged").exists());
    refused(&server, "publish fleet", "SLW-O-STAGED");
}

#[test]
fn what_is_carried_cannot_be_changed_on_the_way() {
    let place = set_up();
    place.both_sign();
    let (server, bob) = (place.at("server"), place.at("bob"));
    copy(&place.repo(), &place.at("bob/copy"));
    done(&server, &release_line("fleet", &server, "v1.23.1"));
    let staged = json(&place.repo().join("staged/change.json"));
    let put = |change: &Value| fs::write(bob.join("change.json"), serde_json::to_vec(change).unwrap()).unwrap();

    // Another file under a signed name.
    let mut other = staged.clone();
    for (_, bytes) in other["files"].as_object_mut().unwrap() {
        *bytes = "e30=".into();
    }
    put(&other);
    refused(&bob, "sign change.json --yes --key bob.pem", "SLW-O-STAGED");
    // Another idea of what is published: not signed by its keys, or another repository's.
    let mut other = staged.clone();
    other["base"]["releases"]["signed"]["expires"] = "2099-01-01T00:00:00Z".into();
    other["next"].as_object_mut().unwrap().remove("releases");
    other["files"] = serde_json::json!({});
    put(&other);
    refused(&bob, "sign change.json --yes --key bob.pem", "SLW-O-STAGED");
    let elsewhere = set_up();
    elsewhere.both_sign();
    put(&staged);
    done(&bob, "sign change.json --show --against copy");
    copy(&elsewhere.repo(), &bob.join("elsewhere"));
    refused(&bob, "sign change.json --yes --key bob.pem --against elsewhere", "SLW-O-STAGED");
    refused(&bob, "sign change.json", "SLW-O-KEY");
    // Signed, but something else than what waits at home.
    let mut other = staged.clone();
    other["next"]["releases"]["signed"]["expires"] = "2099-01-01T00:00:00Z".into();
    put(&other);
    done(&bob, "sign change.json --yes --key bob.pem");
    place.carry("bob/change.json", "server/bob.json");
    refused(&server, "publish fleet bob.json", "SLW-O-STAGED");
    // A signature that is none.
    put(&staged);
    done(&bob, "sign change.json --yes --key bob.pem");
    let mut broken = json(&bob.join("change.json"));
    let sig = broken["next"]["releases"]["signatures"][0]["sig"].as_str().unwrap().replace(['0', '1'], "2");
    broken["next"]["releases"]["signatures"][0]["sig"] = sig.into();
    fs::write(server.join("bob.json"), serde_json::to_vec(&broken).unwrap()).unwrap();
    refused(&server, "publish fleet bob.json", "SLW-O-STAGED");
    // A key that has no say.
    done(&bob, "key generate mallory --unencrypted");
    put(&staged);
    refused(&bob, "sign change.json --yes --key mallory.pem", "SLW-O-ROLE");
}

#[test]
fn a_year_of_rotations_reaches_a_device_that_missed_them_all() {
    let place = set_up();
    place.both_sign();
    let (server, repo) = (place.at("server"), place.repo());
    let mut asleep = Device::born(&repo);
    asleep.refresh(&repo).unwrap();
    let mut device = asleep.clone();

    // Bob hands over to Carol, in root and releases: signed by the old keys and the new ones.
    fs::create_dir(place.at("carol")).unwrap();
    done(&place.at("carol"), "key generate carol");
    place.carry("carol/carol.pub", "server/carol.pub");
    done(&server, "key rotate fleet root --old bob --new carol.pub");
    let said = done(&server, "key rotate fleet releases --old bob.pub --new carol.pub");
    assert!(said.contains("as the published root has it") && said.contains("releases version 2"), "{said}");
    let said = done(&server, "sign fleet --show");
    assert!(said.contains("NEW      carol (") && said.contains("REVOKED  bob ("), "{said}");
    for (person, must) in [("alice", true), ("carol", true), ("bob", false)] {
        device.refresh(&repo).unwrap();
        assert_eq!(device.version(&repo, "root"), 1, "not before all have signed");
        let said = done(&server, &format!("sign fleet --yes --key ../{person}/{person}.pem"));
        assert_eq!(said.contains("waits for"), must, "{said}");
    }
    assert_eq!(device.version(&repo, "root"), 2);
    assert_eq!(signers(&repo, "2.releases.json"), 2);

    // The online keys, one a rotation, by Alice and Carol.
    for (version, role) in [(3, "timestamp"), (4, "snapshot")] {
        let said = done(&server, &format!("key rotate fleet {role}"));
        assert!(said.contains(&format!("made fleet/keys/{role}-2.pem")), "{said}");
        device.refresh(&repo).unwrap();
        done(&server, "sign fleet --yes --key ../alice/alice.pem --key ../carol/carol.pem");
        assert_eq!(device.version(&repo, "root"), version);
        fs::remove_file(repo.join(format!("keys/{role}.pem"))).unwrap();
        done(&server, "refresh fleet");
    }
    // And the year's renewal of what only expires.
    done(&server, "renew fleet root targets releases channels --key ../alice/alice.pem --key ../carol/carol.pem");
    assert_eq!((device.version(&repo, "root"), device.version(&repo, "releases")), (5, 3));
    refused(&server, "renew fleet timestamp", "SLW-O-ROLE");
    assert_eq!(asleep.version(&repo, "root"), 5, "four rotations later");
    assert!(Device::born(&repo).refresh(&repo).is_ok());
    let said = done(&server, "key list fleet");
    assert!(said.contains("carol") && !said.contains("bob") && said.contains("root, releases"), "{said}");
}

/// One person with everything here and no passwords.
fn alone(more: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    done(dir.path(), &format!("init fleet --unencrypted {more}"));
    let repo = dir.path().join("fleet");
    fs::write(dir.path().join("edgecore.toml"), POLICY).unwrap();
    done(dir.path(), "policy add fleet edgecore.toml");
    done(dir.path(), &release_line("fleet", dir.path(), "v1.23.1"));
    done(dir.path(), "channel fleet --release v1.23.1");
    (dir, repo)
}

#[test]
fn nobody_signs_without_agreeing() {
    use std::io::Write as _;
    use std::process::Stdio;
    let (dir, repo) = alone("");
    fs::rename(repo.join("keys/targets.pem"), dir.path().join("targets.pem")).unwrap();
    fs::write(dir.path().join("edgecore.toml"), format!("{POLICY}\n")).unwrap();
    assert!(done(dir.path(), "policy add fleet edgecore.toml").contains("waits for"));
    let (staged, carried) = (repo.join("staged/change.json"), dir.path().join("change.json"));
    fs::copy(&staged, &carried).unwrap();
    let before = fs::read(&carried).unwrap();
    let say = |answer: &str, line: &str| {
        let mut command = command(dir.path());
        command.args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    for line in ["sign change.json --key targets.pem", "sign fleet --key targets.pem"] {
        for answer in ["", "n\n", "\n", "yesterday\n", "no y\n"] {
            let output = say(answer, line);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{answer:?}: {said}");
            assert!(said.contains("not signed; nothing changed"), "{said}");
            assert_eq!(said.contains("--yes"), answer.is_empty(), "{said}");
            assert_eq!((fs::read(&carried).unwrap(), fs::read(&staged).unwrap()), (before.clone(), before.clone()));
        }
    }
    // What is to be signed is shown before a password is asked for.
    done(dir.path(), "key generate locked");
    let mut locked = command(dir.path());
    let output =
        locked.env_remove("SLIPWAY_KEY_PASSWORD").args(["sign", "fleet", "--yes", "--key", "locked.pem"]).output().unwrap();
    assert!(text(&output.stdout).contains("policies/edgecore.toml"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("SLW-O-PASSWORD"), "{}", text(&output.stderr));
    assert!(say("y\n", "sign change.json --key targets.pem").status.success());
    assert!(text(&say("yes\n", "sign fleet --key targets.pem").stdout).contains("published"));
}

#[test]
fn the_day_a_key_is_stolen() {
    for role in ["root", "targets", "releases", "channels", "snapshot", "timestamp"] {
        let (dir, repo) = alone("");
        let mut device = Device::born(&repo);
        device.refresh(&repo).unwrap();
        done(dir.path(), &format!("key rotate fleet {role}"));
        fs::rename(repo.join(format!("keys/{role}.pem")), dir.path().join("stolen.pem")).unwrap();
        device.refresh(&repo).unwrap_or_else(|refusal| panic!("{role}: {refusal:?}"));
        device.target(&repo, "releases/edgecore/v1.23.1.json").unwrap();
        done(dir.path(), "refresh fleet");
        done(dir.path(), "channel fleet --halt");
        assert!(text(&device.target(&repo, "channels/edgecore/stable.json").unwrap()).contains("\"halted\":true"));
        // The thief cannot speak for the role any more: nothing that is published has his signature.
        let stolen = SecretKey::read(&dir.path().join("stolen.pem"), || unreachable!()).unwrap();
        let newest = |role: &str| {
            let name = if role == "timestamp" {
                "timestamp.json".to_owned()
            } else {
                format!("{}.{role}.json", device.clone().version(&repo, role))
            };
            fs::read_to_string(repo.join("public/metadata").join(name)).unwrap()
        };
        let name = if role == "root" { "timestamp" } else { role };
        assert!(!newest(name).contains(&format!("\"keyid\": \"{}\"", stolen.id())), "{role}");
        assert!(
            !newest("root").contains("PUBLIC KEY")
                || !newest("root").contains(&stolen.public().keyval.public.replace('\n', "\\n")),
            "{role}"
        );
        Device::born(&repo).refresh(&repo).unwrap();
    }
}

#[test]
fn of_three_release_keys_one_is_stolen() {
    let dir = TempDir::new().unwrap();
    let keys = ["alice", "bob", "carol"];
    keys.iter().for_each(|key| drop(done(dir.path(), &format!("key generate {key} --unencrypted"))));
    let given: String = keys.iter().map(|key| format!(" --key releases={key}.pem")).collect();
    done(dir.path(), &format!("init fleet --unencrypted --threshold releases=2{given}"));
    let repo = dir.path().join("fleet");
    let line = release_line("fleet", dir.path(), "v1.23.1");
    done(dir.path(), &format!("{line} --key alice.pem --key bob.pem"));
    let mut device = Device::born(&repo);
    device.target(&repo, "releases/edgecore/v1.23.1.json").unwrap();
    // Bob's is gone. The release that he signed with Alice is signed again by her and Carol, in the same publication.
    let said = done(dir.path(), "key revoke fleet bob");
    assert!(
        said.contains("removed from releases; the remaining keys sign again") && said.contains("waits for  releases"),
        "{said}"
    );
    device.target(&repo, "releases/edgecore/v1.23.1.json").unwrap();
    done(dir.path(), "sign fleet --yes --key alice.pem --key carol.pem");
    device.target(&repo, "releases/edgecore/v1.23.1.json").unwrap();
    let bob = SecretKey::read(&dir.path().join("bob.pem"), || unreachable!()).unwrap();
    let version = device.version(&repo, "releases");
    let published = fs::read_to_string(repo.join(format!("public/metadata/{version}.releases.json"))).unwrap();
    assert!(!published.contains(bob.id()));
    // Two are left, and two must sign: no more can go.
    refused(dir.path(), "key revoke fleet alice", "SLW-O-ROLE");
    done(dir.path(), "key revoke fleet alice --threshold 1 --key carol.pem");
    device.target(&repo, "releases/edgecore/v1.23.1.json").unwrap();
}

#[test]
fn a_thief_who_signed_a_version_far_ahead_is_overtaken_by_a_new_key() {
    let (dir, repo) = alone("");
    let mut device = Device::born(&repo);
    device.refresh(&repo).unwrap();
    // With the timestamp key he shows devices version 4000000000 of the state as it is.
    let stolen = SecretKey::read(&repo.join("keys/timestamp.pem"), || unreachable!()).unwrap();
    copy(&repo.join("public"), &dir.path().join("thief"));
    let path = dir.path().join("thief/metadata/timestamp.json");
    let mut timestamp: Pins = Envelope::parse(&fs::read(&path).unwrap(), "timestamp").unwrap().read("timestamp").unwrap();
    timestamp.header.version = 4_000_000_000;
    fs::write(&path, seal(&timestamp, &[&stolen]).unwrap()).unwrap();
    device.refresh_at(&dir.path().join("thief"), support::now()).unwrap();
    assert_eq!(device.floors.timestamp, 4_000_000_000);
    done(dir.path(), "refresh fleet");
    assert_eq!(device.refresh(&repo).unwrap_err().code, "SLW-T-ROLLBACK");
    done(dir.path(), "key rotate fleet timestamp");
    device.refresh(&repo).unwrap();
    assert!(device.floors.timestamp < 100);
    assert_eq!(device.refresh_at(&dir.path().join("thief"), support::now()).unwrap_err().code, "SLW-T-SIGNATURES");
}

#[test]
fn passwords() {
    let dir = TempDir::new().unwrap();
    let with = |password: Option<&str>, line: &str| {
        let mut command = command(dir.path());
        match password {
            Some(password) => command.env("SLIPWAY_KEY_PASSWORD", password),
            None => command.env_remove("SLIPWAY_KEY_PASSWORD"),
        };
        command.args(line.split_whitespace()).output().unwrap()
    };
    let said = |output: &std::process::Output| text(&output.stderr);
    assert!(said(&with(None, "key generate alice")).contains("SLW-O-PASSWORD"), "unencrypted only by --unencrypted");
    assert!(!dir.path().join("alice.pem").exists());
    assert!(with(None, "key generate bare --unencrypted").status.success());
    fs::write(dir.path().join("password"), format!("{PASSWORD}\n")).unwrap();
    assert!(with(None, "init fleet --password-file password").status.success());
    let pem = |role: &str| fs::read_to_string(dir.path().join(format!("fleet/keys/{role}.pem"))).unwrap();
    for role in ["root", "targets", "releases", "channels"] {
        assert!(pem(role).contains("ENCRYPTED"), "{role}");
    }
    assert!(!pem("timestamp").contains("ENCRYPTED") && !pem("snapshot").contains("ENCRYPTED"), "refresh runs unattended");
    assert!(with(None, "refresh fleet").status.success());
    assert!(with(None, "status fleet").status.success());
    fs::write(dir.path().join("edgecore.toml"), POLICY).unwrap();
    let before = fs::read(dir.path().join("fleet/public/metadata/timestamp.json")).unwrap();
    for password in [None, Some("wrong"), Some("")] {
        let output = with(password, "policy add fleet edgecore.toml");
        assert_eq!(output.status.code(), Some(3));
        assert!(said(&output).contains("SLW-O-PASSWORD"), "{}", said(&output));
    }
    assert_eq!(fs::read(dir.path().join("fleet/public/metadata/timestamp.json")).unwrap(), before, "nothing changed");
    assert!(!dir.path().join("fleet/staged").exists());
    assert!(with(Some(PASSWORD), "policy add fleet edgecore.toml").status.success());
    // No password at all and no terminal: nobody gets keys that are not encrypted without asking for them.
    for password in [None, Some("")] {
        assert!(said(&with(password, "init quick")).contains("SLW-O-PASSWORD"));
        assert!(!dir.path().join("quick").exists(), "nothing is left behind");
    }
    assert!(said(&with(None, "key rotate fleet root")).contains("SLW-O-PASSWORD"));
    assert!(with(None, "init quick --unencrypted").status.success());
}

#[test]
fn keys_made_by_openssl_are_keys() {
    let dir = TempDir::new().unwrap();
    let openssl = |line: &str| {
        let output =
            std::process::Command::new("openssl").current_dir(dir.path()).args(line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    };
    fs::write(dir.path().join("password"), PASSWORD).unwrap();
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass file:password -out p256.pem");
    openssl("genpkey -algorithm ed25519 -aes256 -pass file:password -out ed.pem");
    for key in ["p256", "ed"] {
        openssl(&format!("pkey -in {key}.pem -passin file:password -pubout -out {key}.pub"));
        std::process::Command::new("chmod").current_dir(dir.path()).args(["600", &format!("{key}.pem")]).status().unwrap();
    }
    done(dir.path(), "init fleet --threshold root=2 --key root=p256.pem --key root=ed.pem --unencrypted");
    Device::born(&dir.path().join("fleet")).refresh(&dir.path().join("fleet")).unwrap();
    // And ours are OpenSSL's.
    done(dir.path(), "key generate ours --type ed25519 --unencrypted");
    openssl("pkey -in ours.pem -pubout -out same.pub");
    assert_eq!(fs::read(dir.path().join("ours.pub")).unwrap(), fs::read(dir.path().join("same.pub")).unwrap());
}

#[test]
fn contradictions_are_refused() {
    let dir = TempDir::new().unwrap();
    done(dir.path(), "key generate alice --unencrypted");
    // The same key by another name.
    fs::copy(dir.path().join("alice.pub"), dir.path().join("alias.pub")).unwrap();
    for (more, code) in [
        ("--key root=alice.pub --key root=alias.pub --threshold root=2", "SLW-O-ROLE"),
        ("--key root=alice.pub --threshold root=0", "SLW-O-ROLE"),
        ("--key root=alice.pub --threshold root=2", "SLW-O-ROLE"),
        ("--threshold root=2", "SLW-O-ROLE"),
        ("--threshold root=0", "SLW-O-ROLE"),
        ("--key root=proof.json", "SLW-O-KEY"),
    ] {
        support::archive(dir.path(), "v1.0.0");
        refused(dir.path(), &format!("init fleet --unencrypted {more}"), code);
        assert!(!dir.path().join("fleet").exists(), "{more}");
    }
    assert_eq!(run(dir.path(), "init fleet --key nobody=alice.pub").status.code(), Some(2));
    let (dir, repo) = alone("");
    done(dir.path(), "key generate alice --unencrypted");
    let before = fs::read(repo.join("public/metadata/timestamp.json")).unwrap();
    for line in [
        "key add fleet root fleet/keys/root.pub",
        "key revoke fleet root",
        "key revoke fleet nobody",
        "key threshold fleet releases 0",
        "key threshold fleet releases 2",
        "key add fleet root alice.pub --threshold 3",
        "key rotate fleet root --old timestamp --new alice.pub",
    ] {
        refused(dir.path(), line, "SLW-O-ROLE");
    }
    assert_eq!(fs::read(repo.join("public/metadata/timestamp.json")).unwrap(), before);
    assert!(!repo.join("staged").exists());
    done(dir.path(), "key add fleet root alice.pub --threshold 2 --key alice.pem");
    assert_eq!(Device::born(&repo).version(&repo, "root"), 2);
}
