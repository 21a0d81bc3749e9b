"""What the checkers of notebook 03 say to right answers, to known mistakes, and to blanks."""

import pytest
import torch

from interp_helpers import encode, exercises, load_bridge, residual

QUESTION = {
    "prompt": "The king had a golden crown and a silver ring. The thief took his golden",
    "control": "The king had a wooden chair and a silver ring. The thief took his golden",
    "answer": " crown",
    "other": " ring",
    "part": "L5H7",
}
EARLY = "He knew every door in the quarter by the sound"
LATE = "The old queen tapped her stick upon the floor, and put her hands behind"
OVERTAKEN = '"Sing us the one about the'
WOODEN = "The soldier had a wooden leg and a brass button. The dog bit his wooden"


@pytest.fixture(scope="module")
def bridges(folders):
    """{name: (bridge, tokenizer)}: the course's model, and one with an RMSNorm, one part at the start, and noise."""
    return {
        name: load_bridge(path, device="cpu")
        for name, path in [("storybook", "storybook"), ("llama", folders["llama"])]
    }


@pytest.fixture(scope="module", params=["storybook", "llama"])
def measured(request, bridges):
    """What the notebook hands to the checkers, by exercise."""
    bridge, tokenizer = bridges[request.param]
    tokens = encode(tokenizer, WOODEN)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(tokens)
    streams, read = cache.accumulated_resid(), residual.Unembedding.of(bridge)
    names, written = residual.parts(cache)
    right, wrong = (encode(tokenizer, word)[0, 0].item() for word in (" leg", " button"))
    return {
        "3b": {"written": written, "streams": streams},
        "3c": {"logits": residual.to_logits(streams[:, 0, -1], read), "token": wrong},
        "3d": {"streams": streams[:, 0], "unembedding": read, "tokens": tokens[0]},
        "3e": {"written": written[:, 0, -1], "names": names, "unembedding": read, "words": (right, wrong)},
    }


def says(capsys, exercise, answer, **context):
    exercises.check(exercise, answer, **context)
    return capsys.readouterr().out


def passes(capsys, exercise, answer, measured):
    return says(capsys, exercise, answer, **measured[exercise]).startswith(f"✓ {exercise} passed")


def refuses(capsys, exercise, answer, message, measured):
    printed = says(capsys, exercise, answer, **measured[exercise])
    assert printed.startswith(f"✗ {exercise} not yet: ")
    assert message in printed


@pytest.mark.parametrize("exercise", ["3a", "3b", "3c", "3d", "3e", "3f", "3g"])
def test_blanks_are_no_attempt(exercise, measured, bridges, capsys):
    def stub(*given):
        """Not written yet."""

    bridge, tokenizer = bridges["storybook"]
    made = {
        **measured,
        "3a": {"before": 0.5, "after": 0.5},
        "3f": {"bridge": bridge, "tokenizer": tokenizer},
        "3g": {"bridge": bridge, "tokenizer": tokenizer, "used": []},
    }
    answers = {"3a": None, "3f": {"early": None, "late": None}, "3g": dict.fromkeys(QUESTION)}
    printed = says(capsys, exercise, answers.get(exercise, stub), **made[exercise])
    assert printed == f"○ {exercise} not attempted\n"


@pytest.mark.parametrize("exercise", ["3b", "3c", "3d", "3e"])
def test_what_a_function_returns_is_no_function(exercise, measured, capsys):
    refuses(capsys, exercise, torch.zeros(2, 3), "should be a function, not what it returns", measured)
    refuses(capsys, exercise, lambda *given: "a word", "should be a number or a tensor", measured)


# 3a: a stream ten times as long


