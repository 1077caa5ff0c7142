"""What to change in a config whose step does not fit into the memory of a device."""

from __future__ import annotations

from collections.abc import Mapping

from kauldron._base import text_tables

_STATE = ("params", "collections", "opt_state", "gradients")


def advise(
    *,
    num_bytes: Mapping[str, int],
    mesh: Mapping[str, int],
    num_devices: int,
    state_num_bytes: int,
    room: float,
) -> tuple[str, ...]:
    """Returns what would help, by most first.

    Args:
      num_bytes: Part -> bytes on each device.
      mesh: Mesh axis -> number of devices.
      num_devices: Of all.
      state_num_bytes: Of parameters, collections and optimizer state, each array once.
      room: Bytes of a device.
    """
    held = sum(num_bytes.get(part, 0) for part in _STATE)
    found: list[tuple[float, str]] = []
    share = state_num_bytes / num_devices
    of_state = held - num_bytes.get("gradients", 0)
    if of_state > 1.5 * share and num_devices > 1:
        saved = of_state - share
        found.append(
            (
                saved,
                f"`--cfg.sharding=fsdp` splits parameters and optimizer state over all "
                f"{num_devices} devices: {_size(share)} of them on each, now "
                f"{_size(of_state)}.",
            )
        )
    elif of_state > room / 2:
        least = -(-int(2 * state_num_bytes) // int(room))
        found.append(
            (
                of_state,
                f"Parameters and optimizer state are {_size(state_num_bytes)} in all: "
                f"more devices hold less each. On {least} they take half of the room.",
            )
        )
    activations = num_bytes.get("activations", 0)
    found.append(
        (
            activations / 2,
            f"Activations take {_size(activations)}: half the rows on a device, by half "
            "the `batch_size` or by `--cfg.grad_accum_steps=2`, about halve them.",
        )
    )
    found.append(
        (
            activations / 3,
            "`cfg.remat = kd.train.Remat(modules=[...])`, or `remat=True` of a decoder, "
            "keeps the inputs of blocks only, and computes the rest again.",
        )
    )
    if "tensor" not in mesh and num_devices > 1:
        found.append(
            (
                activations / 4,
                "`--cfg.sharding=fsdp,tensor=8` splits the activations inside of "
                "attention and feed-forward layers, too; keep `tensor` within the "
                "devices that fast links connect.",
            )
        )
    moments = num_bytes.get("opt_state", 0)
    found.append(
        (
            moments / 2,
            f"The optimizer keeps {_size(moments)}: `optax.adafactor` keeps next to "
            "nothing, `mu_dtype='bfloat16'` of Adam three quarters.",
        )
    )
    return tuple(
        text for saved, text in sorted(found, reverse=True) if saved > 0.05 * room
    )


def _size(num_bytes: float) -> str:
    return text_tables.format_bytes(num_bytes)
