//! One file per command: its arguments, one call of the library, and what it prints.

mod agent;
pub(crate) mod agents;
mod backup;
mod begin;
mod bench;
mod channels;
mod claim;
mod completions;
mod doctor;
mod done;
mod files;
mod git;
mod hook;
mod inbox;
mod lock;
mod locks;
pub(crate) mod log;
mod man;
mod mcp;
mod note;
mod notes;
mod ps;
pub(crate) mod publish;
mod reference;
mod release;
mod restore;
mod run;
mod salvage;
mod send;
mod session;
mod sessions;
mod setup;
mod status;
mod subscribe;
mod top;
mod unlock;
mod wait;
mod who_owns;
mod whoami;
mod with_lock;

use clap::{ArgMatches, Command};

use crate::app::App;
use crate::exit_code::Exit;
use crate::output::Outcome;

/// A command of the first level.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// Whether `--agent` and `--session` choose what it lists instead of who calls.
    pub(crate) filters: bool,
    augment: fn(Command) -> Command,
    pub(crate) run: fn(&ArgMatches, &mut App) -> Outcome<Exit>,
}

impl Entry {
    pub(crate) fn command(&self) -> Command {
        (self.augment)(Command::new(self.name))
    }
}

macro_rules! commands {
    ($($name:literal => $module:ident $($filters:ident)?;)*) => {
        /// Every command, in the order of the manual.
        pub(crate) const ALL: &[Entry] = &[$(Entry {
            name: $name,
            filters: false $(|| stringify!($filters).len() > 0)?,
            augment: <$module::Args as clap::Args>::augment_args,
            run: |matches, app| {
                let args = <$module::Args as clap::FromArgMatches>::from_arg_matches(matches)
                    .map_err(|e| portdaddy_core::Error::invalid(e.to_string()))?;
                $module::run(args, app)
            },
        },)*];
    };
}

commands! {
    "begin" => begin;
    "note" => note;
    "notes" => notes filters;
    "done" => done;
    "sub" => subscribe;
    "pub" => publish;
    "send" => send;
    "inbox" => inbox;
    "lock" => lock;
    "unlock" => unlock;
    "claim" => claim;
    "whoami" => whoami;
    "agent" => agent;
    "agents" => agents;
    "session" => session;
    "sessions" => sessions filters;
    "files" => files;
    "who-owns" => who_owns;
    "git" => git;
    "channels" => channels;
    "with-lock" => with_lock;
    "locks" => locks;
    "run" => run;
    "wait" => wait;
    "ps" => ps;
    "release" => release;
    "salvage" => salvage;
    "hook" => hook;
    "log" => log filters;
    "status" => status;
    "top" => top;
    "doctor" => doctor;
    "backup" => backup;
    "restore" => restore;
    "setup" => setup;
    "mcp" => mcp;
    "bench" => bench;
    "completions" => completions;
    "man" => man;
    "reference" => reference;
}

/// Follows a stream of the library; a failure to print ends it.
pub(super) fn stream<T>(
    follow: impl FnOnce(&mut dyn FnMut(T) -> portdaddy_core::Result<bool>) -> portdaddy_core::Result<()>,
    mut print: impl FnMut(T) -> Outcome,
) -> Outcome {
    let mut failed = None;
    follow(&mut |item| match print(item) {
        Ok(()) => Ok(true),
        Err(failure) => {
            failed = Some(failure);
            Ok(false)
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// What `pd`, `pd help` and `pd --help` print.
pub(crate) const OVERVIEW: &str = "\
pd: coordinate coding agents, scripts and people on one machine

Usage: pd COMMAND [OPTIONS]

Start here:
  begin PURPOSE        Register and start a session, with --files to claim files
  note TEXT            Write to the journal
  notes                Read everyone's journal
  done [NOTE]          End the session
  sub CHANNEL          Wait for a signal
  pub CHANNEL JSON     Send a signal
  lock / unlock NAME   Take and release an exclusive lock
  claim IDENTITY       Get a port of your own

Agents and sessions:
  whoami               Who you are taken to be, and in which session
  agent                register, heartbeat, unregister, show
  agents               Who is there, and who is dead
  session              start, end, abandon, show, phase
  sessions             Who works on what
  salvage              Take over what a dead agent left

Files:
  files                add, rm, list: what is claimed
  who-owns PATH        Who has claimed a path
  git                  snapshots, restore, check: keep work safe from others' git

Signals and locks:
  send AGENT TEXT      Send a message to one agent
  inbox                Read the messages to oneself, --watch to be woken by one
  channels             Channels, and clearing them
  with-lock NAME -- CMD  Run a command under a lock
  locks                Who holds what, and who waits

Ports:
  run IDENTITY -- CMD  Run a command with a port of its own in PORT
  wait IDENTITY        Wait until something listens there
  ps                   Assigned ports
  release IDENTITY     Give a port back

Around the agent:
  hook EVENT           Answer an event of a coding harness

The whole:
  log                  What happened
  status               The state of everything
  top                  The same, live on the terminal
  doctor               Check the installation, and mend it with --fix
  backup FILE          Copy the database while others write
  restore FILE         Put a backup in its place
  setup HARNESS        Wire pd into claude, codex, cursor or gemini
  mcp                  Serve an MCP client
  bench                Measure what calls cost here
  completions SHELL    Completions for bash, zsh or fish
  man                  Manual pages

Every command takes --db, --agent, --session, --scope, --global, --json and --quiet.
`pd COMMAND --help` has examples.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &Command, path: &str, visit: &mut dyn FnMut(&str, &Command)) {
        for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            visit(&path, sub);
            walk(sub, &path, visit);
        }
    }

    fn built() -> Command {
        let mut command = crate::app::command();
        command.build();
        command
    }

    #[test]
    fn the_definitions_are_sound() {
        crate::app::command().debug_assert();
        for entry in ALL {
            let _ = entry.command();
        }
    }

    #[test]
    fn every_command_has_examples_json_and_quiet() {
        walk(&built(), "pd", &mut |path, command| {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("EXAMPLES:\n  "), "{path} has no examples");
            let examples = help.split_once("EXAMPLES:").map_or("", |(_, examples)| examples);
            for line in examples.lines() {
                assert!(line.is_empty() || line.starts_with("  ") && line.len() <= 90, "{path}: {line}");
            }
            for option in ["json", "quiet", "db", "scope", "global", "agent", "session"] {
                assert!(command.get_arguments().any(|a| a.get_id() == option), "{path} has no --{option}");
            }
            assert!(command.get_about().is_some(), "{path} says nothing about itself");
        });
    }

    #[test]
    fn the_overview_names_every_command_that_isnt_hidden() {
        for entry in ALL.iter().filter(|e| !e.command().is_hide_set()) {
            assert!(OVERVIEW.contains(&format!("  {}", entry.name)) || entry.name == "unlock", "{}", entry.name);
        }
    }
}
