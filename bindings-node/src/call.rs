//! The arguments of a call: a JSON array, read element by element. What is wrong is said with the operation, the option
//! and the rule.

use std::fmt;
use std::time::Duration;

use portdaddy_core::{Error, Result};
use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde_json::Value;

use crate::types::{camel, snake};

/// Characters of a wrong text that are quoted.
const QUOTED: usize = 60;

/// The arguments of one call that weren't read yet.
pub(crate) struct Arguments {
    operation: &'static str,
    rest: std::vec::IntoIter<Value>,
}

impl Arguments {
    pub(crate) fn parse(operation: &'static str, text: &str) -> Result<Self> {
        match serde_json::from_str::<Vec<Value>>(text) {
            Ok(values) => Ok(Self { operation, rest: values.into_iter() }),
            Err(e) => Err(Error::invalid(format!("{operation}: the arguments must be a JSON array"))
                .with("operation", operation)
                .caused_by(e)),
        }
    }

    /// The next argument, null where there is none.
    pub(crate) fn value<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T> {
        let value = self.rest.next().unwrap_or(Value::Null);
        read(self.operation, Some(name), value)
    }

    /// The next argument as named options; without it the defaults.
    pub(crate) fn options<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        match self.rest.next() {
            None | Some(Value::Null) => Ok(T::default()),
            Some(value) => read(self.operation, None, value),
        }
    }

    /// The next argument, a number of milliseconds, rounded up.
    pub(crate) fn milliseconds(&mut self, name: &'static str) -> Result<i64> {
        let value = self.rest.next().unwrap_or(Value::Null);
        read(self.operation, Some(name), rounded_up(value))
    }

    /// An argument of this operation that breaks a rule that no type tells.
    pub(crate) fn wrong(&self, option: &str, rule: &str) -> Error {
        wrong(self.operation, option, format!("{option} {rule}"))
    }
}

/// Named options from a JSON text.
pub(crate) fn options<T: DeserializeOwned>(operation: &'static str, text: &str) -> Result<T> {
    let value = serde_json::from_str(text).map_err(|e| {
        Error::invalid(format!("{operation}: the options must be a JSON object"))
            .with("operation", operation)
            .caused_by(e)
    })?;
    read(operation, None, value)
}

/// Milliseconds, rounded up: a wait is never shorter than it was asked to be.
pub(crate) fn duration(ms: f64) -> Option<Duration> {
    // What no clock can count is for ever.
    (ms >= 0.0).then(|| Duration::try_from_secs_f64(ms.ceil() / 1_000.0).unwrap_or(Duration::MAX))
}

fn rounded_up(value: Value) -> Value {
    match value.as_f64().map(f64::ceil) {
        // The bounds are far from where a float has gaps between whole numbers; past them the rule is told by the library.
        Some(ms) if value.is_f64() && ms.abs() < 1e15 => (ms as i64).into(),
        _ => value,
    }
}

fn read<T: DeserializeOwned>(operation: &'static str, name: Option<&'static str>, value: Value) -> Result<T> {
    let argument = Argument { value, options: name.is_none() };
    serde_path_to_error::deserialize(argument).map_err(|e| {
        let path = match e.path().to_string() {
            path if path == "." => String::new(),
            path => camel(&path),
        };
        let place = match (name, path.as_str()) {
            (None, "") => "the options".to_owned(),
            (None, path) => path.to_owned(),
            (Some(name), path) => format!("{name}{path}"),
        };
        match e.into_inner() {
            Rule::Broken(rule) => wrong(operation, &place, format!("{place} {rule}")),
            Rule::Missing(option) => wrong(operation, &option, format!("{option} is missing")),
            Rule::Unknown(option, text) => wrong(operation, &option, text),
        }
    })
}

fn wrong(operation: &'static str, option: &str, text: String) -> Error {
    Error::invalid(format!("{operation}: {text}")).with("operation", operation).with("option", option)
}

