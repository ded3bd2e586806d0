//! The client against the router, over both versions of HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use devbox_guest::{
    Archives as _, Body, BodyError, Connection, ContentCoding, Files as _, GrantMode, Guest as _,
    GuestClient, HttpClient, Protocol, Transport, UploadPart,
};
use devbox_router::agent_router;
use devbox_types::archive::ArchiveRequest;
use devbox_types::entry::StatRequest;
use devbox_types::file::{ByteRange, Durability, ReadRequest, WriteRequest};
use devbox_types::operation::Operation;
use devbox_types::{
    ActingUser, Algorithms, BoxPath, DigestAlgorithm, DigestHasher, Digests, ErrorCode, Etag, Grant,
    ListRequest, Problem, Right, Rights, Timestamp, WriteCondition,
};
use futures_util::stream::{self, StreamExt as _};

use crate::fake::FakeGuest;
use crate::serving::{Loopback, over_http1, over_http2};

fn path(bytes: &[u8]) -> BoxPath {
    BoxPath::parse(bytes).expect("a path")
}

fn both(guest: &Arc<FakeGuest>) -> [GuestClient; 2] {
    [over_http1(guest.clone()), over_http2(guest.clone())]
}

/// All that are known, of this content.
fn digests(content: &[u8]) -> Digests {
    let all = DigestAlgorithm::ALL.into_iter().fold(Algorithms::default(), Algorithms::with);
    DigestHasher::digest(all, content)
}

#[tokio::test]
async fn contents_of_any_size_go_both_ways() {
    let guest = FakeGuest::with(&[]);
    let grant = Grant::whole_box();
    for client in both(&guest) {
        for size in [0, 1, 4096, 65_536, 65_537, 5_000_000] {
            let content = Bytes::from(vec![b'x'; size]);
            let length = u64::try_from(size).ok();
            let streamed = Body::from_stream(stream::iter(vec![Ok(content.clone())]), None);
            for (body, length) in [(Body::from_bytes(content.clone()), length), (streamed, None)] {
                let request = WriteRequest { length, ..WriteRequest::to(path(b"a b/\xff")) };
                let written = client.write(&grant, request, body).await.expect("it is written");
                assert_eq!(Some(written.entry.size_bytes), u64::try_from(size).ok());
                let read =
                    client.read(&grant, ReadRequest::whole(path(b"a b/\xff"))).await.expect("it is read");
                assert_eq!(read.body.collect(8 << 20).await.expect("content"), content);
            }
        }
    }
}

#[tokio::test]
async fn every_option_of_a_write_arrives() {
    let guest = FakeGuest::with(&[("/file", b"old")]);
    for client in both(&guest) {
        let current =
            client.stat(&Grant::whole_box(), StatRequest::of(path(b"file"))).await.expect("an entry").etag;
        let request = WriteRequest {
            condition: WriteCondition::Matches(vec![
                Etag::of_version(0, 0, 0, false),
                current.expect("a tag"),
            ]),
            mode: Some(0o4711),
            modified: Some(Timestamp::from_nanoseconds(123_456_789)),
            make_parents: true,
            nofollow: true,
            durability: Durability::Power,
            length: Some(3),
            digests: digests(b"new"),
            ..WriteRequest::to(path(b"file"))
        };
        client
            .write(&Grant::whole_box(), request.clone(), Body::from_bytes("new"))
            .await
            .expect("it is written");
        assert_eq!(guest.seen().writes.pop(), Some(request));
        let request = WriteRequest { condition: WriteCondition::Absent, ..WriteRequest::to(path(b"file")) };
        let refused = client.write(&Grant::whole_box(), request, Body::from_bytes("new")).await;
        assert_eq!(refused.expect_err("it exists").code, ErrorCode::PreconditionFailed);
    }
}

