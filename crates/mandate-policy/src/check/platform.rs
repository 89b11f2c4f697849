//! Issuers that a preset is for. Their tokens name things that can be given up and taken over by somebody
//! else (FAILURES 29), or come from everybody's issuer; what pins them is the preset's to say.

use mandate_model::AttestationKind;

/// A platform whose tokens have a preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Platform {
    /// For messages.
    pub(super) name: &'static str,
    /// What vouches for its tokens.
    pub(super) kind: AttestationKind,
    /// As a bundle says it.
    pub(super) preset: &'static str,
}

/// Whose issuer this is, however it is spelled: by its host alone, without letter case, port, or dot at its
/// end (RFC 3986 §6.2.2.1, §6.2.3), and whatever its path is.
pub(super) fn of(issuer: &str) -> Option<Platform> {
    let host = host(issuer)?;
    let platform = |name, kind, preset| Some(Platform { name, kind, preset });
    match host.as_str() {
        "accounts.google.com" => platform("Google", AttestationKind::Google, "google"),
        "token.actions.githubusercontent.com" => {
            platform("GitHub Actions", AttestationKind::Github, "github")
        }
        "gitlab.com" => platform("GitLab", AttestationKind::Gitlab, "gitlab"),
        "login.microsoftonline.com" | "sts.windows.net" => {
            platform("Azure", AttestationKind::Azure, "azure")
        }
        "container.googleapis.com" => platform(
            "Google's Kubernetes",
            AttestationKind::Kubernetes,
            "kubernetes",
        ),
        other if other.ends_with(".oic.prod-aks.azure.com") => platform(
            "Azure's Kubernetes",
            AttestationKind::Kubernetes,
            "kubernetes",
        ),
        other if other.starts_with("oidc.eks.") && other.contains(".amazonaws.com") => {
            platform("AWS's Kubernetes", AttestationKind::Kubernetes, "eks")
        }
        other if other.ends_with(".tokens.sts.global.api.aws") => {
            platform("AWS", AttestationKind::AwsToken, "awsToken")
        }
        _other => None,
    }
}

fn host(issuer: &str) -> Option<String> {
    let (_scheme, rest) = issuer.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platforms_issuer_is_known_however_it_is_spelled() {
        for issuer in [
            "https://token.actions.githubusercontent.com",
            "https://token.actions.githubusercontent.com/",
            "https://token.actions.githubusercontent.com/acme",
            "https://token.actions.githubusercontent.com:443",
            "https://token.actions.githubusercontent.com.",
            "HTTPS://Token.Actions.GitHubUserContent.COM",
        ] {
            assert_eq!(of(issuer).map(|p| p.preset), Some("github"), "{issuer}");
        }
        for (issuer, preset) in [
            ("https://accounts.google.com", "google"),
            ("https://gitlab.com:443/", "gitlab"),
            (
                "https://sts.windows.net/11111111-2222-3333-4444-555555555555/",
                "azure",
            ),
            ("https://login.microsoftonline.com/x/v2.0", "azure"),
            ("https://oidc.eks.eu-central-1.amazonaws.com/id/0123", "eks"),
            (
                "https://container.googleapis.com/v1/projects/p",
                "kubernetes",
            ),
            ("https://eu.oic.prod-aks.azure.com/t/u/", "kubernetes"),
            ("https://0123.tokens.sts.global.api.aws", "awsToken"),
        ] {
            assert_eq!(of(issuer).map(|p| p.preset), Some(preset), "{issuer}");
        }
    }

    #[test]
    fn an_issuer_that_only_looks_like_a_platforms_is_none() {
        for issuer in [
            "https://gitlab.acme.example",
            "https://notgitlab.com",
            "https://gitlab.com.acme.example",
            "https://acme.example/gitlab.com",
            "https://gitlab.com@acme.example",
            "gitlab.com",
        ] {
            assert_eq!(of(issuer), None, "{issuer}");
        }
    }
}
