//! A small authority that speaks the control stream as `docs/control-stream.md` says.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mandate_audit::Event;
use mandate_model::stop::{Subject, Suspension};
use mandate_model::{
    BundleVersion, KeysVersion, Principal, RunId, StopVersion, StoreEpoch, Thumbprint, Timestamp,
    TrustDomain,
};
use mandate_ports::control::{
    Acknowledgement, ControlMessage, LeaseGrant, LeaseRequest, PROTOCOL, PublicKeyRecord, Shipment,
    Shipped, UpstreamToken, UpstreamTokenRequest, WireStops,
};
use mandate_ports::{KeyPurpose, KeyState, Versions};
use serde::Serialize;
use tokio::sync::mpsc;

use super::tokens::{ISSUER, Keys, kid};

pub struct State {
    pub epoch: StoreEpoch,
    pub run: RunId,
    pub stops: WireStops,
    pub bundle_version: u64,
    pub bundle: String,
    pub granting: bool,
    /// The status with which leases are refused, if they are.
    pub lease_refusal: Option<u16>,
    /// Nobody is answered.
    pub unreachable: bool,
    /// Shipments are not taken now.
    pub holding_records: bool,
    /// How many were not.
    pub held_shipments: u64,
    pub lease_ms: u64,
    pub acks: Vec<Acknowledgement>,
    /// How many were of another run.
    pub acks_of_others: u64,
    pub leases: Vec<LeaseRequest>,
    pub records: Vec<Event>,
    pub next: u64,
    pub refuse_ack: bool,
    pub upstream_tokens: u64,
    streams: Vec<mpsc::UnboundedSender<Said>>,
}

fn suspension(subject: Subject, version: StopVersion) -> Suspension {
    Suspension {
        subject,
        reason: "INC-1".to_owned(),
        operator: Principal::parse("operator:root").unwrap(),
        version,
        at: Timestamp::from_secs(1),
    }
}

pub struct Authority {
    pub keys: Keys,
    state: Arc<Mutex<State>>,
    public: Vec<u8>,
}

impl Authority {
    pub async fn start(folder: &Path, bundle: String, options: &super::Options) -> Self {
        let keys = Keys::new();
        let state = Arc::new(Mutex::new(State {
            epoch: StoreEpoch::from_random([7; 16]),
            run: RunId::from_random([1; 16]),
            stops: WireStops {
                resumptions: Vec::new(),
                version: StopVersion::new(1),
                suspensions: vec![],
                ended: vec![],
                revoked: vec![],
                replaced_keys: vec![],
                undurable: 0,
            },
            bundle_version: 1,
            bundle,
            granting: options.granting,
            lease_refusal: None,
            unreachable: false,
            holding_records: false,
            held_shipments: 0,
            lease_ms: options.lease_ms,
            acks: vec![],
            acks_of_others: 0,
            leases: vec![],
            records: vec![],
            next: 0,
            refuse_ack: false,
            upstream_tokens: 0,
            streams: vec![],
        }));
        let public = keys.public();
        let listener = tokio::net::UnixListener::bind(folder.join("control.sock")).unwrap();
        tokio::spawn(serve(listener, state.clone(), public.clone()));
        Self {
            keys,
            state,
            public,
        }
    }

    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn records(&self) -> Vec<Event> {
        self.state().records.clone()
    }

    /// Suspends, tells every stream, and gives the version.
    pub fn suspend(&self, subject: Subject) -> StopVersion {
        self.change_stops(|stops| stops.suspensions.push(suspension(subject, stops.version)))
    }

    /// Suspends with a store that cannot be written.
    pub fn suspend_in_memory(&self, subject: Subject) -> StopVersion {
        self.change_stops(|stops| {
            stops.suspensions.push(suspension(subject, stops.version));
            stops.undurable += 1;
        })
    }

    /// The store can be written again, and has what waited.
    pub fn store_what_waits(&self) {
        let mut state = self.state();
        state.stops.undurable = 0;
        let message = ControlMessage::Stops(state.stops.clone());
        state.tell(message);
    }

