//! Receives the devices' reports from the broker, as an operator does.

use anyhow::{Context as _, Result, bail};
use slipway_operator::mqtt::{self, Broker};
use slipway_protocol::{FleetName, Report};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Every report since the start, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Live {
    received: Mutex<Received>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Received {
    reports: Vec<Report>,
    /// Why nothing more will come.
    ended: Option<String>,
}

impl Live {
    /// Subscribes in a thread of its own, for as long as this process lives.
    pub(crate) fn start(broker: &Broker, fleet: &FleetName) -> Result<Arc<Self>> {
        let live = Arc::new(Self::default());
        let (listener, broker, fleet) = (Arc::clone(&live), broker.clone(), fleet.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("live".into()).spawn(move || {
            let ended = runtime.block_on(mqtt::watch(&broker, &fleet, |report| {
                listener.lock().reports.push(report);
                listener.changed.notify_all();
                true
            }));
            listener.lock().ended = Some(ended.map_or_else(|refusal| refusal.to_string(), |()| "it ended".to_owned()));
            listener.changed.notify_all();
        })?;
        Ok(live)
    }

    /// How many reports there are: a mark to ask from later.
    pub(crate) fn mark(&self) -> usize {
        self.lock().reports.len()
    }

    /// Reports since `mark`; waits for at most `pause` when there are none.
    pub(crate) fn since(&self, mark: usize, pause: Duration) -> Result<Vec<Report>> {
        let nothing = |received: &mut Received| received.reports.len() <= mark && received.ended.is_none();
        let (received, _) = self.changed.wait_timeout_while(self.lock(), pause, nothing).unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &received.ended {
            bail!("the subscription to reports broke: {why}");
        }
        Ok(received.reports.get(mark..).context("a mark of this very list")?.to_vec())
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
