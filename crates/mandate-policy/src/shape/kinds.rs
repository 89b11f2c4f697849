//! The tables: every kind with every field.

use super::Shape::*;
use super::providers::TRUST_PROVIDER;
use super::rules::RULES;
use super::{Field, Shape, optional, required};

/// The one `apiVersion`.
pub(crate) const API_VERSION: &str = "mandate.dev/v1alpha1";

/// A kind of declaration.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) spec: Shape,
}

/// Every kind.
pub(crate) static KINDS: &[Kind] = &[
    Kind {
        name: "TrustProvider",
        doc: "A source of evidence that this trust domain believes.",
        spec: Choice(TRUST_PROVIDER),
    },
    Kind {
        name: "AgentType",
        doc: "A kind of agent: how it is recognised, whom it may spawn, how it is stopped.",
        spec: Record(AGENT_TYPE),
    },
    Kind {
        name: "ServerWorkload",
        doc: "Something that agents access through a gateway.",
        spec: Record(SERVER_WORKLOAD),
    },
    Kind {
        name: "ToolManifest",
        doc: "The tools of the MCP server of this name as somebody accepted them; `mandate mcp accept` writes it.",
        spec: Record(TOOL_MANIFEST),
    },
    Kind {
        name: "AccessPolicy",
        doc: "Which agent types may do what with a server workload.",
        spec: Record(ACCESS_POLICY),
    },
    Kind {
        name: "TaskPolicy",
        doc: "Who may open which kind of root task, for which trigger, with which mandate at most.",
        spec: Record(TASK_POLICY),
    },
    Kind {
        name: "Guardrail",
        doc: "A condition under which access is forbidden, whatever access policies say.",
        spec: Record(GUARDRAIL),
    },
    Kind {
        name: "Operator",
        doc: "A person who may tell the authority what to do, how they are recognised, and what they may do.",
        spec: Record(OPERATOR),
    },
];

pub(crate) static METADATA: &[Field] = &[required(
    "name",
    Text,
    "The declaration's name: 1 to 63 of a-z, 0-9, `-`, `_` and `.`; unique within its kind.",
)];

static AGENT_TYPE: &[Field] = &[
    optional(
        "attestation",
        List(&Choice(RULES)),
        "How the type is recognised: any one of these suffices. Left out only for types that are always hosted.",
    ),
    optional(
        "hostedBy",
        List(&Text),
        "Agent types in whose process this one may run; their attested identity vouches for it.",
    ),
    optional(
        "maySpawn",
        List(&TextOr(&Record(&[
            required("agent", Text, "The agent type that may be delegated to."),
            required(
                "servers",
                Map(&List(&Text)),
                "The server workloads and their actions that may be delegated at most.",
            ),
        ]))),
        "Agent types to which a task may be delegated; with `servers`, these actions at most.",
    ),
    optional(
        "federation",
        List(&Text),
        "Audiences outside of this trust domain for which its JWT-SVIDs may be minted.",
    ),
    optional(
        "pin",
        Word(&["none", "instance"]),
        "Whether a task is pinned to the first instance that uses it. Default `none`.",
    ),
    optional(
        "proof",
        Word(&["optional", "required"]),
        "Whether it must attest with a key of its own (RFC 9449), to which its tokens are bound. Default `optional`.",
    ),
    required(
        "breakGlass",
        Record(&[
            required("contact", Text, "Whom to call."),
            required(
                "impact",
                Text,
                "What stops working when the agent type is suspended.",
            ),
            optional("steps", List(&Text), "What to do, in order."),
            optional(
                "resume",
                Word(&["second-operator"]),
                "Resuming needs an operator other than the one who suspended.",
            ),
        ]),
        "How it is stopped and brought back. An agent that nobody knows how to stop does not load.",
    ),
];

