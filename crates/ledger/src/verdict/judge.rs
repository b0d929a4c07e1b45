//! The verdict on a key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use dormouse_model::{EventTime, KeyArn, LifecycleState, Place, UsageWitness};
use foldhash::fast::RandomState;

use super::claim::{Claim, KMS_LAG, KeyWitness, PlaceClaim};
use super::operations::OfClass;
use super::{Case, Look, Rules, Verdict, VerdictKind, Witnesses, words};
use crate::{Aliases, Coverage, Gap, Inventory, KeyState, Span, Trace};

/// Judges keys at one moment. Clones share what was found out about places.
///
/// A verdict takes three steps, so that a key's state and what is known of places are never locked together, and are
/// seen in an order that cannot mislead: [`Judge::look`] looks at what can be claimed, then [`Judge::case`] copies what
/// matters of the key, then [`Judge::kind`] or [`Judge::verdict`] judges it.
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

    /// What can be claimed about a key. Looks at what is known of places: not to be called with a key's state locked,
    /// but before that state is looked at.
    pub fn look(&self, key: KeyArn) -> Look {
        let place = Place { account: key.account(), region: key.region() };
        let known = self.places.read().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        let (mut new, mut holes, mut calls) = (None, Vec::new(), Vec::new());
        self.witnesses.look(&mut |coverage, inventory| {
            if known.is_none() {
                new = Some(PlaceClaim::of(place, self.now, &self.rules, coverage, inventory));
            }
            holes = coverage.holes_of_key(key).to_vec();
            calls = coverage.calls_of_key(key).to_vec();
        });
        let place = known.unwrap_or_else(|| {
            let new = Arc::new(new.unwrap_or_default());
            let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(place).or_insert(new))
        });
        Look { place, holes, calls }
    }

    /// What is known of a key, as far as it matters, seen behind `look`.
    pub fn case<T: Trace>(&self, look: Look, key: KeyArn, state: &KeyState<T>, aliases: &Aliases) -> Case {
        Case::new(look, key, state, aliases, &self.rules)
    }

    /// What may be said of a key.
    pub fn kind(&self, case: &Case) -> VerdictKind {
        self.by_what_is_known_of_it(case).unwrap_or_else(|| self.find(case)).kind
    }

    /// What may be said of a key, and what it rests on.
    pub fn verdict(&self, case: &Case) -> Verdict {
        let finding = self.by_what_is_known_of_it(case).unwrap_or_else(|| self.find(case));
        words::verdict(self, case, &finding, &case.look.place, &case.look.holes)
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
    fn find(&self, case: &Case) -> Finding {
        let Look { place, holes, .. } = &case.look;
        let witness = KeyWitness { class: case.class, kms: self.kms_claim(case) };
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

    /// When KMS would have remembered a use by whatever operation. Whether it remembers one that nobody knows, nobody
    /// knows: only what is behind the last such call is claimed.
    fn kms_claim(&self, case: &Case) -> Option<Span> {
        let whole = self.kms_span(case)?;
        let calls = case.look.calls.iter().chain(&case.look.place.proof.unknown);
        let before = calls.filter(|call| call.from < whole.until).map(|call| call.until);
        let span = Span { from: before.fold(whole.from, EventTime::max), ..whole };
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
            if holes
                .iter()
                .chain(&place.proof.unknown)
                .any(|hole| hole.until > proven.until && hole.from < self.now)
            {
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
