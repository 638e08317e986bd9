//! What vLLM's modules load of a model: its matrices, joined and split as the engine does, in blocks of PyTorch's allocator.

use super::error::VllmError;
use super::parallel::{Parallel, stages};
use crate::arch::{Network, shapes};
use crate::dtype::DType;
use crate::ghost::{CachingAllocator, Context};
use crate::model::{DecoderConfig, Model, ModelType, Quantization};
use crate::nn::{Leaf, Part};
use crate::units::Bytes;

/// Rows that tables of the vocabulary are filled up to (`DEFAULT_VOCAB_PADDING_SIZE`).
const VOCABULARY_PADDING: u64 = 64;

/// "Model loading took" on the fullest GPU: every tensor as the allocator counts it, with what it does not split off, in 16
/// bits or as `quantization` stores it.
///
/// Queries, keys and values are one matrix, gates and ups another; experts are stacked; cosines and sines of every position
/// are a table in the model's type (`RotaryEmbedding._compute_cos_sin_cache`). Outputs of the first matrices of a block are
/// split among `tensor_parallel_size` GPUs, and inputs of its last (`ColumnParallelLinear`, `RowParallelLinear`); keys and
/// values that are fewer than the GPUs are on several of them (`QKVParallelLinear`), norms and routers on all.
///
/// # Errors
/// Its layers cannot be split so, or how they are stored is not known.
///
/// ```
/// use vramplan::{model, serve::{Parallel, vllm_weights}};
///
/// // vLLM 0.9.2 logged 6.9461 GiB for Qwen2.5 14B on each of four GPUs
/// let four = Parallel { tensor_parallel_size: 4, ..Parallel::default() };
/// let weights = vllm_weights(&model::resolve("qwen2.5-14b")?, four, None)?;
/// assert!((weights.gib() / 6.9461 - 1.0).abs() < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn vllm_weights(
    model: &Model,
    parallel: Parallel,
    quantization: Option<&Quantization>,
) -> Result<Bytes, VllmError> {
    let decoder = model.decoder().ok_or_else(|| VllmError::paging(model, "it is no decoder"))?;
    parallel.check(decoder)?;
    let cx = Context::new();
    let last = parallel.pipeline_parallel_size.saturating_sub(1);
    let mut most = Bytes::ZERO;
    for (index, stage) in stages(decoder, parallel.pipeline_parallel_size).into_iter().enumerate() {
        let ends = Ends { first: index == 0, last: u64::try_from(index).is_ok_and(|index| index == last) };
        let mut network = shapes(&cx, &Model::Decoder(stage.clone()));
        let loaded = loaded(network.as_mut(), &stage, parallel, ends, quantization);
        most = most.max(loaded.map_err(|what| VllmError::paging(model, what))?);
    }
    Ok(most)
}

/// As [`vllm_weights`], of a `model` whose modules are there already.
pub(super) fn weights_of(
    network: &mut dyn Network,
    model: &Model,
    parallel: Parallel,
    quantization: Option<&Quantization>,
) -> Result<Bytes, VllmError> {
    match model.decoder() {
        Some(decoder) if parallel.pipeline_parallel_size == 1 => {
            parallel.check(decoder)?;
            let ends = Ends { first: true, last: true };
            loaded(network, decoder, parallel, ends, quantization).map_err(|what| VllmError::paging(model, what))
        }
        _ => vllm_weights(model, parallel, quantization),
    }
}

/// Which ends of the model a stage has.
#[derive(Clone, Copy)]
struct Ends {
    first: bool,
    last: bool,
}

/// How a matrix is divided among GPUs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    Outputs,
    /// Outputs that are heads of keys or values.
    KvHeads,
    /// Queries, keys and values in one.
    Joined,
    Inputs,
    Not,
}

fn split_of(name: &str) -> Split {
    match name.rsplit('.').next().unwrap_or(name) {
        "k_proj" | "v_proj" => Split::KvHeads,
        "qkv_proj" | "query_key_value" | "c_attn" | "Wqkv" | "wqkv" | "W_pack" => Split::Joined,
        "q_proj" | "q_b_proj" | "kv_b_proj" | "gate_proj" | "up_proj" | "gate_up_proj" | "fc1" | "fc_in" | "c_fc"
        | "c_fc_0" | "c_fc_1" | "dense_h_to_4h" | "linear_fc1" | "linear_1" | "qkv" | "w1" | "w3" | "input_linear"
        | "in_proj" | "in_proj_qkv" | "in_proj_z" | "in_proj_b" | "in_proj_a" | "in_proj_qkvz" | "in_proj_ba"
        | "conv1d" | "A_log" | "dt_proj" | "sinks" => Split::Outputs,
        "o_proj" | "out_proj" | "down_proj" | "dense" | "dense_4h_to_h" | "fc2" | "fc_out" | "c_proj" | "wo" | "w2"
        | "output_linear" | "linear_fc2" | "linear_2" | "proj" | "x_proj" => Split::Inputs,
        _ => Split::Not,
    }
}

