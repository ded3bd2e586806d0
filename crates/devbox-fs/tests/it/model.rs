//! The engine against a naive tree in memory: after every call the same entries, and the same answer or the same error.
//!
//! `DEVBOX_MODEL_CASES` says how many sequences are tried; a failing one is shrunk, and printed with what makes it again.

mod tree;

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use devbox_fs::{FsError, View};
use devbox_types::file::{ByteRange, ReadRequest, WriteRequest};
use devbox_types::operation::Operation;
use devbox_types::{BoxPath, Coded as _, EntryKind, ErrorCode, Etag, ListRequest, WriteCondition};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::fixture::{BOTH, Fixture, read};
use tree::Tree;

/// Sequences in a run without further wishes: some seconds for both ways of confinement.
const CASES: u32 = 150;

#[derive(Debug, Clone)]
enum Call {
    Apply(Vec<Operation>),
    Write { path: BoxPath, content: Vec<u8>, parents: bool, condition: Condition },
    WriteMany(Vec<(BoxPath, Vec<u8>, bool)>),
    Read { path: BoxPath, range: ByteRange },
    Stat { path: BoxPath, follow: bool },
    List { path: BoxPath, depth: u32, limit: usize },
}

/// What is asked of the target; `Current` and `Stale` are about the version that is there.
#[derive(Debug, Clone, Copy)]
enum Condition {
    Any,
    Absent,
    Present,
    Current,
    Stale,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("a"), 4 => Just("b"), 2 => Just("c"), 1 => Just("-x [*]"), 1 => Just("ü\n")]
}

fn path() -> impl Strategy<Value = BoxPath> {
    (proptest::collection::vec(name(), 1..=4), prop::bool::weighted(0.08)).prop_map(|(names, slash)| {
        let text = format!("/{}{}", names.join("/"), if slash { "/" } else { "" });
        BoxPath::parse(text.as_bytes()).expect("a path")
    })
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let up = prop_oneof![Just(""), Just("/"), Just("../"), Just("../../"), Just("./")];
    (up, proptest::collection::vec(name(), 1..=2))
        .prop_map(|(up, names)| format!("{up}{}", names.join("/")).into_bytes())
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..20)
}

