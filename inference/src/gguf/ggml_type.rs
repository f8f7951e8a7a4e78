//! The tensor types of ggml, all of them by id, and which of them this engine can compute with.
//!
//! A file may hold a tensor of a type unknown to us; that is an error only when the tensor is used.
//! Source: ggml's `ggml.h` (`enum ggml_type`) and `ggml-common.h` (block sizes).

use candle_core::quantized::GgmlDType;

/// A ggml tensor type as it is stored in a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GgmlType(pub u32);

/// One row of [`TYPES`]: id, name, weights in a block, bytes of a block (0 where the type was removed from ggml).
struct TypeRow(u32, &'static str, usize, usize);

#[rustfmt::skip]
const TYPES: &[TypeRow] = &[
    TypeRow(0, "F32", 1, 4),            TypeRow(1, "F16", 1, 2),            TypeRow(2, "Q4_0", 32, 18),
    TypeRow(3, "Q4_1", 32, 20),         TypeRow(4, "Q4_2", 32, 0),          TypeRow(5, "Q4_3", 32, 0),
    TypeRow(6, "Q5_0", 32, 22),         TypeRow(7, "Q5_1", 32, 24),         TypeRow(8, "Q8_0", 32, 34),
    TypeRow(9, "Q8_1", 32, 36),         TypeRow(10, "Q2_K", 256, 84),       TypeRow(11, "Q3_K", 256, 110),
    TypeRow(12, "Q4_K", 256, 144),      TypeRow(13, "Q5_K", 256, 176),      TypeRow(14, "Q6_K", 256, 210),
    TypeRow(15, "Q8_K", 256, 292),      TypeRow(16, "IQ2_XXS", 256, 66),    TypeRow(17, "IQ2_XS", 256, 74),
    TypeRow(18, "IQ3_XXS", 256, 98),    TypeRow(19, "IQ1_S", 256, 50),      TypeRow(20, "IQ4_NL", 32, 18),
    TypeRow(21, "IQ3_S", 256, 110),     TypeRow(22, "IQ2_S", 256, 82),      TypeRow(23, "IQ4_XS", 256, 136),
    TypeRow(24, "I8", 1, 1),            TypeRow(25, "I16", 1, 2),           TypeRow(26, "I32", 1, 4),
    TypeRow(27, "I64", 1, 8),           TypeRow(28, "F64", 1, 8),           TypeRow(29, "IQ1_M", 256, 56),
    TypeRow(30, "BF16", 1, 2),          TypeRow(31, "Q4_0_4_4", 32, 0),     TypeRow(32, "Q4_0_4_8", 32, 0),
    TypeRow(33, "Q4_0_8_8", 32, 0),     TypeRow(34, "TQ1_0", 256, 54),      TypeRow(35, "TQ2_0", 256, 66),
    TypeRow(36, "IQ4_NL_4_4", 32, 0),   TypeRow(37, "IQ4_NL_4_8", 32, 0),   TypeRow(38, "IQ4_NL_8_8", 32, 0),
    TypeRow(39, "MXFP4", 32, 17),       TypeRow(40, "NVFP4", 64, 36),
];

impl GgmlType {
    pub const F32: Self = Self(0);
    pub const F16: Self = Self(1);
    pub const Q4_0: Self = Self(2);
    pub const Q4_1: Self = Self(3);
    pub const Q5_0: Self = Self(6);
    pub const Q5_1: Self = Self(7);
    pub const Q8_0: Self = Self(8);
    pub const Q2_K: Self = Self(10);
    pub const Q3_K: Self = Self(11);
    pub const Q4_K: Self = Self(12);
    pub const Q5_K: Self = Self(13);
    pub const Q6_K: Self = Self(14);
    pub const IQ4_NL: Self = Self(20);
    pub const IQ4_XS: Self = Self(23);
    pub const BF16: Self = Self(30);
    pub const MXFP4: Self = Self(39);

    /// The types whose weights this engine knows the values of ([`super::dequantize`]) and can compute with.
    pub const SUPPORTED: [Self; 16] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::IQ4_NL,
        Self::IQ4_XS,
        Self::MXFP4,
    ];

    /// Returns the name ggml gives the type, or `type {id}` for an id nobody has defined yet.
    pub fn name(self) -> String {
        match self.row() {
            Some(row) => row.1.to_owned(),
            None => format!("type {}", self.0),
        }
    }

    /// Returns `(weights, bytes)` of one block, or `None` for unknown and removed types.
    pub fn block(self) -> Option<(usize, usize)> {
        self.row().filter(|row| row.3 > 0).map(|row| (row.2, row.3))
    }

    /// Returns the bytes of `weights` weights, or `None` for unknown types and numbers that are not whole blocks.
    pub fn bytes_of(self, weights: usize) -> Option<usize> {
        let (block_weights, block_bytes) = self.block()?;
        if weights.is_multiple_of(block_weights) {
            (weights / block_weights).checked_mul(block_bytes)
        } else {
            None
        }
    }

    /// Whether weights are stored in rounded blocks rather than as floats.
    pub fn is_quantized(self) -> bool {
        self.block().is_some_and(|(weights, _)| weights > 1)
    }

    /// Returns the candle type that computes with this type, if there is one.
    pub fn candle(self) -> Option<GgmlDType> {
        Some(match self.0 {
            0 => GgmlDType::F32,
            1 => GgmlDType::F16,
            2 => GgmlDType::Q4_0,
            3 => GgmlDType::Q4_1,
            6 => GgmlDType::Q5_0,
            7 => GgmlDType::Q5_1,
            8 => GgmlDType::Q8_0,
            10 => GgmlDType::Q2K,
            11 => GgmlDType::Q3K,
            12 => GgmlDType::Q4K,
            13 => GgmlDType::Q5K,
            14 => GgmlDType::Q6K,
            30 => GgmlDType::BF16,
            _ => return None,
        })
    }

    fn row(self) -> Option<&'static TypeRow> {
        TYPES.iter().find(|row| row.0 == self.0)
    }
}

impl std::fmt::Display for GgmlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_agree_with_candle_for_every_type_it_knows() {
        for row in TYPES {
            let ggml_type = GgmlType(row.0);
            if let Some(candle) = ggml_type.candle() {
                assert_eq!(
                    ggml_type.block(),
                    Some((candle.block_size(), candle.type_size())),
                    "{ggml_type}"
                );
                assert!(GgmlType::SUPPORTED.contains(&ggml_type), "{ggml_type}");
            }
        }
    }

    #[test]
    fn bytes_are_those_of_whole_blocks() {
        assert_eq!(GgmlType::Q4_K.bytes_of(512), Some(288));
        assert_eq!(GgmlType::Q4_K.bytes_of(500), None);
        assert_eq!(GgmlType(4).bytes_of(32), None);
        assert!(GgmlType::Q8_0.is_quantized() && !GgmlType::BF16.is_quantized());
    }

    #[test]
    fn ids_are_dense_and_an_undefined_id_still_has_a_name() {
        for (index, row) in TYPES.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
        }
        assert_eq!(GgmlType(999).name(), "type 999");
        assert_eq!(GgmlType(999).block(), None);
    }
}
