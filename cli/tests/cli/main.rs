//! The command line as its users meet it: real processes, a real database, exact words.

mod agents;
mod backup;
mod bench;
mod callers;
#[cfg(target_os = "linux")]
mod doctor;
mod files;
mod git;
mod help;
mod hook;
mod hook_day;
mod hostile;
mod inbox;
mod locks;
mod mcp;
mod notes;
mod place;
mod ports;
mod salvage;
mod seed;
mod sessions;
mod setup;
mod signals;
mod top;
mod whole;
