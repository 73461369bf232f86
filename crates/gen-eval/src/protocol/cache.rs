use gen_core::params::NamedTensors;

/// Storage for results about real rows between two evaluations.
///
/// A key names everything that the tensors depend on. A result that cannot be stored is computed again, so there are
/// no errors.
pub trait EvaluationCache {
    /// The tensors stored under `key`.
    fn load(&self, key: &str) -> Option<NamedTensors>;
    /// Stores `tensors` under `key`.
    fn store(&self, key: &str, tensors: &NamedTensors);
}

/// Stores nothing.
pub struct NoCache;

impl EvaluationCache for NoCache {
    fn load(&self, _: &str) -> Option<NamedTensors> {
        None
    }

    fn store(&self, _: &str, _: &NamedTensors) {}
}
