//! The outbox through its public interface: what waits is told, once where that can be, and not for ever.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use counterfoil_notify::*;
use far_side::*;

/// Waits of 1, 2, 4 … 10 seconds, five tries.
const RETRIES: Retries = Retries { tries: 5, first: Duration::from_secs(1), most: Duration::from_secs(10) };

fn open(dir: &Path, clock: &Hand, channels: Vec<(&str, Box<dyn Channel>)>) -> Outbox {
    let channels = channels.into_iter().map(|(channel, open)| (name(channel), open)).collect();
    Outbox::open(dir, channels, clock.config(RETRIES)).unwrap()
}

/// Delivers on a channel until there is nothing to do; gives how long it would be waited.
fn settle(outbox: &Outbox, channel: &str) -> Option<Duration> {
    loop {
        if let Step::Wait(time) = outbox.deliver_next(&name(channel)).unwrap() {
            return time;
        }
    }
}

fn of(outbox: &Outbox, channel: &str) -> (usize, u64, u64) {
    let status = outbox.status();
    let of = &status.channels[&name(channel)];
    (of.waiting, of.delivered, of.given_up)
}

fn last_error(outbox: &Outbox, channel: &str) -> String {
    outbox.status().channels[&name(channel)].last_error.clone().unwrap().why
}

#[test]
fn a_message_is_told_once_on_each_of_its_channels() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let channels = || vec![("a", scripted(&log, |_| Ok(()))), ("b", scripted(&log, |_| Ok(())))];
    let outbox = open(dir.path(), &clock, channels());
    let batch = [to(&["a", "b"], message("one")), to(&["b"], message("two"))];
    assert_eq!(outbox.enqueue(&batch).unwrap(), Enqueued { new: 3, known: 0 });
    assert_eq!(outbox.enqueue(&batch).unwrap(), Enqueued { new: 0, known: 3 });
    assert_eq!((settle(&outbox, "a"), settle(&outbox, "b")), (None, None));
    // Known when it was told, and after the outbox was opened again; a new channel is new.
    assert_eq!(outbox.enqueue(&batch).unwrap(), Enqueued { new: 0, known: 3 });
    drop(outbox);
    let outbox = open(dir.path(), &clock, channels());
    assert_eq!(outbox.enqueue(&batch).unwrap(), Enqueued { new: 0, known: 3 });
    assert_eq!(outbox.enqueue(&[to(&["a", "b"], message("two"))]).unwrap(), Enqueued { new: 1, known: 1 });
    settle(&outbox, "a");
    settle(&outbox, "b");
    assert_eq!((of(&outbox, "a"), of(&outbox, "b")), ((0, 2, 0), (0, 2, 0)));
    let told: Vec<(String, String)> = [("a", "one"), ("b", "one"), ("b", "two"), ("a", "two")]
        .map(|(channel, id)| (DeliveryId::of(&name(channel), id).to_string(), id.to_owned()))
        .into();
    assert_eq!(*log.lock().unwrap(), told);
}

#[test]
fn one_id_twice_in_a_batch_is_one_message_and_the_first_is_told() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Arc::new(Mutex::new(Vec::new())));
    let titles = Arc::clone(&log);
    let channel: Box<dyn Channel> = scripted(&Log::default(), move |delivery| {
        titles.lock().unwrap().push(delivery.message.title().to_owned());
        Ok(())
    });
    let outbox = open(dir.path(), &clock, vec![("a", channel)]);
    let other = Message::new(UnverifiedMessage { title: "other".to_owned(), ..unverified("m") }).unwrap();
    let batch = [to(&["a", "a"], message("m")), to(&["a"], other.clone())];
    assert_eq!(outbox.enqueue(&batch).unwrap(), Enqueued { new: 1, known: 2 });
    assert_eq!(outbox.enqueue(&[to(&["a"], other)]).unwrap(), Enqueued { new: 0, known: 1 });
    settle(&outbox, "a");
    assert_eq!(*log.lock().unwrap(), ["Deploy to production?"]);
}

