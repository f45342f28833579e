//! Resumed downloads: dropped connections, kills, damaged part files, servers with other answers.

use super::*;

#[tokio::test]
async fn a_whole_file_in_one_go() {
    let case = Case::new();
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE, resumed: 0 }));
    assert!(case.is_complete());
    let progress = case.progress.borrow();
    assert!(progress.is_sorted() && progress.last() == Some(&SIZE), "{progress:?}");
    let request = &case.server.requests()[0];
    assert_eq!(request.range, None);
    assert!(request.user_agent.as_deref().is_some_and(|agent| agent.starts_with("slipway-agent/")), "{request:?}");
}

#[tokio::test]
async fn a_cut_connection_costs_nothing() {
    let case = Case::new();
    let got = 5 * MIB + 123;
    case.server.fault_times("/a", Fault::CutAfter(got), 1);
    let error = case.refused(&["a"]).await;
    assert_eq!(code(&error), CUT, "{error}");
    assert_eq!((error.received, case.cursor.get()), (got, got), "all that came is durable and known to be");
    assert!(case.tag().exists());

    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE - got, resumed: got }));
    assert!(case.is_complete());
    let again = &case.server.requests()[1];
    assert_eq!(again.range, Some(format!("bytes={got}-")));
    assert!(again.if_range.is_some(), "{again:?}");
    assert_eq!(case.server.bytes_sent("/a"), SIZE, "every byte travelled once");
}

#[tokio::test]
async fn a_dropped_download_goes_on_at_its_last_checkpoint() {
    let case = Case::new();
    case.server.fault_times("/a", Fault::StallAfter(9 * MIB), 1);
    let stalled = tokio::sync::Notify::new();
    let what = case.wanted(&["a"]);
    let download = case.client.download(
        &what,
        |_| {},
        |mark| {
            case.keep(mark);
            if mark.at > 0 {
                stalled.notify_one();
            }
            Ok(())
        },
    );
    tokio::select! {
        ended = download => panic!("it should stall: {ended:?}"),
        () = stalled.notified() => {}
    }
    let cursor = case.cursor.get();
    assert!((1..=9 * MIB).contains(&cursor), "a checkpoint is made by time: {cursor}");
    // At once, while the writer of the first may still be at its last block.
    let done = case.get(&["a"]).await.unwrap();
    assert_eq!(done, Downloaded { received: SIZE - cursor, resumed: cursor });
    assert!(case.is_complete());
}

#[tokio::test]
async fn only_what_is_known_to_be_durable_is_trusted() {
    let case = Case::new();
    let mut torn = case.bytes[..(3 * MIB) as usize].to_vec();
    torn[(2 * MIB) as usize..].fill(0);
    std::fs::write(case.part(), &torn).unwrap();
    case.cursor.set(2 * MIB);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE - 2 * MIB, resumed: 2 * MIB }));
    assert_eq!(case.ranges("a"), [Some(format!("bytes={}-", 2 * MIB))]);
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_damaged_part_is_fetched_again_once() {
    let case = Case::new();
    std::fs::write(case.part(), vec![0; MIB as usize]).unwrap();
    case.cursor.set(MIB);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: 2 * SIZE - MIB, resumed: 0 }));
    assert_eq!(case.ranges("a"), [Some(format!("bytes={MIB}-")), None]);
    assert!(case.is_complete());
}

#[tokio::test]
async fn a_part_shorter_than_its_cursor_moves_the_cursor() {
    let case = Case::new();
    std::fs::write(case.part(), &case.bytes[..1000]).unwrap();
    case.cursor.set(2 * MIB);
    case.server.fault_times("/a", Fault::Status(503), 1);
    assert_eq!(code(&case.refused(&["a"]).await), ("SLW-A-UNAVAILABLE", RetryAdvice::Later));
    assert_eq!(case.cursor.get(), 1000);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE - 1000, resumed: 1000 }));
}

#[tokio::test]
async fn a_complete_part_is_only_hashed_again() {
    let case = Case::new();
    std::fs::write(case.part(), &case.bytes).unwrap();
    case.cursor.set(SIZE);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: 0, resumed: SIZE }));
    assert!(case.server.requests().is_empty());
    // The same with one byte changed is fetched.
    let mut damaged = case.bytes.clone();
    damaged[77] ^= 1;
    std::fs::write(case.part(), &damaged).unwrap();
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE, resumed: 0 }));
    assert!(case.is_complete());
}

#[tokio::test]
async fn an_answer_to_another_request_starts_the_download_over() {
    for (fault, tagged) in
        [(Fault::NewEtag, true), (Fault::IgnoreRange, true), (Fault::WrongContentRange(5), true), (Fault::ShiftedRange(5), false)]
    {
        let case = Case::new();
        case.server.fault_times("/a", Fault::CutAfter(5 * MIB), 1);
        assert_eq!(code(&case.refused(&["a"]).await), CUT);
        case.server.fault_times("/a", fault, 1);
        let done = case.get(&["a"]).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(done.resumed, 0, "{fault:?}");
        assert!(case.is_complete(), "{fault:?}");
        // What could be seen from the answer's head cost one file; wrong bytes are only found by the digest.
        let wanted = if tagged { SIZE } else { 2 * SIZE - 5 * MIB };
        assert_eq!(done.received, wanted, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_without_tags_still_resumes() {
    let case = Case::new();
    case.server.fault("/a", Fault::NoEtag);
    case.server.fault_times("/a", Fault::CutAfter(5 * MIB), 1);
    assert_eq!(code(&case.refused(&["a"]).await), CUT);
    assert_eq!(case.get(&["a"]).await, Ok(Downloaded { received: SIZE - 5 * MIB, resumed: 5 * MIB }));
    assert!(case.is_complete());
}

#[tokio::test]
async fn the_next_address_goes_on_where_the_last_one_stopped() {
    let case = Case::new();
    case.server.fault("/a", Fault::CutAfter(5 * MIB));
    assert_eq!(case.get(&["nothing", "a", "b"]).await, Ok(Downloaded { received: SIZE, resumed: 0 }));
    let asked = &case.server.requests_for("/b")[0];
    assert_eq!((asked.range.clone(), asked.if_range.clone()), (Some(format!("bytes={}-", 5 * MIB)), None), "a's tag is not b's");
    assert!(case.is_complete());
}

#[tokio::test]
async fn the_devices_own_trouble_is_not_the_servers() {
    let case = Case::new();
    let mut what = case.wanted(&["a", "b"]);
    what.part = case.dir.path().join("missing/artifact.part");
    let error = case.download(&what).await.unwrap_err();
    assert_eq!(code(&error), ("SLW-A-DISK-IO", RetryAdvice::Later), "{error}");
    assert!(case.server.requests().is_empty(), "nothing is asked for that cannot be kept");

    let what = case.wanted(&["a", "b"]);
    let full = Refusal { seen: "full".to_owned(), ..error.refusal };
    let error = case.client.download(&what, |_| {}, |_| Err(full.clone())).await.unwrap_err();
    assert_eq!((&error.refusal, error.retry()), (&full, RetryAdvice::Later), "a cursor that cannot be stored ends it");
    assert_eq!(case.ranges("b").len(), 0);
}
