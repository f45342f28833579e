//! The machine's own reasons to refuse or undo, each with its stable code.

use slipway_protocol::{Actor, Class, Refusal};

/// Somebody on the device asked to go back.
pub const ASKED: Refusal = Refusal::of(
    "SLW-A-ASKED",
    Class::Policy,
    Actor::Operator,
    "rollback by hand",
    "`slipway-agent forgive` lets the left release be tried again",
);
/// Somebody on the device called the update off.
pub const CALLED_OFF: Refusal = Refusal::of(
    "SLW-A-CALLED-OFF",
    Class::Policy,
    Actor::Operator,
    "update called off by hand",
    "ring again, or run `slipway-agent check`, when it should go on",
);
/// A required health check failed.
pub const CHECK: Refusal = Refusal::of(
    "SLW-A-CHECK",
    Class::Health,
    Actor::Builder,
    "required health check during probation",
    "read the component's log; `slipway-agent forgive` tries the release again",
);
/// The artifact failed here before.
pub const CONDEMNED: Refusal = Refusal::of(
    "SLW-A-CONDEMNED",
    Class::Policy,
    Actor::Operator,
    "artifact condemned on this device",
    "release a fixed version, or let it be tried again with `slipway-agent forgive`",
);
/// Not healthy in time.
pub const DEADLINE: Refusal = Refusal::of(
    "SLW-A-DEADLINE",
    Class::Health,
    Actor::Builder,
    "probation deadline",
    "read the component's log and its health checks; raise `deadline` only if it is healthy but slow",
);
/// The process died.
pub const DIED: Refusal = Refusal::of(
    "SLW-A-DIED",
    Class::Health,
    Actor::Builder,
    "process during probation",
    "read the evidence and the component's log; release a fixed version",
);
/// Older than acceptable.
pub const FLOOR: Refusal = Refusal::of(
    "SLW-A-FLOOR",
    Class::Rollback,
    Actor::Operator,
    "version floor",
    "point the channel at a release that is not older than what this device has committed",
);
/// A notice named a newer release than the repository shows.
pub const FREEZE: Refusal = Refusal::of(
    "SLW-A-FREEZE",
    Class::Freeze,
    Actor::Operator,
    "the release that the notice named",
    "nothing if the repository is still being published, or the channel went back on purpose; else find out why this device is shown an old one",
);
/// The rollout is halted.
pub const HALTED: Refusal = Refusal::of(
    "SLW-A-HALTED",
    Class::Policy,
    Actor::Operator,
    "rollout halted by the operator",
    "nothing on this device; the operator resumes the channel",
);
/// The device kept it from being activated.
pub const HELD_OFF: Refusal = Refusal::of(
    "SLW-A-HELD-OFF",
    Class::System,
    Actor::Device,
    "the device's own trouble with activating it",
    "mend what is named here, then run `slipway-agent check`, or wait: it is tried again after a pause that doubles up to a day",
);
/// `current` does not name what the record says.
pub const LINK_MOVED: Refusal = Refusal::of(
    "SLW-A-LINK-MOVED",
    Class::System,
    Actor::Device,
    "the link `current`",
    "nothing: it is put back; find out who moved it",
);
/// There is no release to go back to.
pub const NOTHING_BEFORE: Refusal = Refusal::of(
    "SLW-A-NOTHING-BEFORE",
    Class::Configuration,
    Actor::Operator,
    "previous release to go back to",
    "point the channel at another release instead",
);
/// The service manager restarted it.
pub const RESTARTED: Refusal = Refusal::of(
    "SLW-A-RESTARTED",
    Class::Health,
    Actor::Builder,
    "process stability during probation",
    "read the evidence and the component's log; release a fixed version",
);
/// One version, two artifacts.
pub const SAME_VERSION: Refusal = Refusal::of(
    "SLW-A-SAME-VERSION",
    Class::MixAndMatch,
    Actor::Operator,
    "a version has one artifact",
    "release the changed artifact under a new version",
);
/// Too many starts during probation.
pub const STARTS: Refusal = Refusal::of(
    "SLW-A-STARTS",
    Class::Health,
    Actor::Builder,
    "starts of the device during probation",
    "find out what restarts the device; `slipway-agent forgive` tries the release again",
);
/// The rollout has not come this far.
pub const WAVE: Refusal = Refusal::of(
    "SLW-A-WAVE",
    Class::Policy,
    Actor::Operator,
    "rollout wave",
    "nothing: the device takes the release when its wave begins",
);
