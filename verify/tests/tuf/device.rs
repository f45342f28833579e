//! A device that follows a repository: its initial root, and what it keeps.

use jiff::Timestamp;
use slipway_testkit::tuf::Repository as Sim;
use slipway_verify::Refusal;
use slipway_verify::tuf::{Fetch, FetchResult, Floors, Refresh, Repository, Rules, Slot, Step, Stored};

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}
pub(crate) fn now() -> Timestamp {
    time("2026-11-22T12:00:00Z")
}
/// A repository that is good for a year.
pub(crate) fn sim() -> Sim {
    Sim::new(time("2027-11-22T12:00:00Z"))
}
/// A repository, and a device that has followed it once.
pub(crate) fn begun() -> (Sim, Device) {
    let sim = sim();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    (sim, device)
}

#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) initial_root: Vec<u8>,
    pub(crate) stored: Stored,
    pub(crate) floors: Floors,
    /// What the last refresh asked for.
    pub(crate) asked: Vec<String>,
    /// What the last refresh stored.
    pub(crate) wrote: Vec<String>,
    /// The power goes when so many files are stored; what is on disk then stays.
    pub(crate) cut_after: Option<usize>,
}

impl Device {
    pub(crate) fn born(sim: &Sim) -> Self {
        Self::born_with(&sim.files["1.root.json"])
    }

    pub(crate) fn born_with(root: &[u8]) -> Self {
        Self {
            initial_root: root.to_vec(),
            stored: Stored::default(),
            floors: Floors::default(),
            asked: Vec::new(),
            wrote: Vec::new(),
            cut_after: None,
        }
    }

    pub(crate) fn refresh(&mut self, sim: &Sim) -> Result<Repository, Refusal> {
        self.refresh_by(sim, Rules::at(now()))
    }

    pub(crate) fn refresh_by(&mut self, sim: &Sim, rules: Rules) -> Result<Repository, Refusal> {
        self.asked.clear();
        self.wrote.clear();
        let mut refresh = Refresh::begin(&self.initial_root, self.stored.clone(), &self.floors, rules)?;
        for _ in 0..2000 {
            match refresh.step() {
                Step::Fetch(fetch) => {
                    // What was handed out is durable, and so are the floors, before the next file is asked for.
                    self.floors = refresh.floors().clone();
                    self.asked.push(fetch.path.clone());
                    // A refusal ends it; what comes after is whatever was verified before.
                    let _ = refresh.answer(answer(sim, &fetch));
                }
                Step::Store { slot, bytes } => {
                    self.wrote.push(slot.file_name());
                    if slot == Slot::Root {
                        self.stored.root_history.push(bytes.clone());
                    }
                    self.stored.put(&slot, bytes);
                    if self.cut_after == Some(self.wrote.len()) {
                        return refresh.finish();
                    }
                }
                Step::Done => {
                    self.floors = refresh.floors().clone();
                    return refresh.finish();
                }
            }
        }
        panic!("the refresh does not end")
    }

    /// The version of the newest root that is on its disk, verified.
    pub(crate) fn newest_root(&self) -> u64 {
        let refresh = Refresh::begin(&self.initial_root, self.stored.clone(), &self.floors, Rules::accepted_before());
        refresh.unwrap().floors().root
    }

    pub(crate) fn open(&self, rules: Rules) -> Result<Repository, Refusal> {
        Refresh::replay(&self.initial_root, self.stored.clone(), &self.floors, rules)
    }

    pub(crate) fn refused(&mut self, sim: &Sim) -> Refusal {
        match self.refresh(sim) {
            Ok(_) => panic!("accepted, asked for {:?}", self.asked),
            Err(refusal) => refusal,
        }
    }
}

fn answer<'a>(sim: &'a Sim, fetch: &Fetch) -> FetchResult<'a> {
    if let Some(why) = sim.failing.get(&fetch.path) {
        return FetchResult::Failed(why);
    }
    match sim.files.get(&fetch.path) {
        Some(bytes) => {
            let most = usize::try_from(fetch.limit).unwrap() + 1;
            FetchResult::Bytes(&bytes[..bytes.len().min(most)])
        }
        None => FetchResult::Missing,
    }
}