#[test]
fn a_failure_is_tried_again_later_and_later_until_the_tries_are_used_up() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Err(Failure::retry("no\r\n"))))]);
    outbox.enqueue(&[to(&["a"], message("m"))]).unwrap();
    for (tries, wait) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        assert_eq!(settle(&outbox, "a"), Some(Duration::from_secs(wait)));
        assert_eq!((log.lock().unwrap().len(), of(&outbox, "a")), (tries, (1, 0, 0)));
        assert_eq!(last_error(&outbox, "a"), r"no\u{d}\u{a}");
        clock.set(clock.now() + wait * 1000 - 1);
        assert_eq!(settle(&outbox, "a"), Some(Duration::from_millis(1)));
        clock.set(clock.now() + 1);
    }
    settle(&outbox, "a");
    assert_eq!((log.lock().unwrap().len(), of(&outbox, "a")), (5, (0, 0, 1)));
    assert_eq!(last_error(&outbox, "a"), r"failed 5 times, the last: no\u{d}\u{a}");
    assert_eq!(outbox.enqueue(&[to(&["a"], message("m"))]).unwrap().known, 1);
}

#[test]
fn tries_and_waits_outlive_the_process() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let failing = || vec![("a", scripted(&log, |_| Err(Failure::retry("no"))))];
    let outbox = open(dir.path(), &clock, failing());
    outbox.enqueue(&[to(&["a"], message("m"))]).unwrap();
    drop(outbox);
    for wait in [1, 2, 4, 8] {
        settle(&open(dir.path(), &clock, failing()), "a");
        assert_eq!(settle(&open(dir.path(), &clock, failing()), "a"), Some(Duration::from_secs(wait)));
        clock.set(clock.now() + wait * 1000);
    }
    let outbox = open(dir.path(), &clock, failing());
    settle(&outbox, "a");
    assert_eq!((log.lock().unwrap().len(), of(&outbox, "a")), (5, (0, 0, 1)));
}

#[test]
fn what_the_far_side_asks_for_is_heeded_up_to_an_hour() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let mut asks = [7, 1_000_000].into_iter();
    let channel = scripted(&log, move |_| match asks.next() {
        Some(seconds) => {
            Err(Failure::Retry { why: "later".to_owned(), after: Some(Duration::from_secs(seconds)) })
        }
        None => Ok(()),
    });
    let outbox = open(dir.path(), &clock, vec![("a", channel)]);
    outbox.enqueue(&[to(&["a"], message("one")), to(&["a"], message("two"))]).unwrap();
    // It is the channel that is asked to wait: the other message waits as well.
    assert_eq!(settle(&outbox, "a"), Some(Duration::from_secs(7)));
    assert_eq!(log.lock().unwrap().len(), 1);
    clock.set(7_000);
    assert_eq!(settle(&outbox, "a"), Some(Duration::from_secs(3600)));
    clock.set(3_607_000);
    settle(&outbox, "a");
    assert_eq!(of(&outbox, "a"), (0, 2, 0));
}

#[test]
fn what_the_far_side_will_not_have_is_not_tried_again_and_holds_nothing_up() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let channel = scripted(&log, |delivery| match delivery.message.id() {
        "bad" => Err(Failure::never("too long")),
        _ => Ok(()),
    });
    let outbox = open(dir.path(), &clock, vec![("a", channel)]);
    outbox.enqueue(&[to(&["a"], message("bad")), to(&["a"], message("good"))]).unwrap();
    assert_eq!(settle(&outbox, "a"), None);
    assert_eq!((of(&outbox, "a"), last_error(&outbox, "a")), ((0, 1, 1), "too long".to_owned()));
}

#[test]
fn a_message_is_dropped_when_its_time_is_over_and_not_before() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    clock.set(5_000);
    outbox.enqueue(&[to(&["a"], until("over", 4_999)), to(&["a"], until("just", 5_000))]).unwrap();
    settle(&outbox, "a");
    assert_eq!(of(&outbox, "a"), (0, 1, 1));
    assert_eq!(log.lock().unwrap()[0].1, "just");
    assert_eq!(last_error(&outbox, "a"), "not told in time");
}

