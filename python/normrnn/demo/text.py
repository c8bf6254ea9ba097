"""A GRU language model of the text that ships inside CPython: the manual behind ``help()``.

Each character is predicted from those before it. The text is cut into parallel streams, which
truncated back-propagation walks through with the state carried on. The first 90 % train; the last
10 % are held out.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

import normrnn as nr
from normrnn.demo import pictures, report, speed
from normrnn.demo.corpus import Corpus, Indices, batches, load, streams
from normrnn.demo.report import Array, Params, Penalty, Run

# λ and the step size were chosen by training on the first 80 % and looking at the next 10 %.
HIDDEN, WINDOW, STREAMS = 256, 100, 10  # H, T and B
LEARNING_RATE, CLIP_NORM, STRENGTH = 8e-3, 1.0, 1e-4
SECONDS = 25.0  # per run
EVALUATE_EVERY = 500  # steps
GRADIENT_WINDOWS = 64


def train_step(
    api: ModuleType,
    params: Params,
    state: dict[str, Any],
    x: Array,
    target: Indices,
    h0: Array | None,
    rule: nr.rules.Rule,
    penalty: Penalty,
) -> tuple[float, Params, Array]:
    """Do one training step with normrnn, or with its NumPy reference, as `api`.

    Returns the loss, its gradients, and the state to go on from.
    """
    out = api.forward("gru", x, params, h0)
    logits = api.head_forward(out.y, params)
    loss, dlogits = api.softmax_cross_entropy(logits, target, reduction="mean")
    dh, head_grads = api.head_backward(out.y, dlogits, params)
    grads = api.backward(out.tape, dh).params | head_grads
    api.update(params, grads, state, rule=rule, penalty=penalty, clip_norm=CLIP_NORM)
    return loss, grads, out.h_n


def start(corpus: Corpus, strength: float, seed: int) -> Run:
    """Make a network, to be trained with the penalty strength·‖W_hh‖²."""
    classes = len(corpus.alphabet)
    params = nr.init_params("gru", classes, HIDDEN, output_size=classes, rng=seed)
    state = nr.init_state(nr.Adam(LEARNING_RATE), params)
    penalty = {"weight_hh_*": nr.L2(strength)} if strength else None
    return Run(report.label(strength), params, state, penalty)


def train(corpus: Corpus, runs: Sequence[Run], steps: int, limit: float) -> None:
    """Train the networks side by side on the same batches; Adam's step falls in the second half."""
    h: list[Array | None] = [None] * len(runs)
    total = steps * WINDOW * STREAMS * len(runs)
    with tqdm(total=total, unit="char", unit_scale=True, disable=None) as bar:
        windows = batches(corpus, STREAMS, WINDOW)
        for done, (x, target, at_start) in zip(speed.progress(steps, limit), windows, strict=False):
            rule = nr.Adam(LEARNING_RATE * min(1.0, 2 * (1 - done)))
            for i, run in enumerate(runs):
                h0 = None if at_start else h[i]
                _, _, h[i] = train_step(nr, run.params, run.state, x, target, h0, rule, run.penalty)
                run.record_norms()
                bar.update(target.size)
            if runs[0].steps % EVALUATE_EVERY == 0:
                evaluate(corpus, runs, bar)
        evaluate(corpus, runs, bar)
    for run in runs:
        run.training = bits_per_character(corpus, corpus.train[: len(corpus.held_out)], run.params)
        run.h_norm = gradient_through_time(corpus, run.params)


def evaluate(corpus: Corpus, runs: Sequence[Run], bar: Any) -> None:
    """Predict the held-out text, and show how well that went beside the progress bar."""
    for run in runs:
        run.held_out = bits_per_character(corpus, corpus.held_out, run.params)
    bits = " and ".join(f"{run.held_out:.3f}" for run in runs)
    bar.set_postfix_str(f"held out: {bits} bits/char")


def bits_per_character(corpus: Corpus, text: Indices, params: Params) -> float:
    """Evaluate a part of the text; the penalty is no part of this."""
    x, target = streams(text, STREAMS)
    out = nr.forward("gru", corpus.one_hot(x), params, need_grad=False)
    logits = nr.head_forward(out.y, params)
    loss, _ = nr.softmax_cross_entropy(logits, target, reduction="mean")
    return loss / float(np.log(2))