@pytest.mark.parametrize(
    ("prediction", "before", "after", "message"),
    [
        ("same", torch.tensor(0.785), torch.tensor(0.7851), "✓ 3a passed: the first word's probability was 0.785"),
        (" Same ", 0.785, 0.785, "✓ 3a passed"),
        ("surer", 0.5, 0.9, "✓ 3a passed"),
        ("surer", 0.5, 0.51, "✓ 3a passed"),
        (
            "surer",
            0.785,
            0.785,
            "✗ 3a not yet: the first word's probability was 0.785 and is 0.785 now. The final norm",
        ),
        ("less sure", 0.785, 0.785, "the factor drops out"),
        ("same", 0.5, 0.9, "does not divide all"),
        ("more", 0.785, 0.785, "the options are 'surer', 'same', 'less sure'; got 'more'"),
        (0.785, 0.785, 0.785, "the options are"),
    ],
)
def test_3a_follows_what_was_measured(prediction, before, after, message, capsys):
    assert message in says(capsys, "3a", prediction, before=before, after=after)


# 3b: the stream at every depth


def by_cumsum(written, layers):
    start = len(written) - 2 * layers
    return written.cumsum(0)[start - 1 :: 2]


def test_3b_takes_right_answers(measured, capsys):
    def by_loop(written, layers):
        rows = [written[: len(written) - 2 * layers].sum(0)]
        for layer in range(layers):
            end = len(written) - 2 * (layers - layer - 1)
            rows.append(rows[-1] + written[end - 2] + written[end - 1])
        return rows

    assert passes(capsys, "3b", by_cumsum, measured)
    assert passes(capsys, "3b", by_loop, measured)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda written, layers: by_cumsum(written, layers)[1:], "before the first layer too"),
        (lambda written, layers: by_cumsum(written, layers)[:-1], "after the last layer"),
        (lambda written, layers: written.cumsum(0), "after every part"),
        (lambda written, layers: by_cumsum(written, layers).diff(dim=0, prepend=torch.zeros_like(written[:1])), "only"),
        (
            lambda written, layers: by_cumsum(written, layers) - written[: len(written) - 2 * layers].sum(0),
            "the start is missing",
        ),
        (
            lambda written, layers: torch.stack([written[: 2 + 2 * n].sum(0) for n in range(layers + 1)]),
            "in the middle",
        ),
        (
            lambda written, layers: torch.stack([written[: 1 + 2 * n].sum(0) for n in range(layers + 1)]),
            "in the middle",
        ),
        (lambda written, layers: written.cumsum(0)[1::2], "lost a row"),
        (
            lambda written, layers: by_cumsum(written, layers) - written[1 : len(written) - 2 * layers].sum(0),
            "position",
        ),
        (lambda written, layers: written.cumsum(-1)[len(written) - 2 * layers - 1 :: 2], "along the vector's numbers"),
        (
            lambda written, layers: torch.cat(
                [written[: len(written) - 2 * layers].sum(0, keepdim=True), written[len(written) - 2 * layers :: 2]]
            ).cumsum(0),
            "what the MLPs wrote is missing",
        ),
        (
            lambda written, layers: torch.cat(
                [written[: len(written) - 2 * layers].sum(0, keepdim=True), written[len(written) - 2 * layers + 1 :: 2]]
            ).cumsum(0),
            "what attention wrote is missing",
        ),
        (lambda written, layers: written.sum(0), "for 2 parts before 3 layers the answer has shape"),
    ],
)
def test_3b_names_the_mistake(answer, message, measured, capsys):
    refuses(capsys, "3b", answer, message, measured)


# 3c: the rank of a word


def test_3c_takes_right_answers(measured, capsys):
    def by_sorted(logits, token):
        rows = logits.reshape(-1, logits.shape[-1])
        ranks = [sorted(row.tolist(), reverse=True).index(row[token].item()) for row in rows]
        return torch.tensor(ranks).reshape(logits.shape[:-1])

    assert passes(capsys, "3c", lambda logits, token: (logits > logits[..., token, None]).sum(-1), measured)
    assert passes(capsys, "3c", by_sorted, measured)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda logits, token: (logits >= logits[..., token, None]).sum(-1), "count from 1"),
        (lambda logits, token: logits.argsort(-1, descending=True)[..., token], "the *word* that stands at a place"),
        (lambda logits, token: logits.argsort(-1)[..., token], "from the smallest"),
        (lambda logits, token: (logits < logits[..., token, None]).sum(-1), "behind"),
        (lambda logits, token: (logits > logits[..., token, None]).sum(), "all predictions together"),
        (lambda logits, token: (logits > logits[..., token, None]).float().mean(-1), "a share"),
        (
            lambda logits, token: logits.argsort(dim=-1, descending=True, stable=True).argsort(-1)[..., token],
            "three words have the same logit",
        ),
        (lambda logits, token: (logits > logits[token]).sum(-1), "indexes the first axis"),
    ],
)
def test_3c_names_the_mistake(answer, message, measured, capsys):
    refuses(capsys, "3c", answer, message, measured)


