//! Regular expressions over module names, as PEFT matches them.

use fancy_regex::{Regex, RegexBuilder};

use super::super::JobError;

/// Longer than any pattern that names modules.
const MAX_LENGTH: usize = 2_000;
/// Bytes a compiled pattern may take.
const MAX_COMPILED: usize = 1 << 20;
/// Steps one match may take.
const MAX_STEPS: usize = 100_000;

/// `pattern` as `re.fullmatch` takes it: all of a name has to match.
///
/// # Errors
/// It is too long or no regular expression; the error names `field`.
pub(crate) fn full_match(field: &'static str, pattern: &str) -> Result<Regex, JobError> {
    compile(field, pattern, &format!(r"\A(?:{pattern})\z"))
}

/// `pattern` as a key of `rank_pattern`: the end of a name from a dot on (`get_pattern_key`, `peft/utils/other.py`).
///
/// # Errors
/// As [`full_match`].
pub(crate) fn end_match(field: &'static str, pattern: &str) -> Result<Regex, JobError> {
    compile(field, pattern, &format!(r"\A(?:.*\.)?(?:{pattern})\z"))
}

/// An entry of `layers_pattern`, before a layer's number, which it captures.
///
/// # Errors
/// As [`full_match`].
pub(crate) fn layer_number(field: &'static str, pattern: &str) -> Result<Regex, JobError> {
    compile(field, pattern, &format!(r"\A(?:|.*?\.)(?:{pattern})\.(?<layer>\d+)\."))
}

fn compile(field: &'static str, pattern: &str, whole: &str) -> Result<Regex, JobError> {
    let shown: String = pattern.chars().map(|c| if c.is_control() { ' ' } else { c }).take(80).collect();
    if pattern.len() > MAX_LENGTH {
        let fix = format!("a pattern may have {MAX_LENGTH} characters; list the modules' names");
        return Err(JobError::invalid(field, format!("{shown:?}..."), fix));
    }
    // by itself first: a stray bracket must not close the group it is put in
    let wrong = |error: fancy_regex::Error| {
        let reason: String = error.to_string().lines().last().unwrap_or_default().trim().chars().take(120).collect();
        JobError::invalid(field, format!("{shown:?}"), format!("not a regular expression ({reason})"))
    };
    let build = |text: &str| {
        RegexBuilder::new(text).delegate_size_limit(MAX_COMPILED).backtrack_limit(MAX_STEPS).build().map_err(wrong)
    };
    build(pattern)?;
    build(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "model.layers.11.self_attn.q_proj";

    #[test]
    fn patterns_match_as_python_does() {
        // re.fullmatch of Python 3.11
        for (pattern, matches) in [
            (".*self_attn.*(q_proj|v_proj)$", true),
            ("q_proj", false),
            (r".*\.q_proj", true),
            (r"model\.layers\.1\..*", false),
            (r"^(?!.*self_attn).*$", false),
            (r"(?!.*vision).*(?<=self_attn\.)(q|k)_proj", true),
            (r".*q|.*proj", true),
        ] {
            let regex = full_match("f", pattern).expect(pattern);
            assert_eq!(regex.is_match(NAME).expect(pattern), matches, "{pattern}");
        }
        let end = |pattern| end_match("f", pattern).expect("a pattern").is_match(NAME).expect("a match");
        assert!(end("q_proj") && end(r"self_attn.q_proj") && !end("proj"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_field() {
        let long = "a".repeat(MAX_LENGTH + 1);
        for pattern in ["(", "a)(b", "*", "[", "(?P<n", r"(?:a{1000}){1000}{1000}", long.as_str()] {
            let error = full_match("train.peft.target_modules", pattern).expect_err(pattern).to_string();
            assert!(error.starts_with("train.peft.target_modules = "), "{error}");
        }
        // catastrophic for a backtracking engine: an error, not a hang
        let regex = full_match("f", r"(?=(a+)+$)(a+)+b\1").expect("a pattern");
        assert!(!regex.is_match(&"a".repeat(200)).unwrap_or(false));
    }
}
