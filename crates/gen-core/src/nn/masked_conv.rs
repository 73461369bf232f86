use tch::{Device, Kind, Tensor};

use super::{Geometry, Linear, conv2d};
use crate::params::{Init, Scope};

/// The pixels that a masked convolution sees (van den Oord et al. 2016a, section 3.4). Both kinds see the rows above
/// and the pixels to the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Of the pixel itself, the earlier colours only: for the first layer, which sees the image.
    A,
    /// Of the pixel itself, the same colour too: for all other layers.
    B,
}

impl Mask {
    /// `[outputs, inputs]`: 1 where an output may see an input of the same pixel. Channels are `colours` blocks.
    fn of_channels(self, outputs: i64, inputs: i64, colours: i64, options: (Kind, Device)) -> Tensor {
        assert!(
            colours > 0 && outputs % colours == 0 && inputs % colours == 0,
            "{inputs} and {outputs} channels do not divide into {colours} colours"
        );
        let colour = |channels: i64| {
            let index = Tensor::arange(channels, (Kind::Int64, options.1));
            index.divide_scalar_mode(channels / colours, "floor")
        };
        let (of_output, of_input) = (colour(outputs).unsqueeze(1), colour(inputs).unsqueeze(0));
        let sees = match self {
            Mask::A => of_input.lt_tensor(&of_output),
            Mask::B => of_input.le_tensor(&of_output),
        };
        sees.to_kind(options.0)
    }
}

/// The last rows of a feature map that grows pixel by pixel, from the top left, row by row.
#[derive(Debug)]
pub struct RowCache {
    /// `[batch, channels, rows, width + 2 margin]`; the last row is the current one, and beyond the image are zeros.
    rows: Tensor,
    margin: i64,
}

impl RowCache {
    fn new(like: &Tensor, [batch, channels, rows, width]: [i64; 4], margin: i64) -> Self {
        let options = (like.kind(), like.device());
        RowCache { rows: Tensor::zeros([batch, channels, rows, width + 2 * margin], options), margin }
    }

    /// Sets the pixel of this column in the current row to `x: [batch, channels]`; it may be set again.
    ///
    /// # Panics
    /// When `x` or the column does not fit.
    pub fn write(&mut self, x: &Tensor, column: i64) {
        let last = self.rows.size()[2] - 1;
        tch::no_grad(|| self.rows.select(2, last).select(2, column + self.margin).copy_(x));
    }

    /// Begins the next row.
    pub fn next_row(&mut self) {
        let [_, _, rows, _] = self.rows.size()[..] else { unreachable!("it has four dimensions") };
        tch::no_grad(|| {
            self.rows = self.rows.roll([-1], [2]);
            let _ = self.rows.select(2, rows - 1).zero_();
        });
    }

    /// The pixels around this column: `[batch, channels, rows, columns]`.
    fn around(&self, column: i64, columns: i64) -> Tensor {
        self.rows.narrow(3, column, columns)
    }
}

/// A convolution that sees only the pixels before a pixel in the order of rows, as in PixelCNN (van den Oord et al.
/// 2016a, section 3.4), with PyTorch's initial values.
///
/// [`MaskedConv2d::forward`] takes a whole map. In sampling, [`MaskedConv2d::at`] takes one pixel at a time, with the
/// rows above in a [`RowCache`], which a layer of its own has each:
///
/// ```
/// use gen_core::nn::{Mask, MaskedConv2d};
/// use gen_core::params::Params;
/// use tch::{Device, Kind, Tensor};
///
/// let params = Params::new(Kind::Double, Device::Cpu);
/// let first = MaskedConv2d::new(&params.root() / "0", [1, 8], 5, Mask::A, 1);
/// let second = MaskedConv2d::new(&params.root() / "1", [8, 2], 3, Mask::B, 1);
/// let x = Tensor::randn([4, 1, 6, 6], (Kind::Double, Device::Cpu));
/// let whole = second.forward(&first.forward(&x).relu());
///
/// let _no_grad = tch::no_grad_guard();
/// let (mut image, mut hidden) = (first.cache(4, 6), second.cache(4, 6));
/// for row in 0..6 {
///     for column in 0..6 {
///         hidden.write(&first.at(&image, column).relu(), column);
///         let logits = second.at(&hidden, column);
///         let expected = whole.select(3, column).select(2, row);
///         assert!(logits.allclose(&expected, 1e-9, 1e-9, false));
///         // A sampler would draw this pixel from the logits.
///         image.write(&x.select(3, column).select(2, row), column);
///     }
///     image.next_row();
///     hidden.next_row();
/// }
/// ```
#[derive(Debug)]
pub struct MaskedConv2d {
    weight: Tensor,
    bias: Tensor,
    mask: Tensor,
}

