//! The bundle under test.

use std::net::SocketAddr;

/// The example of the design, with the upstream at `address`; `server` goes into its declaration.
pub fn bundle(address: SocketAddr, server: &str) -> String {
    format!(
        r##"
apiVersion: mandate.dev/v1alpha1
kind: AgentType
metadata: {{name: orchestrator}}
spec:
  attestation: [{{process: {{user: orchestrator}}}}]
  maySpawn: [retriever, executor]
  breakGlass: {{contact: "#support", impact: Cases queue up.}}
---
apiVersion: mandate.dev/v1alpha1
kind: AgentType
metadata: {{name: retriever}}
spec:
  attestation: [{{process: {{user: retriever}}}}]
  breakGlass: {{contact: "#search", impact: Answers degrade.}}
---
apiVersion: mandate.dev/v1alpha1
kind: AgentType
metadata: {{name: executor}}
spec:
  attestation: [{{process: {{user: executor}}}}]
  breakGlass: {{contact: "#search", impact: No refunds.}}
---
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {{name: records}}
spec:
  resource: https://records.acme.example
  upstream: http://{address}
  credential: {{header: Authorization, value: "Bearer ${{secret:records-key}}"}}
  {server}
  actions:
    read: {{effect: read, match: "GET /customers/{{customer}}/**"}}
    refund:
      effect: write
      match: "POST /customers/{{customer}}/refunds"
      attributes: {{amount_cents: {{body: /amount_cents, type: integer}}}}
    list:
      effect: read
      match: "GET /lists/{{list}}"
      attributes: {{customer: {{query: customer}}}}
    show:
      effect: read
      match: "GET /shows/{{show}}"
      attributes: {{customer: {{header: x-customer}}}}
    upload: {{effect: write, match: "PUT /customers/{{customer}}/files"}}
---
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {{name: vault}}
spec:
  resource: https://vault.acme.example
  upstream: http://{address}
  credential: none
  actions:
    read: {{effect: read, match: "GET /customers/{{customer}}/**"}}
---
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {{name: desk}}
spec:
  resource: https://desk.acme.example/mcp
  upstream: http://{address}
  credential: {{value: "Bearer ${{secret:records-key}}", header: Authorization}}
  mcp: {{}}
  actions:
    look: {{effect: read, match: [tool look_up, prompt summary], attributes: {{customer: /customer_id}}}}
    refund: {{effect: write, match: tool refund, attributes: {{customer: /customer_id}}}}
    report: {{effect: read, match: "resource file:///reports/{{customer}}/**"}}
---
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {{name: gpt}}
spec:
  resource: https://gpt.acme.example
  upstream: http://{address}
  credential: {{value: "Bearer ${{secret:records-key}}", header: Authorization}}
  llm: {{api: openai}}
  actions:
    chat:
      effect: read
      match: ["POST /v1/chat/completions", "POST /v1/responses"]
      attributes: {{model: {{body: /model}}}}
    models: {{effect: read, match: ["GET /v1/responses/{{id}}", "POST /v1/models"]}}
---
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {{name: claude}}
spec:
  resource: https://claude.acme.example
  upstream: http://{address}
  credential: {{value: "${{secret:records-key}}", header: x-api-key}}
  llm: {{api: anthropic}}
  actions:
    chat: {{effect: read, match: "POST /v1/messages", attributes: {{model: {{body: /model}}}}}}
---
apiVersion: mandate.dev/v1alpha1
kind: ServerWorkload
metadata: {{name: helper}}
spec:
  resource: https://helper.acme.example
  upstream: http://{address}
  credential: {{value: "Bearer ${{secret:records-key}}", header: Authorization}}
  a2a: {{agent: executor, path: /a2a}}
  actions:
    ask:
      effect: read
      match: [rpc SendMessage, rpc SendStreamingMessage, rpc message/send]
      attributes: {{customer: /message/metadata/customer}}
    card: {{effect: read, match: "GET /.well-known/agent-card.json"}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: helper-asking}}
spec: {{agents: [retriever], server: helper, actions: [ask, card]}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: gpt-chatting}}
spec: {{agents: [retriever], server: gpt, actions: [chat, models]}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: claude-chatting}}
spec: {{agents: [retriever], server: claude, actions: [chat], taskMustFix: [model]}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: desk-looking}}
spec: {{agents: [retriever], server: desk, actions: [look, report], taskMustFix: [customer]}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: desk-refunding}}
spec: {{agents: [executor], server: desk, actions: [refund], taskMustFix: [customer]}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: vault-reading}}
spec: {{agents: [retriever], server: vault, actions: [read], taskMustFix: [customer]}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: reading}}
spec: {{agents: [retriever], server: records, actions: [read, list, show], taskMustFix: [customer]}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: refunding}}
spec: {{agents: [executor], server: records, actions: [refund], taskMustFix: [customer], limits: {{amount_cents: {{max: 10000}}}}}}
---
apiVersion: mandate.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: uploading}}
spec: {{agents: [executor], server: records, actions: [upload], taskMustFix: [customer]}}
---
apiVersion: mandate.dev/v1alpha1
kind: TaskPolicy
metadata: {{name: nightly}}
spec:
  opener: orchestrator
  trigger: {{schedule: {{name: nightly, itemId: required, unverified: allow}}}}
  ceiling:
    - {{server: records, actions: [read, list, show, refund, upload]}}
    - {{server: vault, actions: [read]}}
    - {{server: desk, actions: [look, refund, report]}}
    - {{server: gpt, actions: [chat, models]}}
    - {{server: claude, actions: [chat]}}
    - {{server: helper, actions: [ask, card]}}
  maxDuration: 2h
"##
    )
}
