//! The binary `port-daddy`: `pd` by its full name, where another program is called `pd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    port_daddy::main()
}
