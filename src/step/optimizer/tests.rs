use super::Optimizer;
use crate::dtype::DType;
use crate::ghost::{Context, Entry, Tensor};
use crate::job::Optim;
use crate::step::clip::clip_grad_norm;

fn run(kind: Optim, shapes: &str) -> Vec<String> {
    let cx = Context::new();
    let parameters: Vec<Tensor> = shapes
        .split_whitespace()
        .map(|s| {
            let (dims, t) = s.split_once(':').unwrap();
            let dims: Vec<u64> = dims.split('x').map(|d| d.parse().unwrap()).collect();
            let dtype = match t {
                "f" => DType::F32,
                "b" => DType::BF16,
                _ => DType::F16,
            };
            let p = cx.parameter("p", &dims, dtype, true);
            *p.0.leaf.as_ref().unwrap().grad.borrow_mut() = Some(cx.parameter("g", &dims, dtype, false));
            p
        })
        .collect();
    let mut optimizer = Optimizer::new(kind, parameters.clone());
    let start = cx.ledger().len();
    for _ in 0..2 {
        clip_grad_norm(&cx, &parameters);
        optimizer.step(&cx);
    }
    let mut sizes = Vec::new();
    let mut out = Vec::new();
    for (at, e) in cx.ledger().entries().iter().enumerate() {
        match e {
            Entry::Charge { bytes, .. } => {
                sizes.push(*bytes);
                if at >= start {
                    out.push(format!("+{bytes}"));
                }
            }
            Entry::Release { id } => out.push(format!("-{}", sizes[*id as usize])),
            _ => {}
        }
    }
    out
}

#[test]
fn adhoc() {
    let out = run(std::env::var("K").unwrap().parse().unwrap(), &std::env::var("P").unwrap());
    std::fs::write(std::env::var("O").unwrap(), out.join("\n") + "\n").unwrap();
}
