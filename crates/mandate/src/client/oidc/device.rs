//! The device grant (RFC 8628), where there is no browser on this machine.

use std::time::Duration;

use mandate_ports::Clock;
use serde::Deserialize;

use super::{
    Binding, OauthError, Proved, Provider, SCOPE, error_of, odd, printable, read, refused,
};
use crate::failure::Failure;
use crate::serve::machine::SystemClock;

/// A login that waits for somebody to confirm it on another device.
pub(crate) struct Pending<'a> {
    provider: &'a Provider,
    binding: Binding,
    answer: DeviceAnswer,
}

/// RFC 8628 §3.2.
#[derive(Deserialize)]
struct DeviceAnswer {
    device_code: String,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    #[serde(default = "usual_interval")]
    interval: u64,
}

fn usual_interval() -> u64 {
    5
}

impl Provider {
    /// Begins a login on another device.
    ///
    /// RFC 8628 has no `nonce`, and says that what a provider does not know it ignores (§3.1). Some put
    /// it into the ID token all the same, and others do not.
    pub(crate) async fn begin_on_device(&self, binding: Binding) -> Result<Pending<'_>, Failure> {
        let endpoint = self.metadata.device_authorization_endpoint.as_deref();
        let endpoint = endpoint.ok_or_else(|| odd("it has no device grant (RFC 8628)"))?;
        let pairs = [
            ("client_id", Some(self.client_id.as_str())),
            ("scope", Some(SCOPE)),
            ("nonce", Some(binding.nonce.as_str())),
        ];
        let answer = self.post(endpoint, &pairs).await?;
        if !answer.status.is_success() {
            return Err(refused(&error_of(&answer)));
        }
        let answer = read(answer, endpoint)?;
        Ok(Pending {
            provider: self,
            binding,
            answer,
        })
    }
}

impl Pending<'_> {
    /// Where to go on the other device, and what to enter there.
    pub(crate) fn instructions(&self) -> (String, String) {
        let DeviceAnswer {
            verification_uri,
            user_code,
            ..
        } = &self.answer;
        (printable(verification_uri), printable(user_code))
    }

    /// What the provider says, once somebody has confirmed it. Its ID token may lack a nonce.
    pub(crate) async fn finish(self) -> Result<Proved, Failure> {
        let began = SystemClock.boot();
        let life = Duration::from_secs(self.answer.expires_in.min(LONGEST));
        let mut pause = Duration::from_secs(self.answer.interval.clamp(1, LONGEST_PAUSE));
        loop {
            tokio::time::sleep(pause).await;
            if SystemClock.boot().since(began) >= life {
                return Err(Failure::failed(
                    "nobody confirmed the login in time",
                    "log in again",
                ));
            }
            let answer = self.ask().await?;
            if answer.status.is_success() {
                return self.provider.id_token(&answer, &self.binding).await;
            }
            let why = error_of(&answer);
            pause += further(&why)?;
        }
    }

    async fn ask(&self) -> Result<crate::client::http::Answer, Failure> {
        let provider = self.provider;
        let pairs = [
            ("grant_type", Some(DEVICE_CODE)),
            ("device_code", Some(self.answer.device_code.as_str())),
            ("client_id", Some(provider.client_id.as_str())),
        ];
        provider
            .post(&provider.metadata.token_endpoint, &pairs)
            .await
    }
}

/// How much longer to pause from now on (RFC 8628 §3.5); an error that is no "not yet" ends it.
fn further(why: &OauthError) -> Result<Duration, Failure> {
    match why.error.as_str() {
        "authorization_pending" => Ok(Duration::ZERO),
        "slow_down" => Ok(Duration::from_secs(5)),
        _ => Err(refused(why)),
    }
}

const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const LONGEST: u64 = 1800;
const LONGEST_PAUSE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_asks_again_only_while_the_answer_is_not_yet() {
        let of = |error: &str| {
            further(&OauthError {
                error: error.to_owned(),
                error_description: String::new(),
            })
        };
        assert_eq!(of("authorization_pending").unwrap(), Duration::ZERO);
        assert_eq!(of("slow_down").unwrap(), Duration::from_secs(5));
        for end in ["access_denied", "expired_token", ""] {
            assert!(of(end).is_err(), "{end}");
        }
    }
}
