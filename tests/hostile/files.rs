//! What is written and what is run on it.

/// A file, and the command that reads it.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    pub(crate) name: &'static str,
    pub(crate) contents: Vec<u8>,
    /// The file is this long: zeros follow.
    pub(crate) length: Option<u64>,
    /// `FILE` stands for the file.
    pub(crate) command: &'static [&'static str],
    /// Whether it is an error.
    pub(crate) is_refused: bool,
}

/// `times` of `text`.
pub(crate) fn many(text: &str, times: usize) -> String {
    text.repeat(times)
}

/// Brackets that deep.
pub(crate) fn nested(depth: usize) -> String {
    many("[", depth) + &many("]", depth)
}
