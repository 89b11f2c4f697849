//! How things begin: evidence, people, operators; and what must not begin a second time.

use mandate_model::Timestamp;
use serde_json::json;

use crate::books::{Known, Svid};
use crate::client::{self, Got};
use crate::exchange::{DOMAIN, GRANT, TXN, ceiling};
use crate::story::{Outcome, Step, Verdict};

/// What an instance has shown, or a person: good for one use.
pub(crate) struct Shown {
    /// The agent type of an instance; of a person's token the agent that it was given to.
    pub(crate) agent: &'static str,
    /// The instance, or the person's ID token.
    pub(crate) what: String,
    pub(crate) until: Timestamp,
    pub(crate) used: Known,
}

impl Step<'_> {
    /// An instance of `agent` proves what it is.
    pub(crate) async fn attest(&mut self, agent: &'static str) -> Verdict {
        self.books.instances += 1;
        let what = format!("{agent}-{}", self.books.instances);
        let until = self.at.now().plus(EVIDENCE);
        self.books.evidence.push(Shown {
            agent,
            what,
            until,
            used: Known::No,
        });
        self.attest_by(self.books.evidence.len() - 1).await
    }

    /// Evidence that was shown before is shown again: by whoever has kept it.
    pub(crate) async fn attest_again(&mut self) -> Verdict {
        match self.one_of_the_last(self.books.evidence.len()) {
            Some(place) => self.attest_by(place).await,
            None => self.attest("planner").await,
        }
    }

    async fn attest_by(&mut self, place: usize) -> Verdict {
        let shown = &self.books.evidence[place];
        let (agent, instance, until, used) =
            (shown.agent, shown.what.clone(), shown.until, shown.used);
        self.say(format!("attest {instance}, which was used: {used:?}"));
        self.at.said.say(agent, &instance, until);
        let form = [
            ("grant_type", GRANT),
            ("subject_token", "process"),
            ("subject_token_type", "urn:mandate:token-type:process"),
        ];
        let socket = self.at.socket("agent.sock");
        let got = self
            .at
            .drive(client::post_form(&socket, "/token", &form))
            .await;
        self.books.evidence[place].used = used_by(used, &got)
            .ok_or_else(|| format!("the evidence of {instance} was accepted twice"))?;
        let Some(token) = self.issued(got)? else {
            return Ok(());
        };
        self.must_be_free(&token)?;
        self.books.svids.push(Svid { agent, token });
        Ok(())
    }

    /// A planner begins a task for a person, by an ID token that is new or was shown before.
    pub(crate) async fn open_for_person(&mut self) -> Verdict {
        let again = self.random.chance(1, 3);
        let kept = self.one_of_the_last(self.books.id_tokens.len());
        let place = match kept.filter(|_| again) {
            Some(place) => place,
            None => {
                let whose = format!("person-{}", self.books.id_tokens.len());
                let now = self.at.now();
                self.books.id_tokens.push(Shown {
                    agent: "planner",
                    what: self.at.people.id_token(&whose, now),
                    until: now,
                    used: Known::No,
                });
                self.books.id_tokens.len() - 1
            }
        };
        let Some(svid) = self.svid("planner").await? else {
            return Ok(());
        };
        let shown = &self.books.id_tokens[place];
        let (id_token, used) = (shown.what.clone(), shown.used);
        let entries = self.some_entries(&ceiling(), false);
        self.say(format!(
            "open a task for person-{place}, whose token was used: {used:?}, {entries}"
        ));
        let (details, text) = (
            json!({"purpose": "support"}).to_string(),
            entries.to_string(),
        );
        let form = [
            ("subject_token", id_token.as_str()),
            ("subject_token_type", ID_TOKEN),
            ("requested_token_type", TXN),
            ("audience", DOMAIN),
            ("request_details", details.as_str()),
            ("authorization_details", text.as_str()),
        ];
        let got = self.exchange(svid, &form).await;
        let client = self.books.svids[svid].token.clone();
        self.must_not_be_of(&got, &[&client])?;
        self.books.id_tokens[place].used = used_by(used, &got)
            .ok_or_else(|| format!("the ID token of person-{place} began a task twice"))?;
        let Some(token) = self.issued(got)? else {
            return Ok(());
        };
        self.keep_task(token, None, "planner", Some(svid), None, &ceiling())
    }

    /// An operator begins a task for whichever planner takes it up.
    pub(crate) async fn open_as_operator(&mut self) -> Verdict {
        let entries = self.some_entries(&ceiling(), false);
        self.say(format!("an operator opens a task: {entries}"));
        let body = json!({
            "agent": format!("{DOMAIN}/agent/planner"), "purpose": "repair", "reason": "INC-4711",
            "authorization_details": entries, "expires_in": 600,
        });
        let socket = self.at.socket("operator.sock");
        let asked = client::post_json(&socket, "/operator/v1/tasks", &body);
        let got = self.at.drive(asked).await;
        let Some(token) = self.issued(got)? else {
            return Ok(());
        };
        self.keep_task(token, None, "planner", None, None, &ceiling())
    }

    fn one_of_the_last(&mut self, all: usize) -> Option<usize> {
        let back = self.random.below(8.min(all as u64).max(1));
        all.checked_sub(1 + usize::try_from(back).unwrap())
    }
}

/// Whether it is used after this answer; `None` if it was accepted before.
fn used_by(before: Known, got: &Option<Got>) -> Option<Known> {
    match (before, Outcome::of(got)) {
        (Known::Yes, Outcome::Yes) => None,
        (Known::No | Known::Asked, Outcome::Yes) | (Known::Yes, _) => Some(Known::Yes),
        (_, Outcome::Unknown) => Some(Known::Asked),
        (before, Outcome::No) => Some(before),
    }
}

const EVIDENCE: std::time::Duration = std::time::Duration::from_secs(120);
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
