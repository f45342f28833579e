//! Compares the whole state × event table with `table.txt`.
//!
//! A missing arrow shows as a line in which nothing happens.
//!
//! After a change that is meant, run the test with `UPDATE_GOLDEN=1` and read the difference.

use super::simulation::{artifact, moment, plan, release};
use super::*;
use crate::record::*;
use crate::step::pause;
use crate::time::{BootId, Moment, Now};
use crate::types::{GIVE_UP, RETRY_MOST};
use slipway_protocol::{Event, Refusal};
use std::fmt::Write;

const SLOT_A: u32 = 1;
const SLOT_B: u32 = 4;

fn at(secs: u64) -> Now {
    Now { moment: moment(0, secs), wall: jiff::Timestamp::UNIX_EPOCH, dice: 0 }
}

fn trigger(by: TriggerSource) -> Trigger {
    Trigger { by, source: Source::Network, hint: None }
}

/// Each with whether the committed release was found damaged.
fn states() -> Vec<(&'static str, State, bool)> {
    let now = moment(0, 1000);
    let pause = |secs| Retry { failures: 1, since: Some(now.clone()), at: Some(now.after(secs)) };
    let payload = artifact(SLOT_B);
    let watch =
        |since| Watch { deadline: now.after(300), starts: 0, process: None, healthy_since: since, failures: 0, unhealthy: None };
    let rolling = |retry| State::RollingBack {
        from: Some(plan(SLOT_B).slot),
        plan: Some(plan(SLOT_B)),
        to: Some(release(SLOT_A)),
        reason: refusals::DIED,
        block: None,
        retry,
    };
    let sound = vec![
        ("idle", State::Idle),
        ("checking", State::Checking { trigger: trigger(TriggerSource::Notice), retry: Retry::default() }),
        ("checking, pause", State::Checking { trigger: trigger(TriggerSource::Notice), retry: pause(100) }),
        ("downloading", State::Downloading { plan: plan(SLOT_B), retry: Retry::default() }),
        ("downloading, pause", State::Downloading { plan: plan(SLOT_B), retry: pause(100) }),
        ("staging", State::Staging { plan: plan(SLOT_B) }),
        ("staged", State::Staged { plan: plan(SLOT_B), payload }),
        ("preparing", State::Activating { plan: plan(SLOT_B), payload, step: Activation::Preparing }),
        ("switching", State::Activating { plan: plan(SLOT_B), payload, step: Activation::Switching }),
        ("probation", State::Probation { plan: plan(SLOT_B), payload, watch: watch(None) }),
        ("probation, soaked", State::Probation { plan: plan(SLOT_B), payload, watch: watch(Some(moment(0, 900))) }),
        ("rolling back", rolling(Retry::default())),
        ("rolling back, last try", rolling(Retry { failures: 5, ..Retry::default() })),
        (
            "inconsistent",
            State::Inconsistent { to: Some(release(SLOT_A)), from: None, reason: refusals::DIED, retry: pause(100) },
        ),
    ];
    let damaged = [
        ("damaged, checking", State::Checking { trigger: trigger(TriggerSource::Notice), retry: Retry::default() }),
        ("damaged, pause", State::Checking { trigger: trigger(TriggerSource::Notice), retry: pause(100) }),
    ];
    let sound = sound.into_iter().map(|(name, state)| (name, state, false));
    sound.chain(damaged.into_iter().map(|(name, state)| (name, state, true))).collect()
}

