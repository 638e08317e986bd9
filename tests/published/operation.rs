//! Single operations, forwards and backwards over and over, as kernel benchmarks measure them.

use vramplan::DType;
use vramplan::ghost::{Context, Phase, Playback, Tensor};

use crate::row::Operation;

/// `max_memory_allocated` of a run, once the gradients of its leaves are there, in bytes.
pub(crate) fn peak(operation: &Operation) -> Result<u64, String> {
    let cx = Context::new();
    let Operation { op, rows, vocab, hidden } = operation;
    let (rows, vocab, hidden) = (*rows, *vocab, *hidden);
    let leaf = |dims: &[u64], dtype| cx.parameter("leaf", dims, dtype, true);
    let loss: Box<dyn Fn(&Tensor) -> Tensor> = match op.as_str() {
        // benchmark_cross_entropy.py, `huggingface`
        "cross_entropy" => {
            let (cx, logits) = (&cx, leaf(&[rows, vocab], DType::F32));
            Box::new(move |labels| cx.cross_entropy(&logits, labels))
        }
        // benchmark_fused_linear_cross_entropy.py, `huggingface`
        "linear_cross_entropy" => {
            let (cx, weight, x) = (&cx, leaf(&[vocab, hidden], DType::BF16), leaf(&[rows, hidden], DType::BF16));
            // the benchmark makes the other provider's module too
            let other = leaf(&[vocab, hidden], DType::BF16);
            Box::new(move |labels| {
                let _other = &other;
                cx.cross_entropy(cx.linear(&x, &weight, None), labels)
            })
        }
        other => return Err(format!("operation `{other}`")),
    };
    let labels = cx.input("target", &[rows], DType::I64);
    for _ in 0..3 {
        cx.set_phase(Phase::Forward);
        cx.backward(&loss(&labels));
        drop(cx.take_graph());
    }
    Ok(Playback::default().play(&cx.ledger().entries()).peak())
}
