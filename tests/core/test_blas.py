"""Products of matrices have the same bits wherever their operands lie, by every way into the package."""

import os
import subprocess
import sys

import pytest
import torch

from snrlab.blas import MKL_MODE

SHOW = "import os; print(os.environ.get('MKL_CBWR'))"
ENTRIES = {"the package": "import snrlab", "a module": "import snrlab.core.recipe", "the command": "import snrlab.cli"}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(("users", "mode"), [(None, MKL_MODE), ("COMPATIBLE", "COMPATIBLE")])
def test_every_entry_sets_it_unless_the_user_has(entry, users, mode):
    """For its own process and for those that it starts."""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    if users is not None:
        environment["MKL_CBWR"] = users
    code = f"{ENTRIES[entry]}; import subprocess, sys; subprocess.run([sys.executable, '-c', {SHOW!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == [mode], done.stderr


def at(tensor, offset):
    """A copy that begins so many bytes after a 64-byte boundary."""
    room = torch.empty(tensor.numel() + 32)
    begin = (offset - room.data_ptr()) % 64 // 4
    return room[begin : begin + tensor.numel()].view(tensor.shape).copy_(tensor)


@pytest.mark.numeric
@pytest.mark.parametrize("shape", [(4, 8, 8), (64, 112, 4), (77, 192, 112)], ids=str)
def test_a_product_does_not_depend_on_its_place_in_memory(shape):
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(rows, inner, generator=generator), torch.randn(columns, inner, generator=generator)
    wanted = torch.nn.functional.linear(at(x, 0), at(w, 0))
    for offset in range(4, 64, 4):
        for places in ((offset, 0), (0, offset), (offset, offset)):
            assert torch.equal(torch.nn.functional.linear(at(x, places[0]), at(w, places[1])), wanted), places
