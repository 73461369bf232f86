use super::level::Level;
use super::process::DiscreteVp;

/// The levels of a process and all between them, in continuous time.
///
/// Its parameter is ψ = ln(σ / (1 + α)), which grows with the noise: with little noise ψ is ln σ/2, and with little
/// signal it goes with the angle arctan σ/α.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// ψ and the network's time of each timestep, ascending.
    known: Vec<(f64, f64)>,
}

impl Path {
    /// The path through all levels of `process`.
    pub fn new(process: &DiscreteVp) -> Self {
        let known = (0..process.timesteps()).map(|t| {
            let level = process.level(t);
            (psi(&level), level.time)
        });
        Path { known: known.collect() }
    }

    /// ψ of the first level, which has the least noise, and of the last.
    pub fn ends(&self) -> [f64; 2] {
        [self.known[0].0, self.known[self.known.len() - 1].0]
    }

    /// The level at ψ; the network's time is that of the timesteps around it, interpolated.
    pub fn level(&self, psi: f64) -> Level {
        // With σ = sin φ, α = cos φ, e^ψ is tan φ/2.
        let square = (2.0 * psi).exp();
        let (alpha, sigma) = ((1.0 - square) / (1.0 + square), 2.0 * psi.exp() / (1.0 + square));
        Level { alpha, sigma, time: self.time(psi) }
    }

    /// The level whose [`log_snr`](Level::log_snr) is this.
    pub fn at_log_snr(&self, log_snr: f64) -> Level {
        // α² is the sigmoid of the logarithm of α²/σ², σ² that of its negative.
        let root = |x: f64| (1.0 + (-x).exp()).recip().sqrt();
        let level = Level { alpha: root(log_snr), sigma: root(-log_snr), time: 0.0 };
        Level { time: self.time(psi(&level)), ..level }
    }

    fn time(&self, psi: f64) -> f64 {
        let after = self.known.partition_point(|(known, _)| *known <= psi).clamp(1, self.known.len().max(2) - 1);
        match (self.known.get(after - 1), self.known.get(after)) {
            (Some((a, start)), Some((b, end))) => start + (end - start) * ((psi - a) / (b - a)).clamp(0.0, 1.0),
            (Some((_, time)), None) | (None, Some((_, time))) => *time,
            (None, None) => 0.0,
        }
    }
}

fn psi(level: &Level) -> f64 {
    (level.sigma / (1.0 + level.alpha)).ln()
}

#[cfg(test)]
mod tests {
    use super::super::noise::NoiseSchedule;
    use super::*;

    #[test]
    fn the_path_goes_through_every_level() {
        for (schedule, timesteps) in [(NoiseSchedule::Cosine, 1000), (NoiseSchedule::Linear, 50)] {
            let process = DiscreteVp::new(schedule, timesteps).expect("timesteps");
            let path = Path::new(&process);
            for t in 0..timesteps {
                let (expected, found) = (process.level(t), path.level(path.known[t].0));
                let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
                assert!(near(expected.alpha, found.alpha) && near(expected.sigma, found.sigma), "{t}: {found:?}");
                assert!((expected.time - found.time).abs() < 1e-6, "{t}: {found:?}");
                let same = path.at_log_snr(expected.log_snr());
                assert!(
                    near(expected.alpha, same.alpha)
                        && near(expected.sigma, same.sigma)
                        && (expected.time - same.time).abs() < 1e-6,
                    "{t}: {same:?}"
                );
            }
            let between = path.level(0.25 * path.known[10].0 + 0.75 * path.known[11].0);
            let time = 0.25 * process.level(10).time + 0.75 * process.level(11).time;
            assert!((between.time - time).abs() < 1e-9, "{between:?}");
        }
    }
}