/// What a matrix is joined to, if the one before it is of the same kind.
fn joined_as(name: &str) -> Option<&'static str> {
    Some(match name.rsplit('.').next().unwrap_or(name) {
        "q_proj" | "k_proj" | "v_proj" => "qkv",
        "gate_proj" | "up_proj" => "gate_up",
        "in_proj_qkv" | "in_proj_z" => "in_proj_qkvz",
        "in_proj_b" | "in_proj_a" => "in_proj_ba",
        _ => return None,
    })
}

/// Tensors as they are allocated, joined ones waiting for those they are joined to.
struct Loading {
    allocator: CachingAllocator,
    bytes: u64,
    joined: Option<&'static str>,
    waiting: [u64; 2],
}

impl Loading {
    fn allocate(&mut self, size: u64) -> Option<()> {
        if size > 0 {
            let block = self.allocator.malloc(size).ok()?;
            self.bytes = self.bytes.checked_add(self.allocator.size(block))?;
        }
        Some(())
    }

    /// A weight and its bias.
    fn add(&mut self, joined: Option<&'static str>, [weight, bias]: [u64; 2]) -> Option<()> {
        if joined.is_none() || joined != self.joined {
            self.flush()?;
        }
        self.joined = joined;
        self.waiting = [self.waiting[0].checked_add(weight)?, self.waiting[1].checked_add(bias)?];
        if joined.is_none() { self.flush() } else { Some(()) }
    }

    fn flush(&mut self) -> Option<()> {
        let [weight, bias] = std::mem::take(&mut self.waiting);
        self.allocate(weight)?;
        self.allocate(bias)
    }
}

const TOO_LARGE: &str = "it has more bytes than 64 bits count";

fn loaded(
    network: &mut dyn Network,
    decoder: &DecoderConfig,
    parallel: Parallel,
    ends: Ends,
    quantization: Option<&Quantization>,
) -> Result<Bytes, &'static str> {
    let tied = network.is_tied();
    let mut loading = Loading { allocator: CachingAllocator::default(), bytes: 0, joined: None, waiting: [0, 0] };
    let mut trouble = None;
    network.leaves(&mut |mut leaf| {
        let here = match leaf.part() {
            Part::Head => ends.last && !(tied && ends.first),
            Part::Embedding => ends.first,
            Part::Tower => ends.first,
            _ => true,
        };
        if here && trouble.is_none() {
            trouble = load(&mut loading, decoder, parallel, &mut leaf, quantization).err();
        }
    });
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    let halves = DType::BF16.bytes();
    // a tower that a causal language model is loaded without, the engine has
    let tower = if ends.first {
        decoder.tower_left_out.checked_mul(halves).ok_or(TOO_LARGE)? / parallel.tensor_parallel_size
    } else {
        0
    };
    let rotary = decoder.mla.as_ref().map_or(decoder.attention.rotary_dim.unwrap_or(0), |mla| mla.qk_rope_head_dim);
    let positions = decoder.max_position_embeddings.checked_mul(positions_each(decoder));
    let table = positions.and_then(|positions| positions.checked_mul(rotary)?.checked_mul(halves));
    loading.flush().and_then(|()| loading.allocate(tower)).and_then(|()| loading.allocate(table?)).ok_or(TOO_LARGE)?;
    Ok(Bytes(loading.bytes))
}

/// Rows of the rotary table for each position: where positions are those of three grids, four, for long videos
/// (`MRotaryEmbedding.__init__`, vllm/model_executor/layers/rotary_embedding/mrope.py).
fn positions_each(decoder: &DecoderConfig) -> u64 {
    let grids = decoder.tower.as_ref().is_some_and(|tower| tower.grids.is_some());
    if grids || matches!(decoder.model_type, ModelType::Qwen3_5 | ModelType::Qwen3_5Moe) { 4 } else { 1 }
}

