from .config import SweepConfig as SweepConfig
from .run import run_sweep as run_sweep

__all__ = ["SweepConfig", "run_sweep"]
