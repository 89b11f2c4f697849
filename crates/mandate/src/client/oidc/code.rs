//! Authorization code with PKCE (RFC 7636) and a loopback redirect (RFC 8252 §7.3).

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_model::Secret;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::{Binding, OauthError, Proved, Provider, SCOPE, odd, random, refused};
use crate::client::form;
use crate::failure::Failure;

/// A login that waits for a browser to come back.
pub(crate) struct Waiting<'a> {
    provider: &'a Provider,
    listener: TcpListener,
    redirect: String,
    state: Secret<String>,
    binding: Binding,
    verifier: Secret<String>,
}

impl Provider {
    /// Begins a login; the person goes to [`Waiting::address`] with a browser on this machine.
    pub(crate) async fn begin(&self, binding: Binding) -> Result<Waiting<'_>, Failure> {
        // Loopback by address, and a port that the system gives (RFC 8252 §7.3, §8.3).
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.map_err(|e| cannot_listen(&e))?;
        let port = listener.local_addr().map_err(|e| cannot_listen(&e))?.port();
        Ok(Waiting {
            provider: self,
            listener,
            redirect: format!("http://127.0.0.1:{port}/callback"),
            state: random(),
            binding,
            verifier: random(),
        })
    }
}

impl Waiting<'_> {
    /// Where the person proves who they are.
    pub(crate) fn address(&self) -> Result<String, Failure> {
        let endpoint = self.provider.metadata.authorization_endpoint.as_deref();
        let endpoint = endpoint.ok_or_else(|| odd("it has no authorization endpoint"))?;
        // It is shown and opened: nothing but what we would speak to ourselves.
        super::door_of(endpoint, &self.provider.trust)?;
        let digest = Sha256::digest(self.verifier.expose().as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest);
        let query = form::encode(&[
            ("response_type", Some("code")),
            ("client_id", Some(self.provider.client_id.as_str())),
            ("redirect_uri", Some(self.redirect.as_str())),
            ("scope", Some(SCOPE)),
            ("state", Some(self.state.expose().as_str())),
            ("nonce", Some(self.binding.nonce.as_str())),
            ("code_challenge", Some(challenge.as_str())),
            ("code_challenge_method", Some("S256")),
        ]);
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{joint}{query}"))
    }

    /// What the provider says, once the browser has come back.
    pub(crate) async fn finish(self) -> Result<Proved, Failure> {
        let code = timeout(PATIENCE, self.code())
            .await
            .map_err(|_| Failure::failed("nobody logged in within 10 minutes", "log in again"))??;
        let provider = self.provider;
        let pairs = [
            ("grant_type", Some("authorization_code")),
            ("code", Some(code.expose().as_str())),
            ("redirect_uri", Some(self.redirect.as_str())),
            ("client_id", Some(provider.client_id.as_str())),
            ("code_verifier", Some(self.verifier.expose().as_str())),
        ];
        let place = &provider.metadata.token_endpoint;
        let answer = provider.post(place, &pairs).await?;
        let proved = provider.id_token(&answer, &self.binding).await?;
        // A provider gives back the nonce that it was sent (OpenID Connect Core §2).
        if proved.login_secret.is_none() {
            return Err(odd("the ID token lacks the `nonce` of this login"));
        }
        Ok(proved)
    }

    /// Answers whatever comes to the loopback port until the provider's answer to this login does:
    /// any page and any user of this machine can send something else there, or connect and say
    /// nothing. So nobody waits for anybody, and where too many wait, the oldest goes.
    async fn code(&self) -> Result<Secret<String>, Failure> {
        let mut connections = Connections::default();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let (stream, _) = accepted.map_err(|e| cannot_listen(&e))?;
                    connections.take(stream);
                }
                Some((stream, target)) = connections.next() => {
                    if let Some(done) = self.answer(stream, &target).await {
                        return done;
                    }
                }
            }
        }
    }

    /// Answers one request; how the login ended, if that was its answer.
    async fn answer(
        &self,
        stream: TcpStream,
        target: &str,
    ) -> Option<Result<Secret<String>, Failure>> {
        let Some(query) = target.strip_prefix("/callback?") else {
            reply(stream, "404 Not Found", "there is nothing here").await;
            return None;
        };
        match self.judge(query) {
            Judged::Foreign => {
                reply(stream, "400 Bad Request", FOREIGN).await;
                None
            }
            Judged::Code(code) => {
                reply(stream, "200 OK", DONE).await;
                Some(Ok(code))
            }
            Judged::Refused(why) => {
                reply(stream, "200 OK", REFUSED).await;
                Some(Err(why))
            }
        }
    }

    fn judge(&self, query: &str) -> Judged {
        let Some(answer) = Parameters::parse(query) else {
            return Judged::Foreign;
        };
        // Without our `state` it is nobody's answer to us (RFC 6749 §10.12).
        if answer.state.as_deref() != Some(self.state.expose().as_str()) {
            return Judged::Foreign;
        }
        // RFC 9207 §2.4: another issuer's answer, and one that lacks what its issuer always says.
        let metadata = &self.provider.metadata;
        let says = answer.iss.as_deref();
        let must = metadata.authorization_response_iss_parameter_supported;
        if says.is_some_and(|iss| iss != self.provider.issuer) || must && says.is_none() {
            return Judged::Refused(odd("it is of another issuer (RFC 9207)"));
        }
        match (answer.code, answer.error) {
            (Some(code), None) if !code.is_empty() => Judged::Code(Secret::new(code)),
            (None, Some(error)) => Judged::Refused(refused(&OauthError {
                error,
                error_description: answer.error_description.unwrap_or_default(),
            })),
            (Some(_) | None, Some(_) | None) => {
                Judged::Refused(odd("it has neither a code nor an error, or both"))
            }
        }
    }
}

