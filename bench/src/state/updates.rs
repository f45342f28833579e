//! Whole updates of one component, decided, reported and stored as the agent's driver does it. What the driver orders is answered here,
//! so that nothing but the transitions takes time.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use slipway_agent::driver::transition::{self, Committed, Reporter};
use slipway_agent::storage::slots::Slots;
use slipway_agent::storage::store::{Mark, Store};
use slipway_machine::record::{Plan, Process, ProcessState, Record, Sample, SlotName, Source, State, Trigger, TriggerSource};
use slipway_machine::time::{BootId, Moment, Now};
use slipway_machine::{Candidate, CheckOutcome, Effect, EffectAnswer, Input, Settings};
use slipway_protocol::{Event, Platform, Report, Sha256, Version};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many reports the driver offers to the broker at once.
const WINDOW: usize = 16;

/// One durable transition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transition {
    /// From the input to the durable record.
    pub(crate) took: Duration,
    /// Appending the same bytes to a file and fdatasync, right before or after it.
    pub(crate) floor: Duration,
    /// Whether the witness was written too.
    pub(crate) witness: bool,
}

/// A device whose effects cost nothing.
#[derive(Debug)]
pub(crate) struct Updates {
    store: Store,
    reporter: Reporter,
    settings: Settings,
    record: Record,
    secs: u64,
    release: u32,
    floor: File,
    offered: u64,
}

impl Updates {
    /// An empty store in `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let state = dir.join("state");
        let (mut store, healed) = Store::open(&state, &Slots::new(&state)).map_err(|refusal| anyhow!("{refusal}"))?;
        ensure!(healed.is_empty() && store.degraded().is_none(), "the new store is damaged: {healed:?}");
        store.set_broker(true);
        let name = |text: &str| text.parse().map_err(|error| anyhow!("{error}"));
        Ok(Self {
            store,
            reporter: Reporter {
                node: "edge-1".parse().map_err(anyhow::Error::msg)?,
                fleet: "factory".parse().map_err(anyhow::Error::msg)?,
            },
            settings: Settings { soak: 0, ..Settings::default() },
            record: Record::new(name("edgecore")?),
            secs: 1000,
            release: 0,
            floor: File::options().create(true).append(true).open(dir.join("floor"))?,
            offered: 0,
        })
    }

    /// One update, from the notice until the commit.
    pub(crate) fn update(&mut self, seen: &mut Vec<Transition>) -> Result<()> {
        self.release += 1;
        let trigger = Trigger { by: TriggerSource::Notice, source: Source::Network, hint: Some(self.version()?) };
        let mut inputs = VecDeque::from([Input::Trigger(trigger)]);
        while let Some(input) = inputs.pop_front() {
            // More than the least time between two checks.
            self.secs += 10;
            let Some(Committed { record, reports, effects }) = self.transition(input, seen)? else { continue };
            self.record = record;
            self.deliver(&reports)?;
            for effect in effects {
                let epoch = self.record.epoch;
                inputs.extend(self.answers(effect)?.into_iter().map(|answer| Input::Answer { epoch, answer }));
            }
        }
        let committed = self.record.committed.as_ref().context("nothing was committed")?;
        ensure!(
            committed.version == self.version()? && self.record.state == State::Idle,
            "the update did not end: {:?}",
            self.record
        );
        ensure!(self.store.degraded().is_none(), "the store is degraded");
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    fn transition(&mut self, input: Input, seen: &mut Vec<Transition>) -> Result<Option<Committed>> {
        let now = self.now();
        let before = self.store.witness_data().generation;
        let began = Instant::now();
        let committed = transition::commit(&mut self.store, &self.reporter, &self.settings, &self.record, input, "", &now);
        let took = began.elapsed();
        let Some(committed) = committed.map_err(|refusal| anyhow!("{refusal}"))? else { return Ok(None) };
        let mut bytes = serde_json::to_vec(&committed.record)?;
        for report in &committed.reports {
            bytes.extend(serde_json::to_vec(report)?);
        }
        let began = Instant::now();
        self.floor.write_all(&bytes)?;
        self.floor.sync_data()?;
        let floor = began.elapsed();
        seen.push(Transition { took, floor, witness: self.store.witness_data().generation != before });
        Ok(Some(committed))
    }

    /// Reports go to the broker, which acknowledges each.
    fn deliver(&mut self, reports: &[Report]) -> Result<()> {
        for report in self.store.outbox(self.offered, WINDOW) {
            ensure!(reports.iter().any(|one| one.seq == report.seq), "the outbox has an old report: {report:?}");
            self.offered = report.seq;
        }
        for report in reports.iter().filter(|report| report.event != Event::Progress) {
            self.store.acknowledge(report.seq);
        }
        Ok(())
    }

    fn answers(&mut self, effect: Effect) -> Result<Vec<EffectAnswer>> {
        let healthy = || {
            EffectAnswer::Sampled(Sample { process: ProcessState::Running(Process { pid: 7, restarts: 0 }), checks: Vec::new() })
        };
        let wall = self.now().wall;
        Ok(match effect {
            Effect::Check { .. } => {
                vec![EffectAnswer::Checked(CheckOutcome::Candidate(Box::new(Candidate { plan: self.plan()?, obstacle: None })))]
            }
            Effect::Fetch { plan } => {
                let mark = Mark { at: plan.size, spent: plan.size };
                self.store.set_cursor(&plan.artifact, mark, wall);
                vec![EffectAnswer::Fetched(Ok(()))]
            }
            Effect::Stage { plan } => vec![EffectAnswer::Staged(Ok(plan.artifact))],
            Effect::Prepare { .. } => vec![EffectAnswer::Prepared(Ok(()))],
            Effect::Switch { .. } => vec![EffectAnswer::Switched(Ok(()))],
            Effect::Watch { .. } => vec![healthy(), healthy()],
            Effect::Restore { .. } => vec![EffectAnswer::Restored(Ok(()))],
            Effect::SetAside { .. } | Effect::AdoptAgain { .. } => bail!("nothing is damaged here: {effect:?}"),
            Effect::Collect { .. } => {
                self.store.collect_cursors(&[], wall);
                Vec::new()
            }
        })
    }

    fn version(&self) -> Result<Version> {
        format!("v1.{}.0", self.release).parse().map_err(anyhow::Error::msg)
    }

    fn plan(&self) -> Result<Plan> {
        let version = self.version()?;
        let artifact = Sha256::of(version.as_str().as_bytes());
        let slot = SlotName::of(&version, &artifact);
        Ok(Plan {
            version,
            platform: Platform::current(),
            artifact,
            size: 60_000_000,
            slot,
            source: Source::Network,
            floor: None,
        })
    }

    fn now(&self) -> Now {
        let since = SignedDuration::from_secs(i64::try_from(self.secs).unwrap_or(i64::MAX));
        let wall = "2026-11-30T00:00:00Z".parse::<Timestamp>().unwrap_or(Timestamp::UNIX_EPOCH).saturating_add(since);
        Now {
            moment: Moment { boot: BootId("bench".to_owned()), secs: self.secs },
            wall: wall.unwrap_or(Timestamp::MAX),
            dice: 7,
        }
    }
}