# 3d: the loss at every depth


def scale_of(stream, unembedding):
    centred = stream - stream.mean(-1, keepdim=True) if unembedding.centred else stream
    return (centred.square().mean(-1, keepdim=True) + unembedding.epsilon).sqrt()


def loss_of(logits, tokens):
    return -logits.log_softmax(-1)[:, torch.arange(len(tokens) - 1), tokens[1:]].mean(-1)


def right_logs(streams, unembedding):
    return residual.to_logits(streams, unembedding).log_softmax(-1)


def with_unembedding(**change):
    """A right function that was given another unembedding: change maps a field to what becomes of it."""

    def found(streams, unembedding, tokens):
        fields = {name: function(getattr(unembedding, name)) for name, function in change.items()}
        return loss_of(residual.to_logits(streams, unembedding._replace(**fields)), tokens)

    return found


def with_scale(scale):
    def found(streams, unembedding, tokens):
        centred = streams - streams.mean(-1, keepdim=True) if unembedding.centred else streams
        read = centred / scale(centred, unembedding) * unembedding.weight + unembedding.bias
        return loss_of(read @ unembedding.W_U + unembedding.b_U, tokens)

    return found


def test_3d_takes_right_answers(measured, capsys):
    def by_hand(streams, unembedding, tokens):
        losses = []
        for stream in streams:
            centred = stream - stream.mean(-1, keepdim=True) if unembedding.centred else stream
            read = centred / scale_of(stream, unembedding) * unembedding.weight + unembedding.bias
            logits = (read @ unembedding.W_U + unembedding.b_U)[:-1]
            losses.append(torch.nn.functional.cross_entropy(logits, tokens[1:]))
        return losses

    assert passes(capsys, "3d", lambda *given: loss_of(residual.to_logits(*given[:2]), given[2]), measured)
    assert passes(capsys, "3d", by_hand, measured)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, r, t: -right_logs(s, r)[:, torch.arange(len(t)), t].mean(-1), "the token that stands there. The"),
        (lambda s, r, t: -right_logs(s, r)[:, torch.arange(len(t) - 1), t[:-1]].mean(-1), "(and left out the last)"),
        (lambda s, r, t: -right_logs(s, r)[:, torch.arange(1, len(t)), t[:-1]].mean(-1), "the token before it"),
        (lambda s, r, t: -right_logs(s, r)[:, torch.arange(len(t)), t.roll(-1)].mean(-1), "predict the first token"),
        (lambda s, r, t: -right_logs(s, r)[:, torch.arange(len(t) - 1), t[1:]].sum(-1), "the sum over positions"),
        (
            lambda s, r, t: -right_logs(s, r)[:, torch.arange(len(t) - 1), t[1:]].sum(-1) / len(t),
            "divided by all positions",
        ),
        (lambda s, r, t: right_logs(s, r)[:, torch.arange(len(t) - 1), t[1:]].mean(-1), "the sign"),
        (
            lambda s, r, t: -right_logs(s, r).exp()[:, torch.arange(len(t) - 1), t[1:]].mean(-1).log(),
            "averaged the probabilities",
        ),
        (lambda s, r, t: -right_logs(s, r)[:, torch.arange(len(t) - 1), t[1:]].mean(), "all depths together"),
        (lambda s, r, t: loss_of(s @ r.W_U + r.b_U, t), "the final norm is missing"),
        (with_unembedding(weight=torch.ones_like, bias=torch.zeros_like), "weight and bias are missing"),
        (with_unembedding(weight=torch.ones_like), "the final norm's weight is missing"),
        (with_unembedding(bias=torch.zeros_like), "the final norm's bias is missing"),
        (with_unembedding(b_U=torch.zeros_like), "b_U is missing"),
        (with_unembedding(epsilon=lambda epsilon: 0.0), "epsilon is missing"),
        (with_unembedding(centred=lambda centred: False), "subtracts the mean first"),
        (with_unembedding(centred=lambda centred: True), "subtracts no mean"),
        (with_scale(lambda centred, unembedding: scale_of(centred[-1:], unembedding)), "the last stream's scale"),
        (
            with_scale(
                lambda centred, unembedding: (
                    centred.square().sum(-1, keepdim=True) / (centred.shape[-1] - 1) + unembedding.epsilon
                ).sqrt()
            ),
            "torch's `std`",
        ),
    ],
)
def test_3d_names_the_mistake(answer, message, measured, capsys):
    refuses(capsys, "3d", answer, message, measured)


