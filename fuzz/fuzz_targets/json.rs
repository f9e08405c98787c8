//! The message of `pd pub`, and how it and others' text are printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use port_daddy::fuzzing::{escape, json_line, payload};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let escaped = escape(&text);
    assert!(!escaped.chars().any(char::is_control), "{escaped:?}");
    let message = match payload(&text) {
        Ok(message) => message,
        Err(e) => {
            assert!(e.next_step().is_some() && e.message().len() < 500, "{e:?}");
            return;
        }
    };
    let line = json_line(&message).expect("what was read can be printed");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("JSON"), message);
    assert_eq!(payload(&line).expect("what is printed can be published"), message);
});
