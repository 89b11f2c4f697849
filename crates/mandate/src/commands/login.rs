//! `mandate login` and `mandate logout`: a session with a server elsewhere.

use std::path::PathBuf;

use mandate_model::{Secret, Timestamp};
use mandate_ports::Clock;
use mandate_token::Issuer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::moment::moment;
use crate::client::http::CALL;
use crate::client::oidc::{Binding, Proved, Provider};
use crate::client::operator::{Operator, parsed};
use crate::client::session::{Parts, Session};
use crate::client::token_file;
use crate::context::{Context, Elsewhere};
use crate::failure::{Exit, Failure, Outcome};
use crate::serve::machine::SystemClock;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The server says at which OpenID providers its operators are declared. The session lives minutes, in a file of
this user alone; what it may do, the live bundle says at each command. The login is bound to the server by
its URL, which must be the one that it calls itself by.

Examples:
  mandate login --authority https://id.acme.example
  mandate login --authority https://id.acme.example --device")]
pub(crate) struct Args {
    /// The trust provider to log in at [default: the one that there is]
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Confirm on another device: there is no browser on this machine
    #[arg(long)]
    device: bool,
    /// An ID token from elsewhere, in a file; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "device")]
    id_token: Option<PathBuf>,
}

/// What a server says of how operators log in.
#[derive(Deserialize)]
struct Login {
    issuer: String,
    trust_domain: String,
    providers: Vec<Declared>,
}

#[derive(Deserialize)]
struct Declared {
    provider: String,
    issuer: String,
    client_id: String,
    nonce: Nonce,
}

/// Whether the ID token must be bound to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Nonce {
    Required,
    Optional,
}

/// What begins a session.
#[derive(Serialize)]
struct Begin<'a> {
    provider: &'a str,
    id_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_secret: Option<&'a str>,
}

#[derive(Deserialize)]
struct Begun {
    session: String,
    id: String,
    expires_at: Timestamp,
    operator: String,
}

pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let elsewhere = elsewhere(context)?;
    // Before anybody proves anything: it must be possible to keep what comes of it.
    let sessions = elsewhere.sessions()?;
    let door = elsewhere.door()?;
    let answer = door.call(door.get("/operator/v1/login")?, CALL).await?;
    let login: Login = parsed(&answer)?;
    let issuer = own_name(&login.issuer, elsewhere.authority())?;
    let declared = chosen(&login.providers, args.provider.as_deref())?;
    let proved = match &args.id_token {
        Some(file) => Proved {
            id_token: token_file::read(file)?,
            login_secret: None,
        },
        None => prove(declared, &issuer, args.device, elsewhere, context).await?,
    };
    let body = json!(Begin {
        provider: &declared.provider,
        id_token: proved.id_token.expose(),
        login_secret: proved.login_secret.as_ref().map(|s| s.expose().as_str()),
    });
    let request = door.json("/operator/v1/session", &body)?;
    let begun: Begun = parsed(&door.call(request, CALL).await?)?;
    let session = Session::new(Parts {
        authority: elsewhere.authority(),
        issuer: login.issuer,
        trust_domain: login.trust_domain,
        operator: begun.operator,
        provider: declared.provider.clone(),
        id: begun.id,
        expires_at: begun.expires_at,
        session: Secret::new(begun.session),
    });
    sessions.write(&session)?;
    let result = json!({
        "operator": session.operator, "provider": session.provider, "id": session.id,
        "expires_at": session.expires_at,
    });
    context.out.result(&result, |paint| {
        let who = paint.green(format!("you are operator {}", session.operator));
        let until = moment(session.expires_at, SystemClock.now());
        format!("{who} of {} until {until}", session.authority)
    });
    Ok(Exit::Ok)
}

/// Ends the session, at the server first.
pub(crate) async fn end(context: &Context) -> Outcome {
    let elsewhere = elsewhere(context)?;
    let operator = Operator::of(context)?;
    let ended: Result<Value, _> = operator.post("/session/end", &Value::Null).await;
    // Whatever the server says, this user has it no more.
    elsewhere.sessions()?.remove(elsewhere.authority())?;
    ended?;
    let said = format!("the session with {} has ended", elsewhere.authority());
    context.out.result(&json!({ "ended": true }), |_| said);
    Ok(Exit::Ok)
}

fn elsewhere(context: &Context) -> Result<&Elsewhere, Failure> {
    context.elsewhere.as_ref().ok_or_else(|| {
        Failure::usage(
            "no server is named to log in at",
            "say which: --authority https://…; on the server's own machine no login is needed",
        )
    })
}

