//! A stretch of time of one subject: a cell for each step of each series.
//!
//! As bytes a block is columns. A value is rounded to 12 bits behind its first (0.02 %), XORed with the one before it,
//! and its bits are turned round, so that what hardly changes is a small number; what does not change at all is counted.
//! What hosts tell takes about two bytes a value so. Bytes come from a file: reading refuses what it cannot be.

use std::collections::BTreeMap;

use super::measure::{Measure, Series};

/// Series of one subject that a block may have: what a host may tell, with room to spare.
pub const SERIES_MAX: usize = 1_024;
/// Longest name of what is measured, in bytes.
pub const OF_MAX: usize = 256;
/// Steps that a block may have.
const STEPS_MAX: usize = 1_024;

/// What was measured within one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// How many measurements.
    pub count: u32,
    /// Their average.
    pub average: f32,
    /// Their least.
    pub min: f32,
    /// Their most.
    pub max: f32,
}

impl Cell {
    /// One measurement.
    #[must_use]
    pub fn one(value: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what is kept is rounded anyway; what is too large is the largest"
        )]
        let value = rounded(value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32);
        Self { count: 1, average: value, min: value, max: value }
    }

    /// Both together: averages weigh by their counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let count = self.count.saturating_add(other.count);
        let sum = |cell: Self| f64::from(cell.average) * f64::from(cell.count);
        #[expect(clippy::cast_possible_truncation, reason = "an average of what fits fits")]
        let average = ((sum(self) + sum(other)) / f64::from(count.max(1))) as f32;
        let (min, max) = (self.min.min(other.min), self.max.max(other.max));
        Self { count, average: average.clamp(min, max), min, max }
    }
}

/// A stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Where it begins, in seconds since the Unix epoch.
    pub from: i64,
    /// Seconds of a step.
    pub step: u32,
    /// How many.
    pub steps: usize,
    cells: BTreeMap<Series, Vec<Option<Cell>>>,
}

/// Why bytes are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no block of measures")]
pub struct NoBlock;

impl Block {
    /// An empty one.
    #[must_use]
    pub fn new(from: i64, step: u32, steps: usize) -> Self {
        Self { from, step: step.max(1), steps: steps.min(STEPS_MAX), cells: BTreeMap::new() }
    }

    /// Nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Adds what was measured at a moment. Outside the block, or of more series than it may have, it is left out:
    /// `false`.
    pub fn add(&mut self, series: &Series, at: i64, cell: Cell) -> bool {
        let Ok(index) = usize::try_from(at.saturating_sub(self.from).div_euclid(i64::from(self.step))) else {
            return false;
        };
        if index >= self.steps || series.of.len() > OF_MAX {
            return false;
        }
        if !self.cells.contains_key(series) {
            if self.cells.len() >= SERIES_MAX {
                return false;
            }
            self.cells.insert(series.clone(), vec![None; self.steps]);
        }
        if let Some(slot) = self.cells.get_mut(series).and_then(|column| column.get_mut(index)) {
            *slot = Some(slot.map_or(cell, |there| there.and(cell)));
        }
        true
    }

    /// Adds every cell of another block that falls into this one.
    pub fn merge(&mut self, other: &Self) {
        for (series, at, cell) in other.cells() {
            self.add(series, at, cell);
        }
    }

    /// Every cell with the moment its step begins.
    pub fn cells(&self) -> impl Iterator<Item = (&Series, i64, Cell)> {
        self.cells.iter().flat_map(move |(series, column)| {
            column.iter().zip(0_i64..).filter_map(move |(cell, index)| {
                let at = self.from.saturating_add(index.saturating_mul(i64::from(self.step)));
                cell.map(|cell| (series, at, cell))
            })
        })
    }

    /// The series, each with its steps.
    #[must_use]
    pub const fn columns(&self) -> &BTreeMap<Series, Vec<Option<Cell>>> {
        &self.cells
    }

