//! Which modules a method adapts beyond their last names: patterns over full names, layers, exceptions, ranks.

use fancy_regex::Regex;

use super::super::error::EstimateError;
use super::targets::names;
use crate::arch::Network;
use crate::job::{JobError, Lora, Peft, TargetModules, end_match, full_match, layer_number};
use crate::model::{Model, one_line};
use crate::nn::{Leaf, Part};

const TARGETS: &str = "train.peft.target_modules";
const EXCLUDED: &str = "train.peft.exclude_modules";
const LAYERS_PATTERN: &str = "train.peft.layers_pattern";
const RANKS: &str = "train.peft.rank_pattern";

/// What `check_target_module_exists` (`peft/tuners/tuners_utils.py`, peft 0.21) asks of a module's name.
pub(super) struct Selection<'a> {
    model: &'a Model,
    /// `target_modules`, where it is one string.
    pub(super) pattern: Option<Regex>,
    excluded: Excluded<'a>,
    layers: Option<Layers<'a>>,
}

enum Excluded<'a> {
    None,
    Names(&'a [String]),
    Pattern(Regex),
}

/// `layers_to_transform`, and how a name says its layer.
struct Layers<'a> {
    wanted: &'a [u64],
    patterns: Vec<Regex>,
}

impl<'a> Selection<'a> {
    /// # Errors
    /// A pattern does not compile, or needs full names that are not known.
    pub(super) fn of(model: &'a Model, peft: &'a Peft, paths: Option<&[String]>) -> Result<Self, EstimateError> {
        let needs = |field| match paths {
            Some(_) => Ok(()),
            None => Err(EstimateError::NoPaths { field, model: model.name().to_owned() }),
        };
        let pattern = match peft.target_modules() {
            Some(TargetModules::Pattern(pattern)) => {
                needs("target_modules")?;
                Some(full_match(TARGETS, pattern)?)
            }
            _ => None,
        };
        let lora = match peft {
            Peft::Lora(lora) => Some(lora),
            _ => None,
        };
        let excluded = match lora.and_then(|lora| lora.exclude_modules.as_ref()) {
            Some(TargetModules::Names(names)) => Excluded::Names(names),
            Some(TargetModules::Pattern(pattern)) => {
                needs("exclude_modules")?;
                Excluded::Pattern(full_match(EXCLUDED, pattern)?)
            }
            _ => Excluded::None,
        };
        let layers = match lora.filter(|lora| !lora.layers_to_transform.is_empty()) {
            Some(lora) => {
                needs("layers_to_transform")?;
                // the first number is the layer's, an expert's comes after it
                let any = [r"[^.]*".to_owned()];
                let patterns = if lora.layers_pattern.is_empty() { &any } else { lora.layers_pattern.as_slice() };
                let patterns = patterns.iter().map(|pattern| layer_number(LAYERS_PATTERN, pattern));
                Some(Layers { wanted: &lora.layers_to_transform, patterns: patterns.collect::<Result<_, _>>()? })
            }
            None => None,
        };
        if lora.is_some_and(|lora| !lora.rank_pattern.is_empty()) {
            needs("rank_pattern")?;
        }
        Ok(Self { model, pattern, excluded, layers })
    }

    /// Whether the pattern matches a module's full name.
    pub(super) fn matches(&self, path: Option<&String>) -> Result<bool, JobError> {
        match (&self.pattern, path) {
            (Some(pattern), Some(path)) => found(TARGETS, pattern, path),
            _ => Ok(false),
        }
    }

    /// Where PEFT turns a pattern into the last names it matches, wherever they are: those, of `paths`.
    pub(super) fn resolve(&mut self, paths: &[String]) -> Result<Vec<String>, JobError> {
        let mut found: Vec<String> = Vec::new();
        for path in paths {
            let last = path.rsplit('.').next().unwrap_or(path);
            if !found.iter().any(|name| name == last)
                && self.matches(Some(path))?
                && !self.excludes(("", Part::Other), Some(path))?
            {
                found.push(last.to_owned());
            }
        }
        self.pattern = None;
        Ok(found)
    }

    /// Whether a module is one of `exclude_modules`.
    pub(super) fn excludes(&self, layer: (&str, Part), path: Option<&String>) -> Result<bool, JobError> {
        match (&self.excluded, path) {
            (Excluded::None, _) | (Excluded::Pattern(_), None) => Ok(false),
            (Excluded::Names(excluded), Some(path)) => Ok(excluded.iter().any(|name| ends_with(path, name))),
            (Excluded::Names(excluded), None) => Ok(excluded.iter().any(|name| names(name, layer))),
            (Excluded::Pattern(pattern), Some(path)) => found(EXCLUDED, pattern, path),
        }
    }

