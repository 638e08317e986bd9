//! The operations carried out on real numbers: gradients found along the tape, which sees only what was saved, agree with
//! finite differences.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use vramplan::DType;
use vramplan::ghost::{Context, Executor, Kernel, Layout, Tensor, Value, trainable_copy};
use vramplan::model::Activation;
use vramplan::nn::{Kernels, NormLayer, activate};

/// Numbers in row-major order; every view is a copy.
#[derive(Clone, Debug, PartialEq)]
struct Array {
    dims: Vec<usize>,
    data: Vec<f64>,
}

fn sizes(layout: &Layout) -> Vec<usize> {
    layout.dims().iter().map(|&dim| usize::try_from(dim).expect("a small dimension")).collect()
}

fn axis(dim: isize, rank: usize) -> usize {
    if dim < 0 { rank.checked_add_signed(dim) } else { dim.try_into().ok() }.expect("a dimension")
}

impl Array {
    fn scalar(number: f64) -> Self {
        Self { dims: Vec::new(), data: vec![number] }
    }

    fn from_fn(dims: &[usize], mut number: impl FnMut(&[usize]) -> f64) -> Self {
        let count = dims.iter().product();
        let mut index = vec![0; dims.len()];
        let mut data = Vec::with_capacity(count);
        for _ in 0..count {
            data.push(number(&index));
            for i in (0..dims.len()).rev() {
                index[i] += 1;
                if index[i] < dims[i] {
                    break;
                }
                index[i] = 0;
            }
        }
        Self { dims: dims.to_vec(), data }
    }

    /// The number at an index of something this broadcasts to.
    fn at(&self, index: &[usize]) -> f64 {
        let index = &index[index.len() - self.dims.len()..];
        let place = self.dims.iter().zip(index).fold(0, |place, (&dim, &i)| place * dim + if dim == 1 { 0 } else { i });
        self.data[place]
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { dims: self.dims.clone(), data: self.data.iter().copied().map(f).collect() }
    }

    /// Rows of the last dimension turned into as many of their own.
    fn rows(&self, f: impl Fn(usize, &[f64]) -> Vec<f64>) -> Vec<f64> {
        let width = self.dims.last().copied().unwrap_or(1);
        self.data.chunks(width).enumerate().flat_map(|(i, row)| f(i, row)).collect()
    }

    /// Summed to the sizes of something that broadcasts to this.
    fn sum_to(&self, dims: &[usize]) -> Self {
        let mut out = Self { dims: dims.to_vec(), data: vec![0.0; dims.iter().product()] };
        let lead = self.dims.len() - dims.len();
        let mut place = 0;
        Self::from_fn(&self.dims, |index| {
            let to = dims.iter().zip(&index[lead..]).fold(0, |to, (&dim, &i)| to * dim + if dim == 1 { 0 } else { i });
            out.data[to] += self.data[place];
            place += 1;
            0.0
        });
        out
    }

    fn product(a: &Self, b: &Self, transpose_a: bool, transpose_b: bool, dims: &[usize]) -> Self {
        let rank = a.dims.len();
        let inner = if transpose_a { a.dims[rank - 2] } else { a.dims[rank - 1] };
        let put = |index: &[usize], row: usize, column: usize, transposed: bool| {
            let mut index = index.to_vec();
            (index[rank - 2], index[rank - 1]) = if transposed { (column, row) } else { (row, column) };
            index
        };
        Self::from_fn(dims, |index| {
            let (row, column) = (index[rank - 2], index[rank - 1]);
            let term = |k| a.at(&put(index, row, k, transpose_a)) * b.at(&put(index, k, column, transpose_b));
            (0..inner).map(term).sum()
        })
    }
}

