//! Which modules are left as they are.

use super::{QuantMethod, Quantization};

impl Quantization {
    /// Whether the linear layer of this full name is quantised; `None`: a pattern of the list cannot be read here.
    ///
    /// As `should_convert_module` (transformers, `quantizers/quantizers_utils.py`): a pattern that matches at the start of
    /// the name, or that the name ends in, excludes it.
    ///
    /// ```
    /// let config = serde_json::json!({"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "model.layers.*.self_attn"]});
    /// let fp8 = vramplan::model::Quantization::from_config(&config)?;
    /// assert_eq!(fp8.converts("model.layers.3.self_attn.q_proj"), Some(false));
    /// assert_eq!(fp8.converts("model.layers.3.mlp.up_proj"), Some(true));
    /// # Ok::<(), vramplan::model::ModelError>(())
    /// ```
    pub fn converts(&self, name: &str) -> Option<bool> {
        // the head stays whatever the list says, unless a GPTQ or compressed-tensors checkpoint says otherwise
        if name == "lm_head" || (self.method == QuantMethod::Mxfp4 && !name.contains(".experts")) {
            return Some(false);
        }
        let mut known = true;
        for pattern in &self.not_converted {
            let pattern = pattern.strip_prefix("re:").unwrap_or(pattern);
            if name.ends_with(pattern) {
                return Some(false);
            }
            match matches_start(pattern, name) {
                Some(true) => return Some(false),
                Some(false) => {}
                None => known = false,
            }
        }
        known.then_some(true)
    }
}

/// Whether a pattern of letters, dots and stars matches at the start of `name`; `None`: it has other signs.
fn matches_start(pattern: &str, name: &str) -> Option<bool> {
    let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*' | '\\');
    if !pattern.chars().all(plain) {
        return None;
    }
    // a dot matches any sign in a regular expression, and in every name here it stands for itself
    let pattern = pattern.replace("\\.", ".").replace(".*", "*");
    let mut rest = name;
    for (index, piece) in pattern.split('*').enumerate() {
        let at = if index == 0 { rest.starts_with(piece).then_some(0) } else { rest.find(piece) };
        let Some(at) = at else { return Some(false) };
        rest = &rest[at + piece.len()..];
    }
    Some(true)
}
