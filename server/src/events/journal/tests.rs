//! The journal: what was written is read, by number, over restarts, crashes and full files.
//!
//! *Invariant:* as in the parent.

use super::*;

const SMALL: Bound = Bound { events: 10, bytes: 100_000 };

fn open(place: &Path, bound: Bound) -> (Journal, Option<Found>) {
    let (mut journal, found) =
        Journal::open(&place.join("events"), place.join("floor"), bound).expect("opened");
    if found.is_none() {
        journal.turn(JournalHead::default()).expect("begun");
    }
    (journal, found)
}

fn event(id: &str) -> JournalEvent {
    JournalEvent { id: id.into(), event: vec![7; 100], ..JournalEvent::default() }
}

fn write(journal: &mut Journal, count: usize) {
    for _ in 0..count {
        if journal.is_full() {
            journal.turn(JournalHead::default()).expect("turned");
        }
        let number = journal.next.to_string();
        journal.write(event(&number)).expect("written");
    }
}

fn ids(journal: &Journal, mut after: u64) -> Vec<u64> {
    let mut ids = Vec::new();
    while let Some(event) = journal.read(after).expect("kept") {
        assert_eq!((event.id.clone(), event.event.len()), (event.number.to_string(), 100));
        after = event.number;
        ids.push(after);
    }
    ids
}

#[test]
fn what_is_written_is_read_by_number_and_by_the_next_daemon() {
    let place = tempfile::tempdir().expect("a directory");
    let (mut journal, found) = open(place.path(), SMALL);
    assert!(found.is_none());
    assert!(ids(&journal, 0).is_empty());
    write(&mut journal, 7);
    assert_eq!(ids(&journal, 0), [1, 2, 3, 4, 5, 6, 7]);
    drop(journal);
    let (mut journal, found) = open(place.path(), SMALL);
    let found = found.expect("there is one");
    assert_eq!(found.since.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(ids(&journal, 5), [6, 7]);
    write(&mut journal, 2);
    assert_eq!(ids(&journal, 6), [7, 8, 9]);
}

#[test]
fn the_last_ones_are_kept_and_who_is_behind_them_is_told() {
    let place = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(place.path(), SMALL);
    for round in 0..40_u64 {
        write(&mut journal, 1);
        let kept = journal.newest() + 1 - journal.kept_from();
        assert!(kept >= 10.min(round + 1) && kept <= 20, "{kept} after {round}");
        assert_eq!(ids(&journal, journal.kept_from() - 1).len() as u64, kept);
    }
    let report = journal.read(journal.kept_from() - 2).expect_err("too old");
    assert_eq!(report.kind, Kind::TooOld);
    let (kept_from, newest) = (journal.kept_from(), journal.newest());
    drop(journal);
    let (journal, found) = open(place.path(), SMALL);
    assert_eq!((journal.kept_from(), journal.newest()), (kept_from, newest));
    let found = found.expect("there is one");
    assert_eq!(found.head.next, found.since.first().map_or(journal.next, |event| event.number));
    assert!(found.before.iter().all(|event| event.number < found.head.next));
}

#[test]
fn many_bytes_fill_a_file_as_many_events_do() {
    let place = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(place.path(), Bound { events: 1000, bytes: 1000 });
    write(&mut journal, 100);
    let kept = journal.newest() + 1 - journal.kept_from();
    assert!((7..=20).contains(&kept), "{kept}");
}

#[test]
fn a_file_that_is_cut_anywhere_is_read_up_to_there_and_gone_on_with() {
    let place = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(place.path(), SMALL);
    write(&mut journal, 15);
    drop(journal);
    let whole: Vec<Vec<u8>> = FILES
        .iter()
        .map(|name| std::fs::read(place.path().join("events").join(name)).expect("a file"))
        .collect();
    // The newer one, cut at every place: also within its head.
    for length in 0..whole[1].len() {
        let copy = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(copy.path().join("events")).expect("a directory");
        std::fs::write(copy.path().join("events/a"), &whole[0]).expect("written");
        std::fs::write(copy.path().join("events/b"), &whole[1][..length]).expect("written");
        std::fs::copy(place.path().join("floor"), copy.path().join("floor")).expect("copied");
        let (mut journal, _) = open(copy.path(), SMALL);
        let before = journal.newest();
        assert!((10..15).contains(&before), "{length}: {before}");
        write(&mut journal, 3);
        let all = ids(&journal, journal.kept_from() - 1);
        assert_eq!(all.last(), Some(&(before + 3)), "{length}");
        assert!(all.windows(2).all(|two| two[0] + 1 == two[1]), "{length}: {all:?}");
    }
}

#[test]
fn who_begins_anew_keeps_nothing_but_the_number() {
    let place = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(place.path(), SMALL);
    write(&mut journal, 15);
    journal.begin_anew(JournalHead::default()).expect("begun");
    assert_eq!((journal.kept_from(), journal.newest()), (16, 15));
    assert_eq!(journal.read(14).expect_err("it is gone").kind, Kind::TooOld);
    write(&mut journal, 2);
    drop(journal);
    let (journal, found) = open(place.path(), SMALL);
    assert_eq!((journal.kept_from(), ids(&journal, 15)), (16, vec![16, 17]));
    assert!(found.is_some_and(|found| found.before.is_empty()));
}

#[test]
fn numbers_go_on_where_the_journal_did_not_outlive_a_boot() {
    let place = tempfile::tempdir().expect("a directory");
    let (mut journal, _) = open(place.path(), SMALL);
    write(&mut journal, 12);
    drop(journal);
    std::fs::remove_dir_all(place.path().join("events")).expect("removed");
    let (mut journal, found) = open(place.path(), SMALL);
    assert!(found.is_none());
    assert!(journal.newest() >= 12, "{}", journal.newest());
    assert_eq!(journal.read(12).expect_err("it is gone").kind, Kind::TooOld);
    write(&mut journal, 1);
    assert_eq!(ids(&journal, journal.newest() - 1), [journal.newest()]);
}

#[test]
fn what_is_no_journal_is_none() {
    for rubbish in [&b""[..], b"\0", b"\xff\xff\xff\xff rubbish", b"\x02\0\0\0\x08\x09", &[0; 64]] {
        let place = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(place.path().join("events")).expect("a directory");
        std::fs::write(place.path().join("events/a"), rubbish).expect("written");
        let (mut journal, found) = open(place.path(), SMALL);
        assert!(found.is_none(), "{rubbish:?}");
        write(&mut journal, 3);
        assert_eq!(ids(&journal, journal.kept_from() - 1).len(), 3);
    }
}
