//! The hot paths of wire, digest, session and landing, by the clock; `instructions` counts the same.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longhaul_bench::paths::GROUPS;

fn paths(criterion: &mut Criterion) {
    for (name, paths) in GROUPS {
        let mut group = criterion.benchmark_group(*name);
        group.throughput(Throughput::Elements(1));
        for make in *paths {
            let mut path = make();
            // The group is a part of its name already.
            let step = path.name.trim_start_matches(name).trim_start_matches('/').to_owned();
            group.bench_function(step, |bencher| bencher.iter(|| black_box(path.step())));
        }
        group.finish();
    }
}

criterion_group!(benches, paths);
criterion_main!(benches);