# 3e: the direction that is read


def direction_of(stream, unembedding, token, other):
    found = (unembedding.W_U[:, token] - unembedding.W_U[:, other]) * unembedding.weight
    if unembedding.centred:
        found = found - found.mean()
    return found / scale_of(stream, unembedding)


def test_3e_takes_right_answers(measured, capsys):
    def by_gradient(stream, unembedding, token, other):
        """Differentiate the logit difference where the scale is held."""
        scale = scale_of(stream, unembedding)
        with torch.enable_grad():
            part = torch.zeros_like(stream, requires_grad=True)
            centred = part - part.mean(-1, keepdim=True) if unembedding.centred else part
            logits = (centred / scale * unembedding.weight) @ unembedding.W_U
            (logits[..., token] - logits[..., other]).sum().backward()
        return part.grad

    assert passes(capsys, "3e", direction_of, measured)
    assert passes(capsys, "3e", by_gradient, measured)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, r, a, b: -direction_of(s, r, a, b), "the other way round"),
        (lambda s, r, a, b: direction_of(s, r._replace(W_U=r.W_U * (torch.arange(len(r.b_U)) == a)), a, b), "one word"),
        (lambda s, r, a, b: direction_of(s, r._replace(weight=torch.ones_like(r.weight)), a, b), "weight is missing"),
        (lambda s, r, a, b: direction_of(s, r, a, b) * scale_of(s, r), "scale is missing"),
        (lambda s, r, a, b: (r.W_U[:, a] - r.W_U[:, b]) * r.weight / scale_of(s, r), "left the mean in"),
        (lambda s, r, a, b: direction_of(s, r._replace(centred=True), a, b) * scale_of(s, r._replace(centred=True))
            / scale_of(s, r), "subtracts no mean"),
        (
            lambda s, r, a, b: (r.W_U[:, a] - r.W_U[:, b] - (r.W_U[:, a] - r.W_U[:, b]).mean())
            * r.weight / scale_of(s, r),
            "before the weight",
        ),
        (
            lambda s, r, a, b: ((r.W_U[:, a] - r.W_U[:, b]) * r.weight - s.mean(-1, keepdim=True)) / scale_of(s, r),
            "the mean of the stream",
        ),
        (lambda s, r, a, b: direction_of(s, r, a, b) + r.bias * (r.W_U[:, a] - r.W_U[:, b]), "bias is in it"),
        (
            lambda s, r, a, b: direction_of(s, r, a, b) * scale_of(s, r) / scale_of(s, r._replace(centred=False)),
            "its mean still in it",
        ),
        (lambda s, r, a, b: direction_of(s, r._replace(epsilon=0.0), a, b), "epsilon is missing"),
        (lambda s, r, a, b: torch.nn.functional.normalize(direction_of(s, r, a, b), dim=-1), "length 1"),
        (
            lambda s, r, a, b: direction_of(s, r, a, b) * scale_of(s, r)
            / (((s - s.mean(-1, keepdim=True)).square().sum(-1, keepdim=True) / (s.shape[-1] - 1)) + r.epsilon).sqrt(),
            "torch's `std`",
        ),
        (lambda s, r, a, b: s.mean(), "the answer has shape"),
    ],
)  # fmt: skip
def test_3e_names_the_mistake(answer, message, measured, capsys):
    refuses(capsys, "3e", answer, message, measured)


