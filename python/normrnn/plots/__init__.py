"""Pictures of diagnostics; they need matplotlib: ``pip install "normrnn[plots]"``.

    gradient_flow    ‖∂L/∂h_t‖ over time
    norms            anything that a Monitor recorded, over training
    lambda_path      weights, units or a score along a path of penalty strengths
    gate_saturation  how much of each gate sits at its bounds
    spectrum         eigenvalues of W_hh beside the unit circle

Each takes `ax`, matplotlib axes to draw in (by default those of a new figure), and returns a
`Plot`: the axes, and the numbers that are drawn.
"""

from normrnn.plots._style import COLORS, Lines, Plot
from normrnn.plots.flow import gradient_flow
from normrnn.plots.path import lambda_path
from normrnn.plots.saturation import gate_saturation
from normrnn.plots.spectrum import spectrum
from normrnn.plots.training import norms

__all__ = [
    "COLORS",
    "Lines",
    "Plot",
    "gate_saturation",
    "gradient_flow",
    "lambda_path",
    "norms",
    "spectrum",
]
