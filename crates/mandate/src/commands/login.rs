//! `mandate login` and `mandate logout`: a session with a server elsewhere.

use std::path::PathBuf;

use mandate_model::{Secret, Timestamp};
use mandate_ports::Clock;
use serde::Deserialize;
use serde_json::{Value, json};

use super::moment::moment;
use crate::client::http::CALL;
use crate::client::oidc::Provider;
use crate::client::operator::{Operator, parsed};
use crate::client::session::{Parts, Session};
use crate::client::token_file;
use crate::context::{Context, Elsewhere};
use crate::failure::{Exit, Failure, Outcome};
use crate::serve::machine::SystemClock;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The server says at which OpenID providers its operators are declared. The session lives minutes, in a file of
this user alone; what it may do, the live bundle says at each command.

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
    let declared = chosen(&login.providers, args.provider.as_deref())?;
    let token = match &args.id_token {
        Some(file) => token_file::read(file)?,
        None => prove(declared, args.device, elsewhere, context).await?,
    };
    let body = json!({ "provider": declared.provider, "id_token": token.expose() });
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
    device: bool,
    elsewhere: &Elsewhere,
    context: &Context,
) -> Result<Secret<String>, Failure> {
    let trust = elsewhere.trust()?;
    let provider = Provider::discover(&declared.issuer, &declared.client_id, &trust).await?;
    if device {
        let pending = provider.begin_on_device().await?;
        let (place, code) = pending.instructions();
        let said = format!("on any device, go to {place} and enter {code}");
        context.out.note(&said);
        return pending.finish().await;
    }
    let waiting = provider.begin().await?;
    let address = waiting.address()?;
    context.out.note("log in with a browser on this machine:");
    context.out.note(&address);
    if provider.has_devices() {
        context.out.note("without one: end this and say --device");
    }
    waiting.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str) -> Declared {
        Declared {
            provider: name.to_owned(),
            issuer: format!("https://{name}.example"),
            client_id: "ops".to_owned(),
        }
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
