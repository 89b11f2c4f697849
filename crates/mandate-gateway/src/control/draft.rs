//! From messages to snapshots.

use std::sync::Arc;

use mandate_model::stop::StopSet;
use mandate_model::{
    BundleVersion, KeysVersion, RunId, StopVersion, StoreEpoch, Timestamp, TrustDomain,
};
use mandate_policy::Bundle;
use mandate_ports::Versions;
use mandate_ports::control::{ControlMessage, PROTOCOL};
use mandate_token::{Issuer, KeySet};

use crate::load::{compile, key_set};
use crate::marks::{Marks, WentBack};
use crate::snapshot::Snapshot;

/// Why a stream is ended by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0}")]
    WentBack(#[from] WentBack),
    #[error(
        "the authority speaks version {0} of the control stream, this gateway version {PROTOCOL}"
    )]
    Protocol(u32),
    #[error("`{0}` came out of order")]
    Order(&'static str),
    #[error("`issuer` is no issuer")]
    Issuer,
    #[error("the keys cannot be used: {0}")]
    Keys(String),
}

/// What a message led to.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing to apply yet, or at all.
    Nothing,
    /// A bundle that does not compile: the last good one stays.
    BadBundle(BundleVersion, String),
    /// A snapshot to apply.
    Apply(Arc<Snapshot>),
}

/// The parts of the next snapshot. Kept from stream to stream.
#[derive(Debug, Default)]
pub(super) struct Draft {
    generation: u64,
    hello: Option<Hello>,
    keys: Option<(KeysVersion, Arc<KeySet>)>,
    bundle: Option<(BundleVersion, Option<Arc<Bundle>>)>,
    /// The stops, and who told them. Until this stream has told its own they are those of the one before: of
    /// another run of the authority, perhaps, and so nothing to acknowledge to this one.
    stops: Option<Told>,
    /// How many of the first four messages of this stream have come.
    opened: usize,
}

/// Stops as they were told.
#[derive(Debug, Clone)]
struct Told {
    run: RunId,
    /// How far the store has them.
    durable: StopVersion,
    stops: Arc<StopSet>,
}

#[derive(Debug, Clone)]
struct Hello {
    epoch: StoreEpoch,
    run: RunId,
    issuer: Issuer,
    trust_domain: TrustDomain,
}

impl Draft {
    /// A new stream begins: the first four messages are to come, in their order.
    pub(super) fn reopen(&mut self) {
        self.opened = 0;
    }

    /// Whether this stream's first four messages have come.
    pub(super) fn is_open(&self) -> bool {
        self.opened >= OPENING.len()
    }

    /// Takes one message in. `marks` is what was seen of the store before, if anything.
    pub(super) fn take(
        &mut self,
        message: ControlMessage,
        marks: Option<&Marks>,
        now: Timestamp,
    ) -> Result<Step, Refused> {
        self.check_order(&message)?;
        match message {
            ControlMessage::Ping => return Ok(Step::Nothing),
            ControlMessage::Hello {
                protocol,
                epoch,
                run,
                issuer,
                trust_domain,
            } => {
                if protocol != PROTOCOL {
                    return Err(Refused::Protocol(protocol));
                }
                marks.map_or(Ok(()), |m| m.check_epoch(epoch))?;
                let issuer = Issuer::parse(&issuer).map_err(|_| Refused::Issuer)?;
                self.begin(Hello {
                    epoch,
                    run,
                    issuer,
                    trust_domain,
                });
                return Ok(Step::Nothing);
            }
            ControlMessage::Keys { version, keys } => {
                self.not_back("keys", version.get(), marks)?;
                self.keys = Some((version, key_set(keys).map_err(Refused::Keys)?));
            }
            ControlMessage::Bundle { version, files } => {
                self.not_back("bundle", version.get(), marks)?;
                match self.compile(version, files, now) {
                    Ok(bundle) => self.bundle = Some((version, bundle)),
                    Err(why) => return Ok(Step::BadBundle(version, why)),
                }
            }
            ControlMessage::Stops(wire) => {
                let durable = wire.durable();
                self.not_back("stops", durable.get(), marks)?;
                let hello = self.hello.as_ref().ok_or(Refused::Order("stops"))?;
                self.stops = Some(Told {
                    run: hello.run,
                    durable,
                    stops: Arc::new(wire.into()),
                });
            }
        }
        Ok(self.snapshot().map_or(Step::Nothing, Step::Apply))
    }

    fn check_order(&mut self, message: &ControlMessage) -> Result<(), Refused> {
        let name = name(message);
        match OPENING.get(self.opened) {
            Some(expected) if *expected == name => self.opened += 1,
            None if name != "hello" => {}
            Some(_) | None => return Err(Refused::Order(name)),
        }
        Ok(())
    }

    /// Another epoch begins from nothing.
    fn begin(&mut self, hello: Hello) {
        if self.hello.as_ref().is_some_and(|h| h.epoch != hello.epoch) {
            self.forget();
        }
        self.hello = Some(hello);
    }

