//! As much of URLs as redirects need.

/// Scheme, host and port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: &'static str,
    authority: String,
}

impl Origin {
    pub(super) fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// The host and, where it is written, the port.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }
}

/// The origin of an absolute http or https URL; `None` for any other, and where it carries a password.
pub(super) fn origin(url: &str) -> Option<Origin> {
    let schemes = [("https", "https://"), ("http", "http://")];
    let (scheme, rest) = schemes.into_iter().find_map(|(scheme, prefix)| {
        let (head, rest) = url.split_at_checked(prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then_some((scheme, rest))
    })?;
    let authority = rest.split(['/', '?', '#', '\\']).next().filter(|authority| !authority.is_empty())?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    authority.bytes().all(allowed).then(|| Origin { scheme, authority: authority.to_ascii_lowercase() })
}

/// Where `location` leads from `base`, both as in a redirect.
pub(super) fn joined(base: &str, location: &str) -> Option<String> {
    let from = origin(base)?;
    if location.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return None;
    }
    if origin(location).is_some() {
        return Some(location.to_owned());
    }
    if let Some(rest) = location.strip_prefix("//") {
        let url = format!("{}://{rest}", from.scheme);
        return origin(&url).map(|_| url);
    }
    // What is left is a path; another scheme has a colon in its first part.
    let first = location.split(['/', '?', '#']).next()?;
    if location.is_empty() || first.contains(':') {
        return None;
    }
    if location.starts_with('/') {
        return Some(format!("{}://{}{location}", from.scheme, from.authority));
    }
    let path = base.split(['?', '#']).next()?;
    let folder = path.rfind('/').filter(|slash| *slash > from.scheme.len() + 2)?;
    Some(format!("{}/{location}", path.get(..folder)?))
}

/// Percent-encodes what may not stand in one part of a path, `/` too.
pub(super) fn quoted(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// As [`quoted`], part by part.
pub(super) fn quoted_path(path: &str) -> String {
    path.split('/').map(quoted).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_host_and_port_are_one_origin() {
        let hub = origin("https://huggingface.co/a/b");
        assert_eq!(origin("HTTPS://HuggingFace.co?x"), hub);
        for other in ["http://huggingface.co/", "https://huggingface.co:444/", "https://huggingface.co.evil.org/"] {
            assert!(origin(other).is_some() && origin(other) != hub, "{other}");
        }
        for none in ["https://huggingface.co@evil.org/", "ftp://x/", "https://", "/a", "", "https:/x", "é"] {
            assert_eq!(origin(none), None, "{none}");
        }
        assert_eq!(origin("https://evil.org\\@huggingface.co/").map(|it| it.authority), Some("evil.org".to_owned()));
    }

    // The examples of RFC 3986, 5.4.1, that a server may send.
    #[test]
    fn redirects_lead_where_the_standard_says() {
        let base = "http://a/b/c/d;p?q";
        for (location, to) in [
            ("g", "http://a/b/c/g"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("g?y", "http://a/b/c/g?y"),
            ("https://x/y", "https://x/y"),
        ] {
            assert_eq!(joined(base, location).as_deref(), Some(to));
        }
        for location in ["", "file:///etc/passwd", "javascript:x", "//u@h/", "/a b", "/\n"] {
            assert_eq!(joined(base, location), None, "{location:?}");
        }
        assert_eq!(quoted("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(quoted_path("a b/c"), "a%20b/c");
    }
}