/// Carries out kernels on the CPU in double precision, whatever type they are in.
struct Numbers {
    given: HashMap<&'static str, Array>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unary(name: &str, x: f64) -> f64 {
    match name {
        "silu" => x / (1.0 + (-x).exp()),
        "relu" => x.max(0.0),
        "tanh" => x.tanh(),
        "rsqrt" => 1.0 / x.sqrt(),
        "one_minus" => 1.0 - x,
        _ => panic!("no unary kernel {name}"),
    }
}

/// What the gradient is multiplied by, from what the operation saved.
fn unary_slope(name: &str, saved: f64) -> f64 {
    match name {
        "silu" => {
            let sigmoid = 1.0 / (1.0 + (-saved).exp());
            sigmoid * (1.0 + saved * (1.0 - sigmoid))
        }
        "relu" => f64::from(u8::from(saved > 0.0)),
        "tanh" => 1.0 - saved * saved,
        _ => panic!("no backward of {name}"),
    }
}

impl Executor for Numbers {
    fn run(&self, kernel: &Kernel, inputs: &[&Value], layout: &Layout, _: DType) -> Value {
        let inputs: Vec<&Array> = inputs.iter().map(|value| value.downcast_ref().expect("an array")).collect();
        Rc::new(self.compute(kernel, &inputs, &sizes(layout)))
    }
}

