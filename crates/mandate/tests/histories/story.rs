//! One history: what happens, step by step, and what must hold after each.

use std::sync::Arc;
use std::time::Duration;

use mandate_model::Timestamp;
use mandate_testkit::clock::FixedClock;
use mandate_testkit::entropy::SeededEntropy;
use mandate_testkit::losing_disk::apart::{Disks, Kept};
use mandate_testkit::losing_disk::{Fate, Fault, Lasts, On, Operation};
use mandate_testkit::random::Random;
use serde_json::json;

use crate::books::{Books, Known, Seen, Token};
use crate::client::{self, Got};
use crate::parts::KeyPool;
use crate::people::People;
use crate::system::{At, Machine, System};
use crate::upstream::Upstream;

/// `Err` says which promise was broken.
pub(crate) type Verdict = Result<(), String>;

/// Where histories begin: a disk on which a bundle is live, or an empty one; and an upstream.
pub(crate) struct Ground {
    disks: Disks,
    upstream: Upstream,
    people: Arc<People>,
    image: Option<Kept>,
}

/// What is taken away from the system to see that it is missed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Without {
    /// Syncs of files with one of these in their path are answered and not done.
    pub(crate) syncs: &'static [&'static str],
    /// The store does not look at budgets and endings.
    pub(crate) budgets: bool,
    /// The store does not look at what was used once.
    pub(crate) once: bool,
    /// The gateway takes for shipped what is not.
    pub(crate) shipped: bool,
    /// The gateway ships what it has written.
    pub(crate) faithful: bool,
}

/// One history.
pub(crate) struct Story<'a> {
    ground: &'a Ground,
    random: Random,
    machine: Machine,
    system: Option<System>,
    books: Books,
    without: Without,
    said: Vec<String>,
    trace: Vec<Operation>,
    crashes: u64,
}

/// What is left of a history.
pub(crate) struct Told {
    /// Its steps.
    pub(crate) said: Vec<String>,
    /// What the disk was asked for.
    pub(crate) trace: Vec<Operation>,
    pub(crate) crashes: u64,
    pub(crate) figures: Figures,
    pub(crate) verdict: Verdict,
}

/// How much happened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) tokens: usize,
    pub(crate) arrived: usize,
    pub(crate) records: usize,
    pub(crate) unanswered: usize,
}

impl Ground {
    /// `None`, said aloud, where no disk can be mounted.
    pub(crate) fn new() -> Option<Self> {
        let ground = Self {
            disks: Disks::start(HOOK),
            upstream: Upstream::new(),
            people: People::new(),
            image: None,
        };
        let mut story = Story::begin(&ground, 0, true, Without::default())?;
        story.boot().unwrap();
        story.first_bundle().unwrap();
        story.system.take().unwrap().stop().unwrap();
        let image = Some(story.machine.disk.all_synced());
        drop(story);
        Some(Self { image, ..ground })
    }
}

impl<'a> Story<'a> {
    fn begin(ground: &'a Ground, seed: u64, empty: bool, without: Without) -> Option<Self> {
        let mut random = Random::new(seed);
        let image = ground.image.as_ref().filter(|_| !empty);
        let keys = if empty {
            KeyPool::default()
        } else {
            KeyPool::after_the_first()
        };
        let disk = ground.disks.mount(image, random.number())?;
        let machine = Machine {
            disk: Arc::new(disk),
            clock: Arc::new(FixedClock::at(Timestamp::from_secs(1_800_000_000))),
            entropy: Arc::new(SeededEntropy::new(random.number())),
            keys: Arc::new(keys),
            upstream: ground.upstream.anew(),
            people: Arc::clone(&ground.people),
            without,
        };
        let mut books = Books::default();
        if !empty {
            books.bundle = crate::books::Bundle::first();
        }
        let story = Self {
            ground,
            random,
            machine,
            system: None,
            books,
            without,
            said: Vec::new(),
            trace: Vec::new(),
            crashes: 0,
        };
        if !empty {
            story.machine.clock.pass(Duration::from_secs(60));
        }
        story.take_away();
        Some(story)
    }

    fn take_away(&self) {
        self.machine.disk.ignore_syncs(self.without.syncs);
    }

    /// Runs the history of `seed`.
    pub(crate) fn tell(ground: &'a Ground, seed: u64, without: Without) -> Option<Told> {
        let empty = seed.is_multiple_of(16);
        let mut story = Self::begin(ground, seed, empty, without)?;
        let verdict = story.go(empty);
        let figures = Figures {
            tokens: story.books.seen.issued.len(),
            arrived: story.machine.upstream.count(),
            records: story.books.log.len(),
            unanswered: story.books.seen.unclaimed.len(),
        };
        if let Some(system) = story.system.take() {
            system.lose();
        }
        story.trace.extend(story.machine.disk.trace());
        Some(Told {
            said: story.said,
            trace: story.trace,
            crashes: story.crashes,
            figures,
            verdict,
        })
    }

