//! Files in all layouts, whole and damaged, read in steps of any size.

use std::fs::File;
use std::io::{self, Read, Write};

use proptest::prelude::*;

use super::*;
use crate::aggregate::tests::aggregate;
use crate::gzip::tests::pack;

/// What was delivered, as texts: documents as they are, problems as `!code`.
fn pieces_of(input: impl Read, limits: &FileLimits) -> (Vec<String>, FileReport) {
    let mut pieces = Vec::new();
    let report = read_records(input, limits, &mut |piece| pieces.push(text_of(&piece)));
    (pieces, report)
}

fn text_of(piece: &Piece<'_>) -> String {
    match piece {
        Piece::Document { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
        Piece::Problem { problem, .. } => format!("!{}", problem.code()),
    }
}

fn pieces(text: impl AsRef<[u8]>) -> Vec<String> {
    pieces_of(text.as_ref(), &FileLimits::default()).0
}

fn notes(text: impl AsRef<[u8]>) -> Vec<(NoteKind, u64)> {
    let (_, report) = pieces_of(text.as_ref(), &FileLimits::default());
    report.notes.into_iter().map(|note| (note.kind, note.offset)).collect()
}

#[test]
fn every_layout_gives_up_its_documents() {
    let three = ["{\"a\":1}", "{\"b\":\"]}\"}", "{\"c\":[{}]}"];
    let [a, b, c] = three;
    for text in [
        format!("{a}\n{b}\n{c}\n"),
        format!("{a}\n{b}\n{c}"),
        format!("\n\n{a}\r\n  {b}\n\n{c}\r\n"),
        format!("\u{feff}{a}\n{b}\n{c}\n"),
        format!("{a}{b}{c}"),
        format!("{a} {b},{c}"),
        format!("[{a},{b},{c}]"),
        format!("[\n{a},\n{b},\n{c}\n]\n"),
        format!("[\n{a}\n,{b}\n,{c}\n]\n"),
        format!("{{\"Records\":[{a},{b},{c}]}}"),
        format!("{{\"Records\":[\n{a},\n{b},\n{c}\n]}}\n"),
        format!("{{\n  \"Records\" : [\n{a},\n{b},{c}\n]\n}}\n"),
        format!("{{\"Records\":[{a},{b}],\"x\":{{\"y\":[]}},\"Records\":[{c}],\"z\":5}}"),
        format!("{{\"Records\":[{a},{b}]}}{{\"Records\":[]}}[{c}]"),
    ] {
        assert_eq!(pieces(&text), three, "{text}");
        let (packed, report) = pieces_of(&*pack(text.as_bytes()), &FileLimits::default());
        assert_eq!(packed, three, "{text}");
        assert!(report.whole);
        assert_eq!((report.documents, report.problems, report.unpacked), (3, 0, bytes(text.len())));
        assert_eq!(report.read, bytes(pack(text.as_bytes()).len()));
    }
    let printed = "{\n  \"a\": 1\n}\n{\n  \"b\": [\n    2\n  ]\n}\n";
    assert_eq!(pieces(printed), ["{\n  \"a\": 1\n}", "{\n  \"b\": [\n    2\n  ]\n}"]);
    assert_eq!(
        pieces("{\"a\":1,\"Records\":[{}]}\n"),
        ["{\"a\":1,\"Records\":[{}]}"],
        "the decoder takes small lists"
    );
}

#[test]
fn offsets_are_those_of_the_text() {
    for text in ["{\"a\":1}\n  {\"b\":2}\n{\"c\":3}", "\u{feff}[ {\"a\":1} , {\"b\":2},\n{\"c\":3}]"] {
        let mut count = 0;
        read_records(text.as_bytes(), &FileLimits::default(), &mut |piece| {
            let Piece::Document { bytes, offset } = piece else { panic!("{piece:?}") };
            let begin = usize::try_from(offset).unwrap();
            assert_eq!(&text.as_bytes()[begin..begin + bytes.len()], bytes);
            count += 1;
        });
        assert_eq!(count, 3);
    }
}

#[test]
fn a_bad_line_costs_itself() {
    assert_eq!(pieces("{\"a\":1}\n{\"b\":\n{\"c\":3}\n"), ["{\"a\":1}", "{\"b\":", "{\"c\":3}"]);
    assert_eq!(pieces("{\"a\":\"x\n{\"c\":3}\n"), ["{\"a\":\"x", "{\"c\":3}"]);
    assert_eq!(pieces("garbage\n{\"c\":3}\n"), ["garbage", "{\"c\":3}"]);
}

#[test]
fn junk_between_documents_is_told_once_and_skipped() {
    let records =
        "{\"Records\":[\n{\"a\":1},\n{\"b\":{\"c\":2,\n{\"d\":\"x\n{\"e\":4},\n}}}\n{\"f\":5}\n]}\n{\"g\":6}";
    assert_eq!(
        pieces(records),
        ["{\"a\":1}", "!malformed", "{\"e\":4}", "!malformed", "{\"f\":5}", "{\"g\":6}"]
    );
    let (_, report) = pieces_of(records.as_bytes(), &FileLimits::default());
    assert!(report.whole, "junk hides nothing");
    assert_eq!(
        pieces("{\n\"a\":1\n}\njunk\nmore junk\n{\"b\":2}"),
        ["{\n\"a\":1\n}", "!malformed", "{\"b\":2}"]
    );
    assert_eq!(pieces("[5,\"x\",{\"b\":2}]"), ["5", "\"x\"", "{\"b\":2}"]);
}

#[test]
fn what_comes_before_a_cut_is_delivered() {
    for (text, expected) in [
        ("{\"a\":1}\n{\"b\":", vec!["{\"a\":1}", "!truncated"]),
        ("{\"Records\":[{\"a\":1},{\"b\"", vec!["{\"a\":1}", "!truncated"]),
        ("{\"Records\":[{\"a\":1},{\"b\":2}", vec!["{\"a\":1}", "{\"b\":2}", "!truncated"]),
        ("{\"Records\":[{\"a\":1}]", vec!["{\"a\":1}", "!truncated"]),
        ("{\"x\":0,\"Records\":[{\"a\":1},{\"b\"", vec!["{\"a\":1}", "!truncated"]),
        ("[\n{\"a\":1},\n", vec!["{\"a\":1}", "!truncated"]),
        ("{\n\"a\":1\n}\n{\n\"b\":", vec!["{\n\"a\":1\n}", "!truncated"]),
        ("{\"Rec", vec!["!truncated"]),
    ] {
        assert_eq!(pieces(text), expected, "{text}");
        assert!(!pieces_of(text.as_bytes(), &FileLimits::default()).1.whole);
    }
}

#[test]
fn an_empty_file_is_told() {
    for text in [&b""[..], b" \n\n", b"\xef\xbb\xbf", &pack(b"")] {
        let (pieces, report) = pieces_of(text, &FileLimits::default());
        assert_eq!((&*pieces, report.problems), (&["!empty".to_owned()][..], 1));
        assert!(report.whole);
    }
    assert_eq!(pieces("{\"Records\":[]}"), [""; 0], "a list without records is not empty text");
}

#[test]
fn damaged_gzip_keeps_what_came_before() {
    let lines: String = (0..5000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let list = format!("{{\"Records\":[{}]}}", lines.trim_end().replace('\n', ","));
    for text in [lines, list] {
        let packed = pack(text.as_bytes());
        let (pieces, report) = pieces_of(&packed[..packed.len() / 2], &FileLimits::default());
        assert!(pieces.len() > 1000, "{}", pieces.len());
        assert_eq!(pieces.last().unwrap(), "!gzip_truncated");
        assert_eq!((report.whole, report.problems), (false, 1));
        assert!(
            pieces[..pieces.len() - 1]
                .iter()
                .all(|piece| serde_json::from_str::<serde_json::Value>(piece).is_ok())
        );
    }
    let trailing = [pack(b"{\"a\":1}\n"), b"tail".to_vec()].concat();
    assert_eq!(pieces(trailing), ["{\"a\":1}", "!gzip_trailing"]);
    let members = [pack(b"{\"a\":"), pack(b"1}\n{\"b\":2}")].concat();
    assert_eq!(pieces(members), ["{\"a\":1}", "{\"b\":2}"]);
}

#[test]
fn a_bomb_is_told() {
    let limits = FileLimits { free_unpacked: 1 << 20, max_record: 1 << 16, ..FileLimits::default() };
    let bomb = [b"{\"a\":1}\n{\"b\":\"".to_vec(), vec![b'x'; 8 << 20]].concat();
    let (pieces, report) = pieces_of(&*pack(&bomb), &limits);
    assert_eq!(pieces, ["{\"a\":1}", "!too_large", "!gzip_bomb"]);
    assert!(!report.whole && report.unpacked < 2 << 20);
}

#[test]
fn an_input_that_fails_is_told() {
    struct Failing<'a>(&'a [u8]);
    impl Read for Failing<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() { Err(io::Error::other("the disk is gone")) } else { self.0.read(out) }
        }
    }
    for text in [b"{\"a\":1}\n{\"b\":2}\n{\"c\"".to_vec(), pack(b"{\"a\":1}\n{\"b\":2}\n{\"c\"")] {
        let (pieces, report) = pieces_of(Failing(&text), &FileLimits::default());
        assert_eq!(pieces.last().unwrap(), "!unreadable");
        assert!(!report.whole);
    }
}