impl MaskedConv2d {
    /// `inputs` to `outputs` channels with a kernel of odd side `kernel`. The channels of either are `colours` equal
    /// blocks, of which each sees itself and those before; 1 for grey images.
    ///
    /// # Panics
    /// When the side is even, or the colours do not divide the channels.
    pub fn new(scope: Scope<'_>, [inputs, outputs]: [i64; 2], kernel: i64, mask: Mask, colours: i64) -> Self {
        assert_eq!(kernel % 2, 1, "the kernel should have an odd side, found {kernel}");
        let init = Init::fan_in(inputs * kernel * kernel);
        let options = (scope.kind(), scope.device());
        let middle = kernel / 2;
        let ones = Tensor::zeros([outputs, inputs, kernel, kernel], options);
        let _ = ones.narrow(2, 0, middle).fill_(1.0);
        let row = ones.select(2, middle);
        let _ = row.narrow(2, 0, middle).fill_(1.0);
        row.select(2, middle).copy_(&mask.of_channels(outputs, inputs, colours, options));
        MaskedConv2d {
            weight: scope.parameter("weight", &[outputs, inputs, kernel, kernel], init),
            bias: scope.parameter("bias", &[outputs], init),
            mask: ones,
        }
    }

    /// `x: [batch, inputs, height, width]` to `[batch, outputs, height, width]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let kernel = self.weight.size()[3];
        conv2d(x, &(&self.weight * &self.mask), Some(&self.bias), Geometry::same(kernel))
    }

    /// The rows that [`MaskedConv2d::at`] needs of images of this width.
    pub fn cache(&self, batch: i64, width: i64) -> RowCache {
        let [_, inputs, kernel, _] = self.weight.size()[..] else { unreachable!("it has four dimensions") };
        RowCache::new(&self.weight, [batch, inputs, kernel / 2 + 1, width], kernel / 2)
    }

    /// The output of one pixel of the current row, `[batch, outputs]`, from the pixels written so far. Pixels that the
    /// mask hides need not be written. Without a gradient.
    pub fn at(&self, cache: &RowCache, column: i64) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let kernel = self.weight.size()[3];
        let seen = (&self.weight * &self.mask).narrow(2, 0, kernel / 2 + 1).flatten(1, -1);
        cache.around(column, kernel).flatten(1, -1).linear(&seen, Some(&self.bias))
    }
}

/// tanh(a) σ(b) of the halves of the channels (van den Oord et al. 2016b, equation 2).
fn gate(x: &Tensor) -> Tensor {
    let half = x.size()[1] / 2;
    x.narrow(1, 0, half).tanh() * x.narrow(1, half, half).sigmoid()
}

/// A layer of the gated PixelCNN (van den Oord et al. 2016b, figure 2): a vertical stack, which sees the rows above,
/// and a horizontal one, which sees the pixels to the left and, from the vertical stack, the rows above. There is no
/// blind spot.
///
/// The vertical output of row `r` depends on the vertical input of rows up to `r`; it enters the horizontal stack one
/// row lower. Every layer but the first, which has [`Mask::A`], adds its horizontal input to its horizontal output.
/// Channels are not divided into colours.
#[derive(Debug)]
pub struct GatedMaskedConv2d {
    /// `[2 outputs, inputs, kernel / 2 + 1, kernel]`, the rows that end with the current one.
    vertical: Filter,
    /// `[2 outputs, inputs, 1, kernel / 2 + 1]` with [`Mask::B`], one column fewer with [`Mask::A`].
    horizontal: Filter,
    /// 1 by 1, from the vertical stack to the horizontal one.
    link: Filter,
    /// 1 by 1, before the addition.
    out: Filter,
    /// From the condition to the sums before either gate.
    condition: Option<[Linear; 2]>,
    mask: Mask,
    kernel: i64,
}

