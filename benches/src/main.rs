//! `make bench`: speed and memory, each beside what it is held against.
//!
//! Machines are noisy and drift, so both sides of a comparison take turns in one run, and what counts is the ratio of
//! their medians. A figure is printed with the ratio that the project aims for; where it is missed, the run still
//! succeeds: a bench reports, tests judge.
//!
//! `dormouse-benches NAME…` runs only these: decode, replay, gunzip, drain, kinesis, objects, million, serve, inventory, week.

mod decode;
mod drain;
mod gunzip;
mod inventory;
mod kinesis;
mod million;
mod objects;
mod paired;
mod replay;
mod serve;

use anyhow::bail;

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALL: [&str; 10] =
    ["decode", "replay", "gunzip", "drain", "kinesis", "objects", "million", "serve", "inventory", "week"];

fn main() -> anyhow::Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if let [child, path] = &*names
        && child == million::CHILD
    {
        return million::measure(path.as_ref());
    }
    match &*names {
        [child] if child == inventory::ORGANISATION => return inventory::show_organisation(),
        [child, endpoint] if child == inventory::MEASURE => return inventory::measure(endpoint),
        _ => {}
    }
    if names.is_empty() {
        names = ALL.map(str::to_owned).to_vec();
    }
    for name in names {
        match &*name {
            "decode" => decode::bench()?,
            "replay" => replay::bench()?,
            "gunzip" => gunzip::bench()?,
            "drain" => drain::bench()?,
            "kinesis" => kinesis::bench()?,
            "objects" => objects::bench()?,
            "million" => million::bench()?,
            "serve" => serve::bench()?,
            "inventory" => inventory::bench()?,
            "week" => inventory::week()?,
            other => bail!("there is no bench {other:?}; there are {}", ALL.join(", ")),
        }
    }
    Ok(())
}
