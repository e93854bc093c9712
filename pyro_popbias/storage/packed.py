"""A trained pair as plain data, such as another process can be sent: a run folder without the folder."""

from dataclasses import dataclass

import pandas as pd
import safetensors.torch

from pyro_popbias.data.catalogue import Catalogue
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.storage.reading import chain_of
from pyro_popbias.storage.run_files import tensor_bytes, tensors_of
from pyro_popbias.study.study import Study
from pyro_popbias.trained import Trained
from pyro_popbias.training.restarts import Chain


@dataclass(frozen=True, eq=False)
class Packed:
    """A trained pair, whose modules are tensors.

    Attributes:
        study: what was declared.
        chains: tensors of each restart, the best first, as contents of safetensors files.
        history: one row per epoch.
        device: of the guide.
    """

    study: Study
    chains: tuple[bytes, ...]
    history: pd.DataFrame
    device: str

    @classmethod
    def of(cls, fit: Trained) -> "Packed":
        """Return a trained pair as plain data."""
        chains = tuple(tensor_bytes(tensors_of(chain)) for chain in fit.chains)
        return cls(fit.study, chains, fit.history, str(fit.guide.device))

    def unpacked(
        self, catalogue: Catalogue, events: Interactions | None = None, earlier: Interactions | None = None
    ) -> Trained:
        """Return the trained pair, equal to the one that was packed bit for bit.

        Args:
            catalogue: ids and counts that it was trained on.
            events: its interactions.
            earlier: rows of the fits that it goes on from.
        """
        best, *others = (self._chain(catalogue, content) for content in self.chains)
        return Trained(
            self.study,
            catalogue,
            best.model,
            best.guide,
            best.iterates,
            self.history,
            events,
            others=tuple(others),
            earlier=earlier,
        )

    def _chain(self, catalogue: Catalogue, content: bytes) -> Chain:
        chain = chain_of(self.study, catalogue, safetensors.torch.load(content))
        return Chain(chain.model.to(self.device), chain.guide.to(self.device), chain.iterates.to(self.device))
