//! Every attestor behind one port.

use async_trait::async_trait;
use mandate_policy::Bundle;
use mandate_ports::{AttestRefusal, Attested, Attestor, Evidence, ShownFrom};

use crate::{AwsAttestor, ProcessAttestor, TokenAttestor};

/// Sends each kind of evidence to the attestor that knows it.
pub struct Attestors {
    processes: ProcessAttestor,
    tokens: TokenAttestor,
    aws: AwsAttestor,
}

impl Attestors {
    /// These attestors.
    pub fn new(processes: ProcessAttestor, tokens: TokenAttestor, aws: AwsAttestor) -> Self {
        Self {
            processes,
            tokens,
            aws,
        }
    }
}

#[async_trait]
impl Attestor for Attestors {
    async fn attest(
        &self,
        evidence: Evidence,
        from: &ShownFrom,
        bundle: &Bundle,
    ) -> Result<Attested, AttestRefusal> {
        match evidence {
            Evidence::Process(_) => self.processes.attest(evidence, from, bundle).await,
            Evidence::Token(_) => self.tokens.attest(evidence, from, bundle).await,
            Evidence::Aws(_) => self.aws.attest(evidence, from, bundle).await,
        }
    }
}
