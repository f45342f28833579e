//! What a refresh asks for, trusts and keeps: the four roles, their versions, pins and missing files.

use super::Bench;
use anyhow::Result;
use serde_json::{Value, json};

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
fn a_refresh_keeps_what_was_verified_before_an_unsigned_role() -> Result<()> {
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
fn a_timestamp_that_changes_without_a_new_version_is_not_accepted() -> Result<()> {
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
fn lengths_and_digests_of_metadata_are_optional_and_checked_where_present() -> Result<()> {
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
fn versions_do_not_decrease_unless_keys_are_rotated() -> Result<()> {
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