/// Why a value can't be read.
#[derive(Debug)]
enum Rule {
    /// What the value must be.
    Broken(String),
    /// The option that is missing.
    Missing(String),
    /// The option that there isn't, and what there is.
    Unknown(String, String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Broken(text) | Rule::Missing(text) | Rule::Unknown(_, text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Rule {}

impl de::Error for Rule {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Rule::Broken(format!("is wrong: {text}"))
    }

    fn invalid_type(got: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Rule::Broken(format!("must be {}, not {}", expectation(wanted), shown(got)))
    }

    fn invalid_value(got: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(got, wanted)
    }

    fn invalid_length(got: usize, wanted: &dyn Expected) -> Self {
        Rule::Broken(format!("must be {}, not {got}", expectation(wanted)))
    }

    fn unknown_variant(got: &str, wanted: &'static [&'static str]) -> Self {
        Rule::Broken(format!("must be {}, not {}", one_of(wanted), shown(Unexpected::Str(got))))
    }

    fn unknown_field(got: &str, there_are: &'static [&'static str]) -> Self {
        let got = camel(got);
        let there_are: Vec<String> = there_are.iter().map(|name| camel(name)).collect();
        let there_are = match there_are.as_slice() {
            [] => "there are none".to_owned(),
            [only] => format!("there is {only}"),
            _ => format!("there are {}", there_are.join(", ")),
        };
        let text = format!("unknown option {}; {there_are}", shown_text(&got));
        Rule::Unknown(got, text)
    }

    fn missing_field(field: &'static str) -> Self {
        Rule::Missing(camel(field))
    }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [all @ .., last] => format!("{} or {last}", all.join(", ")),
    }
}

/// What is expected, in the words of JavaScript.
fn expectation(wanted: &dyn Expected) -> String {
    let wanted = wanted.to_string();
    match wanted.as_str() {
        "i64" => "a whole number".to_owned(),
        "u64" | "usize" => "a whole number from 0 up".to_owned(),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "f64" => "a number".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a tuple of size 2" | "2 elements in sequence" => "an array of 2".to_owned(),
        text if text.starts_with("struct ") => "an object".to_owned(),
        text if text.starts_with("enum ") => "a string".to_owned(),
        _ => wanted,
    }
}

