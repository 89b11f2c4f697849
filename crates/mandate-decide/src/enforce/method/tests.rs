use super::*;

fn looked(kind: &str, body: &[u8]) -> Result<(), Ambiguous> {
    let mut headers = HeaderMap::new();
    if !kind.is_empty() {
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
    }
    let mut looking = MethodOverrides::of("POST", &headers)?.unwrap();
    let whole = MethodOverrides::of("POST", &headers)?.unwrap();
    let whole = whole.look_at_whole(body);
    for byte in body {
        let looked = looking.look(&[*byte]);
        // What ends with the body alone is found in a whole one alone.
        if looked.is_err() {
            assert_eq!(whole, looked);
            return looked;
        }
    }
    whole
}

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=x";
const JSON: &str = "application/json";
const XML: &str = "application/xml";

fn refuses(kind: &str, bodies: &[&str]) {
    for body in bodies {
        let refused = Err(Ambiguous::BodyMethod);
        assert_eq!(looked(kind, body.as_bytes()), refused, "{kind}: {body:?}");
    }
}

fn passes(kind: &str, bodies: &[&str]) {
    for body in bodies {
        assert_eq!(looked(kind, body.as_bytes()), Ok(()), "{kind}: {body:?}");
    }
}

#[test]
fn a_member_that_replaces_the_method_is_found_in_every_kind_of_form() {
    let forms = [
        "_method=PUT",
        "a=b&%5FMethod=PUT",
        "a;_method[]=PUT",
        "_method",
        "[_method]=PUT",
        "%5B_method%5D=PUT",
        "_method%00=PUT",
        "_method\0s=PUT",
        "%u005Fmethod=PUT",
        "\u{feff}_method=PUT",
        "%EF%BB%BF_method=PUT",
        "X-HTTP-Method-Override=PUT",
        "_method=GET&_method=PUT",
    ];
    refuses(FORM, &forms);
    refuses("", &forms);
    refuses("application/x-www-form-urlencodedx; charset=utf-8", &forms);
    refuses(
        "text/plain; a=\"application/x-www-form-urlencoded\"",
        &forms,
    );
    for skipped in ["+", "%20", "%0a", "[", "%5D", "%E3%80%80", "\0", "%00"] {
        refuses(FORM, &[&format!("a=b&{}_method=PUT", skipped.repeat(999))]);
    }
    passes(
        FORM,
        &[
            "method=PUT&x=_method",
            "a=_method=b&_methods=1",
            "%255Fmethod=PUT",
            "a[_method]=PUT",
        ],
    );
}

fn part(head: &str) -> String {
    format!("--x\r\n{head}\r\n\r\nPUT\r\n--x--\r\n")
}

#[test]
fn whatever_some_reader_takes_for_the_name_of_a_part_is_looked_at() {
    for head in [
        "Content-Disposition: form-data; name=\"_method\"",
        "content-disposition: FORM-DATA; NAME=_Method; x=y",
        "Content-Disposition: form-data;\r\n\tname=_method",
        "Content-Type: text/plain\r\nContent-Disposition: form-data; name=\"_method\"",
        "X-Content-Disposition: form-data; name=\"_method\"",
        "X: Content-Disposition: form-data; name=\"_method\"",
        "Content-ID: _method",
        "Content-ID: <_method>",
        "Content-Disposition: form-data; filename=\"_method\"",
        "Content-Disposition: form-data; name*=utf-8''%5fmethod",
        "Content-Disposition: form-data; name*0=\"_met\"; name*1=\"hod\"",
        "Content-Disposition: form-data; name=\"=?utf-8?B?X21ldGhvZA==?=\"",
        "Content-Disposition: form-data; name=_met\"hod\"",
        "Content-Disposition: form-data; name=\"_m\\ethod\"",
        "Content-Disposition: form-data; name=\"_method\0\"",
        "Content-Disposition: form-data; name=\"[_method]\"",
        "Content-Disposition: form-data; name=\".method\"",
        "Content-Disposition: form-data; name=(a)_method",
        "Content-Disposition: form-data; name='_method'",
    ] {
        refuses(
            MULTIPART,
            &[&part(head), &format!("{}{}", part("A: b"), part(head))],
        );
        refuses(
            "multipart/related; boundary=\"x\"; charset=utf-8",
            &[&part(head)],
        );
    }
    for head in [
        "Content-Disposition: form-data; name=\"a\"; filename=\"_method.txt\"",
        "Content-Disposition: form-data; name=\"_methods\"",
        "Content-Disposition: attachment; filename*=UTF-8''na%C3%AFve.txt",
        "Content-Disposition: form-data; name=\"n\u{e4}me\"\r\nContent-Type: text/plain",
    ] {
        passes(MULTIPART, &[&part(head)]);
    }
}