fn inputs(epoch: u64) -> Vec<(&'static str, Input)> {
    let answer = |answer| Input::Answer { epoch, answer };
    let failure = |advice| EffectFailure {
        refusal: Refusal::of("X-NET", slipway_protocol::Category::Network, slipway_protocol::Responsible::Network, "n", ""),
        advice,
    };
    let candidate = |n| answer(candidate(n));
    let too_dear = Candidate { plan: plan(SLOT_B), obstacle: Some(failure(RetryAdvice::Never).refusal) };
    let sample = |process, healthy: bool| {
        let outcome = if healthy { Ok(()) } else { Err("no".to_owned()) };
        answer(EffectAnswer::Sampled(Sample { process, checks: vec![CheckResult { name: "c".into(), required: true, outcome }] }))
    };
    let running = || ProcessState::Running(Process { pid: 1, restarts: 0 });
    vec![
        ("started, link at committed", Input::Started { link: Some(release(SLOT_A).slot) }),
        ("started, link at new", Input::Started { link: Some(plan(SLOT_B).slot) }),
        ("started, no link", Input::Started { link: None }),
        ("adopted", Input::Adopted(release(0))),
        ("damaged", Input::Damaged { slot: release(SLOT_A).slot, reason: refusals::HALTED }),
        ("left by the restore unit", Input::RestoredByUnit(refusals::RESTARTED)),
        ("healed", Input::Healed(refusals::LINK_MOVED)),
        ("rung by timer", Input::Trigger(trigger(TriggerSource::Timer))),
        ("rung by notice", Input::Trigger(trigger(TriggerSource::Notice))),
        ("rung by operator", Input::Trigger(trigger(TriggerSource::Operator))),
        ("woken", Input::Wake),
        ("set aside", answer(EffectAnswer::SetAside(SlotCondition::Damaged))),
        ("set aside: intact", answer(EffectAnswer::SetAside(SlotCondition::Intact))),
        ("adopted again", answer(EffectAnswer::AdoptedAgain(SlotCondition::Intact))),
        ("adopted again: damaged", answer(EffectAnswer::AdoptedAgain(SlotCondition::Damaged))),
        ("checked: newer", candidate(SLOT_B)),
        ("checked: older", candidate(0)),
        ("checked: same", candidate(SLOT_A)),
        ("checked: condemned", candidate(5)),
        ("checked: too dear", answer(EffectAnswer::Checked(CheckOutcome::Candidate(Box::new(too_dear))))),
        ("checked: halted", answer(held(SLOT_B, HoldReason::Halted))),
        ("checked: wave in 50 s", answer(held(SLOT_B, HoldReason::Wave(Some(50))))),
        ("checked: no wave", answer(held(SLOT_B, HoldReason::Wave(None)))),
        ("checked: refused", answer(EffectAnswer::Checked(CheckOutcome::Refused { refusal: refusals::HALTED, version: None }))),
        ("checked: no network", answer(EffectAnswer::Checked(CheckOutcome::Failed(failure(RetryAdvice::Later))))),
        ("fetched", answer(EffectAnswer::Fetched(Ok(())))),
        ("fetch failed: later", answer(EffectAnswer::Fetched(Err(failure(RetryAdvice::Later))))),
        ("fetch failed: in 700 s", answer(EffectAnswer::Fetched(Err(failure(RetryAdvice::After(700)))))),
        ("fetch failed: never", answer(EffectAnswer::Fetched(Err(failure(RetryAdvice::Never))))),
        ("staged", answer(EffectAnswer::Staged(Ok(artifact(SLOT_B))))),
        ("stage refused", answer(EffectAnswer::Staged(Err(failure(RetryAdvice::Never))))),
        ("stage: proof damaged", answer(EffectAnswer::Staged(Err(failure(RetryAdvice::Later))))),
        ("prepared", answer(EffectAnswer::Prepared(Ok(())))),
        ("prepare refused", answer(EffectAnswer::Prepared(Err(failure(RetryAdvice::Never))))),
        ("prepare: proof damaged", answer(EffectAnswer::Prepared(Err(failure(RetryAdvice::Later))))),
        ("switched", answer(EffectAnswer::Switched(Ok(())))),
        ("switch failed", answer(EffectAnswer::Switched(Err(refusals::HALTED)))),
        ("sampled: well", sample(running(), true)),
        ("sampled: ill", sample(running(), false)),
        ("sampled: dead", sample(ProcessState::Dead("exit 1".into()), true)),
        ("restored", answer(EffectAnswer::Restored(Ok(())))),
        ("restore failed", answer(EffectAnswer::Restored(Err(refusals::HALTED)))),
        ("the way back is damaged", answer(EffectAnswer::Damaged(refusals::HALTED))),
        ("an older order's answer", Input::Answer { epoch: epoch - 1, answer: EffectAnswer::Fetched(Ok(())) }),
        ("rollback asked", Input::Rollback),
        ("unblock asked", Input::Unblock(None)),
        ("freeze dismissed", Input::Dismiss),
    ]
}

fn brief(state: &State) -> String {
    let pause = |retry: &Retry| retry.at.as_ref().map_or_else(String::new, |at| format!(" (again at {})", at.secs));
    match state {
        State::Idle => "idle".into(),
        State::Checking { retry, .. } => format!("checking{}", pause(retry)),
        State::Downloading { retry, .. } => format!("downloading{}", pause(retry)),
        State::Staging { .. } => "staging".into(),
        State::Staged { .. } => "staged".into(),
        State::Activating { step, .. } => format!("{step:?}").to_lowercase(),
        State::Probation { watch, .. } => format!("probation (since {:?})", watch.healthy_since.as_ref().map(|m| m.secs)),
        State::RollingBack { retry, .. } => format!("rolling back{}", pause(retry)),
        State::Inconsistent { retry, .. } => format!("inconsistent{}", pause(retry)),
    }
}

