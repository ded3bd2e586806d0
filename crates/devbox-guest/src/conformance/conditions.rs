//! Entity tags, and what is made to depend on them.

use devbox_types::file::{ByteRange, ReadRequest, WriteRequest};
use devbox_types::{ErrorCode, Etag, WriteCondition};
use futures_util::future::join_all;

use super::ground::{Ground, fails_with};
use crate::body::Body;

pub(super) async fn a_known_version_is_not_sent_again(ground: Ground) {
    ground.write("file", "content").await;
    let tag = ground.stat("file").await.expect("an entry").etag.expect("a tag");
    let read = |tags| ReadRequest { if_none_match: tags, ..ReadRequest::whole(ground.path("file")) };
    let content = ground.guest.read(&ground.grant, read(vec![tag])).await.expect("an answer");
    assert!(content.head.not_modified);
    assert_eq!(content.body.collect(100).await.expect("no content"), "");
    let other = Etag::of_version(1, 2, 3, false);
    assert_eq!(ground.try_read(read(vec![other])).await.expect("content"), "content");
}

pub(super) async fn a_range_of_an_old_version_is_the_whole(ground: Ground) {
    ground.write("file", "0123456789").await;
    let tag = ground.strong_tag("file").await;
    let range = ByteRange::FromTo { first: 5, last: None };
    let request = ReadRequest { range, if_range: Some(tag), ..ReadRequest::whole(ground.path("file")) };
    assert_eq!(ground.try_read(request.clone()).await.expect("the range"), "56789");
    ground.write("file", "abcdefghij").await;
    assert_eq!(ground.try_read(request).await.expect("the whole"), "abcdefghij");
}

async fn write_if(
    ground: &Ground,
    condition: WriteCondition,
    bytes: &'static str,
) -> Result<bool, devbox_types::Problem> {
    let request = WriteRequest { condition, ..WriteRequest::to(ground.path("file")) };
    ground.try_write(request, Body::from_bytes(bytes)).await.map(|written| written.created)
}

pub(super) async fn absent_means_absent(ground: Ground) {
    assert_eq!(
        write_if(&ground, WriteCondition::Absent, "first").await.map_err(|problem| problem.code),
        Ok(true)
    );
    fails_with(write_if(&ground, WriteCondition::Absent, "second").await, ErrorCode::PreconditionFailed);
    assert_eq!(ground.read("file").await, "first");
    ground.holds(&["file"]).await;
}

pub(super) async fn present_means_present(ground: Ground) {
    fails_with(write_if(&ground, WriteCondition::Present, "first").await, ErrorCode::PreconditionFailed);
    ground.holds(&[]).await;
    ground.write("file", "first").await;
    write_if(&ground, WriteCondition::Present, "second").await.expect("a replace");
    assert_eq!(ground.read("file").await, "second");
}

pub(super) async fn a_stale_tag_changes_nothing(ground: Ground) {
    ground.write("file", "first").await;
    let stale = ground.strong_tag("file").await;
    ground.write("file", "second").await;
    let condition = WriteCondition::Matches(vec![stale]);
    fails_with(write_if(&ground, condition, "third").await, ErrorCode::PreconditionFailed);
    assert_eq!(ground.read("file").await, "second");
    let current = WriteCondition::Matches(vec![ground.strong_tag("file").await]);
    write_if(&ground, current, "third").await.expect("a replace");
    assert_eq!(ground.read("file").await, "third");
    ground.holds(&["file"]).await;
}

pub(super) async fn of_two_writers_with_one_tag_one_wins(ground: Ground) {
    for _ in 0..20 {
        ground.write("file", "first").await;
        let condition = WriteCondition::Matches(vec![ground.strong_tag("file").await]);
        let writers = [("left", condition.clone()), ("right", condition)];
        let results = join_all(writers.map(|(bytes, condition)| write_if(&ground, condition, bytes))).await;
        let winners: Vec<_> =
            ["left", "right"].into_iter().zip(&results).filter(|(_, result)| result.is_ok()).collect();
        assert_eq!(winners.len(), 1, "exactly one wins: {results:?}");
        assert_eq!(ground.read("file").await, winners[0].0);
        for problem in results.into_iter().filter_map(Result::err) {
            assert_eq!(problem.code, ErrorCode::PreconditionFailed);
        }
    }
}

pub(super) async fn of_many_creators_one_wins(ground: Ground) {
    let creators = (0..8).map(|_| write_if(&ground, WriteCondition::Absent, "mine"));
    let results = join_all(creators).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    ground.holds(&["file"]).await;
}