/// The server's issuer, if that is the URL by which the user named it. The login is bound to what the
/// user named: a server that could say for which one it is could pass it on to that one.
fn own_name(issuer: &str, named: &str) -> Result<Issuer, Failure> {
    if issuer.trim_end_matches('/') != named {
        let issuer: String = issuer
            .chars()
            .filter(|c| !c.is_control())
            .take(300)
            .collect();
        return Err(Failure::failed(
            format!("the server at {named} calls itself {issuer}"),
            format!("if that is the server you mean, name it so: --authority {issuer}"),
        ));
    }
    Issuer::parse(issuer)
        .map_err(|why| Failure::failed(format!("the server's issuer is malformed: {why}"), ""))
}

fn chosen<'a>(all: &'a [Declared], name: Option<&str>) -> Result<&'a Declared, Failure> {
    let names: Vec<&str> = all.iter().map(|d| d.provider.as_str()).collect();
    let listed = names.join(", ");
    match (all, name) {
        ([], _) => Err(Failure::failed(
            "no operator of this server is declared at an OpenID provider",
            "an `Operator` with `oidc` is, once it is applied: see docs/bundle.md",
        )),
        ([one], None) => Ok(one),
        (_, None) => Err(Failure::usage(
            format!("operators are declared at several providers: {listed}"),
            "say which: --provider NAME",
        )),
        (_, Some(name)) => all.iter().find(|d| d.provider == name).ok_or_else(|| {
            Failure::usage(
                format!("no operator is declared at `{name}`"),
                format!("there is: {listed}"),
            )
        }),
    }
}

async fn prove(
    declared: &Declared,
    issuer: &Issuer,
    device: bool,
    elsewhere: &Elsewhere,
    context: &Context,
) -> Result<Proved, Failure> {
    let trust = elsewhere.trust()?;
    let provider = Provider::discover(&declared.issuer, &declared.client_id, &trust).await?;
    let binding = Binding::to(issuer);
    if device {
        let pending = provider.begin_on_device(binding).await?;
        let (place, code) = pending.instructions();
        if declared.nonce == Nonce::Optional {
            context.out.note(&unbound_note(declared));
        }
        let said = format!("on any device, go to {place} and enter {code}");
        context.out.note(&said);
        return bound_if_need_be(pending.finish().await?, declared.nonce);
    }
    let waiting = provider.begin(binding).await?;
    let address = waiting.address()?;
    context.out.note("log in with a browser on this machine:");
    context.out.note(&address);
    if provider.has_devices() {
        context.out.note("without one: end this and say --device");
    }
    waiting.finish().await
}

/// What only the person at the provider's page can see then: the server said for which client it is.
fn unbound_note(declared: &Declared) -> String {
    let plain = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    format!(
        "this login may be good at other servers too: confirm it only if the provider asks you for client {}, and that is this server's alone",
        plain(&declared.client_id)
    )
}

/// A provider that knows no nonce in its device grant gives a token that is good at any authority. It
/// is shown to none that does not take such tokens anyway.
fn bound_if_need_be(proved: Proved, nonce: Nonce) -> Result<Proved, Failure> {
    match (&proved.login_secret, nonce) {
        (Some(_), Nonce::Required | Nonce::Optional) | (None, Nonce::Optional) => Ok(proved),
        (None, Nonce::Required) => Err(Failure::failed(
            "the provider's device grant gives ID tokens without the login's nonce, and this server wants it",
            "log in with a browser on this machine: leave --device out",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str) -> Declared {
        Declared {
            provider: name.to_owned(),
            issuer: format!("https://{name}.example"),
            client_id: "ops".to_owned(),
            nonce: Nonce::Required,
        }
    }

    #[test]
    fn a_login_is_bound_to_the_server_that_was_named_and_to_no_other_that_it_names() {
        let named = "https://id.acme.example";
        assert_eq!(own_name(named, named).unwrap().as_str(), named);
        for other in ["https://other.example", "https://id.acme.example:8443", ""] {
            assert!(own_name(other, named).is_err(), "{other}");
        }
    }

    #[test]
    fn a_token_without_a_nonce_is_shown_only_where_it_is_taken() {
        let proved = |bound: bool| Proved {
            id_token: Secret::new("x".to_owned()),
            login_secret: bound.then(|| Secret::new("s".to_owned())),
        };
        assert!(bound_if_need_be(proved(true), Nonce::Required).is_ok());
        assert!(bound_if_need_be(proved(true), Nonce::Optional).is_ok());
        assert!(bound_if_need_be(proved(false), Nonce::Optional).is_ok());
        assert!(bound_if_need_be(proved(false), Nonce::Required).is_err());
    }

    #[test]
    fn the_one_provider_is_taken_and_of_several_one_is_named() {
        let one = [declared("a")];
        let two = [declared("a"), declared("b")];
        assert_eq!(chosen(&one, None).unwrap().provider, "a");
        assert_eq!(chosen(&two, Some("b")).unwrap().provider, "b");
        assert!(chosen(&two, None).is_err());
        assert!(chosen(&one, Some("b")).is_err());
        assert!(chosen(&[], None).is_err());
    }
}