fn shown(got: Unexpected<'_>) -> String {
    match got {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the string {}", shown_text(text)),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

fn shown_text(text: &str) -> String {
    let mut start: String = text.chars().take(QUOTED).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

/// A JSON value that is read as an argument.
struct Argument {
    value: Value,
    /// Whether the keys are names of options.
    options: bool,
}

impl Argument {
    fn within(value: Value) -> Self {
        Argument { value, options: false }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Number(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => Unexpected::Unsigned(n),
                (None, Some(n)) => Unexpected::Signed(n),
                (None, None) => Unexpected::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }
}

impl IntoDeserializer<'_, Rule> for Argument {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Argument {
    type Error = Rule;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rule> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(n), ..) => visitor.visit_u64(n),
                (None, Some(n), _) => visitor.visit_i64(n),
                (None, None, n) => visitor.visit_f64(n.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Argument::within));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(members) => {
                let named = |(name, value): (String, Value)| match self.options {
                    // Milliseconds may have fractions.
                    true if name == "ttl" => (name, Argument::within(rounded_up(value))),
                    true => (snake(&name), Argument::within(value)),
                    false => (name, Argument::within(value)),
                };
                visitor.visit_map(MapDeserializer::new(members.into_iter().map(named)))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Rule> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Rule> {
        match self.value {
            Value::String(text) => visitor.visit_enum(StringDeserializer::new(text)),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    /// Options have names: an array isn't taken for their values in order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Rule> {
        match self.value {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Rule> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Filter {
        #[serde(rename = "type")]
        kind: Option<String>,
        after_seq: Option<i64>,
        limit: Option<usize>,
        range: Option<(u16, u16)>,
        files: Vec<String>,
        all: bool,
        status: Option<Status>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Status {
        Active,
        LongGone,
    }

    fn filter(value: Value) -> Result<Filter> {
        Arguments::parse("notes", &json!([value]).to_string())?.options()
    }

    #[test]
    fn options_are_read_by_their_names_in_javascript() {
        let all = json!({"type": "x", "afterSeq": 5, "limit": null, "range": [1, 2], "files": ["a"], "all": true,
            "status": "long_gone"});
        let wanted = Filter {
            kind: Some("x".to_owned()),
            after_seq: Some(5),
            limit: None,
            range: Some((1, 2)),
            files: vec!["a".to_owned()],
            all: true,
            status: Some(Status::LongGone),
        };
        assert_eq!(filter(all).unwrap(), wanted);
        assert_eq!(filter(json!(null)).unwrap(), Filter::default());
        assert_eq!(Arguments::parse("notes", "[]").unwrap().options::<Filter>().unwrap(), Filter::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_operation_option_and_rule() {
        let there_are = "there are type, afterSeq, limit, range, files, all, status";
        for (value, option, text) in [
            (json!({"foo": 1}), "foo", format!("unknown option \"foo\"; {there_are}")),
            (json!({"after_seq": 1}), "after_seq", format!("unknown option \"after_seq\"; {there_are}")),
            (json!({"type": 5}), "type", "type must be a string, not the number 5".to_owned()),
            (json!({"type": ["a"]}), "type", "type must be a string, not an array".to_owned()),
            (json!({"afterSeq": "x"}), "afterSeq", "afterSeq must be a whole number, not the string \"x\"".to_owned()),
            (json!({"afterSeq": 1.5}), "afterSeq", "afterSeq must be a whole number, not the number 1.5".to_owned()),
            (json!({"limit": -1}), "limit", "limit must be a whole number from 0 up, not the number -1".to_owned()),
            (
                json!({"range": [1, 70000]}),
                "range[1]",
                "range[1] must be a whole number from 0 to 65535, not the number 70000".to_owned(),
            ),
            (json!({"range": [1]}), "range", "range must be an array of 2, not 1".to_owned()),
            (json!({"files": "a"}), "files", "files must be an array, not the string \"a\"".to_owned()),
            (json!({"files": ["a", 5]}), "files[1]", "files[1] must be a string, not the number 5".to_owned()),
            (json!({"all": null}), "all", "all must be a boolean, not null".to_owned()),
            (json!({"status": "x"}), "status", "status must be active or long_gone, not the string \"x\"".to_owned()),
            (json!({"status": true}), "status", "status must be a string, not true".to_owned()),
            (json!(["x"]), "the options", "the options must be an object, not an array".to_owned()),
            (json!(5), "the options", "the options must be an object, not the number 5".to_owned()),
        ] {
            let e = filter(value).unwrap_err();
            assert_eq!(e.message(), format!("notes: {text}"));
            assert_eq!((e.kind().code(), &e.fields()["operation"]), ("INVALID", &json!("notes")));
            assert_eq!(e.fields()["option"], option);
        }
    }

    #[test]
    fn plain_arguments_have_names_too() {
        let mut arguments = Arguments::parse("setPhase", r#"["a", null]"#).unwrap();
        assert_eq!(arguments.value::<String>("phase").unwrap(), "a");
        assert_eq!(arguments.value::<Option<String>>("session").unwrap(), None);
        let e = arguments.value::<String>("more").unwrap_err();
        assert_eq!(e.message(), "setPhase: more must be a string, not null");
        let e = Arguments::parse("x", "[[1]]").unwrap().value::<Vec<String>>("files").unwrap_err();
        assert_eq!(e.message(), "x: files[0] must be a string, not the number 1");
        assert!(Arguments::parse("x", "{}").is_err());
    }

    #[test]
    fn a_ttl_is_rounded_up() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Publish {
            ttl: Option<i64>,
        }
        let publish =
            |ttl: Value| Arguments::parse("publish", &json!([{"ttl": ttl}]).to_string())?.options::<Publish>();
        assert_eq!(publish(json!(0.5)).unwrap().ttl, Some(1));
        assert_eq!(publish(json!(7)).unwrap().ttl, Some(7));
        assert_eq!(Arguments::parse("extendLock", "[1.5]").unwrap().milliseconds("ttl").unwrap(), 2);
        let e = publish(json!("7")).unwrap_err();
        assert_eq!(e.message(), "publish: ttl must be a whole number, not the string \"7\"");
    }

    #[test]
    fn durations_are_rounded_up_and_never_overflow() {
        assert_eq!(duration(0.1), Some(Duration::from_millis(1)));
        assert_eq!(duration(1500.0), Some(Duration::from_millis(1500)));
        assert_eq!(duration(1e300), Some(Duration::MAX));
        assert_eq!((duration(-1.0), duration(f64::NAN)), (None, None));
    }
}
