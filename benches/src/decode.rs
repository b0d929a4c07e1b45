//! Decoding and observing over the bare parse of the same bytes into the same struct, on one core.

use std::hint::black_box;

use dormouse_cloudtrail::{Decoder, Limits, Outcome, parse_only};
use dormouse_model::{EventTime, OperationTable};
use dormouse_simulate::records::{Generator, Mix, Shape};

use crate::paired::{Comparison, time};

const RECORDS: usize = 20_000;
const ROUNDS: usize = 9;

pub(crate) fn bench() -> anyhow::Result<()> {
    let shape = Shape { rich: true, pad_to: 2_048, ..Shape::default() };
    let records = Generator::new(1, shape, Mix::busy()).take_records(RECORDS);
    let bare: Vec<String> = records.iter().map(|record| record.record.clone()).collect();
    let enveloped: Vec<String> =
        records.iter().map(dormouse_simulate::records::Generated::eventbridge).collect();
    compare("decode + observe, bare records of 2 KB", &bare);
    compare("decode + observe, EventBridge, 2 KB", &enveloped);
    Ok(())
}

fn compare(what: &'static str, bodies: &[String]) {
    let decoder = Decoder::new(OperationTable::default(), Limits::default());
    let now = EventTime::from_seconds(u32::MAX);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let parse = || bodies.iter().filter(|body| parse_only(black_box(body.as_bytes()))).count();
        let (taken, parsed) = time(parse);
        assert_eq!(parsed, bodies.len(), "the bare parse understands every body");
        theirs.push(taken);
        let mut observations = 0;
        let decode = || {
            for body in bodies {
                decoder.decode(black_box(body.as_bytes()), now, &mut |outcome| {
                    if let Outcome::Kms(record) = outcome {
                        observations += black_box(&record.observations).len();
                    }
                });
            }
        };
        ours.push(time(decode).0);
        black_box(observations);
    }
    #[expect(clippy::cast_precision_loss, reason = "tens of thousands")]
    let amount = bodies.len() as f64;
    Comparison { what, against: "bare serde_json parse", amount, unit: "records", aim: 0.7, ours, theirs }
        .print();
}
