//! What the public TUF conformance suite expects of a client, asked of `tuf-client` with a real server: the three verbs, exit codes,
//! which files are asked for, and which are trusted afterwards.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use slipway_testkit::programs;
use slipway_testkit::server::{Fault, ReleaseServer};
use slipway_testkit::tuf::{Key, Keys, Repository};
use slipway_tests::clock::Clock;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A repository on a server, and a client that was born with its first root.
struct Bench {
    repository: Repository,
    served: TempDir,
    server: ReleaseServer,
    home: TempDir,
    /// What comes before the client's name: a clock.
    words: Vec<OsString>,
}

fn future() -> Timestamp {
    slipway_sim::factory::now() + jiff::SignedDuration::from_hours(24 * 30)
}

fn past() -> Timestamp {
    slipway_sim::factory::now() - jiff::SignedDuration::from_hours(24)
}

impl Bench {
    fn new() -> Result<Self> {
        Self::with(Repository::bare(future()))
    }

    fn with(repository: Repository) -> Result<Self> {
        let (served, home) = (tempfile::tempdir()?, tempfile::tempdir()?);
        repository.write_to(served.path())?;
        let server = ReleaseServer::start(served.path())?;
        for folder in ["metadata", "targets"] {
            std::fs::create_dir(home.path().join(folder))?;
        }
        let bench = Self { repository, served, server, home, words: Vec::new() };
        assert!(bench.init(&bench.repository.files["1.root.json"])?, "init");
        Ok(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn init(&self, root: &[u8]) -> Result<bool> {
        std::fs::write(self.path("initial.json"), root)?;
        let initial = self.path("initial.json").display().to_string();
        self.run(&["init", &initial])
    }

    fn run(&self, args: &[&str]) -> Result<bool> {
        let client = programs::program("slipway-tests", "tuf-client")?;
        let mut words = self.words.iter().map(OsString::as_os_str).chain([client.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command.arg("--metadata-dir").arg(self.path("metadata")).args(args);
        Ok(command.output()?.status.code() == Some(0))
    }

    fn publish(&self) -> Result<()> {
        Ok(self.repository.write_to(self.served.path())?)
    }

    fn refresh(&self) -> Result<bool> {
        self.publish()?;
        self.run(&["--metadata-url", &self.server.url_of("metadata"), "refresh"])
    }

    fn download(&self, names: &[&str]) -> Result<bool> {
        self.publish()?;
        let (metadata, targets) = (self.server.url_of("metadata"), self.server.url_of("targets"));
        let into = self.path("targets").display().to_string();
        let mut args = vec!["--metadata-url", &metadata, "--target-dir", &into, "--target-base-url", &targets];
        args.extend(names.iter().flat_map(|name| ["--target-name", name]));
        args.push("download");
        self.run(&args)
    }

    /// What is trusted now, by name, with the bytes as they are on disk.
    fn trusted(&self) -> Result<Vec<(String, u64)>> {
        let mut trusted = Vec::new();
        for entry in std::fs::read_dir(self.path("metadata"))? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if let Some(role) = name.strip_suffix(".json") {
                let metadata: Value = serde_json::from_slice(&std::fs::read(entry.path())?)?;
                trusted.push((role.to_owned(), metadata["signed"]["version"].as_u64().unwrap_or_default()));
            }
        }
        trusted.sort();
        Ok(trusted)
    }

    fn trusts(&self, wanted: &[(&str, u64)]) -> Result<()> {
        let wanted: Vec<_> = wanted.iter().map(|(role, version)| ((*role).to_owned(), *version)).collect();
        assert_eq!(self.trusted()?, wanted);
        Ok(())
    }

    /// The names of the metadata asked for since the last call.
    fn asked(&self) -> Vec<String> {
        let names =
            self.server.requests().into_iter().filter_map(|request| Some(request.path.strip_prefix("/metadata/")?.to_owned()));
        names.collect()
    }

    fn downloaded(&self) -> Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.path("targets"))? {
            all.push(std::fs::read(entry?.path())?);
        }
        all.sort();
        Ok(all)
    }
}

#[test]
fn a_refresh_asks_for_the_four_roles_and_stores_the_bytes_as_received() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.repository.files.get_mut("timestamp.json").expect("published").extend(b" \n ");
    assert!(bench.refresh()?);
    assert_eq!(bench.asked(), ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]);
    bench.trusts(&[("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 1)])?;
    for (stored, published) in [("root", "1.root.json"), ("timestamp", "timestamp.json"), ("snapshot", "1.snapshot.json")] {
        let stored = std::fs::read(bench.path("metadata").join(format!("{stored}.json")))?;
        assert_eq!(stored, bench.repository.files[published], "{published}");
    }
    Ok(())
}

#[test]
fn a_root_that_is_no_root_is_refused_before_anything_is_asked() -> Result<()> {
    let bench = Bench::new()?;
    let good: Value = serde_json::from_slice(&bench.repository.files["1.root.json"])?;
    for edit in [
        |root: &mut Value| root["signed"]["version"] = Value::Null,
        |root: &mut Value| root["signatures"][0]["sig"] = json!("3045022100ee448afe"),
    ] {
        let (mut root, bench) = (good.clone(), Bench::with(bench.repository.clone())?);
        edit(&mut root);
        std::fs::remove_dir_all(bench.path("metadata"))?;
        std::fs::create_dir(bench.path("metadata"))?;
        assert!(!bench.init(root.to_string().as_bytes())?);
        assert!(!bench.refresh()?);
        assert!(bench.asked().is_empty());
    }
    Ok(())
}

/// What is verified before a role that is not stays trusted.
#[test]
fn a_refresh_gets_as_far_as_what_is_signed() -> Result<()> {
    let all: [(&str, &[(&str, u64)]); 4] = [
        ("root", &[("root", 1)]),
        ("timestamp", &[("root", 2)]),
        ("snapshot", &[("root", 2), ("timestamp", 2)]),
        ("targets", &[("root", 2), ("snapshot", 2), ("timestamp", 2)]),
    ];
    for (role, trusted) in all {
        let mut bench = Bench::new()?;
        bench.repository.keys.get_mut(role).expect("a role").signers.clear();
        bench.repository.publish_root();
        bench.repository.publish();
        assert!(!bench.refresh()?, "{role}");
        bench.trusts(trusted)?;
    }
    Ok(())
}

#[test]
fn a_file_of_another_version_than_its_name_is_refused() -> Result<()> {
    for (role, name, trusted) in [
        ("root", "2.root.json", &[("root", 1)][..]),
        ("snapshot", "2.snapshot.json", &[("root", 2), ("timestamp", 2)]),
        ("targets", "2.targets.json", &[("root", 2), ("snapshot", 2), ("timestamp", 2)]),
    ] {
        let mut bench = Bench::new()?;
        bench.repository.publish_root();
        bench.repository.publish();
        let mut other = bench.repository.clone();
        match role {
            "root" => other.publish_root(),
            _ => other.publish(),
        }
        let bytes = other.files[&name.replace('2', "3")].clone();
        bench.repository.files.insert(name.to_owned(), bytes);
        assert!(!bench.refresh()?, "{role}");
        bench.trusts(trusted)?;
    }
    Ok(())
}

#[test]
fn a_timestamp_that_changes_without_a_new_version_is_not_taken() -> Result<()> {
    let mut bench = Bench::new()?;
    assert!(bench.refresh()?);
    bench.repository.timestamp_meta["snapshot.json"]["version"] = json!(100);
    bench.repository.write_timestamp();
    assert!(bench.refresh()?);
    assert_eq!(bench.asked().last().map(String::as_str), Some("timestamp.json"));
    let stored: Value = serde_json::from_slice(&std::fs::read(bench.path("metadata").join("timestamp.json"))?)?;
    assert_eq!(stored["signed"]["meta"]["snapshot.json"]["version"], json!(1));
    Ok(())
}

#[test]
fn lengths_and_digests_of_metadata_are_optional_and_count_where_they_are() -> Result<()> {
    let mut bench = Bench::new()?;
    let bare =
        |pins: &mut serde_json::Map<String, Value>| pins.values_mut().for_each(|pin| *pin = json!({"version": pin["version"]}));
    bench.repository.publish_targets("targets");
    bare(&mut bench.repository.snapshot_meta);
    bench.repository.publish_snapshot();
    bare(&mut bench.repository.timestamp_meta);
    bench.repository.publish_timestamp();
    assert!(bench.refresh()?);
    bench.repository.publish_targets("targets");
    bench.repository.snapshot_meta["targets.json"]["hashes"]["sha256"] = json!("46".repeat(32));
    bench.repository.publish_snapshot();
    bench.repository.publish_timestamp();
    assert!(!bench.refresh()?);
    bench.trusts(&[("root", 1), ("snapshot", 3), ("targets", 2), ("timestamp", 3)])
}

#[test]
fn what_nobody_has_defined_is_signed_like_the_rest_and_means_nothing() -> Result<()> {
    let mut bench = Bench::new()?;
    let mut key = Key::new();
    key.public["extra-field"] = json!({"a": 1, "b": [2, "\\\"ü\n"]});
    key.public["keyid_hash_algorithms"] = json!("md5");
    bench.repository.keys.insert("snapshot".to_owned(), Keys::any(vec![key]));
    bench.repository.publish_root();
    bench.repository.publish();
    assert!(bench.refresh()?);
    bench.trusts(&[("root", 2), ("snapshot", 2), ("targets", 2), ("timestamp", 2)])
}

#[test]
fn a_missing_file_fails_the_refresh_and_keeps_what_came_before_it() -> Result<()> {
    for (name, trusted) in [
        ("timestamp.json", [("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 1)]),
        ("2.snapshot.json", [("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 2)]),
        ("2.targets.json", [("root", 1), ("snapshot", 2), ("targets", 1), ("timestamp", 2)]),
    ] {
        let mut bench = Bench::new()?;
        assert!(bench.refresh()?);
        bench.repository.publish();
        bench.repository.files.remove(name);
        assert!(!bench.refresh()?, "{name}");
        assert_eq!(bench.asked().last().map(String::as_str), Some(name));
        bench.trusts(&trusted)?;
    }
    Ok(())
}

#[test]
fn a_snapshot_in_the_place_of_a_timestamp_is_refused() -> Result<()> {
    let mut bench = Bench::new()?;
    let both = bench.repository.keys["timestamp"].clone();
    bench.repository.keys.insert("snapshot".to_owned(), both);
    bench.repository.publish_root();
    bench.repository.publish();
    let snapshot = bench.repository.files["2.snapshot.json"].clone();
    bench.repository.files.insert("timestamp.json".to_owned(), snapshot);
    assert!(!bench.refresh()?);
    bench.trusts(&[("root", 2)])
}

#[test]
fn expired_metadata_is_not_trusted_but_an_expired_root_is_kept() -> Result<()> {
    for (role, trusted) in [
        ("root", [("root", 2), ("snapshot", 1), ("targets", 1), ("timestamp", 1)]),
        ("timestamp", [("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 1)]),
        ("snapshot", [("root", 1), ("snapshot", 1), ("targets", 1), ("timestamp", 2)]),
        ("targets", [("root", 1), ("snapshot", 2), ("targets", 1), ("timestamp", 2)]),
    ] {
        let mut bench = Bench::new()?;
        assert!(bench.refresh()?);
        let repository = &mut bench.repository;
        match role {
            "root" => repository.root.expires = past(),
            "timestamp" => repository.timestamp.expires = past(),
            "snapshot" => repository.snapshot.expires = past(),
            _ => repository.targets.header.expires = past(),
        }
        if role == "root" {
            repository.publish_root();
        } else {
            repository.publish();
        }
        assert!(!bench.refresh()?, "{role}");
        bench.trusts(&trusted)?;
    }
    Ok(())
}

#[test]
fn versions_do_not_go_back_unless_new_keys_say_so() -> Result<()> {
    for role in ["timestamp", "snapshot", "targets"] {
        let mut bench = Bench::new()?;
        bench.repository.publish();
        assert!(bench.refresh()?);
        let newest = bench.trusted()?;
        let repository = &mut bench.repository;
        match role {
            "timestamp" => repository.timestamp.version = 0,
            "snapshot" => {
                repository.snapshot.version = 0;
                repository.publish_snapshot();
            }
            _ => {
                repository.targets.header.version = 0;
                repository.publish_targets("targets");
                repository.publish_snapshot();
            }
        }
        repository.publish_timestamp();
        assert!(!bench.refresh()?, "{role}");
        if role != "targets" {
            assert_eq!(bench.trusted()?, newest, "{role}");
        }
        // Recovery: new keys for what a thief could have signed.
        bench.repository.rotate("timestamp");
        bench.repository.rotate("snapshot");
        bench.repository.publish_root();
        (bench.repository.timestamp.version, bench.repository.snapshot.version) = (0, 0);
        bench.repository.targets.header.version = 0;
        bench.repository.publish();
        assert!(bench.refresh()?, "{role}");
        bench.trusts(&[("root", 2), ("snapshot", 1), ("targets", 1), ("timestamp", 1)])?;
    }
    Ok(())
}

/// The same as on a device: under a clock that is set back, what had expired stays so, and one
/// look in 2100 ends with the next version.
#[test]
fn an_expiry_that_was_judged_stays_judged() -> Result<()> {
    let mut bench = Bench::new()?;
    let Some(clock) = Clock::new(bench.home.path())? else { return Ok(()) };
    assert!(bench.refresh()?);
    for role in ["timestamp", "snapshot", "targets"] {
        let week = slipway_sim::factory::now() + jiff::SignedDuration::from_hours(24 * 7);
        let repository = &mut bench.repository;
        let header = match role {
            "timestamp" => &mut repository.timestamp,
            "snapshot" => &mut repository.snapshot,
            _ => &mut repository.targets.header,
        };
        header.expires = week;
        repository.publish();
        let mut refresh = |time: &str| {
            clock.set(time)?;
            bench.words = clock.words();
            let done = bench.refresh();
            bench.words.clear();
            done
        };
        assert!(!refresh("+8d")? && !refresh("+0")? && !refresh("+0")?, "{role}");
        bench.repository.publish();
        assert!(bench.refresh()?, "{role}: the next version is judged anew");
    }
    for root_until in [None, Some("2200-01-01T00:00:00Z")] {
        if let Some(until) = root_until {
            bench.repository.root.expires = until.parse()?;
            bench.repository.publish_root();
            assert!(bench.refresh()?);
        }
        clock.set("@2100-01-01 00:00:00")?;
        bench.words = clock.words();
        assert!(!bench.refresh()?);
        bench.words.clear();
        assert_eq!(bench.refresh()?, root_until.is_none(), "an expired root hides the rest and is not kept");
        bench.repository.publish();
        assert!(bench.refresh()?);
    }
    let only: Vec<_> = bench.trusted()?.into_iter().map(|(role, _)| role).collect();
    assert_eq!(only, ["root", "snapshot", "targets", "timestamp"], "nothing else ends in .json");
    Ok(())
}

/// Killed before its floors were written, it goes on where it stopped.
#[test]
fn a_walk_over_200_roots_goes_on_where_it_was_cut() -> Result<()> {
    let mut bench = Bench::new()?;
    assert!(bench.refresh()?);
    for _ in 0..200 {
        bench.repository.publish_root();
    }
    bench.server.fault("/metadata/120.root.json", Fault::Status(500));
    let floors = std::fs::read(bench.path("metadata/floors"))?;
    assert!(!bench.refresh()?);
    std::fs::write(bench.path("metadata/floors"), floors)?;
    bench.server.heal("/metadata/120.root.json");
    let before = bench.asked().len();
    assert!(bench.refresh()?);
    let asked = bench.asked().split_off(before);
    assert_eq!((asked[0].as_str(), asked.len()), ("120.root.json", 201 - 119 + 1 + 1), "{asked:?}");
    Ok(())
}

/// Keys by number: those listed, the threshold, who signs, and whether it is accepted; the first is what the client is born with.
type Roots = &'static [(&'static [usize], i64, &'static [usize])];

#[test]
fn root_keys_rotate_by_both_thresholds() -> Result<()> {
    let cases: [(Roots, bool); 10] = [
        (&[(&[1], 1, &[1]), (&[2], 1, &[2, 1]), (&[2], 1, &[2])], true),
        (&[(&[1], 1, &[3, 1, 4]), (&[2], 1, &[3, 2, 1, 4]), (&[2], 1, &[3, 2, 4])], true),
        (&[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 3, 4, 5], 3, &[0, 4, 1])], true),
        (
            &[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[5, 6, 7, 8, 9], 3, &[0, 2, 4, 5, 6, 7]), (&[5, 6, 7, 8, 9], 3, &[5, 6, 7])],
            true,
        ),
        (&[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1, 2]), (&[1, 2, 3], 1, &[1])], true),
        (&[(&[1], 1, &[1]), (&[2], 1, &[2, 3, 4])], false),
        (&[(&[1], 1, &[1]), (&[2], 1, &[1, 3, 4])], false),
        (&[(&[0, 1, 2, 3, 4], 3, &[0, 2, 4]), (&[0, 1, 3, 4, 5], 3, &[0, 2, 4])], false),
        (&[(&[1, 2, 3], 1, &[1]), (&[1, 2, 3], 2, &[2])], false),
        (&[(&[1, 2, 3], 2, &[1, 2]), (&[1, 2, 3], 1, &[1])], false),
    ];
    let keys: Vec<Key> = (0..10).map(|n| if n % 2 == 0 { Key::ed25519() } else { Key::new() }).collect();
    let pick = |numbers: &[usize]| numbers.iter().map(|n| keys[*n].clone()).collect::<Vec<_>>();
    for (roots, accepted) in cases {
        let mut repository = Repository::bare(future());
        repository.root.version = 0;
        for (listed, threshold, signers) in roots {
            let role = Keys { signers: pick(signers), ..Keys::threshold(*threshold, pick(listed)) };
            repository.keys.insert("root".to_owned(), role);
            repository.publish_root();
        }
        let bench = Bench::with(repository)?;
        assert_eq!(bench.refresh()?, accepted, "{roots:?}");
        let version = roots.len() - usize::from(!accepted);
        let stored = std::fs::read(bench.path("metadata").join("root.json"))?;
        assert_eq!(stored, bench.repository.files[&format!("{version}.root.json")], "{roots:?}");
    }
    Ok(())
}

#[test]
fn signatures_that_are_wrong_or_empty_do_no_harm_beside_enough_good_ones_and_twice_the_same_id_does() -> Result<()> {
    let mut bench = Bench::new()?;
    let keys = Keys::any(vec![Key::new(), Key::ed25519()]);
    bench.repository.keys.insert("timestamp".to_owned(), keys);
    bench.repository.publish_root();
    for (sig, good) in [("", true), ("00", true), ("not hexadecimal", true)] {
        bench.repository.publish();
        let bytes = &bench.repository.files["timestamp.json"];
        let mut timestamp: Value = serde_json::from_slice(bytes)?;
        timestamp["signatures"][0]["sig"] = json!(sig);
        bench.repository.files.insert("timestamp.json".to_owned(), timestamp.to_string().into_bytes());
        assert_eq!(bench.refresh()?, good, "{sig:?}");
    }
    bench.repository.publish();
    let mut timestamp: Value = serde_json::from_slice(&bench.repository.files["timestamp.json"])?;
    let again = timestamp["signatures"][0].clone();
    timestamp["signatures"].as_array_mut().expect("an array").push(again);
    bench.repository.files.insert("timestamp.json".to_owned(), timestamp.to_string().into_bytes());
    assert!(!bench.refresh()?);
    Ok(())
}

/// Delegations as (from, to, paths, terminating), and the order in which roles are asked for a target that nobody has.
#[test]
fn delegations_are_walked_in_order_and_only_as_far_as_needed() -> Result<()> {
    type Graph = &'static [(&'static str, &'static str, &'static str, bool)];
    let graphs: [(Graph, &[&str]); 8] = [
        (&[("targets", "A", "*", false)], &["A"]),
        (&[("targets", "A", "*", false), ("targets", "B", "*", false), ("B", "C", "*", false)], &["A", "B", "C"]),
        (
            &[("targets", "A", "*", false), ("targets", "B", "*", false), ("A", "C", "*", false), ("A", "D", "*", false)],
            &["A", "C", "D", "B"],
        ),
        (
            &[("targets", "A", "*", false), ("targets", "B", "*", false), ("A", "C", "*", true), ("A", "D", "*", false)],
            &["A", "C"],
        ),
        (
            &[("targets", "A", "*", false), ("targets", "B", "*", false), ("A", "C", "*", true), ("C", "D", "*", false)],
            &["A", "C", "D"],
        ),
        (&[("targets", "A", "*.py", false), ("targets", "B", "*", false), ("A", "C", "*", false)], &["B"]),
        (
            &[
                ("targets", "A", "*", false),
                ("targets", "B", "*", false),
                ("B", "C", "*", false),
                ("C", "D", "*", false),
                ("D", "B", "*", false),
            ],
            &["A", "B", "C", "D"],
        ),
        (
            &[("targets", "A", "*", false), ("targets", "B", "*", false), ("B", "C", "*", false), ("A", "C", "*.py", false)],
            &["A", "B", "C"],
        ),
    ];
    for (graph, order) in graphs {
        let mut bench = Bench::new()?;
        for (from, to, paths, terminating) in graph {
            bench.repository.delegate(from, to, &[paths], *terminating);
        }
        bench.repository.publish();
        assert!(!bench.download(&["missingpath"])?, "{graph:?}");
        let wanted: Vec<String> = order.iter().map(|role| format!("1.{role}.json")).collect();
        assert_eq!(bench.asked()[4..], wanted, "{graph:?}");
    }
    Ok(())
}

#[test]
fn role_names_are_quoted_in_requests_and_no_paths_on_disk() -> Result<()> {
    for (role, quoted) in
        [("?", "%3F"), ("#", "%23"), ("/delegatedrole", "%2Fdelegatedrole"), ("../delegatedrole", "..%2Fdelegatedrole")]
    {
        let mut bench = Bench::new()?;
        bench.repository.delegate("targets", role, &["*"], false);
        bench.repository.publish();
        assert!(!bench.download(&["nonexistent"])?);
        assert!(bench.asked().contains(&format!("1.{quoted}.json")), "{role}: {:?}", bench.asked());
        let here: Vec<_> = std::fs::read_dir(bench.home.path())?.flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(here.len(), 3, "nothing beside metadata, targets and the root: {here:?}");
    }
    Ok(())
}

#[test]
fn targets_are_downloaded_once_verified_and_found_through_delegations() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.repository.delegate("targets", "B", &["releases/*/*"], false);
    bench.repository.delegate("B", "D", &["releases/y/*.zip"], false);
    for (role, path, bytes) in [
        ("targets", "file", "of targets"),
        ("targets", "path/to/a/file.txt", "deeper"),
        ("D", "releases/y/y_v1.zip", "of D"),
        ("D", "releases/z/z_v1.zip", "not D's to sign"),
    ] {
        bench.repository.put(role, path, bytes.as_bytes());
    }
    bench.repository.publish();
    assert!(bench.download(&["file", "path/to/a/file.txt", "releases/y/y_v1.zip"])?);
    assert_eq!(bench.downloaded()?, [&b"deeper"[..], b"of D", b"of targets"]);
    assert!(!bench.download(&["releases/z/z_v1.zip"])?);
    // Again: it is there already, so the server is not even asked.
    let targets = |bench: &Bench| bench.server.requests().iter().filter(|request| request.path.starts_with("/targets/")).count();
    let before = targets(&bench);
    assert!(bench.download(&["file"])?);
    assert_eq!(targets(&bench), before);
    // Other bytes than were signed.
    bench.repository.put("targets", "file", b"a new version");
    bench.repository.publish();
    bench.repository.blobs.values_mut().for_each(|bytes| *bytes = b"malicious".to_vec());
    assert!(!bench.download(&["file"])?);
    assert_eq!(bench.downloaded()?, [&b"deeper"[..], b"of D", b"of targets"]);
    Ok(())
}

#[test]
fn either_digest_will_do_and_file_names_need_carry_no_version() -> Result<()> {
    for digests in [&["sha256"][..], &["sha512"], &["sha256", "sha512"]] {
        for consistent in [true, false] {
            let mut bench = Bench::new()?;
            bench.repository.consistent = consistent;
            bench.repository.publish_root();
            bench.repository.put("targets", "file", b"content");
            let hashes = &mut bench.repository.targets.targets.get_mut("file").expect("put")["hashes"];
            let all = hashes.clone();
            *hashes =
                digests.iter().map(|name| ((*name).to_owned(), all[*name].clone())).collect::<serde_json::Map<_, _>>().into();
            for name in digests.iter().filter(|_| consistent) {
                let place = format!("{}.file", all[*name].as_str().unwrap_or_default());
                bench.repository.blobs.insert(place, b"content".to_vec());
            }
            bench.repository.publish();
            assert!(bench.download(&["file"])?, "{digests:?}, consistent {consistent}");
            assert_eq!(bench.downloaded()?, [b"content"]);
        }
    }
    Ok(())
}

#[test]
fn an_expired_delegated_role_is_not_used_nor_kept() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.repository.delegate("targets", "delegated", &["x/*"], false);
    bench.repository.put("delegated", "x/file", b"content");
    bench.repository.role("delegated").header.expires = past();
    bench.repository.publish();
    assert!(bench.refresh()?, "nobody needs it for a refresh");
    assert!(!bench.download(&["x/file"])?);
    assert!(bench.downloaded()?.is_empty());
    bench.trusts(&[("root", 1), ("snapshot", 2), ("targets", 2), ("timestamp", 2)])
}