    /// It crashed, and is started anew with `stops` as its store has them. Its streams are open still.
    pub fn start_anew(&self, stops: impl FnOnce(&mut WireStops)) {
        let mut state = self.state();
        state.run = RunId::from_random([2; 16]);
        state.acks.clear();
        stops(&mut state.stops);
    }

    /// The stops that the last lease was asked for with.
    pub fn last_leased(&self) -> Option<StopVersion> {
        self.state().leases.last().map(|request| request.stops)
    }

    pub fn change_stops(&self, change: impl FnOnce(&mut WireStops)) -> StopVersion {
        let mut state = self.state();
        state.stops.version = state.stops.version.next();
        change(&mut state.stops);
        let message = ControlMessage::Stops(state.stops.clone());
        state.tell(message);
        state.stops.version
    }

    /// An instance attested with another key than this one.
    pub fn replace_key(&self, key: Thumbprint) -> StopVersion {
        let for_ever = Timestamp::from_millis(u64::MAX);
        self.change_stops(|stops| stops.replaced_keys.push((key, for_ever)))
    }

    pub fn stop_version(&self) -> StopVersion {
        self.state().stops.version
    }

    pub fn apply_bundle(&self, bundle: String) {
        let mut state = self.state();
        state.bundle_version += 1;
        state.bundle = bundle;
        let message = state.bundle_message();
        state.tell(message);
    }

    /// From now on nobody reaches it.
    pub fn cut(&self) {
        self.state().unreachable = true;
        self.hang_up();
    }

    /// It can be reached again.
    pub fn mend(&self) {
        self.state().unreachable = false;
    }

    /// Sends a line that is no message down every stream.
    pub fn say_nonsense(&self) {
        for stream in &self.state().streams {
            stream.send(Said::Nonsense).unwrap();
        }
    }

    /// Ends every stream.
    pub fn hang_up(&self) {
        self.state().streams.clear();
    }

    pub fn acknowledged(&self, version: StopVersion) -> Option<Acknowledgement> {
        self.state()
            .acks
            .iter()
            .find(|a| a.stops >= version)
            .cloned()
    }
}

impl State {
    fn tell(&mut self, message: ControlMessage) {
        self.streams
            .retain(|stream| stream.send(Said::Message(message.clone())).is_ok());
    }

    fn bundle_message(&self) -> ControlMessage {
        ControlMessage::Bundle {
            version: BundleVersion::new(self.bundle_version),
            files: vec![("bundle.yaml".to_owned(), self.bundle.clone())],
        }
    }

    fn versions(&self) -> Versions {
        Versions {
            epoch: self.epoch,
            stops: self.stops.version,
            bundle: BundleVersion::new(self.bundle_version),
            keys: KeysVersion::new(1),
        }
    }

    fn open(&mut self, public: &[u8]) -> mpsc::UnboundedReceiver<Said> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let key = PublicKeyRecord {
            id: kid(),
            purpose: KeyPurpose::Oauth,
            state: KeyState::Signing,
            public: URL_SAFE_NO_PAD.encode(public),
        };
        let opening = [
            ControlMessage::Hello {
                protocol: PROTOCOL,
                epoch: self.epoch,
                run: self.run,
                issuer: ISSUER.to_owned(),
                trust_domain: TrustDomain::parse("acme.example").unwrap(),
            },
            ControlMessage::Keys {
                version: KeysVersion::new(1),
                keys: vec![key],
            },
            self.bundle_message(),
            ControlMessage::Stops(self.stops.clone()),
        ];
        for message in opening {
            sender.send(Said::Message(message)).unwrap();
        }
        self.streams.push(sender);
        receiver
    }
}

/// A line of a stream.
enum Said {
    Message(ControlMessage),
    Nonsense,
}

type Body = BoxBody<Bytes, Infallible>;

