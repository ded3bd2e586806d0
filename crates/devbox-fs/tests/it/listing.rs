use devbox_types::{EntryKind, ErrorCode, ListRequest};

use crate::fixture::{BOTH, Fixture, code, names, path};

#[test]
fn pages_follow_each_other_in_byte_order_without_gap_or_repeat() {
    use base64::Engine as _;
    let fixture = Fixture::new();
    for number in 0..57 {
        fixture.put(&format!("d/{number}"), "");
    }
    fixture.put("d/sub/x", "");
    fixture.put("d/sub.txt", "");
    let view = fixture.view();
    let mut listed = Vec::new();
    let mut cursor = None;
    loop {
        let request = ListRequest { path: path("/d"), depth: 2, cursor, limit: 7 };
        let page = view.list(&request).expect("a page");
        listed.extend(page.entries.iter().map(|entry| entry.path.0.clone()));
        let Some(next) = page.next_cursor else { break };
        cursor = Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(next).expect("base64"));
    }
    let mut sorted = listed.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(listed, sorted);
    assert_eq!(listed.len(), 60);
}

#[test]
fn a_walk_meets_everything_once_and_follows_nothing() {
    for confinement in BOTH {
        let fixture = Fixture::confined(confinement);
        for number in 0..600 {
            fixture.put(&format!("d/{}/{number}", number % 7), "x");
        }
        std::os::unix::fs::symlink("..", fixture.host("d/up")).expect("a link");
        let request = ListRequest { depth: 64, ..ListRequest::of(path("/d")) };
        let walk = fixture.view().walk(&request).expect("a walk");
        let entries: Vec<_> = walk.collect::<Result<_, _>>().expect("entries");
        assert_eq!(entries.len(), 600 + 7 + 1);
        let link = entries.iter().find(|entry| entry.kind == EntryKind::Symlink).expect("the link");
        assert_eq!(link.target.as_deref(), Some(&b".."[..]));
        let flat = fixture.view().walk(&ListRequest::of(path("/d"))).expect("a walk");
        assert_eq!(flat.count(), 8);
    }
}

#[test]
fn reserved_names_are_not_listed() {
    let fixture = Fixture::new();
    fixture.put(".~devbox-left", "");
    fixture.put("a", "");
    assert_eq!(names(&fixture.view(), "/"), ["/a"]);
    let walk = fixture.view().walk(&ListRequest::of(path("/"))).expect("a walk");
    assert_eq!(walk.count(), 1);
}

#[test]
fn what_cannot_be_listed_says_why() {
    let fixture = Fixture::new();
    let view = fixture.view();
    fixture.put("a", "");
    let of = |name| ListRequest::of(path(name));
    assert_eq!(code(view.list(&of("/a"))), ErrorCode::NotADirectory);
    assert_eq!(code(view.list(&of("/missing"))), ErrorCode::NotFound);
    assert_eq!(code(view.list(&ListRequest { limit: 1001, ..of("/") })), ErrorCode::InvalidRequest);
    assert_eq!(code(view.list(&ListRequest { limit: 0, ..of("/") })), ErrorCode::InvalidRequest);
    assert_eq!(code(view.list(&ListRequest { depth: 65, ..of("/") })), ErrorCode::InvalidRequest);
    assert_eq!(code(view.walk(&ListRequest { depth: 0, ..of("/") })), ErrorCode::InvalidRequest);
}
