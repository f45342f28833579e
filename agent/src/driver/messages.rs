//! Messages of the driver: reports to broker and commands, notices, requests on the device.

use super::{Driver, Durable, Follower, Live, first_refresh, plan_version};
use crate::clock;
use crate::control::{Request, Response, Unblocked};
use crate::mqtt::{FromBroker, ToBroker, WINDOW};
use crate::status::{ComponentStatus, Role, Status, UNKNOWN_COMPONENT};
use slipway_machine::record::{Blocked, Source, State, Trigger, TriggerSource};
use slipway_machine::{Input, ReportDraft};
use slipway_protocol::{ComponentName, Event, Notice, Report, Sha256};
use slipway_verify::tuf::RoleState;
use std::rc::Rc;
use tokio::sync::mpsc;

slipway_protocol::refusals! {
    NOT_YET = "SLW-A-STORE-BEHIND", System, Device, "command could not be saved yet",
        "free some space: the command is carried out as soon as the disk accepts it";
    NO_SERVICE = "SLW-A-SELF-SERVICE", Configuration, Operator, "agent cannot update itself without its service",
        "start slipway-agent.service, and run the command again";
}

/// Least time between two progress reports of one component.
const PROGRESS_SECS: u64 = 1;

impl Driver {
    /// At most one a second, never stored: what matters is where it is now.
    pub(super) fn progress(&mut self, component: &ComponentName, epoch: u64, percent: u8) {
        let now = clock::now();
        let Some(live) = self.live.get_mut(component).filter(|live| live.record.epoch == epoch) else { return };
        let fresh = live.progressed.as_ref().and_then(|at| now.moment.since(at)).is_some_and(|secs| secs < PROGRESS_SECS);
        if fresh {
            return;
        }
        live.progressed = Some(now.moment.clone());
        let draft = ReportDraft { event: Event::Progress, to: plan_version(&live.record.state), refusal: None };
        let state = live.record.state.name();
        let from = live.record.committed.as_ref().map(|installed| installed.version.clone());
        let mut report = self.reporter.report(component, &now, state, &draft, from, None);
        report.percent = Some(percent);
        if let Some((to, _)) = &self.broker
            && self.connected
        {
            let _ = to.try_send(ToBroker::Progress(report.clone()));
        }
        self.show(component, &report);
    }

    /// Whoever does not listen any more is let go.
    fn show(&mut self, component: &ComponentName, report: &Report) {
        self.followers.retain(|follower| {
            follower.component != *component || follower.to.try_send(Response::Report(report.clone())).is_ok()
        });
    }

    pub(super) fn send_reports(&mut self, component: &ComponentName, reports: Vec<Report>) {
        let ends = |event| {
            use Event::{Committed, Inconsistent, Refused, RolledBack, UpToDate};
            matches!(event, Committed | Inconsistent | Refused | RolledBack | UpToDate)
        };
        let ended = reports.iter().any(|report| ends(report.event));
        for report in &reports {
            self.show(component, report);
        }
        self.offer();
        // A wave may be days away, and so may a network that is down: what to look for is not known yet, so nothing is under way.
        let settled = self.live.get(component).is_none_or(|live| match &live.record.state {
            State::Idle | State::Inconsistent { .. } => true,
            State::Checking { retry, .. } if retry.at.is_some() => true,
            // The requested work has ended, and another trigger had come meanwhile; a person's own trigger is not answered yet.
            State::Checking { trigger, .. } => ended && trigger.by != TriggerSource::Operator,
            _ => false,
        });
        if settled {
            let ending = self.live.get(component).and_then(|live| live.record.last.clone());
            let (done, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.followers).into_iter().partition(|follower| follower.component == *component);
            self.followers = rest;
            for follower in done {
                let _ = follower.to.try_send(Response::Done(ending.clone()));
            }
        }
    }

