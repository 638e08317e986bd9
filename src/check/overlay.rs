//! Fields over a job.

use serde_json::Value;

use crate::job::{JobError, JobFile, explain};

/// `fields` over `base`.
pub(super) fn over(base: Option<JobFile>, fields: &Value) -> Result<JobFile, JobError> {
    let mut job = match base {
        Some(base) => serde_json::to_value(base).map_err(|error| explain(".", &error.to_string()))?,
        None => Value::Object(serde_json::Map::new()),
    };
    merge(&mut job, fields);
    serde_path_to_error::deserialize(job)
        .map_err(|error| explain(&error.path().to_string(), &error.inner().to_string()))
}

/// Tables are merged, all else is replaced; so are tables of another `type`, and a model.
fn merge(below: &mut Value, above: &Value) {
    let kind = |value: &Value| value.get("type").cloned();
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                let same = match below.get(name) {
                    Some(old) => name != "model" && (kind(value).is_none() || kind(old) == kind(value)),
                    None => false,
                };
                match below.get_mut(name) {
                    Some(old) if same => merge(old, value),
                    _ => drop(below.insert(name.clone(), value.clone())),
                }
            }
        }
        (below, above) => *below = above.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Peft;

    #[test]
    fn fields_go_over_a_job_and_leave_the_rest() -> Result<(), Box<dyn std::error::Error>> {
        let base: JobFile =
            "model = \"a\"\n[train]\nmax_seq_length = 512\n[train.peft]\ntype = \"lora\"\nr = 4".parse()?;
        let fields = serde_json::json!({"model": "b", "train": {"peft": {"r": 8}}});
        let Some(train) = over(Some(base.clone()), &fields)?.train else { panic!("no training") };
        assert_eq!((train.max_seq_length, train.lora().map(|lora| lora.r)), (512, Some(8)));
        let other = serde_json::json!({"train": {"peft": {"type": "ia3"}}});
        let Some(train) = over(Some(base), &other)?.train else { panic!("no training") };
        assert!(matches!(train.peft, Some(Peft::Ia3(_))));
        Ok(())
    }
}
