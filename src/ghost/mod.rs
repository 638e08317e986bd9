//! PyTorch's memory behaviour without its data: ghost tensors on a ledger, a tape, and a caching allocator.
//!
//! Knows nothing of models. Operations are methods of [`Context`]; an operand passed by value is let go of when the
//! operation returns, as a temporary of a Python expression is; one passed by reference stays with the caller.
//!
//! ```
//! use vramplan::DType;
//! use vramplan::ghost::{Context, Playback};
//!
//! let cx = Context::new();
//! let weight = cx.parameter("weight", &[4096, 4096], DType::BF16, true);
//! let x = cx.input("x", &[512, 4096], DType::BF16);
//! let y = cx.linear(x, &weight, None);
//! let loss = cx.sum_all(cx.silu(y));
//! cx.backward(&loss);
//! drop(loss);
//! drop(cx.take_graph());
//! assert_eq!(weight.grad().map(|g| g.bytes()), Some(4096 * 4096 * 2));
//! let played = Playback::default().play(&cx.ledger().entries());
//! assert_eq!(played.live(), 2 * 4096 * 4096 * 2 + 2 * 8_519_680);
//! ```

mod allocator;
mod checkpoint;
mod context;
mod executor;
mod layout;
mod ledger;
mod ops;
mod playback;
mod sorted_set;
mod tape;
mod tensor;

pub use allocator::{BlockId, CachingAllocator, MIN_BLOCK, MOST, OutOfMemory};
pub use context::{CUBLAS_WORKSPACE, Context, trainable_copy};
pub use executor::{Executor, Kernel, Value};
pub use layout::{Layout, MAX_RANK};
pub use ledger::{Category, ChargeId, Entry, Ledger, Phase};
pub use ops::attention::{AttentionKernel, AttentionOptions, FLASH_MAX_WIDTH};
pub use ops::log_probabilities::Metric;
pub use ops::quantized::{FOUR_BIT_BLOCK, FourBitMatrix, Int8Matrix, NestedAbsmax};
pub use playback::{PhaseUse, Playback, Use};
pub use tape::{Backward, Grads, Graph, Incoming, Recording};
pub use tensor::Tensor;
