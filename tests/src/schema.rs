//! A validator for the part of JSON Schema (draft 2020-12) that state.schema.json uses. A keyword that it does not know is
//! a fault, so that nothing is passed over.

use serde_json::{Map, Value};

/// Keywords that say nothing about a value.
const COMMENTS: [&str; 6] = ["$schema", "$defs", "title", "description", "default", "format"];

/// What is wrong with `value`: a sentence for each fault, with its place. A key that the schema does not have is one, since
/// the schema is to have every key that this kernel prints.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Validator { root: schema }.check(schema, value, "", &mut found);
    found
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
        let Some(keywords) = schema.as_object() else { return };
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "$ref" => self.check(self.definition(rule), value, place, found),
                "type" if !has_type(rule, value) => found.push(format!("{place}: {value} is not {rule}")),
                "const" if rule != value => found.push(format!("{place}: {value} is not {rule}")),
                "enum" if !rule.as_array().is_some_and(|all| all.contains(value)) => {
                    found.push(format!("{place}: {value} is none of {rule}"));
                }
                "minimum" if value.as_f64().is_some_and(|value| Some(value) < rule.as_f64()) => {
                    found.push(format!("{place}: {value} is less than {rule}"))
                }
                "pattern" if rule == "^0x[0-9a-f]+$" => {
                    if !is_address(value) {
                        found.push(format!("{place}: {value} is no address"));
                    }
                }
                "anyOf" | "oneOf" => self.check_choice(rule, value, place, found),
                "required" => check_required(rule, value, place, found),
                "properties" => self.check_properties(rule, value, place, found),
                "items" => {
                    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{place}/{at}"), found);
                    }
                }
                "type" | "const" | "enum" | "minimum" => {}
                other if COMMENTS.contains(&other) => {}
                other => found.push(format!("{place}: the validator does not know {other}: {rule}")),
            }
        }
    }

    fn definition(&self, reference: &Value) -> &Value {
        let path = reference.as_str().and_then(|path| path.strip_prefix('#')).unwrap_or("/none");
        self.root.pointer(path).unwrap_or(&Value::Null)
    }

    fn check_choice(&self, choices: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
        let fits = |choice: &Value| {
            let mut faults = Vec::new();
            self.check(choice, value, place, &mut faults);
            faults.is_empty()
        };
        if !choices.as_array().is_some_and(|choices| choices.iter().any(fits)) {
            found.push(format!("{place}: {value} fits no choice"));
        }
    }

    fn check_properties(&self, properties: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
        let none = Map::new();
        let properties = properties.as_object().unwrap_or(&none);
        for (key, value) in value.as_object().unwrap_or(&none) {
            let place = format!("{place}/{key}");
            match properties.get(key) {
                Some(schema) => self.check(schema, value, &place, found),
                None => found.push(format!("{place}: the schema does not have this key")),
            }
        }
    }
}

fn check_required(keys: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    for key in keys.as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() {
            found.push(format!("{place}: {key} is missing"));
        }
    }
}

fn has_type(rule: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    };
    rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is))
}

fn is_address(value: &Value) -> bool {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::faults;
    use serde_json::json;

    #[test]
    fn each_kind_of_fault_is_found_at_its_place() {
        let schema = json!({
            "$defs": {"Part": {"type": "object", "required": ["start"], "properties": {
                "start": {"type": "string", "pattern": "^0x[0-9a-f]+$"}}}},
            "type": "object", "required": ["size", "node"],
            "properties": {
                "size": {"type": "integer", "minimum": 1}, "node": {"type": ["integer", "null"], "minimum": 0},
                "word": {"oneOf": [{"const": "one"}, {"const": "two"}]},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}}}});
        let good = json!({"size": 1, "node": null, "word": "two", "parts": [{"start": "0x1f"}]});
        assert_eq!(faults(&schema, &good), Vec::<String>::new());
        for (value, fault) in [
            (json!([]), ": [] is not \"object\""),
            (json!({"node": 1}), ": size is missing"),
            (json!({"size": 0, "node": 1}), "/size: 0 is less than 1"),
            (json!({"size": 1, "node": "1"}), "/node: \"1\" is not"),
            (json!({"size": 1, "node": 1, "word": "three"}), "/word: \"three\" fits no choice"),
            (
                json!({"size": 1, "node": 1, "parts": [{"start": "1f"}]}),
                "/parts/0/start: \"1f\" is no address",
            ),
            (json!({"size": 1, "node": 1, "parts": [{}]}), "/parts/0: start is missing"),
            (json!({"size": 1, "node": 1, "new": 1}), "/new: the schema does not have this key"),
        ] {
            let found = faults(&schema, &value);
            assert!(found.iter().any(|one| one.starts_with(fault)), "{fault}: {found:?}");
        }
        let novel = json!({"uniqueItems": true});
        assert!(faults(&novel, &good)[0].contains("does not know uniqueItems"));
    }
}
