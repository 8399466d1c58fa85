//! Checksums: of a chunk, and of two pieces in a row.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longhaul_core::integrity::{crc32c, crc32c_combine};
use std::hint::black_box;

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

criterion_group!(benches, checksums);
criterion_main!(benches);
