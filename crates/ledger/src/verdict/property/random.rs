//! A small generator of numbers, the same in every process for the same seed.

/// Numbers without a pattern (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `from`, …, `to - 1`.
    pub(super) fn within(&mut self, from: u32, to: u32) -> u32 {
        let width = u64::from(to - from);
        from + u32::try_from(self.next() % width).unwrap()
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: u32) -> bool {
        self.within(0, times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let place = self.within(0, u32::try_from(of.len()).unwrap());
        &of[usize::try_from(place).unwrap()]
    }
}
