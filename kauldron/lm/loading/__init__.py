"""From a name, a folder, a GGUF file or a workdir to model, parameters, tokenizer."""