    /// Whether a module is in one of `layers_to_transform`.
    pub(super) fn has_layer_of(&self, path: Option<&String>) -> bool {
        let Some(layers) = &self.layers else { return true };
        let number = |pattern: &Regex, path: &str| {
            pattern.captures(path).ok().flatten()?.name("layer")?.as_str().parse::<u64>().ok()
        };
        let number = path.and_then(|path| layers.patterns.iter().find_map(|pattern| number(pattern, path)));
        number.is_some_and(|number| layers.wanted.contains(&number))
    }

    /// # Errors
    /// What is asked for includes modules that PEFT refuses, those with others inside and norms, or embeddings, whose adapters
    /// are not modelled: leaving them out would say too little.
    pub(super) fn takes_linear_layers_alone(
        &self,
        network: &mut dyn Network,
        asked: &[String],
        paths: Option<&[String]>,
    ) -> Result<(), EstimateError> {
        let Some(paths) = paths else { return Ok(()) };
        let refuse = |module: &str, why| {
            Err(EstimateError::NotLinear {
                field: TARGETS,
                module: one_line(module),
                model: self.model.name().to_owned(),
                why,
            })
        };
        let asks = |path: &String| -> Result<bool, EstimateError> {
            let named = match &self.pattern {
                Some(_) => self.matches(Some(path))?,
                None => asked.iter().any(|name| ends_with(path, name)) && self.has_layer_of(Some(path)),
            };
            Ok(named && !self.excludes(("", Part::Other), Some(path))?)
        };
        let mut others = Vec::new();
        let mut at = 0;
        network.leaves(&mut |leaf| {
            match leaf {
                Leaf::Linear(_) => {}
                Leaf::Embedding(_) => others.push((at, EMBEDDING)),
                _ => others.push((at, NOT_SUPPORTED)),
            }
            at += 1;
        });
        for (at, why) in others {
            if let Some(path) = paths.get(at)
                && asks(path)?
            {
                return refuse(path, why);
            }
        }
        let mut last = "";
        for path in paths {
            // what the one before it has in common with it was looked at
            let inside = path.match_indices('.').map(|(end, _)| &path[..end]);
            for container in inside.filter(|container| !last.starts_with(&format!("{container}."))) {
                if asks(&container.to_owned())? {
                    return refuse(container, CONTAINER);
                }
            }
            last = path;
        }
        Ok(())
    }
}

const EMBEDDING: &str =
    "an embedding: its adapters are not modelled; leave it out, or train it whole by modules_to_save";
const NOT_SUPPORTED: &str = "which is no linear layer: PEFT refuses it; name linear layers alone";
const CONTAINER: &str =
    "which has modules inside: PEFT refuses it; name its linear layers, such as \".*self_attn\\.(q|v)_proj\"";

fn ends_with(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

fn found(field: &'static str, pattern: &Regex, path: &str) -> Result<bool, JobError> {
    pattern.is_match(path).map_err(|_| {
        let fix = "matching it takes too long; write it without nested repetitions, or list the modules' names";
        JobError::unsupported(field, format!("{:?}", one_line(pattern.as_str())), fix)
    })
}

/// A LoRA's rank by module.
pub(super) struct Ranks {
    r: u64,
    patterns: Vec<(Regex, u64)>,
}

impl Ranks {
    /// # Errors
    /// A pattern does not compile.
    pub(super) fn of(lora: &Lora) -> Result<Self, EstimateError> {
        let compiled = lora.rank_pattern.iter().map(|(pattern, &rank)| Ok((end_match(RANKS, pattern)?, rank)));
        Ok(Self { r: lora.r, patterns: compiled.collect::<Result<_, JobError>>()? })
    }

    /// That of one module: where several patterns match, PEFT takes the first, whose place a map does not keep, and this the
    /// largest; a match that takes too long counts as one.
    pub(super) fn of_module(&self, path: Option<&str>) -> u64 {
        let matching = |pattern: &Regex| path.is_some_and(|path| pattern.is_match(path).unwrap_or(true));
        self.patterns.iter().filter(|(pattern, _)| matching(pattern)).map(|&(_, rank)| rank).max().unwrap_or(self.r)
    }
}
