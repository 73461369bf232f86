use gen_native::{Statistics, batch_norm};
use tch::{Kind, Tensor};

use super::{Activation, BatchStatistics, GroupNorm, Linear};
use crate::params::{Init, Scope};

/// `x (1 + scale) + shift` for each channel (Perez et al. 2018, section 2, with their γ as 1 + scale): `x: [batch,
/// channels, ...]` and `modulation: [batch, 2 channels]`, which holds the scales of each image, then the shifts.
///
/// # Panics
/// When the shapes do not fit.
pub fn film(x: &Tensor, modulation: &Tensor) -> Tensor {
    let (batch, channels) = (x.size()[0], x.size()[1]);
    assert_eq!(modulation.size(), [batch, 2 * channels], "the modulation of {:?}", x.size());
    let mut shape = vec![1; x.dim()];
    shape[..2].copy_from_slice(&[batch, channels]);
    let part = |start| modulation.narrow(1, start, channels).reshape(&shape);
    x * (part(0) + 1.0) + part(channels)
}

/// Feature-wise linear modulation by a vector, such as an embedding of time or class (Perez et al. 2018). A linear
/// layer makes the scales and shifts of [`film`]; it starts at 0, and this layer therefore as the identity.
#[derive(Debug)]
pub struct Film(Linear);

impl Film {
    /// For `channels` channels, by vectors of `condition` values.
    pub fn new(scope: Scope<'_>, channels: i64, condition: i64) -> Self {
        Film(Linear::zeros(scope, condition, 2 * channels))
    }

    /// `condition: [batch, condition]` to `[batch, 2 channels]`: the scales, then the shifts.
    pub fn modulation(&self, condition: &Tensor) -> Tensor {
        self.0.forward(condition)
    }

    /// `x: [batch, channels, ...]` and `condition: [batch, condition]` to the shape of `x`.
    pub fn forward(&self, x: &Tensor, condition: &Tensor) -> Tensor {
        film(x, &self.modulation(condition))
    }
}

/// [`GroupNorm`], then [`Film`] by a vector, then an activation, in one pass where the kernel supports it. With as many
/// groups as channels it is adaptive instance normalisation (Huang & Belongie 2017).
#[derive(Debug)]
pub struct ConditionalGroupNorm {
    norm: GroupNorm,
    film: Film,
}

impl ConditionalGroupNorm {
    /// For `channels` channels in `groups` groups, by vectors of `condition` values.
    ///
    /// # Panics
    /// When the groups do not divide the channels.
    pub fn new(scope: Scope<'_>, groups: i64, channels: i64, condition: i64) -> Self {
        ConditionalGroupNorm {
            norm: GroupNorm::new(&scope / "norm", groups, channels),
            film: Film::new(&scope / "film", channels, condition),
        }
    }

    /// `x: [batch, channels, ...]` and `condition: [batch, condition]` to the shape of `x`.
    pub fn forward(&self, x: &Tensor, condition: &Tensor, activation: Option<Activation>) -> Tensor {
        self.norm.forward_modulated(x, &self.film.modulation(condition), activation)
    }
}

/// The source of the scales and shifts of a [`ConditionalBatchNorm`].
#[derive(Debug)]
enum Source {
    /// `[classes, 2 channels]`
    Classes(Tensor),
    Vectors(Film),
}

/// Batch normalisation whose scale and shift depend on a class (Dumoulin et al. 2017, de Vries et al. 2017) or on a
/// vector (Brock et al. 2019): `normalised x (1 + scale) + shift`. Scales and shifts start at 0.
///
/// The running statistics are those of [`BatchNorm`](super::BatchNorm), for all classes together.
#[derive(Debug)]
pub struct ConditionalBatchNorm {
    running_mean: Tensor,
    running_var: Tensor,
    source: Source,
}

impl ConditionalBatchNorm {
    /// A scale and a shift for each of `classes` classes, in the table `embed.weight: [classes, 2 channels]`.
    pub fn of_classes(scope: Scope<'_>, channels: i64, classes: i64) -> Self {
        let table = (&scope / "embed").parameter("weight", &[classes, 2 * channels], Init::ZEROS);
        Self::build(&scope, channels, Source::Classes(table))
    }

    /// Scales and shifts by a linear layer `film` of vectors of `condition` values.
    pub fn of_vectors(scope: Scope<'_>, channels: i64, condition: i64) -> Self {
        let film = Film::new(&scope / "film", channels, condition);
        Self::build(&scope, channels, Source::Vectors(film))
    }

    fn build(scope: &Scope<'_>, channels: i64, source: Source) -> Self {
        let options = (scope.kind(), scope.device());
        ConditionalBatchNorm {
            running_mean: scope.buffer("running_mean", Tensor::zeros([channels], options)),
            running_var: scope.buffer("running_var", Tensor::ones([channels], options)),
            source,
        }
    }

