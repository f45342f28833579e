//! Starts the machine from any stored record, also impossible ones, and checks that it comes to rest.
//!
//! States without their slot, deadlines that are over or at the end of time, a way back to what was never installed, an epoch that cannot
//! rise: all of it read back from JSON, as it is after a start.
//! Seen to fail, while it was written, by damage that was noted without a committed release, and by an `Inconsistent` whose way back had
//! never been committed: both were looked for without end.

use super::simulation::{SimulatedDevice, artifact, dies, moment, plan, release};
use super::*;
use crate::record::*;
use crate::time::Moment;
use proptest::prelude::*;

fn when() -> impl Strategy<Value = Moment> {
    let secs = prop_oneof![Just(0), 1_u64..5000, Just(u64::MAX - 10), Just(u64::MAX)];
    (0_u32..3, secs).prop_map(|(boot, secs)| moment(boot, secs))
}

fn retry() -> impl Strategy<Value = Retry> {
    let failures = prop_oneof![0_u32..8, Just(u32::MAX)];
    (failures, prop::option::of(when()), prop::option::of(when())).prop_map(|(failures, since, at)| Retry { failures, since, at })
}

fn trigger() -> impl Strategy<Value = Trigger> {
    let by = prop_oneof![Just(TriggerSource::Timer), Just(TriggerSource::Notice), Just(TriggerSource::Operator)];
    (by, prop::option::of(0_u32..8)).prop_map(|(by, hint)| Trigger {
        by,
        source: Source::Network,
        hint: hint.map(|n| plan(n).version),
    })
}

/// A plan, and now and then one whose slot is another release's.
fn some_plan() -> impl Strategy<Value = Plan> {
    (0_u32..8, 0_u32..8, 0_u8..8)
        .prop_map(|(n, other, odd)| Plan { slot: plan(if odd == 0 { other } else { n }).slot, ..plan(n) })
}

fn watch() -> impl Strategy<Value = Watch> {
    let process = prop::option::of((0_u32..3, 0_u32..2).prop_map(|(pid, restarts)| Process { pid, restarts }));
    let counts = (prop_oneof![0_u32..5, Just(u32::MAX)], prop_oneof![0_u32..5, Just(u32::MAX)]);
    (when(), counts, process, prop::option::of(when())).prop_map(|(deadline, (starts, failures), process, healthy_since)| Watch {
        deadline,
        starts,
        process,
        healthy_since,
        failures,
        unhealthy: None,
    })
}

/// A release that could ever have been committed.
fn installed() -> impl Strategy<Value = Option<Installed>> {
    let release = |(n, adopted)| (!dies(n)).then(|| Installed { adopted, ..release(n) });
    prop::option::of((0_u32..8, any::<bool>()).prop_filter_map("dies", release))
}

fn blocked(n: u32) -> Blocked {
    Blocked { artifact: artifact(n), version: plan(n).version, reason: refusals::DIED, at: jiff::Timestamp::UNIX_EPOCH }
}

fn state() -> BoxedStrategy<State> {
    let back = || (prop::option::of(0_u32..8), installed(), retry());
    prop_oneof![
        Just(State::Idle),
        (trigger(), retry()).prop_map(|(trigger, retry)| State::Checking { trigger, retry }),
        (some_plan(), retry()).prop_map(|(plan, retry)| State::Downloading { plan, retry }),
        some_plan().prop_map(|plan| State::Staging { plan }),
        (some_plan(), 0_u32..8).prop_map(|(plan, n)| State::Staged { plan, payload: artifact(n) }),
        (some_plan(), 0_u32..8, any::<bool>()).prop_map(|(plan, n, first)| State::Activating {
            plan,
            payload: artifact(n),
            step: if first { Activation::Preparing } else { Activation::Switching },
        }),
        (some_plan(), 0_u32..8, watch()).prop_map(|(plan, n, watch)| State::Probation { plan, payload: artifact(n), watch }),
        (back(), prop::option::of(some_plan()), prop::option::of(0_u32..8)).prop_map(|((from, to, retry), left, bad)| {
            State::RollingBack {
                from: from.map(|n| plan(n).slot),
                plan: left,
                to,
                reason: refusals::DIED,
                block: bad.map(blocked),
                retry,
            }
        }),
        back().prop_map(|(from, to, retry)| State::Inconsistent {
            from: from.map(|n| plan(n).slot),
            to,
            reason: refusals::DIED,
            retry,
        }),
    ]
    .boxed()
}

