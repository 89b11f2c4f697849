//! The Cedar context of a request, without parsing any text.

use std::collections::BTreeSet;

use cedar_policy::{Context, RestrictedExpression};
use mandate_model::{
    AttestationKind, AttributeName, AttributeType, AttributeValue, Principal, Timestamp, Trigger,
    TriggerKind, Verified,
};

use super::{MAX_COMBINATIONS, PolicyDenial, PolicyRequest};
use crate::decl::Action;

type Pairs = Vec<(String, RestrictedExpression)>;

/// One context for each combination of attribute values.
pub(super) fn contexts(
    request: &PolicyRequest<'_>,
    action: &Action,
) -> Result<Vec<Context>, PolicyDenial> {
    let unmade = || PolicyDenial::Evaluation { policies: vec![] };
    let base = base(request, action).ok_or_else(unmade)?;
    combinations(request, action)?
        .into_iter()
        .map(|attributes| {
            let mut pairs = base.clone();
            pairs.push((
                "attributes".to_owned(),
                record(attributes).ok_or_else(unmade)?,
            ));
            Context::from_pairs(pairs).map_err(|_| unmade())
        })
        .collect()
}

/// Every way to take one value of each attribute; exactly one if none is repeated.
fn combinations(request: &PolicyRequest<'_>, action: &Action) -> Result<Vec<Pairs>, PolicyDenial> {
    let mut all: Vec<Pairs> = vec![Vec::new()];
    for (name, values) in request.attributes.iter() {
        let values = typed(name, values, action)?;
        if all.len() * values.len() > MAX_COMBINATIONS {
            return Err(PolicyDenial::TooManyValues);
        }
        let with = |pairs: &Pairs, value: &AttributeValue| {
            let mut pairs = pairs.clone();
            pairs.push((name.as_str().to_owned(), expression(value)));
            pairs
        };
        all = values
            .iter()
            .flat_map(|value| all.iter().map(move |pairs| with(pairs, value)))
            .collect();
    }
    Ok(all)
}

/// The different values, if all of them are of the declared type.
fn typed<'a>(
    name: &AttributeName,
    values: &'a [AttributeValue],
    action: &Action,
) -> Result<BTreeSet<&'a AttributeValue>, PolicyDenial> {
    let unfit = || PolicyDenial::UnfitAttribute(name.clone());
    let ty = &action.attributes.get(name).ok_or_else(unfit)?.ty;
    let fits = |value: &&AttributeValue| match value {
        AttributeValue::Integer(_) => matches!(ty, AttributeType::Integer),
        AttributeValue::Text(text) => {
            !matches!(ty, AttributeType::Integer) && ty.parse(text).is_ok()
        }
    };
    if values.iter().all(|value| fits(&value)) {
        Ok(values.iter().collect())
    } else {
        Err(unfit())
    }
}

fn expression(value: &AttributeValue) -> RestrictedExpression {
    match value {
        AttributeValue::Integer(n) => RestrictedExpression::new_long(*n),
        AttributeValue::Text(text) => RestrictedExpression::new_string(text.clone()),
    }
}

fn base(request: &PolicyRequest<'_>, action: &Action) -> Option<Pairs> {
    let actor = request.actor;
    let is_hosted = actor.host.is_some() || actor.att == AttestationKind::Hosted;
    let mut pairs = vec![
        member(
            "effect",
            match action.effect {
                mandate_model::Effect::Read => "read",
                mandate_model::Effect::Write => "write",
            },
        ),
        member("attestation", actor.att.as_str()),
        (
            "hosted".to_owned(),
            RestrictedExpression::new_bool(is_hosted),
        ),
        member("provider", actor.prv.as_str()),
        member("purpose", request.purpose),
        ("principal".to_owned(), principal(request.principal)?),
        ("trigger".to_owned(), trigger(request.trigger)?),
        ("task".to_owned(), task(request)?),
        ("time".to_owned(), time(request.now)?),
        ("delegators".to_owned(), delegators(request)),
    ];
    let host = actor.host.as_ref().and_then(|host| host.sub.agent_type());
    pairs.extend(host.map(|name| member("host", name.as_str())));
    Some(pairs)
}

fn member(name: &str, text: &str) -> (String, RestrictedExpression) {
    (
        name.to_owned(),
        RestrictedExpression::new_string(text.to_owned()),
    )
}

fn record(pairs: Pairs) -> Option<RestrictedExpression> {
    RestrictedExpression::new_record(pairs).ok()
}

fn principal(principal: &Principal) -> Option<RestrictedExpression> {
    record(match principal {
        Principal::User { provider, subject } => vec![
            member("kind", "user"),
            member("id", subject),
            member("provider", provider.as_str()),
        ],
        Principal::Operator(name) => vec![member("kind", "operator"), member("id", name.as_str())],
        Principal::Agent(id) => vec![member("kind", "agent"), member("id", id.as_str())],
    })
}

fn trigger(trigger: &Trigger) -> Option<RestrictedExpression> {
    let verified = match trigger.verified {
        Verified::User => "user",
        Verified::Operator => "operator",
        Verified::Source => "source",
        Verified::None => "none",
    };
    let mut pairs = vec![
        member("kind", trigger.kind.as_str()),
        member("verified", verified),
    ];
    match &trigger.kind {
        TriggerKind::Schedule { name } | TriggerKind::Event { name } => {
            pairs.push(member("name", name));
        }
        TriggerKind::User | TriggerKind::Operator => {}
    }
    pairs.extend(trigger.item.as_ref().map(|item| member("item", item)));
    pairs.extend(
        trigger
            .provider
            .as_ref()
            .map(|p| member("provider", p.as_str())),
    );
    record(pairs)
}

fn task(request: &PolicyRequest<'_>) -> Option<RestrictedExpression> {
    let constraints = request
        .entry
        .into_iter()
        .flat_map(|entry| &entry.constraints);
    let fixed = constraints
        .filter(|(_, constraint)| constraint.single_value().is_some())
        .map(|(name, _)| RestrictedExpression::new_string(name.as_str().to_owned()));
    let fixes = RestrictedExpression::new_set(fixed);
    record(vec![("fixes".to_owned(), fixes)])
}

fn time(now: Timestamp) -> Option<RestrictedExpression> {
    let secs = i64::try_from(now.as_secs()).ok()?;
    let long = |name: &str, n: i64| (name.to_owned(), RestrictedExpression::new_long(n));
    // 1970-01-01 was a Thursday: three days after a Monday.
    let weekday = (secs / 86_400 + 3) % 7 + 1;
    record(vec![
        long("unix", secs),
        long("hour", secs / 3_600 % 24),
        long("weekday", weekday),
    ])
}

fn delegators(request: &PolicyRequest<'_>) -> RestrictedExpression {
    let names = request
        .act
        .iter()
        .filter_map(|level| level.sub.agent_type());
    RestrictedExpression::new_set(
        names.map(|name| RestrictedExpression::new_string(name.as_str().to_owned())),
    )
}
