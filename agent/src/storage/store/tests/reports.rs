//! Outbox and history: bounded, durable, identified by sequence numbers.

use super::*;

#[test]
fn the_outbox_is_bounded_and_keeps_how_things_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![report(Event::Committed)]).unwrap();
    let batch = || (0..100).map(|_| report(Event::Checking)).collect::<Vec<_>>();
    for _ in 0..OUTBOX_LIMIT / 100 + 3 {
        store.commit(&record(), batch()).unwrap();
    }
    let check = |store: &Store| {
        let outbox = store.outbox(0, usize::MAX);
        assert_eq!(outbox.len(), OUTBOX_LIMIT);
        assert_eq!((outbox[0].seq, outbox[0].event), (1, Event::Committed), "the oldest, but it says how something ended");
        assert_eq!(outbox[1].seq, 303, "a gap shows what went");
        assert_eq!(store.reports.len(), OUTBOX_LIMIT);
    };
    check(&store);
    drop(store);
    let (mut store, _) = open(dir.path());
    check(&store);
    for seq in seqs(&store.outbox(0, usize::MAX)) {
        store.acknowledge(seq);
    }
    store.commit(&record(), vec![]).unwrap();
    assert_eq!((store.outbox(0, 1).len(), store.history(None, usize::MAX).len()), (0, HISTORY_LIMIT));
    drop(store);
    let (store, _) = open(dir.path());
    assert_eq!((store.outbox(0, 1).len(), store.history(None, usize::MAX).len()), (0, HISTORY_LIMIT));
}

#[test]
fn years_of_commits_and_long_reports_do_not_grow_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let size = || -> u64 {
        let of = |dir: &Path| fs::read_dir(dir).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).sum::<u64>();
        of(&dir.path().join("state")) + of(&dir.path().join("state/blobs"))
    };
    let long = Report { text: Some("x".repeat(6000)), ..report(Event::RolledBack) };
    let mut sizes = Vec::new();
    let mut times = Vec::new();
    for n in 0..1500_u64 {
        let record = Record { epoch: n, state: State::Idle, ..record() };
        let event = if n % 20 == 0 { long.clone() } else { report(Event::Checking) };
        #[expect(clippy::disallowed_methods, reason = "a measurement")]
        let begin = std::time::Instant::now();
        let seq = store.commit(&record, vec![event]).unwrap()[0].seq;
        times.push(begin.elapsed());
        store.acknowledge(seq);
        if n % 250 == 249 {
            sizes.push(size());
        }
    }
    times.sort();
    println!("commit p50 {:?} p99 {:?}; bytes {sizes:?}", times[750], times[1485]);
    assert!(sizes[5] < 16 * 1024 * 1024, "{sizes:?}");
    drop(store);
    let (store, healed) = open(dir.path());
    assert!(healed.is_empty());
    assert_eq!(store.record(&name()).unwrap().epoch, 1499);
    assert!(store.history(None, 100).iter().any(|report| report.text.as_ref().is_some_and(|text| text.len() == 6000)));
}

/// Nobody would ever take them.
#[test]
fn without_a_broker_there_is_history_and_no_outbox() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    // Configured at first.
    store.commit(&record(), vec![report(Event::Committed)]).unwrap();
    store.set_broker(false);
    for _ in 0..HISTORY_LIMIT + 5 {
        store.commit(&record(), vec![report(Event::Refused)]).unwrap();
    }
    assert_eq!(seqs(&store.outbox(0, 9)), [1], "what waited waits on");
    assert_eq!((store.waiting(), store.reports.len()), (1, HISTORY_LIMIT + 1), "the history is no longer than ever");
    drop(store);
    let (mut store, healed) = open(dir.path());
    assert!(healed.is_empty() && store.has_broker(), "{healed:?}");
    // Configured again: what is new is sent, and the gap in the numbers tells that something was not.
    let last = store.commit(&record(), vec![report(Event::Started)]).unwrap()[0].seq;
    assert_eq!(seqs(&store.outbox(0, 9)), [1, last]);
    assert!(last > HISTORY_LIMIT as u64 + 5);
}

/// A broker that is away for a year: eight reports a day, three of them results.
#[test]
fn a_year_without_the_broker_keeps_the_results_and_shows_the_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let day = [Event::Started, Event::Checking, Event::Refused, Event::Downloading, Event::Committed];
    let evening = [Event::Retrying, Event::Waiting, Event::RolledBack];
    for _ in 0..365 {
        for events in [&day[..], &evening[..]] {
            store.commit(&record(), events.iter().copied().map(report).collect()).unwrap();
        }
    }
    let check = |store: &Store| {
        let outbox = store.outbox(0, usize::MAX);
        assert_eq!((outbox.len(), store.waiting()), (OUTBOX_LIMIT, OUTBOX_LIMIT));
        assert_eq!(outbox.iter().filter(|report| ends(report)).count(), 365 * 3, "every result of the year is still there");
        assert!(seqs(&outbox).is_sorted());
        // What ends nothing gave way, the oldest first: of it the last 181 days are left.
        let rest: Vec<_> = outbox.iter().filter(|report| !ends(report)).map(|report| report.seq).collect();
        assert_eq!((rest.len(), rest.first().copied()), (OUTBOX_LIMIT - 365 * 3, Some(365 * 8 - 181 * 8 + 1)));
    };
    check(&store);
    drop(store);
    check(&open(dir.path()).0);
}
