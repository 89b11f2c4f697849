//! The tables of trust providers.

use super::Shape::*;
use super::{Field, optional, required};

/// Providers that other versions know.
pub(crate) static NOT_YET: &[&str] = &["gcp", "tpm", "x509"];

pub(super) static TRUST_PROVIDER: &[Field] = &[
    optional(
        "oidc",
        Record(OIDC),
        "An OpenID provider, for people or for workloads.",
    ),
    optional(
        "kubernetes",
        Record(KUBERNETES),
        "A Kubernetes cluster and its projected service account tokens.",
    ),
    optional("eks", Record(EKS), "An EKS cluster, by its region and id."),
    optional(
        "spiffe",
        Record(SPIFFE),
        "Another SPIFFE trust domain, whose JWT-SVIDs are evidence.",
    ),
    optional(
        "google",
        Record(GOOGLE),
        "Google, for Cloud Run services and Compute Engine instances.",
    ),
    optional(
        "github",
        Record(&[
            AUDIENCE,
            optional(
                "enterprise",
                Text,
                "The enterprise's slug, where it has an issuer of its own.",
            ),
            MAX_LIFETIME,
            MAX_AGE,
        ]),
        "GitHub Actions.",
    ),
    optional(
        "gitlab",
        Record(&[
            AUDIENCE,
            optional(
                "issuer",
                Text,
                "The instance's URL. Default `https://gitlab.com`.",
            ),
            MAX_LIFETIME,
            MAX_AGE,
        ]),
        "GitLab CI.",
    ),
    optional(
        "azure",
        Record(AZURE),
        "Managed identities of an Azure tenant.",
    ),
    optional(
        "awsToken",
        Record(AWS_TOKEN),
        "An AWS account with outbound web identity federation (`GetWebIdentityToken`).",
    ),
    optional(
        "aws",
        Record(&[
            required(
                "accounts",
                List(&Text),
                "The numbers of the accounts whose roles may be agents.",
            ),
            required(
                "regions",
                List(&Text),
                "The regions whose STS may be asked.",
            ),
        ]),
        "AWS, by signed `GetCallerIdentity` requests.",
    ),
    optional(
        "process",
        Nothing,
        "The kernel of the authority's machine. A provider named `process` of this kind exists without a declaration.",
    ),
];

const AUDIENCE: Field = required(
    "audience",
    Text,
    "The one value of `aud`. One that is made for this authority alone.",
);
const MAX_LIFETIME: Field = optional(
    "maxLifetime",
    Duration,
    "The longest life, from `iat` to `exp`, that a token may have; at most `25h`. Default `1h`, for `azure` `25h`.",
);
const MAX_AGE: Field = optional(
    "maxAge",
    Duration,
    "The greatest age, since `iat`, that a token may have. Default: as long as it may live.",
);
const JWKS_URI: Field = optional(
    "jwksUri",
    Text,
    "Where its keys are, if not where its discovery document says.",
);
const API_SERVER: Field = optional(
    "apiServer",
    Text,
    "The API server that reviews each token: an `https` URL that the authority's attest.yaml has credentials for. Without it, tokens of pods that are gone are good until they expire.",
);

static OIDC: &[Field] = &[
    required(
        "issuer",
        Text,
        "`iss` of its tokens, byte for byte; an `https` URL.",
    ),
    required(
        "audience",
        Text,
        "`aud` of its tokens, alone; of a person's token the client id, and `azp` too where it is there.",
    ),
    JWKS_URI,
    optional(
        "tokenType",
        Word(&["JWT", "at+jwt"]),
        "`typ` of its tokens for workloads. Default `JWT`, or none.",
    ),
    optional(
        "nonce",
        Word(&["required", "optional"]),
        "Whether the ID token of an operator must carry the nonce of `mandate login`, which binds it to this authority. Default `required`.",
    ),
    optional(
        "instance",
        Text,
        "The claim that names a workload's instance. Default `jti`, or else a digest of the token.",
    ),
    MAX_LIFETIME,
    MAX_AGE,
];

static KUBERNETES: &[Field] = &[
    required(
        "issuer",
        Text,
        "`--service-account-issuer` of the API server, byte for byte.",
    ),
    AUDIENCE,
    API_SERVER,
    JWKS_URI,
    MAX_LIFETIME,
    MAX_AGE,
];

static EKS: &[Field] = &[
    required("region", Text, "The cluster's region."),
    required(
        "id",
        Text,
        "What follows `/id/` in its OIDC issuer: 32 hex digits in capitals.",
    ),
    AUDIENCE,
    API_SERVER,
    MAX_LIFETIME,
    MAX_AGE,
];

static SPIFFE: &[Field] = &[
    required(
        "trustDomain",
        Text,
        "Its name, without `spiffe://`; another one than the authority's.",
    ),
    optional(
        "audience",
        Text,
        "The one value of `aud`. Default: the authority's issuer.",
    ),
    optional(
        "bundleEndpoint",
        Record(&[
            required("url", Text, "Where it is: an `https` URL."),
            required(
                "profile",
                Word(&["https_web"]),
                "How it is authenticated: by the public web's authorities.",
            ),
        ]),
        "Where its bundle is published. This or `bundleFile` is needed.",
    ),
    optional(
        "bundleFile",
        Text,
        "Its bundle as a file of the authority's machine, by its absolute path.",
    ),
    MAX_LIFETIME,
    MAX_AGE,
];

static GOOGLE: &[Field] = &[
    AUDIENCE,
    required(
        "projects",
        List(&Text),
        "The projects whose service accounts may be agents: ids; numbers for default service accounts of Compute Engine.",
    ),
    MAX_LIFETIME,
    MAX_AGE,
];

static AZURE: &[Field] = &[
    required("tenant", Text, "The tenant's id, `tid`."),
    AUDIENCE,
    optional(
        "version",
        Word(&["v1", "v2"]),
        "The version of the tokens of the application that `audience` names. Default `v1`.",
    ),
    MAX_LIFETIME,
    MAX_AGE,
];

static AWS_TOKEN: &[Field] = &[
    required(
        "issuer",
        Text,
        "The account's issuer: `https://….tokens.sts.global.api.aws`.",
    ),
    required("account", Text, "The account's number."),
    AUDIENCE,
    MAX_LIFETIME,
    MAX_AGE,
];
