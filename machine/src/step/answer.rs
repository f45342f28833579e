//! What the machine does with the outcome of an effect.

use super::{
    Candidate, CheckOutcome, Draft, Effect, EffectAnswer, EffectFailure, HeldRelease, HoldReason, RETRY_MOST, RetryAdvice,
    refusals, shown,
};
use crate::probation::{Judgement, judge};
use crate::record::{
    Activation, BLOCKED_LIMIT, Blocked, Installed, Plan, Retry, Sample, Source, State, SuspectedFreeze, Trigger, TriggerSource,
    Watch,
};
use slipway_protocol::{Category, Event, Refusal, Sha256, Version};

/// Restores that may fail before the component is called inconsistent.
const RESTORE_TRIES: u32 = 5;

impl Draft<'_> {
    /// An answer to the current order. One that does not fit the state cannot be (its epoch would be older) and changes nothing.
    pub(super) fn answer(&mut self, answer: EffectAnswer) {
        match (answer, self.next.state.clone()) {
            (EffectAnswer::SetAside(slot), State::Checking { trigger, retry })
                if retry.at.is_none() && self.damaged_release().is_some() =>
            {
                self.set_aside(slot, trigger);
            }
            (EffectAnswer::AdoptedAgain(slot), State::Checking { trigger, retry })
                if retry.at.is_none() && self.damaged_release().is_some() =>
            {
                self.adopted_again(slot, trigger);
            }
            (EffectAnswer::Checked(outcome), State::Checking { trigger, retry }) if retry.at.is_none() => {
                self.checked(outcome, trigger, retry)
            }
            (EffectAnswer::Fetched(result), State::Downloading { plan, retry }) if retry.at.is_none() => {
                self.fetched(result, plan, retry)
            }
            (EffectAnswer::Staged(result), State::Staging { plan }) => self.staged(result, plan),
            (EffectAnswer::Prepared(result), State::Activating { plan, payload, step: Activation::Preparing }) => {
                self.prepared(result, plan, payload);
            }
            (EffectAnswer::Switched(result), State::Activating { plan, payload, step: Activation::Switching }) => {
                self.switched(result, plan, payload);
            }
            (EffectAnswer::Sampled(sample), State::Probation { plan, payload, watch }) => {
                self.sampled(&sample, plan, payload, &watch)
            }
            (EffectAnswer::Restored(result), State::RollingBack { .. } | State::Inconsistent { .. }) => self.restored(result),
            (EffectAnswer::Damaged(reason), State::RollingBack { .. } | State::Inconsistent { .. }) => {
                self.restore_target_damaged(&reason)
            }
            (
                EffectAnswer::SetAside(_)
                | EffectAnswer::AdoptedAgain(_)
                | EffectAnswer::Checked(_)
                | EffectAnswer::Fetched(_)
                | EffectAnswer::Staged(_)
                | EffectAnswer::Prepared(_)
                | EffectAnswer::Switched(_)
                | EffectAnswer::Sampled(_)
                | EffectAnswer::Restored(_)
                | EffectAnswer::Damaged(_),
                State::Idle
                | State::Checking { .. }
                | State::Downloading { .. }
                | State::Staging { .. }
                | State::Staged { .. }
                | State::Activating { .. }
                | State::Probation { .. }
                | State::RollingBack { .. }
                | State::Inconsistent { .. },
            ) => {}
        }
    }

    fn checked(&mut self, outcome: CheckOutcome, trigger: Trigger, retry: Retry) {
        self.next.checked = Some(self.now.moment.clone());
        let repeat = trigger.by == TriggerSource::Operator;
        match outcome {
            CheckOutcome::Candidate(candidate) => self.judge_candidate(*candidate, &trigger, repeat),
            CheckOutcome::Waiting(held) => self.hold(&held, trigger, retry, repeat),
            CheckOutcome::Refused { refusal, version } => self.refuse(&refusal, version.as_ref(), repeat),
            CheckOutcome::Failed(EffectFailure { refusal, advice }) => match self.next_retry(retry, advice) {
                Some(retry) => {
                    self.end(Event::Retrying, None, Some(&refusal), false);
                    let source = trigger.source.clone();
                    self.next.state = State::Checking { trigger, retry };
                    self.run_trigger_from_elsewhere(&source);
                }
                None => self.refuse(&refusal, None, repeat),
            },
        }
    }

    /// The device's own conditions on an authorised release, in the order in which a person would want to hear of them.
    fn judge_candidate(&mut self, candidate: Candidate, trigger: &Trigger, repeat: bool) {
        let Candidate { plan, obstacle } = candidate;
        self.compare(&plan.version, trigger.hint.as_ref());
        if let Some(committed) = &self.next.committed {
            // The same archive under a newer version is an update: its manifest may name another member.
            if committed.version == plan.version && committed.artifact == plan.artifact {
                return match (&self.next.damage, obstacle) {
                    (None, _) => self.up_to_date(&plan.version, plan.floor.as_ref(), repeat),
                    // Told once, and not each time that it is looked for.
                    (Some(_), Some(refusal)) => self.refuse(&refusal, Some(&plan.version), repeat),
                    (Some(_), None) => self.take(plan),
                };
            }
            if committed.version == plan.version && !committed.adopted {
                let refusal = refusals::SAME_VERSION.with(plan.artifact, committed.artifact);
                return self.refuse(&refusal, Some(&plan.version), repeat);
            }
        }
        let floor = highest(self.next.floor.as_ref(), plan.floor.as_ref());
        if let Some(floor) = floor.filter(|floor| plan.version < **floor) {
            let refusal = refusals::FLOOR.with(&plan.version, format_args!("{floor} or newer"));
            return self.refuse(&refusal, Some(&plan.version), repeat);
        }
        if let Some(blocked) = self.next.blocked.iter().find(|blocked| blocked.artifact == plan.artifact) {
            let refusal = refusals::BLOCKED.with(&blocked.reason.code, "an artifact that has not failed here");
            return self.refuse(&refusal, Some(&plan.version), repeat);
        }
        if let Some(refusal) = obstacle {
            return self.refuse(&refusal, Some(&plan.version), repeat);
        }
        if let Some(refusal) = self.backed_off(&plan, trigger) {
            self.end(Event::Waiting, Some(&plan.version), Some(&refusal), repeat);
            return self.enter_idle();
        }
        self.take(plan);
    }

    /// The operator holds the release back, perhaps because something is wrong with it: what this device would say to it is not asked yet.
    fn hold(&mut self, held: &HeldRelease, trigger: Trigger, retry: Retry, repeat: bool) {
        let version = &held.version;
        self.compare(version, trigger.hint.as_ref());
        if self.next.committed.as_ref().is_some_and(|committed| committed.version == *version && !committed.adopted) {
            return self.up_to_date(version, held.floor.as_ref(), repeat);
        }
        match held.hold {
            HoldReason::Halted => self.refuse(&refusals::HALTED.with(version, "a rollout under way"), Some(version), repeat),
            HoldReason::Wave(secs) => {
                let pause = secs.unwrap_or(RETRY_MOST).clamp(1, RETRY_MOST);
                let refusal =
                    refusals::WAVE.with(shown(secs.map(|secs| format!("{secs} s left")).as_ref()), "a wave that has begun");
                // Between two looks into a bundle the network is asked, and its answers would make this news again.
                let repeated = trigger.by == TriggerSource::Timer && trigger.source != Source::Network;
                if !repeated {
                    self.end(Event::Waiting, Some(version), Some(&refusal), repeat);
                }
                // It was reported already; that it still waits is not reported again.
                let trigger = Trigger { by: TriggerSource::Timer, ..trigger };
                self.next.state = State::Checking { trigger, retry: Retry { at: Some(self.now.moment.after(pause)), ..retry } };
                self.run_pending_trigger();
            }
        }
    }

    /// A notice is never trusted. But one that names what the repository does not show is reported once: somebody may keep this device
    /// from seeing it.
    fn compare(&mut self, shown: &Version, hint: Option<&Version>) {
        self.next.suspected_freeze.take_if(|suspected_freeze| suspected_freeze.version <= *shown);
        let Some(hint) = hint.filter(|hint| *hint > shown) else { return };
        if self.next.suspected_freeze.as_ref().is_none_or(|suspected_freeze| suspected_freeze.version != *hint) {
            self.emit(Event::Refused, Some(hint), Some(&refusals::FREEZE.with(shown, hint)));
            self.next.suspected_freeze =
                Some(SuspectedFreeze { version: hint.clone(), shown: shown.clone(), since: self.now.wall, dismissed: false });
        }
    }

    /// A person knows of it. Remembered, so that the same notice, which anybody can send again, does not bring it back.
    pub(super) fn dismiss(&mut self) {
        if let Some(suspected_freeze) = &mut self.next.suspected_freeze {
            suspected_freeze.dismissed = true;
        }
    }

    fn take(&mut self, plan: Plan) {
        self.emit(Event::Downloading, Some(&plan.version), None);
        self.fetch(plan, Retry::default());
    }

    fn up_to_date(&mut self, version: &Version, floor: Option<&Version>, repeat: bool) {
        // What the channel demands holds even when there is nothing to install.
        self.next.floor = highest(self.next.floor.as_ref(), floor).cloned();
        self.end(Event::UpToDate, Some(version), None, repeat);
        self.enter_idle();
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal, version: Option<&Version>, repeat: bool) {
        self.end(Event::Refused, version, Some(refusal), repeat);
        self.enter_idle();
    }

    fn fetched(&mut self, result: Result<(), EffectFailure>, plan: Plan, retry: Retry) {
        match result {
            Ok(()) => {
                self.emit(Event::Staging, Some(&plan.version), None);
                self.stage(plan);
            }
            Err(EffectFailure { refusal, advice }) => match self.next_retry(retry, advice) {
                Some(retry) => {
                    self.end(Event::Retrying, Some(&plan.version), Some(&refusal), false);
                    self.next.state = State::Downloading { plan, retry };
                    self.run_pending_trigger();
                }
                None => self.refuse(&refusal, Some(&plan.version), true),
            },
        }
    }

    fn staged(&mut self, result: Result<Sha256, EffectFailure>, plan: Plan) {
        match result {
            Ok(payload) => {
                self.emit(Event::Staged, Some(&plan.version), None);
                if self.next.committed.as_ref().is_some_and(|committed| committed.slot == plan.slot) {
                    return self.repaired(&plan, payload);
                }
                self.emit(Event::Activating, Some(&plan.version), None);
                self.prepare(plan, payload);
            }
            Err(failure) if failure.advice != RetryAdvice::Never => self.postpone(&failure.refusal, plan),
            Err(EffectFailure { refusal, .. }) => {
                self.collect();
                self.refuse(&refusal, Some(&plan.version), true);
            }
        }
    }

    fn prepared(&mut self, result: Result<(), EffectFailure>, plan: Plan, payload: Sha256) {
        match result {
            Ok(()) => self.switch(plan, payload),
            Err(failure) if failure.advice != RetryAdvice::Never => self.postpone(&failure.refusal, plan),
            // The link has not moved, but the component may have been stopped. Nothing of the new release ran: not condemned.
            Err(EffectFailure { refusal, .. }) => {
                self.blame_the_device(&plan, &refusal);
                self.roll_back(plan, refusal, false);
            }
        }
    }

    fn switched(&mut self, result: Result<(), Refusal>, plan: Plan, payload: Sha256) {
        match result {
            Ok(()) => {
                self.emit(Event::Activated, Some(&plan.version), None);
                let watch = Watch {
                    deadline: self.now.moment.after(self.settings.deadline),
                    starts: 0,
                    process: None,
                    healthy_since: None,
                    failures: 0,
                    unhealthy: None,
                };
                self.next.state = State::Probation { plan: plan.clone(), payload, watch };
                self.effects.push(Effect::Watch { plan, payload });
            }
            // A full or failing disk says nothing against the release, nor what became of its slot since.
            Err(refusal) => {
                let block = !self.blame_the_device(&plan, &refusal) && refusal.category != Category::ArbitrarySoftware;
                self.roll_back(plan, refusal, block);
            }
        }
    }

    fn sampled(&mut self, sample: &Sample, plan: Plan, payload: Sha256, watch: &Watch) {
        match judge(self.settings, watch, sample, &self.now.moment) {
            Judgement::Watch(watch) => self.next.state = State::Probation { plan, payload, watch },
            Judgement::Commit => self.commit(plan, payload),
            Judgement::RollBack(refusal) => self.roll_back(plan, refusal, true),
        }
    }

    fn commit(&mut self, plan: Plan, payload: Sha256) {
        self.next.floor = highest(self.next.floor.as_ref(), highest(plan.floor.as_ref(), Some(&plan.version))).cloned();
        let new = Installed { version: plan.version.clone(), artifact: plan.artifact, payload, slot: plan.slot, adopted: false };
        self.next.previous = self.next.committed.replace(new);
        (self.next.damage, self.next.backoff) = (None, None);
        // The watch ends with the epoch that ordered it.
        self.next.epoch = self.next.epoch.wrapping_add(1);
        self.end(Event::Committed, Some(&plan.version), None, true);
        self.collect();
        self.enter_idle();
    }

    fn restored(&mut self, result: Result<(), Refusal>) {
        match (result, self.next.state.clone()) {
            (Ok(()), State::RollingBack { plan, to, reason, block, .. }) => {
                self.block(block);
                self.next.damage = None;
                if to != self.next.committed {
                    self.next.previous = None;
                    self.next.committed = to.clone();
                }
                let version = plan.map(|plan| plan.version).or_else(|| to.map(|to| to.version));
                self.end(Event::RolledBack, version.as_ref(), Some(&reason), true);
                self.collect();
                self.enter_idle();
            }
            (Ok(()), State::Inconsistent { to, reason, .. }) => {
                let version = to.as_ref().map(|to| to.version.clone());
                (self.next.committed, self.next.damage) = (to, None);
                self.end(Event::RolledBack, version.as_ref(), Some(&reason), true);
                self.enter_idle();
            }
            // A person requested a rollback that is impossible: the release runs again, and is not blocked.
            (Err(refusal), State::RollingBack { to, retry, .. })
                if retry.failures >= RESTORE_TRIES && to != self.next.committed =>
            {
                let left = self.next.committed.clone();
                self.emit(Event::RollingBack, to.map(|to| to.version).as_ref(), Some(&refusal));
                self.restore(None, None, left, refusal, None);
            }
            (Err(refusal), State::RollingBack { from, to, retry, block, .. }) if retry.failures >= RESTORE_TRIES => {
                self.block(block);
                self.end(Event::Inconsistent, to.as_ref().map(|to| to.version.clone()).as_ref(), Some(&refusal), true);
                self.next.state = State::Inconsistent {
                    to,
                    from,
                    reason: refusal,
                    retry: Retry { failures: RESTORE_TRIES, ..Retry::default() },
                };
                self.order_restore();
            }
            (Err(refusal), State::RollingBack { .. } | State::Inconsistent { .. }) => {
                self.end(Event::Retrying, None, Some(&refusal), false);
                let now = self.now;
                if let Some(retry) = self.restore_retry() {
                    retry.at = Some(now.moment.after(super::pause(retry.failures, now.dice, RetryAdvice::Later)));
                    retry.failures = retry.failures.saturating_add(1);
                }
            }
            (_, _) => {}
        }
    }

    /// Once each, the newest last, and not without end.
    pub(super) fn block(&mut self, blocked: Option<Blocked>) {
        let Some(blocked) = blocked else { return };
        self.next.blocked.retain(|old| old.artifact != blocked.artifact);
        self.next.blocked.push(blocked);
        let excess = self.next.blocked.len().saturating_sub(BLOCKED_LIMIT);
        self.next.blocked.drain(..excess);
    }

    /// Only what a rollback may need stays.
    pub(super) fn collect(&mut self) {
        let keep = [&self.next.committed, &self.next.previous].into_iter().flatten().map(|installed| installed.slot.clone());
        // The snapshot of a slot goes with it, and a damaged release gets its configuration back from there.
        let left = self.next.damage.as_ref().and_then(|damage| damage.from.clone());
        self.effects.push(Effect::Collect { keep: keep.chain(left).collect() });
    }
}

fn highest<'a>(a: Option<&'a Version>, b: Option<&'a Version>) -> Option<&'a Version> {
    // `Option` orders `None` below every version.
    a.max(b)
}
