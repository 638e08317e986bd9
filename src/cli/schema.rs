//! `vramplan schema`: JSON Schemas of what is printed and read.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::Value;

use super::args::SchemaArgs;
use super::error::CliError;
use super::text::{self, lines, table};
use super::{check, estimate, fit, gpus, models, params, plan, solve, verify};
use crate::check::Lock;
use crate::job::JobFile;
use crate::plan::{Comparison, Ladder, Solution};

/// A shape of JSON that has a name.
struct Named {
    name: &'static str,
    what: &'static str,
    schema: fn() -> Schema,
}

/// Every one, by name.
const SCHEMAS: &[Named] = &[
    Named { name: "check", what: "check --json", schema: printed::<check::Output<'static>> },
    Named { name: "compare", what: "compare --json", schema: printed::<Comparison> },
    Named { name: "estimate", what: "estimate --json", schema: printed::<estimate::Output<'static>> },
    Named {
        name: "fit",
        what: "fit --json",
        schema: || either(printed::<fit::Output<'static>>(), printed::<fit::Unknown<'static>>()),
    },
    Named {
        name: "formula",
        what: "estimate --method formula --json",
        schema: printed::<estimate::FormulaAlone<'static>>,
    },
    Named { name: "gpus", what: "gpus --json", schema: printed::<gpus::Output<'static>> },
    Named { name: "job", what: "a job file, estimate --job", schema: read::<JobFile> },
    Named { name: "lock", what: "vramplan.lock", schema: printed::<Lock> },
    Named { name: "model", what: "models show --json", schema: printed::<models::Shown> },
    Named { name: "models", what: "models --json", schema: printed::<models::List> },
    Named { name: "params", what: "params --json", schema: printed::<params::Output> },
    Named { name: "plan", what: "plan --json", schema: printed::<plan::Output<'static>> },
    Named {
        name: "solve",
        what: "solve --json",
        schema: || either(printed::<solve::Output<'static, Solution>>(), printed::<solve::Output<'static, Ladder>>()),
    },
    Named { name: "table", what: "plan --tutorial-table --json", schema: printed::<plan::TableOutput<'static>> },
    Named { name: "verify", what: "verify --json", schema: printed::<verify::Output> },
];

pub(super) fn run(args: &SchemaArgs) -> Result<String, CliError> {
    let Some(name) = &args.name else {
        let mut rows = table(&["name", "of"], text::width());
        for Named { name, what, .. } in SCHEMAS {
            rows.add_row([*name, what]);
        }
        return Ok(lines(&rows));
    };
    let Some(named) = SCHEMAS.iter().find(|named| named.name == name) else {
        let names: Vec<&str> = SCHEMAS.iter().map(|named| named.name).collect();
        return Err(CliError::Usage(format!("no schema is called `{name}`; there are {}", names.join(", "))));
    };
    text::json(&titled((named.schema)(), named.name))
}

/// With the name and version that the object itself carries under `schema`.
fn titled(mut schema: Schema, name: &str) -> Schema {
    let version = format!("vramplan.{name}/1");
    schema.insert("$id".to_owned(), Value::String(version.clone()));
    schema.insert("title".to_owned(), Value::String(version));
    schema
}

fn printed<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

fn read<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>()
}

/// An object of one shape or the other.
fn either(mut one: Schema, mut other: Schema) -> Schema {
    let mut definitions = serde_json::Map::new();
    for schema in [&mut one, &mut other] {
        if let Some(Value::Object(own)) = schema.remove("$defs") {
            definitions.extend(own);
        }
    }
    let meta = one.remove("$schema");
    other.remove("$schema");
    let mut schema = json_schema!({ "anyOf": [one, other], "$defs": definitions });
    if let Some(meta) = meta {
        schema.insert("$schema".to_owned(), meta);
    }
    schema
}