    fn go(&mut self, empty: bool) -> Verdict {
        let steps = 10 + self.random.below(21);
        let mut crashes = 1 + self.random.below(4);
        if empty && self.random.chance(1, 2) {
            self.machine.disk.crash_after(self.random.below(60));
        }
        self.boot_or_crash()?;
        for _ in 0..steps {
            if crashes > 0 && self.random.chance(crashes, 8) {
                crashes -= 1;
                // A step asks for some dozens of operations at most.
                let after = self.random.below(40);
                self.said.push(format!("(crash after {after} operations)"));
                self.machine.disk.crash_after(after);
            }
            self.step()?;
            if self.machine.disk.has_crashed() {
                self.crash()?;
            }
        }
        self.end()
    }

    fn boot(&mut self) -> Verdict {
        let mut booted = System::boot(&self.machine);
        for _ in 0..LOOKS {
            // Threads of the one before, which in life end with their process, have its locks still.
            match &booted {
                Err(why) if why.contains("another") => {}
                Ok(_) | Err(_) => break,
            }
            std::thread::park_timeout(Duration::from_millis(5));
            booted = System::boot(&self.machine);
        }
        self.system = Some(booted?);
        Ok(())
    }

    /// Starts; again and again, while the disk crashes under it.
    fn boot_or_crash(&mut self) -> Verdict {
        let mut booted = self.boot();
        if self.machine.disk.has_crashed() {
            return self.crash();
        }
        if let (Err(why), true) = (&booted, self.books.disk_fails) {
            // It may say that it cannot start on a disk that fails. It starts when it is mended.
            self.said.push(format!(
                "{why}; the disk is mended, and it is started again"
            ));
            self.books.disk_fails = false;
            self.machine.disk.mend();
            booted = self.boot();
            if self.machine.disk.has_crashed() {
                return self.crash();
            }
        }
        booted?;
        if std::mem::take(&mut self.books.disk_fails) {
            // It was started on a disk that fails; from here on it has to recover by itself.
            self.said.push("the disk is mended".to_owned());
            self.machine.disk.mend();
        }
        self.check()
    }

    /// What a machine does that lost its power and has it again.
    fn crash(&mut self) -> Verdict {
        self.crashes += 1;
        if let Some(system) = self.system.take() {
            system.lose();
        }
        let fate = match self.random.below(8) {
            0 | 1 => Fate::Lost,
            2 => Fate::Kept,
            3 => Fate::FirstPart,
            4 | 5 => Fate::Torn { sector: 4096 },
            _ => Fate::Torn { sector: 512 },
        };
        self.said.push(format!(
            "CRASH after operation {}, {fate:?}",
            self.machine.disk.operations()
        ));
        let image = self.machine.disk.after_crash(fate, self.random.number());
        self.trace.extend(self.machine.disk.trace());
        let disk = self.ground.disks.mount(Some(&image), self.random.number());
        self.machine.disk = Arc::new(disk.ok_or("no disk can be mounted any more")?);
        self.take_away();
        self.books.disk_fails = false;
        self.books.forget_what_was_not_durable();
        // Now and then it crashes again while it recovers.
        if self.random.chance(1, 8) {
            self.machine.disk.crash_after(self.random.below(30));
        }
        self.machine
            .clock
            .pass(Duration::from_secs(1 + self.random.below(30)));
        self.boot_or_crash()
    }

    fn step(&mut self) -> Verdict {
        if self.random.chance(1, 24) {
            return self.restart();
        }
        self.with(async |step| {
            step.any().await?;
            step.at.quiet().await;
            step.read_on().await
        })
    }

    /// Told to end, and started again.
    fn restart(&mut self) -> Verdict {
        self.said.push("restart".to_owned());
        if let Some(system) = self.system.take() {
            let stopped = system.stop();
            if self.machine.disk.has_crashed() {
                return Ok(());
            }
            stopped?;
        }
        self.books.forget_what_was_not_durable();
        self.boot_or_crash()
    }

    /// After a start: all that was promised is there.
    fn check(&mut self) -> Verdict {
        let checked = self.with(async |step| step.check().await);
        if self.machine.disk.has_crashed() {
            return self.crash();
        }
        checked
    }

