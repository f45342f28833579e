//! Decides what a component's update does next, in one pure function.
//!
//! The agent carries out its decisions.
//!
//! [`step`] takes what is remembered, what happened and the time; it answers with what to remember and what to do. The caller
//! makes the new record durable *before* it carries out an effect, so that after a power cut at any instruction [`Input::Started`]
//! finds the order in the record and gives it again. Effects are therefore idempotent. An answer carries the epoch of the record
//! that ordered it; an answer to an older order is dropped.
//!
//! ```text
//! Idle ─trigger▶ Checking ─▶ Downloading ─▶ Staging ─▶ Staged ─▶ Activating ─▶ Probation ──▶ Idle (committed)
//!   ▲               │             │            │          │        │   │            │
//!   └───refused─────┴─────────────┴────────────┘          └────────┴───┴──▶ RollingBack ──▶ Idle (rolled back)
//!                                                                                └──▶ Inconsistent (tried again)
//! ```
//!
//! Only `Idle` lasts. What ends each other state, when at the latest, and what a start of the agent does in it:
//!
//! | state | what ends it | at the latest | after a start |
//! |---|---|---|---|
//! | Checking | the answer of set-aside, adopt-again or check; in a pause, time | each request has a time limit; pauses up to `RETRY_MOST`, given up after `GIVE_UP` | checked again |
//! | Downloading | the download's answer; in a pause, time | a minimum speed; pauses as above, given up after `GIVE_UP` | continues at its last durable byte |
//! | Staging, Staged | the slot's answer | as long as the disk takes | staged again, prepared |
//! | Activating | the answer of prepare or switch | stop and start have time limits | prepared or switched again |
//! | Probation | samples | `deadline`, which restarts do not stretch; `starts` of them at most | watched again, or rolled back |
//! | RollingBack | the answer of restore; in a pause, time | five tries, then Inconsistent | tried again at once |
//! | Inconsistent | time, or a person | tried every `RETRY_MOST` at most, without end | tried again at once |
//!
//! [`record::Record::damage`] goes with all of these: while the committed release is not in its slot, `Draft::enter_idle` does not come to rest in
//! `Idle` but in a pause of Checking, in which that very release is looked for.

pub mod record;
pub mod refusals;
pub mod time;

mod probation;
#[cfg(test)]
mod restart;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow in a test fails the test")]
mod simulation;
mod step;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow in a test fails the test")]
mod table;
mod types;

pub use probation::{Judgement, judge};
pub use step::{step, wake_at};
#[cfg(debug_assertions)]
pub use types::name;
pub use types::{
    Candidate, CheckOutcome, Effect, EffectAnswer, EffectFailure, HeldRelease, HoldReason, Input, ReportDraft, RetryAdvice,
    Settings, SlotCondition, Transition,
};

/// Every refusal of this crate; `docs/CODES.md` lists them.
pub const REFUSALS: &[&[slipway_protocol::Refusal]] = &[refusals::REFUSALS];