#[test]
fn it_is_given_up_at_once_where_the_next_try_would_be_too_late() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Err(Failure::retry("no"))))]);
    outbox.enqueue(&[to(&["a"], until("late", 999)), to(&["a"], until("later", 2_500))]).unwrap();
    assert_eq!(settle(&outbox, "a"), Some(Duration::from_secs(1)));
    assert_eq!(
        (of(&outbox, "a"), last_error(&outbox, "a")),
        ((1, 0, 1), "too late for another try; the last: no".to_owned())
    );
    clock.set(1_000);
    // The channel failed twice: two seconds for it, one for this message.
    assert_eq!(settle(&outbox, "a"), Some(Duration::from_millis(1_501)));
    clock.set(2_501);
    assert_eq!(settle(&outbox, "a"), Some(Duration::from_millis(499)));
    assert_eq!((of(&outbox, "a"), log.lock().unwrap().len()), ((0, 0, 2), 2));
    assert_eq!(last_error(&outbox, "a"), "not told in time; failed tries: 1, the last: no");
}

#[test]
fn many_are_given_up_with_few_syncs() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    let batch: Vec<Addressed> = (0..256).map(|at| to(&["a"], until(&format!("m{at}"), 1_000))).collect();
    outbox.enqueue(&batch).unwrap();
    outbox.enqueue(&[to(&["a"], until("last", 1_000))]).unwrap();
    let before = outbox.status().work.syncs;
    clock.set(1_001);
    settle(&outbox, "a");
    assert_eq!((of(&outbox, "a"), outbox.status().work.syncs - before), ((0, 0, 257), 2));
}

#[test]
fn a_clock_that_is_set_back_does_not_silence_a_channel() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let mut answers = [Err(Failure::retry("no"))].into_iter();
    let channel = scripted(&log, move |_| answers.next().unwrap_or(Ok(())));
    let outbox = open(dir.path(), &clock, vec![("a", channel)]);
    clock.set(9_000_000);
    outbox.enqueue(&[to(&["a"], message("m"))]).unwrap();
    assert!(settle(&outbox, "a").is_some());
    clock.set(1_000);
    assert_eq!(settle(&outbox, "a"), None);
    assert_eq!(of(&outbox, "a"), (0, 1, 0));
}

#[test]
fn what_is_over_is_forgotten_a_day_after_it_would_be_dropped_anyway() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    let enqueue = |outbox: &Outbox, id: &str| outbox.enqueue(&[to(&["a"], until(id, 1_000))]).unwrap();
    enqueue(&outbox, "m");
    settle(&outbox, "a");
    let day = limits::REMEMBER.as_millis() as u64;
    clock.set(1_000 + day);
    enqueue(&outbox, "n");
    assert_eq!((enqueue(&outbox, "m").known, outbox.status().remembered), (1, 1));
    clock.set(1_001 + day);
    enqueue(&outbox, "o");
    assert_eq!(outbox.status().remembered, 0);
    // It would be dropped, so nobody is told twice; and the file, which says both, can be read.
    assert_eq!(enqueue(&outbox, "m").new, 1);
    settle(&outbox, "a");
    assert_eq!(log.lock().unwrap().len(), 1);
    let status = outbox.status();
    drop(outbox);
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    assert_eq!(outbox.status().channels, status.channels);
}

/// In one file: told, forgotten, and enqueued again, to be told until later.
#[test]
fn what_was_forgotten_and_came_again_is_not_forgotten_with_what_was() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let channels = || vec![("a", scripted(&log, |_| Ok(())))];
    let outbox = open(dir.path(), &clock, channels());
    outbox.enqueue(&[to(&["a"], until("m", 1_000))]).unwrap();
    settle(&outbox, "a");
    clock.set(1_001 + limits::REMEMBER.as_millis() as u64);
    outbox.enqueue(&[to(&["a"], message("n"))]).unwrap();
    assert_eq!(outbox.enqueue(&[to(&["a"], message("m"))]).unwrap().new, 1);
    drop(outbox);
    let outbox = open(dir.path(), &clock, channels());
    assert_eq!(outbox.enqueue(&[to(&["a"], message("m"))]).unwrap().known, 1);
    settle(&outbox, "a");
    assert_eq!((of(&outbox, "a"), log.lock().unwrap().len()), ((0, 3, 0), 3));
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    let good = || to(&["a"], message("good"));
    let error = outbox.enqueue(&[good(), to(&["b"], message("m"))]).unwrap_err();
    assert!(matches!(error, OutboxError::NoSuchChannel(channel) if channel == name("b")));
    let error = outbox.enqueue(&[good(), to(&[], message("m"))]).unwrap_err();
    assert!(matches!(error, OutboxError::NoChannel { id } if id == "m"));
    let many = |count: usize| vec![good(); count];
    assert!(matches!(outbox.enqueue(&many(limits::BATCH + 1)), Err(OutboxError::Batch { count: 257 })));
    assert_eq!(outbox.status().waiting, 0);
    assert_eq!(outbox.enqueue(&[]).unwrap(), Enqueued::default());
    assert_eq!(outbox.enqueue(&many(limits::BATCH)).unwrap(), Enqueued { new: 1, known: 255 });
}