#[test]
fn records_beyond_the_bound_are_skipped() {
    let limits = FileLimits { max_record: 1000, ..FileLimits::default() };
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(900_000));
    let larger = format!("{{\"a\":[\n{}]}}", "[1,\"]\"],\n".repeat(90_000) + "1");
    for large in [large, larger] {
        for text in [
            format!("{{\"b\":1}}\n{}\n{{\"c\":2}}\n", large.replace('\n', "")),
            format!("[{{\"b\":1}},{large},{{\"c\":2}}]"),
            format!("{{\"Records\":[{{\"b\":1}},{large},{{\"c\":2}}],\"x\":{large}}}"),
            format!("{{\n\"b\":1}}{large}{{\"c\":2}}").replacen("{\n\"b\":1}", "{\"b\":1}", 1),
        ] {
            let (pieces, report) = pieces_of(text.as_bytes(), &limits);
            assert!(pieces == ["{\"b\":1}", "!too_large", "{\"c\":2}"], "{} {}", pieces.len(), &text[..100]);
            assert!(!report.whole);
        }
    }
    let junk = format!("{}\n{{\"c\":2}}\n", "junk".repeat(200_000));
    assert_eq!(pieces_of(junk.as_bytes(), &limits).0, ["!malformed", "{\"c\":2}"]);
}

