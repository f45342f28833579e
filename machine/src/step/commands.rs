//! Commands of a person on the device: rollback, cancel, unblock.

use super::{Draft, refusals, shown};
use crate::record::{Blocked, State};
use slipway_protocol::{Event, Sha256, Version};

impl Draft<'_> {
    pub(super) fn rollback(&mut self) {
        match self.next.state.clone() {
            // A check is no update yet: one that is under way, or has waited for the network all day, is not what is to be undone.
            State::Idle | State::Checking { .. } => match (self.next.committed.clone(), self.next.previous.clone()) {
                (Some(current), Some(previous)) => {
                    let reason = refusals::ASKED.with(&current.version, &previous.version);
                    // A damaged one was replaced for that, and may return.
                    let block = self.next.damage.is_none().then(|| Blocked {
                        artifact: current.artifact,
                        version: current.version.clone(),
                        reason: reason.clone(),
                        at: self.now.wall,
                    });
                    self.emit(Event::RollingBack, Some(&current.version), Some(&reason));
                    self.restore(Some(current.slot), None, Some(previous), reason, block);
                }
                _ if self.next.state != State::Idle => self.cancel(None),
                (current, _) => {
                    let version = current.map(|installed| installed.version);
                    let refusal = refusals::NOTHING_BEFORE.with("none", "a previous release");
                    self.end(Event::Refused, version.as_ref(), Some(&refusal), true);
                }
            },
            State::Downloading { plan, .. } | State::Staging { plan } | State::Staged { plan, .. } => {
                self.cancel(Some(plan.version))
            }
            State::Activating { plan, .. } | State::Probation { plan, .. } => {
                let reason = refusals::CALLED_OFF.with(&plan.version, "an update that nobody cancels");
                self.roll_back(plan, reason, true);
            }
            State::RollingBack { .. } | State::Inconsistent { .. } => self.order_restore(),
        }
    }

    /// Ends an update that has not touched anything that runs. The epoch moves on, so that what is still under way is not heard.
    fn cancel(&mut self, version: Option<Version>) {
        let refusal = refusals::CALLED_OFF.with(shown(version.as_ref()), "an update that nobody cancels");
        self.next.state = State::Idle;
        self.next.trigger = None;
        self.next.epoch = self.next.epoch.wrapping_add(1);
        self.end(Event::Refused, version.as_ref(), Some(&refusal), true);
        self.collect();
        self.enter_idle();
    }

    pub(super) fn unblock(&mut self, artifact: Option<Sha256>) {
        let (unblocked, kept) =
            std::mem::take(&mut self.next.blocked).into_iter().partition(|c: &Blocked| artifact.is_none_or(|a| a == c.artifact));
        self.next.blocked = kept;
        let unblocked: Vec<Blocked> = unblocked;
        for blocked in &unblocked {
            self.emit(Event::Unblocked, Some(&blocked.version), Some(&blocked.reason));
        }
        if !unblocked.is_empty() {
            self.next.last = None;
        }
    }
}
