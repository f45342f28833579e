//! Downloads: how far they are and what they cost survives a restart; the cost is forgotten after a day, or by a person.

use super::*;
use crate::storage::store::{Account, Mark};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_download_goes_on_after_a_restart_and_its_cost_outlives_its_part() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![]).unwrap();
    let (a, b, noon) = (Sha256::of(b"a"), Sha256::of(b"b"), time("2026-11-22T12:00:00Z"));
    assert_eq!((store.cursor(&a), store.account(&a, noon)), (0, Account::new(noon)));
    store.set_cursor(&a, Mark { at: 4096, spent: 5000 }, noon);
    store.set_cursor(&a, Mark { at: 8192, spent: 9100 }, time("2026-11-22T13:00:00Z"));
    store.set_cursor(&b, Mark { at: 1, spent: 0 }, noon);
    store.clear_cursor(&b);
    drop(store);

    let (mut store, healed) = open(dir.path());
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!((store.cursor(&a), store.cursor(&b)), (8192, 0));
    assert_eq!(store.account(&a, time("2026-11-23T11:00:00Z")), Account { since: noon, spent: 9100, closed: false });
    store.clear_cursor(&a);
    assert_eq!((store.cursor(&a), store.account(&a, noon).spent), (0, 9100), "the part has served, and was paid for");
    store.collect_cursors(&[], time("2026-11-23T11:00:00Z"));
    assert_eq!(store.account(&a, noon).spent, 9100);
    // A day later it may cost as much again, and nothing remains of the count.
    let next_day = time("2026-11-23T12:00:00Z");
    assert_eq!(store.account(&a, next_day), Account::new(next_day));
    store.collect_cursors(&[], next_day);
    assert!(store.cursors.is_empty());
}

#[test]
fn a_person_resets_the_cost_of_a_download_and_keeps_its_part() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![]).unwrap();
    let (a, b, noon) = (Sha256::of(b"a"), Sha256::of(b"b"), time("2026-11-22T12:00:00Z"));
    for artifact in [a, b] {
        store.set_cursor(&artifact, Mark { at: 7, spent: 9 }, noon);
    }
    store.close_account(&a, noon);
    assert!(store.account(&a, noon).closed);
    assert!(store.reset_cost(Some(&a), noon) && !store.reset_cost(Some(&a), noon), "there is nothing to forgive twice");
    assert_eq!((store.account(&a, noon), store.account(&b, noon).spent), (Account::new(noon), 9));
    assert!(store.reset_cost(None, noon));
    drop(store);
    let (mut store, _) = open(dir.path());
    assert_eq!((store.account(&b, noon).spent, store.cursor(&b)), (0, 7));
    // The download in progress is kept; any other starts over if it is needed.
    store.collect_cursors(&[a], noon);
    assert_eq!((store.cursor(&a), store.cursor(&b)), (7, 0));
}

#[test]
fn an_account_is_open_for_a_day_whatever_the_clock_says() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let began = time("2026-11-22T12:00:00Z");
    let account = Account { since: began, spent: 7, closed: true };
    for (now, wanted) in [
        ("2026-11-22T12:00:00Z", account),
        ("2026-11-23T11:59:59Z", account),
        ("2026-11-23T12:00:00Z", Account::new(time("2026-11-23T12:00:00Z"))),
        // The clock was ahead when it began: it is open for a day from now.
        ("2020-01-01T00:00:00Z", Account { since: time("2020-01-01T00:00:00Z"), ..account }),
    ] {
        assert_eq!(account.at(time(now)), wanted, "{now}");
    }
}
