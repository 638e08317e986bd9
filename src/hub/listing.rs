//! What a repository without a config.json has instead.

use serde_json::Value;

use super::HubErrorKind as Kind;
use super::client::Hub;
use super::error::one_line;
use super::{CONFIG_LIMIT, HubError, HubId};

/// A list of files larger than this is not read.
const LIST_LIMIT: u64 = 8 << 20;
/// How many files a message names.
const NAMED: usize = 4;
const ADAPTER: &str = "adapter_config.json";

/// A better error than `error`, which says that there is no config.json: the base model of an adapter, or the files
/// there are.
pub(super) fn instead_of_config(hub: &Hub, id: &HubId, error: HubError) -> HubError {
    if hub.cache.find(id, ADAPTER).is_some() {
        return adapter(hub, id).unwrap_or(error);
    }
    let Some(files) = hub.remote().and_then(|remote| remote.info(id, LIST_LIMIT).ok()).and_then(|info| names(&info))
    else {
        return error;
    };
    if files.iter().any(|file| file == ADAPTER) {
        return adapter(hub, id).unwrap_or(error);
    }
    let gguf: Vec<&str> = files.iter().map(String::as_str).filter(|file| file.ends_with(".gguf")).collect();
    let message = if let Some(first) = gguf.first() {
        let fix = format!("`hf download {} {}` fetches one, whose path can be given", id.repo(), one_line(first));
        format!("it has no config.json but GGUF files ({}): {fix}", listed(&gguf))
    } else if files.is_empty() {
        "it has no files".to_owned()
    } else {
        let all: Vec<&str> = files.iter().map(String::as_str).collect();
        format!("it has no config.json, so it is no transformers model; its files are {}", listed(&all))
    };
    HubError::new(id, Kind::NoSuchFile, message)
}

fn names(info: &[u8]) -> Option<Vec<String>> {
    let info: Value = serde_json::from_slice(info).ok()?;
    let siblings = info.get("siblings")?.as_array()?;
    Some(siblings.iter().filter_map(|file| Some(file.get("rfilename")?.as_str()?.to_owned())).collect())
}

fn listed(files: &[&str]) -> String {
    let named: Vec<String> = files.iter().take(NAMED).map(|file| one_line(file)).collect();
    let more = files.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

/// `None`: there is no telling.
fn adapter(hub: &Hub, id: &HubId) -> Option<HubError> {
    let config: Value = serde_json::from_slice(&hub.file(id, ADAPTER, CONFIG_LIMIT).ok()?.bytes).ok()?;
    let base = one_line(config.get("base_model_name_or_path")?.as_str()?);
    let kind = config.get("peft_type").and_then(Value::as_str).map_or_else(|| "PEFT".to_owned(), one_line);
    let mut flags = String::new();
    if kind == "LORA" {
        if let Some(r) = config.get("r").and_then(Value::as_u64) {
            flags.push_str(&format!(" --r {r}"));
        }
        let targets = config.get("target_modules").and_then(Value::as_array);
        let targets: Vec<&str> = targets.into_iter().flatten().filter_map(Value::as_str).collect();
        if !targets.is_empty() {
            flags.push_str(&format!(" --target-modules {}", one_line(&targets.join(","))));
        }
    }
    let message =
        format!("it is a {kind} adapter of `{base}`: name that model, as in `vramplan estimate {base}{flags}`");
    Some(HubError::new(id, Kind::Adapter, message))
}
