//! Whom a suspension is about, in words.

use mandate_model::stop::Subject;
use mandate_model::{
    AgentTypeName, GatewayId, InstanceId, KeyId, Principal, ProviderName, ServerName, TaskId,
    TrustDomain,
};

use crate::failure::Failure;

/// The subject of `suspend` and `resume`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SubjectWords {
    /// `agent NAME`, `instance PROVIDER/ID`, `task ID`, `principal NAME`, `server NAME`,
    /// `provider NAME`, `gateway ID`, `key ID` or `everything`
    #[arg(required = true, num_args = 1..=2, value_names = ["KIND", "NAME"])]
    words: Vec<String>,
}

impl SubjectWords {
    /// The subject. `domain` is asked for where an agent type's SPIFFE ID has to be made.
    pub(crate) fn parse(&self, domain: &TrustDomain) -> Result<Subject, Failure> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        parse(&words, domain).map_err(|why| {
            Failure::usage(
                why,
                "write: agent NAME, instance PROVIDER/ID, task ID, principal NAME, server NAME, provider NAME, gateway ID, key ID, or everything",
            )
        })
    }
}

fn parse(words: &[&str], domain: &TrustDomain) -> Result<Subject, String> {
    let (kind, name) = match words {
        ["everything"] => return Ok(Subject::Everything),
        [kind, name] => (*kind, *name),
        _ => return Err("a subject is a kind and a name".to_owned()),
    };
    let text = |error: &dyn std::fmt::Display| error.to_string();
    Ok(match kind {
        "agent" => Subject::Agent {
            id: agent(name, domain)?,
        },
        "instance" => instance(name)?,
        "task" => Subject::Task {
            id: TaskId::parse(name).map_err(|e| text(&e))?,
        },
        "principal" => Subject::Principal {
            id: Principal::parse(name).map_err(|e| text(&e))?,
        },
        "server" => Subject::Server {
            name: ServerName::parse(name).map_err(|e| text(&e))?,
        },
        "provider" => Subject::Provider {
            name: ProviderName::parse(name).map_err(|e| text(&e))?,
        },
        "gateway" => Subject::Gateway {
            id: GatewayId::parse(name).map_err(|e| text(&e))?,
        },
        "key" => Subject::Key {
            id: KeyId::parse(name).map_err(|e| text(&e))?,
        },
        other => return Err(format!("`{other}` is no kind of subject")),
    })
}

/// An agent type by its name or its SPIFFE ID.
pub(crate) fn agent(name: &str, domain: &TrustDomain) -> Result<mandate_model::SpiffeId, String> {
    if name.starts_with("spiffe://") {
        return mandate_model::SpiffeId::parse(name).map_err(|e| e.to_string());
    }
    let name = AgentTypeName::parse(name).map_err(|e| e.to_string())?;
    Ok(domain.agent(&name))
}

fn instance(name: &str) -> Result<Subject, String> {
    let (provider, id) = name
        .split_once('/')
        .ok_or_else(|| format!("`{name}` is no instance: PROVIDER/ID"))?;
    Ok(Subject::Instance {
        provider: ProviderName::parse(provider).map_err(|e| e.to_string())?,
        id: InstanceId::parse(id).map_err(|e| e.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_subject_prints_is_what_it_is_parsed_from() {
        let domain = TrustDomain::parse("acme.example").unwrap();
        let task = "task task-0190a5b4-7e6c-7a11-8a11-0123456789ab";
        for text in [
            "agent retriever",
            "instance process/i1",
            task,
            "principal user:login:alice",
            "server records",
            "provider login",
            "gateway g1",
            "key k1",
            "everything",
        ] {
            let words: Vec<&str> = text.split(' ').collect();
            assert_eq!(parse(&words, &domain).unwrap().to_string(), text);
        }
        for bad in [
            &["agent"][..],
            &["agents", "x"],
            &["instance", "x"],
            &["agent", "A"],
        ] {
            assert!(parse(bad, &domain).is_err(), "{bad:?}");
        }
    }
}
