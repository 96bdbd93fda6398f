//! A small mutator: the same seed gives the same inputs.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Longest input that is made.
const BYTES_MAX: usize = 16 * 1024;
/// Numbers at which arithmetic breaks.
const EDGES: [u64; 8] = [0, 1, 127, 255, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// `count` inputs made of these seeds.
pub fn mutated(seeds: &[Vec<u8>], seed: u64, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count).map(move |_| {
        let mut input = seeds[random.gen_range(0..seeds.len())].clone();
        for _ in 0..random.gen_range(1..=6) {
            once(&mut input, seeds, &mut random);
        }
        input.truncate(BYTES_MAX);
        input
    })
}

fn once(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut StdRng) {
    let at = random.gen_range(0..=input.len());
    let end = (at + random.gen_range(0..=32)).min(input.len());
    match random.gen_range(0..8) {
        0 => drop(input.drain(at..end)),
        1 => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        2 => {
            let other = &seeds[random.gen_range(0..seeds.len())];
            let from = random.gen_range(0..=other.len());
            let to = (from + random.gen_range(0..=64)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        3 => {
            let number = EDGES[random.gen_range(0..EDGES.len())];
            let bytes = if random.gen_bool(0.5) { number.to_le_bytes() } else { number.to_be_bytes() };
            let length = [1, 2, 4, 8][random.gen_range(0..4usize)];
            input.splice(at..end, bytes[..length].iter().copied());
        }
        4 => {
            let number = EDGES[random.gen_range(0..EDGES.len())];
            input.splice(at..end, number.to_string().into_bytes());
        }
        5 => input.truncate(at),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = if random.gen_bool(0.5) { random.r#gen() } else { *byte ^ (1 << random.gen_range(0..8)) };
            }
        }
    }
}
