"""Where the pages go when the parameters are split over devices."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kauldron.ktyping import PyTree

# Over which heads are split, and with them their keys and values.
_TENSOR = "tensor"


def mesh_of(params: PyTree) -> Mesh | None:
    """Returns the mesh over which parameters are split; `None` if none is."""
    for leaf in jax.tree.leaves(params):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and not sharding.is_fully_replicated:
            mesh = sharding.mesh
            assert isinstance(mesh, Mesh)
            return mesh
    return None


def on_one_device(params: PyTree) -> Any:
    """Returns parameters that all devices have alike, as one of them has them.

    Nothing is copied. Others would compute the same, with pages of their own.
    """

    def first(x: Any) -> Any:
        if not isinstance(x, jax.Array) or len(x.sharding.device_set) == 1:
            return x
        return x.addressable_data(0)

    return jax.tree.map(first, params)


def of_pages(pages: jax.ShapeDtypeStruct, mesh: Mesh) -> NamedSharding:
    """Returns the place of `*d pages page_size h`: heads are split, if there are any.

    Args:
      pages: Of one layer, or of layers in a scan.
      mesh: Of the parameters.
    """
    spec: list[Any] = [None] * len(pages.shape)
    size = mesh.shape.get(_TENSOR, 1)
    if len(pages.shape) >= 4 and size > 1 and pages.shape[-4] % size == 0:
        spec[-4] = _TENSOR
    return NamedSharding(mesh, PartitionSpec(*spec))


def of_state(state: PyTree, mesh: Mesh | None) -> Any:
    """Returns the places of all that stays on the devices; `None` on one device.

    Args:
      state: Shapes; those of pages have four axes at least.
      mesh: Of the parameters.
    """
    if mesh is None:
        return None
    return jax.tree.map(lambda x: of_pages(x, mesh), state)
