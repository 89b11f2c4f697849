//! `POST /control/v1/token`: a gateway exchanges for an agent (A9).
//!
//! The kernel says that the connection is a gateway's; its proof in `DPoP` says by which key. What the
//! agent brought is checked here as if it had come itself, its proof included.

use axum::extract::{Request, State};
use axum::response::Response;
use mandate_decide::exchange::{
    self, Grant, ViaExchange, authenticate_gateway, identify_via, parse_via,
};

use super::chain::Chain;
use super::{Asked, Caller, Refused, read, rounds};
use crate::control::OwnUser;
use crate::listen::Connection;
use crate::possession::with_nonce;

/// Answers as the token endpoint does.
pub(crate) async fn token_for_agent(
    State(at): State<Connection>,
    _: OwnUser,
    request: Request,
) -> Response {
    let response = match exchange(&at, request).await {
        Ok(response) => response,
        Err(refused) => refused.reply(&at).await,
    };
    with_nonce(&at.authority, response)
}

async fn exchange(at: &Connection, request: Request) -> Result<Response, Refused> {
    let (shown, form) = read(at, request).await?;
    let asked = parse_via(form).map_err(Refused::early)?;
    rounds(at, &Asked::Gateway(asked), shown).await
}

impl Chain<'_> {
    /// Grants what a gateway asks for an agent, or names the rule and who broke it.
    pub(super) async fn decide_via(
        &mut self,
        asked: &ViaExchange,
    ) -> Result<(Grant, Caller), Refused> {
        let gateway = authenticate_gateway(&asked.gateway, self.shown.proof(), &self.view())
            .map_err(Refused::early)?;
        // Its proof, as the agent's, is used up in the store, with what is issued. Where nothing is, there is
        // nothing to be had by showing it again, and nothing is remembered.
        let identified = identify_via(asked, gateway, &self.view()).map_err(Refused::early)?;
        let mut caller = Caller::client("access", &identified, self.world);
        caller.came_via(&asked.gateway);
        let client = match identified.admit(&self.view()) {
            Ok(client) => client,
            Err(why) => return Err(caller.refused(why.into())),
        };
        caller.for_resource(&asked.resource, self.live);
        let subject = match self.subject(&asked.subject_token, &mut caller).await {
            Ok(subject) => subject,
            Err(why) => return Err(caller.refused(why)),
        };
        let whole = (None, None);
        let view = self.view();
        let granted = exchange::access(
            &client,
            &subject,
            &asked.resource,
            whole,
            &view,
            &self.fresh,
        );
        match granted {
            Ok(grant) => Ok((grant, caller)),
            Err(why) => Err(caller.refused(why.into())),
        }
    }
}
