//! What type policies have answered in this second.
//!
//! A Cedar decision takes most of the time of a decision, and agents ask the same again and again.
//! The answer is a pure function of the bundle and of what is asked, the moment included, which policies
//! see in whole seconds. So what was answered is remembered for as long as nothing of that differs: until
//! the second is over, at most. Stops, expiry, the mandate and uses of the token are no part of it,
//! and are asked anew each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mandate_decide::enforce::{Classified, Facts, Verdict, decide_with};
use mandate_model::mandate::Entry;
use mandate_model::{ActionName, RequestAttributes, ServerName};
use mandate_policy::{Bundle, PolicyRequest, PolicyVerdict};
use mandate_token::AccessToken;

/// The answers of one second.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<Second>);

#[derive(Default)]
struct Second {
    second: u64,
    count: usize,
    /// By the places of the two that are compared as a whole. The answers hold both, so none of these places
    /// is another's meanwhile.
    answers: HashMap<(usize, usize), Vec<Answer>>,
}

/// What was asked, and the answer to it.
struct Answer {
    bundle: Arc<Bundle>,
    /// Agent, delegators, principal, trigger and purpose are the token's.
    claims: Arc<AccessToken>,
    server: ServerName,
    action: ActionName,
    attributes: RequestAttributes,
    entry: Option<Entry>,
    verdict: PolicyVerdict,
}

impl Answer {
    fn is_of(
        &self,
        claims: &Arc<AccessToken>,
        bundle: &Arc<Bundle>,
        asked: &PolicyRequest<'_>,
    ) -> bool {
        Arc::ptr_eq(&self.bundle, bundle)
            && Arc::ptr_eq(&self.claims, claims)
            && self.server == *asked.server
            && self.action == *asked.action
            && self.attributes == *asked.attributes
            && self.entry.as_ref() == asked.entry
    }
}

impl Verdicts {
    /// Decides, asking `bundle`, which is the one of `facts`, only for what is not known yet.
    pub(super) fn decide(
        &self,
        facts: &Facts<'_>,
        bundle: &Arc<Bundle>,
        classified: &Classified,
    ) -> Verdict {
        decide_with(facts, classified, |asked| {
            self.of(bundle, facts.token.shared(), asked)
        })
    }

    /// What `bundle` answers to `asked`, which is asked with the token of `claims`.
    fn of(
        &self,
        bundle: &Arc<Bundle>,
        claims: &Arc<AccessToken>,
        asked: &PolicyRequest<'_>,
    ) -> PolicyVerdict {
        if let Some(known) = self.known(bundle, claims, asked) {
            return known;
        }
        let verdict = bundle.permits(asked);
        self.remember(
            Answer {
                bundle: Arc::clone(bundle),
                claims: Arc::clone(claims),
                server: asked.server.clone(),
                action: asked.action.clone(),
                attributes: asked.attributes.clone(),
                entry: asked.entry.cloned(),
                verdict: verdict.clone(),
            },
            asked.now.as_secs(),
        );
        verdict
    }

    fn known(
        &self,
        bundle: &Arc<Bundle>,
        claims: &Arc<AccessToken>,
        asked: &PolicyRequest<'_>,
    ) -> Option<PolicyVerdict> {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.second != asked.now.as_secs() {
            return None;
        }
        let answers = now.answers.get(&places(claims, bundle))?;
        let answer = answers
            .iter()
            .find(|answer| answer.is_of(claims, bundle, asked));
        answer.map(|answer| answer.verdict.clone())
    }

    fn remember(&self, answer: Answer, second: u64) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.second != second || now.count >= MOST {
            *now = Second {
                second,
                ..Second::default()
            };
        }
        now.count += 1;
        let places = places(&answer.claims, &answer.bundle);
        let answers = now.answers.entry(places).or_default();
        // Whoever asks for something else each time is not made slower by what is remembered.
        if answers.len() >= MOST_OF_ONE {
            answers.clear();
        }
        answers.push(answer);
    }
}

fn places(claims: &Arc<AccessToken>, bundle: &Arc<Bundle>) -> (usize, usize) {
    (Arc::as_ptr(claims).addr(), Arc::as_ptr(bundle).addr())
}

const MOST: usize = 4096;
const MOST_OF_ONE: usize = 16;

#[cfg(test)]
mod tests;
