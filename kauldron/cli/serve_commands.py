"""The commands of servers of language models, of the command table."""

from __future__ import annotations

from kauldron.cli.command_kinds import TRUST, Command, Flag
from kauldron.cli.lm_commands import MODEL

_WEIGHTS_DTYPE = Flag(
    "weights_dtype",
    str,
    None,
    "bfloat16 halves the weights, int8 keeps matrices in eight bits.",
    "that of the file",
)

ALL = (
    Command(
        "serve",
        "serve:main",
        "answer OpenAI's and Anthropic's clients, and a page in the browser",
        "kauldron serve --model=smollm2 --port=8000",
        flags=(
            MODEL._replace(shown_default="one of the four is required"),
            Flag("workdir", str, None, "Serve the last checkpoint of a run.", "none"),
            Flag("hf", str, None, "Serve a Hugging Face folder.", "none"),
            Flag("gguf", str, None, "Serve a GGUF file.", "none"),
            TRUST,
            Flag("port", int, 8000, "0 takes one that is free.", "", 0),
            Flag("host", str, "127.0.0.1", "0.0.0.0 is reached from other machines."),
            Flag("name", str, None, "What clients call the model.", "that of the file"),
            Flag(
                "api_key_file",
                str,
                None,
                "Keys of clients, one a line; besides those of KAULDRON_API_KEYS.",
                "anybody is served",
            ),
            _WEIGHTS_DTYPE,
            Flag("num_slots", int, 16, "Answers that are written at once.", "", 1),
            Flag("context_length", int, None, "Of tokens.", "the model's", 1),
            Flag("cache_gb", float, None, "Memory of keys and values.", "derived", 0),
            Flag("timeout", float, None, "Ends an answer after seconds.", "never", 0),
        ),
        takes_cfg=False,
    ),
    Command(
        "bench serve",
        "serve:bench",
        "how fast a language model is served: first token, between tokens, tokens/s",
        "kauldron bench serve --model=smollm2 --streams=1,4,16 --json",
        flags=(
            MODEL,
            TRUST,
            Flag("streams", list, ["1", "4", "16"], "Requests at once.", "1,4,16"),
            Flag("prompt_tokens", int, 64, "Of the longest prompt.", "", 1),
            Flag("max_tokens", int, 64, "Of each answer.", "", 2),
            Flag("context_length", int, None, "Of tokens.", "the model's", 1),
            _WEIGHTS_DTYPE,
            Flag("num_drafts", int, 0, "Tokens drafted by look-up.", "", 0),
            Flag("json", bool, False, "Print JSON."),
        ),
        takes_cfg=False,
    ),
)