#[test]
fn no_more_wait_than_the_limits_allow() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let channels = (0..64).map(|at| format!("c{at}")).collect::<Vec<_>>();
    let names: Vec<&str> = channels.iter().map(String::as_str).collect();
    let open_all =
        || open(dir.path(), &clock, names.iter().map(|name| (*name, scripted(&log, |_| Ok(())))).collect());
    let outbox = open_all();
    let batch: Vec<Addressed> = (0..256).map(|at| to(&names, message(&format!("m{at}")))).collect();
    assert_eq!(outbox.enqueue(&batch).unwrap().new, limits::WAITING);
    let one = [to(&["c0"], message("more"))];
    assert!(
        matches!(outbox.enqueue(&one), Err(OutboxError::Full { waiting, .. }) if waiting == limits::WAITING + 1)
    );
    assert_eq!(outbox.enqueue(&batch).unwrap().known, limits::WAITING, "what is known needs no room");
    drop(outbox);
    let outbox = open_all();
    assert!(matches!(outbox.enqueue(&one), Err(OutboxError::Full { .. })));
    outbox.deliver_next(&name("c0")).unwrap();
    outbox.enqueue(&one).unwrap();
}

#[test]
fn no_more_bytes_wait_than_the_limits_allow() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    let large = |at: usize| {
        let text = "x".repeat(limits::TEXT_BYTES);
        to(&["a"], Message::new(UnverifiedMessage { text, ..unverified(&format!("m{at:05}")) }).unwrap())
    };
    let fit = limits::WAITING_BYTES / large(0).message.to_line().len();
    for batch in (0..fit).collect::<Vec<_>>().chunks(limits::BATCH) {
        outbox.enqueue(&batch.iter().map(|at| large(*at)).collect::<Vec<_>>()).unwrap();
    }
    let full = outbox.enqueue(&[large(fit)]).unwrap_err();
    assert!(matches!(full, OutboxError::Full { bytes, .. } if bytes > limits::WAITING_BYTES), "{full}");
    outbox.deliver_next(&name("a")).unwrap();
    outbox.enqueue(&[large(fit)]).unwrap();
}

/// The one that is forgotten first is the one whose time is over first.
#[test]
fn no_more_is_remembered_than_the_limit() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::default());
    let channels = || vec![("a", scripted(&Log::default(), |_| Ok(())))];
    let outbox = open(dir.path(), &clock, channels());
    clock.set(1_000_000);
    let late = |at: usize| to(&["a"], until(&format!("m{at}"), at as u64));
    for batch in (0..=limits::REMEMBERED).collect::<Vec<_>>().chunks(limits::BATCH) {
        outbox.enqueue(&batch.iter().map(|at| late(*at)).collect::<Vec<_>>()).unwrap();
        settle(&outbox, "a");
    }
    let check = |outbox: &Outbox| {
        assert_eq!(outbox.status().remembered, limits::REMEMBERED);
        assert_eq!(outbox.enqueue(&[late(1), late(limits::REMEMBERED)]).unwrap().known, 2);
    };
    check(&outbox);
    drop(outbox);
    let outbox = open(dir.path(), &clock, channels());
    check(&outbox);
    assert_eq!(outbox.enqueue(&[late(0)]).unwrap().new, 1);
    settle(&outbox, "a");
    assert_eq!(of(&outbox, "a"), (0, 0, limits::REMEMBERED as u64 + 2));
}

