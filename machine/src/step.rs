//! The function that decides, and when it must be called again.

use crate::probation;
use crate::record::{
    Activation, Blocked, Ending, Installed, Plan, Record, Retry, SlotName, Source, State, Trigger, TriggerSource, Watch,
};
use crate::refusals;
use crate::time::{Moment, Now, doubled};
use crate::types::{
    Candidate, CheckOutcome, Effect, EffectAnswer, EffectFailure, GAP, GIVE_UP, HeldRelease, HoldReason, Input, RETRY_FIRST,
    RETRY_MOST, ReportDraft, RetryAdvice, STARTS_MOST, Settings, SlotCondition, Transition,
};
use slipway_protocol::{Event, Refusal, Sha256, Version};

mod answer;
mod commands;
mod repair;

/// Decides what happens next: the new record, the effects to carry out, and what to report.
///
/// Total over every state and input. Never panics. The only clock is `now`.
///
/// ```
/// use slipway_machine::record::{Record, Source, State, Trigger, TriggerSource};
/// use slipway_machine::time::{BootId, Moment, Now};
/// use slipway_machine::{Effect, Input, Settings, step};
///
/// let record = Record::new("edgecore".parse()?);
/// let boot = BootId("6d3e".to_owned());
/// let now = Now { moment: Moment { boot, secs: 60 }, wall: jiff::Timestamp::UNIX_EPOCH, dice: 0 };
/// let notice = Input::Trigger(Trigger { by: TriggerSource::Notice, source: Source::Network, hint: None });
///
/// let transition = step(&Settings::default(), &record, notice, &now);
/// assert!(matches!(transition.next.state, State::Checking { .. }));
/// assert!(matches!(transition.effects[..], [Effect::Check { .. }]));
/// assert_eq!(transition.next.epoch, record.epoch + 1);
/// # Ok::<(), String>(())
/// ```
#[must_use]
pub fn step(settings: &Settings, record: &Record, input: Input, now: &Now) -> Transition {
    let mut draft = Draft { settings, now, next: record.clone(), effects: Vec::new(), events: Vec::new() };
    match input {
        Input::Started { link } => draft.started(link),
        Input::Adopted(installed) => draft.adopted(installed),
        Input::RestoredByUnit(reason) => draft.restored_by_unit(reason),
        Input::Damaged { slot, reason } => draft.found_damaged(&slot, &reason),
        Input::Healed(found) => {
            let committed = draft.next.committed.as_ref().map(|installed| installed.version.clone());
            draft.emit(Event::Healed, committed.as_ref(), Some(&found));
        }
        Input::Trigger(trigger) => draft.trigger(trigger),
        Input::Wake => draft.wake(),
        Input::Answer { epoch, answer } if epoch == record.epoch => draft.answer(answer),
        Input::Answer { .. } => {}
        Input::Rollback => draft.rollback(),
        Input::Unblock(artifact) => draft.unblock(artifact),
        Input::Dismiss => draft.dismiss(),
    }
    draft.finish()
}

/// When [`Input::Wake`] is due; `None` when only something from outside can move the component.
#[must_use]
pub fn wake_at(record: &Record) -> Option<Moment> {
    match &record.state {
        State::Idle => match (&record.trigger, &record.checked) {
            (Some(_), Some(checked)) => Some(checked.after(GAP)),
            (Some(_), None) => Some(Moment::default()),
            (None, _) => None,
        },
        State::Checking { retry, .. }
        | State::Downloading { retry, .. }
        | State::RollingBack { retry, .. }
        | State::Inconsistent { retry, .. } => retry.at.clone(),
        State::Probation { watch, .. } => Some(watch.deadline.clone()),
        State::Staging { .. } | State::Staged { .. } | State::Activating { .. } => None,
    }
}

/// A transition being written.
struct Draft<'a> {
    settings: &'a Settings,
    now: &'a Now,
    next: Record,
    effects: Vec<Effect>,
    events: Vec<ReportDraft>,
}

