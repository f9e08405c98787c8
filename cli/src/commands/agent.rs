//! `pd agent register|heartbeat|unregister|show`

use portdaddy_core::{Agent, Registration};

use super::agents;
use crate::app::App;
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape, now_ms};

/// Register an agent, keep it alive, let it go
///
/// Nobody has to register: the first command that writes does it. Registering says more about the agent. Whether it
/// lives is proven by the processes around it; a heartbeat is for agents that have none.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd agent register --agent frontend-builder --identity payments:web --type ai
  pd agent heartbeat --agent frontend-builder")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Say who the agent is and what it is for
    #[command(after_help = "EXAMPLES:
  pd agent register --agent frontend-builder --identity payments:web --type ai
  pd agent register --name \"Frontend Agent\"")]
    Register {
        #[command(flatten)]
        description: Description,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        purpose: Option<String>,
    },
    /// Say that the agent lives
    ///
    /// Whoever sends one promises to go on: after 5 minutes without any sign of life the agent counts as dead, unless a
    /// process proves its life.
    #[command(after_help = "EXAMPLES:
  pd agent heartbeat --agent frontend-builder
  while sleep 60; do pd agent heartbeat -q; done &")]
    Heartbeat,
    /// Say goodbye
    #[command(after_help = "EXAMPLES:
  pd agent unregister --agent frontend-builder")]
    Unregister,
    /// Show one agent
    #[command(after_help = "EXAMPLES:
  pd agent show frontend-builder
  pd agent show frontend-builder --json")]
    Show {
        /// The agent's id
        #[arg(value_name = "AGENT")]
        id: String,
    },
}

/// What an agent says of itself, beside its purpose.
#[derive(clap::Args)]
pub(super) struct Description {
    /// What it works on: project[:stack[:context]]
    #[arg(long, value_name = "IDENTITY")]
    identity: Option<String>,
    /// A name for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// ai, human, ci, cli, or another word
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

impl Description {
    pub(super) fn registration(self, purpose: Option<String>) -> Registration {
        Registration { name: self.name, identity: self.identity, purpose, kind: self.kind }
    }
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let pd = app.open()?;
    let said = |verb: &'static str, agent: Agent, app: &mut App| {
        app.ui.answer(&agent, &agent.id, |out| writeln!(out, "{verb} {}", escape(&agent.id)))
    };
    match args.command {
        Verb::Register { description, purpose } => {
            said("Registered", pd.register_agent(&description.registration(purpose))?, app)?;
        }
        Verb::Heartbeat => said("Alive:", pd.heartbeat()?, app)?,
        Verb::Unregister => said("Unregistered", pd.unregister_agent()?, app)?,
        Verb::Show { id } => {
            let agent = pd.agent(&id)?;
            let state = agents::state_word(agent.state);
            app.ui.answer(&agent, &state, |out| {
                writeln!(out, "{}", agents::line(&agent, now_ms()))?;
                let optional = [("harness", &agent.harness), ("purpose", &agent.purpose), ("death", &agent.death)];
                for (what, value) in optional {
                    if let Some(value) = value {
                        writeln!(out, "  {what}: {}", escape(value))?;
                    }
                }
                writeln!(out, "  type: {}\n  scope: {}", escape(&agent.kind), escape(&agent.scope))?;
                writeln!(out, "  active sessions: {}", agent.active_sessions)?;
                for proof in &agent.proofs {
                    writeln!(out, "  proof of life: process {} ({})", proof.pid, escape(&proof.what))?;
                }
                Ok(())
            })?;
        }
    }
    Ok(DONE)
}
