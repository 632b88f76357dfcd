from .config import ToyConfig as ToyConfig
from .run import Toy as Toy
from .run import run_toy as run_toy

__all__ = ["Toy", "ToyConfig", "run_toy"]
