"""Masked autoregressive flow (Papamakarios et al. 2017), as gen-flow's `maf`."""

from flows import Affine, FlowModel
from points import autoregressive


class Model(FlowModel):
    def __init__(self, config: dict, data: dict):
        super().__init__(autoregressive(config, data, Affine), config, data)