#[test]
fn a_head_that_readers_take_apart_in_different_ways_is_refused() {
    let disposed = "Content-Disposition: form-data; name=\"a\"";
    for body in [
        // PHP glues what has no colon to the line before.
        part("Content-Disposition: form-data; name=\"_met\r\nhod\""),
        part("Content-Disposition : form-data; name=\"a\""),
        part(": a"),
        part(" folded: before any field"),
        part("A: b\u{1}"),
        // Rack and busboy take what follows a head without fields for it.
        format!("--x\r\n\r\n{disposed}\r\n\r\n"),
        // Line ends of two kinds.
        format!("--x\r\nA: b\n\n{disposed}\r\n\r\n"),
        format!("--x\n{disposed}\r\n\r\n"),
        format!("--x\r\n{disposed}\n\n"),
        format!("--x\n{disposed}\n\na\n--x\r\n{disposed}\r\n\r\n"),
        format!("--x\r{disposed}\r\r"),
        // What is a boundary to who compares beginnings.
        format!("--xy\r\n{disposed}\r\n\r\n"),
        format!("--x \r\n{disposed}\r\n\r\n"),
        part(&format!("A: {}", "b".repeat(5000))),
        part(&"A: b\r\n".repeat(40)),
    ] {
        refuses(MULTIPART, &[&body]);
    }
    passes(
        MULTIPART,
        &[
            &part(disposed),
            // As Python's email package writes it.
            &format!("--x\n{disposed}\n\na\n--x\nA: b;\n c=d\n\n--x--\n"),
            "--x\r\nA: b\r\n\r\nContent-Disposition: form-data; name=\"_method\"\r\n--x--",
            "--x--",
            "",
        ],
    );
}

#[test]
fn a_boundary_is_found_wherever_it_stands() {
    let head = "Content-Disposition: form-data; name=\"_method\"\r\n\r\nPUT";
    refuses(
        MULTIPART,
        &[
            &format!("preamble\r\n--x\r\n{head}"),
            &format!("preamble --x\r\n{head}"),
            &format!("--x--\r\n--x\r\n{head}"),
            &format!("--X\r\n{head}"),
        ],
    );
    let dashed = "multipart/form-data; boundary=--x";
    refuses(
        dashed,
        &[&format!("----x\r\n{head}"), &format!("------x\r\n{head}")],
    );
    passes(dashed, &[&format!("--x\r\n{head}")]);
}