#[test]
fn there_are_no_two_channels_of_a_name_and_no_more_than_256() {
    let dir = tempfile::tempdir().unwrap();
    let channel = || scripted(&Log::default(), |_| Ok(()));
    let of = |names: Vec<String>| {
        let channels = names.iter().map(|of| (name(of), channel())).collect();
        Outbox::open(dir.path(), channels, Config::default()).map(drop)
    };
    assert!(matches!(of(vec!["a".into(), "a".into()]), Err(OutboxError::TwoChannels(_))));
    of((0..256).map(|at| format!("c{at}")).collect()).unwrap();
    assert!(matches!(
        of((0..257).map(|at| format!("c{at}")).collect()),
        Err(OutboxError::Channels { count: 257 })
    ));
}

#[test]
fn what_waits_for_a_channel_that_is_gone_waits_until_its_time_is_over() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    outbox.enqueue(&[to(&["a"], until("one", 1_000)), to(&["a"], until("two", 2_000))]).unwrap();
    drop(outbox);
    let outbox = open(dir.path(), &clock, Vec::new());
    assert!(!outbox.status().channels[&name("a")].is_open);
    assert_eq!(settle(&outbox, "a"), Some(Duration::from_millis(1_001)));
    clock.set(1_500);
    assert_eq!(settle(&outbox, "a"), Some(Duration::from_millis(501)));
    assert_eq!(of(&outbox, "a"), (1, 0, 1));
    drop(outbox);
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    settle(&outbox, "a");
    assert_eq!((of(&outbox, "a"), log.lock().unwrap().len()), ((0, 1, 1), 1));
}

#[test]
fn a_second_outbox_on_the_directory_is_refused() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Hand::default());
    let first = open(dir.path(), &clock, Vec::new());
    let second = Outbox::open(dir.path(), Vec::new(), Config::default());
    let Err(OutboxError::InUse { path }) = second else { panic!("two") };
    assert_eq!(path, dir.path().join("outbox.lock"));
    drop(first);
    open(dir.path(), &clock, Vec::new());
}

/// Opening writes each line once, in one sync; afterwards the first is delivered with one more, whatever waits behind it.
#[test]
fn ten_thousand_that_wait_are_opened_with_work_for_ten_thousand() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let channels = || vec![("a", scripted(&log, |_| Ok(())))];
    let outbox = open(dir.path(), &clock, channels());
    for batch in (0..10_000).collect::<Vec<_>>().chunks(limits::BATCH) {
        let batch: Vec<Addressed> = batch.iter().map(|at| to(&["a"], message(&format!("m{at}")))).collect();
        outbox.enqueue(&batch).unwrap();
    }
    drop(outbox);
    let outbox = open(dir.path(), &clock, channels());
    let status = outbox.status();
    assert_eq!(status.waiting, 10_000);
    // With the first line and that of the channel.
    assert_eq!(status.work, Work { lines: 10_002, syncs: 1, rewrites: 1 });
    assert_eq!(outbox.deliver_next(&name("a")).unwrap(), Step::Done);
    assert_eq!(outbox.status().work, Work { lines: 10_003, syncs: 2, rewrites: 1 });
    assert_eq!(log.lock().unwrap()[0].1, "m0", "in the order in which they came");
}

/// The file is written anew only when it has doubled: for a thousand deliveries, few times, and then it holds what is
/// remembered.
#[test]
fn the_file_does_not_grow_for_ever_and_is_not_written_anew_all_the_time() {
    let (dir, clock, log) = (tempfile::tempdir().unwrap(), Hand::default(), Log::default());
    let outbox = open(dir.path(), &clock, vec![("a", scripted(&log, |_| Ok(())))]);
    let text = "x".repeat(8_000);
    for at in 0..1_000 {
        let text = text.clone();
        let not_after = UnixMillis(at * 1_000 + 999);
        let message = UnverifiedMessage { text, not_after, ..unverified(&format!("m{at}")) };
        outbox.enqueue(&[to(&["a"], Message::new(message).unwrap())]).unwrap();
        settle(&outbox, "a");
        clock.set(clock.now() + 1_000);
        let file = std::fs::metadata(dir.path().join("outbox.jsonl")).unwrap().len();
        assert_eq!(outbox.status().file_bytes, file);
        assert!(file < 3 * limits::GROWTH_BYTES, "{at}: {file}");
    }
    let (status, work) = (outbox.status(), outbox.status().work);
    assert_eq!(of(&outbox, "a"), (0, 1_000, 0));
    assert!((2..=10).contains(&work.rewrites) && work.lines < 10_000, "{work:?}");
    drop(outbox);
    let outbox = open(dir.path(), &clock, Vec::new());
    assert_eq!((outbox.status().remembered, of(&outbox, "a")), (status.remembered, (0, 1_000, 0)));
}