static SERVER_WORKLOAD: &[Field] = &[
    required(
        "resource",
        Text,
        "The OAuth resource indicator (RFC 8707): `aud` of access tokens. An absolute URI.",
    ),
    required(
        "upstream",
        Text,
        "Where requests are forwarded: `http(s)://host[:port][/base]`.",
    ),
    optional(
        "upstreamAudience",
        Text,
        "`aud` of tokens for an upstream that verifies them; never any server's `resource`.",
    ),
    required(
        "credential",
        Choice(CREDENTIAL),
        "What the gateway injects.",
    ),
    optional(
        "gateways",
        Map(&Text),
        "The gateways that it is assigned to, each with the address at which agents reach it there: these serve it, and exchange tokens for agents that bring a JWT-SVID and a task token. Default: every gateway serves it, and none exchanges.",
    ),
    optional(
        "internal",
        Bool,
        "Reads may be recorded before their response is released, not before they are forwarded. Default `false`.",
    ),
    optional(
        "observe",
        Record(&[required(
            "until",
            Text,
            "When observing ends: RFC 3339, at most 30 days away.",
        )]),
        "Denials of policy and mandate are recorded as `would_deny` and not enforced, until then.",
    ),
    optional(
        "leaseLoss",
        Word(&["stop", "continue"]),
        "What a gateway does that has lost the authority: stop, or go on with what it last knew, so that a suspension may be effective only when tokens expire. Default `stop`.",
    ),
    optional(
        "durability",
        Word(&["local", "shipped"]),
        "Whether an admission waits until its record is in the gateway's spool, or also in the authority's log. Default `local`.",
    ),
    optional(
        "proof",
        Word(&["optional", "required"]),
        "Whether access tokens for it must be bound to a key that the agent proves (RFC 9449). Default `optional`.",
    ),
    optional("http", Record(HTTP), "How HTTP is spoken."),
    optional(
        "mcp",
        Record(MCP),
        "That it is an MCP server, spoken to by Streamable HTTP: its actions are tools, prompts and resources.",
    ),
    optional(
        "llm",
        Record(&[required(
            "api",
            Word(&["openai", "anthropic"]),
            "The shape of its requests and replies.",
        )]),
        "That it is an LLM endpoint: the tokens that its replies say were used are recorded.",
    ),
    optional(
        "a2a",
        Record(&[
            required("agent", Text, "The type of the agent that is called."),
            optional(
                "path",
                Text,
                "The path of its JSON-RPC endpoint, the same at the gateway and below the upstream's base. Default `/`.",
            ),
        ]),
        "That it is an agent which others call by the Agent2Agent protocol: where its type is suspended, nobody reaches it.",
    ),
    optional(
        "tls",
        Record(&[optional(
            "ca",
            Text,
            "The name of the CA in the gateway's local configuration that the upstream's certificate is checked against.",
        )]),
        "How the upstream's certificate is checked.",
    ),
    required(
        "actions",
        Map(&Record(ACTION)),
        "The named operations. What no action matches is denied.",
    ),
];

static CREDENTIAL: &[Field] = &[
    optional(
        "header",
        Text,
        "A header of this name, with `value` beside it, which has exactly one `${secret:name}`.",
    ),
    optional(
        "basic",
        Record(&[
            required("user", Text, "The user."),
            required(
                "secret",
                Text,
                "The name of the secret that is the password.",
            ),
        ]),
        "HTTP basic authentication.",
    ),
    optional(
        "query",
        Record(&[
            required("name", Text, "The parameter's name."),
            required(
                "value",
                Text,
                "Its value, with exactly one `${secret:name}`.",
            ),
        ]),
        "A query parameter.",
    ),
    optional(
        "mandateToken",
        Nothing,
        "A token of this authority for `upstreamAudience`.",
    ),
    optional("none", Nothing, "Nothing."),
];