    /// Gives the broker's side the oldest reports that it does not have yet, a window at a time.
    fn offer(&mut self) {
        let Some((to, _)) = self.broker.as_ref().filter(|_| self.connected) else { return };
        let oldest = self.executor.store.borrow().outbox(0, WINDOW);
        for report in oldest {
            if report.seq <= self.offered {
                continue;
            }
            let seq = report.seq;
            if to.try_send(ToBroker::Report(report)).is_err() {
                break;
            }
            self.offered = seq;
        }
    }

    pub(super) fn broker_says(&mut self, message: FromBroker) {
        match message {
            FromBroker::Connected => {
                tracing::info!("connected to the broker");
                self.connected = true;
                self.executor.connected.set(true);
                self.offered = 0;
                self.offer();
                // Notices may have been lost meanwhile, so look soon; not all devices at once, if it was the broker that was away.
                let now = clock::now();
                let soon = now.moment.after(first_refresh(self.refresh, now.dice));
                for live in self.live.values_mut() {
                    if !live.timer.reached(&soon) {
                        live.timer = soon.clone();
                    }
                }
            }
            FromBroker::Disconnected(why) => {
                tracing::debug!(reason = %why, "broker is not reachable");
                self.connected = false;
                self.executor.connected.set(false);
            }
            FromBroker::Delivered(seq) => {
                self.executor.store.borrow_mut().acknowledge(seq);
                self.offer();
            }
            FromBroker::BadNotice(why) => tracing::warn!(reason = %why, "notice ignored; it is not valid"),
            FromBroker::Notice { notice, ack } => {
                // What is not in the record stays with the broker, and comes again.
                if self.notice(&notice) == Durable::Yes
                    && let Some((to, _)) = &self.broker
                {
                    let _ = to.try_send(ToBroker::Acknowledge(ack));
                }
            }
        }
    }

    /// A notice: the component is a hint, and so is everything else in it.
    fn notice(&mut self, notice: &Notice) -> Durable {
        let meant = |live: &Live| {
            notice.component.as_ref().is_none_or(|name| *name == live.config.name)
                && notice.channel.as_ref().is_none_or(|channel| *channel == live.config.channel)
        };
        let components: Vec<_> = self.live.values().filter(|live| meant(live)).map(|live| live.config.name.clone()).collect();
        let mut durable = Durable::Yes;
        for component in components {
            let trigger = Trigger { by: TriggerSource::Notice, source: Source::Network, hint: notice.version.clone() };
            if self.input(&component, Input::Trigger(trigger)) == Durable::NotYet {
                durable = Durable::NotYet;
            }
        }
        durable
    }

    /// What can be answered without an agent at work: from what is on disk, changing nothing.
    #[must_use]
    pub fn look_up(&self, request: &Request) -> Option<Response> {
        match request {
            Request::Status => Some(Response::Status(Box::new(self.status()))),
            Request::Trust => Some(self.executor.view().map_or_else(Response::Refused, |view| Response::Trust(Box::new(view)))),
            Request::History { component, limit } => {
                Some(Response::History(self.executor.store.borrow().history(component.as_ref(), *limit)))
            }
            _ => None,
        }
    }

    pub(super) fn request(&mut self, request: Request, to: mpsc::Sender<Response>) {
        if let Some(response) = self.look_up(&request) {
            let _ = to.try_send(response);
            return;
        }
        match request {
            Request::Status | Request::Trust | Request::History { .. } => {}
            Request::Check { component } => self.ask(component, to, Input::Trigger(operator_trigger(Source::Network))),
            Request::Install { component, path } => {
                self.ask(component, to, Input::Trigger(operator_trigger(Source::Bundle(path))));
            }
            Request::Rollback { component } => self.ask(component, to, Input::Rollback),
            Request::Unblock { component, artifact } => self.unblock(component, to, artifact),
            Request::Dismiss { component } => self.dismiss(component, to),
            Request::ForgetExpired { component } => self.forget_expired(component, to),
        }
    }

