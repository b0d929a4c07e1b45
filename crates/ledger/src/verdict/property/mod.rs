//! "Unused" is proven or not said: in random worlds no key is called idle or never used while the world holds a use
//! inside the span that is claimed.
//!
//! A world ([`world::World`]) has keys of several types in one account and Region, and everything that can keep a use
//! from us: late and lost events, heartbeats that do not come back, a source that loses messages, trails stopped and
//! rules narrowed, messages in the quarantine, operations that nobody knows, KMS answering an hour late, not at all, or
//! never asked, and a clock that is set. It tells the real [`Coverage`], [`Inventory`] and [`KeyState`] what they would
//! hear, asks the real [`Judge`] after every step, and holds the answer against what really happened.
//!
//! That this finds anything is shown by leaving out, in the telling, one kind of hole at a time: each has to be found.
//!
//! [`Coverage`]: crate::Coverage
//! [`Inventory`]: crate::Inventory
//! [`KeyState`]: crate::KeyState
//! [`Judge`]: super::Judge

mod random;
mod world;

use world::{Plant, STEPS, Seen, World};

/// Worlds of [`STEPS`] steps each, together more than a million steps.
const WORLDS: u64 = 2_600;

/// So many worlds are looked through for a violation that was planted.
const WORLDS_OF_A_PLANT: u64 = WORLDS;

#[test]
fn nothing_is_called_unused_while_the_world_holds_a_use_in_the_claimed_span() {
    let mut seen = Seen::default();
    let mut steps = 0;
    for seed in 0..WORLDS {
        let mut world = World::new(seed, None);
        for step in 0..STEPS {
            let violation = world.step(&mut seen);
            assert!(violation.is_none(), "seed {seed}, step {step}: {violation:?}");
            steps += 1;
        }
    }
    assert!(steps >= 1_000_000, "{steps} steps");
    let told: u64 = seen.kinds.values().sum();
    for (kind, least) in [("in_use", 50), ("idle", 50), ("never_used", 200), ("unknown", 50), ("blind", 50)] {
        let count = seen.kinds.get(kind).copied().unwrap_or(0);
        assert!(count >= told / least, "{kind} was said {count} times of {told}: {:?}", seen.kinds);
    }
    println!("{steps} steps: {seen:?}");
    assert!(seen.missed > 1_000, "services dropped too little: {seen:?}");
    assert!(seen.by_stream > 10_000 && seen.by_kms > 10_000, "{seen:?}");
}

#[test]
fn leaving_out_any_kind_of_hole_is_found() {
    let is_found = |plant| {
        (0..WORLDS_OF_A_PLANT).any(|seed| {
            let mut world = World::new(seed, Some(plant));
            (0..STEPS).any(|_| world.step(&mut Seen::default()).is_some())
        })
    };
    let overlooked: Vec<Plant> = Plant::ALL.into_iter().filter(|&plant| !is_found(plant)).collect();
    assert!(overlooked.is_empty(), "not found in {WORLDS_OF_A_PLANT} worlds: {overlooked:?}");
}