impl Numbers {
    fn compute(&self, kernel: &Kernel, inputs: &[&Array], dims: &[usize]) -> Array {
        let each = |f: &dyn Fn(&[usize]) -> f64| Array::from_fn(dims, f);
        let reshaped = |data: Vec<f64>| Array { dims: dims.to_vec(), data };
        match *kernel {
            Kernel::Parameter(name) | Kernel::Input(name) => self.given[name].clone(),
            Kernel::Zeros | Kernel::Scratch(_) => each(&|_| 0.0),
            Kernel::Ones => each(&|_| 1.0),
            Kernel::View | Kernel::Unsqueeze(_) => reshaped(inputs[0].data.clone()),
            Kernel::Cast | Kernel::Copy | Kernel::Expand => each(&|i| inputs[0].at(i)),
            Kernel::Transpose(a, b) => {
                let (a, b) = (axis(a, dims.len()), axis(b, dims.len()));
                each(&|index| {
                    let mut index = index.to_vec();
                    index.swap(a, b);
                    inputs[0].at(&index)
                })
            }
            Kernel::Narrow { dim, start } => {
                let (axis, start) = (axis(dim, dims.len()), usize::try_from(start).expect("a small start"));
                each(&|index| {
                    let mut index = index.to_vec();
                    index[axis] += start;
                    inputs[0].at(&index)
                })
            }
            Kernel::SliceBackward { dim, start } => {
                let (axis, start) = (axis(dim, dims.len()), usize::try_from(start).expect("a small start"));
                each(&|index| match index[axis].checked_sub(start) {
                    Some(place) if place < inputs[0].dims[axis] => {
                        let mut index = index.to_vec();
                        index[axis] = place;
                        inputs[0].at(&index)
                    }
                    _ => 0.0,
                })
            }
            Kernel::Cat { dim } => {
                let axis = axis(dim, dims.len());
                each(&|index| {
                    let mut index = index.to_vec();
                    for part in inputs {
                        match index[axis].checked_sub(part.dims[axis]) {
                            Some(rest) => index[axis] = rest,
                            None => return part.at(&index),
                        }
                    }
                    panic!("parts as long as the whole")
                })
            }
            Kernel::Sub => each(&|i| inputs[0].at(i) - inputs[1].at(i)),
            Kernel::Add => each(&|i| inputs[0].at(i) + inputs[1].at(i)),
            Kernel::Mul => each(&|i| inputs[0].at(i) * inputs[1].at(i)),
            Kernel::MulScalar(factor) => each(&|i| inputs[0].at(i) * factor),
            Kernel::AddScalar(number) => each(&|i| inputs[0].at(i) + number),
            Kernel::Pow(exponent) => inputs[0].map(|x| x.powi(exponent)),
            Kernel::Neg => inputs[0].map(|x| -x),
            Kernel::Unary(name) => inputs[0].map(|x| unary(name, x)),
            Kernel::UnaryBackward(name) => each(&|i| inputs[0].at(i) * unary_slope(name, inputs[1].at(i))),
            Kernel::Sum => inputs[0].sum_to(dims),
            Kernel::Mean => {
                let width = inputs[0].dims.last().copied().unwrap_or(1);
                #[expect(clippy::cast_precision_loss, reason = "a small width")]
                inputs[0].sum_to(dims).map(|sum| sum / width as f64)
            }
            Kernel::MatMul { transpose_a, transpose_b } => {
                let product = Array::product(inputs[0], inputs[1], transpose_a, transpose_b, dims);
                let bias = inputs.get(2).copied();
                each(&|i| product.at(i) + bias.map_or(0.0, |bias| bias.at(i)))
            }
            Kernel::Softmax => reshaped(inputs[0].rows(|_, row| {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                row.iter().map(|x| x.exp() / sum).collect()
            })),
            Kernel::SoftmaxBackward => reshaped(inputs[1].rows(|i, out| {
                let grad = &inputs[0].data[i * out.len()..][..out.len()];
                let both = dot(grad, out);
                grad.iter().zip(out).map(|(grad, out)| out * (grad - both)).collect()
            })),
            Kernel::LogSoftmax => reshaped(inputs[0].rows(|_, row| {
                let log = row.iter().map(|x| x.exp()).sum::<f64>().ln();
                row.iter().map(|x| x - log).collect()
            })),
            Kernel::LogSoftmaxBackward => reshaped(inputs[1].rows(|i, out| {
                let grad = &inputs[0].data[i * out.len()..][..out.len()];
                let sum: f64 = grad.iter().sum();
                grad.iter().zip(out).map(|(grad, out)| grad - out.exp() * sum).collect()
            })),
            Kernel::NllLoss => {
                let (rows, labels) = (inputs[0], &inputs[1].data);
                let picked = rows.rows(|i, row| vec![-row[label(labels[i])]]);
                #[expect(clippy::cast_precision_loss, reason = "a few rows")]
                Array::scalar(picked.iter().sum::<f64>() / labels.len() as f64)
            }
            #[expect(clippy::cast_precision_loss, reason = "a few rows")]
            Kernel::NllTotalWeight => Array::scalar(inputs[1].data.len() as f64),
            Kernel::NllLossBackward => {
                let labels = inputs[2];
                #[expect(clippy::cast_precision_loss, reason = "a few rows")]
                let share = -inputs[0].data[0] / labels.data.len() as f64;
                each(&|i| if label(labels.at(&i[..1])) == i[1] { share } else { 0.0 })
            }
            Kernel::Embedding => {
                let (table, last) = (inputs[1], dims.len() - 1);
                each(&|i| table.at(&[label(inputs[0].at(&i[..last])), i[last]]))
            }
            Kernel::EmbeddingBackward => {
                let (grad, ids) = (inputs[0], inputs[1]);
                let width = dims[1];
                let mut table = Array { dims: dims.to_vec(), data: vec![0.0; dims.iter().product()] };
                for (row, &id) in grad.data.chunks(width).zip(&ids.data) {
                    for (sum, grad) in table.data[label(id) * width..][..width].iter_mut().zip(row) {
                        *sum += grad;
                    }
                }
                table
            }
            Kernel::LayerNorm(what) => layer_norm(what, inputs, dims),
            Kernel::LayerNormBackward(what) => layer_norm_backward(what, inputs, dims),
            ref other => panic!("no kernel {other:?}"),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a label is a small whole number")]
fn label(number: f64) -> usize {
    number as usize
}

#[expect(clippy::cast_precision_loss, reason = "a small width")]
fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

fn rstd(row: &[f64]) -> f64 {
    let of = mean(row);
    let squares: Vec<f64> = row.iter().map(|x| (x - of) * (x - of)).collect();
    1.0 / (mean(&squares) + 1e-6).sqrt()
}

fn layer_norm(what: &str, inputs: &[&Array], dims: &[usize]) -> Array {
    let x = inputs[0];
    let data = match what {
        "mean" => x.rows(|_, row| vec![mean(row)]),
        "rstd" => x.rows(|_, row| vec![rstd(row)]),
        _ => x.rows(|_, row| {
            let (mean, rstd) = (mean(row), rstd(row));
            let parameter = |n: usize, i: usize, or: f64| inputs.get(n).map_or(or, |p| p.data[i]);
            let out = |(i, x): (usize, &f64)| (x - mean) * rstd * parameter(1, i, 1.0) + parameter(2, i, 0.0);
            row.iter().enumerate().map(out).collect()
        }),
    };
    Array { dims: dims.to_vec(), data }
}

fn layer_norm_backward(what: &str, inputs: &[&Array], dims: &[usize]) -> Array {
    let [grad, x, mean_of, rstd_of] = [inputs[0], inputs[1], inputs[2], inputs[3]];
    let normed = x.rows(|i, row| row.iter().map(|x| (x - mean_of.data[i]) * rstd_of.data[i]).collect());
    let normed = Array { dims: x.dims.clone(), data: normed };
    match what {
        "weight" => Array::from_fn(&grad.dims, |i| grad.at(i) * normed.at(i)).sum_to(dims),
        "bias" => grad.sum_to(dims),
        _ => {
            let scaled = Array::from_fn(&grad.dims, |i| grad.at(i) * inputs.get(4).map_or(1.0, |weight| weight.at(i)));
            let data = scaled.rows(|i, row| {
                let normed = &normed.data[i * row.len()..][..row.len()];
                let products: Vec<f64> = row.iter().zip(normed).map(|(g, n)| g * n).collect();
                let (shift, slope) = (mean(row), mean(&products));
                row.iter().zip(normed).map(|(g, n)| rstd_of.data[i] * (g - shift - n * slope)).collect()
            });
            Array { dims: dims.to_vec(), data }
        }
    }
}

/// Numbers that look random and are the same each time.
fn numbers(dims: &[usize], seed: u64) -> Array {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    Array::from_fn(dims, |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 40).expect("24 bits")) / f64::from(1 << 24) - 0.5
    })
}

