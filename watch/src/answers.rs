//! The answers to the page's requests, which are those of the playground: `{"do": "state"}`, `{"do": "view", ...}`.

use serde_json::{Value, json};

/// A request that is understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// The guest's `state`.
    State,
    /// A view, of a target if it needs one.
    View {
        /// Its name.
        name: String,
        /// `addr:0x...` or `pfn:0x...`.
        of: Option<String>,
    },
}

impl Request {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// The answer that refuses it.
    pub fn read(body: &[u8]) -> Result<Self, Value> {
        let body: Value =
            serde_json::from_slice(body).map_err(|error| refusal(&format!("not JSON: {error}")))?;
        let word = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        if body.get("at").is_some_and(|at| !at.is_null()) {
            return Err(refusal("a live guest has no steps to go back to"));
        }
        match word("do").as_deref() {
            Some("state") => Ok(Self::State),
            Some("view") => {
                let name = word("name").ok_or_else(|| refusal("a view needs a name"))?;
                Ok(Self::View { name, of: word("of") })
            }
            Some(other) => {
                Err(refusal(&format!("read-only: a live guest is only looked at, not asked to \"{other}\"")))
            }
            None => Err(refusal("a request has a field \"do\"")),
        }
    }
}

/// An answer with what was asked for.
pub fn success(key: &str, value: Value) -> Value {
    json!({"ok": true, key: value})
}

/// An answer that says why not.
pub fn refusal(why: &str) -> Value {
    json!({"ok": false, "error": why})
}

#[cfg(test)]
mod tests {
    use super::{Request, refusal};

    #[test]
    fn looking_is_understood_and_acting_is_refused() {
        assert_eq!(Request::read(br#"{"do":"state"}"#), Ok(Request::State));
        let walk = Request::View { name: "walk".into(), of: Some("pfn:0x80000".into()) };
        assert_eq!(Request::read(br#"{"do":"view","name":"walk","of":"pfn:0x80000"}"#), Ok(walk));
        let memory = Request::View { name: "memory".into(), of: None };
        assert_eq!(Request::read(br#"{"do":"view","name":"memory","at":null}"#), Ok(memory));
        for acting in ["boot", "line", "monitor", "trace"] {
            let answer = Request::read(format!(r#"{{"do":"{acting}","text":"poweroff"}}"#).as_bytes());
            let why = answer.expect_err("refused")["error"].to_string();
            assert!(why.contains("read-only") && why.contains(acting), "{why}");
        }
        assert_eq!(Request::read(b"{}"), Err(refusal("a request has a field \"do\"")));
        assert!(Request::read(b"state").is_err());
        assert!(Request::read(br#"{"do":"view","name":"memory","at":3}"#).is_err());
    }
}
