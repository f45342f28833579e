//! What the machine does about faults of the device: a damaged committed release, a failing disk.
//!
//! A damaged release is fetched and proven again, from wherever the next check looks, and put back when it is staged; meanwhile nothing
//! that runs is touched. A newer release of the channel may get there first. The release before is taken in its place only where the floor
//! allows that, or a person asks for it.

use super::{Draft, Effect, RETRY_FIRST, RETRY_MOST, RetryAdvice, SlotCondition, pause, refusals};
use crate::record::{DeviceBackoff, Installed, Plan, Retry, SlotDamage, SlotName, Source, State, Trigger, TriggerSource};
use crate::time::doubled;
use slipway_protocol::{Category, Event, Refusal, Sha256};

/// Longest time for which an update is not tried again because of the device: a day.
pub(super) const BACKOFF_SECS_MAX: u64 = 86_400;

impl Draft<'_> {
    /// Somebody looked at the slot of the committed release. Where another way back is under way that finds out for itself.
    pub(super) fn found_damaged(&mut self, slot: &SlotName, reason: &Refusal) {
        let committed = self.next.committed.as_ref().is_some_and(|committed| committed.slot == *slot);
        if !committed || self.next.damage.is_some() {
            return;
        }
        match self.next.state.clone() {
            State::Idle => {
                self.note_damage(reason, None);
                self.start_repair();
            }
            State::Checking { trigger, .. } => {
                self.note_damage(reason, None);
                self.keep(trigger);
                self.start_repair();
            }
            State::Downloading { plan, retry } if retry.at.is_some() => {
                self.note_damage(reason, None);
                self.keep(Trigger { by: TriggerSource::Timer, source: plan.source, hint: None });
                self.start_repair();
            }
            // Another release is on its way; it may make this one good.
            State::Downloading { .. } | State::Staging { .. } | State::Staged { .. } => self.note_damage(reason, None),
            State::Activating { .. } | State::Probation { .. } | State::RollingBack { .. } | State::Inconsistent { .. } => {}
        }
    }

    /// The way back ended before it began.
    pub(super) fn restore_target_damaged(&mut self, reason: &Refusal) {
        match self.next.state.clone() {
            // A person requested the previous release, which is damaged: the current one is still there, and keeps running.
            State::RollingBack { to, .. } | State::Inconsistent { to, .. } if to != self.next.committed => {
                self.emit(Event::RollingBack, to.map(|to| to.version).as_ref(), Some(reason));
                self.next.previous = None;
                let left = self.next.committed.clone();
                self.restore(None, None, left, reason.clone(), None);
            }
            State::RollingBack { from, block, .. } => {
                // It was known, and what was tried instead may be tried again: without a pause that would go round and round.
                let round = self.next.damage.is_some() && block.is_none();
                self.block(block);
                self.note_damage(reason, from);
                if round { self.enter_idle() } else { self.start_repair() }
            }
            State::Inconsistent { from, .. } => {
                self.note_damage(reason, from);
                self.start_repair();
            }
            _ => {}
        }
    }

    /// The first failed release has the configuration that the damaged release knows.
    fn note_damage(&mut self, reason: &Refusal, from: Option<SlotName>) {
        let version = self.next.committed.as_ref().map(|committed| committed.version.clone());
        self.end(Event::Retrying, version.as_ref(), Some(reason), true);
        let before = self.next.damage.take();
        let failures = before.as_ref().map_or(0, |damage| damage.failures);
        let from = before.and_then(|damage| damage.from).or(from);
        self.next.damage = Some(SlotDamage { reason: reason.clone(), from, failures });
    }

    fn start_repair(&mut self) {
        let trigger =
            self.next.trigger.take().unwrap_or(Trigger { by: TriggerSource::Timer, source: Source::Network, hint: None });
        self.check(trigger, Retry::default());
    }

    /// The end of whatever did not bring the damaged release back: a pause, and again. Nothing that is idle is damaged.
    pub(super) fn schedule_repair(&mut self) {
        let Some(damage) = &mut self.next.damage else { return };
        let failures = damage.failures;
        damage.failures = failures.saturating_add(1);
        let (reason, floor) = (damage.reason.clone(), self.next.floor.as_ref());
        // What ran before and is not older than what is accepted runs better than nothing.
        if failures == 0
            && let Some(previous) = self.next.previous.clone().filter(|previous| Some(&previous.version) >= floor)
        {
            let left = self.next.committed.as_ref().map(|committed| committed.slot.clone());
            self.emit(Event::RollingBack, Some(&previous.version), Some(&reason));
            return self.restore(left, None, Some(previous), reason, None);
        }
        let trigger =
            self.next.trigger.take().unwrap_or(Trigger { by: TriggerSource::Timer, source: Source::Network, hint: None });
        let at = self.now.moment.after(pause(failures, self.now.dice, RetryAdvice::Later));
        self.next.state = State::Checking { trigger, retry: Retry { failures: 1, since: None, at: Some(at) } };
    }

    /// The committed release, if its slot is damaged.
    pub(super) fn damaged_release(&self) -> Option<Installed> {
        self.next.damage.as_ref().and(self.next.committed.clone())
    }

    /// What is to be looked for is looked for, unless it is there after all.
    pub(super) fn set_aside(&mut self, slot: SlotCondition, trigger: Trigger) {
        match self.damaged_release() {
            // No repository has what was adopted. Where it came from may.
            Some(lost) if slot == SlotCondition::Damaged && lost.adopted => self.effects.push(Effect::AdoptAgain { lost }),
            _ => self.adopted_again(slot, trigger),
        }
    }

    /// See [`Self::set_aside`].
    pub(super) fn adopted_again(&mut self, slot: SlotCondition, trigger: Trigger) {
        match slot {
            SlotCondition::Damaged => self.look(trigger),
            SlotCondition::Intact => {
                // What was asked for was not looked at, a bundle perhaps. It is, after the pause between two checks.
                self.next.checked = Some(self.now.moment.clone());
                self.keep(trigger);
                self.restart_repaired();
            }
        }
    }

    /// The committed release is in its slot again.
    pub(super) fn repaired(&mut self, plan: &Plan, payload: Sha256) {
        let Some(committed) = self.next.committed.clone() else { return };
        if committed.payload != payload {
            let refusal = refusals::SAME_VERSION.with(payload, committed.payload);
            self.collect();
            return self.refuse(&refusal, Some(&plan.version), true);
        }
        self.restart_repaired();
    }

    /// It comes back with the configuration that it knows. It may run: whether it does is not known, and a start ends that.
    pub(super) fn restart_repaired(&mut self) {
        let Some(committed) = self.next.committed.clone() else { return self.enter_idle() };
        let damage = self.next.damage.take();
        let (from, reason) = damage.map_or((None, refusals::LINK_MOVED), |damage| (damage.from, damage.reason));
        self.restore(from, None, Some(committed), reason, None);
    }

    /// Whether it was the device that kept a release from being activated: a full or failing disk says nothing against the release.
    pub(super) fn blame_the_device(&mut self, plan: &Plan, refusal: &Refusal) -> bool {
        let device = refusal.category == Category::System;
        if device {
            self.back_off(plan, refusal, RETRY_MOST);
        }
        device
    }

    /// Not tried again for a while, each time twice as long: every try of an activation stops what runs.
    fn back_off(&mut self, plan: &Plan, reason: &Refusal, first: u64) {
        let before = self.next.backoff.take().filter(|backoff| backoff.artifact == plan.artifact);
        let failures = before.map_or(0, |backoff| backoff.failures);
        let secs = doubled(first, failures, BACKOFF_SECS_MAX);
        let until = self.now.moment.after(secs);
        self.next.backoff =
            Some(DeviceBackoff { artifact: plan.artifact, reason: reason.clone(), failures: failures.saturating_add(1), until });
    }

    /// Why an artifact is not to be tried now, if it is not. A person who asks is not kept waiting.
    pub(super) fn backed_off(&mut self, plan: &Plan, trigger: &Trigger) -> Option<Refusal> {
        self.next.backoff.take_if(|backoff| backoff.artifact != plan.artifact);
        let backoff = self.next.backoff.as_ref().filter(|_| trigger.by != TriggerSource::Operator)?;
        if backoff.until.reached(&self.now.moment) {
            return None;
        }
        let seen = format!("{} times: {}: {}", backoff.failures, backoff.reason.code, backoff.reason.seen);
        let left = backoff.until.since(&self.now.moment).unwrap_or(0);
        Some(refusals::BACKOFF_SECS.with(seen, format_args!("an activation that the device allows; retrying in {left} s")))
    }

    /// An activation ended before it touched anything: the proof has to be fetched again, or the device was seen to be in its way.
    pub(super) fn postpone(&mut self, refusal: &Refusal, plan: Plan) {
        if refusal.category == Category::System {
            self.back_off(&plan, refusal, RETRY_FIRST);
        }
        self.end(Event::Retrying, Some(&plan.version), Some(refusal), false);
        let most = self.now.moment.after(RETRY_MOST);
        let at = self.next.backoff.as_ref().map_or_else(|| self.now.moment.after(RETRY_FIRST), |t| t.until.clone());
        let at = if at.secs > most.secs { most } else { at };
        let trigger = Trigger { by: TriggerSource::Timer, source: plan.source, hint: None };
        self.next.state = State::Checking { trigger, retry: Retry { failures: 1, since: None, at: Some(at) } };
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::simulation::{artifact, moment, plan, release};

    fn damaged() -> Record {
        let damage = crate::record::SlotDamage { reason: refusals::LINK_MOVED, from: Some(plan(3).slot), failures: 2 };
        let trigger = Trigger { by: TriggerSource::Timer, source: Source::Network, hint: None };
        Record {
            epoch: 7,
            state: State::Checking { trigger, retry: Retry::default() },
            committed: Some(release(1)),
            floor: Some(plan(1).version),
            damage: Some(damage),
            ..Record::new("edgecore".parse().unwrap())
        }
    }

    fn answer(record: &Record, answer: EffectAnswer) -> Transition {
        let now = Now { moment: moment(0, 1000), wall: jiff::Timestamp::UNIX_EPOCH, dice: 0 };
        step(&Settings::default(), record, Input::Answer { epoch: record.epoch, answer }, &now)
    }

    fn candidate(n: u32, obstacle: Option<Refusal>) -> EffectAnswer {
        EffectAnswer::Checked(CheckOutcome::Candidate(Box::new(Candidate { plan: plan(n), obstacle })))
    }

    /// What a check would change is ordered before it, and the check only reads. Fails if `check` orders the look at once.
    #[test]
    fn a_damaged_slot_is_set_aside_by_an_order_of_its_own_before_the_check() {
        let now = Now { moment: moment(0, 1000), wall: jiff::Timestamp::UNIX_EPOCH, dice: 0 };
        let link = Some(release(1).slot);
        for adopted in [false, true] {
            let committed = Installed { adopted, ..release(1) };
            let record = Record { committed: Some(committed.clone()), ..damaged() };
            // After a power cut nobody knows how far it came: it begins anew.
            let t = step(&Settings::default(), &record, Input::Started { link: link.clone() }, &now);
            assert_eq!(t.effects, [Effect::SetAside { damaged: committed.clone() }]);
            let mut t = answer(&t.next, EffectAnswer::SetAside(SlotCondition::Damaged));
            if adopted {
                assert_eq!(t.effects, [Effect::AdoptAgain { lost: committed.clone() }]);
                let there = answer(&t.next, EffectAnswer::AdoptedAgain(SlotCondition::Intact));
                assert!(matches!(there.effects.as_slice(), [Effect::Restore { .. }]), "{:?}", there.effects);
                t = answer(&t.next, EffectAnswer::AdoptedAgain(SlotCondition::Damaged));
            }
            let [Effect::Check { repair, .. }] = t.effects.as_slice() else { panic!("{:?}", t.effects) };
            assert_eq!(repair.as_ref(), Some(&committed));
            // A power cut between two of them, or an answer that comes twice, changes nothing.
            assert_eq!(
                step(
                    &Settings::default(),
                    &t.next,
                    Input::Answer { epoch: record.epoch, answer: EffectAnswer::SetAside(SlotCondition::Intact) },
                    &now
                )
                .effects,
                []
            );
        }
    }

    /// Until there is a pause, with every activation failing in a way that neither condemns nor is the device's.
    #[test]
    fn a_newer_release_that_cannot_be_prepared_is_not_tried_round_and_round() {
        let (mut record, mut tried) = (damaged(), 0);
        while wake_at(&record).is_none() {
            for what in [
                candidate(4, None),
                EffectAnswer::Fetched(Ok(())),
                EffectAnswer::Staged(Ok(artifact(4))),
                EffectAnswer::Prepared(Err(EffectFailure { refusal: refusals::NOTHING_BEFORE, advice: RetryAdvice::Never })),
                EffectAnswer::Damaged(refusals::LINK_MOVED),
            ] {
                record = answer(&record, what).next;
            }
            tried += 1;
            assert!(tried < 3, "{record:?}");
        }
        assert!(matches!(record.state, State::Checking { .. }) && record.damage.is_some(), "{record:?}");
    }

    #[test]
    fn a_damaged_release_over_budget_is_reported_once() {
        let first = answer(&damaged(), candidate(1, Some(refusals::HALTED)));
        assert_eq!(first.events.iter().map(|draft| draft.event).collect::<Vec<_>>(), [Event::Refused]);
        assert!(wake_at(&first.next).is_some() && first.next.damage.is_some());
        let advice = Record { state: damaged().state, ..first.next };
        assert_eq!(answer(&advice, candidate(1, Some(refusals::HALTED))).events, []);
    }

    #[test]
    fn a_release_that_is_in_its_slot_after_all_comes_back_without_being_fetched() {
        let t = answer(&damaged(), EffectAnswer::SetAside(SlotCondition::Intact));
        let (from, to) = (Some(plan(3).slot), Some(release(1)));
        assert_eq!(t.effects, [Effect::Restore { from, to, anyway: false }]);
        let end = answer(&t.next, EffectAnswer::Restored(Ok(()))).next;
        assert_eq!((&end.state, &end.damage), (&State::Idle, &None));
        assert!(wake_at(&end).is_some(), "what the check was for is looked for afterwards");

        // A person waits for what he asked for, not for that.
        let trigger = Trigger { by: TriggerSource::Operator, source: Source::Bundle("/media/usb/bundle.tar".into()), hint: None };
        let record = Record { state: State::Checking { trigger: trigger.clone(), retry: Retry::default() }, ..damaged() };
        let t = answer(&record, EffectAnswer::SetAside(SlotCondition::Intact));
        let t = answer(&t.next, EffectAnswer::Restored(Ok(())));
        assert!(t.effects.contains(&Effect::Check { trigger, repair: None }), "{:?}", t.effects);
    }
}
