//! `portdaddy-benches NAME`: runs one bench and prints its part of benches/README.md. `benches/run.sh` calls it.
//!
//! What needs several processes starts this same program again in a role (`role.rs`), or `pd`.

#![allow(clippy::print_stdout, reason = "the answer of a bench is what it prints")]
#![cfg_attr(not(unix), allow(dead_code, unused_imports))]

#[cfg(unix)]
mod alternate;
#[cfg(unix)]
mod calls;
#[cfg(unix)]
mod claims;
#[cfg(unix)]
mod contended;
#[cfg(unix)]
mod delivery;
#[cfg(unix)]
mod fan_out;
#[cfg(unix)]
mod fill;
#[cfg(unix)]
mod gate;
#[cfg(unix)]
mod hand_over;
#[cfg(unix)]
mod hooks;
#[cfg(unix)]
mod hyperfine;
#[cfg(unix)]
mod idle;
#[cfg(unix)]
mod large;
#[cfg(unix)]
mod listener;
#[cfg(unix)]
mod measure;
#[cfg(unix)]
mod pd_note;
#[cfg(unix)]
mod peer;
#[cfg(unix)]
mod polling;
#[cfg(unix)]
mod retention;
#[cfg(unix)]
mod role;
#[cfg(unix)]
mod setting;
#[cfg(unix)]
mod spent;

#[cfg(unix)]
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["pd-note"] => pd_note::run(),
        ["lock"] => calls::run(),
        ["hand-over"] => hand_over::run(),
        ["delivery"] => delivery::run(),
        ["fan-out"] => fan_out::run(),
        ["gate"] => gate::run(),
        ["large"] => large::run(),
        ["claims"] => claims::run(),
        ["idle-subs"] => idle::run(),
        ["retention"] => retention::run(),
        ["polling"] => polling::run(),
        ["hooks"] => hooks::run(),
        ["role", role, ref rest @ ..] => role::play(role, rest),
        _ => panic!(
            "name one of pd-note, lock, hand-over, delivery, fan-out, gate, large, retention, claims, idle-subs, polling, hooks"
        ),
    }
}

#[cfg(not(unix))]
fn main() {
    panic!("the benches need a Unix system");
}
