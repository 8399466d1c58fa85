//! Draws from a seed.

/// A small generator: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not zero.
    #[must_use]
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// Whether one of so many came; never if it is zero.
    #[must_use]
    pub fn one_in(&mut self, many: u64) -> bool {
        many != 0 && self.below(many) == 0
    }

    /// So many letters.
    #[must_use]
    pub fn letters(&mut self, len: usize) -> String {
        let mut letters = String::with_capacity(len + 8);
        while letters.len() < len {
            letters.extend(self.draw().to_le_bytes().map(|byte| char::from(b'a' + byte % 26)));
        }
        letters.truncate(len);
        letters
    }
}
