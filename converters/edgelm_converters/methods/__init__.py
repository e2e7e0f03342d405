"""How codes and widths are chosen: quantization methods, budgets and distillation."""
