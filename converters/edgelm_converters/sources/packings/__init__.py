"""Weights that other tools packed, presented under their plain names before anything else sees them.

One reader for every architecture: a `PackedFormat` (`packed_format.py`) takes the stored tensors by their published
names and the checkpoint's `quantization_config`, and gives lazy tensors under the names that an unpacked checkpoint
would have. A format is a module here, or in a room of its own, and its line in `registry.py`.

Each packed module X becomes one of two things:

- **kept**: MLX has the form code for code. `Presented.keep(X, ...)` gives the triple `X.weight` (uint32), `X.scales` and,
  where it is affine, `X.biases`, and its settings go to `quantization[X]`;
- **unpacked**: `Presented.unpack("X.weight", ...)` gives the plain weight in float32, with the values that the
  format's own library gives before it rounds to the model's dtype; `requantized[X]` holds the settings that add no
  measurable loss, for where nothing else is asked for.

How a triple reaches the network's own names (renamed, stacked, split, in other rows) is no business of a format: see
`edgelm_converters.pipeline.rows`. A module whose triple an architecture cannot carry is unpacked there and requantized.
"""
