use tch::{Kind, Tensor};

/// Bytes to `f32` in [-1, 1]: `byte / 127.5 - 1`. 0 becomes -1, 255 becomes 1.
pub fn bytes_to_signed(bytes: &Tensor) -> Tensor {
    bytes.to_kind(Kind::Float) / 127.5 - 1.0
}

/// [-1, 1] to bytes, rounded to the nearest; values outside the range are clamped.
pub fn signed_to_bytes(x: &Tensor) -> Tensor {
    ((x.to_kind(Kind::Float) + 1.0) * 127.5).round().clamp(0.0, 255.0).to_kind(Kind::Uint8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_span_minus_one_to_one() {
        let x = Tensor::from_slice(&[0u8, 255]);
        let signed = bytes_to_signed(&x);
        assert_eq!(Vec::<f32>::try_from(&signed).unwrap(), [-1.0, 1.0]);
        assert_eq!(signed_to_bytes(&signed), x);
    }
}
