//! Updates continue after dropped connections, SIGKILL at any moment, and overlapping notices.

use anyhow::Result;
use slipway_operator::Role;
use slipway_sim::factory::now;
use slipway_testkit::broker::{Access, Mosquitto};
use slipway_testkit::edgecore::Dials;
use slipway_testkit::server::Fault;
use slipway_testkit::wait;
use slipway_tests::{LONG, device, device_off, factory, trigger};

#[test]
fn a_download_survives_a_dropped_connection_and_a_sigkill() -> Result<()> {
    let factory = factory()?;
    // Larger than several checkpoints.
    let release = factory.release(&Dials { pad: 24 << 20, ..Dials::healthy("v1.22.0") })?;
    let path = factory.artifact_path(&release);
    let size = release.archives[0].size;
    // The first request is cut off; every other one stops in its middle, for as long as it takes to look.
    factory.server.fault_times(&path, Fault::CutAfter(size / 4), 1);
    factory.server.fault(&path, Fault::StallAfter(size / 3));
    factory.point("v1.22.0")?;
    let mut device = device(&factory, None, |_| {})?;
    device.wait("the cut was noticed and some of the rest has come", LONG, |_| {
        factory.server.requests_for(&path).iter().any(|request| request.range.is_some() && request.bytes_sent > 0)
    })?;
    // Killed in the middle of the rest, and started again.
    device.kill();
    let sent: u64 = factory.server.bytes_sent(&path);
    device.start()?;
    wait::until("more bytes come", LONG, || factory.server.bytes_sent(&path) > sent);
    device.kill();
    factory.server.heal(&path);
    device.start()?;
    device.wait_committed("v1.22.0", LONG)?;
    let total = factory.server.bytes_sent(&path);
    assert!(total < size * 2, "{total} bytes were sent for a file of {size}: it began anew each time");
    let last = factory.server.requests_for(&path).pop().expect("a request");
    assert!(last.range.is_some(), "the last request asked for the rest only: {last:?}");
    Ok(())
}

/// A device that slept walks over 60 new roots and is killed in the middle: the witness knows of
/// none of them yet, the disk has each. Seen to fail with `walk_cached_roots` left out of the
/// refresh: `2.root.json` is asked for again.
#[test]
fn a_walk_over_many_roots_survives_a_sigkill() -> Result<()> {
    let factory = factory()?;
    let mut device = device_off(&factory, None, |_| {})?;
    factory.ship(&Dials::healthy("v1.22.0"))?;
    let mut repo = factory.repo()?;
    for _ in 0..60 {
        repo.renew_roles(&[Role::Root], now())?;
    }
    drop(repo);
    let path = |version: u32| format!("/metadata/{version}.root.json");
    factory.server.fault(&path(40), Fault::StallAfter(10));
    device.start()?;
    device.wait("it is in the middle of the walk", LONG, |_| !factory.server.requests_for(&path(40)).is_empty())?;
    device.kill();
    factory.server.heal(&path(40));
    device.start()?;
    device.wait_committed("v1.22.0", LONG)?;
    let asked = |version: u32| factory.server.requests_for(&path(version)).len();
    let again: Vec<u32> = (2..40).filter(|version| asked(*version) != 1).collect();
    assert!(again.is_empty() && asked(40) == 2 && asked(61) == 1, "asked for again: {again:?}");
    // The witness knows them now: the older ones are not kept.
    device.run("check", &[])?;
    let kept = std::fs::read_dir(device.state().join("trust/operator.root_history"))?.count();
    assert_eq!((kept, asked(61)), (1, 1));
    device.stop()
}

#[test]
fn three_notices_and_random_kills_end_where_the_last_one_asked() -> Result<()> {
    let broker = Mosquitto::start(Access::Plain)?;
    let factory = factory()?;
    for version in ["v1.21.0", "v1.22.0", "v1.23.0"] {
        factory.release(&Dials { pad: 4 << 20, ..Dials::healthy(version) })?;
    }
    factory.point("v1.21.0")?;
    let mut device = device(&factory, Some(&broker.url()), |_| {})?;
    // A fixed seed: a failure can be repeated.
    let mut dice: u64 = 0x5eed;
    let mut roll = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    for version in ["v1.21.0", "v1.22.0", "v1.23.0"] {
        factory.point(version)?;
        trigger(&broker.url(), Some(version))?;
        for _ in 0..3 {
            // Until some more of its log is there: a random moment of whatever it is doing.
            let seen = device.log().len();
            let lines = roll() % 4;
            let _ = wait::try_until("it gets a little further", std::time::Duration::from_millis(200 + roll() % 1500), || {
                device.log()[seen..].lines().count() as u64 > lines
            });
            device.kill();
            device.start()?;
        }
    }
    device.wait_committed("v1.23.0", LONG)?;
    assert!(device.current().is_some_and(|slot| slot.starts_with("v1.23.0-")));
    wait::until("it runs", LONG, || device.healthy());
    assert!(device.runs());
    device.stop()
}
