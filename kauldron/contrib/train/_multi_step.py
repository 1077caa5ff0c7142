"""A training step with a gradient and an optimizer per loss; their updates are summed.

For losses that train parts of a model against each other, `kd.train.LossGroupsStep` says
which loss may change which parameters. Here every loss may change all of them, unless its
optimizer has a mask (`kd.optim.partial_updates`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import optax

from kauldron import losses, optim, train
from kauldron._base import errors
from kauldron.ktyping import PyTree


class MultiStepError(errors.UserError, ValueError):
    """Losses and optimizers that do not belong together."""


@flax.struct.dataclass(kw_only=True)
class MultiContext(train.Context):
    """The context of a `MultiTrainStep`.

    Attributes:
      subgrads: Name of a loss -> its gradient, with the structure of `params`. While a
        loss is computed there are those of the losses before it.
      subupdates: Name of a loss -> what its optimizer adds to the parameters.
    """

    subgrads: Any = None
    subupdates: Any = None


class MultiOptimizer(NamedTuple):
    """Several optimizers; what `multi_optimizer` returns.

    Attributes:
      init: From parameters to the state: a dict by loss.
      update: Not for use by itself: raises.
      optimizers: Name of a loss -> optimizer.
    """

    init: Callable[[Any], Any]
    update: Callable[..., Any]
    optimizers: Mapping[str, Any]


def multi_optimizer(**optimizers: optax.GradientTransformation) -> MultiOptimizer:
    """Returns the optimizers of a `MultiTrainStep`, by name of the loss.

    Raises:
      MultiStepError: If there is none, or one is no optimizer.

    Example:

    ```python
    cfg.trainstep = kd.contrib.train.MultiTrainStep()
    cfg.optimizer = kd.contrib.train.multi_optimizer(
        recon=optax.adam(1e-3), kl=optax.sgd(1e-2)
    )
    ```
    """
    wrong = [name for name, o in optimizers.items() if not hasattr(o, "update")]
    if wrong or not optimizers:
        raise MultiStepError(
            "`multi_optimizer` takes an optimizer of optax for each loss, "
            f"`recon=optax.adam(1e-3)`: got {wrong or 'none'}."
        )

    def init(params: PyTree) -> dict[str, Any]:
        return {name: o.init(params) for name, o in optimizers.items()}

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> Any:
        del updates, state, params
        raise MultiStepError(
            "Several optimizers need a gradient each: set "
            "`cfg.trainstep = kd.contrib.train.MultiTrainStep()`."
        )

    rates = {
        f"{name}/{suffix}" if suffix else name: rate
        for name, optimizer in optimizers.items()
        for suffix, rate in optim.learning_rates(optimizer).items()
    }
    optim.declare_learning_rates(update, rates)
    return MultiOptimizer(init, update, dict(optimizers))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MultiTrainStep(train.TrainStep):
    """A training step with one gradient, and one optimizer, for each loss.

    The losses are taken in the order of `cfg.train_losses`, which is a flat dict here;
    each may read the gradients of those before it, as `subgrads.<loss>.<parameter>`
    (no gradient goes through them). The parameters change once, by the sum of all
    updates. Metrics read `subgrads` and `subupdates` too; `grads` and `updates` are the
    sums. Every loss sees the same forward pass, with the same random numbers.

    `cfg.optimizer` is a `multi_optimizer(...)`.

    Raises:
      MultiStepError: If the names of optimizers are not those of the losses.
    """

    def _step(self, state: PyTree, batch: PyTree) -> tuple[Any, train.Context]:
        optimizers = self._optimizers()
        context = MultiContext.from_state_and_batch(state=state, batch=batch)
        subgrads, subupdates, opt_state, loss_states = {}, {}, {}, {}
        after = context
        for name, loss in self.aux.losses.items():
            grads, total, after = self._grad_of(name, loss, context, dict(subgrads))
            subgrads[name] = grads
            loss_states.update(after.loss_states)
            optimizer = optax.with_extra_args_support(optimizers[name])
            subupdates[name], opt_state[name] = optimizer.update(
                grads, state.opt_state[name], state.params, value=total
            )
        updates = _sum(subupdates.values())
        next_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            collections=after.collections,
            opt_state=opt_state,
        )
        filled = dataclasses.replace(
            after,
            params=state.params,
            subgrads=subgrads,
            subupdates=subupdates,
            grads=_sum(subgrads.values()),
            updates=updates,
            loss_states=loss_states,
            loss_total=losses.total_of(loss_states),
        )
        return next_state, self.aux.update_context(filled)

    def _grad_of(
        self, name: str, loss: Any, context: MultiContext, known: dict[str, Any]
    ) -> tuple[Any, jax.Array, MultiContext]:
        """Returns gradient, value and context of one loss."""
        rngs = self.rng_streams.train_rngs(context.step)

        def loss_fn(params: PyTree) -> tuple[jax.Array, Any]:
            before = dataclasses.replace(context, params=params, subgrads=known)
            after = self.forward(before, rngs)
            total, states = losses.compute_losses({name: loss}, after)
            return total, (total, dataclasses.replace(after, loss_states=states))

        gradient = jax.grad(loss_fn, has_aux=True, allow_int=True)
        grads, (total, after) = gradient(context.params)
        return grads, total, after

    def _optimizers(self) -> Mapping[str, Any]:
        optimizers = getattr(self.optimizer, "optimizers", None)
        if optimizers is None:
            raise MultiStepError(
                "MultiTrainStep needs an optimizer for each loss: set `cfg.optimizer = "
                "kd.contrib.train.multi_optimizer(...)`."
            )
        known = self.aux.losses
        nested = [n for n, loss in known.items() if not isinstance(loss, losses.Loss)]
        if nested or known.keys() != optimizers.keys():
            raise MultiStepError(
                "The optimizers of `multi_optimizer` must be named as the losses of "
                f"`cfg.train_losses`: got optimizers {sorted(optimizers)} and losses "
                f"{sorted(known)}{' (nested dicts do not work)' if nested else ''}."
            )
        return optimizers


def _sum(trees: PyTree) -> Any:
    return functools.reduce(lambda a, b: jax.tree.map(lambda x, y: x + y, a, b), trees)
