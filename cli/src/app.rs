//! From arguments to an exit code.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind as ClapKind;
use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use portdaddy_core::{Coordinator, Error, Face, Options, ScopeChoice};

use crate::commands::{self, Entry};
use crate::exit_code::{self, Exit};
use crate::output::{Failure, Mode, Outcome, Ui, escape};

/// The options that every command takes.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The database file [default: $PORT_DADDY_DB, else the user's state directory]
    #[arg(long, global = true, value_name = "PATH")]
    db: Option<PathBuf>,
    /// Who calls [default: $PORT_DADDY_AGENT, else the harness or shell around the call]
    #[arg(long, global = true, value_name = "ID")]
    agent: Option<String>,
    /// The session that the call belongs to [default: the agent's newest active one]
    #[arg(long, global = true, value_name = "ID")]
    session: Option<String>,
    /// The scope that names live in [default: $PORT_DADDY_SCOPE, else this repository]
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "global")]
    scope: Option<String>,
    /// The scope of everything outside repositories
    #[arg(long, global = true)]
    global: bool,
    /// One JSON document on stdout (one a line for streams), nothing on stderr
    #[arg(long, global = true)]
    json: bool,
    /// The bare value on stdout, no narration
    #[arg(short, long, global = true)]
    quiet: bool,
}

impl Globals {
    fn options(self) -> Options {
        let mut options = Options::default().face(Face::Shell);
        if let Some(db) = self.db {
            options = options.db(db);
        }
        if let Some(agent) = self.agent {
            options = options.agent(agent);
        }
        if let Some(session) = self.session {
            options = options.session(session);
        }
        if let Some(scope) = self.scope {
            options = options.scope(ScopeChoice::Named(scope));
        } else if self.global {
            options = options.scope(ScopeChoice::Global);
        }
        options
    }
}

/// What a command works with.
pub(crate) struct App {
    pub(crate) ui: Ui,
    globals: Globals,
}

impl App {
    /// The library, opened as this call's caller.
    pub(crate) fn open(&mut self) -> Outcome<Coordinator> {
        let coordinator = Coordinator::open(self.options())?;
        self.ui.attend(&coordinator);
        Ok(coordinator)
    }

    /// What the global options say about the library.
    pub(crate) fn options(&self) -> Options {
        self.globals.clone().options()
    }

    /// The same, as often as is wanted.
    pub(crate) fn opener(&self) -> impl Fn() -> Options + Send + Sync + 'static {
        let globals = self.globals.clone();
        move || globals.clone().options()
    }

    fn finish(mut self, outcome: Outcome<Exit>) -> Exit {
        let exit = match outcome {
            Ok(exit) => exit,
            Err(Failure::BrokenPipe) => return exit_code::DONE,
            Err(Failure::Error(e)) => {
                self.ui.error(&e);
                Exit::of(&e)
            }
        };
        self.ui.notices();
        match self.ui.flush() {
            Ok(()) | Err(Failure::BrokenPipe) => exit,
            Err(Failure::Error(e)) => {
                self.ui.error(&e);
                Exit::of(&e)
            }
        }
    }
}

/// Runs one command.
pub(crate) fn run(args: Vec<OsString>) -> Exit {
    let (entry, matches) = match parse(&args) {
        Ok(parsed) => parsed,
        Err(e) if is_hook(&args) => return hook_usage(&e, &args),
        Err(e) => return usage(&e, &args),
    };
    let mut globals = match Globals::from_arg_matches(&matches) {
        Ok(globals) => globals,
        Err(e) => return usage(&e, &args),
    };
    let mode = match (globals.json, globals.quiet) {
        (true, _) => Mode::Json,
        (false, true) => Mode::Quiet,
        (false, false) => Mode::People,
    };
    if entry.filters {
        // There, --agent and --session choose what is listed, not who calls.
        globals.agent = None;
        globals.session = None;
    }
    let Some((_, own)) = matches.subcommand() else { return exit_code::USAGE };
    let mut app = App { ui: Ui::new(mode), globals };
    let outcome = (entry.run)(own, &mut app);
    app.finish(outcome)
}

