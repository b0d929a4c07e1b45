//! `dormouse reconcile`: the instance asks AWS now which keys there are.

use std::process::ExitCode;
use std::time::Duration;

use dormouse_inventory::{PassOutcome, PassReport, Scope};
use tokio::time::sleep;

use crate::ask;
use crate::cli::{Cli, ReconcileArgs, TableOrJson};
use crate::exit::Usage;
use crate::show::{self, Screen};

/// Some of what was due is not answered.
const EXIT_INCOMPLETE: u8 = 2;
/// How often the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Asks for a pass, shows how far it is, and says what it did.
pub(crate) fn reconcile(args: &ReconcileArgs, cli: &Cli, screen: Screen) -> anyhow::Result<ExitCode> {
    if args.place.store.is_some() {
        let advice = "--store: a file asks nobody; name the instance that does with --url";
        return Err(Usage(advice.to_owned()).into());
    }
    let instance = ask::instance_of(cli, &args.place)?;
    let scope = Scope { accounts: args.account.clone(), regions: args.region.clone() };
    let pass = instance.start_reconcile(&scope)?;
    if args.no_wait {
        show::say(&format!("pass {pass} was asked for; `dormouse accounts` shows what is known meanwhile"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut progress = show::reconcile::Progress::new();
    let report = loop {
        let status = instance.reconcile()?;
        match status.last {
            Some(last) if last.number >= pass => break last,
            _ => {}
        }
        if let Some(running) = status.running {
            progress.show(&running);
        }
        runtime.block_on(async { sleep(LOOK_EVERY).await });
    };
    progress.end();
    match args.output {
        TableOrJson::Json => show::json::print(&report)?,
        TableOrJson::Table => show::reconcile::print(&report, screen)?,
    }
    Ok(exit_status(&report))
}

fn exit_status(report: &PassReport) -> ExitCode {
    match report.outcome {
        Some(PassOutcome::Done) => ExitCode::SUCCESS,
        Some(PassOutcome::Incomplete) => ExitCode::from(EXIT_INCOMPLETE),
        Some(PassOutcome::Failed | PassOutcome::Stopped) | None => ExitCode::FAILURE,
    }
}
