//! The machine's reasons to refuse or roll back, each with its stable code.

slipway_protocol::refusals! {
    pub ASKED = "SLW-A-ASKED", Policy, Operator, "release was rolled back by hand",
        "run `slipway-agent unblock` to let the release be tried again";
    pub CALLED_OFF = "SLW-A-CALLED-OFF", Policy, Operator, "update was canceled by hand",
        "publish a notice or run `slipway-agent check` when it should continue";
    pub CHECK = "SLW-A-CHECK", Health, Builder, "required health check failed during probation",
        "read the component's log; run `slipway-agent unblock` to try the release again";
    pub BLOCKED = "SLW-A-CONDEMNED", Policy, Operator, "artifact is blocked on this device, where it failed before",
        "release a fixed version, or run `slipway-agent unblock` to try this one again";
    pub DEADLINE = "SLW-A-DEADLINE", Health, Builder, "release was not healthy before the probation deadline",
        "read the component's log and its health checks; raise `deadline` only if it is healthy but slow";
    pub DIED = "SLW-A-DIED", Health, Builder, "process died during probation",
        "read the evidence and the component's log; release a fixed version";
    pub FLOOR = "SLW-A-FLOOR", Rollback, Operator, "version is below the version floor",
        "point the channel at a release that is not older than what this device has committed";
    pub FREEZE = "SLW-A-FREEZE", Freeze, Operator, "notice named a newer release than the repository shows",
        "wait if the repository is still being published or the channel went back on purpose; otherwise find out why \
         this device is shown an old repository";
    pub HALTED = "SLW-A-HALTED", Policy, Operator, "rollout was halted by the operator",
        "resume the channel when devices should continue; on this device there is nothing to do";
    pub BACKOFF_SECS = "SLW-A-HELD-OFF", System, Device, "device could not activate the release",
        "fix what is named here, then run `slipway-agent check`, or wait: the agent tries again after a pause that \
         doubles up to a day";
    pub LINK_MOVED = "SLW-A-LINK-MOVED", System, Device, "link `current` does not name the recorded slot",
        "find out who changed the link; the agent restores it";
    pub NOTHING_BEFORE = "SLW-A-NOTHING-BEFORE", Configuration, Operator, "no previous release to roll back to",
        "point the channel at another release instead";
    pub RESTARTED = "SLW-A-RESTARTED", Health, Builder, "process was restarted during probation",
        "read the evidence and the component's log; release a fixed version";
    pub SAME_VERSION = "SLW-A-SAME-VERSION", MixAndMatch, Operator, "version has two different artifacts",
        "release the changed artifact under a new version";
    pub STARTS = "SLW-A-STARTS", Health, Builder, "device started too often during probation",
        "find out what restarts the device; run `slipway-agent unblock` to try the release again";
    pub WAVE = "SLW-A-WAVE", Policy, Operator, "rollout has not reached this device yet",
        "wait: the device takes the release when its wave begins";
}

/// What a person asked for, where that is the reason in a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ByHand {
    /// The release before was to come back.
    RolledBack,
    /// The update was to end.
    CalledOff,
}

impl ByHand {
    /// Reads the reason of a record; `None` for all others.
    #[must_use]
    pub fn of(reason: &slipway_protocol::Refusal) -> Option<Self> {
        reason.find(&[(ASKED, Self::RolledBack), (CALLED_OFF, Self::CalledOff)])
    }
}
