//! The states that a power cut may leave, drawn from a log.

use std::sync::Arc;

use crate::disk::image::{Disk, Image};
use crate::disk::log::{Event, Log, Promise};
use crate::sim::Random;

/// What a disk writes as a whole, at best; and at worst.
const ATOMS: [usize; 2] = [4096, 512];

/// Which of the states of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// The power goes behind so many events.
    pub(super) cut: usize,
    /// 0: all that was written by then is there. Else some of what was written since the last flush is missing, as
    /// drawn by this.
    pub(super) draw: u64,
}

impl Point {
    /// Before anything happened.
    pub(super) const START: Self = Self { cut: 0, draw: 0 };
}

/// What the power cut leaves.
#[derive(Debug)]
pub(super) struct Left {
    /// The disk.
    pub(super) disk: Disk,
    /// What had been promised by then.
    pub(super) promise: Promise,
    /// Writes are torn into pieces smaller than file systems are made for: one that does not mount is no wonder.
    pub(super) is_shredded: bool,
}

/// The states of a log.
#[derive(Debug)]
pub(super) struct States<'a> {
    log: &'a Log,
    seed: u64,
    epochs: Vec<Epoch>,
    /// All cuts, in the order in which they are tried.
    cuts: Vec<usize>,
}

/// From one flush to the next.
#[derive(Debug)]
struct Epoch {
    /// The number of events before it.
    start: usize,
    /// What is durable from there on.
    durable: Arc<Image>,
    /// What had been promised.
    promise: Promise,
}

impl<'a> States<'a> {
    /// The states of `log`, drawn by `seed`.
    pub(super) fn new(log: &'a Log, seed: u64) -> Self {
        let mut image = (*log.base).clone();
        let mut promise = Promise::Nothing;
        let mut epochs = vec![Epoch { start: 0, durable: Arc::clone(&log.base), promise }];
        for (n, event) in log.events.iter().enumerate() {
            match event {
                Event::Write { offset, data } => image.write(*offset, data),
                Event::Flush => {
                    epochs.push(Epoch { start: n + 1, durable: Arc::new(image.clone()), promise });
                }
                Event::Promise(more) => promise = *more,
            }
        }
        let mut cuts: Vec<usize> = (0..=log.events.len()).collect();
        cuts.sort_by_cached_key(|&cut| mix(mix(seed) ^ cut as u64));
        Self { log, seed, epochs, cuts }
    }

    /// Flushes in the log.
    pub(super) fn flushes(&self) -> usize {
        self.epochs.len() - 1
    }

    /// The `n`-th state to try: every prefix of the log, and as many with something lost in between; then these alone.
    pub(super) fn point(&self, n: u64) -> Point {
        let prefix = self.cuts.get((n / 2) as usize);
        if let Some(&cut) = prefix.filter(|_| n.is_multiple_of(2)) {
            return Point { cut, draw: 0 };
        }
        let mut random = Random::new(mix(self.seed) ^ n);
        // Most writes are content, most flushes are about names: half of the draws for each.
        let epoch = if random.one_in(2) {
            random.below(self.epochs.len() as u64) as usize
        } else {
            self.epoch_of(random.below(self.log.events.len() as u64 + 1) as usize)
        };
        let start = self.epochs[epoch].start;
        let end = self.epochs.get(epoch + 1).map_or(self.log.events.len(), |next| next.start - 1);
        Point { cut: random.within(start as u64, end as u64) as usize, draw: n + 1 }
    }

    /// What the power cut leaves there.
    pub(super) fn left(&self, point: Point) -> Left {
        let Epoch { start, durable, promise } = &self.epochs[self.epoch_of(point.cut)];
        let mut left = Left { disk: Disk::new(Arc::clone(durable)), promise: *promise, is_shredded: false };
        let mut loss = (point.draw > 0).then(|| Loss::draw(Random::new(mix(self.seed ^ mix(point.draw)))));
        left.is_shredded = loss.as_ref().is_some_and(|loss| loss.atom < ATOMS[0]);
        for event in &self.log.events[*start..point.cut] {
            match (event, &mut loss) {
                (Event::Write { offset, data }, None) => left.disk.write(*offset, data),
                (Event::Write { offset, data }, Some(loss)) => loss.write(&mut left.disk, *offset, data),
                (Event::Promise(promise), _) => left.promise = *promise,
                (Event::Flush, _) => unreachable!("an epoch ends with its flush"),
            }
        }
        left
    }

    fn epoch_of(&self, cut: usize) -> usize {
        self.epochs.partition_point(|epoch| epoch.start <= cut) - 1
    }
}

/// What is lost of the writes in flight. Those that are kept are kept in order.
struct Loss {
    random: Random,
    /// Writes are torn at multiples of this.
    atom: usize,
    /// Of 16 writes so many are lost or torn.
    hit: u64,
    /// Of 16 atoms of those so many are lost.
    lost: u64,
}

impl Loss {
    fn draw(mut random: Random) -> Self {
        let atom = ATOMS[usize::from(random.one_in(4))];
        let (hit, lost) = (random.pick(&[1, 4, 8, 15, 16]), random.pick(&[1, 8, 15, 16]));
        Self { random, atom, hit, lost }
    }

    fn write(&mut self, disk: &mut Disk, offset: u64, data: &[u8]) {
        if self.random.below(16) >= self.hit {
            return disk.write(offset, data);
        }
        let mut at = 0;
        while at < data.len() {
            let into = (offset as usize + at) % self.atom;
            let end = (at + self.atom - into).min(data.len());
            if self.random.below(16) >= self.lost {
                disk.write(offset + at as u64, &data[at..end]);
            }
            at = end;
        }
    }
}

/// Spreads a number over all 64 bits.
const fn mix(number: u64) -> u64 {
    Random::new(number).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: &[&str]) -> Log {
        let event = |word: &&str| match *word {
            "flush" => Event::Flush,
            "installed" => Event::Promise(Promise::Installed),
            word => Event::Write { offset: 512 * word.parse::<u64>().unwrap(), data: Arc::from([7; 512]) },
        };
        Log { base: Arc::default(), len: 1 << 20, events: events.iter().map(event).collect() }
    }

    fn sectors(disk: &Disk) -> Vec<usize> {
        let mut bytes = vec![0; 16 * 512];
        disk.read(0, &mut bytes);
        (0..16).filter(|n| bytes[512 * n] == 7).collect()
    }

    #[test]
    fn a_prefix_holds_what_was_written_and_promised_by_then() {
        let log = log(&["1", "flush", "2", "installed", "3"]);
        let states = States::new(&log, 0);
        let at = |cut| {
            let left = states.left(Point { cut, draw: 0 });
            (sectors(&left.disk), left.promise)
        };
        assert_eq!(at(0), (vec![], Promise::Nothing));
        assert_eq!(at(3), (vec![1, 2], Promise::Nothing));
        assert_eq!(at(4), (vec![1, 2], Promise::Installed));
        assert_eq!(at(5), (vec![1, 2, 3], Promise::Installed));
    }

    #[test]
    fn only_what_was_written_since_the_last_flush_is_ever_lost_and_any_of_it_is() {
        let log = log(&["1", "2", "flush", "3", "4", "5"]);
        let states = States::new(&log, 0);
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..500 {
            let point = states.point(n);
            let there = sectors(&states.left(point).disk);
            assert!(point.cut < 3 || there.starts_with(&[1, 2]), "{point:?}: {there:?}");
            seen.insert(there);
        }
        // Four of the first two, and seven more of the last three.
        assert_eq!(seen.len(), 11, "{seen:?}");
    }
}
