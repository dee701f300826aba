//! The page's side.
#![allow(dead_code, reason = "each test has a use for some of it")]

use hotmap_playground::Session;
use serde_json::{Value, json};

/// A session whose requests must be answered.
pub(crate) struct Page(pub(crate) Session);

impl Page {
    pub(crate) fn boot(request: Value) -> Self {
        let mut page = Self(Session::new());
        page.must(&request);
        page
    }
    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        serde_json::from_str(&self.0.call(&request.to_string())).expect("an answer is JSON")
    }
    pub(crate) fn must(&mut self, request: &Value) -> Value {
        let answer = self.ask(request);
        assert_eq!(answer["ok"], true, "{request}: {answer}");
        answer
    }
    /// A line or a monitor command that succeeds, and what it prints.
    pub(crate) fn tell(&mut self, what: &str, text: &str) -> String {
        let answer = self.must(&json!({ "do": what, "text": text }));
        assert_eq!(answer["status"], 0, "{text}: {answer}");
        answer["text"].as_str().expect("a text").to_owned()
    }
    /// One that is refused, and what it prints.
    pub(crate) fn refused(&mut self, what: &str, text: &str) -> String {
        let answer = self.must(&json!({ "do": what, "text": text }));
        assert_eq!(answer["status"], 1, "{text}: {answer}");
        answer["text"].as_str().expect("a text").to_owned()
    }
    pub(crate) fn state(&mut self) -> Value {
        self.must(&json!({ "do": "state" }))["state"].clone()
    }
    pub(crate) fn pages(&mut self, key: &str) -> u64 {
        self.state()["pages"][key].as_u64().unwrap_or_else(|| panic!("pages.{key} is a number"))
    }
}

/// A request for a machine of 1 GiB.
pub(crate) fn boot(granule: &str, args: &str) -> Value {
    json!({ "do": "boot", "granule": granule, "memory": "1G", "args": args })
}
