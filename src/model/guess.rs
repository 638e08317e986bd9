//! A Llama-shaped guess from a bare size such as `7b`.

use serde_json::{Value, json};

use super::{Model, ModelError, from_config};

/// The shape of a model.
struct Shape {
    hidden_size: u64,
    intermediate_size: u64,
    num_hidden_layers: u64,
    num_attention_heads: u64,
    num_key_value_heads: u64,
    vocab_size: u64,
    max_position_embeddings: u64,
    tied: bool,
}

const fn shape(
    [hidden_size, intermediate_size, num_hidden_layers]: [u64; 3],
    [num_attention_heads, num_key_value_heads]: [u64; 2],
    vocab_size: u64,
    max_position_embeddings: u64,
    tied: bool,
) -> Shape {
    Shape {
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        vocab_size,
        max_position_embeddings,
        tied,
    }
}

/// Real models of Llama's shape, by size. Each is also a model card, which says where its numbers come from.
const SHAPES: &[Shape] = &[
    shape([576, 1536, 30], [9, 3], 49_152, 8192, true),    // SmolLM2-135M
    shape([960, 2560, 32], [15, 5], 49_152, 8192, true),   // SmolLM2-360M
    shape([2048, 5632, 22], [32, 4], 32_000, 2048, false), // TinyLlama-1.1B
    shape([2048, 8192, 16], [32, 8], 128_256, 131_072, true), // Llama-3.2-1B
    shape([2048, 8192, 24], [32, 32], 49_152, 8192, true), // SmolLM2-1.7B
    shape([3072, 8192, 28], [24, 8], 128_256, 131_072, true), // Llama-3.2-3B
    shape([4096, 11_008, 32], [32, 32], 32_000, 4096, false), // Llama-2-7B
    shape([4096, 14_336, 32], [32, 8], 128_256, 8192, false), // Llama-3-8B
    shape([4096, 14_336, 48], [32, 8], 32_000, 4096, false), // SOLAR-10.7B
    shape([5120, 13_824, 40], [40, 40], 32_000, 4096, false), // Llama-2-13B
    shape([6656, 17_920, 60], [52, 52], 32_000, 2048, false), // LLaMA-30B
    shape([8192, 22_016, 48], [64, 8], 32_000, 16_384, false), // CodeLlama-34B
    shape([8192, 22_016, 80], [64, 64], 32_000, 2048, false), // LLaMA-65B
    shape([8192, 28_672, 80], [64, 8], 32_000, 4096, false), // Llama-2-70B
    shape([16_384, 53_248, 126], [128, 8], 128_256, 131_072, false), // Llama-3.1-405B
];

const INTERMEDIATE_STEP: u64 = 64;
const WIDEST: u64 = 1 << 17;
const SMALLEST: u64 = 10_000_000;
const LARGEST: u64 = 10_000_000_000_000;

impl Shape {
    fn tables(&self) -> u64 {
        self.vocab_size * self.hidden_size * if self.tied { 1 } else { 2 } + self.hidden_size
    }

    fn layer(&self) -> u64 {
        let heads = 2 * (self.num_attention_heads + self.num_key_value_heads);
        (heads * self.head_dim() + 3 * self.intermediate_size + 2) * self.hidden_size
    }

    fn parameters(&self) -> u64 {
        self.tables() + self.num_hidden_layers * self.layer()
    }

    fn config(&self) -> Value {
        json!({
            "model_type": "llama",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": self.tied,
        })
    }

    fn head_dim(&self) -> u64 {
        self.hidden_size / self.num_attention_heads
    }

    fn group(&self) -> u64 {
        self.num_attention_heads / self.num_key_value_heads
    }

    /// The shapes with this one's heads and proportions at every width, each with as many layers as come closest to
    /// `size`.
    fn scaled(&self, size: u64) -> impl Iterator<Item = Shape> {
        // Whole groups of heads, so that the keys and values keep their share.
        let step = self.head_dim() * self.group();
        (1..=WIDEST / step).filter_map(move |groups| {
            let hidden_size = groups * step;
            let intermediate_size = self.intermediate_size * hidden_size / self.hidden_size;
            let mut scaled = Shape {
                hidden_size,
                intermediate_size: intermediate_size.next_multiple_of(INTERMEDIATE_STEP),
                num_attention_heads: groups * self.group(),
                num_key_value_heads: groups,
                ..*self
            };
            let layer = scaled.layer();
            scaled.num_hidden_layers = (size.checked_sub(scaled.tables())? + layer / 2) / layer;
            (scaled.num_hidden_layers > 0).then_some(scaled)
        })
    }
}

