//! Results as JSON text. Names of fields are camelCase; keys of maps, such as those of a payload, stay as they are.

use portdaddy_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::ser::{self, Impossible, Serializer};

/// The JSON text of a result.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut text = Vec::with_capacity(256);
    value.serialize(Camel(&mut serde_json::Serializer::new(&mut text))).map_err(defect)?;
    String::from_utf8(text).map_err(defect)
}

fn defect(e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "the result could not be written as JSON").caused_by(e)
}

/// `held_by` as `heldBy`. Two underscores stand for one, see [`snake`].
pub(crate) fn camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '_' => camel.extend(chars.next().map(|c| c.to_ascii_uppercase())),
            c => camel.push(c),
        }
    }
    camel
}

/// `heldBy` as `held_by`. An underscore becomes two, so that it is never taken for a name of the library.
pub(crate) fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() || c == '_' {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// Writes what it is given through another serializer, with the names of fields changed.
struct Camel<S>(S);

/// A value within another.
struct Within<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for Within<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(Camel(serializer))
    }
}

macro_rules! as_they_are {
    ($($method:ident($type:ty),)*) => {
        $(fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.0.$method(value)
        })*
    };
}

impl<S: Serializer> Serializer for Camel<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Camel<S::SerializeSeq>;
    type SerializeTuple = Camel<S::SerializeTuple>;
    type SerializeTupleStruct = Impossible<S::Ok, S::Error>;
    type SerializeTupleVariant = Impossible<S::Ok, S::Error>;
    type SerializeMap = Camel<S::SerializeMap>;
    type SerializeStruct = Camel<S::SerializeMap>;
    type SerializeStructVariant = Impossible<S::Ok, S::Error>;

    as_they_are! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_f32(f32),
        serialize_f64(f64), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_unit_struct(&'static str),
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&Within(value))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_unit_variant(self, name: &'static str, i: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit_variant(name, i, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &Within(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        i: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_variant(name, i, variant, &Within(value))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.0.serialize_seq(len).map(Camel)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.0.serialize_tuple(len).map(Camel)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.0.serialize_map(len).map(Camel)
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.0.serialize_map(Some(len)).map(Camel)
    }

    // No result has these forms; one that gets them fails every test that reads it.
    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        Err(no_form(name))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        Err(no_form(name))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        Err(no_form(name))
    }
}

fn no_form<E: ser::Error>(name: &str) -> E {
    E::custom(format_args!("{name} has a form that has no names in JavaScript"))
}

impl<S: ser::SerializeSeq> ser::SerializeSeq for Camel<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_element(&Within(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

impl<S: ser::SerializeTuple> ser::SerializeTuple for Camel<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_element(&Within(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

impl<S: ser::SerializeMap> ser::SerializeMap for Camel<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.0.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.0.serialize_value(&Within(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

impl<S: ser::SerializeMap> ser::SerializeStruct for Camel<S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), S::Error> {
        self.0.serialize_entry(&camel(name), &Within(value))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use portdaddy_core::{Delivery, Event, Message, Warning, WarningCode};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn names_change_there_and_back() {
        for (ours, theirs) in [("seq", "seq"), ("held_by", "heldBy"), ("fail_if_gone", "failIfGone")] {
            assert_eq!((camel(ours), snake(theirs)), (theirs.to_owned(), ours.to_owned()));
        }
        // Spelt as the library spells it, a name is none.
        assert_eq!((snake("held_by").as_str(), camel(&snake("held_by")).as_str()), ("held__by", "held_by"));
    }

    #[test]
    fn fields_are_renamed_and_payloads_are_not() {
        let payload = json!({"snake_case": {"deep_er": [{"a_b": 1}]}, "camelCase": null});
        let message = Message {
            seq: 7,
            channel: "a_b".to_owned(),
            payload: payload.clone(),
            agent: Some("x_y".to_owned()),
            agent_name: None,
            at_ms: 5,
            scope: "s".to_owned(),
        };
        let delivery = Delivery { message, replayed: true, age_ms: 3, sender_state: None };
        let got: Value = serde_json::from_str(&json(&[Event::Message(delivery)]).unwrap()).unwrap();
        let message = json!({"seq": 7, "channel": "a_b", "payload": payload, "agent": "x_y", "agentName": null,
            "atMs": 5, "scope": "s"});
        assert_eq!(
            got,
            json!([{"event": "message", "data":
                {"message": message, "replayed": true, "ageMs": 3, "senderState": null}}])
        );
        let warning = Event::Warning(Warning { code: WarningCode::OwnerGone, text: "t".to_owned() });
        let got: Value = serde_json::from_str(&json(&warning).unwrap()).unwrap();
        assert_eq!(got, json!({"event": "warning", "data": {"code": "owner_gone", "text": "t"}}));
        assert_eq!(json(&1.5).unwrap(), "1.5");
        assert_eq!(json(&None::<u8>).unwrap(), "null");
    }
}
