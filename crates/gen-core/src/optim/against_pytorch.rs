//! Every kind of optimizer beside PyTorch's own, over 100 steps with a falling learning rate.
//!
//! PyTorch 2.13 gave the numbers:
//!
//! ```text
//! import torch
//! from torch.optim import SGD, Adam, AdamW, Adamax, RMSprop
//!
//! torch.set_default_dtype(torch.float64)
//!
//! def trajectory(kind, clip=None, **options):
//!     a = torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
//!     b = torch.tensor([0.3, -1.5], requires_grad=True)
//!     optimizer = kind([a, b], **options)
//!     rate = options["lr"]
//!     values = []
//!     for step in range(100):
//!         optimizer.param_groups[0]["lr"] = rate * (1 - step / 200)
//!         optimizer.zero_grad()
//!         fit = (a @ torch.tensor([1.0, -0.5]) - b).square().sum()
//!         (fit + a.cosh().log().sum() + (3 * b - 1).cos().sum()).backward()
//!         if clip:
//!             torch.nn.utils.clip_grad_norm_([a, b], clip)
//!         optimizer.step()
//!         if step in (0, 9, 99):
//!             values.append([*a.flatten().tolist(), *b.tolist()])
//!     return values
//!
//! for kind, options in [
//!     (Adam, dict(lr=0.02)),
//!     (Adam, dict(lr=0.02, betas=(0.5, 0.9), eps=1e-4, weight_decay=0.1)),
//!     (AdamW, dict(lr=0.02, betas=(0.5, 0.9), weight_decay=0.1)),
//!     (Adamax, dict(lr=0.03)),
//!     (Adamax, dict(lr=0.03, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1, clip=1.0)),
//!     (RMSprop, dict(lr=0.01)),
//!     (RMSprop, dict(lr=0.01, alpha=0.9, eps=1e-4, weight_decay=0.1)),
//!     (RMSprop, dict(lr=0.01, centered=True)),
//!     (RMSprop, dict(lr=0.002, centered=True, momentum=0.9, weight_decay=0.1)),
//!     (RMSprop, dict(lr=0.002, momentum=0.9, clip=1.0)),
//!     (SGD, dict(lr=0.02)),
//!     (SGD, dict(lr=0.005, momentum=0.9, weight_decay=0.1)),
//!     (SGD, dict(lr=0.005, momentum=0.9, nesterov=True)),
//!     (SGD, dict(lr=0.01, momentum=0.5, nesterov=True, weight_decay=0.1, clip=1.0)),
//! ]:
//!     print(kind.__name__, options)
//!     for values in trajectory(kind, **options):
//!         print("[" + ", ".join(f"{v:.12f}" for v in values) + "],")
//! ```

use tch::{Device, Kind, Tensor};

use super::rules::{Adam, AdamW, Adamax, RmsProp, Sgd};
use super::{Optimizer, OptimizerConfig};
use crate::params::{Init, Params};
use crate::testing::assert_close;

/// The parameters after 1, 10 and 100 steps.
fn trajectory(config: OptimizerConfig, kind: Kind) -> Vec<Tensor> {
    let params = Params::new(kind, Device::Cpu);
    let [a, b] = [("a", 4), ("b", 2)].map(|(name, size)| params.root().parameter(name, &[size], Init::ZEROS));
    tch::no_grad(|| {
        a.shallow_clone().copy_(&Tensor::from_slice(&[1.0, -2.0, 0.5, 3.0]));
        b.shallow_clone().copy_(&Tensor::from_slice(&[0.3, -1.5]));
    });
    let slopes = Tensor::from_slice(&[1.0, -0.5]).to_kind(kind);
    let mut optimizer = Optimizer::new(&params, config).unwrap();
    let mut found = Vec::new();
    for step in 0..100 {
        let fit = (a.view([2, 2]).matmul(&slopes) - &b).square().sum(kind);
        let loss = fit + a.cosh().log().sum(kind) + (&b * 3.0 - 1.0).cos().sum(kind);
        let _ = optimizer.step(&loss, 1.0 - f64::from(step) / 200.0).unwrap();
        if [0, 9, 99].contains(&step) {
            found.push(Tensor::cat(&[&a, &b], 0).detach().copy());
        }
    }
    found
}

fn check(config: OptimizerConfig, expected: [[f64; 6]; 3]) {
    // The numbers have 12 digits after the point.
    for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 5e-6)] {
        for (found, expected) in trajectory(config, kind).iter().zip(&expected) {
            assert_close(found, &Tensor::from_slice(expected), 0.0, tolerance);
        }
    }
}

