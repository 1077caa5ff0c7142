"""Adapters: LoRA, NEFTune, frozen and quantised base weights."""