#[tokio::test]
async fn every_option_of_a_read_arrives() {
    let guest = FakeGuest::with(&[("/file", b"0123456789")]);
    let grant = Grant::whole_box();
    for client in both(&guest) {
        let whole = ReadRequest::whole(path(b"file"));
        let part = ReadRequest { range: ByteRange::FromTo { first: 2, last: Some(4) }, ..whole.clone() };
        let read = client.read(&grant, part).await.expect("it is read");
        assert_eq!((read.head.offset, read.head.length, read.head.partial), (2, 3, true));
        assert_eq!(read.body.collect(10).await.expect("content"), "234");
        let end = ReadRequest { range: ByteRange::Suffix { length: 2 }, ..whole.clone() };
        let read = client.read(&grant, end).await.expect("it is read");
        assert_eq!(read.body.collect(10).await.expect("content"), "89");
        let outside = ReadRequest { range: ByteRange::FromTo { first: 10, last: None }, ..whole.clone() };
        let refused = client.read(&grant, outside).await.expect_err("it is outside");
        assert_eq!(refused.code, ErrorCode::RangeNotSatisfiable);
        let head = client.read(&grant, ReadRequest { head: true, ..whole.clone() }).await.expect("a head");
        assert_eq!((head.head.length, head.body.length()), (10, Some(0)));
        let known = head.head.entry.etag.expect("a tag");
        let known = ReadRequest { if_none_match: vec![Etag::of_version(0, 0, 0, true), known], ..whole };
        assert!(client.read(&grant, known).await.expect("an answer").head.not_modified);
    }
}

#[tokio::test]
async fn names_listings_and_archives_arrive() {
    let guest = FakeGuest::with(&[("/a", b"1"), ("/b", b"22"), ("/breaks/c", b"333")]);
    let grant = Grant::whole_box();
    for client in both(&guest) {
        let request =
            ListRequest { cursor: Some(b"a\xff".to_vec()), limit: 7, depth: 3, path: BoxPath::root() };
        let page = client.list(&grant, request.clone()).await.expect("a page");
        assert_eq!(page.entries.len(), 2);
        assert_eq!(guest.seen().lists.pop(), Some(request));
        let walk = client.walk(&grant, ListRequest::of(BoxPath::root())).await.expect("a walk");
        let sizes: Vec<_> = walk.map(|entry| entry.expect("an entry").size_bytes).collect().await;
        assert_eq!(sizes, [1, 2, 3]);
        let mut walk = client.walk(&grant, ListRequest::of(path(b"breaks"))).await.expect("a walk");
        let last = walk.by_ref().skip(1).next().await.expect("an item");
        assert_eq!(last.expect_err("a problem").code, ErrorCode::Busy);
        let operation = Operation::Chmod { path: path(b"\xff/x"), mode: 0o600 };
        client.apply(&grant, vec![operation.clone()]).await.expect("a report");
        assert_eq!(guest.seen().operations.pop(), Some(operation));
        let packed = |name: &[u8]| ArchiveRequest::of(vec![path(name).into()], Default::default());
        let archive = client.pack(&grant, packed(b"a")).await.expect("an archive");
        assert_eq!(archive.collect(100).await.expect("content"), "PK...");
        assert_eq!(
            client.pack(&grant, packed(b"gone")).await.expect_err("no file").code,
            ErrorCode::NotFound
        );
        assert_eq!(client.greet().await.expect("a greeting").build, "fake");
    }
}

#[tokio::test]
async fn a_batch_arrives_with_every_option() {
    let guest = FakeGuest::with(&[]);
    for client in both(&guest) {
        let request = |name: &[u8]| WriteRequest { length: Some(4), ..WriteRequest::to(path(name)) };
        let full = WriteRequest {
            mode: Some(0o755),
            modified: Some(Timestamp::from_nanoseconds(1)),
            make_parents: true,
            nofollow: true,
            durability: Durability::Power,
            condition: WriteCondition::Matches(vec![Etag::of_version(1, 2, 3, false)]),
            digests: Digests::of_sha256([1; 32]),
            ..request(b"full\n\xff\"")
        };
        let part = |request: WriteRequest| UploadPart { request, body: Body::from_bytes("1234") };
        let large = UploadPart {
            request: WriteRequest { length: None, ..request(b"large") },
            body: Body::from_stream(
                stream::iter(vec![Ok(Bytes::from(vec![b'\r'; 100_000])); 20].map_ok()),
                None,
            ),
        };
        let parts = vec![Ok(part(request(b"plain"))), Ok(large), Ok(part(full.clone()))];
        // The last part's condition cannot hold, so the answer is that; all parts have arrived by then.
        let refused = client.write_many(&Grant::whole_box(), stream::iter(parts).boxed()).await;
        assert_eq!(refused.expect_err("a condition").code, ErrorCode::PreconditionFailed);
        let writes = std::mem::take(&mut guest.seen().writes);
        assert_eq!(writes, [request(b"plain"), WriteRequest { length: None, ..request(b"large") }, full]);
        assert_eq!(guest.get(b"large").map(|content| content.len()), Some(2_000_000));
    }
}

