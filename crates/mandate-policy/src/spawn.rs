//! Delegating and hosting (A6): two rights beside holding and exercising.

use mandate_model::mandate::Entries;
use mandate_model::{ActionName, AgentTypeName, ServerName};

use crate::Bundle;

/// Why a task may not be delegated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnDenial {
    /// There is no such agent type.
    #[error("no agent type is named `{0}`")]
    UnknownAgent(AgentTypeName),
    /// The parent's `maySpawn` does not name the child.
    #[error("`maySpawn` of `{parent}` does not name `{child}`")]
    Child {
        /// The delegating agent type.
        parent: AgentTypeName,
        /// The agent type that would work.
        child: AgentTypeName,
    },
    /// The parent's `maySpawn` does not hand this to the child.
    #[error("`maySpawn` of `{parent}` does not hand `{server}:{action}` to `{child}`")]
    Entry {
        /// The delegating agent type.
        parent: AgentTypeName,
        /// The agent type that would work.
        child: AgentTypeName,
        /// The server workload of the first entry that is too much.
        server: ServerName,
        /// Its action.
        action: ActionName,
    },
}

/// Why an agent may not be hosted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostDenial {
    /// There is no such agent type.
    #[error("no agent type is named `{0}`")]
    UnknownAgent(AgentTypeName),
    /// `hostedBy` does not name the host.
    #[error("`hostedBy` of `{hosted}` does not name `{host}`")]
    Host {
        /// The agent type whose process it is.
        host: AgentTypeName,
        /// The agent type that would run there.
        hosted: AgentTypeName,
    },
}

impl Bundle {
    /// Whether an agent of type `parent` may delegate `entries` to one of type `child`. Cedar
    /// decides each entry.
    ///
    /// What the parent may exercise itself does not matter, and neither does what its task's
    /// mandate covers: `narrow` decides that.
    pub fn may_spawn(
        &self,
        parent: &AgentTypeName,
        child: &AgentTypeName,
        entries: &Entries,
    ) -> Result<(), SpawnDenial> {
        self.known(parent).map_err(SpawnDenial::UnknownAgent)?;
        self.known(child).map_err(SpawnDenial::UnknownAgent)?;
        let rights = &self.engine.rights;
        if !rights.may_spawn(parent, child) {
            let (parent, child) = (parent.clone(), child.clone());
            return Err(SpawnDenial::Child { parent, child });
        }
        let outside = entries
            .iter()
            .find(|e| !rights.may_delegate(parent, child, e));
        match outside {
            None => Ok(()),
            Some(entry) => Err(SpawnDenial::Entry {
                parent: parent.clone(),
                child: child.clone(),
                server: entry.server.clone(),
                action: entry.action.clone(),
            }),
        }
    }

    /// Whether an agent of type `hosted` may run in a process of type `host` (DESIGN §3.3).
    pub fn may_host(&self, host: &AgentTypeName, hosted: &AgentTypeName) -> Result<(), HostDenial> {
        self.known(host).map_err(HostDenial::UnknownAgent)?;
        self.known(hosted).map_err(HostDenial::UnknownAgent)?;
        if self.engine.rights.may_host(host, hosted) {
            Ok(())
        } else {
            let (host, hosted) = (host.clone(), hosted.clone());
            Err(HostDenial::Host { host, hosted })
        }
    }

    fn known(&self, name: &AgentTypeName) -> Result<(), AgentTypeName> {
        match self.agent(name) {
            Some(_) => Ok(()),
            None => Err(name.clone()),
        }
    }
}
