use std::net::TcpListener;

use crate::place::Place;

#[test]
fn a_port_is_the_same_every_time() {
    let place = Place::new();
    let port = place.ok(&["claim", "payments:frontend", "-q"]);
    assert!(port.trim().parse::<u16>().is_ok(), "{port}");
    assert_eq!(place.ok(&["claim", "payments:frontend"]), port);
    assert_eq!(place.ok(&["claim", "payments:frontend", "--export"]), format!("export PORT={port}"));
    assert_eq!(place.json(&["claim", "payments:frontend"])["existing"], true);
    assert_ne!(place.ok(&["claim", "payments:api", "-q"]), port);
    let listed = place.ok(&["ps", "payments:f*"]);
    assert_eq!(listed, format!("payments:frontend {} idle (tester)\n", port.trim()));
    assert_eq!(place.ok(&["release", "payments:*"]).lines().count(), 2);
    assert_eq!(place.pd(&["release", "payments:frontend"]).exit, 1);
    assert_eq!(place.pd(&["claim", "not an identity"]).exit, 2);
}

#[test]
fn a_taken_port_is_an_error_that_names_the_taker() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let run = place.pd(&["claim", "payments:api", "--port", &port]);
    assert_eq!(run.exit, 1, "{}", run.shown());
    assert!(run.stderr.contains(&port), "{}", run.stderr);
    assert_eq!(place.pd(&["claim", "payments:api", "--port", "70000"]).exit, 2);
    assert_eq!(place.pd(&["claim", "payments:api", "--range", "9-x"]).exit, 2);
}

#[test]
fn run_gives_the_command_its_port_and_takes_it_back() {
    let place = Place::new();
    let run = place.pd(&[
        "run",
        "payments:api",
        "--",
        "sh",
        "-c",
        "echo $PORT $PORT_DADDY_IDENTITY; pd ps -q | wc -l; exit 5",
    ]);
    let mut lines = run.stdout.lines();
    let (port, identity) = lines.next().unwrap().split_once(' ').unwrap();
    assert!(port.parse::<u16>().is_ok() && identity == "payments:api", "{}", run.shown());
    assert_eq!((run.exit, lines.next().unwrap().trim()), (5, "1"));
    assert_eq!(run.stderr, format!("Running payments:api on port {port}\n"));
    assert_eq!(place.ok(&["ps"]), "");
}

#[test]
fn run_keeps_what_was_assigned_before() {
    let place = Place::new();
    let port = place.ok(&["claim", "payments:api", "-q"]);
    let run = place.pd(&["run", "payments:api", "--", "sh", "-c", "echo $PORT"]);
    assert_eq!((run.exit, run.stdout.as_str()), (0, port.as_str()));
    assert_eq!(place.ok(&["claim", "payments:api", "-q"]), port);
    assert!(place.ok(&["ps", "-q"]).contains(port.trim()));
}

#[test]
fn a_command_that_runs_proves_its_agent_s_life() {
    let place = Place::new();
    for under in [&["run", "payments:api"][..], &["with-lock", "l"]] {
        let shown = place.json(&[under, &["--", "pd", "agent", "show", "tester", "--json"]].concat());
        let proofs = shown["proofs"].as_array().unwrap();
        assert!(proofs.len() == 1 && proofs[0]["kind"] == "command", "{under:?}: {shown}");
    }
}

#[test]
fn wait_ends_when_something_listens() {
    let place = Place::new();
    // One that the kernel gives, so that two runs on a machine don't meet.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    place.ok(&["claim", "payments:api", "--port", &port.to_string()]);
    let timed_out = place.pd(&["wait", "payments:api", "--timeout", "50ms"]);
    assert_eq!(timed_out.exit, 4, "{}", timed_out.shown());
    let waiter = place.start(&["wait", "payments:api"]);
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let run = waiter.end();
    assert_eq!((run.exit, run.stdout), (0, format!("payments:api {port}\n")));
}
