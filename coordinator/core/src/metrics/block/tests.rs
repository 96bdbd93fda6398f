//! For all measurements: nothing is lost, averages are right, and bytes read back as what they were.

use proptest::prelude::*;

use super::*;
use crate::metrics::tiers::{Tier, roll};

/// Moment within two hours, series, value.
fn measurements() -> impl Strategy<Value = Vec<(i64, usize, f64)>> {
    let value = prop_oneof![Just(0.0), Just(1.0), -1e3..1e3_f64, 0.0..1e12_f64, Just(f64::MAX)];
    prop::collection::vec((0..7_200_i64, 0..3_usize, value), 0..200)
}

fn series(index: usize) -> Series {
    let all =
        [Series::new(Measure::Cpu, ""), Series::new(Measure::Disk, "/srv/a b"), Series::new(Measure::Sent, "eth0")];
    all[index].clone()
}

fn fine(measured: &[(i64, usize, f64)]) -> Vec<Block> {
    let mut blocks: BTreeMap<i64, Block> = BTreeMap::new();
    for (at, index, value) in measured {
        let from = Tier::Fine.row_of(*at);
        let block = blocks.entry(from).or_insert_with(|| Tier::Fine.block(from));
        assert!(block.add(&series(*index), *at, Cell::one(*value)));
    }
    blocks.into_values().collect()
}

fn rolled(from: Tier, into: Tier, blocks: &[Block]) -> Vec<Block> {
    assert_eq!(from.coarser(), Some(into));
    let mut by_row: BTreeMap<i64, Vec<Block>> = BTreeMap::new();
    for block in blocks {
        by_row.entry(into.row_of(block.from)).or_default().push(block.clone());
    }
    by_row.into_iter().map(|(row, blocks)| roll(into, row, &blocks)).collect()
}

fn close(a: f64, b: f64) -> bool {
    // Twelve bits, rounded at each of two steps.
    (a - b).abs() <= 1e-6 + 5e-4 * a.abs().max(b.abs())
}

proptest! {
    #[test]
    fn a_block_reads_back_as_it_was_written(measured in measurements()) {
        for (tier, blocks) in [
            (Tier::Middle, rolled(Tier::Fine, Tier::Middle, &fine(&measured))),
            (Tier::Coarse, rolled(Tier::Middle, Tier::Coarse, &rolled(Tier::Fine, Tier::Middle, &fine(&measured)))),
        ] {
            for block in blocks {
                let read = tier.read(block.from, &block.layout(), &block.data(tier.is_single())).expect("our own bytes");
                prop_assert_eq!(read.layout(), block.layout());
                for ((series, at, cell), (as_series, as_at, as_read)) in block.cells().zip(read.cells()) {
                    prop_assert_eq!((series, at, cell.count), (as_series, as_at, as_read.count));
                    prop_assert!(as_read.min <= as_read.average && as_read.average <= as_read.max);
                    for (was, is) in [(cell.average, as_read.average), (cell.min, as_read.min), (cell.max, as_read.max)] {
                        prop_assert!(close(was.into(), is.into()), "{was} became {is}");
                    }
                }
                prop_assert_eq!(read.cells().count(), block.cells().count());
            }
        }
    }

    #[test]
    fn rolling_up_loses_no_measurement_and_averages_right(measured in measurements()) {
        let middle = rolled(Tier::Fine, Tier::Middle, &fine(&measured));
        let coarse = rolled(Tier::Middle, Tier::Coarse, &middle);
        for (tier, blocks) in [(Tier::Middle, middle), (Tier::Coarse, coarse)] {
            let count: u32 = blocks.iter().flat_map(Block::cells).map(|(_, _, cell)| cell.count).sum();
            prop_assert_eq!(count as usize, measured.len());
            for (of, at, cell) in blocks.iter().flat_map(Block::cells) {
                let within = |(when, index, _): &&(i64, usize, f64)| {
                    series(*index) == *of && (at..at + i64::from(tier.step())).contains(when)
                };
                let values: Vec<f64> =
                    measured.iter().filter(within).map(|(_, _, value)| f64::from(Cell::one(*value).average)).collect();
                prop_assert_eq!(values.len(), cell.count as usize);
                let scale = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
                let average = values.iter().sum::<f64>() / values.len() as f64;
                prop_assert!((average - f64::from(cell.average)).abs() <= 1e-6 + 1e-5 * scale, "{average} {cell:?}");
                prop_assert!(values.iter().all(|v| f64::from(cell.min) <= *v && *v <= f64::from(cell.max)));
                prop_assert!(values.contains(&f64::from(cell.min)) && values.contains(&f64::from(cell.max)));
            }
        }
    }

    #[test]
    fn any_bytes_are_a_block_or_refused(layout in prop::collection::vec(any::<u8>(), 0..60), data in prop::collection::vec(any::<u8>(), 0..200)) {
        for tier in Tier::ALL {
            if let Ok(block) = tier.read(0, &layout, &data) {
                prop_assert!(block.columns().len() <= SERIES_MAX);
                prop_assert!(block.cells().all(|(_, _, cell)| cell.min <= cell.max && cell.average.is_finite()));
            }
        }
    }

    #[test]
    fn rounding_keeps_order(a in -1e9..1e9_f64, b in -1e9..1e9_f64) {
        let (a, b) = (a.min(b), a.max(b));
        prop_assert!(Cell::one(a).average <= Cell::one(b).average);
        prop_assert!(close(a, Cell::one(a).average.into()));
    }
}

/// What 40 series of a quiet host take.
#[test]
fn a_minute_of_a_host_takes_two_or_three_bytes_a_value() {
    let mut block = Tier::Fine.block(0);
    // Half of them stand still, as sizes and counts do; half move, as rates do.
    let mut seed = 7_u64;
    for index in 0..40_u32 {
        for step in 0..6 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = f64::from(u32::try_from(seed >> 40).expect("24 bits"));
            let value = if index % 2 == 0 { 1e9 + f64::from(index) } else { noise };
            block.add(&Series::new(Measure::Disk, format!("/{index}")), step * 10, Cell::one(value));
        }
    }
    let bytes = block.data(true).len();
    assert!((300..=700).contains(&bytes), "{bytes} bytes for 240 values");
}

#[test]
fn more_than_a_block_may_hold_is_left_out() {
    let mut block = Tier::Fine.block(0);
    for index in 0..=SERIES_MAX {
        let taken = block.add(&Series::new(Measure::Disk, format!("/{index}")), 0, Cell::one(1.0));
        assert_eq!(taken, index < SERIES_MAX);
    }
    let cell = Cell::one(1.0);
    assert!(!block.add(&Series::new(Measure::Disk, "x".repeat(OF_MAX + 1)), 0, cell), "too long a name");
    assert!(
        !block.add(&Series::new(Measure::Disk, "/0"), 60, cell)
            && !block.add(&Series::new(Measure::Disk, "/0"), -1, cell)
    );
}
