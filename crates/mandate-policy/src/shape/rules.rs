//! The tables of attestation rules.

use super::Shape::*;
use super::{Field, Shape, optional, required};

/// How an agent type is recognised.
pub(super) static RULES: &[Field] = &[
    optional(
        "process",
        Record(PROCESS_RULE),
        "A process of which the kernel vouches that it runs as this user or in this unit.",
    ),
    optional(
        "kubernetes",
        Record(KUBERNETES_RULE),
        "A pod with this service account.",
    ),
    optional(
        "oidc",
        Record(&[
            PROVIDER,
            required(
                "claims",
                Map(&Claim),
                "What its claims must be; a nested one by its JSON pointer. One of `sub` and `oid` is among them.",
            ),
        ]),
        "A workload with such a token of an OpenID provider.",
    ),
    optional(
        "spiffe",
        Record(&[
            PROVIDER,
            optional("id", Text, "Its SPIFFE ID. This or `under` is needed."),
            optional(
                "under",
                Text,
                "Any SPIFFE ID below this one, by whole path segments.",
            ),
        ]),
        "A workload with such a JWT-SVID.",
    ),
    optional(
        "google",
        Record(GOOGLE_RULE),
        "A service account of Google's.",
    ),
    optional("github", Record(GITHUB_RULE), "A job of GitHub Actions."),
    optional("gitlab", Record(GITLAB_RULE), "A job of GitLab CI."),
    optional(
        "azure",
        Record(&[
            PROVIDER,
            required("objectId", Text, "The managed identity's object id, `oid`."),
            optional(
                "resource",
                Claim,
                "The resource that the identity is of, `xms_mirid`.",
            ),
        ]),
        "A managed identity of Azure.",
    ),
    optional(
        "awsToken",
        Record(&[
            PROVIDER,
            required("role", Text, "The role's ARN, with its path."),
            optional(
                "lambda",
                Text,
                "The ARN of the Lambda function that uses the role.",
            ),
            optional(
                "principalTags",
                Map(&Text),
                "Tags of the role. What a request tags itself with is no evidence.",
            ),
        ]),
        "A role of AWS with such a web identity token.",
    ),
    optional(
        "aws",
        Record(&[
            PROVIDER,
            required("role", Text, "The role's ARN, without its path."),
            optional(
                "roleId",
                Text,
                "The role's unique id, `AROA…`: a role made again under its name has another.",
            ),
        ]),
        "A role of AWS that signs a request.",
    ),
];

const PROVIDER: Field = required("provider", Text, "The trust provider, of the same kind.");

static KUBERNETES_RULE: &[Field] = &[
    PROVIDER,
    required(
        "serviceAccount",
        Text,
        "Namespace and name: `agents/retriever`.",
    ),
    optional("pod", Claim, "The pod's name."),
    optional(
        "node",
        Claim,
        "The node's name. Kubernetes 1.30 and later say it.",
    ),
    optional(
        "bound",
        Word(&["pod", "any"]),
        "Whether the token must be bound to a pod. Default `pod`.",
    ),
];

static GOOGLE_RULE: &[Field] = &[
    PROVIDER,
    required(
        "serviceAccount",
        Text,
        "Its email address, in one of the provider's projects.",
    ),
    optional(
        "uniqueId",
        Text,
        "Its unique id, `sub`: a service account made again under its name has another.",
    ),
    optional(
        "computeEngine",
        Record(&[
            optional("zone", Claim, "The instance's zone."),
            optional("instanceName", Claim, "The instance's name."),
        ]),
        "It must be a Compute Engine instance.",
    ),
];

static GITHUB_RULE: &[Field] = &[
    PROVIDER,
    required(
        "repositoryId",
        Text,
        "`repository_id`: the repository's number.",
    ),
    required(
        "ownerId",
        Text,
        "`repository_owner_id`: the owner's number.",
    ),
    required(
        "events",
        List(&Text),
        "`event_name`: what may start the workflow.",
    ),
    optional(
        "workflow",
        Claim,
        "`job_workflow_ref`: the workflow's file and ref. One of `workflow`, `ref` and `environment` is needed.",
    ),
    optional("ref", Claim, "`ref`: the branch or tag."),
    optional(
        "environment",
        Claim,
        "`environment`: the deployment environment.",
    ),
    optional(
        "runner",
        Word(&["github-hosted", "self-hosted"]),
        "`runner_environment`. Default `github-hosted`.",
    ),
];

static GITLAB_RULE: &[Field] = &[
    PROVIDER,
    required("projectId", Text, "`project_id`: the project's number."),
    required("namespaceId", Text, "`namespace_id`: the group's number."),
    optional(
        "ref",
        Claim,
        "`ref`: the branch or tag. One of `ref` and `environment` is needed.",
    ),
    optional("refType", Word(&["branch", "tag"]), "`ref_type`."),
    optional(
        "environment",
        Claim,
        "`environment`: the deployment environment.",
    ),
    optional(
        "unprotected",
        Word(&["allow"]),
        "Jobs of refs that are not protected may be it too.",
    ),
];

static PROCESS_RULE: &[Field] = &[
    optional(
        "provider",
        Text,
        "A trust provider of kind `process`. Default `process`.",
    ),
    optional(
        "user",
        Text,
        "The effective user, by name. `user`, `uid` or `unit` is needed.",
    ),
    optional("uid", Integer(0), "The effective user, by number."),
    optional(
        "unit",
        Text,
        "The systemd unit, as root's service manager runs it.",
    ),
    optional(
        "path",
        Text,
        "The executable's absolute path. It narrows; it is no boundary.",
    ),
    optional(
        "sha256",
        Text,
        "SHA-256 of the executable, 64 lower-case hex digits.",
    ),
    optional(
        "isolation",
        Word(&["none"]),
        "Other agent types may share the user: what is proved is stamped `process-weak`.",
    ),
];

/// What a claim may be said to be, beside a plain value.
pub(super) static CLAIM: Shape = Record(&[
    optional(
        "like",
        Text,
        "A pattern: each `*` is one or more characters of one segment.",
    ),
    optional("oneOf", List(&Text), "One of these texts."),
    optional("has", Text, "A list that has this text."),
]);
