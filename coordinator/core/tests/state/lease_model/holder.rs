//! What happens on the hosts: leases are asked for, taken, run out; agents and hosts start again, or are cut off.

use super::*;

impl Model {
    pub(super) fn tick(&mut self) {
        self.now += 1;
        for (n, name) in DB.iter().enumerate() {
            if let Right::Ends(generation, until) = self.holders[n].right
                && until <= self.now
            {
                let fence = self.dice.roll(FENCE + 1);
                let holder = &mut self.holders[n];
                holder.right = Right::None;
                holder.fenced = holder.fenced.max(generation);
                holder.sole_row = None;
                holder.stops_at = until + fence;
                self.tell(|| format!("{name}: lease of {generation} over, fenced {fence} later"));
            }
        }
    }

    pub(super) fn ask(&mut self) {
        let now = self.now;
        // Usually one; more while some have not heard yet.
        let asking: Vec<usize> = (0..HOSTS).filter(|n| self.holders[*n].wish.here && !self.holders[*n].cut).collect();
        let Some(n) = asking.get(usize::try_from(self.dice.roll(HOSTS as u64)).expect("small") % asking.len().max(1))
        else {
            return;
        };
        let n = *n;
        let holder = &mut self.holders[n];
        holder.number += 1;
        holder.asked.push((holder.number, now));
        let counts_end = match holder.right {
            Right::Ends(g, _) => {
                g == holder.wish.generation && holder.sole_row.is_none() && holder.wish.lease_ends && !holder.mute
            }
            Right::None | Right::Sole(..) => false,
        };
        if counts_end {
            holder.claimed = holder.number;
        }
        let (number, fenced, generation) = (holder.number, holder.fenced, holder.wish.generation);
        self.requests.push(Request { from: n, number, fenced, generation, counts_end });
    }

    pub(super) fn deliver(&mut self) {
        let arrives = |r: &Reply| r.ripe <= self.now && !self.holders[r.to].cut;
        let ripe: Vec<usize> = (0..self.replies.len()).filter(|n| arrives(&self.replies[*n])).collect();
        let Some(n) = self.any_of(&ripe) else { return };
        let Reply { to, number, terms, .. } = self.replies.swap_remove(n);
        let (now, without, slow) = (self.now, self.without, self.dice.roll(2));
        let holder = &mut self.holders[to];
        let Some((_, sent)) = holder.asked.iter().find(|(k, _)| *k == number).copied() else { return };
        let sent = if without == Without::CountingFromTheRequest { now } else { sent };
        let generation = terms.generation.0;
        let gone = !holder.wish.here && holder.wish.generation >= generation;
        let known = match holder.right {
            Right::None => 0,
            Right::Ends(g, _) | Right::Sole(g, _) => g,
        };
        let fenced = if without == Without::TheStickyFence { 0 } else { holder.fenced };
        let until = sent + LEASE + slow;
        if generation <= fenced
            || generation < holder.wish.generation.max(known).max(holder.held)
            || gone
            || until <= now
        {
            return;
        }
        holder.right = match holder.right {
            Right::Ends(g, old) if g == generation => Right::Ends(g, old.max(until)),
            Right::Sole(g, old) if g == generation => Right::Sole(g, old.max(until)),
            Right::None | Right::Ends(..) | Right::Sole(..) => {
                holder.sole_row = None;
                Right::Ends(generation, until)
            }
        };
        holder.held = holder.held.max(generation);
        // Whoever has a lease again is not stopped any more.
        holder.stops_at = 0;
        if terms.lease.is_none() {
            let late = holder.claimed > number;
            let wanted = !holder.wish.lease_ends || without == Without::AnEndWhilePromotable;
            match holder.right {
                Right::Ends(g, until) if !late && wanted => holder.right = Right::Sole(g, until),
                Right::Ends(..) | Right::Sole(..) | Right::None => holder.mute |= late,
            }
        }
        let right = holder.right;
        self.tell(|| format!("{} holds {right:?}", DB[to]));
    }

    /// A lease without end becomes durable, or is given up for one with an end.
    pub(super) fn disk(&mut self) {
        for (n, name) in DB.iter().enumerate() {
            let now = self.now;
            let holder = &mut self.holders[n];
            if let Right::Sole(generation, counted) = holder.right {
                if holder.wish.lease_ends && counted > now {
                    holder.right = Right::Ends(generation, counted);
                    holder.sole_row = None;
                    self.tell(|| format!("{name} counts an end of {generation}"));
                } else {
                    holder.sole_row = Some(generation);
                }
            }
        }
    }

    /// Hosts are told what is committed, and what the leader intends.
    pub(super) fn desired(&mut self) {
        for n in 0..self.holders.len() {
            if !self.holders[n].cut && !self.dice.one_in(3) {
                self.hears(n);
            }
        }
    }

    pub(super) fn hears(&mut self, n: usize) {
        let (here, generation) = (self.active() == DB[n], self.generation());
        let app = self.log.app("shop");
        let without_end = self.without == Without::AnEndWhilePromotable
            && app.record.operation == 0
            && !app.record.promotable.is_empty();
        let lease_ends = !without_end && !app.lease_is_sole(self.end_wanted == Some(generation));
        let holder = &mut self.holders[n];
        holder.wish = Wish { generation, here, lease_ends };
        holder.mute &= !lease_ends;
        if let Right::Ends(g, _) | Right::Sole(g, _) = holder.right
            && !here
            && generation > g
        {
            holder.right = Right::None;
            holder.fenced = holder.fenced.max(g);
            holder.sole_row = None;
        }
    }

    pub(super) fn lose_a_message(&mut self) {
        if self.dice.one_in(2) {
            let n = usize::try_from(self.dice.roll(self.requests.len().max(1) as u64)).expect("small");
            if n < self.requests.len() {
                self.requests.remove(n);
            }
        } else if !self.replies.is_empty() {
            self.replies.pop();
        }
    }

    pub(super) fn trouble(&mut self) {
        let mut n = usize::try_from(self.dice.roll(HOSTS as u64)).expect("small");
        if self.dice.one_in(2) {
            n = self.active_host();
        }
        match self.dice.roll(8) {
            0 | 1 => {
                self.holders[n].cut = true;
                self.tell(|| format!("{} is cut off", DB[n]));
            }
            2..=4 if self.dice.one_in(self.pace.heals) => {
                self.holders.iter_mut().for_each(|h| h.cut = false);
                self.tell(|| "nobody is cut off".into());
            }
            // The agent starts again: it knows no request any more, and takes its lease up again.
            5 => self.holders[n].asked.clear(),
            // The host is booted: only a lease without end that is on the disk is left.
            6 => {
                let holder = &mut self.holders[n];
                holder.asked.clear();
                holder.stops_at = 0;
                holder.right = match (holder.sole_row, holder.right) {
                    (Some(row), _) if row > holder.fenced && row >= holder.held => Right::Sole(row, 0),
                    (Some(_) | None, _) => {
                        holder.fenced = holder.fenced.max(holder.held);
                        Right::None
                    }
                };
                self.tell(|| format!("{} is booted", DB[n]));
            }
            _ => {}
        }
    }
}
