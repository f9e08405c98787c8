//! `pd mcp` over raw lines: what isn't MCP, who the server's caller is, and how it ends. `tests/mcp` has the tools.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::place::Place;

struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut server = Self { child, stdin, lines: BufReader::new(stdout).lines() };
        let hello =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
        let answer = server.ask(0, "initialize", &hello);
        assert_eq!(answer["result"]["serverInfo"]["name"], "port-daddy");
        server.line(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        server
    }

    fn start(place: &Place) -> Self {
        Self::of(place.command(&["mcp"]))
    }

    fn line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    fn next(&mut self) -> Value {
        let line = self.lines.next().unwrap().unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
    }

    fn send(&mut self, id: u64, method: &str, params: &Value) {
        self.line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
    }

    fn ask(&mut self, id: u64, method: &str, params: &Value) -> Value {
        self.send(id, method, params);
        let answer = self.next();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call(&mut self, id: u64, tool: &str, args: &Value) -> Value {
        self.ask(id, "tools/call", &json!({"name": tool, "arguments": args}))["result"].clone()
    }

    /// Closes its stdin, and sees that it ends well.
    fn end(mut self) {
        self.stdin = None;
        let mut err = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut err).unwrap();
        assert_eq!((self.child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_isnt_mcp_ends_nothing() {
    let place = Place::new();
    let mut server = Server::start(&place);
    for rubbish in [
        "",
        "rubbish",
        "{\"jsonrpc\":",
        "\u{0}",
        "[]",
        "{}",
        "null",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/none\"}",
    ] {
        server.line(rubbish);
    }
    server.send(1, "no/such", &json!({}));
    // Of the lines that are JSON, some are answered with an error that names no request.
    let answer = loop {
        let answer = server.next();
        if answer["id"] == 1 {
            break answer;
        }
        assert!(answer["error"].is_object() && answer["id"].is_null(), "{answer}");
    };
    assert_eq!(answer["error"]["code"], -32601);
    let unknown = server.ask(2, "tools/call", &json!({"name": "nonsense", "arguments": {}}));
    assert!(unknown["error"]["message"].as_str().unwrap().contains("begin, done, status"), "{unknown}");
    for (id, args) in
        [json!({"purpose": 1}), json!({"purpose": "x", "files": "y"}), json!({"purpose": "a\u{0}b"})].iter().enumerate()
    {
        let result = server.call(10 + id as u64, "begin", args);
        assert_eq!(
            (&result["isError"], &result["structuredContent"]["error"]["code"]),
            (&json!(true), &json!("INVALID")),
            "{result}"
        );
    }
    assert_eq!(server.call(20, "status", &json!({}))["structuredContent"]["agent"], "tester");
    server.end();
}

#[test]
fn the_servers_end_ends_its_waits_and_not_the_agent() {
    let place = Place::new();
    let mut server = Server::start(&place);
    server.call(1, "begin", &json!({"purpose": "long"}));
    server.call(2, "lock", &json!({"action": "take", "name": "db"}));
    server.send(3, "tools/call", &json!({"name": "wait", "arguments": {"channel": "never", "timeout_s": 600}}));
    place.until_waiting(1);
    server.end();
    place.until_waiting(0);
    assert_eq!(place.json(&["whoami"])["session"]["purpose"], "long");
    assert_eq!(place.json(&["locks"])["locks"][0]["agent"], "tester");
    // A client that goes away before it said anything.
    assert_eq!(place.pd(&["mcp"]).shown(), "");
}

#[test]
fn a_cancelled_request_ends_its_wait() {
    let place = Place::new();
    let mut server = Server::start(&place);
    server.send(7, "tools/call", &json!({"name": "wait", "arguments": {"channel": "never", "timeout_s": 600}}));
    place.until_waiting(1);
    server
        .line(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}).to_string());
    place.until_waiting(0);
    assert_eq!(server.call(8, "status", &json!({}))["isError"], false);
    server.end();
}

#[test]
fn waits_without_end_starve_no_other_call() {
    let place = Place::new();
    let mut server = Server::start(&place);
    let wait = json!({"name": "wait", "arguments": {"channel": "never", "timeout_s": 600}});
    for id in 0..600 {
        server.send(1_000 + id, "tools/call", &wait);
    }
    // What is refused is answered first, and the others wait on.
    for _ in 64..600 {
        let answer = server.next();
        let error = &answer["result"]["structuredContent"]["error"];
        assert!(answer["result"]["isError"] == true, "{answer}");
        assert!(error["message"].as_str().unwrap().starts_with("64 calls are waiting here already"), "{answer}");
    }
    assert_eq!(server.call(8, "status", &json!({}))["isError"], false);
    place.until_waiting(64);
    server.end();
    place.until_waiting(0);
}

/// A harness that gives its session's id to its shell's commands, and starts its servers without it.
#[test]
fn the_tools_and_the_shell_are_one_agent() {
    let mut place = Place::new();
    place.agent("");
    let script =
        "#!/bin/sh\nCLAUDE_CODE_SESSION_ID=3f9a2c11-5d7e-4a4b-9c55-0a1b2c3d4e5f pd begin shell >&2\npd mcp\nexit 0\n";
    let path = place.path("claude");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Server::of(place.program(path.to_str().unwrap()));
    let status = server.call(1, "status", &json!({}));
    let status = &status["structuredContent"];
    assert_eq!((&status["agent"], &status["sessions"][0]["purpose"]), (&json!("claude-3f9a2c"), &json!("shell")));
    let noted = server.call(2, "note", &json!({"text": "by a tool"}));
    assert_eq!(noted["structuredContent"]["note"]["session"], status["session"]);
    assert_eq!(noted["structuredContent"]["opened_session"], false);
}
