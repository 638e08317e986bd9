//! Examples in the help texts.

pub(super) const EXAMPLES: &str = "\
Examples:
  vramplan estimate llama-2-7b
  vramplan estimate llama-2-7b --qlora --r 16 --target-modules all-linear --gradient-checkpointing
  vramplan estimate 7b --infer --prompt-length 4096 --precision nf4
  vramplan estimate --job job.toml --batch 8 --json
  vramplan fit llama-2-7b --qlora --memory 24GiB

Models by Hub id (org/name) come from the cache that huggingface_hub keeps, else over the network; HF_TOKEN,
HF_HOME, HF_HUB_CACHE, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean there. Built-in ones need no network.

Exit codes:
  0  the answer was printed
  2  bad usage or input, a model that cannot be fetched, or a job this version cannot answer;
     one line on standard error says why
Commands that judge whether a job fits also exit with
  1  it does not fit, or it is too close to tell (--allow-tight makes that 0)
  3  there is no telling: an architecture whose step is not known, or no GPU to judge by";

pub(super) const ESTIMATE_EXAMPLES: &str = "\
Examples:
  vramplan estimate llama-2-7b                    full fine-tuning in bf16, 1 x 2048 tokens
  vramplan estimate llama-2-7b --qlora --r 16     LoRA on 4-bit weights
  vramplan estimate llama-3-8b --use-liger-kernel --optim muon
  vramplan estimate llama-3-8b --objective dpo --lora --batch 2 --seq 1024
  vramplan estimate llama-3-8b --objective reward --lora
  vramplan estimate llama-3-8b --objective grpo --lora --batch 8 --seq 1024 --max-completion-length 512 --beta 0.04
  vramplan estimate Qwen/Qwen3-8B@main            a model on the Hugging Face Hub
  vramplan estimate llama-2-7b --peft prompt_tuning --num-virtual-tokens 20
  vramplan estimate 7b --infer --prompt-length 4096
  vramplan estimate --job job.toml --timeline     a job file (TOML or JSON)
  vramplan estimate --job job.toml --batch 8      ... with one of its fields changed
  vramplan estimate --from axolotl.yml            your training configuration
  cat job.json | vramplan estimate --job - --json | jq .peak

A flag is the job file's field of the same name and wins over the file.
One that turns something on turns it off with `=false`, as in
--gradient-checkpointing=false.";

pub(super) const FIT_EXAMPLES: &str = "\
Examples:
  vramplan fit llama-2-7b --qlora --gpu rtx-4090
  vramplan fit --job job.toml --memory 80GiB --json | jq .verdict
  vramplan fit llama-3-8b --lora --memory 24GiB --context 450MiB && ./train.sh
  vramplan fit llama-3.3-70b --serve --tensor-parallel-size 4 --max-model-len 16384 --gpu a100-80g
  vramplan fit --vllm \"vllm serve Qwen/Qwen3-8B --max-model-len 16384\" --gpu rtx-4090

The job is played against a model of PyTorch's caching allocator on a card of that size. The verdict is
  fits           it runs, and did so with less memory too: by how much estimates of this kind of job have been off
  tight          it hangs on less than that
  does not fit   PyTorch raises OutOfMemoryError
  unknown        there is no telling

Exit codes: 0 fits, 1 does not fit or tight (0 with --allow-tight), 2 bad usage or input, 3 unknown.";

pub(super) const KV_EXAMPLES: &str = "\
Examples:
  vramplan kv llama-3-8b --context 32768 --concurrency 16
  vramplan kv deepseek-v3 --context 131072 --kv-cache-dtype fp8
  vramplan kv gemma-3-27b --context 32768 --block-size 16 --shared-prefix 2000 --concurrency 64
  vramplan kv qwen3-8b --kv-cache-dtype q8_0 --json | jq .bytes_per_token
  vramplan kv llama-3.1-8b --context 32768 --gpu a100-40gb        what vLLM leaves for the cache

Exit codes: 0 the answer was printed, 1 with --gpu: vLLM does not start, or too close to tell, 2 bad usage or input,
3 what the model keeps, or how vLLM pages it, is not known.";

pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  vramplan check --init                       write a vramplan.toml to start from
  vramplan check
  vramplan check --update-lock                and commit vramplan.lock
  vramplan check --locked --junit report.xml  in CI: nothing changed that nobody knows of
  vramplan check ci/budgets.toml --markdown comment.md

Exit codes:
  0  every job is within what it may take
  1  a job is over, or too close to tell (allow_tight = true lets that pass); --locked: something changed
  2  bad usage or input, of the file or of one of its jobs: the other jobs are judged all the same
  3  there is no telling of a job, and none is over";

pub(super) const SOLVE_EXAMPLES: &str = "\
Examples:
  vramplan solve llama-2-7b --qlora --gpu rtx-4090 --for seq --step 64
  vramplan solve llama-3-8b --lora --gradient-checkpointing --gpu a100-80g --for batch
  vramplan solve llama-3-8b --infer --prompt-length 4096 --gpu l4 --for concurrency
  vramplan solve llama-2-13b --qlora --for gpu
  vramplan solve llama-2-7b --qlora --gpu rtx-4090 --for model --family llama

The answer fits and the next value does not (or is too close to tell): both are run.

Exit codes: 0 an answer, 1 nothing fits, 2 bad usage or input, 3 there is no telling.";

