"""Methods that people would use instead, small and readable, on one interface: `Log` in, scores of all items out.

Each is checked against a published figure or an installed peer by `python -m benchmarks.baselines.check`. `SKIPPED` names
the peers that are not in `BASELINES` because they are not installed.
"""

from .baseline import Baseline
from .bpr import BPR
from .bpr_popularity import BPRPopularity
from .dice import DICE
from .ips import IPS
from .item_mean import ItemMean
from .log import Log
from .macr import MACR
from .mf import MF
from .most_popular import MostPopular
from .pd import PD
from .pda import PDA
from .peers import PEERS, SKIPPED

BASELINES: dict[str, type[Baseline]] = {
    "most_popular": MostPopular,
    "item_mean": ItemMean,
    "mf": MF,
    "bpr": BPR,
    "bpr_popularity": BPRPopularity,
    "ips": IPS,
    "pd": PD,
    "pda": PDA,
    "macr": MACR,
    "dice": DICE,
    **PEERS,
}

__all__ = ["BASELINES", "SKIPPED", "Baseline", "Log"]
