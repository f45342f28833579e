//! Expired metadata: refused, recorded, and not accepted again under a clock that is set back.

use super::{Bench, past};
use anyhow::Result;
use slipway_tests::clock::Clock;

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

/// As on a device: under a clock that is set back, what had expired stays refused, and after one
/// refresh in 2100 the next version is accepted.
#[test]
fn a_recorded_expiry_stays_in_force() -> Result<()> {
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
        assert!(bench.refresh()?, "{role}: the next version is judged again");
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
