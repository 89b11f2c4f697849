//! Steps of operators, and requests of agents to the gateway.

use http::Method;
use mandate_audit::{Checkpoint, NoteKey};
use mandate_authority::log_origin;
use mandate_model::TrustDomain;
use mandate_ports::{KeyPurpose, LogReader, Signer};
use serde_json::{Value, json};

use crate::books::{Ended, Known, Request, covers, subject};
use crate::client::{self, Got};
use crate::exchange::{DOMAIN, TEAMS};
use crate::story::{Outcome, Step, Verdict};
use crate::system::GATEWAY;

impl Step<'_> {
    /// An agent asks for something at the gateway.
    pub(crate) async fn request(&mut self, again: bool) -> Verdict {
        let mut good = self.good_accesses(again);
        if good.is_empty() {
            self.access().await?;
            good = self.good_accesses(again);
        }
        if good.is_empty() {
            return Ok(());
        }
        let now = self.at.now().as_millis() / 1000;
        let place = *self.random.one_of(&good);
        let access = &self.books.accesses[place];
        let server = access.server;
        let write = server == "records" && self.random.chance(1, 2);
        let ships = server == "ledger" && self.random.chance(3, 4);
        let action = if write { "write" } else { "read" };
        let covered: Vec<&&str> = TEAMS
            .iter()
            .filter(|team| covers(&access.entries, action, team))
            .collect();
        let team = if covered.is_empty() || self.random.chance(1, 8) {
            *self.random.one_of(&TEAMS)
        } else {
            **self.random.one_of(&covered)
        };
        let number = 1 + self.books.requests.len() as u64;
        self.say(format!(
            "{action} {server} of {team} with access token {place}: request {number}"
        ));
        let access = &self.books.accesses[place];
        let (token, covered) = (access.token.clone(), covers(&access.entries, action, team));
        let method = if write { Method::POST } else { Method::GET };
        let path = format!("/{server}/teams/{team}/items/{number}");
        let up_to_date = self.at.is_up_to_date().await;
        self.at.let_ship(ships);
        let got = self.at.drive(client::through(
            self.at.gateway_address,
            method,
            &path,
            &token.text,
        ));
        let got = got.await;
        self.at.let_ship(false);
        let end = ended(&got);
        self.heard(&got);
        self.books.requests.insert(
            number,
            Request {
                access: place,
                server,
                write,
                end,
            },
        );
        self.at.quiet().await;
        let arrived = self.at.upstream.arrived().contains(&number);
        if arrived && server == "ledger" {
            self.books.shipped.insert(number);
            self.what_was_shipped_is_there().await?;
        }
        if end == Ended::Refused && arrived && server != "inner" {
            return Err(format!(
                "request {number} was refused and reached the upstream"
            ));
        }
        if end != Ended::Released && !arrived {
            return Ok(());
        }
        if !covered {
            return Err(format!(
                "P3: request {number} was let through outside of its mandate"
            ));
        }
        let here = subject(&json!({"kind": "gateway", "id": GATEWAY}));
        if let Some(stop) = self.books.stop_of(token.subjects.iter().chain([&here])) {
            return Err(format!("P6: request {number} was let through under {stop}"));
        }
        if token.void {
            return Err(format!(
                "P6: request {number} was let through with a void token"
            ));
        }
        if now > token.expires_at + 60 {
            return Err(format!(
                "request {number} was let through after its token's end"
            ));
        }
        let task = &self.books.tasks[self.books.accesses[place].task];
        if up_to_date && (token.revoked == Known::Yes || self.books.has_ended(&task.path)) {
            return Err(format!(
                "request {number} was let through with what is revoked or ended"
            ));
        }
        Ok(())
    }

    /// Access tokens to try: those that were used before, or those that were not.
    fn good_accesses(&mut self, again: bool) -> Vec<usize> {
        let now = self.at.now().as_millis() / 1000;
        let mut good = Vec::new();
        for (place, access) in self.books.accesses.iter().enumerate() {
            let lives = access.token.expires_at > now + 5 || self.random.chance(1, 20);
            let used = self.books.requests.values().any(|r| r.access == place);
            if lives && used == again {
                good.push(place);
            }
        }
        good
    }

    /// An operator's order.
    async fn order(&mut self, path: &str, body: &Value) -> Option<Got> {
        let socket = self.at.socket("operator.sock");
        let got = self.at.drive(client::post_json(&socket, path, body)).await;
        self.heard(&got);
        got
    }

    /// Somebody or something is stopped.
    pub(crate) async fn suspend(&mut self) -> Verdict {
        let whom = self.anybody();
        self.say(format!("suspend {whom}"));
        let body = json!({"subject": whom, "reason": "INC-4711"});
        let got = self.order("/operator/v1/suspend", &body).await;
        let key = subject(&whom);
        match (Outcome::of(&got), &got) {
            (Outcome::Yes, Some(Ok(answer))) => {
                let proof = answer.json();
                let effective = proof["effective"] == true;
                self.say(format!(
                    "  effective: {effective}, durable: {}",
                    proof["durable"]
                ));
                let known = if effective { Known::Yes } else { Known::Asked };
                self.books.stops.insert(key.clone(), known);
                if proof["durable"] != true {
                    self.books.undurable.insert(key);
                }
            }
            (Outcome::No, _) => {}
            (Outcome::Unknown | Outcome::Yes, _) => {
                self.books.stops.insert(key, Known::Asked);
            }
        }
        Ok(())
    }

    fn anybody(&mut self) -> Value {
        let agent = *self.random.one_of(&["planner", "reader", "writer"]);
        let any = |all: usize, random: u64| usize::try_from(random % all as u64).unwrap();
        let number = self.random.number();
        match self.random.below(16) {
            0..=3 => json!({"kind": "agent", "id": format!("{DOMAIN}/agent/{agent}")}),
            4..=6 => {
                json!({"kind": "server", "name": self.random.one_of(&["records", "inner", "ledger"])})
            }
            7..=9 if !self.books.tasks.is_empty() => {
                let task = &self.books.tasks[any(self.books.tasks.len(), number)];
                json!({"kind": "task", "id": task.id})
            }
            10 if self.books.instances > 0 => {
                let svid = &self.books.svids.last();
                let name = svid.map_or_else(
                    || "none-1".to_owned(),
                    |svid| {
                        client::claims(&svid.token.text)["inst"]
                            .as_str()
                            .unwrap_or_default()
                            .to_owned()
                    },
                );
                json!({"kind": "instance", "provider": "process", "id": name})
            }
            11 if number.is_multiple_of(2) => {
                let person = self.books.id_tokens.len().saturating_sub(1);
                json!({"kind": "principal", "id": format!("user:login:person-{person}")})
            }
            11 => json!({"kind": "principal", "id": format!("{DOMAIN}/agent/planner")}),
            12 => json!({"kind": "provider", "name": "process"}),
            13 => json!({"kind": "gateway", "id": GATEWAY}),
            14 => match self.books.accesses.last() {
                Some(access) => json!({"kind": "key", "id": client::key_of(&access.token.text)}),
                None => json!({"kind": "everything"}),
            },
            _ => json!({"kind": "everything"}),
        }
    }

    /// What is stopped goes on.
    pub(crate) async fn lift(&mut self) -> Verdict {
        let stopped = self
            .books
            .stops
            .iter()
            .filter(|(_, known)| **known != Known::No);
        let stopped: Vec<String> = stopped.map(|(key, _)| key.clone()).collect();
        if stopped.is_empty() {
            return self.suspend().await;
        }
        let key = self.random.one_of(&stopped).clone();
        self.lift_one(&key).await
    }

    pub(crate) async fn lift_one(&mut self, key: &str) -> Verdict {
        self.say(format!("lift the suspension of {key}"));
        let whom: Value = serde_json::from_str(key).unwrap();
        let before = self.books.stops.insert(key.to_owned(), Known::Asked);
        let body = json!({"subject": whom, "reason": "all is well"});
        let got = self.order("/operator/v1/resume", &body).await;
        match Outcome::of(&got) {
            Outcome::Yes => {
                self.books.stops.insert(key.to_owned(), Known::No);
                self.books.undurable.remove(key);
                self.books.void(key);
            }
            Outcome::No => {
                // Refused: it is as it was, and if nobody knew, what is not suspended is not.
                let conflict = matches!(&got, Some(Ok(answer)) if answer.status == 409);
                let now = match before {
                    Some(Known::Yes) if conflict => {
                        return Err(format!("P6: {key} was suspended, and is not any more"));
                    }
                    Some(Known::Yes) => Known::Yes,
                    _ if conflict => Known::No,
                    _ => Known::Asked,
                };
                self.books.stops.insert(key.to_owned(), now);
            }
            Outcome::Unknown => {}
        }
        Ok(())
    }

    /// Another bundle, good or broken.
    pub(crate) async fn apply(&mut self, good: bool) -> Verdict {
        self.books.bundle.next_revision += 1;
        let revision = self.books.bundle.next_revision;
        let base = self.books.bundle.version;
        self.say(format!(
            "apply revision {revision} on {base}{}",
            if good { "" } else { ", broken" }
        ));
        let mut text = self.bundle(revision);
        if !good {
            text = text.replace("maxDuration: 1h", "maxDuration: 1h\n  maxDurance: 1h");
        }
        let files = json!([["bundle.yaml", text]]);
        let body = json!({"files": files, "base": base, "wait_ms": 20_000});
        let got = self.order("/operator/v1/bundle/apply", &body).await;
        match (Outcome::of(&got), &got) {
            (Outcome::Yes, _) if !good => return Err("a broken bundle was applied".to_owned()),
            (Outcome::Yes, Some(Ok(answer))) => {
                let bundle = &mut self.books.bundle;
                bundle.version = answer.json()["version"].as_u64().unwrap_or(0);
                bundle.revision = revision;
                bundle.asked.clear();
                bundle.effective = answer.json()["effective"] == true;
            }
            (Outcome::Unknown, _) if good => drop(self.books.bundle.asked.insert(revision)),
            (Outcome::No | Outcome::Unknown | Outcome::Yes, _) => {}
        }
        Ok(())
    }

    /// A new key is announced.
    pub(crate) async fn rotate(&mut self) -> Verdict {
        let purpose = *self.random.one_of(&["svid", "oauth", "log"]);
        self.say(format!("rotate the key of {purpose}"));
        self.order("/operator/v1/keys/rotate", &json!({"purpose": purpose}))
            .await;
        Ok(())
    }

    /// Somebody elsewhere keeps a checkpoint of what is committed now.
    pub(crate) async fn witness(&mut self) -> Verdict {
        self.say("keep a checkpoint elsewhere".to_owned());
        let head = self.at.store.head().await.map_err(|why| why.to_string())?;
        let origin = log_origin(&TrustDomain::parse("acme.example").unwrap());
        let checkpoint = Checkpoint::new(&origin, head.size, head.root).unwrap();
        let key = self.at.signer.current(KeyPurpose::Log).unwrap();
        let signed = self
            .at
            .signer
            .sign(&key, checkpoint.text().as_bytes())
            .unwrap();
        for public in self
            .at
            .store
            .log()
            .log_keys()
            .await
            .map_err(|why| why.to_string())?
        {
            let key = NoteKey::new(&origin, public).unwrap();
            let note = checkpoint.sign(&key, &signed.signature);
            if let Ok(note) = note
                && Checkpoint::open(&note, &key).is_ok()
            {
                self.books.witnessed = Some(note);
            }
        }
        Ok(())
    }
}

/// How a request ended for whoever asked.
fn ended(got: &Option<Got>) -> Ended {
    match got {
        Some(Ok(answer)) if answer.status == 200 => Ended::Released,
        Some(Ok(answer)) if is_refusal(answer) => Ended::Refused,
        Some(Ok(_) | Err(_)) | None => Ended::Unknown,
    }
}

/// What is said before anything is forwarded. A request that is cut later may have been.
fn is_refusal(answer: &client::Answer) -> bool {
    let rule = answer.json()["rule"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    match answer.status {
        401 | 403 => true,
        503 => !rule.starts_with("gateway."),
        status => (400..500).contains(&status),
    }
}
