//! Verdicts on single keys, one witness and one doubt at a time. `property` has whole worlds.

use dormouse_model::{
    Described, EventId, KeyAnswer, KeyArn, KeySaid, KmsUse, LastUsage, LifecycleState, Place, UsageWitness,
};

use super::claim::{Claim, KeyWitness, PlaceClaim};
use super::*;
use crate::Blind;
use crate::{Aliases, Gap, KeyState, PlaceProof, Rank, Span};

const DAY: u32 = 86_400;
const NOW: u32 = 1_000 * DAY;
const DELAY: u32 = 7_200;

fn at(day: u32) -> EventTime {
    EventTime::from_seconds(day * DAY)
}

fn span(from: u32, until: u32) -> Span {
    Span { from: at(from), until: at(until) }
}

fn key() -> KeyArn {
    "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-0000-0000-000000000001".parse().unwrap()
}

/// A key and what is known around it; days are numbered up to 1,000, which is today.
struct Scene {
    state: KeyState<Rank>,
    proof: PlaceProof,
    usage: UsageWitness,
    holes: Vec<Gap>,
    calls: Vec<Gap>,
    rules: Rules,
}

impl Scene {
    /// A key that was created on day 500, of this type.
    fn of(spec: &str, usage: &str) -> Self {
        let mut scene = Self {
            state: KeyState::in_row(1),
            proof: PlaceProof::default(),
            usage: UsageWitness::Unasked,
            holes: Vec::new(),
            calls: Vec::new(),
            rules: Rules::idle_after(90 * DAY),
        };
        scene.answer(
            900,
            KeySaid::Described(Described {
                manager: "CUSTOMER".into(),
                state: LifecycleState::Enabled,
                created: at(500),
                description: "".into(),
                spec: spec.into(),
                usage: usage.into(),
                origin: "AWS_KMS".into(),
                deletion_date: None,
                pending_window_days: None,
                material_expires: None,
                custom_key_store: None,
                multi_region: None,
            }),
        );
        scene
    }

