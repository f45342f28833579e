//! Judges a release on probation, from one sample and the result of earlier ones.

use super::{Settings, refusals};
use crate::record::{ProcessState, Sample, Watch};
use crate::time::Moment;
use slipway_protocol::Refusal;

/// What one sample of the component means.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Keep watching.
    Watch(Watch),
    /// Healthy for the whole soak.
    Commit,
    /// Failed.
    RollBack(Refusal),
}

/// Judges one sample.
///
/// A process that died or was restarted is a failure at once, also if the service manager restarted it. A required check may fail
/// until the release was healthy for the first time (it is starting), afterwards only `failures` times in a row.
///
/// ```
/// use slipway_machine::record::{ProcessState, Sample, Watch};
/// use slipway_machine::time::{BootId, Moment};
/// use slipway_machine::{Judgement, Settings, judge};
///
/// let now = Moment { boot: BootId("6d3e".to_owned()), secs: 60 };
/// let watch = Watch {
///     deadline: now.after(300), starts: 0, process: None, healthy_since: None, failures: 0, unhealthy: None,
/// };
/// let sample = Sample { process: ProcessState::Dead("exit status 1".to_owned()), checks: Vec::new() };
/// let Judgement::RollBack(refusal) = judge(&Settings::default(), &watch, &sample, &now) else { panic!() };
/// assert_eq!(refusal.code, "SLW-A-DIED");
/// ```
#[must_use]
pub fn judge(settings: &Settings, watch: &Watch, sample: &Sample, now: &Moment) -> Judgement {
    let mut watch = watch.clone();
    let mut healthy = true;
    match &sample.process {
        ProcessState::Dead(evidence) => return Judgement::RollBack(refusals::DIED.with(evidence, "a running process")),
        ProcessState::Running(process) => {
            let before = watch.process.as_ref();
            if before.is_some_and(|before| before != process) || before.is_none() && process.restarts > 0 {
                let seen = format!("process {} after {} restarts", process.pid, process.restarts);
                let wanted = before
                    .map_or_else(|| "no restart".to_owned(), |p| format!("process {} after {} restarts", p.pid, p.restarts));
                return Judgement::RollBack(refusals::RESTARTED.with(seen, wanted));
            }
            watch.process = Some(process.clone());
        }
        ProcessState::Starting => {
            if let Some(before) = &watch.process {
                return Judgement::RollBack(refusals::RESTARTED.with("no process yet", format_args!("process {}", before.pid)));
            }
            healthy = false;
        }
        ProcessState::None => {}
    }
    let failed =
        sample.checks.iter().filter(|check| check.required).find_map(|check| Some((check, check.outcome.as_ref().err()?)));
    if let Some((check, why)) = failed {
        healthy = false;
        let was_healthy = watch.healthy_since.is_some() || watch.failures > 0;
        if was_healthy {
            watch.failures = watch.failures.saturating_add(1);
            if watch.failures >= settings.failures {
                return Judgement::RollBack(
                    refusals::CHECK.with(format_args!("{}: {why}", check.name), "every required check to pass"),
                );
            }
        }
    }
    watch.unhealthy = failed.map(|(check, why)| format!("{}: {why}", check.name));
    if healthy {
        watch.failures = 0;
        let since = watch.healthy_since.get_or_insert_with(|| now.clone()).clone();
        // Moments are whole seconds: one more than the soak is at least the whole of it. Judged before the deadline: with both reached
        // in one look the release has shown what was asked of it.
        if now.since(&since).is_some_and(|secs| secs > settings.soak) {
            return Judgement::Commit;
        }
    } else {
        watch.healthy_since = None;
    }
    if watch.deadline.reached(now) {
        return Judgement::RollBack(overdue(&watch, settings, now));
    }
    Judgement::Watch(watch)
}

