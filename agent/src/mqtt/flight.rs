//! Which packet identifier carries which report. Pure.
//!
//! The library numbers a publish only when it takes it from its queue, and then says the number; it takes them in the order given.
//! So: what was handed over waits in line, the number goes to the head of the line, and an acknowledgement names a number. Each
//! connection has its own flight: nothing of an older connection can be taken for delivered.

use std::collections::{BTreeMap, VecDeque};

/// What a publish of ours is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cargo {
    /// The node is there; retained, QoS 1.
    Online,
    /// The node goes; retained, QoS 1.
    Offline,
    /// The report with this `seq`, QoS 1.
    Report(u64),
    /// Progress, QoS 0: nobody acknowledges it.
    Progress,
}

/// The line and the numbered.
#[derive(Debug, Default)]
pub(super) struct Flight {
    line: VecDeque<Cargo>,
    numbered: BTreeMap<u16, Cargo>,
}

/// The library's account and ours differ: only a new connection makes that right.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Confused;

impl Flight {
    /// It was handed to the library.
    pub(super) fn board(&mut self, cargo: Cargo) {
        self.line.push_back(cargo);
    }

    /// The library sent the next one under this number; 0 is QoS 0.
    pub(super) fn sent(&mut self, pkid: u16) -> Result<(), Confused> {
        let cargo = self.line.pop_front().ok_or(Confused)?;
        if (cargo == Cargo::Progress) != (pkid == 0) {
            return Err(Confused);
        }
        if pkid != 0 && self.numbered.insert(pkid, cargo).is_some() {
            return Err(Confused);
        }
        Ok(())
    }

    /// The broker answered this number.
    pub(super) fn landed(&mut self, pkid: u16) -> Result<Cargo, Confused> {
        self.numbered.remove(&pkid).ok_or(Confused)
    }

    /// Everything still on its way.
    fn all(&self) -> impl Iterator<Item = &Cargo> {
        self.line.iter().chain(self.numbered.values())
    }

    /// Whether this report is on its way.
    pub(super) fn carries(&self, seq: u64) -> bool {
        self.all().any(|&cargo| cargo == Cargo::Report(seq))
    }

    /// How many reports are on their way.
    pub(super) fn reports(&self) -> usize {
        self.all().filter(|cargo| matches!(cargo, Cargo::Report(_))).count()
    }

    /// How many the library has not sent yet.
    pub(super) fn in_line(&self) -> usize {
        self.line.len()
    }

    /// Whether an answer is owed to us.
    pub(super) fn awaits(&self) -> bool {
        self.all().any(|&cargo| cargo != Cargo::Progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_to_the_head_of_the_line() {
        let mut flight = Flight::default();
        for cargo in [Cargo::Online, Cargo::Report(7), Cargo::Progress, Cargo::Report(8)] {
            flight.board(cargo);
        }
        assert_eq!((flight.reports(), flight.in_line(), flight.carries(8)), (2, 4, true));
        for pkid in [1, 3, 0, 4] {
            assert_eq!(flight.sent(pkid), Ok(()));
        }
        assert_eq!(flight.landed(4), Ok(Cargo::Report(8)), "out of order");
        assert_eq!(flight.landed(4), Err(Confused), "answered twice");
        assert_eq!(flight.landed(1), Ok(Cargo::Online));
        assert!(flight.awaits() && flight.carries(7) && !flight.carries(8));
        assert_eq!(flight.landed(3), Ok(Cargo::Report(7)));
        assert!(!flight.awaits());
    }

    #[test]
    fn a_different_account_is_noticed() {
        let board = |cargo| {
            let mut flight = Flight::default();
            flight.board(cargo);
            flight
        };
        assert_eq!(Flight::default().sent(1), Err(Confused), "nothing was handed over");
        assert_eq!(board(Cargo::Report(1)).sent(0), Err(Confused), "a report at QoS 0");
        assert_eq!(board(Cargo::Progress).sent(1), Err(Confused), "progress at QoS 1");
        assert_eq!(board(Cargo::Report(1)).landed(1), Err(Confused), "answered before it was sent");
        let mut flight = board(Cargo::Report(1));
        flight.board(Cargo::Report(2));
        assert_eq!((flight.sent(1), flight.sent(1)), (Ok(()), Err(Confused)), "a number in use");
    }

    #[test]
    fn progress_owes_nothing() {
        let mut flight = Flight::default();
        flight.board(Cargo::Progress);
        assert!(!flight.awaits());
        flight.board(Cargo::Report(1));
        assert!(flight.awaits(), "a report in line is owed an answer too");
    }
}
