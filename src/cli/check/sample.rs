//! `--init`: a file to start from.

use std::path::Path;

use super::super::error::CliError;
use super::super::files;

/// The file, which is checked by a test.
const SAMPLE: &str = r#"# What each job may take on its GPU. `vramplan check` judges every one of them, in CI too;
# `vramplan check --update-lock` writes vramplan.lock, and later runs say what changed since, and why.

# allow_tight = true                   # what is too close to tell passes
# context = "450MiB"                   # what the CUDA context takes on your cards

[jobs.finetune]
model = "llama-3.2-1b"                 # a known name, a config.json or its folder, a Hub id (org/name), or a size like "7b"
gpu = "rtx-4090"                       # or memory = "24GiB", or budget = "20GiB"

[jobs.finetune.train]                  # as in a job file: `vramplan estimate --help` lists the fields
precision = "nf4"
per_device_train_batch_size = 1
max_seq_length = 2048
gradient_checkpointing = true

[jobs.finetune.train.peft]
type = "lora"
r = 16

# A job can be a file of its own, or the configuration you train with; what is written here goes over it:
#
# [jobs.from_file]
# job = "job.toml"
# gpu = "a100-80g"
#
# [jobs.from_axolotl]
# from = "axolotl.yml"                 # axolotl, LLaMA-Factory, TRL, transformers, DeepSpeed, accelerate; or a list of files
# budget = "40GiB"
#
# [jobs.serve]
# model = "llama-3.2-1b"
# memory = "8GiB"
# [jobs.serve.infer]
# prompt_length = 4096
"#;

/// Writes it where nothing is.
pub(super) fn write(path: &Path) -> Result<String, CliError> {
    match files::create(path, SAMPLE) {
        Err(CliError::WriteFile { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(CliError::Usage(format!("{}: is there already, and is left as it is", path.display())))
        }
        created => {
            created?;
            let name = path.display();
            Ok(format!("{name} is written. Edit it, then `vramplan check`.\n"))
        }
    }
}
