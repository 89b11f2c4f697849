//! The steps of each exchange in order, each with what the shell must load for it.

use mandate_decide::exchange::{
    self, AuthenticatedClient, Evident, ExchangeError, Fresh, Grant, IdentifiedClient, Keyed,
    LeavingClient, Open, OpenSubject, ParsedExchange, Person, Resume, Shown, Step, TaskSubject,
    VerifiedSubject,
};
use mandate_model::task::Task;
use mandate_model::{Instance, Secret, SpiffeId, TaskId, Thumbprint, Timestamp};
use mandate_ports::{Evidence, PeerProcess, PersonRefusal};
use mandate_token::dpop::DpopProof;

use super::refusal::{Caller, Refusal, Refused};
use crate::Authority;
use crate::listen::{Connection, Origin};
use crate::possession::ShownProof;
use crate::world::{LiveBundle, World};

/// One try at one exchange.
pub(super) struct Chain<'a> {
    pub(super) at: &'a Connection,
    pub(super) world: &'a World,
    pub(super) live: &'a LiveBundle,
    pub(super) now: Timestamp,
    pub(super) fresh: Fresh,
    pub(super) shown: &'a mut ShownProof,
}

/// The pure chain's view of a snapshot.
pub(crate) fn exchange_world<'a>(
    authority: &'a Authority,
    world: &'a World,
    live: &'a LiveBundle,
    now: Timestamp,
) -> exchange::World<'a> {
    let config = authority.config();
    exchange::World {
        now,
        issuer: &config.issuer,
        trust_domain: &config.trust_domain,
        bundle: &live.bundle,
        bundle_version: live.version,
        stops: &world.stops,
        keys: &world.keys.set,
        signatures: &*world.keys.seen,
        lifetimes: &config.lifetimes,
    }
}

/// Authenticates a client. One that is stopped or not declared any more has proved what it is all
/// the same: its refusal is recorded under its name and not among those of nobody (C3).
pub(crate) fn authenticate(
    step: &'static str,
    assertion: Option<&str>,
    proof: Option<&DpopProof>,
    view: &exchange::World<'_>,
    world: &World,
) -> Result<(AuthenticatedClient, Caller), Refused> {
    known(
        step,
        (assertion, proof),
        view,
        world,
        IdentifiedClient::admit,
    )
}

/// Authenticates a client that wants to end something: as [`authenticate`], but its type need not be
/// declared any more.
pub(crate) fn authenticate_leaving(
    step: &'static str,
    assertion: Option<&str>,
    proof: Option<&DpopProof>,
    view: &exchange::World<'_>,
    world: &World,
) -> Result<(LeavingClient, Caller), Refused> {
    known(
        step,
        (assertion, proof),
        view,
        world,
        IdentifiedClient::leave,
    )
}

fn known<'w, C>(
    step: &'static str,
    (assertion, proof): (Option<&str>, Option<&DpopProof>),
    view: &exchange::World<'w>,
    world: &World,
    admit: impl FnOnce(IdentifiedClient, &exchange::World<'w>) -> Result<C, ExchangeError>,
) -> Result<(C, Caller), Refused> {
    let identified = exchange::identify(assertion, proof, view).map_err(Refused::early)?;
    let caller = Caller::client(step, &identified, world);
    match admit(identified, view) {
        Ok(client) => Ok((client, caller)),
        Err(why) => Err(caller.refused(why.into())),
    }
}