/// The number of parameters a text such as `7b`, `1.5B` or `350m` stands for; `None` if it is not of that form.
fn parse_size(text: &str) -> Option<Result<u64, ModelError>> {
    let text = text.trim();
    let (number, zeros) = match text.as_bytes().last()? {
        b'm' | b'M' => (&text[..text.len() - 1], 6_usize),
        b'b' | b'B' => (&text[..text.len() - 1], 9),
        b't' | b'T' => (&text[..text.len() - 1], 12),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(zeros).collect();
    let size = format!("{whole}{fraction}").parse::<u64>().ok().filter(|size| (SMALLEST..=LARGEST).contains(size));
    Some(size.ok_or_else(|| ModelError::SizeOutOfRange { spec: super::error::one_line(text) }))
}

/// The model a bare size stands for, and its configuration; `None` if `text` is not a size.
pub(super) fn guess(text: &str) -> Option<Result<(Model, Value), ModelError>> {
    let size = match parse_size(text)? {
        Ok(size) => size,
        Err(error) => return Some(Err(error)),
    };
    let config = nearest(size).config();
    Some(from_config(text, &config).map(|model| (model.guessed(), config)))
}

fn nearest(size: u64) -> Shape {
    // In ratio, not in difference: 2b is as far from 1b as from 4b.
    let ratio = |real: &Shape| {
        let (parameters, size) = (u128::from(real.parameters()), u128::from(size));
        1_000_000 * parameters.max(size) / parameters.min(size)
    };
    let real = SHAPES.iter().min_by_key(|real| ratio(real)).unwrap_or(&SHAPES[0]);
    if ratio(real) <= 1_040_000 {
        return Shape { ..*real };
    }
    // As deep for its width as the real model is: of the widths whose count is within 2 %, the one nearest in depth.
    let slimness = |shape: &Shape| {
        let (depth, width) = (u128::from(shape.num_hidden_layers), u128::from(shape.hidden_size));
        let (a, b) = (depth * u128::from(real.hidden_size), width * u128::from(real.num_hidden_layers));
        1_000_000 * a.max(b) / a.min(b)
    };
    real.scaled(size)
        .filter(|shape| ratio(shape) <= 1_020_000)
        .min_by_key(slimness)
        .or_else(|| real.scaled(size).min_by_key(ratio))
        .unwrap_or(Shape { ..*real })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_have_the_published_parameter_counts() {
        let counts: Vec<u64> = SHAPES.iter().map(Shape::parameters).collect();
        assert_eq!(
            counts,
            [
                134_515_008,
                361_821_120,
                1_100_048_384,
                1_235_814_400,
                1_711_376_384,
                3_212_749_824,
                6_738_415_616,
                8_030_261_248,
                10_731_524_096,
                13_015_864_320,
                32_528_943_616,
                33_743_970_304,
                65_285_660_672,
                68_976_648_192,
                405_853_388_800,
            ]
        );
    }

    #[test]
    fn a_guess_is_within_four_percent() {
        for text in
            ["10m", "70m", "100m", "350m", "500m", "1b", "1.5b", "2b", "3b", "4b", "6b", "7b", "9b", "20b", "33b"]
        {
            let size = parse_size(text).and_then(Result::ok).unwrap_or_default();
            let shape = nearest(size);
            let counted = shape.parameters();
            assert!(counted.abs_diff(size) * 100 <= size * 4, "{text}: {counted}");
        }
        for text in ["120b", "180b", "671b", "1t", "1.8t", "10t"] {
            let size = parse_size(text).and_then(Result::ok).unwrap_or_default();
            let counted = nearest(size).parameters();
            assert!(counted.abs_diff(size) * 100 <= size * 4, "{text}: {counted}");
        }
    }

    #[test]
    fn only_numbers_with_a_unit_are_sizes() {
        for text in ["b", "7", "7k", "-7b", "7.b", ".5b", "1e3b", "7bb", "", "seven b", "7 b", "٧b"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
        assert_eq!(parse_size("1.5b"), Some(Ok(1_500_000_000)));
        assert_eq!(parse_size("0.35B"), Some(Ok(350_000_000)));
    }
}
