//! Convolutions, beside libtorch's in double precision.

use gen_native::{
    Direction, Instructions, Operands, batch_innermost, conv_stack, conv2d, has_bfloat16, is_batch_innermost,
    prefers_batch_innermost, use_instructions,
};
use tch::{Device, Kind, Tensor};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// A convolution of random tensors.
struct Case {
    batch: i64,
    inputs: i64,
    outputs: i64,
    side: [i64; 2],
    kernel: [i64; 2],
    stride: i64,
    padding: i64,
    direction: Direction,
    bias: bool,
    operands: Operands,
}

impl Case {
    fn tensors(&self) -> (Tensor, Tensor, Option<Tensor>) {
        let [height, width] = self.side;
        let channels = match self.direction {
            Direction::Down => [self.outputs, self.inputs],
            Direction::Up => [self.inputs, self.outputs],
        };
        let [kernel_height, kernel_width] = self.kernel;
        (
            Tensor::randn([self.batch, self.inputs, height, width], FLOAT),
            Tensor::randn([channels[0], channels[1], kernel_height, kernel_width], FLOAT),
            self.bias.then(|| Tensor::randn([self.outputs], FLOAT)),
        )
    }

    fn libtorch(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        match self.direction {
            Direction::Down => x.conv2d(weight, bias, self.stride, self.padding, 1, 1),
            Direction::Up => x.conv_transpose2d(weight, bias, self.stride, self.padding, 0, 1, 1),
        }
    }

    fn ours(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        conv2d(x, weight, bias, self.stride, self.padding, self.direction, self.operands).unwrap()
    }

    /// Output and gradients, ours beside those of libtorch in double precision.
    #[track_caller]
    fn check(&self, tolerance: f64) {
        let (x, weight, bias) = self.tensors();
        let run = |kind: Kind, conv: &dyn Fn(&Tensor, &Tensor, Option<&Tensor>) -> Tensor| {
            let leaf = |t: &Tensor| t.to_kind(kind).copy().set_requires_grad(true);
            let (x, weight, bias) = (leaf(&x), leaf(&weight), bias.as_ref().map(leaf));
            let y = conv(&x, &weight, bias.as_ref());
            let mut inputs = vec![&x, &weight];
            inputs.extend(&bias);
            with_gradients(&y, &inputs)
        };
        let ours = run(Kind::Float, &|x, w, b| self.ours(x, w, b));
        let theirs = run(Kind::Double, &|x, w, b| self.libtorch(x, w, b));
        assert!(is_batch_innermost(&ours[0]) || !prefers_batch_innermost(&x), "{:?}", ours[0].stride());
        assert_alike(&ours, &theirs, tolerance);
    }
}

/// `y`, and the gradients of a loss that weighs its values differently.
fn with_gradients(y: &Tensor, inputs: &[&Tensor]) -> Vec<Tensor> {
    let slope = (Tensor::arange(y.numel() as i64, (Kind::Double, Device::Cpu)) * 0.37).sin() + 1.0;
    let loss = (y * slope.view(&y.size()[..]).to_kind(y.kind())).sum(y.kind());
    let mut results = vec![y.detach()];
    results.extend(Tensor::run_backward(&[loss], inputs, false, false));
    results
}

/// Asserts that no value differs by more than this part of the largest one.
#[track_caller]
fn assert_alike(ours: &[Tensor], theirs: &[Tensor], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(a.size(), b.size());
        let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
        let scale = b.abs().max().double_value(&[]).max(1e-30);
        let difference = (a - b).abs().max().double_value(&[]) / scale;
        assert!(difference < tolerance, "result {i} differs by {difference} of {scale}");
    }
}

const DOWN: Case = Case {
    batch: 33,
    inputs: 3,
    outputs: 13,
    side: [7, 6],
    kernel: [3, 3],
    stride: 1,
    padding: 1,
    direction: Direction::Down,
    bias: true,
    operands: Operands::Exact,
};

