//! Carries out a step's kernels on arrays, and keeps account of what they hold.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::VerifyError;
use super::array::{Array, Result};
use super::gauge::Gauge;
use super::kernels::{self, AdamW, Call};
use super::shadow::{Meter, Mirror};
use super::value::{Handle, dims};
use crate::dtype::DType;
use crate::ghost::{Executor, Kernel, Layout, Ledger, Phase, Value};

/// The base of rotary frequencies; it makes no difference to memory.
const ROPE_BASE: f64 = 10_000.0;
/// Spread of the weights a model begins with.
const WEIGHT_SPREAD: f64 = 0.05;

/// The most bytes held in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PhasePeak {
    pub(super) phase: Phase,
    pub(super) bytes: u64,
}

/// What runs the kernels of one training run.
pub(super) struct Runner<A: Array> {
    device: A::Device,
    adamw: AdamW,
    gauge: Rc<dyn Gauge>,
    /// Without data: what arrays hold is what the ledger says the ghosts hold.
    audit: Option<(Rc<Meter>, Mirror)>,
    random: RefCell<Random>,
    /// Bytes of ghosts that stand for what only CUDA's kernels need.
    scratch: Rc<Cell<u64>>,
    phases: RefCell<Vec<PhasePeak>>,
    failure: RefCell<Option<VerifyError>>,
}

/// A runner that a context owns a share of.
pub(super) struct Shared<A: Array>(pub(super) Rc<Runner<A>>);

impl<A: Array> Runner<A> {
    pub(super) fn new(device: A::Device, gauge: Rc<dyn Gauge>, learning_rate: f64, audit: Option<Rc<Meter>>) -> Self {
        Self {
            device,
            adamw: AdamW { learning_rate },
            gauge,
            audit: audit.map(|meter| (meter, Mirror::default())),
            random: RefCell::new(Random(0x9e37_79b9_7f4a_7c15)),
            scratch: Rc::default(),
            phases: RefCell::default(),
            failure: RefCell::default(),
        }
    }

    /// The peak of each phase that was begun, in order; the last ends here.
    pub(super) fn phases(&self) -> Vec<PhasePeak> {
        self.end_phase();
        self.phases.take()
    }

    /// What went wrong first.
    ///
    /// # Errors
    /// Something did.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn end_phase(&self) {
        if let Some(last) = self.phases.borrow_mut().last_mut() {
            last.bytes = self.gauge.peak();
        }
    }

    /// The numbers of a tensor in order.
    pub(super) fn numbers(&self, value: &Value) -> Result<Vec<f32>> {
        handle::<A>(value)?.look()?.numbers()
    }

    /// Writes numbers over a tensor's.
    pub(super) fn write(&self, value: &Value, numbers: &[f32]) -> Result<()> {
        let handle = handle::<A>(value)?;
        let mut next = numbers.iter().copied();
        let flat = A::floats(&self.device, numbers.len(), &mut || next.next().unwrap_or_default())?;
        handle.replace(flat.cast(handle.dtype()?)?)
    }

    /// The value a kernel gives; after a failure nothing is computed any more.
    fn carry_out(&self, layout: &Layout, dtype: DType, make: impl FnOnce() -> Result<Option<A>>) -> Handle<A> {
        let bytes = layout.numel() * dtype.bytes();
        let nothing = || Handle::scratch(&self.scratch, bytes, layout);
        if self.failure.borrow().is_some() {
            return nothing();
        }
        self.gauge.count(true);
        let made = make().and_then(|made| {
            let wanted = dims(layout).iter().product::<usize>();
            match &made {
                Some(flat) if flat.dims() != [wanted] || flat.dtype().bytes() != dtype.bytes() => Err(
                    VerifyError::Kernel(format!("{:?} {} where {wanted} {dtype} were due", flat.dims(), flat.dtype())),
                ),
                _ => Ok(made),
            }
        });
        self.gauge.count(false);
        match made {
            Ok(Some(flat)) => Handle::new(flat, layout),
            Ok(None) => nothing(),
            Err(error) => {
                self.fail(error);
                nothing()
            }
        }
    }

    fn fail(&self, error: VerifyError) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    fn call(&self, kernel: &Kernel, inputs: &[&Value], layout: &Layout, dtype: DType) -> Result<Option<A>> {
        match *kernel {
            Kernel::Parameter(name) => self.parameter(name, layout, dtype).map(Some),
            Kernel::Input(_) => self.tokens(layout).map(Some),
            _ => {
                let inputs = match kernels::reads(kernel) {
                    true => inputs.iter().map(|value| handle::<A>(value)?.look()).collect::<Result<Vec<A>>>()?,
                    false => Vec::new(),
                };
                let call = Call { inputs: &inputs, layout, dtype, device: &self.device, adamw: self.adamw };
                kernels::run(kernel, &call).map_err(|error| error.of(kernel))
            }
        }
    }

    /// What a parameter begins with.
    fn parameter(&self, name: &str, layout: &Layout, dtype: DType) -> Result<A> {
        let sizes = dims(layout);
        let len = sizes.iter().product();
        let mut random = self.random.borrow_mut();
        let numbers: &mut dyn FnMut() -> f32 = match name {
            "lora_B" => return A::zeros(&self.device, &[len], dtype),
            name if name.contains("norm") => return A::ones(&self.device, &[len], dtype),
            // `kaiming_uniform_(a=sqrt(5))`
            "lora_A" => {
                #[expect(clippy::cast_precision_loss, reason = "a layer's width")]
                let bound = (sizes.last().copied().unwrap_or(1) as f64).sqrt().recip();
                &mut move || random.uniform(bound)
            }
            // `buffer`: of a model whose buffers come last, which are no others
            "inv_freq" | "buffer" => {
                let mut at = 0.0;
                #[expect(clippy::cast_precision_loss, reason = "a head's width")]
                let half = len as f64;
                &mut move || {
                    let frequency = ROPE_BASE.powf(-at / half);
                    at += 1.0;
                    single(frequency)
                }
            }
            _ => &mut move || random.normal(WEIGHT_SPREAD),
        };
        A::floats(&self.device, len, numbers)?.cast(dtype)
    }

    /// Token ids, `[batch, length]`, of which each follows from the one before; labels are the same.
    fn tokens(&self, layout: &Layout) -> Result<A> {
        /// Different tokens of the corpus.
        const WORDS: i64 = 61;
        let sizes = dims(layout);
        let (len, width) = (sizes.iter().product(), sizes.last().copied().unwrap_or(1));
        let (mut place, mut token) = (0_usize, 1_i64);
        let mut next = || {
            if place.is_multiple_of(width) {
                token = i64::try_from(place / width).unwrap_or(0) % WORDS + 1;
            }
            place += 1;
            token = (token * 2 + 3) % WORDS;
            token
        };
        A::integers(&self.device, len, &mut next)
    }
}

