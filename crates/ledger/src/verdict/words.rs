//! What a verdict rests on, for people: short sentences, each naming a witness, a span, or what is missing.

use dormouse_model::{EventTime, UsageWitness};

use super::claim::PlaceClaim;
use super::judge::{Doubt, Finding};
use super::{Case, Judge, Verdict, VerdictKind, age_in_words};
use crate::{Gap, Span};

/// So many holes are told, the latest first.
const MOST_HOLES: usize = 3;

/// The finding in words.
pub(super) fn verdict(
    judge: &Judge,
    case: &Case,
    finding: &Finding,
    place: &PlaceClaim,
    holes: &[Gap],
) -> Verdict {
    let mut evidence = Vec::new();
    let is_unused = matches!(finding.kind, VerdictKind::Idle | VerdictKind::NeverUsed);
    if is_unused && let Some(wanted) = wanted(case) {
        evidence.push(format!("{}, but wanted: {wanted}", words_of(finding.kind)));
    }
    evidence.push(last_use(case));
    if let Some(proven) = finding.proven {
        let Span { from, until } = proven;
        evidence.push(format!("from {from} until {until} a use would have been seen, and none was"));
    }
    evidence.extend(finding.doubts.iter().map(|doubt| self::doubt(doubt, judge, case, finding, place)));
    // Of a key that is in use or gone nothing has to be proven.
    let needs_proof = finding.kind != VerdictKind::InUse
        && !finding.doubts.iter().any(|doubt| matches!(doubt, Doubt::Deleted | Doubt::OfAws));
    if needs_proof {
        evidence.push(kms(judge, case, place));
        evidence.extend(witnesses(judge, case, place));
        let since = finding.proven.map_or(case.last_used, |proven| Some(proven.from)).unwrap_or_default();
        evidence.extend(told_holes(place, holes, (since, judge.now()), finding.proven));
        if !is_unused && let Some(wanted) = wanted(case) {
            evidence.push(format!("wanted: {wanted}"));
        }
    }
    Verdict {
        kind: finding.kind,
        since: finding.since,
        evidence_from: finding.proven.map(|proven| proven.from),
        evidence_until: finding.proven.map(|proven| proven.until),
        threshold: age_in_words(case.threshold.seconds),
        threshold_from: judge.rules().thresholds.source_in_words(case.threshold),
        wanted: case.wanted.is_some(),
        evidence,
    }
}

fn words_of(kind: VerdictKind) -> &'static str {
    if kind == VerdictKind::NeverUsed { "never used" } else { kind.name() }
}

fn wanted(case: &Case) -> Option<String> {
    let (since, last, count) = case.wanted?;
    let calls = if count == 1 { "call".to_owned() } else { "calls".to_owned() };
    let count = if count == 0 { "failed".to_owned() } else { format!("{count} failed") };
    Some(format!("{count} {calls} since {since}, the last at {last}, after the last use"))
}

fn last_use(case: &Case) -> String {
    match (case.last_used, case.only_kms_knows) {
        (Some(at), false) => format!("last used at {at}, by an event"),
        (Some(at), true) => format!("last used at {at}, by KMS's own word alone"),
        (None, _) => match case.created {
            Some(created) => format!("no use is known since it was created at {created}"),
            None => "no use is known, nor when it was created".to_owned(),
        },
    }
}

fn doubt(doubt: &Doubt, judge: &Judge, case: &Case, finding: &Finding, place: &PlaceClaim) -> String {
    let thresholds = &judge.rules().thresholds;
    let threshold = age_in_words(case.threshold.seconds);
    match doubt {
        Doubt::Deleted => "the key is deleted: it cannot be used any more".to_owned(),
        Doubt::OfAws => "AWS managed: it can be neither disabled nor deleted".to_owned(),
        Doubt::Young => {
            let created = case.created.map(|at| format!(" at {at}")).unwrap_or_default();
            let grace = age_in_words(thresholds.grace);
            format!("created{created}, less than {grace} ago: too young to be called unused")
        }
        Doubt::NoProof if place.proof.blind.is_some() && finding.proven.is_some() => {
            "KMS alone does not prove it, and events no longer arrive".to_owned()
        }
        Doubt::NoProof => {
            "nothing proves that a use of every operation of this key would have been seen".to_owned()
        }
        Doubt::TooShort => format!("that is shorter than the threshold of {threshold}"),
        Doubt::TooOld => {
            format!(
                "that ended more than {} ago: it says nothing of now",
                age_in_words(thresholds.proof_max_age)
            )
        }
        Doubt::HoleBehind => "what came behind that may be a use".to_owned(),
        Doubt::AskKms(at) => format!("KMS's own word is missing: it has to be asked at {at} or later"),
        Doubt::Blind => match &place.proof.blind {
            Some(blind) => {
                format!("nothing arrives from this account and Region since {}: {}", blind.since, blind.why)
            }
            None => "nothing arrives from this account and Region".to_owned(),
        },
    }
}

