from .config import SweepConfig as SweepConfig
from .phase.rows import phase_rows as phase_rows
from .run import run_sweep as run_sweep

__all__ = ["SweepConfig", "phase_rows", "run_sweep"]
