//! ggml's tensor types.

use crate::model::checkpoint::StoredType;

/// Every type a GGUF file can hold, by its number: values and bytes of a block.
///
/// Numbers from `enum ggml_type` (llama.cpp, `ggml/include/ggml.h`), sizes from `type_traits` (`ggml/src/ggml.c`), that is
/// from the structs of `ggml/src/ggml-common.h`; `gguf-py/gguf/constants.py` (`GGML_QUANT_SIZES`) has the same table, but
/// for `Q8_1`, whose scale and sum have been half precision for long. Numbers left out (4, 5, 31-33, 36-38) were removed
/// from the format.
const TYPES: &[(u32, StoredType)] = &[
    (0, StoredType::new("F32", 1, 4)),
    (1, StoredType::new("F16", 1, 2)),
    (2, StoredType::new("Q4_0", 32, 2 + 16)),
    (3, StoredType::new("Q4_1", 32, 2 + 2 + 16)),
    (6, StoredType::new("Q5_0", 32, 2 + 4 + 16)),
    (7, StoredType::new("Q5_1", 32, 2 + 2 + 4 + 16)),
    (8, StoredType::new("Q8_0", 32, 2 + 32)),
    (9, StoredType::new("Q8_1", 32, 2 + 2 + 32)),
    (10, StoredType::new("Q2_K", 256, 2 + 2 + 256 / 16 + 256 / 4)),
    (11, StoredType::new("Q3_K", 256, 2 + 256 / 4 + 256 / 8 + 12)),
    (12, StoredType::new("Q4_K", 256, 2 + 2 + 256 / 2 + 12)),
    (13, StoredType::new("Q5_K", 256, 2 + 2 + 256 / 2 + 256 / 8 + 12)),
    (14, StoredType::new("Q6_K", 256, 2 + 256 / 2 + 256 / 4 + 256 / 16)),
    (15, StoredType::new("Q8_K", 256, 4 + 256 + 2 * (256 / 16))),
    (16, StoredType::new("IQ2_XXS", 256, 2 + 256 / 4)),
    (17, StoredType::new("IQ2_XS", 256, 2 + 256 / 4 + 256 / 32)),
    (18, StoredType::new("IQ3_XXS", 256, 2 + 256 / 4 + 256 / 8)),
    (19, StoredType::new("IQ1_S", 256, 2 + 256 / 8 + 256 / 16)),
    (20, StoredType::new("IQ4_NL", 32, 2 + 16)),
    (21, StoredType::new("IQ3_S", 256, 2 + 256 / 4 + 256 / 8 + 256 / 32 + 4)),
    (22, StoredType::new("IQ2_S", 256, 2 + 256 / 4 + 256 / 16)),
    (23, StoredType::new("IQ4_XS", 256, 2 + 2 + 256 / 2 + 256 / 64)),
    (24, StoredType::new("I8", 1, 1)),
    (25, StoredType::new("I16", 1, 2)),
    (26, StoredType::new("I32", 1, 4)),
    (27, StoredType::new("I64", 1, 8)),
    (28, StoredType::new("F64", 1, 8)),
    (29, StoredType::new("IQ1_M", 256, 256 / 8 + 256 / 16 + 256 / 32)),
    (30, StoredType::new("BF16", 1, 2)),
    (34, StoredType::new("TQ1_0", 256, 2 + 256 / 64 + (256 - 4 * 256 / 64) / 5)),
    (35, StoredType::new("TQ2_0", 256, 2 + 256 / 4)),
    (39, StoredType::new("MXFP4", 32, 1 + 16)),
    (40, StoredType::new("NVFP4", 64, 4 + 32)),
    (41, StoredType::new("Q1_0", 128, 2 + 16)),
];

/// The type of this number.
pub(super) fn stored_type(number: u32) -> Option<StoredType> {
    let index = TYPES.binary_search_by_key(&number, |(number, _)| *number).ok()?;
    TYPES.get(index).map(|(_, stored)| *stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits a weight, as llama.cpp's own list of file types says them (`tools/quantize/README.md`, `ggml-common.h`).
    #[test]
    fn bits_per_weight_are_the_published_ones() {
        for (name, bits) in [
            ("Q4_0", 4.5),
            ("Q5_1", 6.0),
            ("Q8_0", 8.5),
            ("Q2_K", 2.625),
            ("Q3_K", 3.4375),
            ("Q4_K", 4.5),
            ("Q5_K", 5.5),
            ("Q6_K", 6.5625),
            ("IQ1_S", 1.5625),
            ("IQ1_M", 1.75),
            ("IQ2_XXS", 2.0625),
            ("IQ2_XS", 2.3125),
            ("IQ2_S", 2.5625),
            ("IQ3_XXS", 3.0625),
            ("IQ3_S", 3.4375),
            ("IQ4_NL", 4.5),
            ("IQ4_XS", 4.25),
            ("TQ1_0", 1.6875),
            ("TQ2_0", 2.0625),
            ("MXFP4", 4.25),
            ("NVFP4", 4.5),
        ] {
            let found = TYPES.iter().map(|(_, stored)| stored).find(|stored| stored.name == name);
            let stored = found.unwrap_or_else(|| panic!("{name} is missing"));
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let actual = (8 * stored.block_bytes) as f64 / stored.block_values as f64;
            assert!((actual - bits).abs() < 1e-9, "{name}: {actual}");
        }
    }

    #[test]
    fn the_numbers_rise() {
        assert!(TYPES.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}