#[test]
fn whole_table_is_as_reviewed() {
    let settings = Settings::default();
    let mut text = String::from("state | event | next state | orders | events\n");
    for (state_name, state, damaged) in states() {
        let record = Record {
            epoch: 7,
            state,
            committed: Some(release(SLOT_A)),
            previous: Some(release(0)),
            floor: Some(plan(SLOT_A).version),
            blocked: vec![Blocked {
                artifact: artifact(5),
                version: plan(5).version,
                reason: refusals::DIED,
                at: jiff::Timestamp::UNIX_EPOCH,
            }],
            // Not the first try: then the release before takes its place.
            damage: damaged.then_some(SlotDamage { reason: refusals::LINK_MOVED, from: None, failures: 1 }),
            ..Record::new("edgecore".parse().unwrap())
        };
        for (input_name, input) in inputs(record.epoch) {
            let t = step(&settings, &record, input, &at(1000));
            let orders: Vec<_> =
                t.effects.iter().map(|effect| format!("{effect:?}").split(' ').next().unwrap().to_owned()).collect();
            let events: Vec<_> = t
                .events
                .iter()
                .map(|draft| match &draft.refusal {
                    Some(refusal) => format!("{:?} {}", draft.event, refusal.code),
                    None => format!("{:?}", draft.event),
                })
                .collect();
            let next = if t.next == record { "·".to_owned() } else { brief(&t.next.state) };
            let kept = if t.next.trigger.is_some() && record.trigger.is_none() { " + trigger kept" } else { "" };
            writeln!(text, "{state_name} | {input_name} | {next}{kept} | {} | {}", orders.join(", "), events.join(", ")).unwrap();
            assert!(t.next.epoch >= record.epoch, "an epoch never goes back");
            let order = t.effects.iter().any(|effect| !matches!(effect, Effect::Collect { .. }));
            assert!(!order || t.next.epoch > record.epoch, "every order has an epoch of its own");
            assert!(t.next.floor >= record.floor, "the floor only rises");
            let watched = |record: &Record| matches!(record.state, State::Probation { .. });
            assert!(!watched(&record) || watched(&t.next) || t.next.epoch > record.epoch, "the watch goes on after {input_name}");
            let looks =
                |effect: &Effect| matches!(effect, Effect::Check { .. } | Effect::SetAside { .. } | Effect::AdoptAgain { .. });
            let checks = t.effects.iter().any(looks);
            let awaited = matches!(&t.next.state, State::Checking { retry, .. } if retry.at.is_none());
            assert!(!checks || awaited, "{state_name}, {input_name}: nobody waits for the check's answer");
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/table.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    for (line, (new, old)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(new, old, "line {}", line + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count());
}

#[test]
fn a_hundred_notices_are_one_check() {
    let settings = Settings::default();
    let mut record = Record::new("edgecore".parse().unwrap());
    let mut checks = 0;
    for _ in 0..100 {
        let t = step(&settings, &record, Input::Trigger(trigger(TriggerSource::Notice)), &at(1000));
        checks += t.effects.len();
        record = t.next;
    }
    assert_eq!(checks, 1);
    // While it is refused for one reason, that is reported once.
    let mut reports = 0;
    for second in 0..100 {
        let now = at(2000 + second * 10);
        let refused = EffectAnswer::Checked(CheckOutcome::Refused { refusal: refusals::BLOCKED, version: None });
        let t = step(&settings, &record, Input::Answer { epoch: record.epoch, answer: refused }, &now);
        reports += t.events.iter().filter(|draft| draft.event == Event::Refused).count();
        record = t.next;
        record = step(&settings, &record, Input::Trigger(trigger(TriggerSource::Timer)), &at(2005 + second * 10)).next;
    }
    assert_eq!(reports, 1);
}

#[test]
fn what_a_person_asks_for_meanwhile_does_not_wait_for_a_pause() {
    let settings = Settings::default();
    let asked = Trigger { by: TriggerSource::Operator, source: Source::Bundle("/media/usb/slipway.tar".into()), hint: None };
    let failure = || EffectFailure { refusal: refusals::HALTED, advice: RetryAdvice::Later };
    let checking = || State::Checking { trigger: trigger(TriggerSource::Timer), retry: Retry::default() };
    for (state, answer) in [
        (checking(), EffectAnswer::Checked(CheckOutcome::Failed(failure()))),
        (checking(), held(SLOT_B, HoldReason::Wave(None))),
        (State::Downloading { plan: plan(SLOT_B), retry: Retry::default() }, EffectAnswer::Fetched(Err(failure()))),
    ] {
        let record = Record { epoch: 7, state, ..Record::new("edgecore".parse().unwrap()) };
        let kept = step(&settings, &record, Input::Trigger(asked.clone()), &at(1000)).next;
        assert_eq!(kept.trigger.as_ref(), Some(&asked));
        let t = step(&settings, &kept, Input::Answer { epoch: 7, answer }, &at(1001));
        assert_eq!(t.effects, [Effect::Check { trigger: asked.clone(), repair: None }]);
    }
    // Nor is a look elsewhere taken for its answer.
    let record = Record { state: checking(), trigger: Some(asked.clone()), ..Record::new("edgecore".parse().unwrap()) };
    let t = step(&settings, &record, Input::Started { link: None }, &at(1000));
    assert_eq!(t.next.trigger, Some(asked));
}

#[test]
fn waiting_for_a_wave_is_reported_once_for_any_trigger() {
    let settings = Settings::default();
    let state = State::Checking { trigger: trigger(TriggerSource::Operator), retry: Retry::default() };
    let mut record = Record { state, ..Record::new("edgecore".parse().unwrap()) };
    let mut reports = 0;
    for look in 0..10 {
        let answer = held(SLOT_B, HoldReason::Wave(None));
        let t = step(&settings, &record, Input::Answer { epoch: record.epoch, answer }, &at(1000 + look * 1000));
        let woken = step(&settings, &t.next, Input::Wake, &at(1900 + look * 1000));
        reports += t.events.len() + woken.events.len();
        record = woken.next;
    }
    assert_eq!(reports, 1);
}

#[test]
fn a_person_who_cannot_go_back_keeps_what_runs() {
    let settings = Settings::default();
    let mut record =
        Record { committed: Some(release(SLOT_B)), previous: Some(release(SLOT_A)), ..Record::new("edgecore".parse().unwrap()) };
    record = step(&settings, &record, Input::Rollback, &at(1000)).next;
    for failure in 1..20 {
        let now = at(1000 + failure * 1000);
        let failed = Input::Answer { epoch: record.epoch, answer: EffectAnswer::Restored(Err(refusals::HALTED)) };
        let t = step(&settings, &record, failed, &now);
        if t.effects == [(Effect::Restore { from: None, to: Some(release(SLOT_B)), anyway: false })] {
            let back = Input::Answer { epoch: t.next.epoch, answer: EffectAnswer::Restored(Ok(())) };
            let end = step(&settings, &t.next, back, &now).next;
            assert_eq!((end.state, end.committed, end.blocked), (State::Idle, Some(release(SLOT_B)), vec![]));
            return;
        }
        record = step(&settings, &t.next, Input::Wake, &at(1900 + failure * 1000)).next;
    }
    panic!("never came back: {:?}", record.state);
}

#[test]
fn pauses_double_have_jitter_and_an_end() {
    let settings = Settings::default();
    assert_eq!((pause(0, 0, RetryAdvice::Later), pause(0, 2, RetryAdvice::Later)), (2, 4));
    assert_eq!(pause(40, 0, RetryAdvice::Later), 450);
    assert!(pause(u32::MAX, u32::MAX, RetryAdvice::Later) <= RETRY_MOST);
    assert_eq!(pause(0, 0, RetryAdvice::After(60)), 60);
    assert_eq!(pause(0, 0, RetryAdvice::After(u64::MAX)), GIVE_UP);
    // A day of failures ends the download; the timer asks again later.
    let first = Retry { failures: 90, since: Some(moment(0, 1000)), at: None };
    let record = Record {
        epoch: 1,
        state: State::Downloading { plan: plan(1), retry: first },
        ..Record::new("edgecore".parse().unwrap())
    };
    let failed = EffectAnswer::Fetched(Err(EffectFailure { refusal: refusals::HALTED, advice: RetryAdvice::Later }));
    let t = step(&settings, &record, Input::Answer { epoch: 1, answer: failed }, &at(1000 + GIVE_UP));
    assert_eq!(t.next.state, State::Idle);
}

#[test]
fn restarts_do_not_stretch_probation() {
    let settings = Settings::default();
    let watch = Watch { deadline: moment(0, 1300), starts: 0, process: None, healthy_since: None, failures: 0, unhealthy: None };
    let mut record = Record {
        state: State::Probation { plan: plan(1), payload: artifact(1), watch },
        ..Record::new("edgecore".parse().unwrap())
    };
    let deadline = |record: &Record| match &record.state {
        State::Probation { watch, .. } => Some(watch.deadline.clone()),
        _ => None,
    };
    let link = Some(plan(1).slot);
    record = step(&settings, &record, Input::Started { link: link.clone() }, &at(1200)).next;
    assert_eq!(deadline(&record), Some(moment(0, 1300)), "same boot: the old deadline stands");
    let reboot = Now { moment: Moment { boot: BootId("other".into()), secs: 50 }, ..at(0) };
    record = step(&settings, &record, Input::Started { link: link.clone() }, &reboot).next;
    assert_eq!(deadline(&record).map(|moment| moment.secs), Some(350), "another boot: at most a full one");
    record = step(&settings, &record, Input::Started { link: link.clone() }, &reboot).next;
    let last = step(&settings, &record, Input::Started { link }, &reboot);
    assert!(matches!(last.next.state, State::RollingBack { .. }), "and not for ever");
}

#[test]
fn the_same_artifact_under_a_newer_version_is_an_update_and_another_under_the_same_is_none() {
    let record = Record {
        epoch: 1,
        state: State::Checking { trigger: trigger(TriggerSource::Timer), retry: Retry::default() },
        committed: Some(release(SLOT_A)),
        ..Record::new("edgecore".parse().unwrap())
    };
    let next = |plan: Plan| {
        let answer = Input::Answer {
            epoch: 1,
            answer: EffectAnswer::Checked(CheckOutcome::Candidate(Box::new(Candidate { plan, obstacle: None }))),
        };
        step(&Settings::default(), &record, answer, &at(1000)).next
    };
    // A release that was repaired in its manifest (another member, say) has the same archive.
    let newer = plan(SLOT_B).version;
    let advice =
        Plan { slot: SlotName::of(&newer, &artifact(SLOT_A)), version: newer, artifact: artifact(SLOT_A), ..plan(SLOT_A) };
    assert!(matches!(next(advice).state, State::Downloading { .. }));
    let same = next(plan(SLOT_A));
    assert_eq!((same.state, same.last.unwrap().event), (State::Idle, Event::UpToDate));
    let other = Plan { artifact: artifact(SLOT_B), slot: SlotName::of(&plan(SLOT_A).version, &artifact(SLOT_B)), ..plan(SLOT_A) };
    assert_eq!(next(other.clone()).last.unwrap().refusal.unwrap().code, refusals::SAME_VERSION.code);
    // What was adopted is unproven; the proven release of its version takes its place.
    let adopted = Record { committed: Some(Installed { adopted: true, ..release(SLOT_A) }), ..record.clone() };
    let answer = Input::Answer {
        epoch: 1,
        answer: EffectAnswer::Checked(CheckOutcome::Candidate(Box::new(Candidate { plan: other, obstacle: None }))),
    };
    assert!(matches!(step(&Settings::default(), &adopted, answer, &at(1000)).next.state, State::Downloading { .. }));
}

fn candidate(n: u32) -> EffectAnswer {
    EffectAnswer::Checked(CheckOutcome::Candidate(Box::new(Candidate { plan: plan(n), obstacle: None })))
}

fn held(n: u32, hold: HoldReason) -> EffectAnswer {
    EffectAnswer::Checked(CheckOutcome::Waiting(HeldRelease { version: plan(n).version, floor: None, hold }))
}

#[test]
fn what_runs_already_is_up_to_date_though_its_rollout_is_halted_or_elsewhere() {
    let floor = Some(plan(SLOT_A).version);
    for hold in [HoldReason::Halted, HoldReason::Wave(Some(50)), HoldReason::Wave(None)] {
        let state = State::Checking { trigger: trigger(TriggerSource::Timer), retry: Retry::default() };
        let record = Record { state, committed: Some(release(SLOT_A)), ..Record::new("edgecore".parse().unwrap()) };
        let held = HeldRelease { version: plan(SLOT_A).version, floor: floor.clone(), hold };
        let answer = Input::Answer { epoch: 0, answer: EffectAnswer::Checked(CheckOutcome::Waiting(held)) };
        let next = step(&Settings::default(), &record, answer, &at(1000)).next;
        assert_eq!((next.state, next.last.unwrap().event, &next.floor), (State::Idle, Event::UpToDate, &floor));
    }
}

#[test]
fn a_notice_of_an_unpublished_release_is_reported_once_as_a_possible_freeze() {
    let settings = Settings::default();
    let hinted = |n| Trigger { hint: Some(plan(n).version), ..trigger(TriggerSource::Notice) };
    let mut record = Record { committed: Some(release(SLOT_A)), ..Record::new("edgecore".parse().unwrap()) };
    let mut refused = Vec::new();
    let mut secs = 1000;
    for (trigger, shown) in
        [(hinted(SLOT_B), SLOT_A), (hinted(SLOT_B), SLOT_A), (trigger(TriggerSource::Timer), SLOT_A), (hinted(5), SLOT_A)]
    {
        secs += 1000;
        record = step(&settings, &record, Input::Trigger(trigger), &at(secs)).next;
        let answer = Input::Answer { epoch: record.epoch, answer: candidate(shown) };
        let t = step(&settings, &record, answer, &at(secs));
        refused.extend(t.events.into_iter().filter(|draft| draft.event == Event::Refused));
        record = t.next;
        assert!(record.suspected_freeze.is_some(), "a look that shows no more takes nothing back");
    }
    let codes: Vec<_> = refused.iter().map(|draft| (draft.to.clone().unwrap(), draft.refusal.clone().unwrap().code)).collect();
    assert_eq!(codes, [SLOT_B, 5].map(|n| (plan(n).version, refusals::FREEZE.code.clone())));
    // Dismissed for one release, it stays dismissed; another release is reported.
    record = step(&settings, &record, Input::Dismiss, &at(8000)).next;
    for (n, refused) in [(5, 0), (6, 1)] {
        record = step(&settings, &record, Input::Trigger(hinted(n)), &at(8000 + u64::from(n) * 10)).next;
        let answer = Input::Answer { epoch: record.epoch, answer: candidate(SLOT_A) };
        let t = step(&settings, &record, answer, &at(8000 + u64::from(n) * 10));
        let freezes = t.events.iter().filter(|draft| draft.refusal.as_ref().is_some_and(|why| why.code == refusals::FREEZE.code));
        assert_eq!(freezes.count(), refused, "{n}");
        record = t.next;
        assert_eq!(record.suspected_freeze.as_ref().map(|suspected_freeze| suspected_freeze.dismissed), Some(refused == 0));
    }
    // It shows: forgotten.
    record = step(&settings, &record, Input::Trigger(trigger(TriggerSource::Timer)), &at(9000)).next;
    record = step(&settings, &record, Input::Answer { epoch: record.epoch, answer: candidate(6) }, &at(9000)).next;
    assert_eq!(record.suspected_freeze, None);
}

#[test]
fn a_bundle_that_waits_for_its_wave_does_not_keep_the_network_waiting() {
    let settings = Settings::default();
    let bundle = Trigger { by: TriggerSource::Operator, source: Source::Bundle("/media/usb/slipway.tar".into()), hint: None };
    let mut record = Record { committed: Some(release(SLOT_A)), ..Record::new("edgecore".parse().unwrap()) };
    record = step(&settings, &record, Input::Trigger(bundle.clone()), &at(1000)).next;
    record =
        step(&settings, &record, Input::Answer { epoch: record.epoch, answer: held(SLOT_B, HoldReason::Wave(None)) }, &at(1000))
            .next;
    for (hour, network) in [
        (1, candidate(SLOT_A)),
        (2, EffectAnswer::Checked(CheckOutcome::Failed(EffectFailure { refusal: refusals::HALTED, advice: RetryAdvice::Later }))),
    ] {
        let now = at(1000 + hour * 100);
        let t = step(&settings, &record, Input::Trigger(trigger(TriggerSource::Timer)), &now);
        assert_eq!(t.effects, [Effect::Check { trigger: trigger(TriggerSource::Timer), repair: None }], "the network is asked");
        let t = step(&settings, &t.next, Input::Answer { epoch: t.next.epoch, answer: network }, &now);
        // ... and then the bundle again, whatever came of that: at once, or after the pause between two checks.
        let t = if t.effects.is_empty() { step(&settings, &t.next, Input::Wake, &at(1050 + hour * 100)) } else { t };
        let Some(Effect::Check { trigger: advice, .. }) = t.effects.first() else { panic!("{t:?}") };
        assert_eq!(advice.source, bundle.source);
        let waits = Input::Answer { epoch: t.next.epoch, answer: held(SLOT_B, HoldReason::Wave(None)) };
        let t = step(&settings, &t.next, waits, &at(1050 + hour * 100));
        assert!(t.events.is_empty(), "that it still waits is no news: {:?}", t.events);
        record = t.next;
    }
    // Its wave comes.
    let woken = step(&settings, &record, Input::Wake, &at(100_000)).next;
    let t = step(&settings, &woken, Input::Answer { epoch: woken.epoch, answer: candidate(SLOT_B) }, &at(100_000));
    assert!(matches!(t.next.state, State::Downloading { .. }));
}

#[test]
fn a_proof_that_cannot_be_read_is_fetched_again_and_nothing_is_rolled_back() {
    let settings = Settings::default();
    let damaged = || EffectFailure { refusal: refusals::HALTED, advice: RetryAdvice::Later };
    let payload = artifact(SLOT_B);
    for (state, answer) in [
        (State::Staging { plan: plan(SLOT_B) }, EffectAnswer::Staged(Err(damaged()))),
        (State::Activating { plan: plan(SLOT_B), payload, step: Activation::Preparing }, EffectAnswer::Prepared(Err(damaged()))),
    ] {
        let record = Record { epoch: 7, state, committed: Some(release(SLOT_A)), ..Record::new("edgecore".parse().unwrap()) };
        let t = step(&settings, &record, Input::Answer { epoch: 7, answer }, &at(1000));
        assert!(matches!(&t.next.state, State::Checking { retry, .. } if retry.at.is_some()), "{:?}", t.next.state);
        assert!(t.effects.is_empty(), "nothing that is staged is cleared away: {:?}", t.effects);
        let t = step(&settings, &t.next, Input::Wake, &at(2000));
        assert!(matches!(t.effects.as_slice(), [Effect::Check { .. }]));
    }
}

#[test]
fn the_devices_own_trouble_is_not_tried_without_end_and_never_forgotten() {
    let settings = Settings::default();
    let broken = Refusal::of("X-DISK", slipway_protocol::Category::System, slipway_protocol::Responsible::Device, "d", "");
    let mut record = Record { committed: Some(release(SLOT_A)), ..Record::new("edgecore".parse().unwrap()) };
    // The timer triggers a check every hour for a week. Each try stops what runs.
    let (mut tries, mut reports) = (Vec::new(), 0);
    for hour in 0..168_u64 {
        let now = at(10_000 + hour * 3600);
        record = step(&settings, &record, Input::Trigger(trigger(TriggerSource::Timer)), &now).next;
        let answer = |record: &Record, answer| Input::Answer { epoch: record.epoch, answer };
        let t = step(&settings, &record, answer(&record, candidate(SLOT_B)), &now);
        reports += t.events.iter().filter(|draft| draft.event == Event::Waiting).count();
        record = t.next;
        if matches!(record.state, State::Downloading { .. }) {
            tries.push(hour);
            for step_answer in [
                EffectAnswer::Fetched(Ok(())),
                EffectAnswer::Staged(Ok(artifact(SLOT_B))),
                EffectAnswer::Prepared(Err(EffectFailure { refusal: broken.clone(), advice: RetryAdvice::Never })),
                EffectAnswer::Restored(Ok(())),
            ] {
                record = step(&settings, &record, answer(&record, step_answer), &now).next;
            }
        }
        assert_eq!(record.state, State::Idle);
        // Durable: what is kept of it goes through the disk.
        record = serde_json::from_slice(&serde_json::to_vec(&record).unwrap()).unwrap();
    }
    assert!((5..=14).contains(&tries.len()), "{tries:?}");
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] <= 25), "not given up either: {tries:?}");
    assert!(reports >= 1 && reports <= tries.len() + 1, "reported {reports} times");
    assert!(record.blocked.is_empty(), "nothing speaks against the release");
    let refusal = record.last.clone().and_then(|last| last.refusal).unwrap();
    assert!(refusal.code == refusals::BACKOFF_SECS.code && refusal.seen.contains("X-DISK"), "{refusal}");

    // A person, another release, and a new start of the device do not wait.
    let soon = at(10_000 + 168 * 3600);
    let tried = |record: &Record, by, n, now: &Now| {
        let rung = step(&settings, record, Input::Trigger(trigger(by)), now).next;
        let t = step(&settings, &rung, Input::Answer { epoch: rung.epoch, answer: candidate(n) }, now);
        matches!(t.next.state, State::Downloading { .. })
    };
    let held = Record {
        backoff: record.backoff.clone().map(|t| crate::record::DeviceBackoff { until: moment(0, u64::MAX), ..t }),
        ..record
    };
    assert!(!tried(&held, TriggerSource::Timer, SLOT_B, &soon));
    assert!(tried(&held, TriggerSource::Operator, SLOT_B, &soon));
    assert!(tried(&held, TriggerSource::Timer, SLOT_B + 2, &soon));
    assert!(tried(&held, TriggerSource::Timer, SLOT_B, &Now { moment: moment(1, 50), ..at(0) }));
}