impl Draft<'_> {
    /// Every order gets an epoch of its own; collecting is no order, since nobody waits for it.
    fn finish(mut self) -> Transition {
        if self.effects.iter().any(|effect| !matches!(effect, Effect::Collect { .. })) {
            self.next.epoch = self.next.epoch.wrapping_add(1);
        }
        Transition { next: self.next, effects: self.effects, events: self.events }
    }

    fn emit(&mut self, event: Event, to: Option<&Version>, refusal: Option<&Refusal>) {
        self.events.push(ReportDraft { event, to: to.cloned(), refusal: refusal.cloned() });
    }

    /// Tells how an attempt ended, unless the last one ended the very same way: a refusal repeated every hour is no news.
    fn end(&mut self, event: Event, version: Option<&Version>, refusal: Option<&Refusal>, repeat: bool) {
        let ending = Ending { event, version: version.cloned(), refusal: refusal.cloned(), at: self.now.wall };
        let same = self.next.last.as_ref().is_some_and(|last| {
            let repeated = match (&last.refusal, &ending.refusal) {
                (Some(last), Some(refusal)) => refusal.repeats(last),
                (last, refusal) => last.is_none() && refusal.is_none(),
            };
            last.event == ending.event && last.version == ending.version && repeated
        });
        if !same || repeat {
            self.emit(event, version, refusal);
            self.next.last = Some(ending);
        }
    }

    // ---- the agent started -------------------------------------------------------------------------------------------

    fn started(&mut self, link: Option<SlotName>) {
        // Nothing is waited for that lies further ahead than anybody would have put it.
        self.next.checked.take_if(|at| !at.reached(&self.now.moment));
        self.next.damage.take_if(|_| self.next.committed.is_none());
        self.next.backoff.take_if(|backoff| !backoff.until.reached(&self.now.moment.after(repair::BACKOFF_SECS_MAX)));
        self.emit(Event::Started, self.next.committed.clone().map(|installed| installed.version).as_ref(), None);
        let committed = self.next.committed.as_ref().map(|installed| installed.slot.clone());
        let moved = committed.is_some() && link != committed;
        match self.next.state.clone() {
            State::Idle if moved => self.restore_committed(link),
            State::Idle => self.enter_idle(),
            State::Checking { trigger, .. } if moved => {
                self.next.trigger = Some(trigger);
                self.restore_committed(link);
            }
            State::Checking { trigger, .. } => self.check(trigger, Retry::default()),
            State::Downloading { plan, .. } | State::Staging { plan } | State::Staged { plan, .. } if moved => {
                self.next.trigger = Some(Trigger { by: TriggerSource::Timer, source: plan.source, hint: None });
                self.restore_committed(link);
            }
            State::Downloading { plan, .. } => self.fetch(plan, Retry::default()),
            State::Staging { plan } => self.stage(plan),
            State::Staged { plan, payload } => self.prepare(plan, payload),
            State::Activating { plan, step: Activation::Preparing, .. } if moved => {
                self.roll_back(plan, refusals::LINK_MOVED.with(shown(link.as_ref()), shown(committed.as_ref())), false);
            }
            State::Activating { plan, payload, step: Activation::Preparing } => self.prepare(plan, payload),
            State::Activating { plan, payload, step: Activation::Switching } => self.switch(plan, payload),
            State::Probation { plan, .. } if link.as_ref() != Some(&plan.slot) => {
                let reason = refusals::LINK_MOVED.with(shown(link.as_ref()), &plan.slot);
                self.roll_back(plan, reason, false);
            }
            State::Probation { plan, payload, watch } => self.watch_again(plan, payload, watch),
            State::RollingBack { .. } | State::Inconsistent { .. } => {
                if let Some(retry) = self.restore_retry() {
                    *retry = Retry::default();
                }
                self.order_restore();
            }
        }
    }

    /// Counts as committed, unproven as it is: it ran here before us, and nothing older than it is installed.
    fn adopted(&mut self, installed: Installed) {
        if self.next.committed.is_none() && self.next.state == State::Idle {
            self.next.floor = Some(installed.version.clone()).max(self.next.floor.take());
            self.next.committed = Some(installed);
        }
    }

    /// Takes the reason that the restore unit recorded for a failed release into a record that lacks it.
    fn restored_by_unit(&mut self, seen: Refusal) {
        if let State::RollingBack { plan, reason, block, .. } = &mut self.next.state {
            reason.clone_from(&seen);
            block.iter_mut().for_each(|blocked| blocked.reason.clone_from(&seen));
            let version = plan.as_ref().map(|plan| plan.version.clone());
            self.emit(Event::RollingBack, version.as_ref(), Some(&seen));
        }
    }

    /// A start during probation: what was seen before counts only as far as it can still be true.
    fn watch_again(&mut self, plan: Plan, payload: Sha256, mut watch: Watch) {
        watch.starts = watch.starts.saturating_add(1);
        if watch.starts > STARTS_MOST {
            let reason = refusals::STARTS.with(watch.starts, format_args!("at most {STARTS_MOST}"));
            return self.roll_back(plan, reason, true);
        }
        let rebooted = watch.deadline.boot != self.now.moment.boot;
        let full = self.now.moment.after(self.settings.deadline);
        // The earlier of old and new: otherwise restarts would postpone it forever.
        if rebooted || full.secs < watch.deadline.secs {
            watch.deadline = full;
        }
        if rebooted {
            watch.process = None;
        }
        watch.healthy_since = None;
        watch.failures = 0;
        self.next.state = State::Probation { plan: plan.clone(), payload, watch };
        self.effects.push(Effect::Watch { plan, payload });
    }

    // ---- a trigger --------------------------------------------------------------------------------------------------

    fn trigger(&mut self, trigger: Trigger) {
        let patient = trigger.by != TriggerSource::Operator;
        match self.next.state.clone() {
            State::Idle => {
                let too_soon = self.next.checked.as_ref().is_some_and(|at| !at.after(GAP).reached(&self.now.moment));
                if patient && too_soon { self.keep(trigger) } else { self.check(trigger, Retry::default()) }
            }
            // Nothing is under way but a pause: what is asked for may have changed, so ask again.
            State::Checking { retry, .. } | State::Downloading { retry, .. } if retry.at.is_some() && !patient => {
                self.check(trigger, Retry { at: None, ..retry });
            }
            // An offline bundle that waits, for its wave perhaps, does not keep the network waiting: it is looked into again afterwards.
            State::Checking { trigger: asked, retry } if retry.at.is_some() && asked.source != trigger.source => {
                self.keep(asked);
                self.check(trigger, Retry::default());
            }
            State::Checking { trigger: asked, mut retry } if retry.at.is_some() => {
                if trigger.by == TriggerSource::Notice {
                    retry.at = earlier(retry.at, self.now.moment.after(GAP));
                    let hint = trigger.hint.or(asked.hint);
                    self.next.state = State::Checking { trigger: Trigger { hint, ..asked }, retry };
                }
            }
            State::Downloading { mut retry, .. } if retry.at.is_some() => {
                if trigger.by == TriggerSource::Notice {
                    // Like a pause between checks: sooner, but a storm of notices gets no storm of downloads.
                    retry.at = earlier(retry.at, self.now.moment.after(GAP));
                    self.next.state = State::Checking { trigger, retry };
                }
            }
            // Only a running release is a place to update from: the trigger waits until one runs. A person's trigger also tries now.
            State::Inconsistent { .. } => {
                self.keep(trigger);
                if !patient {
                    self.order_restore();
                }
            }
            State::Checking { .. }
            | State::Downloading { .. }
            | State::Staging { .. }
            | State::Staged { .. }
            | State::Activating { .. }
            | State::Probation { .. }
            | State::RollingBack { .. } => self.keep(trigger),
        }
    }

    /// Keeps a trigger for later. One is enough, because the check that follows sees the latest state. A person's has priority.
    fn keep(&mut self, trigger: Trigger) {
        let keep_old = self.next.trigger.as_ref().is_some_and(|old| old.by > trigger.by);
        if !keep_old {
            self.next.trigger = Some(trigger);
        }
    }

    // ---- time ----------------------------------------------------------------------------------------------------------

    fn wake(&mut self) {
        let due = wake_at(&self.next).is_some_and(|moment| moment.reached(&self.now.moment));
        if !due {
            return;
        }
        match self.next.state.clone() {
            State::Idle => self.enter_idle(),
            State::Checking { trigger, retry } => self.check(trigger, Retry { at: None, ..retry }),
            State::Downloading { plan, retry } => self.fetch(plan, Retry { at: None, ..retry }),
            State::Probation { plan, watch, .. } => {
                let reason = probation::overdue(&watch, self.settings, &self.now.moment);
                self.roll_back(plan, reason, true);
            }
            State::RollingBack { .. } | State::Inconsistent { .. } => self.order_restore(),
            State::Staging { .. } | State::Staged { .. } | State::Activating { .. } => {}
        }
    }

    // ---- what is kept for later ----------------------------------------------------------------------------------------

    /// What a person asked for while something was under way does not wait for the pause after its failure: that may last a day.
    fn run_pending_trigger(&mut self) {
        if let Some(trigger) = self.next.trigger.take_if(|trigger| trigger.by == TriggerSource::Operator) {
            self.check(trigger, Retry::default());
        }
    }

    /// Nor does what is to be looked for in another place than the one that has just failed.
    fn run_trigger_from_elsewhere(&mut self, failed: &Source) {
        if let Some(trigger) =
            self.next.trigger.take_if(|trigger| trigger.by == TriggerSource::Operator || trigger.source != *failed)
        {
            self.check(trigger, Retry::default());
        }
    }

    // ---- orders --------------------------------------------------------------------------------------------------------

    /// Returns to idle. A trigger that came meanwhile starts a check at once, unless one has just ended.
    fn enter_idle(&mut self) {
        self.next.state = State::Idle;
        if let Some(trigger) = self.next.trigger.clone() {
            let due = wake_at(&self.next).is_some_and(|moment| moment.reached(&self.now.moment));
            if due || trigger.by == TriggerSource::Operator {
                return self.check(trigger, Retry::default());
            }
        }
        self.schedule_repair();
    }

    fn check(&mut self, trigger: Trigger, retry: Retry) {
        // What is to be looked for elsewhere is not answered by this check.
        self.next.trigger.take_if(|kept| kept.source == trigger.source);
        if trigger.by != TriggerSource::Timer && retry.failures == 0 {
            self.emit(Event::Checking, trigger.hint.clone().as_ref(), None);
        }
        self.next.state = State::Checking { trigger: trigger.clone(), retry };
        match self.damaged_release() {
            // The check itself only reads. What has to change before it is an order of its own: see `damage`.
            Some(damaged) => self.effects.push(Effect::SetAside { damaged }),
            None => self.look(trigger),
        }
    }

    /// Orders the check proper.
    fn look(&mut self, trigger: Trigger) {
        let repair = self.damaged_release();
        self.effects.push(Effect::Check { trigger, repair });
    }

    fn fetch(&mut self, plan: Plan, retry: Retry) {
        self.next.state = State::Downloading { plan: plan.clone(), retry };
        self.effects.push(Effect::Fetch { plan });
    }

    fn stage(&mut self, plan: Plan) {
        self.next.state = State::Staging { plan: plan.clone() };
        self.effects.push(Effect::Stage { plan });
    }

    fn prepare(&mut self, plan: Plan, payload: Sha256) {
        self.next.state = State::Activating { plan: plan.clone(), payload, step: Activation::Preparing };
        // The committed release has never had the configuration back that this one found then.
        let keep_snapshot = self.next.damage.as_ref().is_some_and(|damage| damage.from.as_ref() == Some(&plan.slot));
        self.effects.push(Effect::Prepare { plan, payload, keep_snapshot });
    }

    fn switch(&mut self, plan: Plan, payload: Sha256) {
        self.next.state = State::Activating { plan: plan.clone(), payload, step: Activation::Switching };
        self.effects.push(Effect::Switch { plan, payload });
    }

    /// Leaves the release of `plan` and returns to the committed one.
    fn roll_back(&mut self, plan: Plan, reason: Refusal, block: bool) {
        // Before the link moved nothing of the new release ran: there is nothing to put back.
        let ran = !matches!(self.next.state, State::Activating { step: Activation::Preparing, .. });
        let blocked = block.then(|| Blocked {
            artifact: plan.artifact,
            version: plan.version.clone(),
            reason: reason.clone(),
            at: self.now.wall,
        });
        self.emit(Event::RollingBack, Some(&plan.version), Some(&reason));
        let from = ran.then(|| plan.slot.clone());
        self.restore(from, Some(plan), self.next.committed.clone(), reason, blocked);
    }

    /// The link was moved while nothing of ours was under way: the committed release comes back, its data stay. Unless it was damaged, and
    /// another release was left meanwhile: then that one wrote them last.
    fn restore_committed(&mut self, link: Option<SlotName>) {
        let to = self.next.committed.clone();
        let reason = refusals::LINK_MOVED.with(shown(link.as_ref()), shown(to.as_ref().map(|installed| &installed.slot)));
        self.emit(Event::RollingBack, to.clone().map(|installed| installed.version).as_ref(), Some(&reason));
        let from = self.next.damage.as_ref().and_then(|damage| damage.from.clone());
        self.restore(from, None, to, reason, None);
    }

    fn restore(
        &mut self,
        from: Option<SlotName>,
        plan: Option<Plan>,
        to: Option<Installed>,
        reason: Refusal,
        block: Option<Blocked>,
    ) {
        self.next.state = State::RollingBack { from, plan, to, reason, block, retry: Retry::default() };
        self.order_restore();
    }

    /// Orders the way back that the state names. Where it has failed often enough the program comes back without its configuration.
    fn order_restore(&mut self) {
        if let Some(retry) = self.restore_retry() {
            retry.at = None;
        }
        let (from, to, anyway) = match &self.next.state {
            State::RollingBack { from, to, .. } => (from.clone(), to.clone(), false),
            State::Inconsistent { from, to, .. } => (from.clone(), to.clone(), true),
            _ => return,
        };
        self.effects.push(Effect::Restore { from, to, anyway });
    }

    /// The retries of a way back.
    const fn restore_retry(&mut self) -> Option<&mut Retry> {
        match &mut self.next.state {
            State::RollingBack { retry, .. } | State::Inconsistent { retry, .. } => Some(retry),
            _ => None,
        }
    }

    /// The next try: doubled each time, half of it by chance, never sooner than the server asked. `None` when it has gone on too long.
    fn next_retry(&self, mut retry: Retry, advice: RetryAdvice) -> Option<Retry> {
        let since = retry.since.filter(|since| since.boot == self.now.moment.boot).unwrap_or_else(|| self.now.moment.clone());
        if advice == RetryAdvice::Never || self.now.moment.since(&since).is_some_and(|spent| spent >= GIVE_UP) {
            return None;
        }
        retry.at = Some(self.now.moment.after(pause(retry.failures, self.now.dice, advice)));
        retry.failures = retry.failures.saturating_add(1);
        retry.since = Some(since);
        Some(retry)
    }
}

/// Seconds to wait after `failures` earlier failures.
pub(super) fn pause(failures: u32, dice: u32, advice: RetryAdvice) -> u64 {
    let half = doubled(RETRY_FIRST, failures, RETRY_MOST).div_euclid(2);
    let chance = u64::from(dice).checked_rem(half.saturating_add(1)).unwrap_or(0);
    let pause = half.saturating_add(chance).max(1);
    if let RetryAdvice::After(secs) = advice { pause.max(secs.min(GIVE_UP)) } else { pause }
}

fn earlier(a: Option<Moment>, b: Moment) -> Option<Moment> {
    Some(match a {
        Some(a) if a.boot == b.boot && a.secs < b.secs => a,
        _ => b,
    })
}

fn shown<T: std::fmt::Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), ToString::to_string)
}