async fn serve(listener: tokio::net::UnixListener, state: Arc<Mutex<State>>, public: Vec<u8>) {
    while let Ok((stream, _)) = listener.accept().await {
        if state.lock().unwrap().unreachable {
            continue;
        }
        let (state, public) = (state.clone(), public.clone());
        let service = service_fn(move |request| answer(state.clone(), public.clone(), request));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    public: Vec<u8>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if path == "/control/v1/stream" {
        assert_eq!(request.uri().query(), Some("gateway=gateway-1"));
        return Ok(stream(state.lock().unwrap().open(&public)));
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut state = state.lock().unwrap();
    Ok(match path.as_str() {
        "/control/v1/lease" => {
            let request: LeaseRequest = serde_json::from_slice(&body).unwrap();
            let run = request.run;
            state.leases.push(request);
            if run != state.run {
                return Ok(problem(StatusCode::CONFLICT, "run"));
            }
            if let Some(status) = state.lease_refusal {
                return Ok(problem(StatusCode::from_u16(status).unwrap(), "refused"));
            }
            if !state.granting {
                return Ok(problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
            }
            json(&LeaseGrant {
                lease_ms: state.lease_ms,
                versions: state.versions(),
            })
        }
        "/control/v1/ack" if state.refuse_ack => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
        "/control/v1/ack" => {
            let ack: Acknowledgement = serde_json::from_slice(&body).unwrap();
            if ack.run != state.run {
                state.acks_of_others += 1;
                return Ok(problem(StatusCode::CONFLICT, "run"));
            }
            state.acks.push(ack);
            let mut empty = Response::new(Full::default().boxed());
            *empty.status_mut() = StatusCode::NO_CONTENT;
            empty
        }
        "/control/v1/records" if state.holding_records => {
            state.held_shipments += 1;
            problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
        "/control/v1/records" => {
            let shipment = Shipment::from_lines(&body).unwrap();
            for record in shipment.records {
                if record.seq == state.next {
                    state
                        .records
                        .push(Event::parse(record.event.as_bytes()).unwrap());
                    state.next += 1;
                }
            }
            json(&Shipped { next: state.next })
        }
        "/control/v1/upstream-token" => {
            let asked: UpstreamTokenRequest = serde_json::from_slice(&body).unwrap();
            assert!(asked.access_token.starts_with("ey"));
            state.upstream_tokens += 1;
            json(&UpstreamToken {
                token: format!("upstream.token.{}", state.upstream_tokens),
                expires_at: Timestamp::from_millis(u64::MAX),
            })
        }
        _ => problem(StatusCode::NOT_FOUND, "unknown"),
    })
}

fn stream(messages: mpsc::UnboundedReceiver<Said>) -> Response<Body> {
    let lines = futures_util::stream::unfold(messages, |mut messages| async move {
        let message = messages.recv().await?;
        let mut line = match &message {
            Said::Message(message) => serde_json::to_vec(message).unwrap(),
            Said::Nonsense => b"{\"message\": \"later\"}".to_vec(),
        };
        line.push(b'\n');
        Some((Ok(Frame::data(Bytes::from(line))), messages))
    });
    Response::new(BodyExt::boxed(StreamBody::new(lines.boxed_sync())))
}

fn json(answer: &impl Serialize) -> Response<Body> {
    Response::new(Full::new(Bytes::from(serde_json::to_vec(answer).unwrap())).boxed())
}

fn problem(status: StatusCode, name: &str) -> Response<Body> {
    let body = serde_json::json!({
        "type": format!("urn:mandate:problem:{name}"), "title": name, "status": status.as_u16(),
    });
    let mut response = json(&body);
    *response.status_mut() = status;
    response
}

/// `boxed` with `Sync`, which a body in a `BoxBody` needs.
trait BoxedSync: Sized {
    fn boxed_sync(self) -> std::pin::Pin<Box<Self>>;
}
impl<T> BoxedSync for T {
    fn boxed_sync(self) -> std::pin::Pin<Box<Self>> {
        Box::pin(self)
    }
}