fn record() -> BoxedStrategy<Record> {
    let epoch = prop_oneof![0_u64..9, Just(u64::MAX - 1), Just(u64::MAX)];
    let some = || prop::option::of(0_u32..8);
    let damage = prop::option::of((some(), prop_oneof![0_u32..3, Just(u32::MAX)]));
    let backoff = prop::option::of((0_u32..8, when(), prop_oneof![0_u32..3, Just(u32::MAX)]));
    let releases = (installed(), installed(), some(), prop::collection::vec(0_u32..8, 0..4));
    (epoch, state(), releases, prop::option::of(trigger()), prop::option::of(when()), damage, backoff)
        .prop_map(|(epoch, state, (committed, previous, floor, bad), trigger, checked, damage, backoff)| Record {
            epoch,
            state,
            committed,
            previous,
            floor: floor.map(|n| plan(n).version),
            blocked: bad.into_iter().map(blocked).collect(),
            trigger,
            checked,
            damage: damage.map(|(from, failures)| SlotDamage {
                reason: refusals::DIED,
                from: from.map(|n| plan(n).slot),
                failures,
            }),
            backoff: backoff.map(|(n, until, failures)| DeviceBackoff {
                artifact: artifact(n),
                reason: refusals::DIED,
                failures,
                until,
            }),
            ..Record::new("edgecore".parse().unwrap())
        })
        .boxed()
}

/// A device that starts with this record, on a disk of which nothing is known.
fn device() -> BoxedStrategy<SimulatedDevice> {
    let disk = (any::<u8>(), any::<u8>(), any::<u8>(), prop::option::of(0_u32..8));
    (record(), disk, 0_u32..8, 0_u64..5000)
        .prop_map(|(record, (slots, parts, snapshots, link), channel, secs)| {
            let among = |bits: u8| (0_u32..8).filter(move |n| bits & (1 << n) != 0);
            let mut device = SimulatedDevice::new();
            // Through the form in which it is kept.
            device.record = serde_json::from_slice(&serde_json::to_vec(&record).unwrap()).unwrap();
            device.lived = false;
            device.slots = among(slots).map(|n| plan(n).slot).collect();
            device.parts = among(parts).map(artifact).collect();
            device.snapshots = among(snapshots).map(|n| (plan(n).slot, 0)).collect();
            device.link = link.map(|n| plan(n).slot);
            (device.channel, device.secs) = (channel, secs);
            device
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn from_any_persisted_state_a_start_comes_to_rest(mut device in device()) {
        let floor = device.record.floor.clone();
        device.power_cut();
        device.calm_down();
        prop_assert!(device.record.floor >= floor, "the floor went down");
        prop_assert_eq!(&device.record.damage, &None, "the committed release is whole again");
    }

    /// Without a network it may take as long as that lasts, but somebody always moves it on.
    #[test]
    fn without_a_network_no_state_is_without_somebody_who_moves_it_on(mut device in device()) {
        device.offline = true;
        device.power_cut();
        for _ in 0..60 {
            let waits = wake_at(&device.record).is_some();
            let moves = waits || !device.orders.is_empty() || !device.answers.is_empty();
            prop_assert!(moves || device.record.state == State::Idle, "nobody moves {:?} on", device.record.state);
            prop_assert!(moves || device.record.damage.is_none(), "it rests with a damaged release");
            if !device.go() {
                break;
            }
        }
        // It comes back: everything that was in the way is made good.
        device.offline = false;
        device.calm_down();
        prop_assert_eq!(&device.record.damage, &None);
    }
}