/// A weight and a bias.
#[derive(Debug)]
struct Filter {
    weight: Tensor,
    bias: Tensor,
}

impl Filter {
    fn new(scope: Scope<'_>, shape: [i64; 4]) -> Self {
        let init = Init::fan_in(shape[1..].iter().product());
        Filter { weight: scope.parameter("weight", &shape, init), bias: scope.parameter("bias", &shape[..1], init) }
    }

    /// The convolution of a map with its padding, `[left, right, top, bottom]`.
    fn forward(&self, x: &Tensor, padding: [i64; 4]) -> Tensor {
        conv2d(&x.constant_pad_nd(padding), &self.weight, Some(&self.bias), Geometry::default())
    }

    /// The result for the only position of a patch: `[batch, outputs]`.
    fn of_patch(&self, patch: &Tensor) -> Tensor {
        patch.flatten(1, -1).linear(&self.weight.flatten(1, -1), Some(&self.bias))
    }
}

impl GatedMaskedConv2d {
    /// `inputs` to `outputs` channels in both stacks, with kernels of odd side `kernel`. `condition` is the length of a
    /// vector for each image, such as an embedding of its class (equation 4).
    ///
    /// # Panics
    /// When the side is even or, with [`Mask::A`], below 3, or a layer with [`Mask::B`] changes the number of channels.
    pub fn new(scope: Scope<'_>, [inputs, outputs]: [i64; 2], kernel: i64, mask: Mask, condition: Option<i64>) -> Self {
        let columns = match mask {
            Mask::A => kernel / 2,
            Mask::B => kernel / 2 + 1,
        };
        assert!(kernel % 2 == 1 && columns > 0, "the kernel should have an odd side, found {kernel}");
        assert!(mask == Mask::A || inputs == outputs, "a residual layer from {inputs} to {outputs} channels");
        let to_gates = |name: &str, width| Linear::new(&scope / name, width, 2 * outputs);
        GatedMaskedConv2d {
            vertical: Filter::new(&scope / "vertical", [2 * outputs, inputs, kernel / 2 + 1, kernel]),
            horizontal: Filter::new(&scope / "horizontal", [2 * outputs, inputs, 1, columns]),
            link: Filter::new(&scope / "link", [2 * outputs, 2 * outputs, 1, 1]),
            out: Filter::new(&scope / "out", [outputs, outputs, 1, 1]),
            condition: condition
                .map(|width| [to_gates("vertical_condition", width), to_gates("horizontal_condition", width)]),
            mask,
            kernel,
        }
    }

    /// The vertical and the horizontal inputs, `[batch, inputs, height, width]`, to the vertical and the horizontal
    /// outputs, `[batch, outputs, height, width]`. The first layer gets the image as both. `condition: [batch,
    /// condition]`.
    ///
    /// # Panics
    /// When a shape does not fit, or the condition is there and the layer has none, or the reverse.
    pub fn forward(&self, vertical: &Tensor, horizontal: &Tensor, condition: Option<&Tensor>) -> [Tensor; 2] {
        let [of_vertical, of_horizontal] = self.conditions(condition).map(|c| c.map(|c| c.unsqueeze(-1).unsqueeze(-1)));
        let middle = self.kernel / 2;
        let sums = self.vertical.forward(vertical, [middle, middle, middle, 0]);
        let height = sums.size()[2];
        let above = sums.constant_pad_nd([0, 0, 1, 0]).narrow(2, 0, height);
        let mut row = self.horizontal_sums(horizontal) + self.link.forward(&above, [0; 4]);
        let mut sums = sums;
        if let (Some(v), Some(h)) = (of_vertical, of_horizontal) {
            sums += v;
            row += h;
        }
        let out = self.out.forward(&gate(&row), [0; 4]);
        let out = if self.mask == Mask::B { horizontal + out } else { out };
        [gate(&sums), out]
    }

