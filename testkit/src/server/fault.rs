//! How the release server can misbehave.

use std::collections::BTreeMap;

/// One way to misbehave. Offsets and counts are of the body of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Closes the connection after this many bytes.
    CutAfter(u64),
    /// Sends this many bytes and then nothing, with the connection open.
    StallAfter(u64),
    /// Sends this many bytes, and the rest once the path is healed: for who must be caught in the middle.
    HoldAfter(u64),
    /// Answers with this status and no file.
    Status(u16),
    /// Answers 503 and asks to come back after so many seconds.
    RetryAfter(u32),
    /// Adds this to `Content-Length`; what is sent stays what it is.
    WrongLength(i64),
    /// Sends no `Content-Length` and no range; the body ends with the connection.
    NoLength,
    /// From now on the file has another `ETag`, as if it had been replaced.
    NewEtag,
    /// Sends no `ETag`.
    NoEtag,
    /// Answers 200 with everything, whatever range was asked for.
    IgnoreRange,
    /// Flips the lowest bit of the byte at this offset of the **file**.
    FlipByte(u64),
    /// Sends no faster than this many bytes in a second.
    Throttle(u64),
    /// After the file come zeros without end.
    Endless,
    /// Answers a range with 206 and the right bytes, but says in `Content-Range` that they begin so many bytes later.
    WrongContentRange(u64),
    /// Answers a range with 206 and bytes that begin so many bytes later, and says what was asked for.
    ShiftedRange(u64),
    /// Sends the client elsewhere: 302 to itself.
    RedirectLoop,
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    left: Option<u32>,
}

/// The faults of all paths.
#[derive(Debug, Default)]
pub(super) struct Faults {
    by_path: BTreeMap<String, Vec<Active>>,
}

impl Faults {
    pub(super) fn add(&mut self, path: &str, fault: Fault, times: Option<u32>) {
        self.by_path.entry(path.to_owned()).or_default().push(Active { fault, left: times });
    }

    pub(super) fn heal(&mut self, path: &str) {
        self.by_path.remove(path);
    }

    /// Whether answers on this path are to wait in their middle.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.by_path.get(path).is_some_and(|active| active.iter().any(|a| matches!(a.fault, Fault::HoldAfter(_))))
    }

    /// The faults for one request, which uses them up.
    pub(super) fn take(&mut self, path: &str) -> Vec<Fault> {
        let Some(active) = self.by_path.get_mut(path) else { return Vec::new() };
        let faults = active.iter().map(|a| a.fault).collect();
        for one in active.iter_mut() {
            one.left = one.left.map(|n| n.saturating_sub(1));
        }
        active.retain(|a| a.left != Some(0));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_lasts_as_long_as_it_was_asked_to() {
        let mut faults = Faults::default();
        faults.add("/a", Fault::Status(500), Some(2));
        faults.add("/a", Fault::NoEtag, None);
        assert_eq!(faults.take("/a"), [Fault::Status(500), Fault::NoEtag]);
        assert_eq!(faults.take("/b"), []);
        assert_eq!(faults.take("/a"), [Fault::Status(500), Fault::NoEtag]);
        assert_eq!(faults.take("/a"), [Fault::NoEtag]);
        faults.heal("/a");
        assert_eq!(faults.take("/a"), []);
    }
}
