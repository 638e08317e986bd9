//! What the environment says of the Hub, in the variables of `huggingface_hub`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// `DEFAULT_DOWNLOAD_TIMEOUT` of huggingface_hub's constants.py, seconds.
const DEFAULT_TIMEOUT: u64 = 10;
/// No timeout is longer, seconds.
const LONGEST_TIMEOUT: u64 = 3600;
/// A token file is a line; what is larger is another file.
const LARGEST_TOKEN_FILE: u64 = 16 << 10;

/// Where the Hub is, where its files are cached, and as whom to ask.
///
/// ```
/// let hub = vramplan::hub::Environment::from_variables(|name| match name {
///     "HF_HOME" => Some("/data/hf".to_owned()),
///     "HF_HUB_OFFLINE" => Some("1".to_owned()),
///     _ => None,
/// });
/// assert_eq!(hub.cache, std::path::Path::new("/data/hf/hub"));
/// assert!(hub.offline.is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, or `hub` under `HF_HOME`.
    pub cache: PathBuf,
    /// `HF_ASSETS_CACHE`, or `assets` under `HF_HOME`: what libraries derive from the Hub's files.
    pub assets: PathBuf,
    /// `HF_TOKEN`, or what the token file says.
    pub token: Option<Token>,
    /// Whether the network is not to be touched, and what said so.
    pub offline: Option<&'static str>,
    /// Whether to try symbolic links in the cache: not with `HF_HUB_DISABLE_SYMLINKS`.
    pub symlinks: bool,
    /// How long to wait for the Hub: `HF_HUB_DOWNLOAD_TIMEOUT`.
    pub timeout: Duration,
    /// Certificates to trust instead of the built-in ones: `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE`.
    pub certificates: Option<PathBuf>,
}

/// A secret that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Reads a token as `huggingface_hub` does: without line breaks and space around it. `None`: nothing is left, or
    /// it holds what no header may.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.replace(['\r', '\n'], "");
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }

    /// The value of the header `Authorization`.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Environment {
    /// What this process's environment says.
    pub fn from_process() -> Self {
        Self::from_variables(|name| std::env::var_os(name)?.into_string().ok())
    }

    /// What the variables say that `variable` knows; the token file is read.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| variable(name).map(|value| expanded(&value, &variable));
        let flag = |name: &str| variable(name).is_some_and(|value| is_true(&value));

        let home = path("HF_HOME").unwrap_or_else(|| {
            let cache = path("XDG_CACHE_HOME").unwrap_or_else(|| home_folder(&variable).join(".cache"));
            cache.join("huggingface")
        });
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home.join("hub"));
        let token = || {
            // As `if token := ...` does, the file is read only where the variable says nothing.
            let named = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
            let file = || read_token(&path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token")));
            named.as_deref().and_then(Token::new).or_else(file)
        };
        let timeout = variable("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|value| value.trim().parse().ok());
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| variable(name).is_some());
        Self {
            endpoint: endpoint(variable("HF_ENDPOINT")),
            assets: path("HF_ASSETS_CACHE").unwrap_or_else(|| home.join("assets")),
            token: if flag("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { token() },
            offline: offline.filter(|name| flag(name)),
            symlinks: !flag("HF_HUB_DISABLE_SYMLINKS"),
            timeout: Duration::from_secs(
                timeout.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_TIMEOUT).min(LONGEST_TIMEOUT),
            ),
            certificates: ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"].into_iter().find_map(path),
            cache,
        }
    }
}

fn endpoint(given: Option<String>) -> String {
    let given = given.map(|value| value.trim().trim_end_matches('/').to_owned());
    given.filter(|value| !value.is_empty()).unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned())
}

/// `ENV_VARS_TRUE_VALUES` of huggingface_hub's constants.py.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

fn read_token(path: &Path) -> Option<Token> {
    Token::new(&String::from_utf8(super::cache::read_capped(path, LARGEST_TOKEN_FILE).ok()?).ok()?)
}

fn home_folder(variable: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let home = if cfg!(windows) { variable("USERPROFILE") } else { variable("HOME") };
    home.map(PathBuf::from).or_else(std::env::home_dir).unwrap_or_default()
}

