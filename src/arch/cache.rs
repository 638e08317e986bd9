//! The key-value cache.

use std::cell::RefCell;

use crate::ghost::{Category, Context, Tensor};

/// transformers' `DynamicCache`: keys and values of each layer, grown by concatenation.
#[derive(Default)]
pub struct KvCache {
    layers: RefCell<Vec<(Tensor, Tensor)>>,
    category: Option<Category>,
}

impl KvCache {
    /// An empty one, charged to `category`.
    pub fn new(category: Category) -> Self {
        Self { layers: RefCell::default(), category: Some(category) }
    }

    /// Tokens it holds.
    pub fn length(&self) -> u64 {
        self.layers.borrow().first().map_or(0, |(keys, _)| keys.dim(-2))
    }

    /// Appends a layer's new keys and values (`[batch, heads, length, head_dim]`); returns all of them.
    pub fn update(&self, cx: &Context, layer: usize, keys: Tensor, values: Tensor) -> (Tensor, Tensor) {
        let category = self.category.unwrap_or(Category::Activations);
        let old = self.layers.borrow().get(layer).cloned();
        let (keys, values) = cx.within(category, || match &old {
            Some((old_keys, old_values)) => {
                let keys = cx.cat(&[old_keys, &keys], -2);
                self.layers.borrow_mut()[layer].0 = keys.clone();
                (keys, cx.cat(&[old_values, &values], -2))
            }
            // the first concatenation is with an empty tensor of the keys' type: a copy
            None => (cx.cat(&[&keys], -2), cx.cat_as(&[&values], -2, keys.dtype().promote(values.dtype()))),
        });
        let mut layers = self.layers.borrow_mut();
        if layer < layers.len() {
            layers[layer] = (keys.clone(), values.clone());
        } else {
            layers.push((keys.clone(), values.clone()));
        }
        (keys, values)
    }
}