pub(super) const PLAN_EXAMPLES: &str = "\
Examples:
  vramplan plan llama-2-7b --goal cost
  vramplan plan llama-3-8b --quality lora --seq 4096 --effective-batch 64 --goal speed --max-price 3
  vramplan plan llama-2-13b --gpus rtx-3090,rtx-4090,a100-80g
  vramplan plan llama-2-7b --prices ours.csv --json
  vramplan plan llama-3.1-8b --max-model-len 8192 --concurrency 16      GPUs to serve it on
  vramplan plan llama-2-7b --tutorial-table

Methods, optimizers, checkpointing, Liger's kernels and micro-batches are searched: the job's own of these are not
kept; its sequence length, head, objective and LoRA settings are. Shown are plans of which none is better than
another in quality, price, speed and (with --goal headroom) memory left at once. With --serve, GPUs that hold the
sequences, alone and up to eight that share each layer; tokens/s are of those sequences.

Exit codes: 0 there are plans, 1 nothing fits, 2 bad usage or input, 3 there is no telling.";

pub(super) const COMPARE_EXAMPLES: &str = "\
Examples:
  vramplan compare llama-2-7b
  vramplan compare llama-2-7b --batch 4 --seq 1024 --gradient-checkpointing
  vramplan compare 7b --r 64 --target-modules all-linear
  vramplan compare 7b --peft prefix_tuning --num-virtual-tokens 100 --json
  vramplan compare llama-3.1-8b --max-model-len 8192 --concurrency 16     ways of storing it to serve
  vramplan compare llama-3.1-8b --infer --prompt-length 4096

Flags of one method change its row; the others keep PEFT's defaults.";

pub(super) const MEASURE_EXAMPLES: &str = "\
Examples:
  vramplan measure -- python train.py
  vramplan measure llama-3.2-1b --lora --batch 4 --seq 1024 -- python train.py
  vramplan measure --from axolotl.yml -- accelerate launch -m axolotl.cli.train axolotl.yml
  vramplan measure --job job.toml --save measured.jsonl -- ./train.sh
  vramplan measure --gpu 0 --interval 20 --json --output report.json -- python train.py

NVIDIA's driver is asked every so often what the command and all its descendants hold of each GPU, as nvidia-smi shows
it: the allocator's memory and the CUDA context. A peak that comes and goes between two readings is missed, so what is
measured is the least that the peak was. A caching allocator keeps what it has taken, so it is seldom missed there.
Where the driver does not say what a process holds (containers, WSL), the figure is what is used of the card less what
was used before; the report says so.

Standard input, output and error are the command's. The report comes to standard error when it has ended, or to the
file of --output; so does --json, since standard output is the command's. Signals are handed on, and the report comes
all the same. What the command has left behind is not waited for.

Exit codes: the command's own, 128 and the signal's number where a signal ended it, 127 it is not found, 126 it cannot
be run; before it has begun 2 bad usage or input, 3 there is no telling (--require-gpu and no GPU; a job this version
cannot estimate).";

pub(super) const MODELS_EXAMPLES: &str = "\
Examples:
  vramplan models
  vramplan models qwen2
  vramplan models llama --json
  vramplan models show llama-2-7b";

pub(super) const GPUS_EXAMPLES: &str = "\
Examples:
  vramplan gpus
  vramplan gpus h100
  vramplan gpus 4090 --json
  nvidia-smi -q -x | vramplan gpus --gpus-from -
  kubectl get nodes -o json | vramplan gpus --gpus-from -
  vramplan gpus --gpus-from gpus.toml --prices prices.csv

A list in TOML:
  [[gpu]]
  name = \"rtx-4090\"       # any name a GPU is known by, or another with its memory
  count = 2               # 1 without it
  used = \"3GiB\"           # what other processes hold; nothing without it
  memory = \"24564MiB\"     # what its driver reports; the known figure without it
  node = \"gpu-07\"         # the machine, in any words

Prices: cloud,region,instance_type,gpu_slug,gpu_count,price_per_hour_usd,spot_price_per_hour_usd,snapshot_date,source
is the header; region, instance_type, the spot price and source may be left out.";

pub(super) const SHOW_EXAMPLES: &str = "\
Examples:
  vramplan models show llama-2-7b
  vramplan models show meta-llama/Llama-2-7b-hf --json
  vramplan models show ./my-model/config.json";

pub(super) const PARAMS_EXAMPLES: &str = "\
Examples:
  vramplan params llama-2-7b
  vramplan params llama-2-7b --r 8 --target-modules q_proj,v_proj
  vramplan params ./config.json --json
  vramplan params ./model.safetensors
  vramplan params ./llama-2-7b.Q4_K_M.gguf";

pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  vramplan verify
  vramplan verify --config tiny --config nf4
  vramplan verify --json | jq '.runs[] | [.name, .predicted_bytes, .measured_bytes]'
  vramplan verify --save measured.jsonl
  vramplan verify --device cuda

Each configuration takes four AdamW steps on a tiny corpus, once with numbers and once without. It is in a build with
the feature `verify`: cargo run --release --features verify -- verify

Exit codes: 0 all within 0.1 % (on a GPU 1 %) and trained, 1 one was not, 2 bad usage, or a build without the feature,
3 no GPU, or one whose memory is full.";
