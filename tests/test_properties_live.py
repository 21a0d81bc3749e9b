"""Properties of the small model that is trained while one watches: slow loops, or an error that names the argument."""

import pytest
import torch
from hypothesis import strategies as st
from properties import cases, faults, refused, seeded, sizes

from interp_helpers import live

NO_WHOLE = {"0": 0, "negative": -1, "half": 1.5, "a word": "2", "nothing": None, "NaN": torch.nan, "a list": [1]}
NO_SEED = {"negative": -1, "half": 0.5, "a word": "0", "nothing": None, "beyond 63 bits": 2**63}
NO_PIECES = {
    "too short": (1, 4), "the wrong way round": (5, 4), "too long": (8, live.LENGTH - 1), "one number": (8,),
    "three": (4, 5, 6),
    "halves": (4.0, 8.0), "words": ("4", "8"), "a number": 8, "nothing": None,
}  # fmt: skip
NO_OFF = {
    "layer": [(2, 0)], "head": [(0, live.HEADS)], "negative": [(-1, 0)], "a number": 3, "numbers": [1],
    "words": ["0.1"], "nothing": None,
    "halves": [(0.0, 1.5)],
}  # fmt: skip
NO_TOKENS = {
    "floats": lambda tokens: tokens.double(), "booleans": lambda tokens: tokens > 0,
    "one axis": lambda tokens: tokens[0],
    "three axes": lambda tokens: tokens[None], "empty": lambda tokens: tokens[:0],
    "no position": lambda tokens: tokens[:, :0],
    "too long": lambda tokens: tokens[:, :1].repeat(1, live.LENGTH + 1),
    "below 0": lambda tokens: tokens - live.VOCABULARY,
    "beyond the vocabulary": lambda tokens: tokens + live.VOCABULARY, "a string": lambda tokens: "a",
    "nothing": lambda tokens: None,
    "a list": lambda tokens: tokens.tolist(), "other device": lambda tokens: tokens.to("meta"),
}  # fmt: skip
NO_MODEL = {"nothing": None, "a name": "storybook", "another": torch.nn.Linear(1, 1), "its class": live.AttentionOnly}
MODELS = {layers: live.AttentionOnly(layers, seed=layers) for layers in (1, 2)}
heads_off = st.lists(st.tuples(sizes(0, 0), sizes(0, live.HEADS - 1)), max_size=3)


