use std::error::Error;

use serde::Deserialize;

use super::Optimizer;
use crate::ghost::{Context, Entry, Tensor};
use crate::job::{FloatType, Optim, Train};
use crate::step::clip::clip_grad_norm;

/// What torch 2.11, transformers 5.17 and bitsandbytes 0.50.2 allocated and, negative, released over two steps of
/// clipping and updating parameters that have a gradient, in order.
#[derive(Deserialize)]
struct Recorded {
    id: String,
    optim: Optim,
    parameters: Vec<(FloatType, Vec<u64>)>,
    /// The places of matrices that the optimizer treats in its own way.
    #[serde(default)]
    hidden: Vec<usize>,
    #[serde(default)]
    rank: u64,
    events: Vec<i64>,
}

fn recorded() -> Result<Vec<Recorded>, serde_json::Error> {
    let rows = include_str!("../../../tests/truth/optimizer_events.jsonl");
    rows.lines().map(serde_json::from_str).collect()
}

fn with_gradients(cx: &Context, parameters: &[(FloatType, Vec<u64>)]) -> Vec<Tensor> {
    let trainable = parameters.iter().map(|(dtype, dims)| cx.parameter("weight", dims, dtype.dtype(), true));
    let trainable: Vec<Tensor> = trainable.collect();
    for parameter in &trainable {
        let grad = cx.input("grad", parameter.dims(), parameter.dtype());
        if let Some(leaf) = &parameter.0.leaf {
            leaf.grad.replace(Some(grad));
        }
    }
    trainable
}

fn events(cx: &Context, since: usize) -> Vec<i64> {
    let mut sizes = Vec::new();
    let mut events = Vec::new();
    for (at, entry) in cx.ledger().entries().iter().enumerate() {
        let event = match *entry {
            Entry::Charge { bytes, .. } => {
                sizes.push(bytes as i64);
                bytes as i64
            }
            Entry::Release { id } => -sizes[id as usize],
            _ => continue,
        };
        if at >= since {
            events.push(event);
        }
    }
    events
}

fn job(optim: Optim, optim_rank: u64) -> Train {
    Train { optim, optim_rank, ..Train::default() }
}

#[test]
fn every_allocation_of_a_step_is_pytorchs() -> Result<(), Box<dyn Error>> {
    for row in recorded()? {
        let cx = Context::new();
        let parameters = with_gradients(&cx, &row.parameters);
        let is_own: Vec<bool> = (0..parameters.len()).map(|at| row.hidden.contains(&at)).collect();
        let start = cx.ledger().len();
        let mut optimizer = Optimizer::new(&cx, &job(row.optim, row.rank), Vec::new(), parameters.clone(), &is_own);
        for _ in 0..2 {
            clip_grad_norm(&cx, &parameters, 1.0);
            optimizer.step(&cx);
        }
        let ours = events(&cx, start);
        let differ = ours.iter().zip(&row.events).position(|(a, b)| a != b);
        assert_eq!(differ, None, "{}: {:?}", row.id, differ.map(|at| (ours[at], row.events[at])));
        assert_eq!(ours.len(), row.events.len(), "{}", row.id);
    }
    Ok(())
}

#[test]
fn states_of_a_paged_optimizer_are_counted_where_they_lie() {
    let cx = Context::new();
    let bf16 = |dims: &[u64]| (FloatType::Bf16, dims.to_vec());
    let parameters = with_gradients(&cx, &[bf16(&[99_999]), bf16(&[100_000]), bf16(&[4095])]);
    let mut optimizer = Optimizer::new(&cx, &job(Optim::PagedAdamw8bit, 0), Vec::new(), parameters.clone(), &[]);
    optimizer.step(&cx);
    assert_eq!(optimizer.paged_bytes(), 2 * 100_000);
    let scales = |numel: u64| 4 * numel.div_ceil(256);
    let maps = 2 * 1024;
    assert_eq!(optimizer.held_bytes(), 2 * (99_999 + scales(99_999) + scales(100_000) + 4 * 4095) + maps);
}

#[test]
fn parameters_without_a_gradient_get_no_states() -> Result<(), Box<dyn Error>> {
    for name in Optim::NAMES {
        let cx = Context::new();
        let parameter = cx.parameter("weight", &[256, 256], FloatType::Bf16.dtype(), true);
        let start = cx.ledger().len();
        let optim: Optim = name.parse()?;
        if optim == Optim::Adagrad {
            continue; // its sums are there from the start
        }
        let mut optimizer = Optimizer::new(&cx, &job(optim, 1), Vec::new(), vec![parameter], &[true]);
        clip_grad_norm(&cx, &optimizer.parameters, 1.0);
        optimizer.step(&cx);
        assert!(events(&cx, start).is_empty(), "{name}");
        assert_eq!(optimizer.held_bytes(), 0, "{name}");
    }
    Ok(())
}

#[test]
fn zeroed_gradients_stay() {
    let cx = Context::new();
    let parameters = with_gradients(&cx, &[(FloatType::Fp32, vec![8, 8])]);
    let optimizer = Optimizer::new(&cx, &job(Optim::Sgd, 0), Vec::new(), parameters.clone(), &[]);
    optimizer.zero_grad(false);
    assert!(parameters[0].grad().is_some());
    optimizer.zero_grad(true);
    assert!(parameters[0].grad().is_none());
}
