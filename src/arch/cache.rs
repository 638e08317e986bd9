//! The key-value cache.

use std::cell::{Cell, RefCell};

use crate::dtype::DType;
use crate::ghost::{Category, Context, Graph, Kernel, Layout, Tensor};
use crate::model::{DecoderConfig, LayerType};

/// transformers' `DynamicCache`: keys and values of each layer, grown by concatenation.
pub struct KvCache {
    layers: Vec<CacheLayer>,
    /// Graphs that lead to its states.
    graphs: RefCell<Vec<Graph>>,
    category: Category,
}

#[derive(Default)]
struct CacheLayer {
    /// `sliding_window` of a layer that keeps only so many tokens, less one.
    window: Option<u64>,
    window_tensor: RefCell<Option<Tensor>>,
    held: RefCell<Option<(Tensor, Tensor)>>,
    seen: Cell<u64>,
    /// The last inputs of a convolution, `[batch, channels, kernel]`.
    conv_state: RefCell<Option<Tensor>>,
    /// What a recurrence has come to.
    recurrent_state: RefCell<Option<Tensor>>,
}

impl KvCache {
    /// An empty one for `model`, charged to `category`.
    pub fn new(model: &DecoderConfig, category: Category) -> Self {
        let layer = |layer_type: &LayerType| CacheLayer {
            window: model.sliding_window.filter(|_| *layer_type == LayerType::SlidingAttention),
            ..CacheLayer::default()
        };
        Self { layers: model.layer_types.iter().map(layer).collect(), graphs: RefCell::default(), category }
    }

    /// An empty one of so many layers that all keep every token.
    pub fn of_layers(layers: u64, category: Category) -> Self {
        let layers = (0..layers).map(|_| CacheLayer::default()).collect();
        Self { layers, graphs: RefCell::default(), category }
    }

    /// What a layer holds.
    pub fn held(&self, layer: usize) -> Option<(Tensor, Tensor)> {
        self.layers[layer].held.borrow().clone()
    }

    /// One that begins with keys and values, `[2, batch, heads, length, head_dim]` a layer, without windows unless
    /// `windowed`.
    pub fn beginning_with(
        cx: &Context,
        model: &DecoderConfig,
        category: Category,
        layers: Vec<Tensor>,
        windowed: bool,
    ) -> Self {
        let mut cache = Self::new(model, category);
        for (layer, both) in layers.into_iter().enumerate() {
            if !windowed {
                cache.layers[layer].window = None;
            }
            let [keys, values] = cx.unbind_pair(&both);
            drop(both);
            cache.update(cx, layer, keys, values);
        }
        cache
    }

    /// Tokens it has seen.
    pub fn length(&self) -> u64 {
        // layers that mix tokens otherwise see none
        self.layers.iter().map(|layer| layer.seen.get()).max().unwrap_or(0)
    }

    /// Tokens that a layer with this window still holds.
    pub fn held_length(&self, window: Option<u64>) -> u64 {
        let seen = self.length();
        window.map_or(seen, |window| seen.min(window.saturating_sub(1)))
    }

    /// Whether a layer has states from tokens before.
    pub fn has_state(&self, layer: usize) -> bool {
        self.layers[layer].conv_state.borrow().is_some()
    }

    /// A layer's convolution state.
    ///
    /// # Panics
    /// It has none yet: a mistake in model code.
    pub fn conv_state(&self, layer: usize) -> Tensor {
        self.layers[layer].conv_state.borrow().clone().expect("a prompt came before")
    }

    /// A layer's recurrent state.
    ///
    /// # Panics
    /// It has none yet: a mistake in model code.
    pub fn recurrent_state(&self, layer: usize) -> Tensor {
        self.layers[layer].recurrent_state.borrow().clone().expect("a prompt came before")
    }

    /// `update_conv_state` of `LinearAttentionLayer`: keeps the last `kernel` of `states`, `[batch, channels, length]`,
    /// and returns all that the convolution is to see.
    pub fn update_conv_state(&self, cx: &Context, layer: usize, states: &Tensor, kernel: u64) -> Tensor {
        let held = &self.layers[layer].conv_state;
        let zeros = |length| {
            cx.launch(Kernel::Zeros, &[], Layout::contiguous(&[states.dim(0), states.dim(1), length]), states.dtype())
        };
        let old = held.borrow().clone();
        match old {
            Some(old) => cx.cat(&[&old, states], -1),
            None => {
                held.replace(Some(cx.within(self.category, || zeros(kernel))));
                if states.dim(-1) < kernel { zeros(kernel) } else { states.clone() }
            }
        }
    }

    /// `update_recurrent_state` of `LinearAttentionLayer`: a copy of `state`, in place after the first.
    pub fn update_recurrent_state(&self, cx: &Context, layer: usize, state: &Tensor) {
        let mut held = self.layers[layer].recurrent_state.borrow_mut();
        held.get_or_insert_with(|| {
            cx.within(self.category, || cx.launch(Kernel::Zeros, &[], *state.layout(), state.dtype()))
        });
    }

    /// Keeps a graph that leads to one of its states.
    pub fn keep_graph(&self, graph: Option<Graph>) {
        self.graphs.borrow_mut().extend(graph);
    }

    /// Appends a layer's new keys and values (`[batch, heads, length, head_dim]`); returns all of them.
    pub fn update(&self, cx: &Context, layer: usize, keys: Tensor, values: Tensor) -> (Tensor, Tensor) {
        let layer = &self.layers[layer];
        cx.within(self.category, || {
            if layer.window.is_some() && layer.window_tensor.borrow().is_none() {
                layer.window_tensor.replace(Some(cx.input("sliding window", &[], DType::I64)));
            }
            layer.seen.set(layer.seen.get() + keys.dim(-2));
            let old = layer.held.borrow().clone();
            let Some((old_keys, old_values)) = old else {
                // the first concatenation is with an empty tensor of the keys' type: a copy
                let all_keys = cx.cat(&[&keys], -2);
                let all_values = cx.cat_as(&[&values], -2, keys.dtype().promote(values.dtype()));
                layer.hold(cx, &all_keys, &all_values);
                return (all_keys, all_values);
            };
            let all_keys = cx.cat(&[&old_keys, &keys], -2);
            if layer.window.is_none() {
                // the old keys have no name left once the new ones are there
                layer.hold(cx, &all_keys, &old_values);
            }
            drop(old_keys);
            let all_values = cx.cat(&[&old_values, &values], -2);
            layer.hold(cx, &all_keys, &all_values);
            (all_keys, all_values)
        })
    }
}

impl CacheLayer {
    fn hold(&self, cx: &Context, keys: &Tensor, values: &Tensor) {
        let kept = |t: &Tensor| match self.window {
            Some(window) if t.dim(-2) > window.saturating_sub(1) => {
                let len = window.saturating_sub(1).max(1);
                cx.narrow(t, -2, t.dim(-2) - len, len)
            }
            _ => t.clone(),
        };
        self.held.replace(Some((kept(keys), kept(values))));
    }
}