fn handle<A: Array>(value: &Value) -> Result<&Handle<A>> {
    value.downcast_ref().ok_or_else(|| VerifyError::Kernel("a value of another executor".to_owned()))
}

#[expect(clippy::cast_possible_truncation, reason = "numbers of a model in fp32")]
fn single(number: f64) -> f32 {
    number as f32
}

impl<A: Array> Executor for Shared<A> {
    fn run(&self, kernel: &Kernel, inputs: &[&Value], layout: &Layout, dtype: DType) -> Value {
        let runner = &self.0;
        Rc::new(runner.carry_out(layout, dtype, || runner.call(kernel, inputs, layout, dtype)))
    }

    fn view(&self, kernel: &Kernel, of: &Value, layout: &Layout, dtype: DType) -> Value {
        let forward = |handle: &Handle<A>| match *kernel {
            Kernel::Narrow { dim, start } => {
                usize::try_from(start).unwrap_or(usize::MAX) * handle.stride(handle.layout().axis_of(dim))
            }
            _ => 0,
        };
        match handle::<A>(of) {
            Ok(handle) => Rc::new(handle.relaid(layout, forward(handle))),
            Err(error) => {
                self.0.fail(error);
                Rc::new(Handle::<A>::scratch(&self.0.scratch, layout.numel() * dtype.bytes(), layout))
            }
        }
    }

    fn write_over(&self, kernel: &Kernel, target: &Value, others: &[&Value], layout: &Layout, dtype: DType) -> Value {
        let runner = &self.0;
        if runner.failure.borrow().is_none() {
            runner.gauge.count(true);
            let inputs: Vec<&Value> = std::iter::once(target).chain(others.iter().copied()).collect();
            let written = runner.call(kernel, &inputs, layout, dtype).and_then(|made| match made {
                Some(flat) => handle::<A>(target)?.replace(flat),
                None => Ok(()),
            });
            runner.gauge.count(false);
            if let Err(error) = written {
                runner.fail(error);
            }
        }
        Rc::clone(target)
    }

    fn begin(&self, phase: Phase) {
        self.0.end_phase();
        self.0.gauge.reset_peak();
        self.0.phases.borrow_mut().push(PhasePeak { phase, bytes: 0 });
    }

    fn ran(&self, kernel: &Kernel, ledger: &Ledger) {
        let Some((meter, mirror)) = &self.0.audit else { return };
        let (ghosts, arrays) = (mirror.live(ledger), meter.all() + self.0.scratch.get());
        if ghosts != arrays {
            self.0.fail(VerifyError::Ledger { kernel: format!("{kernel:?}"), ghosts, arrays });
        }
    }
}

/// Numbers that look random and are the same each time (xorshift64).
struct Random(u64);

impl Random {
    /// Below 1, not below 0.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    }

    fn uniform(&mut self, bound: f64) -> f32 {
        single((2.0 * self.unit() - 1.0) * bound)
    }

    /// The sum of twelve is close to normal.
    fn normal(&mut self, spread: f64) -> f32 {
        let sum: f64 = (0..12).map(|_| self.unit()).sum();
        single((sum - 6.0) * spread)
    }
}
