"""Drop path: scaled, exempting identities, and a matter of a task's own numbers alone."""

from __future__ import annotations

import pytest
import torch

from autometa.nas.networks.drop_path import drop_masks
from tests.nas.networks import discrete, images_for, one_shot, rows
from tests.tolerances import assert_agree

KEEP = 0.8


def masks(network, ids=(3, 7), seed=1, step=0, batch=50, keep=KEEP, dtype=torch.float64):
    return drop_masks(network, keep, seed, torch.tensor(ids), step, batch, dtype)


def test_values_mean_and_exemption():
    network = one_shot(cells=4, reductions=(1, 3), nodes=3).network
    found = masks(network, ids=range(20))
    assert set(found) == set(network.tables)
    dropped = []
    for (c, i), mask in found.items():
        for k, instance in enumerate(network.cell(c).nodes[i]):
            stride = network.cell(c).stride(instance, c in network.reductions)
            if instance.primitive == "skip_connect" and stride == 1:
                assert bool((mask[:, :, k] == 1.0).all())
            else:
                assert set(mask[:, :, k].unique().tolist()) == {0.0, 1.0 / KEEP}
                dropped.append(mask[:, :, k])
    values = torch.stack(dropped)
    deviation = (KEEP * (1 - KEEP) / values.numel()) ** 0.5
    assert abs(float((values > 0).double().mean()) - KEEP) < 4 * deviation
    assert abs(float(values.mean()) - 1.0) < 4 * deviation / KEEP


def test_masks_are_independent_of_neighbours_position_and_batch():
    network = discrete().network
    together = masks(network, ids=(9, 4, 2))
    for place, task in enumerate((9, 4, 2)):
        alone = masks(network, ids=(task,))
        assert all(torch.equal(together[key][place], alone[key][0]) for key in together)


def test_seed_task_step_and_image_change_them():
    network = one_shot().network
    base = torch.cat([m.flatten(2) for m in masks(network).values()], dim=2)
    for changes in (dict(seed=2), dict(ids=(4, 8)), dict(step=1)):
        other = torch.cat([m.flatten(2) for m in masks(network, **changes).values()], dim=2)
        assert 0.1 < float((base != other).double().mean()) < 0.5
    assert not torch.equal(base[:, 0], base[:, 1])


def test_steps_go_on_where_the_last_one_ended():
    """Image n of step t is draw t * batch + n: no two steps share a draw."""
    network = discrete().network
    first, second = (masks(network, step=t, batch=4) for t in (0, 1))
    both = masks(network, step=0, batch=8)
    for key in both:
        assert torch.equal(both[key], torch.cat([first[key], second[key]], dim=1))


def test_keep_1_is_off():
    assert masks(discrete().network, keep=1.0) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_slots_alone_under_drop_path(dtype):
    network = discrete()
    phi, (x, _) = rows(network, 3, dtype), images_for(network, 3, 4, dtype)
    ids = torch.tensor([5, 6, 7])

    def dropped(s):
        return network.logits(phi[s], x[s], drop=network.drop(KEEP, 3, ids[s], 2, 4, dtype))

    together = dropped(slice(None))
    assert float((together - network.logits(phi, x)).abs().max()) > 1e-3
    for s in range(3):
        assert_agree(together[s : s + 1], dropped(slice(s, s + 1)), "slots, network", dtype)
