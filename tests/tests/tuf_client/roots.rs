//! Roots, keys and signatures: the first root, rotation, thresholds, a long walk over new roots.

use super::{Bench, future};
use anyhow::Result;
use serde_json::{Value, json};
use slipway_testkit::server::Fault;
use slipway_testkit::tuf::{Key, Keys, Repository};

#[test]
fn an_invalid_root_is_refused_before_any_request() -> Result<()> {
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

#[test]
fn unknown_members_are_signed_and_ignored() -> Result<()> {
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

/// Killed before it wrote its floors, the client continues at the root where it stopped.
#[test]
fn a_walk_over_200_roots_continues_after_an_interruption() -> Result<()> {
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

/// One root per entry: keys by number, the threshold, and who signs. The client starts with the first.
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
fn wrong_signatures_beside_enough_valid_ones_are_accepted_but_a_repeated_key_id_is_refused() -> Result<()> {
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
