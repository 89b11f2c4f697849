//! An MCP server behind the gateway: which messages reach it, and what comes back.

mod common;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, StatusCode};
    use http_body_util::{BodyExt, Full};
    use mandate_audit::{Decision, What};
    use mandate_model::stop::Subject;
    use mandate_ports::Clock;
    use serde_json::{Value, json};

    use crate::common::World;
    use crate::common::agent::{send, text, try_send};
    use crate::common::desk::{Agent, answers, is_denied};
    use crate::common::tokens::{claims, for_desk};

    const CALLED: &str =
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"gold"}]}}"#;

    #[tokio::test]
    async fn a_call_within_the_mandate_reaches_the_server_with_its_credential() {
        let world = World::new().await;
        answers(&world, "application/json", CALLED);
        let (status, answer) = Agent::new(&world)
            .calls("look_up", json!({"customer_id": "acme"}))
            .await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer.to_string(), CALLED);
        let arrived = &world.upstream.arrived()[0];
        assert_eq!(arrived.target, "/mcp");
        assert_eq!(
            arrived.headers["authorization"],
            "Bearer upstream-key-4711/x"
        );
        let sent: Value = serde_json::from_slice(&arrived.body).unwrap();
        assert_eq!(sent["params"]["arguments"]["customer_id"], "acme");
        let decided = world
            .record(|r| matches!(r.what, What::AccessDecided { .. }))
            .await;
        assert_eq!(decided.decision, Decision::Allowed);
        assert_eq!(
            decided.what,
            What::AccessDecided {
                request: "tool look_up".to_owned()
            }
        );
        assert_eq!(decided.action.unwrap().as_str(), "look");
        assert_eq!(decided.attributes.len(), 1);
    }

    #[tokio::test]
    async fn what_the_mandate_or_the_policy_does_not_cover_is_a_result_that_failed() {
        let world = World::new().await;
        answers(&world, "application/json", CALLED);
        let agent = Agent::new(&world);
        let customer = |name: &str| json!({"customer_id": name});
        is_denied(
            agent.calls("look_up", customer("globex")).await,
            "mandate.unfit",
        );
        is_denied(agent.calls("look_up", json!({})).await, "mandate.missing");
        is_denied(
            agent.calls("look_up", json!({"customer_id": 7})).await,
            "request.attribute",
        );
        is_denied(
            agent.calls("refund", customer("acme")).await,
            "policy.default_deny",
        );
        is_denied(
            agent.calls("delete_all", json!({})).await,
            "request.no_action",
        );
        let narrow = Agent::of(&world, "retriever", &["report"]);
        is_denied(
            narrow.calls("look_up", customer("acme")).await,
            "mandate.no_entry",
        );
        assert!(world.upstream.arrived().is_empty());
        let undeclared = world
            .record(|r| r.rule.as_deref() == Some("request.no_action"))
            .await;
        let request = "mcp tools/call delete_all".to_owned();
        assert_eq!(undeclared.what, What::AccessDecided { request });
    }

    /// FAILURES 15: a client that finds such a challenge joins scopes, and asks for more than its task.
    #[tokio::test]
    async fn a_denial_asks_nobody_to_come_back_with_more() {
        let world = World::new().await;
        let agent = Agent::new(&world);
        for (method, params) in [
            (
                "tools/call",
                json!({"name": "refund", "arguments": {"customer_id": "acme"}}),
            ),
            ("resources/read", json!({"uri": "file:///reports/globex/x"})),
        ] {
            let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
            let answer = send(world.address, agent.request(&message)).await;
            assert_eq!(answer.status(), StatusCode::OK, "{method}");
            assert!(
                !answer.headers().contains_key("www-authenticate"),
                "{method}"
            );
            assert!(!text(answer).await.contains("scope"), "{method}");
        }
        assert!(world.upstream.arrived().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_call_is_denied_with_an_error_of_its_own_code() {
        let world = World::new().await;
        let agent = Agent::new(&world);
        let read = agent
            .asks("resources/read", json!({"uri": "file:///reports/globex/x"}))
            .await;
        assert_eq!(
            (read.0, &read.1["error"]["code"]),
            (StatusCode::OK, &json!(403))
        );
        assert_eq!(read.1["error"]["data"], json!({"rule": "mandate.unfit"}));
        let unknown = agent.asks("tools/delete", json!({})).await;
        assert_eq!(unknown.1["error"]["code"], -32601);
        let (status, batch) = agent
            .says(&json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}]))
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            batch.contains("-32600") && !batch.contains("\"id\""),
            "{batch}"
        );
        // FAILURES 37.
        let mut lying = agent.request(&json!({
            "jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": "look_up", "arguments": {"customer_id": "acme"}},
        }));
        lying
            .headers_mut()
            .insert("mcp-name", "refund".parse().unwrap());
        let lying = send(world.address, lying).await;
        assert_eq!(lying.status(), StatusCode::BAD_REQUEST);
        assert!(text(lying).await.contains("-32020"));
        assert!(world.upstream.arrived().is_empty());
    }

    #[tokio::test]
    async fn without_a_token_there_is_a_challenge_and_nothing_of_the_server() {
        let world = World::new().await;
        let mut request =
            Agent::new(&world).request(&json!({"jsonrpc": "2.0", "id": 7, "method": "ping"}));
        request.headers_mut().remove("authorization");
        let answer = send(world.address, request).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let place = "/.well-known/oauth-protected-resource/desk/mcp";
        let pointing = format!("resource_metadata=\"http://{}{place}\"", world.address);
        let challenges: Vec<&str> = answer
            .headers()
            .get_all("www-authenticate")
            .iter()
            .map(|challenge| challenge.to_str().unwrap())
            .collect();
        assert_eq!(challenges[0], format!("Bearer {pointing}"));
        assert!(challenges[1].starts_with("DPoP algs=") && challenges[1].ends_with(&pointing));
        assert!(world.upstream.arrived().is_empty());
    }

    /// RFC 9728.
    #[tokio::test]
    async fn an_mcp_server_says_where_its_tokens_come_from_and_no_other_server_workload_does() {
        let world = World::new().await;
        let get = |path: &str| {
            let request = Request::get(path).header("host", "gateway");
            request.body(Full::<Bytes>::default()).unwrap()
        };
        let place = "/.well-known/oauth-protected-resource";
        let answer = send(world.address, get(&format!("{place}/desk/mcp"))).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let metadata: Value = serde_json::from_str(&text(answer).await).unwrap();
        assert_eq!(metadata["resource"], "https://desk.acme.example/mcp");
        assert_eq!(
            metadata["authorization_servers"],
            json!(["https://id.acme.example"])
        );
        assert_eq!(metadata["dpop_bound_access_tokens_required"], false);
        let stranger = send(world.address, get("/nothing/like/it")).await;
        let (status, said) = (stranger.status(), text(stranger).await);
        for other in [
            "/records",
            "/records/mcp",
            "/desk",
            "/desk/",
            "/desk/mcp/",
            "/desk/mcp?x=1",
            "",
        ] {
            let answer = send(world.address, get(&format!("{place}{other}"))).await;
            assert_eq!(
                (answer.status(), text(answer).await),
                (status, said.clone()),
                "{other}"
            );
        }
    }

    const TOOLS: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"look_up","inputSchema":{"type":"object"}},{"name":"refund","inputSchema":{}},{"name":"delete_all","inputSchema":{}}],"ttlMs":60000,"cacheScope":"public"}}"#;
    const SHOWN: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"look_up","inputSchema":{"type":"object"}}],"ttlMs":60000,"cacheScope":"private"}}"#;

    #[tokio::test]
    async fn a_list_shows_what_may_be_used_in_this_task() {
        let world = World::new().await;
        let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
        let agent = Agent::new(&world);
        answers(&world, "application/json", TOOLS);
        assert_eq!(agent.says(&list).await, (StatusCode::OK, SHOWN.to_owned()));
        let events = format!("id: 1\ndata:\n\n: here\n\nevent: message\nid: 2\ndata: {TOOLS}\n\n");
        answers(&world, "text/event-stream", &events);
        let shown = format!("id: 1\ndata:\n\n: here\n\nevent: message\nid: 2\ndata: {SHOWN}\n\n");
        assert_eq!(agent.says(&list).await, (StatusCode::OK, shown));
        let split = TOOLS.replace("\"tools\":[", "\"tools\":[\r\ndata:");
        answers(
            &world,
            "text/event-stream; charset=utf-8",
            &format!("data: {split}"),
        );
        let (_, said) = agent.says(&list).await;
        assert_eq!(said, format!("data: {SHOWN}\n\n"));
        // Of another task: nothing of it at all.
        let other = Agent::of(&world, "retriever", &["report"]);
        answers(&world, "application/json", TOOLS);
        assert!(!other.says(&list).await.1.contains("look_up"));
        let record = world
            .record(|r| {
                r.what
                    == What::AccessDecided {
                        request: "mcp tools/list".to_owned(),
                    }
            })
            .await;
        assert_eq!((record.decision, record.action), (Decision::Allowed, None));
    }

    /// What is let pass is shown, and recorded as what it would be.
    #[tokio::test]
    async fn a_list_in_observe_mode_shows_what_would_be_let_pass() {
        let world = World::new().await;
        answers(&world, "application/json", TOOLS);
        let until = world
            .clocks
            .now()
            .plus(std::time::Duration::from_secs(3_600));
        let until = format!("{}Z", until.to_string().split('.').next().unwrap());
        let observe = format!("  mcp: {{}}\n  observe: {{until: \"{until}\"}}\n");
        let bundle = crate::common::bundle(world.upstream.address, "");
        world.apply(bundle.replace("  mcp: {}\n", &observe)).await;
        let agent = Agent::of(&world, "executor", &["refund"]);
        let (_, shown) = agent.asks("tools/list", json!({})).await;
        let all: Value = serde_json::from_str(TOOLS).unwrap();
        assert_eq!(shown["result"]["tools"], all["result"]["tools"]);
        answers(&world, "application/json", CALLED);
        let (status, _) = agent.calls("look_up", json!({"customer_id": "acme"})).await;
        assert_eq!(status, StatusCode::OK);
        let would = world.record(|r| r.decision == Decision::WouldDeny).await;
        assert_eq!(would.action.unwrap().as_str(), "look");
    }

    /// It is the gateway's credential that is refused, and nothing that the agent could bring.
    #[tokio::test]
    async fn an_upstream_that_refuses_the_gateway_is_no_challenge_to_the_agent() {
        let world = World::new().await;
        *world.upstream.mcp_status.lock().unwrap() = StatusCode::UNAUTHORIZED;
        answers(&world, "application/json", "{}");
        let agent = Agent::new(&world);
        for (method, params) in [
            (
                "tools/call",
                json!({"name": "look_up", "arguments": {"customer_id": "acme"}}),
            ),
            ("initialize", json!({})),
        ] {
            let (status, said) = agent.asks(method, params).await;
            assert_eq!(status, StatusCode::BAD_GATEWAY, "{said}");
            assert_eq!(said["error"]["data"]["rule"], "upstream.refused");
            assert_eq!(said["id"], 7);
        }
    }

    /// Clients take an answer by its id alone, from whatever stream: a list would be shown to them that nobody has
    /// looked at.
    #[tokio::test]
    async fn an_answer_to_another_request_is_withheld() {
        let world = World::new().await;
        let foreign = r#"{"jsonrpc":"2.0","id":8,"result":{"tools":[{"name":"poisoned"}]}}"#;
        let agent = Agent::new(&world);
        let customer = || json!({"customer_id": "acme"});
        for (method, params) in [
            (
                "tools/call",
                json!({"name": "look_up", "arguments": customer()}),
            ),
            (
                "prompts/get",
                json!({"name": "summary", "arguments": customer()}),
            ),
            ("resources/read", json!({"uri": "file:///reports/acme/x"})),
        ] {
            answers(&world, "application/json", foreign);
            let (status, said) = agent.asks(method, params.clone()).await;
            assert_eq!(status, StatusCode::BAD_GATEWAY, "{method}: {said}");
            let event = format!("data: {foreign}\n\n");
            answers(&world, "text/event-stream", &event);
            let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
            let answer = try_send(world.address, agent.request(&message)).await;
            let whole = match answer {
                Ok(answer) => answer.into_body().collect().await.is_ok(),
                Err(_) => false,
            };
            assert!(!whole, "{method}: it is cut");
        }
    }

    #[tokio::test]
    async fn a_list_that_cannot_be_read_in_one_way_is_withheld() {
        let world = World::new().await;
        let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
        let agent = Agent::new(&world);
        for (media_type, body) in [
            ("application/json", TOOLS.replace("\"ttlMs\"", "\"Tools\"")),
            (
                "application/json",
                TOOLS.replace("\"ttlMs\":60000", "\"tools\":[]"),
            ),
            ("application/json", "{\"result\":".to_owned()),
            ("text/plain", TOOLS.to_owned()),
            ("text/html", "<p>".to_owned()),
        ] {
            answers(&world, media_type, &body);
            let (status, said) = agent.says(&list).await;
            assert_eq!(status, StatusCode::BAD_GATEWAY, "{body}");
            assert!(
                said.contains("upstream.answer") && said.contains("\"id\":7"),
                "{said}"
            );
        }
        // In a stream, where what was replayed may be a list too.
        let mut stream = agent.opens_a_stream().await;
        world.upstream.feed(b"data: {}\n\n");
        assert!(stream.body_mut().frame().await.unwrap().is_ok());
        world
            .upstream
            .feed(b"data: {\"result\":{\"tools\":[],\"tools\":[]}}\n\n");
        assert!(stream.body_mut().frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn whoever_may_use_nothing_of_it_is_not_spoken_to() {
        let world = World::new().await;
        answers(&world, "application/json", TOOLS);
        let executor = Agent::of(&world, "executor", &["look"]);
        for method in ["initialize", "tools/list", "ping"] {
            let (status, said) = executor.asks(method, json!({})).await;
            assert_eq!(
                (status, &said["error"]["code"]),
                (StatusCode::OK, &json!(403)),
                "{method}"
            );
            assert_eq!(said["error"]["data"]["rule"], "policy.default_deny");
        }
        assert!(world.upstream.arrived().is_empty());
    }

    /// FAILURES 16 and 18.
    #[tokio::test]
    async fn a_suspension_stops_lists_and_initialize_and_cuts_the_open_stream() {
        let world = World::new().await;
        answers(&world, "application/json", TOOLS);
        let agent = Agent::new(&world);
        let mut stream = agent.opens_a_stream().await;
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        world
            .upstream
            .feed(b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n");
        assert!(stream.body_mut().frame().await.unwrap().is_ok());
        let version = world.authority.suspend(Subject::Agent {
            id: crate::common::tokens::agent("retriever"),
        });
        world
            .until(|w| w.authority.acknowledged(version).is_some())
            .await;
        world.upstream.feed(b"data: {}\n\n");
        assert!(stream.body_mut().frame().await.unwrap().is_err());
        let before = world.upstream.arrived().len();
        for method in ["initialize", "tools/list"] {
            let (status, said) = agent.asks(method, json!({})).await;
            assert_eq!(
                (status, &said["error"]["data"]["rule"]),
                (StatusCode::OK, &json!("stopped"))
            );
        }
        is_denied(
            agent.calls("look_up", json!({"customer_id": "acme"})).await,
            "stopped",
        );
        assert_eq!(world.upstream.arrived().len(), before);
    }

    /// FAILURES 39: nothing pins a client to one gateway, and nobody else gets its session.
    #[tokio::test]
    async fn a_session_is_of_the_agent_and_task_that_began_it() {
        let world = World::new().await;
        answers(&world, "application/json", CALLED);
        let agent = Agent::new(&world);
        let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
        // Of an answer that begins none the agent gets none.
        let pinged = send(world.address, agent.request(&ping)).await;
        assert!(!pinged.headers().contains_key("mcp-session-id"));
        let begins = json!({"jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {}});
        let begun = send(world.address, agent.request(&begins)).await;
        let session = begun.headers()["mcp-session-id"].clone();
        assert!(session.to_str().unwrap().starts_with("s-1~"));
        let with = |agent: &Agent<'_>, session: &str| {
            let mut request = agent.request(&ping);
            let session = session.parse().unwrap();
            request.headers_mut().insert("mcp-session-id", session);
            request
        };
        // Another token of the same task, as after a renewal.
        let again = Agent::new(&world);
        let known = session.to_str().unwrap();
        let answer = send(world.address, with(&again, known)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let sent = world.upstream.arrived();
        assert_eq!(sent.last().unwrap().headers["mcp-session-id"], "s-1");
        let of_another_task = Agent::in_another_task(&world);
        let of_another_type = Agent::of(&world, "executor", &["refund"]);
        let forged = known.replace("s-1~", "s-2~");
        for (agent, session) in [
            (&of_another_task, known),
            (&of_another_type, known),
            (&agent, "s-1"),
            (&agent, "s-1~"),
            (&agent, &forged),
        ] {
            let answer = send(world.address, with(agent, session)).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{session}");
            let said = text(answer).await;
            assert!(
                said.contains("mcp.session") && said.contains("\"id\":7"),
                "{said}"
            );
        }
        assert_eq!(world.upstream.arrived().len(), sent.len());
    }

    /// A call of 2026-07-28.
    fn round(agent: &Agent<'_>, note: &str, state: Option<&str>) -> Request<Full<Bytes>> {
        let mut params = json!({
            "name": "look_up",
            "arguments": {"customer_id": "acme", "note": note},
            "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"},
        });
        if let Some(state) = state {
            params["requestState"] = json!(state);
            params["inputResponses"] = json!({"ok": {"action": "accept"}});
        }
        let mut request = agent
            .request(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}));
        for (name, value) in [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "look_up"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    }

    /// FAILURES 37.
    #[tokio::test]
    async fn what_a_server_wants_back_is_good_for_the_agent_task_and_request_it_was_given_for() {
        let world = World::new().await;
        let question = r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"input_required","requestState":"s~1"}}"#;
        answers(&world, "application/json", question);
        let agent = Agent::new(&world);
        let asked = text(send(world.address, round(&agent, "a", None)).await).await;
        let asked: Value = serde_json::from_str(&asked).unwrap();
        let state = asked["result"]["requestState"].as_str().unwrap();
        assert!(state.starts_with("s~1~"), "{state}");
        // In an event, too.
        answers(
            &world,
            "text/event-stream",
            &format!("data: {question}\n\n"),
        );
        let event = text(send(world.address, round(&agent, "a", None)).await).await;
        assert!(
            event.contains(&format!("\"requestState\":\"{state}\"")),
            "{event}"
        );
        // Another token of the same task, as after a renewal.
        answers(&world, "application/json", CALLED);
        let again = Agent::new(&world);
        let answer = send(world.address, round(&again, "a", Some(state))).await;
        assert_eq!(text(answer).await, CALLED);
        let sent = world.upstream.arrived();
        let body: Value = serde_json::from_slice(&sent.last().unwrap().body).unwrap();
        assert_eq!(body["params"]["requestState"], "s~1");
        assert_eq!(body["params"]["inputResponses"]["ok"]["action"], "accept");
        let other = Agent::in_another_task(&world);
        let forged = state.replace("s~1", "s~2");
        for (agent, note, state) in [
            (&other, "a", state),
            (&agent, "b", state),
            (&agent, "a", "s~1"),
            (&agent, "a", forged.as_str()),
        ] {
            let answer = send(world.address, round(agent, note, Some(state))).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{note} {state}");
            let said = text(answer).await;
            assert!(
                said.contains("-32602") && said.contains("mcp.params"),
                "{said}"
            );
        }
        assert_eq!(world.upstream.arrived().len(), sent.len());
    }

    /// A client takes any 2xx to what is no request for success.
    #[tokio::test]
    async fn what_is_no_request_is_denied_by_its_status() {
        let world = World::new().await;
        let executor = Agent::of(&world, "executor", &["look"]);
        let note = json!({"jsonrpc": "2.0", "method": "notifications/cancelled"});
        let response = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
        let mut ending = executor.request(&json!(null));
        *ending.method_mut() = http::Method::DELETE;
        *ending.body_mut() = Full::default();
        let mut statuses = vec![executor.opens_a_stream().await.status()];
        for request in [executor.request(&note), executor.request(&response), ending] {
            statuses.push(send(world.address, request).await.status());
        }
        assert!(statuses.iter().all(|status| *status == 403), "{statuses:?}");
        let agent = Agent::new(&world);
        let unknown = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
        assert_eq!(agent.says(&unknown).await.0, StatusCode::BAD_REQUEST);
        assert!(world.upstream.arrived().is_empty());
    }

    #[tokio::test]
    async fn a_sessions_stream_and_end_carry_no_message() {
        let world = World::new().await;
        let agent = Agent::new(&world);
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "refund"}});
        let mut ending = agent.request(&call);
        *ending.method_mut() = http::Method::DELETE;
        assert_eq!(
            send(world.address, ending).await.status(),
            StatusCode::BAD_REQUEST
        );
        let mut stream = agent.request(&json!(null));
        *stream.method_mut() = http::Method::GET;
        *stream.body_mut() = Full::default();
        stream
            .headers_mut()
            .insert("mcp-method", "tools/call".parse().unwrap());
        assert_eq!(
            send(world.address, stream).await.status(),
            StatusCode::BAD_REQUEST
        );
        assert!(world.upstream.arrived().is_empty());
    }

    #[tokio::test]
    async fn what_uses_nothing_spends_nothing_and_is_asked_what_a_task_must_fix() {
        let world = World::new().await;
        answers(&world, "application/json", CALLED);
        let now = world.clocks.now();
        let counted = mandate_token::AccessToken {
            uses: Some(std::num::NonZeroU32::MIN),
            ..for_desk(claims("retriever", "read", now), &["look"])
        };
        let agent = Agent {
            world: &world,
            token: world.authority.keys.sign(counted),
        };
        for method in ["initialize", "tools/list"] {
            let (status, said) = agent.asks(method, json!({})).await;
            assert_eq!(status, StatusCode::OK, "{said}");
            assert!(said.get("error").is_none(), "{said}");
        }
        let unfixed = serde_json::json!([{
            "type": "mandate_access", "server": "desk", "actions": ["look"],
        }]);
        let unfixed = serde_json::from_value(unfixed).unwrap();
        let unfixed = mandate_token::AccessToken {
            entries: mandate_model::mandate::parse_entries(unfixed).unwrap(),
            ..for_desk(claims("retriever", "read", now), &["look"])
        };
        let agent = Agent {
            world: &world,
            token: world.authority.keys.sign(unfixed),
        };
        let (_, said) = agent.asks("tools/list", json!({})).await;
        assert_eq!(
            said["error"]["data"]["rule"], "policy.task_must_fix",
            "{said}"
        );
    }

    #[tokio::test]
    async fn an_event_stays_one_event_and_hides_nothing_from_whoever_looks() {
        let world = World::new().await;
        let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
        let agent = Agent::new(&world);
        let item = "{\n\"name\":\"look_up\"}";
        let lines = format!("{{\"result\":{{\"tools\":[{item},{{\"name\":\"no\"}}]}}}}");
        let events = format!("data: {}\n\n", lines.replace('\n', "\ndata: "));
        answers(&world, "text/event-stream", &events);
        let shown = "data: {\"result\":{\"tools\":[{\ndata: \"name\":\"look_up\"}]}}\n\n";
        assert_eq!(agent.says(&list).await.1, shown);
        for (media_type, body) in [
            ("text/event-stream; charset=utf-16", events.as_str()),
            ("application/json; charset=utf-16", TOOLS),
        ] {
            answers(&world, media_type, body);
            assert_eq!(
                agent.says(&list).await.0,
                StatusCode::BAD_GATEWAY,
                "{media_type}"
            );
        }
        let mut stream = agent.opens_a_stream().await;
        world
            .upstream
            .feed(b"\xef\xbb\xbfdata: {\"result\":{\"tools\":[{\"name\":\"no\"}]}}\n\n");
        assert!(!matches!(stream.body_mut().frame().await, Some(Ok(_))));
    }

    #[tokio::test]
    async fn a_message_without_a_session_reaches_none() {
        let world = World::new().await;
        answers(&world, "application/json", CALLED);
        let params = json!({
            "name": "look_up",
            "arguments": {"customer_id": "acme"},
            "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"},
        });
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        let mut request = Agent::new(&world).request(&message);
        for (name, value) in [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "look_up"),
            ("mcp-session-id", "s-of-another"),
            ("last-event-id", "5"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(send(world.address, request).await.status(), StatusCode::OK);
        let headers = &world.upstream.arrived()[0].headers;
        assert!(!headers.contains_key("mcp-session-id") && !headers.contains_key("last-event-id"));
        assert_eq!(headers["mcp-name"], "look_up");
    }
}
