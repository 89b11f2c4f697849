//! Several mistakes at once.

use super::*;

#[test]
fn every_mistake_of_every_file_is_reported_at_once() {
    let files = [
        ("a.yaml", EXAMPLE.replacen("internal: true", "internl: true", 1).replacen("maxDuration: 10m", "maxDuration: soon", 1)),
        ("b.yaml", "kind: Guardrail\nmetadata: {name: x\n---\nkind: Gardrail\nmetadata: {name: y}\nspec: {}\n".to_owned()),
        ("c.yaml", "kind: Guardrail\nmetadata: {name: z}\nspec: {forbid: 'context.efect == \"x\"'}\n".to_owned()),
    ];
    let files = files.map(|(name, text)| SourceFile {
        name: name.to_owned(),
        text,
    });
    let found = load(&files, &env(), crate::fixtures::NOW).unwrap_err();
    let said: Vec<String> = found
        .iter()
        .map(|m| format!("{}:{} {}", m.file, m.line, m.message))
        .collect();
    for part in [
        "a.yaml:44 `spec` has no field `internl`",
        "`maxDuration` is no time span",
        "b.yaml:2 not readable as YAML",
        "`Gardrail` is no kind of declaration",
        "efect",
    ] {
        assert!(
            said.iter().any(|line| line.contains(part)),
            "{part}: {said:#?}"
        );
    }
    assert_eq!(said.len(), 5, "{said:#?}");
}

#[test]
fn no_mistake_hides_another_or_makes_one_up() {
    let document = "kind: AccessPolicy\nmetadata: {name: lost}\n\
         spec: {agents: [retriever], server: recods, actions: [read], when: 'context.foo == '}\n---\n\
         kind: ServerWorkload\nmetadata: {name: other}\nspec:\n  resource: https://other.example\n  \
         upstream: http://127.0.0.1:9\n  credential: none\n  actions:\n    \
         a: {effect: raed, match: \"GET /x/*\", attributes: {kind: {query: kind, type: enum}}}\n    \
         b: {effect: read, match: \"GET /*/y\"}\n---\n\
         kind: Operator\nmetadata: {name: idle}\nspec: {unixUser: idle}\n---\n\
         kind: Guardrail\nmetadata: {name: astray}\nspec: {agents: [nosuch], forbid: 'context.hosted'}\n";
    let found = load_text(&with(document)).map(|l| l.warnings).unwrap_err();
    let errors: Vec<&str> = found
        .iter()
        .filter(|m| m.severity == Severity::Error)
        .map(|m| m.message.as_str())
        .collect();
    let expected = [
        "no server workload is named `recods`",
        "not a Cedar expression",
        "`raed` is no value of `effect`",
        "an `enum` lists its `values`",
        "both fit some request",
        "`spec` lacks `rights`",
        "no agent type is named `nosuch`",
    ];
    for part in expected {
        let times = errors.iter().filter(|e| e.contains(part)).count();
        assert_eq!(times, 1, "{part}: {errors:#?}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}
