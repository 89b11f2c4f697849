//! `mandate explain`: a request on paper, through the very functions that the gateway calls.

mod hypothesis;

use std::path::PathBuf;

use mandate_decide::enforce::{
    Classified, Denial, Facts, RequestHead, Right, Verdict, classify, decide, deciding_entry,
    headers_as_sent, target_as_sent,
};
use mandate_model::mandate::Entries;
use mandate_model::stop::{StopSet, Suspension};
use mandate_model::{AgentTypeName, BundleVersion, GatewayId, ServerName, StopVersion, Timestamp};
use mandate_policy::decl::ServerWorkload;
use mandate_policy::{Bundle, PolicyRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{access, bundle_files};
use crate::client::members::Members;
use crate::client::operator::Operator;
use crate::client::words;
use crate::context::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Paint;
use hypothesis::Hypothesis;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Decides by the live bundle and the live suspensions, or by the bundle in a folder and none. Exits with 1 if
a rule denies the request, whether or not `observe` lets it through.

Examples:
  mandate explain retriever records 'GET /customers/acme' --mandate 'records:read customer=acme'
  mandate explain executor records 'POST /customers/acme/refunds' --body '{\"amount_cents\": 500}' --mandate 'records:refund customer=acme'
  mandate explain retriever records 'GET /customers/acme' --bundle support")]
pub(crate) struct Args {
    /// The acting agent type
    agent: AgentTypeName,
    /// The server workload
    server: ServerName,
    /// Method and path: `GET /customers/acme`
    request: String,
    /// What the task may do: `server:action attribute=value`; repeat for more [default: all actions of the server, unconstrained]
    #[arg(long, value_name = "ACCESS")]
    mandate: Vec<String>,
    /// A request header: `Name: value`; repeat for more
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
    /// The request's JSON body
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
    /// Whom the task is for
    #[arg(
        long,
        value_name = "PRINCIPAL",
        default_value = "user:someone:somebody"
    )]
    principal: mandate_model_principal::PrincipalText,
    /// What the root task is for
    #[arg(long, value_name = "PURPOSE", default_value = "explanation")]
    purpose: String,
    /// How the agent was attested: process, hosted, kubernetes, oidc…
    #[arg(long, value_name = "KIND", default_value = "process")]
    attestation: String,
    /// The bundle in this folder instead of the live one; needs no server
    #[arg(long, value_name = "FOLDER")]
    bundle: Option<PathBuf>,
}

/// A principal on the command line.
mod mandate_model_principal {
    use mandate_model::{MalformedId, Principal};

    #[derive(Debug, Clone)]
    pub(super) struct PrincipalText(pub(super) Principal);

