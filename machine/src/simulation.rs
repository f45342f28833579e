//! Random updates with power cuts before the record is durable, after an effect, and before its answer.
//!
//! The world keeps its own account of what happened (what was fetched, what failed, what was ever committed) and the machine is
//! held against that, never against its own record alone.

use super::*;
use crate::record::*;
use crate::time::{BootId, Moment, Now};
use proptest::prelude::*;
use slipway_protocol::{Category, Event, Platform, Refusal, Responsible, Sha256, Version};
use std::collections::{BTreeMap, BTreeSet};

/// Releases 0 to 7 are `v1.N.0`; every third dies on probation.
const RELEASES: u32 = 8;

pub(super) const fn dies(n: u32) -> bool {
    n % 3 == 2
}

pub(super) fn artifact(n: u32) -> Sha256 {
    Sha256::of(&n.to_be_bytes())
}

fn version(n: u32) -> Version {
    format!("v1.{n}.0").parse().unwrap()
}

pub(super) fn plan(n: u32) -> Plan {
    Plan {
        version: version(n),
        platform: Platform::LinuxAmd64,
        artifact: artifact(n),
        size: 1,
        slot: SlotName::of(&version(n), &artifact(n)),
        source: Source::Network,
        floor: None,
    }
}

pub(super) fn release(n: u32) -> Installed {
    Installed { version: version(n), artifact: artifact(n), payload: artifact(n), slot: plan(n).slot, adopted: false }
}

pub(super) fn moment(boot: u32, secs: u64) -> Moment {
    Moment { boot: BootId(boot.to_string()), secs }
}

fn number(slot: &SlotName) -> u32 {
    (0..RELEASES).find(|n| plan(*n).slot == *slot).unwrap()
}

#[derive(Clone, Debug)]
enum Action {
    /// The channel points at another release.
    Publish(u32),
    Trigger(TriggerSource),
    /// All goes well for some steps.
    Go(usize),
    /// An order is carried out; its answer is on the way.
    Do(usize),
    /// An order fails.
    Fail(usize, bool),
    /// An order is carried out (wholly, or only its first half) and the power goes before the answer.
    DoAndCut(usize, bool),
    /// An answer arrives.
    Deliver(usize),
    /// An answer arrives and stays on the way: it will arrive again, late.
    Redeliver(usize),
    /// An answer arrives; the power goes before (false) or after (true) the new record is durable.
    DeliverAndCut(usize, bool),
    /// Time passes.
    Pass(u64),
    /// The agent alone restarts.
    Restart,
    /// Somebody moves the link by hand.
    MoveLink(usize),
    /// The disk loses a committed release's slot, or the one before; the repository may have lost it too, for a while.
    Damage(bool, bool),
    Rollback,
    Unblock,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => (0..RELEASES).prop_map(Action::Publish),
        3 => prop_oneof![Just(TriggerSource::Timer), Just(TriggerSource::Notice), Just(TriggerSource::Operator)].prop_map(Action::Trigger),
        8 => (1_usize..30).prop_map(Action::Go),
        6 => any::<usize>().prop_map(Action::Do),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(n, advice)| Action::Fail(n, advice)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, whole)| Action::DoAndCut(n, whole)),
        6 => any::<usize>().prop_map(Action::Deliver),
        6 => any::<usize>().prop_map(Action::Redeliver),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, durable)| Action::DeliverAndCut(n, durable)),
        4 => (0_u64..200).prop_map(Action::Pass),
        1 => Just(Action::Restart),
        1 => any::<usize>().prop_map(Action::MoveLink),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(current, withheld)| Action::Damage(current, withheld)),
        2 => Just(Action::Rollback),
        1 => Just(Action::Unblock),
    ]
}