    fn with<T>(
        &mut self,
        what: impl AsyncFnOnce(&mut Step<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let Some(system) = &self.system else {
            return Err("there is no system".to_owned());
        };
        let mut step = Step {
            at: &system.at,
            books: &mut self.books,
            random: &mut self.random,
            said: &mut self.said,
        };
        system.run(what(&mut step))
    }

    fn first_bundle(&mut self) -> Verdict {
        self.with(async |step| step.apply(true).await)
    }

    /// All is well again, and the system serves by itself; then it ends in order, and what it leaves
    /// is whole.
    fn end(&mut self) -> Verdict {
        self.said.push("all is well again".to_owned());
        self.machine.disk.mend();
        self.books.disk_fails = false;
        if self.machine.disk.has_crashed() || self.system.is_none() {
            self.boot_or_crash()?;
        }
        self.with(async |step| step.serves_again().await)?;
        if self.machine.disk.has_crashed() {
            self.crash()?;
            self.with(async |step| step.serves_again().await)?;
        }
        self.check()
    }
}

/// What came of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Yes,
    No,
    /// Nobody was told.
    Unknown,
}

impl Outcome {
    pub(crate) fn of(got: &Option<Got>) -> Self {
        match got {
            Some(Ok(answer)) if answer.status < 300 && !answer.broken => Outcome::Yes,
            Some(Ok(answer)) if answer.status < 500 && !answer.broken => Outcome::No,
            Some(Ok(_) | Err(_)) | None => Outcome::Unknown,
        }
    }
}

/// One step.
pub(crate) struct Step<'a> {
    pub(crate) at: &'a At,
    pub(crate) books: &'a mut Books,
    pub(crate) random: &'a mut Random,
    pub(crate) said: &'a mut Vec<String>,
}

