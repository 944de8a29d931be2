//! What all benches share: how they measure, counted allocations, the traffic they measure with.
#![allow(dead_code, reason = "each bench uses its part")]

pub mod allocation;
pub mod traffic;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

/// The benches of one stage. Prints, beside criterion's lines, the allocations per iteration once warm.
pub struct Stage {
    name: &'static str,
    criterion: Criterion,
    fastest: Vec<(String, f64)>,
}

/// Inputs that are made and then used up in one turn: none of the making is timed or counted, and their memory
/// is used again.
struct Turns<I, P, R> {
    inputs: Vec<I>,
    prepare: P,
    routine: R,
}

/// What one turn took.
#[derive(Clone, Copy, Default)]
struct Turn {
    elapsed: Duration,
    allocations: u64,
    bytes: u64,
}

impl Stage {
    pub fn new(name: &'static str) -> Self {
        let criterion = Criterion::default()
            .sample_size(20)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .configure_from_args();
        Self { name, criterion, fastest: Vec::new() }
    }

    /// Measures `routine`.
    pub fn bench(&mut self, name: &str, throughput: Throughput, mut routine: impl FnMut()) {
        self.bench_prepared(name, throughput, TURN, |(): &mut ()| {}, |()| routine());
    }

    /// Measures `routine` over inputs that `prepare` makes, `turn` of them at a time.
    pub fn bench_prepared<I: Default>(
        &mut self,
        name: &str,
        throughput: Throughput,
        turn: usize,
        prepare: impl FnMut(&mut I),
        routine: impl FnMut(&mut I),
    ) {
        let inputs = (0..turn).map(|_| I::default()).collect();
        let mut turns = Turns { inputs, prepare, routine };
        let mut allocations = None;
        let mut fastest = f64::INFINITY;
        let mut group = self.criterion.benchmark_group(self.name);
        group.throughput(throughput);
        group.bench_function(name, |bencher| {
            allocations.get_or_insert_with(|| turns.allocations_once_warm());
            bencher.iter_custom(|iterations| {
                let elapsed = turns.run(iterations).elapsed;
                if iterations >= turn as u64 {
                    fastest = fastest.min(elapsed.as_nanos() as f64 / iterations as f64);
                }
                elapsed
            });
        });
        group.finish();
        // Not run when a filter on the command line passed it over.
        if let Some((count, bytes)) = allocations {
            println!("{:24}allocations: {count} per iteration once warm, {bytes} bytes\n", "");
            self.fastest.push((name.to_owned(), fastest));
        }
    }

    /// Nanoseconds of one iteration of a bench that has run: its fastest sample, which other processes on the
    /// machine disturbed least.
    pub fn nanos(&self, name: &str) -> Option<f64> {
        let fastest = self.fastest.iter().find(|(bench, _)| bench == name).map(|(_, nanos)| *nanos);
        fastest.filter(|nanos| nanos.is_finite())
    }

    /// Prints how often the time of `other`, taken `times`, goes into that of `bench`.
    pub fn print_ratio(&self, bench: &str, other: &str, times: f64) {
        if let (Some(of), Some(to)) = (self.nanos(bench), self.nanos(other)) {
            println!("ratio {bench} : {times} x {other} = {:.2}", of / (times * to));
        }
    }

    pub fn finish(self) {
        self.criterion.final_summary();
    }
}

impl<I, P: FnMut(&mut I), R: FnMut(&mut I)> Turns<I, P, R> {
    fn run(&mut self, iterations: u64) -> Turn {
        let mut sum = Turn::default();
        let mut left = iterations;
        while left > 0 {
            let count = self.inputs.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let inputs = &mut self.inputs[..count];
            inputs.iter_mut().for_each(&mut self.prepare);
            let before = allocation::count();
            let start = Instant::now();
            inputs.iter_mut().for_each(&mut self.routine);
            sum.elapsed += start.elapsed();
            let after = allocation::count();
            sum.allocations += after.allocations - before.allocations;
            sum.bytes += after.bytes - before.bytes;
            left -= count as u64;
        }
        sum
    }

    /// Allocations and their bytes per iteration.
    fn allocations_once_warm(&mut self) -> (f64, f64) {
        let iterations = WARM_TURNS * self.inputs.len() as u64;
        self.run(iterations);
        let turn = self.run(iterations);
        let per_iteration = |sum: u64| (sum as f64 / iterations as f64 * 100.0).round() / 100.0;
        (per_iteration(turn.allocations), per_iteration(turn.bytes))
    }
}

/// Iterations between two looks at the clock, which costs about 50 ns.
pub const TURN: usize = 64;
/// Turns after which lists have grown to what they need.
const WARM_TURNS: u64 = 4;
