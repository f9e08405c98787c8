//! Prints the types that `portdaddy-core` gives and takes as another language declares them, and compares the
//! documentation of a binding's methods with core's. `parse` reads core's sources into a `model`; there is one printer
//! for each language.

mod check;
mod docs;
mod model;
mod names;
mod parse;
mod pymethods;
mod pytext;
mod python;
mod pytypes;
mod signature;
mod stub;
mod typescript;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What goes wrong here is told to whoever builds the project.
type Result<T> = std::result::Result<T, String>;

const USAGE: &str = "usage:
  declare typescript         print the types for JavaScript
  declare methods            print what the documentation of each JavaScript method begins with
  declare check-docs FILE    compare that with the class PortDaddy in FILE
  declare python-types       print the records for Python
  declare python-errors      print the classes of errors for Python
  declare python-stub        print the stub of the Python binding's native module
  declare python-docs        compare the documentation of its class Client with core's";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match run(&args) {
        Ok(text) => std::io::stdout().write_all(text.as_bytes()).is_ok(),
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            false
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(args: &[&str]) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = || parse::sources(&root.join("core/src"));
    let parity = || read(&root.join("docs/parity.md"));
    let binding = || pymethods::sources(&root.join("bindings-python/src"));
    match args {
        ["typescript"] => Ok(typescript::print(&model()?)),
        ["methods"] => check::methods(&model()?, &parity()?),
        ["check-docs", file] => check::class(&model()?, &parity()?, file, &read(Path::new(file))?),
        ["python-types"] => python::types(&model()?),
        ["python-errors"] => python::errors(&model()?),
        ["python-stub"] => stub::print(&binding()?, &model()?),
        ["python-docs"] => check::client(&model()?, &parity()?, &binding()?),
        _ => Err(USAGE.to_owned()),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}
