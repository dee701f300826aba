//! The JSON Schema of `state`, from its types.

use super::State;
use schemars::generate::SchemaSettings;
use serde_json::Value;

/// The JSON Schema (draft 2020-12) of the line. It requires every key that this version of the kernel prints, and allows others.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<State>().to_value()
}

#[cfg(test)]
mod tests {
    use crate::qemu::root;

    /// The release has the file.
    #[test]
    fn the_file_is_that_of_the_types() {
        let file = std::fs::read_to_string(root().join("state.schema.json")).expect("state.schema.json");
        let written: serde_json::Value = serde_json::from_str(&file).expect("JSON");
        let hint = "cargo run -q -p hotmap-client --example state-schema >state.schema.json";
        assert_eq!(written, super::schema(), "run: {hint}");
    }
}
