//! The verdict on a key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use dormouse_model::{EventTime, KeyArn, LifecycleState, Place, UsageWitness};
use foldhash::fast::RandomState;

use super::claim::{Claim, KMS_LAG, KeyWitness, PlaceClaim};
use super::operations::OfClass;
use super::{Case, Rules, Verdict, VerdictKind, Witnesses, words};
use crate::{Aliases, Coverage, Gap, Inventory, KeyState, Span, Trace};

/// Judges keys at one moment. Clones share what was found out about places.
///
/// A verdict takes two steps, so that a key's state and what is known of places are never locked together: first
/// [`Judge::case`] copies what matters of a key, then [`Judge::kind`] or [`Judge::verdict`] judges it.
#[derive(Clone)]
pub struct Judge {
    now: EventTime,
    rules: Arc<Rules>,
    witnesses: Arc<dyn Witnesses>,
    places: Arc<RwLock<HashMap<Place, Arc<PlaceClaim>, RandomState>>>,
    /// Whoever was used within so many seconds is in use, whichever key it is.
    shortest: u32,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("now", &self.now).finish_non_exhaustive()
    }
}

/// What was found out about a key.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) kind: VerdictKind,
    pub(super) since: Option<EventTime>,
    /// The span in which a use would have been seen, and none was.
    pub(super) proven: Option<Span>,
    /// What speaks against more.
    pub(super) doubts: Vec<Doubt>,
}

/// Why no more can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The key is gone.
    Deleted,
    /// The key is AWS's own.
    OfAws,
    /// It was created a short while ago.
    Young,
    /// Nothing covers all operations of the key at any time since its last use.
    NoProof,
    /// What is proven is shorter than the threshold.
    TooShort,
    /// What is proven ended long ago.
    TooOld,
    /// Something behind what is proven was not understood, or got lost.
    HoleBehind,
    /// KMS has to be asked at this time or later.
    AskKms(EventTime),
    /// Nothing arrives from there.
    Blind,
}

impl Judge {
    /// Judges as of `now`.
    pub fn new(now: EventTime, rules: Arc<Rules>, witnesses: Arc<dyn Witnesses>) -> Self {
        let shortest = rules.thresholds.shortest();
        Self { now, rules, witnesses, places: Arc::default(), shortest }
    }

    /// Judges without anything known of places: nothing is proven but by KMS.
    pub fn without_witnesses(now: EventTime, rules: Arc<Rules>) -> Self {
        Self::new(now, rules, Arc::new((Coverage::default(), Inventory::default())))
    }

    /// The moment.
    pub fn now(&self) -> EventTime {
        self.now
    }

    /// By what it judges.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A key that was used last then, and is not deleted, is in use, whatever else is known of it; `None` if more has to
    /// be known.
    pub fn kind_by_last_use(&self, last_used: Option<EventTime>) -> Option<VerdictKind> {
        last_used.filter(|&at| self.now.seconds_since(at) < self.shortest).map(|_| VerdictKind::InUse)
    }

    /// What is known of a key, as far as it matters.
    pub fn case<T: Trace>(&self, key: KeyArn, state: &KeyState<T>, aliases: &Aliases) -> Case {
        Case::new(key, state, aliases, &self.rules)
    }

    /// What may be said of a key. May look at what is known of places: not to be called with a key's state locked.
    pub fn kind(&self, case: &Case) -> VerdictKind {
        self.by_what_is_known_of_it(case).unwrap_or_else(|| self.find(case)).kind
    }

    /// What may be said of a key, and what it rests on. Not to be called with a key's state locked either.
    pub fn verdict(&self, case: &Case) -> Verdict {
        self.verdict_from(case, &self.place(case.key), &self.holes(case.key))
    }