#[test]
fn a_slow_a_dead_and_a_panicking_channel_hold_no_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let (good, slow, odd) = (Log::default(), Log::default(), Log::default());
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let dead = Webhook::new(&nobody(), vec![Secret::new(&[7; 32]).unwrap()]).unwrap();
    let mut panics = 1;
    let channels: Vec<(ChannelName, Box<dyn Channel>)> = vec![
        (name("good"), scripted(&good, |_| Ok(()))),
        (name("dead"), Box::new(dead)),
        (
            name("slow"),
            scripted(&slow, move |_| {
                let _ = held.lock().unwrap().recv();
                Ok(())
            }),
        ),
        (
            name("odd"),
            scripted(&odd, move |_| {
                panics -= 1;
                assert!(panics < 0, "as the test wants it");
                Ok(())
            }),
        ),
    ];
    let outbox = Arc::new(Outbox::open(dir.path(), channels, quick()).unwrap());
    let couriers = Couriers::start(Arc::clone(&outbox)).unwrap();
    for at in 0..100 {
        outbox.enqueue(&[to(&["good", "dead", "slow", "odd"], message(&format!("m{at}")))]).unwrap();
    }
    eventually("all is told on the good one, and on the one that panicked", || {
        of(&outbox, "good") == (0, 100, 0) && of(&outbox, "odd") == (0, 100, 0)
    });
    eventually("the dead one is tried again", || last_error(&outbox, "dead").contains("127.0.0.1"));
    assert_eq!((of(&outbox, "dead").0, of(&outbox, "slow")), (100, (100, 0, 0)));
    assert_eq!(last_error(&outbox, "odd"), "the channel panicked");
    drop(release);
    eventually("the slow one goes on", || of(&outbox, "slow") == (0, 100, 0));
    // In the order in which they came, each once.
    let ids: Vec<String> = good.lock().unwrap().iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids, (0..100).map(|at| format!("m{at}")).collect::<Vec<_>>());
    drop(couriers);
    assert_eq!(of(&outbox, "dead").0, 100);
}

/// They look by themselves only after [`limits::LOOK`].
#[test]
fn couriers_are_woken_by_what_is_enqueued_and_to_stop() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::default());
    let outbox = Outbox::open(dir.path(), vec![(name("a"), scripted(&log, |_| Ok(())))], quick()).unwrap();
    let outbox = Arc::new(outbox);
    let couriers = Couriers::start(Arc::clone(&outbox)).unwrap();
    for id in ["one", "two"] {
        std::thread::sleep(Duration::from_millis(50));
        outbox.enqueue(&[to(&["a"], message(id))]).unwrap();
        within(limits::LOOK / 2, "it is told", || outbox.status().waiting == 0);
    }
    let stopped = std::thread::spawn(move || drop(couriers));
    within(limits::LOOK / 2, "they stop", || stopped.is_finished());
}

#[test]
fn couriers_give_up_what_is_too_late_for_a_channel_that_is_gone() {
    let (dir, log) = (tempfile::tempdir().unwrap(), Log::default());
    let outbox = Outbox::open(dir.path(), vec![(name("a"), scripted(&log, |_| Ok(())))], quick()).unwrap();
    outbox.enqueue(&[to(&["a"], until("m", 1_000))]).unwrap();
    drop(outbox);
    let outbox = Arc::new(Outbox::open(dir.path(), Vec::new(), quick()).unwrap());
    let _couriers = Couriers::start(Arc::clone(&outbox)).unwrap();
    eventually("it is given up", || of(&outbox, "a") == (0, 0, 1));
}
