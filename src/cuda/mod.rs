//! NVIDIA GPUs through CUDA, as `vramplan verify` measures them: what the library leaves to the program, as it takes unsafe
//! code.

#![allow(unsafe_code)]

mod places;
mod pool;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod shim;

use std::rc::Rc;

use candle_core::Device;
use vramplan::verify::{Gpu, Pool, VerifyError};

/// The GPUs of this machine.
pub(crate) struct Cuda;

impl Gpu for Cuda {
    fn open(&self, ordinal: usize) -> Result<Rc<dyn Pool>, VerifyError> {
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        shim::load().map_err(VerifyError::Gpu)?;
        let device = Device::new_cuda(ordinal).map_err(|error| VerifyError::Gpu(first_line(&error)))?;
        Ok(Rc::new(pool::Opened::new(device)?))
    }
}

/// candle appends a backtrace.
fn first_line(error: &dyn std::error::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