#[test]
fn members_of_the_outermost_object_are_names() {
    let json = [
        r#"{"a":{"b":[1,"}"]},"_method":"PUT"}"#,
        r#" {"\u005Fmethod" : "PUT"}"#,
        r#"{"X-HTTP-Method-Override":"PUT"}"#,
        r#"{"_method\u0000":"PUT"}"#,
        "{}\n{\"_method\":\"PUT\"}",
        "\u{feff}{\"_method\":\"PUT\"}",
    ];
    for kind in [
        JSON,
        "application/ld+json",
        "application/json-seq",
        "application/x-ndjson",
        "text/plain; a=\"/json\"",
        "a/b; c=\"d+json\"",
        // Parse Server reads every body as JSON.
        "text/plain",
        "application/octet-stream",
        "",
    ] {
        refuses(kind, &json);
    }
    refuses(JSON, &["\u{1e}{\"_method\":\"PUT\"}"]);
    let long = format!("{{\"_method\\u0000{}\":1}}", "a".repeat(300));
    refuses(JSON, &[&long]);
    let fine = [
        r#"{"a":"_method","b":{"_method":1},"c":["_method"]}"#,
        r#"{"a":"\"","_methods":1}"#,
        r#"{"a":NaN,"b":-1.5E+7,"c":null}"#,
    ];
    passes(JSON, &fine);
    passes("text/plain", &fine);
    passes(JSON, &[r#"[{"_method":1}]"#]);
}

/// Who skips what stands before a name finds it after however much of that.
#[test]
fn a_name_that_is_too_long_to_be_looked_at_is_refused() {
    let before = |what: &str| what.repeat(700);
    for (kind, body) in [
        (JSON, format!("{{\"{}_method\":1}}", before("\\u3000"))),
        (JSON, format!("{{\"{}\":1}}", "a".repeat(5000))),
        (FORM, format!("a=1&_method{}=1", "%20".repeat(3000))),
        (FORM, format!("a=1&_method+{}=1", "%20".repeat(3000))),
        (FORM, format!("a=1&_method++{}=1", "%20".repeat(3000))),
        (FORM, format!("a=1&_method[{}]=1", "a".repeat(5000))),
        (FORM, format!("{}_method=1", "%20".repeat(5000))),
        (XML, format!("<a><{}:_method>PUT", "n".repeat(300))),
    ] {
        refuses(kind, &[&body]);
    }
    refuses(
        JSON,
        &[&format!("{{\"{}_method\":1}}", "\\u3000".repeat(200))],
    );
    passes(JSON, &[&format!("{{\"{}\":1}}", "a".repeat(4000))]);
    passes(JSON, &[&format!("{{\"a\":\"{}\"}}", "a".repeat(9000))]);
    passes(
        FORM,
        &[&format!("{}=1&a={}", "a".repeat(4000), "b".repeat(9000))],
    );
    let long = "a".repeat(9000);
    passes(FORM, &[&long, &format!("{long}_method=1")]);
    let script = "function(of,many)+words[in]".repeat(20);
    passes(XML, &[&format!("<a><![CDATA[if(a<{script})b()]]></a>")]);
    passes(
        XML,
        &[&format!(
            "<a b=\"{0}\"><![CDATA[{0}]]><!--{0}-->",
            "b".repeat(9000)
        )],
    );
}

#[test]
fn what_only_lenient_readers_take_for_json_is_refused_where_it_says_that_it_is() {
    for body in [
        "{\0\"\0_\0",
        "{/*\"*/\"_method\":\"PUT\"}",
        "{'_method':'PUT'}",
        "{_method:\"PUT\"}",
    ] {
        refuses(JSON, &[body]);
        passes("text/plain", &[body]);
    }
    passes(
        "text/plain",
        &[
            "{name}, see `_method`: \"_method\"",
            "no \"_method\": {\"_method\":1}",
        ],
    );
}

#[test]
fn elements_are_names() {
    refuses(
        XML,
        &[
            "<a><_METHOD>PUT</_METHOD></a>",
            "<a><n:_method x='y'/></a>",
            "<?xml version='1.0' encoding='UTF-7'?><a/>",
            "<?xml version='1.0' encoding='UTF-8' encoding='UTF-7'?><a/>",
            "<!DOCTYPE a [<!ENTITY e '&#60;_METHOD>'>]><a>&e;</a>",
            "<\0a\0>",
            "Lo\u{a7}\u{94}",
        ],
    );
    let far = format!(
        "<?xml version='1.0'{}encoding='UTF-7'?><a/>",
        " ".repeat(300)
    );
    refuses("image/svg+xml", &[&far]);
    passes(
        XML,
        &[
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<a method='_method'>_method</a>",
            "<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN'><svg/>",
            "",
        ],
    );
    passes(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        &["PK\0<_method>"],
    );
}

#[test]
fn what_cannot_be_looked_through_is_refused_and_what_no_framework_looks_at_is_not() {
    for kind in [
        "application/json; charset=utf-16",
        "text/plain; charset=utf-7",
        "multipart/mixed;charset=\"utf-7\"; boundary=x",
        "multipart/form-data",
        "application/x-www-form-urlencoded, a/b",
        "application/x-www-form-urlencoded a",
        "form",
    ] {
        assert_eq!(looked(kind, b""), Err(Ambiguous::BodyType), "{kind}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "text/plain".parse().unwrap());
    assert!(MethodOverrides::of("POST", &headers).unwrap().is_some());
    headers.append(CONTENT_TYPE, "text/plain".parse().unwrap());
    assert_eq!(
        MethodOverrides::of("POST", &headers).unwrap_err(),
        Ambiguous::BodyType
    );
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(
        MethodOverrides::of("POST", &headers).unwrap_err(),
        Ambiguous::BodyMethod
    );
    assert!(MethodOverrides::of("PUT", &headers).unwrap().is_none());
    passes(
        "text/plain",
        &["_method=PUT", "--x\r\nContent-ID: _method\r\n\r\n"],
    );
}