#[test]
fn a_list_behind_a_member_is_never_held_whole() {
    let limits = FileLimits { max_record: 1000, ..FileLimits::default() };
    let elements: Vec<String> = (0..100_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    let text = format!("{{\"x\":{{}},\"Records\":[{}],\"y\":1}}", elements.join(","));
    assert!(text.len() > 1 << 20);
    let (pieces, report) = pieces_of(text.as_bytes(), &limits);
    assert_eq!(pieces, elements);
    assert!(report.whole);
}

#[test]
fn oddities_are_noted_once() {
    assert_eq!(notes("\u{feff}{\"a\":1}\n"), [(NoteKind::ByteOrderMark, 0)]);
    assert_eq!(notes("{\"a\":1}\r\n{\"a\":1}\r\n"), [(NoteKind::CarriageReturns, 0)]);
    assert_eq!(notes("[\r\n{\"a\":1},\r\n{\"b\":\r\n1}\r\n]"), [(NoteKind::CarriageReturns, 1)]);
    assert_eq!(notes("{\"a\":1}\n{\"a\":\"\\ud83d\"}\n{\"a\":\"\\ud83d\"}"), [(NoteKind::LoneSurrogate, 14)]);
    assert_eq!(notes("{\"a\":\"\\ud83d\\ude00\"}\n"), []);
    let large = format!("{{\"a\":\"{}\"}}\n", "x".repeat(300_000));
    assert_eq!(notes(format!("{{\"b\":1}}\n{large}{large}")), [(NoteKind::LargeRecord, 8)]);
    let list = format!("{{\"Records\":[{}{{}}]}}\n", "{\"a\":1},".repeat(50_000));
    assert_eq!(notes(format!("{{\"b\":1}}\n{list}")), [], "a list may be large");
}

fn file_of(text: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text).unwrap();
    file
}

