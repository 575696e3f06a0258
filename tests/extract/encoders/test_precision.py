"""Which precision an encoder computes in, where it is not asked for one."""

import pytest
import torch

from xmg.extract.encoders.device import pick_compute


@pytest.mark.parametrize("name", ["amx_bf16", "avx512_bf16"])
def test_bfloat16_where_the_processor_multiplies_it(name, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {name: True})
    assert pick_compute(torch.device("cpu")) == "bfloat16"


def test_float32_elsewhere(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    assert pick_compute(torch.device("cpu")) == "float32"
    assert pick_compute(torch.device("meta")) == "float32"
