//! Heartbeats against a slow model that forgets nothing: in whatever order they are sent, come back, or do not.

use proptest::prelude::*;

use super::*;

const SOURCES: [&str; 2] = ["bus", "trail"];
const BLIND_AFTER: u32 = 1_800;

/// One heartbeat of a random world.
#[derive(Clone, Copy, Debug)]
struct Planned {
    /// Seconds since the one before.
    pause: u32,
    /// It is journaled so much later than it was sent.
    journaled_after: u32,
    /// After how many seconds it comes back through each source, if it does.
    comes_back: [Option<u32>; 2],
}

fn planned(longest: u32) -> impl Strategy<Value = Planned> {
    let returns = move || {
        prop_oneof![
            6 => (1..600u32).prop_map(Some),
            2 => (600..longest).prop_map(Some),
            1 => Just(None),
        ]
    };
    // The usual pause, that of a pass that lists by itself, and stops.
    let pause = prop_oneof![8 => 800..1_000u32, 2 => 1..120u32, 1 => 1_000..20_000u32];
    (pause, 0..60u32, [returns(), returns()]).prop_map(|(pause, journaled_after, comes_back)| Planned {
        pause,
        journaled_after,
        comes_back,
    })
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Sent(usize),
    Returned(usize, usize),
}

/// What happens, in the order in which it is journaled, and when each was sent.
fn schedule(world: &[Planned]) -> (Vec<(u32, Event)>, Vec<u32>) {
    let (mut events, mut sent, mut now) = (Vec::new(), Vec::new(), 10);
    for (number, planned) in world.iter().enumerate() {
        now += planned.pause;
        sent.push(now);
        events.push((now + planned.journaled_after, Event::Sent(number)));
        for (source, comes_back) in planned.comes_back.iter().enumerate() {
            events.extend(comes_back.map(|after| (now + after, Event::Returned(number, source))));
        }
    }
    events.sort_by_key(|&(when, _)| when);
    (events, sent)
}

/// AWS's clock is a second ahead of ours.
fn event_time(sent: u32) -> EventTime {
    at(sent + 1)
}

/// What follows from everything that was journaled: all beats, in order; those that came back, by source.
#[derive(Default)]
struct Model {
    sent: Vec<usize>,
    returned: Vec<(usize, usize)>,
}

impl Model {
    fn spans(&self, times: &[u32]) -> Vec<Span> {
        let mut order = self.sent.clone();
        order.sort_by_key(|&number| times[number]);
        let mut spans = Vec::new();
        for source in 0..SOURCES.len() {
            for pair in order.windows(2) {
                let (one, next) = (event_time(times[pair[0]]), event_time(times[pair[1]]));
                let came_back = pair.iter().all(|&number| self.returned.contains(&(number, source)));
                if came_back && next.seconds_since(one) <= BLIND_AFTER {
                    spans = with(spans, Span { from: one, until: next });
                }
            }
        }
        spans
    }
}

fn id(number: usize) -> [u8; 16] {
    (number as u128).to_be_bytes()
}

fn drained() -> Coverage {
    let mut coverage = Coverage::default();
    for source in SOURCES {
        coverage.note_mark(source, &mark(0, 0));
        coverage.note_mark(source, &SourceMark { caught_up: Some(at(400 * DAY)), ..mark(60, 0) });
    }
    coverage
}

/// As a start would read it: through the text that is stored.
fn stored_and_read(coverage: &mut Coverage) -> Coverage {
    let CoverageRows { places, sources } = coverage.take_changed();
    let places = places.into_iter().map(|(place, known)| {
        (place, serde_json::from_str(&serde_json::to_string(&known).unwrap()).unwrap())
    });
    let sources = sources
        .into_iter()
        .map(|(name, known)| (name, serde_json::from_str(&serde_json::to_string(&known).unwrap()).unwrap()));
    Coverage::restore(CoverageRows { places: places.collect(), sources: sources.collect() })
}

/// Plays a world, and looks after each step at what both claim.
fn play(world: &[Planned], restarts: &[bool], look: impl Fn(&[Span], &[Span], Event)) {
    let (events, times) = schedule(world);
    let (mut coverage, mut model) = (drained(), Model::default());
    for (step, &(_, event)) in events.iter().enumerate() {
        match event {
            Event::Sent(number) => {
                coverage.note_beat(place(), id(number), at(times[number]));
                model.sent.push(number);
            }
            Event::Returned(number, source) => {
                coverage.note_returned(SOURCES[source], place(), id(number), event_time(times[number]));
                model.returned.push((number, source));
            }
        }
        if restarts[step % restarts.len()] {
            // What is journaled since the last fold is applied twice by nobody; what was folded is read.
            let mut whole = Coverage::default();
            std::mem::swap(&mut whole, &mut coverage);
            whole.changed_places = whole.places.keys().copied().collect();
            whole.changed_sources = whole.sources.keys().cloned().collect();
            coverage = stored_and_read(&mut whole);
        }
        let claimed = coverage.claimed(place(), at(times.last().copied().unwrap_or_default())).stream;
        look(&claimed, &model.spans(&times), event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn spans_are_those_of_a_model_that_forgets_nothing(
        world in proptest::collection::vec(planned(6_000), 1..60),
        restarts in proptest::collection::vec(proptest::bool::weighted(0.1), 1..7),
    ) {
        // More heartbeats than are kept are sent in no three hours.
        let is_dense = world.windows(12).any(|some| some.iter().map(|beat| beat.pause).sum::<u32>() < 6_000);
        prop_assume!(!is_dense);
        play(&world, &restarts, |claimed, expected, event| assert_eq!(claimed, expected, "{event:?}"));
    }

    #[test]
    fn nothing_is_claimed_that_the_model_does_not_whatever_is_late(
        world in proptest::collection::vec(planned(200_000), 1..80),
        restarts in proptest::collection::vec(proptest::bool::weighted(0.1), 1..7),
    ) {
        play(&world, &restarts, |claimed, expected, event| {
            for &span in claimed {
                let rest = expected.iter().fold(vec![span], |rest, &span| without(&rest, span));
                assert_eq!(rest, [], "{event:?}");
            }
        });
    }
}
