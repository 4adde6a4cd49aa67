//! `convox api get` and `convox api delete`.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;

/// Raw calls.
#[derive(Debug, Args)]
pub(crate) struct Api {
    #[command(subcommand)]
    command: ApiCommand,
}

#[derive(Debug, Subcommand)]
enum ApiCommand {
    /// delete what is at a path of the rack api
    Delete {
        /// path below the rack's url
        path: String,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// query the rack api
    Get {
        /// path below the rack's url
        path: String,
        #[command(flatten)]
        rack: RackArgs,
    },
}

impl Api {
    /// Prints what the rack answers, indented; to a deletion it answers nothing.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (path, rack) = match self.command {
            ApiCommand::Get { path, rack } => (path, rack),
            ApiCommand::Delete { path, rack } => {
                let rack = context.rack(&rack).await?;
                rack.client.api_delete(&path).await?;
                return Ok(Exit::SUCCESS);
            }
        };
        let rack = context.rack(&rack).await?;
        let value = sorted(rack.client.api_get(&path).await?);
        let text = serde_json::to_string_pretty(&value)
            .map_err(|error| Error::failed(error.to_string()))?;
        context.ui.line(escape(&text))?;
        Ok(Exit::SUCCESS)
    }
}

/// With the names of every object in order, however the parser keeps them.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(sorted).collect()),
        value => value,
    }
}

/// The original escapes these; outside of texts they do not occur in JSON.
fn escape(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_markup_is_escaped() {
        let value = serde_json::json!({"b": [{"d": "<a&b>", "c": 1}], "a": null});
        let text = serde_json::to_string(&sorted(value)).expect("json");
        assert_eq!(
            escape(&text),
            r#"{"a":null,"b":[{"c":1,"d":"\u003ca\u0026b\u003e"}]}"#
        );
    }
}