#[test]
fn adam() {
    let config = Adam { learning_rate: 0.02.into(), ..Adam::default() };
    check(
        config.into(),
        [
            [0.980000000048, -1.980000000075, 0.480000000137, 2.980000000404, 0.319999999935, -1.480000000064],
            [0.806503425300, -1.805893157594, 0.309493971333, 2.802196727307, 0.496764136152, -1.303829095340],
            [0.417847320073, -1.009838708864, 0.049082285322, 1.419892163063, 1.304839907482, -0.705101031394],
        ],
    );
}

#[test]
fn adam_with_weight_decay() {
    let config = Adam {
        learning_rate: 0.02.into(),
        beta1: 0.5.into(),
        beta2: 0.9.into(),
        epsilon: 1e-4,
        weight_decay: 0.1.into(),
        ..Adam::default()
    };
    check(
        config.into(),
        [
            [0.980000469297, -1.980000698293, 0.480001322561, 2.980002515234, 0.319999348661, -1.480000612235],
            [0.811286588814, -1.809178096116, 0.319611139781, 2.798016299655, 0.500660338428, -1.302236933168],
            [0.609322637470, -0.730587690274, 0.017804550307, 1.468216045469, 1.294397188685, -0.708159000518],
        ],
    );
}

#[test]
fn adamw() {
    let config = AdamW {
        learning_rate: 0.02.into(),
        beta1: 0.5.into(),
        beta2: 0.9.into(),
        weight_decay: 0.1.into(),
        ..AdamW::default()
    };
    check(
        config.into(),
        [
            [0.978000000048, -1.976000000075, 0.479000000137, 2.974000000404, 0.319399999935, -1.477000000064],
            [0.794125300582, -1.772631584202, 0.312281857241, 2.737823955116, 0.492466179246, -1.274288588038],
            [0.669744316499, -0.600822708672, -0.084590091141, 1.149875959117, 1.300563992323, -0.703761793915],
        ],
    );
}

#[test]
fn adamax() {
    let config = Adamax { learning_rate: 0.03.into(), ..Adamax::default() };
    check(
        config.into(),
        [
            [0.970000000072, -1.970000000113, 0.470000000205, 2.970000000606, 0.329999999903, -1.470000000096],
            [0.733842306006, -1.726407593135, 0.261029887871, 2.737421656174, 0.577933977796, -1.212385662628],
            [0.442184852854, -1.005296069990, 0.010859704607, 1.099602817019, 1.303291611975, -0.687137087002],
        ],
    );
}

#[test]
fn adamax_with_weight_decay_and_clipping() {
    let config = Adamax {
        learning_rate: 0.03.into(),
        beta1: 0.8.into(),
        beta2: 0.99.into(),
        epsilon: 1e-4,
        weight_decay: 0.1.into(),
        clip_norm: Some(1.0),
        ..Adamax::default()
    };
    check(
        config.into(),
        [
            [0.970004208399, -1.970005064523, 0.470011304348, 2.970008043053, 0.329992968028, -1.470004926136],
            [0.721597244465, -1.710518961685, 0.252999413144, 2.711565948327, 0.578376158303, -1.210451470333],
            [0.755868340760, -0.341395044073, -0.167736858956, 0.821739288261, 1.285206214533, -0.683740600412],
        ],
    );
}

#[test]
fn rmsprop() {
    let config = RmsProp { learning_rate: 0.01.into(), ..RmsProp::default() };
    check(
        config.into(),
        [
            [0.900000002403, -1.900000003754, 0.400000006839, 2.900000020200, 0.399999996775, -1.400000003209],
            [0.585438761708, -1.557993999019, 0.179682232393, 2.435048940419, 0.830992048540, -1.017032101082],
            [0.512407799216, -0.919047086250, -0.030517301021, 1.270121259359, 1.302832714034, -0.707972504027],
        ],
    );
}

#[test]
fn rmsprop_with_weight_decay() {
    let config = RmsProp {
        learning_rate: 0.01.into(),
        alpha: 0.9.into(),
        epsilon: 1e-4,
        weight_decay: 0.1.into(),
        ..RmsProp::default()
    };
    check(
        config.into(),
        [
            [0.968379569764, -1.968380714599, 0.468383835260, 2.968389796148, 0.331619520138, -1.468380284369],
            [0.836916597620, -1.834766512919, 0.344910332895, 2.822882596032, 0.475924197607, -1.327165982281],
            [0.343924601204, -1.232693740094, 0.193419494966, 2.128919688426, 1.120064742032, -0.765795117742],
        ],
    );
}

