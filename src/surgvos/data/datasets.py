"""The data sets that SurgVOS knows by name."""

from __future__ import annotations

from surgvos.data.cadis import Cadis
from surgvos.data.cataract1k import Cataract1k
from surgvos.data.cholecseg8k import CholecSeg8k
from surgvos.data.dataset import DataSet
from surgvos.data.endovis17 import EndoVis17
from surgvos.data.endovis18 import EndoVis18
from surgvos.data.endovis_vos import VosEndoVis17, VosEndoVis18
from surgvos.data.ref_endovis import RefEndoVis17, RefEndoVis18
from surgvos.errors import InputError

DATASETS: dict[str, type[DataSet]] = {
    found.name: found
    for found in (
        EndoVis17,
        EndoVis18,
        VosEndoVis17,
        VosEndoVis18,
        RefEndoVis17,
        RefEndoVis18,
        Cadis,
        CholecSeg8k,
        Cataract1k,
    )
}


def dataset_by_name(name: str) -> DataSet:
    """Look a data set up.

    Raises:
        InputError: There is none of this name.
    """
    if name not in DATASETS:
        raise InputError(f"expected a data set in {sorted(DATASETS)}, got {name!r}; try 'surgvos data list'")
    return DATASETS[name]()  # type: ignore[call-arg]
