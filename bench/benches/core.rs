//! The hot paths of the core.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longhaul_core::id::ItemId;
use longhaul_core::integrity::{crc32c, crc32c_combine};
use longhaul_core::wire::{Frame, HEADER_LEN, Header};
use std::hint::black_box;

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));
    group.bench_function("data header emitted and parsed", |bencher| {
        let mut out = [0; HEADER_LEN];
        let mut offset = 0;
        bencher.iter(|| {
            offset += 512 << 10;
            let frame = Frame::Data {
                id: ItemId(7),
                attempt: 0,
                offset,
                len: 512 << 10,
                run_end: false,
                crc: Some(1),
            };
            frame.emit(&mut out).expect("a header fits");
            let header = Header::parse(black_box(&out)).expect("it was just emitted");
            black_box(Frame::parse(&header, b"").expect("it was just emitted"))
        });
    });
    group.finish();
}

fn checksums(criterion: &mut Criterion) {
    let chunk = vec![0x5a; 512 << 10];
    let mut group = criterion.benchmark_group("integrity");
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("crc32c of a chunk", |bencher| bencher.iter(|| crc32c(black_box(&chunk))));
    group.finish();
    criterion.bench_function("integrity/crc32c combine", |bencher| {
        bencher.iter(|| crc32c_combine(black_box(1), black_box(2), black_box(512 << 10)));
    });
}

criterion_group!(benches, headers, checksums);
criterion_main!(benches);