impl Step<'_> {
    pub(crate) fn say(&mut self, what: String) {
        self.said.push(what);
    }

    /// Says what came back.
    pub(crate) fn heard(&mut self, got: &Option<Got>) {
        let heard = match got {
            Some(Ok(answer)) => format!("  {}{}", answer.status, why(answer)),
            Some(Err(why)) => format!("  no answer: {why}"),
            None => "  no answer".to_owned(),
        };
        self.said.push(heard);
    }

    pub(crate) fn expect(&mut self, what: String, is_so: impl Fn(&Seen) -> bool + 'static) {
        self.books.expected.push((what, Box::new(is_so)));
    }

    async fn any(&mut self) -> Verdict {
        if self.books.bundle.version == 0 {
            return self.apply(true).await;
        }
        match self.random.below(100) {
            0..=2 => {
                let agent = *self.random.one_of(&["planner", "reader", "writer"]);
                self.attest(agent).await
            }
            3..=4 => self.open().await,
            5..=7 => self.open_for_person().await,
            8 => self.open_as_operator().await,
            9..=16 => self.delegate().await,
            17..=18 => self.attest_again().await,
            19..=21 => self.renew(false).await,
            22..=24 => self.renew(true).await,
            25..=29 => self.access().await,
            30..=57 => self.request(false).await,
            58..=65 => self.request(true).await,
            66..=67 => self.close().await,
            68..=69 => self.revoke().await,
            70..=75 => self.suspend().await,
            76..=82 => self.lift().await,
            83..=84 => self.apply(true).await,
            85 => self.apply(false).await,
            86 => self.rotate().await,
            87..=88 => self.witness().await,
            89..=92 => self.ship().await,
            93..=95 => self.time().await,
            96..=98 => self.fault().await,
            _ => self.mend().await,
        }
    }

    async fn ship(&mut self) -> Verdict {
        self.say("ship records".to_owned());
        // Where something fails, it is tried again.
        self.at.ship().await;
        Ok(())
    }

    async fn time(&mut self) -> Verdict {
        let seconds = *self.random.one_of(&[3, 7, 20, 70, 340]);
        let span = Duration::from_secs(seconds);
        if self.random.chance(1, 3) {
            self.say(format!("{seconds} s pass at once"));
            self.at.jump(span).await;
        } else {
            self.say(format!("{seconds} s pass"));
            self.at.pass(span).await;
        }
        Ok(())
    }

    async fn fault(&mut self) -> Verdict {
        let fault = Fault {
            on: *self
                .random
                .one_of(&[On::Writes, On::Syncs, On::Names, On::Everything]),
            under: AREAS[usize::try_from(self.random.below(4)).unwrap()].to_owned(),
            after: self.random.below(12),
            lasts: if self.random.chance(1, 3) {
                Lasts::UntilMended
            } else {
                Lasts::Once
            },
            full: self.random.chance(1, 3),
        };
        self.say(format!("{fault:?}"));
        self.books.disk_fails = true;
        self.at.disk.fail(fault);
        Ok(())
    }

    /// What fails for good works again, and without help so does the system.
    async fn mend(&mut self) -> Verdict {
        self.say("the disk is mended".to_owned());
        self.at.disk.mend();
        self.books.disk_fails = false;
        self.recovers().await
    }

    pub(crate) async fn recovers(&mut self) -> Verdict {
        let gateway = json!({"kind": "gateway", "id": crate::system::GATEWAY});
        let stopped = self.books.stops.get(&crate::books::subject(&gateway));
        let may_serve = !matches!(stopped, Some(Known::Yes | Known::Asked));
        // Too much that waits is shipped, and with it goes what kept it from admitting.
        let shipped = self.at.ship().await;
        let ready = !may_serve || self.at.until(|| self.at.is_ready()).await;
        if (ready && shipped) || self.at.disk.has_crashed() {
            return Ok(());
        }
        let trouble = self.at.trouble();
        Err(format!(
            "it does not recover (shipped: {shipped}): {trouble}"
        ))
    }

    /// A token, if one was issued.
    pub(crate) fn issued(&mut self, got: Option<Got>) -> Result<Option<Token>, String> {
        self.heard(&got);
        match (Outcome::of(&got), got) {
            (Outcome::Yes, Some(Ok(answer))) => {
                let token = answer.json()["access_token"].as_str().map(Token::read);
                let token = token.ok_or("an answer without a token")?;
                let id = token.id.clone();
                self.books.seen.issued.insert(id.clone());
                self.expect(format!("P4: the issuance of {id}"), move |seen| {
                    seen.recorded.contains(&id)
                });
                Ok(Some(token))
            }
            (Outcome::Unknown, _) => {
                self.books.seen.unanswered += 1;
                Ok(None)
            }
            (Outcome::No | Outcome::Yes, _) => Ok(None),
        }
    }

    /// Nothing that it depends on is suspended.
    pub(crate) fn must_be_free(&self, token: &Token) -> Verdict {
        match self.books.stop_of(&token.subjects) {
            Some(stop) => Err(format!("P6: a token was issued under {stop}")),
            None => Ok(()),
        }
    }

    pub(crate) fn must_not_be_of(&self, got: &Option<Got>, shown: &[&Token]) -> Verdict {
        if Outcome::of(got) != Outcome::Yes {
            return Ok(());
        }
        for token in shown {
            if let Some(stop) = self.books.stop_of(&token.subjects) {
                return Err(format!("P6: something was issued on a token under {stop}"));
            }
            if token.void || token.revoked == Known::Yes {
                return Err("P6: something was issued on a token that is void".to_owned());
            }
        }
        Ok(())
    }

    pub(crate) fn must_not_have_ended(&self, got: &Option<Got>, task: usize) -> Verdict {
        if Outcome::of(got) == Outcome::Yes && self.books.has_ended(&self.books.tasks[task].path) {
            return Err("something was issued in a task that has ended".to_owned());
        }
        Ok(())
    }

    pub(crate) fn must_not_be(
        &self,
        got: &Option<Got>,
        svid: usize,
        task: usize,
        server: Option<&str>,
    ) -> Verdict {
        let (client, subject) = (&self.books.svids[svid].token, &self.books.tasks[task].token);
        self.must_not_be_of(got, &[client, subject])?;
        self.must_not_have_ended(got, task)?;
        let server =
            server.map(|name| crate::books::subject(&json!({"kind": "server", "name": name})));
        match server.and_then(|server| self.books.stop_of([&server]).cloned()) {
            Some(stop) if Outcome::of(got) == Outcome::Yes => {
                Err(format!("P6: something was issued under {stop}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The bundle's text.
    pub(crate) fn bundle(&self, revision: u64) -> String {
        let own = rustix::process::geteuid().as_raw().to_string();
        BUNDLE
            .replace("OWN_UID", &own)
            .replace("UPSTREAM", &self.at.upstream.address().to_string())
            .replace("PEOPLE", self.at.people.issuer())
            .replace("REVISION", &format!("revision {revision}"))
            .replace(
                "WRITERS",
                if revision.is_multiple_of(2) {
                    "writer, reader"
                } else {
                    "writer"
                },
            )
    }
}

fn why(answer: &client::Answer) -> String {
    let json = answer.json();
    let words = ["rule", "error", "error_description", "detail"].map(|name| json[name].as_str());
    let words: Vec<&str> = words.into_iter().flatten().collect();
    format!(" {}", words.join(": "))
}

/// How often it is looked whether a lock is free.
const LOOKS: usize = 1_000;
/// Of what is on the disk.
const AREAS: [&str; 4] = ["", "store", "spool", "gateway"];
/// The test that serves disks, in a process of its own.
pub(crate) const HOOK: &str = "disks_are_served_by_a_process_of_their_own";
const BUNDLE: &str = include_str!("bundle.yaml");
impl Figures {
    /// Adds up.
    pub(crate) fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.arrived += other.arrived;
        self.records += other.records;
        self.unanswered += other.unanswered;
    }
}
