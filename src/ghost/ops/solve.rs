//! Triangular systems (`BatchLinearAlgebra.cpp`, torch 2.11).

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `torch.linalg.solve_triangular(a, b, upper=False, unitriangular=True)`: `a` is `[..., n, n]`, `b` `[..., n, k]`. Saves
    /// `a` and the solution; backward solves the transposed system.
    pub fn solve_triangular(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let node = self.record(&[a, b], &[Some(a)]);
        let mut out = self.solved(a, b);
        if let Some(mut node) = node {
            node.save_output(self, &out);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (a, solution) = (incoming.saved(0), incoming.saved(1));
                let of_b = cx.solved(a, incoming.grad);
                let of_a = incoming.needs(0).then(|| {
                    let negative = {
                        let product = cx.matmul(&of_b, cx.transpose(solution, -1, -2));
                        cx.neg(&product)
                    };
                    cx.launch(Kernel::Unary("tril"), &[&negative], Layout::contiguous(a.dims()), a.dtype())
                });
                smallvec![of_a, incoming.needs(1).then_some(of_b)]
            });
        }
        out
    }

    /// One new tensor, column by column, which is solved in; cuBLAS takes an array of pointers to each operand's matrices.
    fn solved(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let layout = Layout::contiguous(b.layout().transpose(-1, -2).dims()).transpose(-1, -2);
        let out = self.launch(Kernel::Unary("solve_triangular"), &[a, b], layout, b.dtype());
        let matrices = a.layout().numel() / (a.dim(-1) * a.dim(-2)).max(1);
        let pointers = || self.launch(Kernel::Scratch("pointers"), &[], Layout::contiguous(&[matrices]), DType::I64);
        let _arrays = (pointers(), pointers());
        out
    }
}
