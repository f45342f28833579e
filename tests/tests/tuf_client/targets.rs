//! Targets and delegations: how they are searched, verified and downloaded.

use super::Bench;
use anyhow::Result;

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
fn role_names_are_quoted_in_requests_and_are_not_paths_on_disk() -> Result<()> {
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
fn either_digest_suffices_and_file_names_need_no_version() -> Result<()> {
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
