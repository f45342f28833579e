//! The loop: passes inputs to the machine, makes its record durable, then has the effects carried out.
//!
//! ```text
//! broker, timer, socket, finished effects ─▶ step ─▶ store (durable) ─▶ effects, reports
//! ```

use crate::clock;
use crate::config::{Component, Config};
use crate::control::{Request, Response};
use crate::crashpoint::crashpoint;
use crate::effects::Executor;
use crate::logging;
use crate::mqtt::{FromBroker, ToBroker};
use slipway_machine::record::{Record, SlotName, Source, State, Trigger, TriggerSource};
use slipway_machine::time::Moment;
use slipway_machine::{Effect, EffectAnswer, Input};
use slipway_protocol::{ComponentName, Event, NodeName, Refusal, Sha256};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use transition::{Committed, Reporter};

mod integrity;
pub(crate) mod messages;
pub mod transition;

/// Longest sleep: deadlines are on a clock that goes on while the device is suspended, timers are not.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How often committed plain processes are looked at.
const LOOK_AFTER: Duration = Duration::from_secs(3);
/// A record that could not be made durable is tried again this often: the disk may be full for days.
const STORE_AGAIN: Duration = Duration::from_secs(2);
/// How long saying goodbye to the broker may take.
const GOODBYE: Duration = Duration::from_secs(4);

/// What a finished or running effect tells the loop.
#[derive(Debug)]
enum EffectOutcome {
    Answer { component: ComponentName, epoch: u64, answer: EffectAnswer, evidence: String },
    Progress { component: ComponentName, epoch: u64, percent: u8 },
    Damaged { component: ComponentName, slot: SlotName, reason: Refusal },
}

/// A component while the agent runs.
#[derive(Debug)]
struct Live {
    config: Component,
    record: Record,
    /// The task of the current order, if nobody would miss it.
    task: Option<AbortHandle>,
    /// When the timer triggers the next check.
    timer: Moment,
    /// What was last seen of a component that was not well: goes into the report of its rollback.
    evidence: String,
    progressed: Option<Moment>,
    /// When the slot of the committed release was last read.
    read: Option<Moment>,
}

/// A request that is still being answered.
#[derive(Debug)]
struct Follower {
    component: ComponentName,
    to: mpsc::Sender<Response>,
}

/// Everything the loop owns.
#[derive(Debug)]
pub struct Driver {
    reporter: Reporter,
    refresh: Duration,
    /// Whether a repository is configured, in which the timer can check.
    polls: bool,
    executor: Rc<Executor>,
    live: BTreeMap<ComponentName, Live>,
    mode: Mode,
    outcomes: (mpsc::UnboundedSender<EffectOutcome>, mpsc::UnboundedReceiver<EffectOutcome>),
    broker: Option<(mpsc::Sender<ToBroker>, mpsc::Receiver<FromBroker>)>,
    connected: bool,
    /// The newest report offered to the broker on this connection.
    offered: u64,
    followers: Vec<Follower>,
    /// What happened while the disk would not take it.
    backlog: Vec<(ComponentName, Input)>,
}

/// Whether what an input changed is durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Durable {
    /// It is, or it changed nothing.
    Yes,
    /// The disk did not take it; it is tried again.
    NotYet,
}

/// Why the loop runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Until a signal: the service.
    Service,
    /// Until the requested work is done: for commands such as `install` without a service.
    OneShot,
}

