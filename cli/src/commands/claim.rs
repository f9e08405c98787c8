//! `pd claim`

use portdaddy_core::{ClaimPort, PortClaim};

use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Mode, Outcome, escape};

/// Get a port: the same one for the same identity in the same working tree, today and tomorrow
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  PORT=$(pd claim payments:frontend -q)
  eval \"$(pd claim payments:api --export)\"
  pd claim payments:api --port 3101
  pd claim payments:db --shared --range 5400-5499")]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Print `export PORT=…` for the shell to evaluate
    #[arg(long)]
    export: bool,
}

/// Which port for whom.
#[derive(clap::Args)]
pub(super) struct Choice {
    /// Who needs it: project[:stack[:context]]
    #[arg(value_name = "IDENTITY")]
    pub(super) identity: String,
    /// This port and no other
    #[arg(long, value_name = "PORT", conflicts_with = "range")]
    port: Option<u16>,
    /// From this range [default: $PORT_DADDY_RANGE, else 3100-9999]
    #[arg(long, value_name = "FROM-TO", value_parser = range)]
    range: Option<(u16, u16)>,
    /// One port for all working trees
    #[arg(long)]
    pub(super) shared: bool,
}

impl Choice {
    pub(super) fn claim(&self) -> ClaimPort {
        ClaimPort { identity: self.identity.clone(), port: self.port, range: self.range, shared: self.shared }
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let ends = text.split_once('-').and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
    ends.ok_or_else(|| format!("{text:?} is no range of ports: write 3100-3199"))
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let claim = app.open()?.claim(&args.choice.claim())?;
    let port = claim.port;
    if args.export && app.ui.mode() != Mode::Json {
        app.ui.text(&format!("export PORT={port}\n"))?;
        return Ok(DONE);
    }
    app.ui.answer(&claim, &port, |out| writeln!(out, "{port}"))?;
    app.ui.status(described(&claim));
    Ok(DONE)
}

fn described(claim: &PortClaim) -> String {
    let whose = if claim.existing { "still belongs" } else { "now belongs" };
    let listening = if claim.listening { ", and something listens there" } else { "" };
    format!("Port {} {whose} to {}{listening}", claim.port, escape(&claim.identity))
}