/// The refusal when the deadline passes, be it at a look, between two, or without any.
pub(super) fn overdue(watch: &Watch, settings: &Settings, now: &Moment) -> Refusal {
    let why = watch.unhealthy.as_ref().map_or_else(String::new, |unhealthy| format!("; {unhealthy}"));
    refusals::DEADLINE.with(
        format_args!("healthy for {} s{why}", watch.healthy_since.as_ref().and_then(|since| now.since(since)).unwrap_or(0)),
        format_args!("healthy for {} s without interruption within {} s", settings.soak, settings.deadline),
    )
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow in a test fails the test")]
mod tests {
    use super::*;
    use crate::record::{CheckResult, Process};
    use crate::time::BootId;

    fn at(secs: u64) -> Moment {
        Moment { boot: BootId("b".into()), secs }
    }

    fn look(pid: u32, restarts: u32, healthy: bool) -> Sample {
        let check = |name: &str, required, healthy: bool| CheckResult {
            name: name.into(),
            required,
            outcome: if healthy { Ok(()) } else { Err("status 500".into()) },
        };
        Sample {
            process: ProcessState::Running(Process { pid, restarts }),
            checks: vec![check("healthz", true, healthy), check("cloud", false, false)],
        }
    }

    /// Runs looks one second apart and says how it ended, and after how many looks.
    fn run(looks: impl IntoIterator<Item = Sample>) -> (String, u64) {
        let settings = Settings { soak: 5, deadline: 20, failures: 3 };
        let mut watch = Watch { deadline: at(20), starts: 0, process: None, healthy_since: None, failures: 0, unhealthy: None };
        let mut secs = 0;
        for look in looks {
            match judge(&settings, &watch, &look, &at(secs)) {
                Judgement::Watch(next) => watch = next,
                Judgement::Commit => return ("commit".into(), secs),
                Judgement::RollBack(refusal) => return (refusal.code.into_owned(), secs),
            }
            secs += 1;
        }
        ("watching".into(), secs)
    }

    #[test]
    fn a_deadline_between_two_looks_says_what_the_last_one_saw() {
        let settings = Settings { soak: 5, deadline: 20, failures: 3 };
        let begin = Watch { deadline: at(20), starts: 0, process: None, healthy_since: None, failures: 0, unhealthy: None };
        let Judgement::Watch(watch) = judge(&settings, &begin, &look(7, 0, false), &at(1)) else { panic!("goes on") };
        assert!(overdue(&watch, &settings, &at(99)).seen.contains("; healthz: "), "{watch:?}");
        let Judgement::Watch(watch) = judge(&settings, &watch, &look(7, 0, true), &at(2)) else { panic!("goes on") };
        assert_eq!(watch.unhealthy, None);
    }

    #[test]
    fn table() {
        use std::iter::repeat_n;
        let dead = || Sample { process: ProcessState::Dead("exit status 2".into()), checks: vec![] };
        let healthy = |n| repeat_n(look(7, 0, true), n);
        let unhealthy = |n| repeat_n(look(7, 0, false), n);
        // A wanted check that fails (`cloud` above) never stands in the way.
        assert_eq!(run(healthy(10)), ("commit".into(), 6));
        assert_eq!(run(unhealthy(4).chain(healthy(10))), ("commit".into(), 10), "slow to start");
        assert_eq!(run(unhealthy(30)).0, "SLW-A-DEADLINE", "never well");
        assert_eq!(
            run(healthy(2).chain(unhealthy(2)).chain(healthy(10))),
            ("commit".into(), 10),
            "a hiccup starts the soak again"
        );
        assert_eq!(run(healthy(2).chain(unhealthy(9))), ("SLW-A-CHECK".into(), 4), "three in a row after being well");
        assert_eq!(run(healthy(4).chain([dead()])), ("SLW-A-DIED".into(), 4));
        assert_eq!(run(healthy(4).chain([look(8, 1, true)])), ("SLW-A-RESTARTED".into(), 4), "dies after it was well");
        assert_eq!(run([look(8, 1, true)]), ("SLW-A-RESTARTED".into(), 0), "crashed before the first look");
        let flapping = (0..30).map(|n| look(7, 0, n % 2 == 0));
        assert_eq!(run(flapping).0, "SLW-A-DEADLINE", "never well for a whole soak");
        let file = Sample { process: ProcessState::None, checks: vec![] };
        assert_eq!(run(repeat_n(file, 10)), ("commit".into(), 6), "a component without a process");
    }

    #[test]
    fn looks_of_another_boot_do_not_count() {
        let settings = Settings { soak: 5, deadline: 20, ..Settings::default() };
        let old = Moment { boot: BootId("a".into()), secs: 1 };
        let watch = Watch { deadline: at(200), starts: 1, process: None, healthy_since: Some(old), failures: 0, unhealthy: None };
        assert!(matches!(judge(&settings, &watch, &look(7, 0, true), &at(100)), Judgement::Watch(_)));
    }
}
