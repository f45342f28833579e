//! Which packet identifier carries which report. Pure.
//!
//! The library numbers a publish only when it takes it from its queue, and then says the number; it takes them in the order given.
//! So: what was handed over waits in line, the number goes to the head of the line, and an acknowledgement names a number. Each
//! connection has its own flight: nothing of an older connection can be taken for delivered.

use std::collections::{BTreeMap, VecDeque};

/// What a publish of ours is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OutgoingPublish {
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
pub(super) struct InFlight {
    line: VecDeque<OutgoingPublish>,
    numbered: BTreeMap<u16, OutgoingPublish>,
}

/// The library's account and ours differ: only a new connection makes that right.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Confused;

impl InFlight {
    /// It was handed to the library.
    pub(super) fn enqueue(&mut self, outgoing: OutgoingPublish) {
        self.line.push_back(outgoing);
    }

    /// The library sent the next one under this number; 0 is QoS 0.
    pub(super) fn sent(&mut self, pkid: u16) -> Result<(), Confused> {
        let outgoing = self.line.pop_front().ok_or(Confused)?;
        if (outgoing == OutgoingPublish::Progress) != (pkid == 0) {
            return Err(Confused);
        }
        if pkid != 0 && self.numbered.insert(pkid, outgoing).is_some() {
            return Err(Confused);
        }
        Ok(())
    }

    /// The broker answered this number.
    pub(super) fn on_puback(&mut self, pkid: u16) -> Result<OutgoingPublish, Confused> {
        self.numbered.remove(&pkid).ok_or(Confused)
    }

    /// Everything still on its way.
    fn all(&self) -> impl Iterator<Item = &OutgoingPublish> {
        self.line.iter().chain(self.numbered.values())
    }

    /// Whether this report is on its way.
    pub(super) fn carries(&self, seq: u64) -> bool {
        self.all().any(|&outgoing| outgoing == OutgoingPublish::Report(seq))
    }

    /// How many reports are on their way.
    pub(super) fn reports(&self) -> usize {
        self.all().filter(|outgoing| matches!(outgoing, OutgoingPublish::Report(_))).count()
    }

    /// How many the library has not sent yet.
    pub(super) fn in_line(&self) -> usize {
        self.line.len()
    }

    /// Whether an answer is owed to us.
    pub(super) fn awaits(&self) -> bool {
        self.all().any(|&outgoing| outgoing != OutgoingPublish::Progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_to_the_head_of_the_line() {
        let mut in_flight = InFlight::default();
        for outgoing in
            [OutgoingPublish::Online, OutgoingPublish::Report(7), OutgoingPublish::Progress, OutgoingPublish::Report(8)]
        {
            in_flight.enqueue(outgoing);
        }
        assert_eq!((in_flight.reports(), in_flight.in_line(), in_flight.carries(8)), (2, 4, true));
        for pkid in [1, 3, 0, 4] {
            assert_eq!(in_flight.sent(pkid), Ok(()));
        }
        assert_eq!(in_flight.on_puback(4), Ok(OutgoingPublish::Report(8)), "out of order");
        assert_eq!(in_flight.on_puback(4), Err(Confused), "answered twice");
        assert_eq!(in_flight.on_puback(1), Ok(OutgoingPublish::Online));
        assert!(in_flight.awaits() && in_flight.carries(7) && !in_flight.carries(8));
        assert_eq!(in_flight.on_puback(3), Ok(OutgoingPublish::Report(7)));
        assert!(!in_flight.awaits());
    }

    #[test]
    fn a_different_account_is_noticed() {
        let enqueue = |outgoing| {
            let mut in_flight = InFlight::default();
            in_flight.enqueue(outgoing);
            in_flight
        };
        assert_eq!(InFlight::default().sent(1), Err(Confused), "nothing was handed over");
        assert_eq!(enqueue(OutgoingPublish::Report(1)).sent(0), Err(Confused), "a report at QoS 0");
        assert_eq!(enqueue(OutgoingPublish::Progress).sent(1), Err(Confused), "progress at QoS 1");
        assert_eq!(enqueue(OutgoingPublish::Report(1)).on_puback(1), Err(Confused), "answered before it was sent");
        let mut in_flight = enqueue(OutgoingPublish::Report(1));
        in_flight.enqueue(OutgoingPublish::Report(2));
        assert_eq!((in_flight.sent(1), in_flight.sent(1)), (Ok(()), Err(Confused)), "a number in use");
    }

    #[test]
    fn progress_owes_nothing() {
        let mut in_flight = InFlight::default();
        in_flight.enqueue(OutgoingPublish::Progress);
        assert!(!in_flight.awaits());
        in_flight.enqueue(OutgoingPublish::Report(1));
        assert!(in_flight.awaits(), "a report in line is owed an answer too");
    }
}
