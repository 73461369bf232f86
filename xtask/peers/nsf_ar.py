"""Autoregressive neural spline flow (Durkan et al. 2019), as gen-flow's `nsf-ar`."""

from flows import FlowModel
from points import autoregressive, spline


class Model(FlowModel):
    def __init__(self, config: dict, data: dict):
        super().__init__(autoregressive(config, data, lambda: spline(config)), config, data)
