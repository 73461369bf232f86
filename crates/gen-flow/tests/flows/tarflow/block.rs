//! A block by its definition.

use gen_core::params::Params;
use gen_core::testing::assert_close;
use gen_flow::bijection::Bijection;
use gen_flow::tarflow::{BlockSize, Direction, TransformerBlock};
use gen_flow::{Given, Guidance, Weaker};
use tch::{Device, Kind, Tensor};

const F64: (Kind, Device) = (Kind::Double, Device::Cpu);
const SIZE: BlockSize = BlockSize { length: 5, values: 2, context: 3, layers: 2, width: 8, heads: 2 };

/// A block whose parameters are all random: an untrained one is the identity.
fn block(direction: Direction) -> TransformerBlock {
    tch::set_num_threads(1);
    tch::manual_seed(1);
    let params = Params::new(Kind::Double, Device::Cpu);
    let block = TransformerBlock::new(params.root(), SIZE, direction);
    let _no_grad = tch::no_grad_guard();
    for (_, parameter) in params.trainable() {
        parameter.shallow_clone().copy_(&(Tensor::randn(parameter.size(), F64) * 0.4));
    }
    block
}

/// `[rows, length, values]` and `[rows, context]`.
fn input(rows: i64) -> [Tensor; 2] {
    [Tensor::randn([rows, SIZE.length, SIZE.values], F64), Tensor::randn([rows, SIZE.context], F64)]
}

/// The positions in the order in which the block goes through them.
fn order(direction: Direction) -> Vec<i64> {
    let ascending = 0..SIZE.length;
    match direction {
        Direction::Ascending => ascending.collect(),
        Direction::Descending => ascending.rev().collect(),
    }
}

#[test]
fn a_position_depends_on_itself_and_those_before() {
    for direction in [Direction::Ascending, Direction::Descending] {
        let block = block(direction);
        let [x, context] = input(1);
        let order = order(direction);
        type Map<'a> = &'a dyn Fn(&Tensor) -> Tensor;
        let forward: Map<'_> = &|x| block.forward(x, Given::context(&context)).0;
        let inverse: Map<'_> = &|x| block.inverse(x, Given::context(&context)).0;
        for map in [forward, inverse] {
            let x = x.copy().set_requires_grad(true);
            let y = map(&x);
            for (to, &at) in order.iter().enumerate() {
                let sum = y.select(1, at).sum(Kind::Double);
                let gradient = Tensor::run_backward(&[sum], &[&x], true, false).remove(0);
                for (from, &other) in order.iter().enumerate() {
                    let depends = gradient.select(1, other).abs().max().double_value(&[]) > 1e-12;
                    let expected = if to == 0 { from == 0 } else { from <= to };
                    assert_eq!(depends, expected, "{direction:?}, {to} of {from}");
                }
            }
            // The position that comes first stays as it is.
            assert_eq!(y.select(1, order[0]), x.select(1, order[0]));
        }
    }
}

/// (α, μ) at position `at` of a sequence that is right before it, from whole passes: z = (x - μ) exp(-α) at x = 0 and
/// x = 1.
fn affine(block: &TransformerBlock, x: &Tensor, at: i64, context: &Tensor) -> [Tensor; 2] {
    let through = |value: f64| {
        let x = x.copy();
        let _ = x.select(1, at).fill_(value);
        block.forward(&x, Given::context(context)).0.select(1, at)
    };
    let (zero, one) = (through(0.0), through(1.0));
    let slope = one - &zero;
    let shift = -zero / &slope;
    [-slope.log(), shift]
}

#[test]
fn sampling_with_a_cache_is_the_definition() {
    for direction in [Direction::Ascending, Direction::Descending] {
        let block = block(direction);
        let [z, context] = input(3);
        let x = z.copy();
        for &at in &order(direction)[1..] {
            let [log_scale, shift] = affine(&block, &x, at, &context);
            x.select(1, at).copy_(&(z.select(1, at) * log_scale.exp() + shift));
        }
        assert_close(&block.inverse(&z, Given::context(&context)).0, &x, 1e-9, 1e-9);
    }
}

#[test]
fn guidance_leads_away_from_the_weaker_prediction() {
    for direction in [Direction::Ascending, Direction::Descending] {
        let block = block(direction);
        let [z, context] = input(3);
        let nothing = context.zeros_like();
        let x = z.copy();
        for (i, &at) in order(direction).iter().enumerate().skip(1) {
            let weight = 1.5 * i as f64 / (SIZE.length - 1) as f64;
            let with = affine(&block, &x, at, &context);
            let without = affine(&block, &x, at, &nothing);
            let [log_scale, shift] = [0, 1].map(|i| &with[i] + (&with[i] - &without[i]) * weight);
            x.select(1, at).copy_(&(z.select(1, at) * log_scale.exp() + shift));
        }
        let guidance = Guidance { weight: 1.5, weaker: Weaker::WithoutContext };
        let given = Given { guidance: Some(&guidance), ..Given::context(&context) };
        assert_close(&block.inverse(&z, given).0, &x, 1e-9, 1e-9);
    }
}

#[test]
fn no_guidance_is_guidance_of_weight_zero_or_away_from_the_same() {
    let block = block(Direction::Descending);
    let [z, context] = input(3);
    let plain = block.inverse(&z, Given::context(&context));
    let guided = |weight: f64, weaker: Weaker| {
        let guidance = Guidance { weight, weaker };
        block.inverse(&z, Given { guidance: Some(&guidance), ..Given::context(&context) })
    };
    for (weight, weaker) in
        [(0.0, Weaker::WithoutContext), (0.0, Weaker::Temperature(2.0)), (3.0, Weaker::Temperature(1.0))]
    {
        let (x, log_det) = guided(weight, weaker);
        assert_close(&x, &plain.0, 1e-9, 1e-9);
        assert_close(&log_det, &plain.1, 1e-9, 1e-9);
    }
    let blurred = guided(1.0, Weaker::Temperature(2.0)).0;
    assert!(!blurred.allclose(&plain.0, 1e-3, 1e-3, false));
}
