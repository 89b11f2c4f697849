//! Providers and rules of the platforms, with values to be replaced by one's own.

/// Where the agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Platform {
    /// A process of the authority's machine
    Process,
    /// A pod of a Kubernetes cluster
    Kubernetes,
    /// A pod of an EKS cluster
    Eks,
    /// A workload with tokens of an OpenID provider
    Oidc,
    /// A workload with JWT-SVIDs of another SPIFFE trust domain
    Spiffe,
    /// Cloud Run or Compute Engine
    Google,
    /// A job of GitHub Actions
    Github,
    /// A job of GitLab CI
    Gitlab,
    /// A managed identity of Azure
    Azure,
    /// A role of AWS with web identity tokens
    AwsToken,
    /// A role of AWS that signs requests
    Aws,
}

/// A provider's spec and a rule that names it.
pub(super) struct Template {
    pub(super) provider: &'static str,
    pub(super) rule: &'static str,
}

impl Platform {
    /// What is written for it; nothing for processes, whose provider is built in.
    pub(super) fn template(self) -> Option<Template> {
        let (provider, rule) = match self {
            Platform::Process => return None,
            Platform::Kubernetes => (
                "{kubernetes: {issuer: https://kubernetes.default.svc, audience: mandate, apiServer: https://kubernetes.default.svc}}",
                "{kubernetes: {provider: platform, serviceAccount: agents/@agent}}",
            ),
            Platform::Eks => (
                "{eks: {region: eu-central-1, id: \"00000000000000000000000000000000\", audience: mandate, apiServer: https://kubernetes.default.svc}}",
                "{kubernetes: {provider: platform, serviceAccount: agents/@agent}}",
            ),
            Platform::Oidc => (
                "{oidc: {issuer: https://login.example, audience: mandate}}",
                "{oidc: {provider: platform, claims: {sub: @agent}}}",
            ),
            Platform::Spiffe => (
                "{spiffe: {trustDomain: other.example, bundleEndpoint: {url: https://spire.example/bundle, profile: https_web}}}",
                "{spiffe: {provider: platform, id: spiffe://other.example/@agent}}",
            ),
            Platform::Google => (
                "{google: {audience: mandate, projects: [my-project]}}",
                "{google: {provider: platform, serviceAccount: @agent@my-project.iam.gserviceaccount.com}}",
            ),
            Platform::Github => (
                "{github: {audience: mandate}}",
                "{github: {provider: platform, repositoryId: \"0\", ownerId: \"0\", events: [push], ref: refs/heads/main}}",
            ),
            Platform::Gitlab => (
                "{gitlab: {audience: mandate}}",
                "{gitlab: {provider: platform, projectId: \"0\", namespaceId: \"0\", ref: main, refType: branch}}",
            ),
            Platform::Azure => (
                "{azure: {tenant: 00000000-0000-0000-0000-000000000000, audience: api://mandate}}",
                "{azure: {provider: platform, objectId: 00000000-0000-0000-0000-000000000000}}",
            ),
            Platform::AwsToken => (
                "{awsToken: {issuer: \"https://issuer.tokens.sts.global.api.aws\", account: \"000000000000\", audience: mandate}}",
                "{awsToken: {provider: platform, role: \"arn:aws:iam::000000000000:role/@agent\"}}",
            ),
            Platform::Aws => (
                "{aws: {accounts: [\"000000000000\"], regions: [eu-central-1]}}",
                "{aws: {provider: platform, role: \"arn:aws:iam::000000000000:role/@agent\"}}",
            ),
        };
        Some(Template { provider, rule })
    }
}
