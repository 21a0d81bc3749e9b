"""The training script, on a corpus and a budget of seconds."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import train as training
from data import held_out_windows, prepare, read_books, repeated_random, training_windows
from export import export
from measure import repeated_share, shifted_score
from optimizer import Muon, orthogonalised, rate
from torch._inductor.exc import CppCompileError
from train import load_recipe, matmul_seconds, measured_steps, new_model, phase, pick_precision, train
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp_helpers import load_model

RECIPE = Path(train.__code__.co_filename).with_name("recipe.toml")
DATA = {"end_of_text_share": 0.5, "repeat_shortest": 3, "repeat_longest": 5}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    words = "the king had three sons and a daughter who went to sea in an old ship with her dog"
    chance = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "books.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for i in range(12):
            text = " ".join(chance.choices(words.split(), k=400)) + "."
            file.write(json.dumps({"title": f"Book {i}", "source": "made up", "path": f"{i}.txt", "text": text}) + "\n")
    return path


@pytest.fixture(scope="module")
def recipe():
    recipe = load_recipe(RECIPE, "tiny")
    recipe["tokenizer"]["vocab_size"] = 300
    recipe["log"] = {"measurements": 4, "windows": 4, "score_windows": 2}
    return recipe


def test_a_resumed_run_equals_an_uninterrupted_one(corpus, recipe, tmp_path):
    whole = train(corpus, recipe, tmp_path / "whole", progress=False)
    train(corpus, recipe, tmp_path / "parts", stop_after=7, progress=False)
    checkpoint = torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 7
    parts = train(corpus, recipe, tmp_path / "parts", progress=False)
    for (name, a), (_, b) in zip(whole.model.named_parameters(), parts.model.named_parameters()):
        assert torch.equal(a, b), name
    assert whole.log == parts.log
    assert [record["step"] for record in whole.log] == [0, 1, 4, 20]
    fresh = new_model(recipe)
    assert not torch.equal(whole.model.lm_head.weight, fresh.lm_head.weight)
    again = train(corpus, recipe, tmp_path / "parts", progress=False)  # nothing is left to do
    assert again.log == whole.log


def test_a_checkpoint_of_another_recipe_is_refused(corpus, recipe, tmp_path):
    train(corpus, recipe, tmp_path, stop_after=1, progress=False)
    with pytest.raises(SystemExit, match="another recipe"):
        train(corpus, {**recipe, "seed": 1}, tmp_path, progress=False)


def test_the_exported_folder_loads_and_is_what_was_trained(corpus, recipe, tmp_path):
    trained = train(corpus, recipe, tmp_path, progress=False)
    held_out = prepare(corpus, tmp_path, recipe)[2]
    before = trained.model.lm_head.weight.clone()
    export(trained, held_out, recipe, tmp_path / "storybook")
    model, tokenizer = load_model(str(tmp_path / "storybook"), device="cpu")
    assert torch.equal(model.lm_head.weight, before.half().float())
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "storybook").dtype == torch.float32
    text = "the king had three sons"
    assert (
        AutoTokenizer.from_pretrained(tmp_path / "storybook")(text)["input_ids"] == trained.tokenizer.encode(text).ids
    )
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") == 0
    assert json.loads((tmp_path / "storybook" / "training_log.json").read_text()) == trained.log
    card = (tmp_path / "storybook" / "README.md").read_text(encoding="utf-8")
    for i in range(12):
        assert f"- Book {i} (" in card


def test_held_out_books_are_not_trained_on(corpus, recipe, tmp_path):
    tokenizer, training, held_out, books = prepare(corpus, tmp_path, recipe)
    assert sum(book["held_out"] for book in books) == recipe["data"]["held_out_books"]
    assert len(training) == sum(book["tokens"] + 1 for book in books if not book["held_out"])
    assert len(held_out) == sum(book["tokens"] + 1 for book in books if book["held_out"])
    texts = {book["title"]: book["text"] for book in read_books(corpus)}
    trained_on = tokenizer.decode(training.tolist())
    for book in books:
        assert (texts[book["title"]] in trained_on) != book["held_out"]


def test_windows_are_a_function_of_seed_and_step():
    tokens = np.arange(1, 5000, dtype=np.uint16)
    settings = {"windows": 200, "context": 16, "data": DATA, "share": 0.5, "excerpts": 0.5}
    first = training_windows(tokens, 3, 7, **settings)
    assert np.array_equal(first, training_windows(tokens, 3, 7, **settings))
    assert not np.array_equal(first, training_windows(tokens, 4, 7, **settings))
    assert first.shape == (200, 17)
    starts = (first[:, 0] == 0).mean()
    assert 0.35 < starts < 0.65
    bodies = [row[1:] if row[0] == 0 else row for row in first]
    plain = [bool((np.diff(body) == 1).all()) for body in bodies]
    assert 0.35 < np.mean(plain) < 0.65
    for body, text in zip(bodies, plain):
        if not text:
            assert any((body[size:] == body[:-size]).all() for size in range(3, 6))


def test_all_or_no_windows_repeat():
    tokens = np.arange(1, 5000, dtype=np.uint16)
    none = training_windows(tokens, 0, 0, 20, 16, DATA, share=0.0, excerpts=0.5)
    assert all((np.diff(row[1:]) == 1).all() for row in none)
    excerpts = training_windows(tokens, 0, 0, 20, 16, DATA, share=1.0, excerpts=1.0)
    assert all((np.diff((row[1:] if row[0] == 0 else row)[:3]) == 1).all() for row in excerpts)


def test_held_out_windows_begin_with_end_of_text_every_second_time():
    windows = held_out_windows(np.arange(1, 100, dtype=np.uint16), 4, 10)
    assert windows.shape == (4, 11)
    assert (windows[::2, 0] == 0).all()
    assert (windows[1::2, 0] != 0).all()
    assert (np.diff(windows[:, 1:]) == 1).all()


def test_repeated_random_tokens_come_twice():
    tokens, half = repeated_random(np.arange(1, 100, dtype=np.uint16), 3, 10)
    assert (tokens.shape, half) == ((3, 9), 4)
    assert np.array_equal(tokens[:, 1:5], tokens[:, 5:])


def test_scores_by_hand():
    """<|endoftext|> a b a b: the second a (position 3) copies from b (2), the second b (4) from a (3)."""
    induction = torch.zeros(1, 1, 1, 5, 5)
    induction[..., 3, 2] = induction[..., 4, 3] = 1
    assert shifted_score(induction, back=1, start=3).item() == 1  # half = 2: back = half - 1
    assert shifted_score(induction, back=2, start=3).item() == 0
    duplicate = torch.zeros(1, 1, 1, 5, 5)
    duplicate[..., 3, 1] = 1
    duplicate[..., 4, 2] = 0.5
    assert shifted_score(duplicate, back=2, start=3).item() == 0.75
    previous = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0]])[None, None, None]
    assert shifted_score(previous, back=1, start=1).item() == 0.75


def test_repeated_share_by_hand():
    assert repeated_share([1, 2, 3, 4, 5]) == 0
    assert repeated_share([1, 2, 3, 1, 2, 3]) == 1 - 3 / 4


def test_orthogonalised_matrices_have_singular_values_near_one():
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalised(matrices))
    assert singular.min() > 0.5
    assert singular.max() < 1.3
    signs = torch.linalg.svd(matrices[0], full_matrices=False)
    nearest = signs.U @ signs.Vh
    assert torch.cosine_similarity(nearest.flatten(), orthogonalised(matrices)[0].flatten(), dim=0) > 0.97


def test_query_key_and_value_are_orthogonalised_apart():
    weight = torch.nn.Parameter(torch.zeros(8, 24))
    gradient = torch.randn(8, 24, generator=torch.Generator().manual_seed(1))
    weight.grad = gradient.clone()
    Muon([weight], lr=1.0, momentum=0.0, weight_decay=0.0, dtype=torch.float32).step()
    for part, piece in zip(weight.detach().chunk(3, 1), gradient.chunk(3, 1)):
        torch.testing.assert_close(-part, orthogonalised(piece[None])[0])


def test_tall_and_wide_matrices_are_scaled_by_outputs_over_inputs():
    for shape, scale in [((8, 32), 2.0), ((32, 8), 1.0)]:
        weight = torch.nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        Muon([weight], lr=1.0, momentum=0.0, weight_decay=0.0, dtype=torch.float32).step()
        assert torch.linalg.svdvals(weight.detach()).mean() == pytest.approx(scale, rel=0.2)


def test_the_rate_warms_up_holds_and_falls():
    settings = {"warmup_steps": 10, "decay_from": 0.5, "decay_to": 0.02}
    found = [rate(step, 100, settings) for step in (0, 9, 50, 75, 100)]
    assert found == pytest.approx([0.1, 1.0, 1.0, 0.51, 0.02])


def test_the_log_has_log_spaced_steps_and_both_ends():
    assert measured_steps(100, 5) == [0, 1, 5, 22, 100]


def test_phases_of_repeats_follow_the_tokens():
    budget = {
        "windows_per_step": 2,
        "context": 10,
        "repeats": [{"from_tokens": 0, "share": 0.25}, {"from_tokens": 100, "share": 0.1}],
    }
    assert [phase(budget, step)["share"] for step in (0, 4, 5, 6)] == [0.25, 0.25, 0.1, 0.1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("bfloat16", "wanted"), [(0.1, torch.bfloat16), (0.9, torch.float32), (9.0, torch.float32)])
def test_precision_is_the_one_that_multiplies_faster(device, bfloat16, wanted):
    """A processor may know bfloat16 and be slower with it: it was taken then, for a run of hours."""
    seconds = {torch.bfloat16: bfloat16, torch.float32: 1.0}
    assert pick_precision("auto", device, lambda dtype, _: seconds[dtype]) == wanted


def test_precision_is_what_was_asked_for_and_measured_otherwise():
    assert pick_precision("float32", "cpu", None) == torch.float32
    assert pick_precision("bfloat16", "cpu", None) == torch.bfloat16
    assert 0 < matmul_seconds(torch.float32, "cpu", size=64) < 1


def test_a_resumed_run_keeps_the_precision_that_was_measured(corpus, recipe, tmp_path, monkeypatch):
    recipe = {**recipe, "budget": {**recipe["budget"], "precision": "auto"}}
    monkeypatch.setattr(training, "pick_precision", lambda wanted, device: pick_precision("bfloat16", device))
    train(corpus, recipe, tmp_path, stop_after=1, progress=False)
    asked = []
    monkeypatch.setattr(training, "pick_precision", lambda wanted, _: asked.append(wanted) or torch.bfloat16)
    assert train(corpus, recipe, tmp_path, stop_after=2, progress=False).precision == "bfloat16"
    assert asked == ["bfloat16"]


class FailsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss):
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise CppCompileError(["g++"], "ld: cannot find -l un")


@pytest.mark.parametrize("when", ["forward", "backward"])
def test_where_compiling_fails_training_goes_on_without_it(when, corpus, recipe, tmp_path, monkeypatch, capsys):
    """As where a folder has a space in its path, at which torch.compile's linker splits it."""
    wanted = train(corpus, recipe, tmp_path / "eager", stop_after=3, progress=False)

    def compile(function):
        def fails(windows):
            if when == "backward":
                return FailsBackward.apply(function(windows))
            raise CppCompileError(["g++"], "ld: cannot find -l un")

        return fails

    monkeypatch.setattr(torch, "compile", compile)
    recipe = {**recipe, "budget": {**recipe["budget"], "compile": True}}
    trained = train(corpus, recipe, tmp_path / "un été à la mer", stop_after=3, progress=False)
    for weight, expected in zip(trained.model.parameters(), wanted.model.parameters()):
        assert torch.equal(weight, expected)
    said = capsys.readouterr().out
    assert said.startswith("train: torch.compile does not work here (CppCompileError)")
    assert said.count("\n") == 1


def test_an_error_that_is_not_of_compiling_is_raised(corpus, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(training.torch.nn.functional, "cross_entropy", None)
    monkeypatch.setattr(training, "measure", lambda *_: {"scores": {}})
    for compiled in [True, False]:
        monkeypatch.setattr(torch, "compile", lambda function: lambda windows: function(windows))
        budget = {**recipe["budget"], "compile": compiled}
        with pytest.raises(TypeError, match="not callable"):
            train(corpus, {**recipe, "budget": budget}, tmp_path / f"{compiled}", progress=False)


def test_the_recipe_knows_its_budgets():
    assert {load_recipe(RECIPE, name)["budget"]["layers"] for name in ("cpu", "gpu", "tiny")} == {6, 8, 2}
    with pytest.raises(SystemExit, match="it has cpu, gpu, tiny"):
        load_recipe(RECIPE, "tpu")
