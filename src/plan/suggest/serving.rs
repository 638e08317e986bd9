//! What can be changed about a serving job so that it takes less, mildest first.

use super::levers::{Burden, Change, Lever, halvings, notch};
use crate::job::{KvCacheDtype, Serve, Workload};
use crate::serve::Serving;

/// The largest share that is suggested: what CUDA graphs and the context take must still fit beside it.
const LARGEST_SHARE: u64 = 95;

/// GPUs of one machine.
const MACHINE: u64 = 8;

/// Every lever there is for `serve`, which holds `serving`.
pub(super) fn of_serving(serve: &Serve, serving: &Serving) -> Vec<Lever> {
    let mut levers = Vec::new();
    let mut add = |burden, notches| levers.push(Lever { burden, notches });
    if let Some(share) = serving.share {
        let shares = [92, LARGEST_SHARE].into_iter().filter(|percent| share < hundredths(*percent)).map(|percent| {
            let costs = "less of the card is left for other processes and for CUDA graphs";
            let flag = "--gpu-memory-utilization";
            let change = Change::value("serve.gpu_memory_utilization", flag, share, hundredths(percent), costs);
            notch(change, percent, |workload, percent| {
                with_serve(workload, |s| s.gpu_memory_utilization = Some(hundredths(percent)));
            })
        });
        add(Burden::Nothing, shares.collect());
    }
    let tokens = halvings(serving.max_num_batched_tokens, 1024).map(|tokens| {
        let (flag, now) = ("--max-num-batched-tokens", serving.max_num_batched_tokens);
        let costs = "prompts are read in smaller pieces, which takes longer";
        let change = Change::value("serve.max_num_batched_tokens", flag, now, tokens, costs);
        notch(change, tokens, |workload, tokens| with_serve(workload, |s| s.max_num_batched_tokens = Some(tokens)))
    });
    add(Burden::Time, tokens.collect());
    let sequences = halvings(serving.max_num_seqs, serve.concurrency.max(8)).map(|sequences| {
        let costs = "fewer sequences in a step: less throughput where more would fit";
        let change = Change::value("serve.max_num_seqs", "--max-num-seqs", serving.max_num_seqs, sequences, costs);
        notch(change, sequences, |workload, most| with_serve(workload, |s| s.max_num_seqs = Some(most)))
    });
    add(Burden::Time, sequences.collect());
    if serve.kv_cache_dtype == KvCacheDtype::Auto {
        let change = Change {
            field: "serve.kv_cache_dtype",
            from: "\"auto\"".to_owned(),
            to: "\"fp8\"".to_owned(),
            flags: "--kv-cache-dtype fp8".to_owned(),
            costs: "a little quality; needs a card with fp8 (compute capability 8.9 or above)",
        };
        let store = |workload: &mut Workload, _| with_serve(workload, |s| s.kv_cache_dtype = KvCacheDtype::Fp8);
        add(Burden::Quantised, vec![notch(change, 0, store)]);
    }
    let several = std::iter::successors(serve.tensor_parallel_size.checked_mul(2), |gpus| gpus.checked_mul(2));
    let divided = several.take_while(|gpus| *gpus <= MACHINE).map(|gpus| {
        let (flag, now) = ("--tensor-parallel-size", serve.tensor_parallel_size);
        let costs = "that many GPUs of this kind, and time for what they tell each other";
        let change = Change::value("serve.tensor_parallel_size", flag, now, gpus, costs);
        notch(change, gpus, |workload, gpus| with_serve(workload, |s| s.tensor_parallel_size = gpus))
    });
    add(Burden::Gpus, divided.collect());
    let shorter = halvings(serving.max_model_len, 1024).map(|tokens| {
        let (flag, now) = ("--max-model-len", serving.max_model_len);
        let change = Change::value("serve.max_model_len", flag, now, tokens, "longer requests are refused");
        notch(change, tokens, |workload, tokens| {
            with_serve(workload, |s| {
                s.max_model_len = Some(tokens);
                s.sequence_length = s.sequence_length.map(|length| length.min(tokens));
            });
        })
    });
    add(Burden::Data, shorter.collect());
    let fewer = halvings(serve.concurrency, 1).map(|sequences| {
        let costs = "fewer requests at the same time; others wait";
        let change = Change::value("serve.concurrency", "--concurrency", serve.concurrency, sequences, costs);
        notch(change, sequences, |workload, sequences| with_serve(workload, |s| s.concurrency = sequences))
    });
    add(Burden::Data, fewer.collect());
    levers
}

fn with_serve(workload: &mut Workload, change: impl FnOnce(&mut Serve)) {
    if let Workload::Serve(serve) = workload {
        change(serve);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn hundredths(percent: u64) -> f64 {
    percent as f64 / 100.0
}