    impl std::str::FromStr for PrincipalText {
        type Err = MalformedId;
        fn from_str(text: &str) -> Result<Self, MalformedId> {
            Principal::parse(text).map(Self)
        }
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let bundle = access::bundle_of(args.bundle.as_ref(), context).await?;
    let stops = stops(&args, context).await?;
    let server = bundle.server(&args.server).ok_or_else(|| {
        Failure::failed(
            format!("the bundle has no server workload `{}`", args.server),
            "`mandate access` lists what there is",
        )
    })?;
    let classified = match classified(&args, server)? {
        Ok(classified) => classified,
        Err(why) => return Ok(tell(&Explained::unclassified(why), context)),
    };
    let hypothesis = hypothesis(&args, &bundle, server)?;
    let explained = explain(&bundle, &stops, server, &classified, &hypothesis)?;
    Ok(tell(&explained, context))
}

#[derive(Deserialize)]
struct Suspensions {
    suspensions: Vec<Suspension>,
}

async fn stops(args: &Args, context: &Context) -> Result<StopSet, Failure> {
    if args.bundle.is_some() {
        return Ok(StopSet::default());
    }
    let operator = Operator::of(context)?;
    let live: Suspensions = operator.get("/suspensions", &[]).await?;
    Ok(StopSet::of_suspensions(
        StopVersion::new(1),
        live.suspensions,
    ))
}

/// The action, as the gateway finds it; the inner error is the gateway's denial.
fn classified(args: &Args, server: &ServerWorkload) -> Result<Result<Classified, Denial>, Failure> {
    let (method, path) = args.request.split_once(' ').ok_or_else(|| {
        Failure::usage(
            "a request is a method and a path",
            "for example: 'GET /customers/acme'",
        )
    })?;
    // What would not be sent decides nothing.
    let headers = headers_as_sent(&headers(args)?, server);
    let target = match target_as_sent(path.trim().to_owned(), server) {
        Ok(target) => target,
        Err(why) => return Ok(Err(Denial::Unclassifiable(why.into()))),
    };
    let head = RequestHead {
        method,
        path_and_query: &target,
        headers: &headers,
    };
    let pending = match classify(server, &head) {
        Ok(pending) => pending,
        Err(why) => return Ok(Err(Denial::Unclassifiable(why))),
    };
    let body = args.body.as_deref().unwrap_or_default();
    Ok(match pending.without_body() {
        Ok(classified) => Ok(classified),
        Err(pending) => pending
            .with_body(&headers, body.as_bytes())
            .map_err(Denial::Unclassifiable),
    })
}

fn headers(args: &Args) -> Result<http::HeaderMap, Failure> {
    let malformed = |text: &str| {
        Failure::usage(
            format!("`{text}` is no header"),
            "write it as 'Name: value'",
        )
    };
    let mut headers = http::HeaderMap::new();
    if args.body.is_some() {
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
    }
    for text in &args.header {
        let (name, value) = text.split_once(':').ok_or_else(|| malformed(text))?;
        let name: http::HeaderName = name.trim().parse().map_err(|_| malformed(text))?;
        let value: http::HeaderValue = value.trim().parse().map_err(|_| malformed(text))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn hypothesis(
    args: &Args,
    bundle: &Bundle,
    server: &ServerWorkload,
) -> Result<Hypothesis, Failure> {
    let agent = bundle.agent(&args.agent).ok_or_else(|| {
        Failure::failed(
            format!("the bundle has no agent type `{}`", args.agent),
            "`mandate access` lists what there is",
        )
    })?;
    let details = if args.mandate.is_empty() {
        let actions: Vec<&str> = server.actions.keys().map(|name| name.as_str()).collect();
        json!([{ "type": "mandate_access", "server": server.name, "actions": actions }])
    } else {
        words::authorization_details(&args.mandate)
            .map_err(|e| Failure::usage(e.to_string(), ""))?
    };
    Hypothesis::new(hypothesis::Params {
        agent: agent.id.clone(),
        attestation: &args.attestation,
        principal: args.principal.0.clone(),
        purpose: args.purpose.clone(),
        entries: entries(details)?,
        resource: &server.resource,
        issuer: bundle.issuer(),
    })
}

fn entries(details: Value) -> Result<Entries, Failure> {
    let unfit = |why: String| {
        Failure::usage(
            format!("the mandate: {why}"),
            "see `mandate explain --help`",
        )
    };
    let raw = serde_json::from_value(details).map_err(|e| unfit(e.to_string()))?;
    mandate_model::mandate::parse_entries(raw).map_err(|e| unfit(e.to_string()))
}

/// What was decided, and what each policy had to say.
struct Explained {
    classified: Option<Value>,
    verdict: Verdict,
    /// Until when denials of policy and mandate are waived.
    observed_until: Option<Timestamp>,
    policies: Vec<(String, String)>,
}

impl Explained {
    fn unclassified(why: Denial) -> Self {
        Self {
            classified: None,
            verdict: Err(why),
            observed_until: None,
            policies: Vec::new(),
        }
    }
}

fn explain(
    bundle: &Bundle,
    stops: &StopSet,
    server: &ServerWorkload,
    classified: &Classified,
    hypothesis: &Hypothesis,
) -> Result<Explained, Failure> {
    let gateway = GatewayId::parse("explain").map_err(|e| Failure::failed(e.to_string(), ""))?;
    let facts = Facts {
        now: bundle_files::now(),
        bundle,
        bundle_version: BundleVersion::default(),
        stops,
        gateway: &gateway,
        right: Right::Leased,
        server,
        token: hypothesis.token(),
    };
    let verdict = decide(&facts, classified);
    let request = policy_request(&facts, classified);
    let all = request.and_then(|request| bundle.explain(&request).ok());
    let policies = all
        .unwrap_or_default()
        .into_iter()
        .map(|e| (e.policy.to_string(), e.why.to_string()))
        .collect();
    let attributes: Vec<String> = classified
        .attributes()
        .iter()
        .map(|(name, values)| {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("{name}={}", values.join(","))
        })
        .collect();
    Ok(Explained {
        classified: Some(json!({
            "action": classified.action(),
            "shape": classified.shape(),
            "attributes": attributes,
        })),
        verdict,
        observed_until: server.observe_until,
        policies,
    })
}

/// What policies are asked. They are asked nothing about what is no action.
fn policy_request<'a>(facts: &Facts<'a>, classified: &'a Classified) -> Option<PolicyRequest<'a>> {
    let token = facts.token.claims();
    Some(PolicyRequest {
        actor: token.acting.actor(),
        act: token.acting.levels().get(1..).unwrap_or_default(),
        server: &facts.server.name,
        action: classified.action()?,
        attributes: classified.attributes(),
        entry: deciding_entry(facts, classified),
        principal: &token.principal,
        trigger: &token.trigger,
        purpose: &token.purpose,
        now: facts.now,
    })
}

fn tell(explained: &Explained, context: &Context) -> Exit {
    let (policies, denial) = match &explained.verdict {
        Ok(admission) => (admission.policies(), admission.would_deny()),
        Err(denial) => (&[][..], Some(denial)),
    };
    let allowed = explained.verdict.is_ok();
    let rule = denial.map(Denial::rule);
    let why = denial.map(ToString::to_string);
    // Allowed, and yet denied by a rule: `observe` waives it.
    let waived = allowed && rule.is_some();
    let waived_until = explained.observed_until.filter(|_| waived);
    let considered: Vec<Value> = explained
        .policies
        .iter()
        .map(|(policy, why)| json!({ "policy": policy, "why": why }))
        .collect();
    let result = json!({
        "allowed": allowed,
        "rule": rule,
        "why": why,
        "waived_until": waived_until.map(|until| until.to_string()),
        "permitted_by": policies,
        "request": explained.classified,
        "policies": considered,
    });
    context.out.result(&result, |paint| text(&result, paint));
    if rule.is_none() {
        Exit::Ok
    } else {
        Exit::Failed
    }
}

fn text(result: &Value, paint: Paint) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut text = String::new();
    let request = result.at("request");
    if request.is_object() {
        let attributes = request.items("attributes").iter();
        let attributes: Vec<String> = attributes.map(word).collect();
        text.push_str(&format!(
            "{}  action {}  {}\n",
            word(request.at("shape")),
            paint.bold(word(request.at("action"))),
            attributes.join(" ")
        ));
    }
    text.push_str(&verdict(result, paint));
    for policy in result.items("policies") {
        text.push_str(&format!(
            "  {:<24} {}\n",
            word(policy.at("policy")),
            word(policy.at("why"))
        ));
    }
    text
}

fn verdict(result: &Value, paint: Paint) -> String {
    let word = |name: &str| result.at(name).as_str().unwrap_or("?").to_owned();
    if result.at("rule").is_null() {
        return format!("{}\n", paint.green("allowed"));
    }
    let verdict = if result.at("allowed") == true {
        let until = format!(
            "would be denied, and is let through by `observe` until {}",
            word("waived_until")
        );
        paint.yellow(until)
    } else {
        paint.red("denied".to_owned())
    };
    format!(
        "{verdict} {}  {}\n",
        paint.yellow(word("rule")),
        word("why")
    )
}
