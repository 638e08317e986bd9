//! The step run for real: what candle holds is what was predicted, gradients are right, and the model learns.

#[path = "../src/counting.rs"]
mod counting;

use std::sync::{Mutex, MutexGuard};

use candle_core::{D, DType, Device, Tensor, Var};
use counting::Counting;
use vramplan::verify::{self, Configuration, Examined, Measured, Run};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// What one test does the other would count.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn configurations(size: &str) -> Vec<Configuration> {
    let all = verify::configurations().expect("the built-in configurations");
    all.into_iter().filter(|configuration| configuration.name.starts_with(size)).collect()
}

fn named(name: &str) -> Configuration {
    let found = configurations(name).into_iter().find(|configuration| configuration.name == name);
    found.expect("a built-in configuration")
}

fn measured(configuration: &Configuration) -> Run {
    verify::run(configuration, &ALLOCATOR).unwrap_or_else(|error| panic!("{}: {error}", configuration.name))
}

#[test]
fn what_arrays_hold_is_what_the_ledger_says() {
    let _alone = alone();
    let failures: Vec<String> = configurations("")
        .iter()
        .filter_map(|configuration| {
            verify::predict(configuration).err().map(|error| format!("{}: {error}", configuration.name))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn candle_holds_what_was_predicted_and_learns() {
    let _alone = alone();
    verify::warm_up().expect("a step");
    for configuration in configurations("tiny") {
        let run = measured(&configuration);
        assert_eq!(run.predicted_bytes, run.measured_bytes, "{}", run.name);
        for phase in &run.phases {
            assert_eq!(phase.predicted_bytes, phase.measured_bytes, "{}: {}", run.name, phase.name);
        }
        assert!(run.learned(), "{run:?}");
    }
}

#[test]
fn recorded_measurements_are_predicted() {
    let _alone = alone();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/truth/verify.jsonl");
    let text = std::fs::read_to_string(path).expect("recorded measurements");
    let rows: Vec<Measured> =
        text.lines().map(|line| serde_json::from_str(line).expect("a recorded measurement")).collect();
    assert_eq!(rows.len(), 48);
    for row in rows {
        let predicted = verify::predict(&named(&row.id)).expect("a step without data");
        assert_eq!(predicted, row.measured_bytes, "{} on {}", row.id, row.device);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let _alone = alone();
    for (name, steps) in [
        ("tiny-fp32-dense-full", 0),
        ("tiny-fp32-dense-lora", 2),
        ("tiny-fp32-nf4-lora", 2),
        ("grouped-fp32-dense-full-gc", 0),
        ("grouped-fp32-dense-lora", 2),
    ] {
        let configuration = named(name);
        let found = verify::examine(&configuration, steps, |_| {}).expect("a backward pass");
        let trained = found.parameters.iter().enumerate().filter_map(|(at, p)| Some((at, p.gradient.clone()?)));
        let mut worst = 0.0_f32;
        for (at, gradient) in trained.step_by(3) {
            // along the gradient the loss changes by its length
            let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            let loss = |by: f32| {
                let moved = verify::examine(&configuration, steps, |parameters| {
                    let values = parameters[at].values.iter_mut();
                    values.zip(&gradient).for_each(|(value, g)| *value += by * g / length);
                });
                moved.expect("a forward pass").loss
            };
            // far enough for the loss to change by more than fp32 rounds, and four of them, so that curvature cancels
            let step = (2e-3 / length).clamp(4e-3, 0.1);
            let near = loss(step) - loss(-step);
            let far = loss(2.0 * step) - loss(-2.0 * step);
            let slope = (8.0 * near - far) / (12.0 * step);
            let error = (slope - length).abs() / length;
            assert!(error < 1e-3, "{name}: parameter {at}: {slope}, not {length}");
            worst = worst.max(error);
        }
        println!("{name}: worst {worst:.1e}");
    }
}

/// The `tiny` model in plain candle, whose own autograd goes through it.
struct Plain {
    parameters: Vec<Tensor>,
    /// Trained ones by their place.
    vars: Vec<(usize, Var)>,
    lora: bool,
}

const HEADS: usize = 4;
const LAYERS: usize = 2;

impl Plain {
    fn of(examined: &Examined, lora: bool) -> candle_core::Result<Self> {
        let (mut parameters, mut vars) = (Vec::new(), Vec::new());
        for (at, parameter) in examined.parameters.iter().enumerate() {
            let dims: Vec<usize> =
                parameter.dims.iter().map(|&dim| usize::try_from(dim).expect("a small dimension")).collect();
            let tensor = Tensor::from_vec(parameter.values.clone(), dims, &Device::Cpu)?;
            if parameter.gradient.is_some() {
                let var = Var::from_tensor(&tensor)?;
                parameters.push(var.as_tensor().clone());
                vars.push((at, var));
            } else {
                parameters.push(tensor);
            }
        }
        Ok(Self { parameters, vars, lora })
    }

    fn loss(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        let mut next = self.parameters.iter();
        let mut take = || next.next().expect("as many parameters as the model has");
        let [batch, length] = [ids.dim(0)?, ids.dim(1)?];
        let table = take();
        let width = table.dim(1)?;
        let mut hidden = table.index_select(&ids.flatten_all()?, 0)?.reshape((batch, length, width))?;
        let norm = |x: &Tensor, weight: &Tensor| {
            let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
            x.broadcast_div(&(variance + 1e-6)?.sqrt()?)?.broadcast_mul(weight)
        };
        for _ in 0..LAYERS {
            let mut linears = Vec::new();
            for _ in 0..7 {
                let weight = take();
                linears.push((weight, self.lora.then(|| [take(), take()])));
            }
            let apply = |x: &Tensor, which: usize| -> candle_core::Result<Tensor> {
                let (weight, lora) = &linears[which];
                let out = x.broadcast_matmul(&weight.t()?)?;
                match lora {
                    Some([a, b]) => out + (x.broadcast_matmul(&a.t()?)?.broadcast_matmul(&b.t()?)? * 2.0)?,
                    None => Ok(out),
                }
            };
            let (first, second) = (take(), take());
            let x = norm(&hidden, first)?;
            let head = width / HEADS;
            let heads = |x: Tensor| x.reshape((batch, length, HEADS, head))?.transpose(1, 2)?.contiguous();
            let [query, key] = [rope(&heads(apply(&x, 0)?)?)?, rope(&heads(apply(&x, 1)?)?)?];
            let value = heads(apply(&x, 2)?)?;
            #[expect(clippy::cast_precision_loss, reason = "a head's width")]
            let scale = (head as f64).sqrt().recip();
            let scores = (query.matmul(&key.t()?)? * scale)?;
            let later: Vec<f32> =
                (0..length * length).map(|i| if i % length > i / length { f32::NEG_INFINITY } else { 0.0 }).collect();
            let scores = scores.broadcast_add(&Tensor::from_vec(later, (length, length), &Device::Cpu)?)?;
            let exponentials = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
            let weights = exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?;
            let attended = weights.matmul(&value)?.transpose(1, 2)?.contiguous()?.reshape((batch, length, width))?;
            hidden = (&hidden + apply(&attended, 3)?)?;
            let x = norm(&hidden, second)?;
            let fed = (apply(&x, 4)?.silu()? * apply(&x, 5)?)?;
            hidden = (&hidden + apply(&fed, 6)?)?;
        }
        let hidden = norm(&hidden, take())?;
        let logits = hidden.broadcast_matmul(&take().t()?)?.narrow(1, 0, length - 1)?.contiguous()?;
        let logits = logits.reshape((batch * (length - 1), logits.dim(2)?))?;
        let labels = ids.narrow(1, 1, length - 1)?.contiguous()?.flatten_all()?.unsqueeze(1)?;
        let top = logits.max_keepdim(1)?.detach();
        let log = (logits.broadcast_sub(&top)?.exp()?.sum_keepdim(1)?.log()? + top)?;
        (log - logits.gather(&labels, 1)?)?.mean_all()
    }
}

/// Rotary embedding of `[batch, heads, length, width]`, by halves.
fn rope(x: &Tensor) -> candle_core::Result<Tensor> {
    let (length, width) = (x.dim(2)?, x.dim(3)?);
    let half = width / 2;
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a small table")]
    let angles: Vec<f32> = (0..length * width)
        .map(|i| ((i / width) as f64 * 10_000_f64.powf(-((i % half) as f64) / half as f64)) as f32)
        .collect();
    let angles = Tensor::from_vec(angles, (length, width), &Device::Cpu)?;
    let turned = Tensor::cat(&[&x.narrow(3, half, half)?.neg()?, &x.narrow(3, 0, half)?], 3)?;
    x.broadcast_mul(&angles.cos()?)? + turned.broadcast_mul(&angles.sin()?)?
}

/// The program's corpus: each token follows from the one before.
fn corpus(batch: i64, length: i64) -> candle_core::Result<Tensor> {
    let rows = (0..batch).flat_map(|row| {
        let mut token = row % 61 + 1;
        (0..length).map(move |_| {
            token = (token * 2 + 3) % 61;
            token
        })
    });
    Tensor::from_iter(rows, &Device::Cpu)?.reshape((usize::try_from(batch).unwrap_or(0), ()))
}

#[test]
fn gradients_are_those_of_candles_autograd() {
    let _alone = alone();
    for (name, lora) in [
        ("tiny-fp32-dense-full", false),
        ("tiny-fp32-dense-full-gc", false),
        ("tiny-fp32-dense-lora", true),
        ("tiny-fp32-dense-lora-gc", true),
    ] {
        let examined = verify::examine(&named(name), 2, |_| {}).expect("a backward pass");
        let plain = Plain::of(&examined, lora).expect("parameters");
        let loss = plain.loss(&corpus(2, 32).expect("tokens")).expect("a loss");
        let expected = loss.to_dtype(DType::F32).and_then(|loss| loss.to_scalar::<f32>()).expect("a number");
        assert!((expected - examined.loss).abs() < 1e-5, "{name}: {} and {expected}", examined.loss);
        let grads = loss.backward().expect("gradients");
        let mut worst = 0.0_f32;
        for (at, var) in &plain.vars {
            let theirs = grads.get(var.as_tensor()).expect("a gradient");
            let theirs: Vec<f32> = theirs.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers");
            let ours = examined.parameters[*at].gradient.as_ref().expect("a gradient");
            let largest = theirs.iter().fold(0.0_f32, |largest, g| largest.max(g.abs()));
            let error = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max) / largest;
            assert!(error < 1e-4, "{name}: parameter {at} is {error} off");
            worst = worst.max(error);
        }
        println!("{name}: worst {worst:.1e}");
    }
}
