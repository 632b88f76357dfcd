from .finding import Check as Check
from .finding import Finding as Finding
from .registry import STATEMENTS as STATEMENTS
from .registry import audit as audit
