"""A batch that is cut, into parts or over processes, is the same batch: its images, its crops and flips, its noise."""

from dataclasses import replace

import pytest
import torch

from fastbat.data import Loader, load
from fastbat.data.share import Share, Shares
from fastbat.errors import InputError
from fastbat.methods import METHODS, Traits
from fastbat.randomness import drawn_for_whole, normal_like, seed_torch, uniform_like
from fastbat.training import Settings
from fastbat.training.dry_run import first_images
from fastbat.training.gradients import gradients, means
from fastbat.training.prepare import check_single_images, prepare
from test_methods import EPS, batch_of, model_of, update

LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize(("draw", "torchs"), [(uniform_like, torch.rand_like), (normal_like, torch.randn_like)])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_noise_is_torchs_and_a_part_has_its_rows_of_the_wholes(draw, torchs, layout, dtype):
    x = torch.zeros(7, 3, 8, 8, dtype=dtype).to(memory_format=layout)
    seed_torch("noise", 3)
    whole = [draw(x), draw(x[:, :1])]
    seed_torch("noise", 3)
    expected = [torchs(x), torchs(x[:, :1])]
    if draw is uniform_like:
        expected = [2 * each - 1 for each in expected]
    assert all(map(torch.equal, whole, expected))
    for place in (torch.tensor([0, 3, 6]), torch.arange(2, 5), torch.tensor([4])):
        part = x[place].to(memory_format=layout)
        state = torch.get_rng_state()
        with drawn_for_whole(7, place, "noise", 3):
            found = [draw(part), draw(part[:, :1])]
        assert all(torch.equal(one, each[place]) for one, each in zip(found, whole, strict=True))
        assert found[0].stride() == part.stride()
        assert torch.equal(state, torch.get_rng_state())


def test_noise_for_other_rows_than_the_parts_images_is_a_mistake():
    with drawn_for_whole(7, torch.arange(3), 0), pytest.raises(RuntimeError, match="noise for 2 rows, of a part of a"):
        uniform_like(torch.zeros(2, 3))


@pytest.mark.parametrize("by", ["any", "place", "image"])
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_the_shares_of_all_processes_are_the_batch(by, processes):
    digits = load("digits").train.slice(0, 43)
    how = (digits, 20, 0, 2, True, 10.0)
    for number in range(2):
        wholes = list(Loader(*how).epoch(number))
        shared = [list(Loader(*how, shares=Shares(rank, processes, by)).epoch(number)) for rank in range(processes)]
        for whole, *cut in zip(wholes, *shared, strict=True):
            place = torch.cat([batch.share.place for batch in cut])
            assert torch.equal(place.sort().values, torch.arange(len(whole.y)))
            assert {batch.share.whole for batch in cut} == {batch.images for batch in cut} == {len(whole.y)}
            for name in ("x", "y", "index"):
                together = torch.cat([getattr(batch, name) for batch in cut])
                assert torch.equal(together, getattr(whole, name)[place])
            for name in ("top", "left", "flip", "angle"):
                together = torch.cat([getattr(batch.view, name) for batch in cut])
                assert torch.equal(together, getattr(whole.view, name)[place])


def test_what_belongs_to_places_or_images_is_always_on_the_same_process():
    for index in torch.randperm(100).split(17):  # the last are 15
        by_image, by_place = (Shares(1, 4, by).of(index) for by in ("image", "place"))
        assert set(index[by_image.place].tolist()) == {i for i in index.tolist() if i % 4 == 1}
        assert by_place.place.tolist() == list(range(1, len(index), 4))


@pytest.mark.parametrize("images", range(1, 20))
def test_nobody_has_a_single_image_if_it_need_not_be(images):
    counts = [len(Shares(rank, 4).of(torch.arange(images)).place) for rank in range(4)]
    assert sum(counts) == images
    assert 1 not in counts or images == 1
    assert images < 8 or max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("images", "parts"), [(20, 3), (11, 2), (9, 8), (4, 2)])
def test_the_parts_of_a_share_are_the_shares_of_the_parts(images, parts):
    found = [Shares(rank, 2).of(torch.arange(images)).cut(parts) for rank in (0, 1)]
    assert len(found[0]) == len(found[1])
    start = 0
    for (_, one), (_, other) in zip(*found, strict=True):
        places = torch.cat([one.place, other.place]).sort().values
        assert torch.equal(places, torch.arange(start, start + len(one.owners)))
        assert torch.equal(one.owners, other.owners)
        assert torch.equal(one.owners[one.place - start], torch.zeros(len(one.place), dtype=torch.int64))
        start += len(one.owners)
    assert start == images


@pytest.mark.parametrize("name", ["fast-bat", "trades", "backsmooth", "yopo", "atta"])
def test_noise_and_gradients_in_parts_are_those_of_the_whole_batch(name):
    batch, found = batch_of("cnn", 7), []
    batch = type(batch)(batch.x.double(), batch.y, batch.index, batch.view, step=3)
    for parts in (1, 3):
        model, method = model_of("cnn").double(), METHODS[name](eps=EPS)
        loss = means(gradients(method, model, batch, parts, (0, "step", 3)))["loss"]
        found.append([loss, *(weight.grad for weight in model.parameters())])
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-13)


def test_a_network_that_drops_out_does_so_in_each_part_for_itself():
    seen, x = [], torch.ones(8, 1, 8, 8)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(64, 4)).train()
    model[1].register_forward_hook(lambda layer, inputs, kept: seen.append(kept > 0))
    batch = type(batch_of("cnn"))(x, torch.arange(8) % 4, step=0)
    for _ in range(2):
        gradients(METHODS["standard"](), model, batch, 2, (0, "step", 0))
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(torch.cat(seen[:2]), torch.cat(seen[2:]))


def test_alone_a_batch_is_cut_as_before_and_an_update_is_that_of_the_method():
    model, batch, method = model_of("cnn"), batch_of("cnn"), METHODS["fast-bat"](EPS)
    seed_torch(7)
    update(method, model, batch)
    expected = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    gradients(method, model, batch, 1, (7,))
    assert all(map(torch.equal, expected, [weight.grad for weight in model.parameters()]))
    assert Share.alone(6).complete


def test_a_memory_of_places_and_of_images_cannot_be_shared_out():
    assert Traits().shared_by == "any"
    assert Traits(memory={"a": "image", "b": "image"}).shared_by == "image"
    with pytest.raises(ValueError, match="cannot remember both images and places"):
        _ = Traits(memory={"a": "image", "b": "place"}).shared_by


def test_alone_the_mean_of_a_batch_is_its_own():
    batch = batch_of("cnn")
    assert torch.equal(batch.averaged(batch.x), batch.x)
    assert batch.images == 6


@pytest.mark.parametrize(
    ("by", "size", "fault"),
    [("place", 14, "batch 3 in epoch 1"), ("any", 14, None), ("place", 20, None), ("image", 6, "batch ")],
)
def test_a_single_image_is_refused_where_batchnorm_refuses_it(by, size, fault):
    """Of 31 images by two processes; the network's last maps are single pixels."""
    settings = Settings(model="preactresnet18", width=2, epochs=2, train_limit=31, batch_size=size)
    task, state, _ = prepare(METHODS["fast-at"](EPS), settings)
    task = replace(task, loader=replace(task.loader, shares=Shares(0, 2, by)))
    few = first_images(task.loader, 1)
    if fault is None:
        check_single_images(task, state.model, few)
        return
    with pytest.raises(InputError, match=f"a process would have a single image of {fault}.*; take another batch_size"):
        check_single_images(task, state.model, few)
