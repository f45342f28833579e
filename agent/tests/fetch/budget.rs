//! The byte budget of an artifact: counted exactly, kept through kills, enforced.

use super::*;

/// A server that drops every connection and cannot resume makes everything come again and again.
#[tokio::test]
async fn a_server_that_drops_and_starts_over_ends_by_budget() {
    let case = Case::new();
    case.times.set(2);
    let got = SIZE * 3 / 4;
    case.server.fault("/a", Fault::IgnoreRange);
    case.server.fault("/a", Fault::CutAfter(got));
    let mut tries = 0;
    let error = loop {
        let error = case.refused(&["a"]).await;
        tries += 1;
        if error.retry() == RetryAdvice::Never {
            break error;
        }
        assert_eq!(code(&error), CUT, "{error}");
        assert_eq!(case.spent.get(), tries * got, "all that came is counted");
    };
    assert_eq!(code(&error), ("SLW-A-BUDGET", RetryAdvice::Never));
    assert_eq!(error.received, 0, "nothing is fetched that can only be thrown away");
    let allowed = 2 * SIZE + MIB;
    assert!(case.spent.get() <= allowed && case.spent.get() + SIZE > allowed, "{} of {allowed}", case.spent.get());
    let seen = &error.refusal.seen;
    assert!(seen.contains(&case.spent.get().to_string()) && error.refusal.wanted.contains(&allowed.to_string()), "{error}");
    assert_eq!((case.cursor.get(), std::fs::metadata(case.part()).unwrap().len()), (got, got), "what is there stays");
    // The last request was broken off: no more than what was on its way was sent for nothing.
    let sent = case.server.bytes_sent("/a");
    assert!(sent <= case.spent.get() + got, "{sent} sent");

    // An address that can go on from there still may: the rest fits.
    let done = case.get(&["a", "b"]).await.unwrap();
    assert_eq!(done, Downloaded { received: SIZE - got, resumed: got });
    assert!(case.is_complete() && case.spent.get() <= allowed);
}

#[tokio::test]
async fn a_spent_budget_asks_no_server() {
    let case = Case::new();
    case.times.set(1);
    case.spent.set(SIZE + MIB);
    let error = case.refused(&["a", "b"]).await;
    assert_eq!(code(&error), ("SLW-A-BUDGET", RetryAdvice::Never));
    assert!(case.server.requests().is_empty());
    // A complete part costs nothing.
    std::fs::write(case.part(), &case.bytes).unwrap();
    case.cursor.set(SIZE);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: 0, resumed: SIZE }));
}

#[tokio::test]
async fn drops_kills_wrong_files_and_damaged_parts_are_counted_once_each() {
    let case = Case::new();
    // Killed: what came after the last checkpoint is on the disk and nowhere else, and has to come again.
    std::fs::write(case.part(), &case.bytes[..(3 * MIB) as usize]).unwrap();
    case.keep(Mark { at: 2 * MIB, spent: 2 * MIB });
    case.server.fault_times("/a", Fault::CutAfter(MIB), 1);
    assert_eq!(code(&case.refused(&["a"]).await), CUT);
    assert_eq!(case.spent.get(), 4 * MIB);
    assert!(case.get(&["a"]).await.is_ok());
    assert_eq!(case.spent.get(), SIZE + MIB, "the file, and what the kill cost");
    // Damaged: all of it again, and what was added to the damaged bytes.
    std::fs::write(case.part(), vec![0; (9 * MIB) as usize]).unwrap();
    case.keep(Mark { at: 9 * MIB, spent: 0 });
    assert!(case.get(&["a"]).await.is_ok());
    assert_eq!(case.spent.get(), 2 * SIZE - 9 * MIB);
    // The wrong file, then the right one.
    std::fs::remove_file(case.part()).unwrap();
    case.keep(Mark { at: 0, spent: 0 });
    case.server.fault("/a", Fault::FlipByte(7));
    assert!(case.get(&["a", "b"]).await.is_ok());
    assert_eq!(case.spent.get(), 2 * SIZE);
    // More than was authorised counts as well, though nothing of it is kept.
    std::fs::remove_file(case.part()).unwrap();
    case.keep(Mark { at: 0, spent: 0 });
    case.server.heal("/a");
    case.server.fault("/a", Fault::Endless);
    assert_eq!(code(&case.refused(&["a"]).await), ENDLESS);
    assert!(case.spent.get() >= SIZE, "{}", case.spent.get());
}