/// Connections whose request is being read, the oldest first.
#[derive(Default)]
struct Connections {
    reading: JoinSet<Option<(TcpStream, String)>>,
    oldest: VecDeque<AbortHandle>,
}

impl Connections {
    fn take(&mut self, stream: TcpStream) {
        self.oldest.retain(|reading| !reading.is_finished());
        if self.oldest.len() >= MOST
            && let Some(oldest) = self.oldest.pop_front()
        {
            oldest.abort();
        }
        let read = async { timeout(REQUEST, target(stream)).await.ok().flatten() };
        self.oldest.push_back(self.reading.spawn(read));
    }

    /// The next request that is whole; `None` where nothing that could become one is left. Nothing is
    /// lost if nobody waits for it to the end.
    async fn next(&mut self) -> Option<(TcpStream, String)> {
        loop {
            if let Ok(Some(request)) = self.reading.join_next().await? {
                return Some(request);
            }
        }
    }
}

enum Judged {
    /// Not the answer to this login.
    Foreign,
    Code(Secret<String>),
    Refused(Failure),
}

/// What an authorization response says (RFC 6749 §4.1.2). A parameter that stands twice makes it none.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters {
    state: Option<String>,
    iss: Option<String>,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Option<Self> {
        let mut found = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match decoded(name)?.as_str() {
                "state" => &mut found.state,
                "iss" => &mut found.iss,
                "code" => &mut found.code,
                "error" => &mut found.error,
                "error_description" => &mut found.error_description,
                _ => continue,
            };
            if slot.replace(decoded(value)?).is_some() {
                return None;
            }
        }
        Some(found)
    }
}

/// `application/x-www-form-urlencoded`, once.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// The target of one request, and where it came from.
async fn target(mut stream: TcpStream) -> Option<(TcpStream, String)> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        head.extend_from_slice(chunk.get(..n)?);
        if head.len() > MAX_HEAD {
            return None;
        }
    }
    let head = String::from_utf8(head).ok()?;
    let target = head.strip_prefix("GET ")?.split(' ').next()?.to_owned();
    Some((stream, target))
}

