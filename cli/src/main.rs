//! The binary `pd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    port_daddy::main()
}