    /// Forgets what is known of the store: an operator accepted another state of it.
    pub(super) fn forget(&mut self) {
        (self.keys, self.bundle, self.stops) = (None, None, None);
    }

    fn not_back(&self, kind: &'static str, now: u64, marks: Option<&Marks>) -> Result<(), Refused> {
        marks.map_or(Ok(()), |m| m.check(kind, now))?;
        let seen = match kind {
            "stops" => self.stops.as_ref().map_or(0, |told| told.durable.get()),
            "bundle" => self.bundle.as_ref().map_or(0, |(v, _)| v.get()),
            _keys => self.keys.as_ref().map_or(0, |(v, _)| v.get()),
        };
        if now < seen {
            return Err(WentBack::Version { kind, now, seen }.into());
        }
        Ok(())
    }

    fn compile(
        &self,
        version: BundleVersion,
        files: Vec<(String, String)>,
        now: Timestamp,
    ) -> Result<Option<Arc<Bundle>>, String> {
        if let Some((known, bundle)) = &self.bundle
            && *known == version
        {
            return Ok(bundle.clone());
        }
        if version == BundleVersion::default() {
            return Ok(None);
        }
        let hello = self.hello.as_ref().ok_or("no `hello` before it")?;
        compile(&hello.trust_domain, hello.issuer.as_str(), files, now).map(Some)
    }

    fn snapshot(&mut self) -> Option<Arc<Snapshot>> {
        let hello = self.hello.clone()?;
        let (keys_version, keys) = self.keys.clone()?;
        let (bundle_version, bundle) = self.bundle.clone()?;
        let Told {
            run,
            durable,
            stops,
        } = self.stops.clone()?;
        self.generation += 1;
        Some(Arc::new(Snapshot {
            generation: self.generation,
            run,
            versions: Versions {
                epoch: hello.epoch,
                stops: stops.version(),
                bundle: bundle_version,
                keys: keys_version,
            },
            issuer: hello.issuer,
            trust_domain: hello.trust_domain,
            bundle,
            durable_stops: durable,
            stops,
            keys,
        }))
    }
}

fn name(message: &ControlMessage) -> &'static str {
    match message {
        ControlMessage::Hello { .. } => "hello",
        ControlMessage::Keys { .. } => "keys",
        ControlMessage::Bundle { .. } => "bundle",
        ControlMessage::Stops(_) => "stops",
        ControlMessage::Ping => "ping",
    }
}

const OPENING: [&str; 4] = ["hello", "keys", "bundle", "stops"];

#[cfg(test)]
mod tests {
    use mandate_model::stop::StopSet as Stops;
    use mandate_ports::control::WireStops;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn opening(run: u8, version: u64) -> [ControlMessage; 4] {
        let version = StopVersion::new(version);
        [
            ControlMessage::Hello {
                protocol: PROTOCOL,
                epoch: StoreEpoch::from_random([1; 16]),
                run: RunId::from_random([run; 16]),
                issuer: "https://id.acme.example".to_owned(),
                trust_domain: TrustDomain::parse("acme.example").unwrap(),
            },
            ControlMessage::Keys {
                version: KeysVersion::new(1),
                keys: Vec::new(),
            },
            ControlMessage::Bundle {
                version: BundleVersion::default(),
                files: Vec::new(),
            },
            ControlMessage::Stops(WireStops::from(&Stops::of_suspensions(version, []))),
        ]
    }

    fn take(draft: &mut Draft, message: ControlMessage) -> Option<(RunId, StopVersion)> {
        match draft.take(message, None, NOW).unwrap() {
            Step::Apply(snapshot) => Some((snapshot.run, snapshot.versions.stops)),
            Step::Nothing => None,
            Step::BadBundle(_, why) => panic!("{why}"),
        }
    }

    #[test]
    fn stops_are_of_the_run_that_told_them_until_the_next_run_has_told_its_own() {
        let mut draft = Draft::default();
        let [former, present] = [1, 2].map(|run| RunId::from_random([run; 16]));
        let (six, seven) = (StopVersion::new(6), StopVersion::new(7));
        let mut told: Vec<_> = Vec::new();
        for message in opening(1, 6) {
            told.extend(take(&mut draft, message));
        }
        assert_eq!(told, [(former, six)]);
        draft.reopen();
        let mut again = Vec::new();
        for message in opening(2, 7) {
            again.extend(take(&mut draft, message));
        }
        assert_eq!(again, [(former, six), (former, six), (present, seven)]);
    }

    #[test]
    fn another_version_of_the_protocol_is_named() {
        let mut draft = Draft::default();
        let [mut hello, ..] = opening(1, 1);
        if let ControlMessage::Hello { protocol, .. } = &mut hello {
            *protocol = PROTOCOL - 1;
        }
        let refused = draft.take(hello, None, NOW).unwrap_err();
        assert_eq!(refused, Refused::Protocol(PROTOCOL - 1));
    }
}