def test_3e_compares_length_and_aim(capsys):
    """The longest part need not add most: here one is long and across, one short and along."""
    plain = residual.Unembedding(torch.ones(2), torch.zeros(2), 0.0, False, torch.eye(2), torch.zeros(2))
    for written, told in [
        ([[1.0, 1.0], [0.5, -0.5]], "the longest write is long's, of length 1.414; at a cosine of 0.000"),
        ([[1.0, 1.0], [0.5, -0.5]], "that of aimed has length 0.707, but a cosine of 1.000, and adds most"),
        ([[3.0, 0.0], [0.0, 1.0]], "logits, the most of all."),
    ]:
        context = {"written": torch.tensor(written), "names": ["long", "aimed"], "unembedding": plain, "words": (0, 1)}
        assert told in says(capsys, "3e", direction_of, **context)


# 3f: settled early, settled late


@pytest.mark.parametrize("late", [LATE, "She stood at the end of the quay with her shawl over"])
@pytest.mark.parametrize("early", [EARLY, "The king went out into the middle"])
def test_3f_takes_right_answers(early, late, bridges, capsys):
    bridge, tokenizer = bridges["storybook"]
    printed = says(capsys, "3f", {"late": late, "early": early}, bridge=bridge, tokenizer=tokenizer)
    assert printed.startswith("✓ 3f passed: '·of' is first from ")
    assert "'·her' not before the last" in printed


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"early": LATE, "late": LATE}, "the early text is settled on '·her' after 6 of 6 layers"),
        ({"early": WOODEN, "late": LATE}, "the early text is settled on '·leg' after 4 of 6 layers"),
        ({"early": EARLY, "late": EARLY}, "the late text is settled on '·of' after 3 of 6 layers already"),
        ({"early": LATE, "late": EARLY}, "the wrong way round"),
        ({"early": OVERTAKEN, "late": LATE}, "'·other' comes first after 1 of 6 layers, but another word overtakes it"),
        ({"early": "The girl was as white as", "late": LATE}, "with probability 0.261"),
        ({"early": EARLY + " ", "late": LATE}, "the early text ends with a space"),
        ({"early": "She sat in front", "late": LATE}, "the early text has 4 tokens; give 5"),
        ({"early": EARLY, "late": ""}, "the late text cannot be used"),
        ({"early": EARLY, "late": "so " * 300}, "the late text cannot be used"),
        ({"early": EARLY, "late": None}, "the late text should be a text"),
        ({"early": EARLY}, "give a dictionary with two texts"),
        ([EARLY, LATE], "give a dictionary with two texts"),
    ],
)
def test_3f_names_the_mistake(prompts, message, bridges, capsys):
    bridge, tokenizer = bridges["storybook"]
    printed = says(capsys, "3f", prompts, bridge=bridge, tokenizer=tokenizer)
    assert printed.startswith("✗ 3f not yet: ")
    assert message in printed


# 3g: a question of your own, with a control


