//! CUDA's stream-ordered pool (`cuMemAllocAsync`), which candle allocates from, and its marks.

use std::ffi::c_void;
use std::sync::Arc;

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::CudaContext;
use candle_core::cuda_backend::cudarc::driver::result::{DriverError, device, mem_pool};
use candle_core::cuda_backend::cudarc::driver::sys::{CUmemPool_attribute, CUmemoryPool, cuDriverGetVersion};
use vramplan::verify::{Identity, Marks, Pool, VerifyError};

use super::first_line;

/// A GPU that candle has opened.
pub(super) struct Opened {
    device: Device,
    context: Arc<CudaContext>,
    pool: CUmemoryPool,
}

fn told(error: DriverError) -> VerifyError {
    VerifyError::Gpu(first_line(&error))
}

impl Opened {
    pub(super) fn new(device: Device) -> Result<Self, VerifyError> {
        let context = match &device {
            Device::Cuda(cuda) => Arc::clone(cuda.cuda_stream().context()),
            _ => return Err(VerifyError::Gpu("candle opened something else".to_owned())),
        };
        if !context.has_async_alloc() {
            return Err(VerifyError::Gpu(
                "this GPU or its driver has no memory pools, and nothing else is measured".to_owned(),
            ));
        }
        // SAFETY: the device is the one that the context was made for.
        let pool = unsafe { device::get_mem_pool(context.cu_device()) }.map_err(told)?;
        let opened = Self { device, context, pool };
        // what is free is kept, so that the card shows the most that was reserved
        opened.set(CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)?;
        Ok(opened)
    }

    fn get(&self, attribute: CUmemPool_attribute) -> Result<u64, VerifyError> {
        let mut value = 0_u64;
        self.context.bind_to_thread().map_err(told)?;
        // SAFETY: the pool is the device's own, which lives as long as the context; each attribute asked for is a `cuuint64_t`.
        unsafe { mem_pool::get_attribute(self.pool, attribute, (&raw mut value).cast::<c_void>()) }.map_err(told)?;
        Ok(value)
    }

    fn set(&self, attribute: CUmemPool_attribute, mut value: u64) -> Result<(), VerifyError> {
        self.context.bind_to_thread().map_err(told)?;
        // SAFETY: as in `get`.
        unsafe { mem_pool::set_attribute(self.pool, attribute, (&raw mut value).cast::<c_void>()) }.map_err(told)
    }
}

/// The newest CUDA that the driver knows.
fn cuda_version() -> Result<String, VerifyError> {
    let mut version = 0;
    // SAFETY: the driver writes one number.
    unsafe { cuDriverGetVersion(&raw mut version) }.result().map_err(told)?;
    Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
}

impl Pool for Opened {
    fn device(&self) -> Device {
        self.device.clone()
    }

    fn identity(&self) -> Result<Identity, VerifyError> {
        let (major, minor) = self.context.compute_capability().map_err(told)?;
        Ok(Identity {
            name: self.context.name().map_err(told)?,
            compute_capability: format!("{major}.{minor}"),
            driver_version: None,
            cuda_version: cuda_version()?,
        })
    }

    fn begin(&self) -> Result<(), VerifyError> {
        self.settle()?;
        // SAFETY: as in `get`.
        unsafe { mem_pool::trim_to(self.pool, 0) }.map_err(told)?;
        // a mark is set to what is held now, and takes no other value than 0
        self.set(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)?;
        self.set(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, 0)
    }

    fn settle(&self) -> Result<(), VerifyError> {
        self.device.synchronize().map_err(|error| VerifyError::Gpu(first_line(&error)))
    }

    fn reset_used(&self) -> Result<(), VerifyError> {
        self.set(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)
    }

    fn marks(&self) -> Result<Marks, VerifyError> {
        Ok(Marks {
            used: self.get(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?,
            used_high: self.get(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)?,
            reserved: self.get(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?,
            reserved_high: self.get(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)?,
        })
    }

    fn free_and_total(&self) -> Result<(u64, u64), VerifyError> {
        let (free, total) = self.context.mem_get_info().map_err(told)?;
        Ok((free as u64, total as u64))
    }
}