@pytest.fixture(scope="module", autouse=True)
def few_sequences():
    """What is measured and trained on is a fraction of the lesson's: the properties are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "TEST_SEQUENCES", 4)
        patch.setattr(live, "SEQUENCES", 4)
        yield


@cases(layers=sizes(1, 3), seed=sizes(0, 2**40), fault=faults(*(f"layers: {each}" for each in NO_WHOLE),
                                                              *(f"seed: {each}" for each in NO_SEED))
)  # fmt: skip
def test_a_model_is_made_by_its_seed(layers, seed, fault):
    if fault:
        name, kind = fault.split(": ")
        given = {"layers": layers, "seed": seed, name: (NO_WHOLE if name == "layers" else NO_SEED)[kind]}
        assert refused(live.AttentionOnly, **given, naming=name)
        return
    before = torch.get_rng_state()
    one, two, other = (live.AttentionOnly(layers, seed=each) for each in (seed, seed, seed + 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(
        torch.equal(a, b) and not torch.equal(a, c) for a, b, c in zip(*(m.parameters() for m in (one, two, other)))
    )
    width, vocabulary = live.WIDTH, live.VOCABULARY
    wanted = 2 * vocabulary * width + live.LENGTH * width + 4 * layers * width**2
    assert sum(each.numel() for each in one.parameters()) == wanted


@cases(layers=sizes(1, 2), texts=sizes(1, 3), length=sizes(1, 6), off=heads_off, seed=seeded(),
       fault=faults(*NO_TOKENS, *(f"off: {each}" for each in NO_OFF)))  # fmt: skip
@torch.no_grad()
def test_a_pass(layers, texts, length, off, seed, fault):
    model, tokens = MODELS[layers], torch.randint(live.VOCABULARY, (texts, length), generator=seed)
    if fault and fault.startswith("off"):
        assert refused(model, tokens, NO_OFF[fault[5:]], naming="off") if fault != "off: layer" or layers == 2 else True
        return
    if fault:
        assert refused(model, NO_TOKENS[fault](tokens), naming="tokens")
        return
    logits, patterns = model(tokens, off)
    torch.testing.assert_close(patterns.sum(-1), torch.ones(patterns.shape[:-1], dtype=torch.double))
    assert patterns.triu(1).count_nonzero() == 0
    edited = live.AttentionOnly(layers, seed=layers)
    for layer, head in off:
        size = live.WIDTH // live.HEADS
        edited.W_O[layer, head * size : (head + 1) * size] = 0
    torch.testing.assert_close(edited(tokens)[0], logits)
    order = torch.randperm(texts, generator=seed)
    torch.testing.assert_close(model(tokens[order], off)[0], logits[order])
    torch.testing.assert_close(model(tokens[:, :1], off)[0][:, 0], logits[:, 0])  # one token, and nothing after it


@cases(seed=seeded(), sequences=sizes(1, 5), pieces=st.tuples(sizes(2, 30), sizes(2, 30)).map(sorted).map(tuple),
       fault=faults(*(f"pieces: {each}" for each in NO_PIECES), *(f"sequences: {each}" for each in NO_WHOLE),
                    "generator: a seed",
                    "generator: nothing"))  # fmt: skip
def test_repeated_pieces(seed, sequences, pieces, fault):
    given = {"generator": seed, "sequences": sequences, "pieces": pieces}
    if fault:
        name, kind = fault.split(": ")
        bad = {"pieces": NO_PIECES, "sequences": NO_WHOLE, "generator": {"a seed": 0, "nothing": None}}[name][kind]
        assert refused(live.repeated_pieces, **{**given, name: bad}, naming=name)
        return
    tokens, lengths = live.repeated_pieces(**given)
    assert tokens.shape == (sequences, live.LENGTH)
    assert pieces[0] <= lengths.min() <= lengths.max() <= pieces[1]
    for row, length in zip(tokens.tolist(), lengths[:, 0].tolist()):
        assert row == (row[:length] * live.LENGTH)[: live.LENGTH]
        assert set(row) <= set(range(live.VOCABULARY))


@cases(layers=sizes(1, 2), pieces=st.tuples(sizes(2, 30), sizes(2, 30)).map(sorted).map(tuple), off=heads_off,
       fault=faults(*(f"model: {each}" for each in NO_MODEL), *(f"off: {each}" for each in NO_OFF if each != "layer"),
                    *(f"pieces: {each}" for each in NO_PIECES)))  # fmt: skip
@torch.no_grad()
def test_measure(layers, pieces, off, fault):
    given = {"model": MODELS[layers], "pieces": pieces, "off": off}
    if fault:
        name, kind = fault.split(": ")
        bad = {"model": NO_MODEL, "off": NO_OFF, "pieces": NO_PIECES}[name][kind]
        assert refused(live.measure, **{**given, name: bad}, naming=name)
        return
    found = live.measure(**given)
    tokens, lengths = live.repeated_pieces(torch.Generator().manual_seed(live.TEST_SEED), live.TEST_SEQUENCES, pieces)
    logits, patterns = MODELS[layers](tokens, off)
    loss = -logits.log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    first, later, previous = [], [], []
    for text, length in enumerate(lengths[:, 0].tolist()):
        first.append(loss[text, : length - 1])
        later.append(loss[text, length:])
        diagonal = patterns[:, text].diagonal(-1, -2, -1)[..., : length - 1]
        previous.append(diagonal.mean(-1))
    assert found["first_copy"] == pytest.approx(torch.cat(first).mean().item())
    assert found["later_copies"] == pytest.approx(torch.cat(later).mean().item())
    torch.testing.assert_close(found["previous_token"], torch.stack(previous).mean(0))
    again = torch.zeros(found["induction"].shape, dtype=torch.double)
    for text, row in enumerate(tokens[:2].tolist()):
        seen = [[key + 1 for key in range(query) if row[key] == row[query]] for query in range(len(row))]
        asked = [query for query, keys in enumerate(seen) if keys]
        again += torch.stack([patterns[:, text, :, query, seen[query]].sum(-1) for query in asked]).mean(0)
    single = live.induction_score(patterns[:, :2], tokens[:2, None]).mean(1)
    torch.testing.assert_close(single, again / 2)
    assert found["induction"].shape == (layers, live.HEADS)


@cases(layers=sizes(1, 2), seed=sizes(0, 2**30), steps=sizes(1, 3), every=sizes(1, 3),
       fault=faults(*(f"{name}: {each}" for name in ("steps", "every") for each in NO_WHOLE),
                    *(f"seed: {each}" for each in NO_SEED), *(f"model: {each}" for each in NO_MODEL),
                    *(f"pieces: {each}" for each in NO_PIECES)))  # fmt: skip
def test_train(layers, seed, steps, every, fault):
    model, by_hand = (live.AttentionOnly(layers, seed=1) for _ in range(2))
    given = {"model": model, "seed": seed, "steps": steps, "every": every, "pieces": (4, 6)}
    if fault:
        name, kind = fault.split(": ")
        tables = {"steps": NO_WHOLE, "every": NO_WHOLE, "seed": NO_SEED, "model": NO_MODEL, "pieces": NO_PIECES}
        assert refused(lambda: next(live.train(**{**given, name: tables[name][kind]})), naming=name)
        return
    records = list(live.train(**given))
    assert [each["step"] for each in records] == list(range(0, steps + 1, every))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=live.RATE)
    for _ in range(steps):
        tokens, _ = live.repeated_pieces(generator, live.SEQUENCES, (4, 6))
        loss = -by_hand(tokens)[0].log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for found, wanted in zip(model.parameters(), by_hand.parameters()):
        torch.testing.assert_close(found, wanted, atol=1e-7, rtol=1e-6)
    if records[-1]["step"] == steps:
        assert records[-1]["later_copies"] == live.measure(model, pieces=(4, 6))["later_copies"]
