"""How MLX treats its primitives: which are views, which go element by element and can be fused.

Names are those of `mx.export_function` (mlx 0.32, CPU and Metal). A primitive that is not listed writes its outputs
anew, which is what most do.
"""

from __future__ import annotations

VIEWS = frozenset(
    ["Broadcast", "ExpandDims", "Squeeze", "Transpose", "Slice", "Split", "StopGradient", "Copy", "Depends"]
)
"""Their outputs are their inputs' memory, read in another way."""

RESHAPES = frozenset(["Reshape", "Flatten", "Unflatten"])
"""Views where the strides allow it, else copies."""

ELEMENTWISE = frozenset([
    "Abs", "Add", "ArcCos", "ArcCosh", "ArcSin", "ArcSinh", "ArcTan", "ArcTan2", "ArcTanh", "AsType",
    "BitwiseBinary", "BitwiseInvert", "Ceil", "Conjugate", "Cos", "Cosh", "Divide", "Equal", "Erf", "ErfInv",
    "Exp", "Expm1", "Floor", "Greater", "GreaterEqual", "Imag", "Less", "LessEqual", "Log", "Log1p",
    "LogAddExp", "LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Multiply", "Negative",
    "NotEqual", "Power", "Real", "Remainder", "Round", "Rsqrt", "Select", "Sigmoid", "Sign", "Sin", "Sinh",
    "Sqrt", "Square", "Subtract", "Tan", "Tanh",
])  # fmt: skip

EXPONENTIALS = frozenset(["Exp", "LogSumExp", "Sigmoid", "Softmax", "Tanh", "Erf", "LogAddExp", "Expm1"])
"""They compute an exponential, or about as much, for every number they read."""

FUSABLE = ELEMENTWISE | {"Broadcast"}
"""What `mx.compile` joins into one kernel (mlx/compile.cpp, is_fusable)."""

FUSED = "Compiled"

REUSES_FIRST = frozenset(["Softmax", "SliceUpdate", "Scatter", "ScatterAxis"])
"""They write into their first input where nobody else needs it."""

MATMULS = frozenset(["Matmul", "AddMM"])
"""They copy operands whose rows or columns do not lie close together."""

MULTIPLIES = MATMULS | {"QuantizedMatmul", "GatherMM", "GatherQMM"}
