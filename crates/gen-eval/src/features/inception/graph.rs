//! The graph: torchvision's Inception v3 with the changes of pytorch-fid, which make it TensorFlow's of 2015-12-05.
//!
//! Average pools exclude the padding, and the last block has a max pool in place of the average pool of the block
//! before. Names and widths are those of the published weights.

use super::layers::{Block, Branch, Conv, Step, Window};
use super::weights::Weights;
use gen_core::Result;

/// All blocks in sequence: `[n, 3, 299, 299]` to `[n, 2048, 8, 8]`.
pub(super) fn blocks(weights: &mut Weights<'_>) -> Result<Vec<Block>> {
    let mut build = Builder(weights);
    Ok(vec![
        build.stem()?,
        build.a("Mixed_5b", 192, 32)?,
        build.a("Mixed_5c", 256, 64)?,
        build.a("Mixed_5d", 288, 64)?,
        build.b("Mixed_6a", 288)?,
        build.c("Mixed_6b", 768, 128)?,
        build.c("Mixed_6c", 768, 160)?,
        build.c("Mixed_6d", 768, 160)?,
        build.c("Mixed_6e", 768, 192)?,
        build.d("Mixed_7a", 768)?,
        build.e("Mixed_7b", 1280, Step::AveragePool)?,
        build.e("Mixed_7c", 2048, Step::MaxPool)?,
    ])
}

const ROW_3: Window = Window::same(1, 3);
const COLUMN_3: Window = Window::same(3, 1);
const ROW_7: Window = Window::same(1, 7);
const COLUMN_7: Window = Window::same(7, 1);
const SQUARE_3: Window = Window::same(3, 3);
const SQUARE_5: Window = Window::same(5, 5);

struct Builder<'a, 'w>(&'a mut Weights<'w>);

impl Builder<'_, '_> {
    /// Convolutions in sequence, each with its name, width and window.
    fn chain(&mut self, block: &str, mut inputs: i64, convs: &[(&str, i64, Window)]) -> Result<Branch> {
        let mut steps = Vec::with_capacity(convs.len() + 1);
        for (name, outputs, window) in convs {
            let name = if block.is_empty() { (*name).to_owned() } else { format!("{block}.{name}") };
            steps.push(Step::Conv(Conv::new(self.0, &name, inputs, *outputs, *window)?));
            inputs = *outputs;
        }
        Ok(steps)
    }

    /// A pool and a 1x1 convolution.
    fn pooled(&mut self, block: &str, pool: Step, inputs: i64, outputs: i64) -> Result<Branch> {
        let mut steps = vec![pool];
        steps.extend(self.chain(block, inputs, &[("branch_pool", outputs, Window::POINT)])?);
        Ok(steps)
    }

    fn stem(&mut self) -> Result<Block> {
        let mut steps = self.chain(
            "",
            3,
            &[
                ("Conv2d_1a_3x3", 32, Window::HALVING),
                ("Conv2d_2a_3x3", 32, Window::INNER),
                ("Conv2d_2b_3x3", 64, SQUARE_3),
            ],
        )?;
        steps.push(Step::HalvingMaxPool);
        let rest = [("Conv2d_3b_1x1", 80, Window::POINT), ("Conv2d_4a_3x3", 192, Window::INNER)];
        steps.extend(self.chain("", 64, &rest)?);
        steps.push(Step::HalvingMaxPool);
        Ok(Block(vec![steps]))
    }

    fn a(&mut self, name: &str, inputs: i64, pool: i64) -> Result<Block> {
        Ok(Block(vec![
            self.chain(name, inputs, &[("branch1x1", 64, Window::POINT)])?,
            self.chain(name, inputs, &[("branch5x5_1", 48, Window::POINT), ("branch5x5_2", 64, SQUARE_5)])?,
            self.chain(
                name,
                inputs,
                &[
                    ("branch3x3dbl_1", 64, Window::POINT),
                    ("branch3x3dbl_2", 96, SQUARE_3),
                    ("branch3x3dbl_3", 96, SQUARE_3),
                ],
            )?,
            self.pooled(name, Step::AveragePool, inputs, pool)?,
        ]))
    }

    fn b(&mut self, name: &str, inputs: i64) -> Result<Block> {
        Ok(Block(vec![
            self.chain(name, inputs, &[("branch3x3", 384, Window::HALVING)])?,
            self.chain(
                name,
                inputs,
                &[
                    ("branch3x3dbl_1", 64, Window::POINT),
                    ("branch3x3dbl_2", 96, SQUARE_3),
                    ("branch3x3dbl_3", 96, Window::HALVING),
                ],
            )?,
            vec![Step::HalvingMaxPool],
        ]))
    }

    fn c(&mut self, name: &str, inputs: i64, middle: i64) -> Result<Block> {
        Ok(Block(vec![
            self.chain(name, inputs, &[("branch1x1", 192, Window::POINT)])?,
            self.chain(
                name,
                inputs,
                &[
                    ("branch7x7_1", middle, Window::POINT),
                    ("branch7x7_2", middle, ROW_7),
                    ("branch7x7_3", 192, COLUMN_7),
                ],
            )?,
            self.chain(
                name,
                inputs,
                &[
                    ("branch7x7dbl_1", middle, Window::POINT),
                    ("branch7x7dbl_2", middle, COLUMN_7),
                    ("branch7x7dbl_3", middle, ROW_7),
                    ("branch7x7dbl_4", middle, COLUMN_7),
                    ("branch7x7dbl_5", 192, ROW_7),
                ],
            )?,
            self.pooled(name, Step::AveragePool, inputs, 192)?,
        ]))
    }

    fn d(&mut self, name: &str, inputs: i64) -> Result<Block> {
        Ok(Block(vec![
            self.chain(name, inputs, &[("branch3x3_1", 192, Window::POINT), ("branch3x3_2", 320, Window::HALVING)])?,
            self.chain(
                name,
                inputs,
                &[
                    ("branch7x7x3_1", 192, Window::POINT),
                    ("branch7x7x3_2", 192, ROW_7),
                    ("branch7x7x3_3", 192, COLUMN_7),
                    ("branch7x7x3_4", 192, Window::HALVING),
                ],
            )?,
            vec![Step::HalvingMaxPool],
        ]))
    }

    fn e(&mut self, name: &str, inputs: i64, pool: Step) -> Result<Block> {
        let mut single = self.chain(name, inputs, &[("branch3x3_1", 384, Window::POINT)])?;
        single.push(self.fork(name, ["branch3x3_2a", "branch3x3_2b"])?);
        let double = [("branch3x3dbl_1", 448, Window::POINT), ("branch3x3dbl_2", 384, SQUARE_3)];
        let mut double = self.chain(name, inputs, &double)?;
        double.push(self.fork(name, ["branch3x3dbl_3a", "branch3x3dbl_3b"])?);
        Ok(Block(vec![
            self.chain(name, inputs, &[("branch1x1", 320, Window::POINT)])?,
            single,
            double,
            self.pooled(name, pool, inputs, 192)?,
        ]))
    }

    /// A 1x3 and a 3x1 convolution, concatenated, from 384 channels to 384 each.
    fn fork(&mut self, block: &str, [row, column]: [&str; 2]) -> Result<Step> {
        let mut conv = |name, window| Conv::new(self.0, &format!("{block}.{name}"), 384, 384, window);
        Ok(Step::Fork(conv(row, ROW_3)?, conv(column, COLUMN_3)?))
    }
}
