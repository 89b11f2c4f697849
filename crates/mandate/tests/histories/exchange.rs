//! Steps of agents: attest, open, delegate, renew, resume, access, close, revoke.

use serde_json::{Value, json};

use crate::books::{Access, Known, Svid, Task, Token, is_within, string};
use crate::client::{self, Got, claims};
use crate::story::{Outcome, Step, Verdict};

impl Step<'_> {
    /// The latest SVID of `agent` that is good still; attests one if there is none.
    pub(crate) async fn svid(&mut self, agent: &'static str) -> Result<Option<usize>, String> {
        let now = self.at.now().as_millis() / 1000;
        let good = |svid: &Svid| {
            svid.agent == agent && svid.token.expires_at > now + 5 && !svid.token.void
        };
        if let Some(place) = self.books.svids.iter().rposition(good) {
            return Ok(Some(place));
        }
        self.attest(agent).await?;
        let last = self.books.svids.last();
        let is_new = last.is_some_and(good);
        Ok(is_new.then(|| self.books.svids.len() - 1))
    }

    pub(crate) async fn exchange(&mut self, svid: usize, pairs: &[(&str, &str)]) -> Option<Got> {
        self.as_client("/token", svid, &[&[("grant_type", GRANT)], pairs].concat())
            .await
    }

    async fn as_client(&mut self, path: &str, svid: usize, pairs: &[(&str, &str)]) -> Option<Got> {
        let assertion = self.books.svids[svid].token.text.clone();
        let mut form = vec![
            ("client_assertion_type", ASSERTION),
            ("client_assertion", assertion.as_str()),
        ];
        form.extend(pairs);
        let socket = self.at.socket("agent.sock");
        self.at.drive(client::post_form(&socket, path, &form)).await
    }

    /// A planner begins a task.
    pub(crate) async fn open(&mut self) -> Verdict {
        let Some(svid) = self.svid("planner").await? else {
            return Ok(());
        };
        let budget = self.random.chance(1, 2).then(|| 1 + self.random.below(4));
        let entries = self.some_entries(&ceiling(), false);
        self.say(format!("open a task, budget {budget:?}, {entries}"));
        let mut details = json!({"purpose": "nightly",
            "trigger": {"kind": "schedule", "name": "nightly", "item": "4711"}});
        if let Some(budget) = budget {
            details["budget"] = json!({"max_accesses": budget});
        }
        let (details, text) = (details.to_string(), entries.to_string());
        let subject = self.books.svids[svid].token.text.clone();
        let form = [
            ("subject_token", subject.as_str()),
            ("subject_token_type", JWT),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
            ("request_details", details.as_str()),
            ("authorization_details", text.as_str()),
        ];
        let got = self.exchange(svid, &form).await;
        let client = self.books.svids[svid].token.clone();
        self.must_not_be_of(&got, &[&client])?;
        let Some(token) = self.issued(got)? else {
            return Ok(());
        };
        self.keep_task(token, None, "planner", Some(svid), budget, &ceiling())
    }

    pub(crate) fn keep_task(
        &mut self,
        token: Token,
        parent: Option<usize>,
        agent: &'static str,
        delegator: Option<usize>,
        budget: Option<u64>,
        within: &Value,
    ) -> Verdict {
        let claims = claims(&token.text);
        let entries = claims["authorization_details"].clone();
        let expires_at = claims["task"]["expires_at"].as_u64().unwrap_or(0);
        if !is_within(&entries, within) {
            return Err(format!("P3: {entries} was issued within {within}"));
        }
        if let Some(parent) = parent.map(|place| &self.books.tasks[place])
            && expires_at > parent.expires_at
        {
            return Err("P3: a task outlives its parent".to_owned());
        }
        let path = claims["task"]["path"].as_array();
        let path: Vec<String> = path.into_iter().flatten().map(string).collect();
        self.must_be_free(&token)?;
        self.books.tasks.push(Task {
            id: string(&claims["task"]["id"]),
            path,
            parent,
            agent,
            delegator,
            entries,
            expires_at,
            budget,
            token,
            ended: Known::No,
        });
        Ok(())
    }

    /// Whoever has a task hands on a part of it, or more than it has.
    pub(crate) async fn delegate(&mut self) -> Verdict {
        let Some(parent) = self.any_task(Some("planner")) else {
            return self.open().await;
        };
        let child = *self
            .random
            .one_of(&["reader", "writer", "writer", "planner"]);
        let wider = self.random.chance(1, 6);
        let (entries, limit) = {
            let task = &self.books.tasks[parent];
            (task.entries.clone(), task.budget)
        };
        let asked = self.some_entries(&entries, wider);
        let budget = limit.map(|limit| 1 + self.random.below(limit));
        let Some(svid) = self.svid_in(parent).await? else {
            return Ok(());
        };
        self.say(format!(
            "delegate of task {parent} to {child}: {asked}, budget {budget:?}"
        ));
        let actor = format!("{DOMAIN}/agent/{child}");
        let details = match budget {
            Some(budget) => json!({"budget": {"max_accesses": budget}}),
            None => json!({}),
        };
        let (details, text) = (details.to_string(), asked.to_string());
        let task = self.books.tasks[parent].token.clone();
        let form = [
            ("subject_token", task.text.as_str()),
            ("subject_token_type", TXN),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
            ("requested_actor", actor.as_str()),
            ("authorization_details", text.as_str()),
            ("request_details", details.as_str()),
        ];
        let got = self.exchange(svid, &form).await;
        self.must_not_be(&got, svid, parent, None)?;
        let Some(token) = self.issued(got)? else {
            return Ok(());
        };
        self.keep_task(token, Some(parent), child, Some(svid), budget, &entries)
    }

    /// Another token of the same task: by whoever has it, or by whoever handed it out.
    pub(crate) async fn renew(&mut self, resume: bool) -> Verdict {
        let Some(task) = self.any_task(None) else {
            return self.open().await;
        };
        let parent = self.books.tasks[task].parent;
        let by = if resume {
            parent.map_or(self.books.tasks[task].delegator, |_| None)
        } else {
            None
        };
        let with = if resume { parent.unwrap_or(task) } else { task };
        let svid = match by {
            Some(svid) => Some(svid),
            None => self.svid_in(with).await?,
        };
        let Some(svid) = svid else { return Ok(()) };
        self.say(format!(
            "{} task {task}",
            if resume { "resume" } else { "renew" }
        ));
        let details = json!({"task": self.books.tasks[task].id}).to_string();
        let (subject, kind) = match by {
            Some(svid) => (self.books.svids[svid].token.clone(), JWT),
            None => (self.books.tasks[with].token.clone(), TXN),
        };
        let mut form = vec![
            ("subject_token", subject.text.as_str()),
            ("subject_token_type", kind),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
        ];
        if resume {
            form.push(("request_details", details.as_str()));
        }
        let got = self.exchange(svid, &form).await;
        let client = self.books.svids[svid].token.clone();
        self.must_not_be_of(&got, &[&client, &subject])?;
        self.must_not_have_ended(&got, task)?;
        let Some(token) = self.issued(got)? else {
            return Ok(());
        };
        self.must_be_free(&token)?;
        let entries = claims(&token.text)["authorization_details"].clone();
        let kept = &mut self.books.tasks[task];
        if !is_within(&entries, &kept.entries) {
            return Err(format!("P3: {entries} was renewed out of {}", kept.entries));
        }
        kept.token = token;
        Ok(())
    }

    /// An access token for a server workload.
    pub(crate) async fn access(&mut self) -> Verdict {
        let Some(task) = self.any_task(None) else {
            return self.open().await;
        };
        let servers: &[&str] = match self.books.tasks[task].agent {
            _ if self.random.chance(1, 10) => &["records", "inner", "ledger"],
            "planner" => &["inner", "ledger"],
            "reader" => &["records", "inner", "ledger"],
            _ => &["records"],
        };
        let server = *self.random.one_of(servers);
        self.access_to(server, task).await
    }

    /// The one that a planner can use itself.
    pub(crate) async fn access_in_the_last_task(&mut self) -> Verdict {
        match self.books.tasks.len().checked_sub(1) {
            Some(last) => self.access_to("inner", last).await,
            None => Ok(()),
        }
    }

    async fn access_to(&mut self, server: &'static str, task: usize) -> Verdict {
        let Some(svid) = self.svid_in(task).await? else {
            return Ok(());
        };
        self.say(format!("access to {server} in task {task}"));
        let resource = format!("https://{server}.acme.example");
        let subject = self.books.tasks[task].token.clone();
        let form = [
            ("subject_token", subject.text.as_str()),
            ("subject_token_type", TXN),
            ("resource", resource.as_str()),
        ];
        let got = self.exchange(svid, &form).await;
        self.must_not_be(&got, svid, task, Some(server))?;
        let Some(token) = self.issued(got)? else {
            return Ok(());
        };
        let claims = claims(&token.text);
        let entries = claims["authorization_details"].clone();
        if !is_within(&entries, &self.books.tasks[task].entries) {
            return Err(format!("P3: an access token has {entries}"));
        }
        if token.expires_at > self.books.tasks[task].expires_at {
            return Err("P3: an access token outlives its task".to_owned());
        }
        self.must_be_free(&token)?;
        self.books.accesses.push(Access {
            task,
            server,
            entries,
            counted: claims["uses"] == 1,
            token,
        });
        Ok(())
    }

    /// The agent ends its task, and all below it.
    pub(crate) async fn close(&mut self) -> Verdict {
        let Some(task) = self.any_task(None) else {
            return Ok(());
        };
        let Some(svid) = self.svid_in(task).await? else {
            return Ok(());
        };
        self.say(format!("close task {task}"));
        let token = self.books.tasks[task].token.text.clone();
        let got = self
            .as_client("/task/close", svid, &[("token", &token)])
            .await;
        let id = self.books.tasks[task].id.clone();
        let ended = self.came_of(self.books.tasks[task].ended, &got);
        self.books.tasks[task].ended = ended;
        if Outcome::of(&got) == Outcome::Yes {
            self.expect(format!("the end of {id}"), move |seen| {
                seen.ended.contains(&id)
            });
        }
        Ok(())
    }

    /// The agent gives an access token back.
    pub(crate) async fn revoke(&mut self) -> Verdict {
        if self.books.accesses.is_empty() {
            return self.access().await;
        }
        let place = usize::try_from(self.random.below(self.books.accesses.len() as u64)).unwrap();
        let task = self.books.accesses[place].task;
        let Some(svid) = self.svid_in(task).await? else {
            return Ok(());
        };
        self.say(format!("revoke access token {place}"));
        let token = self.books.accesses[place].token.clone();
        let got = self
            .as_client("/revoke", svid, &[("token", &token.text)])
            .await;
        let now = self.at.now().as_millis() / 1000;
        // What has expired is not looked at.
        if token.expires_at > now + 1 {
            let revoked = self.came_of(self.books.accesses[place].token.revoked, &got);
            self.books.accesses[place].token.revoked = revoked;
        }
        Ok(())
    }

    fn came_of(&self, before: Known, got: &Option<Got>) -> Known {
        match (before, Outcome::of(got)) {
            (Known::Yes, _) | (_, Outcome::Yes) => Known::Yes,
            (before, Outcome::No) => before,
            (_, Outcome::Unknown) => Known::Asked,
        }
    }

    /// A task whose token is good still, of an agent type if one is said.
    fn any_task(&mut self, agent: Option<&str>) -> Option<usize> {
        let now = self.at.now().as_millis() / 1000;
        let fits = |task: &Task| {
            agent.is_none_or(|agent| task.agent == agent) && task.token.expires_at > now + 5
        };
        let mut places: Vec<usize> = Vec::new();
        for (place, task) in self.books.tasks.iter().enumerate() {
            let is_dead = self.books.has_ended(&task.path) || task.token.void;
            // What is dead is tried too, but seldom.
            if fits(task) && (!is_dead || self.random.chance(1, 4)) {
                places.push(place);
            }
        }
        (!places.is_empty()).then(|| *self.random.one_of(&places))
    }

    /// An SVID of the agent type that a task is for: a root task's opener is one instance.
    async fn svid_in(&mut self, task: usize) -> Result<Option<usize>, String> {
        let found = &self.books.tasks[task];
        if let (None, Some(opener)) = (found.parent, found.delegator) {
            return Ok(Some(opener));
        }
        self.svid(found.agent).await
    }

    /// A part of `entries`; with something of its own, if it shall be `wider`.
    pub(crate) fn some_entries(&mut self, entries: &Value, wider: bool) -> Value {
        let mut asked = Vec::new();
        for entry in entries.as_array().into_iter().flatten() {
            for action in entry["actions"].as_array().into_iter().flatten() {
                if !self.random.chance(4, 5) {
                    continue;
                }
                let mut part = json!({"type": "mandate_access", "server": entry["server"], "actions": [action]});
                let teams = entry["constraints"]["team"]["in"].as_array();
                let teams = teams.cloned().unwrap_or_default();
                if wider && self.random.chance(1, 2) {
                    part["constraints"] = json!({"team": {"in": [*self.random.one_of(&TEAMS)]}});
                } else if !teams.is_empty() {
                    part["constraints"] = json!({"team": {"in": [self.random.one_of(&teams)]}});
                } else if self.random.chance(1, 2) {
                    part["constraints"] =
                        json!({"team": {"in": [TEAMS[0], self.random.one_of(&TEAMS[1..])]}});
                }
                asked.push(part);
            }
        }
        if asked.is_empty() || wider {
            let server = self.random.one_of(&["records", "inner", "ledger"]);
            asked.push(
                json!({"type": "mandate_access", "server": server, "actions": ["read"],
                "constraints": {"team": {"in": [TEAMS[0]]}}}),
            );
        }
        json!(asked)
    }
}

pub(crate) fn ceiling() -> Value {
    json!([
        {"type": "mandate_access", "server": "records", "actions": ["read", "write"]},
        {"type": "mandate_access", "server": "inner", "actions": ["read"]},
        {"type": "mandate_access", "server": "ledger", "actions": ["read"]},
    ])
}

/// Whose items are read and written.
pub(crate) const TEAMS: [&str; 3] = ["acme", "globex", "initech"];
/// The trust domain.
pub(crate) const DOMAIN: &str = "spiffe://acme.example";
/// OAuth's names.
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub(crate) const TXN: &str = "urn:ietf:params:oauth:token-type:txn_token";