fn cases() -> Vec<Case> {
    use Direction::Up;
    vec![
        DOWN,
        Case { batch: 32, stride: 2, ..DOWN },
        Case { batch: 64, outputs: 4, kernel: [4, 4], stride: 2, ..DOWN },
        Case { batch: 70, inputs: 9, outputs: 1, kernel: [1, 1], padding: 0, bias: false, ..DOWN },
        Case { batch: 16, inputs: 1, outputs: 20, kernel: [2, 3], stride: 3, padding: 2, ..DOWN },
        Case { batch: 17, inputs: 8, outputs: 2, side: [1, 1], kernel: [3, 3], ..DOWN },
        Case { batch: 40, inputs: 7, outputs: 5, side: [1, 9], kernel: [1, 5], padding: 0, ..DOWN },
        Case { batch: 19, inputs: 2, outputs: 3, side: [12, 11], kernel: [9, 10], padding: 3, ..DOWN },
        // Many channels on both sides, also with a batch that is processed in slices.
        Case { batch: 70, inputs: 9, outputs: 21, ..DOWN },
        Case { batch: 300, inputs: 17, outputs: 70, side: [3, 4], kernel: [1, 1], padding: 0, ..DOWN },
        Case { batch: 37, inputs: 40, outputs: 16, kernel: [4, 4], stride: 2, ..DOWN },
        Case {
            batch: 129,
            inputs: 20,
            outputs: 16,
            side: [5, 7],
            kernel: [2, 3],
            stride: 3,
            padding: 2,
            direction: Up,
            ..DOWN
        },
        Case { batch: 64, inputs: 16, outputs: 33, kernel: [4, 4], stride: 2, direction: Up, ..DOWN },
        Case { direction: Up, ..DOWN },
        Case { batch: 128, inputs: 6, outputs: 8, kernel: [4, 4], stride: 2, direction: Up, ..DOWN },
        Case {
            batch: 50,
            inputs: 14,
            outputs: 1,
            side: [3, 4],
            kernel: [2, 2],
            stride: 2,
            padding: 0,
            direction: Up,
            ..DOWN
        },
        Case {
            batch: 21,
            inputs: 4,
            outputs: 7,
            side: [1, 1],
            kernel: [5, 3],
            padding: 0,
            bias: false,
            direction: Up,
            ..DOWN
        },
    ]
}

/// One test for all instructions, since the choice is for the whole process.
#[test]
fn convolutions_and_their_gradients_are_those_of_libtorch() {
    tch::manual_seed(3);
    for which in [Instructions::Avx512, Instructions::Avx2, Instructions::Best] {
        if !use_instructions(which).unwrap() {
            continue;
        }
        for case in cases() {
            case.check(1e-5);
        }
        stacks_are_convolutions_with_relu_between(Operands::Exact, Kind::Double, &by_libtorch, 2e-5);
    }
    if has_bfloat16() {
        for case in cases() {
            Case { operands: Operands::Rounded, ..case }.check(2e-2);
        }
        // If rounding moves a unit across 0, its whole gradient changes, so the reference needs the same rounding.
        let rounded = |x: &Tensor, weight: &Tensor, bias: &Tensor, padding| {
            conv2d(x, weight, Some(bias), 1, padding, Direction::Down, Operands::Rounded).unwrap()
        };
        stacks_are_convolutions_with_relu_between(Operands::Rounded, Kind::Float, &rounded, 1e-6);
        // Numbers of eight bits and their products are exact.
        let x = Tensor::randint(255, [32, 5, 4, 4], FLOAT) - 127.0;
        let weight = Tensor::randint(15, [6, 5, 3, 3], FLOAT) - 7.0;
        let exact = conv2d(&x, &weight, None, 1, 1, Direction::Down, Operands::Rounded).unwrap();
        assert_eq!(exact, x.conv2d(&weight, None::<&Tensor>, 1, 1, 1, 1));
        let nan = conv2d(&(&x * f64::NAN), &weight, None, 1, 1, Direction::Down, Operands::Rounded).unwrap();
        assert!(bool::try_from(nan.isnan().all()).unwrap());
    }
    a_batch_too_small_is_left_to_libtorch();
    gradients_of_gradients_are_those_of_libtorch();
    gradients_of_gradients_of_stacks_are_those_of_libtorch();
    nan_stays_nan_in_a_stack();
    channels_of_a_wider_map_are_read_in_place();
    weights_may_lie_in_any_way();
    wrong_shapes_are_errors();
}

/// A feature map, and the weights and biases of a stack.
fn stack(batch: i64, channels: &[i64], sides: &[i64]) -> (Tensor, Vec<Tensor>) {
    let mut layers = Vec::new();
    for (pair, &side) in channels.windows(2).zip(sides) {
        let scale = ((pair[0] * side * side) as f64).sqrt();
        layers.push(Tensor::randn([pair[1], pair[0], side, side], FLOAT) / scale);
        layers.push(Tensor::randn([pair[1]], FLOAT));
    }
    (Tensor::randn([batch, channels[0], 6, 5], FLOAT), layers)
}

type Layer = dyn Fn(&Tensor, &Tensor, &Tensor, i64) -> Tensor;