#[test]
fn only_plain_lines_are_cut_into_chunks() {
    for text in [&b""[..], b"{\n\"a\":1}\n", b"{\"Records\":[{}]}", &pack(b"{\"a\":1}\n{\"a\":1}\n")] {
        assert_eq!(plan_chunks(&file_of(text), bytes(text.len()), 4), None);
    }
    let text = b"{\"a\":1}\n{\"b\":2}\n";
    assert_eq!(plan_chunks(&file_of(text), 16, 8), Some(vec![0..8, 8..16]));
    let one = plan_chunks(&file_of(text), 16, 9).unwrap();
    assert_eq!((one.len(), one[0].clone()), (1, 0..16));
    assert_eq!(plan_chunks(&file_of(text), 16, 0).unwrap().len(), 2);
}

#[test]
fn a_range_that_is_gone_is_told() {
    let file = file_of(b"{\"a\":1}\n");
    let mut pieces = Vec::new();
    let report = read_range(&file, 0..100, &FileLimits::default(), &mut |piece| {
        pieces.push(text_of(&piece));
    });
    assert_eq!(pieces, ["{\"a\":1}", "!truncated"]);
    assert!(!report.whole);
}

/// Gives out so many bytes at once, again and again.
struct Steps<'a> {
    text: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Read for Steps<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.sizes.next().copied().unwrap_or(1).min(out.len()).min(self.text.len());
        let (now, later) = self.text.split_at(length);
        out[..length].copy_from_slice(now);
        self.text = later;
        Ok(length)
    }
}

fn token() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{\"a\":1}",
        "{\"b\":\"]}\\\"\"}",
        "{\"c\":[{},[1,2]]}",
        "{\"Records\":[",
        "[",
        "]",
        "}",
        "{",
        ",",
        "\n",
        "\r\n",
        " ",
        "\"x",
        "\"Records\":[",
        "\"k\":",
        "5",
        "null",
        "junk",
        "{\"x\":0,",
        "{\n \"p\":\n 1\n}",
        "\\",
        "\u{feff}",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn steps_of_any_size_give_the_same_pieces(
        tokens in prop::collection::vec(token(), 0..30),
        sizes in prop::collection::vec(1usize..20, 1..5),
        packed: bool,
        max_record in prop::sample::select(vec![8usize, 40, 1 << 20]),
    ) {
        let text = if packed { pack(tokens.concat().as_bytes()) } else { tokens.concat().into_bytes() };
        let limits = FileLimits { max_record, ..FileLimits::default() };
        let steps = Steps { text: &text, sizes: sizes.iter().cycle() };
        prop_assert_eq!(pieces_of(steps, &limits), pieces_of(&*text, &limits));
    }

    #[test]
    fn a_list_is_cut_where_serde_cuts_it(values in prop::collection::vec(any::<Vec<Option<(String, i8)>>>(), 0..8), pretty: bool, in_object: bool) {
        let list = if in_object { serde_json::json!({ "Records": values }) } else { serde_json::json!(values) };
        let text = if pretty { serde_json::to_string_pretty(&list) } else { serde_json::to_string(&list) }.unwrap();
        let (pieces, report) = pieces_of(text.as_bytes(), &FileLimits::default());
        prop_assert!(report.whole);
        let parsed: Vec<Vec<Option<(String, i8)>>> = pieces.iter().map(|piece| serde_json::from_str(piece).unwrap()).collect();
        prop_assert_eq!(parsed, values);
    }

    #[test]
    fn chunks_are_the_whole_file(
        lines in prop::collection::vec("\\{\"a\":[0-9]{1,30}\\}|junk|\\{\"cut\":|", 1..40),
        chunk_size in 1u64..100,
        ends: bool,
    ) {
        let text = format!("{{\"first\":1}}\n{}{}", lines.join("\n"), if ends { "\n" } else { "" });
        let file = file_of(text.as_bytes());
        let limits = FileLimits::default();
        let Some(chunks) = plan_chunks(&file, bytes(text.len()), chunk_size) else {
            prop_assert!(false, "not lines: {}", text);
            return Ok(());
        };
        prop_assert_eq!(chunks[0].start, 0);
        prop_assert_eq!(chunks.last().unwrap().end, bytes(text.len()));
        prop_assert!(chunks.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].start < pair[0].end));
        let (mut in_ranges, mut in_memory) = (Vec::new(), Vec::new());
        for chunk in chunks {
            read_range(&file, chunk.clone(), &limits, &mut |piece| in_ranges.push(text_of(&piece)));
            let place = usize::try_from(chunk.start).unwrap()..usize::try_from(chunk.end).unwrap();
            read_lines(&text.as_bytes()[place], chunk.start, &limits, &mut |piece| in_memory.push(text_of(&piece)));
        }
        let (whole, _) = pieces_of(text.as_bytes(), &limits);
        prop_assert_eq!(&in_ranges, &whole);
        prop_assert_eq!(&in_memory, &whole);
    }
}

