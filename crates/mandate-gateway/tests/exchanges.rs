//! A gateway that exchanges for agents (A9), beside an authority that does as it is told.

mod common;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, Response, StatusCode};
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use mandate_audit::What;
    use mandate_model::{GatewayId, StopVersion, Thumbprint, Timestamp};
    use mandate_ports::Clock;
    use mandate_token::{AccessToken, Confirmation, JwtSvid, Via};

    use crate::common::agent::{refusal, send, text};
    use crate::common::authority::Exchanging;
    use crate::common::tokens::{svid, task_token};
    use crate::common::{Options, World};

    const TARGET: &str = "/records/customers/acme/x";

    /// An agent that brings an SVID and a task token.
    struct Brings {
        svid: String,
        task: String,
    }

    impl Brings {
        fn of(world: &World) -> Self {
            Self::with(world, |svid| svid)
        }

        fn with(world: &World, change: impl FnOnce(JwtSvid) -> JwtSvid) -> Self {
            let now = world.clocks.now();
            let svid = change(svid("retriever", None, now));
            Self {
                svid: world.authority.svid_keys.sign_at(svid, now),
                task: world
                    .authority
                    .keys
                    .sign_at(task_token("retriever", now), now),
            }
        }

        fn request(&self) -> Request<Full<Bytes>> {
            Request::get(TARGET)
                .header("host", "gateway")
                .header("authorization", format!("Bearer {}", self.svid))
                .header("txn-token", &self.task)
                .body(Full::default())
                .unwrap()
        }

        async fn get(&self, world: &World) -> Response<Incoming> {
            send(world.address, self.request()).await
        }

        async fn served(&self, world: &World) {
            let answer = self.get(world).await;
            let status = answer.status();
            let said = text(answer).await;
            assert_eq!(status, StatusCode::OK, "{said}");
        }
    }

    async fn world() -> World {
        let world = World::with(Options {
            server: "gateways: {gateway-1: \"http://gateway.acme.example/records\"}".to_owned(),
            ..Options::default()
        });
        world.await
    }

    fn asked(world: &World) -> usize {
        world.authority.state().exchanges.len()
    }

    fn answers(world: &World, exchanging: Exchanging) {
        world.authority.state().exchanging = exchanging;
    }

    async fn refused(answer: Response<Incoming>) -> (u16, String) {
        let (status, rule) = refusal(answer).await;
        (status.as_u16(), rule)
    }

    fn rule(status: u16, rule: &str) -> (u16, String) {
        (status, rule.to_owned())
    }

    #[tokio::test]
    async fn what_an_agent_brings_goes_to_the_authority_as_it_is_and_once() {
        let world = world().await;
        let agent = Brings::of(&world);
        let many = (0..8).map(|_| agent.served(&world));
        futures_util::future::join_all(many).await;
        agent.served(&world).await;
        let exchanges = world.authority.state().exchanges.clone();
        assert_eq!(exchanges.len(), 1, "of several at once, one asks");
        let said = |name: &str| exchanges[0].get(name).map(String::as_str);
        assert_eq!(said("client_id"), Some("gateway-1"));
        assert_eq!(said("actor_token"), Some(agent.svid.as_str()));
        assert_eq!(said("subject_token"), Some(agent.task.as_str()));
        assert_eq!(said("resource"), Some("https://records.acme.example"));
        assert_eq!(said("actor_dpop"), None);
        let decided = world
            .record(|r| matches!(r.what, What::AccessDecided { .. }))
            .await;
        assert_eq!(decided.via.unwrap().as_str(), "gateway-1");
        // Another task, or another SVID of the same agent, is another thing.
        Brings::of(&world).served(&world).await;
        assert_eq!(asked(&world), 2);
    }

    #[tokio::test]
    async fn a_counted_access_token_is_used_by_whoever_asked_for_it() {
        let world = world().await;
        world.pass_start().await;
        let once = |claims: AccessToken| AccessToken {
            uses: Some(NonZeroU32::MIN),
            // Later than the gateway's start, as single-use tokens have to be.
            issued_at: claims.issued_at.plus(Duration::from_secs(7)),
            ..claims
        };
        answers(&world, Exchanging::Token(once));
        let agent = Brings::of(&world);
        let many = (0..4).map(|_| agent.served(&world));
        futures_util::future::join_all(many).await;
        assert!(asked(&world) >= 4, "{}", asked(&world));
    }

    #[tokio::test]
    async fn a_token_that_is_about_to_expire_is_not_used_again() {
        let world = world().await;
        let short = |claims: AccessToken| AccessToken {
            expires_at: claims.issued_at.plus(Duration::from_secs(5)),
            ..claims
        };
        answers(&world, Exchanging::Token(short));
        let agent = Brings::of(&world);
        agent.served(&world).await;
        agent.served(&world).await;
        assert_eq!(asked(&world), 2);
    }

    #[tokio::test]
    async fn a_token_for_something_else_than_was_asked_is_not_used() {
        let changes: [fn(AccessToken) -> AccessToken; 5] = [
            |claims| AccessToken {
                confirmation: Some(Confirmation::Jkt(Thumbprint::new([9; 32]))),
                ..claims
            },
            |claims| AccessToken {
                via: Some(Via {
                    gateway: GatewayId::parse("another").unwrap(),
                    jkt: None,
                }),
                ..claims
            },
            |claims| AccessToken {
                via: None,
                ..claims
            },
            |claims| AccessToken {
                acting: crate::common::tokens::claims("executor", "read", claims.issued_at).acting,
                ..claims
            },
            crate::common::tokens::for_vault,
        ];
        let world = world().await;
        let agent = Brings::of(&world);
        for (n, change) in changes.into_iter().enumerate() {
            answers(&world, Exchanging::Token(change));
            let answer = refused(agent.get(&world).await).await;
            assert_eq!(answer, rule(503, "exchange.no_answer"), "{n}");
        }
        assert!(world.upstream.arrived().is_empty());
        answers(&world, Exchanging::Token(|claims| claims));
        agent.served(&world).await;
    }

    #[tokio::test]
    async fn a_refusal_of_the_authority_reaches_the_agent_in_its_words_and_is_not_kept() {
        let world = world().await;
        let agent = Brings::of(&world);
        for (status, error, expected) in [
            (403, "access_denied", rule(403, "exchange.denied")),
            (400, "invalid_target", rule(403, "exchange.denied")),
            (400, "invalid_request", rule(401, "exchange.token")),
            (400, "invalid_dpop_proof", rule(401, "exchange.proof")),
            (503, "temporarily_unavailable", rule(503, "exchange.later")),
        ] {
            answers(&world, Exchanging::Refusal(status, error));
            let answer = agent.get(&world).await;
            let retries = answer.headers().contains_key("retry-after");
            assert_eq!(retries, expected.0 == 503);
            assert_eq!(refused(answer).await, expected, "{error}");
        }
        answers(&world, Exchanging::Refusal(400, "invalid_request"));
        let said = text(agent.get(&world).await).await;
        assert!(said.contains("in words"), "{said}");
        answers(&world, Exchanging::Token(|claims| claims));
        agent.served(&world).await;
    }

    #[tokio::test]
    async fn an_authority_that_does_not_answer_is_given_up() {
        let world = world().await;
        answers(&world, Exchanging::Silence);
        let agent = Brings::of(&world);
        // Who waits for another's answer is not kept waiting for each of them.
        let many = (0..8).map(|_| async { refused(agent.get(&world).await).await });
        let all = futures_util::future::join_all(many);
        let all = tokio::time::timeout(Duration::from_secs(15), all).await;
        let no_answer = rule(503, "exchange.no_answer");
        assert_eq!(all.unwrap(), vec![no_answer; 8]);
        assert!(world.upstream.arrived().is_empty());
        let failed = world.authority.state().exchanges.len();
        answers(&world, Exchanging::Token(|claims| claims));
        agent.served(&world).await;
        assert_eq!(asked(&world), failed + 1);
    }

    #[tokio::test]
    async fn what_was_got_for_a_revoked_svid_or_task_is_not_used_again() {
        let world = world().await;
        for which in BOTH {
            let agent = Brings::of(&world);
            agent.served(&world).await;
            let version = revoke(&world, which(&agent));
            let applied = |w: &World| w.gateway.status().versions.unwrap().stops == version;
            world.until(applied).await;
            assert_eq!(refused(agent.get(&world).await).await, rule(403, "stopped"));
        }
        let denied = world.record(|r| r.rule.as_deref() == Some("stopped")).await;
        assert_eq!(denied.via.unwrap().as_str(), "gateway-1", "with its cause");
    }

    #[tokio::test]
    async fn a_refusal_is_recorded_by_the_name_of_the_agent_and_its_task() {
        let world = world().await;
        let agent = Brings::of(&world);
        answers(&world, Exchanging::Refusal(403, "access_denied"));
        agent.get(&world).await;
        let denied = world
            .record(|r| r.rule.as_deref() == Some("exchange.denied"))
            .await;
        assert_eq!(denied.decision, mandate_audit::Decision::Denied);
        let agent_type = denied.actors[0].sub.to_string();
        assert!(agent_type.ends_with("/retriever"), "{agent_type}");
        assert!(denied.task.is_some() && denied.trigger.is_some() && denied.principal.is_some());
        assert_eq!(denied.server.unwrap().as_str(), "records");
        assert_eq!(denied.via.unwrap().as_str(), "gateway-1");
        let What::AccessDecided { request } = denied.what else {
            panic!("{:?}", denied.what);
        };
        assert_eq!(request, "GET /customers/{customer}/**");
    }

    #[tokio::test]
    async fn a_server_workload_of_no_exchange_here_is_refused_and_recorded() {
        let world = World::new().await;
        let answer = refused(Brings::of(&world).get(&world).await).await;
        assert_eq!(answer, rule(403, "exchange.unassigned"));
        let denied = world
            .record(|r| r.rule.as_deref() == Some("exchange.unassigned"))
            .await;
        assert_eq!(denied.task.unwrap().leaf(), crate::common::tokens::task(2));
    }

    #[tokio::test]
    async fn for_a_request_that_is_no_action_no_access_token_is_got() {
        let world = world().await;
        let agent = Brings::of(&world);
        let mut request = agent.request();
        *request.uri_mut() = "/records/nothing/like/it".parse().unwrap();
        let answer = refused(send(world.address, request).await).await;
        assert_eq!(answer.0, 403, "{answer:?}");
        assert_eq!(asked(&world), 0);
        let denied = world
            .record(|r| r.decision == mandate_audit::Decision::Denied)
            .await;
        assert_eq!(denied.rule.as_deref(), Some(answer.1.as_str()));
        let What::AccessDecided { request } = denied.what else {
            panic!("{:?}", denied.what);
        };
        assert_eq!(request, "GET /nothing/like/it");
    }

    #[tokio::test]
    async fn for_a_request_that_its_head_or_body_has_refused_no_access_token_is_got() {
        let world = world().await;
        let agent = Brings::of(&world);
        let refund = "/records/customers/acme/refunds";
        let long = "9".repeat(70_000);
        let mut table: Vec<(Request<Full<Bytes>>, u16, &str)> = Vec::new();
        let mut case =
            |method: &str, target: &str, field: (&str, &str), body: &str, status, rule| {
                let mut request = agent.request();
                *request.method_mut() = method.parse().unwrap();
                *request.uri_mut() = target.parse().unwrap();
                let name: http::HeaderName = field.0.parse().unwrap();
                request.headers_mut().insert(name, field.1.parse().unwrap());
                *request.body_mut() = Full::from(body.to_owned());
                table.push((request, status, rule));
            };
        case("GET", TARGET, ("x-a", "b"), "{}", 400, "request.body");
        case(
            "POST",
            refund,
            ("content-type", "text/plain"),
            "{}",
            403,
            "request.attribute",
        );
        case(
            "POST",
            refund,
            ("content-encoding", "gzip"),
            "{}",
            403,
            "request.attribute",
        );
        case(
            "POST",
            refund,
            ("content-type", "application/json"),
            r#"{"amount_cents":"7"}"#,
            403,
            "request.attribute",
        );
        case(
            "POST",
            refund,
            ("content-type", "application/json"),
            &long,
            413,
            "request.body",
        );
        case(
            "GET",
            TARGET,
            ("upgrade", "websocket"),
            "",
            501,
            "http.upgrade",
        );
        case(
            "GET",
            TARGET,
            ("x-copy", &agent.svid),
            "",
            400,
            "request.token",
        );
        case(
            "GET",
            TARGET,
            ("x-copy", &agent.task),
            "",
            400,
            "request.token",
        );
        for (request, status, named) in table {
            let said = format!("{} {:?}", request.method(), request.headers());
            let answer = refused(send(world.address, request).await).await;
            assert_eq!(answer, rule(status, named), "{said}");
            assert_eq!(asked(&world), 0, "{said}");
        }
    }

    /// The access token does not say by which tokens it was got; what is open does.
    #[tokio::test]
    async fn a_revoked_svid_or_task_token_cuts_what_is_open() {
        let world = world().await;
        for which in BOTH {
            let agent = Brings::of(&world);
            let mut request = agent.request();
            *request.uri_mut() = "/records/customers/acme/stream".parse().unwrap();
            let mut body = send(world.address, request).await.into_body();
            world.upstream.feed(b"first");
            assert!(body.frame().await.unwrap().is_ok());
            let version = revoke(&world, which(&agent));
            world
                .until(|w| w.authority.acknowledged(version).is_some())
                .await;
            assert_eq!(world.authority.acknowledged(version).unwrap().cut, 1);
            world.upstream.feed(b"second");
            assert!(body.frame().await.unwrap().is_err());
        }
    }

    /// The two tokens that an agent brings, one after the other.
    const BOTH: [fn(&Brings) -> &str; 2] = [|agent| &agent.svid, |agent| &agent.task];

    /// Revokes a token; says by which version of the stops.
    fn revoke(world: &World, token: &str) -> StopVersion {
        let id = claim(token, "jti").parse().unwrap();
        let until = Timestamp::from_millis(u64::MAX);
        world
            .authority
            .change_stops(|stops| stops.revoked.push((id, until)))
    }

    /// A claim of a token, unverified.
    fn claim(token: &str, name: &str) -> String {
        use base64::Engine;
        let part = token.split('.').nth(1).unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let claims: serde_json::Value =
            serde_json::from_slice(&engine.decode(part).unwrap()).unwrap();
        claims[name].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn an_svid_for_anything_but_gateways_is_none_here() {
        let world = world().await;
        for audience in ["https://id.acme.example", "https://records.acme.example"] {
            let agent = Brings::with(&world, |svid| JwtSvid {
                audience: mandate_token::Audience::parse(audience).unwrap(),
                ..svid
            });
            let answer = refused(agent.get(&world).await).await;
            assert_eq!(answer, rule(401, "token.invalid"), "{audience}");
        }
        let bound = Brings::with(&world, |svid| JwtSvid {
            confirmation: Some(Confirmation::Jkt(Thumbprint::new([1; 32]))),
            ..svid
        });
        assert_eq!(
            refused(bound.get(&world).await).await,
            rule(401, "proof.missing")
        );
        assert_eq!(asked(&world), 0);
    }
}
