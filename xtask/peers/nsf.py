"""Neural spline flow with couplings (Durkan et al. 2019), as gen-flow's `nsf` of points."""

from flows import FlowModel
from points import couplings, spline


class Model(FlowModel):
    def __init__(self, config: dict, data: dict):
        super().__init__(couplings(config, data, config["transforms"], lambda: spline(config)), config, data)
