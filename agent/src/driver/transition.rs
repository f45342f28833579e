//! One transition: decided and durable, not yet acted on.

use slipway_machine::record::Record;
use slipway_machine::time::Now;
use slipway_machine::{Effect, Input, ReportDraft, Settings};
use slipway_protocol::json::Members;
use slipway_protocol::{ComponentName, Event, FleetName, NodeName, Refusal, Report, Version};

use crate::crashpoint::crashpoint;
use crate::storage::store::Store;

/// Who reports: the same for every report while the agent runs.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// The device.
    pub node: NodeName,
    /// Its fleet.
    pub fleet: FleetName,
}

/// What is durable, and what is to be done about it.
#[derive(Debug)]
pub struct Committed {
    /// The record as the store has it.
    pub record: Record,
    /// The reports as the store has them, with their numbers.
    pub reports: Vec<Report>,
    /// What to carry out, each stamped with the record's epoch.
    pub effects: Vec<Effect>,
}

/// Decides about one input, and makes record and reports durable in one commit. `None` when the input changes nothing.
///
/// `evidence` is what was last seen of an unhealthy component; the report that a rollback begins carries it.
///
/// # Errors
/// Nothing is durable, and nothing may be done.
pub fn commit(
    store: &mut Store,
    reporter: &Reporter,
    settings: &Settings,
    record: &Record,
    input: Input,
    evidence: &str,
    now: &Now,
) -> Result<Option<Committed>, Refusal> {
    let t = slipway_machine::step(settings, record, input, now);
    if t.next == *record && t.events.is_empty() && t.effects.is_empty() {
        return Ok(None);
    }
    let from = record.committed.as_ref().map(|installed| installed.version.clone());
    let draft = |draft: &ReportDraft| {
        let text = Some(evidence).filter(|text| draft.event == Event::RollingBack && !text.is_empty()).map(ToOwned::to_owned);
        reporter.report(&record.component, now, state_after(draft, &t.next), draft, from.clone(), text)
    };
    let drafts = t.events.iter().map(draft).collect();
    crashpoint!("record: before {}", t.next.state.name());
    let stored = store.commit(&t.next, drafts);
    crashpoint!("record: after {}", t.next.state.name());
    Ok(Some(Committed { reports: stored?, record: t.next, effects: t.effects }))
}

impl Reporter {
    /// A report without a number: the store gives it one.
    pub(super) fn report(
        &self,
        component: &ComponentName,
        now: &Now,
        state: &str,
        draft: &ReportDraft,
        from: Option<Version>,
        text: Option<String>,
    ) -> Report {
        Report {
            v: 1,
            node: self.node.clone(),
            fleet: self.fleet.clone(),
            seq: 0,
            boot: Some(now.moment.boot.0.clone()),
            time: now.wall,
            component: component.clone(),
            event: draft.event,
            state: state.to_owned(),
            from,
            to: draft.to.clone(),
            percent: None,
            refusal: draft.refusal.clone(),
            text,
            signature: None,
            more: Members::new(),
        }
    }
}

/// The state a report speaks of. A transition may pass through several at once; the last one counts, except for what was just reached.
fn state_after(draft: &ReportDraft, next: &Record) -> &'static str {
    match draft.event {
        Event::Staged => "staged",
        Event::Staging => "staging",
        Event::Downloading => "downloading",
        _ => next.state.name(),
    }
}
