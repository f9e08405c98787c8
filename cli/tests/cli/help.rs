use crate::place::{Place, assert_run};

#[test]
fn pd_alone_shows_what_matters_first() {
    let place = Place::new();
    let alone = place.pd(&[]);
    assert_eq!((alone.exit, alone.stderr.as_str()), (0, ""));
    assert!(alone.stdout.contains("Start here:\n  begin PURPOSE"), "{}", alone.stdout);
    for args in [["help"].as_slice(), &["--help"], &["-h"]] {
        assert_eq!(place.ok(args), alone.stdout, "{args:?}");
    }
    assert!(place.ok(&["help", "lock"]).contains("EXAMPLES:"));
    assert!(place.ok(&["session", "start", "--help"]).contains("EXAMPLES:"));
    assert!(place.ok(&["--version"]).starts_with("pd "));
}

#[test]
fn help_opens_no_database() {
    let place = Place::new();
    place.ok(&["--help"]);
    place.ok(&["completions", "bash"]);
    assert!(!place.path("db").exists());
}

#[test]
fn a_mistyped_command_suggests_the_nearest() {
    let place = Place::new();
    assert_run!(place.pd(&["unlok", "x"]), @r"
    2> error: unrecognized subcommand 'unlok'
    2> 
    2>   tip: a similar subcommand exists: 'unlock'
    2> 
    2> Usage: pd [OPTIONS] <COMMAND>
    2> 
    2> For more information, try '--help'.
    exit 2
    ");
    let nested = place.pd(&["session", "strt"]);
    assert!(nested.exit == 2 && nested.stderr.contains("'start'"), "{}", nested.shown());
    let option = place.pd(&["notes", "--limt", "3"]);
    assert!(option.exit == 2 && option.stderr.contains("'--limit'"), "{}", option.shown());
    assert_run!(place.pd(&["unlok", "--json"]), @r#"
    {"error":{"code":"INVALID","message":"unrecognized subcommand 'unlok'","hint":"run the command with --help","fields":{}}}
    exit 2
    "#);
}

#[test]
fn completions_and_manual_pages_are_made_from_the_definitions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.ok(&["completions", shell]);
        assert!(script.contains("with-lock") && script.contains("heartbeat"), "{shell}");
    }
    place.ok(&["man", "--out", "man"]);
    let page = std::fs::read_to_string(place.cwd().join("man/pd-session-start.1")).unwrap();
    assert!(page.contains("pd\\-session\\-start") || page.contains("pd-session-start"), "{page}");
    assert!(!place.cwd().join("man/pd-reference.1").exists());
    let main = std::fs::read_to_string(place.cwd().join("man/pd.1")).unwrap();
    assert!(main.contains("pd \\- Coordinate coding agents"), "{main}");
}

/// Write it again with `pd reference > docs/cli.md`.
#[test]
fn the_reference_is_up_to_date() {
    let place = Place::new();
    let written = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md")).unwrap();
    let made = place.ok(&["reference"]);
    for (n, (written, made)) in written.lines().zip(made.lines()).enumerate() {
        assert_eq!(written, made, "docs/cli.md, line {}: run `pd reference > docs/cli.md`", n + 1);
    }
    assert!(written == made, "docs/cli.md ends differently: run `pd reference > docs/cli.md`");
}

#[test]
fn the_full_name_is_the_same_program() {
    let place = Place::new();
    let full =
        crate::place::Run::of(&place.program(env!("CARGO_BIN_EXE_port-daddy")).arg("--version").output().unwrap());
    assert_eq!(full.stdout, place.ok(&["--version"]));
}
