use devbox_fs::{Batch, FsError};
use devbox_types::file::WriteRequest;
use devbox_types::{ErrorCode, Grant, WriteCondition};

use crate::fixture::{Fixture, code, path};

fn add(batch: &mut Batch, request: WriteRequest, content: &str) -> Result<(), FsError> {
    batch.begin(request)?;
    batch.write(content.as_bytes())?;
    batch.finish()
}

fn to(name: &str) -> WriteRequest {
    WriteRequest { make_parents: true, ..WriteRequest::to(path(name)) }
}

#[test]
fn a_batch_publishes_all() {
    let fixture = Fixture::new();
    fixture.put("old", "before");
    let view = fixture.view();
    let mut batch = view.batch().expect("a batch");
    for number in 0..300 {
        add(&mut batch, to(&format!("/d{}/e/{number}", number % 150)), "x").expect("added");
    }
    add(&mut batch, to("/old"), "after").expect("added");
    assert_eq!(fixture.get("old"), "before");
    let report = batch.publish().expect("published");
    assert_eq!((report.entries, report.bytes), (301, 305));
    assert_eq!(fixture.get("old"), "after");
    assert_eq!(fixture.get("d149/e/299"), "x");
    assert!(fixture.everything().iter().all(|entry| !entry.contains(".~")));
    let left = std::fs::read_dir(fixture.host(".~devbox-state")).expect("the state").count();
    assert_eq!(left, 1, "only the slots of the running engine");
}

#[test]
fn a_failed_batch_changes_nothing() {
    let fixture = Fixture::new();
    fixture.put("a", "old");
    fixture.put("b", "old");
    std::fs::create_dir(fixture.host("dir")).expect("a directory");
    let before = fixture.everything();
    let view = fixture.view();
    let fail = |last: &dyn Fn(&mut Batch) -> Result<(), FsError>| {
        let mut batch = view.batch().expect("a batch");
        add(&mut batch, to("/a"), "new").expect("added");
        add(&mut batch, to("/new/deep/file"), "new").expect("added");
        let failed = last(&mut batch).and_then(|()| batch.publish().map(drop));
        assert_eq!(fixture.everything(), before);
        code(failed)
    };
    assert_eq!(fail(&|batch| add(batch, to("/dir"), "x")), ErrorCode::IsADirectory);
    assert_eq!(fail(&|batch| add(batch, to("/a"), "x")), ErrorCode::InvalidRequest);
    let absent = WriteRequest { condition: WriteCondition::Absent, ..to("/b") };
    assert_eq!(fail(&|batch| add(batch, absent.clone(), "x")), ErrorCode::PreconditionFailed);
    let short = WriteRequest { length: Some(5), ..to("/b") };
    assert_eq!(fail(&|batch| add(batch, short.clone(), "x")), ErrorCode::Interrupted);
    assert_eq!(fail(&|batch| batch.begin(to("/b"))), ErrorCode::InvalidRequest);
}

#[test]
fn what_changed_meanwhile_is_a_conflict_and_is_not_overwritten() {
    let fixture = Fixture::new();
    fixture.put("a", "old");
    fixture.put("b", "old");
    let view = fixture.view();
    let mut batch = view.batch().expect("a batch");
    for name in ["/a", "/b", "/c"] {
        add(&mut batch, to(name), "new").expect("added");
    }
    fixture.put("b", "by a process");
    fixture.put("c", "by a process");
    match batch.publish() {
        Err(FsError::Conflict { paths }) => assert_eq!(paths, [path("/b"), path("/c")]),
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.everything(), ["a old", "b by a process", "c by a process"]);
}

#[test]
fn a_batch_keeps_to_the_limits_of_its_grant() {
    let fixture = Fixture::new();
    let grant = Grant { max_bytes: Some(5), max_entries: Some(3), ..Grant::whole_box() };
    let view = fixture.root.enter(&grant).expect("a view");
    let mut batch = view.batch().expect("a batch");
    add(&mut batch, to("/a"), "123").expect("added");
    assert_eq!(code(add(&mut batch, to("/b"), "456")), ErrorCode::TooLarge);
    drop(batch);
    let mut batch = view.batch().expect("a batch");
    for name in ["/a", "/b", "/c"] {
        add(&mut batch, to(name), "1").expect("added");
    }
    assert_eq!(code(add(&mut batch, to("/d"), "1")), ErrorCode::TooLarge);
    drop(batch);
    assert_eq!(fixture.everything(), [""; 0]);
}

/// A box's agent has 1,024 descriptors unless it asks for more.
#[test]
fn files_in_many_directories_need_few_descriptors() {
    let fixture = Fixture::new();
    let view = fixture.view();
    let mut batch = view.batch().expect("a batch");
    let mut most = 0;
    let open = || std::fs::read_dir("/proc/self/fd").expect("the descriptors").count();
    let before = open();
    for number in 0..2_000 {
        let request = WriteRequest { make_parents: true, ..WriteRequest::to(path(&format!("/d{number}/f"))) };
        batch.add(request, b"x").expect("added");
        if number % 100 == 0 {
            most = most.max(open());
        }
    }
    let report = batch.publish().expect("published");
    assert_eq!((report.entries, report.bytes), (2_000, 2_000));
    // Other tests of this process have some open meanwhile.
    assert!(most < before + 600, "{most} open, {before} before");
}
