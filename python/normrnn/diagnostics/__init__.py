"""What a network and its training look like from inside: numbers, in NumPy, for people and plots.

    gradient_flow     does ∂L/∂h_t vanish or explode on its way back through time
    jacobian_norms    ‖∂h_t/∂h_{t−k}‖, the same without the loss
    spectral_norm     σ₁ of a matrix;  spectral_radius, its largest |eigenvalue|
    weight_norms      of every parameter and gate;  spectral_radii, of every W_hh
    saturation        how much of each gate sits at its bounds
    dead_units        units that never move, and units that nobody reads

Nothing here changes an argument. `normrnn.plots` draws the results, `normrnn.Monitor` keeps them
during training.
"""

from normrnn.diagnostics.flow import GradientFlow, gradient_flow
from normrnn.diagnostics.gates import Saturation, saturation
from normrnn.diagnostics.jacobian import JacobianNorms, jacobian_norms
from normrnn.diagnostics.spectral import Sigma, spectral_norm, spectral_radius
from normrnn.diagnostics.units import DeadUnits, dead_units
from normrnn.diagnostics.weights import WeightNorms, spectral_radii, weight_norms

__all__ = [
    "DeadUnits",
    "GradientFlow",
    "JacobianNorms",
    "Saturation",
    "Sigma",
    "WeightNorms",
    "dead_units",
    "gradient_flow",
    "jacobian_norms",
    "saturation",
    "spectral_norm",
    "spectral_radii",
    "spectral_radius",
    "weight_norms",
]