#[test]
fn centred_rmsprop() {
    let config = RmsProp { learning_rate: 0.01.into(), centered: true, ..RmsProp::default() };
    check(
        config.into(),
        [
            [0.899496220901, -1.899496222266, 0.399496225383, 2.899496238878, 0.400503778268, -1.399496221715],
            [0.579063380711, -1.549833378897, 0.177856910812, 2.421800418738, 0.842794434847, -1.007998833336],
            [0.536704323291, -0.838987832681, -0.103719119117, 1.014033982798, 1.302628731672, -0.698527428637],
        ],
    );
}

#[test]
fn centred_rmsprop_with_momentum_and_weight_decay() {
    let config = RmsProp {
        learning_rate: 0.002.into(),
        centered: true,
        momentum: 0.9.into(),
        weight_decay: 0.1.into(),
        ..RmsProp::default()
    };
    check(
        config.into(),
        [
            [0.979899244169, -1.979899244400, 0.479899245031, 2.979899246236, 0.320100755647, -1.479899244313],
            [0.562479493357, -1.551198429118, 0.105803147249, 2.495284650400, 0.795642622706, -1.024153594005],
            [0.638270567411, -0.506939519227, -0.341448697093, 0.251929392409, 1.282142568163, -0.662939726163],
        ],
    );
}

#[test]
fn rmsprop_with_momentum_and_clipping() {
    let config =
        RmsProp { learning_rate: 0.002.into(), momentum: 0.9.into(), clip_norm: Some(1.0), ..RmsProp::default() };
    check(
        config.into(),
        [
            [0.980000003264, -1.980000005099, 0.480000009290, 2.980000027438, 0.319999995619, -1.480000004358],
            [0.563163848407, -1.552715101117, 0.106711525927, 2.480489625104, 0.794388200394, -1.024381088406],
            [0.807800319474, -0.337581524230, -0.398593032667, 0.172384784952, 1.306045177305, -0.671698496752],
        ],
    );
}

#[test]
fn sgd() {
    let config = Sgd { learning_rate: 0.02.into(), ..Sgd::default() };
    check(
        config.into(),
        [
            [0.916768116881, -1.946719448398, 0.470757656855, 2.990098904926, 0.362009995001, -1.437667580466],
            [0.491288770518, -1.619958222350, 0.360108544229, 2.837381535070, 1.043660685458, -0.929275426699],
            [0.553202356668, -0.863706723539, 0.127117047884, 1.512388276162, 1.309013882427, -0.701060291881],
        ],
    );
}

#[test]
fn sgd_with_momentum_and_weight_decay() {
    let config = Sgd { learning_rate: 0.005.into(), momentum: 0.9.into(), weight_decay: 0.1.into(), ..Sgd::default() };
    check(
        config.into(),
        [
            [0.978692029220, -1.985679862100, 0.492439414214, 2.996024726232, 0.315352498750, -1.483666895116],
            [0.310827878288, -1.501722413480, 0.279961725167, 2.804384184038, 0.988069277772, -0.838501378640],
            [0.748495266416, -0.348938747362, -0.340379104919, 0.242407952035, 1.279534888455, -0.663520654537],
        ],
    );
}

#[test]
fn sgd_with_nesterovs_momentum() {
    let config = Sgd { learning_rate: 0.005.into(), momentum: 0.9.into(), nesterov: true, ..Sgd::default() };
    check(
        config.into(),
        [
            [0.960464855518, -1.974691737989, 0.486109887006, 2.995296979840, 0.329454747626, -1.470392100721],
            [0.299894998863, -1.505058569540, 0.291573776696, 2.829419607654, 1.118254592646, -0.805134726994],
            [0.766003486635, -0.401602946131, -0.293810658034, 0.382082461255, 1.303930486793, -0.672425659073],
        ],
    );
}

#[test]
fn sgd_with_everything() {
    let config = Sgd {
        learning_rate: 0.01.into(),
        momentum: 0.5.into(),
        nesterov: true,
        weight_decay: 0.1.into(),
        clip_norm: Some(1.0),
        ..Sgd::default()
    };
    check(
        config.into(),
        [
            [0.989308597377, -1.991116160978, 0.496020730886, 2.994406609489, 0.306397842550, -1.490866551699],
            [0.873924806400, -1.893078891785, 0.453988382276, 2.929691397901, 0.381935113747, -1.382184622527],
            [0.386961933743, -1.270470168389, 0.299145673142, 2.272531539056, 1.221275558578, -0.749643227828],
        ],
    );
}
