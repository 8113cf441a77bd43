//! The description of the API, made from the table of the verbs.

use serde_json::{Value, json};

use super::{Row, rows};

/// The OpenAPI 3.1 document.
pub fn document() -> Value {
    let mut paths = serde_json::Map::new();
    for row in rows() {
        paths.insert(format!("/v1/{}", row.name), json!({ "post": verb(row) }));
    }
    for (path, method, about, input, output) in OTHERS {
        let mut operation = json!({
            "summary": about,
            "responses": { "200": { "description": "It is there.", "content": { *output: {} } } },
        });
        if let Some(input) = input {
            operation["requestBody"] = json!({ "content": { *input: {} } });
        }
        paths.insert((*path).to_owned(), json!({ *method: operation }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Postrider",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The daemon of one node, on a Unix socket that only its owner can use. \
                Every verb answers with the objects that `postrider VERB --json` prints, one per \
                line. With `?progress=1` objects of type `progress` come before them; then a \
                failure is the last line of an answer that began with status 200.",
        },
        "paths": paths,
        "components": { "schemas": { "Error": {
            "type": "object",
            "required": ["v", "type", "code", "what", "next"],
            "properties": {
                "v": { "const": 1 },
                "type": { "const": "error" },
                "code": { "type": "string", "description": "What sort of failure." },
                "what": { "type": "string", "description": "What happened." },
                "because": { "type": "array", "items": { "type": "string" } },
                "next": { "type": ["string", "null"], "description": "What to do." },
            },
        }}},
    })
}

/// Routes that are no verbs: path, method, what it does, what goes in, what comes out.
type Other = (&'static str, &'static str, &'static str, Option<&'static str>, &'static str);
pub(super) const OTHERS: &[Other] = &[
    (
        "/v1/pack",
        "post",
        "What waits for some (query whom, separated by commas) or for all, as one stream; the \
         summary is the trailer postrider-reply.",
        None,
        "application/octet-stream",
    ),
    (
        "/v1/unpack",
        "post",
        "Take what another has packed.",
        Some("application/octet-stream"),
        "application/x-ndjson",
    ),
    (
        "/v1/bundle/export",
        "post",
        "One bundle (query id), or only its payload (query payload=1), as a stream; what it is \
         stands in the trailer postrider-reply.",
        None,
        "application/octet-stream",
    ),
    (
        "/v1/events",
        "get",
        "What happens from now on, or after the header Last-Event-ID.",
        None,
        "text/event-stream",
    ),
    ("/v1/openapi.json", "get", "This description.", None, "application/json"),
    ("/metrics", "get", "Figures for Prometheus.", None, "text/plain"),
];

fn verb(row: &Row) -> Value {
    let properties: serde_json::Map<String, Value> = row
        .fields
        .iter()
        .map(|field| {
            let mut schema = schema(field.kind);
            schema["description"] = field.about.trim().into();
            (field.name.to_owned(), schema)
        })
        .collect();
    let required = row
        .fields
        .iter()
        .filter(|field| !field.has_default && !field.kind.trim_start().starts_with("Option"));
    let required: Vec<&str> = required.map(|field| field.name).collect();
    let reply = if row.list {
        format!("Objects of type {}, one per line, and a summary.", row.reply)
    } else {
        format!("One object of type {}.", row.reply)
    };
    let of_type = json!({ "type": "object", "properties": { "v": { "const": 1 }, "type": {
        "const": row.reply,
    }}});
    json!({
        "summary": row.about.trim(),
        "requestBody": { "content": { "application/json": { "schema": {
            "type": "object",
            "additionalProperties": false,
            "required": required,
            "properties": properties,
        }}}},
        "responses": {
            "200": {
                "description": reply,
                "content": { "application/x-ndjson": { "schema": of_type } },
            },
            "default": {
                "description": "It failed.",
                "content": { "application/json": { "schema": {
                    "$ref": "#/components/schemas/Error",
                }}},
            },
        },
    })
}

/// The schema of a field from its type in Rust.
fn schema(kind: &str) -> Value {
    let kind: String = kind.split_whitespace().collect();
    let inner = |outer: &str| kind.strip_prefix(outer)?.strip_suffix('>').map(str::to_owned);
    if let Some(inner) = inner("Option<") {
        return json!({ "anyOf": [schema(&inner), { "type": "null" }] });
    }
    if let Some(inner) = inner("Vec<") {
        return json!({ "type": "array", "items": schema(&inner) });
    }
    match &*kind {
        "bool" => json!({ "type": "boolean" }),
        "u8" => json!({ "type": "integer", "minimum": 0, "maximum": u8::MAX }),
        "u32" => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        "u64" => json!({ "type": "integer", "minimum": 0 }),
        "String" | "PathBuf" => json!({ "type": "string" }),
        "SendOne" => json!({ "type": "object", "description": "As in /v1/send." }),
        "Trial" => json!({ "type": "object", "description": "As the keys of docs/jobs.md." }),
        "Run" => json!({ "type": "object", "description": "As in /v1/run, without `to`." }),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_described_with_all_its_fields() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), rows().count() + OTHERS.len(), "a path stands twice");
        for row in rows() {
            let verb = &paths[&format!("/v1/{}", row.name)]["post"];
            assert!(!verb["summary"].as_str().unwrap().is_empty());
            let schema = &verb["requestBody"]["content"]["application/json"]["schema"];
            let described = schema["properties"].as_object().unwrap();
            assert_eq!(described.len(), row.fields.len(), "{}", row.name);
            for field in row.fields {
                let known = described[field.name].as_object().unwrap();
                // A choice between objects has its words only.
                let typed = known.contains_key("type") || known.contains_key("anyOf");
                assert!(typed, "{} {}: {}", row.name, field.name, field.kind);
            }
        }
    }

    #[test]
    fn a_field_has_the_schema_of_its_type() {
        assert_eq!(schema("Option<bool>")["anyOf"][0]["type"], "boolean");
        assert_eq!(schema("Vec<PathBuf>")["items"]["type"], "string");
        assert_eq!(schema("u8")["maximum"], 255);
    }
}