static HTTP: &[Field] = &[
    optional("hosts", List(&Text), "The hosts by which agents reach it."),
    optional(
        "connectTimeout",
        Duration,
        "How long connecting may take. Default `5s`.",
    ),
    optional(
        "responseTimeout",
        Duration,
        "How long until the response begins. Default `60s`.",
    ),
    optional(
        "idleTimeout",
        Duration,
        "How long a stream may be silent. Default `5m`.",
    ),
    optional(
        "maxBodyBytes",
        Integer(0),
        "The longest request body. Default 10485760.",
    ),
    optional(
        "maxUpgradeBytes",
        Integer(0),
        "The most that passes on a connection that has switched protocols, both ways together. Default 268435456.",
    ),
    optional(
        "upgradeIdleTimeout",
        Duration,
        "How long such a connection may be silent. Default: as `idleTimeout`.",
    ),
    optional(
        "maxHeaderBytes",
        Integer(1024),
        "The longest request head. Default 32768.",
    ),
    optional(
        "passTaskId",
        Text,
        "The header that carries the task's id to the upstream.",
    ),
    optional(
        "traceparent",
        Bool,
        "Whether `traceparent` is passed on. Default `false`.",
    ),
    optional(
        "stripHeaders",
        List(&Text),
        "Further request headers that are not passed on.",
    ),
];

static MCP: &[Field] = &[
    optional(
        "path",
        Text,
        "The path of its endpoint, the same at the gateway and below the upstream's base. Default `/mcp`.",
    ),
    optional(
        "denialCode",
        Integer(i64::MIN),
        "The `code` of the JSON-RPC errors that tell of denials; those of tool calls are results with `isError`. Default 403.",
    ),
];

static TOOL_MANIFEST: &[Field] = &[required(
    "tools",
    List(&Record(&[
        required("name", Text, "The tool's name."),
        required(
            "digest",
            Text,
            "`sha256:` and SHA-256, in hex, of all that the server says of the tool, as canonical JSON.",
        ),
        optional(
            "definition",
            Text,
            "What the digest is of, as JSON, for people to read.",
        ),
    ])),
    "The tools that were accepted. Any other one, and one that is not as it was, is hidden and denied.",
)];

static ACTION: &[Field] = &[
    required(
        "effect",
        Word(&["read", "write"]),
        "Whether it only reads. Tokens for a write are single use.",
    ),
    required(
        "match",
        OneOrMany(&Text),
        "Method and path templates: `GET /customers/{customer}/**`. `{name}` and `*` are one segment, `**` at the end is any number. Of an MCP server: `tool NAME`, `prompt NAME`, `resource URI`. Of an agent that is called: `rpc METHOD`.",
    ),
    optional(
        "attributes",
        Map(&TextOr(&Record(ATTRIBUTE))),
        "Resource attributes. Each `{name}` of a path is one without being listed. Text is the `argument` of an MCP server's.",
    ),
    optional(
        "upgrade",
        OneOrMany(&Text),
        "Protocols that a request for it may switch its connection to: `websocket`. Default none.",
    ),
];

static ATTRIBUTE: &[Field] = &[
    optional(
        "path",
        Text,
        "The path's variable whose text is the value. Default: the attribute's own name.",
    ),
    optional(
        "query",
        Text,
        "The query parameter whose values are the values.",
    ),
    optional("header", Text, "The header whose values are the values."),
    optional(
        "body",
        Text,
        "The JSON pointer (RFC 6901) into the body whose value, or each item, is the value.",
    ),
    optional(
        "argument",
        Text,
        "Of an MCP server: the JSON pointer (RFC 6901) into the arguments of the tool or prompt whose value, or each item, is the value.",
    ),
    optional(
        "type",
        Word(&["string", "integer", "uuid", "path", "enum"]),
        "Default `string`.",
    ),
    optional("values", List(&Text), "The words of an `enum`."),
    optional(
        "log",
        Word(&["plain", "hash"]),
        "How records show it. Default `plain`.",
    ),
];

static CONSTRAINT: Shape = Record(&[
    optional("in", List(&Text), "One of these values."),
    optional(
        "prefix",
        Text,
        "A text that begins with this. For `string` alone.",
    ),
    optional(
        "max",
        Integer(0),
        "A number from 0 to this. For `integer` alone.",
    ),
]);

static ACCESS_POLICY: &[Field] = &[
    required("agents", List(&Text), "The acting agent types."),
    required("server", Text, "The server workload."),
    required("actions", List(&Text), "Its actions."),
    optional(
        "taskMustFix",
        List(&Text),
        "Attributes that the task's mandate must pin to exactly one value.",
    ),
    optional(
        "limits",
        Map(&CONSTRAINT),
        "What the request's attributes must be.",
    ),
    optional("when", Text, "A Cedar expression that must hold too."),
    optional(
        "maxTokenLifetime",
        Duration,
        "The longest life of an access token for this; where several policies permit, the shortest holds.",
    ),
];