#[test]
fn the_hash_is_that_of_the_unpacked_text() {
    let limits = FileLimits { hash: true, max_record: 100, ..FileLimits::default() };
    let hex = |input: &[u8]| {
        let sha256 = pieces_of(input, &limits).1.sha256;
        sha256.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    // As `sha256sum` has them.
    let list = b"{\"Records\":[{\"a\":1}]}";
    let expected = "be551173fd71e97112f4e86eb557d0dca00fd850587869ea4688a34d35bc121c";
    assert_eq!(hex(list).as_deref(), Some(expected));
    assert_eq!(hex(&pack(list)).as_deref(), Some(expected));
    let halves = [pack(&list[..9]), pack(&list[9..])].concat();
    assert_eq!(hex(&halves).as_deref(), Some(expected));
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(b"").as_deref(), Some(empty));

    // Whatever is skipped is hashed, in lines and in documents.
    let large = "x".repeat(5 << 20);
    for text in [
        format!("{{\"a\":\"{large}\"}}\n{{}}\n"),
        format!("[{{\"a\":\"{large}\"}},{{}}]"),
        format!("{large}\n{{}}\n"),
        format!("{{\"a\":{large}"),
        "\u{feff}{}\r\n{".to_owned(),
        "\u{f3}\n".to_owned(),
    ] {
        use sha2::Digest as _;
        let expected: [u8; 32] = sha2::Sha256::digest(&text).into();
        assert_eq!(pieces_of(text.as_bytes(), &limits).1.sha256, Some(expected));
    }

    // Of half a file there is no hash, and none that nobody asked for.
    let packed = pack(list);
    assert_eq!(hex(&packed[..packed.len() - 9]), None);
    assert_eq!(pieces_of(&list[..], &FileLimits::default()).1.sha256, None);
}

#[test]
fn an_aggregate_is_one_document() {
    let whole = aggregate(&["{\"a\":1}\n{\"b\":2}\n", "{\"c\":3}"]);
    for file in [whole.clone(), pack(&whole)] {
        let mut documents = Vec::new();
        let report = read_records(&*file, &FileLimits::default(), &mut |piece| match piece {
            Piece::Document { bytes, offset: 0 } => documents.push(bytes.to_vec()),
            other => panic!("{other:?}"),
        });
        assert_eq!(documents, std::slice::from_ref(&whole));
        assert!(report.whole && report.notes.is_empty());
    }
    let limits = FileLimits { max_record: whole.len() - 1, hash: true, ..FileLimits::default() };
    let (found, report) = pieces_of(&*whole, &limits);
    assert_eq!(found, ["!too_large"]);
    assert!(!report.whole && report.sha256.is_some());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&whole).unwrap();
    assert_eq!(plan_chunks(&file, bytes(whole.len()), 10), None);
}