    fn horizontal_sums(&self, x: &Tensor) -> Tensor {
        let (middle, width) = (self.kernel / 2, x.size()[3]);
        match self.mask {
            Mask::B => self.horizontal.forward(x, [middle, 0, 0, 0]),
            // The pixel itself is beyond the kernel, and so is the result of the last position.
            Mask::A => self.horizontal.forward(x, [middle, 0, 0, 0]).narrow(3, 0, width),
        }
    }

    fn conditions(&self, condition: Option<&Tensor>) -> [Option<Tensor>; 2] {
        match (&self.condition, condition) {
            (None, None) => [None, None],
            (Some(layers), Some(condition)) => layers.each_ref().map(|layer| Some(layer.forward(condition))),
            (Some(_), None) => panic!("the layer needs its condition"),
            (None, Some(_)) => panic!("the layer has no condition"),
        }
    }

    /// The rows that a sampler needs of images of this width, under this condition.
    ///
    /// # Panics
    /// As [`GatedMaskedConv2d::forward`] for the condition.
    pub fn cache(&self, batch: i64, width: i64, condition: Option<&Tensor>) -> GatedRowCache {
        let _no_grad = tch::no_grad_guard();
        let (middle, weight) = (self.kernel / 2, &self.vertical.weight);
        let [outputs, inputs] = [weight.size()[0], weight.size()[1]];
        let options = (weight.kind(), weight.device());
        // The row above the first one is zeros, of which the link sees its bias.
        let link = self.link.forward(&Tensor::zeros([batch, outputs, 1, width], options), [0; 4]);
        GatedRowCache {
            vertical: RowCache::new(weight, [batch, inputs, middle + 1, width], middle),
            horizontal: RowCache::new(weight, [batch, inputs, 1, width], middle),
            link,
            conditions: self.conditions(condition),
        }
    }

    /// The horizontal output of one pixel of the current row, `[batch, outputs]`. With [`Mask::B`] the horizontal input
    /// of the pixel has been written before, by [`GatedRowCache::write`]; with [`Mask::A`] it may come after. Without a
    /// gradient.
    pub fn at(&self, cache: &GatedRowCache, column: i64) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let columns = self.horizontal.weight.size()[3];
        let patch = cache.horizontal.around(column, columns);
        let mut sums = self.horizontal.of_patch(&patch) + cache.link.select(2, 0).select(2, column);
        if let Some(condition) = &cache.conditions[1] {
            sums += condition;
        }
        let out = self.out.of_patch(&gate(&sums));
        match self.mask {
            Mask::A => out,
            Mask::B => out + cache.horizontal.around(column + self.kernel / 2, 1).flatten(1, -1),
        }
    }

    /// Ends a row, whose vertical input is `[batch, inputs, 1, width]`, and returns its vertical output, `[batch,
    /// outputs, 1, width]`: the input of the layer above. Without a gradient.
    ///
    /// # Panics
    /// When `vertical` has another shape.
    pub fn end_row(&self, cache: &mut GatedRowCache, vertical: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let rows = &cache.vertical.rows;
        let (last, width) = (rows.size()[2] - 1, vertical.size()[3]);
        rows.narrow(2, last, 1).narrow(3, cache.vertical.margin, width).copy_(vertical);
        let mut sums = self.vertical.forward(rows, [0; 4]);
        cache.link = self.link.forward(&sums, [0; 4]);
        cache.vertical.next_row();
        cache.horizontal.next_row();
        if let Some(condition) = &cache.conditions[0] {
            sums += condition.unsqueeze(-1).unsqueeze(-1);
        }
        gate(&sums)
    }
}

