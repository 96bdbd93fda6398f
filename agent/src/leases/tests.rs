//! What is opened under a lease ends with it.

use std::sync::Mutex;

use holdfast_agent_core::{
    lease::{Fact, Kept, Permit, Wish},
    record::Until,
};
use holdfast_shared::clock::Clock;
use holdfast_types::{BootId, WallTime, lease::Timings};
use tokio::sync::Notify;

use super::*;

#[derive(Debug, Default)]
struct Hands(Mutex<Duration>);

impl Clock for Hands {
    fn boot(&self) -> BootInstant {
        BootInstant::from_boot(*self.0.lock().expect("nothing panics while it holds the hands"))
    }

    fn wall(&self) -> WallTime {
        WallTime(0)
    }

    fn boot_id(&self) -> BootId {
        BootId("one".to_owned())
    }
}

fn permit(generation: Generation, ends: Duration) -> Permit {
    let timings = Timings::new(Duration::from_secs(3), Duration::from_secs(1), Duration::from_secs(1));
    let wish = Wish {
        first: Generation(1),
        generation,
        here: true,
        since: Generation(0),
        held: false,
        lease_ends: true,
        timings: Some(timings),
        fences: true,
        allowed: true,
    };
    let record = Record { generation, until: Until::At(BootInstant::from_boot(ends)) };
    let now = BootInstant::from_boot(Duration::ZERO);
    let (mut holder, _) = Holder::start(Kept { wish: Some(wish), ..Kept::default() }, Some(record), false, 0, now);
    holder.stored(Fact::Held(generation), now);
    holder.permit()
}

#[tokio::test]
async fn work_that_wakes_after_its_lease_is_over_does_nothing_more() {
    let app = AppName::new("shop").expect("a name");
    let generation = Generation(3);
    let view = View {
        permit: permit(generation, Duration::from_secs(60)),
        state: State::Ends(Duration::from_secs(60)),
        generation,
        fenced: Generation(2),
    };
    let views: Views = Arc::new(BTreeMap::from([(app.clone(), view)]));
    let (_keep, mut views) = watch::channel(views);
    let hands = Arc::new(Hands::default());
    let clock: SharedClock = hands.clone();
    let wake = Notify::new();
    let mut acted = false;
    let work = async {
        wake.notified().await;
        acted = true;
    };
    let stop_the_process = async {
        // The whole process stood still until its lease was over; no timer has run since.
        *hands.0.lock().expect("nothing panics while it holds the hands") = Duration::from_secs(61);
        wake.notify_one();
    };
    let under = under_lease(&mut views, &clock, &app, generation, Duration::ZERO, work);
    let (ended, ()) = tokio::join!(under, stop_the_process);
    assert_eq!((ended, acted), (Err(NoLease(generation)), false));
}