static TASK_POLICY: &[Field] = &[
    required("opener", Text, "The agent type that opens such tasks."),
    optional(
        "purpose",
        Text,
        "What the opener asks for. Default: the policy's name.",
    ),
    required("trigger", Choice(TRIGGER), "What has to begin the task."),
    required(
        "ceiling",
        List(&Record(&[
            required("server", Text, "The server workload."),
            required("actions", List(&Text), "Its actions."),
            optional(
                "constraints",
                Map(&CONSTRAINT),
                "What attributes may be at most.",
            ),
        ])),
        "The widest mandate of such a task.",
    ),
    required(
        "maxDuration",
        Duration,
        "How long the task may live; at most `30d`.",
    ),
    optional(
        "maxDepth",
        Integer(1),
        "The longest task path, the root included; at most 8. Default 8.",
    ),
    optional(
        "budget",
        Record(&[
            optional(
                "maxAccesses",
                Integer(1),
                "The most accesses of the whole tree.",
            ),
            optional(
                "maxChildren",
                Integer(0),
                "The most tasks delegated in the whole tree.",
            ),
        ]),
        "How often the task may act.",
    ),
    optional(
        "resume",
        Word(&["instance", "type"]),
        "Whether the opener's instance alone may resume the task, or any of its type. Default `instance`.",
    ),
];

static TRIGGER: &[Field] = &[
    optional(
        "user",
        Record(&[
            required("provider", Text, "The OIDC trust provider."),
            optional(
                "claims",
                Map(&Text),
                "Claims that the ID token must have: the claim is this text, or a list that holds it.",
            ),
            optional(
                "bind",
                Map(&Text),
                "Attributes bound to a verified claim: `customer: claims.tenant`.",
            ),
            optional(
                "anyUser",
                Bool,
                "Says aloud that nothing is bound. Needed without `bind`.",
            ),
        ]),
        "A person who proves themself by an ID token.",
    ),
    optional("schedule", Record(OCCURRENCE), "A schedule."),
    optional("event", Record(OCCURRENCE), "An event."),
    optional("operator", Nothing, "An operator of this authority."),
];

static OCCURRENCE: &[Field] = &[
    required("name", Text, "Its name."),
    optional("itemId", Word(&["required"]), "An item id must be said."),
    optional(
        "unverified",
        Word(&["allow"]),
        "The agent's own word for it is enough; it is recorded as claimed.",
    ),
];

static GUARDRAIL: &[Field] = &[
    required(
        "forbid",
        Text,
        "The Cedar expression under which access is forbidden.",
    ),
    optional(
        "agents",
        List(&Text),
        "The acting agent types that it is about. Default: all.",
    ),
    optional(
        "servers",
        List(&Text),
        "The server workloads that it is about. Default: all.",
    ),
];

static OPERATOR: &[Field] = &[
    optional(
        "unixUser",
        Text,
        "The user of the authority's machine, by name. One of `unixUser`, `uid` and `oidc` is needed.",
    ),
    optional("uid", Integer(0), "The user, by number."),
    optional(
        "oidc",
        Record(&[
            required("provider", Text, "The OIDC trust provider that vouches."),
            required(
                "claims",
                Map(&Text),
                "Claims that the ID token must have: the claim is this text, or a list that holds it. One of `sub`, `oid` and `email` (verified) is needed.",
            ),
        ]),
        "The person at an OpenID provider, who logs in with `mandate login`. Beside a user: the same person.",
    ),
    required(
        "rights",
        List(&Word(&[
            "suspend",
            "resume",
            "apply",
            "upstreams",
            "tasks",
            "tokens",
            "audit",
            "keys",
            "gateways",
            "inspect",
        ])),
        "What they may do.",
    ),
    optional("when", Text, "A Cedar expression that must hold too."),
];