/// The state of a [`GatedMaskedConv2d`] between two pixels of a sampler.
#[derive(Debug)]
pub struct GatedRowCache {
    vertical: RowCache,
    horizontal: RowCache,
    /// The part of the horizontal sums that comes from the rows above: `[batch, 2 outputs, 1, width]`.
    link: Tensor,
    conditions: [Option<Tensor>; 2],
}

impl GatedRowCache {
    /// Sets the horizontal input of a pixel of the current row to `x: [batch, inputs]`.
    ///
    /// # Panics
    /// When `x` or the column does not fit.
    pub fn write(&mut self, x: &Tensor, column: i64) {
        self.horizontal.write(x, column);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::checks::{Golden, assert_derivatives, doubles, leaf, leaves};
    use crate::testing::assert_close;

    fn pixel(x: &Tensor, row: i64, column: i64) -> Tensor {
        x.select(3, column).select(2, row)
    }

    #[test]
    fn masked_weights_are_those_of_pytorch() {
        let cases = [("masked a", Mask::A, [3, 6], 3), ("masked b", Mask::B, [6, 3], 3)];
        for (case, mask, channels, colours) in cases {
            let (golden, params) = (Golden::of(case), doubles());
            let layer = MaskedConv2d::new(params.root(), channels, 3, mask, colours);
            golden.load(&params);
            golden.check("y", &layer.forward(&golden.get("x")));
        }
    }

    /// Every colour of every pixel sees exactly the ones before it, through two layers.
    #[test]
    fn a_colour_sees_those_before_it() {
        let params = doubles();
        let first = MaskedConv2d::new(&params.root() / "0", [3, 6], 3, Mask::A, 3);
        let second = MaskedConv2d::new(&params.root() / "1", [6, 3], 7, Mask::B, 3);
        let x = leaf(1, &[1, 3, 3, 3]);
        let y = second.forward(&first.forward(&x).tanh()).permute([0, 2, 3, 1]).reshape([-1]);
        for to in 0..27 {
            let gradient = Tensor::run_backward(&[y.get(to)], &[&x], true, false).remove(0);
            let gradient = gradient.permute([0, 2, 3, 1]).reshape([-1]);
            for from in 0..27 {
                let sees = gradient.double_value(&[from]).abs() > 1e-12;
                assert!(from < to || !sees, "{to} sees {from}");
                // With the first kernel, of 3 by 3 pixels, a blind spot remains at the right.
                assert!(sees || from >= to || (from / 3) % 3 > (to / 3) % 3, "{to} does not see {from}");
            }
        }
    }

    #[test]
    fn cached_rows_give_the_whole_map() {
        let params = doubles();
        let first = MaskedConv2d::new(&params.root() / "0", [3, 6], 5, Mask::A, 3);
        let second = MaskedConv2d::new(&params.root() / "1", [6, 9], 3, Mask::B, 3);
        let x = leaf(1, &[2, 3, 4, 5]);
        let whole = second.forward(&first.forward(&x).relu());
        let (mut image, mut hidden) = (first.cache(2, 5), second.cache(2, 5));
        for row in 0..4 {
            for column in 0..5 {
                // Colour by colour, as a sampler draws them.
                for colour in 0..3 {
                    hidden.write(&first.at(&image, column).relu(), column);
                    let found = second.at(&hidden, column).narrow(1, 3 * colour, 3);
                    let expected = pixel(&whole, row, column).narrow(1, 3 * colour, 3);
                    assert_close(&found, &expected, 1e-9, 1e-9);
                    let known = Tensor::zeros_like(&pixel(&x, row, column).detach());
                    known.narrow(1, 0, colour + 1).copy_(&pixel(&x, row, column).narrow(1, 0, colour + 1).detach());
                    image.write(&known, column);
                }
            }
            image.next_row();
            hidden.next_row();
        }
    }

    #[test]
    fn gated_layers_are_those_of_pytorch() {
        for (case, mask, inputs) in [("gated a", Mask::A, 1), ("gated b", Mask::B, 3)] {
            let (golden, params) = (Golden::of(case), doubles());
            let layer = GatedMaskedConv2d::new(params.root(), [inputs, 3], 5, mask, Some(2));
            golden.load(&params);
            let [v, h, condition] = ["vertical in", "horizontal in", "condition"].map(|name| golden.get(name));
            let [v, h] = layer.forward(&v, &h, Some(&condition));
            golden.check("vertical out", &v);
            golden.check("horizontal out", &h);
        }
    }

    fn gated_stack(params: &crate::params::Params, condition: Option<i64>) -> [GatedMaskedConv2d; 3] {
        let layer = |i, inputs, mask| GatedMaskedConv2d::new(&params.root() / i, [inputs, 4], 3, mask, condition);
        [layer(0, 1, Mask::A), layer(1, 4, Mask::B), layer(2, 4, Mask::B)]
    }

    /// Three layers reach all pixels of 3 by 3.
    #[test]
    fn gated_layers_see_all_pixels_before() {
        let params = doubles();
        let x = leaf(1, &[1, 1, 3, 3]);
        let [mut v, mut h] = [x.shallow_clone(), x.shallow_clone()];
        for layer in gated_stack(&params, None) {
            [v, h] = layer.forward(&v, &h, None);
        }
        let y = h.sum_dim_intlist([1].as_slice(), false, Kind::Double).reshape([-1]);
        for to in 0..9 {
            let gradient = Tensor::run_backward(&[y.get(to)], &[&x], true, false).remove(0).reshape([-1]);
            for from in 0..9 {
                let sees = gradient.double_value(&[from]).abs() > 1e-12;
                assert_eq!(sees, from < to, "{to} of {from}");
            }
        }
    }

    #[test]
    fn gated_rows_give_the_whole_map() {
        let params = doubles();
        let layers = gated_stack(&params, Some(2));
        let (x, condition) = (leaf(1, &[2, 1, 4, 5]).detach(), leaf(2, &[2, 2]));
        let [mut v, mut h] = [x.shallow_clone(), x.shallow_clone()];
        for layer in &layers {
            [v, h] = layer.forward(&v, &h, Some(&condition));
        }
        let mut caches = layers.each_ref().map(|layer| layer.cache(2, 5, Some(&condition)));
        for row in 0..4 {
            for column in 0..5 {
                let mut below = layers[0].at(&caches[0], column);
                for (layer, cache) in layers.iter().zip(&mut caches).skip(1) {
                    cache.write(&below, column);
                    below = layer.at(cache, column);
                }
                assert_close(&below, &pixel(&h, row, column), 1e-9, 1e-9);
                caches[0].write(&pixel(&x, row, column), column);
            }
            let mut below = x.narrow(2, row, 1);
            for (layer, cache) in layers.iter().zip(&mut caches) {
                below = layer.end_row(cache, &below);
            }
            assert_close(&below, &v.narrow(2, row, 1), 1e-9, 1e-9);
        }
    }

    #[test]
    fn gradients_have_gradients() {
        let (params, x) = (doubles(), leaf(1, &[1, 2, 3, 3]));
        let layer = MaskedConv2d::new(params.root(), [2, 2], 3, Mask::B, 2);
        assert_derivatives(&leaves(&x, &params), || layer.forward(&x));
        let (params, condition) = (doubles(), leaf(2, &[1, 2]));
        let layer = GatedMaskedConv2d::new(params.root(), [2, 2], 3, Mask::B, Some(2));
        assert_derivatives(&leaves(&x, &params), || {
            let [v, h] = layer.forward(&x, &x, Some(&condition));
            Tensor::cat(&[v, h], 1)
        });
    }

    #[test]
    #[should_panic(expected = "needs its condition")]
    fn a_condition_is_never_left_out() {
        let layer = GatedMaskedConv2d::new(doubles().root(), [2, 2], 3, Mask::B, Some(2));
        let x = leaf(1, &[1, 2, 3, 3]);
        let _ = layer.forward(&x, &x, None);
    }
}
