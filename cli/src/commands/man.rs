//! `pd man`

use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;
use portdaddy_core::{Error, ErrorKind};
use serde_json::json;

use crate::app::{self, App};
use crate::exit_code::{DONE, Exit};
use crate::output::{Outcome, escape};

/// Write the manual, one page per command
///
/// Without --out, prints the page of pd itself.
#[derive(clap::Args)]
#[command(after_help = "EXAMPLES:
  pd man --out ~/.local/share/man/man1
  pd man | man -l -")]
pub(crate) struct Args {
    /// Write all pages into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: Args, app: &mut App) -> Outcome<Exit> {
    let mut command = app::command();
    command.build();
    let Some(dir) = args.out else {
        let page = String::from_utf8_lossy(&page(command)?).into_owned();
        app.ui.listing(&json!({ "page": page }), |out| out.write_all(page.as_bytes()))?;
        return Ok(DONE);
    };
    std::fs::create_dir_all(&dir).map_err(|e| cannot_write(&dir, e))?;
    let mut written = Vec::new();
    write_all(command, "pd", &dir, &mut written)?;
    app.ui.listing(&json!({ "pages": written }), |out| {
        written.iter().try_for_each(|path| writeln!(out, "{}", escape(path)))
    })?;
    Ok(DONE)
}

fn write_all(command: Command, name: &str, dir: &Path, written: &mut Vec<String>) -> Outcome {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        write_all(sub.clone(), &format!("{name}-{}", sub.get_name()), dir, written)?;
    }
    let path = dir.join(format!("{name}.1"));
    let command = command.display_name(name.to_owned());
    std::fs::write(&path, page(command)?).map_err(|e| cannot_write(&path, e))?;
    written.push(path.display().to_string());
    Ok(())
}

fn page(command: Command) -> Outcome<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn cannot_write(path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("the manual can't be written to {}: {e}", path.display()))
        .hint("name a directory that you may write to")
        .caused_by(e)
}
