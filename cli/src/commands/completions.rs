//! `pd completions`

use clap_complete::{Shell, generate};
use serde_json::json;

use crate::app::{self, App};
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, to_value};

/// Print completions for a shell
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd completions bash > ~/.local/share/bash-completion/completions/pd
  pd completions zsh > ~/.zfunc/_pd
  pd completions fish > ~/.config/fish/completions/pd.fish")]
pub(crate) struct Args {
    /// For which shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let shell = match args.shell.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    };
    let mut script = Vec::new();
    generate(shell, &mut app::command(), "pd", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let document = to_value(&json!({ "shell": args.shell, "script": script }))?;
    app.ui.listing(&document, |out| out.write_all(script.as_bytes()))?;
    Ok(DONE)
}