    fn ask(&mut self, component: ComponentName, to: mpsc::Sender<Response>, input: Input) {
        let Some(live) = self.live.get(&component) else {
            let known = self.names().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let _ = to.try_send(Response::Refused(UNKNOWN_COMPONENT.with(component, known)));
            return;
        };
        if !self.drives(live) {
            let _ = to.try_send(Response::Refused(NO_SERVICE.with("a command without the service", "the running service")));
            return;
        }
        self.read_slot(&component);
        self.followers.push(Follower { component: component.clone(), to });
        self.input(&component, input);
    }

    /// Over at once: how an earlier attempt ended is no answer to it.
    fn unblock(&mut self, component: ComponentName, to: mpsc::Sender<Response>, artifact: Option<Sha256>) {
        let Some(live) = self.live.get(&component) else { return self.ask(component, to, Input::Unblock(artifact)) };
        let meant = |one: &&Blocked| artifact.is_none_or(|artifact| artifact == one.artifact);
        let releases = live.record.blocked.iter().filter(meant).map(|one| one.version.clone()).collect();
        let cost = self.executor.store.borrow_mut().reset_cost(artifact.as_ref(), clock::known().trusted());
        let draft = Response::Unblocked(Unblocked { releases, cost, ..Unblocked::nothing(component.clone()) });
        self.at_once(&component, &to, Input::Unblock(artifact), draft);
    }

    fn dismiss(&mut self, component: ComponentName, to: mpsc::Sender<Response>) {
        let Some(live) = self.live.get(&component) else { return self.ask(component, to, Input::Dismiss) };
        let freeze = live
            .record
            .suspected_freeze
            .as_ref()
            .filter(|suspected_freeze| !suspected_freeze.dismissed)
            .map(|suspected_freeze| suspected_freeze.version.clone());
        let draft = Response::Unblocked(Unblocked { freeze, ..Unblocked::nothing(component.clone()) });
        self.at_once(&component, &to, Input::Dismiss, draft);
    }

    /// Answered when a check that is under way has ended.
    fn forget_expired(&self, component: ComponentName, to: mpsc::Sender<Response>) {
        let executor = Rc::clone(&self.executor);
        tokio::task::spawn_local(async move {
            let answer = match executor.forget_expired().await {
                Ok(expired) => Response::Unblocked(Unblocked { expired, ..Unblocked::nothing(component) }),
                Err(refusal) => Response::Refused(refusal),
            };
            let _ = to.send(answer).await;
        });
    }

    fn at_once(&mut self, component: &ComponentName, to: &mpsc::Sender<Response>, input: Input, draft: Response) {
        let answer = match self.input(component, input) {
            Durable::Yes => draft,
            Durable::NotYet => Response::Refused(NOT_YET),
        };
        let _ = to.try_send(answer);
    }

    /// The picture, from records and from what is on disk.
    fn status(&self) -> Status {
        let known = clock::known();
        let role = |role: RoleState| Role { name: role.name, version: role.version, expires: role.expires };
        let repository = self.executor.trust_floors().and_then(|floors| self.executor.trust.repository(&floors));
        let roles = repository.map_or_else(|_| Vec::new(), |repository| repository.roles().into_iter().map(role).collect());
        let component = |live: &Live| ComponentStatus::of(&live.config.channel, &live.record);
        Status {
            node: self.reporter.node.clone(),
            fleet: self.reporter.fleet.clone(),
            broker: self.broker.as_ref().map(|_| self.connected),
            broker_configured: self.executor.store.borrow().has_broker(),
            outbox: self.executor.store.borrow().waiting(),
            latest_known_time: known.latest,
            time_unsure: known.unsure,
            roles,
            components: self.live.values().map(component).collect(),
        }
    }
}

const fn operator_trigger(source: Source) -> Trigger {
    Trigger { by: TriggerSource::Operator, source, hint: None }
}
