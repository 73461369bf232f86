use gen_core::distributions::sum_rows;
use gen_core::params::{Init, Scope};
use tch::{Kind, Tensor};

use super::layer::{Bijection, Layer};
use crate::given::Given;

/// The distribution function of each coordinate, straight between fixed edges: learned histograms on [0, 1],
///
/// > y = Σ_{j<k} pⱼ + pₖ (x - eₖ) / (eₖ₊₁ - eₖ), log|dy/dx| = ln pₖ - ln(eₖ₊₁ - eₖ), where eₖ ≤ x < eₖ₊₁
///
/// for each value, with probabilities p = softmax of K learned numbers a coordinate. Values with such a histogram
/// become uniform. Before a [`Probit`](super::Probit) it makes every pixel Gaussian by itself, which leaves only the
/// dependence between pixels to the rest of a flow. A dequantised byte is uniform within its cell, which no logit or
/// affine map could make Gaussian.
///
/// Beyond the ends it goes on straight. The first batch gives its histograms as a start, mixed with that of all its
/// coordinates, since a batch has few values of each.
///
/// `x: [batch, coordinates]`. Chen & Gopinath 2000 (Gaussianization), section 2; Meng et al. 2020 (Gaussianization
/// Flows), section 3.1, have a smooth one.
#[derive(Debug)]
pub struct Histogram {
    edges: Tensor,
    logits: Tensor,
    initialised: Tensor,
}

/// The weight of the histogram of all coordinates, in rows of the first batch.
const POOLED_ROWS: f64 = 4.0;
/// The least share of a bin in the histogram of all coordinates, next to its width.
const SMOOTHING: f64 = 0.01;

impl Histogram {
    /// For `coordinates` coordinates with bins between these `edges`, which go up from 0 to 1.
    ///
    /// # Panics
    /// When they do not.
    pub fn new(scope: Scope<'_>, coordinates: i64, edges: &[f64]) -> Self {
        let go_up = edges.windows(2).all(|pair| pair[0] < pair[1]);
        let sound = edges.len() > 1 && go_up && edges[0] == 0.0 && edges[edges.len() - 1] == 1.0;
        assert!(sound, "edges of bins go up from 0 to 1, found {edges:?}");
        let edges = Tensor::from_slice(edges).to_kind(scope.kind());
        let bins = edges.size()[0] - 1;
        let this = Histogram {
            edges: scope.buffer("edges", edges),
            logits: scope.parameter("logits", &[coordinates, bins], Init::ZEROS),
            initialised: scope.buffer("initialised", Tensor::from(0i64)),
        };
        let _no_grad = tch::no_grad_guard();
        this.logits.shallow_clone().copy_(&this.widths().log().expand_as(&this.logits));
        this
    }

    /// Edges that suit bytes: each lies between two of them, close together at black and at white, where many pixels of
    /// many data sets are.
    pub fn edges_of_bytes() -> Vec<f64> {
        let low = [0, 1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 112];
        let high = low.iter().rev().map(|edge| 256 - edge);
        let all = low.iter().copied().chain([128]).chain(high);
        all.map(|edge| f64::from(edge) / 256.0).collect()
    }

    fn bins(&self) -> i64 {
        self.logits.size()[1]
    }

    fn widths(&self) -> Tensor {
        self.edges.diff::<Tensor>(1, 0, None, None)
    }

    /// ln of the density in each bin of each coordinate, and the distribution function at its lower edge.
    fn tables(&self) -> (Tensor, Tensor) {
        let log_p = self.logits.log_softmax(1, self.logits.kind());
        let p = log_p.exp();
        (log_p - self.widths().log(), p.cumsum(1, p.kind()) - p)
    }

    /// The entry of `table: [coordinates, bins]` for each value, whose bins are in `bin: [batch, coordinates]`.
    fn pick(&self, table: &Tensor, bin: &Tensor) -> Tensor {
        let place = Tensor::arange(self.logits.size()[0], (Kind::Int64, bin.device())) * self.bins();
        table.reshape([-1]).index_select(0, &(bin + place).reshape([-1])).view(bin.size().as_slice())
    }

    /// The inner edges.
    fn inner(&self) -> Tensor {
        self.edges.narrow(0, 1, self.bins() - 1).contiguous()
    }

    fn bin_of(&self, x: &Tensor) -> Tensor {
        x.detach().contiguous().bucketize(&self.inner(), false, true)
    }
}

impl Bijection for Histogram {
    fn forward(&self, x: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let (log_density, below) = self.tables();
        let bin = self.bin_of(x);
        let log_slope = self.pick(&log_density, &bin);
        let from = self.edges.index_select(0, &bin.reshape([-1])).view_as(x);
        let y = self.pick(&below, &bin).addcmul(&(x - from), &log_slope.exp());
        (y, sum_rows(&log_slope))
    }

    fn inverse(&self, y: &Tensor, _given: Given<'_>) -> (Tensor, Tensor) {
        let (log_density, below) = self.tables();
        let inner = below.detach().narrow(1, 1, self.bins() - 1).contiguous();
        let columns = y.detach().tr().contiguous();
        let bin = columns.searchsorted(&inner, false, true, "right", None::<&Tensor>).tr();
        let log_slope = self.pick(&log_density, &bin);
        let from = self.edges.index_select(0, &bin.reshape([-1])).view_as(y);
        let x = from.addcmul(&(y - self.pick(&below, &bin)), &(-&log_slope).exp());
        (x, -sum_rows(&log_slope))
    }
}

impl Layer for Histogram {
    fn initialise(&self, x: &Tensor, given: Given<'_>) -> Tensor {
        if !self.is_initialised() {
            let _no_grad = tch::no_grad_guard();
            let counts = self.bin_of(x).one_hot(self.bins()).sum_dim_intlist(0, false, Kind::Double);
            let pooled = counts.mean_dim(0, false, Kind::Double) / x.size()[0] as f64;
            let pooled = pooled + self.widths().to_kind(Kind::Double) * SMOOTHING;
            let logits = (counts + pooled * POOLED_ROWS).log().to_kind(self.logits.kind());
            self.logits.shallow_clone().copy_(&logits);
            let _ = self.initialised.shallow_clone().fill_(1);
        }
        self.forward(x, given).0
    }

    fn is_initialised(&self) -> bool {
        self.initialised.to_kind(Kind::Int64).int64_value(&[]) != 0
    }
}
