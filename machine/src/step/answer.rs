//! What the machine does with the answer to an order.

use super::{Again, Answer, Candidate, Draft, Effect, Failure, Held, Hold, Verdict, refusals, shown};
use crate::probation::{Judgement, judge};
use crate::record::{
    Activation, By, CONDEMNED_LIMIT, Condemned, Installed, Missed, Plan, Retry, Ring, Sample, Source, State, Watch,
};
use slipway_protocol::{Class, Event, Refusal, Sha256, Version};

/// Restores that may fail before the component is called inconsistent.
const RESTORE_TRIES: u32 = 5;

impl Draft<'_> {
    /// An answer to the current order. One that does not fit the state cannot be (its epoch would be older) and changes nothing.
    pub(super) fn answer(&mut self, answer: Answer) {
        match (answer, self.next.state.clone()) {
            (Answer::Checked(verdict), State::Checking { ring, retry }) if retry.at.is_none() => {
                self.checked(verdict, ring, retry)
            }
            (Answer::Fetched(result), State::Downloading { plan, retry }) if retry.at.is_none() => {
                self.fetched(result, plan, retry)
            }
            (Answer::Staged(result), State::Staging { plan }) => self.staged(result, plan),
            (Answer::Prepared(result), State::Activating { plan, payload, step: Activation::Preparing }) => {
                self.prepared(result, plan, payload);
            }
            (Answer::Switched(result), State::Activating { plan, payload, step: Activation::Switching }) => {
                self.switched(result, plan, payload);
            }
            (Answer::Sampled(sample), State::Probation { plan, payload, watch }) => self.sampled(&sample, plan, payload, &watch),
            (Answer::Restored(result), State::RollingBack { .. } | State::Inconsistent { .. }) => self.restored(result),
            (Answer::Damaged(reason), State::RollingBack { .. } | State::Inconsistent { .. }) => self.way_back_damaged(&reason),
            (
                Answer::Checked(_)
                | Answer::Fetched(_)
                | Answer::Staged(_)
                | Answer::Prepared(_)
                | Answer::Switched(_)
                | Answer::Sampled(_)
                | Answer::Restored(_)
                | Answer::Damaged(_),
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

    fn checked(&mut self, verdict: Verdict, ring: Ring, retry: Retry) {
        self.next.checked = Some(self.now.moment.clone());
        let news = ring.by == By::Operator;
        match verdict {
            Verdict::Candidate(candidate) => self.judge_candidate(*candidate, &ring, news),
            Verdict::Held(held) => self.hold(&held, ring, retry, news),
            Verdict::Refused { refusal, version } => self.refuse(&refusal, version.as_ref(), news),
            Verdict::Whole => {
                // What was asked for was not looked at, a bundle perhaps.
                self.keep(ring);
                self.whole_again();
            }
            Verdict::Failed(Failure { refusal, again }) => match self.again(retry, again) {
                Some(retry) => {
                    self.end(Event::Retrying, None, Some(&refusal), false);
                    let source = ring.source.clone();
                    self.next.state = State::Checking { ring, retry };
                    self.heed_elsewhere(&source);
                }
                None => self.refuse(&refusal, None, news),
            },
        }
    }

    /// The device's own conditions on an authorised release, in the order in which a person would want to hear of them.
    fn judge_candidate(&mut self, candidate: Candidate, ring: &Ring, news: bool) {
        let Candidate { plan, barred } = candidate;
        self.compare(&plan.version, ring.hint.as_ref());
        if let Some(committed) = &self.next.committed {
            // The same archive under a newer version is an update: its manifest may name another member.
            if committed.version == plan.version && committed.artifact == plan.artifact {
                return match (&self.next.damage, barred) {
                    (None, _) => self.up_to_date(&plan.version, plan.floor.as_ref(), news),
                    // Told once, and not each time that it is looked for.
                    (Some(_), Some(refusal)) => self.refuse(&refusal, Some(&plan.version), news),
                    (Some(_), None) => self.take(plan),
                };
            }
            if committed.version == plan.version && !committed.adopted {
                let refusal = refusals::SAME_VERSION.with(plan.artifact, committed.artifact);
                return self.refuse(&refusal, Some(&plan.version), news);
            }
        }
        let floor = highest(self.next.floor.as_ref(), plan.floor.as_ref());
        if let Some(floor) = floor.filter(|floor| plan.version < **floor) {
            let refusal = refusals::FLOOR.with(&plan.version, format_args!("{floor} or newer"));
            return self.refuse(&refusal, Some(&plan.version), news);
        }
        if let Some(condemned) = self.next.condemned.iter().find(|condemned| condemned.artifact == plan.artifact) {
            let refusal = refusals::CONDEMNED.with(&condemned.reason.code, "an artifact that has not failed here");
            return self.refuse(&refusal, Some(&plan.version), news);
        }
        if let Some(refusal) = barred {
            return self.refuse(&refusal, Some(&plan.version), news);
        }
        if let Some(refusal) = self.held_off(&plan, ring) {
            self.end(Event::Waiting, Some(&plan.version), Some(&refusal), news);
            return self.settle();
        }
        self.take(plan);
    }

    /// The operator holds the release back, perhaps because something is wrong with it: what this device would say to it is not asked yet.
    fn hold(&mut self, held: &Held, ring: Ring, retry: Retry, news: bool) {
        let version = &held.version;
        self.compare(version, ring.hint.as_ref());
        if self.next.committed.as_ref().is_some_and(|committed| committed.version == *version && !committed.adopted) {
            return self.up_to_date(version, held.floor.as_ref(), news);
        }
        match held.hold {
            Hold::Halted => self.refuse(&refusals::HALTED.with(version, "a rollout under way"), Some(version), news),
            Hold::Wave(secs) => {
                let pause = secs.unwrap_or(self.settings.retry_most).clamp(1, self.settings.retry_most);
                let refusal =
                    refusals::WAVE.with(shown(secs.map(|secs| format!("{secs} s to go")).as_ref()), "a wave that has begun");
                // Between two looks into a bundle the network is asked, and its answers would make this news again.
                let repeated = ring.by == By::Timer && ring.source != Source::Network;
                if !repeated {
                    self.end(Event::Waiting, Some(version), Some(&refusal), news);
                }
                // Whoever asked has been told; that it still waits is no news, however often it is looked at.
                let ring = Ring { by: By::Timer, ..ring };
                self.next.state = State::Checking { ring, retry: Retry { at: Some(self.now.moment.after(pause)), ..retry } };
                self.heed();
            }
        }
    }

    /// A notice is never believed. But one that names what the repository does not show is told once: somebody may keep this device
    /// from seeing it.
    fn compare(&mut self, shown: &Version, hint: Option<&Version>) {
        self.next.missed.take_if(|missed| missed.version <= *shown);
        let Some(hint) = hint.filter(|hint| *hint > shown) else { return };
        if self.next.missed.as_ref().is_none_or(|missed| missed.version != *hint) {
            self.tell(Event::Refused, Some(hint), Some(&refusals::FREEZE.with(shown, hint)));
            self.next.missed =
                Some(Missed { version: hint.clone(), shown: shown.clone(), since: self.now.wall, dismissed: false });
        }
    }

    /// A person knows of it. Remembered, so that the same notice, which anybody can send again, does not bring it back.
    pub(super) fn dismiss(&mut self) {
        if let Some(missed) = &mut self.next.missed {
            missed.dismissed = true;
        }
    }

    fn take(&mut self, plan: Plan) {
        self.tell(Event::Downloading, Some(&plan.version), None);
        self.fetch(plan, Retry::default());
    }

    fn up_to_date(&mut self, version: &Version, floor: Option<&Version>, news: bool) {
        // What the channel demands holds even when there is nothing to install.
        self.next.floor = highest(self.next.floor.as_ref(), floor).cloned();
        self.end(Event::UpToDate, Some(version), None, news);
        self.settle();
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal, version: Option<&Version>, news: bool) {
        self.end(Event::Refused, version, Some(refusal), news);
        self.settle();
    }

    fn fetched(&mut self, result: Result<(), Failure>, plan: Plan, retry: Retry) {
        match result {
            Ok(()) => {
                self.tell(Event::Staging, Some(&plan.version), None);
                self.stage(plan);
            }
            Err(Failure { refusal, again }) => match self.again(retry, again) {
                Some(retry) => {
                    self.end(Event::Retrying, Some(&plan.version), Some(&refusal), false);
                    self.next.state = State::Downloading { plan, retry };
                    self.heed();
                }
                None => self.refuse(&refusal, Some(&plan.version), true),
            },
        }
    }

    fn staged(&mut self, result: Result<Sha256, Failure>, plan: Plan) {
        match result {
            Ok(payload) => {
                self.tell(Event::Staged, Some(&plan.version), None);
                if self.next.committed.as_ref().is_some_and(|committed| committed.slot == plan.slot) {
                    return self.mended(&plan, payload);
                }
                self.tell(Event::Activating, Some(&plan.version), None);
                self.prepare(plan, payload);
            }
            Err(failure) if failure.again != Again::Never => self.not_yet(&failure.refusal, plan),
            Err(Failure { refusal, .. }) => {
                self.collect();
                self.refuse(&refusal, Some(&plan.version), true);
            }
        }
    }

    fn prepared(&mut self, result: Result<(), Failure>, plan: Plan, payload: Sha256) {
        match result {
            Ok(()) => self.switch(plan, payload),
            Err(failure) if failure.again != Again::Never => self.not_yet(&failure.refusal, plan),
            // The link has not moved, but the component may have been stopped. Nothing of the new release ran: not condemned.
            Err(Failure { refusal, .. }) => {
                self.blame_the_device(&plan, &refusal);
                self.undo(plan, refusal, false);
            }
        }
    }

    fn switched(&mut self, result: Result<(), Refusal>, plan: Plan, payload: Sha256) {
        match result {
            Ok(()) => {
                self.tell(Event::Activated, Some(&plan.version), None);
                let watch = Watch {
                    deadline: self.now.moment.after(self.settings.deadline),
                    starts: 0,
                    process: None,
                    healthy_since: None,
                    failures: 0,
                    ill: None,
                };
                self.next.state = State::Probation { plan: plan.clone(), payload, watch };
                self.effects.push(Effect::Watch { plan, payload });
            }
            // A full or failing disk says nothing against the release, nor what became of its slot since.
            Err(refusal) => {
                let condemn = !self.blame_the_device(&plan, &refusal) && refusal.class != Class::ArbitrarySoftware;
                self.undo(plan, refusal, condemn);
            }
        }
    }

    fn sampled(&mut self, sample: &Sample, plan: Plan, payload: Sha256, watch: &Watch) {
        match judge(self.settings, watch, sample, &self.now.moment) {
            Judgement::Watch(watch) => self.next.state = State::Probation { plan, payload, watch },
            Judgement::Commit => self.commit(plan, payload),
            Judgement::RollBack(refusal) => self.undo(plan, refusal, true),
        }
    }

    fn commit(&mut self, plan: Plan, payload: Sha256) {
        self.next.floor = highest(self.next.floor.as_ref(), highest(plan.floor.as_ref(), Some(&plan.version))).cloned();
        let new = Installed { version: plan.version.clone(), artifact: plan.artifact, payload, slot: plan.slot, adopted: false };
        self.next.previous = self.next.committed.replace(new);
        (self.next.damage, self.next.trouble) = (None, None);
        // The watch ends with the epoch that ordered it.
        self.next.epoch = self.next.epoch.wrapping_add(1);
        self.end(Event::Committed, Some(&plan.version), None, true);
        self.collect();
        self.settle();
    }

    fn restored(&mut self, result: Result<(), Refusal>) {
        match (result, self.next.state.clone()) {
            (Ok(()), State::RollingBack { plan, to, reason, condemn, .. }) => {
                self.condemn(condemn);
                self.next.damage = None;
                if to != self.next.committed {
                    self.next.previous = None;
                    self.next.committed = to.clone();
                }
                let version = plan.map(|plan| plan.version).or_else(|| to.map(|to| to.version));
                self.end(Event::RolledBack, version.as_ref(), Some(&reason), true);
                self.collect();
                self.settle();
            }
            (Ok(()), State::Inconsistent { to, reason, .. }) => {
                let version = to.as_ref().map(|to| to.version.clone());
                (self.next.committed, self.next.damage) = (to, None);
                self.end(Event::RolledBack, version.as_ref(), Some(&reason), true);
                self.settle();
            }
            // A person asked to go back, and there is no going back: what was left runs again, and is no worse for it.
            (Err(refusal), State::RollingBack { to, retry, .. })
                if retry.failures >= RESTORE_TRIES && to != self.next.committed =>
            {
                let left = self.next.committed.clone();
                self.tell(Event::RollingBack, to.map(|to| to.version).as_ref(), Some(&refusal));
                self.restore(None, None, left, refusal, None);
            }
            (Err(refusal), State::RollingBack { from, to, retry, condemn, .. }) if retry.failures >= RESTORE_TRIES => {
                self.condemn(condemn);
                self.end(Event::Inconsistent, to.as_ref().map(|to| to.version.clone()).as_ref(), Some(&refusal), true);
                self.next.state = State::Inconsistent {
                    to,
                    from,
                    reason: refusal,
                    retry: Retry { failures: RESTORE_TRIES, ..Retry::default() },
                };
                self.go_back_now();
            }
            (Err(refusal), State::RollingBack { .. } | State::Inconsistent { .. }) => {
                self.end(Event::Retrying, None, Some(&refusal), false);
                let (settings, now) = (self.settings, self.now);
                if let Some(retry) = self.way_back() {
                    retry.at = Some(now.moment.after(super::pause(settings, retry.failures, now.dice, Again::Later)));
                    retry.failures = retry.failures.saturating_add(1);
                }
            }
            (_, _) => {}
        }
    }

    /// Once each, the newest last, and not without end.
    pub(super) fn condemn(&mut self, condemned: Option<Condemned>) {
        let Some(condemned) = condemned else { return };
        self.next.condemned.retain(|old| old.artifact != condemned.artifact);
        self.next.condemned.push(condemned);
        let excess = self.next.condemned.len().saturating_sub(CONDEMNED_LIMIT);
        self.next.condemned.drain(..excess);
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
