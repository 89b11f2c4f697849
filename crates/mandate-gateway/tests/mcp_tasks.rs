//! Calls of an MCP server's tools that go on as tasks: whose they are, and what is decided about them.

mod common;

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use mandate_audit::{Decision, What};
    use mandate_model::stop::Subject;
    use serde_json::{Value, json};

    use crate::common::World;
    use crate::common::agent::{send, text};
    use crate::common::desk::{Agent, answers};

    const TASK: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"task","taskId":"t~1","status":"working","ttlMs":600000}}"#;

    /// A message of 2026-07-28, with what its head repeats.
    async fn says(agent: &Agent<'_>, method: &str, mut params: Value) -> (StatusCode, String) {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":
                {"extensions": {"io.modelcontextprotocol/tasks": {}}},
        });
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let mut request = agent.request(&message);
        let named = params.get("taskId").or(params.get("name"));
        let named = named.and_then(Value::as_str);
        for (name, value) in [
            ("mcp-protocol-version", Some("2026-07-28")),
            ("mcp-method", Some(method)),
            ("mcp-name", named),
        ] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        let answer = send(agent.world.address, request).await;
        (answer.status(), text(answer).await)
    }

    /// The id of a task that `agent` has.
    async fn has_a_task(agent: &Agent<'_>) -> String {
        answers(agent.world, "application/json", TASK);
        let call = json!({"name": "look_up", "arguments": {"customer_id": "acme"}});
        let (status, begun) = says(agent, "tools/call", call).await;
        assert_eq!(status, StatusCode::OK, "{begun}");
        let begun: Value = serde_json::from_str(&begun).unwrap();
        begun["result"]["taskId"].as_str().unwrap().to_owned()
    }

    fn is_no_task((status, said): (StatusCode, String)) {
        assert_eq!(status, StatusCode::BAD_REQUEST, "{said}");
        assert!(
            said.contains("-32602") && said.contains("mcp.params"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_call_that_goes_on_is_asked_after_by_whoever_made_it() {
        let world = World::new().await;
        let agent = Agent::new(&world);
        let task = has_a_task(&agent).await;
        assert!(task.starts_with("t~1~"), "{task}");
        let done = r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","taskId":"t~1","status":"completed","result":{"content":[]}}}"#;
        answers(&world, "application/json", done);
        // Another token of the same task, as after a renewal.
        let again = Agent::new(&world);
        let (status, said) = says(&again, "tasks/get", json!({"taskId": task})).await;
        assert_eq!((status, said), (StatusCode::OK, done.replace("t~1", &task)));
        let sent = world.upstream.arrived();
        let sent = sent.last().unwrap();
        assert_eq!(sent.headers["mcp-name"], "t~1");
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        assert_eq!(body["params"]["taskId"], "t~1");
        let words = "task of tool look_up";
        let decided = world
            .record(|r| matches!(&r.what, What::AccessDecided { request } if request == words))
            .await;
        assert_eq!(decided.decision, Decision::Allowed);
        assert_eq!(decided.action.unwrap().as_str(), "look");
        assert_eq!(decided.attributes.len(), 1);
    }

    /// FAILURES 37.
    #[tokio::test]
    async fn a_task_is_of_the_agent_and_the_task_that_called() {
        let world = World::new().await;
        let agent = Agent::new(&world);
        let task = has_a_task(&agent).await;
        let before = world.upstream.arrived().len();
        let of_another_task = Agent::in_another_task(&world);
        let forged = task.replace("t~1~", "t~2~");
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            for (agent, id) in [
                (&of_another_task, &*task),
                (&agent, "t~1"),
                (&agent, &*forged),
            ] {
                let params = json!({"taskId": id, "inputResponses": {}});
                is_no_task(says(agent, method, params).await);
            }
        }
        let listened = json!({"notifications": {"taskIds": [forged]}});
        is_no_task(says(&agent, "subscriptions/listen", listened).await);
        assert_eq!(world.upstream.arrived().len(), before);
    }

    /// What the call was is decided anew: whoever may not make it now gets nothing of it.
    #[tokio::test]
    async fn a_task_of_what_may_not_be_called_any_more_is_denied() {
        let world = World::new().await;
        let agent = Agent::new(&world);
        let task = has_a_task(&agent).await;
        let before = world.upstream.arrived().len();
        let narrower = Agent::of(&world, "retriever", &["report"]);
        let (status, said) = says(&narrower, "tasks/get", json!({"taskId": task})).await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            said.contains("\"code\":403") && said.contains("mandate.no_entry"),
            "{said}"
        );
        let version = world.authority.suspend(Subject::Agent {
            id: crate::common::tokens::agent("retriever"),
        });
        world
            .until(|w| w.authority.acknowledged(version).is_some())
            .await;
        let (_, said) = says(&agent, "tasks/get", json!({"taskId": task})).await;
        assert!(said.contains("\"stopped\""), "{said}");
        assert_eq!(world.upstream.arrived().len(), before);
    }

    /// A write's token is good for one call, and for asking what became of it.
    #[tokio::test]
    async fn a_spent_token_asks_after_the_call_that_it_was_spent_on() {
        let world = World::new().await;
        world.pass_start().await;
        answers(&world, "application/json", TASK);
        let agent = Agent::of(&world, "executor", &["refund"]);
        let call = || json!({"name": "refund", "arguments": {"customer_id": "acme"}});
        let (_, begun) = says(&agent, "tools/call", call()).await;
        assert!(begun.contains("taskId"), "{begun}");
        let begun: Value = serde_json::from_str(&begun).unwrap();
        let task = begun["result"]["taskId"].as_str().unwrap();
        let (status, _) = says(&agent, "tools/call", call()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "it is spent");
        let (status, said) = says(&agent, "tasks/get", json!({"taskId": task})).await;
        assert_eq!(status, StatusCode::OK, "{said}");
        assert!(said.contains(task), "{said}");
        // What is given to the task is one more use.
        let update = json!({"taskId": task, "inputResponses": {}});
        let (status, said) = says(&agent, "tasks/update", update).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{said}");
    }

    #[tokio::test]
    async fn a_stream_tells_of_the_tasks_that_were_asked_for_and_of_no_other() {
        let world = World::new().await;
        let agent = Agent::new(&world);
        let task = has_a_task(&agent).await;
        let told = |id: &str| {
            let said = json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": {"taskId": id}});
            format!("data: {said}\n\n")
        };
        let params = || json!({"notifications": {"taskIds": [task], "toolsListChanged": true}});
        answers(&world, "text/event-stream", &told("t~1"));
        let (status, said) = says(&agent, "subscriptions/listen", params()).await;
        assert_eq!((status, said), (StatusCode::OK, told(&task)));
        let sent = world.upstream.arrived();
        let body: Value = serde_json::from_slice(&sent.last().unwrap().body).unwrap();
        assert_eq!(body["params"]["notifications"]["taskIds"], json!(["t~1"]));
        answers(&world, "application/json", &TASK.replace("t~1", "t~2"));
        let (status, said) = says(&agent, "tasks/get", json!({"taskId": task})).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{said}");
        assert!(!said.contains("t~2"), "{said}");
    }

    /// 2025-11-25: the client asks for it, and the answer has the task within.
    #[tokio::test]
    async fn a_call_as_a_task_in_a_session_is_asked_after_too() {
        let world = World::new().await;
        let begun =
            r#"{"jsonrpc":"2.0","id":7,"result":{"task":{"taskId":"t-1","status":"working"}}}"#;
        answers(&world, "application/json", begun);
        let agent = Agent::new(&world);
        let call =
            json!({"name": "look_up", "arguments": {"customer_id": "acme"}, "task": {"ttl": 1}});
        let (_, begun) = agent.asks("tools/call", call).await;
        let task = begun["result"]["task"]["taskId"].as_str().unwrap();
        assert!(task.starts_with("t-1~"), "{task}");
        let result = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t-1"}}}}"#;
        answers(&world, "application/json", result);
        let (status, answer) = agent.asks("tasks/result", json!({"taskId": task})).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let related = &answer["result"]["_meta"]["io.modelcontextprotocol/related-task"];
        assert_eq!(related["taskId"], task);
        let (_, listed) = agent.asks("tasks/list", json!({})).await;
        assert_eq!(
            listed["error"]["code"], -32601,
            "a server would list those of other agents"
        );
    }
}