/// Named tensors of a test.
type Given = HashMap<&'static str, Array>;

fn given(arrays: &[(&'static str, &[usize])]) -> Given {
    (1..).zip(arrays).map(|(seed, &(name, dims))| (name, numbers(dims, seed))).collect()
}

struct Leaves<'a> {
    cx: &'a Context,
    given: &'a Given,
    made: RefCell<Vec<(&'static str, Tensor)>>,
}

impl Leaves<'_> {
    fn get(&self, name: &'static str) -> Tensor {
        let dims: Vec<u64> = self.given[name].dims.iter().map(|&dim| dim as u64).collect();
        let tensor = trainable_copy(&self.cx.input(name, &dims, DType::F32));
        self.made.borrow_mut().push((name, tensor.clone()));
        tensor
    }
}

fn array(tensor: &Tensor) -> Array {
    tensor.value().and_then(|value| value.downcast_ref::<Array>()).expect("a real tensor").clone()
}

type Program = dyn Fn(&Context, &dyn Fn(&'static str) -> Tensor) -> Tensor;

/// The program's loss and, if asked for, the gradients that `backward` gives its leaves after `times` micro-batches.
fn run(given: &Given, program: &Program, times: usize) -> (f64, Given) {
    let cx = Context::with_executor(Box::new(Numbers { given: given.clone() }));
    let leaves = Leaves { cx: &cx, given, made: RefCell::default() };
    let tensors: HashMap<&'static str, Tensor> = given.keys().map(|&name| (name, leaves.get(name))).collect();
    let mut value = 0.0;
    for _ in 0..times {
        let loss = program(&cx, &|name| tensors[name].clone());
        value = array(&loss).data[0];
        cx.backward(&loss);
        drop(loss);
        drop(cx.take_graph());
    }
    let grads = tensors.iter().filter_map(|(&name, tensor)| Some((name, array(&tensor.grad()?)))).collect();
    (value, grads)
}

/// Every gradient of every leaf of `program` agrees with central differences; those of `fixed` are not wanted.
#[track_caller]
fn agrees(given: &Given, fixed: &[&str], program: &Program) {
    const STEP: f64 = 1e-5;
    let (_, grads) = run(given, program, 1);
    let (_, twice) = run(given, program, 2);
    for (&name, values) in given {
        if fixed.contains(&name) {
            continue;
        }
        let grad = &grads[name];
        assert_eq!(grad.dims, values.dims, "{name}");
        for place in 0..values.data.len() {
            let at = |by: f64| {
                let mut moved = given.clone();
                moved.get_mut(name).expect("a leaf").data[place] += by;
                run(&moved, program, 1).0
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let found = grad.data[place];
            assert!(
                (found - expected).abs() < 1e-7 + 1e-6 * expected.abs(),
                "{name}[{place}]: {found}, not {expected}"
            );
            let summed = twice[name].data[place];
            assert!((summed - 2.0 * found).abs() < 1e-9, "{name}[{place}] after two micro-batches: {summed}");
        }
    }
}

#[test]
fn a_gated_block_with_a_residual() {
    let given = given(&[("x", &[2, 3, 4]), ("gate", &[5, 4]), ("up", &[5, 4]), ("down", &[4, 5]), ("bias", &[4])]);
    agrees(&given, &[], &|cx, leaf| {
        let x = leaf("x");
        let gate = cx.silu(cx.linear(&x, &leaf("gate"), None));
        let fed = cx.linear(cx.mul(gate, cx.linear(&x, &leaf("up"), None)), &leaf("down"), Some(&leaf("bias")));
        let out = cx.add(&x, fed);
        cx.sum_all(cx.mul(&out, &out))
    });
}

#[test]
fn attention_written_out() {
    let given = given(&[("x", &[2, 3, 4]), ("q", &[4, 4]), ("k", &[4, 4]), ("v", &[4, 4]), ("target", &[2, 2, 3, 2])]);
    agrees(&given, &[], &|cx, leaf| {
        let x = leaf("x");
        let heads = |name| cx.transpose(cx.reshape(cx.linear(&x, &leaf(name), None), &[2, 3, 2, 2]), 1, 2);
        let (query, key, value) = (heads("q"), heads("k"), heads("v"));
        let scores = cx.mul_scalar(cx.matmul(query, cx.transpose(key, 2, 3)), 0.7);
        let attended = cx.matmul(cx.softmax(scores, DType::F32), value);
        cx.sum_all(cx.mul(attended, leaf("target")))
    });
}

#[test]
fn every_norm() {
    use vramplan::model::Norm;
    for (kind, bias) in
        [(Norm::Rms, false), (Norm::RmsInFp32, false), (Norm::GemmaRms, false), (Norm::Layer { bias: true }, true)]
    {
        let mut given = given(&[("x", &[3, 4]), ("weight", &[4]), ("target", &[3, 4])]);
        if bias {
            given.insert("bias", numbers(&[4], 9));
        }
        agrees(&given, &[], &move |cx, leaf| {
            let norm = NormLayer {
                name: "norm",
                kind,
                weight: Some(leaf("weight")),
                bias: bias.then(|| leaf("bias")),
                kernels: Kernels::default(),
            };
            cx.sum_all(cx.mul(norm.forward(cx, leaf("x")), leaf("target")))
        });
    }
}

#[test]
fn every_written_out_activation() {
    use Activation::{BloomGelu, GeluNew, Relu, Relu2, Silu};
    for activation in [Silu, Relu, Relu2, GeluNew, BloomGelu] {
        let given = given(&[("x", &[3, 4]), ("target", &[3, 4])]);
        agrees(&given, &[], &move |cx, leaf| cx.sum_all(cx.mul(activate(cx, activation, leaf("x")), leaf("target"))));
    }
}

#[test]
fn broadcast_operands_get_sums() {
    let given = given(&[("x", &[2, 3, 4]), ("row", &[4]), ("column", &[3, 1]), ("y", &[2, 1, 4])]);
    agrees(&given, &[], &|cx, leaf| {
        let scaled = cx.add(cx.mul(leaf("x"), leaf("column")), leaf("row"));
        let wide = cx.expand(leaf("y"), &[2, 3, 4]);
        cx.sum_all(cx.mul(cx.mul(&scaled, wide), &scaled))
    });
}

#[test]
fn parts_of_a_tensor_and_what_is_joined() {
    let given = given(&[("x", &[2, 3, 6]), ("y", &[2, 3, 2])]);
    agrees(&given, &[], &|cx, leaf| {
        let x = leaf("x");
        let [a, b] = cx.split_in::<2>(x.clone(), -1);
        let middle = cx.narrow(&x, -1, 2, 3);
        let joined = cx.cat(&[&cx.neg(&b), &leaf("y"), &a], -1);
        let sum = cx.sum_all(cx.mul(cx.narrow(&joined, -1, 0, 3), middle));
        let rest = cx.sum_all(cx.tanh(cx.narrow(&joined, -1, 1, 7)));
        cx.add(sum, rest)
    });
}

#[test]
fn a_tied_table_gets_both_gradients_and_the_loss_its_labels() {
    let mut given = given(&[("table", &[5, 4]), ("weight", &[4, 4])]);
    given.insert("ids", Array { dims: vec![2, 3], data: vec![0.0, 3.0, 1.0, 3.0, 4.0, 0.0] });
    given.insert("labels", Array { dims: vec![6], data: vec![3.0, 1.0, 0.0, 4.0, 0.0, 2.0] });
    agrees(&given, &["ids", "labels"], &|cx, leaf| {
        let table = leaf("table");
        let hidden = cx.linear(cx.embedding(leaf("ids"), &table), &leaf("weight"), None);
        let logits = cx.linear(&hidden, &table, None);
        cx.cross_entropy(cx.reshape(logits, &[6, 5]), &leaf("labels"))
    });
}

#[test]
fn a_checkpointed_region_runs_again_from_its_input() {
    let given = given(&[("x", &[2, 3]), ("first", &[4, 3]), ("second", &[3, 4])]);
    fn block(cx: &Context, x: &Tensor, first: &Tensor, second: &Tensor) -> Tensor {
        cx.add(x, cx.linear(cx.silu(cx.linear(x, first, None)), second, None))
    }
    fn loss(cx: &Context, out: &Tensor) -> Tensor {
        cx.sum_all(cx.mul(out, out))
    }
    let kept: &Program = &|cx, leaf| loss(cx, &block(cx, &leaf("x"), &leaf("first"), &leaf("second")));
    let checkpointed: &Program = &|cx, leaf| {
        let (first, second) = (leaf("first"), leaf("second"));
        loss(cx, &cx.checkpoint(&leaf("x"), move |cx, x| block(cx, x, &first, &second)))
    };
    assert_eq!(run(&given, kept, 1), run(&given, checkpointed, 1));
    agrees(&given, &[], checkpointed);
}

#[test]
fn conv1d_is_a_linear_layer_with_its_weight_the_other_way_round() {
    let given = given(&[("x", &[2, 3]), ("weight", &[3, 4]), ("bias", &[4])]);
    agrees(&given, &[], &|cx, leaf| {
        let out = cx.conv1d(leaf("x"), &leaf("weight"), &leaf("bias"));
        cx.sum_all(cx.mul(&out, &out))
    });
}
