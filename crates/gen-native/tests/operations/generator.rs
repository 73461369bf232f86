//! A private generator gives PyTorch's numbers, whatever other code draws.

use gen_native::Generator;
use tch::{Device, Kind, Tensor};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

/// Draws from every distribution, in sizes that need libtorch's loops and their remainders.
fn draws(rng: &Generator) -> Vec<Tensor> {
    let x = Tensor::zeros([7, 5], DOUBLE);
    vec![
        rng.randn([3], FLOAT),
        rng.randn([37, 3], FLOAT),
        rng.rand([5], FLOAT),
        rng.randn_like(&x),
        rng.rand_like(&x),
        rng.randint(-3, 12, [20], (Kind::Int64, Device::Cpu)),
        rng.bernoulli_like(&x, 0.3),
        rng.randperm(11),
        rng.dropout(&x.ones_like(), 0.25),
        rng.randn([1], DOUBLE),
    ]
}

fn shared_draws() -> Vec<Tensor> {
    let x = Tensor::zeros([7, 5], DOUBLE);
    vec![
        Tensor::randn([3], FLOAT),
        Tensor::randn([37, 3], FLOAT),
        Tensor::rand([5], FLOAT),
        x.randn_like(),
        x.rand_like(),
        Tensor::randint_low(-3, 12, [20], (Kind::Int64, Device::Cpu)),
        x.bernoulli_p(0.3),
        Tensor::randperm(11, (Kind::Int64, Device::Cpu)),
        x.ones_like().dropout(0.25, true),
        Tensor::randn([1], DOUBLE),
    ]
}

#[test]
fn the_numbers_are_those_of_manual_seed() {
    for seed in [0, 1, -5, i64::MAX] {
        tch::manual_seed(seed);
        let expected = shared_draws();
        assert_eq!(draws(&Generator::seeded(seed)), expected);
        tch::manual_seed(seed);
        assert_eq!(draws(&Generator::shared()), expected);
    }
}

#[test]
fn generators_do_not_see_each_other() {
    let alone = draws(&Generator::seeded(3));
    let (a, b) = (Generator::seeded(3), Generator::seeded(4));
    let _ = (draws(&b), shared_draws());
    tch::manual_seed(9);
    let shared = Tensor::rand([4], FLOAT);
    tch::manual_seed(9);
    assert_eq!(draws(&a), alone);
    assert_eq!(Tensor::rand([4], FLOAT), shared, "nor does the shared one see them");
}

#[test]
fn a_state_is_a_place_in_the_stream() {
    let rng = Generator::seeded(5);
    let _ = draws(&rng);
    let state = rng.state().unwrap();
    assert_eq!(state.kind(), Kind::Uint8);
    let next = draws(&rng);
    assert_ne!(draws(&rng), next);
    rng.set_state(&state).unwrap();
    assert_eq!(draws(&rng), next);
    rng.set_state(&state).unwrap();
    let copy = rng.clone();
    assert_eq!(
        (draws(&copy), draws(&rng)),
        (next.iter().map(Tensor::copy).collect(), next.iter().map(Tensor::copy).collect())
    );
    let other = Generator::seeded(6);
    other.set_state(&state).unwrap();
    assert_eq!(draws(&other), next);
    assert!(rng.set_state(&Tensor::zeros([3], (Kind::Uint8, Device::Cpu))).is_err());
    assert!(Generator::shared().state().is_err() && Generator::shared().set_state(&state).is_err());
}

#[test]
fn a_state_may_lie_anywhere_and_says_nothing_that_is_beyond_it() {
    let rng = Generator::seeded(5);
    let _ = draws(&rng);
    let state = rng.state().unwrap();
    let next = draws(&rng);
    let bytes = (Kind::Uint8, Device::Cpu);
    let mut apart = Tensor::zeros([2 * state.numel() as i64], bytes).slice(0, 1, i64::MAX, 2);
    apart.copy_(&state);
    rng.set_state(&apart).unwrap();
    assert_eq!(draws(&rng), next);
    rng.set_state(&state).unwrap();
    assert!(rng.set_state(&Tensor::internal_efficientzerotensor(state.size(), bytes)).is_err());
    // More numbers left than the block has.
    let mut beyond = Vec::<u8>::try_from(&state).unwrap();
    beyond[8..12].copy_from_slice(&624_i32.to_le_bytes());
    beyond[16..24].copy_from_slice(&624_u64.to_le_bytes());
    assert!(rng.set_state(&Tensor::from_slice(&beyond)).is_err());
    assert_eq!(draws(&rng), next, "what is refused changes nothing");
}

#[test]
fn gradients_pass_through_dropout() {
    let x = Tensor::ones([100], DOUBLE).set_requires_grad(true);
    let y = Generator::seeded(0).dropout(&x, 0.5);
    y.sum(Kind::Double).backward();
    assert_eq!(x.grad(), y.detach());
    assert!(Generator::seeded(0).dropout(&x, 1.0).abs().max().double_value(&[]) == 0.0);
}
