//! One backward pass looked at: the loss, and every parameter with its gradient.

use std::rc::Rc;

use super::VerifyError;
use super::array::Result;
use super::config::Configuration;
use super::gauge::Gauge;
use super::runner::{Runner, Shared};
use super::shadow::Meter;
use crate::ghost::{Context, Tensor};
use crate::step::Training;

/// A parameter and its gradient.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its sizes.
    pub dims: Vec<u64>,
    /// Its numbers in order.
    pub values: Vec<f32>,
    /// Its gradient's, where it is trained.
    pub gradient: Option<Vec<f32>>,
}

/// What a forward and a backward pass came to.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The loss of the last micro-batch.
    pub loss: f32,
    /// Every parameter, in the order `model.parameters()` lists them; a layer's adapter follows its weight.
    pub parameters: Vec<Parameter>,
}

/// Takes `steps` steps with candle on the CPU, lets `change` change the parameters' values (their gradients are not there
/// yet), and runs forward and backward once more.
///
/// # Errors
/// As [`run`](super::run).
pub fn examine(configuration: &Configuration, steps: usize, change: impl FnOnce(&mut [Parameter])) -> Result<Examined> {
    let gauge: Rc<dyn Gauge> = Rc::new(Meter::default());
    let device = candle_core::Device::Cpu;
    let runner = Rc::new(Runner::<candle_core::Tensor>::new(device, gauge, configuration.learning_rate, None));
    let cx = Context::with_executor(Box::new(Shared(Rc::clone(&runner))));
    let mut training = Training::new(&cx, &configuration.model, &configuration.train)
        .map_err(|error| VerifyError::Model(error.to_string()))?;
    for _ in 0..steps {
        training.forward_and_backward();
        training.update();
        training.end_step();
    }
    runner.check()?;
    let numbers = |tensor: &Tensor| tensor.value().map_or_else(|| Ok(Vec::new()), |value| runner.numbers(value));
    let parts = training.parts();
    let mut parameters = Vec::with_capacity(parts.len());
    for part in &parts {
        let values = numbers(&part.tensor)?;
        parameters.push(Parameter { dims: part.tensor.dims().to_vec(), values, gradient: None });
    }
    let before = parameters.clone();
    change(&mut parameters);
    for ((part, parameter), before) in parts.iter().zip(&parameters).zip(&before) {
        let changed = parameter.values.iter().zip(&before.values).any(|(a, b)| a.to_bits() != b.to_bits());
        if let (true, Some(value)) = (changed, part.tensor.value()) {
            runner.write(value, &parameter.values)?;
        }
    }
    training.forward_and_backward();
    runner.check()?;
    for (part, parameter) in parts.iter().zip(&mut parameters) {
        parameter.gradient = part.tensor.grad().map(|gradient| numbers(&gradient)).transpose()?;
    }
    let loss = training.loss().map(&numbers).transpose()?.and_then(|loss| loss.first().copied()).unwrap_or_default();
    Ok(Examined { loss, parameters })
}
