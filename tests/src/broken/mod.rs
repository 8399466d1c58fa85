//! longhaul broken on purpose: changes of the code that must not go unnoticed, each with the directed
//! run that finds it.
//!
//! ```text
//! mutations.txt ──▶ a copy of the sources, one line changed ──▶ built ──▶ its case or test must fail
//! ```

mod mutation;
mod workshop;

use std::path::Path;
use std::time::Instant;

use mutation::Mutation;
use workshop::Workshop;

/// Breaks the sources at `root` in each of the ways of `tests/broken/mutations.txt` whose name holds
/// `only`, and sees that each is found. With `sample`: only so many, drawn by `seed`.
///
/// # Errors
/// If a mutation does not apply or does not build, or nothing found it.
pub fn run(root: &Path, only: &str, sample: Option<usize>, seed: u64) -> Result<(), String> {
    let text = std::fs::read_to_string(root.join("tests/broken/mutations.txt"));
    let all = mutation::parse(&text.map_err(|error| format!("tests/broken/mutations.txt: {error}"))?)?;
    let mut chosen: Vec<Mutation> = all.into_iter().filter(|mutation| mutation.name.contains(only)).collect();
    if let Some(sample) = sample {
        println!("{sample} of {} by seed {seed}", chosen.len());
        let mut random = crate::sim::Random::new(seed);
        while chosen.len() > sample {
            chosen.swap_remove(random.below(chosen.len() as u64) as usize);
        }
    }
    let workshop = Workshop::new(root)?;
    for finder in chosen.iter().map(|mutation| &mutation.finder) {
        if workshop.finds(finder)? {
            return Err(format!("{finder}: it fails without any mutation"));
        }
    }
    let mut missed = Vec::new();
    for mutation in &chosen {
        let start = Instant::now();
        let found = workshop.with(mutation, || workshop.finds(&mutation.finder))??;
        let verdict = if found { "found by" } else { "NOT FOUND by" };
        println!("{}: {verdict} {} ({} s)", mutation.name, mutation.finder, start.elapsed().as_secs());
        if !found {
            missed.push(mutation.name.clone());
        }
    }
    println!("{} broken on purpose, {} found", chosen.len(), chosen.len() - missed.len());
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {}", missed.join("; "))) }
}
