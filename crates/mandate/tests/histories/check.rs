//! What must hold: P3 to P6 over everything that is known, and that the system recovers by itself.

use std::collections::{BTreeMap, BTreeSet};

use mandate_audit::{Checkpoint, Decision, Event, NoteKey, What};
use mandate_authority::log_origin;
use mandate_model::{Principal, TrustDomain};
use mandate_ports::LogReader;
use serde_json::Value;

use crate::books::{Ended, Known, subject};
use crate::client;
use crate::story::{Step, Verdict};

impl Step<'_> {
    /// Reads what is new in the log.
    pub(crate) async fn read_on(&mut self) -> Verdict {
        self.account()?;
        let known = self.books.log.len();
        let read = self.at.store.entries(known as u64, usize::MAX).await;
        let Ok(read) = read else {
            // It is asked again after the next step.
            return Ok(());
        };
        if self.at.disk.has_crashed() {
            // What is in the process's memory by now may never be on disk.
            return Ok(());
        }
        self.take_in(read.entries)
    }

    fn take_in(&mut self, entries: Vec<Vec<u8>>) -> Verdict {
        let parse = |bytes: &Vec<u8>| Event::parse(bytes).map_err(|why| why.to_string());
        let events: Vec<Event> = entries.iter().map(parse).collect::<Result<_, _>>()?;
        self.books.log.extend(entries);
        for event in &events {
            self.note(event)?;
        }
        for event in &events {
            self.reaches_a_cause(event)?;
        }
        let seen = &self.books.seen;
        if seen.unclaimed.len() > seen.unanswered {
            let count = seen.unclaimed.len();
            return Err(format!(
                "{count} tokens were issued that nobody has or could have"
            ));
        }
        for (what, is_so) in self.books.expected.drain(..) {
            if !is_so(seen) {
                return Err(format!("{what} is not in the log"));
            }
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) -> Verdict {
        let seen = &mut self.books.seen;
        match &event.what {
            What::Issued { .. } if event.decision == Decision::Allowed => {
                let id = event
                    .token
                    .map(|token| token.to_string())
                    .unwrap_or_default();
                if !seen.issued.contains(&id) {
                    seen.unclaimed.insert(id.clone());
                }
                if !seen.recorded.insert(id.clone()) {
                    return Err(format!("the issuance of {id} is recorded twice"));
                }
            }
            What::Attested { .. } if event.decision == Decision::Allowed => {
                let instance = event.actors.first().map(|actor| actor.inst.to_string());
                let instance = instance.ok_or("an attestation of nobody")?;
                if !seen.attested.insert(instance.clone()) {
                    return Err(format!("the evidence of {instance} was accepted twice"));
                }
            }
            What::TaskOpened { .. } | What::TaskDelegated { .. } => {
                if let (What::TaskOpened { .. }, Some(Principal::User { .. })) =
                    (&event.what, &event.principal)
                {
                    let whose = event.principal.as_ref().map(ToString::to_string);
                    let whose = whose.unwrap_or_default();
                    if !seen.served.insert(whose.clone()) {
                        return Err(format!("the ID token of {whose} began a task twice"));
                    }
                }
                let path = event.task.as_ref().ok_or("a task without a path")?;
                seen.tasks.insert(path.leaf().to_string());
                if event.trigger.is_none() {
                    return Err("P5: a task without a trigger".to_owned());
                }
            }
            What::TaskEnded { task, .. } => drop(seen.ended.insert(task.to_string())),
            What::Revoked { token } => drop(seen.revoked.insert(token.to_string())),
            What::AccessDecided { .. } if event.decision == Decision::Allowed => {
                let number = number_of(event).ok_or("an access without its item")?;
                if !seen.allowed.insert(number) {
                    return Err(format!("request {number} is recorded twice"));
                }
            }
            What::Alarm { message } => {
                self.said.push(format!("  alarm: {message}"));
                if is_a_broken_promise(message) {
                    return Err(format!("alarm: {message}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// P5: each task on the path of a record has its own record.
    fn reaches_a_cause(&self, event: &Event) -> Verdict {
        let Some(path) = &event.task else {
            return Ok(());
        };
        let ids: Vec<mandate_model::TaskId> = path.clone().into();
        let unknown = ids
            .iter()
            .find(|id| !self.books.seen.tasks.contains(&id.to_string()));
        match unknown {
            Some(id) => Err(format!(
                "P5: a record names task {id}, which has none: {event:?}"
            )),
            None => Ok(()),
        }
    }

    /// Budgets and single uses: counted at the upstream.
    fn account(&self) -> Verdict {
        let arrived = self.at.upstream.arrived();
        let mut of_token: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        let mut of_task: BTreeMap<&String, u64> = BTreeMap::new();
        for number in &arrived {
            let request = self.books.requests.get(number);
            let request = request.ok_or_else(|| format!("nobody sent request {number}"))?;
            let uses = of_token.entry(request.access).or_default();
            uses.0 += 1;
            uses.1 += u64::from(request.write);
            let access = &self.books.accesses[request.access];
            for task in &self.books.tasks[access.task].path {
                *of_task.entry(task).or_default() += 1;
            }
        }
        if arrived.iter().collect::<BTreeSet<_>>().len() < arrived.len() {
            return Err("a request arrived twice".to_owned());
        }
        for (place, (uses, writes)) in of_token {
            let counted = self.books.accesses[place].counted;
            if writes > 1 || (counted && uses > 1) {
                return Err(format!(
                    "access token {place} was used {uses} times, {writes} to write"
                ));
            }
        }
        for task in &self.books.tasks {
            let used = of_task.get(&task.id).copied().unwrap_or(0);
            if task.budget.is_some_and(|budget| used > budget) {
                return Err(format!(
                    "P3: {used} accesses in {}, of {:?}",
                    task.id, task.budget
                ));
            }
        }
        Ok(())
    }

    /// After a start, or at the end: everything.
    pub(crate) async fn check(&mut self) -> Verdict {
        self.what_was_shipped_is_there().await?;
        // Single-use tokens of the first seconds could be from before.
        self.at.jump(std::time::Duration::from_secs(7)).await;
        self.recovers().await?;
        self.nothing_is_forgotten().await?;
        if self.at.disk.has_crashed() {
            return Ok(());
        }
        self.read_on().await?;
        self.each_access_is_recorded()?;
        self.suspensions_hold().await?;
        self.the_bundle_is_whole().await?;
        self.the_log_is_whole().await
    }

    /// What a server workload with `durability: shipped` was asked is in the log before it gets there, and so
    /// before anything else is shipped.
    pub(crate) async fn what_was_shipped_is_there(&mut self) -> Verdict {
        let read = self.at.store.entries(0, usize::MAX).await;
        if self.at.disk.has_crashed() {
            return Ok(());
        }
        let entries = read.map_err(|why| why.to_string())?.entries;
        let events = entries.iter().filter_map(|bytes| Event::parse(bytes).ok());
        let decided = events.filter(|event| matches!(event.what, What::AccessDecided { .. }));
        let numbers: BTreeSet<u64> = decided.filter_map(|event| number_of(&event)).collect();
        match self.books.shipped.difference(&numbers).next() {
            Some(lost) => Err(format!(
                "P4: request {lost} went to where the log comes first, and is not in it"
            )),
            None => Ok(()),
        }
    }

    /// What was in the log is in it, as it was.
    async fn nothing_is_forgotten(&mut self) -> Verdict {
        let known = self.books.log.len();
        let read = self
            .at
            .store
            .entries(0, known)
            .await
            .map_err(|why| why.to_string())?;
        if read.entries == self.books.log {
            return Ok(());
        }
        let (found, log) = (&read.entries, &self.books.log);
        let same = found
            .iter()
            .zip(log)
            .take_while(|(found, known)| found == known)
            .count();
        let lost = log
            .get(same)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        Err(format!(
            "of {known} records that were in the log, {same} are: {lost:?}"
        ))
    }

    /// P4, once all is shipped.
    fn each_access_is_recorded(&self) -> Verdict {
        let arrived = self.at.upstream.arrived();
        for (number, request) in &self.books.requests {
            let happened = request.end == Ended::Released
                || (request.server != "inner" && arrived.contains(number));
            if happened && !self.books.seen.allowed.contains(number) {
                return Err(format!(
                    "P4: request {number} was let through without a record"
                ));
            }
        }
        Ok(())
    }

    /// P6: what was said to be in force is, and what was lifted is not.
    async fn suspensions_hold(&mut self) -> Verdict {
        let socket = self.at.socket("operator.sock");
        let got = self
            .at
            .drive(client::get(&socket, "/operator/v1/suspensions"))
            .await;
        let Some(listed) = self.read_from(got, 200)? else {
            return Ok(());
        };
        let listed = listed["suspensions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let listed: BTreeSet<String> = listed.iter().map(|one| subject(&one["subject"])).collect();
        if let Some(unknown) = listed
            .iter()
            .find(|one| !self.books.stops.contains_key(*one))
        {
            return Err(format!("{unknown} is suspended, and nobody asked for it"));
        }
        for (whom, known) in &mut self.books.stops {
            let in_force = listed.contains(whom);
            match (*known, in_force) {
                (Known::Yes, false) => return Err(format!("P6: the suspension of {whom} is lost")),
                (Known::No, true) => return Err(format!("the suspension of {whom} is back")),
                (Known::Asked, true) => *known = Known::Yes,
                (Known::Asked, false) => *known = Known::No,
                (Known::Yes, true) | (Known::No, false) => {}
            }
        }
        Ok(())
    }

    /// One that was applied, whole; the last one that was said to be, or one that was asked for since.
    async fn the_bundle_is_whole(&mut self) -> Verdict {
        let socket = self.at.socket("operator.sock");
        let got = self
            .at
            .drive(client::get(&socket, "/operator/v1/bundle"))
            .await;
        let wanted =
            if self.books.bundle.version == 0 && matches!(&got, Some(Ok(a)) if a.status == 404) {
                404
            } else {
                200
            };
        let Some(found) = self.read_from(got, wanted)? else {
            return Ok(());
        };
        if wanted == 404 {
            return Ok(());
        }
        let version = found["version"].as_u64().unwrap_or(0);
        let text = found["files"][0][1].as_str().unwrap_or_default();
        let (known, revision) = (self.books.bundle.version, self.books.bundle.revision);
        let candidates: Vec<u64> = match version {
            same if same == known => vec![revision],
            _ => self.books.bundle.asked.iter().copied().collect(),
        };
        let is = candidates
            .iter()
            .find(|candidate| self.bundle(**candidate) == text);
        let Some(is) = is.filter(|_| version == known || version == known + 1) else {
            return Err(format!(
                "bundle version {version} is live after {known}, and is none of {candidates:?}"
            ));
        };
        let is = *is;
        let bundle = &mut self.books.bundle;
        (bundle.version, bundle.revision) = (version, is);
        bundle.asked.clear();
        Ok(())
    }

    /// What an operator is shown; nothing, if the disk crashes meanwhile.
    fn read_from(&self, got: Option<client::Got>, wanted: u16) -> Result<Option<Value>, String> {
        match got {
            Some(Ok(answer)) if answer.status == wanted => Ok(Some(answer.json())),
            _ if self.at.disk.has_crashed() => Ok(None),
            other => Err(format!("an operator is not shown what is so: {other:?}")),
        }
    }

    /// `audit verify`, with the checkpoint that was kept elsewhere.
    async fn the_log_is_whole(&mut self) -> Verdict {
        let log = self.at.store.log();
        let told = |why: mandate_ports::StoreError| why.to_string();
        let origin = log_origin(&TrustDomain::parse("acme.example").unwrap());
        let keys = log.log_keys().await.map_err(told)?;
        let keys: Vec<NoteKey> = keys
            .into_iter()
            .map(|key| NoteKey::new(&origin, key).unwrap())
            .collect();
        let since = self.books.witnessed.as_ref().map(|note| {
            let opened = keys.iter().find_map(|key| Checkpoint::open(note, key).ok());
            opened.ok_or("a checkpoint's key is gone")
        });
        let found = log
            .verify(keys, since.transpose()?, |_, _| {})
            .await
            .map_err(told)?;
        if !found.is_whole() {
            return Err(format!(
                "the log is not whole: {:?} {:?}",
                found.report, found.spools
            ));
        }
        if !found.withheld.is_empty() && !self.at.disk.has_crashed() {
            return Err(format!(
                "P4: announced and never shipped: {:?}",
                found.withheld
            ));
        }
        Ok(())
    }

    /// When nothing is stopped any more, an access goes through.
    pub(crate) async fn serves_again(&mut self) -> Verdict {
        self.recovers().await?;
        // What acts in memory alone is stored first, and nothing else is before it.
        self.at.pass(std::time::Duration::from_secs(3)).await;
        let stopped = self
            .books
            .stops
            .iter()
            .filter(|(_, known)| **known != Known::No);
        let stopped: Vec<String> = stopped.map(|(whom, _)| whom.clone()).collect();
        for whom in stopped {
            self.lift_one(&whom).await?;
            if self.at.disk.has_crashed() {
                return Ok(());
            }
        }
        if self.books.bundle.version == 0 {
            self.apply(true).await?;
        }
        self.recovers().await?;
        self.at.jump(std::time::Duration::from_secs(7)).await;
        for _ in 0..8 {
            let before = self.at.upstream.count();
            // An earlier one may be void by a resumption that nobody was told of.
            self.attest("planner").await?;
            self.open().await?;
            self.access_in_the_last_task().await?;
            self.request(false).await?;
            self.at.quiet().await;
            self.read_on().await?;
            if self.at.upstream.count() > before || self.at.disk.has_crashed() {
                return Ok(());
            }
        }
        Err(format!("it does not serve again: {}", self.at.trouble()))
    }
}

/// The number of the request that a decision is about.
fn number_of(event: &Event) -> Option<u64> {
    let attributes = serde_json::to_value(&event.attributes).ok()?;
    attributes["item"][0].as_str()?.parse().ok()
}

/// Whether an alarm tells of a record that came otherwise than it was written, or came to the log twice or not at
/// all. Others are of disks that failed.
fn is_a_broken_promise(alarm: &str) -> bool {
    alarm.starts_with("record ") && alarm.contains(" of spool ")
        || alarm.contains("the authority lacks record ")
}