impl Chain<'_> {
    /// Grants, or names the rule and who broke it.
    pub(super) async fn decide(
        &mut self,
        parsed: &ParsedExchange,
    ) -> Result<(Grant, Caller), Refused> {
        let step = super::name_of(&parsed.step);
        if let Step::Attest {
            evidence,
            audience,
            claimed,
        } = &parsed.step
        {
            let asked = (audience.as_deref(), claimed.as_ref());
            return self.attest(evidence, asked).await;
        }
        let assertion = parsed.client_assertion.as_deref();
        let proof = self.shown.proof();
        let (client, mut caller) = authenticate(step, assertion, proof, &self.view(), self.world)?;
        if let Err(why) = self.shown.take(&self.at.authority) {
            return Err(caller.refused(why));
        }
        if let Err(why) = client.check_id(parsed.client_id.as_deref()) {
            return Err(caller.refused(why.into()));
        }
        match self.step(&client, &parsed.step, &mut caller).await {
            Ok(grant) => Ok((grant, caller)),
            Err(why) => Err(caller.refused(why)),
        }
    }

    async fn step(
        &self,
        client: &AuthenticatedClient,
        step: &Step,
        caller: &mut Caller,
    ) -> Result<Grant, Refusal> {
        let (world, fresh) = (&self.view(), &self.fresh);
        Ok(match step {
            // Evidence authenticates it, not an assertion: it has gone another way.
            Step::Attest { .. } => return Err(Refusal::NoPeer),
            Step::AttestHosted {
                hosted,
                audience,
                subject_token,
            } => {
                let audience = audience.as_deref();
                exchange::attest_hosted(client, hosted, subject_token, audience, world, fresh)?
            }
            Step::Open(open) => {
                let person = self.person(client, open).await?;
                exchange::open(client, open, person.as_ref(), world, fresh)?
            }
            Step::Delegate(asked) => {
                let subject = self.subject(&asked.subject_token, caller).await?;
                exchange::delegate(client, asked, &subject, world, fresh)?
            }
            Step::Renew {
                subject_token,
                entries,
                scope,
            } => {
                let subject = self.subject(subject_token, caller).await?;
                exchange::renew(
                    client,
                    &subject,
                    entries.as_ref(),
                    scope.as_deref(),
                    world,
                    fresh,
                )?
            }
            Step::Resume(resume) => self.resume(client, resume, caller).await?,
            Step::Access {
                subject_token,
                resource,
                scope,
                entries,
            } => {
                let subject = self.subject(subject_token, caller).await?;
                caller.for_resource(resource, self.live);
                let asked = (entries.as_ref(), scope.as_deref());
                exchange::access(client, &subject, resource, asked, world, fresh)?
            }
        })
    }

    async fn attest(
        &mut self,
        shown: &Shown,
        (audience, claimed): (Option<&str>, Option<&SpiffeId>),
    ) -> Result<(Grant, Caller), Refused> {
        let evidence = self.evidence(shown)?;
        let attestor = &self.at.authority.ports().attestor;
        let attested = attestor
            .attest(evidence, &self.live.bundle)
            .await
            .map_err(|why| Refused::early(Refusal::Evidence(why)))?;
        // Reading executables takes its time.
        self.now = self.at.authority.now();
        let evident = Evident {
            agent: attested.agent,
            provider: attested.provider,
            instance: attested.instance,
            kind: attested.kind,
            facts: attested.facts,
            once: attested.once.map(|once| (once.scope, once.id, once.until)),
        };
        let domain = &self.at.authority.config().trust_domain;
        let caller = Caller::attested(domain.agent(&evident.agent), &evident, self.world);
        if let Err(why) = self.shown.take(&self.at.authority) {
            return Err(caller.refused(why));
        }
        let keyed = Keyed {
            proof: self.shown.proof(),
            live: self.live_key(&evident).await.map_err(Refused::early)?,
        };
        let view = self.view();
        match exchange::attest(evident, keyed, audience, claimed, &view, &self.fresh) {
            Ok(grant) => Ok((grant, caller)),
            Err(why) => Err(caller.refused(why.into())),
        }
    }

    async fn live_key(&self, evident: &Evident) -> Result<Option<Thumbprint>, Refusal> {
        let instance = Instance {
            provider: evident.provider.clone(),
            id: evident.instance.clone(),
        };
        let state = &self.at.authority.ports().state;
        let live = state.live_key(&instance, self.now).await;
        live.map_err(|why| {
            tracing::error!(%why, "the key of an instance could not be read");
            Refusal::Unavailable
        })
    }

    fn evidence(&self, shown: &Shown) -> Result<Evidence, Refused> {
        match (shown, &self.at.origin) {
            (Shown::Process, Origin::Process(peer)) => same_process(peer)
                .map(Evidence::Process)
                .map_err(|_| Refused::unavailable()),
            (Shown::Process, _) => Err(Refused::early(Refusal::NoPeer)),
            (Shown::Token(token), _) => Ok(Evidence::Token(Secret::new(token.clone()))),
            (Shown::Aws(request), _) => Ok(Evidence::Aws(Secret::new(request.clone()))),
        }
    }

    async fn person(
        &self,
        client: &AuthenticatedClient,
        open: &Open,
    ) -> Result<Option<Person>, Refusal> {
        let OpenSubject::IdToken(token) = &open.subject else {
            return Ok(None);
        };
        let people = &self.at.authority.ports().people;
        let mut refusal = None;
        for provider in exchange::user_providers(client, open, token, &self.view())? {
            let verified = people.verify(&provider, token, &self.live.bundle, self.now);
            match verified.await {
                Ok(token) => return Ok(Some(Person { provider, token })),
                // A provider that could not be asked might have let it pass.
                Err(why) if matches!(why, PersonRefusal::Unavailable(_)) => refusal = Some(why),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        Err(refusal.map_or(Refusal::Unavailable, Refusal::from))
    }

    async fn subject(&self, token: &str, caller: &mut Caller) -> Result<VerifiedSubject, Refusal> {
        let view = self.view();
        let token = exchange::verify_task_token(token, &view)?;
        let line = line_of(&self.at.authority, &token).await?;
        if let Some(task) = line.iter().find(|task| task.record.id == token.task()) {
            caller.in_task(task);
        }
        let subject = token.confirm(&line, &view)?;
        caller.shows(subject.token());
        Ok(subject)
    }

    async fn resume(
        &self,
        client: &AuthenticatedClient,
        resume: &Resume,
        caller: &mut Caller,
    ) -> Result<Grant, Refusal> {
        let unknown = exchange::SubjectError::UnknownTask(resume.task);
        let unknown = exchange::ExchangeError::Subject(unknown);
        if resume.by_parent {
            let parent = self.subject(&resume.subject_token, caller).await?;
            let task = self.task(resume.task).await?.ok_or(unknown)?;
            Ok(exchange::resume_by_parent(
                client,
                &parent,
                &task,
                &self.view(),
                &self.fresh,
            )?)
        } else {
            let task = self.task(resume.task).await?.ok_or(unknown)?;
            let token = &resume.subject_token;
            Ok(exchange::resume_by_opener(
                client,
                token,
                &task,
                &self.view(),
                &self.fresh,
            )?)
        }
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, Refusal> {
        load(&self.at.authority, id).await
    }

    fn view(&self) -> exchange::World<'_> {
        exchange_world(&self.at.authority, self.world, self.live, self.now)
    }
}

/// What the store has for the tasks on the path of `token`, root first.
pub(crate) async fn line_of(
    authority: &Authority,
    token: &TaskSubject,
) -> Result<Vec<Task>, Refusal> {
    let mut line = Vec::new();
    for id in token.path() {
        line.extend(load(authority, id).await?);
    }
    Ok(line)
}

async fn load(authority: &Authority, id: TaskId) -> Result<Option<Task>, Refusal> {
    authority.ports().state.task(id).await.map_err(|why| {
        tracing::error!(%why, "a task could not be read");
        Refusal::Unavailable
    })
}

/// The same process once more: the pidfd refers to it and to no other, whoever has its pid by now.
fn same_process(peer: &PeerProcess) -> std::io::Result<PeerProcess> {
    Ok(PeerProcess {
        pidfd: peer.pidfd.try_clone()?,
        pid: peer.pid,
        uid: peer.uid,
        gid: peer.gid,
    })
}
