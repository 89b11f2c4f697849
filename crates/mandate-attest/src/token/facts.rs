//! What of a token is recorded.

use std::collections::BTreeMap;

use mandate_model::AttestationKind;
use mandate_policy::decl::ClaimPath;
use mandate_token::EvidenceToken;
use serde_json::Value;

/// The claims of a verified token that say what it is of. Never the token.
pub(super) fn of(token: &EvidenceToken, kind: AttestationKind) -> BTreeMap<String, String> {
    let of_kind = claims_of(kind).iter();
    let mut facts: BTreeMap<String, String> = [("subject", "sub"), ("jti", "jti")]
        .iter()
        .chain(of_kind)
        .filter_map(|(name, path)| {
            let value = ClaimPath::parse(path).ok()?.find(token.claims())?.clone();
            Some(((*name).to_owned(), shown(&value)?))
        })
        .collect();
    let reviewed = match kind {
        AttestationKind::Kubernetes => Some("true"),
        AttestationKind::KubernetesOffline => Some("false"),
        AttestationKind::Process
        | AttestationKind::ProcessWeak
        | AttestationKind::Hosted
        | AttestationKind::Oidc
        | AttestationKind::Google
        | AttestationKind::Github
        | AttestationKind::Gitlab
        | AttestationKind::Azure
        | AttestationKind::AwsToken
        | AttestationKind::Aws
        | AttestationKind::Spiffe => None,
    };
    facts.extend(reviewed.map(|said| ("reviewed".to_owned(), said.to_owned())));
    facts
}

fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let plain = text.chars().filter(|c| !c.is_control());
    Some(plain.take(MAX_FACT).collect())
}

type Claims = &'static [(&'static str, &'static str)];

fn claims_of(kind: AttestationKind) -> Claims {
    match kind {
        AttestationKind::Kubernetes | AttestationKind::KubernetesOffline => KUBERNETES,
        AttestationKind::Google => GOOGLE,
        AttestationKind::Github => GITHUB,
        AttestationKind::Gitlab => GITLAB,
        AttestationKind::Azure => AZURE,
        AttestationKind::AwsToken => AWS_TOKEN,
        AttestationKind::Oidc => &[("client_id", "client_id"), ("azp", "azp")],
        AttestationKind::Process
        | AttestationKind::ProcessWeak
        | AttestationKind::Hosted
        | AttestationKind::Aws
        | AttestationKind::Spiffe => &[],
    }
}

const MAX_FACT: usize = 256;

const KUBERNETES: Claims = &[
    ("namespace", "/kubernetes.io/namespace"),
    ("service_account", "/kubernetes.io/serviceaccount/name"),
    ("service_account_uid", "/kubernetes.io/serviceaccount/uid"),
    ("pod", "/kubernetes.io/pod/name"),
    ("pod_uid", "/kubernetes.io/pod/uid"),
    ("node", "/kubernetes.io/node/name"),
    ("node_uid", "/kubernetes.io/node/uid"),
];
const GOOGLE: Claims = &[
    ("email", "email"),
    ("project", "/google/compute_engine/project_id"),
    ("zone", "/google/compute_engine/zone"),
    ("instance_id", "/google/compute_engine/instance_id"),
    ("instance_name", "/google/compute_engine/instance_name"),
];
const GITHUB: Claims = &[
    ("repository", "repository"),
    ("repository_id", "repository_id"),
    ("repository_owner_id", "repository_owner_id"),
    ("job_workflow_ref", "job_workflow_ref"),
    ("ref", "ref"),
    ("sha", "sha"),
    ("event_name", "event_name"),
    ("environment", "environment"),
    ("actor_id", "actor_id"),
    ("run_id", "run_id"),
    ("run_attempt", "run_attempt"),
];
const GITLAB: Claims = &[
    ("project_path", "project_path"),
    ("project_id", "project_id"),
    ("namespace_id", "namespace_id"),
    ("ref", "ref"),
    ("ref_protected", "ref_protected"),
    ("pipeline_source", "pipeline_source"),
    ("pipeline_id", "pipeline_id"),
    ("job_id", "job_id"),
    ("user_id", "user_id"),
];
const AZURE: Claims = &[
    ("tid", "tid"),
    ("oid", "oid"),
    ("xms_mirid", "xms_mirid"),
    ("appid", "appid"),
];
const AWS_TOKEN: Claims = &[
    ("account", "/https:~1~1sts.amazonaws.com~1/aws_account"),
    (
        "source_region",
        "/https:~1~1sts.amazonaws.com~1/source_region",
    ),
    (
        "lambda_source_function_arn",
        "/https:~1~1sts.amazonaws.com~1/lambda_source_function_arn",
    ),
];
