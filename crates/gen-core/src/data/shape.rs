use serde::{Deserialize, Serialize};

/// The shape of one element of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Shape {
    /// An image.
    Image {
        /// 1 for grey, 3 for colour.
        channels: i64,
        /// In pixels.
        height: i64,
        /// In pixels.
        width: i64,
    },
    /// A row of a table: a point of a real vector space.
    Points {
        /// The number of columns.
        dimension: i64,
    },
}

impl Shape {
    /// The shape of a tensor of `n` elements.
    pub fn batch(&self, n: i64) -> Vec<i64> {
        match *self {
            Shape::Image { channels, height, width } => vec![n, channels, height, width],
            Shape::Points { dimension } => vec![n, dimension],
        }
    }

    /// The number of values in one element.
    pub fn dimensions(&self) -> i64 {
        self.batch(1).iter().product()
    }

    /// Whether an element is an image.
    pub fn is_image(&self) -> bool {
        matches!(self, Shape::Image { .. })
    }
}
