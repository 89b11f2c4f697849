//! Stops by subject: a look-up for each part of a lineage, borrowed, so that a decision allocates
//! nothing for it however many subjects were suspended and resumed.

use std::collections::HashMap;
use std::hash::Hash;

use super::{Lineage, Resumption, Stopped, Subject, Suspension};
use crate::{
    ActorLevel, GatewayId, InstanceId, KeyId, Principal, ProviderName, ServerName, SpiffeId, TaskId,
};

/// What is known of each subject that is suspended or was resumed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BySubject {
    everything: Option<Known>,
    agents: HashMap<SpiffeId, Known>,
    instances: HashMap<ProviderName, HashMap<InstanceId, Known>>,
    tasks: HashMap<TaskId, Known>,
    principals: HashMap<Principal, Known>,
    servers: HashMap<ServerName, Known>,
    providers: HashMap<ProviderName, Known>,
    gateways: HashMap<GatewayId, Known>,
    keys: HashMap<KeyId, Known>,
}

/// Both may be there: suspended again since it was resumed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    suspension: Option<Suspension>,
    resumption: Option<Resumption>,
}

impl BySubject {
    pub(super) fn new(
        suspensions: impl IntoIterator<Item = Suspension>,
        resumptions: impl IntoIterator<Item = Resumption>,
    ) -> Self {
        let mut known = Self::default();
        known.suspend(suspensions);
        for resumption in resumptions {
            known.resume(resumption);
        }
        known
    }

    /// Of two of one subject the earlier one holds, as in the store: it is whose it was, and what was durable
    /// is not taken for something that may be lost.
    pub(super) fn suspend(&mut self, suspensions: impl IntoIterator<Item = Suspension>) {
        for suspension in suspensions {
            let known = &mut self.entry(&suspension.subject).suspension;
            if known
                .as_ref()
                .is_none_or(|k| suspension.version < k.version)
            {
                *known = Some(suspension);
            }
        }
    }

    /// Of two of one subject the later one holds: what it leaves void includes the other's.
    fn resume(&mut self, resumption: Resumption) {
        let known = &mut self.entry(&resumption.subject).resumption;
        if known
            .as_ref()
            .is_none_or(|k| k.version < resumption.version)
        {
            *known = Some(resumption);
        }
    }

    fn entry(&mut self, subject: &Subject) -> &mut Known {
        match subject {
            Subject::Everything => self.everything.get_or_insert_default(),
            Subject::Agent { id } => self.agents.entry(id.clone()).or_default(),
            Subject::Instance { provider, id } => self
                .instances
                .entry(provider.clone())
                .or_default()
                .entry(id.clone())
                .or_default(),
            Subject::Task { id } => self.tasks.entry(*id).or_default(),
            Subject::Principal { id } => self.principals.entry(id.clone()).or_default(),
            Subject::Server { name } => self.servers.entry(name.clone()).or_default(),
            Subject::Provider { name } => self.providers.entry(name.clone()).or_default(),
            Subject::Gateway { id } => self.gateways.entry(id.clone()).or_default(),
            Subject::Key { id } => self.keys.entry(id.clone()).or_default(),
        }
    }

    fn known(&self, subject: &Subject) -> Option<&Known> {
        match subject {
            Subject::Everything => self.everything.as_ref(),
            Subject::Agent { id } => self.agents.get(id),
            Subject::Instance { provider, id } => self.instance(provider, id),
            Subject::Task { id } => self.tasks.get(id),
            Subject::Principal { id } => self.principals.get(id),
            Subject::Server { name } => self.servers.get(name),
            Subject::Provider { name } => self.providers.get(name),
            Subject::Gateway { id } => self.gateways.get(id),
            Subject::Key { id } => self.keys.get(id),
        }
    }

    fn instance(&self, provider: &ProviderName, id: &InstanceId) -> Option<&Known> {
        self.instances.get(provider)?.get(id)
    }

    pub(super) fn suspension(&self, subject: &Subject) -> Option<&Suspension> {
        self.known(subject)?.suspension.as_ref()
    }

    pub(super) fn suspensions(&self) -> impl Iterator<Item = &Suspension> {
        self.all().filter_map(|known| known.suspension.as_ref())
    }

    pub(super) fn resumptions(&self) -> impl Iterator<Item = &Resumption> {
        self.all().filter_map(|known| known.resumption.as_ref())
    }

    fn all(&self) -> impl Iterator<Item = &Known> {
        let instances = self.instances.values().flat_map(HashMap::values);
        self.everything
            .iter()
            .chain(self.agents.values())
            .chain(instances)
            .chain(self.tasks.values())
            .chain(self.principals.values())
            .chain(self.servers.values())
            .chain(self.providers.values())
            .chain(self.gateways.values())
            .chain(self.keys.values())
    }

    /// A suspension anywhere in `lineage`; otherwise a resumption anywhere in it after its token was
    /// issued.
    pub(super) fn check(&self, lineage: &Lineage<'_>) -> Result<(), Stopped> {
        let mut void = None;
        for known in self.matching(lineage) {
            if let Some(suspension) = &known.suspension {
                return Err(Stopped::Suspended(suspension.subject.clone()));
            }
            void = void.or(known.voids(lineage));
        }
        match void {
            Some(subject) => Err(Stopped::IssuedBefore(subject.clone())),
            None => Ok(()),
        }
    }

    /// Every part of a lineage that a subject can name (A1).
    fn matching<'a>(&'a self, lineage: &'a Lineage<'_>) -> impl Iterator<Item = &'a Known> {
        let actors = lineage.actors.iter();
        let tasks = lineage.path.iter();
        let keys = lineage.keys.iter();
        let trigger = lineage.trigger_provider;
        let everything = self.everything.iter().filter(|_| !lineage.operates);
        everything
            .chain(actors.flat_map(|actor| self.of_actor(actor)))
            .chain(tasks.filter_map(|id| look(&self.tasks, id)))
            .chain(keys.filter_map(|id| look(&self.keys, id)))
            .chain(lineage.recipient.and_then(|id| look(&self.agents, id)))
            .chain(lineage.principal.and_then(|id| look(&self.principals, id)))
            .chain(trigger.and_then(|name| look(&self.providers, name)))
            .chain(lineage.server.and_then(|name| look(&self.servers, name)))
            .chain(lineage.gateway.and_then(|id| look(&self.gateways, id)))
    }

    /// An agent, its instance, its provider; and the same of its host.
    fn of_actor<'a>(&'a self, actor: &'a ActorLevel) -> impl Iterator<Item = &'a Known> {
        let host = actor.host.as_ref();
        let instances = self.instances.get(&actor.prv);
        let instance = |id: &InstanceId| instances.and_then(|known| known.get(id));
        [
            look(&self.agents, &actor.sub),
            instance(&actor.inst),
            look(&self.providers, &actor.prv),
            host.and_then(|host| look(&self.agents, &host.sub)),
            host.and_then(|host| instance(&host.inst)),
        ]
        .into_iter()
        .flatten()
    }
}

impl Known {
    /// The subject, if the lineage's token was issued before it was resumed.
    fn voids(&self, lineage: &Lineage<'_>) -> Option<&Subject> {
        let resumption = self.resumption.as_ref()?;
        let token = lineage.token?;
        (token.stops < resumption.version).then_some(&resumption.subject)
    }
}

/// Hashes nothing where nothing of the kind was ever suspended: most of the time.
fn look<'a, K: Hash + Eq>(known: &'a HashMap<K, Known>, key: &K) -> Option<&'a Known> {
    if known.is_empty() {
        None
    } else {
        known.get(key)
    }
}
