"""Gradients of several tasks reconciled, for the parameters that they share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import torch

from jenga.balance.gradients import TaskGradients
from jenga.errors import ConfigError, SetupError, suggest
from jenga.extras import command, required
from jenga.processes import Processes

LIBRARY = "torchjd.aggregation"

METHODS: Mapping[str, tuple[str, Callable[[int], dict[str, object]]]] = {
    "sum": ("Sum", lambda n: {}),
    "upgrad": ("UPGrad", lambda n: {"pref_vector": torch.ones(n)}),
    "pcgrad": ("PCGrad", lambda n: {}),
    "cagrad": ("CAGrad", lambda n: {"c": 0.4}),
    "mgda": ("MGDA", lambda n: {}),
    "nash_mtl": ("NashMTL", lambda n: {"n_tasks": n}),
    "aligned_mtl": ("AlignedMTL", lambda n: {"pref_vector": torch.ones(n)}),
}
"""By name, the class of torchjd and what it is made with for n tasks: where tasks agree, their gradients are summed."""


class Conflicts(TaskGradients):
    """The gradients of tasks for the parameters of `shared` encoders, by name, and what is made of them.

    Only tasks that read an encoder have a say in it.
    """

    def __init__(
        self, method: str, shared: Mapping[str, Sequence[torch.nn.Parameter]], processes: Processes | None = None
    ) -> None:
        """Raises ConfigError for a method that there is not, SetupError without the extra."""
        if method not in METHODS:
            known = f"{suggest(method, METHODS) or '.'} Known: {', '.join(METHODS)}"
            raise ConfigError(f"training.gradient_conflict: unknown '{method}'{known}")
        super().__init__(shared, processes)
        self.method = method
        self._made: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {}
        self._aggregator(2)

    def settle(self) -> dict[str, float]:
        """Give the shared parameters the gradient that the method makes of those of the tasks, and forget these.

        Returns the cosine of each pair of tasks, by their names with a bar between; of an encoder of several, its name
        stands before.
        """
        cosines: dict[str, float] = {}
        taken = self.take()
        for encoder, parameters in self.parameters.items():
            rows = taken[encoder]
            if not rows:
                continue
            matrix = torch.stack(list(rows.values()))
            made = matrix[0] if len(rows) == 1 else self._made_of(matrix)
            self.processes.spread([made])  # some draw at random, each process its own
            for parameter, part in zip(parameters, made.split([p.numel() for p in parameters]), strict=True):
                parameter.grad = part.view_as(parameter).clone()
            products = (matrix @ matrix.T).double()
            lengths = products.diagonal().sqrt().clamp_min(torch.finfo(matrix.dtype).tiny)
            prefix = f"{encoder}: " if len(self.parameters) > 1 else ""
            for first, second in combinations(range(len(rows)), 2):
                names = list(rows)
                cosine = products[first, second] / lengths[first] / lengths[second]
                cosines[f"{prefix}{names[first]}|{names[second]}"] = float(cosine)
        return cosines

    def _made_of(self, matrix: torch.Tensor) -> torch.Tensor:
        if not matrix.isfinite().all():
            # Some raise then. Whoever looks at the norm sees it, and what is to be done is decided there.
            return matrix.sum(0)
        aggregator = self._aggregator(len(matrix))
        # Some begin where the step before ended, which no checkpoint knows.
        getattr(aggregator, "reset", lambda: None)()
        with warnings.catch_warnings():
            # Nash-MTL's solver tells of its own parametrisation.
            warnings.filterwarnings("ignore", message="You are solving a parameterized problem")
            return aggregator(matrix.float()).to(matrix.dtype)

    def _aggregator(self, n_tasks: int) -> Callable[[torch.Tensor], torch.Tensor]:
        if n_tasks not in self._made:
            name, options = METHODS[self.method]
            need = f"training.gradient_conflict: '{self.method}' needs torchjd"
            library = required(LIBRARY, extra="conflicts", need=need)
            try:
                self._made[n_tasks] = getattr(library, name)(**options(n_tasks))
            except ImportError as error:
                # Some import a solver as they are made.
                raise SetupError(f"{need} with its solvers ({error}): {command('conflicts')}") from error
        return self._made[n_tasks]