/// What KMS itself says of the key.
fn kms(judge: &Judge, case: &Case, place: &PlaceClaim) -> String {
    if let Some(answer) = &case.kms {
        let (asked, from) = (answer.asked_at, answer.tracked_from);
        return match answer.last {
            Some(at) => {
                format!("KMS was asked at {asked} and remembers a use at {at} as the last since {from}")
            }
            None => format!("KMS was asked at {asked} and remembers no use since {from}"),
        };
    }
    if case.kms_is_denied {
        return "KMS does not tell us of this key: GetKeyLastUsage is denied; allow it in the key's policy"
            .to_owned();
    }
    match place.usage {
        UsageWitness::Available => "KMS was not asked about this key yet".to_owned(),
        UsageWitness::Unasked if judge.rules().asks_kms => "KMS was not asked yet".to_owned(),
        UsageWitness::Unasked | UsageWitness::Off => "KMS is not asked: the configuration says so".to_owned(),
        UsageWitness::Denied => "KMS cannot be asked here: GetKeyLastUsage is denied to our role".to_owned(),
        UsageWitness::Absent => "KMS cannot be asked here: this Region has no GetKeyLastUsage".to_owned(),
    }
}

/// What the other witnesses cover, and which operations they would miss.
fn witnesses(judge: &Judge, case: &Case, place: &PlaceClaim) -> Vec<String> {
    let proof = &place.proof;
    let mut told = Vec::new();
    let mut tell = |spans: &[Span], what: &str| {
        if let Some(last) = spans.last() {
            let more = match spans.len() - 1 {
                0 => String::new(),
                1 => ", and in one earlier span".to_owned(),
                more => format!(", and in {more} earlier spans"),
            };
            told.push(format!("{what} from {} until {}{more}", last.from, last.until));
        }
    };
    tell(&proof.stream, "events of this account and Region arrived without a gap");
    tell(&proof.digests, "digest files prove that no log file is missing");
    tell(&proof.declared, "the configuration declares events complete");
    if !proof.stream.is_empty() {
        let of_class = judge.operations_of(case);
        let all = of_class.tracked.iter().chain(&of_class.untracked);
        let missing: Vec<&str> =
            all.map(|name| &**name).filter(|name| !proof.seen.contains_key(*name)).collect();
        if !missing.is_empty() {
            let names = missing.join(", ");
            told.push(format!("no {names} ever arrived here: nothing proves that it would"));
        }
    }
    let of_class = judge.operations_of(case);
    if !of_class.untracked.is_empty() && case.kms.is_some() {
        told.push(format!("KMS does not remember {}", of_class.untracked.join(", ")));
    }
    told
}

/// The latest holes behind `since`. What lies in what is proven all the same, KMS covers.
fn told_holes(
    place: &PlaceClaim,
    holes: &[Gap],
    (since, now): (EventTime, EventTime),
    proven: Option<Span>,
) -> Vec<String> {
    let mut told: Vec<&Gap> =
        place.proof.holes.iter().chain(holes).filter(|hole| hole.until > since).collect();
    told.sort_by_key(|hole| std::cmp::Reverse((hole.until, hole.from)));
    let more = told.len().saturating_sub(MOST_HOLES);
    told.truncate(MOST_HOLES);
    let is_covered =
        |hole: &Gap| proven.is_some_and(|proven| proven.from <= hole.from && hole.until <= proven.until);
    let hole = |hole: &Gap| {
        let Gap { from, until, reason } = hole;
        if is_covered(hole) {
            format!("covered by KMS's later answer from {from} until {until}: {reason}")
        } else if *until >= now {
            format!("not claimed since {from}: {reason}")
        } else {
            format!("not claimed from {from} until {until}: {reason}")
        }
    };
    let mut told: Vec<String> = told.into_iter().map(hole).collect();
    if more > 0 {
        told.push(format!("nor in {more} spans before"));
    }
    told
}
