//! The committed schemas, closed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Where a schema is.
pub(super) fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(format!("{name}.json"))
}

/// The schema with every object closed: a key it does not plan is an error. Consumers get it open, for keys may be added.
pub(super) fn closed(mut schema: Value) -> Value {
    close(&mut schema);
    schema
}

fn close(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    let has_keys = object.contains_key("properties");
    for keyword in ["anyOf", "oneOf", "allOf"] {
        for member in object.get_mut(keyword).and_then(Value::as_array_mut).into_iter().flatten() {
            // beside keys a member is a part of this object, else it is one of its own
            if has_keys { close_inside(member) } else { close(member) }
        }
    }
    close_inside(schema);
    if has_keys {
        schema["unevaluatedProperties"] = json!(false);
    }
}

fn close_inside(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    for keyword in ["properties", "$defs"] {
        object
            .get_mut(keyword)
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
            .for_each(|(_, value)| close(value));
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(value) = object.get_mut(keyword) {
            close(value);
        }
    }
}

/// That what was printed is what the schema says, and nothing that it does not say.
#[track_caller]
pub(super) fn holds(name: &str, printed: &str) {
    let schema = closed(serde_json::from_str(&std::fs::read_to_string(committed(name)).unwrap()).unwrap());
    let value: Value = serde_json::from_str(printed).unwrap();
    assert_eq!(value["schema"], json!(format!("vramplan.{name}/1")));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
}
