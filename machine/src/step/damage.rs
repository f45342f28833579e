//! What the machine does when the device itself is what is wrong: a committed release that is no longer in its slot, a disk that fails.
//!
//! A damaged release is fetched and proven again, from wherever the next check looks, and put back when it is staged; meanwhile nothing
//! that runs is touched. A newer release of the channel may get there first. The release before is taken in its place only where the floor
//! allows that, or a person asks for it.

use super::{Again, Draft, pause, refusals};
use crate::record::{By, Damage, Plan, Retry, Ring, SlotName, Source, State, Trouble};
use slipway_protocol::{Class, Event, Refusal, Sha256};

/// Longest time for which an update is not tried again because of the device: a day.
pub(super) const HELD_OFF_MOST: u64 = 86_400;

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
                self.mend_now();
            }
            State::Checking { ring, .. } => {
                self.note_damage(reason, None);
                self.keep(ring);
                self.mend_now();
            }
            State::Downloading { plan, retry } if retry.at.is_some() => {
                self.note_damage(reason, None);
                self.keep(Ring { by: By::Timer, source: plan.source, hint: None });
                self.mend_now();
            }
            // Another release is on its way; it may make this one good.
            State::Downloading { .. } | State::Staging { .. } | State::Staged { .. } => self.note_damage(reason, None),
            State::Activating { .. } | State::Probation { .. } | State::RollingBack { .. } | State::Inconsistent { .. } => {}
        }
    }

    /// The way back ended before it began.
    pub(super) fn way_back_damaged(&mut self, reason: &Refusal) {
        match self.next.state.clone() {
            // Somebody wanted the release before, and that is what is damaged: what was left is still there, and runs on.
            State::RollingBack { to, .. } | State::Inconsistent { to, .. } if to != self.next.committed => {
                self.tell(Event::RollingBack, to.map(|to| to.version).as_ref(), Some(reason));
                self.next.previous = None;
                let left = self.next.committed.clone();
                self.restore(None, None, left, reason.clone(), None);
            }
            State::RollingBack { from, condemn, .. } => {
                // It was known, and what was tried instead may be tried again: without a pause that would go round and round.
                let round = self.next.damage.is_some() && condemn.is_none();
                self.condemn(condemn);
                self.note_damage(reason, from);
                if round { self.settle() } else { self.mend_now() }
            }
            State::Inconsistent { from, .. } => {
                self.note_damage(reason, from);
                self.mend_now();
            }
            _ => {}
        }
    }

    /// The first that is left has the configuration that the damaged release knows.
    fn note_damage(&mut self, reason: &Refusal, from: Option<SlotName>) {
        let version = self.next.committed.as_ref().map(|committed| committed.version.clone());
        self.end(Event::Retrying, version.as_ref(), Some(reason), true);
        let before = self.next.damage.take();
        let failures = before.as_ref().map_or(0, |damage| damage.failures);
        let from = before.and_then(|damage| damage.from).or(from);
        self.next.damage = Some(Damage { reason: reason.clone(), from, failures });
    }

    fn mend_now(&mut self) {
        let ring = self.next.ring.take().unwrap_or(Ring { by: By::Timer, source: Source::Network, hint: None });
        self.check(ring, Retry::default());
    }

    /// The end of whatever did not bring the damaged release back: a pause, and again. Nothing that is idle is damaged.
    pub(super) fn mend_later(&mut self) {
        let Some(damage) = &mut self.next.damage else { return };
        let failures = damage.failures;
        damage.failures = failures.saturating_add(1);
        let (reason, floor) = (damage.reason.clone(), self.next.floor.as_ref());
        // What ran before and is not older than what is accepted runs better than nothing.
        if failures == 0
            && let Some(previous) = self.next.previous.clone().filter(|previous| Some(&previous.version) >= floor)
        {
            let left = self.next.committed.as_ref().map(|committed| committed.slot.clone());
            self.tell(Event::RollingBack, Some(&previous.version), Some(&reason));
            return self.restore(left, None, Some(previous), reason, None);
        }
        let ring = self.next.ring.take().unwrap_or(Ring { by: By::Timer, source: Source::Network, hint: None });
        let at = self.now.moment.after(pause(self.settings, failures, self.now.dice, Again::Later));
        self.next.state = State::Checking { ring, retry: Retry { failures: 1, since: None, at: Some(at) } };
    }

    /// The committed release is in its slot again.
    pub(super) fn mended(&mut self, plan: &Plan, payload: Sha256) {
        let Some(committed) = self.next.committed.clone() else { return };
        if committed.payload != payload {
            let refusal = refusals::SAME_VERSION.with(payload, committed.payload);
            self.collect();
            return self.refuse(&refusal, Some(&plan.version), true);
        }
        self.whole_again();
    }

    /// It comes back with the configuration that it knows. It may run: whether it does is not known, and a start ends that.
    pub(super) fn whole_again(&mut self) {
        let Some(committed) = self.next.committed.clone() else { return self.settle() };
        let damage = self.next.damage.take();
        let (from, reason) = damage.map_or((None, refusals::LINK_MOVED), |damage| (damage.from, damage.reason));
        self.restore(from, None, Some(committed), reason, None);
    }

    /// Whether it was the device that kept a release from being activated: a full or failing disk says nothing against the release.
    pub(super) fn blame_the_device(&mut self, plan: &Plan, refusal: &Refusal) -> bool {
        let device = refusal.class == Class::System;
        if device {
            self.hold_off(plan, refusal, self.settings.retry_most);
        }
        device
    }

    /// Not tried again for a while, each time twice as long: every try of an activation stops what runs.
    fn hold_off(&mut self, plan: &Plan, reason: &Refusal, first: u64) {
        let before = self.next.trouble.take().filter(|trouble| trouble.artifact == plan.artifact);
        let failures = before.map_or(0, |trouble| trouble.failures);
        let secs = first.saturating_mul(1_u64.checked_shl(failures.min(32)).unwrap_or(u64::MAX)).min(HELD_OFF_MOST);
        let until = self.now.moment.after(secs);
        self.next.trouble =
            Some(Trouble { artifact: plan.artifact, reason: reason.clone(), failures: failures.saturating_add(1), until });
    }

    /// Why an artifact is not to be tried now, if it is not. A person who asks is not kept waiting.
    pub(super) fn held_off(&mut self, plan: &Plan, ring: &Ring) -> Option<Refusal> {
        self.next.trouble.take_if(|trouble| trouble.artifact != plan.artifact);
        let trouble = self.next.trouble.as_ref().filter(|_| ring.by != By::Operator)?;
        if trouble.until.reached(&self.now.moment) {
            return None;
        }
        let seen = format!("{} times: {}: {}", trouble.failures, trouble.reason.code, trouble.reason.seen);
        let left = trouble.until.since(&self.now.moment).unwrap_or(0);
        Some(refusals::HELD_OFF.with(seen, format_args!("an activation that the device allows; tried again in {left} s")))
    }

    /// An activation ended before it touched anything: the proof has to be fetched again, or the device was seen to be in its way.
    pub(super) fn not_yet(&mut self, refusal: &Refusal, plan: Plan) {
        if refusal.class == Class::System {
            self.hold_off(&plan, refusal, self.settings.retry_first);
        }
        self.end(Event::Retrying, Some(&plan.version), Some(refusal), false);
        let most = self.now.moment.after(self.settings.retry_most);
        let at = self.next.trouble.as_ref().map_or_else(|| self.now.moment.after(self.settings.retry_first), |t| t.until.clone());
        let at = if at.secs > most.secs { most } else { at };
        let ring = Ring { by: By::Timer, source: plan.source, hint: None };
        self.next.state = State::Checking { ring, retry: Retry { failures: 1, since: None, at: Some(at) } };
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::simulation::{artifact, moment, plan, release};

    fn damaged() -> Record {
        let damage = crate::record::Damage { reason: refusals::LINK_MOVED, from: Some(plan(3).slot), failures: 2 };
        let ring = Ring { by: By::Timer, source: Source::Network, hint: None };
        Record {
            epoch: 7,
            state: State::Checking { ring, retry: Retry::default() },
            committed: Some(release(1)),
            floor: Some(plan(1).version),
            damage: Some(damage),
            ..Record::new("edgecore".parse().unwrap())
        }
    }

    fn answer(record: &Record, answer: Answer) -> Transition {
        let now = Now { moment: moment(0, 1000), wall: jiff::Timestamp::UNIX_EPOCH, dice: 0 };
        step(&Settings::default(), record, Input::Answer { epoch: record.epoch, answer }, &now)
    }

    fn candidate(n: u32, barred: Option<Refusal>) -> Answer {
        Answer::Checked(Verdict::Candidate(Box::new(Candidate { plan: plan(n), barred })))
    }

    /// Until there is a pause, with every activation failing in a way that neither condemns nor is the device's.
    #[test]
    fn a_newer_release_that_cannot_be_prepared_is_not_tried_round_and_round() {
        let (mut record, mut tried) = (damaged(), 0);
        while wake_at(&Settings::default(), &record).is_none() {
            for what in [
                candidate(4, None),
                Answer::Fetched(Ok(())),
                Answer::Staged(Ok(artifact(4))),
                Answer::Prepared(Err(Failure { refusal: refusals::NOTHING_BEFORE, again: Again::Never })),
                Answer::Damaged(refusals::LINK_MOVED),
            ] {
                record = answer(&record, what).next;
            }
            tried += 1;
            assert!(tried < 3, "{record:?}");
        }
        assert!(matches!(record.state, State::Checking { .. }) && record.damage.is_some(), "{record:?}");
    }

    #[test]
    fn a_damaged_release_that_costs_too_much_today_is_told_once() {
        let first = answer(&damaged(), candidate(1, Some(refusals::HALTED)));
        assert_eq!(first.told.iter().map(|told| told.event).collect::<Vec<_>>(), [Event::Refused]);
        assert!(wake_at(&Settings::default(), &first.next).is_some() && first.next.damage.is_some());
        let again = Record { state: damaged().state, ..first.next };
        assert_eq!(answer(&again, candidate(1, Some(refusals::HALTED))).told, []);
    }

    #[test]
    fn a_release_that_is_in_its_slot_after_all_comes_back_without_being_fetched() {
        let t = answer(&damaged(), Answer::Checked(Verdict::Whole));
        let (from, to) = (Some(plan(3).slot), Some(release(1)));
        assert_eq!(t.effects, [Effect::Restore { from, to, anyway: false }]);
        let end = answer(&t.next, Answer::Restored(Ok(()))).next;
        assert_eq!((&end.state, &end.damage), (&State::Idle, &None));
        assert!(wake_at(&Settings::default(), &end).is_some(), "what the check was for is looked for afterwards");

        // A person waits for what he asked for, not for that.
        let ring = Ring { by: By::Operator, source: Source::Bundle("/media/usb/bundle.tar".into()), hint: None };
        let record = Record { state: State::Checking { ring: ring.clone(), retry: Retry::default() }, ..damaged() };
        let t = answer(&record, Answer::Checked(Verdict::Whole));
        let t = answer(&t.next, Answer::Restored(Ok(())));
        assert!(t.effects.contains(&Effect::Check { ring, mend: None }), "{:?}", t.effects);
    }
}