fn operation() -> impl Strategy<Value = Operation> {
    let mode = prop_oneof![Just(0o700), Just(0o755), Just(0o640), Just(0o1777)];
    prop_oneof![
        4 => (path(), proptest::option::of(mode.clone()), any::<bool>())
            .prop_map(|(path, mode, parents)| Operation::Mkdir { path, mode, parents }),
        3 => (path(), path(), any::<bool>())
            .prop_map(|(from, to, overwrite)| Operation::Move { from, to, overwrite }),
        3 => (path(), path(), any::<bool>(), any::<bool>()).prop_map(|(from, to, recursive, overwrite)| {
            Operation::Copy { from, to, recursive, overwrite }
        }),
        3 => (path(), target()).prop_map(|(path, target)| Operation::Symlink { path, target }),
        2 => (path(), path()).prop_map(|(from, to)| Operation::Link { from, to }),
        2 => (path(), mode).prop_map(|(path, mode)| Operation::Chmod { path, mode }),
        3 => (path(), content(), any::<bool>(), any::<bool>()).prop_map(|(path, content, parents, overwrite)| {
            Operation::Write { path, content, mode: None, parents, overwrite, nofollow: false }
        }),
        3 => (path(), any::<bool>(), any::<bool>()).prop_map(|(path, recursive, missing_ok)| {
            Operation::Delete { path, recursive, missing_ok }
        }),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let condition = prop_oneof![
        4 => Just(Condition::Any),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => Just(Condition::Current),
        1 => Just(Condition::Stale),
    ];
    let range = prop_oneof![
        2 => Just(ByteRange::Whole),
        1 => (0_u64..25, proptest::option::of(0_u64..25)).prop_map(|(first, length)| {
            ByteRange::FromTo { first, last: length.map(|length| first + length) }
        }),
        1 => (0_u64..25).prop_map(|length| ByteRange::Suffix { length }),
    ];
    prop_oneof![
        6 => operation().prop_map(|operation| Call::Apply(vec![operation])),
        4 => proptest::collection::vec(operation(), 2..7).prop_map(Call::Apply),
        4 => (path(), content(), any::<bool>(), condition).prop_map(|(path, content, parents, condition)| {
            Call::Write { path, content, parents, condition }
        }),
        3 => proptest::collection::vec((path(), content(), any::<bool>()), 1..6).prop_map(Call::WriteMany),
        2 => (path(), range).prop_map(|(path, range)| Call::Read { path, range }),
        2 => (path(), any::<bool>()).prop_map(|(path, follow)| Call::Stat { path, follow }),
        2 => (path(), 1_u32..4, 1_usize..5).prop_map(|(path, depth, limit)| Call::List { path, depth, limit }),
    ]
}

fn cases() -> u32 {
    std::env::var("DEVBOX_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn the_engine_does_what_a_naive_tree_does(calls in proptest::collection::vec(call(), 1..40)) {
        for confinement in BOTH {
            let fixture = Fixture::confined(confinement);
            std::fs::set_permissions(fixture.directory.path(), std::fs::Permissions::from_mode(0o755))?;
            let (view, mut tree) = (fixture.view(), Tree::new());
            for call in &calls {
                compare(call, &view, &mut tree)?;
                prop_assert_eq!(describe(fixture.directory.path())?, tree.describe(), "after {:?}", call);
            }
        }
    }
}

fn compare(call: &Call, view: &View, tree: &mut Tree) -> Result<(), TestCaseError> {
    match call {
        Call::Apply(operations) => {
            let found = view.apply(operations);
            prop_assert_eq!(outcome(&found), tree.apply(operations).err(), "{:?}: {:?}", call, found);
        }
        Call::Write { path, content, parents, condition } => {
            let (condition, holds) = condition_on(view, path, *condition);
            let request =
                WriteRequest { condition, make_parents: *parents, ..WriteRequest::to(path.clone()) };
            let found = view.write_file(request, content);
            let mut after = tree.clone();
            let expected = match after.write(path, content, *parents) {
                Ok(()) if !holds => Some(ErrorCode::PreconditionFailed),
                Ok(()) => {
                    *tree = after;
                    None
                }
                // A condition may fail first, for a target that could not be written either.
                Err(_) if !holds && outcome(&found) == Some(ErrorCode::PreconditionFailed) => outcome(&found),
                Err(code) => Some(code),
            };
            prop_assert_eq!(outcome(&found), expected, "{:?}: {:?}", call, found);
        }
        Call::WriteMany(files) => {
            let found = write_many(view, files);
            prop_assert_eq!(outcome(&found), tree.write_many(files).err(), "{:?}: {:?}", call, found);
        }
        Call::Read { path, range } => {
            let found = read(view, &ReadRequest { range: *range, ..ReadRequest::whole(path.clone()) });
            let expected = tree.read(path).and_then(|content| {
                let size = u64::try_from(content.len()).expect("small");
                let (offset, length) = range.within(size).ok_or(ErrorCode::RangeNotSatisfiable)?;
                let (from, length) =
                    (usize::try_from(offset).expect("small"), usize::try_from(length).expect("small"));
                Ok(content[from..from + length].to_vec())
            });
            prop_assert_eq!(found.map_err(|error| error.code()), expected, "{:?}", call);
        }
        Call::Stat { path, follow } => {
            let found = view.stat(path, *follow).map(|entry| entry.kind).map_err(|error| error.code());
            let expected = tree.stat(path, *follow).map(|text| kind_in(&text));
            prop_assert_eq!(found, expected, "{:?}", call);
        }
        Call::List { path, depth, limit } => {
            let found = list(view, path, *depth, *limit);
            let expected = tree.list(path, usize::try_from(*depth).expect("small"));
            prop_assert_eq!(found.map_err(|error| error.code()), expected, "{:?}", call);
        }
    }
    Ok(())
}

fn outcome<T>(result: &Result<T, FsError>) -> Option<ErrorCode> {
    result.as_ref().err().map(FsError::code)
}

/// A condition on what is there, and whether it holds.
fn condition_on(view: &View, path: &BoxPath, condition: Condition) -> (WriteCondition, bool) {
    let found = view.stat(path, true).ok();
    let tag = || loop {
        // A version that the clock cannot tell from the next is never matched.
        match view.stat(path, true).ok().and_then(|entry| entry.etag) {
            Some(tag) if tag.is_weak() => std::thread::yield_now(),
            tag => return tag,
        }
    };
    match condition {
        Condition::Any => (WriteCondition::None, true),
        Condition::Absent => (WriteCondition::Absent, found.is_none()),
        Condition::Present => (WriteCondition::Present, found.is_some()),
        Condition::Current => match tag() {
            Some(tag) => (WriteCondition::Matches(vec![tag]), true),
            None => (WriteCondition::Matches(vec![Etag::of_version(1, 2, 3, false)]), false),
        },
        Condition::Stale => (WriteCondition::Matches(vec![Etag::of_version(1, 2, 3, false)]), false),
    }
}

fn write_many(view: &View, files: &[(BoxPath, Vec<u8>, bool)]) -> Result<(), FsError> {
    let mut batch = view.batch()?;
    for (path, content, make_parents) in files {
        let request = WriteRequest { make_parents: *make_parents, ..WriteRequest::to(path.clone()) };
        batch.add(request, content)?;
    }
    batch.publish().map(drop)
}

/// A listing, page by page.
fn list(view: &View, path: &BoxPath, depth: u32, limit: usize) -> Result<Vec<Vec<u8>>, FsError> {
    use base64::Engine as _;
    let mut request = ListRequest { depth, limit, ..ListRequest::of(path.clone()) };
    let mut found = Vec::new();
    loop {
        let page = view.list(&request)?;
        found.extend(page.entries.iter().map(|entry| entry.path.0.as_bytes().to_vec()));
        let Some(cursor) = page.next_cursor else { return Ok(found) };
        let cursor = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(cursor).expect("base64");
        request.cursor = Some(cursor);
    }
}

fn kind_in(text: &str) -> EntryKind {
    match text.split(' ').next() {
        Some("file") => EntryKind::File,
        Some("directory") => EntryKind::Directory,
        _ => EntryKind::Symlink,
    }
}

/// Everything below the root but the engine's own directory, in the model's words.
fn describe(root: &Path) -> Result<Vec<String>, TestCaseError> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.strip_prefix(root).expect("below").as_os_str().as_bytes().to_vec();
            if name == b".~devbox-state" {
                continue;
            }
            let about = path.symlink_metadata()?;
            let (mode, links) = (about.mode() & 0o7777, about.nlink());
            let text = if about.is_dir() {
                format!("directory {mode:04o}")
            } else if about.is_symlink() {
                format!("link {links} {}", path.read_link()?.as_os_str().as_bytes().escape_ascii())
            } else {
                format!("file {mode:04o} {links} {}", std::fs::read(&path)?.escape_ascii())
            };
            found.push(format!("{} {text}", name.escape_ascii()));
            if about.is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