impl Driver {
    /// Continues every component from its record.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn new(config: &Config, node: NodeName, executor: Executor, mode: Mode) -> Result<Self, Refusal> {
        let now = clock::now();
        let mut live = BTreeMap::new();
        for component in &config.components {
            let record = executor.store.borrow().record(&component.name).unwrap_or_else(|| Record::new(component.name.clone()));
            // Soon after the start, but not all devices of a fleet at once after a power cut in the factory.
            let first = first_refresh(config.repository.refresh, now.dice);
            let timer = now.moment.after(first);
            let live_component = Live {
                config: component.clone(),
                record,
                task: None,
                timer,
                evidence: String::new(),
                progressed: None,
                read: None,
            };
            live.insert(component.name.clone(), live_component);
        }
        Ok(Self {
            reporter: Reporter { node, fleet: config.node.fleet.clone() },
            refresh: config.repository.refresh,
            polls: config.repository.url.is_some(),
            executor: Rc::new(executor),
            live,
            mode,
            outcomes: mpsc::unbounded_channel(),
            broker: None,
            connected: false,
            offered: 0,
            followers: Vec::new(),
            backlog: Vec::new(),
        })
    }

    /// Connects the loop to a broker.
    pub fn set_broker(&mut self, broker: (mpsc::Sender<ToBroker>, mpsc::Receiver<FromBroker>)) {
        self.broker = Some(broker);
    }

    /// Tells what was damaged on the disk and is healed: whoever looks after the device has to hear of it.
    pub fn healed(&mut self, found: Vec<Refusal>) {
        for refusal in found {
            for component in self.names() {
                self.input(&component, Input::Healed(refusal.clone()));
            }
        }
    }

    /// Adopts what ran before Slipway, where that is configured and nothing is committed yet.
    ///
    /// # Errors
    /// When it cannot be adopted: an agent that went on would begin with an update that has no way back.
    pub fn adopt(&mut self) -> Result<(), Refusal> {
        for component in self.driven() {
            let new = self.live.get(&component).is_some_and(|live| live.record.committed.is_none());
            if new && let Some(adopted) = self.executor.adopt(&component)? {
                self.input(&component, Input::Adopted(adopted));
            }
        }
        Ok(())
    }

    /// Runs until `stop` resolves, or in [`Mode::OneShot`] until there is nothing to do. Must run inside a `LocalSet`.
    pub async fn run(&mut self, mut requests: mpsc::Receiver<(Request, mpsc::Sender<Response>)>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let watchdog = watchdog_interval();
        let mut alive = tokio::time::interval(watchdog.unwrap_or(LONGEST_SLEEP));
        let mut look_after = tokio::time::interval(LOOK_AFTER);
        look_after.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let plain = self.live.values().any(|live| matches!(live.config.run.run, crate::process::supervisor::Run::Command { .. }));
        for component in self.driven() {
            if let Some(failed) = self.executor.restored_for(&component) {
                if let Some(live) = self.live.get_mut(&component) {
                    live.evidence = failed.evidence;
                }
                self.input(&component, Input::RestoredByUnit(failed.reason));
            }
            let link = self.executor.slots.current(&component).unwrap_or_else(|refusal| {
                tracing::warn!(%component, %refusal, "link `current` is not valid");
                None
            });
            self.input(&component, Input::Started { link });
            match self.mode {
                Mode::Service => self.read_slot(&component),
                // Whoever waits for one command's answer wants it to be about what is really there.
                Mode::OneShot => self.read_slot_now(&component).await,
            }
        }
        if self.mode == Mode::Service {
            let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
        }
        let mut due = in_future(LONGEST_SLEEP);
        loop {
            if self.mode == Mode::OneShot && self.followers.is_empty() && requests.is_closed() && requests.is_empty() {
                break;
            }
            // What comes in between must not put it off: a person who looks every second would stop all retries.
            due = due.min(in_future(self.sleep()));
            tokio::select! {
                () = &mut stop => break,
                Some(outcome) = self.outcomes.1.recv() => self.on_outcome(outcome),
                message = from_broker(&mut self.broker) => match message {
                    Some(message) => self.broker_says(message),
                    None => {
                        // Without MQTT the node looks healthy but receives no notices. The service manager restarts the agent.
                        tracing::error!("MQTT task ended unexpectedly; stopping the agent");
                        break;
                    }
                },
                Some((request, to)) = requests.recv() => self.request(request, to),
                _ = alive.tick(), if watchdog.is_some() => {
                    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Watchdog]);
                }
                _ = look_after.tick(), if plain => self.look_after(),
                () = tokio::time::sleep_until(due) => {
                    due = in_future(LONGEST_SLEEP);
                    self.tick();
                }
            }
        }
        if let Some((to, mut from)) = self.broker.take() {
            let goodbye = async {
                let _ = to.send(ToBroker::Stop).await;
                while from.recv().await.is_some() {}
            };
            // A broker that does not answer must not hold up a shutdown.
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        }
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    }

    fn names(&self) -> Vec<ComponentName> {
        self.live.keys().cloned().collect()
    }

    /// The components that this process carries on with. The agent itself is its service's: a command that did it would take its own
    /// program for what systemd started, and condemn a good release while systemd is between two starts.
    fn driven(&self) -> Vec<ComponentName> {
        self.live.values().filter(|live| self.drives(live)).map(|live| live.config.name.clone()).collect()
    }

    fn drives(&self, live: &Live) -> bool {
        self.mode == Mode::Service || !live.config.is_agent()
    }

    // ---- one input ---------------------------------------------------------------------------------------------------

    /// The heart: decide, make durable, then act.
    fn input(&mut self, component: &ComponentName, input: Input) -> Durable {
        if matches!(input, Input::Trigger(_) | Input::Rollback) {
            self.miss_slot(component);
        }
        let now = clock::now();
        let Some(live) = self.live.get_mut(component) else { return Durable::Yes };
        if matches!(
            &input,
            Input::Trigger(Trigger { by: TriggerSource::Timer | TriggerSource::Operator, source: Source::Network, .. })
        ) {
            // Not for a notice: whoever sends those must not be able to put the timer off.
            live.timer = now.moment.after(next_refresh(self.refresh, now.dice));
        }
        let settings = live.config.machine();
        let evidence = std::mem::take(&mut live.evidence);
        let mut store = self.executor.store.borrow_mut();
        let committed = transition::commit(&mut store, &self.reporter, &settings, &live.record, input.clone(), &evidence, &now);
        drop(store);
        let Committed { record, reports, effects } = match committed {
            Ok(Some(committed)) => committed,
            Ok(None) => {
                live.evidence = evidence;
                return Durable::Yes;
            }
            Err(refusal) => {
                tracing::error!(%component, %refusal, "state could not be persisted; retrying before acting");
                live.evidence = evidence;
                // Looks and moments come again by themselves.
                let comes_again = matches!(input, Input::Wake | Input::Answer { answer: EffectAnswer::Sampled(_), .. });
                let waits = (component.clone(), input);
                if !comes_again && !self.backlog.contains(&waits) {
                    self.backlog.push(waits);
                }
                return Durable::NotYet;
            }
        };
        if record.epoch != live.record.epoch
            && let Some(task) = live.task.take()
        {
            task.abort();
        }
        live.record = record;
        let epoch = live.record.epoch;
        for report in &reports {
            logging::report(report);
        }
        let committed = reports.iter().any(|report| report.event == Event::Committed);
        self.send_reports(component, reports);
        if committed {
            // What was changed while it was watched is found now, and not tomorrow.
            self.confirm_slot(component);
        }
        for effect in effects {
            self.order(component, epoch, effect);
        }
        Durable::Yes
    }

    /// Has an effect carried out. What only looks may be given up when a newer order comes; what changes something runs to its end.
    fn order(&mut self, component: &ComponentName, epoch: u64, effect: Effect) {
        crashpoint!("effect: before {}", slipway_machine::name(&effect));
        if let Effect::Collect { keep } = &effect {
            let downloads: Vec<Sha256> = self.live.values().filter_map(|live| downloading(&live.record.state)).collect();
            self.executor.collect(component, keep, &downloads);
            crashpoint!("effect: after {}", slipway_machine::name(&effect));
            return;
        }
        let (executor, outcomes, name) = (Rc::clone(&self.executor), self.outcomes.0.clone(), component.clone());
        let abortable = effect.abortable();
        let task = tokio::task::spawn_local(async move {
            if let Effect::Watch { plan, payload } = &effect {
                loop {
                    if let Some((sample, evidence)) = executor.look(&name, plan, *payload).await {
                        let answer = EffectAnswer::Sampled(sample);
                        let _ = outcomes.send(EffectOutcome::Answer { component: name.clone(), epoch, answer, evidence });
                    }
                    tokio::time::sleep(executor.interval(&name)).await;
                }
            }
            let mut progress = |percent| {
                let _ = outcomes.send(EffectOutcome::Progress { component: name.clone(), epoch, percent });
            };
            let answer = executor.perform(&name, &effect, &mut progress).await;
            crashpoint!("effect: after {}", slipway_machine::name(&effect));
            if let Some(answer) = answer {
                let _ = outcomes.send(EffectOutcome::Answer { component: name, epoch, answer, evidence: String::new() });
            }
        });
        if abortable && let Some(live) = self.live.get_mut(component) {
            live.task = Some(task.abort_handle());
        }
    }

    fn on_outcome(&mut self, outcome: EffectOutcome) {
        match outcome {
            EffectOutcome::Answer { component, epoch, answer, evidence } => {
                if let Some(live) = self.live.get_mut(&component)
                    && !evidence.is_empty()
                {
                    live.evidence = evidence;
                }
                self.input(&component, Input::Answer { epoch, answer });
            }
            EffectOutcome::Damaged { component, slot, reason } => {
                self.damaged(&component, slot, reason);
            }
            EffectOutcome::Progress { component, epoch, percent } => self.progress(&component, epoch, percent),
        }
    }

    // ---- time ----------------------------------------------------------------------------------------------------------

    fn sleep(&self) -> Duration {
        if !self.backlog.is_empty() || self.executor.store.borrow().degraded().is_some() {
            return STORE_AGAIN;
        }
        let now = clock::now();
        let wakes = self.live.values().filter(|live| self.drives(live)).filter_map(|live| slipway_machine::wake_at(&live.record));
        let timers = self.live.values().filter(|_| self.polls && self.mode == Mode::Service).map(|live| live.timer.clone());
        let until = |moment: Moment| if moment.reached(&now.moment) { 0 } else { moment.since(&now.moment).unwrap_or(0) };
        wakes.chain(timers).map(until).min().map_or(LONGEST_SLEEP, |secs| LONGEST_SLEEP.min(Duration::from_secs(secs)))
    }

    fn tick(&mut self) {
        for (component, input) in std::mem::take(&mut self.backlog) {
            self.input(&component, input);
        }
        let now = clock::now();
        if self.executor.store.borrow().degraded().is_some() && self.executor.store.borrow_mut().recover() {
            tracing::info!("database is writable again");
        }
        for component in self.driven() {
            let Some(live) = self.live.get_mut(&component) else { continue };
            let wake = slipway_machine::wake_at(&live.record).is_some_and(|moment| moment.reached(&now.moment));
            let triggers = self.polls && self.mode == Mode::Service && live.timer.reached(&now.moment);
            if wake {
                self.input(&component, Input::Wake);
            }
            if triggers {
                self.read_slot_daily(&component);
                self.input(&component, Input::Trigger(Trigger { by: TriggerSource::Timer, source: Source::Network, hint: None }));
            }
        }
    }
}

