//! The reference, whose examples load.

use crate::fixtures::load_text;

#[test]
fn the_examples_of_the_reference_are_of_the_right_shape() {
    let reference = include_str!("../../../../../docs/bundle.md");
    let blocks = reference.split("```yaml\n").skip(1);
    let yaml: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .collect();
    // A server workload can be an MCP server, an LLM endpoint or an agent, which have examples of their own.
    assert_eq!(yaml.len(), crate::shape::KINDS.len() + 3);
    let others = "---\nkind: AgentType\nmetadata: {name: NAME}\nspec: {attestation: [{process: {user: NAME}}], maySpawn: [executor, retriever], breakGlass: {contact: a, impact: b}}\n";
    let reading = "---\nkind: AccessPolicy\nmetadata: {name: reading}\nspec: {agents: [retriever], server: records, actions: [read]}\n";
    let text = yaml.join("---\n")
        + reading
        + &others.replace("NAME", "orchestrator")
        + &others
            .replace("NAME", "executor")
            .replace("executor, retriever", "retriever");
    let loaded = load_text(&text).unwrap_or_else(|m| panic!("{m:#?}"));
    assert_eq!(loaded.warnings, []);
}