/// A vector of results that cannot be cloned, from one that can.
trait MapOk {
    fn map_ok(self) -> Vec<Result<Bytes, BodyError>>;
}

impl MapOk for Vec<Result<Bytes, ()>> {
    fn map_ok(self) -> Vec<Result<Bytes, BodyError>> {
        self.into_iter().flatten().map(Ok).collect()
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_interrupted_on_both_sides() {
    let guest = FakeGuest::with(&[("/file", b"old")]);
    for (number, client) in both(&guest).into_iter().enumerate() {
        let first = stream::iter([Ok(Bytes::from(vec![7; 100_000]))]);
        let watched = guest.clone();
        let breaks = stream::once(async move {
            while watched.seen().writes.len() <= number {
                tokio::task::yield_now().await;
            }
            Err(BodyError::Interrupted { source: None })
        });
        let body = Body::from_stream(first.chain(breaks), None);
        let refused = client.write(&Grant::whole_box(), WriteRequest::to(path(b"file")), body).await;
        assert_eq!(refused.expect_err("it broke").code, ErrorCode::Interrupted);
        let problem = Problem::new(ErrorCode::Busy, "the source is busy");
        let parts = stream::iter([Err(problem.clone())]).boxed();
        let refused = client.write_many(&Grant::whole_box(), parts).await.expect_err("it broke");
        assert!(matches!(refused.code, ErrorCode::Busy | ErrorCode::Interrupted), "{refused:?}");
        while *guest.writes_ended.lock().expect("a lock") <= number {
            tokio::task::yield_now().await;
        }
        assert_eq!(guest.get(b"file").as_deref(), Some(&b"old"[..]));
    }
}

#[tokio::test]
async fn a_refused_upload_gets_its_answer_before_it_ends() {
    let guest = FakeGuest::with(&[]);
    for client in both(&guest) {
        let grant = Grant { max_bytes: Some(10), ..Grant::whole_box() };
        let chunks = stream::iter((0..100).map(|_| Ok(Bytes::from(vec![7; 100_000]))));
        let length = Some(10_000_000);
        let request = WriteRequest { length, ..WriteRequest::to(path(b"file")) };
        let refused = client.write(&grant, request, Body::from_stream(chunks, length)).await;
        assert_eq!(refused.expect_err("it is too large").code, ErrorCode::TooLarge);
    }
}

/// Counts the connections that are made.
struct Counted {
    inner: Loopback,
    made: AtomicUsize,
}

#[async_trait]
impl Transport for Counted {
    async fn connect(&self) -> std::io::Result<Box<dyn Connection>> {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.inner.connect().await
    }

    fn protocol(&self) -> Protocol {
        Protocol::Http1Pool
    }
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let guest = FakeGuest::with(&[("/file", b"content")]);
    let transport =
        Arc::new(Counted { inner: Loopback { router: agent_router(guest) }, made: AtomicUsize::new(0) });
    let client = GuestClient::to_agent(transport.clone());
    let grant = Grant::whole_box();
    for _ in 0..20 {
        client
            .write(&grant, WriteRequest::to(path(b"file")), Body::from_bytes("new"))
            .await
            .expect("it is written");
        let read = client.read(&grant, ReadRequest::whole(path(b"file"))).await.expect("it is read");
        assert_eq!(read.body.collect(100).await.expect("content"), "new");
        client.stat(&grant, StatRequest::of(path(b"gone"))).await.expect_err("there is none");
        client
            .read(&grant, ReadRequest { head: true, ..ReadRequest::whole(path(b"file")) })
            .await
            .expect("a head");
        let large = Body::from_stream(stream::iter([Ok(Bytes::from(vec![7; 300_000]))]), None);
        client.write(&grant, WriteRequest::to(path(b"large")), large).await.expect("it is written");
        let read = client.read(&grant, ReadRequest::whole(path(b"large"))).await.expect("it is read");
        assert_eq!(read.body.collect(1 << 20).await.expect("content").len(), 300_000);
        let walk = client.walk(&grant, ListRequest::of(BoxPath::root())).await.expect("a walk");
        assert_eq!(walk.count().await, 2);
    }
    assert_eq!(transport.made.load(Ordering::Relaxed), 1);
    let reads = (0..10).map(|_| client.read(&grant, ReadRequest::whole(path(b"file"))));
    futures_util::future::join_all(reads).await.into_iter().for_each(|read| drop(read.expect("it is read")));
    assert!(transport.made.load(Ordering::Relaxed) <= 10, "at once they have one each");
}

#[tokio::test]
async fn to_a_server_only_the_user_travels() {
    let guest = FakeGuest::with(&[("/file", b"content")]);
    let http = HttpClient::nameless(Arc::new(Loopback { router: agent_router(guest.clone()) }));
    let client = GuestClient::over(http, "/v1", http::HeaderMap::new(), GrantMode::Query);
    let grant = Grant { request_id: "mine".parse().ok(), ..Grant::whole_box().with_user(ActingUser::root()) };
    client.read(&grant, ReadRequest::whole(path(b"file"))).await.expect("it is read");
    let seen = guest.seen().grants[0].clone();
    assert_eq!((seen.user, seen.request_id), (ActingUser::root(), grant.request_id.clone()));
    for narrow in [
        Grant { root: path(b"x"), ..grant.clone() },
        Grant { rights: Rights::of(&[Right::Read]), ..grant.clone() },
        Grant { max_bytes: Some(1), ..grant.clone() },
    ] {
        let refused = client.stat(&narrow, StatRequest::of(path(b"file"))).await.expect_err("it is narrower");
        assert_eq!(refused.code, ErrorCode::Unsupported);
    }
}

/// A client of a server, which gets no grant, that sends and asks for contents under a coding.
#[tokio::test]
async fn contents_travel_under_a_coding_on_request() {
    let content = b"all work and no play ".repeat(20_000);
    let whole = ReadRequest::whole(path(b"file"));
    for coding in ContentCoding::ALL {
        let guest = FakeGuest::with(&[("/short", b"short")]);
        let transport = Arc::new(Loopback { router: agent_router(guest.clone()) });
        let http = HttpClient::nameless(transport);
        let client = GuestClient::over(http, "/v1", http::HeaderMap::new(), GrantMode::Query);
        let client = client.with_coding(Some(coding));
        let grant = Grant::whole_box();
        for (digests, fits) in [(digests(&content), true), (digests(b"other"), false)] {
            let request = WriteRequest { digests, ..WriteRequest::to(path(b"file")) };
            let written = client.write(&grant, request.clone(), Body::from_bytes(content.clone())).await;
            assert_eq!(written.is_ok(), fits);
            // What the guest hears of is the file itself.
            assert_eq!(guest.seen().writes.pop(), Some(request));
        }
        let read = client.read(&grant, whole.clone()).await.expect("it is read");
        let length = u64::try_from(content.len()).expect("a length");
        assert_eq!((read.head.length, read.body.length()), (length, Some(length)));
        assert_eq!(read.body.collect(1 << 20).await.expect("content"), content);
        let short = client.read(&grant, ReadRequest::whole(path(b"short"))).await.expect("it is read");
        assert_eq!(short.body.collect(10).await.expect("content"), "short");
        let range = ReadRequest { range: ByteRange::FromTo { first: 4, last: Some(7) }, ..whole.clone() };
        let range = client.read(&grant, range).await.expect("it is read");
        assert_eq!(range.body.collect(10).await.expect("content"), "work");
    }
}