/// The runtime's own idea of a moment: what it sleeps until.
fn in_future(pause: Duration) -> tokio::time::Instant {
    let now = tokio::time::Instant::now();
    now.checked_add(pause).unwrap_or(now)
}

async fn from_broker(broker: &mut Option<(mpsc::Sender<ToBroker>, mpsc::Receiver<FromBroker>)>) -> Option<FromBroker> {
    match broker {
        Some((_, from)) => from.recv().await,
        None => std::future::pending().await,
    }
}

fn downloading(state: &State) -> Option<Sha256> {
    match state {
        State::Downloading { plan, .. } | State::Staging { plan } => Some(plan.artifact),
        _ => None,
    }
}

fn plan_version(state: &State) -> Option<slipway_protocol::Version> {
    state.plan().map(|plan| plan.version.clone())
}

/// Seconds to the first look after a start: within half a minute, or a tenth of the interval if that is less.
fn first_refresh(refresh: Duration, dice: u32) -> u64 {
    let most = refresh.as_secs().div_euclid(10).min(30);
    u64::from(dice).checked_rem(most.saturating_add(1)).unwrap_or(0)
}

/// Seconds to the next look: the interval less up to a fifth by chance.
fn next_refresh(refresh: Duration, dice: u32) -> u64 {
    let secs = refresh.as_secs();
    let fifth = secs.div_euclid(5);
    secs.saturating_sub(u64::from(dice).checked_rem(fifth.saturating_add(1)).unwrap_or(0)).max(1)
}

/// Half of what systemd allows between two signs of life; `None` where nobody watches.
fn watchdog_interval() -> Option<Duration> {
    let mut micros = 0;
    sd_notify::watchdog_enabled(false, &mut micros).then(|| Duration::from_micros(micros.div_euclid(2).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_spreads_its_refreshes() {
        let hour = Duration::from_secs(3600);
        for dice in [0, 1, 719, 720, 721, u32::MAX] {
            assert!((2880..=3600).contains(&next_refresh(hour, dice)), "{dice}");
            assert!(first_refresh(hour, dice) <= 30);
        }
        assert_ne!(next_refresh(hour, 1), next_refresh(hour, 500));
        assert_eq!(next_refresh(Duration::from_secs(1), u32::MAX), 1);
    }
}
