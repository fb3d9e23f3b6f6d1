//! Hydra's interpolations in a configuration file: `${.hidden_size}`, `${arch.hidden_size}`.

use serde_json::Value;

/// Steps from one interpolation to the next: more are a circle.
const LONGEST: usize = 16;

/// The value of `key`, which stands in the object at `path`; what it refers to, if it is an interpolation. A leading dot
/// is that object, each further one the object around it; without a dot the path begins at `root`.
///
/// # Errors
/// The interpolation leads nowhere, in a circle, or is one that only Hydra can resolve; or the file leaves the value open.
pub(super) fn resolve(root: &Value, path: &[&str], key: &str, value: &Value) -> Result<Value, String> {
    let said = value;
    let mut path: Vec<&str> = path.to_vec();
    let mut value = value;
    for _ in 0..LONGEST {
        let Value::String(text) = value else { return Ok(value.clone()) };
        let text = text.trim();
        if text == "???" {
            return Err(format!(
                "{key} is \"???\", which is for the command line to say; give it with --set {key}=VALUE"
            ));
        }
        let Some(inner) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
            if text.contains("${") {
                return Err(unresolved(key, said));
            }
            return Ok(value.clone());
        };
        if inner.contains(['$', ':', '{', '[']) {
            return Err(unresolved(key, said));
        }
        let names = inner.trim_start_matches('.');
        let dots = inner.len() - names.len();
        let kept = match dots {
            0 => 0,
            dots => (path.len() + 1).checked_sub(dots).ok_or_else(|| unresolved(key, said))?,
        };
        path.truncate(kept);
        path.extend(names.split('.'));
        // A file may be that group alone.
        if dots == 0 && path.first() == Some(&"arch") && root.get("arch").is_none() {
            path.remove(0);
        }
        let found = path.iter().try_fold(root, |at, name| at.get(name));
        value = found.ok_or_else(|| format!("{key} is {said}, and the file has no {}", path.join(".")))?;
        path.pop();
    }
    Err(format!("{key} is {said}, which leads in a circle"))
}

fn unresolved(key: &str, said: &Value) -> String {
    format!("{key} is {said}, which only Hydra can resolve; give its value with --set {key}=VALUE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_it_refers_to_is_its_value() {
        let root = json!({
            "size": 8,
            "arch": { "hidden": 4, "a": "${.hidden}", "b": "${arch.a}", "c": "${..size}", "loss": { "d": "${..b}" } },
        });
        let at = |path: &[&str], text: &str| resolve(&root, path, "key", &text.into());
        for (path, text, expected) in [
            (&["arch"][..], "${.hidden}", 4),
            (&["arch"], "${.b}", 4),
            (&["arch"], "${.c}", 8),
            (&["arch", "loss"], "${.d}", 4),
            (&[], "${size}", 8),
            (&[], "${.size}", 8),
        ] {
            assert_eq!(at(path, text), Ok(expected.into()), "{text}");
        }
        assert_eq!(at(&[], "plain"), Ok("plain".into()));
        let group = &root["arch"];
        assert_eq!(resolve(group, &[], "key", &"${arch.hidden}".into()), Ok(4.into()));
    }

    #[test]
    fn what_cannot_be_resolved_is_named() {
        let root = json!({ "a": "${b}", "b": "${a}" });
        for (text, expected) in [
            ("${a}", "circle"),
            ("${none.of.it}", "the file has no none.of.it"),
            ("${...a}", "only Hydra"),
            ("${oc.env:HOME}", "only Hydra"),
            ("a${b}", "only Hydra"),
            ("${${b}}", "only Hydra"),
            ("???", "--set key=VALUE"),
        ] {
            let error = resolve(&root, &[], "key", &text.into()).unwrap_err();
            assert!(error.contains("key is") && error.contains(expected), "{error}");
        }
    }
}
