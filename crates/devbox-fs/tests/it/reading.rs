use devbox_types::ErrorCode;
use devbox_types::file::ReadRequest;

use crate::fixture::{Fixture, code, path};

#[test]
fn a_file_that_is_truncated_while_it_is_read_ends_with_an_error() {
    let fixture = Fixture::new();
    fixture.put("a", &"x".repeat(5000));
    let view = fixture.view();
    let (_, mut reader) = view.open_file(&ReadRequest::whole(path("/a"))).expect("open");
    let mut buffer = [0; 4096];
    assert_eq!(reader.read(&mut buffer).expect("read"), 4096);
    let file = std::fs::OpenOptions::new().write(true).open(fixture.host("a")).expect("open");
    file.set_len(4096).expect("truncated");
    assert_eq!(code(reader.read(&mut buffer)), ErrorCode::Conflict);
}

#[test]
fn a_replace_while_it_is_read_does_not_show() {
    let fixture = Fixture::new();
    fixture.put("a", "old");
    let view = fixture.view();
    let (_, mut reader) = view.open_file(&ReadRequest::whole(path("/a"))).expect("open");
    crate::fixture::write_to(&view, "/a", "new").expect("written");
    let mut buffer = [0; 8];
    assert_eq!(reader.read(&mut buffer).expect("read"), 3);
    assert_eq!(&buffer[..3], b"old");
}

#[test]
fn files_that_the_kernel_makes_up_are_read_whole_and_end() {
    let root = devbox_fs::BoxRoot::open(std::path::Path::new("/proc"), devbox_fs::RootOptions::default())
        .expect("a root");
    let view = root.enter(&devbox_types::Grant::whole_box()).expect("a view");
    assert!(!root.is_journalled());
    let content = crate::fixture::read_from(&view, "/version").expect("read");
    assert!(content.starts_with("Linux"), "{content}");
    assert_eq!(code(crate::fixture::read_from(&view, "/self/exe")), ErrorCode::SymlinkLoop);
}