fn by_libtorch(x: &Tensor, weight: &Tensor, bias: &Tensor, padding: i64) -> Tensor {
    x.conv2d(weight, Some(bias), 1, padding, 1, 1)
}

fn one_by_one(x: &Tensor, layers: &[&Tensor], layer: &Layer) -> Tensor {
    let conv = |h: &Tensor, of: &[&Tensor]| layer(h, of[0], of[1], of[0].size()[2] / 2);
    layers[2..].chunks(2).fold(conv(x, &layers[..2]), |h, of| conv(&h.relu(), of))
}

#[track_caller]
fn stacks_are_convolutions_with_relu_between(operands: Operands, kind: Kind, layer: &Layer, tolerance: f64) {
    let stacks: [(i64, &[i64], &[i64]); 5] = [
        (33, &[3, 20, 17, 5], &[3, 1, 3]),
        (50, &[3, 7, 8, 5, 2], &[1, 5, 3, 3]),
        (64, &[2, 64, 64, 4], &[3, 1, 3]),
        (20, &[4, 9], &[5]),
        (3, &[2, 8, 8], &[3, 3]),
    ];
    for (batch, channels, sides) in stacks {
        let (x, layers) = stack(batch, channels, sides);
        let run = |kind: Kind, through: &dyn Fn(&Tensor, &[&Tensor]) -> Tensor| {
            let leaf = |t: &Tensor| t.to_kind(kind).copy().set_requires_grad(true);
            let inputs: Vec<Tensor> = std::iter::once(&x).chain(&layers).map(leaf).collect();
            let inputs: Vec<&Tensor> = inputs.iter().collect();
            with_gradients(&through(inputs[0], &inputs[1..]), &inputs)
        };
        let ours = run(Kind::Float, &|x, layers| conv_stack(x, layers, operands).unwrap());
        let theirs = run(kind, &|x, layers| one_by_one(x, layers, layer));
        assert_alike(&ours, &theirs, tolerance);
        // Without gradients, hidden maps are not stored, and the result is the same. One thread never has too few
        // images for that.
        let threads = tch::get_num_threads();
        tch::set_num_threads(1);
        let list: Vec<&Tensor> = layers.iter().collect();
        assert_eq!(conv_stack(&x, &list, operands).unwrap(), ours[0], "{channels:?} without gradients");
        tch::set_num_threads(threads);
        // libtorch computes it in double precision.
        let double = run(Kind::Double, &|x, layers| conv_stack(x, layers, operands).unwrap());
        let theirs = run(Kind::Double, &|x, layers| one_by_one(x, layers, &by_libtorch));
        assert!(double.iter().zip(&theirs).all(|(a, b)| a.allclose(b, 1e-12, 1e-12, false)));
    }
}

fn gradients_of_gradients_of_stacks_are_those_of_libtorch() {
    let (x, layers) = stack(33, &[3, 8, 9], &[3, 1]);
    let penalty = |through: &dyn Fn(&Tensor, &[&Tensor]) -> Tensor| {
        let leaves: Vec<Tensor> =
            std::iter::once(&x).chain(&layers).map(|t| t.copy().set_requires_grad(true)).collect();
        let leaves: Vec<&Tensor> = leaves.iter().collect();
        let y = through(leaves[0], &leaves[1..]).tanh().sum(Kind::Float);
        let slope = Tensor::run_backward(&[y], &[leaves[0]], true, true).remove(0);
        Tensor::run_backward(&[slope.square().sum(Kind::Float)], &[leaves[1], leaves[3]], false, false)
    };
    let ours = penalty(&|x, layers| conv_stack(x, layers, Operands::Exact).unwrap());
    for (a, b) in ours.iter().zip(penalty(&|x, layers| one_by_one(x, layers, &by_libtorch))) {
        assert!(a.allclose(&b, 1e-4, 1e-3, false));
    }
}

fn nan_stays_nan_in_a_stack() {
    let (x, layers) = stack(16, &[3, 8, 9], &[3, 1]);
    let layers: Vec<&Tensor> = layers.iter().collect();
    let y = conv_stack(&(x * f64::NAN), &layers, Operands::Exact).unwrap();
    assert!(bool::try_from(y.isnan().all()).unwrap());
}

fn a_batch_too_small_is_left_to_libtorch() {
    let case = Case { batch: 3, ..DOWN };
    let (x, weight, bias) = case.tensors();
    assert_eq!(case.ours(&x, &weight, bias.as_ref()), case.libtorch(&x, &weight, bias.as_ref()));
    let double = |t: &Tensor| t.to_kind(Kind::Double);
    let (x, weight, bias) = DOWN.tensors();
    let (x, weight, bias) = (double(&x), double(&weight), bias.as_ref().map(double));
    assert_eq!(DOWN.ours(&x, &weight, bias.as_ref()), DOWN.libtorch(&x, &weight, bias.as_ref()));
}