/// The whole command line, as help, completions and manuals see it.
pub(crate) fn command() -> Command {
    root().subcommands(commands::ALL.iter().map(Entry::command))
}

fn root() -> Command {
    let root = Command::new("pd")
        .bin_name("pd")
        .version(env!("CARGO_PKG_VERSION"))
        .override_help(commands::OVERVIEW)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .infer_long_args(false);
    // The description of the global options, were it last, would become that of the program.
    Globals::augment_args(root).about("Coordinate coding agents, scripts and people on one machine").long_about(None)
}

/// Parses with the named command alone if it can: building all of them takes longer than most commands run. What
/// fails is parsed again with all of them, for the right words.
pub(crate) fn parse(args: &[OsString]) -> Result<(&'static Entry, ArgMatches), clap::Error> {
    let named = args.get(1).and_then(|first| commands::ALL.iter().find(|e| first.as_os_str() == e.name));
    if let Some(entry) = named
        && let Ok(matches) = root().subcommand(entry.command()).try_get_matches_from(args)
    {
        return Ok((entry, matches));
    }
    let matches = command().try_get_matches_from(args)?;
    let name = matches.subcommand_name().unwrap_or_default();
    match commands::ALL.iter().find(|e| e.name == name) {
        Some(entry) => Ok((entry, matches)),
        None => Err(command().error(ClapKind::InvalidSubcommand, format!("there is no command {name:?}"))),
    }
}

/// Whether the command is `hook`, as far as that can be told of arguments that are wrong.
fn is_hook(args: &[OsString]) -> bool {
    let mut words = args.iter().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--db" | "--agent" | "--session" | "--scope") => drop(words.next()),
            Some(option) if option.starts_with('-') => {}
            command => return command == Some("hook"),
        }
    }
    false
}

/// To a harness the exit code of wrong usage would mean that it must not go on: what is wrong is said on stderr.
fn hook_usage(error: &clap::Error, args: &[OsString]) -> Exit {
    if !error.use_stderr() {
        return usage(error, args);
    }
    Ui::new(Mode::People).said(error.render().to_string().trim_end());
    exit_code::DONE
}

/// Help goes to stdout and is no failure; the rest is a usage error in clap's words, or as a document.
pub(crate) fn usage(error: &clap::Error, args: &[OsString]) -> Exit {
    // Clap quotes arguments as they came, and one may hold what somebody else wrote. So they are escaped, and refused again.
    let safe = args.iter().map(|arg| escape(&arg.to_string_lossy()).into_owned().into()).collect::<Vec<OsString>>();
    if safe != args
        && let Err(error) = parse(&safe)
    {
        return usage(&error, &safe);
    }
    let asked_for_help = matches!(
        error.kind(),
        ClapKind::DisplayHelp | ClapKind::DisplayVersion | ClapKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    // `pd` alone is a question; `pd session` alone is an unfinished command.
    let bare = args.len() <= 1;
    if asked_for_help && (bare || error.kind() != ClapKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        let mut ui = Ui::new(Mode::People);
        let text = error.render();
        let text = if anstream::AutoStream::choice(&std::io::stdout()) == anstream::ColorChoice::Never {
            text.to_string()
        } else {
            text.ansi().to_string()
        };
        let _ = ui.text(&text);
        let _ = ui.flush();
        return exit_code::DONE;
    }
    if args.iter().take_while(|a| a.as_os_str() != "--").any(|a| a.as_os_str() == "--json") {
        let text = error.render().to_string();
        let message = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().trim().to_owned();
        let mut ui = Ui::new(Mode::Json);
        ui.error(&Error::invalid(message).hint("run the command with --help"));
        let _ = ui.flush();
    } else if safe == args {
        let _ = error.print();
    } else {
        Ui::new(Mode::People).said(error.render().to_string().trim_end());
    }
    exit_code::USAGE
}
