//! Deliveries as they come: more than once, and not in order.

/// How deliveries differ from what was sent.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryOptions {
    /// Seeds the repetitions and the order.
    pub seed: u64,
    /// Share of records that come twice, from 0 to 1; the same share of those once more, and again, four times at most.
    pub duplicates: f64,
    /// A record comes at most so many places away from where it was sent; a repetition comes within the same distance
    /// of its first copy's place, one in eight of them anywhere after it.
    pub window: usize,
}

/// A delivery plan for `count` records: their places in the order of delivery, each at least once.
pub fn deliveries(count: usize, options: DeliveryOptions) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut plan: Vec<(usize, usize)> = Vec::with_capacity(count + count / 4);
    for record in 0..count {
        plan.push((record + random.usize(..=options.window), record));
        let mut copies = 0;
        while copies < 3 && random.f64() < options.duplicates {
            copies += 1;
            let within = if random.u8(..8) == 0 { count - record } else { options.window };
            plan.push((record + random.usize(..=within), record));
        }
    }
    // Stable, so that without a window the order stays.
    plan.sort_by_key(|&(place, _)| place);
    plan.into_iter().map(|(_, record)| record).collect()
}
