//! Strict validation of conditions, with Cedar's findings turned into mistakes.

use std::collections::BTreeSet;
use std::str::FromStr;

use cedar_policy::{
    Expression, PolicyId, PolicySet, Schema, ValidationMode, ValidationWarning, Validator,
};

use super::schema::{Reader, access_schema};
use super::{condition, text};
use crate::bundle::Declared;
use crate::check::Places;
use crate::mistake::{Mistakes, Place};

pub(super) fn check(declared: &Declared, places: &Places, is_whole: bool, mistakes: &mut Mistakes) {
    let mut permits = PolicySet::new();
    for policy in declared.access.values() {
        let at = places.field("AccessPolicy", policy.name.as_str(), "when");
        if !policy
            .when
            .as_deref()
            .is_none_or(|when| is_expression(when, at, mistakes))
        {
            continue;
        }
        // Agent types have no attributes, so what holds for one of them holds for all.
        let Some(agent) = policy.agents.first() else {
            continue;
        };
        for action in &policy.actions {
            if declared.action(&policy.server, action).is_none() {
                continue;
            }
            let head = text::Head::new(agent, &policy.server, action);
            let parts = condition::parts(policy);
            let id = text::permit_id(&policy.name, &head);
            add(&mut permits, text::permit(&id, &head, &parts), at, mistakes);
        }
    }
    let mut forbids = PolicySet::new();
    for guardrail in declared.guardrails.values() {
        let at = places.field("Guardrail", guardrail.name.as_str(), "forbid");
        let about = [
            guardrail.agents.as_ref().map(BTreeSet::is_empty),
            guardrail.servers.as_ref().map(BTreeSet::is_empty),
        ];
        if is_expression(&guardrail.forbid, at, mistakes) && !about.contains(&Some(true)) {
            add(&mut forbids, text::guardrail(guardrail), at, mistakes);
        }
    }
    for (set, reader, kind, field) in [
        (permits, Reader::Permits, "AccessPolicy", "when"),
        (forbids, Reader::Guardrails, "Guardrail", "forbid"),
    ] {
        let schema = access_schema(declared, reader);
        let place = |id: &PolicyId| {
            text::policy_name(id).map_or_else(Place::default, |name| {
                places.field(kind, name.as_str(), field)
            })
        };
        validate(&set, &schema, &place, is_whole, mistakes);
    }
}

/// Whether `text` is one Cedar expression. Checked by itself, so that no text can close the
/// braces that it is put into.
pub(crate) fn is_expression(text: &str, at: Place, mistakes: &mut Mistakes) -> bool {
    match Expression::from_str(text) {
        Ok(_) => true,
        Err(error) => {
            let message = format!("not a Cedar expression: {error}");
            mistakes.error(
                at,
                message,
                "see `docs/bundle.md` for what conditions can say",
            );
            false
        }
    }
}

pub(super) fn add(
    set: &mut PolicySet,
    policy: Option<cedar_policy::Policy>,
    at: Place,
    mistakes: &mut Mistakes,
) {
    if policy.is_none_or(|policy| set.add(policy).is_err()) {
        mistakes.error(at, "this does not compile to a Cedar policy", "simplify it");
    }
}

/// Validates `set` strictly against `schema` and notes what Cedar finds at `place`.
pub(super) fn validate(
    set: &PolicySet,
    schema: &str,
    place: &dyn Fn(&PolicyId) -> Place,
    is_whole: bool,
    mistakes: &mut Mistakes,
) {
    if set.is_empty() {
        return;
    }
    let schema = match Schema::from_cedarschema_str(schema) {
        Ok((schema, _)) => schema,
        Err(error) => {
            let message = format!("the bundle's declarations give no Cedar schema: {error}");
            return mistakes.error(Place::default(), message, "");
        }
    };
    let result = Validator::new(schema).validate(set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let message = without_id(&error.to_string());
        let help = "optional members are guarded first, as in `context.attributes has x && …`";
        mistakes.error(place(error.policy_id()), message, help);
    }
    for warning in result.validation_warnings() {
        let at = place(warning.policy_id());
        if matches!(
            warning,
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
        ) {
            if is_whole {
                let message = "this condition can never hold, so the policy can never apply";
                mistakes.error(at, message, "remove the policy, or mend the condition");
            }
        } else {
            mistakes.error(at, without_id(&warning.to_string()), "");
        }
    }
}

/// Cedar's message without the id that it begins with, which is ours and says nothing to a reader.
fn without_id(message: &str) -> String {
    let rest = message
        .strip_prefix("for policy `")
        .and_then(|rest| rest.split_once("`, "));
    let message = rest.map_or(message, |(_, rest)| rest);
    // The same mistake is found once per action; it is one mistake.
    let of_action = message
        .split_once(" for Action::\"")
        .and_then(|(before, rest)| {
            let (_, after) = rest.split_once('"')?;
            Some(format!("{before}{after}"))
        });
    of_action.unwrap_or_else(|| message.to_owned())
}