/// The device and everything around it.
#[derive(Debug)]
pub(super) struct SimulatedDevice {
    settings: Settings,
    /// What the store holds.
    pub(super) record: Record,
    pub(super) boot: u32,
    pub(super) secs: u64,
    pub(super) channel: u32,
    // the disk: survives power cuts
    pub(super) parts: BTreeSet<Sha256>,
    pub(super) slots: BTreeSet<SlotName>,
    /// Slots that the disk has lost.
    lost: BTreeSet<SlotName>,
    /// Of these, the ones that still have their name, so that somebody could start what is in them.
    in_place: BTreeSet<SlotName>,
    pub(super) link: Option<SlotName>,
    /// The release whose form the configuration has: an older one cannot read a newer one's.
    config: u32,
    pub(super) snapshots: BTreeMap<SlotName, u32>,
    /// Releases that the repository does not have.
    withheld: BTreeSet<u32>,
    /// The repository cannot be reached.
    pub(super) offline: bool,
    /// The record came about by lives like these: what no life leads to is then a fault.
    pub(super) lived: bool,
    // memory: gone after a power cut
    pub(super) orders: Vec<(u64, Effect)>,
    pub(super) answers: Vec<(u64, EffectAnswer)>,
    pub(super) running: Option<(SlotName, Process)>,
    // the account
    pids: u32,
    failed: BTreeSet<Sha256>,
    /// The newest release that was ever committed: nothing older is activated, though a person may return to it.
    best: Option<Version>,
}