fn gradients_of_gradients_are_those_of_libtorch() {
    let (x, weight, bias) = DOWN.tensors();
    let penalty = |conv: &dyn Fn(&Tensor, &Tensor, Option<&Tensor>) -> Tensor| {
        let x = x.copy().set_requires_grad(true);
        let weight = weight.copy().set_requires_grad(true);
        let y = conv(&x, &weight, bias.as_ref()).tanh();
        let slope = Tensor::run_backward(&[y.sum(Kind::Float)], &[&x], true, true).remove(0);
        let loss = slope.square().sum(Kind::Float);
        Tensor::run_backward(&[loss], &[&weight], false, false).remove(0)
    };
    let (ours, theirs) = (penalty(&|x, w, b| DOWN.ours(x, w, b)), penalty(&|x, w, b| DOWN.libtorch(x, w, b)));
    assert!(ours.allclose(&theirs, 1e-4, 1e-3, false));
}

fn channels_of_a_wider_map_are_read_in_place() {
    let (x, weight, bias) = DOWN.tensors();
    let wide = batch_innermost(&Tensor::cat(&[&x.neg(), &x, &x.neg()], 1)).unwrap();
    let some = wide.narrow(1, 3, 3);
    assert!(!is_batch_innermost(&some) && is_batch_innermost(&wide));
    assert_eq!(DOWN.ours(&some, &weight, bias.as_ref()), DOWN.ours(&x, &weight, bias.as_ref()));
}

fn weights_may_lie_in_any_way() {
    let case = Case { batch: 17, inputs: 4, outputs: 6, bias: false, ..DOWN };
    let (x, weight, _) = case.tensors();
    let one = weight.narrow(1, 0, 1);
    let weights = [
        one.expand([6, 4, 3, 3], false),
        weight.narrow(0, 0, 1).expand([6, 4, 3, 3], false),
        weight.narrow(2, 0, 1).narrow(3, 0, 1).expand([6, 4, 3, 3], false),
        weight.permute([2, 3, 1, 0]).contiguous().permute([3, 2, 0, 1]),
        weight.transpose(2, 3).contiguous().transpose(2, 3),
        Tensor::cat(&[&weight, &weight], 3).slice(3, 0, 6, 2),
        Tensor::randn([40], FLOAT).as_strided([6, 4, 3, 3], [1, 2, 3, 1], 1),
    ];
    for weight in weights {
        let run = |kind: Kind, conv: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            let x = x.to_kind(kind).copy().set_requires_grad(true);
            let weight = if kind == Kind::Float { weight.detach() } else { weight.to_kind(kind).copy() };
            let weight = weight.set_requires_grad(true);
            with_gradients(&conv(&x, &weight), &[&x, &weight])
        };
        let ours = run(Kind::Float, &|x, w| case.ours(x, w, None));
        assert_alike(&ours, &run(Kind::Double, &|x, w| case.libtorch(x, w, None)), 1e-5);
    }
}

fn wrong_shapes_are_errors() {
    let (x, weight, _) = DOWN.tensors();
    let message = |x: &Tensor, weight: &Tensor, stride, padding| {
        conv2d(x, weight, None, stride, padding, Direction::Down, Operands::Exact).unwrap_err().to_string()
    };
    // libtorch has its own messages.
    let [three, two, size] = match prefers_batch_innermost(&x) {
        true => ["3 input channels", "2 input channels", "does not fit"],
        false => ["to have 3 channels", "to have 2 channels", "greater than actual input size"],
    };
    assert!(message(&x.narrow(1, 0, 2), &weight, 1, 1).contains(three));
    assert!(message(&x.narrow(2, 0, 2), &weight, 1, 0).contains(size));
    assert!(message(&x, &weight, 0, 1).contains("stride"));
    let message = |layers: &[&Tensor]| conv_stack(&x, layers, Operands::Exact).unwrap_err().to_string();
    let bias = Tensor::zeros([weight.size()[0]], FLOAT);
    assert!(message(&[]).contains("a weight and a bias each"));
    assert!(message(&[&weight.narrow(2, 0, 2).narrow(3, 0, 2), &bias]).contains("odd side"));
    assert!(message(&[&weight.narrow(1, 0, 2), &bias]).contains(two));
}
