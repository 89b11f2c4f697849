//! Tokens that are bound to a key, at the gateway (RFC 9449 §7, §9; A5).

mod common;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use bytes::Bytes;
    use http::{Request, Response, StatusCode, header};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use mandate_audit::{Decision, What};
    use mandate_model::{ActChain, InstanceId, Thumbprint, Timestamp};
    use mandate_ports::Clock;
    use mandate_testkit::proofs::{self, AgentKey, Proving};
    use mandate_token::{AccessToken, ActingChain, Confirmation};

    use crate::common::agent::{self, refusal, send, text};
    use crate::common::tokens::claims;
    use crate::common::{Options, World};

    const TARGET: &str = "/records/customers/acme/x";

    /// An agent with a key and a token that is bound to it.
    struct Holder {
        holder: proofs::Holder,
        token: String,
    }

    fn bound(claims: AccessToken, key: Thumbprint) -> AccessToken {
        AccessToken {
            confirmation: Some(Confirmation::Jkt(key)),
            ..claims
        }
    }

    impl Holder {
        fn of(world: &World) -> Self {
            Self::with(world, claims("retriever", "read", world.clocks.now()))
        }

        fn with(world: &World, claims: AccessToken) -> Self {
            let holder = proofs::Holder::generate();
            let claims = bound(claims, holder.key.thumbprint());
            let token = world.authority.keys.sign(claims);
            Self { holder, token }
        }

        fn proof(&self, world: &World, change: impl FnOnce(&mut Proving<'_>)) -> String {
            let uri = format!("http://{}{TARGET}", world.address);
            let mut proving = Proving {
                method: "GET",
                uri: &uri,
                now: world.clocks.now(),
                token: Some(&self.token),
                task: None,
                nonce: self.holder.nonce.as_deref(),
            };
            change(&mut proving);
            self.holder.key.prove(&proving)
        }

        /// Sends one request and learns the nonce that comes with the answer.
        async fn get(&mut self, world: &World) -> Response<Incoming> {
            let proof = self.proof(world, |_| ());
            let answer = send(world.address, request("DPoP", &self.token, &[&proof])).await;
            if let Some(nonce) = answer.headers().get("dpop-nonce") {
                self.holder.nonce = Some(nonce.to_str().unwrap().to_owned());
            }
            answer
        }

        /// With a nonce that is good.
        async fn ready(world: &World) -> Self {
            Self::of(world).with_nonce(world).await
        }

        async fn with_nonce(mut self, world: &World) -> Self {
            let first = self.get(world).await;
            assert_eq!(refusal(first).await, refused("proof.nonce"));
            self
        }
    }

    fn request(scheme: &str, token: &str, proofs: &[&str]) -> Request<Full<Bytes>> {
        let mut request = Request::get(TARGET)
            .header("host", "gateway")
            .header("authorization", format!("{scheme} {token}"));
        for proof in proofs {
            request = request.header("dpop", *proof);
        }
        request.body(Full::default()).unwrap()
    }

    fn refused(rule: &str) -> (StatusCode, String) {
        (StatusCode::UNAUTHORIZED, rule.to_owned())
    }

    fn challenge(answer: &Response<Incoming>) -> Vec<String> {
        let fields = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
        fields.map(|f| f.to_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_bound_token_passes_with_a_proof_and_a_nonce_and_the_record_names_the_key() {
        let world = World::new().await;
        let mut holder = Holder::of(&world);
        let first = holder.get(&world).await;
        assert_eq!(first.status(), StatusCode::UNAUTHORIZED);
        let [asks] = challenge(&first).try_into().unwrap();
        assert!(asks.starts_with("DPoP error=\"use_dpop_nonce\""), "{asks}");
        assert!(asks.ends_with("algs=\"ES256 EdDSA Ed25519\""), "{asks}");
        let answer = holder.get(&world).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(
            answer.headers().contains_key("dpop-nonce"),
            "for the next proof"
        );
        text(answer).await;
        let allowed = world
            .record(|r| {
                matches!(r.what, What::AccessDecided { .. }) && r.decision == Decision::Allowed
            })
            .await;
        assert_eq!(allowed.jkt, Some(holder.holder.key.thumbprint()));
        // Neither token nor proof goes on to the upstream.
        let seen = world.upstream.arrived();
        assert!(!seen[0].headers.contains_key("dpop"));
    }

    #[tokio::test]
    async fn a_proof_is_good_for_one_request_at_the_gateway() {
        let world = World::new().await;
        let holder = Holder::ready(&world).await;
        let proof = holder.proof(&world, |_| ());
        let again = || send(world.address, request("DPoP", &holder.token, &[&proof]));
        assert_eq!(again().await.status(), StatusCode::OK);
        let answer = again().await;
        let [challenge] = challenge(&answer).try_into().unwrap();
        assert!(challenge.starts_with("DPoP error=\"invalid_dpop_proof\""));
        assert_eq!(refusal(answer).await, refused("proof.used"));
        assert_eq!(world.upstream.arrived().len(), 1);
    }

    #[tokio::test]
    async fn a_proof_for_something_else_is_refused() {
        let world = World::new().await;
        let holder = Holder::ready(&world).await;
        let elsewhere = format!("http://{}/records/customers/globex/x", world.address);
        let other_door = format!("https://records.acme.example{TARGET}");
        let long_ago = Timestamp::from_secs(world.clocks.now().as_secs() - 120);
        type Change<'a> = &'a dyn Fn(&mut Proving<'_>);
        let without_token: Change<'_> = &|p| p.token = None;
        let other_token: Change<'_> = &|p| p.token = Some("another");
        let other_method: Change<'_> = &|p| p.method = "POST";
        let old: Change<'_> = &|p| p.now = long_ago;
        for change in [without_token, other_token, other_method, old] {
            let proof = holder.proof(&world, change);
            let answer = send(world.address, request("DPoP", &holder.token, &[&proof])).await;
            assert_eq!(refusal(answer).await, refused("proof.invalid"));
        }
        for uri in [&elsewhere, &other_door] {
            let beside = (Some(holder.token.as_str()), None);
            let now = world.clocks.now();
            let proof = holder.holder.prove(("GET", uri), beside, now);
            let mut request = request("DPoP", &holder.token, &[&proof]);
            // What a caller says about itself moves nothing.
            let headers = request.headers_mut();
            headers.insert("x-forwarded-host", "records.acme.example".parse().unwrap());
            headers.insert("x-forwarded-proto", "https".parse().unwrap());
            let answer = send(world.address, request).await;
            assert_eq!(refusal(answer).await, refused("proof.invalid"));
        }
        let proofs = [holder.proof(&world, |_| ()), holder.proof(&world, |_| ())];
        let two = request("DPoP", &holder.token, &[&proofs[0], &proofs[1]]);
        let ambiguous = (StatusCode::BAD_REQUEST, "http.ambiguous".to_owned());
        assert_eq!(refusal(send(world.address, two).await).await, ambiguous);
        let foreign: Change<'_> = &|p| p.nonce = Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let proof = holder.proof(&world, foreign);
        let answer = send(world.address, request("DPoP", &holder.token, &[&proof])).await;
        assert_eq!(refusal(answer).await, refused("proof.nonce"));
        assert!(world.upstream.arrived().is_empty());
    }

    #[tokio::test]
    async fn a_stolen_bound_token_opens_nothing() {
        let world = World::new().await;
        let holder = Holder::ready(&world).await;
        let as_bearer = send(world.address, agent::get(TARGET, &holder.token)).await;
        let [challenge] = challenge(&as_bearer).try_into().unwrap();
        assert!(
            challenge.starts_with("DPoP error=\"invalid_token\""),
            "{challenge}"
        );
        assert_eq!(refusal(as_bearer).await, refused("proof.missing"));
        let proof = holder.proof(&world, |_| ());
        let beside = send(world.address, request("Bearer", &holder.token, &[&proof])).await;
        assert_eq!(refusal(beside).await, refused("proof.missing"));
        let without = send(world.address, request("DPoP", &holder.token, &[])).await;
        assert_eq!(refusal(without).await, refused("proof.missing"));
        let thief = Holder {
            holder: proofs::Holder {
                key: AgentKey::generate(),
                nonce: holder.holder.nonce.clone(),
            },
            token: holder.token.clone(),
        };
        let proof = thief.proof(&world, |_| ());
        let answer = send(world.address, request("DPoP", &thief.token, &[&proof])).await;
        assert_eq!(refusal(answer).await, refused("proof.other_key"));
        assert!(world.upstream.arrived().is_empty());
    }

    #[tokio::test]
    async fn a_token_without_a_key_is_none_under_the_scheme_of_those_with_one() {
        let world = World::new().await;
        let mut holder = Holder::ready(&world).await;
        let claims = claims("retriever", "read", world.clocks.now());
        holder.token = world.authority.keys.sign(claims);
        let answer = holder.get(&world).await;
        assert_eq!(refusal(answer).await, refused("proof.unbound"));
        let answer = send(world.address, agent::get(TARGET, &holder.token)).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_server_workload_that_requires_proof_admits_no_bearer() {
        let server = "proof: required".to_owned();
        let world = World::with(Options {
            server,
            ..Options::default()
        })
        .await;
        let plain = claims("retriever", "read", world.clocks.now());
        let plain = world.authority.keys.sign(plain);
        let answer = send(world.address, agent::get(TARGET, &plain)).await;
        let [challenge] = challenge(&answer).try_into().unwrap();
        assert!(
            challenge.starts_with("DPoP error=\"invalid_token\""),
            "{challenge}"
        );
        assert_eq!(refusal(answer).await, refused("proof.required"));
        let denied = world
            .record(|r| r.rule.as_deref() == Some("proof.required"))
            .await;
        assert_eq!(denied.jkt, None);
        let mut holder = Holder::ready(&world).await;
        assert_eq!(holder.get(&world).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn an_agent_type_that_requires_proof_has_no_bearer_admitted() {
        let world = World::new().await;
        let required = crate::common::bundle(world.upstream.address, "").replace(
            "attestation: [{process: {user: retriever}}]",
            "proof: required\n  attestation: [{process: {user: retriever}}]",
        );
        world.apply(required).await;
        let plain = claims("retriever", "read", world.clocks.now());
        let plain = world.authority.keys.sign(plain);
        let answer = send(world.address, agent::get(TARGET, &plain)).await;
        assert_eq!(refusal(answer).await, refused("proof.required"));
        let mut holder = Holder::ready(&world).await;
        assert_eq!(holder.get(&world).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_key_that_was_replaced_is_void_at_the_gateway() {
        let world = World::new().await;
        let mut holder = Holder::ready(&world).await;
        assert_eq!(holder.get(&world).await.status(), StatusCode::OK);
        world.authority.replace_key(holder.holder.key.thumbprint());
        let version = world.authority.state().stops.version;
        let applied = |w: &World| w.gateway.status().versions.unwrap().stops == version;
        world.until(applied).await;
        let answer = holder.get(&world).await;
        let stopped = (StatusCode::FORBIDDEN, "stopped".to_owned());
        assert_eq!(refusal(answer).await, stopped);
    }

    /// As many proofs as are taken, and the answer to the next one.
    async fn flood(world: &World, holder: &mut Holder) -> (usize, Response<Incoming>) {
        for taken in 0..100 {
            let answer = holder.get(world).await;
            if answer.status() != StatusCode::OK {
                return (taken, answer);
            }
            text(answer).await;
        }
        panic!("the memory is bounded");
    }

    #[tokio::test]
    async fn an_agent_that_floods_a_gateway_with_proofs_stops_no_other() {
        let limits = mandate_gateway::Limits {
            proofs: 9,
            ..Default::default()
        };
        let world = World::with(Options {
            limits,
            ..Options::default()
        })
        .await;
        let mut greedy = Holder::ready(&world).await;
        // What does not hold is not remembered: neither another's key nor a proof for something else.
        let thief = AgentKey::generate();
        for _ in 0..20 {
            let uri = format!("http://{}{TARGET}", world.address);
            let stolen = thief.prove(&Proving {
                method: "GET",
                uri: &uri,
                now: world.clocks.now(),
                token: Some(&greedy.token),
                task: None,
                nonce: greedy.holder.nonce.as_deref(),
            });
            let answer = send(world.address, request("DPoP", &greedy.token, &[&stolen])).await;
            assert_eq!(refusal(answer).await, refused("proof.other_key"));
        }
        let (taken, answer) = flood(&world, &mut greedy).await;
        assert_eq!(taken, 3, "a third of nine");
        assert!(answer.headers().contains_key("retry-after"));
        let share = (StatusCode::SERVICE_UNAVAILABLE, "quota.proofs".to_owned());
        assert_eq!(refusal(answer).await, share);
        let other = of_instance(&world, "retriever-2");
        let mut other = other.with_nonce(&world).await;
        let (taken, _) = flood(&world, &mut other).await;
        assert!(taken > 0, "its own share");
    }

    /// The same agent type in another instance.
    fn of_instance(world: &World, instance: &str) -> Holder {
        let claims = claims("retriever", "read", world.clocks.now());
        let mut levels = claims.acting.levels().to_vec();
        levels[0].inst = InstanceId::parse(instance).unwrap();
        let chain = ActChain::from_levels(levels).unwrap();
        let acting = ActingChain::new(chain).unwrap();
        Holder::with(world, AccessToken { acting, ..claims })
    }

    #[tokio::test]
    async fn an_upstream_cannot_ask_an_agent_for_a_proof() {
        let world = World::new().await;
        let mut holder = Holder::ready(&world).await;
        let target = "/records/customers/acme/challenge";
        for bound in [true, false] {
            let answer = if bound {
                let uri = format!("http://{}{target}", world.address);
                let beside = (Some(holder.token.as_str()), None);
                let proof = holder
                    .holder
                    .prove(("GET", &uri), beside, world.clocks.now());
                let mut request = request("DPoP", &holder.token, &[&proof]);
                *request.uri_mut() = target.parse().unwrap();
                send(world.address, request).await
            } else {
                let claims = claims("retriever", "read", world.clocks.now());
                let token = world.authority.keys.sign(claims);
                send(world.address, agent::get(target, &token)).await
            };
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(challenge(&answer), [r#"Basic realm="a""#]);
            let nonce = answer.headers().get("dpop-nonce");
            let nonce = nonce.map(|nonce| nonce.to_str().unwrap());
            let own = holder.holder.nonce.as_deref().filter(|_| bound);
            assert_eq!(nonce, own, "the gateway's own, where proofs are shown");
        }
        assert_eq!(world.upstream.arrived().len(), 2);
        assert_eq!(holder.get(&world).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn who_shows_no_token_is_told_of_both_schemes() {
        let world = World::new().await;
        let request = Request::get(TARGET).header("host", "gateway");
        let answer = send(world.address, request.body(Full::default()).unwrap()).await;
        let challenges = challenge(&answer);
        assert_eq!(challenges, ["Bearer", "DPoP algs=\"ES256 EdDSA Ed25519\""]);
        assert!(answer.headers().contains_key("dpop-nonce"));
        world.clocks.wall_ms.store(0, Ordering::SeqCst);
    }
}
