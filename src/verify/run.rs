//! One configuration trained without data and with, side by side.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use super::VerifyError;
use super::array::{Array, Result};
use super::config::Configuration;
use super::gauge::Gauge;
use super::report::{PhaseRun, Run};
use super::runner::{PhasePeak, Runner, Shared};
use super::shadow::{Meter, Place, Shadow};
use crate::ghost::{Context, Playback, Tensor};
use crate::step::{Part, Training};

/// Steps that are taken.
const STEPS: usize = 4;

/// What a training run came to.
struct Outcome {
    phases: Vec<PhasePeak>,
    losses: Vec<f32>,
    frozen_unchanged: bool,
    moved: usize,
    trainable: usize,
    ledger_bytes: u64,
}

impl Outcome {
    fn peak(&self) -> u64 {
        self.phases.iter().map(|phase| phase.bytes).max().unwrap_or(0)
    }
}

/// What candle is predicted to hold at most when it trains `configuration`, in bytes; every kernel's arrays are held against
/// the ledger.
///
/// # Errors
/// A kernel is not carried out, or the ledger is not what the arrays hold.
///
/// ```
/// use vramplan::verify;
///
/// let configuration = &verify::configurations()?[0];
/// assert!(verify::predict(configuration)? > 0);
/// # Ok::<(), verify::VerifyError>(())
/// ```
pub fn predict(configuration: &Configuration) -> Result<u64> {
    shadow(configuration, Place::Host).map(|outcome| outcome.peak())
}

/// The same on a GPU.
pub(super) fn predict_on_gpu(configuration: &Configuration) -> Result<u64> {
    shadow(configuration, Place::Gpu).map(|outcome| outcome.peak())
}

fn shadow(configuration: &Configuration, place: Place) -> Result<Outcome> {
    let meter = Rc::new(Meter::of(place));
    let runner = Runner::<Shadow>::new(
        Rc::clone(&meter),
        Rc::clone(&meter) as Rc<dyn Gauge>,
        configuration.learning_rate,
        Some(Rc::clone(&meter)),
    );
    train(configuration, &Rc::new(runner))
}

/// Trains `configuration` on candle's CPU tensors, which `gauge` counts, and without data, and tells both.
///
/// # Errors
/// Candle fails, or as [`predict`].
pub fn run(configuration: &Configuration, gauge: &'static (dyn Gauge + Sync)) -> Result<Run> {
    let predicted = shadow(configuration, Place::Host)?;
    let measured = real(configuration, &|| Rc::new(gauge))?;
    Ok(compared(configuration, &predicted, measured))
}

/// The same on a GPU, on this thread: candle gives each a stream of its own.
pub(super) fn run_on_gpu(configuration: &Configuration, gpu: candle_core::Device, gauge: Rc<dyn Gauge>) -> Result<Run> {
    let predicted = shadow(configuration, Place::Gpu)?;
    let runner = Runner::<candle_core::Tensor>::new(gpu, gauge, configuration.learning_rate, None);
    let measured = train(configuration, &Rc::new(runner))?;
    Ok(compared(configuration, &predicted, measured))
}

fn compared(configuration: &Configuration, predicted: &Outcome, measured: Outcome) -> Run {
    let (predicted_bytes, measured_bytes) = (predicted.peak(), measured.peak());
    let difference_bytes = predicted_bytes.cast_signed() - measured_bytes.cast_signed();
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let error_percent = 100.0 * difference_bytes as f64 / measured_bytes.max(1) as f64;
    Run {
        name: configuration.name.clone(),
        ledger_bytes: measured.ledger_bytes,
        predicted_bytes,
        measured_bytes,
        difference_bytes,
        error_percent,
        phases: phases(&predicted.phases, &measured.phases),
        losses: measured.losses,
        frozen_unchanged: measured.frozen_unchanged,
        moved: measured.moved,
        trainable: measured.trainable,
        memory: None,
    }
}

/// Takes a step that nothing counts, so that what libraries make once (threads, buffers) is there.
///
/// # Errors
/// As [`run`].
pub fn warm_up() -> Result<()> {
    let all = super::configurations()?;
    let Some(first) = all.iter().max_by_key(|configuration| configuration.train.max_seq_length) else { return Ok(()) };
    real(first, &|| Rc::new(Meter::default())).map(|_| ())
}

/// Trains with candle, on a thread of the pool that products are shared out in: what comes from elsewhere goes through a queue
/// that now and then allocates.
fn real(configuration: &Configuration, gauge: &(dyn Fn() -> Rc<dyn Gauge> + Sync)) -> Result<Outcome> {
    let pool = rayon::ThreadPoolBuilder::new().build().map_err(|error| VerifyError::Candle(error.to_string()))?;
    pool.install(|| {
        let device = candle_core::Device::Cpu;
        let runner = Runner::<candle_core::Tensor>::new(device, gauge(), configuration.learning_rate, None);
        train(configuration, &Rc::new(runner))
    })
}

/// The highest of each phase's peaks.
fn phases(predicted: &[PhasePeak], measured: &[PhasePeak]) -> Vec<PhaseRun> {
    let mut all: Vec<PhaseRun> = Vec::new();
    for (predicted, measured) in predicted.iter().zip(measured) {
        let name = predicted.phase.name();
        match all.iter_mut().find(|phase| phase.name == name) {
            Some(known) => {
                known.predicted_bytes = known.predicted_bytes.max(predicted.bytes);
                known.measured_bytes = known.measured_bytes.max(measured.bytes);
            }
            None => all.push(PhaseRun {
                name: name.to_owned(),
                predicted_bytes: predicted.bytes,
                measured_bytes: measured.bytes,
            }),
        }
    }
    all
}

fn train<A: Array>(configuration: &Configuration, runner: &Rc<Runner<A>>) -> Result<Outcome> {
    let cx = Context::with_executor(Box::new(Shared(Rc::clone(runner))));
    let (model, job) = (&configuration.model, &configuration.train);
    let mut training = Training::new(&cx, model, job).map_err(|error| VerifyError::Model(error.to_string()))?;
    runner.check()?;
    let before = hashes(runner, &training.parts())?;
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        training.forward_and_backward();
        runner.check()?;
        if let Some(loss) = training.loss().and_then(Tensor::value) {
            losses.extend(runner.numbers(loss)?);
        }
        training.update();
        training.end_step();
        runner.check()?;
    }
    let parts = training.parts();
    let after = hashes(runner, &parts)?;
    let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
    let of = |trainable: bool| parts.iter().zip(&same).filter(move |(part, _)| part.trainable == trainable);
    let outcome = Outcome {
        phases: runner.phases(),
        losses,
        frozen_unchanged: of(false).all(|(_, same)| *same),
        moved: of(true).filter(|(_, same)| !**same).count(),
        trainable: of(true).count(),
        ledger_bytes: Playback::default().play(&cx.ledger().entries()).peak(),
    };
    Ok(outcome)
}

fn hashes<A: Array>(runner: &Runner<A>, parts: &[Part]) -> Result<Vec<u64>> {
    let hash = |part: &Part| {
        let mut hasher = DefaultHasher::new();
        if let Some(value) = part.tensor.value() {
            runner.numbers(value)?.iter().for_each(|number| number.to_bits().hash(&mut hasher));
        }
        Ok(hasher.finish())
    };
    parts.iter().map(hash).collect()
}