#[test]
fn a_damaged_release_is_looked_for_until_it_is_back_and_its_configuration_with_it() {
    let settings = Settings::default();
    let answer = |record: &Record, answer| Input::Answer { epoch: record.epoch, answer };
    // A new release dies, and the way back is damaged.
    let state = State::RollingBack {
        from: Some(plan(SLOT_B).slot),
        plan: Some(plan(SLOT_B)),
        to: Some(release(SLOT_A)),
        reason: refusals::DIED,
        block: None,
        retry: Retry::default(),
    };
    let record = Record { epoch: 7, state, committed: Some(release(SLOT_A)), ..Record::new("edgecore".parse().unwrap()) };
    let t = step(&settings, &record, answer(&record, EffectAnswer::Damaged(refusals::LINK_MOVED)), &at(1000));
    assert_eq!(t.effects, [Effect::SetAside { damaged: release(SLOT_A) }]);
    let t = step(&settings, &t.next, answer(&t.next, EffectAnswer::SetAside(SlotCondition::Damaged)), &at(1000));
    let [Effect::Check { repair: Some(repair), .. }] = t.effects.as_slice() else { panic!("{t:?}") };
    assert_eq!(*repair, release(SLOT_A));
    // No source has it: retried without end, each failure reported once, the backup is kept.
    let (mut record, mut secs) = (t.next, 1000);
    for _ in 0..200 {
        let refused = EffectAnswer::Checked(CheckOutcome::Refused { refusal: refusals::HALTED, version: None });
        let t = step(&settings, &record, answer(&record, refused), &at(secs));
        let pause = wake_at(&t.next).and_then(|at| at.since(&moment(0, secs))).unwrap();
        assert!((1..=RETRY_MOST).contains(&pause), "{pause}");
        secs += pause;
        record = step(&settings, &t.next, Input::Wake, &at(secs)).next;
        assert!(matches!(record.state, State::Checking { .. }));
    }
    // It is there again, and comes back with the configuration that it knows.
    for step_answer in [candidate(SLOT_A), EffectAnswer::Fetched(Ok(()))] {
        record = step(&settings, &record, answer(&record, step_answer), &at(secs)).next;
    }
    let t = step(&settings, &record, answer(&record, EffectAnswer::Staged(Ok(release(SLOT_A).payload))), &at(secs));
    let (from, to) = (Some(plan(SLOT_B).slot), Some(release(SLOT_A)));
    assert_eq!(t.effects, [Effect::Restore { from, to, anyway: false }]);
    let end = step(&settings, &t.next, answer(&t.next, EffectAnswer::Restored(Ok(()))), &at(secs)).next;
    assert_eq!((end.state, end.damage, end.committed), (State::Idle, None, Some(release(SLOT_A))));
}

