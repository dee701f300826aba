//! Prints the JSON Schema of `state`: `cargo run -q -p hotmap-client --example state-schema >state.schema.json`.

fn main() {
    println!("{:#}", hotmap_client::state::schema());
}