fn load(
    loading: &mut Loading,
    decoder: &DecoderConfig,
    parallel: Parallel,
    leaf: &mut Leaf<'_>,
    quantization: Option<&Quantization>,
) -> Result<(), &'static str> {
    let tp = parallel.tensor_parallel_size;
    let (name, part) = (leaf.name(), leaf.part());
    let bytes_of = |dims: &[u64]| dims.iter().try_fold(DType::BF16.bytes(), |size, dim| size.checked_mul(*dim));
    let share = |whole: u64| whole.div_ceil(tp);
    match leaf {
        Leaf::Linear(linear) if part != Part::Head && !linear.convolution => {
            let split = split_of(name);
            let has_bias = linear.bias.is_some();
            let rows = match split {
                Split::Outputs => share(linear.out_features),
                Split::KvHeads => kv_rows(decoder, linear.out_features, tp, part),
                Split::Joined => joined_rows(decoder, linear.out_features, tp),
                Split::Inputs | Split::Not => linear.out_features,
            };
            let columns = if split == Split::Inputs { share(linear.in_features) } else { linear.in_features };
            let place = format!("model.layers.0.{}.{name}", if part == Part::Attention { "self_attn" } else { "mlp" });
            let stored = match quantization {
                Some(quantization) if part != Part::Tower && !matches!(name, "in_proj_a" | "in_proj_b") => {
                    match quantization.converts(&place) {
                        Some(true) => Some(
                            quantization
                                .stored_weight(rows, columns)
                                .and_then(|stored| stored.total())
                                .ok_or("how its weights are stored is not known")?,
                        ),
                        Some(false) => None,
                        None => return Err("which of its layers are quantised cannot be told"),
                    }
                }
                _ => None,
            };
            let weight = stored.or_else(|| bytes_of(&[rows, columns])).ok_or(TOO_LARGE)?;
            let bias = if has_bias { bytes_of(&[rows]).ok_or(TOO_LARGE)? } else { 0 };
            loading.add(joined_as(name), [weight, bias]).ok_or(TOO_LARGE)
        }
        _ => {
            let experts = part == Part::Experts && matches!(leaf, Leaf::Free(_)) && name == "experts";
            let split = split_of(name);
            for tensor in leaf.dense_parameters() {
                let dims = tensor.dims();
                let size = match (part, dims) {
                    (Part::Embedding | Part::Head, [rows, width]) => {
                        let rows = rows.checked_next_multiple_of(VOCABULARY_PADDING).ok_or(TOO_LARGE)?;
                        bytes_of(&[share(rows), *width])
                    }
                    (_, [count, rows, columns]) if experts => {
                        let (count, part) = match parallel.enable_expert_parallel {
                            true => (count.div_ceil(tp), 1),
                            false => (*count, tp),
                        };
                        let one = match quantization {
                            Some(quantization) => {
                                quantization.stored_weight(*rows, *columns).and_then(|stored| stored.total())
                            }
                            None => bytes_of(&[*rows, *columns]),
                        };
                        one.and_then(|one| one.checked_mul(count)).map(|all| all.div_ceil(part))
                    }
                    (Part::Attention | Part::Mlp | Part::Experts | Part::Tower, [_])
                        if name == "counted" || name == "towers" =>
                    {
                        bytes_of(dims).map(share)
                    }
                    (_, _) if split == Split::Outputs && part != Part::Norm => bytes_of(dims).map(share),
                    _ => bytes_of(dims),
                };
                loading.add(None, [size.ok_or(TOO_LARGE)?, 0]).ok_or(TOO_LARGE)?;
            }
            Ok(())
        }
    }
}

/// Rows of keys or values on one GPU: a head at least, where there are fewer heads than GPUs.
fn kv_rows(decoder: &DecoderConfig, rows: u64, tp: u64, part: Part) -> u64 {
    if part == Part::Tower { rows.div_ceil(tp) } else { rows.div_ceil(tp).max(decoder.attention.head_dim.min(rows)) }
}

/// Rows of queries, keys and values in one matrix.
fn joined_rows(decoder: &DecoderConfig, rows: u64, tp: u64) -> u64 {
    let keys = decoder.attention.num_kv_heads.saturating_mul(decoder.attention.head_dim);
    let queries = rows.saturating_sub(keys.saturating_mul(2));
    let own = keys.div_ceil(tp).max(decoder.attention.head_dim.min(keys));
    queries.div_ceil(tp).saturating_add(own.saturating_mul(2))
}
