"""Quality "good": the source alone is run, and every weight searched under the E[x²] of its inputs."""

from __future__ import annotations

from edgelm.quant.layers.layerwise import SOURCE, LayerResult, Layerwise
from edgelm.quant.layers.moments import Squares


class Weighted(Layerwise):
    """Quality "good": one pass of the source."""

    def layer(self, index: int) -> LayerResult:
        """Quantize layer `index`, and take the source's hidden states past it."""
        parameters = self.walk.load(index)
        seen: dict[str, Squares] = {}
        for batch in range(len(self.walk.batches)):
            caught, returned = self.caught(index, SOURCE, batch)
            for inputs in caught:
                weight = parameters[f"{inputs.path}.weight"]
                seen.setdefault(inputs.path, Squares.zero(weight.shape)).add(inputs)
            self.walk.keep(index, SOURCE, batch, returned)
        result = LayerResult()
        for path in self.modules[index]:
            stored = parameters[f"{path}.weight"].astype(self.walk.read_dtype(f"{path}.weight"))
            squares = seen.get(path)
            if squares is None:
                self.search(result, path, stored)
            else:
                self.search(result, path, stored, squares.importance(), squares.tokens)
        self.walk.unload(index)
        return result
