//! GF(256): bytes that add, multiply and divide, and equations over rows of them.
//!
//! The field is that of x^8 + x^4 + x^3 + x^2 + 1, whose powers of x are all bytes but 0.

/// The reduction, without x^8.
const REDUCE: u8 = 0x1d;
const ORDER: usize = 255;
/// Powers of x, twice, so that a sum of two logarithms needs no remainder.
const POWERS: [u8; 2 * ORDER] = powers();
const LOGS: [u8; 256] = logs();

const fn powers() -> [u8; 2 * ORDER] {
    let mut out = [0; 2 * ORDER];
    let (mut power, mut at) = (1_u8, 0);
    while at < ORDER {
        (out[at], out[at + ORDER]) = (power, power);
        power = (power << 1) ^ if power & 0x80 == 0 { 0 } else { REDUCE };
        at += 1;
    }
    out
}

const fn logs() -> [u8; 256] {
    let mut out = [0; 256];
    let mut at = 0_u8;
    while (at as usize) < ORDER {
        out[POWERS[at as usize] as usize] = at;
        at += 1;
    }
    out
}

fn times(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    POWERS[usize::from(LOGS[usize::from(a)]) + usize::from(LOGS[usize::from(b)])]
}

/// One divided by a byte that is not 0.
fn inverse(a: u8) -> u8 {
    POWERS[ORDER - usize::from(LOGS[usize::from(a)])]
}

/// Adds so many times `row` to `onto`, as far as both go.
pub(super) fn add(onto: &mut [u8], factor: u8, row: &[u8]) {
    if factor == 0 {
        return;
    }
    let log = usize::from(LOGS[usize::from(factor)]);
    for (to, byte) in onto.iter_mut().zip(row) {
        if *byte != 0 {
            *to ^= POWERS[log + usize::from(LOGS[usize::from(*byte)])];
        }
    }
}

/// An equation: these times the unknown rows make that row.
#[derive(Clone, Debug)]
pub(super) struct Equation {
    pub factors: Vec<u8>,
    pub sum: Vec<u8>,
}

/// Solves for `count` unknown rows; how many equations lack if it cannot be. Of more equations than
/// are needed the first that say something new count.
pub(super) fn solve(
    count: usize,
    equations: impl IntoIterator<Item = Equation>,
) -> Result<Vec<Vec<u8>>, usize> {
    // By the unknown that each one begins with.
    let mut solved: Vec<Option<Equation>> = vec![None; count];
    let mut lacking = count;
    for mut equation in equations {
        if lacking == 0 {
            break;
        }
        for (at, known) in solved.iter().enumerate() {
            let factor = equation.factors.get(at).copied().unwrap_or(0);
            if let Some(known) = known {
                equation.less(factor, known);
            }
        }
        let Some(first) = equation.factors.iter().position(|factor| *factor != 0) else { continue };
        equation.divide(equation.factors[first]);
        for known in solved.iter_mut().flatten() {
            let factor = known.factors.get(first).copied().unwrap_or(0);
            known.less(factor, &equation);
        }
        let Some(place) = solved.get_mut(first) else { continue };
        *place = Some(equation);
        lacking -= 1;
    }
    let rows: Option<Vec<_>> = solved.into_iter().map(|row| row.map(|row| row.sum)).collect();
    rows.ok_or(lacking)
}

impl Equation {
    fn less(&mut self, factor: u8, other: &Self) {
        add(&mut self.factors, factor, &other.factors);
        add(&mut self.sum, factor, &other.sum);
    }

    fn divide(&mut self, by: u8) {
        let factor = inverse(by);
        for byte in self.factors.iter_mut().chain(&mut self.sum) {
            *byte = times(*byte, factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on paper: shift, add, reduce.
    fn slowly(a: u8, b: u8) -> u8 {
        let (mut sum, mut a) = (0, a);
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                sum ^= a;
            }
            a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { REDUCE };
        }
        sum
    }

    #[test]
    fn multiplies_as_on_paper_and_divides_back() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(times(a, b), slowly(a, b), "{a} {b}");
            }
            let mut sum = [7];
            add(&mut sum, a, &[200]);
            assert_eq!(sum, [7 ^ slowly(a, 200)]);
        }
        assert!((1..=255).all(|a| times(a, inverse(a)) == 1));
    }

    #[test]
    fn solves_what_can_be_solved_and_counts_what_lacks() {
        let equation =
            |factors: &[u8], sum: &[u8]| Equation { factors: factors.to_vec(), sum: sum.to_vec() };
        let two = [equation(&[0, 3], &[times(3, 9)]), equation(&[5, 1], &[times(5, 4) ^ 9])];
        assert_eq!(solve(2, two.clone()), Ok(vec![vec![4], vec![9]]));
        assert_eq!(solve(3, two.clone()), Err(1));
        // The same again, and nothing at all, say nothing new.
        let same = [two[0].clone(), equation(&[0, 6], &[times(6, 9)]), equation(&[0, 0], &[1])];
        assert_eq!(solve(2, same), Err(1));
        assert_eq!(solve(2, []), Err(2));
        assert_eq!(solve(0, []), Ok(vec![]));
    }
}