/// `~` at the beginning, `$NAME` and `${NAME}` anywhere, as `os.path.expanduser` and `os.path.expandvars`.
fn expanded(path: &str, variable: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let (mut text, mut rest) = (String::new(), path);
    if let Some(after) = path.strip_prefix('~').filter(|after| after.is_empty() || after.starts_with(['/', '\\'])) {
        text.push_str(&home_folder(variable).to_string_lossy());
        rest = after;
    }
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, then) = braced.unwrap_or_else(|| after.split_at(end));
        match variable(name) {
            Some(value) => {
                text.push_str(&value);
                rest = then;
            }
            // What is not set stands as it is.
            None => {
                text.push('$');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn folders_are_found_as_huggingface_hub_finds_them() {
        let home = ("HOME", "/home/me");
        for (variables, cache) in [
            (vec![home], "/home/me/.cache/huggingface/hub"),
            (vec![home, ("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
            (vec![home, ("XDG_CACHE_HOME", "/xdg"), ("HF_HOME", "~/hf")], "/home/me/hf/hub"),
            (vec![home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "$HOME/x/${HOME}")], "/home/me/x//home/me"),
            (vec![home, ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (vec![home, ("HF_HUB_CACHE", "/$NOPE/x"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/$NOPE/x"),
            (vec![home, ("HF_HOME", "")], "/home/me/.cache/huggingface/hub"),
        ] {
            assert_eq!(read(&variables).cache, Path::new(cache), "{variables:?}");
        }
        assert_eq!(read(&[("HF_HOME", "/hf")]).assets, Path::new("/hf/assets"));
    }

    #[test]
    fn the_token_comes_from_its_variable_or_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().to_str().expect("text");
        std::fs::write(folder.path().join("token"), "hf_file\n").expect("written");
        let bearer = |variables: &[(&str, &str)]| read(variables).token.map(|token| token.bearer());
        assert_eq!(bearer(&[("HF_HOME", home)]).as_deref(), Some("Bearer hf_file"));
        assert_eq!(bearer(&[("HF_HOME", home), ("HF_TOKEN", " hf_me\r\n")]).as_deref(), Some("Bearer hf_me"));
        assert_eq!(bearer(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(bearer(&[("HF_HOME", "/nowhere"), ("HF_TOKEN", "")]), None);
        let other = folder.path().join("other");
        std::fs::write(&other, "hf_other").expect("written");
        let path = other.to_str().expect("text");
        assert_eq!(bearer(&[("HF_HOME", home), ("HF_TOKEN_PATH", path)]).as_deref(), Some("Bearer hf_other"));
        assert_eq!(bearer(&[("HF_HOME", "/nowhere"), ("HF_TOKEN", "a\u{1}b")]), None);
    }

    #[test]
    fn a_token_is_not_printed() {
        let environment = read(&[("HF_TOKEN", "hf_secret"), ("HF_HOME", "/nowhere")]);
        assert!(environment.token.is_some());
        assert!(!format!("{environment:?}").contains("hf_secret"));
    }

    #[test]
    fn switches_are_those_of_huggingface_hub() {
        for (value, offline) in [("1", true), ("true", true), ("YES", true), ("on", true), ("0", false), ("no", false)]
        {
            assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).offline.is_some(), offline, "{value}");
        }
        // `os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE")`
        assert_eq!(read(&[("TRANSFORMERS_OFFLINE", "1")]).offline, Some("TRANSFORMERS_OFFLINE"));
        assert_eq!(read(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).offline, None);
        assert_eq!(read(&[("HF_ENDPOINT", "http://127.0.0.1:8000/")]).endpoint, "http://127.0.0.1:8000");
        assert_eq!(read(&[]).endpoint, "https://huggingface.co");
        assert!(!read(&[("HF_HUB_DISABLE_SYMLINKS", "1")]).symlinks);
        assert_eq!(read(&[("HF_HUB_DOWNLOAD_TIMEOUT", "3")]).timeout, Duration::from_secs(3));
        assert_eq!(read(&[("HF_HUB_DOWNLOAD_TIMEOUT", "0")]).timeout, Duration::from_secs(10));
    }
}