    /// `x: [batch, channels, ...]` to the same shape. `condition` has classes, `i64 [batch]`, or vectors, `[batch,
    /// condition]`, as the layer was made for.
    ///
    /// # Panics
    /// When `x` or the condition does not fit, or a class is unknown.
    pub fn forward(
        &self,
        x: &Tensor,
        condition: &Tensor,
        statistics: BatchStatistics,
        activation: Option<Activation>,
    ) -> Tensor {
        let modulation = match &self.source {
            Source::Classes(table) => {
                let kind = condition.kind();
                assert_eq!(kind, Kind::Int64, "the condition should be classes in i64, found {kind:?}");
                table.index_select(0, condition)
            }
            Source::Vectors(film) => film.modulation(condition),
        };
        let (mean, var) = (&self.running_mean, &self.running_var);
        let statistics = match statistics {
            BatchStatistics::Batch => Statistics::Batch,
            BatchStatistics::Train => Statistics::BatchMoving { mean, var },
            BatchStatistics::Running => Statistics::Running { mean, var },
        };
        let neutral = Tensor::ones([self.running_mean.size()[0]], (x.kind(), x.device()));
        let normal = batch_norm(x, &neutral, &neutral.zeros_like(), statistics, gen_native::Activation::None)
            .unwrap_or_else(|error| panic!("{error}"));
        let y = film(&normal, &modulation);
        activation.map_or_else(|| y.shallow_clone(), |activation| activation.apply(&y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, doubles, leaf, leaves};
    use crate::params::Params;
    use crate::testing::assert_close;

    /// Sets the parameters to numbers other than 0 and the running statistics to those of a few batches.
    fn filled(params: &Params) {
        let _ = leaves(&leaf(0, &[1]), params);
    }

    #[test]
    fn scales_and_shifts_belong_to_channels() {
        let golden = Golden::of("film");
        let [x, condition] = ["x", "condition"].map(|name| golden.get(name));
        let params = doubles();
        let layer = Film::new(params.root(), 4, 3);
        golden.load(&params);
        golden.check("y", &layer.forward(&x, &condition));
        let rows = x.mean_dim([2, 3].as_slice(), false, Kind::Double);
        golden.check("of rows", &layer.forward(&rows, &condition));
    }

    #[test]
    fn group_norm_is_pytorchs_under_film() {
        let (golden, params) = (Golden::of("conditional group norm"), doubles());
        let layer = ConditionalGroupNorm::new(params.root(), 2, 4, 3);
        golden.load(&params);
        golden.check("y", &layer.forward(&golden.get("x"), &golden.get("condition"), Some(Activation::Silu)));
    }

    #[test]
    fn batch_norm_is_pytorchs_under_film() {
        let golden = Golden::of("conditional batch norm");
        let params = doubles();
        let layer = ConditionalBatchNorm::of_classes(params.root(), 4, 3);
        golden.load(&params);
        let [x, classes] = ["x", "classes"].map(|name| golden.get(name));
        golden.check("train", &layer.forward(&x, &classes, BatchStatistics::Train, Some(Activation::Relu)));
        golden.check("evaluate", &layer.forward(&x, &classes, BatchStatistics::Running, None));
        golden.check("running mean", params.all().get("running_mean").unwrap());
        golden.check("running var", params.all().get("running_var").unwrap());
    }

    #[test]
    fn a_vector_of_one_class_is_that_class() {
        let [classes, vectors] = [doubles(), doubles()];
        let by_class = ConditionalBatchNorm::of_classes(classes.root(), 2, 3);
        let by_vector = ConditionalBatchNorm::of_vectors(vectors.root(), 2, 3);
        filled(&classes);
        let table = classes.all().get("embed.weight").unwrap().tr();
        tch::no_grad(|| vectors.all().get("film.weight").unwrap().shallow_clone().copy_(&table));
        let (x, labels) = (leaf(1, &[4, 2, 3, 3]), Tensor::from_slice(&[0i64, 2, 1, 2]));
        let hot = labels.one_hot(3).to_kind(Kind::Double);
        let statistics = BatchStatistics::Batch;
        let expected = by_class.forward(&x, &labels, statistics, None);
        assert_close(&by_vector.forward(&x, &hot, statistics, None), &expected, 1e-12, 1e-12);
    }

    #[test]
    #[should_panic(expected = "classes in i64")]
    fn classes_are_whole_numbers() {
        let layer = ConditionalBatchNorm::of_classes(doubles().root(), 2, 3);
        let _ = layer.forward(&leaf(1, &[1, 2, 1, 1]), &leaf(1, &[1, 3]), BatchStatistics::Running, None);
    }

    #[test]
    fn gradients_have_gradients() {
        let (x, condition) = (leaf(1, &[2, 4, 2, 2]), leaf(2, &[2, 3]));
        let with_condition = |params: &Params| {
            let mut all = leaves(&x, params);
            all.push(condition.shallow_clone());
            all
        };
        let params = doubles();
        let layer = Film::new(params.root(), 4, 3);
        assert_derivatives(&with_condition(&params), || layer.forward(&x, &condition));
        let params = doubles();
        let layer = ConditionalGroupNorm::new(params.root(), 2, 4, 3);
        assert_derivatives(&with_condition(&params), || layer.forward(&x, &condition, Some(Activation::Silu)));
        let params = doubles();
        let layer = ConditionalBatchNorm::of_vectors(params.root(), 4, 3);
        assert_derivatives(&with_condition(&params), || {
            layer.forward(&x, &condition, BatchStatistics::Batch, Some(Activation::Tanh))
        });
        let params = doubles();
        let layer = ConditionalBatchNorm::of_classes(params.root(), 4, 3);
        let classes = Tensor::from_slice(&[2i64, 0]);
        assert_derivatives(&leaves(&x, &params), || layer.forward(&x, &classes, BatchStatistics::Batch, None));
    }
}