#[test]
fn the_release_before_takes_the_place_of_a_damaged_one_only_where_the_floor_allows_it() {
    let settings = Settings::default();
    for (floor, stands_in) in [(Some(plan(SLOT_B).version), false), (Some(plan(SLOT_A).version), true)] {
        let record = Record {
            epoch: 7,
            committed: Some(release(SLOT_B)),
            previous: Some(release(SLOT_A)),
            floor,
            ..Record::new("edgecore".parse().unwrap())
        };
        let found = Input::Damaged { slot: release(SLOT_B).slot, reason: refusals::LINK_MOVED };
        let record = step(&settings, &record, found, &at(1000)).next;
        let refused = EffectAnswer::Checked(CheckOutcome::Refused { refusal: refusals::HALTED, version: None });
        let t = step(&settings, &record, Input::Answer { epoch: record.epoch, answer: refused }, &at(1000));
        assert_eq!(t.next.blocked, [], "nothing speaks against what was lost");
        let back = Effect::Restore { from: Some(release(SLOT_B).slot), to: Some(release(SLOT_A)), anyway: false };
        assert_eq!(t.effects == [back], stands_in, "{:?}", t.effects);
        // A person decides for himself.
        let asked = step(&settings, &record, Input::Rollback, &at(1001));
        assert!(matches!(&asked.next.state, State::RollingBack { to: Some(to), block: None, .. } if *to == release(SLOT_A)));
    }
}
