//! The file: what is rolled up, bounded, damaged, full.

use holdfast_coordinator_core::metrics::measure::Measure;
use holdfast_shared::clock::SystemClock;

use super::*;

/// A Monday at noon, on the border of every row.
const BEGIN: i64 = 1_800_000_000 / 7_200 * 7_200;

fn host(n: usize) -> Subject {
    Subject::Host(HostName::new(format!("h{n}")).expect("a name"))
}

/// Some series, each with another value in every step.
fn minute(row: i64, series: u32) -> Block {
    let mut block = Tier::Fine.block(row);
    for n in 0..series {
        for step in 0..6 {
            let at = row + step * 10;
            let value = f64::from(u32::try_from((at / 10) % 997).expect("small")) + f64::from(n);
            block.add(&Series::new(Measure::Disk, format!("/{n}")), at, Cell::one(value));
        }
    }
    block
}

fn minutes(from: i64, count: i64, hosts: usize, series: u32) -> Vec<(i64, BTreeMap<Subject, Block>)> {
    let one = |row: i64| (row, (0..hosts).map(|n| (host(n), minute(row, series))).collect());
    (0..count).map(|n| one(from + n * 60)).collect()
}

struct World {
    keeper: Keeper,
    clock: SharedClock,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(room: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place { path: folder.path().join("history.db"), room };
        let world = Self {
            keeper: Keeper { metrics: Metrics::default(), place, coarse_rows: 0 },
            clock: Arc::new(SystemClock::new().expect("a clock")),
            _folder: folder,
        };
        world.keeper.open(WallTime(0)).await;
        assert_eq!(world.keeper.metrics.history.standing(), Standing::Kept);
        world
    }

    async fn write(&self, minutes: Vec<(i64, BTreeMap<Subject, Block>)>) {
        self.keeper.write(minutes, &self.clock).await.expect("written").expect("there is a file");
    }

    async fn keep_up(&mut self, now: i64) {
        let db = self.keeper.db().expect("open");
        self.keeper.keep_up(&db, WallTime(now * 1_000)).await.expect("kept up");
    }

    async fn course(&self, subject: &Subject, from: i64, until: i64, points: u32) -> Course {
        self.keeper.metrics.history.course(subject, from, until, points, Vec::new()).await
    }

    async fn rows(&self, tier: Tier) -> Vec<i64> {
        let db = self.keeper.db().expect("open");
        db.call(move |c| {
            c.prepare("SELECT at FROM rows WHERE tier = ?1 ORDER BY at")?
                .query_map([tier.number()], |row| row.get(0))?
                .collect()
        })
        .await
        .expect("read")
    }
}

fn count(course: &Course) -> u32 {
    course.block.cells().map(|(_, _, cell)| cell.count).sum()
}

#[tokio::test]
async fn what_is_written_is_rolled_up_and_reads_back_in_every_resolution() {
    let mut world = World::new(1 << 30).await;
    let hours = 3;
    world.write(minutes(BEGIN, hours * 60, 2, 2)).await;
    let now = BEGIN + hours * 3_600;
    // A rolling up takes several turns.
    for _ in 0..4 {
        world.keep_up(now).await;
    }
    // The last ten minutes are not settled yet, and two hours make one coarse row for each host.
    assert_eq!(world.rows(Tier::Middle).await.len(), 2 * (18 - 1));
    assert_eq!(world.rows(Tier::Coarse).await, [BEGIN, BEGIN]);
    let fine = world.course(&host(1), BEGIN, now, 1_000).await;
    let coarse = world.course(&host(1), BEGIN, now, 5).await;
    for course in [&fine, &coarse] {
        assert_eq!(count(course), 2 * 6 * 60 * u32::try_from(hours).expect("small"), "every measurement, once");
        assert_eq!(course.notes, Vec::<String>::new());
    }
    let whole = |course: &Course| {
        let column = &course.block.columns()[&Series::new(Measure::Disk, "/1")];
        column.iter().flatten().copied().reduce(Cell::and).expect("measured")
    };
    let (a, b) = (whole(&fine), whole(&coarse));
    assert!((a.average - b.average).abs() < 0.001 * a.average, "{a:?} {b:?}");
    assert_eq!((a.min, a.max, a.count), (b.min, b.max, b.count));
    let nobody = world.course(&host(7), BEGIN, now, 60).await;
    assert!(nobody.block.is_empty());
}

#[tokio::test]
async fn the_fine_past_is_forgotten_after_a_day_and_the_rolled_up_one_is_not() {
    let mut world = World::new(1 << 30).await;
    world.write(minutes(BEGIN, 121, 1, 1)).await;
    for _ in 0..3 {
        world.keep_up(BEGIN + 7_300).await;
    }
    world.keep_up(BEGIN + 86_400 + 3_600).await;
    assert_eq!(world.rows(Tier::Fine).await.first(), Some(&(BEGIN + 3_600)));
    assert_eq!(world.rows(Tier::Middle).await.len(), 13);
    world.keep_up(BEGIN + 15 * 86_400).await;
    assert_eq!((world.rows(Tier::Fine).await.len(), world.rows(Tier::Middle).await.len()), (0, 0));
    assert_eq!(world.rows(Tier::Coarse).await.len(), 2);
    let month = world.course(&host(0), BEGIN, BEGIN + 15 * 86_400, 100).await;
    assert_eq!(count(&month), 121 * 6);
    world.keep_up(BEGIN + 366 * 86_400).await;
    assert_eq!(world.rows(Tier::Coarse).await.len(), 0);
    // A clock that was ahead for a while has left rows in the future.
    world.write(minutes(BEGIN + 900 * 86_400, 1, 1, 1)).await;
    world.keep_up(BEGIN + 366 * 86_400).await;
    assert_eq!(world.rows(Tier::Fine).await.len(), 0);
}

