//! How fast archives are written and read, in memory: `cargo bench -p devbox-archive --bench archive`.
//!
//! Under `cargo test` each runs once, which shows that it works.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use devbox_archive::{ArchiveWriter, EntryHead, Member, MemberKind, Sink, unpack_tar, unpack_zip};
use devbox_types::archive::ArchiveFormat;
use devbox_types::{Problem, Timestamp};

/// Two shapes of the same size: heads dominate the one, bytes the other.
const SHAPES: [(&str, usize, usize); 2] = [("2,048 × 1 KiB", 2048, 1024), ("2 × 1 MiB", 2, 1 << 20)];

/// Text: noise would measure that nothing can be compressed.
fn content(length: usize) -> Vec<u8> {
    b"let entry = archive.next().expect(\"an entry\");\n".iter().copied().cycle().take(length).collect()
}

fn write(format: ArchiveFormat, files: usize, content: &[u8]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(format, Vec::new()).expect("a writer");
    for index in 0..files {
        let name = format!("folder/file-{index:05}.txt");
        let head = EntryHead {
            name: name.as_bytes(),
            mode: 0o644,
            modified: Timestamp::from_nanoseconds(0),
            uid: 1000,
            gid: 1000,
            attributes: &[],
        };
        writer.add_file(&head, content.len() as u64, content).expect("added");
    }
    writer.finish().expect("finished")
}

/// Counts what it is told.
#[derive(Default)]
struct Count {
    files: usize,
    bytes: usize,
}

impl Sink for Count {
    fn begin(&mut self, member: Member) -> Result<(), Problem> {
        self.files += usize::from(matches!(member.kind, MemberKind::File { .. }));
        Ok(())
    }

    fn content(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        self.bytes += chunk.len();
        Ok(())
    }

    fn hole(&mut self, length: u64) -> Result<(), Problem> {
        self.bytes += usize::try_from(length).unwrap_or(usize::MAX);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        Ok(())
    }
}

fn read(format: ArchiveFormat, archive: &[u8]) -> Count {
    let mut count = Count::default();
    match format {
        ArchiveFormat::Zip => {
            unpack_zip(archive, archive.len() as u64, 0, u64::MAX, &mut count).expect("read")
        }
        format => unpack_tar(format, archive, 0, &mut count).expect("read"),
    }
    count
}

fn formats(criterion: &mut Criterion) {
    for (shape, files, size) in SHAPES {
        let content = content(size);
        let mut group = criterion.benchmark_group(shape);
        group.throughput(Throughput::Bytes((files * size) as u64)).sample_size(20);
        for format in ArchiveFormat::ALL {
            group.bench_function(format!("write {format}"), |bencher| {
                bencher.iter(|| write(format, files, &content));
            });
            let archive = write(format, files, &content);
            group.bench_function(format!("read {format}"), |bencher| {
                bencher.iter(|| {
                    let count = read(format, &archive);
                    assert_eq!((count.files, count.bytes), (files, files * size));
                });
            });
        }
    }
}

criterion_group!(archive, formats);
criterion_main!(archive);