/// A browser that went away, or takes nothing, misses nothing.
async fn reply(stream: TcpStream, status: &str, said: &str) {
    let _ = timeout(REPLY, write(stream, status, said)).await;
}

async fn write(mut stream: TcpStream, status: &str, said: &str) {
    let length = said.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{said}"
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn cannot_listen(error: &std::io::Error) -> Failure {
    Failure::failed(
        format!("no browser could come back to this command: {error}"),
        "log in with --device, if the provider has that",
    )
}

const PATIENCE: Duration = Duration::from_secs(600);
const REQUEST: Duration = Duration::from_secs(10);
const REPLY: Duration = Duration::from_secs(1);
/// More than a browser opens.
const MOST: usize = 64;
const MAX_HEAD: usize = 16 * 1024;
const DONE: &str = "You may close this page: the command goes on.";
const REFUSED: &str = "You may close this page: the login failed, and the command says why.";
const FOREIGN: &str = "This is not the answer to the login that waits here.";

#[cfg(test)]
mod tests {
    use mandate_token::Issuer;

    use super::super::Metadata;
    use super::*;
    use crate::client::tls::Trust;

    fn provider() -> Provider {
        let metadata = Metadata {
            issuer: "https://idp.example".to_owned(),
            jwks_uri: "https://idp.example/keys".to_owned(),
            token_endpoint: "https://idp.example/token".to_owned(),
            authorization_endpoint: None,
            device_authorization_endpoint: None,
            authorization_response_iss_parameter_supported: false,
        };
        Provider {
            issuer: metadata.issuer.clone(),
            client_id: "mandate-cli".to_owned(),
            metadata,
            trust: Trust::of(None).unwrap(),
        }
    }

    async fn answered(waiting: &Waiting<'_>, path: &str) -> String {
        let mut browser = TcpStream::connect(waiting.listener.local_addr().unwrap())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        browser.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        browser.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Any user of the machine can hold connections open there.
    #[tokio::test]
    async fn whoever_connects_and_says_nothing_keeps_no_login_waiting() {
        let provider = provider();
        let issuer = Issuer::parse("https://id.acme.example").unwrap();
        let waiting = provider.begin(Binding::to(&issuer)).await.unwrap();
        let browse = async {
            let place = waiting.listener.local_addr().unwrap();
            let mut silent = Vec::new();
            for _ in 0..2 * MOST {
                let mut stream = TcpStream::connect(place).await.unwrap();
                stream.write_all(b"GET /callb").await.unwrap();
                silent.push(stream);
            }
            let foreign = answered(&waiting, "/callback?code=x&state=y").await;
            assert!(foreign.starts_with("HTTP/1.1 400 "), "{foreign}");
            let path = format!("/callback?code=c&state={}", waiting.state.expose());
            let done = answered(&waiting, &path).await;
            assert!(done.starts_with("HTTP/1.1 200 "), "{done}");
            // They had not gone meanwhile.
            silent.len()
        };
        let both = async { tokio::join!(waiting.code(), browse) };
        let (code, silent) = timeout(REQUEST / 2, both).await.unwrap();
        assert_eq!((code.unwrap().expose().as_str(), silent), ("c", 2 * MOST));
    }

    #[test]
    fn an_answer_is_read_once_decoded_and_with_each_parameter_once() {
        let read = Parameters::parse("code=a%2Bb+c&state=s&iss=https%3A%2F%2Fi&x=1&&y").unwrap();
        assert_eq!(read.code.as_deref(), Some("a+b c"));
        assert_eq!(read.state.as_deref(), Some("s"));
        assert_eq!(read.iss.as_deref(), Some("https://i"));
        for twice in ["code=a&code=b", "state=s&%73tate=s", "iss=&iss="] {
            assert_eq!(Parameters::parse(twice), None, "{twice}");
        }
        for broken in ["code=%", "code=%2", "code=%zz", "code=%ff"] {
            assert_eq!(Parameters::parse(broken), None, "{broken}");
        }
    }
}
