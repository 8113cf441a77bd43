//! A vector file: what it is, and how a bundle is described in it.

use serde_json::{Map, Value, json};

/// One file to be.
pub(crate) struct Vector {
    /// `good/NAME` or `bad/NAME`.
    pub(crate) name: String,
    pub(crate) json: Value,
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd number of hex digits");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn good(name: &str, what: &str, kind: &str, bytes: &[u8], expect: Value) -> Vector {
    let json = json!({ "what": what, "kind": kind, "hex": hex(bytes), "expect": expect });
    Vector { name: format!("good/{name}"), json }
}

pub(crate) fn bad(name: &str, what: &str, kind: &str, bytes: &[u8], refused_by: &str) -> Vector {
    let json = json!({ "what": what, "kind": kind, "hex": hex(bytes), "refused_by": refused_by });
    Vector { name: format!("bad/{name}"), json }
}

impl Vector {
    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.json[key] = value;
        self
    }

    /// Who opens it.
    pub(crate) fn for_seed(self, seed: [u8; 32]) -> Self {
        self.set("recipient_seed", json!(hex(seed)))
    }

    pub(crate) fn senders(self, nodes: &[[u8; 32]]) -> Self {
        let nodes: Vec<String> = nodes.iter().map(hex).collect();
        self.set("senders", json!(nodes))
    }
}

/// Later maps win.
pub(crate) fn merged(maps: impl IntoIterator<Item = Value>) -> Value {
    let mut out = Map::new();
    for map in maps {
        out.extend(map.as_object().cloned().unwrap_or_default());
    }
    Value::Object(out)
}
