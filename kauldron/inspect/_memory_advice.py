"""What to change in a config whose step does not fit into the memory of a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kauldron._base import text_tables

_STATE = ("params", "collections", "opt_state")


def advise(
    *,
    num_bytes: Mapping[str, int],
    mesh: Mapping[str, int],
    num_devices: int,
    rows_per_device: int,
    state_num_bytes: int,
    room: float,
) -> tuple[str, ...]:
    """Returns what would help, by most first.

    Args:
      num_bytes: Part -> bytes on each device.
      mesh: Mesh axis -> number of devices.
      num_devices: Of all.
      rows_per_device: Examples of the batch on each.
      state_num_bytes: Of parameters, collections and optimizer state, each array once.
      room: Bytes of a device.
    """
    options = [
        _split_state(num_bytes, num_devices, state_num_bytes, room),
        *_shrink_activations(num_bytes, mesh, num_devices, rows_per_device),
        _shrink_moments(num_bytes),
    ]
    ordered = sorted(options, key=lambda option: option.saved, reverse=True)
    return tuple(option.text for option in ordered if option.saved > 0.05 * room)


class _Option(NamedTuple):
    saved: float
    text: str


def _split_state(
    num_bytes: Mapping[str, int], num_devices: int, state_num_bytes: int, room: float
) -> _Option:
    held = sum(num_bytes.get(part, 0) for part in _STATE)
    share = state_num_bytes / num_devices
    if held > 1.5 * share:
        return _Option(
            held - share,
            f"`--cfg.sharding=fsdp` splits parameters and optimizer state over all "
            f"{num_devices} devices: {_size(share)} of them on each, now {_size(held)}.",
        )
    least = -(-2 * state_num_bytes // int(room))
    return _Option(
        held if held > room / 2 else 0,
        f"Parameters and optimizer state are {_size(state_num_bytes)} in all: on {least} "
        "devices they take half of the memory of each.",
    )


def _shrink_activations(
    num_bytes: Mapping[str, int],
    mesh: Mapping[str, int],
    num_devices: int,
    rows_per_device: int,
) -> Iterator[_Option]:
    activations = num_bytes.get("activations", 0)
    if rows_per_device > 1:
        yield _Option(
            activations / 2,
            f"Activations take {_size(activations)}, of {rows_per_device} examples on "
            "each device: with half the `batch_size`, or `--cfg.grad_accum_steps=2`, "
            "down to half of that.",
        )
    else:
        yield _Option(
            activations / 2,
            f"Activations take {_size(activations)}, of one example on each device: "
            "shorter rows take less, and `--cfg.sharding=fsdp,sequence=2` splits those of "
            "tokens over two.",
        )
    yield _Option(
        activations / 3,
        "`cfg.remat = kd.train.Remat(modules=[...])`, or `remat=True` of a decoder, keeps "
        "the inputs of blocks only, and computes the rest again.",
    )
    if "tensor" not in mesh and num_devices > 1:
        yield _Option(
            activations / 4,
            "Attention and feed-forward layers of ours: `--cfg.sharding=fsdp,tensor=8` "
            "splits the activations inside of them, too; keep `tensor` within the devices "
            "that fast links connect.",
        )


def _shrink_moments(num_bytes: Mapping[str, int]) -> _Option:
    moments = num_bytes.get("opt_state", 0)
    return _Option(
        moments / 2,
        f"The optimizer keeps {_size(moments)}: `optax.adafactor` keeps next to nothing, "
        "`mu_dtype='bfloat16'` of Adam three quarters.",
    )


def _size(num_bytes: float) -> str:
    return text_tables.format_bytes(num_bytes)
