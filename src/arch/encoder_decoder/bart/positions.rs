//! How BART and those that follow it look positions up.

use crate::arch::encoder::count_tokens;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{EncoderDecoderConfig, Positions};
use crate::nn::{Builder, Embedding, FreeParameters, Leaf, Module, Part};

/// A stack's table of positions.
pub(super) enum PositionTable {
    /// `BartLearnedPositionalEmbedding`
    Learned(Embedding),
    /// `PegasusSinusoidalPositionalEmbedding`, `MarianSinusoidalPositionalEmbedding`: a parameter that is never trained.
    Fixed(FreeParameters),
    /// `M2M100SinusoidalPositionalEmbedding`: a buffer; positions are counted along the tokens that are no padding.
    Counted(Tensor),
}

fn range(cx: &Context, length: u64) -> Tensor {
    cx.launch(Kernel::Arange, &[], Layout::contiguous(&[length]), DType::I64)
}

impl PositionTable {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Self {
        const NAME: &str = "embed_positions";
        let width = model.d_model;
        match model.positions {
            Positions::Fixed { rows } => Self::Fixed(builder.free(NAME, Part::Fixed, &[&[rows, width]])),
            Positions::Counted { rows } => Self::Counted(builder.buffer(NAME, &[rows, width], builder.dtype)),
            Positions::Learned { rows } => Self::Learned(builder.embedding(NAME, rows, width)),
            _ => Self::Learned(builder.embedding(NAME, 0, width)),
        }
    }

    /// `create_weight`, which `_init_weights` calls: the table once more, filled half by half.
    pub(super) fn initialise(&self, builder: &Builder<'_>) {
        let Self::Fixed(table) = self else { return };
        let [table] = table.tensors.as_slice() else { return };
        let (rows, width) = (table.dim(0), table.dim(1));
        let _out = builder.temporary(&[rows, width], table.dtype());
        let sines = width.div_ceil(2);
        for half in [sines, width - sines] {
            drop(builder.temporary(&[rows, half], table.dtype()));
        }
    }

    /// Positions of the encoder's tokens.
    pub(super) fn of_encoder(&self, cx: &Context, ids: &Tensor) -> Tensor {
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        match self {
            Self::Learned(table) => {
                let rows = {
                    let _range = range(cx, length);
                    // an offset is added to a view of one row
                    cx.launch(Kernel::Where, &[], Layout::contiguous(&[batch, length]), DType::I64)
                };
                table.forward(cx, &rows)
            }
            Self::Fixed(table) => looked_up(cx, &table.tensors[0], &range(cx, length)),
            Self::Counted(table) => counted(cx, table, ids),
        }
    }

    /// `torch.arange(length) + past`, which a decoder has a name for until it returns.
    pub(super) fn decoder_ids(&self, cx: &Context, length: u64) -> Option<Tensor> {
        if let Self::Counted(_) = self {
            return None;
        }
        let _range = range(cx, length);
        Some(range(cx, length))
    }

    /// Positions of the decoder's tokens, whose places are `position_ids`.
    pub(super) fn of_decoder(&self, cx: &Context, ids: &Tensor, position_ids: Option<&Tensor>) -> Tensor {
        match (self, position_ids) {
            (Self::Learned(table), _) => {
                let offset = cx.unsqueeze(range(cx, ids.dim(1)), 0);
                table.forward(cx, &offset)
            }
            (Self::Fixed(table), Some(position_ids)) => looked_up(cx, &table.tensors[0], position_ids),
            (Self::Fixed(table), None) => looked_up(cx, &table.tensors[0], &range(cx, ids.dim(1))),
            (Self::Counted(table), _) => counted(cx, table, ids),
        }
    }
}

/// Rows of a table, outside the tape.
fn looked_up(cx: &Context, table: &Tensor, rows: &Tensor) -> Tensor {
    let dims: Vec<u64> = rows.dims().iter().copied().chain([table.dim(1)]).collect();
    cx.launch(Kernel::Embedding, &[rows, table], Layout::contiguous(&dims), table.dtype())
}

fn counted(cx: &Context, table: &Tensor, ids: &Tensor) -> Tensor {
    let rows = count_tokens(cx, ids);
    looked_up(cx, table, &rows)
}

impl Module for PositionTable {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        match self {
            Self::Learned(table) => table.leaves(visit),
            Self::Fixed(table) => table.leaves(visit),
            Self::Counted(_) => {}
        }
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        if let Self::Counted(table) = self {
            visit(table);
        }
    }
}
