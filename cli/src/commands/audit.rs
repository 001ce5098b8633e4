//! `orlop audit`: what the ledger says against what the kernel has.

use std::io::Write as _;

use clap::Args;
use orlop_proto::orlop::v1::{AuditRequest, AuditResponse, Difference, DifferenceKind};

use crate::args::Format;
use crate::client::Daemon;
use crate::failure::Failure;
use crate::render::paint::Ink;
use crate::render::table::{Cell, Table};
use crate::render::{json, text};
use crate::shape;

/// Its flags.
#[derive(Debug, Args)]
#[command(after_help = "Ends with 1 if there are differences that have not been put right.")]
pub(crate) struct Audit {
    /// Take down what belongs to nobody, and strike from the ledger what is not there
    #[arg(long)]
    fix: bool,
    /// As a table, or as JSON, an object a difference
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Audit {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let answer = daemon.own().audit(AuditRequest { fix: self.fix }).await;
        let found = answer.map_err(|status| daemon.refused("audit", &status))?.into_inner();
        let (mut out, paint) = super::output();
        match self.output {
            Format::Json => {
                for difference in &found.differences {
                    json::line(&mut out, &shape::own::difference(difference))?;
                }
            }
            Format::Table => {
                if !found.differences.is_empty() {
                    table(&found.differences).write(&mut out, paint)?;
                }
                writeln!(out, "{}", conclusion(&found))?;
            }
        }
        out.flush()?;
        Ok(u8::from(found.differences.iter().any(|difference| !difference.fixed)))
    }
}

/// A kind in the words of the table.
fn words(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Unknown => "differs",
        DifferenceKind::Missing => "missing",
        DifferenceKind::Foreign => "nobody's",
        DifferenceKind::Unlike => "unlike",
    }
}

fn table(differences: &[Difference]) -> Table {
    let mut table = Table::new(&["OWNER", "THING", "DIFFERENCE", "FIXED", "DETAIL"]);
    for difference in differences {
        let owner = if difference.owner.is_empty() { "-" } else { text::short(&difference.owner) };
        let (fixed, ink) = if difference.fixed { ("yes", Ink::Green) } else { ("no", Ink::Red) };
        table.row([
            owner.into(),
            (&difference.thing).into(),
            words(difference.kind()).into(),
            Cell::inked(fixed, ink),
            (&difference.detail).into(),
        ]);
    }
    table
}

fn conclusion(found: &AuditResponse) -> String {
    let checked = format!("{} things of the ledger were looked for", found.things_checked);
    let fixed = found.differences.iter().filter(|difference| difference.fixed).count();
    match found.differences.len() {
        0 => format!("{checked}; ledger and kernel agree"),
        count if fixed == 0 => format!("{checked}; {count} differ"),
        count => format!("{checked}; {count} differed, {fixed} were put right"),
    }
}
