//! What the engine's calls cost, without sockets and HTTP: `cargo bench -p devbox-fs --bench engine`.
//!
//! `TMPDIR` says on which file system. Under `cargo test` each runs once, which shows that it works.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use devbox_fs::{BoxRoot, RootOptions, View};
use devbox_types::file::{ReadRequest, WriteRequest};
use devbox_types::{BoxPath, Grant, ListRequest};
use tempfile::TempDir;

const SMALL: [u8; 4096] = [7; 4096];

struct Ground {
    _directory: TempDir,
    view: View,
}

fn ground() -> Ground {
    let directory = tempfile::tempdir().expect("a directory");
    let root = BoxRoot::open(directory.path(), RootOptions::default()).expect("a root");
    let view = root.enter(&Grant::whole_box()).expect("a view");
    Ground { _directory: directory, view }
}

fn path(text: &str) -> BoxPath {
    BoxPath::parse(text.as_bytes()).expect("a path")
}

fn small_to(path: BoxPath) -> WriteRequest {
    WriteRequest { length: Some(4096), ..WriteRequest::to(path) }
}

fn files(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("4 KiB");
    let Ground { _directory, view } = &ground();
    let mut created = 0_u64;
    group.bench_function("create", |bencher| {
        bencher.iter_batched(
            || {
                created += 1;
                // Directories stay small.
                let name = format!("/new/{}/{created}", created / 1000);
                WriteRequest { make_parents: true, ..small_to(path(&name)) }
            },
            |request| view.write_file(request, &SMALL).expect("written"),
            BatchSize::SmallInput,
        );
    });
    let file = path("/file");
    view.write_file(small_to(file.clone()), &SMALL).expect("written");
    group.bench_function("replace", |bencher| {
        bencher.iter(|| view.write_file(small_to(file.clone()), &SMALL).expect("written"));
    });
    group.bench_function("read", |bencher| {
        let mut buffer = [0; 8192];
        bencher.iter(|| {
            let (head, mut reader) = view.open_file(&ReadRequest::whole(file.clone())).expect("opened");
            assert_eq!((head.length, reader.read(&mut buffer).expect("read")), (4096, 4096));
        });
    });
    group.bench_function("stat", |bencher| {
        bencher.iter(|| black_box(view.stat(&file, false).expect("found")));
    });
}

fn many(criterion: &mut Criterion) {
    const BATCH: u64 = 100;
    let mut group = criterion.benchmark_group("many");
    let Ground { _directory, view } = &ground();
    let names: Vec<BoxPath> = (0..BATCH).map(|index| path(&format!("/file-{index:03}"))).collect();
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("batch of 100", |bencher| {
        bencher.iter(|| {
            let mut batch = view.batch().expect("a batch");
            for name in &names {
                batch.add(small_to(name.clone()), &SMALL).expect("staged");
            }
            batch.publish().expect("published")
        });
    });
    group.bench_function("extract 100", |bencher| {
        bencher.iter(|| {
            let mut batch = view.batch_below(&path("/extracted"), true).expect("a batch");
            for name in &names {
                batch.begin(small_to(name.clone())).expect("begun");
                batch.write(&SMALL).expect("staged");
                batch.finish().expect("finished");
            }
            batch.publish().expect("published")
        });
    });
    let listed = path("/listed");
    for index in 0..1000 {
        let request = WriteRequest { make_parents: true, ..small_to(path(&format!("/listed/{index:04}"))) };
        view.write_file(request, &SMALL).expect("written");
    }
    group.throughput(Throughput::Elements(1000));
    group.bench_function("list 1,000, one page", |bencher| {
        bencher.iter(|| {
            let page = view.list(&ListRequest::of(listed.clone())).expect("listed");
            assert_eq!(page.entries.len(), 1000);
        });
    });
    group.bench_function("list 1,000, as read", |bencher| {
        bencher.iter(|| {
            let walk = view.walk(&ListRequest::of(listed.clone())).expect("listed");
            assert_eq!(walk.filter(Result::is_ok).count(), 1000);
        });
    });
}

criterion_group!(engine, files, many);
criterion_main!(engine);
