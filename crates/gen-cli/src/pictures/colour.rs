//! Colours that people tell apart.

use image::Rgb;

/// Of classes; the first ten are told apart with the common kinds of colour blindness as well as ten colours can be.
const CLASSES: [[u8; 3]; 10] = [
    [68, 119, 170],
    [238, 102, 119],
    [34, 136, 51],
    [204, 187, 68],
    [102, 204, 238],
    [170, 51, 119],
    [120, 120, 120],
    [238, 119, 51],
    [30, 30, 80],
    [140, 86, 75],
];

/// The colour of a class; above ten they come again.
pub(crate) fn of_class(class: usize) -> Rgb<u8> {
    Rgb(CLASSES[class % CLASSES.len()])
}

/// Colours of the map "viridis" (van der Walt & Smith 2015) at equal distances, from 0 to 1.
const VIRIDIS: [[u8; 3]; 10] = [
    [68, 1, 84],
    [72, 40, 120],
    [62, 73, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [110, 206, 88],
    [181, 222, 43],
    [253, 231, 37],
];

/// A colour for a number from 0 to 1, as bright to the eye as the number is large. What is not a number is white.
pub(crate) fn of_value(value: f64) -> Rgb<u8> {
    if value.is_nan() {
        return Rgb([255; 3]);
    }
    let place = value.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let below = (place as usize).min(VIRIDIS.len() - 2);
    let part = place - below as f64;
    let mix = |i: usize| {
        let (a, b) = (f64::from(VIRIDIS[below][i]), f64::from(VIRIDIS[below + 1][i]));
        (a + part * (b - a)).round() as u8
    };
    Rgb([mix(0), mix(1), mix(2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_values_are_brighter() {
        let brightness = |value: f64| {
            let Rgb([r, g, b]) = of_value(value);
            0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b)
        };
        let all: Vec<f64> = (-1..=101).map(|i| brightness(f64::from(i) / 100.0)).collect();
        assert!(all.is_sorted(), "{all:?}");
        assert_eq!((of_value(-3.0), of_value(7.0)), (Rgb(VIRIDIS[0]), Rgb(VIRIDIS[9])));
        assert_eq!(of_value(f64::NAN), Rgb([255; 3]));
    }
}
