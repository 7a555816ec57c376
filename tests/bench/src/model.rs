//! What a broadcast, and one whose method meets at a barrier, cost the master, by how many connections and workers there are: a
//! formula fitted to measurements, and how well it foretells those that it was not fitted to.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::has_room_for;
use crate::item::Item;
use crate::measure::Figures;

/// Connections, and workers behind each.
pub const SHAPES: &[(usize, usize)] = &[
    (1, 1),
    (8, 1),
    (64, 1),
    (512, 1),
    (2_048, 1),
    (10_000, 1),
    (1, 64),
    (8, 64),
    (64, 64),
    (1, 1_024),
    (8, 512),
    (100, 100),
    (100, 1_000),
    (512, 16),
];

const WORKS: [(&str, &str); 2] = [
    ("broadcast", "A broadcast and its gather"),
    ("meeting", "The same of a method in which all workers meet at a barrier"),
];

/// Hosts, and workers on each, which are more than one machine can hold.
const FORETOLD: &[(usize, usize)] = &[
    (1_000, 1),
    (100, 10),
    (100_000, 1),
    (10_000, 10),
    (1_000, 100),
    (100, 1_000),
    (100_000, 10),
    (10_000, 100),
    (1_000, 1_000),
];

/// Processor time of the master in µs: one part for each call, one for each connection, one for each
/// worker.
#[derive(Debug, Clone, Copy)]
struct Model([f64; 3]);

impl Model {
    /// The one with the least squares of relative errors.
    fn fitted(points: &[(usize, usize, f64)]) -> Self {
        let (mut left, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
        for (connections, each, cost) in points {
            // Each measurement counts as much as any other: divided by what it is.
            let row = Self::terms(*connections, *each).map(|term| term / cost);
            for i in 0..3 {
                for j in 0..3 {
                    left[i][j] += row[i] * row[j];
                }
                right[i] += row[i];
            }
        }
        Self(solved(left, right))
    }

    fn terms(connections: usize, each: usize) -> [f64; 3] {
        [1.0, connections as f64, (connections * each) as f64]
    }

    fn cost(self, connections: usize, each: usize) -> f64 {
        let terms = Self::terms(connections, each);
        terms.iter().zip(self.0).map(|(term, part)| term * part).sum()
    }
}

/// Of three equations, by elimination with the largest pivot.
fn solved(mut left: [[f64; 3]; 3], mut right: [f64; 3]) -> [f64; 3] {
    for at in 0..3 {
        let largest = (at..3).max_by(|a, b| left[*a][at].abs().total_cmp(&left[*b][at].abs()));
        let largest = largest.unwrap_or(at);
        left.swap(at, largest);
        right.swap(at, largest);
        for below in at + 1..3 {
            let factor = left[below][at] / left[at][at];
            let above = left[at];
            left[below].iter_mut().zip(above).for_each(|(left, above)| *left -= factor * above);
            right[below] -= factor * right[at];
        }
    }
    let mut values = [0.0; 3];
    for at in (0..3).rev() {
        let known: f64 = (at + 1..3).map(|column| left[at][column] * values[column]).sum();
        values[at] = (right[at] - known) / left[at][at];
    }
    values
}

/// Measures every shape, so many times, and says what it comes to.
pub fn report(rounds: usize, measure: impl Fn(&Item) -> Result<Figures>) -> Result<String> {
    let (mut text, mut models) = (String::new(), Vec::new());
    for (work, what) in WORKS {
        let mut points = Vec::new();
        for (connections, each) in SHAPES {
            if !has_room_for(*connections, &format!("{connections} x {each}")) {
                continue;
            }
            let name = format!("model {work} {connections} x {each}");
            let mut costs = Vec::new();
            for round in 1..=rounds {
                let figures = measure(Item::named(&name)?).context(name.clone())?;
                eprintln!("{round}/{rounds} {name:28} {figures}");
                costs.push(figures.master / 1e3);
            }
            costs.sort_by(f64::total_cmp);
            points.push((*connections, *each, costs[costs.len() / 2]));
        }
        let model = Model::fitted(&points);
        let Model([call, connection, worker]) = model;
        models.push(model);
        let _ = writeln!(
            text,
            "{what} takes the master {call:.0} µs, {connection:.1} µs for each connection and \
             {worker:.2} µs for each worker, of processor time.\n\n\
             | connections x workers | measured | foretold by the others | |\n\
             | --- | ---: | ---: | ---: |"
        );
        for (at, (connections, each, cost)) in points.iter().enumerate() {
            let mut others = points.clone();
            others.remove(at);
            let foretold = Model::fitted(&others).cost(*connections, *each);
            let _ = writeln!(
                text,
                "| {connections} x {each} | {} | {} | {:+.0} % |",
                time(*cost),
                time(foretold),
                (foretold / cost - 1.0) * 100.0
            );
        }
        text.push('\n');
    }
    text += "Foretold by both, in processor time of the master:\n\n| workers | on hosts | with \
             workers each | a broadcast and its gather | the same with a barrier |\n| ---: | ---: | \
             ---: | ---: | ---: |\n";
    for (hosts, each) in FORETOLD {
        let _ = write!(text, "| {} | {} | {} |", count(hosts * each), count(*hosts), count(*each));
        for model in &models {
            let _ = write!(text, " {} |", time(model.cost(*hosts, *each)));
        }
        text.push('\n');
    }
    Ok(text)
}

/// With commas between thousands.
fn count(number: usize) -> String {
    match number {
        number if number < 1_000 => number.to_string(),
        number => format!("{},{:03}", count(number / 1_000), number % 1_000),
    }
}

fn time(micros: f64) -> String {
    match micros {
        micros if micros < 10_000.0 => format!("{micros:.0} µs"),
        micros if micros < 1e6 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{:.1} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_by_a_formula_is_found_to_be_of_it() {
        let truth = Model([20.0, 9.5, 0.25]);
        let points: Vec<_> = SHAPES
            .iter()
            .map(|(connections, each)| (*connections, *each, truth.cost(*connections, *each)))
            .collect();
        let Model(found) = Model::fitted(&points);
        for (found, truth) in found.iter().zip(truth.0) {
            assert!((found / truth - 1.0).abs() < 1e-6, "{found} for {truth}");
        }
    }
}