impl SimulatedDevice {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings { soak: 4, deadline: 60, ..Settings::default() },
            record: Record::new("edgecore".parse().unwrap()),
            boot: 0,
            secs: 0,
            channel: 0,
            parts: BTreeSet::new(),
            slots: BTreeSet::new(),
            lost: BTreeSet::new(),
            in_place: BTreeSet::new(),
            link: None,
            config: 0,
            snapshots: BTreeMap::new(),
            withheld: BTreeSet::new(),
            offline: false,
            lived: true,
            orders: vec![],
            answers: vec![],
            running: None,
            pids: 0,
            failed: BTreeSet::new(),
            best: None,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { moment: moment(self.boot, self.secs), wall: jiff::Timestamp::UNIX_EPOCH, dice: u32::try_from(self.secs).unwrap() }
    }

    /// One input. With `durable` false the power goes before the record is written.
    fn input(&mut self, input: Input, durable: bool) {
        let t = step(&self.settings, &self.record, input, &self.now());
        if !durable {
            return;
        }
        assert!(t.next.floor >= self.record.floor, "floor went down");
        if t.next.committed != self.record.committed {
            let new = t.next.committed.as_ref();
            let n = new.map(|installed| number(&installed.slot));
            assert!(n.is_none_or(|n| !dies(n)), "committed a release that dies: {n:?}");
            self.best = new.map(|installed| installed.version.clone()).max(self.best.take());
        }
        for draft in &t.events {
            let blocks =
                draft.event == Event::RolledBack && draft.refusal.as_ref().is_some_and(|r| r.category == Category::Health);
            if blocks && let Some(version) = &draft.to {
                self.failed.insert(artifact(u32::try_from(version.numbers().1).unwrap()));
            }
        }
        let epoch = t.next.epoch;
        self.record = t.next;
        // A newer order ends the older ones, as the driver does.
        if self.orders.iter().any(|(old, _)| *old != epoch) {
            self.orders.retain(|(old, _)| *old == epoch);
        }
        for effect in t.effects {
            if let Effect::Collect { keep } = &effect {
                self.slots.retain(|slot| keep.contains(slot) || self.link.as_ref() == Some(slot));
                self.snapshots.retain(|slot, _| keep.contains(slot));
                self.parts.clear();
            } else {
                self.orders.push((epoch, effect));
            }
        }
    }

    fn start_process(&mut self) {
        self.pids += 1;
        let pid = self.pids;
        // As kubeedge.md measured: an older release exits at once on a configuration that a newer one rewrote.
        let starts = |slot: &SlotName| self.slots.contains(slot) && self.config <= number(slot);
        self.running = self.link.clone().filter(starts).map(|slot| (slot, Process { pid, restarts: 0 }));
        if let Some((slot, _)) = &self.running {
            self.config = number(slot);
        }
    }

    /// Carries out an order; `half` stops in the middle of it.
    fn perform(&mut self, effect: &Effect, half: bool) -> Option<EffectAnswer> {
        Some(match effect {
            Effect::SetAside { damaged } => {
                if half {
                    return None;
                }
                self.in_place.remove(&damaged.slot);
                let intact = self.slots.contains(&damaged.slot);
                EffectAnswer::SetAside(if intact { SlotCondition::Intact } else { SlotCondition::Damaged })
            }
            Effect::AdoptAgain { lost } => {
                assert!(lost.adopted, "{lost:?} was never adopted");
                if half {
                    return None;
                }
                let there = !self.withheld.contains(&number(&lost.slot));
                self.slots.extend(there.then(|| lost.slot.clone()));
                EffectAnswer::AdoptedAgain(if there { SlotCondition::Intact } else { SlotCondition::Damaged })
            }
            Effect::Check { .. } if self.offline => return Self::fail(effect, true),
            Effect::Check { repair, .. } => {
                let in_place = repair.as_ref().is_some_and(|installed| self.in_place.contains(&installed.slot));
                assert!(!in_place, "looked for what was damaged before that was set aside");
                // No repository has what was adopted.
                let advice = repair
                    .as_ref()
                    .filter(|installed| !installed.adopted)
                    .map(|installed| number(&installed.slot))
                    .filter(|n| !self.withheld.contains(n));
                let plan = plan(advice.unwrap_or(self.channel));
                EffectAnswer::Checked(CheckOutcome::Candidate(Box::new(Candidate { plan, obstacle: None })))
            }
            Effect::Fetch { plan } => {
                if half {
                    return None;
                }
                self.parts.insert(plan.artifact);
                EffectAnswer::Fetched(Ok(()))
            }
            Effect::Stage { plan } => {
                if !self.parts.contains(&plan.artifact) {
                    assert!(!self.lived, "staged {} which was never fetched", plan.version);
                    return Self::fail(effect, false);
                }
                if half {
                    return None;
                }
                self.slots.insert(plan.slot.clone());
                self.in_place.remove(&plan.slot);
                EffectAnswer::Staged(Ok(plan.artifact))
            }
            Effect::Prepare { plan, keep_snapshot, .. } => {
                if !self.slots.contains(&plan.slot) {
                    assert!(!self.lived, "prepared a slot that is not there");
                    return Self::fail(effect, false);
                }
                self.running = None;
                if half {
                    return None;
                }
                if !keep_snapshot || !self.snapshots.contains_key(&plan.slot) {
                    self.snapshots.insert(plan.slot.clone(), self.config);
                }
                EffectAnswer::Prepared(Ok(()))
            }
            Effect::Switch { plan, .. } => {
                if self.lived {
                    assert!(!self.failed.contains(&plan.artifact), "activated {} which failed here", plan.version);
                    assert!(Some(&plan.version) >= self.best.as_ref(), "activated {}, older than {:?}", plan.version, self.best);
                    assert!(self.slots.contains(&plan.slot), "activated a slot that is not there");
                } else if !self.slots.contains(&plan.slot) {
                    return Self::fail(effect, false);
                }
                self.link = Some(plan.slot.clone());
                if half {
                    return None;
                }
                self.start_process();
                EffectAnswer::Switched(Ok(()))
            }
            Effect::Watch { plan, .. } => {
                let process = match &self.running {
                    Some((slot, process)) if *slot == plan.slot && !dies(number(slot)) => ProcessState::Running(process.clone()),
                    _ => ProcessState::Dead("gone".into()),
                };
                EffectAnswer::Sampled(Sample { process, checks: vec![] })
            }
            Effect::Restore { from, to, .. } => {
                if to.as_ref().is_some_and(|to| !self.slots.contains(&to.slot)) {
                    return Some(EffectAnswer::Damaged(refusals::HALTED));
                }
                self.running = None;
                if let Some(config) = from.as_ref().and_then(|slot| self.snapshots.get(slot)) {
                    self.config = *config;
                }
                if half {
                    return None;
                }
                self.link = to.as_ref().map(|to| to.slot.clone());
                self.start_process();
                EffectAnswer::Restored(Ok(()))
            }
            Effect::Collect { .. } => return None,
        })
    }

    fn fail(effect: &Effect, advice: bool) -> Option<EffectAnswer> {
        let refusal = Refusal::of("X", Category::Network, Responsible::Network, "x", "");
        let failure =
            EffectFailure { refusal: refusal.clone(), advice: if advice { RetryAdvice::Later } else { RetryAdvice::Never } };
        Some(match effect {
            Effect::SetAside { .. } => EffectAnswer::SetAside(SlotCondition::Damaged),
            Effect::AdoptAgain { .. } => EffectAnswer::AdoptedAgain(SlotCondition::Damaged),
            Effect::Check { .. } => EffectAnswer::Checked(CheckOutcome::Failed(failure)),
            Effect::Fetch { .. } => EffectAnswer::Fetched(Err(failure)),
            Effect::Stage { .. } => EffectAnswer::Staged(Err(failure)),
            Effect::Prepare { .. } => EffectAnswer::Prepared(Err(failure)),
            Effect::Switch { .. } => EffectAnswer::Switched(Err(refusal)),
            Effect::Restore { .. } => EffectAnswer::Restored(Err(refusal)),
            Effect::Watch { .. } | Effect::Collect { .. } => return None,
        })
    }

    pub(super) fn power_cut(&mut self) {
        self.boot += 1;
        self.secs = 5;
        self.start_process();
        self.restart();
    }

    pub(super) fn restart(&mut self) {
        self.orders.clear();
        self.answers.clear();
        self.input(Input::Started { link: self.link.clone() }, true);
        self.look_at_slot();
    }

    /// As the driver does after a start and from time to time.
    fn look_at_slot(&mut self) {
        let slot = self.record.committed.as_ref().map(|committed| committed.slot.clone());
        if let Some(slot) = slot.filter(|slot| !self.slots.contains(slot)) {
            self.input(Input::Damaged { slot, reason: refusals::HALTED }, true);
        }
    }

    fn act(&mut self, action: &Action) {
        let pick = |n: usize, len: usize| n.checked_rem(len);
        match action {
            Action::Publish(n) => self.channel = *n,
            Action::Go(steps) => {
                for _ in 0..*steps {
                    if !self.go() {
                        break;
                    }
                }
            }
            Action::Trigger(by) => self.input(Input::Trigger(Trigger { by: *by, source: Source::Network, hint: None }), true),
            Action::Do(n) | Action::Fail(n, _) | Action::DoAndCut(n, _) => {
                let Some(at) = pick(*n, self.orders.len()) else { return };
                let (epoch, effect) = self.orders[at].clone();
                let answer = match action {
                    Action::Fail(_, advice) => {
                        if let Effect::SetAside { damaged } = &effect {
                            // The disk did not let it. It is looked for all the same.
                            self.in_place.remove(&damaged.slot);
                        }
                        Self::fail(&effect, *advice)
                    }
                    Action::DoAndCut(_, whole) => {
                        self.perform(&effect, !whole);
                        return self.power_cut();
                    }
                    _ => self.perform(&effect, false),
                };
                if !matches!(effect, Effect::Watch { .. }) {
                    self.orders.remove(at);
                }
                self.answers.extend(answer.map(|answer| (epoch, answer)));
            }
            Action::Deliver(n) | Action::Redeliver(n) | Action::DeliverAndCut(n, _) => {
                let Some(at) = pick(*n, self.answers.len()) else { return };
                let (epoch, answer) = self.answers[at].clone();
                if !matches!(action, Action::Redeliver(_)) {
                    self.answers.remove(at);
                }
                let input = Input::Answer { epoch, answer };
                match action {
                    Action::DeliverAndCut(_, durable) => {
                        self.input(input, *durable);
                        self.power_cut();
                    }
                    _ => self.input(input, true),
                }
            }
            Action::Pass(secs) => {
                self.secs += secs;
                self.input(Input::Wake, true);
            }
            Action::Restart => self.restart(),
            Action::MoveLink(n) => {
                // A hand that moves the link while Slipway itself is about to is a race no order can win; it is put right afterwards.
                let calm = matches!(self.record.state, State::Idle | State::Checking { .. } | State::Downloading { .. });
                // Nor does any bring back the configuration after a boot into a release that was only staged.
                let slots = [&self.record.committed, &self.record.previous].into_iter().flatten().map(|it| it.slot.clone());
                let slots: Vec<SlotName> = slots.filter(|slot| calm && self.slots.contains(slot)).collect();
                if let Some(at) = pick(*n, slots.len()) {
                    self.link = slots.get(at).cloned();
                    self.restart();
                }
            }
            Action::Damage(current, withheld) => {
                // A slot that is just being activated is looked at then; here it is about what was committed once.
                let record = &self.record;
                let Some(slot) = if *current { &record.committed } else { &record.previous }.as_ref().map(|it| it.slot.clone())
                else {
                    return;
                };
                let under_way = record.state.plan().is_some_and(|plan| plan.slot == slot);
                if !under_way {
                    if self.slots.remove(&slot) {
                        self.in_place.insert(slot.clone());
                    }
                    self.lost.insert(slot.clone());
                    self.withheld.extend(withheld.then(|| number(&slot)));
                    self.look_at_slot();
                }
            }
            Action::Rollback => self.input(Input::Rollback, true),
            Action::Unblock => {
                self.failed.clear();
                self.input(Input::Unblock(None), true);
            }
        }
        let known = |slot: &SlotName| self.slots.contains(slot) || self.lost.contains(slot);
        assert!(self.link.as_ref().is_none_or(known), "the link names a slot that is not there");
    }

    /// One step in which nothing goes wrong; false when there is nothing to do.
    pub(super) fn go(&mut self) -> bool {
        // An answer to an older order may still be on the way; it comes whenever it likes.
        if let Some((epoch, answer)) = self.answers.pop() {
            self.input(Input::Answer { epoch, answer }, true);
        } else if let Some((epoch, effect)) = self.orders.first().cloned() {
            if matches!(effect, Effect::Watch { .. }) {
                self.secs += 1;
            } else {
                self.orders.remove(0);
            }
            let answer = self.perform(&effect, false);
            self.answers.extend(answer.map(|answer| (epoch, answer)));
        } else if let Some(at) = wake_at(&self.record) {
            if at.boot == moment(self.boot, 0).boot {
                self.secs = self.secs.max(at.secs);
            }
            self.input(Input::Wake, true);
        } else {
            return false;
        }
        true
    }

    /// Lets everything succeed from here until nothing remains to do.
    pub(super) fn calm_down(&mut self) {
        self.withheld.clear();
        for _ in 0..400 {
            if !self.go() {
                break;
            }
        }
        assert_eq!(self.record.state, State::Idle, "stuck; orders {:?}, answers {:?}", self.orders, self.answers);
        let committed = self.record.committed.as_ref().map(|installed| installed.slot.clone());
        if committed.is_none() && !self.lived {
            return; // whatever ran here before us
        }
        assert_eq!(self.link, committed, "the link and the record disagree");
        // The machine cannot repair a configuration that no snapshot can restore.
        let reads = self.lived || committed.as_ref().is_some_and(|slot| self.config <= number(slot));
        let running = self.running.as_ref().map(|(slot, _)| slot.clone());
        assert!(!reads || running == committed, "the committed release does not run but {running:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_shrink_iters: 4000, ..ProptestConfig::default() })]
    #[test]
    fn every_life_ends_well(adopts in any::<bool>(), actions in prop::collection::vec(action(), 1..120)) {
        let mut device = SimulatedDevice::new();
        if adopts {
            let before_us = Installed { adopted: true, ..release(0) };
            device.slots.insert(before_us.slot.clone());
            device.link = Some(before_us.slot.clone());
            device.start_process();
            device.input(Input::Adopted(before_us), true);
        }
        device.input(Input::Started { link: device.link.clone() }, true);
        for action in &actions {
            device.act(action);
        }
        device.calm_down();
        // The last word counts, unless that release dies, failed here, or is older than what was committed.
        device.act(&Action::Pass(10));
        device.act(&Action::Trigger(TriggerSource::Notice));
        device.calm_down();
        let wanted = device.channel;
        let floor = device.record.floor.clone();
        let blocked = device.record.blocked.iter().any(|c| c.artifact == artifact(wanted));
        if !dies(wanted) && !blocked && floor.is_none_or(|floor| version(wanted) >= floor) {
            prop_assert_eq!(device.record.committed.map(|c| c.version), Some(version(wanted)));
        }
    }
}
