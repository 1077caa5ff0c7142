"""The commands of language models, of the command table."""

from __future__ import annotations

from kauldron.cli.command_kinds import TRUST, Command, Flag

MODEL = Flag(
    "model",
    str,
    None,
    "smollm2, a Hugging Face folder, a GGUF file, or the workdir of a run.",
    "required",
)
_SAMPLING = (
    Flag("temperature", float, 0.0, "0 takes the most likely token.", "", 0),
    Flag("top_k", int, None, "How many tokens may follow.", "all", 1),
    Flag("top_p", float, None, "Probability that they have together.", "1", 0),
    Flag("max_tokens", int, 256, "The most tokens to write.", "", 1),
    Flag("seed", int, 0, "Of the draws."),
)

ALL = (
    Command(
        "lm prepare",
        "lm_prepare:main",
        "tokenize texts into shards that training reads",
        "kauldron lm prepare --inputs='texts/*.txt' --vocab_size=8192 --out=shards",
        flags=(
            Flag(
                "inputs",
                list,
                [],
                "Texts: .txt, .jsonl, .parquet, .h5; files, patterns or folders.",
                "required",
            ),
            Flag(
                "out", str, None, "The folder to write, or to go on with.", "required"
            ),
            Flag(
                "tokenizer", str, None, "A Hugging Face folder, or a GGUF file.", "none"
            ),
            Flag("vocab_size", int, None, "Learn one of so many tokens.", "none", 256),
            Flag(
                "roles",
                list,
                [],
                "Whose messages are learnt, of conversations: assistant.",
                "texts, no conversations",
            ),
            Flag("date", str, None, "What chat templates tell that write the date."),
            Flag(
                "key",
                str,
                None,
                "Field of text or messages, in files with fields.",
                "text, or messages",
            ),
            Flag(
                "separator",
                str,
                None,
                "Between documents of a plain text file, such as '\\n\\n'.",
                "a file is one document",
            ),
            Flag("add_bos", bool, False, "Begin documents with the bos token."),
            Flag("documents_per_shard", int, 10_000, "Documents of a shard.", "", 1),
            Flag("num_workers", int, None, "Processes.", "as many as cores", 1),
            Flag("json", bool, False, "Print JSON."),
        ),
        takes_cfg=False,
    ),
    Command(
        "lm generate",
        "lm:generate",
        "write text with a language model",
        "kauldron lm generate --model=smollm2 --prompt='What is the capital of France?' "
        "--temperature=0 --max_tokens=16",
        flags=(
            MODEL,
            TRUST,
            Flag("prompt", str, None, "A question, or a text.", "required"),
            Flag(
                "raw",
                bool,
                False,
                "Go on with the prompt, though the model could answer it.",
            ),
            *_SAMPLING,
        ),
        takes_cfg=False,
    ),
    Command(
        "lm chat",
        "lm:chat",
        "talk with a language model in the terminal",
        "kauldron lm chat --model=smollm2",
        flags=(
            MODEL,
            TRUST,
            Flag("system", str, None, "What the model is told first.", "nothing"),
            *_SAMPLING,
        ),
        takes_cfg=False,
    ),
    Command(
        "lm score",
        "lm:score",
        "perplexity and bits per byte of a text",
        "kauldron lm score --model=smollm2 --file=README.md --json",
        flags=(
            MODEL,
            TRUST,
            Flag("file", str, None, "A text file.", "required"),
            Flag("window", int, 512, "Tokens that are read at once.", "", 1),
            Flag("stride", int, None, "Tokens from window to window.", "half of it", 1),
            Flag("json", bool, False, "Print JSON."),
        ),
        takes_cfg=False,
    ),
    Command(
        "lm convert",
        "lm:convert",
        "write a model as a folder in the layout of Hugging Face",
        "kauldron lm convert --model=smollm2 --out=smollm2_hf",
        flags=(
            MODEL,
            TRUST,
            Flag("out", str, None, "The folder to write.", "required"),
            Flag(
                "dtype", str, "float32", "Of the weights: float32, bfloat16, float16."
            ),
            Flag("overwrite", bool, False, "Replace what is in the folder."),
        ),
        takes_cfg=False,
    ),
)
