//! What a leader does: confirms, grants, says who could take over. And what it forgets when another leads.

use super::*;

impl Model {
    /// The request that has waited longest: requests keep their order, replies do not.
    pub(super) fn confirm(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let request = self.requests.remove(0);
        if request.counts_end {
            self.counts_end = Some(request.generation).filter(|_| DB[request.from] == self.active());
        }
        self.reactivate_if_fenced(request);
        let at_confirm = (self.without == Without::TheLookAtTheReply).then(|| Box::new(self.log.state.clone()));
        let ripe = self.late();
        self.confirmed.push(Confirmed { request, term: self.term, at_confirm, ripe });
    }

    pub(super) fn reactivate_if_fenced(&mut self, request: Request) {
        let generation = self.generation();
        if request.fenced != generation || self.active() != DB[request.from] {
            return;
        }
        let change = reactivate("shop", generation, DB[request.from]);
        if self.log.try_apply(change).is_ok() {
            self.reactivated += 1;
            self.tell(|| format!("reactivated as {}", generation + 1));
        } else if self.without == Without::TheRestWhileAnOperationRuns {
            self.log.state = bent(&self.log.state, "shop", |record| {
                record.generation += 1;
                record.held_by = 0;
                record.hold_over = false;
            });
            self.tell(|| "reactivated within an operation".into());
        }
    }

    pub(super) fn decide(&mut self) {
        let ripe: Vec<usize> = (0..self.confirmed.len()).filter(|n| self.confirmed[*n].ripe <= self.now).collect();
        let Some(n) = self.any_of(&ripe) else { return };
        let Confirmed { request, term, at_confirm, .. } = self.confirmed.swap_remove(n);
        let mine = term == self.term;
        // A deposed leader that does not know it decides on what it had applied, and tells nobody.
        let state = match (&at_confirm, mine, &self.old) {
            (Some(state), _, _) => &**state,
            (None, false, Some(old)) => &**old,
            (None, true, _) => &self.log.state,
            (None, false, None) => return,
        };
        let unheld = (self.without == Without::TheHold).then(|| bent(state, "shop", |record| record.held_by = 0));
        let state = unheld.as_ref().unwrap_or(state);
        let generation = state.app(&shop()).expect("the app").record.generation;
        let end_wanted = mine && self.end_wanted == Some(generation);
        let answer = may_grant(state, &shop(), &host(DB[request.from]), Generation(request.fenced), end_wanted);
        let Ok(mut terms) = answer else { return };
        let promotable = !state.app(&shop()).expect("the app").record.promotable.is_empty();
        if self.without == Without::AnEndWhilePromotable && promotable {
            terms.lease = None;
        }
        if mine {
            self.grants.note(&shop(), terms.generation, at(self.now));
            self.granted = terms.generation.0;
        }
        self.soles += u64::from(terms.lease.is_none());
        self.tell(|| format!("{} is answered {terms:?} to {}", DB[request.from], request.number));
        let ripe = self.late();
        self.replies.push(Reply { to: request.from, number: request.number, terms, ripe });
    }

    /// Most arrive soon, some after seconds.
    pub(super) fn late(&mut self) -> u64 {
        let after = if self.dice.one_in(4) { self.dice.roll(30) } else { 0 };
        self.now + after
    }

    pub(super) fn any_of(&mut self, ripe: &[usize]) -> Option<usize> {
        let n = self.dice.roll(ripe.len().max(1) as u64);
        ripe.get(usize::try_from(n).expect("small")).copied()
    }

    /// The leader says who could take over, after the holder counts an end.
    pub(super) fn duty(&mut self) {
        let app = self.log.app("shop");
        if app.record.operation != 0 {
            return;
        }
        let (generation, none) = (app.record.generation, app.record.promotable.is_empty());
        let active = app.active().to_string();
        let mut regions: Vec<&str> = REGIONS.into_iter().filter(|r| *r != active).collect();
        if self.dice.one_in(30) {
            regions.clear();
        } else if self.dice.one_in(3) {
            regions.truncate(1);
        }
        if !none && !regions.is_empty() && !self.dice.one_in(10) {
            return;
        }
        if regions.is_empty() && none {
            self.end_wanted = None;
            return;
        }
        if none && self.without != Without::TheHoldersWordBeforePromotable {
            if self.end_wanted != Some(generation) {
                self.end_wanted = Some(generation);
                // What was said before may have been said of a lease that is without end again.
                self.counts_end = None;
                self.requests.iter_mut().for_each(|r| r.counts_end = false);
            }
            if self.counts_end != Some(generation) {
                return;
            }
        }
        self.log.done(promotable("shop", generation, &regions));
        self.tell(|| format!("{regions:?} could take over"));
        self.end_wanted = None;
    }

    /// Another coordinator leads. The old one may still answer what it has confirmed.
    pub(super) fn new_leader(&mut self) {
        self.old = Some(Box::new(self.log.state.clone()));
        self.term += 1;
        self.end_wanted = None;
        self.counts_end = None;
        self.hold_seen = self.now;
        (self.since, self.granted) = (self.now, 0);
        std::mem::swap(&mut self.grants, &mut self.grants_before);
        if self.without != Without::ForgettingAtANewTerm {
            self.log.index += 1;
            self.grants = GrantLog::new(at(self.now), LogIndex(self.log.index));
        }
        self.tell(|| "another coordinator leads".into());
    }
}
