//! How an error of the library travels to JavaScript: as one JSON text.

use std::error::Error as _;

use portdaddy_core::{Error, ErrorKind};
use serde_json::{Map, Value};

use crate::types::camel;

/// `{code, message, hint?, fields, cause?}`, the fields by their names in JavaScript.
pub(crate) fn carrier(error: &Error) -> String {
    let mut carrier = Map::new();
    carrier.insert("code".to_owned(), error.kind().code().into());
    carrier.insert("message".to_owned(), error.message().into());
    if let Some(hint) = error.next_step() {
        carrier.insert("hint".to_owned(), hint.into());
    }
    let fields: Map<String, Value> = error.fields().iter().map(|(name, value)| (camel(name), renamed(value))).collect();
    carrier.insert("fields".to_owned(), fields.into());
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    if !causes.is_empty() {
        carrier.insert("cause".to_owned(), causes.join(": ").into());
    }
    Value::Object(carrier).to_string()
}

/// A field's value, the names within it as in JavaScript, too: all of them are the library's.
fn renamed(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| (camel(name), renamed(value))).collect(),
        Value::Array(items) => items.iter().map(renamed).collect(),
        other => other.clone(),
    }
}

/// An error that is thrown where nothing can be settled. Its message is the carrier.
pub(crate) fn thrown(error: &Error) -> napi::Error {
    napi::Error::from_reason(carrier(error))
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was closed").hint("make a new PortDaddy for more calls")
}

pub(crate) fn forked() -> Error {
    Error::new(ErrorKind::Forked, "the client was made before a fork and is used in the child")
        .hint("make a new PortDaddy in the child")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_is_carried_by_its_code() {
        for &kind in ErrorKind::ALL {
            let carried: Value = serde_json::from_str(&carrier(&Error::new(kind, "no \"luck\""))).unwrap();
            assert_eq!(carried, json!({"code": kind.code(), "message": "no \"luck\"", "fields": {}}));
        }
    }

    #[test]
    fn hint_fields_and_causes_are_carried() {
        let inner = Error::invalid("deep").caused_by("deepest");
        let error = Error::invalid("wrong").hint("do").with("held_by", json!({"agent_name": "a"})).caused_by(inner);
        let carried: Value = serde_json::from_str(&carrier(&error)).unwrap();
        assert_eq!(carried["hint"], "do");
        assert_eq!(carried["fields"], json!({"heldBy": {"agentName": "a"}}));
        assert_eq!(carried["cause"], "deep: deepest");
    }
}