    /// Likewise, from what is known of its place, and of itself.
    pub(super) fn verdict_from(&self, case: &Case, place: &PlaceClaim, holes: &[Gap]) -> Verdict {
        let finding = self.by_what_is_known_of_it(case).unwrap_or_else(|| self.find_from(case, place, holes));
        words::verdict(self, case, &finding, place, holes)
    }

    /// What can be claimed about the place of a key.
    fn place(&self, key: KeyArn) -> Arc<PlaceClaim> {
        let place = Place { account: key.account(), region: key.region() };
        if let Some(known) = self.places.read().unwrap_or_else(PoisonError::into_inner).get(&place) {
            return Arc::clone(known);
        }
        let mut claim = PlaceClaim::default();
        self.witnesses.look(&mut |coverage, inventory| {
            claim = PlaceClaim::of(place, self.now, &self.rules, coverage, inventory);
        });
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(place).or_insert_with(|| Arc::new(claim)))
    }

    /// Where something that may have been a use of this very key was not understood.
    fn holes(&self, key: KeyArn) -> Vec<Gap> {
        let mut holes = Vec::new();
        self.witnesses.look(&mut |coverage, _| holes = coverage.holes_of_key(key).to_vec());
        holes
    }

    fn find(&self, case: &Case) -> Finding {
        self.find_from(case, &self.place(case.key), &self.holes(case.key))
    }

    /// What needs no proof: the key is gone, in use, or AWS's own.
    fn by_what_is_known_of_it(&self, case: &Case) -> Option<Finding> {
        let threshold = case.threshold.seconds;
        let say = |kind, since, doubts| Finding { kind, since, proven: None, doubts };
        if case.state == Some(LifecycleState::Deleted) {
            return Some(say(VerdictKind::Unknown, None, vec![Doubt::Deleted]));
        }
        if let Some(at) = case.last_used
            && self.now.seconds_since(at) < threshold
        {
            return Some(say(VerdictKind::InUse, Some(at), Vec::new()));
        }
        case.is_of_aws.then(|| say(VerdictKind::Unknown, None, vec![Doubt::OfAws]))
    }

    /// What is proven.
    fn find_from(&self, case: &Case, place: &PlaceClaim, holes: &[Gap]) -> Finding {
        let witness = KeyWitness { class: case.class, kms: self.kms_span(case) };
        let claim = place.of_key(&witness, &self.rules, holes);
        let stretch = self.stretch(case, place, &claim, holes);
        let is_young =
            case.created.is_some_and(|at| self.now.seconds_since(at) < self.rules.thresholds.grace);
        let mut doubts = match stretch {
            Ok(proven) if !is_young => return idle(case, proven),
            Ok(_) => Vec::new(),
            Err(ref doubt) => vec![doubt.doubt.clone()],
        };
        let proven = match stretch {
            Ok(proven) => Some(proven),
            Err(doubt) => doubt.proven,
        };
        if is_young {
            doubts = vec![Doubt::Young];
        }
        let is_blind = place.proof.blind.is_some();
        if is_blind {
            doubts.push(Doubt::Blind);
        }
        let kind = if is_blind { VerdictKind::Blind } else { VerdictKind::Unknown };
        Finding { kind, since: None, proven, doubts }
    }

    /// When KMS would have remembered a use.
    fn kms_span(&self, case: &Case) -> Option<Span> {
        let answer = case.kms.as_ref()?;
        let span = Span { from: answer.tracked_from, until: answer.asked_at.min(self.now).minus(KMS_LAG) };
        (span.from < span.until).then_some(span)
    }

    /// The stretch without a use that proves that a key is idle, or what is missing.
    fn stretch(
        &self,
        case: &Case,
        place: &PlaceClaim,
        claim: &Claim<'_>,
        holes: &[Gap],
    ) -> Result<Span, Missing> {
        // What all witnesses say together, unless they say nothing of now; then what KMS alone says.
        let all = claim.last_before(self.now.plus(1));
        let mut missing = Missing { doubt: Doubt::NoProof, proven: None };
        if let Some(all) = all {
            let is_behind = |hole: &Gap| hole.until > all.until && hole.from < self.now;
            let has_hole_behind = holes.iter().chain(&place.proof.holes).any(is_behind);
            match self.weigh(case, place, all) {
                Ok(proven) if place.proof.blind.is_some() => {
                    missing = Missing { doubt: Doubt::NoProof, proven: Some(proven) };
                }
                Ok(proven) if has_hole_behind => {
                    missing = Missing { doubt: Doubt::HoleBehind, proven: Some(proven) };
                }
                Ok(proven) => return Ok(proven),
                Err(why) => missing = why,
            }
        }
        if let Some(kms) = claim.kms_alone()
            && let Some(span) = claim.last_before(kms.until)
            && let Ok(proven) = self.weigh(case, place, span)
        {
            // What was not understood and may be a use of this very key holds back until KMS has been asked again.
            if holes.iter().any(|hole| hole.until > proven.until && hole.from < self.now) {
                return Err(Missing { doubt: Doubt::HoleBehind, proven: Some(proven) });
            }
            return Ok(proven);
        }
        Err(missing)
    }

    /// Whether a span of the claim is long and fresh enough, and KMS agrees.
    fn weigh(&self, case: &Case, place: &PlaceClaim, span: Span) -> Result<Span, Missing> {
        let threshold = case.threshold.seconds;
        let start = case.last_used.or(case.created);
        // Before it was created nobody could use it.
        let from = start.map_or(span.from, |start| span.from.max(start));
        let proven = Span { from, until: span.until };
        if proven.from >= proven.until {
            return Err(Missing { doubt: Doubt::NoProof, proven: None });
        }
        let missing = |doubt| Missing { doubt, proven: Some(proven) };
        let is_old = |until| self.now.seconds_since(until) > self.rules.thresholds.proof_max_age;
        if is_old(proven.until) {
            return Err(missing(Doubt::TooOld));
        }
        if proven.until.seconds_since(from) < threshold {
            return Err(missing(Doubt::TooShort));
        }
        if !self.needs_kms(case, place) {
            return Ok(proven);
        }
        // Services may drop events on their way to CloudTrail: where KMS can be had, nothing is claimed beyond what it
        // confirms.
        let enough = from.plus(threshold);
        match self.kms_span(case) {
            Some(kms) if kms.until >= enough && !is_old(kms.until) => {
                Ok(Span { from, until: proven.until.min(kms.until) })
            }
            _ => Err(missing(Doubt::AskKms(enough.plus(KMS_LAG)))),
        }
    }

    /// Whether KMS's own answer can be had.
    pub(super) fn needs_kms(&self, case: &Case, place: &PlaceClaim) -> bool {
        match place.usage {
            UsageWitness::Available => !case.kms_is_denied,
            UsageWitness::Unasked => self.rules.asks_kms && !case.kms_is_denied,
            UsageWitness::Denied | UsageWitness::Absent | UsageWitness::Off => false,
        }
    }

    pub(super) fn operations_of(&self, case: &Case) -> &OfClass {
        self.rules.operations.of_class(case.class)
    }
}

/// What is missing, and what is proven all the same.
#[derive(Debug)]
struct Missing {
    doubt: Doubt,
    proven: Option<Span>,
}

/// The verdict on a key of which it is proven that nobody used it during `proven`.
fn idle(case: &Case, proven: Span) -> Finding {
    let say = |kind, since| Finding { kind, since, proven: Some(proven), doubts: Vec::new() };
    match (case.last_used, case.created) {
        // Where the proof begins later than the last use, there may have been one in between.
        (Some(last), _) => say(VerdictKind::Idle, (proven.from <= last).then_some(last)),
        (None, Some(created)) if proven.from <= created => say(VerdictKind::NeverUsed, Some(created)),
        (None, _) => say(VerdictKind::Idle, None),
    }
}