    /// Which series it has, as bytes: most blocks of a subject have the same.
    #[must_use]
    pub fn layout(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.cells.len() as u64);
        for series in self.cells.keys() {
            put(&mut out, u64::from(series.measure.number()));
            put(&mut out, series.of.len() as u64);
            out.extend_from_slice(series.of.as_bytes());
        }
        out
    }

    /// The cells, as bytes; `single`: every cell is of one measurement, so that its value says all.
    #[must_use]
    pub fn data(&self, single: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for column in self.cells.values() {
            let averages: Vec<u32> = column.iter().map(|cell| cell.map_or(ABSENT, |c| bits(c.average))).collect();
            let column_of = |value: fn(Cell) -> f32| {
                column.iter().zip(&averages).map(move |(cell, average)| cell.map_or(0, |c| bits(value(c)) ^ average))
            };
            put_column(&mut out, following(&averages));
            if !single {
                put_column(&mut out, column_of(|cell| cell.min));
                put_column(&mut out, column_of(|cell| cell.max));
                let counts: Vec<u32> = column.iter().map(|cell| cell.map_or(0, |c| c.count)).collect();
                put_column(&mut out, following(&counts).map(u32::reverse_bits));
            }
        }
        out
    }

    /// The block of a layout and data.
    ///
    /// # Errors
    /// [`NoBlock`]. A measure of another release is left out.
    pub fn read(from: i64, step: u32, steps: usize, single: bool, layout: &[u8], data: &[u8]) -> Result<Self, NoBlock> {
        let mut block = Self::new(from, step, steps);
        let (mut layout, mut data) = (layout, data);
        let series = get(&mut layout)?;
        if series > SERIES_MAX as u64 {
            return Err(NoBlock);
        }
        for _ in 0..series {
            let measure = u16::try_from(get(&mut layout)?).ok().and_then(Measure::from_number);
            let length = usize::try_from(get(&mut layout)?).map_err(|_| NoBlock)?;
            if length > OF_MAX {
                return Err(NoBlock);
            }
            let (of, rest) = layout.split_at_checked(length).ok_or(NoBlock)?;
            layout = rest;
            let of = std::str::from_utf8(of).map_err(|_| NoBlock)?;
            let column = read_column(&mut data, block.steps, single)?;
            if let Some(measure) = measure {
                block.cells.insert(Series::new(measure, of), column);
            }
        }
        if layout.is_empty() && data.is_empty() { Ok(block) } else { Err(NoBlock) }
    }
}

fn read_column(data: &mut &[u8], steps: usize, single: bool) -> Result<Vec<Option<Cell>>, NoBlock> {
    let mut before = 0;
    let averages: Vec<u32> = get_column(data, steps)?
        .into_iter()
        .map(|changed| {
            before ^= changed;
            before
        })
        .collect();
    let (least, most, counts) = if single {
        (vec![0; steps], vec![0; steps], None)
    } else {
        (get_column(data, steps)?, get_column(data, steps)?, Some(get_column(data, steps)?))
    };
    let counts = counts.map_or_else(
        || vec![1; steps],
        |counts| {
            let mut before = 0;
            let counted = counts.into_iter().map(|changed| {
                before ^= changed.reverse_bits();
                before
            });
            counted.collect()
        },
    );
    let cells = averages.iter().zip(least).zip(most).zip(counts).map(|(((average, min), max), count)| {
        let value = |bits: u32| Some(f32::from_bits(bits)).filter(|value| value.is_finite());
        let cell = || {
            let (min, max) = (value(average ^ min)?, value(average ^ max)?);
            // Nobody wrote such a thing: bytes that were damaged may hold it all the same.
            (count > 0 && min <= max).then_some(Cell { count, average: value(*average)?.clamp(min, max), min, max })
        };
        cell()
    });
    Ok(cells.collect())
}

/// Stands where nothing was measured.
const ABSENT: u32 = 0x7fc0_0000;
/// Bits of a value that are not kept.
const DROPPED: u32 = 11;

fn rounded(value: f32) -> f32 {
    f32::from_bits(bits(value))
}

fn bits(value: f32) -> u32 {
    const LARGEST: u32 = 0x7f7f_f800;
    const SIGN: u32 = 1 << 31;
    if !value.is_finite() {
        return ABSENT;
    }
    let bits = value.to_bits();
    // To the nearest, halves away from zero; what would become infinite stays the largest.
    let magnitude = ((bits & !SIGN) + (1 << (DROPPED - 1))) >> DROPPED << DROPPED;
    // There is one zero.
    if magnitude == 0 { 0 } else { magnitude.min(LARGEST) | (bits & SIGN) }
}

/// What changes from one to the next.
fn following(values: &[u32]) -> impl Iterator<Item = u32> {
    let mut before = 0;
    values.iter().map(move |value| {
        let changed = value ^ before;
        before = *value;
        changed
    })
}

/// Numbers with their bits turned round; a zero is followed by how many more there are.
fn put_column(out: &mut Vec<u8>, values: impl Iterator<Item = u32>) {
    let mut values = values.peekable();
    while let Some(value) = values.next() {
        put(out, u64::from(value.reverse_bits()));
        if value == 0 {
            let mut more = 0;
            while values.next_if_eq(&0).is_some() {
                more += 1;
            }
            put(out, more);
        }
    }
}

fn get_column(data: &mut &[u8], steps: usize) -> Result<Vec<u32>, NoBlock> {
    let mut column = Vec::with_capacity(steps);
    while column.len() < steps {
        let value = u32::try_from(get(data)?).map_err(|_| NoBlock)?.reverse_bits();
        column.push(value);
        if value == 0 {
            let more = usize::try_from(get(data)?).map_err(|_| NoBlock)?;
            if more > steps - column.len() {
                return Err(NoBlock);
            }
            column.resize(column.len() + more, 0);
        }
    }
    Ok(column)
}

/// Seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn get(bytes: &mut &[u8]) -> Result<u64, NoBlock> {
    let mut value = 0;
    for shift in (0..=63).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(NoBlock)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(NoBlock)
}

#[cfg(test)]
mod tests;