@pytest.mark.parametrize(
    "question",
    [
        QUESTION,
        {
            "prompt": WOODEN,
            "control": "The soldier had a silver sword and a brass button. The dog bit his wooden",
            "answer": " leg",
            "other": " button",
            "part": "L4H3",
        },
    ],
)
def test_3g_takes_right_answers(question, bridges, capsys):
    bridge, tokenizer = bridges["storybook"]
    assert says(capsys, "3g", question, bridge=bridge, tokenizer=tokenizer, used=[]).startswith("✓ 3g passed")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": "mlp 5"}, "It adds most with the prompt, but much of that"),
        ({"part": "L5H1"}, "Some other part gains more"),
        ({"part": "loses"}, "it loses most"),
        ({"part": "L9H7"}, "a part is a text such as 'L0H0'"),
        ({"part": (5, 7)}, "a part is a text such as 'L0H0'"),
        ({"part": None}, "still missing: part"),
        ({"control": "The king had a chair and a silver ring. The thief took his golden"}, "16 and 15 tokens"),
        ({"control": QUESTION["control"].replace("his golden", "his wooden")}, "end with another word"),
        ({"control": QUESTION["prompt"]}, "nothing was taken away"),
        ({"control": QUESTION["prompt"].replace("thief", "queen")}, "The answer stands in the control, too"),
        ({"control": QUESTION["prompt"] + " "}, "the control ends with a space"),
        ({"answer": "crown"}, "with the space that its token begins with: ' crown'"),
        ({"answer": " ring", "other": " crown"}, "the model says '·crown'; the answer has rank"),
        ({"other": " crown"}, "answer and other begin with the same token"),
        ({"prompt": WOODEN}, "that prompt is the notebook's"),
        ({"other": 3}, "the other should be a text"),
    ],
)
def test_3g_names_the_mistake(change, message, bridges, capsys):
    bridge, tokenizer = bridges["storybook"]
    if change.get("part") == "loses":
        change = {"part": the_loser(bridge, tokenizer)}
    printed = says(capsys, "3g", {**QUESTION, **change}, bridge=bridge, tokenizer=tokenizer, used=[WOODEN])
    assert printed.startswith("✗ 3g not yet: ")
    assert message in printed


def test_3g_says_what_logit_differences_and_ranks_are(bridges, capsys):
    bridge, tokenizer = bridges["storybook"]
    context = {"bridge": bridge, "tokenizer": tokenizer, "used": []}
    right, wrong, far = (encode(tokenizer, word)[0, 0].item() for word in (" crown", " ring", " queen"))
    with torch.no_grad():
        prompt, control = (bridge(encode(tokenizer, QUESTION[key]))[0, -1] for key in ("prompt", "control"))
    differences = [(logits[right] - logits[wrong]).item() for logits in (prompt, control)]
    told = f"the logit difference is {differences[0]:.3f} with the prompt and {differences[1]:.3f} with the control"
    assert told in says(capsys, "3g", QUESTION, **context)
    rank = prompt.argsort(descending=True).tolist().index(far)
    assert f"the answer has rank {rank}." in says(capsys, "3g", {**QUESTION, "answer": " queen"}, **context)


def test_3g_wants_a_dictionary(bridges, capsys):
    bridge, tokenizer = bridges["storybook"]
    for wrong in ["a question", {"prompt": WOODEN}]:
        assert "give a dictionary with prompt" in says(capsys, "3g", wrong, bridge=bridge, tokenizer=tokenizer, used=[])


def the_loser(bridge, tokenizer):
    """The part that loses most from control to prompt, by the library's attribution."""
    words = [encode(tokenizer, QUESTION[key])[0, 0].item() for key in ("answer", "other")]
    shares = []
    for key in ("prompt", "control"):
        with torch.no_grad():
            _, cache = bridge.run_with_cache(encode(tokenizer, QUESTION[key]))
        names, vectors = residual.parts(cache, heads=True)
        vectors = vectors[:, 0, -1]
        shares.append(residual.logit_attribution(vectors, vectors.sum(0), residual.Unembedding.of(bridge), *words)[:-1])
    return names[(shares[0] - shares[1]).argmin()]


def test_on_a_model_that_knows_nothing_both_say_what_is_missing(bridges, capsys):
    bridge, tokenizer = bridges["llama"]
    assert "Take one where it is over 0.5" in says(
        capsys, "3f", {"early": EARLY, "late": LATE}, bridge=bridge, tokenizer=tokenizer
    )
    assert "after your prompt the model says" in says(
        capsys, "3g", QUESTION, bridge=bridge, tokenizer=tokenizer, used=[]
    )