def gradient_through_time(corpus: Corpus, params: Params) -> Array:
    """‖∂L/∂h_t‖ [T] for T held-out characters, where L is the loss of the last of them alone.

    The median of windows taken from all of the held-out text, one sequence (B = 1) each.
    """
    x, target = (part[:WINDOW] for part in streams(corpus.held_out, GRADIENT_WINDOWS))
    last = np.zeros((WINDOW, 1), dtype=bool)
    last[-1] = True
    norms = []
    for i in range(GRADIENT_WINDOWS):
        out = nr.forward("gru", corpus.one_hot(x[:, i : i + 1]), params)
        logits = nr.head_forward(out.y, params)
        _, dlogits = nr.softmax_cross_entropy(logits, target[:, i : i + 1], mask=last)
        dh, _ = nr.head_backward(out.y, dlogits, params)
        norms.append(nr.backward(out.tape, dh).h_norm[0])
    return np.asarray(np.median(norms, axis=0))


def sample(corpus: Corpus, params: Params, *, seed: int, length: int = 200) -> str:
    """Let the network write, at temperature 0.8: a little surer than by its own probabilities."""
    rng = np.random.default_rng(seed)
    written = [corpus.alphabet.index(character) for character in "The "]
    h, new = None, written
    for _ in range(length):
        out = nr.forward("gru", corpus.one_hot(np.array(new)[:, None]), params, h, need_grad=False)
        logits = nr.head_forward(out.y[-1, 0], params).astype(np.float64) / 0.8
        odds = np.exp(logits - logits.max())
        h, new = out.h_n, [int(rng.choice(len(odds), p=odds / odds.sum()))]
        written += new
    return "".join(corpus.alphabet[i] for i in written)


def run(
    output: Path, *, steps: int | None, seconds: float | None, strength: float | None, seed: int
) -> None:
    """Train with λ = 0 and with L2 on W_hh, print what came out, and draw it.

    Parameters
    ----------
    output : Path
        Where the picture goes.
    steps : int, optional
        Training steps of each run.
    seconds : float, optional
        Instead of steps: about how long each run may train; 25 by default.
    strength : float, optional
        λ of the second run.
    seed : int
        Of the initial weights, the same for both runs.
    """
    corpus = load()
    strength = STRENGTH if strength is None else strength
    total = len(corpus.train) + len(corpus.held_out)
    print(f"A GRU reads Python's manual: {total:,} characters, the last 10 % held out.")

    runs = [start(corpus, s, seed) for s in (0.0, strength)]
    rule = nr.Adam(LEARNING_RATE)
    x, target, _ = next(batches(corpus, STREAMS, WINDOW))

    def step(api: ModuleType, params: Params, state: dict[str, Any]) -> tuple[float, Params]:
        return train_step(api, params, state, x, target, None, rule, runs[1].penalty)[:2]

    timed = speed.compare(step, runs[1].params, rule)
    limit = math.inf
    if steps is None:
        steps, limit = timed.plan(seconds or SECONDS, len(runs))
    print(
        f"{steps} steps of {STREAMS} streams x {WINDOW} characters per run; "
        f"--steps {steps} --seed {seed} repeats them.\n"
    )

    train(corpus, runs, steps, limit)
    block = ("W_hn", slice(2 * HIDDEN, 3 * HIDDEN))  # the GRU's candidate state reads h by it
    print(f"\n{report.summary(runs, 'bits/char', block, {})}")
    print(
        f"The last row: over {WINDOW} held-out characters, for the loss at the last of them;\n"
        f"the norms are the medians of {GRADIENT_WINDOWS} such windows.\n"
    )
    print(f"{timed}\n")
    best = min(runs, key=lambda one: one.held_out)
    print(f"The network with {best.label} writes:\n\n{sample(corpus, best.params, seed=seed)}\n")
    pictures.text(runs, output)
    print(f"The picture is in {output}.")