/// The bound is reached for real: more is written than fits, several times over.
#[tokio::test]
async fn the_file_never_outgrows_its_room_and_each_resolution_keeps_its_newest_part() {
    const ROOM: u64 = 4 << 20;
    let mut world = World::new(ROOM).await;
    let (hosts, batch) = (40, 60);
    let mut now = BEGIN;
    for _ in 0..8 {
        world.write(minutes(now, batch, hosts, 20)).await;
        now += batch * 60;
        for _ in 0..2 {
            world.keep_up(now).await;
        }
        let db = world.keeper.db().expect("open");
        let used = db.call(|c| used(c)).await.expect("asked");
        assert!(used <= ROOM, "{used} bytes are used");
        assert_eq!(world.keeper.metrics.history.used(), used);
    }
    assert!(world.keeper.metrics.own.history_evicted.get() > 0, "the room was never full");
    for tier in Tier::ALL {
        let rows = world.rows(tier).await;
        let newest = now - if tier == Tier::Fine { 60 } else { 2 * tier.row() };
        assert!(rows.last().is_some_and(|last| *last >= tier.row_of(newest)), "{tier:?} lost its newest rows");
    }
    assert!(world.rows(Tier::Fine).await.first() > Some(&BEGIN), "the oldest went first");
    // On the disk too, its log folded in.
    let path = world.keeper.place.path.clone();
    world.keeper.db().expect("open").close().await;
    let size = fs::metadata(&path).expect("there").len();
    assert!(size <= 3 * ROOM, "{size} bytes on the disk");
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_begun_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.db");
    let db = open(&path).expect("opens");
    db.call(|c| write(c, &minutes(BEGIN, 200, 3, 10))).await.expect("written");
    db.close().await;
    let mut bytes = fs::read(&path).expect("reads");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 512].fill(0xff);
    fs::write(&path, &bytes).expect("written");
    let db = open(&path).expect("begun anew");
    let rows: i64 = db.call(|c| c.query_row("SELECT count(*) FROM rows", [], |r| r.get(0))).await.expect("asked");
    assert_eq!(rows, 0);
    assert_eq!(fs::read(folder.path().join("history.db.damaged")).expect("set aside"), bytes);
}

#[tokio::test]
async fn damage_that_shows_while_it_is_open_begins_it_anew_too() {
    let world = World::new(1 << 30).await;
    world.write(minutes(BEGIN, 10, 1, 2)).await;
    let path = world.keeper.place.path.clone();
    world.keeper.failed(&DbError::Damaged { path: path.clone(), found: "a test".to_owned() }, WallTime(0)).await;
    assert_eq!(world.keeper.metrics.history.standing(), Standing::Kept);
    assert!(world.rows(Tier::Fine).await.is_empty());
    assert!(path.with_file_name("history.db.damaged").exists());
}

#[tokio::test]
async fn a_full_disk_stops_the_history_and_room_starts_it_again() {
    let mut world = World::new(1 << 30).await;
    let db = world.keeper.db().expect("open");
    db.call(|c| c.pragma_update(None, "max_page_count", 12)).await.expect("limited");
    let full = world.keeper.write(minutes(BEGIN, 60, 10, 20), &world.clock).await.expect_err("no room");
    world.keeper.failed(&full, WallTime(0)).await;
    let Standing::Stopped(why) = world.keeper.metrics.history.standing() else { panic!("it is not stopped") };
    assert!(why.starts_with("no room on the disk"), "{why}");
    assert_eq!(world.keeper.metrics.own.history_lost.get(), 600);
    let course = world.course(&host(0), BEGIN, BEGIN + 60, 6).await;
    assert!(course.notes[0].starts_with("the history is stopped: no room"), "{:?}", course.notes);
    db.call(|c| c.pragma_update(None, "max_page_count", 100_000)).await.expect("room again");
    world.write(minutes(BEGIN, 1, 1, 1)).await;
    world.keep_up(BEGIN + 100).await;
    world.keeper.kept();
    assert_eq!(world.keeper.metrics.history.standing(), Standing::Kept);
}

/// Prints what the head of the module says.
#[tokio::test]
async fn a_minute_of_two_thousand_hosts_is_written_in_a_moment() {
    let world = World::new(1 << 30).await;
    world.write(minutes(BEGIN, 1, 2_000, 40)).await;
    let before = fs::metadata(&world.keeper.place.path).expect("there").len();
    let one = minutes(BEGIN + 60, 1, 2_000, 40);
    let began = world.clock.boot();
    world.write(one).await;
    let took = world.clock.boot().since(began);
    let db = world.keeper.db().expect("open");
    let bytes: i64 = db
        .call(|c| c.query_row("SELECT bytes / 2 FROM tiers WHERE tier = 0", [], |row| row.get(0)))
        .await
        .expect("asked");
    println!("2,000 hosts, 40 series: {bytes} bytes a minute, written in {took:?} (file before: {before})");
    assert!(bytes < 2_500_000, "{bytes} bytes a minute");
    assert_eq!(world.keeper.metrics.own.history_rows.get(), 4_000);
}
