//! The pattern of a bundle for a resource template (RFC 6570), where there is one.

use super::names::Names;

/// What [`pattern`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pattern: String,
    /// How the two differ.
    pub(super) note: Option<&'static str>,
}

/// `file:///reports/{customer}/{+path}` as `file:///reports/{customer}/**`.
pub(super) fn pattern(template: &str) -> Result<Found, &'static str> {
    let (template, note) = match template
        .split_once("{?")
        .or_else(|| template.split_once("{&"))
    {
        Some((before, _)) => (before, Some("without its query, which is refused")),
        None => (template, None),
    };
    let (mut names, mut parts) = (Names::default(), Vec::new());
    // `{/rest*}` brings the slash before it.
    let template = template.replace("{/", "/{");
    let all: Vec<&str> = template.split('/').collect();
    for (n, part) in all.iter().enumerate() {
        let last = n + 1 == all.len();
        let variable = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'));
        parts.push(match variable {
            Some(name) if name.contains(['{', '}', ',', ':']) => return Err(PART),
            Some(name) if name.starts_with('+') || name.ends_with('*') => {
                if !last {
                    return Err("a variable of several segments stands only at the end");
                }
                "**".to_owned()
            }
            Some(name) if name.starts_with(['#', '.', ';']) => return Err(PART),
            Some(name) => format!("{{{}}}", names.attribute(name)),
            None if part.contains(['{', '}']) => return Err(PART),
            None if part.chars().all(is_plain) => (*part).to_owned(),
            None => return Err("its text is none that a bundle can say"),
        });
    }
    let scheme = parts.first().and_then(|first| first.split_once(':'));
    if !scheme.is_some_and(|(scheme, _)| mandate_policy::decl::is_scheme(scheme)) {
        return Err("it has no scheme in lower case");
    }
    let empty = parts.iter().enumerate().any(|(n, part)| {
        let may_be = (1..=2).contains(&n) || n + 1 == parts.len();
        part == "." || part == ".." || (part.is_empty() && !may_be)
    });
    if empty || template.len() > LONGEST {
        return Err("it has an empty or a dot segment, or is too long");
    }
    Ok(Found {
        pattern: parts.join("/"),
        note,
    })
}

/// Whether a bundle with both patterns does not load: some URI fits both, and neither is the narrower one; or they differ
/// in a slash at the end alone.
pub(super) fn clash(a: &str, b: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('/').collect(), b.split('/').collect());
    let (bare_a, bare_b) = (without_slash(&a), without_slash(&b));
    let twins = a.len() != b.len() && is_within(bare_a, bare_b) && is_within(bare_b, bare_a);
    twins || (meet(&a, &b) && is_within(&a, &b) == is_within(&b, &a))
}

fn without_slash<'a, 's>(parts: &'a [&'s str]) -> &'a [&'s str] {
    match parts {
        [before @ .., ""] => before,
        all => all,
    }
}

fn is_variable(part: &str) -> bool {
    part.starts_with('{')
}

/// Whether some URI fits both.
fn meet(a: &[&str], b: &[&str]) -> bool {
    match (a, b) {
        (["**", ..], _) | (_, ["**", ..]) | ([], []) => true,
        ([], _) | (_, []) => false,
        ([x, a @ ..], [y, b @ ..]) => {
            let one = match (is_variable(x), is_variable(y)) {
                (true, true) => true,
                (true, false) => !y.is_empty(),
                (false, true) => !x.is_empty(),
                (false, false) => x == y,
            };
            one && meet(a, b)
        }
    }
}

/// Whether each URI that fits `inner` fits `outer`.
fn is_within(inner: &[&str], outer: &[&str]) -> bool {
    match (inner, outer) {
        (_, ["**", ..]) | ([], []) => true,
        (["**", ..] | [], _) | (_, []) => false,
        ([x, inner @ ..], [y, outer @ ..]) => {
            let one = if is_variable(y) {
                !x.is_empty()
            } else {
                x == y
            };
            one && is_within(inner, outer)
        }
    }
}

/// As patterns are written: decoded, and nothing that could be spelled in two ways.
fn is_plain(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && !"*%;?#\\".contains(c)
}

const PART: &str = "a variable is a whole segment there";
const LONGEST: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_a_pattern_where_its_variables_are_segments() {
        for (template, expected) in [
            (
                "file:///reports/{customer}/{+path}",
                Ok("file:///reports/{customer}/**"),
            ),
            ("test://template/{id}/data", Ok("test://template/{id}/data")),
            (
                "repo://{owner}/{repoName}{/path*}",
                Ok("repo://{owner}/{repo_name}/**"),
            ),
            ("items://{id}{?page,size}", Ok("items://{id}")),
            ("memo:{id}", Err(PART)),
            ("file:///a-{id}.txt", Err(PART)),
            ("file:///{a,b}", Err(PART)),
            ("FILE:///{a}", Err("it has no scheme in lower case")),
            ("{scheme}://x", Err(PART)),
            (
                "file:///a\n- b",
                Err("its text is none that a bundle can say"),
            ),
            (
                "file:///a/../{b}",
                Err("it has an empty or a dot segment, or is too long"),
            ),
            (
                "file:///{+a}/b",
                Err("a variable of several segments stands only at the end"),
            ),
        ] {
            let found = pattern(template);
            assert_eq!(
                found.as_ref().map(|f| f.pattern.as_str()),
                expected.as_ref().copied(),
                "{template}"
            );
        }
        assert!(pattern("items://{id}{?page}").unwrap().note.is_some());
    }

    #[test]
    fn of_two_patterns_one_is_the_narrower_or_they_clash() {
        for (a, b, expected) in [
            ("file:///{a}", "file:///{b}", true),
            ("file:///{a}/x", "file:///y/{b}", true),
            ("file:///{a}", "file:///{a}/", true),
            ("file:///{a}", "file:///x", false),
            ("file:///{a}", "file:///**", false),
            ("file:///{a}", "memo:///{a}", false),
            ("file:///{a}", "file:///{a}/b", false),
        ] {
            assert_eq!((clash(a, b), clash(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