    fn symmetric() -> Self {
        Self::of("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    }

    fn signing() -> Self {
        Self::of("RSA_2048", "SIGN_VERIFY")
    }

    fn answer(&mut self, day: u32, said: KeySaid) {
        let request_id = EventId::from("request");
        self.state.answer(&KeyAnswer { key: key(), asked_at: at(day), request_id, said });
    }

    fn used(mut self, day: u32) -> Self {
        let rank = Rank::new(at(day), true, false, EventId::from("use"));
        self.state.restore_traces(Some(rank), None);
        self
    }

    /// KMS was asked that day; it keeps track since `from` and remembers this use.
    fn asked(mut self, day: u32, from: u32, last: Option<u32>) -> Self {
        self.usage = UsageWitness::Available;
        let last = last.map(|day| KmsUse { at: at(day), operation: "Decrypt".into(), event_id: None });
        let said = LastUsage { tracked_from: at(from), created: at(500), last };
        self.answer(day, KeySaid::LastUsage(said));
        self
    }

    fn stream(mut self, from: u32, until: u32, operations: &[&str]) -> Self {
        self.proof.stream.push(span(from, until));
        for &name in operations {
            self.proof.seen.entry(name.into()).or_default().push(span(from, until));
        }
        self
    }

    fn blind(mut self, since: u32) -> Self {
        self.proof.blind = Some(Blind { since: at(since), why: "StopLogging by role/ops".into() });
        self
    }

    fn verdict(&self) -> Verdict {
        let judge = Judge::without_witnesses(EventTime::from_seconds(NOW), Arc::new(self.rules.clone()));
        let place = PlaceClaim::new(self.proof.clone(), self.usage, judge.now().minus(DELAY), judge.rules());
        let look = Look { place: Arc::new(place), holes: self.holes.clone(), calls: self.calls.clone() };
        judge.verdict(&judge.case(look, key(), &self.state, &Aliases::default()))
    }

    fn kind(&self) -> VerdictKind {
        self.verdict().kind
    }
}

const SYMMETRIC: [&str; 7] = [
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncrypt",
];

#[test]
fn a_key_is_in_use_within_the_threshold_and_unknown_beyond_it_without_proof() {
    assert_eq!(Scene::symmetric().used(911).kind(), VerdictKind::InUse);
    let beyond = Scene::symmetric().used(910).verdict();
    assert_eq!(beyond.kind, VerdictKind::Unknown);
    assert!(beyond.evidence.iter().any(|words| words.contains("nothing proves")), "{beyond:#?}");
    assert_eq!((beyond.threshold.as_str(), beyond.threshold_from.as_str()), ("90d", "default"));
}

#[test]
fn kms_alone_proves_symmetric_keys_and_not_those_with_a_public_half() {
    let verdict = Scene::symmetric().asked(999, 600, Some(800)).verdict();
    assert_eq!((verdict.kind, verdict.since), (VerdictKind::Idle, Some(at(800))));
    assert!(verdict.evidence_until.unwrap() < at(999), "KMS's word is an hour late");
    let signing = Scene::signing().asked(999, 600, Some(800)).verdict();
    assert_eq!(signing.kind, VerdictKind::Unknown);
    assert!(signing.evidence.iter().any(|words| words.contains("GetPublicKey")), "{signing:#?}");
}

#[test]
fn no_use_ever_is_proven_only_from_the_creation_on() {
    let never = Scene::symmetric().asked(999, 500, None).verdict();
    assert_eq!((never.kind, never.since), (VerdictKind::NeverUsed, Some(at(500))));
    let tracked_later = Scene::symmetric().asked(999, 600, None).verdict();
    assert_eq!((tracked_later.kind, tracked_later.since), (VerdictKind::Idle, None));
    assert_eq!(tracked_later.evidence_from, Some(at(600)));
}

#[test]
fn a_stream_proves_only_the_operations_that_were_seen_to_pass() {
    let all = Scene::signing().used(800).stream(700, 999, &["Sign", "Verify", "GetPublicKey"]);
    assert_eq!(all.kind(), VerdictKind::Idle);
    let some = Scene::signing().used(800).stream(700, 999, &["Sign", "Verify"]).verdict();
    assert_eq!(some.kind, VerdictKind::Unknown);
    assert!(some.evidence.iter().any(|words| words.contains("no GetPublicKey ever arrived")), "{some:#?}");
    // KMS stands in for what the stream was not seen to carry.
    let both = Scene::signing().stream(700, 999, &["GetPublicKey"]).asked(999, 600, Some(800));
    assert_eq!(both.kind(), VerdictKind::Idle);
    let mut counted_no_more = Scene::signing().asked(999, 600, Some(800));
    let mut table = OperationTable::default();
    table.override_in_use("GetPublicKey", false).unwrap();
    counted_no_more.rules = Rules::new(Thresholds::default(), &table, Vec::new(), true);
    assert_eq!(counted_no_more.kind(), VerdictKind::Idle);
}

#[test]
fn kms_has_to_be_asked_where_it_can_be_and_late_enough() {
    let mut scene = Scene::symmetric().used(800).stream(700, 1_000, &SYMMETRIC);
    assert_eq!(scene.kind(), VerdictKind::Idle);
    scene.usage = UsageWitness::Available;
    let unasked = scene.verdict();
    assert_eq!(unasked.kind, VerdictKind::Unknown);
    assert!(unasked.evidence.iter().any(|words| words.contains("has to be asked at")), "{unasked:#?}");
    let asked = |day| Scene::symmetric().used(800).stream(700, 1_000, &SYMMETRIC).asked(day, 600, Some(800));
    assert_eq!(asked(890).kind(), VerdictKind::Unknown);
    assert_eq!(asked(980).kind(), VerdictKind::Unknown, "what it confirms is too old");
    let confirmed = asked(995).verdict();
    assert_eq!(confirmed.kind, VerdictKind::Idle);
    assert!(confirmed.evidence_until.unwrap() < at(995), "nothing is claimed beyond what KMS confirms");
    scene.usage = UsageWitness::Denied;
    assert_eq!(scene.kind(), VerdictKind::Idle);
    scene.usage = UsageWitness::Unasked;
    scene.rules.asks_kms = true;
    assert_eq!(scene.kind(), VerdictKind::Unknown);
}

#[test]
fn a_use_that_only_kms_knows_is_the_last_one() {
    let scene = Scene::symmetric().used(700).asked(999, 600, Some(950));
    assert_eq!(scene.kind(), VerdictKind::InUse);
    assert!(scene.verdict().evidence[0].contains("by KMS's own word"), "{:?}", scene.verdict().evidence);
}

#[test]
fn what_was_not_understood_about_a_key_holds_back_until_kms_was_asked_again() {
    let mut scene = Scene::symmetric().asked(997, 600, Some(800));
    scene.holes =
        vec![Gap { from: at(998), until: at(998).plus(1), reason: "a message in the quarantine".into() }];
    let held = scene.verdict();
    assert_eq!(held.kind, VerdictKind::Unknown);
    assert!(held.evidence.iter().any(|words| words.contains("quarantine")), "{held:#?}");
    assert_eq!(scene.asked(999, 600, Some(800)).kind(), VerdictKind::Idle);
}

#[test]
fn a_hole_in_the_stream_within_the_threshold_is_bridged_by_kms_only() {
    let holed = |scene: Scene| scene.stream(700, 950, &SYMMETRIC).stream(951, 1_000, &SYMMETRIC);
    assert_eq!(holed(Scene::symmetric().used(800)).kind(), VerdictKind::Unknown);
    assert_eq!(holed(Scene::symmetric().used(800).asked(999, 600, Some(800))).kind(), VerdictKind::Idle);
    // One longer ago than the threshold only hides when the last use was.
    let old =
        Scene::symmetric().used(800).stream(700, 850, &SYMMETRIC).stream(851, 1_000, &SYMMETRIC).verdict();
    assert_eq!((old.kind, old.since, old.evidence_from), (VerdictKind::Idle, None, Some(at(851))));
}

#[test]
fn old_proof_says_nothing_of_now() {
    assert_eq!(Scene::symmetric().asked(993, 600, Some(800)).kind(), VerdictKind::Idle);
    let old = Scene::symmetric().asked(991, 600, Some(800)).verdict();
    assert_eq!(old.kind, VerdictKind::Unknown);
    assert!(old.evidence.iter().any(|words| words.contains("8d")), "{old:#?}");
}

#[test]
fn a_blind_place_leaves_only_what_kms_proves_alone() {
    let stream = Scene::symmetric().used(800).stream(700, 999, &SYMMETRIC).blind(999);
    assert_eq!(stream.kind(), VerdictKind::Blind);
    let verdict = stream.verdict();
    assert!(verdict.evidence.iter().any(|words| words.contains("StopLogging by role/ops")), "{verdict:#?}");
    assert_eq!(stream.asked(999, 600, Some(800)).kind(), VerdictKind::Idle);
    let signing = Scene::signing().used(800).stream(700, 999, &["Sign", "Verify", "GetPublicKey"]);
    assert_eq!(signing.blind(999).asked(999, 600, Some(800)).kind(), VerdictKind::Blind);
    assert_eq!(Scene::symmetric().used(950).blind(999).kind(), VerdictKind::InUse);
}

#[test]
fn young_keys_are_not_called_unused() {
    let mut scene = Scene::symmetric().asked(999, 500, None);
    scene.rules.thresholds.grace = 501 * DAY;
    let young = scene.verdict();
    assert_eq!(young.kind, VerdictKind::Unknown);
    assert!(young.evidence.iter().any(|words| words.contains("too young")), "{young:#?}");
}

#[test]
fn keys_of_aws_and_deleted_keys_are_apart() {
    for (manager, state, words) in [
        ("AWS", LifecycleState::Enabled, "AWS managed: it can be neither disabled nor deleted"),
        ("CUSTOMER", LifecycleState::Deleted, "the key is deleted"),
    ] {
        let mut scene = Scene::symmetric().asked(999, 500, None);
        scene.answer(
            999,
            KeySaid::Described(Described {
                manager: manager.into(),
                state,
                created: at(500),
                description: "".into(),
                spec: "SYMMETRIC_DEFAULT".into(),
                usage: "ENCRYPT_DECRYPT".into(),
                origin: "AWS_KMS".into(),
                deletion_date: None,
                pending_window_days: None,
                material_expires: None,
                custom_key_store: None,
                multi_region: None,
            }),
        );
        let verdict = scene.verdict();
        assert_eq!(verdict.kind, VerdictKind::Unknown);
        assert!(verdict.evidence.iter().any(|said| said.contains(words)), "{verdict:#?}");
    }
}

#[test]
fn an_idle_key_that_somebody_tried_to_use_is_wanted() {
    let mut scene = Scene::symmetric().asked(999, 600, Some(800));
    let wanted = crate::Wanted { since: at(850), last: at(990), own: 3, foreign: 0 };
    let registers = scene.state.registers().cloned();
    scene.state.restore_rest(Some(wanted), registers);
    let verdict = scene.verdict();
    assert_eq!((verdict.kind, verdict.in_words()), (VerdictKind::Idle, "idle, but wanted"));
    assert!(verdict.evidence[0].starts_with("idle, but wanted: 3 failed calls"), "{verdict:#?}");
}

#[test]
fn a_declaration_proves_until_everything_was_delivered() {
    let mut scene = Scene::signing().used(800);
    scene.proof.declared = vec![span(700, 2_000)];
    let verdict = scene.verdict();
    assert_eq!(verdict.kind, VerdictKind::Idle);
    assert_eq!(verdict.evidence_until, Some(EventTime::from_seconds(NOW - DELAY)));
    assert!(verdict.evidence.iter().any(|words| words.contains("declares")), "{verdict:#?}");
}

#[test]
fn where_nothing_counts_as_a_use_its_absence_says_nothing() {
    let mut table = OperationTable::default();
    for name in ["GenerateMac", "VerifyMac"] {
        table.override_in_use(name, false).unwrap();
    }
    let rules = Rules::new(Thresholds::default(), &table, Vec::new(), true);
    let place = PlaceClaim::new(PlaceProof::default(), UsageWitness::Available, at(1_000), &rules);
    let witness = KeyWitness { class: operations::Class::Mac, kms: Some(span(500, 999)) };
    let claim: Claim<'_> = place.of_key(&witness, &rules, &[]);
    assert_eq!(claim.last_before(at(1_000)), None);
}

#[test]
fn places_are_looked_at_before_the_key_and_not_again() {
    struct Counting(std::sync::atomic::AtomicUsize);
    impl Witnesses for Counting {
        fn look(&self, look: &mut dyn FnMut(&Coverage, &Inventory)) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            look(&Coverage::default(), &Inventory::default());
        }
    }
    let counting = Arc::new(Counting(Default::default()));
    let witnesses: Arc<dyn Witnesses> = Arc::<Counting>::clone(&counting);
    let judge = Judge::new(at(1_000), Arc::new(Rules::idle_after(90 * DAY)), witnesses);
    let place = Place { account: key().account(), region: key().region() };
    let looks = || counting.0.load(std::sync::atomic::Ordering::Relaxed);
    let look = judge.look(key());
    assert_eq!(looks(), 1, "{place:?}");
    let case = judge.case(look, key(), &Scene::symmetric().used(999).state, &Aliases::default());
    assert_eq!(judge.kind(&case), VerdictKind::InUse);
    judge.verdict(&case);
    assert_eq!(looks(), 1, "once for a key: {place:?}");
}

#[test]
fn kms_alone_proves_nothing_of_the_time_before_a_call_of_an_operation_that_nobody_knows() {
    let mut scene = Scene::symmetric().asked(999, 600, Some(800));
    let call = Gap { from: at(850), until: at(850).plus(1), reason: "Ponder succeeded".into() };
    (scene.holes, scene.calls) = (vec![call.clone()], vec![call.clone()]);
    let verdict = scene.verdict();
    assert_eq!((verdict.kind, verdict.evidence_from), (VerdictKind::Idle, Some(at(850).plus(1))));
    assert_eq!(verdict.since, None, "that call may have been a use");
    let late = Gap { from: at(998), until: at(998).plus(1), ..call };
    (scene.holes, scene.calls) = (vec![late.clone()], vec![late.clone()]);
    let held = scene.verdict();
    assert_eq!(held.kind, VerdictKind::Unknown, "{held:#?}");
    // One of the whole place holds all its keys back.
    (scene.holes, scene.calls) = (Vec::new(), Vec::new());
    scene.proof.unknown = vec![late];
    assert_eq!(scene.kind(), VerdictKind::Unknown);
}

#[test]
fn what_is_kept_unread_is_told_to_be_covered_where_kms_was_asked_later() {
    let mut scene = Scene::symmetric().asked(999, 600, Some(800));
    scene.holes = vec![Gap { from: at(900), until: at(900).plus(1), reason: "in the quarantine".into() }];
    let verdict = scene.verdict();
    assert_eq!(verdict.kind, VerdictKind::Idle);
    let says = |words: &str| verdict.evidence.iter().any(|said| said.contains(words));
    assert!(says("covered by KMS's later answer") && !says("not claimed"), "{verdict:#?}");
}

#[test]
fn an_operation_that_only_the_configuration_calls_a_use_is_claimed_by_the_stream_alone() {
    let mut table = OperationTable::default();
    table.override_in_use("Ponder", true).unwrap();
    let mut scene = Scene::symmetric().used(800).asked(999, 600, Some(800));
    scene.rules = Rules::new(Thresholds::default(), &table, Vec::new(), true);
    scene.proof.declared = vec![span(700, 1_000)];
    scene.proof.digests = vec![span(500, 700)];
    assert_eq!(scene.kind(), VerdictKind::Unknown);
    let mut seen = scene.stream(950, 1_000, &["Ponder"]);
    assert_eq!(seen.kind(), VerdictKind::Unknown);
    seen.proof.seen.insert("Ponder".into(), vec![span(700, 1_000)]);
    assert_eq!(seen.kind(), VerdictKind::Idle);
}
